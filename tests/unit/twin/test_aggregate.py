"""What goes out to the page and the market: kilowatts, coverage, age, interval and firm headroom."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shoal.domain.ids import GroupId
from shoal.domain.interval import NS_PER_S
from shoal.domain.telemetry import TELEMETRY
from shoal.twin import _sum_kernel, aggregate, row
from shoal.twin.aggregate import FleetSums, Timeouts, aggregates_of, sum_twins
from shoal.twin.columns import Twins
from shoal.twin.layout import Layout
from shoal.twin.silence import FleetTrail, SilenceEstimate, SilenceRates
from tests.integration.store.fleets import make_fleet

NOW_NS = 1_700_000_000 * NS_PER_S


def make_rates() -> SilenceRates:
    shape = (4, 2)
    return SilenceRates(
        edges_ns=np.array([600 * NS_PER_S]),
        gain=np.full(shape, 0.5),
        drift=np.zeros(shape),
        share=np.full(shape, 0.5),
        spread=np.full(shape, 0.25),
        common=np.full(shape, 0.125),
    )


def four_numbers(sites: int = 1, heard: int = 1) -> tuple[Layout, FleetSums, dict[GroupId, int]]:
    """Return the sums of sites of which some say: solar -5, battery +3, load +1 kW, half full, half a minute ago."""
    fleet = make_fleet(sites)
    layout = Layout.of(fleet)
    twins = Twins(sites, layout=layout)
    records = TELEMETRY.empty(heard)
    for name, value in (
        ("solar_w", -5_000),
        ("battery_w", 3_000),
        ("load_w", 1_000),
        ("soc_frac", 0.5),
        ("seq", 1),
    ):
        records[name] = value
    records["ts_ns"] = NOW_NS - 30 * NS_PER_S
    rows = np.arange(0, 2 * heard, 2)  # these have solar
    twins.apply(rows, records, np.ones(heard, dtype=np.int64), records["ts_ns"] + 1)
    sums = sum_twins(twins.rows, layout, make_rates(), now_ns=NOW_NS, timeouts=Timeouts.alike())
    return layout, sums, fleet.group_number


def certain(sums: FleetSums) -> SilenceEstimate:
    power_w = sums.silence().fresh_w
    total_w = np.concatenate([power_w, power_w.sum(axis=1, keepdims=True)], axis=1)
    return SilenceEstimate(expected_w=total_w, low_w=total_w, high_w=total_w, firm_w=total_w)


def test_kernel_has_the_same_numbers_as_the_row_it_repeats() -> None:
    for name in ("BEHIND_NS", "NEVER", "IN_PARTS", "SUSPECT_SHIFT"):
        assert getattr(_sum_kernel, name) == getattr(row, name)
    assert _sum_kernel.AGE_SHIFT == aggregate._AGE_SHIFT
    firsts = {
        "sites": "SITES",
        "fresh": "COUNTS",
        "silent": "SILENT",
        "capacity_w": "CAPACITY",
        "charge_headroom_w": "CHARGE",
        "discharge_headroom_w": "DISCHARGE",
        "energy_wh": "ENERGY",
        "fresh_capacity_wh": "FRESH_CAPACITY",
        "power_w_battery": "POWER",
        "scale_battery": "SCALE",
        "a_battery": "A",
        "b_battery": "B",
        "v_battery": "V",
        "c_battery": "C",
        "silent_scale_battery": "SILENT_SCALE",
    }
    for column, name in firsts.items():
        assert aggregate.COLUMNS[getattr(_sum_kernel, name)] == column
    grades = [
        aggregate.COLUMNS[1 + getattr(_sum_kernel, name)] for name in ("FRESH", "SUSPECT", "STALE", "UNKNOWN")
    ]
    assert grades == ["fresh", "suspect", "stale", "unknown"]


def test_aggregates_are_in_kilowatts_with_the_grid_as_the_sum_of_assets() -> None:
    _, sums, number = four_numbers()
    live = aggregates_of(sums, certain(sums), t_ns=NOW_NS)
    at, empty = number[GroupId("vpp")], number[GroupId("feeder-2")]
    assert (live.solar_kw[at], live.battery_kw[at], live.load_kw[at], live.grid_kw[at]) == (
        -5.0,
        3.0,
        1.0,
        -1.0,
    )
    assert (live.energy_kwh[at], live.fresh_capacity_kwh[at]) == (6.75, 13.5)
    assert (live.fresh[at], live.suspect[at], live.oldest_age_s[at]) == (1, 0, 30.0)
    assert live.fresh_kw[at] == live.capacity_kw[at] > 0
    assert (live.expected_kw[at], live.low_kw[at], live.high_kw[at]) == (3.0, 3.0, 3.0)
    assert (live.grid_expected_kw[at], live.grid_low_kw[at], live.grid_high_kw[at]) == (-1.0, -1.0, -1.0)
    assert live.firm_discharge_kw[at] == live.discharge_headroom_kw[at] > 3.0
    assert (live.sites[empty], live.capacity_kw[empty], live.oldest_age_s[empty]) == (0, 0.0, -1e-9)


def test_firm_headroom_leaves_room_for_what_silent_sites_may_do() -> None:
    _, sums, number = four_numbers()
    sure = certain(sums)
    wide = replace(sure, low_w=sure.low_w - 2_000, firm_w=sure.firm_w + 1_000)
    live, firm = aggregates_of(sums, sure, t_ns=NOW_NS), aggregates_of(sums, wide, t_ns=NOW_NS)
    at = number[GroupId("vpp")]
    assert firm.firm_discharge_kw[at] == live.discharge_headroom_kw[at] - 1.0
    assert firm.firm_charge_kw[at] == pytest.approx(live.charge_headroom_kw[at] - 2.0)
    hopeless = replace(sure, low_w=sure.low_w - 1e9, firm_w=sure.firm_w + 1e9)
    none = aggregates_of(sums, hopeless, t_ns=NOW_NS)
    assert set(none.firm_charge_kw) | set(none.firm_discharge_kw) == {0.0}


def test_silent_sites_are_handed_on_by_signal_in_watts() -> None:
    layout, sums, number = four_numbers(sites=2)
    silence = sums.silence()
    at = number[GroupId("vpp")]
    plate = layout.plates[layout.plate_of[1]]
    rated_w = float(max(plate["charge_w"], plate["discharge_w"]))
    assert silence.silent_scale[at].tolist() == [rated_w, 0.0, 1.0, 0.0]
    assert silence.a[at].tolist() == [0.0] * 4, "never heard: no value of its own"
    assert silence.b[at].tolist() == [round(rated_w * 512) / 1_024, 0.0, 0.5, 0.0]
    assert silence.v[at][0] == round((rated_w / 4) ** 2 / 64) * 64
    assert silence.c[at].tolist() == [rated_w / 8, 0.0, 0.125, 0.0]
    assert (silence.silent_sites[at], silence.sites[at]) == (1, 2)


def test_trail_gets_the_fleet_once_and_its_dispersion() -> None:
    _, sums, _ = four_numbers(sites=4, heard=2)
    trail = FleetTrail()
    sums.push_to(trail, NOW_NS)
    mean, dispersion = trail.latest()
    assert mean[2] == 1_000.0, "load a site"
    assert abs(dispersion[2]) < 10, "both say the same"
    assert mean[1] == -10_000 / 12_000
