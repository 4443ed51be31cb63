"""Real-time services: PJM's regulation signals followed by homes behind a bad network, and frequency response without the cloud.

The signals and the frequency are not part of the package: `SHOAL_DATA` names their folder, else `../shared/data` is looked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import shoal
from shoal.cli.bench import Benchmark, Result
from shoal.cli.benches._regulation_frequency import FILE as FREQUENCY_FILE
from shoal.cli.benches._regulation_frequency import FrequencyRun, read_day, respond
from shoal.cli.benches._regulation_pjm import FILE as PJM_FILE
from shoal.cli.benches._regulation_pjm import Followed, follow_signal, read_signals
from shoal.domain.errors import InvalidInputError

_SEED: Final = 7
_RULE: Final = "proportional"


def data_file(name: str) -> Path:
    """Return a file of the shared data.

    Raises:
        InvalidInputError: when it is nowhere.
    """
    named = os.environ.get("SHOAL_DATA")
    beside = Path(shoal.__file__).parents[2] / "../shared/data"
    for folder in [Path(named)] if named else [Path("../shared/data"), beside]:
        if (folder / name).is_file():
            return folder / name
    raise InvalidInputError(
        field="SHOAL_DATA", value=named or "not set", fix=f"let it name the folder that holds {name}"
    )


def run(case: str | None, quick: bool) -> list[Result]:
    """Run one case, or both."""
    chosen = list(_CASES) if case is None else [case]
    return [result for name in chosen for result in _CASES[name](quick)]


def pjm(quick: bool) -> list[Result]:
    """Return the performance scores of each signal of the file, beside a rule that splits it by rating."""
    sites, steps = (300, 1_800) if quick else (5_000, None)
    signals = read_signals(data_file(PJM_FILE))
    rows = []
    for name in list(signals)[: 1 if quick else None]:
        signal_frac = signals[name][:steps]
        own = follow_signal(signal_frac, sites=sites, seed=_SEED)
        rule = follow_signal(signal_frac, sites=sites, seed=_SEED, follows=False)
        rows += pjm_rows(name, sites, own, rule)
    return rows


def pjm_rows(name: str, sites: int, own: Followed, rule: Followed) -> list[Result]:
    """Return what is printed of one signal."""
    hours = len(own.mean.composite_frac)
    about = (
        f"{name}, {sites:,} homes, {hours} h, {100 * own.heard_frac:.0f} % of broadcasts arrive, "
        f"latency 200 +- 200 ms (exponential)"
    )

    def row(
        size: str, unit: str, value: float, peer_value: float | None, better: Literal["higher", "lower"]
    ) -> Result:
        peer = None if peer_value is None else _RULE
        return Result(
            case="pjm", size=size, value=value, unit=unit, better=better, peer=peer, peer_value=peer_value
        )

    parts = (
        f"accuracy {own.mean.accuracy_frac.min():.3f}, delay {own.mean.delay_frac.min():.3f}, "
        f"precision {own.mean.precision_frac.min():.3f} at their lowest"
    )
    return [
        row(
            f"{about}; all hours",
            "performance_score",
            own.mean.overall_frac,
            rule.mean.overall_frac,
            "higher",
        ),
        row(
            f"{about}; worst hour; {parts}",
            "performance_score",
            own.mean.worst_frac,
            rule.mean.worst_frac,
            "higher",
        ),
        row(
            f"{name}: worst hour, by the power at the end of each tick",
            "performance_score",
            own.end.worst_frac,
            rule.end.worst_frac,
            "higher",
        ),
        row(
            f"{name}: worst hour, by the power at the instant of each signal, a tick late for any follower",
            "performance_score",
            own.late.worst_frac,
            rule.late.worst_frac,
            "higher",
        ),
        row(f"{name}: mean error", "of the offer", own.missed_frac, rule.missed_frac, "lower"),
        row(
            f"{name}: homes beyond power, reserve or full, ticks",
            "violations",
            own.limit_violations,
            None,
            "lower",
        ),
        row(
            f"{name}: usable energy {100 * own.lowest_frac:.0f} to {100 * own.highest_frac:.0f} %, "
            f"learned: {own.gain_frac:.3f} given, {own.lag_s:.2f} s late",
            "of half full, furthest",
            max(own.highest_frac - 0.5, 0.5 - own.lowest_frac),
            max(rule.highest_frac - 0.5, 0.5 - rule.lowest_frac),
            "lower",
        ),
        row(f"{name}: deciding", "times faster than real time", own.signal_s / own.decide_s, None, "higher"),
        row(f"{name}: sent by the plant", "messages a tick", own.messages_per_tick, None, "lower"),
    ]


def frequency(quick: bool) -> list[Result]:
    """Return how the agents answer a day of frequency with a trip in it while no message reaches them."""
    sites = 50 if quick else 500
    return frequency_rows(
        respond(read_day(data_file(FREQUENCY_FILE)), sites=sites, seed=_SEED, whole_day=not quick)
    )


def frequency_rows(done: FrequencyRun) -> list[Result]:
    """Return what is printed of a day of frequency."""
    about = f"{done.sites:,} agents, {done.seconds:,} s, trip to {done.lowest_hz:.2f} Hz, no messages"

    def row(size: str, unit: str, value: float) -> Result:
        return Result(case="frequency", size=size, value=value, unit=unit, better="lower")

    return [
        row(f"{about}; first response after the deadband is left", "ticks of 1 s", done.delay_ticks),
        row(
            f"{about}; largest error of the droop where no limit binds",
            "% of the armed power",
            100 * done.error_frac,
        ),
        row(f"{about}; home-seconds in which energy or power limits bind", "%", 100 * done.limited_frac),
        row(f"{about}; energy given for it and taken", "kWh a home", done.energy_kwh),
        row(f"{about}; below the reserve, beyond a limit or the arming", "violations", done.violations),
    ]


_CASES: Final[dict[str, Callable[[bool], list[Result]]]] = {"pjm": pjm, "frequency": frequency}

BENCHMARK: Final = Benchmark(
    name="regulation",
    about="PJM's regulation signals followed by homes behind a bad network; frequency response with the cloud cut",
    cases=tuple(_CASES),
    run=run,
)
