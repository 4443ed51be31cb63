"""The fleet over time, for as long as the page shows: every point of the last while, fewer of what lies before. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final, TypeAlias

from shoal.api.live.state import FleetNow, FleetSeries, to_ms

SERIES_POINTS: Final = 2_880
RECENT_POINTS: Final = 600
SPACING_MS: Final = 1_000
SPAN_MS: Final = 24 * 3_600_000

Point: TypeAlias = tuple[Any, ...]
_COLUMNS: Final = FleetSeries.__struct_fields__


def point_of(fleet: FleetNow, t_ns: int) -> Point:
    """Return the point of one instant."""
    return (
        to_ms(t_ns),
        fleet.battery_kw,
        fleet.battery_expected_kw,
        fleet.battery_low_kw,
        fleet.battery_high_kw,
        fleet.solar_kw,
        fleet.load_kw,
        fleet.soc_frac,
        fleet.coverage_kw_frac,
    )


class Trail:
    """Points in order of time, at least a second apart.

    Args:
        points: How many points are kept of what is older than the recent ones; they are a day's span over this apart.
        recent: How many of the latest are kept as they came.
    """

    def __init__(self, *, points: int = SERIES_POINTS, recent: int = RECENT_POINTS) -> None:
        self._old: deque[Point] = deque(maxlen=points)
        self._recent: deque[Point] = deque()
        self._recent_points = recent
        self._old_spacing_ms = SPAN_MS // points
        self._new: deque[Point] = deque(maxlen=points)

    def wants(self, t_ns: int) -> bool:
        """Whether a point of this instant would be kept."""
        last = self._last_ms()
        return last is None or to_ms(t_ns) - last >= SPACING_MS

    def add(self, point: Point) -> None:
        """Take a point that is wanted."""
        self._recent.append(point)
        self._new.append(point)
        if len(self._recent) > self._recent_points:
            aged = self._recent.popleft()
            if not self._old or aged[0] - self._old[-1][0] >= self._old_spacing_ms:
                self._old.append(aged)

    def clear(self) -> None:
        """Forget all points."""
        self._old.clear()
        self._recent.clear()
        self._new.clear()

    def series(self) -> FleetSeries:
        """Return all points as columns."""
        return _columns([*chain(self._old, self._recent)])

    def take_new(self) -> FleetSeries | None:
        """Return the points that came since this was asked last, None for none."""
        if not self._new:
            return None
        made = _columns([*self._new])
        self._new.clear()
        return made

    def _last_ms(self) -> int | None:
        return self._recent[-1][0] if self._recent else None


def _columns(points: Sequence[Point]) -> FleetSeries:
    if not points:
        return FleetSeries()
    columns = zip(*points, strict=True)
    return FleetSeries(**dict(zip(_COLUMNS, (list(column) for column in columns), strict=True)))
