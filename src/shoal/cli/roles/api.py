"""The API role: the live view of the plant, its records, and the page, over HTTP."""

from __future__ import annotations

import asyncio
import time
from datetime import date
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from shoal.api.app import create_app
from shoal.api.commands.door import CommandDoor
from shoal.api.door.access import check_exposure, operators_of
from shoal.api.door.doorman import Doorman
from shoal.api.events.alerts import AlertDesk
from shoal.api.health import RoleFile
from shoal.api.live.hub import LiveHub
from shoal.api.live.model import LiveModel
from shoal.api.page import PageFiles
from shoal.api.plant import Plant
from shoal.api.records.books import known_resources, read_books
from shoal.api.serve import bind, serve
from shoal.cli.history_store import open_history
from shoal.cli.roles.alarms import acknowledge_alarm
from shoal.cli.roles.home_words import ask_home
from shoal.cli.roles.host import Host
from shoal.cli.roles.owners import read_owners
from shoal.cli.roles.sharing import KeptStates, day_meters, grid_limits
from shoal.cli.roles.telemetry import telemetry_options
from shoal.cli.roles.twins import ask_sites
from shoal.control.event_calls import kept_of
from shoal.control.second_person import SecondPerson
from shoal.control.taking_part import TakingPart
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_S, Interval, local_midnight_ns
from shoal.domain.twins import ShardAnswer
from shoal.fabric.fleet_feed import FleetFeed
from shoal.market.registry import market_module
from shoal.runtime.clock import ConductedClock
from shoal.runtime.settings import Settings
from shoal.store.alarms import AlarmLog
from shoal.store.database import migrate, open_database
from shoal.store.facts import FactStore
from shoal.store.ledger import Ledger
from shoal.store.orders import Orders
from shoal.store.programs import ProgramStore
from shoal.store.proposals import Proposals
from shoal.store.users import Users
from shoal.store.weather_alerts import WeatherAlertLog


async def api(host: Host) -> None:
    """Serve the interface and the page."""
    settings = host.settings
    operators = operators_of(settings.api.operators)
    await asyncio.to_thread(migrate, host.ledger_url())
    database = open_database(host.ledger_url())
    # where the registry is on another machine, the ledger stands for one that knows no site
    registry = await asyncio.to_thread(host.registry)
    users = Users(registry or database)
    check_exposure(settings.api.host, settings.api.token, users=await asyncio.to_thread(users.any))
    client = await host.connect()
    feed = FleetFeed(client)
    published = await host.published_fleet(feed)
    fleet = published.fleet
    ledger, facts = Ledger(database), FactStore(database)
    history = open_history(settings, fleet.site_ids)
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
        read_books=lambda now_ns: read_books(ledger, facts, fleet, now_ns),
        read_health=health,
        now_ns=None if conducted else host.clock.now_ns,
    )
    host.ops.register("live", hub.statistics)

    shards = settings.telemetry.shards

    async def ask(rows: NDArray[np.int64]) -> list[ShardAnswer]:
        return await ask_sites(client, fleet, rows, shards=shards)

    def plant_now_ns() -> int:
        return host.clock.now_ns() or model.now_ns or time.time_ns()

    programs = ProgramStore(registry or database)
    orders, proposals = Orders(database), Proposals(database)
    alerts = AlertDesk(
        fleet=fleet,
        log=WeatherAlertLog(database),
        now_ns=plant_now_ns,
        on_change=hub.take_alerts,
    )
    plant = Plant(
        fleet=fleet,
        ledger=ledger,
        history=history,
        memberships=host.memberships(),
        model=model,
        hub=hub,
        ask_sites=ask,
        timeouts=telemetry_options(settings.telemetry, conducted=conducted).timeouts,
        read_owners=partial(read_owners, client, shards=shards),
        alerts=alerts,
        alarms=AlarmLog(database),
        acknowledge=partial(acknowledge_alarm, client),
        programs=programs,
        commands=CommandDoor(
            orders=orders,
            fleet=fleet,
            book=programs.book(),
            now_ns=plant_now_ns,
            proposals=proposals,
            second=SecondPerson(orders, proposals, fleet, above_kw=settings.api.four_eyes_above_kw),
            grid=grid_limits(settings, fleet, database),
            taking_part=lambda t_ns: TakingPart(
                programs, fleet.nameplate, t_ns=t_ns, day=day_meters(fleet, KeptStates(ledger))
            ),
        ),
        kept_event=partial(kept_of, ledger),
        now_ns=plant_now_ns,
        metrics=host.ops.registry,
        doorman=Doorman(users, session_hours=settings.api.session_hours),
        database=database,
        registry=registry or database,
        ask_home=partial(ask_home, client),
    )
    page = PageFiles(Path(settings.api.page_dir)) if settings.api.page_dir else None
    app = create_app(plant, token=settings.api.token, operators=operators, page=page)
    listening = bind(settings.api.host, settings.api.port)
    try:
        async with asyncio.TaskGroup() as tasks:
            await hub.subscribe(client)
            tasks.create_task(hub.run())
            tasks.create_task(alerts.run())
            tasks.create_task(host.end_on_change(feed, published))
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
    known = known_resources(fleet.resources)
    if known:
        zone = ZoneInfo(market_module(known[0].market_id).rules.zone)
        from_ns = local_midnight_ns(date.fromisoformat(settings.demo.from_day), zone)
        run = Interval(start_ns=from_ns, end_ns=from_ns + settings.demo.duration_s * NS_PER_S)
    return LiveModel(fleet=fleet, speed=settings.demo.speed or None, run=run)
