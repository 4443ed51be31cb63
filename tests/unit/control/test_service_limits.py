"""The control role with limits, owners' burden and followers of a signal: over a restart, with what it keeps to be seen."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import numpy as np

from shoal.control.burden import STATE as BURDEN
from shoal.control.burden import Burden
from shoal.control.grid_limits import GridLimits
from shoal.control.grid_state import STATE, LimitsState
from shoal.control.regulation_sites import regulation_event
from shoal.control.schedule import everybody
from shoal.control.sender import FabricSender
from shoal.control.service import BEAT, Control
from shoal.domain.desired import DesiredState
from shoal.domain.errors import UnavailableError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.domain.live import ResourceState
from shoal.domain.telemetry import TELEMETRY
from shoal.domain.twins import FleetView
from tests.integration.store.fleets import make_fleet
from tests.unit.control.grids import Source, envelope, limit
from tests.unit.control.plants import OPTIONS, START_NS
from tests.unit.control.test_owners_hours import Memory
from tests.unit.control.test_service import Script

FLEET = make_fleet(6)
VPP, FEEDER = (str(resource.resource_id) for resource in FLEET.resources)
LOAD_W = 1_000


class Ledger(Memory):
    """Awards and states in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.awards: dict[str, int] = {}

    def ahead(self, resource_id: str, t_ns: int) -> tuple[int, int, int, int]:
        return 0, 0, 0, 0

    def award_at(self, resource_id: str, t_ns: int) -> tuple[int, int, int] | None:
        hour_ns = t_ns // NS_PER_HOUR * NS_PER_HOUR
        return hour_ns, hour_ns + NS_PER_HOUR, self.awards.get(resource_id, 0)


class Plant:
    """Homes that obey, and the role over them; `run` is one life of its process."""

    def __init__(self, source: Source) -> None:
        self.memory = Ledger()
        self.source = source
        self.power_w = np.zeros(6, dtype=np.int64)
        self.discharged_wh = np.zeros(6)
        self.flows_w: list[int] = []

    def run(self, first: int, count: int, **more: Any) -> Control:
        clock = Script(first, count)

        async def view() -> FleetView:
            latest = TELEMETRY.empty(6)
            latest["ts_ns"] = clock.t_ns
            latest["soc_frac"] = 0.6
            latest["load_w"] = LOAD_W
            latest["battery_w"] = self.power_w
            latest["discharge_wh"] = self.discharged_wh
            return FleetView(t_ns=clock.t_ns, latest=latest)

        async def publish(subject: str, payload: bytes) -> None:
            row = FLEET.row_of[subject.split(".")[1]]  # type: ignore[index]
            self.power_w[row] = msgspec.json.decode(payload, type=DesiredState).battery_w

        async def flush() -> None:
            return None

        async def publish_states(states: list[ResourceState]) -> None:
            inside = FLEET.rows_in(FLEET.groups[0].group_id)
            self.flows_w.append(int(self.power_w[inside].sum()) + LOAD_W * len(inside))
            self.discharged_wh += np.maximum(-self.power_w, 0) / 60

        control = Control(
            fleet=FLEET,
            clock=clock,
            options=OPTIONS,
            step_s=60.0,
            view=view,
            memory=self.memory,
            sender=FabricSender(FLEET, publish=publish, flush=flush),
            publish_states=publish_states,
            grid=GridLimits(FLEET, self.source),
            **more,
        )
        asyncio.run(control.follow())
        return control

    def state(self) -> LimitsState:
        return msgspec.json.decode(self.memory.states[STATE], type=LimitsState)


def test_limit_and_envelope_hold_over_a_restart_and_are_told() -> None:
    ends_ns = START_NS + 30 * NS_PER_MINUTE
    source = Source(limit("feeder-1", None, 1_000), envelopes=(envelope("feeder-1", (0, ends_ns), 0, 4_000),))
    plant = Plant(source)
    plant.memory.awards[VPP] = -90_000
    plant.run(0, 10)
    assert plant.flows_w[0] == -4_000
    first = plant.run(10, 35)
    assert min(plant.flows_w) >= -4_000
    # leases of fifteen minutes: from the fifteenth on what follows the envelope counts
    assert min(plant.flows_w[16:]) >= -1_000
    assert first.losses
    state = plant.state()
    (group,) = state.groups
    assert (group.group_id, group.source, group.export_limit_w) == ("feeder-1", "limit", 1_000)
    assert group.bound[0].claim == f"dispatch:{VPP}"
    assert any("feeder-1: its export limit" in line for line in state.said)
    assert any("feeder-1 can carry no more" in line for line in state.losses)


def test_limit_that_is_set_while_it_runs_is_taken_up_and_a_state_does_not_stay_for_ever() -> None:
    source = Source()
    plant = Plant(source)
    plant.memory.awards[VPP] = -24_000
    plant.run(0, 1)
    assert STATE not in plant.memory.states
    source.limits, source.number = (limit("feeder-1", None, 0),), 2
    plant.run(1, 1)
    assert plant.flows_w[-1] == 0
    assert plant.state().groups
    source.limits, source.number = (), 3
    plant.run(2, 1)
    assert not plant.state().groups


def test_homes_that_follow_a_signal_are_given_no_set_point() -> None:
    plant = Plant(Source())
    plant.memory.awards[VPP] = -6_000

    def following(t_ns: int) -> Any:
        return (regulation_event(FLEET, FEEDER, enrolled=everybody, t_ns=t_ns),)

    plant.run(0, 2, also=(following,))
    theirs = FLEET.battery_rows_in(FLEET.resources[1].group_id)
    assert len(theirs)
    assert not plant.power_w[theirs].any()
    assert int(plant.power_w.sum()) == -6_000


def test_burden_of_dispatch_is_counted_and_kept() -> None:
    plant = Plant(Source())
    plant.memory.awards[VPP] = -6_000
    burden = Burden(FLEET.nameplate, plant.memory)
    plant.run(0, 32, burden=burden)
    assert burden.used_wh.sum() > 2_000
    assert BURDEN in plant.memory.states
    assert Burden(FLEET.nameplate, plant.memory).used_wh.sum() > 1_000


def test_cycle_that_finds_the_database_away_is_left_out_and_the_next_one_comes() -> None:
    plant = Plant(Source())
    plant.memory.awards[VPP] = -6_000
    known = plant.memory.award_at
    asked = []

    def award_at(resource_id: str, t_ns: int) -> tuple[int, int, int] | None:
        asked.append(t_ns)
        if len(asked) == 1:
            raise UnavailableError("the database", "it is away")
        return known(resource_id, t_ns)

    plant.memory.award_at = award_at  # type: ignore[method-assign]
    control = plant.run(0, 3)
    assert control.statistics().cycles == 2
    # and makes up for the minute that was lost
    assert -6_200 < plant.power_w.sum() < -6_000


def test_sign_of_life_that_cannot_be_saved_stops_nobody() -> None:
    plant = Plant(Source())
    plant.memory.awards[VPP] = -6_000
    save = plant.memory.save_state

    def save_state(key: str, state: dict[str, Any]) -> None:
        if key == BEAT:
            raise UnavailableError("the database", "it is away")
        save(key, state)

    plant.memory.save_state = save_state  # type: ignore[method-assign]
    assert plant.run(0, 2, beat=True).statistics().cycles == 2
    assert plant.power_w.sum() == -6_000
