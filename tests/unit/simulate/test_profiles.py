"""Profiles: yearly sums, the calendar, and values that depend on nothing but seed, site and time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S, local_midnight_ns, to_ns
from shoal.simulate.fleet import plan_fleet
from shoal.simulate.profiles import (
    SOLAR_YIELD_KWH_PER_KW,
    ZONE,
    Profiles,
    source_slot,
)

NOON_NS = to_ns(datetime(2021, 7, 14, 18, 30, tzinfo=UTC))


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return plan_fleet(120, seed=5)


def test_profiles_yearly_sums_meet_what_was_drawn(fleet: Fleet) -> None:
    profiles = Profiles(fleet, seed=5)
    start_ns = local_midnight_ns(date(2021, 1, 1), ZONE)
    sums_kwh = np.zeros((3, 121))
    # A minute in every 127 over 52 weeks: each time of day and weekday comes up equally often.
    minutes = range(0, 364 * 24 * 60, 127)
    for minute in minutes:
        t0_ns = start_ns + minute * NS_PER_MINUTE
        sums_kwh += np.stack(profiles.power_w(t0_ns, t0_ns + NS_PER_MINUTE))
    sums_kwh *= 366 * 24 / 1_000 / len(minutes)
    load_kwh, solar_kwh, ev_kwh = sums_kwh
    homes = profiles.households.annual_kwh
    assert load_kwh[:-1].sum() == pytest.approx(homes.sum(), rel=0.02)
    assert np.abs(load_kwh[:-1] / homes[:-1] - 1.0).max() < 0.15
    assert homes[:-1].min() > 5_000
    assert homes[:-1].max() < 20_000
    assert homes[:-1].std() > 2_000
    solar_kw = fleet.nameplate["solar_limit_kw"].sum()
    assert -solar_kwh.sum() / solar_kw == pytest.approx(SOLAR_YIELD_KWH_PER_KW, rel=0.08)
    has_ev = fleet.nameplate["ev_limit_kw"] > 0
    assert 2_000 < ev_kwh[has_ev].mean() < 4_500
    assert (ev_kwh[~has_ev] == 0).all()
    assert (load_kwh[-1], solar_kwh[-1], ev_kwh[-1]) == (0, 0, 0), "the big battery has no household"


def test_profiles_signs_and_ratings(fleet: Fleet) -> None:
    profiles = Profiles(fleet, seed=5)
    for hour in range(24):
        load_w, solar_w, ev_w = profiles.power_w(
            NOON_NS + hour * NS_PER_HOUR, NOON_NS + (hour + 1) * NS_PER_HOUR
        )
        assert load_w.dtype == solar_w.dtype == ev_w.dtype == np.int64
        assert (load_w >= 0).all()
        assert (solar_w <= 0).all()
        assert (-solar_w <= fleet.nameplate["solar_limit_kw"] * 1_000 + 1).all()
        assert (ev_w >= 0).all()
        assert (ev_w <= fleet.nameplate["ev_limit_kw"] * 1_000 + 1).all()


def test_profiles_solar_shines_at_noon_and_not_at_night(fleet: Fleet) -> None:
    profiles = Profiles(fleet, seed=5)
    roofs = fleet.nameplate["solar_limit_kw"] > 0
    _, noon_w, _ = profiles.power_w(NOON_NS, NOON_NS + NS_PER_HOUR)
    _, night_w, _ = profiles.power_w(NOON_NS + 12 * NS_PER_HOUR, NOON_NS + 13 * NS_PER_HOUR)
    assert noon_w[roofs].mean() < -1_000
    assert (night_w == 0).all()


def test_profiles_do_not_depend_on_the_order_of_calls(fleet: Fleet) -> None:
    steps = [(NOON_NS + k * NS_PER_MINUTE, NOON_NS + (k + 1) * NS_PER_MINUTE) for k in range(200)]
    forward, backward = Profiles(fleet, seed=5), Profiles(fleet, seed=5)
    first = [np.stack(forward.power_w(*step)) for step in steps]
    backward.power_w(NOON_NS - 40 * 24 * NS_PER_HOUR, NOON_NS - 40 * 24 * NS_PER_HOUR + 1)
    second = [np.stack(backward.power_w(*step)) for step in reversed(steps)][::-1]
    assert np.array_equal(first, second)


def test_profiles_of_a_home_are_the_same_in_any_fleet(fleet: Fleet) -> None:
    rows = np.array([7, 3, 111])
    part = fleet.take(rows)
    whole_w = np.stack(Profiles(fleet, seed=5).power_w(NOON_NS, NOON_NS + NS_PER_MINUTE))
    part_w = np.stack(Profiles(part, seed=5).power_w(NOON_NS, NOON_NS + NS_PER_MINUTE))
    assert np.array_equal(part_w, whole_w[:, rows])


def test_profiles_differ_between_homes_and_seeds(fleet: Fleet) -> None:
    load_w, _, _ = Profiles(fleet, seed=5).power_w(NOON_NS, NOON_NS + NS_PER_MINUTE)
    other_w, _, _ = Profiles(fleet, seed=6).power_w(NOON_NS, NOON_NS + NS_PER_MINUTE)
    assert len(np.unique(load_w)) > 100
    assert (load_w[:-1] != other_w[:-1]).mean() > 0.9


def test_profiles_integrate_over_odd_steps(fleet: Fleet) -> None:
    profiles = Profiles(fleet, seed=5)
    edges_ns = NOON_NS + np.array([0, 7, 61, 599, 600, 1_803, 3_600]) * NS_PER_S
    parts = sum(np.stack(profiles.power_w(int(a), int(b))) * (int(b) - int(a)) for a, b in pairwise(edges_ns))
    whole_w = np.stack(profiles.power_w(int(edges_ns[0]), int(edges_ns[-1])))
    assert np.abs(parts / (edges_ns[-1] - edges_ns[0]) - whole_w).max() <= 1.0, "only rounding to whole watts"


def test_profiles_refuse_an_empty_span(fleet: Fleet) -> None:
    with pytest.raises(InvalidInputError):
        Profiles(fleet, seed=5).power_w(NOON_NS, NOON_NS)


def test_source_slot_keeps_weekday_and_time_and_stays_near_the_date() -> None:
    day = date(2020, 12, 20)
    while day < date(2023, 1, 12):
        morning_ns = local_midnight_ns(day, ZONE) + 10 * NS_PER_HOUR
        source_day, within = divmod(source_slot(morning_ns), 96)
        source = date(2016, 1, 1) + timedelta(days=source_day)
        assert source.year == 2016
        assert source.weekday() == day.weekday()
        # Ten hours after midnight it is ten, but for the two days of clock change.
        assert within // 4 in (9, 10, 11)
        assert abs((source - date(2016, day.month, day.day)).days) <= 7
        day += timedelta(days=1)


def test_source_slot_takes_the_leap_day() -> None:
    leap_ns = to_ns(datetime(2024, 2, 29, 18, tzinfo=UTC))
    source = date(2016, 1, 1) + timedelta(days=source_slot(leap_ns) // 96)
    assert abs((source - date(2016, 2, 29)).days) <= 3
    assert source.weekday() == date(2024, 2, 29).weekday()
