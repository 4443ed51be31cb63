"""The API role: the live view of the plant, its records, and the page, over HTTP."""

from __future__ import annotations

import asyncio
import time
from datetime import date

from shoal.api.access import check_exposure
from shoal.api.app import create_app
from shoal.api.books import read_books
from shoal.api.health import RoleFile
from shoal.api.live import LiveHub
from shoal.api.model import LiveModel
from shoal.api.plant import Plant
from shoal.api.serve import bind, serve
from shoal.cli.roles.host import Host
from shoal.cli.roles.twins import ask_twins
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_S, Interval, local_midnight_ns
from shoal.domain.twins import FleetView
from shoal.market.registry import market
from shoal.runtime.clock import ConductedClock
from shoal.runtime.settings import Settings
from shoal.store.database import open_database
from shoal.store.history import History
from shoal.store.ledger import Ledger


async def api(host: Host) -> None:
    """Serve the interface and the page."""
    settings = host.settings
    check_exposure(settings.api.host, settings.api.token)
    fleet = await host.fleet()
    ledger = Ledger(open_database(host.ledger_url()))
    history = History(settings.data_dir / "history")
    client = await host.connect()
    conducted = isinstance(host.clock, ConductedClock)
    model = live_model(settings, fleet, conducted=conducted)
    health = RoleFile(
        settings.data_dir / "run" / "roles.json",
        # A run of recorded days ends, and then it is silent by right.
        message_age_s=None if conducted else lambda: hub.statistics().last_message_age_s,
        since_ms=int(time.time() * 1_000),
    )
    hub = LiveHub(
        model=model,
        read_books=lambda now_ns: read_books(ledger, fleet, now_ns),
        read_health=health,
        now_ns=None if conducted else host.clock.now_ns,
    )
    host.ops.register("live", hub.statistics)

    async def ask_view() -> FleetView:
        return await ask_twins(client, shards=settings.telemetry.shards, sites=len(fleet.site_ids))

    plant = Plant(
        fleet=fleet,
        ledger=ledger,
        history=history,
        model=model,
        hub=hub,
        ask_view=ask_view,
        metrics=host.ops.registry,
    )
    app = create_app(plant, token=settings.api.token)
    listening = bind(settings.api.host, settings.api.port)
    try:
        async with asyncio.TaskGroup() as tasks:
            await hub.subscribe(client)
            tasks.create_task(hub.run())
            tasks.create_task(serve(app, listening))
            host.ready(port=listening.getsockname()[1])
    finally:
        listening.close()
        history.close()
        await client.close()


def live_model(settings: Settings, fleet: Fleet, *, conducted: bool) -> LiveModel:
    """Return the page's state for a plant on the machine's clock, or for a run of recorded days."""
    if not conducted:
        return LiveModel(fleet=fleet)
    run = None
    if fleet.resources:
        zone = market(fleet.resources[0].market_id).zone
        from_ns = local_midnight_ns(date.fromisoformat(settings.demo.from_day), zone)
        run = Interval(start_ns=from_ns, end_ns=from_ns + settings.demo.duration_s * NS_PER_S)
    return LiveModel(fleet=fleet, speed=settings.demo.speed or None, run=run)
