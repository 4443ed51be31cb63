"""The search for prices in a plant: real agents over the real engine, some silent, one that dies, a successor, and a fence."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from shoal.cli.roles.prices import ISSUER, PROGRAM, LedgerState, limits_of
from shoal.control.desired_book import DesiredBook
from shoal.control.issuing import issuer_of
from shoal.control.leases import LeaseBook
from shoal.control.order_desk import OrderDesk
from shoal.control.price_adder import PriceAdder
from shoal.control.price_columns import AssumedTariff
from shoal.control.price_groups import PriceGroups, price_groups
from shoal.control.price_service import PriceService
from shoal.control.price_state import PriceOptions, PriceState
from shoal.domain.errors import FencedOutError
from shoal.domain.fleet import NAMEPLATE, Fleet, Group
from shoal.domain.ids import GroupId, HierarchyId, SiteId
from shoal.domain.interval import NS_PER_S
from shoal.domain.orders import OrderReport
from shoal.domain.telemetry import TELEMETRY
from shoal.domain.twins import FleetView
from shoal.fabric.command_keys import CommandKeys
from shoal.fabric.keys import Role
from shoal.fabric.subjects import REPORT_ALL, orders_subject
from shoal.store.database import migrate, open_database
from shoal.store.ledger import Ledger
from shoal.store.order_records import PriceSpec
from shoal.store.orders import Orders
from tests.integration.fabric.plant import Plant, wait_until

HOMES, LIMIT_KW, TIMEOUT_S = 20, 9.0, 60.0
SITES = tuple(SiteId(f"home-{row}") for row in range(HOMES))
GRID = HierarchyId("grid")
STARTED = '"event": "started"'


def make_fleet() -> Fleet:
    plate = NAMEPLATE.empty(HOMES)
    plate["charge_limit_kw"] = plate["discharge_limit_kw"] = 5.0
    plate["energy_capacity_kwh"] = 13.5
    names = (("vpp", None, 0), ("feeder-1", "vpp", 1), ("feeder-2", "vpp", 1))
    groups = tuple(
        Group(
            group_id=GroupId(name),
            hierarchy_id=GRID,
            parent_id=None if parent is None else GroupId(parent),
            name=name,
            level=level,
        )
        for name, parent, level in names
    )
    return Fleet(
        site_ids=SITES,
        nameplate=plate,
        latitude_deg=np.zeros(HOMES),
        longitude_deg=np.zeros(HOMES),
        groups=groups,
        leaf_group={GRID: np.repeat(np.array([1, 2], dtype=np.int32), HOMES // 2)},
        resources=(),
    )


FLEET = make_fleet()


def edge(folder: Path, plant: Plant, root: bytes, site: SiteId, sharing: str) -> subprocess.Popen[str]:
    """Start `shoal edge` for a home that can buy cheaply in the next hours."""
    hour = time.gmtime().tm_hour
    file = folder / f"{site}.toml"
    file.write_text(f"""
