"""The history role: one member of those who follow the journal and write history, at its own pace and low priority."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
from nats.aio.client import Client

from shoal.cli.history_store import (
    history_disk,
    history_folder,
    history_keeper,
    history_writer,
    learn_silence_of,
)
from shoal.cli.roles.host import Host
from shoal.cli.roles.member import membership, take_part
from shoal.cli.roles.room import tell_room
from shoal.cli.roles.telemetry import open_reader, telemetry_options
from shoal.domain.errors import UnavailableError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_S
from shoal.domain.live import HistoryLag
from shoal.fabric.connection import translated
from shoal.fabric.fleet_feed import FleetFeed, PublishedFleet
from shoal.fabric.silence_feed import SilenceFeed
from shoal.fabric.snapshots import Snapshots
from shoal.fabric.subjects import HISTORY_GROUP, LIVE_HISTORY
from shoal.fabric.tenure import Tenure
from shoal.runtime.clock import ConductedClock
from shoal.runtime.room import DiskRoom
from shoal.store.history_folder import Folder
from shoal.telemetry.contract import shard_number, shard_rows, shard_unit
from shoal.telemetry.historian import Historian, HistorianOptions
from shoal.telemetry.historian_unit import GATHER_S, HistorianUnit, UnitOptions
from shoal.telemetry.intake import Intake
from shoal.telemetry.silence_job import SilenceJob
from shoal.telemetry.warmup import warm_up_twins
from shoal.twin.layout import Layout

NICENESS: Final = 10
"""Beside the live shards, history gives way: it has the journal to catch up from."""
TELL_S: Final = 5.0
READ_BATCH: Final = 500
"""Messages of a request. Few, so that what history asks for after a pause does not keep the live shards waiting."""


@dataclass(slots=True)
class Newest:
    """The fleet as it is now, for units that are taken up later."""

    fleet: Fleet
    layout: Layout

    def layout_of(self, fleet: Fleet) -> Layout:
        """Return the layout of a fleet, which is made once for all units."""
        return self.layout if fleet is self.fleet else Layout.of(fleet)


async def history(host: Host) -> None:
    """Write history, beside other processes of this role or alone."""
    settings = host.settings
    conducted = isinstance(host.clock, ConductedClock)
    if not conducted:
        with contextlib.suppress(OSError):
            os.nice(NICENESS)
    client = await host.connect()
    feed = FleetFeed(client)
    published = await host.published_fleet(feed)
    newest = Newest(published.fleet, Layout.of(published.fleet))
    folder = history_folder(settings)
    shards = settings.telemetry.own_shards()
    snapshots = Snapshots(client, group=HISTORY_GROUP)
    units = [shard_unit(number) for number in shards]
    room = DiskRoom("history", history_disk(settings), settings.history.min_free_bytes)
    host.ops.register("room", room.statistics)
    try:
        async with membership(host, group=HISTORY_GROUP, units=units) as member:
            historian = Historian(
                options=HistorianOptions(
                    units=len(shards),
                    conducted=conducted,
                    keep_every_s=settings.history.keep_every_s,
                ),
                clock=host.clock,
                membership=member,
                make_unit=partial(_unit, host, newest, folder, snapshots, room),
                make_reader=lambda unit, start: open_reader(
                    host, shard_number(unit) or 0, start, eager=not conducted, batch=READ_BATCH
                ),
                keeper=history_keeper(settings, folder),
                room=room,
            )
            host.ops.register("history", historian.statistics)
            host.ops.register("history_keep", historian.keep_statistics)
            learning = SilenceJob(
                clock=host.clock,
                feed=SilenceFeed(client),
                learn=lambda now_ns, stop: learn_silence_of(
                    settings, newest.fleet, newest.layout, now_ns=now_ns, stop=stop
                ),
                every_s=settings.history.learn_silence_every_s,
                is_mine=lambda: historian.owns(shard_unit(0)),
            )
            host.ops.register("silence", learning.statistics)
            # on a conducted clock the same seed gives the same answers: nothing is learned
            learns = not conducted and settings.history.learn_silence_every_s > 0
            # compiling, or loading what was compiled, takes longer than a lease lasts
            await asyncio.to_thread(warm_up_twins, published.fleet, newest.layout, clock=host.clock)

            async def work() -> None:
                if conducted:
                    await historian.owns_everything()
                host.ready()
                await historian.follow()

            await take_part(
                member,
                own=historian.own(),
                work=work,
                beside=[
                    _follow_fleet(feed, published, newest, historian),
                    tell_room(host, room),
                    *([] if conducted else [_tell_lag(host, client, historian)]),
                    *([learning.run()] if learns else []),
                ],
                leave=historian.leave,
            )
    finally:
        await client.close()


def _unit(
    host: Host,
    newest: Newest,
    folder: Folder,
    snapshots: Snapshots,
    room: DiskRoom,
    tenure: Tenure,
    gate: asyncio.Event,
    on_taken: Callable[[], None],
) -> HistorianUnit:
    settings = host.settings
    number = shard_number(tenure.unit) or 0
    options = telemetry_options(settings.telemetry, conducted=False)
    return HistorianUnit(
        unit=tenure.unit,
        token=tenure.token,
        options=UnitOptions(
            write_rows=settings.history.write_rows,
            write_every_s=settings.history.write_every_s,
            snapshot_every_s=settings.history.snapshot_every_s,
            gather_s=0.0 if isinstance(host.clock, ConductedClock) else GATHER_S,
        ),
        clock=host.clock,
        intake=Intake(
            fleet=newest.fleet,
            rows_of=partial(shard_rows, number=number, shards=settings.telemetry.shards),
            layout_of=newest.layout_of,
            clock=host.clock,
            clock_rule=options.clock_rule,
        ),
        writer=history_writer(settings, folder, tenure.unit, tenure),
        snapshots=snapshots,
        gate=gate,
        on_taken=on_taken,
        room=room,
    )


async def _tell_lag(host: Host, client: Client, historian: Historian) -> None:
    """Tell the alarms how far history is behind, for ever; what the engine does not take is said again."""
    last_ns = host.clock.now_ns()
    while True:
        await asyncio.sleep(TELL_S)
        now_ns = host.clock.now_ns()
        every_s = (now_ns - last_ns) / NS_PER_S
        lag = HistoryLag(t_ns=now_ns, every_s=every_s, behind_s=historian.behind_s())
        last_ns = now_ns
        with contextlib.suppress(UnavailableError), translated(LIVE_HISTORY):
            await client.publish(LIVE_HISTORY, msgspec.json.encode(lag))


async def _follow_fleet(
    feed: FleetFeed, published: PublishedFleet, newest: Newest, historian: Historian
) -> None:
    async for changed in feed.changes(published):
        newest.fleet, newest.layout = changed.fleet, Layout.of(changed.fleet)
        historian.follow_fleet(changed.fleet)
