"""Facts of prices as days of 24 hours and back: clock changes, gaps, quarters of an hour, what is not out yet."""

from __future__ import annotations

from datetime import date, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, local_midnight_ns, to_datetime
from shoal.forecast.prices_days import Curve, DayClock, on_intervals, price_days

BERLIN = DayClock(zone="Europe/Berlin")
CHICAGO = DayClock(zone="America/Chicago")
QUARTER_NS = 15 * NS_PER_MINUTE
SPRING, AUTUMN = date(2024, 3, 31), date(2024, 10, 27)


def starts(
    first: date, last: date, clock: DayClock = BERLIN, step_ns: int = NS_PER_HOUR
) -> NDArray[np.int64]:
    """Return the starts of all intervals of the days from first to last, both included."""
    zone = ZoneInfo(clock.zone)
    end_ns = local_midnight_ns(last + timedelta(days=1), zone)
    return np.arange(local_midnight_ns(first, zone), end_ns, step_ns, dtype=np.int64)


def curve(start_ns: NDArray[np.int64], value: NDArray[np.float64], step_ns: int = NS_PER_HOUR) -> Curve:
    return Curve(start_ns=start_ns, end_ns=start_ns + step_ns, value=value)


def clock_hours(start_ns: NDArray[np.int64], clock: DayClock = BERLIN) -> NDArray[np.float64]:
    """Return the local hour of each instant, as a price."""
    zone = ZoneInfo(clock.zone)
    return np.array([float(to_datetime(t_ns, zone).hour) for t_ns in start_ns.tolist()])


def test_whole_days_come_back_as_they_are() -> None:
    at = starts(date(2024, 5, 1), date(2024, 5, 10))
    price = np.random.default_rng(1).normal(40.0, 10.0, len(at))
    found = price_days(curve(at, price), clock=BERLIN, target=date(2024, 5, 11), target_days=2)
    assert found.days.first_day == date(2024, 5, 1)
    np.testing.assert_array_equal(found.days.price_per_mwh, price.reshape(-1, 24))
    assert found.days.exogenous_level.shape == (11, 24, 0)
    assert found.ahead_level.shape == (2, 24, 0)
    assert found.first_target == date(2024, 5, 11)
    assert (found.filled_count, found.dropped_count, len(found.tail_per_mwh)) == (0, 0, 0)


@pytest.mark.parametrize("step_ns", [NS_PER_HOUR, QUARTER_NS])
def test_spring_hour_that_is_skipped_lies_between_its_neighbours(step_ns: int) -> None:
    at = starts(date(2024, 3, 29), date(2024, 4, 2), step_ns=step_ns)
    found = price_days(curve(at, clock_hours(at), step_ns), clock=BERLIN, target=date(2024, 4, 3))
    changed = found.days.price_per_mwh[(SPRING - found.days.first_day).days]
    np.testing.assert_allclose(changed, np.arange(24.0))  # 2 lies between 1 and 3
    assert found.filled_count == 0
    assert found.days.count == 5


@pytest.mark.parametrize("step_ns", [NS_PER_HOUR, QUARTER_NS])
def test_autumn_hour_that_comes_twice_is_the_mean_of_both(step_ns: int) -> None:
    at = starts(date(2024, 10, 25), date(2024, 10, 29), step_ns=step_ns)
    price = clock_hours(at)
    first_ns = local_midnight_ns(AUTUMN, ZoneInfo(BERLIN.zone))
    second = (at >= first_ns + 3 * NS_PER_HOUR) & (at < first_ns + 4 * NS_PER_HOUR)
    assert set(price[second].tolist()) == {2.0}
    price[second] = 102.0
    found = price_days(curve(at, price, step_ns), clock=BERLIN, target=date(2024, 10, 30))
    changed = found.days.price_per_mwh[2]
    assert changed[2] == pytest.approx(52.0)
    np.testing.assert_allclose(np.delete(changed, 2), np.delete(np.arange(24.0), 2))


