"""Bringing bids to a market that loses answers: read back, never sent twice, withdrawn after the gate."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final

import pytest

from shoal.bidding.cycle.submission import Submission
from shoal.connect.exchange_http import HttpExchange
from shoal.domain.errors import UnavailableError, UnknownIdError
from shoal.domain.interval import NS_PER_S
from shoal.market.awards import MarketReceipt
from shoal.market.bids import LoadTarget, MarketBid, TargetInterval
from shoal.market.registry import market_module
from shoal.simulate.exchange import ExchangeFaults, create_exchange
from shoal.simulate.exchange_book import ExchangeBook, Participant
from shoal.store.cycles import Cycles, MarketBidRecord
from shoal.store.database import migrate, open_database
from tests.integration.simulate.clocks import HandClock
from tests.integration.simulate.test_market import serving

GB: Final = market_module("gb")
DAY: Final = date(2024, 12, 5)
INTERVALS: Final = GB.delivery_intervals("imbalance", DAY)
CLOSES_NS: Final = GB.closes_ns("imbalance", INTERVALS[0])
TOKEN: Final = "token-of-shoal"


@dataclass
class Counted:
    """A way to the market that counts, and may lose what is sent before it arrives."""

    inner: HttpExchange
    sent: Counter[str]
    lost_on_the_way: int = 0
    on_the_way: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event | None = None

    def submit(self, bid: MarketBid, *, timeout_s: float) -> MarketReceipt:
        self.sent[bid.idempotency_key] += 1
        self.on_the_way.set()
        if self.let_go is not None and self.sent.total() == 1:
            assert self.let_go.wait(30.0)  # the first one takes its time
        if self.lost_on_the_way:
            self.lost_on_the_way -= 1
            raise UnavailableError("market", "the line was cut")
        return self.inner.submit(bid, timeout_s=timeout_s)

    def receipt(self, idempotency_key: str, *, timeout_s: float) -> MarketReceipt | None:
        return self.inner.receipt(idempotency_key, timeout_s=timeout_s)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


@dataclass
class Line:
    """A market, the way to it, and the bids of one resource."""

    clock: HandClock
    book: ExchangeBook
    cycles: Cycles
    exchange: Counted
    submission: Submission
    url: str

    def draft(self, key: str, *, interval: int = 0) -> MarketBidRecord:
        span = INTERVALS[interval]
        target = TargetInterval(start_ns=span.start_ns, end_ns=span.end_ns, load_mw=-1.0)

        def make(revision: int) -> MarketBid:
            return MarketBid(
                idempotency_key=key,
                resource_id="big",
                market_id="gb",
                settlement_point="GB",
                delivery_date=DAY.isoformat(),
                revision=revision,
                offers=(LoadTarget(product="imbalance", intervals=(target,)),),
            )

        return self.cycles.draft_bid(
            make,
            resource_id="big",
            market_id="gb",
            delivery_date=DAY.isoformat(),
            idempotency_key=key,
            gate_key="gate",
            closes_ns=CLOSES_NS,
            decision_id=key,
            author="",
            created_ns=self.clock.t_ns,
            digest=lambda _bid: "",
            by="test",
        )

    def states(self, key: str) -> list[str]:
        return [step.state for step in self.cycles.steps(key)]


@contextmanager
def line(folder: Path, faults: ExchangeFaults | None = None, *, exchange_s: float = 5.0) -> Iterator[Line]:
    clock = HandClock(CLOSES_NS - 60 * NS_PER_S)
    app = create_exchange(
        GB,
        clock,
        store=folder / "book.db",
        tokens={TOKEN: "shoal"},
        resources=[
            Participant(resource_id="big", settlement_point="GB", participant="shoal", product="imbalance")
        ],
        tapes=[],
        since_ns=CLOSES_NS,
        faults=faults,
    )
    url = f"sqlite:///{folder / 'plant.db'}"
    migrate(url)
    engine = open_database(url)
    cycles = Cycles(engine)
    with serving(app) as address:
        exchange = Counted(HttpExchange(url=address, token=TOKEN), Counter())
        submission = Submission(
            cycles=cycles,
            exchange=exchange,  # type: ignore[arg-type]
            now_ns=clock.now_ns,
            left_s=lambda t_ns: (t_ns - clock.t_ns) / NS_PER_S,
            by="test",
            exchange_s=exchange_s,
        )
        try:
            yield Line(clock, app.state.book, cycles, exchange, submission, address)
        finally:
            exchange.inner.close()
            engine.dispose()


def test_a_bid_goes_once_and_comes_back_accepted(tmp_path: Path) -> None:
    with line(tmp_path) as to:
        to.draft("k")
        record = to.submission.bring("k", budget_s=10.0)
        assert record.state == "accepted" and record.receipt is not None
        assert to.submission.bring("k", budget_s=10.0).state == "accepted"
        assert to.exchange.sent["k"] == 1
        assert to.states("k") == ["draft", "submitted", "accepted"]
        with pytest.raises(UnknownIdError):
            to.submission.bring("nobody's", budget_s=1.0)


def test_an_answer_that_is_lost_is_read_back_and_nothing_is_sent_again(tmp_path: Path) -> None:
    """Every answer to a first request is lost after it took effect; the seed lets some reads through."""
    with line(tmp_path, ExchangeFaults(unknown_frac=0.5, seed=3)) as to:
        for number in range(4):
            key = f"k{number}"
            to.draft(key, interval=number)
            assert to.submission.bring(key, budget_s=60.0).state == "accepted"
        account = to.book.summary(now_ns=to.clock.t_ns)
        assert (account.bids_accepted, account.bids_received) == (4, 4)
        assert set(to.exchange.sent.values()) == {1}
        lost = [key for key in to.exchange.sent if "unknown" in to.states(key)]
        assert lost
        for key in lost:
            [found] = [step for step in to.cycles.steps(key) if step.state == "accepted"]
            assert found.said.startswith("read back")


def test_an_answer_that_never_comes_is_not_waited_for(tmp_path: Path) -> None:
    """The way in works, the way back hangs: cut off, and as nothing can be read either, the outcome stays unknown."""
    with line(tmp_path, ExchangeFaults(lost_frac=1.0, lost_s=1.5), exchange_s=0.2) as to:
        to.draft("k")
        assert to.submission.bring("k", budget_s=0.3).state == "unknown"
        assert to.exchange.sent["k"] == 1
        assert to.book.receipt("k", participant="shoal") is not None


def test_what_was_lost_on_the_way_is_sent_again_only_after_the_market_said_that_it_is_not_there(
    tmp_path: Path,
) -> None:
    with line(tmp_path) as to:
        to.exchange.lost_on_the_way = 2
        to.draft("k")
        assert to.submission.bring("k", budget_s=20.0).state == "accepted"
        again = ["draft", "submitted", "unknown"]
        assert to.states("k") == [*again, *again, "draft", "submitted", "accepted"]
        assert to.book.summary(now_ns=to.clock.t_ns).bids_received == 1


@pytest.mark.parametrize("died", ["submitted", "unknown"])
def test_another_process_reads_back_what_a_dead_one_left(tmp_path: Path, died: str) -> None:
    with line(tmp_path) as to:
        for key, arrived in (("there", True), ("lost", False)):
            record = to.draft(key, interval=int(arrived))
            assert to.cycles.begin_sending(key, at_ns=to.clock.t_ns, by="dead")
            if arrived:
                to.exchange.inner.submit(record.bid, timeout_s=5.0)
            if died == "unknown":
                to.cycles.move_bid(key, "unknown", at_ns=to.clock.t_ns, by="dead")
        assert to.submission.resolve("there").state == "accepted"
        assert to.submission.resolve("lost").state == "unknown"  # to resolve never sends
        assert to.exchange.sent.total() == 0


def test_a_bid_that_did_not_arrive_before_its_gate_is_withdrawn(tmp_path: Path) -> None:
    with line(tmp_path) as to:
        to.draft("never sent")
        to.draft("sent")
        to.exchange.lost_on_the_way = 1_000
        assert to.submission.bring("sent", budget_s=0.2).state in {"unknown", "accepted"}
        to.clock.t_ns = CLOSES_NS
        before = to.exchange.sent.copy()
        for key in ("never sent", "sent"):
            assert to.submission.bring(key, budget_s=1.0).state == "withdrawn"
        assert to.exchange.sent == before
        assert to.book.summary(now_ns=to.clock.t_ns).bids_received == 0


def test_an_outcome_that_is_unknown_over_the_gate_is_learned_after_it(tmp_path: Path) -> None:
    with line(tmp_path) as to:
        record = to.draft("k")
        to.cycles.begin_sending("k", at_ns=to.clock.t_ns, by="dead")
        to.exchange.inner.submit(record.bid, timeout_s=5.0)
        to.clock.t_ns = CLOSES_NS + NS_PER_S
        assert to.submission.resolve("k").state == "accepted"


def test_what_the_market_refuses_is_kept_with_its_reason(tmp_path: Path) -> None:
    with line(tmp_path, ExchangeFaults(busy_frac=1.0)) as to:
        to.draft("k")
        record = to.submission.bring("k", budget_s=5.0)
        assert record.state == "rejected" and "market_busy" in to.cycles.steps("k")[-1].said
        assert record.receipt is not None and record.receipt.reason == "market_busy"


def test_a_lower_revision_is_not_sent_after_a_higher_one(tmp_path: Path) -> None:
    """To the market it would be a duplicate; what it offered is decided again under a new revision."""
    with line(tmp_path) as to:
        to.draft("old", interval=0)
        to.draft("new", interval=1)
        assert to.submission.bring("new", budget_s=5.0).state == "accepted"
        assert to.submission.bring("old", budget_s=5.0).state == "withdrawn"
        assert to.exchange.sent["old"] == 0
        assert to.book.summary(now_ns=to.clock.t_ns).bids_duplicate == 0


def test_a_market_that_refuses_the_request_itself_ends_the_bid(tmp_path: Path) -> None:
    with line(tmp_path) as to:
        to.draft("k")
        to.exchange.inner.close()
        to.exchange.inner = HttpExchange(url=to.url, token="of nobody")
        record = to.submission.bring("k", budget_s=5.0)
        assert record.state == "rejected" and "401" in to.cycles.steps("k")[-1].said


def test_higher_revision_never_overtakes_a_lower_one_that_is_on_its_way(tmp_path: Path) -> None:
    with line(tmp_path, exchange_s=30.0) as one, ThreadPoolExecutor(2) as pool:
        one.draft("first", interval=0)
        one.draft("second", interval=1)
        one.exchange.let_go = threading.Event()
        first = pool.submit(one.submission.bring, "first", budget_s=30.0)
        assert one.exchange.on_the_way.wait(30.0)
        second = pool.submit(one.submission.bring, "second", budget_s=30.0)
        with pytest.raises(TimeoutError):
            second.result(timeout=0.3)  # it waits for its turn
        one.exchange.let_go.set()
        assert (first.result(30.0).state, second.result(30.0).state) == ("accepted", "accepted")
        account = one.book.summary(now_ns=one.clock.t_ns)
        assert (account.bids_accepted, account.bids_duplicate) == (2, 0)


def test_bid_that_was_read_back_by_another_while_it_was_sent_ends_as_that_one_said(tmp_path: Path) -> None:
    with line(tmp_path) as one, ThreadPoolExecutor(1) as pool:
        one.draft("late")
        one.exchange.let_go = threading.Event()
        one.exchange.lost_on_the_way = 1
        sending = pool.submit(one.submission.bring, "late", budget_s=30.0)
        assert one.exchange.on_the_way.wait(30.0)
        one.clock.t_ns = CLOSES_NS
        assert one.submission.resolve("late").state == "withdrawn"
        one.exchange.let_go.set()
        assert sending.result(30.0).state == "withdrawn"
        assert one.exchange.sent["late"] == 1
