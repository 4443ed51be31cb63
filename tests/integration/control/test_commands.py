"""Orders from the database to the agents over a real fabric: level-triggered, stoppable, signed, and of one controller."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from nats.aio.client import Client

from shoal.cli.roles.control import ISSUER, LedgerMemory, commands_link, reports_to
from shoal.control.desired_book import DesiredBook
from shoal.control.dispatch import DispatchOptions
from shoal.control.issuing import issuer_of
from shoal.control.leases import LeaseBook
from shoal.control.order_desk import OrderDesk
from shoal.control.sender import FabricSender
from shoal.control.service import Control
from shoal.domain.clock import Tick
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.domain.live import ResourceState
from shoal.domain.twins import FleetView
from shoal.edge.signed import Issuer, Verifier
from shoal.fabric.bulk_link import BulkLink
from shoal.fabric.command_keys import CommandKeys
from shoal.fabric.keys import Role
from shoal.store.database import migrate, open_database
from shoal.store.ledger import Ledger
from shoal.store.order_records import EventSpec, Order, Scope, SetPointSpec, Stop
from shoal.store.orders import Orders
from tests.integration.control.devices import Devices, all_taken
from tests.integration.fabric.plant import Plant, wait_until
from tests.integration.store.fleets import make_fleet
from tests.unit.control.plants import START_NS

FLEET = make_fleet(6)
EVERY = range(6)
FEEDER = [0, 2, 4]
SITE_IDS = FLEET.site_ids


class Watch:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.t_ns = START_NS

    def now_ns(self) -> int:
        return self.t_ns


class Controller:
    """One control process: its own token, book and connection, on the shared database."""

    def __init__(self, url: str, client: Client, devices: Devices, clock: Watch) -> None:
        engine = open_database(url)
        ledger = Ledger(engine)
        self.orders = Orders(engine)
        self.fence = ledger.next_fence(ISSUER)
        self.clock = clock
        self.client = client
        leases = LeaseBook(len(SITE_IDS))
        self.desk = OrderDesk(FLEET, self.orders, book=DesiredBook(len(SITE_IDS)), leases=leases)
        self.states: list[ResourceState] = []

        async def view() -> FleetView:
            return FleetView(t_ns=clock.t_ns, latest=devices.latest(clock.t_ns))

        async def publish_states(states: list[ResourceState]) -> None:
            self.states = states

        self.service = Control(
            fleet=FLEET,
            clock=clock,  # type: ignore[arg-type]
            options=DispatchOptions(lease_s=900.0, fresh_timeout_s=180.0, issuer=ISSUER, fence=self.fence),
            step_s=60.0,
            view=view,
            memory=LedgerMemory(
                ledger, resources=FLEET.resources, issuer=ISSUER, fence=self.fence, now_ns=clock.now_ns
            ),
            sender=FabricSender(FLEET, publish=client.publish, flush=client.flush),
            publish_states=publish_states,
            desk=self.desk,
            leases=leases,
            beat=True,
        )

    def speak_by(self, link: BulkLink, issuer: Issuer | None) -> None:
        """Send commands as the control role does."""
        self.service._sender = FabricSender(
            FLEET,
            publish=self.client.publish,
            flush=link.flush,
            issuer=issuer,
            publish_many=link.publish_many,
        )

    async def cycle(self, minutes: int = 1) -> int:
        """Go on by some minutes, then act."""
        self.clock.t_ns += minutes * NS_PER_MINUTE
        return await self.service.cycle(Tick(t_ns=self.clock.t_ns))


@contextlib.asynccontextmanager
async def running(
    plant: Plant, directory: Path, *, issuer: Issuer | None = None, verifier: Verifier | None = None
) -> AsyncIterator[tuple[Devices, Callable[[], Coroutine[Any, Any, Controller]]]]:
    """Run devices, and give what starts a controller."""
    url = f"sqlite:///{directory / 'plant.db'}"
    migrate(url)
    clock = Watch()
    devices = Devices(FLEET, clock.now_ns, verifier)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(plant.callout(lambda site, secret: secret == f"secret-of-{site}"))
        await stack.enter_async_context(devices.connected(plant))

        async def start() -> Controller:
            client = await stack.enter_async_context(plant.client(Role.CONTROL))
            controller = Controller(url, client, devices, clock)
            link = await stack.enter_async_context(
                commands_link(
                    plant.server.url,
                    seed=plant.keys.seed(Role.CONTROL),
                    name="commands",
                    take=reports_to(FLEET, controller.desk, clock.now_ns),
                )
            )
            controller.speak_by(link, issuer)
            return controller

        yield devices, start


def event(name: str = "peak-1", *, start: int = 60, minutes: int = 60, battery_w: int = -1_500) -> Order:
    return Order(
        order_id=name,
        program="peak",
        scope=Scope(groups=("feeder-1",)),
        start_ns=START_NS + start * NS_PER_MINUTE,
        end_ns=START_NS + (start + minutes) * NS_PER_MINUTE,
        spec=EventSpec(kind="power", battery_w=battery_w),
        by="ann",
        at_ns=START_NS,
    )


def setpoint(power_w: int, *, program: str = "emergency") -> Order:
    return Order(
        order_id="now-1",
        program=program,
        scope=Scope(groups=("feeder-1",)),
        start_ns=START_NS,
        end_ns=START_NS + 2 * NS_PER_HOUR,
        spec=SetPointSpec(power_w=power_w),
        by="ann",
        at_ns=START_NS,
    )


def test_event_is_told_ahead_and_a_device_that_was_away_gets_what_is_left(
    plant: Plant, tmp_path: Path
) -> None:
    async def body() -> None:
        async with running(plant, tmp_path) as (devices, start):
            control = await start()
            devices.away = {4}
            control.orders.put(event())
            control.orders.put(event("peak-2", start=180))
            await control.cycle()
            await wait_until(lambda: all_taken(devices, [0, 2], "orders", 1))
            await wait_until(lambda: control.desk.book.unheard().tolist() == [4])
            assert devices.taken(1, "orders") == [], "who is not meant hears nothing"
            longer = msgspec.structs.replace(event(minutes=90), revision=2)
            control.orders.put(longer)
            control.orders.end("peak-2", "cancelled", by="ann", at_ns=START_NS, reason="cooler")
            await control.cycle()
            await wait_until(lambda: all_taken(devices, [0, 2], "orders", 2))
            devices.away = set()
            await control.cycle()  # now it is heard from
            await wait_until(lambda: all_taken(devices, [4], "orders", 1))
            await wait_until(lambda: len(control.desk.book.unheard()) == 0)
            assert len(devices.taken(4, "orders")) == 1
            ends = devices.columns.events["end_ns"][:, FEEDER]
            assert {int(end) for end in ends[ends > 0]} == {longer.end_ns}, (
                "as it stands now, and nothing else"
            )
            told = len(devices.outcomes)
            await control.cycle()
            assert [kind for _, kind, *_ in devices.outcomes[told:] if kind == "orders"] == []

    asyncio.run(body())


def test_event_keeps_the_sites_that_the_market_leaves_idle(plant: Plant, tmp_path: Path) -> None:
    async def body() -> None:
        async with running(plant, tmp_path) as (devices, start):
            control = await start()
            order = event(start=10, minutes=10)
            control.orders.put(order)
            await control.cycle()
            await wait_until(lambda: all_taken(devices, EVERY, "desired", 1))
            active = devices.columns.end_ns.max(axis=0)
            assert all(int(active[row]) <= order.start_ns for row in FEEDER), (
                "no lease reaches into the event"
            )
            assert all(int(active[row]) > order.start_ns for row in (1, 3, 5))
            assert await control.cycle(minutes=12) == 0, "the event has its sites, the others rest on"
            assert await control.cycle(minutes=10) == len(FEEDER), "and they rest again when it is over"
            await wait_until(lambda: bool(np.all(devices.columns.end_ns.max(axis=0) > control.clock.t_ns)))

    asyncio.run(body())


def test_kill_switch_outranks_everything_and_survives_a_restart(plant: Plant, tmp_path: Path) -> None:
    async def body() -> None:
        async with running(plant, tmp_path) as (devices, start):
            first = await start()
            first.orders.put(setpoint(-6_000))
            first.orders.put(event(start=5))
            await first.cycle()
            await wait_until(lambda: all_taken(devices, FEEDER, "desired", 1))
            stop = Stop(
                stop_id="s1", kind="group", target="feeder-1", since_ns=START_NS, by="ann", reason="smoke"
            )
            first.orders.stop(stop)
            assert await first.service.prompt() > 0, "it does not wait for the next cycle"
            await wait_until(lambda: bool(devices.columns.halted[FEEDER].all()))
            assert not devices.columns.halted[[1, 3, 5]].any()
            second = await start()
            seen = len(devices.outcomes)
            for _ in range(3):
                await second.cycle()
            await wait_until(lambda: len(second.desk.book.unheard()) == 0)
            assert devices.columns.halted[FEEDER].all()
            told = devices.outcomes[seen:]
            assert [row for row, kind, *_ in told if kind == "desired" and row in FEEDER] == []
            second.orders.release("s1", by="ann", at_ns=second.clock.t_ns, reason="no fire")
            await second.service.prompt()
            await wait_until(lambda: not devices.columns.halted.any())
            await second.cycle()
            await wait_until(
                lambda: all(version > 0 for version in devices.columns.latest_version[FEEDER].tolist())
            )

    asyncio.run(body())


def test_setpoint_of_a_group_is_split_followed_and_called_off_at_once(plant: Plant, tmp_path: Path) -> None:
    async def body() -> None:
        async with running(plant, tmp_path) as (devices, start):
            control = await start()
            control.orders.put(setpoint(-6_000))
            await control.cycle(minutes=0)
            await wait_until(lambda: all_taken(devices, EVERY, "desired", 1))
            columns = devices.columns
            assert int(columns.battery_w[0, FEEDER].sum()) == -6_000
            assert control.service.order_states["now-1"].target_kw == -6.0
            assert not columns.battery_w[0, [1, 3, 5]].any()
            control.orders.end("now-1", "aborted", by="ann", at_ns=control.clock.t_ns, reason="wrong feeder")
            assert await control.service.prompt() == 3
            await wait_until(lambda: not columns.battery_w[0, FEEDER].any())
            assert int(columns.end_ns[0, FEEDER].max()) <= control.clock.t_ns + NS_PER_MINUTE
            await control.cycle()
            assert control.service.order_states == {}

    asyncio.run(body())


def test_abort_that_was_lost_on_its_way_is_said_again_until_it_is_heard(plant: Plant, tmp_path: Path) -> None:
    async def body() -> None:
        async with running(plant, tmp_path) as (devices, start):
            control = await start()
            control.orders.put(setpoint(-6_000))
            await control.cycle(minutes=0)
            await wait_until(lambda: all_taken(devices, EVERY, "desired", 1))
            await wait_until(lambda: bool(np.all(control.desk._leases.taken > 0)))
            devices.deaf = {2}
            control.orders.end("now-1", "aborted", by="ann", at_ns=control.clock.t_ns, reason="wrong feeder")
            await control.service.prompt()
            columns = devices.columns
            await wait_until(lambda: not columns.battery_w[0, [0, 4]].any())
            assert columns.battery_w[0, 2] != 0
            for _ in range(4):
                control.clock.t_ns += 20 * NS_PER_S  # the short lease itself is long over
                await control.service.prompt()
            devices.deaf = set()
            control.clock.t_ns += 60 * NS_PER_S
            assert await control.service.prompt() > 0
            await wait_until(lambda: not columns.battery_w[0, FEEDER].any())
            await wait_until(lambda: bool(np.all(control.desk._leases.taken == control.desk._leases.version)))
            control.clock.t_ns += 60 * NS_PER_S
            assert await control.service.prompt() == 0

    asyncio.run(body())


def test_of_two_controllers_by_mistake_exactly_one_commands(plant: Plant, tmp_path: Path) -> None:
    async def body() -> None:
        async with running(plant, tmp_path) as (devices, start):
            first = await start()
            first.orders.put(setpoint(-6_000))
            first.orders.put(event(start=30))
            await first.cycle()
            await wait_until(lambda: all_taken(devices, EVERY, "desired", 1))
            await wait_until(lambda: all_taken(devices, FEEDER, "orders", 1))
            second = await start()
            assert second.fence > first.fence
            await second.cycle(minutes=9)
            await wait_until(lambda: bool(np.all(devices.columns.latest_fence == second.fence)))
            seen = len(devices.outcomes)
            # The first does not know of it, and goes on as one would whose database cannot be asked.
            first.service._beat = False
            first.service._memory.save_state = lambda key, state: None  # type: ignore[method-assign]
            first.orders.put(
                msgspec.structs.replace(event(start=30), revision=2, spec=EventSpec(kind="hold"))
            )
            sent = await first.cycle(minutes=9)
            assert sent >= len(SITE_IDS)
            await wait_until(lambda: len(devices.outcomes) >= seen + sent)
            told = devices.outcomes[seen:]
            assert {(fence, reason) for *_, fence, reason in told} == {(first.fence, "fenced_out")}
            await wait_until(lambda: first.desk.fenced_out)
            lines = first.orders.audit(50, refused_only=True)
            assert lines == [] or {line.reason for line in lines} == {"fenced_out"}
            # As soon as it can ask, it stands down, and stays down.
            del first.service._memory.save_state
            first.service._beat = True
            assert await first.cycle() == 0
            assert "replaced" in first.service.stood_down
            assert not first.service.statistics().commanding
            before = len(devices.outcomes)
            assert await first.cycle(minutes=20) == 0
            assert await second.cycle(minutes=0) > 0
            await wait_until(lambda: len(devices.outcomes) > before)
            assert {fence for *_, fence, _ in devices.outcomes[before:]} == {second.fence}
            for row in EVERY:
                for kind in ("desired", "orders"):
                    versions = [version for version, _ in devices.taken(row, kind)]
                    assert versions == sorted(set(versions)), "nothing twice, nothing backwards"

    asyncio.run(body())


@pytest.mark.parametrize("tenant", ["plant", "other"])
def test_signed_commands_are_taken_and_others_refused_and_audited(
    plant: Plant, tmp_path: Path, tenant: str
) -> None:
    keys = CommandKeys.create_or_load(tmp_path / "keys")
    issuer = issuer_of(keys, name=ISSUER, tenant=tenant, now_ns=START_NS)

    async def body() -> None:
        verifier = Verifier(keys.root_public, "plant")
        async with running(plant, tmp_path, issuer=issuer, verifier=verifier) as (devices, start):
            control = await start()
            control.orders.put(setpoint(-6_000))
            await control.cycle(minutes=0)
            await wait_until(lambda: len({row for row, *_ in devices.outcomes}) == len(SITE_IDS))
            if tenant == "plant":
                assert int(devices.columns.battery_w[0, FEEDER].sum()) == -6_000
                await control.client.publish(f"to.{SITE_IDS[0]}.desired", b'{"version":4000000000}')
                await wait_until(lambda: devices.outcomes[-1][4] == "unsigned")
                reason = "unsigned"
            else:
                assert not devices.columns.battery_w.any()
                reason = "other_tenant"
            await wait_until(lambda: control.desk.statistics().refused_by_reason.get(reason, 0) > 0)
            await control.cycle()
            lines = control.orders.audit(20, refused_only=True)
            assert {line.reason for line in lines} == {reason}
            assert {line.by for line in lines} <= {str(site) for site in SITE_IDS}

    asyncio.run(body())
