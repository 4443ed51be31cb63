"""Instants and intervals: half-open, exact, and as long as the local day really is."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import (
    NS_PER_HOUR,
    NS_PER_MINUTE,
    Interval,
    iso,
    local_day,
    local_midnight_ns,
    to_datetime,
    to_ns,
)

CHICAGO = ZoneInfo("America/Chicago")
BERLIN = ZoneInfo("Europe/Berlin")


def interval(start_ns: int, end_ns: int) -> Interval:
    return Interval(start_ns=start_ns, end_ns=end_ns)


@pytest.mark.parametrize(("start_ns", "end_ns"), [(5, 5), (5, 4)])
def test_interval_is_never_empty(start_ns: int, end_ns: int) -> None:
    with pytest.raises(InvalidInputError, match="an end after the start"):
        interval(start_ns, end_ns)


def test_interval_holds_its_start_and_not_its_end() -> None:
    one = interval(10, 20)
    assert [t for t in (9, 10, 19, 20) if one.contains(t)] == [10, 19]
    assert not one.overlaps(interval(20, 30))
    assert not one.overlaps(interval(0, 10))
    assert one.overlaps(interval(19, 30))
    assert one.overlaps(interval(12, 13))


def test_interval_lengths() -> None:
    one = interval(0, 90 * NS_PER_MINUTE)
    assert (one.duration_s, one.duration_h) == (5400.0, 1.5)


def test_interval_splits_without_gaps() -> None:
    parts = list(interval(0, 25).split(10))
    assert [(p.start_ns, p.end_ns) for p in parts] == [(0, 10), (10, 20), (20, 25)]


@pytest.mark.parametrize("step_ns", [0, -1])
def test_interval_refuses_to_split_for_ever(step_ns: int) -> None:
    with pytest.raises(InvalidInputError):
        list(interval(0, 10).split(step_ns))


@pytest.mark.parametrize(
    ("day", "zone", "hours"),
    [
        (date(2021, 2, 10), CHICAGO, 24),
        (date(2021, 3, 14), CHICAGO, 23),
        (date(2021, 11, 7), CHICAGO, 25),
        (date(2021, 3, 28), BERLIN, 23),
        (date(2021, 10, 31), BERLIN, 25),
        (date(2021, 10, 31), ZoneInfo("UTC"), 24),
    ],
)
def test_local_day_is_as_long_as_the_clock_says(day: date, zone: ZoneInfo, hours: int) -> None:
    whole = local_day(day, zone)
    assert whole.duration_h == hours
    assert whole.end_ns == local_midnight_ns(day + timedelta(days=1), zone)
    starts = [to_datetime(part.start_ns, zone) for part in whole.split(NS_PER_HOUR)]
    assert {moment.date() for moment in starts} == {day}
    assert len({moment.astimezone(UTC) for moment in starts}) == hours


def test_local_day_of_25_hours_has_one_hour_twice() -> None:
    hours = [
        to_datetime(p.start_ns, CHICAGO).hour
        for p in local_day(date(2021, 11, 7), CHICAGO).split(NS_PER_HOUR)
    ]
    assert hours == [0, 1, 1, *range(2, 24)]


def test_local_day_begins_where_midnight_is_left_out() -> None:
    whole = local_day(date(2021, 3, 28), ZoneInfo("Asia/Beirut"))
    assert whole.duration_h == 23
    assert to_datetime(whole.start_ns, ZoneInfo("Asia/Beirut")).hour == 1


def test_instants_are_exact_to_the_microsecond() -> None:
    moment = datetime(2021, 2, 10, 6, 0, 0, 123_456, tzinfo=UTC)
    assert to_ns(moment) == 1_612_936_800_123_456_000
    assert to_datetime(to_ns(moment)) == moment
    assert to_ns(moment.astimezone(timezone(timedelta(hours=5, minutes=30)))) == to_ns(moment)
    assert to_datetime(to_ns(moment) + 999) == moment


def test_instants_before_1970_are_exact_too() -> None:
    moment = datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    assert to_ns(moment) == -1_000
    assert to_datetime(-1_000) == moment


def test_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="give a time zone"):
        to_ns(datetime(2021, 2, 10))  # noqa: DTZ001 - that is the point


def test_iso_is_utc_to_the_millisecond() -> None:
    assert iso(1_612_936_800_123_999_999) == "2021-02-10T06:00:00.123Z"
    assert iso(0) == "1970-01-01T00:00:00.000Z"