@pytest.mark.parametrize("day", [SPRING, AUTUMN, date(2024, 6, 1)])
@pytest.mark.parametrize("step_ns", [NS_PER_HOUR, QUARTER_NS])
def test_day_goes_back_to_its_true_intervals(day: date, step_ns: int) -> None:
    at = starts(day, day, step_ns=step_ns)
    hours = 23 if day == SPRING else 25 if day == AUTUMN else 24
    assert len(at) == hours * NS_PER_HOUR // step_ns
    told = on_intervals(at, clock=BERLIN, first_day=day, level=np.arange(24.0)[None])
    np.testing.assert_array_equal(told, clock_hours(at))
    quantile = np.arange(24.0)[None, :, None] + np.array([-1.0, 0.0, 1.0])
    spread = on_intervals(at, clock=BERLIN, first_day=day, level=quantile)
    np.testing.assert_array_equal(spread[:, 1], told)
    with pytest.raises(InvalidInputError):
        on_intervals(at, clock=BERLIN, first_day=day + timedelta(days=1), level=quantile)


def test_quarters_of_an_hour_are_averaged_and_half_of_them_are_enough() -> None:
    at = starts(date(2024, 5, 1), date(2024, 5, 3), step_ns=QUARTER_NS)
    price = np.arange(len(at), dtype=np.float64)
    price[40 * 4 : 40 * 4 + 2] = np.nan  # half of hour 40
    price[50 * 4 : 50 * 4 + 3] = np.nan  # three quarters of hour 50
    found = price_days(curve(at, price, QUARTER_NS), clock=BERLIN, target=date(2024, 5, 4))
    flat = found.days.price_per_mwh.ravel()
    assert flat[0] == 1.5
    assert flat[40] == 162.5
    assert flat[50] == pytest.approx((flat[49] + flat[51]) / 2)
    assert found.filled_count == 1


def test_short_gap_is_interpolated_and_long_one_drops_its_day() -> None:
    at = starts(date(2024, 5, 1), date(2024, 5, 20))
    price = np.tile(np.arange(24.0), 20) + np.repeat(np.arange(20.0) * 100.0, 24)
    kept = np.ones(len(at), bool)
    kept[5 * 24 + 6 : 5 * 24 + 10] = False  # 4 hours
    kept[9 * 24 + 6 : 9 * 24 + 11] = False  # 5 hours
    found = price_days(curve(at[kept], price[kept]), clock=BERLIN, target=date(2024, 5, 21))
    assert (found.filled_count, found.dropped_count) == (4, 1)
    np.testing.assert_allclose(found.days.price_per_mwh, price.reshape(-1, 24))  # bridged by its neighbours
    assert found.days.count == 20


def test_history_begins_after_a_hole_of_more_than_a_week() -> None:
    at = starts(date(2024, 5, 1), date(2024, 5, 30))
    kept = (np.arange(len(at)) < 5 * 24) | (np.arange(len(at)) >= 13 * 24)
    found = price_days(curve(at[kept], clock_hours(at[kept])), clock=BERLIN, target=date(2024, 5, 31))
    assert found.days.first_day == date(2024, 5, 14)
    assert found.dropped_count == 0


def test_what_is_not_out_yet_stays_apart() -> None:
    at = starts(date(2024, 5, 1), date(2024, 5, 9))[: -24 - 14]  # half of the 8th, nothing of the 9th
    found = price_days(curve(at, clock_hours(at)), clock=BERLIN, target=date(2024, 5, 10), target_days=2)
    assert found.days.count == 7
    assert found.tail_per_mwh.shape == (2, 24)
    np.testing.assert_array_equal(found.tail_per_mwh[0, :10], np.arange(10.0))
    assert np.isnan(found.tail_per_mwh[0, 10:]).all()
    assert np.isnan(found.tail_per_mwh[1]).all()
    assert found.ahead_level.shape == (4, 24, 0)
    assert (found.first_target, found.target_days) == (date(2024, 5, 10), 2)


def test_prices_of_the_target_are_not_read() -> None:
    at = starts(date(2024, 5, 1), date(2024, 5, 12))
    price = clock_hours(at)
    changed = np.where(at >= local_midnight_ns(date(2024, 5, 11), ZoneInfo(BERLIN.zone)), -500.0, price)
    first, second = (
        price_days(curve(at, one), clock=BERLIN, target=date(2024, 5, 11)) for one in (price, changed)
    )
    assert first.days.price_per_mwh.tobytes() == second.days.price_per_mwh.tobytes()
    assert first.days.count == second.days.count == 10


@pytest.mark.parametrize("count", [0, 7, 30])
def test_too_little_for_a_whole_day_is_no_day(count: int) -> None:
    at = starts(date(2024, 5, 1), date(2024, 5, 9))[20 : 20 + count]
    found = price_days(curve(at, clock_hours(at)), clock=BERLIN, target=date(2024, 5, 10))
    assert found.days.count == (1 if count == 30 else 0)
    assert found.first_target == date(2024, 5, 10)


