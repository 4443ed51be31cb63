"""Days of 24 hours out of any history: never from what comes later, never beyond what was, and back again."""

from __future__ import annotations

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, local_midnight_ns
from shoal.forecast.prices import price_outlook
from shoal.forecast.prices_days import Curve, DayClock, on_intervals, price_days

ZONES = ("Europe/Berlin", "America/Chicago", "Australia/Brisbane", "Asia/Kolkata", "Australia/Lord_Howe")
STEPS = (NS_PER_HOUR, 30 * NS_PER_MINUTE, 15 * NS_PER_MINUTE)
DAYS = st.dates(min_value=date(2015, 1, 1), max_value=date(2035, 11, 30))


def starts(first: date, count: int, zone: str, step_ns: int) -> NDArray[np.int64]:
    begin_ns = local_midnight_ns(first, ZoneInfo(zone))
    end_ns = local_midnight_ns(first + timedelta(days=count), ZoneInfo(zone))
    return np.arange(begin_ns, end_ns, step_ns, dtype=np.int64)


@settings(max_examples=60, deadline=None)
@given(first=DAYS, zone=st.sampled_from(ZONES), step_ns=st.sampled_from(STEPS), seed=st.integers(0, 999))
def test_what_comes_later_changes_no_bit(first: date, zone: str, step_ns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    at = starts(first, 16, zone, step_ns)
    kept = rng.random(len(at)) > rng.choice([0.0, 0.02, 0.3])
    kept[0] = True
    at = at[kept]
    price = rng.normal(30.0, 40.0, len(at))
    target = first + timedelta(days=12)
    later = at >= local_midnight_ns(target, ZoneInfo(zone))
    clock = DayClock(zone=zone)
    found = [
        price_days(
            Curve(start_ns=at, end_ns=at + step_ns, value=np.where(later, other, price)),
            clock=clock,
            target=target,
            target_days=2,
        )
        for other in (price, -9e9, np.nan)
    ]
    for one in found[1:]:
        assert one.days.first_day == found[0].days.first_day
        assert one.days.price_per_mwh.tobytes() == found[0].days.price_per_mwh.tobytes()
        assert one.tail_per_mwh.tobytes() == found[0].tail_per_mwh.tobytes()
        assert (one.filled_count, one.dropped_count) == (found[0].filled_count, found[0].dropped_count)
    known = found[0]
    assert known.first_target == target
    if known.days.count:
        assert known.days.price_per_mwh.min() >= price.min() - 1e-9
        assert known.days.price_per_mwh.max() <= price.max() + 1e-9
        if len(known.tail_per_mwh) <= 3:
            told = [price_outlook(one) for one in (known, found[1])]
            assert told[0].quantile_per_mwh.tobytes() == told[1].quantile_per_mwh.tobytes()


@settings(max_examples=100, deadline=None)
@example(first=date(2016, 10, 27), zone="Europe/Berlin", step_ns=NS_PER_HOUR, seed=1)
@given(first=DAYS, zone=st.sampled_from(ZONES), step_ns=st.sampled_from(STEPS), seed=st.integers(0, 999))
def test_days_to_intervals_and_back_are_the_same_days(
    first: date, zone: str, step_ns: int, seed: int
) -> None:
    level = np.random.default_rng(seed).normal(30.0, 40.0, (5, 24))
    clock = DayClock(zone=zone)
    at = starts(first, 5, zone, step_ns)
    if zone == "Australia/Lord_Howe" and step_ns == NS_PER_HOUR:
        return  # its clock changes by half an hour: hours of its days are no hours of the calendar
    told = on_intervals(at, clock=clock, first_day=first, level=level)
    back = price_days(
        Curve(start_ns=at, end_ns=at + step_ns, value=told),
        clock=clock,
        target=first + timedelta(days=5),
    )
    # the mean of eight quarters of the same price may differ from it in the last bit
    same = np.isclose(back.days.price_per_mwh, level, rtol=1e-12, atol=1e-12)
    assert back.days.first_day == first
    assert back.filled_count == back.dropped_count == 0
    assert (~same).sum() <= 1  # an hour that the clock skips
    skipped = np.flatnonzero(~same.ravel())
    if len(skipped) and 0 < skipped[0] < same.size - 1:
        around = level.ravel()[[skipped[0] - 1, skipped[0] + 1]]
        assert abs(back.days.price_per_mwh.ravel()[skipped[0]] - around.mean()) < 1e-9
