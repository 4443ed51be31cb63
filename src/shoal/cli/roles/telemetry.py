"""The telemetry role: shards over the journal, and what they publish and answer."""

from __future__ import annotations

import asyncio

import numpy as np
from nats.aio.msg import Msg

from shoal.cli.roles.host import Host
from shoal.domain.clock import Clock
from shoal.domain.ids import SiteId
from shoal.fabric.journal import JournalReader
from shoal.fabric.keys import Role
from shoal.fabric.subjects import (
    LIVE_AGGREGATES,
    LIVE_QUARANTINE,
    PARTITIONS,
    TELEMETRY_STREAM,
    ask_twin_subject,
    durable_subject,
    journal_filter,
    partition_of,
    quarantine_subject,
)
from shoal.runtime.clock import ConductedClock
from shoal.telemetry.service import Telemetry, TelemetryOptions


async def telemetry(host: Host) -> None:
    """Run every shard of the fleet in this process."""
    settings = host.settings.telemetry
    fleet = await host.fleet()
    shards = settings.shards
    owner = np.array([partition_of(site) * shards // PARTITIONS for site in fleet.site_ids], dtype=np.int64)
    client = await host.connect()
    service = Telemetry(
        options=TelemetryOptions(
            data_dir=host.settings.data_dir,
            shards=shards,
            fresh_timeout_s=settings.fresh_timeout_s,
            unknown_timeout_s=settings.unknown_timeout_s,
            checkpoint_every_s=settings.checkpoint_every_s,
            durable_ack_every_s=settings.durable_ack_every_s,
            max_clock_ahead_s=settings.max_clock_ahead_s,
        ),
        fleet=fleet,
        clock=host.clock,
        shard_rows=[np.flatnonzero(owner == number) for number in range(shards)],
        publish=client.publish,
        durable_subject=lambda site: durable_subject(SiteId(site)),
        live_subject=LIVE_AGGREGATES,
        quarantine_subject=LIVE_QUARANTINE,
        evidence_subject=quarantine_subject,
    )
    service.restore()
    host.ops.register("twins", service.statistics)
    readers = []
    for shard in service.shards:
        partitions = [p for p in range(PARTITIONS) if p * shards // PARTITIONS == shard.number]
        readers.append(
            JournalReader(
                host.fabric_url(),
                seed=host.keys().seed(Role.JOURNAL),
                stream=TELEMETRY_STREAM,
                filters=journal_filter(partitions),
                start_seq=shard.position + 1,
                tls=host.tls(),
                name=f"shard-{shard.number}",
                eager=not _is_conducted(host.clock),
            )
        )
        host.ops.register(f"journal_{shard.number}", readers[-1].statistics)

    def answer_for(number: int) -> None:
        async def answer(message: Msg) -> None:
            await message.respond(service.answer(number))

        tasks.create_task(_subscribe(number, answer))

    async def _subscribe(number: int, answer: object) -> None:
        await client.subscribe(ask_twin_subject(number), cb=answer)  # type: ignore[arg-type]

    try:
        async with asyncio.TaskGroup() as tasks:
            reading = [
                tasks.create_task(service.read_shard(shard, reader))
                for shard, reader in zip(service.shards, readers, strict=True)
            ]
            for number in range(shards):
                answer_for(number)
            await client.flush()
            if not _is_conducted(host.clock):
                service.release()
            host.ready()
            await service.follow()
            for task in reading:
                task.cancel()
    finally:
        for shard in service.shards:
            shard.checkpoint()
        for reader in readers:
            await reader.close()
        await client.close()


def _is_conducted(clock: Clock) -> bool:
    return isinstance(clock, ConductedClock)
