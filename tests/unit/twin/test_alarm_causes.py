"""What is behind alarms, case by case: a feeder, a gateway, a storm, a type of device; and the money that hangs on them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shoal.domain.alarms import Alarm, AlarmKind
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId
from shoal.twin.alarm_causes import Area, Explainer
from shoal.twin.alarm_losses import Losses, Sold
from tests.property.twin.test_alarm_causes import make_alarm
from tests.unit.twin.forests import make_forest_fleet

FLEET = make_forest_fleet()  # 2 regions, 3 substations each, 4 feeders each, 10 sites each
SILENT = AlarmKind.COMMUNICATION_LOSS


def silent(rows: range | list[int], fleet: Fleet = FLEET, kind: AlarmKind = SILENT) -> list[Alarm]:
    return [make_alarm(row, kind, "site", fleet.site_ids[row], 1) for row in rows]


def keys(alarms: list[Alarm], areas: tuple[Area, ...] = (), fleet: Fleet = FLEET) -> dict[str, int]:
    return {one.key: len(one.alarm_rows) for one in Explainer(fleet).causes(alarms, areas)}


def test_sites_of_one_feeder_are_the_feeder() -> None:
    assert keys(silent(range(8))) == {"group:r0s0f0": 8}


def test_feeders_of_one_substation_are_the_substation() -> None:
    named = [make_alarm(n, SILENT, "group", f"r0s0f{n}", 10) for n in range(3)]
    assert keys(named) == {"group:r0s0": 3}


def test_group_that_is_named_is_its_own_cause() -> None:
    alarms = [make_alarm(1, SILENT, "group", "r0s0f0", 9), make_alarm(2, SILENT, "group", "r1s2f3", 9)]
    assert keys(alarms) == {"group:r0s0f0": 1, "group:r1s2f3": 1}


def test_two_troubles_of_one_feeder_are_one_cause() -> None:
    alarms = silent(range(8)) + silent(range(8), kind=AlarmKind.CLOCK_FAULT)
    assert keys(alarms) == {"group:r0s0f0": 16}


def test_half_the_sites_in_each_of_two_troubles_do_not_make_a_feeder_fail() -> None:
    alarms = silent(range(4)) + silent(range(4, 8), kind=AlarmKind.CLOCK_FAULT)
    assert keys(alarms) == {"kind:communication_loss": 4, "kind:clock_fault": 4}


def test_sites_behind_one_gateway_are_the_gateway() -> None:
    gateway_of = np.full(len(FLEET.site_ids), -1, dtype=np.int32)
    rows = list(range(0, 240, 40))
    gateway_of[rows] = 0
    fleet = replace(FLEET, gateway_ids=("gw-1",), gateway_of=gateway_of)
    assert keys(silent(rows, fleet), fleet=fleet) == {"gateway:gw-1": 6}


def test_storm_over_scattered_sites_is_the_storm_but_not_over_one_feeder() -> None:
    rows = [0, 11, 22, 33, 44, 55, 66, 77]
    storm = Area(key="s1", name="Tornado warning", rows=np.arange(0, 80))
    assert keys(silent(rows), (storm,)) == {"weather:s1": 8}
    assert keys(silent(rows[:1]), (storm,)) == {"kind:communication_loss": 1}
    assert keys(silent(range(10)), (storm,)) == {"group:r0s0f0": 10}
    assert keys(silent(rows, kind=AlarmKind.SUSPECT_SIGN), (storm,)) == {"kind:suspect_sign": 8}
    wide = Area(key="s1", name="Heat", rows=np.arange(0, 240))
    assert keys(silent(rows), (wide,)) == {"kind:communication_loss": 8}


def test_one_type_of_device_is_behind_its_faults() -> None:
    device_type = np.zeros(len(FLEET.site_ids), dtype=np.uint8)
    device_type[::3] = 1
    fleet = replace(FLEET, device_type=device_type)
    rows = list(range(0, 240, 24))
    assert keys(silent(rows, fleet), fleet=fleet) == {"type:ev_charger:communication_loss": 10}


def test_parts_of_the_plant_are_gathered_by_what_is_wrong() -> None:
    lost = [make_alarm(n, AlarmKind.SHARD_WITHOUT_OWNER, "part", f"shard-{n}", 0) for n in range(4)]
    assert keys(lost) == {"part:shard_without_owner": 4}


def test_alarm_alone_keeps_its_name() -> None:
    (cause,) = Explainer(FLEET).causes(silent([7]))
    assert (cause.key, cause.name) == ("kind:communication_loss", "site-7")


def fleet_with_power(power_kw: float) -> Fleet:
    fleet = make_forest_fleet()
    fleet.nameplate["discharge_limit_kw"] = power_kw
    fleet.nameplate["energy_capacity_kwh"] = 10.0
    return fleet


def sold(**facts: Any) -> Sold:
    values: dict[str, Any] = {
        "resource_id": "r",
        "group_id": GroupId("r0"),
        "power_kw": 500.0,
        "price_per_mwh": 40.0,
        "currency": "USD",
        "until_ns": 1,
    }
    return Sold(**values | facts)


def test_money_counts_what_the_other_sites_cannot_make_up_for() -> None:
    losses = Losses(fleet_with_power(5.0))  # 120 sites, 600 kW in r0
    outage = [make_alarm(1, SILENT, "group", "r0s0", 40)]  # 200 kW gone, 400 kW left
    (stake,) = losses.at_stake(outage, [sold()])
    assert stake.expected_per_h == pytest.approx(4.0)  # 100 kW short at 40 a MWh
    assert stake.high_per_h == pytest.approx(8.0)
    assert losses.at_stake(outage, [sold(group_id=GroupId("r1"))]) == []
    (nothing,) = losses.at_stake(outage, [sold(price_per_mwh=-3.0)])
    assert nothing.high_per_h == 0.0


def test_troubles_that_leave_power_usable_cost_nothing() -> None:
    losses = Losses(fleet_with_power(5.0))
    assert losses.lost([make_alarm(1, AlarmKind.SAMPLES_LOST, "group", "r0", 120)]).high_kw == 0.0
    over = make_alarm(1, AlarmKind.SUSPECT_REGISTER, "group", "r0", 0)
    assert losses.lost([over]).high_kw == 0.0
