"""The figures of a preview: intervals, feeders' silence, what follows, the rows of its sites. Pure but for the page's sums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.api.dispatch.planned import Planned
from shoal.api.dispatch.preview_answers import Rebound
from shoal.api.dispatch.previews import PreviewRows
from shoal.api.fleet.latest import FleetLatest
from shoal.api.live.state import to_ms
from shoal.api.plant import Plant
from shoal.control.dry_run import Experience, Worked
from shoal.control.event_calls import policy_of
from shoal.control.grid_limits import GridLimits
from shoal.control.leases import RELEASE_RAMP_S
from shoal.control.rebound_after import rebound_after
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S
from shoal.store.order_records import CallSpec, EventSpec, Order, SetPointSpec

Z_90: Final = 1.645
_W_PER_KW: Final = 1_000.0
AHEAD_NS: Final = 10 * NS_PER_MINUTE
"""What begins later than this is reckoned with as if it began now, and is told so."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """What a preview is made of."""

    order: Order
    t_ns: int
    scope_rows: NDArray[np.int64]
    rows: NDArray[np.int64]
    worked: Worked
    planned: Planned | None
    reason: NDArray[np.int8]
    latest: FleetLatest
    grid: GridLimits


def silent_of_groups(plant: Plant, numbers: Sequence[int]) -> tuple[float, float, float] | None:
    """Return the battery power of the silent sites of groups: expected, low, high; None before the first sums."""
    if plant.model.groups_as_of_ms is None:
        return None
    groups = plant.model.groups(list(numbers))
    told = np.array([(one.expected_kw, one.low_kw, one.high_kw) for one in groups], dtype=np.float64)
    fresh_kw = np.array([one.battery_kw for one in groups], dtype=np.float64)
    expected, low, high = (told - fresh_kw[:, None]).sum(axis=0).tolist()
    return expected, low, high


def of_powers(seen: Seen, power_w: NDArray[np.int64]) -> tuple[float, float, float]:
    """Return low, expected and high of what sites that are heard from do when they are asked so much, kW."""
    total_kw = float(power_w.sum()) / _W_PER_KW
    each_kw = math.sqrt(float(np.square(power_w.astype(np.float64)).sum())) / _W_PER_KW
    if seen.planned is not None:
        share, spread = seen.planned.response.mean_frac, seen.planned.response.spread_frac
        deviation_kw = math.hypot(math.sqrt(share * (1.0 - share)) * each_kw, spread * total_kw)
    else:
        lately = Experience()
        share, deviation_kw = lately.share_frac, lately.deviation_frac * each_kw
    middle_kw = total_kw * share
    low_kw, high_kw = middle_kw - Z_90 * deviation_kw, middle_kw + Z_90 * deviation_kw
    if seen.planned is not None:
        # of a call nobody gives more than is asked, or takes
        low_kw, high_kw = max(low_kw, total_kw), min(high_kw, 0.0)
    return low_kw, middle_kw, high_kw


def interval_of(seen: Seen, low_kw: float, middle_kw: float, high_kw: float) -> tuple[float, float, float]:
    """Return low, expected and high at once: of a call what the controller will expect of it."""
    if seen.planned is None or seen.planned.expected is None:
        return low_kw, middle_kw, high_kw
    told = seen.planned.expected
    return -told.high_w / _W_PER_KW, -told.expected_w / _W_PER_KW, -told.low_w / _W_PER_KW


def held_interval(seen: Seen) -> tuple[float, float, float]:
    """Return low, expected and high of what is held to the end, kW."""
    if seen.planned is None:
        return of_powers(seen, seen.worked.held_w)
    return interval_of(seen, 0.0, 0.0, 0.0)


def asked_kw_of(seen: Seen) -> float:
    """Return what is asked of all together: also what nobody is there for."""
    spec = seen.order.spec
    if isinstance(spec, SetPointSpec):
        return spec.power_w / _W_PER_KW
    if isinstance(spec, CallSpec):
        return -sum(one.target_w for one in spec.targets) / _W_PER_KW
    if isinstance(spec, EventSpec) and spec.group_w is not None:
        return spec.group_w / _W_PER_KW
    return seen.worked.preview.asked_kw


def short_kw(asked_kw: float, held_kw: float) -> float:
    return max(asked_kw - held_kw, 0.0) if asked_kw >= 0 else max(held_kw - asked_kw, 0.0)


def wants_power(order: Order) -> bool:
    """Whether an order asks a power of its sites, even if none could be given."""
    spec = order.spec
    if isinstance(spec, SetPointSpec):
        return spec.power_w != 0
    return isinstance(spec, CallSpec)


def assumes(seen: Seen) -> list[str]:
    """Return what the figures rest on, in words."""
    told = []
    if seen.order.start_ns - seen.t_ns > AHEAD_NS:
        told.append("The batteries are taken as full as they are now, though it begins later.")
    if seen.latest.unanswered:
        told.append(f"{seen.latest.unanswered:,} sites could not be asked and count as silent.")
    if isinstance(seen.order.spec, EventSpec) and not asked_kw_of(seen):
        told.append("Each site does what it can by itself: no power is asked of it.")
    return told


def rebound_of(seen: Seen, plant: Plant) -> Rebound:
    spec, order = seen.order.spec, seen.order
    rests_s, drawn_out_s = 0.0, RELEASE_RAMP_S
    if isinstance(spec, EventSpec):
        drawn_out_s = max(spec.ramp_s, spec.spread_s)
    elif isinstance(spec, CallSpec):
        policy = policy_of(order.program)
        rests_s, drawn_out_s = policy.return_s, policy.prepare_s
    found = rebound_after(
        seen.worked.held_w,
        plate=plant.fleet.nameplate[seen.rows],
        start_ns=order.start_ns,
        end_ns=order.end_ns,
        rests_s=rests_s,
        drawn_out_s=drawn_out_s,
    )
    return Rebound(
        sure="at most",
        peak_kw=found.peak_w / _W_PER_KW,
        energy_kwh=found.energy_wh / _W_PER_KW,
        from_ms=to_ms(found.from_ns),
        until_ms=to_ms(found.until_ns),
        steepest_kw_per_min=found.steepest_kw_per_min,
        t_ms=[to_ms(int(at)) for at in found.t_ns],
        kw=[round(float(power) / _W_PER_KW, 3) for power in found.power_w],
    )


def rows_of_seen(seen: Seen) -> PreviewRows:
    count = len(seen.scope_rows)
    inside = np.searchsorted(seen.scope_rows, seen.rows)

    def spread(values: NDArray[np.int64]) -> NDArray[np.int64]:
        made = np.zeros(count, dtype=np.int64)
        made[inside] = values
        return made

    records = seen.latest.records[seen.scope_rows]
    heard = records["ts_ns"] > 0
    age_s = np.maximum(seen.t_ns - records["ts_ns"], 0) / NS_PER_S
    return PreviewRows(
        rows=seen.scope_rows,
        reason=seen.reason,
        asked_w=spread(seen.worked.asked_w),
        expected_w=spread(seen.worked.at_once_w),
        held_w=spread(seen.worked.held_w),
        soc_frac=np.where(heard, records["soc_frac"], np.nan).astype(np.float32),
        age_s=np.where(heard, age_s, np.nan).astype(np.float32),
    )
