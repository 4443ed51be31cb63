"""The follower: what it sends, what it learns from meters, and how it treats homes that fall silent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_S
from shoal.services import regulation
from shoal.services.regulation import FollowColumns, FollowRules, MeterReports
from shoal.services.regulation_shares import RegulationShares

TICK_NS = 2 * NS_PER_S
HOLD_NS = 5 * TICK_NS


def make(sites: int = 10, **rules: float) -> FollowColumns:
    columns = FollowColumns(
        sites,
        FollowRules(**rules),  # type: ignore[arg-type]
        energy_floor_kwh=np.full(sites, 2.0),
        energy_ceiling_kwh=np.full(sites, 10.0),
    )
    regulation.arm(columns, shares(sites), version=1, start_ns=0)
    return columns


def shares(sites: int) -> RegulationShares:
    base, share = np.zeros(sites, dtype=np.int64), np.full(sites, 2_000)
    return RegulationShares(base_w=base, up_w=share, down_w=share)


def report(
    columns: FollowColumns, t_ns: int, mean_w: NDArray[np.float64], rows: NDArray[np.int64] | None = None
) -> MeterReports:
    rows = np.arange(len(columns)) if rows is None else rows
    return MeterReports(
        rows=rows,
        start_ns=np.full(len(rows), t_ns - 2 * TICK_NS),
        end_ns=np.full(len(rows), t_ns),
        mean_w=mean_w[rows],
        stored_kwh=np.full(len(rows), 6.0),
        version=np.full(len(rows), columns.version),
    )


def follow(columns: FollowColumns, t_ns: int, target_w: float) -> tuple[float, regulation.FollowState]:
    signal, state = regulation.follow(columns, t_ns=t_ns, target_w=target_w, hold_ns=HOLD_NS)
    return signal.value_frac, state


def test_value_is_the_share_of_what_the_homes_can_give() -> None:
    columns = make(lag_s=0.0)
    assert follow(columns, 0, -10_000.0)[0] == pytest.approx(0.5)
    assert follow(columns, TICK_NS, 5_000.0)[0] == pytest.approx(-0.25)
    assert follow(columns, 2 * TICK_NS, 0.0)[0] == 0.0


def test_target_beyond_the_homes_is_met_as_far_as_it_goes_and_told() -> None:
    columns = make(lag_s=0.0)
    value, state = follow(columns, 0, -25_000.0)
    assert value == 1.0
    assert state.unmet_w == pytest.approx(5_000.0)
    value, state = follow(columns, TICK_NS, 21_000.0)
    assert value == -1.0
    assert state.unmet_w == pytest.approx(-1_000.0)


def test_silent_homes_leave_the_sum_and_the_others_take_over() -> None:
    columns = make(lag_s=0.0)
    half = np.arange(5)
    for tick in range(12):
        t_ns = tick * TICK_NS
        if tick >= 2:
            regulation.hear(columns, report(columns, t_ns, np.zeros(10), half), now_ns=t_ns)
        value, state = follow(columns, t_ns, 0.0)
    assert state.listening_sites == 5
    value, _ = follow(columns, 12 * TICK_NS, -5_000.0)
    # 5 homes give what 10 would: half of each share, whatever was learned of the gain
    assert value * 10_000.0 * state.gain_frac == pytest.approx(5_000.0, rel=0.02)
    regulation.hear(columns, report(columns, 12 * TICK_NS, np.zeros(10)), now_ns=12 * TICK_NS)
    assert follow(columns, 13 * TICK_NS, 0.0)[1].listening_sites == 10


def test_way_back_that_is_down_does_not_stop_the_service() -> None:
    columns = make(lag_s=0.0)
    regulation.hear(columns, report(columns, TICK_NS, np.zeros(10)), now_ns=TICK_NS)
    for tick in range(1, 60):
        value, state = follow(columns, tick * TICK_NS, -10_000.0)
    assert state.blind
    assert state.listening_sites == 10
    assert value == pytest.approx(0.5, rel=0.05)
    # the next arming may have arrived; of the one after it nobody knows anything
    regulation.arm(columns, shares(10), version=2, start_ns=60 * TICK_NS)
    for tick in (60, 61, 100):
        assert follow(columns, tick * TICK_NS, -10_000.0)[1].listening_sites == 10
    regulation.arm(columns, shares(10), version=3, start_ns=120 * TICK_NS)
    assert follow(columns, 160 * TICK_NS, -10_000.0)[1].listening_sites == 0


def test_home_without_energy_counts_for_the_other_direction_only() -> None:
    columns = make(lag_s=0.0)
    columns.stored_kwh[:] = [2.0] * 4 + [10.0] * 6
    up, down = regulation.listening(columns, now_ns=0)
    assert up.tolist() == [False] * 4 + [True] * 6
    assert down.tolist() == [True] * 4 + [False] * 6


@pytest.mark.parametrize(("gain", "lag_s"), [(0.9, 0.4), (1.0, 0.0), (0.95, 1.2)])
def test_meters_teach_what_is_given_and_how_late(gain: float, lag_s: float) -> None:
    columns = make(sites=20)
    random = np.random.default_rng(2)
    values = [0.0]
    for tick in range(200):
        t_ns = tick * TICK_NS
        if tick >= 4:
            # each home gives `gain` of its share, `lag_s` late: the mean of the last two ticks
            late = [(1 - lag_s / 2) * values[-k] + lag_s / 2 * values[-k - 1] for k in (1, 2)]
            mean_w = np.full(20, -gain * 2_000.0 * sum(late) / 2) + 5.0 * random.standard_normal(20)
            rows = np.flatnonzero(random.random(20) < 0.6)
            regulation.hear(columns, report(columns, t_ns, mean_w, rows), now_ns=t_ns)
        value, _ = follow(columns, t_ns, 20_000.0 * float(np.sin(tick / 3.0)) * 0.6)
        values.append(value)
    learned_gain, learned_lag_s = regulation.learned(columns)
    assert learned_gain == pytest.approx(gain, abs=0.02)
    assert learned_lag_s == pytest.approx(lag_s, abs=0.1)


def test_wild_meter_does_not_spoil_what_the_others_say() -> None:
    columns = make(sites=20, lag_s=0.0)
    for tick in range(60):
        t_ns = tick * TICK_NS
        if tick >= 4:
            mean_w = np.full(20, -0.95 * 1_000.0)
            mean_w[3] = 1e9
            regulation.hear(columns, report(columns, t_ns, mean_w), now_ns=t_ns)
        gain = regulation.learned(columns)[0]
        columns.last_w = -20_000.0 * gain
        follow(columns, t_ns, -20_000.0 * gain)  # half of every share, whatever was learned
    assert regulation.learned(columns)[0] == pytest.approx(0.95, abs=0.01)


def test_overshoot_makes_the_mean_of_each_tick_right() -> None:
    lag_s = 0.6
    columns = make(lag_s=lag_s, compensation_frac=1.0, silent_ns=10**12)
    before, errors = 0.0, []
    for tick in range(40):
        target_w = 8_000.0 * float(np.sin(tick / 2.0))
        value, _ = follow(columns, tick * TICK_NS, target_w)
        power_w = -value * 20_000.0
        mean_w = (1 - lag_s / 2) * power_w + lag_s / 2 * before
        errors.append(abs(mean_w - target_w))
        before = power_w
    assert max(errors) < 1.0


def test_reports_out_of_order_or_of_another_time_change_nothing() -> None:
    columns = make()
    now_ns = 10 * TICK_NS
    regulation.hear(columns, report(columns, now_ns, np.full(10, 100.0)), now_ns=now_ns)
    heard_ns, learned = columns.heard_ns.copy(), regulation.learned(columns)
    later_ns = now_ns + TICK_NS
    regulation.hear(columns, report(columns, now_ns, np.full(10, -9e3)), now_ns=later_ns)
    regulation.hear(columns, report(columns, now_ns - TICK_NS, np.full(10, -9e3)), now_ns=later_ns)
    regulation.hear(columns, report(columns, now_ns + 100 * TICK_NS, np.full(10, -9e3)), now_ns=later_ns)
    regulation.hear(columns, report(columns, later_ns, np.full(10, np.nan)), now_ns=later_ns)
    assert (columns.heard_ns == heard_ns).all()
    assert regulation.learned(columns) == learned


@pytest.mark.parametrize("off_ns", [-20 * NS_PER_S, 20 * NS_PER_S])
def test_home_whose_clock_is_off_is_heard(off_ns: int) -> None:
    columns = make()
    for tick in range(30):
        now_ns = tick * TICK_NS
        regulation.hear(columns, report(columns, now_ns + off_ns, np.zeros(10)), now_ns=now_ns)
        _, state = follow(columns, now_ns, 0.0)
    assert (state.listening_sites, state.blind) == (10, False)


def test_homes_of_an_older_arming_leave_after_a_while() -> None:
    columns = make()
    regulation.hear(columns, report(columns, TICK_NS, np.zeros(10)), now_ns=TICK_NS)
    regulation.arm(columns, shares(10), version=2, start_ns=2 * TICK_NS)
    assert regulation.listening(columns, now_ns=3 * TICK_NS)[0].all()
    stale = report(columns, 12 * TICK_NS, np.zeros(10))
    stale.version[:] = 1
    regulation.hear(columns, stale, now_ns=12 * TICK_NS)
    assert not regulation.listening(columns, now_ns=12 * TICK_NS)[0].any()
    with pytest.raises(InvalidInputError):
        regulation.arm(columns, shares(10), version=2, start_ns=0)


def test_missed_ticks_keep_the_value_before_them() -> None:
    columns = make(lag_s=0.0, silent_ns=10**13)
    for tick in (0, 1, 2, 9, 10):
        follow(columns, tick * TICK_NS, -10_000.0 if tick < 9 else 0.0)
    assert (columns.seq, columns.ticks_count) == (5, 11)
    # eight whole ticks at half of each share, two at nothing
    mean_w = np.full(10, -1_000.0)
    told = report(columns, 9 * TICK_NS, mean_w)
    for _ in range(60):
        columns.told_ns[:] = 0
        regulation.hear(columns, told, now_ns=10 * TICK_NS)
    assert regulation.learned(columns)[0] == pytest.approx(1.0, abs=0.01)
    follow(columns, 10_000 * TICK_NS, -10_000.0)
    assert columns.ticks_count == 10_001


def test_clock_that_is_set_back_begins_anew() -> None:
    columns = make(lag_s=0.0, silent_ns=10**13)
    follow(columns, 100 * TICK_NS, 0.0)
    follow(columns, 101 * TICK_NS, 0.0)
    assert follow(columns, 50 * TICK_NS, -10_000.0)[0] == pytest.approx(0.5)
    assert columns.ticks_count == 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_whatever_meters_say_the_value_stays_a_share_and_the_gain_within_its_bounds(seed: int) -> None:
    random = np.random.default_rng(seed)
    columns = make(sites=6)
    now_ns = 0
    for version in range(2, 40):
        now_ns += int(random.choice([0, 1, TICK_NS, TICK_NS, 7 * TICK_NS, 1_000 * TICK_NS]))
        count = int(random.integers(0, 7))
        end_ns = now_ns - random.integers(-2, 40, count) * (TICK_NS // 3)
        wild = np.array([0.0, 1e300, -1e300, np.nan, np.inf, 5_000.0])
        reports = MeterReports(
            rows=random.permutation(6)[:count],
            start_ns=end_ns - random.integers(-1, 5, count) * TICK_NS,
            end_ns=end_ns,
            mean_w=random.choice(wild, count),
            stored_kwh=random.choice(np.array([np.nan, 2.0, 6.0, 11.0, -5.0]), count),
            version=random.integers(0, version + 1, count),
        )
        regulation.hear(columns, reports, now_ns=now_ns)
        if random.random() < 0.2:
            regulation.arm(columns, shares(6), version=version, start_ns=now_ns)
        signal, state = regulation.follow(
            columns, t_ns=now_ns, target_w=float(random.uniform(-1e5, 1e5)), hold_ns=HOLD_NS
        )
        assert -1.0 <= signal.value_frac <= 1.0
        assert 0.7 <= state.gain_frac <= 1.1
        assert 0.0 <= state.lag_s <= 2.0
        assert np.isfinite(state.unmet_w)


def test_target_that_is_no_number_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        follow(make(), 0, float("nan"))


def test_setpoints_are_what_the_broadcast_means() -> None:
    columns = make(lag_s=0.0)
    signal, _ = regulation.follow(columns, t_ns=0, target_w=-10_000.0, hold_ns=HOLD_NS)
    assert regulation.setpoints_w(columns, signal).tolist() == [-1_000] * 10
    assert (signal.seq, signal.end_ns) == (1, HOLD_NS)
