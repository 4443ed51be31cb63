"""What a standing service reached, day by day: peaks and ramps with its batteries and without, energy, and what went wrong.

Peaks are means of a quarter of an hour, as utilities bill them. Ramps are changes from one mean to the next: of ten looks, and
of a minute at least, for what happens between two looks nobody can see or mend. Time in which nothing was known is counted
by itself: it is neither kept nor broken.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from shoal.domain.interval import NS_PER_MINUTE, to_datetime

MOST_DAYS: Final = 62
_QUARTER_NS: Final = 15 * NS_PER_MINUTE
_LEAST_S: Final = 600.0
"""Of a quarter of an hour must be known for its mean to count."""


class Day(msgspec.Struct, kw_only=True):
    """One day; powers are of the times in which the limit counts.

    Attributes:
        day: By the clock on the wall.
        peak_without_kw: Highest mean of a quarter of an hour without the batteries that serve; None before the first.
        peak_with_kw: With them.
        ramp_without_kw_per_min: Steepest change from one mean to the next, without them.
        ramp_with_kw_per_min: With them.
        charged_kwh: What they took in while they served.
        discharged_kwh: What they gave.
        counted_s: How long the limit counted and was known to be kept or not.
        beyond_without_s: How long it would have been broken without them.
        beyond_s: How long it was.
        blind_s: How long too little was heard from to know.
    """

    day: str
    peak_without_kw: float | None = None
    peak_with_kw: float | None = None
    ramp_without_kw_per_min: float = 0.0
    ramp_with_kw_per_min: float = 0.0
    charged_kwh: float = 0.0
    discharged_kwh: float = 0.0
    counted_s: float = 0.0
    beyond_without_s: float = 0.0
    beyond_s: float = 0.0
    blind_s: float = 0.0


class Quarter(msgspec.Struct, kw_only=True):
    """The stretch under way of which a mean is taken, usually a quarter of an hour: its number, and power by time."""

    number: int = -1
    known_s: float = 0.0
    without_kws: float = 0.0
    with_kws: float = 0.0

    @property
    def means_kw(self) -> tuple[float, float]:
        """Mean power without the batteries and with them."""
        return self.without_kws / self.known_s, self.with_kws / self.known_s


class Tally(msgspec.Struct, kw_only=True):
    """The days of a service, the newest last."""

    days: list[Day] = msgspec.field(default_factory=list)
    quarter: Quarter = msgspec.field(default_factory=Quarter)
    before_kw: tuple[float, float] | None = None
    """The means of the stretch before, of a farm."""

    def today(self, t_ns: int, zone: ZoneInfo) -> Day:
        """Return the day of an instant; the oldest days are forgotten."""
        name = to_datetime(t_ns, zone).date().isoformat()
        if not self.days or self.days[-1].day < name:
            self.days.append(Day(day=name))
            del self.days[:-MOST_DAYS]
        return self.days[-1]

    def note_energy(self, day: Day, battery_kw: float, span_s: float) -> None:
        """Count what the batteries did while they served."""
        energy_kwh = battery_kw * span_s / 3_600.0
        if energy_kwh > 0:
            day.charged_kwh += energy_kwh
        else:
            day.discharged_kwh -= energy_kwh

    def note_power(self, day: Day, t_ns: int, span_s: float, *, without_kw: float, with_kw: float) -> None:
        """Count a power that held over the span up to an instant."""
        number = (t_ns - 1) // _QUARTER_NS
        if number != self.quarter.number:
            self.quarter = Quarter(number=number)
        quarter = self._add(span_s, without_kw, with_kw)
        if quarter.known_s >= _LEAST_S:
            means_kw = quarter.means_kw
            day.peak_without_kw = _higher(day.peak_without_kw, means_kw[0])
            day.peak_with_kw = _higher(day.peak_with_kw, means_kw[1])

    def note_ramp(
        self,
        day: Day,
        t_ns: int,
        span_s: float,
        *,
        without_kw: float,
        with_kw: float,
        over_s: float,
        limit_kw_per_min: float,
    ) -> bool | None:
        """Count a farm's power over the span up to an instant; return whether the limit was broken, None while nobody can say.

        Args:
            day: Today.
            t_ns: The instant.
            span_s: How long the power held.
            without_kw: Without the batteries.
            with_kw: With them.
            over_s: Of how long a mean is taken.
            limit_kw_per_min: What it may change by.
        """
        over_ns = int(over_s * 1e9)
        number, said = (t_ns - 1) // over_ns, None
        if number != self.quarter.number:
            over = self.quarter if 2 * self.quarter.known_s >= over_s else None
            if over is not None and self.before_kw is not None:
                ramps = [
                    abs(now - before) / over_s * 60.0
                    for now, before in zip(over.means_kw, self.before_kw, strict=True)
                ]
                day.ramp_without_kw_per_min = max(day.ramp_without_kw_per_min, ramps[0])
                day.ramp_with_kw_per_min = max(day.ramp_with_kw_per_min, ramps[1])
                said = ramps[1] > limit_kw_per_min
                day.counted_s += over_s
                day.beyond_without_s += over_s * (ramps[0] > limit_kw_per_min)
                day.beyond_s += over_s * said
            self.before_kw = None if over is None or number != over.number + 1 else over.means_kw
            self.quarter = Quarter(number=number)
        self._add(span_s, without_kw, with_kw)
        return said

    def _add(self, span_s: float, without_kw: float, with_kw: float) -> Quarter:
        quarter = self.quarter
        quarter.known_s += span_s
        quarter.without_kws += without_kw * span_s
        quarter.with_kws += with_kw * span_s
        return quarter

    def total(self) -> Day:
        """Return all days together; the name is that of the first."""
        whole = Day(day=self.days[0].day if self.days else date.min.isoformat())
        for one in self.days:
            for name in ("peak_without_kw", "peak_with_kw"):
                value = getattr(one, name)
                if value is not None:
                    setattr(whole, name, _higher(getattr(whole, name), value))
            for name in ("ramp_without_kw_per_min", "ramp_with_kw_per_min"):
                setattr(whole, name, max(getattr(whole, name), getattr(one, name)))
            for name in (
                "charged_kwh",
                "discharged_kwh",
                "counted_s",
                "beyond_without_s",
                "beyond_s",
                "blind_s",
            ):
                setattr(whole, name, getattr(whole, name) + getattr(one, name))
        return whole


def tally_of(kept: Any) -> Tally:
    """Return a tally from what was kept; an empty one from what cannot be read."""
    try:
        return msgspec.convert(kept, Tally)
    except msgspec.ValidationError:
        return Tally()


def _higher(before_kw: float | None, power_kw: float) -> float:
    return power_kw if before_kw is None else max(before_kw, power_kw)
