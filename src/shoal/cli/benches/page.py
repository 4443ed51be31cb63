"""The page in a browser: what its first load weighs, when it is ready, how smoothly it streams, what it keeps in memory.

A whole demonstration runs behind it, in which every site has a new value each minute of the plant: of 10,000 sites at six
times real time a thousand change each second, and of a thousand at sixty times, where eight hours take eight minutes. The
browser and the script that drives it come with a checkout (`web/e2e`), not with the package.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from shoal.cli.bench import Benchmark, Result
from shoal.domain.errors import UnavailableError

if TYPE_CHECKING:
    from shoal.cli.demo import Progress
    from shoal.runtime.supervisor import Supervisor

_ROOT: Final = Path(__file__).parents[4]
_RUN_S: Final = 72 * 3_600
_SEED: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """How much is measured: sites and how fast their time goes, loads of each kind, seconds of streaming, reconnections."""

    sites: int
    speed: float
    loads: int
    seconds: int
    reconnects: int

    @property
    def size(self) -> str:
        return (
            f"{self.sites:,} sites at {self.speed:g} x real time, {self.seconds} s of streaming, "
            f"{self.reconnects:,} reconnections"
        )


_CASES: Final = {
    "sites-30": _Case(sites=30, speed=60.0, loads=1, seconds=3, reconnects=3),
    "sites-10000": _Case(sites=10_000, speed=6.0, loads=3, seconds=60, reconnects=20),
    "hours-8": _Case(sites=1_000, speed=60.0, loads=3, seconds=480, reconnects=1_000),
}
_QUICK: Final = "sites-30"
_USUAL: Final = "sites-10000"


class _Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What `web/e2e/measure.mjs` prints."""

    transfer_kb: float
    snapshot_kb: float
    tti_ms: float
    tti_ms_4x: float
    frame_p99_ms: float
    receipt_to_pixel_p95_ms: float | None
    pan_fps: float | None
    heap_growth_mb: float


_UNITS: Final[dict[str, tuple[str, Literal["higher", "lower"]]]] = {
    "transfer_kb": ("kB", "lower"),
    "snapshot_kb": ("kB", "lower"),
    "tti_ms": ("ms", "lower"),
    "tti_ms_4x": ("ms", "lower"),
    "frame_p99_ms": ("ms", "lower"),
    "receipt_to_pixel_p95_ms": ("ms", "lower"),
    "pan_fps": ("frames/s", "higher"),
    "heap_growth_mb": ("MB", "lower"),
}


def run(case: str | None, quick: bool) -> list[Result]:
    """Run one case against a plant of its own; what could not be seen is left out.

    Raises:
        UnavailableError: when there is no checkout, or the browser or the plant does not come up.
    """
    chosen = _CASES[case or (_QUICK if quick else _USUAL)]
    if not (_ROOT / "web" / "e2e" / "measure.mjs").is_file():
        raise UnavailableError("the browser", "it comes with a checkout, not with the installed package")
    measured = asyncio.run(_measure(chosen))
    return [
        Result(case=name, size=chosen.size, value=value, unit=unit, better=better)
        for name, (unit, better) in _UNITS.items()
        if (value := getattr(measured, name)) is not None
    ]


async def _measure(case: _Case) -> _Measured:
    """Run a plant, and the browser as soon as time moves at its pace."""
    from shoal.cli.demo import Demo
    from shoal.runtime.settings import load_settings

    page: list[str] = []
    begun = asyncio.Event()

    def watch(progress: Progress, _: Supervisor) -> None:
        if progress.phase == "run":
            begun.set()

    with tempfile.TemporaryDirectory(prefix="shoal-bench-") as directory:
        flags = {
            "data_dir": directory,
            "demo.sites": case.sites,
            "demo.duration_s": _RUN_S,
            "demo.seed": _SEED,
            "demo.speed": case.speed,
            "api.port": 0,
        }
        settings = load_settings(file=None, env={}, flags=flags)
        demo = Demo(settings=settings, page=True, on_page=page.append, on_progress=watch)
        plant = asyncio.create_task(demo.run())
        ready = asyncio.create_task(begun.wait())
        try:
            await asyncio.wait({plant, ready}, return_when=asyncio.FIRST_COMPLETED)
            if plant.done():
                plant.result()
                raise UnavailableError("the plant", "it ended before it was looked at")
            return await _looked_at(page[0], case)
        finally:
            ready.cancel()
            plant.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await plant


async def _looked_at(url: str, case: _Case) -> _Measured:
    arguments = ("--loads", case.loads, "--seconds", case.seconds, "--reconnects", case.reconnects)
    browser = await asyncio.create_subprocess_exec(
        sys.executable,
        str(_ROOT / "hatch_build.py"),
        "e2e",
        "measure",
        url,
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, wrong = await browser.communicate()
    finally:
        if browser.returncode is None:
            browser.terminate()
            await browser.wait()
    if browser.returncode != 0:
        raise UnavailableError("the browser", wrong.decode(errors="replace").strip()[-1_000:])
    return msgspec.json.decode(said.splitlines()[-1], type=_Measured)


BENCHMARK: Final = Benchmark(
    name="page",
    about="the page in a browser: weight, readiness, frames, memory",
    cases=tuple(_CASES),
    run=run,
)
