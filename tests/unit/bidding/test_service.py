"""The market cycle of a day and night on a hand-set clock: whatever is due is done, once, restarts included."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sqlalchemy import Engine

from shoal.bidding.service import TICK_S, Bidding, BiddingStatistics
from shoal.domain.clock import Stage, Tick
from shoal.domain.errors import UnavailableError
from shoal.domain.ids import ResourceId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.domain.live import WorkflowRun
from shoal.domain.telemetry import TELEMETRY
from shoal.market.ercot import ERCOT_DAY_AHEAD as MARKET
from shoal.market.types import Award, BidReceipt, ClearingPrice
from shoal.store.database import migrate, open_database
from shoal.store.history import History
from shoal.store.ledger import Ledger
from tests.integration.store.fleets import make_fleet
from tests.unit.bidding.plans import DAY, bid_of
from tests.unit.store.history_cases import write_history

FLEET = make_fleet(4)
RESOURCES = [str(r.resource_id) for r in FLEET.resources]
GATE_NS = MARKET.gate_ns(DAY)
OUT_NS = MARKET.publication_ns(DAY)
STEP_NS = int(TICK_S) * NS_PER_S
LEAD_S = 3_600.0
START_NS = GATE_NS - 2 * NS_PER_HOUR


class Script:
    """A clock that ticks as it is told, tells when, and keeps what it is handed."""

    def __init__(self, ticks: list[Tick], on_tick: Callable[[int], None]) -> None:
        self._ticks = ticks
        self._on_tick = on_tick
        self.accounts: dict[str, Any] = {}

    def at(self, machine_ns: Any) -> Any:
        return machine_ns, machine_ns

    def now_ns(self) -> int:
        raise AssertionError("a tick says what time it is")

    async def ticks(self, stage: Stage, every_s: float) -> AsyncIterator[Tick]:
        assert (stage, every_s) == (Stage.DECIDE, TICK_S)
        for tick in self._ticks:
            self._on_tick(tick.t_ns)
            yield tick

    def report(self, facts: Mapping[str, int]) -> None:
        raise AssertionError("bidding counts nothing that others wait for")

    def account(self, account: Mapping[str, Any]) -> None:
        self.accounts.update(account)


class MemoryMarket:
    """A market in memory: it clears every bid at 20 an hour and knows who asked for what."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.spans: list[tuple[str, int, int]] = []
        self.away: set[str] = set()
        self.bids: dict[tuple[str, str], int] = {}
        self.now_ns = 0

    def _exchange(self, what: str) -> None:
        self.asked[what] += 1
        if what in self.away:
            raise UnavailableError("market", what)

    def prices(self, settlement_point: str, *, from_ns: int, to_ns: int) -> list[ClearingPrice]:
        self._exchange("prices")
        self.spans.append((settlement_point, from_ns, to_ns))
        first = -(-from_ns // NS_PER_HOUR) * NS_PER_HOUR
        return [
            ClearingPrice(
                settlement_point=settlement_point,
                start_ns=start_ns,
                end_ns=start_ns + NS_PER_HOUR,
                price_per_mwh=20.0,
                published_ns=START_NS - NS_PER_HOUR,
            )
            for start_ns in range(max(first, to_ns - 72 * NS_PER_HOUR), to_ns, NS_PER_HOUR)
        ]

    def award(self, resource_id: str, delivery_date: str) -> Award | None:
        self._exchange("award")
        if (resource_id, delivery_date) not in self.bids:
            return None
        day = date.fromisoformat(delivery_date)
        bid = msgspec.structs.replace(bid_of(day, ()), resource_id=resource_id)
        prices = {interval.start_ns: 20.0 for interval in MARKET.delivery_intervals(day)}
        return MARKET.clear(bid, prices, bid_id="b", published_ns=MARKET.publication_ns(day))


class Rig:
    """The service on a ledger on disk; `run` is one life of its process."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder = folder
        self.ledger = Ledger(engine)
        self.market = MemoryMarket()
        self.placed: list[tuple[str, str, int]] = []
        self.answers: dict[str, list[str]] = {}
        self.coverage: Callable[[str], float] = lambda _: 1.0
        self.money_told = 0
        self.runs: list[WorkflowRun] = []
        self.account: dict[str, Any] = {}

    def place(self, resource_id: str, delivery_date: str) -> str:
        """Place a bid as the workflow does: the second time only its result comes back."""
        answers = self.answers.get(resource_id, [])
        status = answers.pop(0) if answers else "accepted"
        if status == "raise":
            raise UnavailableError("twins", "they do not answer")
        key = f"bid-{resource_id}-{delivery_date}-r1"
        bid = msgspec.structs.replace(
            bid_of(date.fromisoformat(delivery_date), ()), idempotency_key=key, resource_id=resource_id
        )
        self.ledger.record_bid(bid, rung="fresh", rung_reason="", created_ns=self.market.now_ns)
        if status == "accepted" and (resource_id, delivery_date) not in self.market.bids:
            self.market.bids[resource_id, delivery_date] = self.market.now_ns
            self.placed.append((resource_id, delivery_date, self.market.now_ns))
            self.ledger.record_receipt(
                BidReceipt(idempotency_key=key, bid_id=key, status="accepted", received_ns=self.market.now_ns)
            )
        self.market.asked["place"] += 1
        return status

    def run(self, from_ns: int, to_ns: int, *, closing: bool = False) -> BiddingStatistics:
        """Let a process live through the ticks of `[from_ns, to_ns]`."""
        moments = list(range(from_ns, to_ns + 1, STEP_NS))
        ticks = [Tick(t_ns=t, facts={"closing": 1} if closing and t == moments[-1] else {}) for t in moments]
        clock = Script(ticks, lambda t_ns: setattr(self.market, "now_ns", t_ns))
        told: list[int] = []

        async def publish_money() -> None:
            told.append(1)

        launched: list[int] = []
        history = History(self.folder / "history")
        service = Bidding(
            fleet=FLEET,
            clock=clock,
            ledger=self.ledger,
            gateway=self.market,  # type: ignore[arg-type]
            history=history,
            launch=lambda: launched.append(1),
            place=self.place,
            coverage_frac=lambda resource_id: self.coverage(resource_id),
            lead_time_s=LEAD_S,
            publish_money=publish_money,
            publish_run=self.runs.append,
        )
        try:
            asyncio.run(service.follow())
        finally:
            history.close()
        assert launched == [1], "the workflow engine is started once, before anything else"
        self.money_told += len(told)
        self.account = clock.accounts
        return service.statistics()


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


def test_bid_is_placed_once_within_the_lead_time(rig: Rig) -> None:
    figures = rig.run(START_NS, GATE_NS + NS_PER_HOUR)
    assert [(r, d) for r, d, _ in rig.placed] == [(r, DAY.isoformat()) for r in RESOURCES]
    assert {t for _, _, t in rig.placed} == {GATE_NS - int(LEAD_S) * NS_PER_S}
    assert (figures.bids_placed, figures.market_unavailable) == (2, 0)
    assert rig.market.asked["place"] == 2, "what is final is not asked for again"


def test_restart_places_no_second_bid(rig: Rig) -> None:
    rig.run(START_NS, GATE_NS - 20 * NS_PER_MINUTE)
    rig.run(GATE_NS - 15 * NS_PER_MINUTE, GATE_NS - 5 * NS_PER_MINUTE)
    rig.run(GATE_NS, GATE_NS + NS_PER_HOUR)
    assert len(rig.placed) == 2
    assert len(rig.ledger.bids()) == 2
    assert all(bid.status == "accepted" for bid in rig.ledger.bids())


def test_plant_that_starts_late_still_bids_before_the_gate(rig: Rig) -> None:
    rig.run(GATE_NS - 5 * NS_PER_MINUTE, GATE_NS)
    assert [t for _, _, t in rig.placed] == [GATE_NS - 5 * NS_PER_MINUTE] * 2


def test_gate_that_has_passed_is_left_to_the_next_day(rig: Rig) -> None:
    rig.run(GATE_NS, GATE_NS + NS_PER_HOUR)
    assert rig.placed == []


def test_unknown_outcome_is_asked_for_until_it_is_known(rig: Rig) -> None:
    rig.answers[RESOURCES[0]] = ["unknown", "unknown"]
    figures = rig.run(START_NS, GATE_NS)
    first = [t for r, _, t in rig.placed if r == RESOURCES[0]]
    assert first == [GATE_NS - int(LEAD_S) * NS_PER_S + 2 * STEP_NS]
    assert figures.bids_placed == 2


@pytest.mark.parametrize("status", ["rejected", "missed"])
def test_final_refusal_is_not_argued_with(rig: Rig, status: str) -> None:
    rig.answers[RESOURCES[0]] = [status] * 99
    rig.run(START_NS, GATE_NS - STEP_NS)
    assert len(rig.answers[RESOURCES[0]]) == 98


def test_bid_waits_for_coverage_until_the_last_call(rig: Rig) -> None:
    rig.coverage = lambda resource_id: 0.5 if resource_id == RESOURCES[0] else 0.95
    rig.run(START_NS, GATE_NS)
    lead_ns = int(LEAD_S) * NS_PER_S
    assert {r: t for r, _, t in rig.placed} == {
        RESOURCES[0]: GATE_NS - lead_ns // 4,
        RESOURCES[1]: GATE_NS - lead_ns,
    }


def test_market_without_prices_still_gets_its_bid(rig: Rig) -> None:
    rig.market.away = {"prices", "award"}
    figures = rig.run(START_NS, GATE_NS)
    assert len(rig.placed) == 2
    assert figures.market_unavailable > 0


def test_one_resource_in_trouble_is_tried_again(rig: Rig) -> None:
    rig.answers[RESOURCES[0]] = ["raise"]
    figures = rig.run(START_NS, GATE_NS)
    assert len(rig.placed) == 2
    assert figures.market_unavailable == 1


def test_prices_are_fetched_once_and_then_what_is_new(rig: Rig) -> None:
    rig.run(START_NS, OUT_NS + 2 * STEP_NS)
    assert rig.market.asked["prices"] == 4, "two places, before and after the publication"
    day_ns = MARKET.delivery_intervals(DAY)[0].start_ns
    end_ns = MARKET.delivery_intervals(DAY)[-1].end_ns
    assert [span[2] for span in rig.market.spans] == [day_ns, day_ns, end_ns, end_ns]
    assert {span[1] for span in rig.market.spans[2:]} == {day_ns}
    starts, values = rig.ledger.prices("HB_NORTH", 0, end_ns, as_of_ns=end_ns)
    assert starts[-1] == end_ns - NS_PER_HOUR
    assert set(values.tolist()) == {20.0}


def test_prices_known_twice_after_a_restart_do_no_harm(rig: Rig) -> None:
    rig.run(START_NS, START_NS + STEP_NS)
    before = len(rig.ledger.prices("HB_WEST", 0, 2**62, as_of_ns=2**62)[0])
    rig.run(START_NS + 2 * STEP_NS, START_NS + 3 * STEP_NS)
    assert len(rig.ledger.prices("HB_WEST", 0, 2**62, as_of_ns=2**62)[0]) == before


def test_award_is_collected_once_it_is_out(rig: Rig) -> None:
    figures = rig.run(START_NS, OUT_NS + 4 * STEP_NS)
    assert figures.awards_collected == 2
    assert rig.market.asked["award"] == 2, "days before the plant was there are not asked for"
    for resource in FLEET.resources:
        (award,) = rig.ledger.awards(resource.resource_id, 0, 2**62)
        assert award.delivery_date == DAY.isoformat()


def test_award_missed_while_away_is_collected_after_the_restart(rig: Rig) -> None:
    rig.run(START_NS, GATE_NS)
    rig.market.away = {"award"}
    rig.run(OUT_NS, OUT_NS + STEP_NS)
    rig.market.away = set()
    figures = rig.run(OUT_NS + NS_PER_HOUR, OUT_NS + NS_PER_HOUR)
    assert figures.awards_collected == 2


def deliver(rig: Rig, *, until_ns: int) -> None:
    """Write meters that stand still, a sample an hour, from before the day up to an instant."""
    day_ns = MARKET.delivery_intervals(DAY)[0].start_ns
    ts_ns = np.arange(day_ns, until_ns + 1, NS_PER_HOUR)
    for row in range(4):
        records = TELEMETRY.empty(len(ts_ns))
        records["ts_ns"] = ts_ns
        records["seq"] = np.arange(1, len(ts_ns) + 1)
        write_history(rig.folder / "history", records, np.full(len(ts_ns), row), ts_ns)


def test_day_is_settled_an_hour_after_it_ended(rig: Rig) -> None:
    end_ns = MARKET.delivery_intervals(DAY)[-1].end_ns
    deliver(rig, until_ns=end_ns)
    rig.run(START_NS, OUT_NS)
    assert rig.run(end_ns, end_ns + NS_PER_HOUR - STEP_NS).days_settled == 0
    assert rig.money_told == 0
    assert rig.run(end_ns + NS_PER_HOUR, end_ns + 3 * NS_PER_HOUR).days_settled == 2
    assert rig.money_told == 1, "both at once"
    settled = [run for run in rig.runs if run.kind == "settle"]
    assert [run.rung for run in settled] == ["provisional"] * 2
    for resource in FLEET.resources:
        kept = rig.ledger.statement(resource.resource_id, DAY.isoformat())
        assert kept is not None
        assert (kept.version, kept.net_amount) == (1, 0)
        sites, shares = rig.ledger.site_shares(resource.resource_id, DAY.isoformat())
        assert len(sites) == len(shares) == len(FLEET.rows_in(resource.group_id))


def test_unchanged_settlement_keeps_its_version_and_late_meters_make_a_new_one(rig: Rig) -> None:
    end_ns = MARKET.delivery_intervals(DAY)[-1].end_ns
    deliver(rig, until_ns=end_ns - 2 * NS_PER_HOUR)
    rig.run(START_NS, OUT_NS)
    rig.run(end_ns + NS_PER_HOUR, end_ns + NS_PER_HOUR)
    rig.run(end_ns + 2 * NS_PER_HOUR, end_ns + 2 * NS_PER_HOUR)
    resource_id = ResourceId(RESOURCES[0])

    def version() -> int:
        kept = rig.ledger.statement(resource_id, DAY.isoformat())
        assert kept is not None
        return kept.version

    assert version() == 1
    deliver(rig, until_ns=end_ns)
    rig.run(end_ns + 3 * NS_PER_HOUR, end_ns + 3 * NS_PER_HOUR)
    assert version() == 2
    assert len({run.workflow_id for run in rig.runs if run.resource_id == resource_id}) == 2


def test_closing_settles_at_once_and_hands_in_an_account(rig: Rig) -> None:
    end_ns = MARKET.delivery_intervals(DAY)[-1].end_ns
    deliver(rig, until_ns=end_ns)
    rig.run(START_NS, OUT_NS)
    rig.run(end_ns - STEP_NS, end_ns, closing=True)
    assert rig.account["rungs"] == {"fresh": 2}
    assert [s["resource_id"] for s in rig.account["statements"]] == RESOURCES
    for statement in rig.account["statements"]:
        assert statement["shares_amount"] == statement["net_amount"] == 0
        assert statement["delivered_wh"] == 0
    assert (rig.account["statistics"]["days_settled"], rig.account["split_error"]) == (2, 0)


def test_day_that_has_not_ended_is_not_settled_even_at_the_close(rig: Rig) -> None:
    end_ns = MARKET.delivery_intervals(DAY)[-1].end_ns
    rig.run(START_NS, OUT_NS)
    rig.run(end_ns - 2 * STEP_NS, end_ns - STEP_NS, closing=True)
    assert rig.account["statements"] == []


def test_every_day_has_its_bid(rig: Rig) -> None:
    rig.run(START_NS, GATE_NS + 49 * NS_PER_HOUR)
    days = [DAY + timedelta(days=n) for n in range(3)]
    assert sorted({d for _, d, _ in rig.placed}) == [day.isoformat() for day in days]
    assert len(rig.placed) == 6
