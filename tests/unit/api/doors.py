"""A plant behind its doors: a real ledger and history on disk, a hub, and a caller without a network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import date
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import msgspec
import numpy as np
from fastapi import FastAPI
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from shoal.api.answers import OwnedUnit
from shoal.api.app import create_app
from shoal.api.commands.door import CommandDoor
from shoal.api.door.doorman import Doorman
from shoal.api.events.alerts import AlertDesk
from shoal.api.live.hub import LiveHub
from shoal.api.live.model import LiveModel
from shoal.api.live.state import RoleHealth
from shoal.api.page import PageFiles
from shoal.api.plant import Acknowledge, AskSites, Plant
from shoal.api.records.books import read_books
from shoal.control.event_calls import kept_of
from shoal.domain.alarms import AcknowledgeAlarm, AcknowledgeAnswer
from shoal.domain.errors import UnavailableError
from shoal.domain.facts import Facts, SeriesId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.domain.telemetry import ALL_PRESENT, TELEMETRY, mask_of
from shoal.domain.twins import ShardAnswer
from shoal.market.awards import AwardedQuantity, MarketAward, MarketReceipt
from shoal.market.bids import MarketBid, Orders
from shoal.market.registry import market
from shoal.market.series import price_series
from shoal.market.types import Order
from shoal.programs.program import default_book
from shoal.runtime.metrics import StatisticsCollector
from shoal.settle.statement import day_statement, settle_interval
from shoal.store.alarms import AlarmLog
from shoal.store.cycles import DecisionRecord
from shoal.store.database import migrate, open_database
from shoal.store.facts import FactStore
from shoal.store.history import History
from shoal.store.ledger import Ledger
from shoal.store.orders import Orders as OrderBook
from shoal.store.passwords import Cost
from shoal.store.programs import ProgramStore
from shoal.store.records import Statement
from shoal.store.registry import Registry
from shoal.store.users import Users
from shoal.store.weather_alerts import WeatherAlertLog
from shoal.twin.aggregate import Timeouts
from tests.unit.api.plants import BESS, T0_NS, make_fleet, run_record
from tests.unit.store.history_cases import write_history as write_samples

DAY = "2021-02-10"
DAY_DATE = date.fromisoformat(DAY)
MARKET = market("ercot-da")
CHEAP = Cost(n=16, r=1, p=1)
"""A password's cost where nothing is secret."""


def answering(records: NDArray[Any] | None) -> AskSites:
    """Stand for the shards: two of them, the second one with the last site."""

    async def ask(rows: NDArray[np.int64]) -> list[ShardAnswer]:
        if records is None:
            raise UnavailableError("twin shard 0", "it does not answer")
        answers = []
        for shard, mine in enumerate((rows[rows < 2], rows[rows >= 2])):
            if len(mine):
                latest = records[mine].tobytes()
                answers.append(
                    ShardAnswer(t_ns=T0_NS, shard=shard, token=7, sites=2, rows=mine.tobytes(), latest=latest)
                )
        return answers

    return ask


def make_records() -> NDArray[Any]:
    """Every site but the last was heard, the second one ten minutes ago."""
    records = TELEMETRY.empty(3)
    records["ts_ns"] = [T0_NS - 5 * NS_PER_S, T0_NS - 10 * NS_PER_MINUTE, 0]
    records["battery_w"] = [-2_000, 0, 0]
    records["soc_frac"] = [0.5, 0.25, 0.0]
    records["present"] = [ALL_PRESENT & ~mask_of("ev_w"), mask_of("battery_w", "soc_frac"), ALL_PRESENT]
    return records


async def nobody_owns() -> list[OwnedUnit]:
    raise UnavailableError("stream OWNERS", "it does not answer")


