"""What bids promise of a fleet as one battery the controller delivers, minute by minute, by the meters, to the watt-hour."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.domain.interval import NS_PER_HOUR, Interval
from shoal.optimise.fleet_battery import fleet_battery
from tests.property.optimise.test_splittable import awarded_w
from tests.unit.control.plants import START_NS, Plant, award, make_dispatcher, mixed_nameplates, step

HOURS = 5
KEPT_WH = 500.0 / 60.0
"""A split that is off by less than 500 W is kept, in the last minute of an hour too."""


@settings(max_examples=6, deadline=None)
@given(sites=st.integers(1, 14), seed=st.integers(0, 2**32 - 1))
def test_any_award_of_what_was_offered_is_delivered_by_the_controller(sites: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    plate = mixed_nameplates(sites, seed)
    plate["charge_efficiency_frac"] = plate["discharge_efficiency_frac"] = 0.94
    plant = Plant(plate)
    filled = rng.choice([0.02, 0.98, -1.0], sites, p=[0.2, 0.2, 0.6])
    filled = np.where(filled < 0.0, rng.uniform(0.02, 0.98, sites), filled)
    capacity = plate["energy_capacity_kwh"]
    plant.stored_kwh = (plate["reserve_frac"] + (1.0 - plate["reserve_frac"]) * filled) * capacity
    one = fleet_battery(
        energy_kwh=plant.stored_kwh,
        energy_capacity_kwh=capacity,
        reserve_frac=plate["reserve_frac"],
        charge_limit_kw=plate["charge_limit_kw"],
        discharge_limit_kw=plate["discharge_limit_kw"],
        charge_efficiency_frac=plate["charge_efficiency_frac"],
        discharge_efficiency_frac=plate["discharge_efficiency_frac"],
        energy_margin_frac=0.02,
    ).storage
    awards_w = awarded_w(rng, one, HOURS)
    everybody = np.ones(sites, dtype=np.bool_)
    plant.report(everybody)
    dispatcher = make_dispatcher(plate)
    for hour, power_w in enumerate(awards_w):
        ahead_w = awards_w[hour:]
        now = replace(
            award(
                power_w,
                Interval(start_ns=START_NS + hour * NS_PER_HOUR, end_ns=START_NS + (hour + 1) * NS_PER_HOUR),
            ),
            most_charge_w=max(0, *ahead_w),
            most_discharge_w=max(0, *(-one_w for one_w in ahead_w)),
            charge_wh=sum(one_w for one_w in ahead_w if one_w > 0),
            discharge_wh=-sum(one_w for one_w in ahead_w if one_w < 0),
        )
        before_wh = plant.delivered_wh()
        for _ in range(60):
            plant.obey(step(dispatcher, plant, now), everybody)
            plant.advance(everybody)
        # every meter shows whole watt-hours
        assert abs(plant.delivered_wh() - before_wh - power_w) <= KEPT_WH + sites
