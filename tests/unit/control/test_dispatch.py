"""The controller of a resource: the energy of the hour, to the right sites, never the wrong way."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.control.desired_book import VERSION_EPOCH_NS
from shoal.control.dispatch import AwardNow, Dispatcher
from shoal.control.leases import RELEASE_RAMP_S
from shoal.control.rebound import steepest_kw_per_min
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S, Interval
from tests.unit.control.plants import (
    HOUR,
    OPTIONS,
    START_NS,
    Plant,
    award,
    make_dispatcher,
    mixed_nameplates,
    step,
)
from tests.unit.edge.sites import nameplates

Online = Callable[[int], NDArray[np.bool_]]


def everybody(sites: int) -> Online:
    return lambda _minute: np.ones(sites, dtype=np.bool_)


def run_hour(
    plant: Plant, dispatcher: Dispatcher, now: AwardNow, online: Online, *, minutes: int = 60
) -> list[float]:
    """Run whole minutes; return the powers that were asked for in all, by minute."""
    asked = []
    first = (plant.t_ns - now.interval.start_ns) // NS_PER_MINUTE
    for minute in range(first, first + minutes):
        decision = step(dispatcher, plant, now)
        plant.obey(decision, online(minute))
        plant.advance(online(minute))
        asked.append(decision.state.target_kw)
    return asked


@pytest.mark.parametrize("energy_wh", [-30_000, 30_000, -4_000])
def test_energy_of_an_hour_is_delivered(energy_wh: int) -> None:
    plant = Plant(mixed_nameplates(12, seed=1))
    run_hour(plant, make_dispatcher(plant.plate), award(energy_wh), everybody(12))
    assert abs(plant.delivered_wh() - energy_wh) < abs(energy_wh) * 0.002 + 10


@pytest.mark.parametrize("energy_wh", [-30_000, 30_000])
@pytest.mark.parametrize("silent_for", [2, 10, 40])
def test_energy_of_an_hour_is_delivered_although_some_fall_silent(energy_wh: int, silent_for: int) -> None:
    def online(minute: int) -> NDArray[np.bool_]:
        up = np.ones(12, dtype=np.bool_)
        up[:4] = not 10 <= minute < 10 + silent_for
        return up

    plant = Plant(mixed_nameplates(12, seed=2))
    run_hour(plant, make_dispatcher(plant.plate), award(energy_wh), online)
    assert abs(plant.delivered_wh() - energy_wh) < abs(energy_wh) * 0.01


@pytest.mark.parametrize(
    "energies_wh", [(-30_000, -30_000), (-30_000, 30_000), (24_000, 0), (-24_000, -6_000)]
)
def test_hours_do_not_count_each_others_energy(energies_wh: tuple[int, int]) -> None:
    """Half of the sites report every second minute, so that at an hour's start their latest word is a minute old."""

    def online(minute: int) -> NDArray[np.bool_]:
        reports: NDArray[np.bool_] = (np.arange(12) + minute) % 2 == 0
        return reports

    plant = Plant(mixed_nameplates(12, seed=3), soc_frac=0.6)
    dispatcher = make_dispatcher(plant.plate)
    for number, energy_wh in enumerate(energies_wh):
        before = plant.delivered_wh()
        start_ns = START_NS + number * NS_PER_HOUR
        now = award(energy_wh, Interval(start_ns=start_ns, end_ns=start_ns + NS_PER_HOUR))
        for minute in range(60):
            decision = step(dispatcher, plant, now)
            plant.obey(decision, np.ones(12, dtype=np.bool_))
            plant.advance(online(minute))
        error_wh = abs(plant.delivered_wh() - before - energy_wh)
        assert error_wh < 0.002 * max(abs(e) for e in energies_wh), f"hour {number}"


def test_silent_site_is_never_told_anything() -> None:
    plant = Plant(nameplates(6))
    dispatcher = make_dispatcher(plant.plate)
    up = np.array([True, True, True, True, False, False])
    limit_ns = int(OPTIONS.fresh_timeout_s * NS_PER_S)
    told_late = 0
    for _ in range(30):
        decision = step(dispatcher, plant, award(-12_000))
        for row, desired in decision.commands:
            assert plant.t_ns - plant.heard["ts_ns"][row - 10] <= limit_ns
            assert (desired.issuer, desired.fence, desired.resource_id) == ("control", 1, "vpp-1")
            told_late += row - 10 >= 4 and plant.t_ns > START_NS + limit_ns
        plant.obey(decision, up)
        plant.advance(up)
    assert told_late == 0
    assert decision.state.fresh_sites == 4
    assert decision.state.coverage_kw_frac == pytest.approx(4 / 6)


