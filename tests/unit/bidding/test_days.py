"""Delivered days become statements: once, again for late meters and for corrected awards, by whoever holds the resource."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sqlalchemy import Engine

from shoal.bidding.awarded import Awarded
from shoal.bidding.days import AGAIN_AFTER_NS, SETTLE_AFTER_NS, Days
from shoal.domain.ids import ResourceId
from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.live import WorkflowRun
from shoal.domain.telemetry import TELEMETRY
from shoal.market.awards import AwardedQuantity, MarketAward
from shoal.market.ercot import ERCOT_DAY_AHEAD as MARKET
from shoal.market.registry import market_module
from shoal.settle.statement import Statement as DayStatement
from shoal.store.database import migrate, open_database
from shoal.store.history import History
from shoal.store.ledger import Ledger
from tests.integration.store.fleets import make_fleet
from tests.unit.bidding.plans import DAY
from tests.unit.store.history_cases import write_history

FLEET = make_fleet(4)
RESOURCES = [str(resource.resource_id) for resource in FLEET.resources]
HOURS = MARKET.delivery_intervals(DAY)
OUT_NS = MARKET.publication_ns(DAY)
END_NS = HOURS[-1].end_ns
DUE_NS = END_NS + SETTLE_AFTER_NS


def award(resource_id: str, *, version: int = 1, hours: int = 24, price: float = 20.0) -> MarketAward:
    """Return an award of nothing in the first so many hours of the day: what is delivered then is a deviation."""
    return MarketAward(
        resource_id=resource_id,
        market_id="ercot-da",
        settlement_point="HB_NORTH",
        delivery_date=DAY.isoformat(),
        bid_id="b",
        version=version,
        published_ns=OUT_NS + version,
        quantities=tuple(
            AwardedQuantity(
                product="day-ahead",
                start_ns=hour.start_ns,
                end_ns=hour.end_ns,
                power_w=0 if number else -1_000 * version,
                price_per_mwh=price,
            )
            for number, hour in enumerate(HOURS[:hours])
        ),
    )


class Rig:
    """The books of a plant on disk; `settle` is one life of the process that keeps them."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder = folder
        self.ledger = Ledger(engine)
        self.runs: list[WorkflowRun] = []
        for name in RESOURCES:
            self.ledger.record_award(award(name), known_ns=OUT_NS)

    def days(self) -> Days:
        return Days(
            fleet=FLEET,
            awarded=Awarded(cycles=self.ledger, market=market_module),
            ledger=self.ledger,
            history=History(self.folder / "history"),
            publish_run=self.runs.append,
        )

    def deliver(self, *, until_ns: int) -> None:
        """Write meters that stand still, a sample an hour, from before the day up to an instant."""
        ts_ns = np.arange(HOURS[0].start_ns, until_ns + 1, NS_PER_HOUR)
        for row in range(4):
            records = TELEMETRY.empty(len(ts_ns))
            records["ts_ns"] = ts_ns
            records["seq"] = np.arange(1, len(ts_ns) + 1)
            write_history(self.folder / "history", records, np.full(len(ts_ns), row), ts_ns)

    def version(self, resource_id: str = RESOURCES[0]) -> int:
        kept = self.ledger.statement(ResourceId(resource_id), DAY.isoformat())
        return 0 if kept is None else kept.version


