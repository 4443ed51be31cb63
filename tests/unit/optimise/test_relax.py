"""Wishes on cases that can be worked out by hand: who gives way, by how much, and what is said about it."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.optimise.relax import (
    Wish,
    agree,
    cap_discharge,
    commit_power,
    keep_energy,
    leave_room,
    plan_agreed,
)
from shoal.optimise.relax_limits import physical_limits
from shoal.optimise.storage import DepthCost, Storage

BATTERY = Storage(
    charge_limit_kw=5.0,
    discharge_limit_kw=5.0,
    charge_efficiency_frac=1.0,
    discharge_efficiency_frac=1.0,
    energy_capacity_kwh=10.0,
    initial_energy_kwh=2.0,
)


def test_wishes_that_can_hold_are_granted_in_full() -> None:
    wishes = [keep_energy("reserve", (2, 4), 3.0), leave_room("solar", (4, 5), 6.0)]
    agreed = plan_agreed(BATTERY, np.array([10.0, 90.0, 20.0, 80.0]), 1.0, wishes)
    assert agreed.agreement.relaxations == ()
    assert agreed.plan.energy_kwh[2:4].min() >= 3.0 - 1e-9
    assert agreed.plan.energy_kwh[4] <= 6.0 + 1e-9
    assert agreed.agreement.limits.floor_names == ("", "", "reserve", "reserve", "")


def test_target_out_of_reach_comes_as_near_as_the_power_allows() -> None:
    agreement = agree(BATTERY, 1.0, [keep_energy("ready", (1, 2), 9.0)], physical=physical_limits(BATTERY, 3))
    (one,) = agreement.relaxations
    assert (one.name, one.row, one.asked, one.granted, one.because) == ("ready", 1, 9.0, 7.0, "")
    assert one.sentence == (
        "'ready' asked for at least 9 kWh stored at boundary 1 and gets 7 kWh (2 kWh given up): "
        "the storage cannot do more."
    )


def test_less_important_wish_gives_way_and_names_the_one_before_it() -> None:
    deliver, keep = commit_power("customer", 0, [-1.0, -1.0]), keep_energy("reserve", (2, 3), 1.5)
    physical = physical_limits(BATTERY, 2)
    (one,) = agree(BATTERY, 1.0, [deliver, keep], physical=physical).relaxations
    assert (one.name, one.granted, one.because) == ("reserve", 0.0, "customer")
    assert one.sentence.endswith("'customer' comes first.")
    (other,) = agree(BATTERY, 1.0, [keep, deliver], physical=physical).relaxations
    assert (other.name, other.row, other.because) == ("customer", 1, "customer")
    assert other.granted == pytest.approx(0.5)


def test_commitment_beyond_the_energy_is_kept_first_where_it_comes_first() -> None:
    agreement = agree(
        BATTERY, 1.0, [commit_power("customer", 0, [-2.0, -2.0])], physical=physical_limits(BATTERY, 2)
    )
    (one,) = agreement.relaxations
    assert (one.row, one.granted, one.because) == (1, 0.0, "customer")
    assert "its earlier part has used up what there was" in one.sentence


def test_budget_gives_way_to_a_commitment_before_it_and_holds_against_one_after_it() -> None:
    budget, deliver = cap_discharge("warranty", 1.0), commit_power("customer", 0, [-1.5])
    physical = physical_limits(BATTERY, 2)
    (first,) = agree(BATTERY, 1.0, [deliver, budget], physical=physical).relaxations
    assert (first.name, first.granted, first.because) == ("warranty", 1.5, "customer")
    (second,) = agree(BATTERY, 1.0, [budget, deliver], physical=physical).relaxations
    assert second.name == "customer"
    assert second.granted == pytest.approx(-1.0, abs=1e-7)
    assert second.because == "warranty"


def test_budget_that_binds_has_a_price_and_is_used_up() -> None:
    price = np.array([10.0, 100.0, 20.0, 60.0])
    agreed = plan_agreed(BATTERY, price, 1.0, [cap_discharge("warranty", 6.0)])
    assert agreed.plan.discharge_kw.sum() == pytest.approx(6.0)
    # Five are sold at 100 and one at 60, four of them bought at 10; a seventh would be bought at 10 and sold at 60.
    assert agreed.plan.value == pytest.approx((5 * 100 + 60 - 4 * 10) / 1e3, rel=1e-9)
    assert agreed.plan.value == pytest.approx(agreed.plan.value_bound, rel=1e-9)
    assert agreed.plan.budget_price_per_mwh == pytest.approx(50.0)


def test_contradictory_wishes_still_come_to_a_plan() -> None:
    wishes = [
        keep_energy("full", (1, 4), 10.0),
        leave_room("empty", (1, 4), 0.0),
        commit_power("both", 0, [5.0, -5.0, 5.0]),
        cap_discharge("nothing", 0.0),
    ]
    agreed = plan_agreed(BATTERY, np.array([10.0, 50.0, 90.0]), 1.0, wishes)
    np.testing.assert_allclose(agreed.plan.energy_kwh, [2.0, 7.0, 10.0, 10.0], atol=1e-7)
    assert {one.name for one in agreed.agreement.relaxations} == {"full", "empty", "both"}


@pytest.mark.parametrize(
    "wishes",
    [
        [keep_energy("a", (0, 1), 1.0), keep_energy("a", (1, 2), 1.0)],
        [Wish(name="", kind="energy_floor", values=(1.0,))],
        [Wish(name="a", kind="energy", values=(1.0,))],  # type: ignore[arg-type]
        [Wish(name="a", kind="power_floor", values=(1.0, 1.0, 1.0))],
        [Wish(name="a", kind="power_floor", values=())],
        [Wish(name="a", kind="energy_floor", values=(float("nan"),))],
    ],
)
def test_malformed_wishes_are_refused(wishes: list[Wish]) -> None:
    with pytest.raises(InvalidInputError):
        agree(BATTERY, 1.0, wishes, physical=physical_limits(BATTERY, 2))


def test_storage_that_the_chain_cannot_describe_is_refused() -> None:
    leaky = Storage(
        charge_limit_kw=5.0,
        discharge_limit_kw=5.0,
        charge_efficiency_frac=1.0,
        discharge_efficiency_frac=1.0,
        energy_capacity_kwh=10.0,
        initial_energy_kwh=2.0,
        depth_costs=(DepthCost(below_kwh=2.0, cost_per_mwh_h=1.0),),
    )
    with pytest.raises(InvalidInputError, match="depth_costs"):
        plan_agreed(leaky, np.array([1.0]), 1.0, [])