site = "{site}"
state_dir = "{folder / site}"
log = "json"
[battery]
capacity_kwh = 13.5
charge_limit_kw = 5.0
discharge_limit_kw = 5.0
[driver]
kind = "simulated"
load_kw = 0.6
solar_kw = 0.0
soc_frac = 0.3
[tariff]
import_per_kwh = 0.40
export_per_kwh = 0.02
[[tariff.windows]]
begin = "{hour:02d}:00"
end = "{(hour + 4) % 24:02d}:00"
import_per_kwh = 0.10
[plant]
host = "127.0.0.1"
port = {plant.server.mqtt_address[1]}
tls = false
root_public_key = "{root.hex()}"
tenant = "reef"
prices = "{sharing}"
[page]
listen = ""
[times]
tick_s = 0.5
stale_s = 10.0
""")
    command = [sys.executable, "-m", "shoal.cli.edge", "--config", str(file)]
    secret = {"SHOAL_EDGE_SECRET": f"secret-of-{site}", "OMP_NUM_THREADS": "1"}
    with (folder / f"{site}.log").open("w") as log:
        return subprocess.Popen(command, stderr=log, text=True, env={**os.environ, **secret})


@contextlib.contextmanager
def edges(folder: Path, plant: Plant, root: bytes) -> Iterator[list[subprocess.Popen[str]]]:
    sharing = ("alone", "off", "alone")
    processes = [edge(folder, plant, root, SITES[row], told) for row, told in enumerate(sharing)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def twins() -> FleetView:
    """Return what telemetry says of all homes; those that answer for themselves included."""
    now_ns = time.time_ns()
    latest = TELEMETRY.empty(HOMES)
    latest["ts_ns"] = now_ns
    latest["load_w"] = 600
    latest["soc_frac"] = 0.5
    return FleetView(t_ns=now_ns, latest=latest)


def options() -> PriceOptions:
    return PriceOptions(
        fleet="north",
        program=PROGRAM,
        limits_kw=limits_of(f"feeder-1={LIMIT_KW}/30"),
        step_s=900,
        steps=24,
        round_timeout_s=3.0,
        within_s=60.0,
        gap_frac=1e-3,
        excess_per_kwh=5.0,
        imbalance_per_kwh=0.5,
        tariff=AssumedTariff(import_per_kwh=0.30, export_per_kwh=0.05, wear_per_kwh=0.02),
        fresh_s=180.0,
    )


class World:
    """A plant's database, engine and keys, and who searches in it."""

    def __init__(self, folder: Path, plant: Plant) -> None:
        self.url = f"sqlite:///{folder / 'registry.db'}"
        migrate(self.url)
        engine = open_database(self.url)
        self.plant, self.ledger, self.orders = plant, Ledger(engine), Orders(engine)
        keys = CommandKeys.create_or_load(folder / "keys")
        self.root = keys.root_public
        self.issuer = issuer_of(keys, name=ISSUER, tenant="reef", now_ns=time.time_ns())
        self.groups = price_groups(FLEET, ("feeder-1",), None)

    def who(self) -> PriceGroups:
        return self.groups

    @contextlib.asynccontextmanager
    async def searcher(self) -> AsyncIterator[tuple[PriceService, PriceAdder]]:
        """Begin as the role does, with a new token and what a predecessor left."""
        memory = LedgerState(
            self.ledger, fleet="north", fence=self.ledger.next_fence(ISSUER), now_ns=time.time_ns
        )
        state: PriceState | None = memory.load()
        known = () if state is None else [FLEET.row_of[SiteId(site)] for site in state.known]
        async with self.plant.client(Role.PRICES) as above, self.plant.client(Role.ADDER) as below:
            adder = PriceAdder(
                below,
                fleet=FLEET,
                name="north",
                groups=self.who,
                now_ns=time.time_ns,
                issuer=self.issuer,
                least_homes=5,
                known=known,
            )
            service = PriceService(
                above,
                adder,
                fleet=FLEET,
                options=options(),
                orders=self.orders,
                memory=memory,
                now_ns=time.time_ns,
                state=state,
            )
            ready = asyncio.Event()
            serving = asyncio.create_task(adder.serve(ready))
            async with asyncio.timeout(TIMEOUT_S):
                await ready.wait()
            service.observe(twins())
            try:
                yield service, adder
            finally:
                serving.cancel()
                await asyncio.wait([serving])

    async def send(self, control: Client) -> int:
        """Send the documents that stand, as the control role does; return how many."""
        desk = OrderDesk(FLEET, self.orders, book=DesiredBook(HOMES), leases=LeaseBook(HOMES))
        now_ns = time.time_ns()
        await desk.refresh(now_ns)
        spoke_ns = np.full(HOMES, now_ns, dtype=np.int64)
        rows = desk.book.due(now_ns, spoke_ns=spoke_ns, patience_ns=NS_PER_S)
        made = desk.book.documents(rows, now_ns, issuer="control", fence=1)
        batch = [
            (str(SITES[row]), "orders", payload)
            for row, payload in zip(rows.tolist(), made.payloads, strict=True)
        ]
        for (site, _, _), frame in zip(batch, self.issuer.sign_batch(batch), strict=True):
            await control.publish(orders_subject(SiteId(site)), frame)
        await control.flush()
        return len(rows)


async def turn(service: PriceService, world: World):  # type: ignore[no-untyped-def]
    reserve = FLEET.nameplate["reserve_frac"].astype(np.float64)
    async with asyncio.timeout(TIMEOUT_S):
        return await service.turn(twins(), world.groups, reserve_frac=reserve)


