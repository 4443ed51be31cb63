"""Physics in numbers that a person can check."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from shoal.domain.errors import CorruptStateError, InvalidInputError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.domain.telemetry import TELEMETRY
from shoal.simulate.fleet import plan_fleet
from shoal.simulate.physics import STANDBY_FRAC_PER_H, HomeWorld
from shoal.simulate.profiles import Profiles

START_NS = 1_625_097_600 * NS_PER_S


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return plan_fleet(4, seed=2)


def _world(fleet: Fleet, *, stored_frac: float) -> HomeWorld:
    homes = HomeWorld(fleet, Profiles(fleet, seed=2), start_ns=START_NS, seed=2)
    homes.stored_kwh = fleet.nameplate["energy_capacity_kwh"] * stored_frac
    return homes


def test_physics_big_battery_charges_an_hour_at_its_efficiency(fleet: Fleet) -> None:
    homes = _world(fleet, stored_frac=0.25)
    real_w = homes.advance(START_NS + NS_PER_HOUR, np.array([0, 0, 0, 0, 8_000_000]))
    standby_kwh = 20_000 * STANDBY_FRAC_PER_H
    assert real_w.tolist() == [0, 0, 0, 0, 8_000_000]
    assert homes.stored_kwh[-1] == pytest.approx(5_000 + 0.95 * 8_000 - standby_kwh)
    assert homes.charge_wh[-1] == homes.import_wh[-1] == 8_000_000
    assert homes.discharge_wh[-1] == homes.export_wh[-1] == 0
    assert homes.grid_w[-1] == 8_000_000


def test_physics_big_battery_discharges_an_hour_at_its_efficiency(fleet: Fleet) -> None:
    homes = _world(fleet, stored_frac=0.75)
    homes.advance(START_NS + NS_PER_HOUR, np.array([0, 0, 0, 0, -8_000_000]))
    assert homes.stored_kwh[-1] == pytest.approx(15_000 - 8_000 / 0.95 - 20_000 * STANDBY_FRAC_PER_H)
    assert homes.discharge_wh[-1] == homes.export_wh[-1] == 8_000_000
    assert homes.import_wh[-1] == 0


def test_physics_request_beyond_the_rating_is_cut(fleet: Fleet) -> None:
    homes = _world(fleet, stored_frac=0.5)
    limit_w = (fleet.nameplate["charge_limit_kw"] * 1_000).astype(np.int64)
    assert np.array_equal(homes.advance(START_NS + NS_PER_MINUTE, limit_w * 3), limit_w)
    assert np.array_equal(homes.advance(START_NS + 2 * NS_PER_MINUTE, -limit_w * 3), -limit_w)


def test_physics_full_battery_takes_what_standby_left_and_empty_gives_nothing(fleet: Fleet) -> None:
    full = _world(fleet, stored_frac=1.0)
    real_w = full.advance(START_NS + NS_PER_HOUR, np.full(5, 3_000))
    room_w = (
        fleet.nameplate["energy_capacity_kwh"]
        * STANDBY_FRAC_PER_H
        * 1_000
        / fleet.nameplate["charge_efficiency_frac"]
    )
    expected_w = np.minimum(room_w, 3_000)
    assert ((expected_w - 1.0 - 1e-6 <= real_w) & (real_w <= expected_w + 1e-6)).all(), "whole watts below"
    empty = _world(fleet, stored_frac=0.0)
    assert not empty.advance(START_NS + NS_PER_HOUR, np.full(5, -3_000)).any()
    assert not empty.stored_kwh.any()


def test_physics_meters_do_not_drift_over_many_tiny_steps(fleet: Fleet) -> None:
    coarse, fine = _world(fleet, stored_frac=0.5), _world(fleet, stored_frac=0.5)
    minute_ns = START_NS // NS_PER_MINUTE * NS_PER_MINUTE
    coarse.now_ns = fine.now_ns = minute_ns
    asked_w = np.array([777, -777, 13, -13, 1_234_567])
    coarse.advance(minute_ns + NS_PER_MINUTE, asked_w)
    for step in range(1, 1_001):
        fine.advance(minute_ns + step * NS_PER_MINUTE // 1_000, asked_w)
    for name in ("load_wh", "ev_wh", "solar_wh", "charge_wh", "discharge_wh"):
        assert np.array_equal(getattr(fine, name), getattr(coarse, name)), name
        rest = name.replace("_wh", "_rest_wus")
        assert np.array_equal(getattr(fine, rest), getattr(coarse, rest)), rest
    assert np.array_equal(fine.import_wh - fine.export_wh, coarse.import_wh - coarse.export_wh)
    assert fine.stored_kwh == pytest.approx(coarse.stored_kwh, rel=1e-11)


def test_physics_initial_charge_lies_between_reserve_and_nine_tenths() -> None:
    fleet = plan_fleet(300, seed=2)
    homes = HomeWorld(fleet, Profiles(fleet, seed=2), start_ns=START_NS, seed=2)
    assert (homes.soc_frac >= fleet.nameplate["reserve_frac"]).all()
    assert (homes.soc_frac <= 0.9).all()
    again = HomeWorld(fleet, Profiles(fleet, seed=2), start_ns=START_NS, seed=2)
    assert np.array_equal(homes.stored_kwh, again.stored_kwh)


def test_physics_sample_leaves_number_and_command_alone(fleet: Fleet) -> None:
    homes = _world(fleet, stored_frac=0.5)
    homes.advance(START_NS + NS_PER_MINUTE, np.zeros(5, dtype=np.int64))
    records = TELEMETRY.empty(5)
    records["seq"] = 41
    records["command_version"] = 7
    homes.sample(records)
    assert (records["seq"] == 41).all()
    assert (records["command_version"] == 7).all()
    assert np.allclose(records["soc_frac"], 0.5, atol=1e-3)


@pytest.mark.parametrize("ahead_ns", [0, -1, 24 * NS_PER_HOUR + 1])
def test_physics_refuses_a_step_back_or_too_far(fleet: Fleet, ahead_ns: int) -> None:
    homes = _world(fleet, stored_frac=0.5)
    with pytest.raises(InvalidInputError):
        homes.advance(START_NS + ahead_ns, np.zeros(5, dtype=np.int64))


def test_physics_refuses_a_state_of_another_fleet(fleet: Fleet) -> None:
    homes = _world(fleet, stored_frac=0.5)
    state = homes.state()
    state["charge_wh"] = state["charge_wh"][:-1]
    with pytest.raises(CorruptStateError, match="charge_wh"):
        homes.restore(state)


def test_physics_need_nothing_of_the_profiles_files() -> None:
    # A site's own agent runs on a small box, where the readers of such files would be most of its memory.
    code = "import sys, shoal.simulate.site_driver; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
