"""The split of a set-point against a plain solver by sorted kinks, and what a battery can hold."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise.allocation import battery_limits, split_setpoint, split_setpoint_w

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


def split_by_sorting(
    target: float, lower: Floats, upper: Floats, weight: Floats, preferred: Floats
) -> Floats:
    """Walk the kinks of the total power in rising price and interpolate between the two around it."""
    kinks = np.concatenate([(lower - preferred) / weight, (upper - preferred) / weight])
    order = np.argsort(kinks)
    kinks = kinks[order]
    slope = np.cumsum(np.concatenate([weight, -weight])[order])
    total = lower.sum() + np.concatenate([[0.0], np.cumsum(slope[:-1] * np.diff(kinks))])
    at = int(np.clip(np.searchsorted(total, target) - 1, 0, kinks.size - 2))
    price = kinks[at] + (target - total[at]) / max(slope[at], 1e-300)
    result: Floats = np.clip(preferred + price * weight, lower, upper)
    return result


def random_fleet(rng: np.random.Generator, count: int) -> tuple[Floats, Floats, Floats, Floats]:
    lower = -rng.choice([0.0, 3.3, 5.0, 11.5], count) * rng.random(count)
    upper = rng.choice([0.0, 3.3, 5.0, 11.5], count) * rng.random(count)
    weight = rng.choice([6.5, 10.0, 13.5, 27.0], count) * 10.0 ** rng.integers(-3, 4)
    return lower, upper, weight, rng.normal(0.0, 3.0, count)


@pytest.mark.parametrize("count", [1, 2, 3, 17, 400, 20_000])
def test_split_equals_sorted_kinks(count: int) -> None:
    rng = np.random.default_rng(count)
    for _ in range(30 if count < 1000 else 5):
        lower, upper, weight, preferred = random_fleet(rng, count)
        target = float(rng.uniform(lower.sum(), upper.sum()))
        got = split_setpoint(target, lower, upper, weight, preferred)
        assert got.unmet_kw == 0.0
        assert got.power_kw.sum() == pytest.approx(target, rel=1e-9, abs=1e-12)
        assert np.all((got.power_kw >= lower) & (got.power_kw <= upper))
        wanted = split_by_sorting(target, lower, upper, weight, preferred)
        np.testing.assert_allclose(got.power_kw, wanted, rtol=1e-9, atol=1e-7)
        np.testing.assert_allclose(
            got.power_kw, np.clip(preferred + got.shift_kw * weight, lower, upper), rtol=1e-9, atol=1e-7
        )


def test_split_of_weights_of_very_different_size_meets_the_target() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        count = int(rng.integers(1, 30))
        lower, upper, _, preferred = random_fleet(rng, count)
        weight = 10.0 ** rng.uniform(-200, 200, count)
        target = float(rng.uniform(lower.sum(), upper.sum()))
        got = split_setpoint(target, lower, upper, weight, preferred)
        assert got.power_kw.sum() == pytest.approx(target, rel=1e-9, abs=1e-12)
        assert np.all((got.power_kw >= lower) & (got.power_kw <= upper))


@pytest.mark.parametrize(("target_kw", "unmet_kw", "end"), [(20.0, 5.0, "upper"), (-9.0, -3.0, "lower")])
def test_split_beyond_reach_leaves_everybody_at_the_limit(
    target_kw: float, unmet_kw: float, end: str
) -> None:
    lower, upper = np.array([-2.0, -4.0]), np.array([5.0, 10.0])
    got = split_setpoint(target_kw, lower, upper, np.ones(2), np.zeros(2))
    assert got.power_kw.tolist() == (upper if end == "upper" else lower).tolist()
    assert got.unmet_kw == pytest.approx(unmet_kw)
    assert got.shift_kw == np.copysign(np.inf, unmet_kw)


def test_split_at_the_very_limit_is_met_at_a_finite_price() -> None:
    upper = np.array([0.1, 0.2, 0.3])
    got = split_setpoint(0.6, -upper, upper, np.ones(3), np.zeros(3))
    assert got.power_kw.tolist() == pytest.approx(upper.tolist(), rel=1e-12)
    assert got.unmet_kw == 0.0
    assert got.shift_kw == pytest.approx(0.3)


def test_split_keeps_a_device_of_no_weight_where_it_prefers_to_be() -> None:
    got = split_setpoint(
        6.0, np.zeros(3), np.full(3, 5.0), np.array([0.0, 1.0, 1.0]), np.array([9.0, 0.0, 0.0])
    )
    assert got.power_kw.tolist() == [5.0, 0.5, 0.5]
    fixed = split_setpoint(6.0, np.zeros(2), np.full(2, 5.0), np.zeros(2), np.array([1.0, 2.0]))
    assert (fixed.power_kw.tolist(), fixed.unmet_kw) == ([1.0, 2.0], 3.0)


def test_split_over_no_devices_is_unmet() -> None:
    none = np.array([])
    assert split_setpoint(4.0, none, none, none, none).unmet_kw == 4.0
    assert split_setpoint(0.0, none, none, none, none).unmet_kw == 0.0


def test_split_without_need_leaves_everybody_at_the_preferred_power() -> None:
    preferred = np.array([1.5, -2.0, 0.25])
    got = split_setpoint(-0.25, np.full(3, -5.0), np.full(3, 5.0), np.array([1.0, 2.0, 3.0]), preferred)
    assert got.power_kw.tolist() == preferred.tolist()
    assert got.shift_kw == 0.0


@pytest.mark.parametrize("count", [1, 3, 50, 5000])
def test_whole_watts_add_up_exactly(count: int) -> None:
    rng = np.random.default_rng(count)
    for _ in range(20):
        lower, upper = -rng.integers(0, 6000, count), rng.integers(0, 6000, count)
        weight = rng.uniform(1.0, 30.0, count) * (rng.random(count) < 0.9)
        preferred = np.where(weight > 0, rng.normal(0.0, 2000.0, count), rng.uniform(-6000, 6000, count))
        fixed = np.clip(np.rint(preferred), lower, upper).astype(np.int64)[weight == 0].sum()
        low_w = int(lower[weight > 0].sum() + fixed)
        high_w = int(upper[weight > 0].sum() + fixed)
        target = int(rng.integers(low_w, high_w + 1))
        got = split_setpoint_w(target, lower, upper, weight, preferred)
        assert got.unmet_w == 0
        assert int(got.power_w.sum()) == target
        assert np.all((got.power_w >= lower) & (got.power_w <= upper))
        real = split_setpoint(
            float(target),
            lower.astype(float),
            upper.astype(float),
            weight,
            np.where(weight > 0, preferred, 0),
        )
        if not (weight == 0).any():
            assert np.abs(got.power_w - real.power_kw).max() <= 1.0 + 1e-6
        for beyond, edge_w in ((low_w - 7, low_w), (high_w + 7, high_w)):
            short = split_setpoint_w(beyond, lower, upper, weight, preferred)
            assert (short.unmet_w, int(short.power_w.sum())) == (beyond - edge_w, edge_w)


def test_whole_watts_go_to_the_largest_remainders() -> None:
    got = split_setpoint_w(
        10, np.zeros(3, dtype=np.int64), np.full(3, 9), np.array([1.0, 2.0, 3.0]), np.zeros(3)
    )
    assert got.power_w.tolist() == [2, 3, 5]  # of 1.67, 3.33 and 5.0


def test_whole_watts_over_no_devices_are_unmet() -> None:
    none = np.array([], dtype=np.int64)
    got = split_setpoint_w(5, none, none, np.array([]), np.array([]))
    assert (got.power_w.size, got.unmet_w) == (0, 5)


@pytest.mark.parametrize(
    ("lower", "upper", "weight", "preferred", "field"),
    [
        ([1.0], [0.0], [1.0], [0.0], "lower_kw[0]"),
        ([0.0], [1.0], [-1.0], [0.0], "weight[0]"),
        ([0.0], [1.0], [1.0], [np.nan], "preferred_kw[0]"),
        ([0.0], [np.inf], [1.0], [0.0], "upper_kw[0]"),
        ([0.0], [1.0, 2.0], [1.0], [0.0], "upper_kw"),
    ],
)
def test_split_refuses_malformed_input(
    lower: list[float], upper: list[float], weight: list[float], preferred: list[float], field: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        split_setpoint(0.5, np.array(lower), np.array(upper), np.array(weight), np.array(preferred))
    assert caught.value.field == field


def test_whole_watts_refuse_limits_that_are_not_whole() -> None:
    with pytest.raises(InvalidInputError) as caught:
        split_setpoint_w(1, np.zeros(1), np.ones(1), np.ones(1), np.zeros(1))  # type: ignore[arg-type]
    assert caught.value.field == "lower_w"


def test_battery_limits_are_what_can_be_held_for_the_duration() -> None:
    lower_kw, upper_kw = battery_limits(
        energy_kwh=np.array([5.0, 5.0, 1.0, 10.0, 0.5]),
        energy_capacity_kwh=np.full(5, 10.0),
        reserve_kwh=np.array([1.0, 4.0, 1.0, 2.0, 2.0]),
        charge_limit_kw=np.full(5, 4.0),
        discharge_limit_kw=np.full(5, 3.0),
        charge_efficiency_frac=np.full(5, 0.8),
        discharge_efficiency_frac=np.full(5, 0.9),
        duration_h=2.0,
    )
    assert lower_kw.tolist() == pytest.approx([-1.8, -0.45, 0.0, -3.0, 0.0])
    assert upper_kw.tolist() == pytest.approx([3.125, 3.125, 4.0, 0.0, 4.0])


def test_battery_limits_of_no_batteries_are_empty() -> None:
    none = np.array([])
    lower_kw, upper_kw = battery_limits(none, none, none, none, none, none, none, 1.0)
    assert lower_kw.shape == upper_kw.shape == (0,)


def test_battery_limits_refuse_no_duration() -> None:
    one = np.ones(1)
    with pytest.raises(InvalidInputError) as caught:
        battery_limits(one, one, one, one, one, one, one, 0.0)
    assert caught.value.field == "duration_h"


def cheapest_whole_watts(target: int, lower: Whole, upper: Whole, weight: Floats, preferred: Floats) -> Whole:
    """Give one watt after the other to whoever it costs least."""
    free = weight > 0.0
    power = np.where(free, lower, np.clip(np.floor(preferred + 0.5), lower, upper)).astype(np.int64)
    for _ in range(target - int(power.sum())):
        cost = np.full(power.size, np.inf)
        open_rows = free & (power < upper)
        cost[open_rows] = (power + 0.5 - preferred)[open_rows] / weight[open_rows]
        power[int(np.argmin(cost))] += 1
    return power


def test_whole_watts_are_the_cheapest_of_all() -> None:
    rng = np.random.default_rng(5)
    for turn in range(400):
        count = int(rng.integers(1, 12))
        lower = -rng.integers(0, 30, count)
        upper = lower + rng.integers(0, 50, count)
        weight = rng.choice([0.0, 1.0, 2.0, 13.5, 1e-3, 1e3, 1e6] if turn % 2 else [1.0, 2.0], count)
        preferred = rng.choice([0.0, 0.5, 3.0, -2.5], count) if turn % 3 else rng.normal(0.0, 10.0, count)
        fixed = np.clip(np.floor(preferred + 0.5), lower, upper).astype(np.int64)
        low, high = (int(np.where(weight > 0.0, limit, fixed).sum()) for limit in (lower, upper))
        target = int(rng.integers(low, high + 1))
        got = split_setpoint_w(target, lower, upper, weight, preferred)
        wanted = cheapest_whole_watts(target, lower, upper, weight, preferred)
        free = weight > 0.0
        costs = [
            float(((power - preferred)[free] ** 2 / weight[free]).sum()) for power in (got.power_w, wanted)
        ]
        assert int(got.power_w.sum()) == target
        assert costs[0] == pytest.approx(costs[1], rel=1e-9, abs=1e-9)


def test_of_devices_alike_the_first_take_the_watts_left_over() -> None:
    count = 50_000
    limits = np.zeros(count, dtype=np.int64), np.full(count, 5000)
    got = split_setpoint_w(1000 * count + 17, *limits, np.ones(count), np.zeros(count))
    np.testing.assert_array_equal(got.power_w, np.where(np.arange(count) < 17, 1001, 1000))


def test_order_and_rhythm_of_a_fleet_make_no_difference() -> None:
    """The sample that begins the search must not be fooled by a fleet that is sorted or repeats."""
    rng = np.random.default_rng(6)
    count = 40_000
    lower, upper, weight, preferred = random_fleet(rng, count)
    upper[: count // 50] *= 1000.0  # a few large ones at the front
    for order in (np.arange(count), np.argsort(preferred), np.argsort(np.arange(count) % 64)):
        fleet = [column[order] for column in (lower, upper, weight, preferred)]
        for part in (0.001, 0.3, 0.97, 0.999):
            target = float(lower.sum() + part * (upper.sum() - lower.sum()))
            got = split_setpoint(target, *fleet)
            assert got.unmet_kw == 0.0
            np.testing.assert_allclose(got.power_kw, split_by_sorting(target, *fleet), rtol=1e-9, atol=1e-7)


def test_huge_and_tiny_weights_are_split_in_whole_watts() -> None:
    weight = np.array([1e-150, 1.0, 1e150])
    got = split_setpoint_w(2500, np.zeros(3, dtype=np.int64), np.full(3, 1000), weight, np.zeros(3))
    assert (got.power_w.tolist(), got.unmet_w) == ([750, 750, 1000], 0)  # both small ones count as 1e-100
