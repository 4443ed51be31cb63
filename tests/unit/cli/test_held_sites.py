"""Who is held by orders, kill switches and weather alerts, read from their stores as they change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine

from shoal.bidding.offered import Hold
from shoal.cli.roles.held_sites import LOOK_AGAIN_NS, HeldSites
from shoal.control.event_calls import STATE
from shoal.domain.alert import Area, WeatherAlert
from shoal.domain.errors import UnavailableError
from shoal.domain.ids import ResourceId
from shoal.domain.interval import NS_PER_HOUR, Interval
from shoal.store.database import migrate, open_database
from shoal.store.ledger import Ledger
from shoal.store.order_records import (
    CallSpec,
    DroopSpec,
    EnvelopeSpec,
    EventSpec,
    GroupCall,
    Order,
    OrderSpec,
    Scope,
    SetPointSpec,
    Stop,
)
from shoal.store.orders import Orders
from shoal.store.weather_alerts import KeptAlert, WeatherAlertLog
from tests.integration.store.fleets import make_fleet

FLEET = make_fleet()
NOW_NS = 1_000 * NS_PER_HOUR


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path / 'plant.db'}"
    migrate(url)
    engine = open_database(url)
    yield engine
    engine.dispose()


def order(name: str, spec: OrderSpec, *, program: str = "emergency", scope: Scope | None = None) -> Order:
    return Order(
        order_id=name,
        program=program,
        scope=scope or Scope(groups=("feeder-1",)),
        start_ns=NOW_NS + 2 * NS_PER_HOUR,
        end_ns=NOW_NS + 4 * NS_PER_HOUR,
        spec=spec,
        by="ann",
        at_ns=NOW_NS,
    )


def test_orders_hold_their_sites_until_they_end(engine: Engine) -> None:
    orders = Orders(engine)
    held = HeldSites(FLEET, orders, WeatherAlertLog(engine))
    assert held(NOW_NS) == []
    orders.put(order("event", EventSpec(kind="power", battery_w=-1_000)))
    orders.put(order("point", SetPointSpec(power_w=-1_000), scope=Scope(fleet=True)))
    orders.put(order("limits", EnvelopeSpec(import_limit_w=1, export_limit_w=1)))
    droop = DroopSpec(reference_hz=50.0, deadband_hz=0.15, full_deviation_hz=0.85, up_w=1_000)
    orders.put(order("droop", droop, program="contingency"))
    call = CallSpec(targets=(GroupCall(group="feeder-1", target_w=5_000),), called_ns=NOW_NS - 7)
    orders.put(order("call", call))
    found = {one.name: one for one in held(NOW_NS)}
    assert {(one.reason, one.program) for one in found.values()} == {("event", "emergency")}
    assert sorted(found) == ["call", "event", "point"]
    assert found["event"].rows.tolist() == found["call"].rows.tolist() == list(range(0, 12, 2))
    assert len(found["point"].rows) == len(FLEET.site_ids)
    assert found["event"].start_ns == NOW_NS + 2 * NS_PER_HOUR
    assert found["call"].start_ns == NOW_NS - 7, "sites get ready from the call on"
    orders.end("event", "cancelled", by="ann", at_ns=NOW_NS, reason="rain")
    assert "event" not in {one.name for one in held(NOW_NS)}
    assert held(NOW_NS + 4 * NS_PER_HOUR) == []


def test_kill_switch_holds_until_it_is_released(engine: Engine) -> None:
    orders = Orders(engine)
    held = HeldSites(FLEET, orders, WeatherAlertLog(engine))
    orders.stop(
        Stop(stop_id="s", kind="site", target="site-00002", since_ns=NOW_NS, by="ann", reason="smoke")
    )
    (hold,) = held(NOW_NS + 10_000 * NS_PER_HOUR)
    assert (hold.reason, hold.program, hold.rows.tolist()) == ("stopped", "", [2])
    orders.release("s", by="ann", at_ns=NOW_NS, reason="it was a barbecue")
    assert held(NOW_NS) == []


def test_weather_alert_holds_whom_it_covers_from_its_lead_on(engine: Engine) -> None:
    alerts = WeatherAlertLog(engine)
    held = HeldSites(FLEET, Orders(engine), alerts)
    assert held(NOW_NS) == []
    lat, lon = FLEET.latitude_deg[3], FLEET.longitude_deg[3]
    ring = tuple(
        (float(lon + x), float(lat + y))
        for x, y in ((-1e-4, -1e-4), (1e-4, -1e-4), (1e-4, 1e-4), (-1e-4, 1e-4), (-1e-4, -1e-4))
    )
    effective = Interval(start_ns=NOW_NS + 20 * NS_PER_HOUR, end_ns=NOW_NS + 30 * NS_PER_HOUR)
    alert = WeatherAlert(
        alert_id="w1",
        event="Flood",
        severity="severe",
        effective=effective,
        area=Area(polygons=((ring,),)),
    )
    kept = KeptAlert.of(alert, taken_ns=NOW_NS, taken_by="ann")
    alerts.record([kept], now_ns=NOW_NS)
    assert held(NOW_NS) == [], "what was read serves for some seconds"
    (hold,) = held(NOW_NS + LOOK_AGAIN_NS)
    assert (hold.reason, hold.program, hold.rows.tolist()) == ("storm", "storm", [3])
    assert hold.start_ns == NOW_NS + 8 * NS_PER_HOUR
    assert effective.end_ns <= hold.end_ns <= effective.end_ns + NS_PER_HOUR
    alerts.withdraw(kept.key)
    assert held(NOW_NS + 2 * LOOK_AGAIN_NS) == []


@dataclass
class Away:
    """Stores that can go away."""

    orders_of: Orders
    away: bool = field(default=True)

    def newest(self) -> int:
        if self.away:
            raise UnavailableError("the ledger", "it is away")
        return self.orders_of.newest()

    def orders(self, *, after_ns: int) -> list[Order]:
        return self.orders_of.orders(after_ns=after_ns)

    def stops(self) -> list[Stop]:
        return self.orders_of.stops()


def test_what_was_read_last_counts_while_the_store_is_away(engine: Engine) -> None:
    store = Away(Orders(engine))
    store.orders_of.put(order("event", EventSpec(kind="hold")))
    held = HeldSites(FLEET, store, WeatherAlertLog(engine))
    with pytest.raises(UnavailableError):
        held(NOW_NS)
    store.away = False
    assert len(held(NOW_NS)) == 1
    store.away = True
    assert len(held(NOW_NS)) == 1


def test_sites_without_a_grid_are_held_for_as_long_as_nobody_knows_better(engine: Engine) -> None:
    ledger, orders = Ledger(engine), Orders(engine)
    fence = ledger.next_fence("control")
    held = HeldSites(FLEET, orders, WeatherAlertLog(engine), states=ledger)
    assert held(NOW_NS) == []

    def kept(islands: dict[str, int], at_ns: int) -> list[Hold]:
        state = msgspec.json.encode({"storm": {}, "events": {}, "islands": islands})
        ledger.save_state(ResourceId(STATE), state, issuer="control", fence=fence, saved_ns=at_ns)
        return held(at_ns)

    (hold,) = kept({"3": 5, "7": 6}, NOW_NS + LOOK_AGAIN_NS)
    assert (hold.reason, hold.program, hold.rows.tolist()) == ("islanded", "", [3, 7])
    assert hold.start_ns == NOW_NS + LOOK_AGAIN_NS
    assert kept({}, NOW_NS + 2 * LOOK_AGAIN_NS) == []


def test_sites_of_a_resource_in_regulation_are_held_by_that_program(engine: Engine) -> None:
    resource = FLEET.resources[0].resource_id
    held = HeldSites(FLEET, Orders(engine), WeatherAlertLog(engine), regulation=str(resource))
    (hold,) = held(NOW_NS)
    assert (hold.reason, hold.program) == ("regulation", "regulation")
    assert hold.rows.tolist() == FLEET.battery_rows_in(FLEET.resources[0].group_id).tolist()
