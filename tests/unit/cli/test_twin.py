"""`shoal twin` as an operator meets it: against a real interface on a free port, in words and as JSON."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shoal.api.answers import OwnedUnit
from shoal.api.app import create_app
from shoal.api.serve import bind, serve
from shoal.cli import main
from shoal.domain.telemetry import Flag
from tests.unit.api.doors import make_page, make_plant, make_records


def unit(name: str, owner: str, *, alive: bool, position: int | None) -> OwnedUnit:
    end = None if position is None else 9
    behind = None if position is None else 9 - position
    return OwnedUnit(
        group="live",
        unit=name,
        owner=owner,
        alive=alive,
        token=3,
        position=position,
        journal_end=end,
        behind=behind,
    )


async def owners() -> list[OwnedUnit]:
    return [
        unit("shard_0", "north-1", alive=True, position=5),
        unit("shard_1", "", alive=False, position=0),
        unit("aggregate", "south-2", alive=False, position=None),
    ]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a plant of three sites from a thread."""
    folder = tmp_path_factory.mktemp("plant")
    records = make_records()
    records["flags"][0] = Flag.STUCK
    plant = replace(make_plant(folder, records=records), read_owners=owners)
    app = create_app(plant, page=make_page(folder / "page"))
    listening = bind("127.0.0.1", 0)
    loop = asyncio.new_event_loop()
    task = loop.create_task(serve(app, listening))
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.wait([task])))
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    loop.call_soon_threadsafe(task.cancel)
    thread.join()
    loop.close()


@pytest.fixture
def shoal(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, at: str = url) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main.run(["twin", *arguments, "--url", at])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return int(caught.value.code or 0), captured.out, captured.err

    return run


def test_one_site_is_shown_in_words(shoal: Any) -> None:
    code, out, _ = shoal("show", "home-0")
    assert code == 0
    rows = {line.split("  ")[0].strip(): line.split("  ", 1)[1].strip() for line in out.splitlines()}
    assert rows["battery"].startswith("discharging 2.00 kW, 5.0 s old")
    assert rows["group, grid"] == "Homes / Feeder-1"
    assert rows["state"] == "suspect"
    assert rows["stuck"].startswith("a sensor has said the same for too long")
    assert rows["stored"] == "50.0%, 5.0 kWh"
    assert "ev" not in rows, "it has no charger"
    code, out, _ = shoal("show", "bess-0")
    assert "never heard" in out


def test_one_site_as_json_is_what_the_interface_says(shoal: Any) -> None:
    _, out, _ = shoal("show", "home-1", "--json")
    shown = json.loads(out)
    assert (shown["site"]["site_id"], shown["grade"], shown["age_s"]) == ("home-1", "stale", 600.0)


def test_silent_sites_of_a_group_are_listed(shoal: Any) -> None:
    code, out, err = shoal("list", "--state", "silent", "--group", "homes")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["home-1"]
    assert "10 min old" in out
    _, out, err = shoal("list", "--limit", "1")
    assert "1 among the first 1 of 3 sites" in err
    _, out, _ = shoal("list", "--state", "fresh")
    assert out == "none of 3 sites is fresh\n"
    _, out, _ = shoal("list", "--state", "suspect", "--json")
    assert [twin["flags"] for twin in json.loads(out)["twins"]] == [["stuck"]]


def test_owners_are_told_and_those_that_are_gone(shoal: Any) -> None:
    code, out, _ = shoal("shards")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert lines[1] == ["live", "shard_0", "3", "5", "4", "north-1"]
    assert lines[2][-1] == "nobody"
    assert lines[3][3:] == ["-", "-", "south-2", "(gone)"]
    _, out, _ = shoal("shards", "--json")
    assert json.loads(out)[0]["behind"] == 4


def test_faults_are_one_line_that_says_what_to_do(shoal: Any) -> None:
    for arguments, said in (
        (("show", "nobody"), "shoal fleet list"),
        (("list", "--group", "nobody"), "nobody"),
        (("list", "--state", "sad"), "--help"),
    ):
        code, out, err = shoal(*arguments)
        assert (code, out) == (2, "")
        assert said in err
        assert len(err.splitlines()) == 1
    code, _, err = shoal("shards", at="http://127.0.0.1:9")
    assert code == 2
    assert "interface" in err