@pytest.fixture(scope="module")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a migrated database that nobody has open."""
    path = tmp_path_factory.mktemp("template") / "ledger.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def rig(tmp_path: Path, empty_ledger: Path) -> Iterator[Rig]:
    engine = open_database(f"sqlite:///{shutil.copy(empty_ledger, tmp_path / 'ledger.db')}")
    yield Rig(tmp_path, engine)
    engine.dispose()


def test_day_is_settled_an_hour_after_it_ended_and_once(rig: Rig) -> None:
    rig.deliver(until_ns=END_NS)
    days = rig.days()
    assert days.settle(RESOURCES, DUE_NS - 1) == 0
    assert days.settle(RESOURCES, DUE_NS) == 2
    assert days.settle(RESOURCES, DUE_NS + AGAIN_AFTER_NS) == 0, "nothing was estimated"
    assert [run.rung for run in rig.runs] == ["provisional"] * 2
    assert {run.gate_ns for run in rig.runs} == {MARKET.gate_ns(DAY)}
    for resource in FLEET.resources:
        kept = rig.ledger.statement(resource.resource_id, DAY.isoformat())
        assert kept is not None
        # 1 kWh was sold and not delivered: bought back at the same price, with a tenth of it on top
        assert (kept.version, kept.net_amount) == (1, -1_000 * 2_000 // 10)
        sites, shares = rig.ledger.site_shares(resource.resource_id, DAY.isoformat())
        assert len(sites) == len(shares) == len(FLEET.rows_in(resource.group_id))


def test_only_the_days_of_resources_that_are_held_are_settled(rig: Rig) -> None:
    rig.deliver(until_ns=END_NS)
    assert rig.days().settle(RESOURCES[:1], DUE_NS) == 1
    assert (rig.version(RESOURCES[0]), rig.version(RESOURCES[1])) == (1, 0)


def test_restart_settles_again_to_the_same_statement(rig: Rig) -> None:
    rig.deliver(until_ns=END_NS)
    assert rig.days().settle(RESOURCES, DUE_NS) == 2
    assert rig.days().settle(RESOURCES, DUE_NS + NS_PER_HOUR) == 2
    assert (rig.version(), len(rig.runs)) == (1, 2)


def test_late_meters_make_a_new_version(rig: Rig) -> None:
    rig.deliver(until_ns=END_NS - 2 * NS_PER_HOUR)
    days = rig.days()
    assert days.settle(RESOURCES, DUE_NS) == 2
    assert days.settle(RESOURCES, DUE_NS + AGAIN_AFTER_NS - 1) == 0
    rig.deliver(until_ns=END_NS)
    assert days.settle(RESOURCES, DUE_NS + AGAIN_AFTER_NS) == 2
    assert rig.version() == 2
    assert days.settle(RESOURCES, DUE_NS + 2 * AGAIN_AFTER_NS) == 0, "nothing is estimated any more"
    mine = [run for run in rig.runs if run.resource_id == RESOURCES[0]]
    assert len({run.workflow_id for run in mine}) == 2


def test_corrected_award_is_settled_at_once(rig: Rig) -> None:
    rig.deliver(until_ns=END_NS)
    days = rig.days()
    days.settle(RESOURCES, DUE_NS)
    rig.ledger.record_award(award(RESOURCES[0], version=2), known_ns=DUE_NS)
    assert days.settle(RESOURCES, DUE_NS + 1) == 1
    assert (rig.version(RESOURCES[0]), rig.version(RESOURCES[1])) == (2, 1)
    kept = rig.ledger.statement(ResourceId(RESOURCES[0]), DAY.isoformat())
    assert kept is not None
    assert msgspec.json.decode(kept.payload, type=DayStatement).award_wh == -2_000
    assert kept.net_amount == -2_000 * 2_000 // 10


def test_day_whose_prices_are_not_all_out_is_not_settled(rig: Rig) -> None:
    rig.deliver(until_ns=END_NS)
    name = RESOURCES[0]
    rig.ledger.record_award(award(name, version=2, hours=23), known_ns=OUT_NS)
    assert rig.days().settle([name], DUE_NS) == 0
    rig.ledger.record_award(award(name, version=3), known_ns=OUT_NS)
    assert rig.days().settle([name], DUE_NS) == 1


def test_closing_settles_at_once_and_hands_in_an_account(rig: Rig) -> None:
    rig.deliver(until_ns=END_NS)
    days = rig.days()
    assert days.settle(RESOURCES, END_NS, closing=True) == 2
    assert [run.rung for run in rig.runs] == ["final"] * 2
    account = days.account()
    assert account["split_error"] == 0
    assert [one["resource_id"] for one in account["statements"]] == RESOURCES
    for one, resource in zip(account["statements"], FLEET.resources, strict=True):
        owners = abs(one["net_amount"]) * round(resource.owner_share_frac * 1_000) // 1_000
        assert (one["delivered_wh"], one["award_wh"], one["shares_amount"]) == (0, -1_000, -owners)
    assert days.statistics().days_settled == 2


def test_day_that_has_not_ended_is_not_settled_even_at_the_close(rig: Rig) -> None:
    assert rig.days().settle(RESOURCES, END_NS - 1, closing=True) == 0
    assert rig.days().account()["statements"] == []


def test_market_without_a_charge_of_ours_is_left_to_others(rig: Rig) -> None:
    rig.deliver(until_ns=END_NS)
    other = replace(FLEET, resources=tuple(replace(one, market_id="nem") for one in FLEET.resources))
    days = Days(
        fleet=other,
        awarded=Awarded(cycles=rig.ledger, market=market_module),
        ledger=rig.ledger,
        history=History(rig.folder / "history"),
        publish_run=rig.runs.append,
    )
    assert days.settle(RESOURCES, DUE_NS) == 0
