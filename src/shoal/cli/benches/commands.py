"""Commands: from a decision to the answer of every device, idle and beside telemetry, and over a network that loses some.

Every message is signed, goes over the real server to a real MQTT session, is checked and taken by the edge's own agent,
and answered. What was missed or taken twice is printed, too: it is to be zero.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

from shoal.cli.bench import Benchmark, Result

if TYPE_CHECKING:
    from shoal.cli.benches._commands_run import Latencies

LOSS_FRAC: Final = 0.05


def run(case: str | None, quick: bool) -> list[Result]:
    """Run one case, or all."""
    from shoal.runtime.log import configure_logging
    from shoal.runtime.sections import Log

    configure_logging(Log(level="warning"), role="bench")
    chosen = _CASES if case is None else {case: _CASES[case]}
    return [result for measure in chosen.values() for result in measure(quick)]


def acknowledged(quick: bool) -> list[Result]:
    """A set-point each, answered; idle, and while telemetry runs at 70 % of what the plant takes."""
    from shoal.cli.benches._commands_run import measure_acknowledged

    if quick:
        seen = asyncio.run(
            measure_acknowledged(devices=500, sites=1_000, gateways=8, rounds=2, find_s=1.0, pause_s=0.2)
        )
    else:
        seen = asyncio.run(
            measure_acknowledged(
                devices=10_000, sites=100_000, gateways=64, rounds=10, find_s=20.0, pause_s=1.0
            )
        )
    devices = f"{seen.devices:,} devices"
    beside = f"{devices} beside telemetry of {seen.telemetry_per_s:,.0f} samples/s"
    return [
        *_latencies("acknowledged", devices, seen.idle),
        *_latencies("acknowledged", beside, seen.loaded),
        Result(
            case="acknowledged",
            size=f"{beside}: p99 against idle",
            value=seen.loaded.p99_s / seen.idle.p99_s,
            unit="times",
            better="lower",
        ),
    ]


def loss(quick: bool) -> list[Result]:
    """5 % of the messages lost, both ways: until every device has its set-point."""
    from shoal.cli.benches._commands_run import LEASE_S, measure_loss

    devices = 300 if quick else 10_000
    seen = asyncio.run(measure_loss(devices=devices, loss_frac=LOSS_FRAC))
    size = f"{seen.devices:,} devices, {LOSS_FRAC:.0%} lost each way"
    return [
        _row("loss", f"{size}: until all follow", seen.taken_s, "s", "lower"),
        _row("loss", f"{size}: until the controller knows", seen.answered_s, "s", "lower"),
        _row("loss", f"{size}: of the lease, a tenth is allowed", seen.taken_s / LEASE_S, "of it", "lower"),
        _row("loss", f"{size}: messages lost", seen.lost, "messages", "lower"),
        _row("loss", f"{size}: told again", seen.repeated, "messages", "lower"),
        _row("loss", f"{size}: taken twice", seen.duplicated, "set-points", "lower"),
        _row("loss", f"{size}: not following the decision in the end", seen.wrong, "devices", "lower"),
    ]


def _latencies(case: str, size: str, seen: Latencies) -> list[Result]:
    return [
        _row(case, f"{size}: decision to answer, p50", seen.p50_s * 1e3, "ms", "lower"),
        _row(case, f"{size}: decision to answer, p99", seen.p99_s * 1e3, "ms", "lower"),
        _row(case, f"{size}: decision to answer, longest", seen.longest_s * 1e3, "ms", "lower"),
        _row(case, f"{size}: to decide", seen.decide_s * 1e3, "ms", "lower"),
        _row(case, f"{size}: answers missed", seen.missed, "answers", "lower"),
        _row(case, f"{size}: taken twice", seen.duplicated, "set-points", "lower"),
        _row(case, f"{size}: not following the decision in the end", seen.wrong, "devices", "lower"),
        _row(case, f"{size}: refused", seen.refused, "messages", "lower"),
    ]


def _row(case: str, size: str, value: float, unit: str, better: Literal["higher", "lower"]) -> Result:
    return Result(case=case, size=size, value=value, unit=unit, better=better)


_CASES: Final[dict[str, Callable[[bool], list[Result]]]] = {"acknowledged": acknowledged, "loss": loss}

BENCHMARK: Final = Benchmark(
    name="commands",
    about="signed set-points from a decision to every device's answer",
    cases=tuple(_CASES),
    run=run,
)
