"""The calendar of a market: its delivery days cut into intervals, as instants. Clock changes fall out of the zone.

A day begins at a local time and ends at the same local time of the next day, so a day with a clock change is an hour
longer or shorter, and in a zone without one (market time of the NEM) all are alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from types import MappingProxyType
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import Interval, to_datetime, to_ns


def local_ns(zone: str, day: date, at: time) -> int:
    """Return the instant of a local wall time; of an hour that comes twice the first."""
    return to_ns(datetime.combine(day, at, tzinfo=ZoneInfo(zone)))


@lru_cache(maxsize=4096)
def day_bounds_ns(zone: str, day_start: time, day: date, interval_ns: int) -> NDArray[np.int64]:
    """Return the boundaries of a day's B intervals, B + 1 instants; the array cannot be written to."""
    start_ns = local_ns(zone, day, day_start)
    end_ns = local_ns(zone, day + timedelta(days=1), day_start)
    bounds_ns = np.arange(start_ns, end_ns + 1, interval_ns, dtype=np.int64)
    bounds_ns.flags.writeable = False
    return bounds_ns


@lru_cache(maxsize=256)
def ends_by_start(zone: str, day_start: time, day: date, interval_ns: int) -> Mapping[int, int]:
    """Return the end of each of a day's intervals by its start."""
    bounds_ns = day_bounds_ns(zone, day_start, day, interval_ns).tolist()
    return MappingProxyType(dict(pairwise(bounds_ns)))


@lru_cache(maxsize=256)
def day_intervals(zone: str, day_start: time, day: date, interval_ns: int) -> tuple[Interval, ...]:
    """Return a day's intervals, in order."""
    return tuple(
        Interval(start_ns=start_ns, end_ns=end_ns)
        for start_ns, end_ns in ends_by_start(zone, day_start, day, interval_ns).items()
    )


def day_of(zone: str, day_start: time, t_ns: int) -> date:
    """Return the delivery day in which an instant lies."""
    local = to_datetime(t_ns, ZoneInfo(zone))
    return local.date() if local.time() >= day_start else local.date() - timedelta(days=1)


def parsed_date(text: str) -> date | None:
    """Return the date written ``YYYY-MM-DD``, None for anything else."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if day.isoformat() == text else None


def inside(part: Interval, whole: Interval) -> bool:
    """Whether an interval lies within another."""
    return whole.start_ns <= part.start_ns and part.end_ns <= whole.end_ns