def test_site_that_never_reported_gets_nothing() -> None:
    plant = Plant(nameplates(3))
    plant.heard["ts_ns"][1] = 0
    decision = step(make_dispatcher(plant.plate), plant, award(-3_000))
    assert sorted(row for row, _ in decision.commands) == [10, 12]


def test_nobody_fresh_leaves_the_whole_target_unmet() -> None:
    plant = Plant(nameplates(3))
    plant.heard["ts_ns"] = START_NS - 600 * NS_PER_S
    decision = step(make_dispatcher(plant.plate), plant, award(-3_000))
    assert decision.commands == []
    assert (decision.state.target_kw, decision.state.shortfall_kw) == (-3.0, -3.0)


def test_site_that_did_not_hear_is_told_again() -> None:
    plant = Plant(nameplates(4))
    dispatcher = make_dispatcher(plant.plate)
    deaf = np.array([True, True, True, False])
    everyone = np.ones(4, dtype=np.bool_)
    first = step(dispatcher, plant, award(-8_000))
    assert len(first.commands) == 4
    plant.obey(first, deaf)
    plant.advance(everyone)
    again = step(dispatcher, plant, award(-8_000))
    assert 13 in {row for row, _ in again.commands}
    plant.obey(again, everyone)
    plant.advance(everyone)
    assert all(
        plant.lease[row].version == version
        for row, version in enumerate(plant.heard["command_version"].tolist())
    )


def test_site_that_has_not_spoken_since_is_not_told_twice() -> None:
    plant = Plant(nameplates(4))
    dispatcher = make_dispatcher(plant.plate)
    first = step(dispatcher, plant, award(-8_000))
    plant.obey(first, np.ones(4, dtype=np.bool_))
    plant.advance(np.array([True, True, True, False]))
    assert 13 not in {row for row, _ in step(dispatcher, plant, award(-8_000)).commands}


def test_split_is_kept_while_it_meets_the_target() -> None:
    plant = Plant(mixed_nameplates(20, seed=4))
    dispatcher = make_dispatcher(plant.plate)
    everyone = np.ones(20, dtype=np.bool_)
    told = []
    for _ in range(12):
        decision = step(dispatcher, plant, award(-40_000))
        told.append(len(decision.commands))
        plant.obey(decision, everyone)
        plant.advance(everyone)
    renewed = [minute for minute, count in enumerate(told) if count]
    assert told[0] == 20
    assert renewed == [0, 8], "again only when half of the lease is over"


def test_lease_is_renewed_before_it_ends() -> None:
    plant = Plant(nameplates(3))
    dispatcher = make_dispatcher(plant.plate)
    everyone = np.ones(3, dtype=np.bool_)
    for _ in range(59):
        plant.obey(step(dispatcher, plant, award(-6_000)), everyone)
        assert all(lease.end_ns - plant.t_ns > 60 * NS_PER_S for lease in plant.lease.values())
        plant.advance(everyone)
        assert all(version > 0 for version in plant.heard["command_version"])


def test_lease_holds_for_three_cycles_at_least() -> None:
    plant = Plant(nameplates(1))
    dispatcher = make_dispatcher(plant.plate)
    decision = dispatcher.step(t_ns=plant.t_ns, step_ns=NS_PER_HOUR, latest=plant.heard, award=award(-1_000))
    ((_, desired),) = decision.commands
    assert desired.end_ns - desired.start_ns == 3 * NS_PER_HOUR


