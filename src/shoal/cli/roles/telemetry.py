"""The telemetry role: one member of those who own the shards of twins, and what its shards publish and answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from functools import partial

import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from shoal.cli.roles.drift import drift_watch
from shoal.cli.roles.host import Host
from shoal.cli.roles.member import membership, take_part
from shoal.domain.errors import UnavailableError, WireFormatError
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_S
from shoal.domain.live import HistoryLag, ResourceState
from shoal.domain.negotiate import answer_hello
from shoal.fabric.connection import translated
from shoal.fabric.fleet_feed import FleetFeed, PublishedFleet
from shoal.fabric.journal import MOST_BATCH, JournalReader
from shoal.fabric.keys import Role
from shoal.fabric.silence_feed import KeptSilence, SilenceFeed
from shoal.fabric.snapshots import Snapshots
from shoal.fabric.subjects import (
    ASK_ALARMS,
    HELLO_ALL,
    LIVE_AGGREGATES,
    LIVE_ALARMS,
    LIVE_GROUP,
    LIVE_HISTORY,
    LIVE_QUARANTINE,
    LIVE_RESOURCES,
    PACE,
    SUMS_ALL,
    ask_twin_subject,
    conditions_subject,
    durable_subject,
    quarantine_subject,
    schema_subject,
    site_of_hello_subject,
    sums_subject,
    telemetry_stream,
)
from shoal.runtime.clock import ConductedClock
from shoal.runtime.sections import Telemetry as TelemetrySettings
from shoal.store.alarms import AlarmLog
from shoal.store.database import migrate, open_database
from shoal.telemetry.alarms import AlarmDesk
from shoal.telemetry.contract import AGGREGATE, Outlets, Publish, TelemetryOptions, shard_unit
from shoal.telemetry.crew import Crew
from shoal.telemetry.service import Telemetry
from shoal.telemetry.setaside import SetAside
from shoal.telemetry.warmup import warm_up
from shoal.telemetry.watch import PlantWatch
from shoal.twin.aggregate import Timeouts
from shoal.twin.clockrule import ClockRule
from shoal.twin.silence_default import built_in_table

_log = structlog.get_logger(__name__)


async def telemetry(host: Host) -> None:
    """Own shards, beside other processes of this role or alone."""
    settings = host.settings.telemetry
    client = await host.connect()
    feed = FleetFeed(client)
    published = await host.published_fleet(feed)
    options = telemetry_options(settings, conducted=isinstance(host.clock, ConductedClock))
    silence = SilenceFeed(client)
    kept = KeptSilence(0, None) if options.conducted else await silence.current()
    table = kept.learned.table if kept.learned else built_in_table()
    outlets = Outlets(
        publish=_outlet(client),
        durable_subject=lambda site: durable_subject(SiteId(site)),
        aggregates_subject=LIVE_AGGREGATES,
        sums_subject=lambda number: sums_subject(str(number)),
        conditions_subject=lambda number: conditions_subject(str(number)),
        pace_subject=PACE,
        quarantine_subject=LIVE_QUARANTINE,
        evidence_subject=quarantine_subject,
    )
    set_aside = SetAside(
        publish=outlets.publish,
        state_subject=outlets.quarantine_subject,
        evidence_subject=outlets.evidence_subject,
        member=f"{os.getpid()}-{secrets.token_hex(4)}",
    )
    await asyncio.to_thread(migrate, host.ledger_url())
    desk = AlarmDesk(
        fleet=published.fleet,
        log=AlarmLog(open_database(host.ledger_url())),
        publish=outlets.publish,
        live_subject=LIVE_ALARMS,
        now_ns=host.clock.now_ns,
    )
    await desk.restore()
    host.ops.register("alarms", desk.statistics)
    drift = await asyncio.to_thread(drift_watch, host)
    units = [*(shard_unit(number) for number in settings.own_shards()), AGGREGATE]
    try:
        async with membership(host, group=LIVE_GROUP, units=units) as member:
            crew = Crew(
                shards=options.shards,
                fleet=published.fleet,
                membership=member,
                make_reader=partial(open_reader, host, eager=not options.conducted),
                snapshots=Snapshots(client, group=LIVE_GROUP),
                time=host.clock,
                clock_rule=options.clock_rule,
                set_aside=set_aside,
            )
            service = Telemetry(
                options=options,
                clock=host.clock,
                crew=crew,
                table=table,
                outlets=outlets,
                set_aside=set_aside,
            )
            service.summing.watch = watch = PlantWatch(desk, None if drift is None else drift.measures)
            host.ops.register("twins", service.statistics)
            host.ops.register("journal", crew.journal_statistics)
            host.ops.register("silence", silence.statistics)
            # compiling, or loading what was compiled, takes longer than a lease lasts
            await asyncio.to_thread(
                warm_up, published.fleet, crew.layout, options=options, clock=host.clock, table=table
            )
            with contextlib.suppress(UnavailableError):
                async with open_reader(host, 0, 1, eager=False) as reader:
                    await reader.last_seq()  # what reads the journal is warm, too
            await _listen(client, service, desk, watch, settings.shards)

            async def work() -> None:
                if options.conducted:
                    await crew.owns_everything()
                host.ready()
                await service.follow()

            await take_part(
                member,
                own=crew.own(),
                work=work,
                beside=[
                    _follow_fleet(feed, published, service, desk),
                    # on a conducted clock the same seed gives the same answers: the table stays
                    *([] if options.conducted else [_follow_silence(silence, kept, service)]),
                ],
                to_the_end=[desk.keep()],
                leave=desk.close,
            )
    finally:
        await client.close()


def telemetry_options(settings: TelemetrySettings, *, conducted: bool) -> TelemetryOptions:
    """Return the role's options from its settings."""
    return TelemetryOptions(
        shards=settings.shards,
        timeouts=Timeouts(
            fresh_ns=_in_ns(settings.fresh_timeouts_s()), unknown_ns=_in_ns(settings.unknown_timeouts_s())
        ),
        refresh_every_s=settings.refresh_every_s,
        checkpoint_every_s=settings.checkpoint_every_s,
        durable_ack_every_s=settings.durable_ack_every_s,
        clock_rule=ClockRule(
            max_ahead_ns=int(settings.max_clock_ahead_s * NS_PER_S),
            backfill_ns=int(settings.fresh_timeout_s * NS_PER_S),
        ),
        conducted=conducted,
    )


