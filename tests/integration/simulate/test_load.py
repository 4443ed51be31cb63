"""The load generator against a real server: what it says it sent is what the journal holds."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from shoal.domain.directory import Directory
from shoal.domain.errors import UnavailableError
from shoal.domain.wire import decode
from shoal.simulate.load import Load
from shoal.simulate.load_fleet import LoadPlan, Transport, plan_load_fleet
from tests.integration.fabric.plant import Plant, read_some

SECRET = "a secret"


def open_load(plant: Plant, plan: LoadPlan, *, secret: str = SECRET) -> Load:
    options = plant.server.options
    port = options.client_port if plan.transport is Transport.NATS else options.mqtt_port
    return Load(plan, host=options.local_host, port=port, secret_of=lambda _: secret)


@pytest.mark.parametrize(
    "plan",
    [
        LoadPlan(sites=40, gateways=4, probes=4, burst=4),
        LoadPlan(sites=40, gateways=4, samples_per_message=5, probes=4, burst=2),
        LoadPlan(sites=20, gateways=0, probes=0),
        LoadPlan(sites=20, gateways=0, samples_per_message=2, probes=0, transport=Transport.MQTT),
    ],
)
def test_load_sends_each_sample_once_at_its_time(tmp_path: Path, plan: LoadPlan) -> None:
    plant = Plant.make(tmp_path)
    duration_s, rate_per_s = 0.5, 4_000.0

    async def body() -> tuple[Load, list[tuple[int, bytes, bytes]], int]:
        async with (
            plant.server,
            plant.callout(lambda name, secret: secret == SECRET and name in plan.devices),
        ):
            await plant.make_streams()
            load = await asyncio.to_thread(open_load, plant, plan)
            began_ns = time.time_ns()
            with load:
                await asyncio.to_thread(load.send, rate_per_s, duration_s)
                await asyncio.to_thread(load.send, rate_per_s / 2, duration_s)
                await asyncio.to_thread(load.wait_read)
                async with plant.reader() as reader:
                    messages = await read_some(reader, load.messages)
                    assert await reader.last_seq() == load.messages
                return load, messages, began_ns

    load, messages, began_ns = asyncio.run(body())
    assert abs(load.statistics().samples - 1.5 * rate_per_s * duration_s) <= 2 * plan.samples_per_message
    directory = Directory.of_fleet(plan_load_fleet(plan))
    last = np.full(len(plan.site_ids), plan.first_seq - 1)
    for _, subject, payload in messages:
        device = subject.split(b".")[2]
        gateway = directory.gateway(device)
        records, _, units = decode(payload)
        for record, unit in zip(records, units.tolist(), strict=True):
            row = directory.row(device) if gateway < 0 else directory.unit_row(gateway, unit)
            assert record["seq"] == last[row] + 1
            last[row] += 1
            meant_ns = load.meant_ns(plan.message_of(row, int(record["seq"])))
            assert 0 <= meant_ns - int(record["ts_ns"]) < 1_000_000
            assert began_ns - 1_000_000 <= record["ts_ns"] < began_ns + 3_000_000_000
    assert last.tolist() == load.last_seq().tolist()


def test_load_without_a_pace_waits_for_what_is_visible(tmp_path: Path) -> None:
    plant, plan = Plant.make(tmp_path), LoadPlan(sites=32, gateways=2, probes=0)
    seen = 0

    async def body() -> None:
        nonlocal seen
        async with plant.server, plant.callout(lambda *_: True):
            await plant.make_streams()
            with await asyncio.to_thread(open_load, plant, plan) as load:
                sending = threading.Thread(target=load.send_within, args=(lambda: seen, 128, 1.0))
                sending.start()
                async with plant.reader() as reader:
                    while load.messages < 128 or seen < 128:
                        assert load.messages <= seen + 128
                        batch = await reader.read(0.1)
                        assert load.messages <= 128 or seen
                        seen += 0 if batch is None else len(batch)
                    while sending.is_alive() or seen < load.messages:
                        batch = await reader.read(0.05)
                        seen += 0 if batch is None else len(batch)
                sending.join()
                assert load.messages > 256
                assert seen == load.messages

    asyncio.run(body())


def test_load_tells_a_refusal(tmp_path: Path) -> None:
    plant = Plant.make(tmp_path)

    async def body() -> None:
        async with plant.server, plant.callout(lambda _, secret: secret == SECRET):
            for transport in Transport:
                plan = LoadPlan(sites=2, gateways=0, probes=0, transport=transport)
                with pytest.raises(UnavailableError):
                    await asyncio.to_thread(open_load, plant, plan, secret="another")

    asyncio.run(body())
