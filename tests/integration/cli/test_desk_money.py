"""`shoal desk money` and `disputes` over a real database, and the clock by which a trader's words are stamped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from shoal.bidding.settling_ports import meter_series
from shoal.cli import desk
from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.domain.facts import Facts
from shoal.domain.interval import NS_PER_HOUR, iso
from shoal.market.awards import Delivered
from shoal.market.bids import MarketBid
from shoal.market.registry import market_module
from shoal.market.series import price_series
from shoal.market.settlement import amounts_by_interval, settlement_intervals
from shoal.market.shadow import check_settlement
from shoal.settle.shares import SharingKey, share_version
from shoal.store.consents import Consents
from shoal.store.cycles import Cycles
from shoal.store.database import migrate, open_database
from shoal.store.facts import FactStore
from shoal.store.settlings import Settlings
from tests.integration.bidding.decided import DAY, RESOURCE, WORLDS, Stored, decide_and_record
from tests.integration.cli.test_desk import draft

WORLD: Final = WORLDS[1]
ERCOT: Final = market_module("ercot")
GRID: Final = settlement_intervals(ERCOT.rules, DAY)
AFTER_NS: Final = GRID[-1].end_ns + 48 * NS_PER_HOUR
PLACE: Final = (RESOURCE, "ercot", DAY.isoformat())


def scaled(t_ns: int) -> str:
    """Return the source of a clock that stands at an instant, but for a billionth."""
    since = datetime.now(UTC).isoformat()
    return f"clock.source=scaled://{iso(t_ns)}?speed=0.000001&since={since}"


@dataclass
class Plant:
    """A plant's database and its commands."""

    url: str
    cycles: Cycles
    facts: FactStore
    settlings: Settlings
    consents: Consents
    key: str

    def run(self, *arguments: str, clock: str = "") -> str:
        app = typer.Typer()
        desk.register(app)
        given = ["--set", f"bidding.database_url={self.url}", "--set", clock or scaled(AFTER_NS)]
        outcome = CliRunner().invoke(app, [*arguments, *given])
        if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
            raise outcome.exception
        return str(outcome.output)

    def told(self, *arguments: str) -> Any:
        return json.loads(self.run("desk", "money", RESOURCE, *arguments, "--json"))

    def settle(self, *, wrong_wh: int = 0) -> None:
        """Award the bid, meter what it delivered, and keep the market's settlement with a check and shares."""
        record = self.cycles.bid(self.key)
        assert record is not None
        rt = price_series("ercot", "HB_NORTH", "real-time")
        prices = WORLD.prices()
        rng = np.random.default_rng(1)
        at: dict[str, Any] = {
            "start_ns": np.array([g.start_ns for g in GRID]),
            "end_ns": np.array([g.end_ns for g in GRID]),
        }
        value = np.round(60 + rng.normal(scale=20, size=(len(GRID), 1)), 2)
        self.facts.record(Facts(series_id=rt, source="ercot", known_ns=AFTER_NS - 1, value=value, **at))
        held = {
            "day-ahead": dict(zip(prices.start_ns.tolist(), prices.value[:, 0].tolist(), strict=True)),
            "real-time": dict(zip(at["start_ns"].tolist(), value[:, 0].tolist(), strict=True)),
        }
        day = {g.start_ns for g in ERCOT.delivery_intervals("day-ahead", DAY)}
        held["day-ahead"] = {start: price for start, price in held["day-ahead"].items() if start in day}
        award = ERCOT.clear(record.bid, held, bid_id="b", published_ns=1)
        self.cycles.record_award(award, known_ns=2)
        watts = {one.start_ns: one.power_w for one in award.quantities}
        delivered = [
            Delivered(
                start_ns=g.start_ns,
                end_ns=g.end_ns,
                delivered_wh=int(0.24 * watts.get(g.start_ns // NS_PER_HOUR * NS_PER_HOUR, 0)),
            )
            for g in GRID
        ]
        wh = np.array([[one.delivered_wh, 0.0] for one in delivered])
        series = meter_series("ercot", RESOURCE)
        self.facts.record(Facts(series_id=series, source="meters", known_ns=AFTER_NS - 1, value=wh, **at))
        theirs = [
            Delivered(start_ns=d.start_ns, end_ns=d.end_ns, delivered_wh=d.delivered_wh) for d in delivered
        ]
        theirs[40] = Delivered(
            start_ns=GRID[40].start_ns,
            end_ns=GRID[40].end_ns,
            delivered_wh=delivered[40].delivered_wh + wrong_wh,
        )
        settlement = ERCOT.settle(award, theirs, held, run="initial", issued_ns=AFTER_NS - 1)
        self.cycles.record_settlement(settlement, known_ns=AFTER_NS)
        checked = check_settlement(ERCOT, settlement, award=award, delivered=delivered, prices=held)
        self.settlings.record_check(*PLACE, checked, known_ns=AFTER_NS)
        key = SharingKey(
            site_ids=("a", "b"), weight_wh=np.array([3, 1], dtype=np.int64), owner_share_permille=900
        )
        amounts = amounts_by_interval(settlement.lines)
        shares = share_version(amounts, settlement.changed, version=1, key=key)
        self.settlings.record_shares(*PLACE, shares)


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    url = f"sqlite:///{tmp_path / 'plant.db'}"
    migrate(url)
    engine = open_database(url)
    stored = Stored(cycles=Cycles(engine), facts=FactStore(engine))
    stored.facts.load(WORLD.prices())
    gate = WORLD.gates[0]
    record, climbed = decide_and_record(stored, WORLD.situation(gate, stored.facts))

    def make(revision: int) -> MarketBid:
        return MarketBid(
            idempotency_key=record.decision_id,
            resource_id=RESOURCE,
            market_id="ercot",
            settlement_point="HB_NORTH",
            delivery_date=gate.delivery_date,
            revision=revision,
            offers=climbed.decision.offers,
        )

    draft(stored.cycles, make, "ercot", gate.delivery_date, record.decision_id, gate.closes_ns)
    yield Plant(url, stored.cycles, stored.facts, Settlings(engine), Consents(engine), record.decision_id)
    engine.dispose()


def test_money_is_told_from_what_the_cycle_kept(plant: Plant) -> None:
    plant.settle()
    told = plant.told("--hours", "--homes")
    settlement = plant.cycles.settlements(*PLACE)[-1]
    assert told["day"] == DAY.isoformat() and told["settled"] == settlement.amount
    assert told["stages"] == ["perfect", "forecast", "bid", "delivered"]
    perfect, forecast, _bid, delivered = told["total"]
    assert perfect >= forecast and perfect >= delivered
    by_product = np.array(list(told["products"].values())).sum(axis=0) + np.array(told["left_in_store"])
    assert by_product.tolist() == told["total"]
    assert (
        np.array(list(told["hours"].values())).sum(axis=0) + np.array(told["left_in_store"])
    ).tolist() == told["total"]
    assert (
        np.array([row["amounts"] for row in told["rows"]]).sum(axis=0).tolist()
        == (by_product - np.array(told["left_in_store"])).tolist()
    )
    homes = np.array(list(told["homes"].values()))
    assert list(told["homes"]) == ["a", "b", ""]
    assert homes.sum() == settlement.amount == told["owners"] + told["operator"]
    (version,) = told["versions"]
    assert (version["run"], version["disputes"], version["unchecked"]) == ("initial", 0, 0)
    text = plant.run("desk", "money", RESOURCE, "--hours", "--homes")
    for part in (
        "with perfect foresight",
        "delivered and settled",
        "2 homes receive",
        "the operator",
        "agreed",
    ):
        assert part in text


def test_several_days_are_a_line_each_and_say_why_one_cannot_be_told(plant: Plant) -> None:
    plant.settle()
    award = plant.cycles.awards(*PLACE)[-1]
    before = (DAY - timedelta(days=1)).isoformat()
    plant.cycles.record_award(msgspec.structs.replace(award, delivery_date=before, quantities=()), known_ns=3)
    first, second = plant.told("--days", "3")
    assert (first["day"], second["day"]) == (before, DAY.isoformat())
    assert "wait for its meters" in first["why"]
    text = plant.run("desk", "money", RESOURCE, "--days", "2").splitlines()
    assert text[-1].split()[2:] == text[-2].split()[1:6]  # the sum is that of the one day that can be told


def test_a_dispute_is_listed_with_interval_product_and_amount(plant: Plant) -> None:
    assert "agree on every day" in plant.run("desk", "disputes")
    plant.settle(wrong_wh=1_000)
    (found,) = json.loads(plant.run("desk", "disputes", RESOURCE, "--json"))
    (dispute,) = found["checked"]["disputes"]
    assert (dispute["product"], dispute["start_ns"], dispute["reason"]) == (
        "real-time",
        GRID[40].start_ns,
        "energy",
    )
    assert dispute["amount"] == -1_000 * dispute["own_cents_per_mwh"]
    text = plant.run("desk", "disputes")
    assert "lines that differ: 1" in text and iso(GRID[40].start_ns) in text
    assert "disputed: 1 lines" in plant.run("desk", "money", RESOURCE)


def test_a_day_without_anything_is_refused_with_what_to_do(plant: Plant) -> None:
    with pytest.raises(InvalidInputError, match="no day of it is over"):
        plant.run("desk", "money", RESOURCE)
    with pytest.raises(InvalidInputError, match="known are: big"):
        plant.run("desk", "money", "nobody")
    with pytest.raises(InvalidInputError, match="YYYY-MM-DD"):
        plant.run("desk", "money", RESOURCE, "--day", "yesterday")
    with pytest.raises(InvalidInputError, match="wait for its meters"):
        plant.run("desk", "money", RESOURCE, "--day", DAY.isoformat())


def test_words_are_stamped_with_the_clock_of_the_plant(plant: Plant) -> None:
    plant.run("desk", "mode", RESOURCE, "advisory", "--by", "ann")
    said = plant.consents.said("mode", subject=RESOURCE, as_of_ns=2**62)
    assert 0 <= said[-1].at_ns - AFTER_NS < NS_PER_HOUR
    record = plant.cycles.bid(plant.key)
    assert record is not None
    plant.run("desk", "approve", plant.key, "--by", "ann", clock="clock.source=stepped://127.0.0.1:1")
    approval = plant.consents.said("approval", subject=plant.key, as_of_ns=2**62)
    assert (
        approval[-1].at_ns == record.created_ns
    )  # the newest instant that the plant is known to have reached


def test_a_conducted_plant_without_bids_has_no_time_yet(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'plant.db'}"
    migrate(url)
    engine = open_database(url)
    empty = Plant(url, Cycles(engine), FactStore(engine), Settlings(engine), Consents(engine), "")
    with pytest.raises(UnavailableError, match="no bid is kept yet"):
        empty.run("desk", "mode", "new", "off", "--new", clock="clock.source=stepped://127.0.0.1:1")
    engine.dispose()
