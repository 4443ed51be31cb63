"""Regulation in a conducted run: homes act every two seconds and sample every minute, over a network that loses and delays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
import pytest

from shoal.domain.clock import Stage, Tick
from shoal.domain.desired import DesiredState
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S
from shoal.edge.downlink import Message
from shoal.services.regulation import RegulationSignal
from shoal.services.regulation_device import RegulationArming
from shoal.simulate.homes import Homes
from shoal.simulate.network import FaultModel
from shoal.simulate.physics import HomeWorld
from shoal.simulate.profiles import Profiles
from tests.unit.simulate.stand import FLEET, SITES, START_NS, Wires

STEP_S = 2
SHARE_W = 500
RESOURCE = "vpp-1"


class Conducted:
    """A clock whose steps bring a broadcast each, as the plant would send it."""

    def __init__(self, wires: Wires, steps: int, *, armed: list[int], value_frac: float = 0.5) -> None:
        self._wires, self._steps, self._armed, self._value_frac = wires, steps, armed, value_frac
        self.reports: list[dict[str, int]] = []
        self.accounts: dict[str, Any] = {}

    async def ticks(self, stage: Stage, every_s: float) -> AsyncIterator[Tick]:
        assert (stage, every_s) == (Stage.WORLD, STEP_S)
        facts: dict[str, int] = {"downlink_sent": len(self._armed)}
        self._wires.inbox += [self._arming(row) for row in self._armed]
        for step in range(self._steps + 1):
            t_ns = START_NS + step * STEP_S * NS_PER_S
            closing = {"closing": 1, "draining": 1} if step == self._steps else {}
            yield Tick(t_ns=t_ns, facts=facts | closing)
            facts = {"broadcasts_sent": 1}
            self._wires.inbox += self._broadcast(step, t_ns)

    def _arming(self, row: int) -> Message:
        said = RegulationArming(
            resource_id=RESOURCE,
            version=1,
            start_ns=START_NS,
            end_ns=START_NS + 30 * NS_PER_MINUTE,
            base_w=100,
            up_w=SHARE_W,
            down_w=SHARE_W,
        )
        return Message(row, "regulation", msgspec.json.encode(said))

    def _broadcast(self, step: int, t_ns: int) -> list[Message]:
        said = RegulationSignal(
            seq=step + 1,
            t_ns=t_ns,
            end_ns=t_ns + 10 * NS_PER_S,
            value_frac=self._value_frac,
            version=1,
        )
        payload = msgspec.json.encode(said)
        return [Message(row, "broadcast", payload, name=RESOURCE) for row in range(SITES)]

    def report(self, facts: Mapping[str, int]) -> None:
        self.reports.append(dict(facts))

    def account(self, account: Mapping[str, Any]) -> None:
        self.accounts.update(account)


@pytest.fixture
def wires() -> Iterator[Wires]:
    wires = Wires(SITES)
    yield wires
    wires.release()


def live(wires: Wires, clock: Conducted, faults: FaultModel) -> tuple[Homes, HomeWorld]:
    world = HomeWorld(FLEET, Profiles(FLEET, 1), start_ns=START_NS - NS_PER_MINUTE, seed=1)
    homes = Homes(
        fleet=FLEET,
        world=world,
        faults=faults,
        links=wires,  # type: ignore[arg-type]
        clock=clock,  # type: ignore[arg-type]
        report_steps=np.ones(SITES, dtype=np.int64),
        step_s=STEP_S,
    )

    async def run() -> None:
        async with asyncio.timeout(20):
            await homes.connect(max_rate_per_s=1_000.0)
            await homes.follow()

    asyncio.run(run())
    return homes, world


def quiet(*, loss_frac: float = 0.0, latency_s: float = 0.0) -> FaultModel:
    return FaultModel(
        FLEET.site_ids,
        1,
        drop_out_frac=0.0,
        late_frac=0.0,
        duplicate_frac=0.0,
        loss_frac=loss_frac,
        latency_s=latency_s,
    )


def test_homes_act_every_two_seconds_and_sample_every_minute(wires: Wires) -> None:
    clock = Conducted(wires, 60, armed=[0, 1])
    homes, world = live(wires, clock, quiet())
    assert homes.statistics().created == 3 * SITES, "at the beginning and after either minute"
    assert world.now_ns == START_NS + 2 * NS_PER_MINUTE
    steps = clock.accounts["regulation"]["steps"]
    # nothing is on its way for long in this network: they follow from the first broadcast on
    assert {beyond_w for _, beyond_w, *_ in steps} == {-2 * round(0.5 * SHARE_W)}
    assert {tuple(step[2:]) for step in steps} == {(2, 2 * SHARE_W, 2 * SHARE_W)}
    assert [step[0] for step in steps] == [START_NS + i * STEP_S * NS_PER_S for i in range(60)]
    assert clock.accounts["regulation"]["followed"] == [60, 60] + [0] * (SITES - 2)
    assert clock.accounts["statistics"]["desired_missed"] == 0
    # each says what its meter shows at every second broadcast
    assert len(wires.readings) == pytest.approx(2 * 30, abs=2)
    assert clock.reports[-1]["readings_sent"] == len(wires.readings)
    for key in ("lease_violations", "reserve_violations", "limit_violations"):
        assert clock.accounts[key] == 0


def test_network_loses_and_delays_and_no_home_goes_beyond_its_lease(wires: Wires) -> None:
    clock = Conducted(wires, 300, armed=list(range(SITES - 1)))
    homes, world = live(wires, clock, quiet(loss_frac=0.2, latency_s=1.0))
    told = clock.accounts["regulation"]
    armed = sum(1 for count in told["followed"] if count)
    assert 0 < homes.regulation()["followed"] < 0.85 * 300 * armed, "a fifth is lost, some are overtaken"
    assert world.now_ns == START_NS + 600 * NS_PER_S, "no step is longer than it was asked to be"
    moved = [beyond_w for _, beyond_w, *_ in told["steps"][5:]]
    asked_w = -armed * 0.5 * SHARE_W
    # a lease outlasts a loss; only who misses five broadcasts in a row does as it likes for a while
    assert np.median(moved) == asked_w
    for key in ("lease_violations", "reserve_violations", "limit_violations"):
        assert clock.accounts[key] == 0, clock.accounts["examples"]


def test_set_point_of_somebody_else_is_noted(wires: Wires) -> None:
    clock = Conducted(wires, 5, armed=[0])
    desired = DesiredState(
        version=9,
        battery_w=0,
        start_ns=START_NS,
        end_ns=START_NS + NS_PER_MINUTE,
        issuer="control",
        fence=1,
    )
    payload = msgspec.json.encode(desired)
    homes, _ = live(wires, clock, quiet())
    assert homes._regulation.account()["commanded_while_armed"] == [0] * SITES
    for row in (0, 1):
        homes._take_command(row, Message(row, "desired", payload))
    assert homes._regulation.account()["commanded_while_armed"][:2] == [1, 0], (
        "who is not armed may be commanded"
    )
