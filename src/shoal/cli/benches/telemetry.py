"""The way of a sample from its device to a published aggregate and to history: how many, how late, none lost.

Every case runs the plant's own processes on this machine, beside the load generator, which takes its share of the
processors too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Literal, TypeAlias

from shoal.cli.bench import Benchmark, Result
from shoal.simulate.load_fleet import LoadPlan, Transport

Better: TypeAlias = Literal["higher", "lower"]

_MQTT_DEVICES: Final = (2_000, 200)
_PEER_S: Final = (7.0, 1.0)


def run(case: str | None, quick: bool) -> list[Result]:
    """Run one case, or all of them one after the other."""
    from shoal.runtime.log import configure_logging
    from shoal.runtime.sections import Log

    configure_logging(Log(level="warning"), role="bench")
    chosen = list(_CASES) if case is None else [case]
    return [result for name in chosen for result in _CASES[name](quick)]


def ingest_k1(quick: bool) -> list[Result]:
    """One sample a message, from gateways with many sites each."""
    plan = LoadPlan(sites=1_000, gateways=8) if quick else LoadPlan(sites=100_000)
    return _ingest_beside_peers("ingest_k1", plan, quick)


def ingest_k25(quick: bool) -> list[Result]:
    """25 samples a message, each of another site behind the gateway."""
    sites, gateways = (1_000, 8) if quick else (100_000, 64)
    plan = LoadPlan(sites=sites, gateways=gateways, samples_per_message=25)
    return _ingest_beside_peers("ingest_k25", plan, quick)


def ingest_mqtt_k1(quick: bool) -> list[Result]:
    """One sample a message over MQTT, each device on a connection of its own, beside the engine alone."""
    from shoal.cli.benches._broker import measure_broker

    devices = _MQTT_DEVICES[quick]
    plan = LoadPlan(sites=devices, gateways=0, transport=Transport.MQTT, probes=min(devices, 64))
    ours = _ingest("ingest_mqtt_k1", plan, quick)
    limit = asyncio.run(measure_broker(plan, 2.0 if quick else 15.0))
    rate, *rest = ours
    return [
        _beside(rate, "engine with nobody reading", limit.stored_per_s),
        _beside(rate, "engine without a journal", limit.dropped_per_s),
        *rest,
    ]


def soak(quick: bool) -> list[Result]:
    """Ten minutes at 70 % of the maximum."""
    from shoal.cli.benches._soak import measure_soak

    if quick:
        plan = LoadPlan(sites=1_000, gateways=8)
        seen = asyncio.run(measure_soak(plan, find_s=1.0, settle_s=1.0, duration_s=6.0, part_s=2.0))
    else:
        plan = LoadPlan(sites=100_000)
        seen = asyncio.run(measure_soak(plan, find_s=60.0, settle_s=180.0, duration_s=600.0, part_s=60.0))
    size = f"{len(plan.site_ids):,} sites, {'6 s' if quick else '600 s'}, one sample a message"
    results = [
        _row("soak", size, seen.rate_per_s, "samples/s", "higher"),
        _row("soak", f"{size}: not accounted for", seen.account.missing, "samples", "lower"),
        _row("soak", f"{size}: memory, last part against first", 100 * seen.growth_frac, "% growth", "lower"),
    ]
    if seen.latency is not None:
        results.append(_row("soak", f"{size}: p99", seen.latency.p99_ms, "ms", "lower"))
    return results


def connections(quick: bool) -> list[Result]:
    """Many MQTT devices, held and brought back."""
    from shoal.cli.benches._connections import measure_connections

    devices, hold_s = (300, 2.0) if quick else (15_000, 30.0)
    seen = asyncio.run(measure_connections(devices, hold_s))
    size = f"{devices:,} MQTT devices"
    return [
        _row("connections", f"{size}: back after the engine's death", seen.reconnect_s, "s", "lower"),
        _row("connections", f"{size}: first sign-in", seen.sign_in_s, "s", "lower"),
        _row("connections", f"{size}: engine's memory", seen.bytes_each / 1_024, "KiB/device", "lower"),
        _row(
            "connections",
            f"{size}: engine's processor time, a sample a minute",
            1e6 * seen.core_each,
            "us/s/device",
            "lower",
        ),
    ]


def recover(quick: bool) -> list[Result]:
    """Owners of shards killed under load."""
    from shoal.cli.benches._recover import measure_recovery

    sites, gateways, kills = (2_000, 8, 2) if quick else (500_000, 64, 20)
    rate_per_s = sites / 2
    plan = LoadPlan(sites=sites, gateways=gateways, samples_per_message=25)
    seen = asyncio.run(measure_recovery(plan, rate_per_s=rate_per_s, kills=kills, seed=1))
    size = f"{sites:,} sites of two owners, {kills} kills under {rate_per_s:,.0f} samples/s"
    return [
        _row("recover", f"{size}: slowest until current", max(seen.took_s), "s", "lower"),
        _row("recover", f"{size}: sites without their last sample", seen.missing, "sites", "lower"),
        _row("recover", f"{size}: given up", seen.lost, "samples", "lower"),
        _row(
            "recover",
            f"{size}: counted twice or not at all, of {seen.sent:,}",
            seen.doubled,
            "samples",
            "lower",
        ),
    ]


def history(quick: bool) -> list[Result]:
    """Samples written durably beside live ingest, their size, how fast they are found, and what ingest notices of it."""
    from shoal.cli.benches._history import measure_history

    if quick:
        seen = asyncio.run(
            measure_history(sites=1_000, gateways=8, rate_per_s=20_000.0, duration_s=3.0, day_sites=20)
        )
    else:
        seen = asyncio.run(
            measure_history(sites=50_000, gateways=64, rate_per_s=450_000.0, duration_s=40.0, day_sites=2_000)
        )
    size = f"{seen.rows:,} rows beside live ingest of {seen.offered_per_s:,.0f} samples/s"
    day = f"a day of {seen.day_sites:,} sites every 10 s, {seen.day.rows:,} rows"
    results = [
        _row("history", size, seen.rows_per_s, "rows/s", "higher"),
        _row("history", f"{size}: not in history, or twice", seen.missing, "samples", "lower"),
        _row("history", f"{day}, written on one core", seen.day.written_per_s, "rows/s", "higher"),
        _row("history", f"{day}, merged", seen.day.bytes_a_row, "B/row", "lower"),
        _row("history", f"{day}: a site's day, while ingest runs", seen.site_ms, "ms", "lower"),
        _row(
            "history",
            f"{day}: the fleet's in five-minute means, while ingest runs",
            seen.fleet_ms,
            "ms",
            "lower",
        ),
    ]
    alone = seen.alone
    for about, latency in (("history is written", seen.written), ("it is queried, too", seen.queried)):
        if alone is not None and latency is not None:
            results.append(
                _row(
                    "history",
                    f"{size}: p99 of ingest while {about}",
                    latency.p99_ms,
                    "ms",
                    "lower",
                    peer="without history",
                    peer_value=alone.p99_ms,
                )
            )
    return results


def _ingest_beside_peers(case: str, plan: LoadPlan, quick: bool) -> list[Result]:
    """Return what the plant takes, and the same value beside what each peer takes from the same engine and load."""
    from shoal.cli.benches._journal_peers import Followed, measure_peers

    ours = _ingest(case, plan, quick)
    duration_s = _PEER_S[quick]
    outcomes = asyncio.run(measure_peers(plan, duration_s, install=not quick))
    size = f"{len(plan.site_ids):,} sites, {len(plan.devices):,} {plan.transport.upper()} connections"
    rows: list[Result] = []
    for one, outcome in outcomes:
        about = f"{size}; peer for {duration_s:.0f} s, to a sum in memory, nothing judged or kept: {one.peer.about}"
        if isinstance(outcome, Followed):
            about = f"{about}; its slowest refresh {outcome.slowest_refresh_ms:.0f} ms"
            peer_value = outcome.rate_per_s
        else:
            about, peer_value = f"{about}; absent: {outcome.reason}", None
        rows.append(replace(ours[0], size=about, peer=one.label, peer_value=peer_value))
    return [*ours, *rows]


def _ingest(case: str, plan: LoadPlan, quick: bool) -> list[Result]:
    from shoal.cli.benches._ingest import QUICK, USUAL, measure_ingest

    lengths = QUICK if quick else USUAL
    seen = asyncio.run(measure_ingest(plan, lengths))
    size = (
        f"{len(plan.site_ids):,} sites, {len(plan.devices):,} {plan.transport.upper()} connections, "
        f"{lengths.sustained_s:.0f} s"
    )
    results = [
        _row(case, f"{size}; {seen.effort}", seen.rate_per_s, "samples/s", "higher"),
        _row(case, f"{size}: not accounted for", seen.account.missing, "samples", "lower"),
    ]
    if seen.latency is not None:
        half = f"{size}: visible at {seen.half_rate_per_s:,.0f} samples/s"
        results += [
            _row(case, f"{half}, p50", seen.latency.p50_ms, "ms", "lower"),
            _row(case, f"{half}, p99", seen.latency.p99_ms, "ms", "lower"),
        ]
    return results


def _row(
    case: str,
    size: str,
    value: float,
    unit: str,
    better: Better,
    *,
    peer: str | None = None,
    peer_value: float | None = None,
) -> Result:
    return Result(
        case=case, size=size, value=value, unit=unit, better=better, peer=peer, peer_value=peer_value
    )


def _beside(result: Result, peer: str, peer_value: float) -> Result:
    return replace(result, peer=peer, peer_value=peer_value)


_CASES: Final[dict[str, Callable[[bool], list[Result]]]] = {
    "ingest_k1": ingest_k1,
    "ingest_k25": ingest_k25,
    "ingest_mqtt_k1": ingest_mqtt_k1,
    "connections": connections,
    "recover": recover,
    "history": history,
    "soak": soak,
}

BENCHMARK: Final = Benchmark(
    name="telemetry",
    about="samples from real connections to visible aggregates and to history",
    cases=tuple(_CASES),
    run=run,
)
