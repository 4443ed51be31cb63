"""What the stories of called events share: how they are called, and what is judged of any of them by meters alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.cli.event_settle import settle_called
from shoal.cli.stories.doors import orders
from shoal.cli.stories.seen import NOISE_W, Seen
from shoal.cli.stories.story import Scene, Verdict
from shoal.control.event_calls import STEP_NS, make_call
from shoal.domain.ids import GroupId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval
from shoal.settle.event import EventSettlement
from shoal.simulate.fleet import VPP

LEAST_FRAC: Final = 0.95
"""Of what was called, in every quarter of an hour."""
MOST_FRAC: Final = 1.10
MOST_STEP_FRAC: Final = 0.25
"""Most that all batteries together may change within a minute, of their rated power."""
SETTLE_NS: Final = 10 * NS_PER_MINUTE
"""What a home is told it has heard, and its ramp is over."""


def battery_rows(scene: Scene) -> NDArray[np.int64]:
    """Return the homes with a battery."""
    return np.flatnonzero(scene.fleet.nameplate["energy_capacity_kwh"] > 0)


def usable_kwh(scene: Scene) -> float:
    """Return what full batteries give above what their owners keep."""
    plate = scene.fleet.nameplate
    above = plate["energy_capacity_kwh"] * (1.0 - plate["reserve_frac"]) * plate["discharge_efficiency_frac"]
    return float(above.sum())


def hours(span: Interval, after_h: float, length_h: float) -> Interval:
    """Return a stretch of a run."""
    start_ns = span.start_ns + int(after_h * NS_PER_HOUR)
    return Interval(start_ns=start_ns, end_ns=start_ns + int(length_h * NS_PER_HOUR))


def calling(
    scene: Scene,
    *,
    event_id: str,
    program: str,
    target_kw: float,
    window: Interval,
    at_ns: int,
    price_per_mwh: float,
    feeds_in: bool = True,
) -> Callable[[], str]:
    """Return what calls an event of all homes."""

    def call() -> str:
        order = make_call(
            event_id=event_id,
            program=program,
            targets=[(str(GroupId(VPP)), target_kw)],
            window=window,
            by="utility",
            now_ns=at_ns,
            reason="story",
            feeds_in=feeds_in,
            price_per_mwh=price_per_mwh,
        )
        return orders(scene).put(order).order_id

    return call


def delivered_wh(
    shown: Seen, rows: NDArray[np.int64], window: Interval, left_ns: dict[int, int]
) -> NDArray[np.float64]:
    """Return what the batteries' meters gave out in each quarter of an event; of who left until then."""
    count = (window.end_ns - window.start_ns) // STEP_NS
    given_wh = np.zeros(count)
    for row in rows.tolist():
        until_ns = left_ns.get(row, window.end_ns)
        for quarter in range(count):
            first_ns = window.start_ns + quarter * STEP_NS
            last_ns = min(first_ns + STEP_NS, until_ns)
            if last_ns > first_ns:
                first, last = np.searchsorted(shown.t_ns, [first_ns, last_ns])
                given_wh[quarter] += shown.net_wh[row, first] - shown.net_wh[row, last]
    return given_wh


def delivered_verdict(
    shown: Seen, rows: NDArray[np.int64], window: Interval, target_kw: float, left_ns: dict[int, int]
) -> Verdict:
    """Return whether what was called came, in every quarter of an hour, by the meters."""
    asked_wh = target_kw * 1e3 * STEP_NS / NS_PER_HOUR
    given_frac = delivered_wh(shown, rows, window, left_ns) / asked_wh
    least, most = float(given_frac.min()), float(given_frac.max())
    return Verdict(
        name="delivered_as_called",
        passed=least >= LEAST_FRAC and most <= MOST_FRAC,
        found=f"{least:.1%} to {most:.1%} of {target_kw:,.1f} kW by quarter of an hour",
        wanted=f"{LEAST_FRAC:.0%} to {MOST_FRAC:.0%}",
    )


def sun_only_verdict(shown: Seen, rows: NDArray[np.int64], name: str, span: Interval) -> Verdict:
    """Return whether no battery charged from the grid in a span."""
    strange = shown.within(span).from_grid[rows]
    return Verdict(
        name=name,
        passed=not strange.any(),
        found=f"{int(strange.sum())} samples that charge from the grid",
        wanted="0",
    )


def beyond_own_use(shown: Seen, row: int, span: Interval) -> int:
    """Return in how many samples a battery, under no set-point, gave more than its own home uses."""
    part = shown.within(span)
    beyond = (part["battery_w"] < -part["own_load_w"] - NOISE_W) & (part["command_version"] == 0) & part.there
    return int(beyond[row].sum())


def no_step_verdict(scene: Scene, shown: Seen, rows: NDArray[np.int64], span: Interval) -> Verdict:
    """Return whether all batteries together never leap, at any seam of an event."""
    plate = scene.fleet.nameplate[rows]
    rated_w = 1e3 * float(np.maximum(plate["charge_limit_kw"], plate["discharge_limit_kw"]).sum())
    total_w = shown.within(span)["battery_w"][rows].sum(axis=0)
    step_frac = float(np.abs(np.diff(total_w)).max(initial=0)) / rated_w
    return Verdict(
        name="no_step",
        passed=step_frac <= MOST_STEP_FRAC,
        found=f"{step_frac:.1%} of the rated power within a minute",
        wanted=f"at most {MOST_STEP_FRAC:.0%}",
    )


def settled(scene: Scene, event_id: str, measure: str | None = None) -> EventSettlement:
    """Return an event's settlement, as `shoal event settle` makes it."""
    return settle_called(scene.settings, scene.fleet, orders(scene), event_id, measure=measure)


def payment_verdict(found: EventSettlement, metered_wh: float) -> Verdict:
    """Return whether money adds up to the last unit, on what the meters say."""
    owners = sum(line.amount for line in found.lines)
    exact = found.balance_error == 0 and found.amount == found.paid_wh * found.price_cents_per_mwh
    apart = abs(found.delivered_wh - metered_wh) / max(metered_wh, 1.0)
    paid = sum(line.amount > 0 for line in found.lines)
    return Verdict(
        name="every_home_is_paid",
        passed=exact and apart <= 0.01 and owners > 0,
        found=f"{paid} of {len(found.lines)} homes, {owners / 1e8:,.2f} {found.currency} of {found.amount / 1e8:,.2f} "
        f"for {found.delivered_wh / 1e3:,.1f} kWh",
        wanted=f"what the meters say, {metered_wh / 1e3:,.1f} kWh, to the last unit",
    )
