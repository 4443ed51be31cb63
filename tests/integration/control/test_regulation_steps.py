"""The regulation service on a conducted clock: it acts at a tick, on the signal and the readings of the same step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import nats
import numpy as np
from nats.aio.client import Client
from nats.aio.msg import Msg
from numpy.typing import NDArray

from shoal.control.regulation import MarketSignal, RegulationOptions, RegulationService
from shoal.domain.clock import Stage, Tick
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S
from shoal.fabric.subjects import broadcast_subject, reading_subject, signal_subject
from shoal.services.regulation import RegulationSignal
from shoal.services.regulation_device import RegulationReading
from shoal.services.regulation_shares import RegulationAbility
from tests.integration.control.test_regulation import RESOURCE, server_url

__all__ = ["server_url"]

SITES = 3
START_NS = 10_000 * NS_PER_MINUTE


class Steps:
    """A conducted clock: each step says what is on its way, and some of it is sent only after the tick."""

    def __init__(self, client: Client, steps: int) -> None:
        self._client, self._steps = client, steps
        self.told: list[dict[str, int]] = []
        self._now_ns = 0
        self._sent = 0

    def now_ns(self) -> int:
        return self._now_ns

    def at(self, machine_ns: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return machine_ns, machine_ns

    async def ticks(self, stage: Stage, every_s: float) -> AsyncIterator[Tick]:
        assert (stage, every_s) == (Stage.ACT, 2.0)
        # the lead-in's long steps are no time to follow anything in
        yield Tick(t_ns=START_NS - 3_600 * NS_PER_S, facts={"step_s": 3_600})
        assert self.told == []
        for step in range(self._steps):
            self._now_ns = START_NS + step * 2 * NS_PER_S
            self.told.append({})
            late = asyncio.create_task(self._send(step))
            self._sent += SITES
            facts = {"step_s": 60, "signals_sent": step + 1, "readings_sent": self._sent}
            yield Tick(t_ns=self._now_ns, facts=facts)
            assert late.done(), "it waited for what was on its way"

    async def _send(self, step: int) -> None:
        await asyncio.sleep(0.01)
        signal = MarketSignal(t_ns=self._now_ns, value_frac=0.1 * step)
        await self._client.publish(signal_subject(RESOURCE), msgspec.json.encode(signal))
        for row in range(SITES):
            reading = RegulationReading(
                start_ns=self._now_ns - 2 * NS_PER_S,
                end_ns=self._now_ns,
                mean_w=0.0,
                stored_kwh=6.0,
                version=1,
            )
            await self._client.publish(reading_subject(f"home-{row}"), msgspec.json.encode(reading))
        await self._client.flush()

    def report(self, facts: Mapping[str, int]) -> None:
        self.told[-1].update(facts)

    def account(self, account: Mapping[str, Any]) -> None:
        raise AssertionError("it keeps no account")


def test_each_step_is_answered_within_it_and_counted(server_url: str) -> None:
    minutes: list[int] = []
    heard: list[RegulationSignal] = []

    async def body() -> tuple[RegulationService, Steps]:
        plant, field = await nats.connect(server_url), await nats.connect(server_url)

        async def broadcast(message: Msg) -> None:
            heard.append(msgspec.json.decode(message.data, type=RegulationSignal))

        async def each_minute(t_ns: int) -> None:
            minutes.append(t_ns)

        await field.subscribe(broadcast_subject(RESOURCE), cb=broadcast)
        await field.flush()
        clock = Steps(field, 35)
        service = RegulationService(
            client=plant,
            clock=clock,
            resource_id=RESOURCE,
            site_ids=[f"home-{row}" for row in range(SITES)],
            ability=RegulationAbility(
                charge_limit_w=np.full(SITES, 5_000),
                discharge_limit_w=np.full(SITES, 5_000),
                stored_kwh=np.full(SITES, 6.0),
                floor_kwh=np.full(SITES, 2.0),
                ceiling_kwh=np.full(SITES, 10.0),
                charge_efficiency_frac=np.ones(SITES),
                discharge_efficiency_frac=np.ones(SITES),
            ),
            options=RegulationOptions(offer_w=6_000),
            conducted=True,
            each_minute=each_minute,
        )
        async with asyncio.timeout(20):
            await service.run()
            await field.flush()
            while len(heard) < 35:  # noqa: ASYNC110 - told over the wire
                await asyncio.sleep(0.01)
        await plant.close()
        await field.close()
        return service, clock

    service, clock = asyncio.run(body())
    assert [told["broadcasts_sent"] for told in clock.told] == [1] * 35
    assert clock.told[0]["armings_sent"] == SITES, "armed with the first step"
    assert sum(told["armings_sent"] for told in clock.told) == service.statistics().armings
    assert [signal.t_ns for signal in heard] == [START_NS + step * 2 * NS_PER_S for step in range(35)]
    assert (service.statistics().signals, service.statistics().readings) == (35, 35 * SITES)
    assert minutes == [START_NS, START_NS + NS_PER_MINUTE]