def test_withdrawn_price_is_a_gap() -> None:
    at = starts(date(2024, 5, 1), date(2024, 5, 4))
    price = np.full(len(at), 10.0)
    price[30] = np.nan
    found = price_days(curve(at, price), clock=BERLIN, target=date(2024, 5, 5))
    assert found.filled_count == 1
    assert (found.days.price_per_mwh == 10.0).all()


def test_load_forecast_is_used_when_it_reaches_the_target() -> None:
    target = date(2024, 5, 1)
    at = starts(date(2023, 9, 1), target + timedelta(days=1))
    known = at < local_midnight_ns(target, ZoneInfo(BERLIN.zone))
    load = np.arange(len(at), dtype=np.float64)
    prices = curve(at[known], clock_hours(at[known]))
    one = price_days(
        prices, clock=BERLIN, target=target, target_days=2, exogenous={"load": curve(at[:-24], load[:-24])}
    )
    assert one.exogenous == ("load",)
    np.testing.assert_array_equal(one.days.exogenous_level[-1, :, 0], load[-48:-24])
    np.testing.assert_array_equal(one.ahead_level[0], one.days.exogenous_level[-1])
    # nobody has forecast the day after: a week before stands in
    np.testing.assert_array_equal(one.ahead_level[1, :, 0], load[-24 - 168 : -168])
    short = price_days(prices, clock=BERLIN, target=target, exogenous={"load": curve(at[:-72], load[:-72])})
    assert short.exogenous == ()
    assert "reach" in short.left_out["load"]


def test_history_is_cut_to_where_a_load_forecast_begins_unless_that_is_too_late() -> None:
    target = date(2024, 5, 1)
    at = starts(date(2023, 9, 1), target)
    prices = curve(at[:-24], clock_hours(at[:-24]))
    found = price_days(
        prices, clock=BERLIN, target=target, exogenous={"load": curve(at[240:], np.zeros(len(at) - 240))}
    )
    assert found.days.first_day == date(2023, 9, 11)
    assert found.days.count == len(found.days.exogenous_level) - 1 == (target - date(2023, 9, 11)).days
    late = price_days(
        prices, clock=BERLIN, target=target, exogenous={"load": curve(at[-2400:], np.zeros(2400))}
    )
    assert late.days.first_day == date(2023, 9, 1)
    assert late.left_out == {"load": "it is known for 99 days"}


def test_days_may_begin_at_another_hour_than_midnight() -> None:
    clock = DayClock(zone="Australia/Brisbane", day_start=time(4))
    begin_ns = local_midnight_ns(date(2024, 5, 1), ZoneInfo(clock.zone)) + 4 * NS_PER_HOUR
    at = begin_ns + np.arange(48, dtype=np.int64) * NS_PER_HOUR
    found = price_days(curve(at, np.arange(48.0)), clock=clock, target=date(2024, 5, 3))
    np.testing.assert_array_equal(found.days.price_per_mwh, np.arange(48.0).reshape(2, 24))
    told = on_intervals(at, clock=clock, first_day=date(2024, 5, 1), level=found.days.price_per_mwh)
    np.testing.assert_array_equal(told, np.arange(48.0))


def test_zones_of_half_an_hour_have_hours_of_their_own() -> None:
    clock = DayClock(zone="Asia/Kolkata")
    at = starts(date(2024, 5, 1), date(2024, 5, 2), clock)
    assert at[0] % NS_PER_HOUR
    found = price_days(curve(at, clock_hours(at, clock)), clock=clock, target=date(2024, 5, 3))
    np.testing.assert_array_equal(found.days.price_per_mwh, np.tile(np.arange(24.0), (2, 1)))


def test_disordered_intervals_are_refused() -> None:
    at = starts(date(2024, 5, 1), date(2024, 5, 1), CHICAGO)
    with pytest.raises(InvalidInputError):
        curve(at[::-1], np.zeros(24))
    with pytest.raises(InvalidInputError):
        curve(at, np.zeros(23))
    with pytest.raises(InvalidInputError, match="whole minutes"):
        odd = Curve(start_ns=at + 7, end_ns=at + NS_PER_HOUR, value=np.zeros(24))
        price_days(odd, clock=CHICAGO, target=date(2024, 5, 2))
