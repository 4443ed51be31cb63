"""What a site follows, in layers: each fades in over what is beneath it, and out again when it has ended.

A ramp is no memory of the last power but a share of time: the layer counts for so much, what is beneath for the rest.
So a device that restarts in the middle of a ramp goes on where it would have been, and thousands that come back
together do not step. What a battery is asked to do here is not yet limited by anything.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_S
from shoal.edge.agent_columns import (
    ACTIVE,
    NO_LIMIT_W,
    PENDING,
    AgentColumns,
    EventCode,
    Floats,
    Rows,
    Watts,
)

ENERGY_MARGIN_KWH = 1e-9
"""A hair that stays above the reserve and below full, so that rounding never crosses either."""


def share_done(elapsed_s: Floats, ramp_s: Floats, hold_s: float) -> Floats:
    """Return how much of a ramp is done, 0 to 1, on average over the next `hold_s`; at this instant when that is 0."""
    if hold_s <= 0.0:
        done = np.divide(elapsed_s, ramp_s, out=np.ones_like(elapsed_s), where=ramp_s > 0.0)
    else:
        done = (_summed(elapsed_s + hold_s, ramp_s) - _summed(elapsed_s, ramp_s)) / hold_s
    return np.clip(done, 0.0, 1.0)


def weights(
    *,
    since_begin_s: Floats,
    since_end_s: Floats,
    ramp_s: Floats,
    from_frac: Floats,
    from_w: Floats,
    hold_s: float,
) -> tuple[Floats, Floats, Floats]:
    """Return how much counts what is beneath, a constant in watts, and how much what is asked.

    Args:
        since_begin_s: Since the layer began.
        since_end_s: Since it ended; negative while it lasts.
        ramp_s: Length of its ramps.
        from_frac, from_w: At its beginning it was `from_frac` x what is beneath + `from_w`.
        hold_s: For how long the answer is held.
    """
    ended = since_end_s >= 0.0
    lasted_s = since_begin_s - np.maximum(since_end_s, 0.0)
    done = np.where(ended, share_done(lasted_s, ramp_s, 0.0), share_done(since_begin_s, ramp_s, hold_s))
    back = np.where(ended, share_done(np.maximum(since_end_s, 0.0), ramp_s, hold_s), 0.0)
    beneath = (1.0 - done) * from_frac
    return beneath + back * (1.0 - beneath), (1.0 - back) * (1.0 - done) * from_w, (1.0 - back) * done


def follow_leases(
    columns: AgentColumns,
    beneath_w: Watts,
    *,
    now_ns: int,
    hold_s: float,
    obeys: NDArray[np.bool_],
) -> tuple[Watts, NDArray[np.bool_], NDArray[np.int64]]:
    """Return the powers asked for (N) with leases over what is beneath, where one is in force, and its version."""
    started = (columns.version[PENDING] > 0) & (columns.start_ns[PENDING] <= now_ns)
    version, setpoint_w, start_ns, end_ns = (
        np.where(started, slots[PENDING], slots[ACTIVE])
        for slots in (columns.version, columns.battery_w, columns.start_ns, columns.end_ns)
    )
    leased = (version > 0) & (start_ns <= now_ns) & (now_ns < end_ns) & obeys
    asked_w = np.where(leased, setpoint_w, beneath_w)
    if columns.ramp_s.any():
        slot = np.where(started, PENDING, ACTIVE)
        everyone = np.arange(len(columns))
        ramp_s, begin_ns = columns.ramp_s[slot, everyone], columns.begin_ns[slot, everyone]
        begun_s, ended_s = (now_ns - begin_ns) / NS_PER_S, (now_ns - end_ns) / NS_PER_S
        fading = (version > 0) & (end_ns <= now_ns) & (ended_s < ramp_s) & obeys
        rows = np.flatnonzero((leased & (begun_s < ramp_s)) | fading)
        if len(rows):
            at = (slot[rows], rows)
            under, plus_w, asked = weights(
                since_begin_s=begun_s[rows],
                since_end_s=np.where(fading, ended_s, -1.0)[rows],
                ramp_s=ramp_s[rows],
                from_frac=columns.from_frac[at],
                from_w=columns.from_w[at],
                hold_s=hold_s,
            )
            asked_w[rows] = np.rint(under * beneath_w[rows] + plus_w + asked * setpoint_w[rows])
    return asked_w, leased, np.where(leased, version, 0)


def follow_events(
    columns: AgentColumns,
    asked_w: Watts,
    *,
    now_ns: int,
    hold_s: float,
    horizon_s: float,
    obeys: NDArray[np.bool_],
    own_w: Watts,
    surplus_w: Watts,
    stored_kwh: Floats,
) -> NDArray[np.int8]:
    """Lay the events over `asked_w` (N, changed in place); return the slot of the one that rules (N), -1 for none.

    Args:
        columns: The agents.
        asked_w: What is beneath.
        now_ns: The present instant.
        hold_s: For how long the answer is held.
        horizon_s: For how long energy must suffice.
        obeys: Who follows anything at all (N).
        own_w: What each would do by itself (N).
        surplus_w: Solar power that is left over (N), never negative.
        stored_kwh: Energy in each battery (N).
    """
    ruling = np.full(len(columns), -1, dtype=np.int8)
    # The first of a document rules, so it is laid on last.
    for slot in range(len(columns.events) - 1, -1, -1):
        events = columns.events[slot]
        begun = (events["kind"] > 0) & (events["begin_ns"] <= now_ns) & ~events["opted_out"] & obeys
        begun &= (now_ns < events["stop_ns"]) | ((now_ns - events["stop_ns"]) / NS_PER_S < events["ramp_s"])
        rows = np.flatnonzero(begun)
        if not len(rows):
            continue
        mine = events.take(rows)  # for records a hundred times faster than an index
        beneath_w = asked_w[rows]
        wanted_w = _wanted_by_events(
            columns,
            rows,
            mine,
            beneath_w=beneath_w,
            own_w=own_w[rows],
            surplus_w=surplus_w[rows],
            stored_kwh=stored_kwh[rows],
            horizon_s=horizon_s,
        )
        begun_s = (now_ns - mine["begin_ns"]) / NS_PER_S
        ended_s = (now_ns - mine["stop_ns"]) / NS_PER_S
        moving = np.flatnonzero((begun_s < mine["ramp_s"]) | (ended_s >= 0.0))
        if len(moving):
            ramped = mine.take(moving)
            under, plus_w, asked = weights(
                since_begin_s=begun_s[moving],
                since_end_s=ended_s[moving],
                ramp_s=ramped["ramp_s"],
                from_frac=ramped["from_frac"],
                from_w=ramped["from_w"],
                hold_s=hold_s,
            )
            wanted_w[moving] = np.rint(under * beneath_w[moving] + plus_w + asked * wanted_w[moving])
        asked_w[rows] = wanted_w
        ruling[rows[ended_s < 0.0]] = slot
    return ruling


def site_bounds(columns: AgentColumns, now_ns: int, others_w: Watts) -> tuple[Watts, Watts] | None:
    """Return the least and the most battery power (N) that keep the limits at the connection point; None without any.

    An envelope in force takes the place of the static limits, the tightest where there are several.
    """
    import_w, export_w = columns.import_limit_w, columns.export_limit_w
    for_now_w: list[Watts] = []
    for envelopes in columns.envelopes:
        holds = (envelopes["start_ns"] <= now_ns) & (now_ns < envelopes["end_ns"])
        if not holds.any():
            continue
        if not for_now_w:
            for_now_w = [np.full(len(columns), NO_LIMIT_W + 1, dtype=np.int64) for _ in range(2)]
        for limit_w, name in zip(for_now_w, ("import_limit_w", "export_limit_w"), strict=True):
            np.minimum(limit_w, envelopes[name], out=limit_w, where=holds)
    if for_now_w:
        import_w, export_w = (
            np.where(limit_w > NO_LIMIT_W, static_w, limit_w)
            for limit_w, static_w in zip(for_now_w, (import_w, export_w), strict=True)
        )
    elif int(import_w.min(initial=NO_LIMIT_W)) == int(export_w.min(initial=NO_LIMIT_W)) == NO_LIMIT_W:
        return None
    return -export_w - others_w, import_w - others_w


def energy_bounds(columns: AgentColumns, *, stored_kwh: Floats, horizon_s: float) -> tuple[Watts, Watts]:
    """Return the largest charging and discharging power (N, never negative) to hold for `horizon_s`."""
    watts_per_kwh = 3_600_000.0 / horizon_s
    # fmax and not maximum: an unknown stored energy (NaN) leaves no room in either direction.
    room_kwh = np.fmax(columns.energy_capacity_kwh - stored_kwh - ENERGY_MARGIN_KWH, 0.0)
    spare_kwh = np.fmax(stored_kwh - columns.reserve_kwh - ENERGY_MARGIN_KWH, 0.0)
    charge_w = room_kwh / columns.charge_efficiency_frac * watts_per_kwh
    discharge_w = spare_kwh * columns.discharge_efficiency_frac * watts_per_kwh
    return (
        np.minimum(np.floor(charge_w), columns.charge_limit_w).astype(np.int64),
        np.minimum(np.floor(discharge_w), columns.discharge_limit_w).astype(np.int64),
    )


def _wanted_by_events(
    columns: AgentColumns,
    rows: Rows,
    events: NDArray[np.void],
    *,
    beneath_w: Watts,
    own_w: Watts,
    surplus_w: Watts,
    stored_kwh: Floats,
    horizon_s: float,
) -> Watts:
    """Return what each site's event asks for, see `shoal.domain.orders.EventKind`."""
    kind = events["kind"]
    wanted_w = np.where(kind == EventCode.POWER, events["battery_w"], own_w)
    holds = (kind == EventCode.HOLD) | (kind == EventCode.CHARGE)
    if not holds.any():
        return wanted_w
    watts_per_kwh = 3_600_000.0 / horizon_s
    above_kwh = stored_kwh - events["soc_frac"] * columns.energy_capacity_kwh[rows]
    spare_w = np.fmax(above_kwh - ENERGY_MARGIN_KWH, 0.0) * watts_per_kwh
    spare_w = np.minimum(np.floor(spare_w * columns.discharge_efficiency_frac[rows]), NO_LIMIT_W)
    lacking_w = np.fmax(-above_kwh, 0.0) * watts_per_kwh / columns.charge_efficiency_frac[rows]
    lacking_w = np.minimum(np.floor(lacking_w), NO_LIMIT_W).astype(np.int64)
    most_w = np.where(events["solar_only"], surplus_w, NO_LIMIT_W)
    kept_w = np.maximum(beneath_w, -spare_w.astype(np.int64))
    charge_w = np.minimum(np.minimum(events["battery_w"], most_w), lacking_w)
    charge_w = np.where(lacking_w > 0, np.maximum(charge_w, 0), np.minimum(kept_w, most_w))
    return np.where(holds, np.where(kind == EventCode.HOLD, kept_w, charge_w), wanted_w)


def _summed(elapsed_s: Floats, ramp_s: Floats) -> Floats:
    """Return the share done, summed over time from the beginning."""
    elapsed_s = np.maximum(elapsed_s, 0.0)
    rising = np.divide(elapsed_s * elapsed_s, 2.0 * ramp_s, out=np.zeros_like(elapsed_s), where=ramp_s > 0.0)
    return np.where(elapsed_s < ramp_s, rising, elapsed_s - ramp_s / 2.0)
