"""What a home will use and its roof will give, learned on the box from nothing but its own past.

Load: the usual of this quarter of the local week, blended with the usual of the day while few weeks are known, moved by how
far the last hour was from it; that distance fades within hours. Sun: for each quarter of the day the most that the roof gave
of late, times how clear it is; how clear it was in the last hour fades towards how clear it usually is. Causal and plain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from shoal.domain.errors import CorruptStateError
from shoal.domain.interval import NS_PER_MINUTE
from shoal.edge.planner_tariff import local_minute

SLOT_MINUTES: Final = 15
SLOT_NS: Final = SLOT_MINUTES * NS_PER_MINUTE
DAY_SLOTS: Final = 24 * 60 // SLOT_MINUTES
WEEK_SLOTS: Final = 7 * DAY_SLOTS
_RECENT: Final = 4
_WEEK_GAIN: Final = 0.3
_DAY_GAIN: Final = 0.15
_LOAD_FADES_H: Final = 1.5
_CLEAR_FADES_H: Final = 4.0
_CLEAR_KEPT: Final = 0.985
"""How much of the most that a quarter gave is kept from day to day, so that it follows the seasons."""
_CLEAR_GAIN: Final = 0.1
_FIRST_LOAD_W: Final = 500.0
_FIRST_CLEAR: Final = 0.7
_LEAST_SUN_W: Final = 20.0


class ForecastState(msgspec.Struct, kw_only=True):
    """Everything that was learned; survives restarts.

    Attributes:
        week_w: Usual load of each quarter of the local week.
        week_seen: How often each was seen, at most 20.
        day_w: Usual load of each quarter of the day.
        day_seen: How often each was seen, at most 20.
        clear_w: The most that the roof gave of late in each quarter of the UTC day.
        clearness: How clear it usually is, as a share of that.
        recent_off_w: How far each quarter of the last hour was from the usual load, the newest last.
        recent_solar_w: Likewise what the roof gave, positive.
        recent_slot: Number since 1970 of the newest of them; 0 before the first.
        slot: The quarter that is being measured.
        load_sum_w: Sum of its samples.
        solar_sum_w: Likewise.
        samples: How many those are.
    """

    week_w: list[float] = msgspec.field(default_factory=lambda: [0.0] * WEEK_SLOTS)
    week_seen: list[int] = msgspec.field(default_factory=lambda: [0] * WEEK_SLOTS)
    day_w: list[float] = msgspec.field(default_factory=lambda: [0.0] * DAY_SLOTS)
    day_seen: list[int] = msgspec.field(default_factory=lambda: [0] * DAY_SLOTS)
    clear_w: list[float] = msgspec.field(default_factory=lambda: [0.0] * DAY_SLOTS)
    clearness: float = _FIRST_CLEAR
    recent_off_w: list[float] = msgspec.field(default_factory=list)
    recent_solar_w: list[float] = msgspec.field(default_factory=list)
    recent_slot: int = 0
    slot: int = 0
    load_sum_w: float = 0.0
    solar_sum_w: float = 0.0
    samples: int = 0


class SiteForecast:
    """Learns as it is told what was measured, and says what it expects.

    Args:
        zone: The site's local time.
        state: What was learned before; nothing when None.
    """

    def __init__(self, zone: ZoneInfo, state: ForecastState | None = None) -> None:
        self._zone = zone
        self.state = ForecastState() if state is None else state

    def observe(self, t_ns: int, *, load_w: float, solar_w: float) -> None:
        """Take in a measurement, load-positive; those of one quarter count alike, whatever their number."""
        state = self.state
        slot = t_ns // SLOT_NS
        if slot < state.slot:
            return  # the clock was set back: wait for it
        if slot > state.slot:
            if state.samples:
                self._learn()
            state.slot, state.load_sum_w, state.solar_sum_w, state.samples = slot, 0.0, 0.0, 0
        state.load_sum_w += load_w
        state.solar_sum_w += max(-solar_w, 0.0)
        state.samples += 1

    def expect(self, t_ns: int, *, now_ns: int) -> tuple[float, float]:
        """Return the expected load and what the roof is expected to give at an instant, both >= 0, in watts."""
        lead_h = max(t_ns - now_ns, 0) / (60 * NS_PER_MINUTE)
        load_w, clearness = self._residual_w * math.exp(-lead_h / _LOAD_FADES_H), self.state.clearness
        clearness += (self._clearness - clearness) * math.exp(-lead_h / _CLEAR_FADES_H)
        slot = t_ns // SLOT_NS
        return max(self._usual_w(slot) + load_w, 0.0), self.state.clear_w[slot % DAY_SLOTS] * clearness

    def prepare(self, now_ns: int) -> None:
        """Work out how far the last hour was from the usual; before a row of `expect`."""
        state = self.state
        self._residual_w, self._clearness = 0.0, state.clearness
        fresh = state.recent_slot >= now_ns // SLOT_NS - _RECENT and bool(state.recent_off_w)
        if not fresh:
            return
        first = state.recent_slot - len(state.recent_off_w) + 1
        count = len(state.recent_off_w)
        self._residual_w = sum(state.recent_off_w) / count
        clear = sum(state.clear_w[(first + at) % DAY_SLOTS] for at in range(count))
        if clear > _LEAST_SUN_W * count:
            self._clearness = min(sum(state.recent_solar_w) / clear, 1.2)

    _residual_w: float = 0.0
    _clearness: float = _FIRST_CLEAR

    def _usual_w(self, slot: int) -> float:
        state = self.state
        minute = local_minute(slot * SLOT_NS, self._zone)
        week, day = minute // SLOT_MINUTES, minute // SLOT_MINUTES % DAY_SLOTS
        weeks, days = state.week_seen[week], state.day_seen[day]
        if not days:
            known = [w for w, seen in zip(state.day_w, state.day_seen, strict=True) if seen]
            return sum(known) / len(known) if known else _FIRST_LOAD_W
        share = weeks / (weeks + 2.0)
        return share * state.week_w[week] + (1.0 - share) * state.day_w[day]

    def _learn(self) -> None:
        """Take the finished quarter into what is usual."""
        state = self.state
        load_w, solar_w = state.load_sum_w / state.samples, state.solar_sum_w / state.samples
        minute = local_minute(state.slot * SLOT_NS, self._zone)
        week, day = minute // SLOT_MINUTES, minute // SLOT_MINUTES % DAY_SLOTS
        off_w = load_w - self._usual_w(state.slot)
        for usual, seen, at, gain in (
            (state.week_w, state.week_seen, week, _WEEK_GAIN),
            (state.day_w, state.day_seen, day, _DAY_GAIN),
        ):
            seen[at] = min(seen[at] + 1, 20)
            usual[at] += max(gain, 1.0 / seen[at]) * (load_w - usual[at])
        self._learn_sun(solar_w)
        if state.slot != state.recent_slot + 1:
            state.recent_off_w, state.recent_solar_w = [], []
        state.recent_off_w = [*state.recent_off_w, off_w][-_RECENT:]
        state.recent_solar_w = [*state.recent_solar_w, solar_w][-_RECENT:]
        state.recent_slot = state.slot

    def _learn_sun(self, solar_w: float) -> None:
        state = self.state
        at = state.slot % DAY_SLOTS
        state.clear_w[at] = max(solar_w, _CLEAR_KEPT * state.clear_w[at])
        if state.clear_w[at] > _LEAST_SUN_W:
            state.clearness += _CLEAR_GAIN / 10.0 * (solar_w / state.clear_w[at] - state.clearness)


def forecast_state(content: Mapping[str, Any]) -> ForecastState:
    """Return what was learned, from what a file held.

    Raises:
        CorruptStateError: when it is not that.
    """
    try:
        state = msgspec.convert(content, ForecastState)
    except msgspec.ValidationError as error:
        raise CorruptStateError("forecast state", str(error)) from error
    lengths = (
        len(state.week_w),
        len(state.week_seen),
        len(state.day_w),
        len(state.day_seen),
        len(state.clear_w),
    )
    if lengths != (WEEK_SLOTS, WEEK_SLOTS, DAY_SLOTS, DAY_SLOTS, DAY_SLOTS):
        raise CorruptStateError("forecast state", f"columns of {lengths}")
    return state
