"""Simulated homes in regulation on a clock that runs by itself: prompt, measured, and with a sample a minute all the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
import pytest

from shoal.domain.clock import Stage, Tick
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S
from shoal.edge.downlink import Message
from shoal.services.regulation import RegulationSignal
from shoal.services.regulation_device import RegulationArming
from shoal.simulate.homes import Homes
from shoal.simulate.physics import HomeWorld
from shoal.simulate.profiles import Profiles
from tests.unit.simulate.stand import FLEET, SITES, START_NS, Network, Wires

RESOURCE = "vpp-1"
UP_W, DOWN_W = 800, 600


class Running:
    """A clock that the test moves while homes follow it."""

    def __init__(self) -> None:
        self.ns = START_NS
        self.accounts: dict[str, Any] = {}
        self.script: Callable[[], AsyncIterator[Tick]] = self._nothing

    async def _nothing(self) -> AsyncIterator[Tick]:
        return
        yield

    def now_ns(self) -> int:
        return self.ns

    def ticks(self, stage: Stage, every_s: float) -> AsyncIterator[Tick]:
        return self.script()

    def report(self, facts: Mapping[str, int]) -> None:
        pass

    def account(self, account: Mapping[str, Any]) -> None:
        self.accounts.update(account)


class Field:
    """Homes, their wires and their clock."""

    def __init__(self) -> None:
        self.wires, self.clock = Wires(SITES), Running()
        self.world = HomeWorld(FLEET, Profiles(FLEET, 1), start_ns=START_NS, seed=1)
        self.homes = Homes(
            fleet=FLEET,
            world=self.world,
            faults=Network(),
            links=self.wires,  # type: ignore[arg-type]
            clock=self.clock,  # type: ignore[arg-type]
            report_steps=np.ones(SITES, dtype=np.int64),
            jitter=True,
        )
        self.seq = 0

    async def bring(self, at_s: float, *messages: Message) -> None:
        """Let messages come at an instant."""
        self.clock.ns = START_NS + int(at_s * NS_PER_S)
        self.wires.inbox += messages
        async with asyncio.timeout(5):
            while self.wires.inbox:  # noqa: ASYNC110 - the pump takes them in its own time
                await asyncio.sleep(0.005)

    def arming(self, row: int, version: int = 1) -> Message:
        said = RegulationArming(
            resource_id=RESOURCE,
            version=version,
            start_ns=START_NS,
            end_ns=START_NS + 5 * NS_PER_MINUTE,
            base_w=0,
            up_w=UP_W,
            down_w=DOWN_W,
        )
        return Message(row, "regulation", msgspec.json.encode(said))

    def broadcast(self, at_s: float, value_frac: float) -> list[Message]:
        """Return what every device hears."""
        self.seq += 1
        t_ns = START_NS + int(at_s * NS_PER_S)
        signal = RegulationSignal(
            seq=self.seq, t_ns=t_ns, end_ns=t_ns + 10 * NS_PER_S, value_frac=value_frac, version=1
        )
        return [Message(row, "broadcast", msgspec.json.encode(signal), name=RESOURCE) for row in range(SITES)]

    def run(self, script: Callable[[], AsyncIterator[Tick]]) -> None:
        self.clock.script = script

        async def live() -> None:
            async with asyncio.timeout(20):
                await self.homes.connect(max_rate_per_s=1_000.0)
                await self.homes.follow()

        asyncio.run(live())


@pytest.fixture
def field() -> Iterator[Field]:
    field = Field()
    yield field
    field.wires.release()


def minute(number: int, **facts: int) -> Tick:
    return Tick(t_ns=START_NS + number * NS_PER_MINUTE, facts=facts)


def test_armed_homes_follow_every_broadcast_and_say_what_their_meters_showed(field: Field) -> None:
    values = [0.5, -0.25, 1.0, -1.0, 0.0]

    async def script() -> AsyncIterator[Tick]:
        await field.bring(1.0, field.arming(0), field.arming(1))
        for number, value_frac in enumerate(values):
            at_s = 4.0 + 2.0 * number
            await field.bring(at_s, *field.broadcast(at_s, value_frac))
            assert field.world.now_ns == START_NS + int(at_s * NS_PER_S)
        await field.bring(14.0, *field.broadcast(14.0, 0.0))
        field.clock.ns = START_NS + NS_PER_MINUTE
        yield minute(1)
        yield minute(2, closing=1)

    field.run(script)
    for row in (0, 1):
        told = [reading for device, unit, reading in field.wires.readings if (device, unit) == (row, 0)]
        assert [reading.end_ns - reading.start_ns for reading in told] == [2 * NS_PER_S] * len(values)
        expected = [-value * (UP_W if value > 0 else DOWN_W) for value in values]
        assert [reading.mean_w for reading in told] == pytest.approx(expected, abs=1.0)
        assert {reading.version for reading in told} == {1}
    assert {device for device, *_ in field.wires.readings} == {0, 1}
    assert field.homes.regulation() == {"armed": 2, "followed": 2 * (len(values) + 1)}
    assert field.clock.accounts["lease_violations"] == field.clock.accounts["reserve_violations"] == 0
    assert field.clock.accounts["limit_violations"] == 0


def test_broadcast_between_a_minute_and_its_tick_costs_no_sample(field: Field) -> None:
    async def script() -> AsyncIterator[Tick]:
        await field.bring(1.0, field.arming(0))
        for number in range(1, 4):
            # the tick of the minute is late: the broadcast after it comes first
            at_s = 60.0 * number + 0.5
            await field.bring(at_s, *field.broadcast(at_s, 0.5))
            assert field.world.now_ns == START_NS + number * NS_PER_MINUTE
            yield minute(number)
        field.clock.ns += NS_PER_MINUTE
        yield minute(4, draining=1)

    field.run(script)
    assert field.homes.statistics().created == 4 * SITES
    assert field.wires.samples()[0][:3] == [1, 2, 3]
