"""The control role: awards from the ledger, commands to the sites, a memory that survives it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import numpy as np

from shoal.control.doing import ControlNow
from shoal.control.sender import FabricSender
from shoal.control.service import Control
from shoal.domain.clock import Stage, Tick
from shoal.domain.desired import DesiredState
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.domain.live import ResourceState
from shoal.domain.telemetry import TELEMETRY
from shoal.domain.twins import FleetView
from tests.integration.store.fleets import make_fleet
from tests.unit.control.plants import OPTIONS, START_NS

FLEET = make_fleet(6)
VPP, FEEDER = (str(resource.resource_id) for resource in FLEET.resources)


class Memory:
    """Awards and states in memory; a state is kept as JSON, as in the ledger."""

    def __init__(self) -> None:
        self.awards: dict[str, list[tuple[int, int, int]]] = {}
        self.asked: list[tuple[str, int]] = []
        self.states: dict[str, str] = {}
        self.saved: list[tuple[str, int]] = []

    def ahead(self, resource_id: str, t_ns: int) -> tuple[int, int, int, int]:
        return 0, 0, 0, 0

    def award_at(self, resource_id: str, t_ns: int) -> tuple[int, int, int] | None:
        self.asked.append((resource_id, (t_ns - START_NS) // NS_PER_MINUTE))
        for start_ns, end_ns, energy_wh in self.awards.get(resource_id, []):
            if start_ns <= t_ns < end_ns:
                return start_ns, end_ns, energy_wh
        return None

    def save_state(self, key: str, state: dict[str, Any]) -> None:
        self.saved.append((key, state["start_ns"]))
        self.states[key] = json.dumps(state)

    def load_state(self, key: str) -> dict[str, Any] | None:
        return json.loads(self.states[key]) if key in self.states else None


class Script:
    """A clock that ticks once a minute, so many times, from an instant on."""

    def __init__(self, first: int, count: int) -> None:
        self.minutes = range(first, first + count)
        self.reports: list[dict[str, int]] = []
        self.t_ns = 0

    def at(self, machine_ns: Any) -> Any:
        return machine_ns, machine_ns

    def now_ns(self) -> int:
        return self.t_ns

    async def ticks(self, stage: Stage, every_s: float) -> AsyncIterator[Tick]:
        assert (stage, every_s) == (Stage.ACT, 60.0)
        for minute in self.minutes:
            self.t_ns = START_NS + minute * NS_PER_MINUTE
            yield Tick(t_ns=self.t_ns)

    def report(self, facts: Mapping[str, int]) -> None:
        self.reports.append(dict(facts))

    def account(self, account: Mapping[str, Any]) -> None:
        raise AssertionError("control has no account")


class Rig:
    """The role with everything around it in memory; `run` is one life of its process."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.sent: list[tuple[str, DesiredState]] = []
        self.states: list[list[ResourceState]] = []
        self.came_to: list[ControlNow] = []
        self.order: list[str] = []
        self.reports: list[dict[str, int]] = []

    def run(self, first: int, count: int) -> Control:
        clock = Script(first, count)

        async def view() -> FleetView:
            self.order.append("view")
            latest = TELEMETRY.empty(len(FLEET.site_ids))
            latest["ts_ns"] = clock.t_ns
            latest["soc_frac"] = 0.6
            latest["discharge_wh"] = (clock.t_ns - START_NS) // NS_PER_MINUTE * 10
            return FleetView(t_ns=clock.t_ns, latest=latest)

        async def publish(subject: str, payload: bytes) -> None:
            self.order.append("send")
            self.sent.append((subject.split(".")[1], msgspec.json.decode(payload, type=DesiredState)))

        async def flush() -> None:
            self.order.append("flush")

        async def publish_states(states: list[ResourceState]) -> None:
            self.order.append("publish")
            self.states.append(states)

        async def publish_now(now: ControlNow) -> None:
            self.came_to.append(now)

        control = Control(
            fleet=FLEET,
            clock=clock,
            options=OPTIONS,
            step_s=60.0,
            view=view,
            memory=self.memory,
            sender=FabricSender(FLEET, publish=publish, flush=flush),
            publish_states=publish_states,
            publish_now=publish_now,
        )
        asyncio.run(control.follow())
        self.reports = clock.reports
        return control


def hour(number: int, energy_wh: int) -> tuple[int, int, int]:
    start_ns = START_NS + number * NS_PER_HOUR
    return start_ns, start_ns + NS_PER_HOUR, energy_wh