def test_plant_finds_prices_with_silent_and_dying_homes_and_a_successor_goes_on(tmp_path: Path) -> None:
    async def body() -> None:
        plant = Plant.make(tmp_path)
        await plant.server.start()
        world = World(tmp_path, plant)
        try:
            async with (
                plant.callout(lambda site, secret: secret == f"secret-of-{site}"),
                plant.client(Role.CONTROL) as control,
            ):
                with edges(tmp_path, plant, world.root) as processes:
                    await _live(world, control, processes, tmp_path)
        finally:
            await plant.server.stop()

    asyncio.run(body())


async def _live(world: World, control: Client, processes: list[subprocess.Popen[str]], folder: Path) -> None:
    reports: list[tuple[str, OrderReport]] = []

    async def heard(message: Msg) -> None:
        with contextlib.suppress(msgspec.ValidationError):  # devices say other things there too
            report = msgspec.json.decode(message.data, type=OrderReport)
            reports.append((message.subject.split(".")[1], report))

    await control.subscribe(REPORT_ALL, cb=heard)
    await control.flush()
    # each says its mode when it is connected
    await wait_until(lambda: {site for site, _ in reports} >= set(SITES[:3]), timeout_s=TIMEOUT_S)

    async with world.searcher() as (service, adder):
        status = await turn(service, world)
        for _ in range(5):  # homes that a busy machine made too late for one search are in the next
            if status.agents == 2:
                break
            status = await turn(service, world)
        assert status.agents == 2, "the third shares nothing, and is answered for"
        assert status.homes == HOMES
        assert (status.heard_frac, status.answered_frac) == (1.0, 1.0)
        assert status.gap_frac <= 2e-3
        assert status.excess_kwh == 0.0
        assert status.rounds > 1, "the limit binds"
        orders = {order.order_id: order for order in world.orders.orders(after_ns=time.time_ns())}
        assert set(orders) == {"north-prices-0a", "north-prices-0c", "north-prices-1c"}
        followed = orders["north-prices-0a"]
        assert followed.program == PROGRAM
        assert followed.scope.sites == (SITES[0], SITES[2])
        assert isinstance(followed.spec, PriceSpec)
        assert max(followed.spec.prices.import_per_kwh) > 0.0, "the feeder's price is felt"
        rest = orders["north-prices-1c"].spec
        assert isinstance(rest, PriceSpec)
        assert not any(rest.prices.import_per_kwh), "the other feeder has no limit"
        reports.clear()
        assert await world.send(control) == HOMES

        def follows(site: str) -> bool:
            return any(who == site and one.mode == "price" for who, one in reports)

        await wait_until(lambda: all(follows(site) for site in SITES[:3]), timeout_s=TIMEOUT_S)
        assert all(one.outcome == "applied" for _, one in reports)

        # one dies between two rounds
        answered = adder.count["answered"]
        searching = asyncio.create_task(turn(service, world))
        await wait_until(lambda: adder.count["answered"] >= answered + 3, timeout_s=TIMEOUT_S)
        processes[2].kill()
        status = await searching
        assert status.silent_sites == (SITES[2],)
        assert status.heard_frac >= 1 - 1 / HOMES
        assert status.gap_frac < 0.2, "the bound is carried over, or the dead one is beyond reach"
        assert world.orders.order("north-prices-0a").revision == 2

    # a successor: nothing but what was kept
    world.groups = price_groups(FLEET, ("feeder-1",), np.arange(HOMES - 1))
    async with world.searcher() as (service, adder):
        assert adder.members.tolist() == [0, 2]
        status = await turn(service, world)
        assert status.agents == 2
        assert status.homes == HOMES - 1
        assert status.silent_sites == (SITES[2],)
        assert status.heard_frac == pytest.approx(1 - 1 / (HOMES - 1))
        assert status.gap_frac <= 2e-3
        assert status.excess_kwh == 0.0
        assert SITES[HOMES - 1] not in world.orders.order("north-prices-1c").scope.sites

        # somebody has cancelled the prices of a feeder: that stands
        world.orders.end("north-prices-0c", "cancelled", by="anna", at_ns=time.time_ns(), reason="no")
        status = await turn(service, world)
        assert status.stopped == ("north-prices-0c cancelled by anna",)
        assert world.orders.order("north-prices-0c").state == "cancelled"

        # two by mistake: the older one puts nothing any more
        world.ledger.next_fence(ISSUER)
        before = world.orders.order("north-prices-0a").revision
        with pytest.raises(FencedOutError):
            await turn(service, world)
        assert world.orders.order("north-prices-0a").revision == before
