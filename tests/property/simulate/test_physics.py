"""Physics under random requests and steps: integers balance, energy is conserved, limits hold, replay is exact."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_S
from shoal.domain.telemetry import TELEMETRY
from shoal.simulate.fleet import plan_fleet
from shoal.simulate.physics import STANDBY_FRAC_PER_H, HomeWorld
from shoal.simulate.profiles import Profiles

FLEET: Fleet = plan_fleet(12, seed=9)
PROFILES = Profiles(FLEET, seed=9)
SITES = len(FLEET.site_ids)
START_NS = 1_625_097_600 * NS_PER_S
PLATE = FLEET.nameplate
REGISTERS = ("load_wh", "ev_wh", "solar_wh", "charge_wh", "discharge_wh", "import_wh", "export_wh")

# A step is a length in ns (down to one, up to two hours), a request in shares of the limits, and its seed.
STEP = st.tuples(
    st.one_of(st.integers(1, 2_000_000_000), st.integers(1, 7_200).map(lambda s: s * NS_PER_S)),
    st.sampled_from(["share", "full", "empty", "idle", "wild"]),
    st.integers(0, 2**32 - 1),
)


def world() -> HomeWorld:
    return HomeWorld(FLEET, PROFILES, start_ns=START_NS, seed=9)


def request_w(kind: str, seed: int) -> NDArray[np.int64]:
    share = np.random.default_rng(seed).uniform(-1.0, 1.0, SITES)
    share = {
        "share": share,
        "full": np.ones(SITES),
        "empty": -np.ones(SITES),
        "idle": np.zeros(SITES),
        "wild": share * 50,
    }[kind]
    limit_w: NDArray[np.float64] = PLATE["charge_limit_kw"] * 1_000
    return (share * limit_w).astype(np.int64)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=25))
def test_meters_balance_as_integers_and_energy_is_conserved(steps: list[tuple[int, str, int]]) -> None:
    homes = world()
    begin_kwh = homes.stored_kwh.copy()
    spans_h = 0.0
    for span_ns, kind, seed in steps:
        before = {name: getattr(homes, name).copy() for name in REGISTERS}
        asked_w = request_w(kind, seed)
        real_w = homes.advance(homes.now_ns + span_ns, asked_w)
        spans_h += span_ns / 3.6e12

        assert np.array_equal(
            homes.import_wh - homes.export_wh,
            homes.load_wh + homes.ev_wh - homes.solar_wh + homes.charge_wh - homes.discharge_wh,
        )
        for name in REGISTERS:
            assert (getattr(homes, name) >= before[name]).all()
        assert (np.sign(real_w) * np.sign(asked_w) >= 0).all(), "never against the request"
        assert (np.abs(real_w) <= np.abs(asked_w)).all()
        assert (real_w <= PLATE["charge_limit_kw"] * 1_000).all()
        assert (-real_w <= PLATE["discharge_limit_kw"] * 1_000).all()
        assert (homes.stored_kwh >= 0).all()
        assert (homes.stored_kwh <= PLATE["energy_capacity_kwh"]).all()

    # A meter shows whole watt-hours and hides less than one.
    into_kwh = PLATE["charge_efficiency_frac"] * homes.charge_wh / 1_000
    out_kwh = homes.discharge_wh / 1_000 / PLATE["discharge_efficiency_frac"]
    expected_kwh = begin_kwh + into_kwh - out_kwh - homes.standby_kwh
    assert np.abs(homes.stored_kwh - expected_kwh).max() < 0.0022
    assert (homes.standby_kwh <= PLATE["energy_capacity_kwh"] * STANDBY_FRAC_PER_H * spans_h + 1e-9).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(STEP, min_size=2, max_size=16), st.data())
def test_restored_world_goes_on_bit_for_bit(steps: list[tuple[int, str, int]], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(steps)))
    straight, broken = world(), world()
    for number, (span_ns, kind, seed) in enumerate(steps):
        if number == cut:
            saved = broken.state()
            broken.advance(broken.now_ns + NS_PER_S, request_w("full", 1))
            broken = HomeWorld(FLEET, PROFILES, start_ns=0, seed=1)
            broken.restore(saved)
        for homes in (straight, broken):
            homes.advance(homes.now_ns + span_ns, request_w(kind, seed))
    one, two = straight.state(), broken.state()
    assert one.keys() == two.keys()
    for name in one:
        assert np.array_equal(one[name], two[name]), name


@settings(max_examples=30, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=8))
def test_samples_are_valid_telemetry(steps: list[tuple[int, str, int]]) -> None:
    homes = world()
    records = TELEMETRY.empty(SITES)
    records["seq"] = 1
    for span_ns, kind, seed in steps:
        homes.advance(homes.now_ns + span_ns, request_w(kind, seed))
        homes.sample(records)
        assert (TELEMETRY.violations(records) == -1).all()
        assert (records["ts_ns"] == homes.now_ns).all()
        assert np.array_equal(
            records["battery_w"] + records["solar_w"] + records["load_w"] + records["ev_w"], homes.grid_w
        )