def test_cycle_reads_then_sends_then_tells() -> None:
    rig = Rig()
    rig.memory.awards[VPP] = [hour(0, -6_000)]
    control = rig.run(0, 1)
    assert rig.order == ["view", *["send"] * len(rig.sent), "flush", "publish"]
    assert rig.reports == [{"desired_sent": len(rig.sent)}]
    figures = control.statistics()
    assert (figures.cycles, figures.commands, figures.unmet_cycles) == (1, len(rig.sent), 0)
    assert {site for site, desired in rig.sent if desired.resource_id == VPP} == set(FLEET.site_ids)
    assert {state.resource_id: state.award_wh for state in rig.states[0]} == {VPP: -6_000, FEEDER: 0}


def test_commands_reach_the_sites_of_their_resource() -> None:
    rig = Rig()
    rig.memory.awards[FEEDER] = [hour(0, -3_000)]
    rig.run(0, 1)
    mine = {site for site, desired in rig.sent if desired.resource_id == FEEDER}
    rows = FLEET.rows_in(FLEET.resources[1].group_id)
    assert mine == {FLEET.site_ids[row] for row in rows.tolist()}
    powers = [desired.battery_w for _, desired in rig.sent if desired.resource_id == FEEDER]
    assert sum(powers) == -3_000


def test_cycle_says_what_the_plant_does_now_and_what_each_group_is_told() -> None:
    rig = Rig()
    rig.memory.awards[FEEDER] = [hour(0, -3_000)]
    rig.run(0, 2)
    now = rig.came_to[-1]
    (part,) = now.parts
    rows = FLEET.rows_in(FLEET.resources[1].group_id)
    assert (part.kind, part.name, part.what, part.sites) == ("award", FEEDER, "power", len(rows))
    assert (part.commanded_w, part.until_ns) == (-3_000, START_NS + NS_PER_HOUR)
    assert (part.silent_sites, part.low_w, part.power_w, part.high_w) == (0, 0, 0, 0)
    assert (now.serving, now.part_count) == (len(rows), 1)
    told = dict(zip(now.groups, now.commanded_w, strict=True))
    assert told[FLEET.group_number[FLEET.resources[1].group_id]] == -3_000
    assert now.holds_until_ns > now.t_ns


def test_cycle_without_anything_to_do_says_so() -> None:
    rig = Rig()
    rig.run(0, 1)
    now = rig.came_to[0]
    assert (now.parts, now.part_count, now.serving) == ([], 0, 0)
    # to rest is a command, too
    assert (len(now.groups), set(now.commanded_w)) == (len(FLEET.groups), {0})


def test_award_is_looked_up_once_an_hour() -> None:
    rig = Rig()
    rig.memory.awards[VPP] = [hour(0, -6_000), hour(1, 6_000)]
    rig.run(0, 62)
    assert [minute for resource, minute in rig.memory.asked if resource == VPP] == [0, 60]
    awards = [states[0].award_wh for states in rig.states]
    assert awards == [-6_000] * 60 + [6_000] * 2


def test_hour_without_an_award_is_looked_up_again() -> None:
    rig = Rig()
    rig.run(1, 15)
    asked = [minute for resource, minute in rig.memory.asked if resource == VPP]
    assert asked == [1, 5, 10, 15]
    assert all(state.award_wh == 0 and state.target_kw == 0 for states in rig.states for state in states)


def test_controllers_memory_is_saved_when_an_interval_begins() -> None:
    rig = Rig()
    rig.memory.awards[VPP] = [hour(0, -6_000), hour(1, -6_000)]
    rig.run(0, 65)
    saved = [start_ns for resource, start_ns in rig.memory.saved if resource == VPP]
    assert saved == [START_NS, START_NS + NS_PER_HOUR]


def test_restart_within_the_hour_goes_on_from_its_start() -> None:
    rig = Rig()
    rig.memory.awards[VPP] = [hour(0, -6_000)]
    rig.run(0, 20)
    rig.run(20, 10)
    delivered = [states[0].delivered_wh for states in rig.states]
    per_minute_wh = 10 * len(FLEET.site_ids)
    assert delivered == [-per_minute_wh * minute for minute in range(30)]
    assert len([1 for resource, _ in rig.memory.saved if resource == VPP]) == 1


def test_versions_grow_across_restarts() -> None:
    rig = Rig()
    rig.memory.awards[VPP] = [hour(0, -6_000)]
    rig.run(0, 3)
    before = max(desired.version for _, desired in rig.sent)
    rig.sent.clear()
    rig.run(3, 1)
    assert min(desired.version for _, desired in rig.sent) > before
    assert len([1 for _, desired in rig.sent if desired.resource_id == VPP]) == len(FLEET.site_ids)


def test_unmet_target_is_counted() -> None:
    rig = Rig()
    rig.memory.awards[VPP] = [hour(0, -10_000_000)]
    control = rig.run(0, 3)
    assert control.statistics().unmet_cycles == 3
    assert np.all([states[0].shortfall_kw < 0 for states in rig.states])
