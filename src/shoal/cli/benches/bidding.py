"""Bidding at every gate, whatever fails: a hostile market, bidders killed, databases cut, solvers hung."""

from __future__ import annotations

from typing import Final

from shoal.cli.bench import Benchmark, Result

_GATES: Final = {"gates_2000": 2_000, "gates_calm": 300}
_QUICK_GATES: Final = 24
_SPEED: Final = 300.0


def run(case: str | None, quick: bool) -> list[Result]:
    """Run one case, or the hostile one."""
    from shoal.cli.benches._bidding_run import run_gates

    name = case or "gates_2000"
    gates = _QUICK_GATES if quick else _GATES[name]
    # a smoke run goes through the day before its first interval quickly, too
    seen = run_gates(gates=gates, speed=_SPEED, hostile=name != "gates_calm")
    market = seen.market
    size = (
        f"{market.gates_passed:,} gates at {_SPEED:.0f} times real time, {seen.wall_s:,.0f} s; {seen.database}; "
        f"{seen.kills} kills, {seen.cuts} cuts, {seen.taken_over} takeovers"
    )
    rows = [
        _row(name, f"{size}: gates missed", market.gates_missed, "gates"),
        _row(name, "bids sent twice", market.bids_duplicate + market.bids_conflicting, "bids"),
        _row(
            name,
            f"bids that the market refused for what they were, of {market.bids_received:,}",
            seen.refused_though_valid,
            "bids",
        ),
        _row(name, "bids of which plant and market believe different things", seen.believed_wrong, "bids"),
        _row(name, "bids that came after their gate", market.bids_late, "bids"),
        _row(name, f"decisions {seen.decisions:,}; the rung that held, p99", seen.decided_p99_s, "s"),
    ]
    rows += [
        _row(name, f"refusals of the market: {reason}", count, "bids")
        for reason, count in sorted(market.refusals.items())
    ]
    rows += [
        Result(case=name, size=f"decided on rung {rung}", value=count, unit="decisions", better="higher")
        for rung, count in sorted(seen.rungs.items())
    ]
    rows += [
        _row(name, f"rungs that did not hold: {reason}", count, "rungs")
        for reason, count in seen.reasons.items()
    ]
    return rows


def _row(case: str, size: str, value: float, unit: str) -> Result:
    return Result(case=case, size=size, value=value, unit=unit, better="lower")


BENCHMARK: Final = Benchmark(
    name="bidding",
    about="a valid bid at every five-minute gate of a hostile market, bidders killed, databases cut, solvers hung",
    cases=tuple(_GATES),
    run=run,
)
