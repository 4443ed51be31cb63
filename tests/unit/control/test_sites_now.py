"""What events know of sites between two samples: energy and meter go on with the power that was last shown."""

from __future__ import annotations

import numpy as np

from shoal.control.sites_now import own_load_w, sites_now, storm_sites
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S
from shoal.domain.telemetry import TELEMETRY
from tests.unit.edge.sites import nameplates

T_NS = 1_700_000_000 * NS_PER_S
SITES = 4


def _latest() -> np.ndarray[tuple[int], np.dtype[np.void]]:
    latest = TELEMETRY.empty(SITES)
    latest["ts_ns"] = T_NS - 2 * NS_PER_MINUTE
    latest["soc_frac"] = 0.5
    latest["charge_wh"], latest["discharge_wh"] = 7_000, 4_000
    latest["battery_w"] = [3_000, -3_000, 0, 3_000]
    latest["load_w"], latest["solar_w"], latest["ev_w"] = 800, [0, -500, -2_000, 0], [0, 0, 0, 7_000]
    latest["ts_ns"][3] = T_NS - 60 * NS_PER_MINUTE
    return latest


def test_energy_and_meter_go_on_with_the_power_last_shown() -> None:
    plate = nameplates(SITES)
    now = sites_now(
        plate,
        _latest(),
        t_ns=T_NS,
        fresh_ns=180 * NS_PER_S,
        reserve_frac=np.full(SITES, 0.2),
        available=np.ones(SITES, dtype=np.bool_),
    )
    capacity_wh = plate["energy_capacity_kwh"] * 1e3
    half_wh = 0.5 * capacity_wh
    charged_wh = 100.0 * plate["charge_efficiency_frac"][0]
    discharged_wh = 100.0 / plate["discharge_efficiency_frac"][1]
    assert now.known.tolist() == [True, True, True, False]
    np.testing.assert_allclose(
        now.energy_wh[:3], half_wh[:3] + np.array([charged_wh, -discharged_wh, 0.0]), rtol=1e-9
    )
    assert now.metered_wh.tolist() == [3_100, 2_900, 3_000, 3_000], "who is silent is not reckoned on"
    np.testing.assert_allclose(now.reserve_wh, 0.2 * capacity_wh)


def test_cycle_budget_is_kept_as_a_reserve_is() -> None:
    now = sites_now(
        nameplates(SITES),
        _latest(),
        t_ns=T_NS,
        fresh_ns=180 * NS_PER_S,
        reserve_frac=np.full(SITES, 0.2),
        available=np.ones(SITES, dtype=np.bool_),
        cycle_left_wh=np.array([1_000, 0, 1_000_000, 0]),
    )
    usable_wh = now.usable_wh()
    assert abs(usable_wh[0] - 1_000) < 1e-6
    assert usable_wh[1] == 0
    assert usable_wh[2] > 3_000, "more than there is limits nothing"


def test_own_load_is_what_sun_leaves_of_it() -> None:
    assert own_load_w(_latest()).tolist() == [800, 300, 0, 7_800]


def test_storm_knows_the_same_energy() -> None:
    plate = nameplates(SITES)
    storm = storm_sites(
        ["a", "b", "c", "d"],
        plate,
        _latest(),
        t_ns=T_NS,
        fresh_ns=180 * NS_PER_S,
        reserve_frac=np.full(SITES, 0.2),
        mode=[""] * SITES,
    )
    assert storm.energy_wh[0] > 0.5 * plate["energy_capacity_kwh"][0] * 1e3
    assert (storm.charge_w == np.floor(plate["charge_limit_kw"] * 1e3)).all()
