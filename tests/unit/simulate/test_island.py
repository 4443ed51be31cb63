"""A simulated site without a grid: nothing through its connection, lights on, less fuel, and what its device says of it."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from shoal.control.islanding import ISLANDED
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval, local_midnight_ns
from shoal.domain.orders import OrderReport
from shoal.edge.agent_columns import AgentColumns
from shoal.edge.audit import Referee
from shoal.simulate import islanding
from shoal.simulate.fleet import plan_fleet
from shoal.simulate.hamlet import CAPACITY_KWH, HAMLET, annual_kwh, microgrid, with_hamlet
from shoal.simulate.island import Island
from shoal.simulate.islanding import AGAIN_NS, BACK, Islanding
from shoal.simulate.physics import HomeWorld
from shoal.simulate.profiles import ZONE, Profiles

FLEET = with_hamlet(plan_fleet(3, 1))
ROW = FLEET.site_ids.index(HAMLET)
MIDNIGHT_NS = local_midnight_ns(date(2021, 10, 12), ZONE)
SPAN = Interval(start_ns=MIDNIGHT_NS + 4 * NS_PER_HOUR, end_ns=MIDNIGHT_NS + 28 * NS_PER_HOUR)
IDLE = np.zeros(len(FLEET.site_ids), dtype=np.int64)


def make_world(span: Interval, start_ns: int) -> tuple[HomeWorld, Island]:
    profiles = Profiles(FLEET, 1, annual_kwh=annual_kwh(FLEET))
    island = Island(row=ROW, span=span, site=microgrid(), profiles=profiles)
    return HomeWorld(FLEET, profiles, start_ns=start_ns, seed=1, alone=island), island


def test_a_day_without_a_grid_keeps_the_lights_on_for_less_fuel_than_the_usual_rules() -> None:
    world, island = make_world(SPAN, SPAN.start_ns)
    world.stored_kwh[ROW] = 0.4 * CAPACITY_KWH
    while world.now_ns < SPAN.end_ns:
        world.advance(world.now_ns + NS_PER_MINUTE, IDLE)
        assert world.grid_w[ROW] == 0, "nothing goes through a connection that is not there"
    told = island.account()
    assert told["unserved_kwh"] == 0
    assert told["starts"] >= 1
    assert told["lowest_kwh"] >= told["floor_kwh"] - 0.05
    assert told["fuel_litres_even"] < min(told["rules_litres_even"].values())
    # every kWh is somewhere: what the meters counted explains what is stored
    explained_kwh = (world.charge_wh[ROW] * 0.96 - world.discharge_wh[ROW] / 0.96) / 1e3
    stored_kwh = told["end_kwh"] - told["start_kwh"] + world.standby_kwh[ROW]
    assert stored_kwh == pytest.approx(explained_kwh, abs=0.01)


def test_an_empty_battery_has_the_generator_started_at_once() -> None:
    world, island = make_world(SPAN, SPAN.start_ns)
    world.stored_kwh[ROW] = microgrid().floor_kwh
    world.advance(SPAN.start_ns + NS_PER_MINUTE, IDLE)
    assert island.account()["starts"] == 1
    assert island.account()["unserved_kwh"] == 0
    assert world.stored_kwh[ROW] >= microgrid().floor_kwh - 0.01


def test_before_and_after_the_site_does_as_it_is_asked_like_all_others() -> None:
    span = Interval(start_ns=SPAN.start_ns + NS_PER_HOUR, end_ns=SPAN.start_ns + 2 * NS_PER_HOUR)
    world, island = make_world(span, SPAN.start_ns)
    asked = IDLE.copy()
    asked[ROW] = 1_000
    assert world.advance(SPAN.start_ns + NS_PER_MINUTE, asked)[ROW] == 1_000
    assert asked[ROW] == 1_000, "what was asked is left as it was"
    assert island.next_ns(world.now_ns, span.end_ns) == span.start_ns
    world.advance(span.start_ns, asked)
    assert world.advance(span.start_ns + NS_PER_MINUTE, asked)[ROW] != 1_000
    world.advance(span.end_ns, asked)
    assert world.advance(span.end_ns + NS_PER_MINUTE, asked)[ROW] == 1_000


def make_device() -> tuple[Islanding, AgentColumns]:
    agents = AgentColumns(FLEET.nameplate, site_ids=FLEET.site_ids)
    _, island = make_world(SPAN, SPAN.start_ns)
    return Islanding(island, agents, Referee(FLEET.nameplate)), agents


def test_device_obeys_nobody_without_a_grid_and_says_so_until_it_was_heard() -> None:
    device, agents = make_device()
    online = np.ones(len(FLEET.site_ids), dtype=np.bool_)
    offline = ~online
    assert device.step(SPAN.start_ns - NS_PER_MINUTE, online=online) == ""
    assert device.step(SPAN.start_ns, online=offline) == "", "nobody hears it"
    assert agents.independent[ROW]
    assert device.step(SPAN.start_ns + NS_PER_MINUTE, online=online) == ISLANDED
    assert device.step(SPAN.start_ns + 2 * NS_PER_MINUTE, online=online) == ""
    assert device.step(SPAN.start_ns + NS_PER_MINUTE + AGAIN_NS, online=online) == ISLANDED
    assert device.step(SPAN.end_ns, online=online) == BACK
    assert not agents.independent[ROW]
    assert device.step(SPAN.end_ns + AGAIN_NS, online=online) == BACK
    assert device.step(SPAN.end_ns + 3 * AGAIN_NS, online=online) == ""


def test_owner_who_let_nobody_command_keeps_that_after_the_island() -> None:
    device, agents = make_device()
    online = np.ones(len(FLEET.site_ids), dtype=np.bool_)
    agents.independent[ROW] = True
    device.step(SPAN.start_ns, online=online)
    device.step(SPAN.end_ns, online=online)
    assert agents.independent[ROW]


def test_no_report_of_orders_says_by_accident_that_the_grid_is_back() -> None:
    assert islanding.ISLANDED == ISLANDED
    device, _ = make_device()
    online = np.ones(len(FLEET.site_ids), dtype=np.bool_)
    plain = OrderReport(kind="orders", version=3, outcome="applied", t_ns=5)
    assert device.with_reason(ROW, plain).reason == ""
    device.step(SPAN.start_ns, online=online)
    assert device.with_reason(ROW, plain).reason == ISLANDED
    assert device.with_reason(ROW + 1, plain).reason == ""
