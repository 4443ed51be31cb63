"""Every story of the page (`web/src/**/story.mjs`), told once by one browser against one running plant.

Pictures are kept in `web/test-results/page`, also of what a story saw when it failed; with `SHOAL_KEEP_PICTURES=1`
those of the documentation are made anew as well.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.request import urlopen

import msgspec
import pytest

from tests.e2e.page.plant import Addresses

pytestmark = [pytest.mark.slow, pytest.mark.alone]

ROOT = Path(__file__).parents[3]
SOURCES = ROOT / "web" / "src"
PICTURES = ROOT / "web" / "test-results" / "page"
DOCUMENTED = ROOT / "docs" / "images" / "page"
FOLDERS = sorted(path.parent.relative_to(SOURCES).as_posix() for path in SOURCES.glob("**/story.mjs"))
STORY_S = 40
"""How long a story may wait for one thing: the machine may be slow, a story is not judged by its speed."""
HURRY_H = 26
"""A day is delivered and settled, and a gate has passed, before the first story: there is something to see."""
ALL_S = 900
UP_S = 400


class Told(msgspec.Struct, frozen=True):
    """How one story went."""

    name: str
    folder: str
    took_s: float
    fault: str | None


class Outcome(msgspec.Struct, frozen=True):
    """How all of them went."""

    ok: bool
    stories: list[Told]
    error: str = ""


@contextlib.contextmanager
def plant_for_stories(folder: Path) -> Iterator[Addresses]:
    """Run a plant in a process of its own."""
    command = [sys.executable, "-m", "tests.e2e.page.plant", "--data-dir", str(folder / "plant")]
    command += ["--hurry", str(HURRY_H)]
    with (folder / "said").open("w+") as said:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=said, text=True)
        late = threading.Timer(UP_S, process.kill)
        late.start()
        try:
            addresses = _addresses(process.stdout, said)
            late.cancel()
            yield addresses
        finally:
            late.cancel()
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=30)
            finally:
                process.kill()
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()


def _addresses(output: IO[str] | None, said: IO[str]) -> Addresses:
    assert output is not None
    line = output.readline()
    if not line:
        said.seek(0)
        raise AssertionError(f"no plant came up: {said.read()}")
    return msgspec.json.decode(line, type=Addresses)


def named_pictures() -> set[str]:
    """Return the pictures that the documentation shows."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "README.md", ROOT / "docs" / "page.md")]
    return {name for text in texts for name in re.findall(r"images/page/([\w-]+\.webp)", text)}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Tell every story and return how they went."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for old in PICTURES.glob("*.png"):
        old.unlink()
    with plant_for_stories(tmp_path_factory.mktemp("page")) as plant:
        with urlopen(f"{plant.page}healthz", timeout=30) as answer:
            assert answer.status == 200
        with urlopen(f"{plant.page}metrics", timeout=30) as answer:
            assert b"shoal_api_live" in answer.read()
        command = [sys.executable, str(ROOT / "hatch_build.py"), "e2e", "stories", plant.page]
        options = ["--hooks", plant.hooks, "--pictures", str(PICTURES), "--timeout", str(STORY_S)]
        if os.environ.get("SHOAL_KEEP_PICTURES"):
            options += ["--docs", str(DOCUMENTED)]
        ran = subprocess.run([*command, *options], capture_output=True, text=True, timeout=ALL_S, check=False)
    if os.environ.get("SHOAL_KEEP_PICTURES"):
        for path in DOCUMENTED.glob("*.webp"):
            if path.name not in named_pictures():
                path.unlink()
    lines = ran.stdout.splitlines()
    assert lines, ran.stderr
    told = msgspec.json.decode(lines[-1], type=Outcome)
    assert told.stories, told.error + ran.stderr
    return told


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_stories_of_a_screen_go_well(folder: str, outcome: Outcome) -> None:
    told = [one for one in outcome.stories if one.folder == folder]
    assert told, f"no story of {folder} was told"
    assert [one for one in told if one.fault is not None] == []


def test_a_picture_of_the_fleet_is_kept_in_both_themes(outcome: Outcome) -> None:
    assert outcome.stories
    for name in ("fleet.png", "fleet-dark.png"):
        assert (PICTURES / name).stat().st_size > 20_000


def test_every_picture_of_the_documentation_is_there_and_made_by_a_story(outcome: Outcome) -> None:
    assert outcome.stories
    for name in named_pictures():
        assert (DOCUMENTED / name).stat().st_size > 5_000
        assert (PICTURES / name).with_suffix(".png").exists(), f"no story makes {name}"
