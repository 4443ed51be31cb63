"""What may come after an order: what was given is refilled, no faster than batteries charge, and no more than that."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.control.rebound_after import rebound_after
from shoal.domain.fleet import NAMEPLATE
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S

START_NS = 1_612_972_800_000_000_000
END_NS = START_NS + NS_PER_HOUR


def make_plate() -> np.ndarray:
    plate = NAMEPLATE.empty(3)
    plate["charge_limit_kw"] = plate["discharge_limit_kw"] = [5.0, 10.0, 5.0]
    plate["energy_capacity_kwh"] = 20.0
    plate["charge_efficiency_frac"] = plate["discharge_efficiency_frac"] = 0.9
    return plate


def test_rebound_refills_what_was_given_through_both_conversions() -> None:
    found = rebound_after(
        np.array([-2_000, -8_100, 0]), plate=make_plate(), start_ns=START_NS, end_ns=END_NS, drawn_out_s=300.0
    )
    assert found.peak_w == 15_000.0
    assert found.energy_wh == pytest.approx(10_100 / 0.81)
    assert found.from_ns == END_NS
    assert found.until_ns == END_NS + int(8_100 / 0.81 / 10_000 * NS_PER_HOUR)
    # the area of the curve after the end is the energy, as far as its points tell
    after = found.t_ns >= END_NS
    area_wh = np.trapezoid(found.power_w[after], found.t_ns[after].astype(float)) / NS_PER_HOUR
    assert area_wh == pytest.approx(found.energy_wh, rel=0.05)
    assert found.power_w[~after] == pytest.approx(-10_100)
    # from giving all to taking all, over five minutes
    assert found.steepest_kw_per_min == pytest.approx(25.1 / 5)


def test_rebound_waits_while_homes_use_their_own_sun() -> None:
    found = rebound_after(
        np.array([-2_000, 0, 0]), plate=make_plate(), start_ns=START_NS, end_ns=END_NS, rests_s=7_200.0
    )
    assert found.from_ns == END_NS + 7_200 * NS_PER_S
    between = (found.t_ns >= END_NS) & (found.t_ns < found.from_ns)
    assert between.any()
    assert not found.power_w[between].any()


def test_nothing_rebounds_after_charging_or_rest() -> None:
    for held_w in ([2_000, 0, 500], [0, 0, 0]):
        found = rebound_after(np.array(held_w), plate=make_plate(), start_ns=START_NS, end_ns=END_NS)
        assert (found.peak_w, found.energy_wh, found.until_ns) == (0.0, 0.0, END_NS)
        assert not found.power_w[found.t_ns >= END_NS].any()
    assert (
        rebound_after(
            np.empty(0, dtype=np.int64), plate=make_plate()[:0], start_ns=START_NS, end_ns=END_NS
        ).peak_w
        == 0.0
    )