def test_versions_grow_with_time() -> None:
    plant = Plant(nameplates(1))
    dispatcher = make_dispatcher(plant.plate)
    versions = []
    for energy_wh in (-1_000, 1_000):
        ((_, desired),) = step(dispatcher, plant, award(energy_wh)).commands
        versions.append(desired.version)
        plant.advance(np.ones(1, dtype=np.bool_))
    assert versions == [(START_NS - VERSION_EPOCH_NS) // NS_PER_S + s for s in (0, 60)]
    assert versions[-1] < 2**32


def test_shortfall_of_an_empty_site_is_carried_by_the_others() -> None:
    plant = Plant(nameplates(4, energy_capacity_kwh=13.5))
    plant.stored_kwh[0] = 13.5 * 0.2
    plant.report(np.ones(4, dtype=np.bool_))
    decision = step(make_dispatcher(plant.plate), plant, award(-9_000))
    asked = {row: desired.battery_w for row, desired in decision.commands}
    assert asked[10] == 0
    assert sum(asked.values()) == -9_000
    assert decision.state.shortfall_kw == 0.0


def test_target_beyond_reach_is_met_as_far_as_it_goes() -> None:
    plant = Plant(nameplates(4))
    decision = step(make_dispatcher(plant.plate), plant, award(-50_000))
    assert [desired.battery_w for _, desired in decision.commands] == [-5_000] * 4
    assert decision.state.shortfall_kw == -30.0


def test_missing_energy_is_spread_over_what_is_left_of_the_hour() -> None:
    plant = Plant(nameplates(4))
    dispatcher = make_dispatcher(plant.plate)
    nobody = np.zeros(4, dtype=np.bool_)
    step(dispatcher, plant, award(-6_000))
    for _ in range(30):
        plant.advance(~nobody)
    assert step(dispatcher, plant, award(-6_000)).state.target_kw == -12.0


def test_resource_never_turns_round_to_take_energy_back() -> None:
    plant = Plant(nameplates(2))
    dispatcher = make_dispatcher(plant.plate)
    step(dispatcher, plant, award(-2_000))
    plant.heard["discharge_wh"] += 1_500
    plant.t_ns += NS_PER_MINUTE
    plant.heard["ts_ns"] = plant.t_ns
    decision = step(dispatcher, plant, award(-2_000))
    assert decision.state.delivered_wh == -3_000
    assert decision.state.target_kw == 0.0
    assert all(desired.battery_w == 0 for _, desired in decision.commands)


@pytest.mark.parametrize("energy_wh", [-9_000, 9_000])
def test_no_site_works_against_the_resource(energy_wh: int) -> None:
    plant = Plant(nameplates(8))
    plant.stored_kwh[:] = 13.5 * np.array([0.2, 0.25, 0.3, 0.5, 0.7, 0.9, 0.97, 1.0])
    plant.report(np.ones(8, dtype=np.bool_))
    decision = step(make_dispatcher(plant.plate), plant, award(energy_wh))
    powers = [desired.battery_w for _, desired in decision.commands]
    assert all(power * energy_wh >= 0 for power in powers)
    assert sum(powers) == energy_wh


def test_fuller_sites_give_more() -> None:
    plant = Plant(nameplates(2))
    plant.stored_kwh[:] = [8.0, 12.0]
    plant.report(np.ones(2, dtype=np.bool_))
    asked = dict(step(make_dispatcher(plant.plate), plant, award(-5_000)).commands)
    assert asked[11].battery_w < asked[10].battery_w < 0


def test_site_that_comes_back_is_told_to_stop_what_it_still_does() -> None:
    """It fell silent while discharging; when it is back the hour has no award."""
    plant = Plant(nameplates(2))
    dispatcher = make_dispatcher(plant.plate)
    up = np.array([True, False])
    plant.obey(step(dispatcher, plant, award(-6_000)), np.ones(2, dtype=np.bool_))
    rest = award(0, Interval(start_ns=HOUR.start_ns + 60 * NS_PER_S, end_ns=HOUR.end_ns))
    for minute in range(5):
        plant.advance(up)
        plant.obey(step(dispatcher, plant, award(-6_000) if minute < 3 else rest), up)
    assert plant.lease[1].battery_w < 0
    plant.advance(np.ones(2, dtype=np.bool_))
    decision = step(dispatcher, plant, rest)
    assert (11, 0) in [(row, desired.battery_w) for row, desired in decision.commands]


def test_hour_without_an_award_asks_for_rest() -> None:
    plant = Plant(nameplates(2))
    decision = step(make_dispatcher(plant.plate), plant, award(0))
    assert [desired.battery_w for _, desired in decision.commands] == [0, 0]
    assert (decision.state.target_kw, decision.state.shortfall_kw) == (0.0, 0.0)


@pytest.mark.parametrize("kept", [True, False])
def test_successor_goes_on_within_the_hour(kept: bool) -> None:
    plant = Plant(mixed_nameplates(8, seed=5))
    first = make_dispatcher(plant.plate)
    now = award(-20_000)
    run_hour(plant, first, now, everybody(8), minutes=25)
    second = make_dispatcher(plant.plate)
    if kept:
        second.restore(json.loads(json.dumps(first.state())))
    assert second.begins_interval(now) is not kept
    run_hour(plant, second, now, everybody(8), minutes=35)
    error_wh = abs(plant.delivered_wh() + 20_000)
    assert (error_wh < 200) is kept, "without its memory it counts from where it began"


def test_state_of_another_fleet_is_left_alone() -> None:
    plant = Plant(nameplates(3))
    other = Plant(nameplates(2))
    predecessor = make_dispatcher(other.plate)
    step(predecessor, other, award(-1_000))
    dispatcher = make_dispatcher(plant.plate)
    dispatcher.restore(predecessor.state())
    assert dispatcher.begins_interval(award(-1_000))


def test_site_first_seen_within_the_hour_counts_from_then() -> None:
    plant = Plant(nameplates(2))
    plant.charge_wh[1] = 1e6
    plant.heard["ts_ns"][1] = plant.heard["charge_wh"][1] = 0
    dispatcher = make_dispatcher(plant.plate)
    assert step(dispatcher, plant, award(-4_000)).state.delivered_wh == 0
    plant.advance(np.ones(2, dtype=np.bool_))
    assert step(dispatcher, plant, award(-4_000)).state.delivered_wh == 0


def test_state_says_how_the_resource_stands() -> None:
    plant = Plant(nameplates(2), soc_frac=0.5)
    dispatcher = make_dispatcher(plant.plate)
    plant.obey(step(dispatcher, plant, award(-6_000)), np.ones(2, dtype=np.bool_))
    plant.advance(np.ones(2, dtype=np.bool_))
    state = step(dispatcher, plant, award(-6_000)).state
    assert (state.resource_id, state.start_ns, state.end_ns) == ("vpp-1", HOUR.start_ns, HOUR.end_ns)
    assert (state.award_wh, state.delivered_wh, state.measured_kw) == (-6_000, -100, -6.0)
    assert state.target_kw == pytest.approx(-6.0)
    assert state.energy_kwh == pytest.approx(13.5 - 0.1 / 0.95, abs=1e-4)
    assert (state.energy_capacity_kwh, state.sites, state.fresh_sites) == (27.0, 2, 2)


def test_step_of_many_sites_is_no_steeper_than_allowed() -> None:
    """From 40 kW of charging to 60 kW of discharging at once would be 100 kW within a minute."""
    plate = mixed_nameplates(40, seed=5)
    plant = Plant(plate)
    plant.power_w[:] = 1_000.0
    plant.report(np.ones(40, dtype=np.bool_))
    options = dataclasses.replace(OPTIONS, slope_kw_per_min=20.0, stagger_frac=0.2)
    decision = step(make_dispatcher(plate, options), plant, award(-60_000))
    (ramp_s,) = {desired.ramp_s for _, desired in decision.commands}
    step_w = np.array([desired.battery_w - 1_000.0 for _, desired in decision.commands])
    steepest = steepest_kw_per_min(step_w=step_w, begin_s=np.zeros(40), ramp_s=ramp_s)
    assert 19.0 < steepest <= 20.0 + 1e-9
    ends = np.array([desired.end_ns for _, desired in decision.commands])
    assert len(set(ends.tolist())) == 40, "and without the plant they do not all stop at once"
    assert ends.max() - ends.min() > 0.15 * OPTIONS.lease_s * NS_PER_S
    assert all(
        desired.ramp_s == 0.0 for _, desired in step(make_dispatcher(plate), plant, award(-60_000)).commands
    )


def test_sites_that_are_given_up_fade_out_unless_they_are_stopped() -> None:
    plant = Plant(mixed_nameplates(4, seed=1))
    dispatcher = make_dispatcher(plant.plate)
    plant.obey(step(dispatcher, plant, award(-4_000)), np.ones(4, dtype=np.bool_))
    gone = dispatcher.take_back(np.array([0, 1]), plant.t_ns)
    stopped = dispatcher.take_back(np.array([2, 3]), plant.t_ns, at_once=True)
    assert {one.ramp_s for _, one in gone} == {RELEASE_RAMP_S}
    assert all(one.battery_w < 0 for _, one in gone), "as they were told, until the fade begins"
    assert {(one.ramp_s, one.battery_w) for _, one in stopped} == {(0.0, 0)}