def _in_ns(ages_s: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    battery, solar, load, ev = (int(age_s * NS_PER_S) for age_s in ages_s)
    return battery, solar, load, ev


def _outlet(client: Client) -> Publish:
    """Return how to send what is of use only now: what the engine does not take at once is let go."""

    async def publish(subject: str, payload: bytes) -> None:
        try:
            with translated(subject):
                await client.publish(subject, payload)
        except UnavailableError as error:
            _log.warning("not sent", subject=subject, size_bytes=len(payload), why=error.why)

    return publish


def open_reader(
    host: Host, number: int, start_seq: int, *, eager: bool, batch: int = MOST_BATCH
) -> JournalReader:
    """Return a reader of the journal of one shard, from a position on."""
    return JournalReader(
        host.fabric_url(),
        seed=host.keys().seed(Role.JOURNAL),
        stream=telemetry_stream(number),
        start_seq=start_seq,
        batch=batch,
        tls=host.tls(),
        name=f"shard-{number}",
        eager=eager,
    )


async def _listen(
    client: Client, service: Telemetry, desk: AlarmDesk, watch: PlantWatch, shards: int
) -> None:
    """Take questions, the sums of other members, and devices that introduce themselves."""

    async def answer(number: int, message: Msg) -> None:
        reply = await service.answer(number, message.data)
        if reply is not None:
            await message.respond(reply)

    async def take_sums(message: Msg) -> None:
        if message.subject.endswith(".conditions"):
            service.summing.take_conditions(message.data)
        else:
            service.summing.take_sums(message.data)

    async def take_resources(message: Msg) -> None:
        states = msgspec.json.decode(message.data, type=list[ResourceState])
        service.summing.note_orders(sum(s.commanded for s in states), sum(s.sites for s in states))

    async def take_history(message: Msg) -> None:
        watch.hear_history(msgspec.json.decode(message.data, type=HistoryLag))

    async def hello(message: Msg) -> None:
        try:
            site = site_of_hello_subject(message.subject.encode())
        except WireFormatError:
            return
        await client.publish(schema_subject(site), msgspec.json.encode(answer_hello(message.data)))

    async def take_note(message: Msg) -> None:
        if service.crew.aggregate is not None:
            await message.respond(await desk.answer(message.data))

    await client.subscribe(ASK_ALARMS, cb=take_note)
    for number in range(shards):
        await client.subscribe(ask_twin_subject(number), cb=partial(answer, number))
    await client.subscribe(SUMS_ALL, cb=take_sums)
    await client.subscribe(LIVE_RESOURCES, cb=take_resources)
    await client.subscribe(LIVE_HISTORY, cb=take_history)
    await client.subscribe(HELLO_ALL, queue="telemetry", cb=hello)
    await client.flush()


async def _follow_fleet(
    feed: FleetFeed, published: PublishedFleet, service: Telemetry, desk: AlarmDesk
) -> None:
    async for changed in feed.changes(published):
        await service.crew.follow_fleet(changed.fleet)
        await desk.follow_fleet(changed.fleet)


async def _follow_silence(feed: SilenceFeed, kept: KeptSilence, service: Telemetry) -> None:
    async for learned in feed.changes(kept.seq):
        service.summing.use_table(learned.table)
        _log.info("another table of silent sites in use", about=learned.table.provenance)
