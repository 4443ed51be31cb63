"""The site's own tariff: what a kWh from and into the grid costs at any time of the local week."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_MINUTE, to_datetime

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES: Final = 24 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class TariffWindow:
    """A part of the week with prices of its own.

    Attributes:
        begin: Local time at which it begins, ``17:00``.
        end: Local time at which it ends, exclusive; at or before `begin` it ends on the next day; ``24:00`` is midnight.
        days: On which days it begins, as in `DAYS`; all of them when empty.
        import_per_kwh: What a kWh from the grid costs.
        export_per_kwh: What a kWh into the grid earns; the tariff's usual price when None.
    """

    begin: str
    end: str
    import_per_kwh: float
    export_per_kwh: float | None = None
    days: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """Prices of a local week; the first window that holds counts, else the usual prices.

    Attributes:
        import_per_kwh: The usual price of a kWh from the grid.
        export_per_kwh: What a kWh into the grid usually earns.
        windows: When it is otherwise.
        currency: For people.
    """

    import_per_kwh: float = 0.30
    export_per_kwh: float = 0.05
    windows: Sequence[TariffWindow] = field(default_factory=tuple)
    currency: str = ""


class TariffWeek:
    """A tariff worked out for every five minutes of a local week.

    Raises:
        InvalidInputError: when a window's day or time is none.
    """

    STEP_MINUTES: Final = 5

    def __init__(self, tariff: Tariff, zone: ZoneInfo) -> None:
        steps = 7 * _DAY_MINUTES // self.STEP_MINUTES
        self._zone = zone
        self._import = [tariff.import_per_kwh] * steps
        self._export = [tariff.export_per_kwh] * steps
        for window in reversed(tariff.windows):
            begin, end = _minutes(window.begin), _minutes(window.end)
            length = (end - begin) % _DAY_MINUTES or _DAY_MINUTES
            for day in window.days or DAYS:
                if day not in DAYS:
                    raise InvalidInputError(
                        field="tariff.days", value=day, fix=f"choose from {', '.join(DAYS)}"
                    )
                first = (DAYS.index(day) * _DAY_MINUTES + begin) // self.STEP_MINUTES
                for step in range(first, first + length // self.STEP_MINUTES):
                    self._import[step % steps] = window.import_per_kwh
                    if window.export_per_kwh is not None:
                        self._export[step % steps] = window.export_per_kwh

    def at(self, t_ns: int) -> tuple[float, float]:
        """Return what a kWh costs and earns at an instant."""
        step = local_minute(t_ns, self._zone) // self.STEP_MINUTES
        return self._import[step], self._export[step]


def local_minute(t_ns: int, zone: ZoneInfo) -> int:
    """Return the minute of the local week at an instant, 0 on Monday's midnight."""
    minute = t_ns // NS_PER_MINUTE
    # the epoch was a Thursday
    return (minute + _offset_minutes(minute // 15, zone) + 3 * _DAY_MINUTES) % (7 * _DAY_MINUTES)


@lru_cache(maxsize=1_024)
def _offset_minutes(quarter: int, zone: ZoneInfo) -> int:
    """Return how far local time is ahead of UTC in a quarter of an hour; it only changes between two."""
    offset = to_datetime(quarter * 15 * NS_PER_MINUTE, zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds()) // 60


def _minutes(text: str) -> int:
    hour, colon, minute = text.partition(":")
    if not (colon and hour.isdigit() and minute.isdigit()):
        raise InvalidInputError(field="tariff window", value=text, fix="give a time as 17:00")
    minutes = int(hour) * 60 + int(minute)
    if minutes > _DAY_MINUTES or int(minute) > 59 or minutes % TariffWeek.STEP_MINUTES:
        raise InvalidInputError(
            field="tariff window", value=text, fix="00:00 to 24:00, in steps of 5 minutes"
        )
    return minutes
