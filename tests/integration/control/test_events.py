"""Storms and called events over a real fabric and database: from the stores to the agents, over the death of the controller."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from nats.aio.client import Client

from shoal.cli.roles.control import ISSUER, LedgerMemory, commands_link, reports_to
from shoal.control.desired_book import DesiredBook
from shoal.control.dispatch import DispatchOptions
from shoal.control.event_calls import STATE, left_of, make_call
from shoal.control.event_desk import EventDesk
from shoal.control.leases import LeaseBook
from shoal.control.order_desk import OrderDesk
from shoal.control.owner_skips import OwnerSkips
from shoal.control.sender import FabricSender
from shoal.control.service import Control
from shoal.control.taking_part import TakingPart
from shoal.domain.alert import Area, WeatherAlert
from shoal.domain.clock import Tick
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval
from shoal.domain.live import ResourceState
from shoal.domain.twins import FleetView
from shoal.edge.agent_columns import EventCode
from shoal.edge.agent_owner import opt_out
from shoal.fabric.keys import Role
from shoal.store.database import migrate, open_database
from shoal.store.event_skips import EventSkips
from shoal.store.ledger import Ledger
from shoal.store.orders import Orders
from shoal.store.programs import ProgramStore
from shoal.store.registry import Registry
from shoal.store.weather_alerts import KeptAlert, WeatherAlertLog
from tests.integration.control.devices import Devices, all_taken
from tests.integration.fabric.plant import Plant, wait_until
from tests.integration.store.fleets import make_fleet
from tests.unit.control.plants import START_NS

FLEET = make_fleet(6)
FEEDER = [0, 2, 4]
SITES = len(FLEET.site_ids)
QUARTER_NS = 15 * NS_PER_MINUTE
NOW_NS = START_NS // QUARTER_NS * QUARTER_NS
WINDOW = Interval(start_ns=NOW_NS + 3 * NS_PER_HOUR, end_ns=NOW_NS + 4 * NS_PER_HOUR)


class Watch:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.t_ns = NOW_NS

    def now_ns(self) -> int:
        return self.t_ns


class Controller:
    """One control process over the shared database; one that is not told to go on is dead."""

    def __init__(self, url: str, client: Client, devices: Devices, clock: Watch) -> None:
        engine = open_database(url)
        ledger, self.orders, self.clock = Ledger(engine), Orders(engine), clock
        fence = ledger.next_fence(ISSUER)
        memory = LedgerMemory(
            ledger, resources=FLEET.resources, issuer=ISSUER, fence=fence, now_ns=clock.now_ns
        )
        taking_part = TakingPart(ProgramStore(engine), FLEET.nameplate, t_ns=clock.t_ns)
        skips = OwnerSkips(FLEET, EventSkips(engine), self.orders, enrolled=taking_part.enrolled)
        self.events = EventDesk(
            FLEET,
            self.orders,
            memory,
            fresh_s=180.0,
            alerts=WeatherAlertLog(engine),
            owners=taking_part,
            sit_out=skips.since_ns,
        )
        leases = LeaseBook(SITES)
        self.desk = OrderDesk(
            FLEET,
            self.orders,
            book=DesiredBook(SITES),
            leases=leases,
            enrolled=taking_part.enrolled,
            sources=(self.events.entries,),
            within=lambda _, wanted: skips.without(wanted),
            sit_out=skips.rows,
        )

        async def view() -> FleetView:
            return FleetView(t_ns=clock.t_ns, latest=devices.latest(clock.t_ns))

        async def publish_states(states: list[ResourceState]) -> None:
            return None

        self.service = Control(
            fleet=FLEET,
            clock=clock,  # type: ignore[arg-type]
            options=DispatchOptions(lease_s=900.0, fresh_timeout_s=180.0, issuer=ISSUER, fence=fence),
            step_s=60.0,
            view=view,
            memory=memory,
            sender=FabricSender(FLEET, publish=client.publish, flush=client.flush),
            publish_states=publish_states,
            desk=self.desk,
            leases=leases,
            taking_part=taking_part,
            skips=skips,
            events=self.events,
        )

    async def cycle(self, minutes: int = 1) -> int:
        """Go on by some minutes, then act."""
        self.clock.t_ns += minutes * NS_PER_MINUTE
        return await self.service.cycle(Tick(t_ns=self.clock.t_ns))

    def kept(self, url: str) -> dict[str, Any]:
        """Return what a successor would find."""
        kept = Ledger(open_database(url)).load_state(STATE)  # type: ignore[arg-type]
        assert kept is not None
        found: dict[str, Any] = msgspec.json.decode(kept.state)
        return found


class Stage:
    """The devices, the database, and what starts a controller."""

    def __init__(
        self, url: str, devices: Devices, start: Callable[[], Coroutine[Any, Any, Controller]]
    ) -> None:
        self.url, self.devices, self.start = url, devices, start

    def alert(self, *rows: int) -> KeptAlert:
        polygons = []
        for row in rows:
            x, y, d = float(FLEET.longitude_deg[row]), float(FLEET.latitude_deg[row]), 1e-4
            polygons.append(
                (((x - d, y - d), (x + d, y - d), (x + d, y + d), (x - d, y + d), (x - d, y - d)),)
            )
        kept = KeptAlert.of(
            WeatherAlert(
                alert_id="ice",
                event="Ice Storm Warning",
                severity="severe",
                area=Area(polygons=tuple(polygons)),
                effective=Interval(start_ns=NOW_NS + NS_PER_HOUR, end_ns=NOW_NS + 9 * NS_PER_HOUR),
            ),
            taken_ns=NOW_NS,
            taken_by="weather",
        )
        WeatherAlertLog(open_database(self.url)).record([kept], now_ns=NOW_NS)
        return kept

    def events_of(self, row: int) -> dict[str, int]:
        """Return the events that a device has, by name, and their kind."""
        columns = self.devices.columns
        return {
            bytes(columns.event_id[slot, row]).decode(): int(columns.events["kind"][slot, row])
            for slot in range(len(columns.events))
            if columns.events["kind"][slot, row] and columns.events["stop_ns"][slot, row] > 0
            if columns.events["end_ns"][slot, row] > self.devices._now_ns()
        }


@contextlib.asynccontextmanager
async def stage(plant: Plant, directory: Path) -> AsyncIterator[Stage]:
    url = f"sqlite:///{directory / 'plant.db'}"
    migrate(url)
    Registry(open_database(url)).load_fleet(FLEET, valid_from_ns=0)
    clock = Watch()
    devices = Devices(FLEET, clock.now_ns)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(plant.callout(lambda site, secret: secret == f"secret-of-{site}"))
        await stack.enter_async_context(devices.connected(plant))

        async def start() -> Controller:
            client = await stack.enter_async_context(plant.client(Role.CONTROL))
            controller = Controller(url, client, devices, clock)
            await stack.enter_async_context(
                commands_link(
                    plant.server.url,
                    seed=plant.keys.seed(Role.CONTROL),
                    name="commands",
                    take=reports_to(FLEET, controller.desk, clock.now_ns, controller.events),
                )
            )
            return controller

        yield Stage(url, devices, start)


def test_storm_holds_its_sites_over_the_death_of_the_controller(plant: Plant, tmp_path: Path) -> None:
    async def body() -> None:
        async with stage(plant, tmp_path) as played:
            devices = played.devices
            control = await played.start()
            kept = played.alert(0, 3)
            await control.cycle()
            await wait_until(lambda: all_taken(devices, [0, 3], "orders", 1))
            name = f"storm-{kept.key}"
            assert played.events_of(0) == {name: EventCode.CHARGE}
            assert [devices.taken(row, "orders") for row in (1, 2, 4, 5)] == [[]] * 4, (
                "nobody else is touched"
            )
            had = control.kept(played.url)["storm"]
            assert sorted(had) == [FLEET.site_ids[0], FLEET.site_ids[3]]
            # it is killed: a successor begins from the stores and says the same, before its first cycle too
            successor = await played.start()
            await successor.service.prompt()
            await wait_until(lambda: all_taken(devices, [0, 3], "orders", 2))
            assert played.events_of(0) == {name: EventCode.CHARGE}
            assert successor.kept(played.url)["storm"] == had
            assert await control.cycle() == 0, "the one that was replaced commands nobody"
            WeatherAlertLog(open_database(played.url)).withdraw(kept.key)
            await successor.cycle()
            await wait_until(lambda: played.events_of(0) == {} == played.events_of(3))
            assert successor.kept(played.url)["storm"] == {}

    asyncio.run(body())


def test_called_event_is_run_without_who_leaves_and_called_off(plant: Plant, tmp_path: Path) -> None:
    async def body() -> None:
        async with stage(plant, tmp_path) as played:
            devices = played.devices
            control = await played.start()
            control.orders.put(
                make_call(
                    event_id="e-1",
                    program="emergency",
                    targets=[("feeder-1", 6.0)],
                    window=WINDOW,
                    by="ann",
                    now_ns=NOW_NS,
                )
            )
            await control.cycle()
            await wait_until(lambda: all_taken(devices, FEEDER, "orders", 1))
            told = {"e-1": 1, "e-1-charge": 2, "e-1-hold": 2, "e-1-return": 4}
            assert played.events_of(0) == told
            assert sum(asked_w(devices, row) for row in FEEDER) == -6_000
            # an owner leaves on the device, and says so with the next document
            opt_out(devices.columns, 2, "e-1", control.clock.t_ns)
            control.desk.book._mark(np.array([2]))
            await control.cycle()
            await wait_until(lambda: all_taken(devices, [2], "orders", 2))
            await wait_until(lambda: control.desk.book.opted_out.get(2) == ("e-1",))
            await control.cycle()
            await wait_until(lambda: played.events_of(2) == {})
            await wait_until(lambda: sum(asked_w(devices, row) for row in (0, 4)) == -6_000)
            assert left_of(control.orders.audit(100, subject="e-1")) == {
                str(FLEET.site_ids[2]): control.clock.t_ns
            }
            successor = await played.start()
            await successor.cycle()
            await wait_until(lambda: len(successor.desk.book.unheard()) == 0)
            assert played.events_of(2) == {}, "who left is not asked again by a successor"
            assert played.events_of(0) == told
            successor.orders.end("e-1", "cancelled", by="ann", at_ns=successor.clock.t_ns, reason="rain")
            await successor.cycle()
            await wait_until(lambda: not any(played.events_of(row) for row in FEEDER))

    asyncio.run(body())


def asked_w(devices: Devices, row: int) -> int:
    """Return what a device is to do in the event."""
    columns = devices.columns
    for slot in range(len(columns.events)):
        if bytes(columns.event_id[slot, row]) == b"e-1" and columns.events["kind"][slot, row]:
            return int(columns.events["battery_w"][slot, row])
    return 0
