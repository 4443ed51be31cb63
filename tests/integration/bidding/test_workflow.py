"""The durable workflow against the simulated market over HTTP: one bid a gate, whoever dies and whatever is lost."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import msgspec
import pytest

from shoal.bidding.workflow import bid_workflow_id
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.ercot import ERCOT_DAY_AHEAD as MARKET
from shoal.simulate.market import MarketFaults, create_app
from shoal.simulate.market_book import MarketSummary, RegisteredResource
from shoal.store.database import open_database
from shoal.store.ledger import Ledger
from tests.integration.bidding.bidder import RESOURCE, TOKEN, main, now_ns
from tests.integration.simulate.clocks import HandClock
from tests.integration.simulate.test_market import serving

DAY = date(2021, 7, 2)
KEY = f"{bid_workflow_id(RESOURCE.resource_id, DAY.isoformat())}-r1"

Bidder: TypeAlias = Callable[..., tuple[int | None, list[str]]]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A market that runs, and what its own book says."""

    url: str
    clock: HandClock

    def summary(self) -> MarketSummary:
        answer = httpx.get(
            f"{self.url}/summary", headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False, timeout=10
        )
        return msgspec.json.decode(answer.content, type=MarketSummary)


@contextmanager
def exchange(folder: Path, *, faults: MarketFaults | None = None, day: date = DAY) -> Iterator[Exchange]:
    clock = HandClock(now_ns(day))
    app = create_app(
        MARKET,
        clock,
        store=folder / "market" / "book.db",
        tokens={TOKEN: "shoal"},
        resources=[
            RegisteredResource(
                resource_id=RESOURCE.resource_id,
                settlement_point=RESOURCE.settlement_point,
                participant="shoal",
            )
        ],
        since_ns=MARKET.gate_ns(DAY),
        faults=faults,
    )
    with serving(app) as url:
        yield Exchange(url, clock)


@pytest.fixture(scope="module")
def forks() -> Iterator[ForkServerContext]:
    """Yield a server that has everything imported and forks a process at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "tests.integration.bidding.warm"])
    yield context
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.fixture
def bidder(forks: ForkServerContext, tmp_path: Path) -> Bidder:
    """Return how to run a process of the bidder to its end: its exit code, and what it said."""

    def run(market: Exchange, **task: Any) -> tuple[int | None, list[str]]:
        said = tmp_path / "said.txt"
        said.unlink(missing_ok=True)
        whole = {
            "folder": str(tmp_path),
            "market": market.url,
            "days": [DAY.isoformat()],
            "die_at": "",
            **task,
        }
        process = forks.Process(target=main, args=(whole,))
        process.start()
        process.join(60)
        if process.is_alive():
            process.kill()
            process.join()
            pytest.fail("the bidder hangs")
        code = process.exitcode
        process.close()
        return code, said.read_text(encoding="utf-8").splitlines() if said.exists() else []

    return run


@contextmanager
def ledger(folder: Path) -> Iterator[Ledger]:
    engine = open_database(f"sqlite:///{folder / 'ledger.db'}")
    try:
        yield Ledger(engine)
    finally:
        engine.dispose()


@pytest.mark.parametrize(
    ("die_at", "received"),
    [("recorded", 0), ("made", 0), ("sent", 1)],
    ids=["in make", "between", "in submit"],
)
def test_killed_workflow_goes_on_and_places_exactly_one_bid(
    tmp_path: Path, bidder: Bidder, die_at: str, received: int
) -> None:
    with exchange(tmp_path) as market:
        assert bidder(market, die_at=die_at) == (-signal.SIGKILL, [])
        assert market.summary().bids_received == received
        with ledger(tmp_path) as books:
            before = books.bid(KEY)
            assert before.status == "building"
        # the successor has other settings: a bid that it made anew would be another one
        assert bidder(market, availability_frac=0.5, asks=2) == (0, ["accepted", "accepted"])
        account = market.summary()
        assert (account.bids_received, account.bids_accepted, account.bids_repeated) == (1, 1, 0)
    with ledger(tmp_path) as books:
        after = books.bid(KEY)
        assert (after.bid, after.rung, after.status) == (before.bid, "fresh", "accepted")
        assert len(books.bids()) == 1
        run = books.run(bid_workflow_id(RESOURCE.resource_id, DAY.isoformat()))
        assert run is not None
        assert (run.status, run.rung) == ("accepted", "fresh")
        assert run.finished_ns is not None
        assert run.steps[-1].name == "submit"


def test_unknown_outcomes_are_read_back_and_never_sent_twice(tmp_path: Path, bidder: Bidder) -> None:
    days = [DAY + timedelta(days=n) for n in range(3)]
    with exchange(tmp_path, faults=MarketFaults(unknown_frac=0.5, seed=5)) as market:
        assert bidder(market, days=[day.isoformat() for day in days]) == (0, ["accepted"] * 3)
        account = market.summary()
    assert (account.bids_received, account.bids_accepted) == (3, 3)
    assert (account.bids_repeated, account.bids_duplicate, account.bids_conflicting) == (0, 0, 0)
    with ledger(tmp_path) as books:
        for record in books.bids():
            assert record.status == "accepted"
            assert record.bid.orders, "there was something to offer"


def test_outcome_still_unknown_is_resolved_when_asked_again(tmp_path: Path, bidder: Bidder) -> None:
    with exchange(tmp_path) as market:
        code, said = bidder(market, away=99, asks=2)
        assert (code, said) == (0, ["unknown", "recorded unknown", "accepted", "recorded accepted"])
        assert market.summary().bids_received == 1


def test_bid_stands_although_the_twins_do_not_answer(tmp_path: Path, bidder: Bidder) -> None:
    with exchange(tmp_path) as market:
        assert bidder(market, twins_away=True) == (0, ["accepted"])
    with ledger(tmp_path) as books:
        record = books.bid(KEY)
        assert record.rung == "fresh"
        first = record.bid.orders[0]
        assert first.side == "buy", "everybody is taken to stand at the reserve: there is nothing to sell yet"


def test_bid_at_the_gate_is_missed_and_never_sent(tmp_path: Path, bidder: Bidder) -> None:
    with exchange(tmp_path) as market:
        assert bidder(market, late_ns=NS_PER_HOUR) == (0, ["missed"])
        assert market.summary().bids_received == 0
    with ledger(tmp_path) as books:
        run = books.run(bid_workflow_id(RESOURCE.resource_id, DAY.isoformat()))
        assert run is not None
        assert run.status == "missed"