@cache
def database() -> bytes:
    """Return a migrated database with the fleet in it, made once."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "registry.db"
        migrate(f"sqlite:///{path}")
        engine = open_database(f"sqlite:///{path}")
        Registry(engine).load_fleet(make_fleet(), valid_from_ns=0)
        engine.dispose()  # folds the journal into the file
        return path.read_bytes()


async def no_desk(asked: AcknowledgeAlarm) -> AcknowledgeAnswer:
    raise UnavailableError("the alarm desk", "it does not answer")


def make_plant(
    folder: Path,
    *,
    records: NDArray[Any] | None = None,
    acknowledge: Acknowledge = no_desk,
    doorman: Doorman | None = None,
    **hub_options: Any,
) -> Plant:
    """Return a plant with a fresh, migrated database."""
    fleet = make_fleet()
    (folder / "registry.db").write_bytes(database())
    engine = open_database(f"sqlite:///{folder / 'registry.db'}")
    ledger = Ledger(engine)
    model = LiveModel(fleet=fleet)
    options: dict[str, Any] = {
        "read_books": lambda now_ns: read_books(ledger, FactStore(engine), fleet, now_ns),
        "read_health": lambda: [RoleHealth(role="api", status="up", restarts=0, since_ms=None)],
    }
    hub = LiveHub(model=model, **{**options, **hub_options})
    metrics = CollectorRegistry()
    collector = StatisticsCollector("api")
    collector.register("live", hub.statistics)
    metrics.register(collector)

    def now_ns() -> int:
        return model.now_ns or T0_NS

    return Plant(
        fleet=fleet,
        ledger=ledger,
        history=History(folder / "history"),
        memberships=Registry(engine).memberships,
        model=model,
        hub=hub,
        ask_sites=answering(records),
        timeouts=Timeouts.alike(),
        read_owners=nobody_owns,
        alerts=AlertDesk(
            fleet=fleet,
            log=WeatherAlertLog(engine),
            now_ns=now_ns,
            on_change=hub.take_alerts,
        ),
        alarms=AlarmLog(engine),
        acknowledge=acknowledge,
        programs=ProgramStore(engine),
        commands=CommandDoor(orders=OrderBook(engine), fleet=fleet, book=default_book(), now_ns=now_ns),
        kept_event=partial(kept_of, ledger),
        now_ns=now_ns,
        metrics=metrics,
        doorman=doorman or Doorman(Users(engine, cost=CHEAP)),
        database=engine,
        registry=engine,
    )


def make_page(folder: Path) -> PageFiles:
    """Return a built page of a few files."""
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>the page</title>")
    (folder / "assets" / "index-abc123.js").write_text("export {};\n" * 500)
    (folder / "icon.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / ".source-digest").write_text("0123")
    return PageFiles(folder)


def write_history(folder: Path, *, samples: int = 5) -> None:
    records = TELEMETRY.empty(samples)
    records["ts_ns"] = T0_NS + np.arange(samples)
    records["seq"] = np.arange(samples) + 1
    records["battery_w"] = -100
    arrivals = np.full(samples, T0_NS)
    write_samples(folder / "history", records, np.zeros(samples, dtype=np.int64), arrivals)


def write_day(plant: Plant) -> None:
    """Bid, award, prices, forecast and run of the battery's tenth of February: sold in two hours."""
    ledger, facts = plant.ledger, FactStore(plant.ledger.engine)
    intervals = MARKET.delivery_intervals(DAY_DATE)
    sold = {17: -5_000_000, 18: -10_000_000}
    orders = tuple(
        Order(
            start_ns=intervals[hour].start_ns,
            end_ns=intervals[hour].end_ns,
            side="sell",
            quantity_mw=-energy_wh / 1e6,
            limit_price_per_mwh=20.0,
        )
        for hour, energy_wh in sold.items()
    )
    gate_ns = MARKET.gate_ns(DAY_DATE)
    write_bid(ledger, orders, gate_ns=gate_ns)
    published_ns = MARKET.publication_ns(DAY_DATE)
    ledger.record_award(
        MarketAward(
            resource_id=BESS,
            market_id="ercot-da",
            settlement_point="HB_NORTH",
            delivery_date=DAY,
            bid_id="m-1",
            version=1,
            published_ns=published_ns,
            quantities=tuple(
                AwardedQuantity(
                    product="day-ahead",
                    start_ns=i.start_ns,
                    end_ns=i.end_ns,
                    power_w=sold.get(hour, 0),
                    price_per_mwh=30.0 + hour,
                )
                for hour, i in enumerate(intervals)
            ),
        ),
        known_ns=published_ns,
    )
    prices = price_series("ercot-da", "HB_NORTH", "day-ahead")
    starts = np.array([i.start_ns for i in intervals], dtype=np.int64)
    facts.record(
        Facts(
            series_id=prices,
            source="ercot-da",
            known_ns=published_ns,
            start_ns=starts,
            end_ns=starts + NS_PER_HOUR,
            value=np.array([[30.0 + hour] for hour in range(len(starts))]),
        )
    )
    first_ns = intervals[-1].start_ns + np.arange(2, dtype=np.int64) * NS_PER_HOUR
    facts.record(
        Facts(
            series_id=SeriesId(f"forecast/{prices}"),
            source="m/1",
            known_ns=T0_NS - NS_PER_HOUR,
            start_ns=first_ns,
            end_ns=first_ns + NS_PER_HOUR,
            value=np.array([[2.5, 1.0, 2.0, 3.0], [5.5, 4.0, 5.0, 6.0]]),
        )
    )
    ledger.record_run(run_record())


