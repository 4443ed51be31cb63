"""Whatever the fleet, the award and who is silent: no command breaks a limit, and what can be met is met."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.control.dispatch import RESPLIT_FRAC, RESPLIT_MIN_W
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S
from tests.unit.control.plants import START_NS, Plant, award, make_dispatcher, mixed_nameplates, step


@settings(max_examples=80, deadline=None)
@given(
    sites=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
    energies_wh=st.lists(st.integers(-120_000, 120_000), min_size=1, max_size=5),
)
def test_commands_stay_within_limits_and_meet_what_can_be_met(
    sites: int, seed: int, energies_wh: list[int]
) -> None:
    random = np.random.default_rng(seed)
    plate = mixed_nameplates(sites, seed)
    plant = Plant(plate)
    dispatcher = make_dispatcher(plate)
    told = np.zeros(sites, dtype=np.int64)
    for energy_wh in energies_wh:
        plant.stored_kwh = plate["energy_capacity_kwh"] * random.uniform(0.0, 1.0, sites)
        plant.report(random.random(sites) < 0.8)
        decision = step(dispatcher, plant, award(energy_wh))
        fresh = plant.t_ns - plant.heard["ts_ns"] <= 180 * NS_PER_S
        for row, desired in decision.commands:
            at = row - 10
            assert fresh[at]
            told[at] = desired.battery_w
            assert (
                -plate["discharge_limit_kw"][at] * 1e3
                <= desired.battery_w
                <= plate["charge_limit_kw"][at] * 1e3
            )
            assert desired.battery_w * energy_wh >= 0, "nobody works against the resource"
            energy_kwh = plant.heard["soc_frac"][at] * plate["energy_capacity_kwh"][at]
            if energy_kwh <= plate["reserve_frac"][at] * plate["energy_capacity_kwh"][at]:
                assert desired.battery_w >= 0, "the owner's reserve is not for sale"
        target_w = round(decision.state.target_kw * 1e3)
        asked_w = int(told[fresh].sum())
        unmet_w = round(decision.state.shortfall_kw * 1e3)
        slack_w = max(RESPLIT_MIN_W, abs(target_w) * RESPLIT_FRAC)
        assert abs(asked_w + unmet_w - target_w) <= slack_w
        if unmet_w:
            assert asked_w + unmet_w == target_w
            limit_w = plate["discharge_limit_kw"] if target_w < 0 else plate["charge_limit_kw"]
            assert abs(unmet_w) <= abs(target_w)
            assert abs(asked_w) <= limit_w[fresh].sum() * 1e3
        plant.t_ns += NS_PER_MINUTE
        assert decision.state.start_ns == START_NS
