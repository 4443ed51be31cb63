"""Canary dispatch from the order to its end, with the store: on when the meters show it, called off when they do not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.control.desired_book import DesiredBook
from shoal.control.dispatch import DispatchOptions
from shoal.control.leases import LeaseBook
from shoal.control.order_desk import OrderDesk
from shoal.control.sender import FabricSender
from shoal.control.service import Control
from shoal.domain.clock import Tick
from shoal.domain.desired import DesiredState
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.domain.live import ResourceState
from shoal.domain.orders import OrderReport, SiteOrders
from shoal.domain.telemetry import TELEMETRY
from shoal.domain.twins import FleetView
from shoal.store.database import migrate, open_database
from shoal.store.order_records import CanarySpec, EventSpec, Order, OrderSpec, Scope, SetPointSpec
from shoal.store.orders import Orders
from tests.integration.store.fleets import make_fleet
from tests.unit.control.plants import START_NS

SITES = 40
FLEET = make_fleet(SITES)
OPTIONS = DispatchOptions(lease_s=900.0, fresh_timeout_s=180.0, issuer="control", fence=1)


class World:
    """Sites that do what their lease or document says, a share of it, with meters."""

    def __init__(self, share_frac: float) -> None:
        self.share_frac = share_frac
        self.t_ns = START_NS
        self.leases: dict[int, DesiredState] = {}
        self.orders: dict[int, SiteOrders] = {}
        self.told: list[tuple[int, str, str]] = []
        self.net_wh = np.zeros(SITES)

    def power_w(self, row: int) -> float:
        lease = self.leases.get(row)
        if lease is not None and lease.start_ns <= self.t_ns < lease.end_ns:
            return lease.battery_w * self.share_frac
        for event in self.orders[row].events if row in self.orders else ():
            if event.start_ns <= self.t_ns < event.end_ns:
                return event.battery_w * self.share_frac
        return 0.0

    def latest(self) -> NDArray[Any]:
        records = TELEMETRY.empty(SITES)
        records["ts_ns"] = self.t_ns
        records["soc_frac"] = 0.6
        records["discharge_wh"] = np.rint(np.maximum(-self.net_wh, 0)) + 1
        records["charge_wh"] = np.rint(np.maximum(self.net_wh, 0)) + 1
        for row in range(SITES):
            records["battery_w"][row] = round(self.power_w(row))
            lease = self.leases.get(row)
            follows = lease is not None and self.t_ns < lease.end_ns
            records["command_version"][row] = lease.version if lease is not None and follows else 0
        return records

    async def hear(self, subject: str, payload: bytes) -> None:
        _, site, kind = subject.split(".")
        row = FLEET.row_of[site]  # type: ignore[index]
        self.told.append((row, kind, site))
        if kind == "desired":
            self.leases[row] = msgspec.json.decode(payload, type=DesiredState)
        else:
            self.orders[row] = msgspec.json.decode(payload, type=SiteOrders)

    def live_a_minute(self) -> None:
        for row in range(SITES):
            self.net_wh[row] += self.power_w(row) / 60
        self.t_ns += NS_PER_MINUTE


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("orders") / "plant.db"
    migrate(f"sqlite:///{file}")
    return file


@pytest.fixture
def orders(template: Path, tmp_path: Path) -> Iterator[Orders]:
    file = tmp_path / "plant.db"
    file.write_bytes(template.read_bytes())
    engine = open_database(f"sqlite:///{file}")
    yield Orders(engine)
    engine.dispose()


class NoMemory:
    def ahead(self, resource_id: str, t_ns: int) -> tuple[int, int, int, int]:
        return 0, 0, 0, 0

    def award_at(self, resource_id: str, t_ns: int) -> tuple[int, int, int] | None:
        return None

    def save_state(self, key: str, state: dict[str, Any]) -> None:
        pass

    def load_state(self, key: str) -> dict[str, Any] | None:
        return None


def controller(world: World, orders: Orders) -> tuple[Control, OrderDesk]:
    leases = LeaseBook(SITES)
    desk = OrderDesk(FLEET, orders, book=DesiredBook(SITES), leases=leases)

    async def view() -> FleetView:
        return FleetView(t_ns=world.t_ns, latest=world.latest())

    async def nothing(_: list[ResourceState]) -> None:
        pass

    async def flush() -> None:
        pass

    class Clock:
        def now_ns(self) -> int:
            return world.t_ns

    control = Control(
        fleet=FLEET,
        clock=Clock(),  # type: ignore[arg-type]
        options=OPTIONS,
        step_s=60.0,
        view=view,
        memory=NoMemory(),
        sender=FabricSender(FLEET, publish=world.hear, flush=flush),
        publish_states=nothing,
        desk=desk,
        leases=leases,
    )
    return control, desk


async def run(control: Control, world: World, minutes: int) -> None:
    for _ in range(minutes):
        await control.cycle(Tick(t_ns=world.t_ns))
        world.live_a_minute()


def ordered(spec: OrderSpec, *, start: int = 0) -> Order:
    return Order(
        order_id="try-1",
        program="emergency",
        scope=Scope(fleet=True),
        start_ns=START_NS + start * NS_PER_MINUTE,
        end_ns=START_NS + 2 * NS_PER_HOUR,
        spec=spec,
        canary=CanarySpec(share_frac=0.1, watch_s=240.0),
        by="ann",
        at_ns=START_NS,
    )


SPECS: list[OrderSpec] = [SetPointSpec(power_w=-40_000), EventSpec(kind="power", group_w=-40_000)]


@pytest.mark.parametrize("spec", SPECS)
def test_trial_that_delivers_goes_on_to_all(orders: Orders, spec: OrderSpec) -> None:
    world = World(share_frac=1.0)
    orders.put(ordered(spec))
    control, _ = controller(world, orders)
    asyncio.run(run(control, world, 3))
    trial = orders.trials()["try-1"]
    tried = {FLEET.row_of[site] for site in trial.sites}  # type: ignore[index]
    assert (trial.state, len(trial.sites)) == ("watching", 4)
    assert {row for row in range(SITES) if world.power_w(row)} == tried
    asyncio.run(run(control, world, 5))
    assert orders.trials()["try-1"].state == "passed"
    assert sum(world.power_w(row) for row in range(SITES)) == pytest.approx(-40_000, abs=2_500)
    assert sum(world.power_w(row) != 0 for row in range(SITES)) == SITES


@pytest.mark.parametrize("spec", SPECS)
def test_trial_that_does_not_deliver_is_called_off_everywhere(orders: Orders, spec: OrderSpec) -> None:
    world = World(share_frac=0.3)
    orders.put(ordered(spec))
    control, _ = controller(world, orders)
    asyncio.run(run(control, world, 9))
    trial = orders.trials()["try-1"]
    assert trial.state == "failed"
    assert "respond" in trial.reason
    assert orders.order("try-1").state == "aborted"
    assert orders.order("try-1").by == "control"
    assert not any(world.power_w(row) for row in range(SITES))
    tried = {FLEET.row_of[site] for site in trial.sites}  # type: ignore[index]
    told = {row for row, kind, _ in world.told if kind == "orders"}
    assert told <= tried, "nobody else was ever told"


def test_trial_goes_on_after_a_restart_with_the_same_sites(orders: Orders) -> None:
    world = World(share_frac=1.0)
    orders.put(ordered(SPECS[1], start=2))
    first, _ = controller(world, orders)
    asyncio.run(run(first, world, 4))
    before = orders.trials()["try-1"]
    second, _ = controller(world, orders)
    asyncio.run(run(second, world, 8))
    after = orders.trials()["try-1"]
    assert after.sites == before.sites
    assert after.state == "passed"
    assert len(world.orders) == SITES


def test_owner_who_leaves_an_event_is_the_markets_again(orders: Orders) -> None:
    world = World(share_frac=1.0)
    event = ordered(EventSpec(kind="power", battery_w=-1_000))
    orders.put(msgspec.structs.replace(event, canary=None))
    control, desk = controller(world, orders)
    asyncio.run(run(control, world, 2))
    assert all(0 not in one for one in [world.leases])
    left = OrderReport(
        kind="orders",
        version=int(desk.book.doc_version[0]),
        outcome="applied",
        t_ns=world.t_ns,
        opted_out=("try-1",),
    )
    desk.take_report(0, msgspec.json.encode(left), world.t_ns)
    asyncio.run(run(control, world, 1))
    assert set(world.leases) == {0}, "it rests for the market, as every site does that has nothing else to do"


def test_refusals_are_told_in_the_audit_and_a_flood_of_them_in_one_line(orders: Orders) -> None:
    world = World(share_frac=1.0)
    control, desk = controller(world, orders)
    forged = OrderReport(kind="desired", version=0, outcome="refused", reason="forged", t_ns=1)
    stopped = OrderReport(kind="desired", version=0, outcome="refused", reason="halted", t_ns=1)
    for _ in range(400):
        desk.take_report(3, msgspec.json.encode(forged), world.t_ns)
    desk.take_report(3, msgspec.json.encode(stopped), world.t_ns)
    assert desk.take_report(3, b"{", world.t_ns) is None
    asyncio.run(run(control, world, 1))
    lines = orders.audit(1_000, refused_only=True)
    assert len(lines) == 301
    assert lines[0].detail == "100 further refusals"
    assert {line.reason for line in lines[1:]} == {"forged"}
    figures = desk.statistics()
    assert figures.refused_by_reason == {"forged": 400, "halted": 1, "malformed_report": 1}


def test_message_of_the_past_is_told_as_replayed(orders: Orders) -> None:
    world = World(share_frac=1.0)
    orders.put(msgspec.structs.replace(ordered(SPECS[0]), canary=None))
    control, desk = controller(world, orders)
    asyncio.run(run(control, world, 1))
    version = world.leases[5].version
    applied = OrderReport(kind="desired", version=version, outcome="applied", t_ns=1)
    desk.take_report(5, msgspec.json.encode(applied), world.t_ns)
    old = OrderReport(kind="desired", version=version - 9, outcome="refused", reason="stale_version", t_ns=1)
    desk.take_report(5, msgspec.json.encode(old), world.t_ns)
    asyncio.run(run(control, world, 1))
    (line,) = orders.audit(9, refused_only=True)
    assert (line.by, line.reason) == (str(FLEET.site_ids[5]), "replayed")


@pytest.mark.parametrize(("share_frac", "short"), [(1.0, 0), (0.4, SITES)])
@pytest.mark.parametrize("spec", SPECS)
def test_what_came_of_an_order_is_told_by_the_meters(
    orders: Orders, spec: OrderSpec, share_frac: float, short: int
) -> None:
    world = World(share_frac=share_frac)
    end_ns = START_NS + NS_PER_HOUR // 2
    orders.put(msgspec.structs.replace(ordered(spec), canary=None, end_ns=end_ns))
    control, _ = controller(world, orders)
    asyncio.run(run(control, world, 33))
    (line,) = [line for line in orders.audit(50) if line.action == "result"]
    assert (line.by, line.subject, line.outcome) == ("control", "try-1", "done")
    if isinstance(spec, EventSpec):
        assert f"{short} of {SITES} metered sites" in line.detail
        assert line.detail.startswith(f"discharged {19.3 * share_frac:.1f} of 19.3 kWh")
    elif share_frac == 1.0:
        assert "delivered -20.0 of -20.0 kWh" in line.detail
        assert f"0 of {SITES} sites did not respond" in line.detail
    else:
        assert f" 0 of {SITES} sites did not respond" not in line.detail