def write_bid(
    ledger: Ledger, orders: tuple[Order, ...], *, gate_ns: int, rung: str = "fresh", key: str = "bess-0"
) -> None:
    """Have the battery bid an hour before its gate, and the market accept it."""
    at_ns = gate_ns - NS_PER_HOUR
    tried = [{"rung": "fresh", "took_s": 0.1, "outcome": "ok" if rung == "fresh" else "too slow"}]
    tried += [] if rung == "fresh" else [{"rung": rung, "took_s": 0.1, "outcome": "ok"}]
    ledger.record_decision(
        DecisionRecord(
            decision_id=key,
            resource_id=BESS,
            market_id="ercot-da",
            gate_key="gate",
            closes_ns=gate_ns,
            as_of_ns=at_ns,
            strategy="day-ahead",
            strategy_version="1",
            rung=rung,
            shadow=False,
            trigger="schedule",
            situation="{}",
            questions="[]",
            known_digest="",
            tried=json.dumps(tried),
            decision="{}",
        )
    )
    ledger.draft_bid(
        lambda revision: MarketBid(
            idempotency_key=key,
            resource_id=BESS,
            market_id="ercot-da",
            settlement_point="HB_NORTH",
            delivery_date=DAY,
            revision=revision,
            offers=(Orders(product="day-ahead", orders=orders),),
        ),
        resource_id=BESS,
        market_id="ercot-da",
        delivery_date=DAY,
        idempotency_key=key,
        gate_key="gate",
        closes_ns=gate_ns,
        decision_id=key,
        author="",
        created_ns=at_ns,
        digest=lambda _: "",
        by="test",
    )
    assert ledger.begin_sending(key, at_ns=at_ns, by="test")
    ledger.move_bid(
        key,
        "accepted",
        at_ns=gate_ns - 1,
        by="test",
        receipt=MarketReceipt(idempotency_key=key, bid_id="m-1", state="accepted", received_ns=gate_ns - 1),
    )


def write_statement(ledger: Ledger, *, estimated: bool = False, version: int = 1) -> int:
    """Settle the battery's day: the first hour delivered in full, the second by half. Return the net amount."""
    intervals = MARKET.delivery_intervals(DAY_DATE)
    settled = [
        settle_interval(
            start_ns=intervals[hour].start_ns,
            end_ns=intervals[hour].end_ns,
            award_wh=award_wh,
            delivered_wh=delivered_wh,
            price_cents_per_mwh=4_700,
            deviation_charge_permille=100,
            estimated=estimated,
        )
        for hour, award_wh, delivered_wh in ((17, -5_000_000, -5_000_000), (18, -10_000_000, -5_000_000))
    ]
    statement = day_statement(resource_id=BESS, delivery_date=DAY, currency="USD", intervals=settled)
    ledger.record_statement(
        Statement(
            resource_id=BESS,
            delivery_date=DAY,
            version=version,
            known_ns=T0_NS,
            net_amount=statement.net_amount,
            payload=msgspec.json.encode(statement),
        ),
        site_ids=[make_fleet().site_ids[2]],
        amounts=np.array([statement.net_amount // 2], dtype=np.int64),
    )
    return statement.net_amount


def ask(
    plant: Plant,
    method: str,
    path: str,
    *,
    token: str = "",
    operators: Mapping[str, str] | None = None,
    page: PageFiles | None = None,
    base_url: str = "http://127.0.0.1:8765",
    **request: Any,
) -> httpx.Response:
    """Send one request to the application and return its answer."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(_app(plant, token, operators, page))
        async with httpx.AsyncClient(transport=transport, base_url=base_url) as caller:
            return await caller.request(method, path, **request)

    return asyncio.run(send())


_LAST: list[tuple[Plant, tuple[Any, ...], FastAPI]] = []
"""The application asked last: making one takes longer than asking it."""


def _app(plant: Plant, token: str, operators: Mapping[str, str] | None, page: PageFiles | None) -> FastAPI:
    how = (token, tuple((operators or {}).items()), page)
    for held in _LAST:
        if held[0] is plant and held[1] == how:
            return held[2]
    _LAST[:] = [(plant, how, create_app(plant, token=token, operators=operators, page=page))]
    return _LAST[0][2]
