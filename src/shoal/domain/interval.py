"""Time: UTC instants as int64 nanoseconds since 1970, and half-open intervals `[start, end)` named by their start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from shoal.domain.errors import InvalidInputError

NS_PER_S: Final = 1_000_000_000
NS_PER_MINUTE: Final = 60 * NS_PER_S
NS_PER_HOUR: Final = 3_600 * NS_PER_S
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Interval:
    """A half-open interval of time, `[start_ns, end_ns)`.

    Raises:
        InvalidInputError: when it would be empty or run backwards.
    """

    start_ns: int
    end_ns: int

    def __post_init__(self) -> None:
        if self.end_ns <= self.start_ns:
            raise InvalidInputError(
                field="interval", value=(self.start_ns, self.end_ns), fix="give an end after the start"
            )

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return (self.end_ns - self.start_ns) / NS_PER_S

    @property
    def duration_h(self) -> float:
        """Length in hours."""
        return (self.end_ns - self.start_ns) / NS_PER_HOUR

    def contains(self, t_ns: int) -> bool:
        """Whether the instant lies inside."""
        return self.start_ns <= t_ns < self.end_ns

    def overlaps(self, other: Interval) -> bool:
        """Whether the two share an instant."""
        return self.start_ns < other.end_ns and other.start_ns < self.end_ns

    def split(self, step_ns: int) -> Iterator[Interval]:
        """Yield consecutive parts of at most `step_ns`."""
        t_ns = self.start_ns
        while t_ns < self.end_ns:
            yield Interval(start_ns=t_ns, end_ns=min(t_ns + step_ns, self.end_ns))
            t_ns += step_ns


def to_ns(moment: datetime) -> int:
    """Return the instant of an aware datetime, exact to the microsecond.

    Raises:
        InvalidInputError: when the datetime carries no zone.
    """
    if moment.tzinfo is None:
        raise InvalidInputError(field="moment", value=moment.isoformat(), fix="give a time zone")
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * NS_PER_S + delta.microseconds * 1_000


def to_datetime(t_ns: int, zone: ZoneInfo | None = None) -> datetime:
    """Return the instant as an aware datetime in `zone` (UTC when none is given), cut to microseconds."""
    seconds, rest_ns = divmod(t_ns, NS_PER_S)
    moment = _EPOCH + timedelta(seconds=seconds, microseconds=rest_ns // 1_000)
    return moment if zone is None else moment.astimezone(zone)


def local_midnight_ns(day: date, zone: ZoneInfo) -> int:
    """Return the instant at which the local `day` begins."""
    return to_ns(datetime.combine(day, time(0), tzinfo=zone))


def local_day(day: date, zone: ZoneInfo) -> Interval:
    """Return the local day as an interval: 23, 24 or 25 hours long."""
    return Interval(
        start_ns=local_midnight_ns(day, zone), end_ns=local_midnight_ns(day + timedelta(days=1), zone)
    )


def iso(t_ns: int) -> str:
    """Return the instant as ISO 8601 in UTC, to the millisecond: ``2021-02-10T06:00:00.000Z``."""
    return to_datetime(t_ns).isoformat(timespec="milliseconds").replace("+00:00", "Z")
