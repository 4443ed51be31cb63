"""A fleet as one battery: the plain cases by hand, and never less than the rule of the smallest ratio."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.optimise.fleet_battery import FleetBattery, GroupLimits, fleet_battery


def as_one(energy: list[float], capacity: list[float], power: list[float], **change: Any) -> FleetBattery:
    count = len(energy)
    given: dict[str, Any] = {
        "energy_kwh": np.array(energy),
        "energy_capacity_kwh": np.array(capacity),
        "reserve_frac": np.zeros(count),
        "charge_limit_kw": np.array(power),
        "discharge_limit_kw": np.array(power),
        "charge_efficiency_frac": np.ones(count),
        "discharge_efficiency_frac": np.ones(count),
    }
    return fleet_battery(**(given | change))


def test_batteries_alike_add_up_and_nothing_is_overstated() -> None:
    one = as_one([5.0] * 4, [10.0] * 4, [5.0] * 4)
    assert (one.storage.charge_limit_kw, one.storage.discharge_limit_kw) == pytest.approx((20.0, 20.0))
    assert (one.storage.initial_energy_kwh, one.storage.energy_capacity_kwh) == pytest.approx((20.0, 40.0))
    assert (one.overstated_kw, one.overstated_kwh) == pytest.approx((0.0, 0.0), abs=1e-9)
    assert one.reasons == ()


def test_short_and_long_batteries_promise_what_both_can_hold() -> None:
    """5 kW for 1 h beside 5 kW for 4 h: 10 kW for an hour, or 6.25 kW for four: the larger product."""
    one = as_one([5.0, 20.0], [5.0, 20.0], [5.0, 5.0])
    assert one.storage.discharge_limit_kw == pytest.approx(6.25)
    assert one.storage.initial_energy_kwh == pytest.approx(25.0)
    assert one.overstated_kw == pytest.approx(3.75)
    assert "from 1 to 4 h" in one.reasons[-1]


def test_full_beside_empty_gives_the_power_of_one() -> None:
    one = as_one([10.0, 0.0], [10.0, 10.0], [5.0, 5.0])
    assert one.storage.discharge_limit_kw == pytest.approx(5.0)
    assert one.storage.charge_limit_kw == pytest.approx(5.0)
    assert (one.storage.initial_energy_kwh, one.storage.energy_capacity_kwh) == pytest.approx((10.0, 20.0))
    assert (one.share_below.tolist(), one.share_above.tolist()) == ([1.0, 0.0], [0.0, 1.0])


def test_feeder_caps_the_part_behind_it() -> None:
    groups = GroupLimits(
        leaf=np.array([1, 1, -1]),
        parent=np.array([-1, 0]),
        charge_limit_kw=np.array([100.0, 100.0]),
        discharge_limit_kw=np.array([100.0, 4.0]),
    )
    one = as_one([5.0] * 3, [10.0] * 3, [5.0] * 3, groups=groups)
    behind_kw = one.storage.discharge_limit_kw * float(one.share_below[:2].sum())
    assert behind_kw <= 4.0 + 1e-9
    assert one.storage.discharge_limit_kw > 6.0 - 1e-9
    assert "limits of groups leave 6 kW" in one.reasons[0]


def test_battery_below_its_reserve_is_charged_apart() -> None:
    one = as_one([1.0, 6.0], [10.0, 10.0], [5.0, 5.0], reserve_frac=np.full(2, 0.2))
    assert (one.share_below.tolist(), one.share_above.tolist()) == ([0.0, 1.0], [0.0, 1.0])
    assert any("to their reserve first" in reason for reason in one.reasons)


def test_power_by_energy_is_never_less_than_by_the_smallest_ratio() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        count = int(rng.integers(1, 30))
        capacity = rng.uniform(3.0, 30.0, count)
        columns: dict[str, Any] = {
            "energy_kwh": 0.5 * capacity,
            "energy_capacity_kwh": capacity,
            "reserve_frac": np.zeros(count),
            "charge_limit_kw": rng.uniform(1.0, 10.0, count),
            "discharge_limit_kw": rng.uniform(1.0, 10.0, count),
            "charge_efficiency_frac": np.full(count, 0.95),
            "discharge_efficiency_frac": np.full(count, 0.95),
            "availability_frac": 0.9,
            "energy_margin_frac": 0.02,
            "throughput_cost_per_mwh": 3.0,
        }
        tight = fleet_battery(**columns).storage
        product = tight.energy_capacity_kwh * (tight.charge_limit_kw + tight.discharge_limit_kw)
        # everybody takes the share of the whole that his energy is of all energy: the weakest limits the power of all
        weakest = min((columns[name] / capacity).min() for name in ("charge_limit_kw", "discharge_limit_kw"))
        ratio = weakest * min(
            float(capacity.sum() / columns[name].sum()) for name in ("charge_limit_kw", "discharge_limit_kw")
        )
        both_kw = ratio * float(columns["charge_limit_kw"].sum() + columns["discharge_limit_kw"].sum())
        assert product >= 0.9 * 0.9 * 0.98 * float(capacity.sum()) * both_kw * (1.0 - 1e-9)


def test_efficiency_is_the_lowest_that_any_split_comes_to() -> None:
    """Half of the power may all be that of the worse one; at all of the power both have to take part."""
    frac = np.array([1.0, 0.8])
    full = as_one([5.0, 5.0], [10.0, 10.0], [5.0, 5.0], discharge_efficiency_frac=frac)
    assert full.storage.discharge_efficiency_frac == pytest.approx((8.0 * 1.0 + 9.0 * 0.8) / 17.0)
    half = as_one([10.0, 0.0], [10.0, 10.0], [5.0, 5.0], discharge_efficiency_frac=frac)
    assert half.storage.discharge_efficiency_frac == pytest.approx(0.8)
    assert half.most_share.tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(
    ("energy", "capacity"), [([], []), ([0.0, 0.0], [0.0, 0.0]), ([1.0, 1.0], [10.0, 10.0])]
)
def test_nothing_usable_is_a_battery_of_nothing(energy: list[float], capacity: list[float]) -> None:
    one = as_one(energy, capacity, [5.0] * len(energy), reserve_frac=np.ones(len(energy)))
    assert (one.storage.energy_capacity_kwh, one.storage.discharge_limit_kw) == (0.0, 0.0)
    assert one.preferred_kw(np.zeros(len(energy)), 0.0, 1.0).tolist() == [0.0] * len(energy)


def test_malformed_groups_are_named() -> None:
    groups = GroupLimits(
        leaf=np.array([1]), parent=np.array([-1]), charge_limit_kw=np.ones(1), discharge_limit_kw=np.ones(1)
    )
    with pytest.raises(InvalidInputError) as caught:
        as_one([1.0], [2.0], [1.0], groups=groups)
    assert caught.value.field == "groups.leaf[0]"
