"""Decisions, bids and awards on both databases: every step that is allowed and no other, one revision each, one bid a key."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Final, get_args

import msgspec
import pytest
from sqlalchemy import Engine

from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.market.awards import (
    SUBMISSION_STEPS,
    AwardedQuantity,
    MarketAward,
    MarketReceipt,
    SubmissionState,
)
from shoal.market.bids import LoadTarget, MarketBid, TargetInterval
from shoal.store.cycles import Cycles, DecisionRecord, MarketBidRecord

STATES: Final[tuple[SubmissionState, ...]] = get_args(SubmissionState)
DAY: Final = "2024-12-05"
WAYS: Final[dict[SubmissionState, tuple[SubmissionState, ...]]] = {
    "draft": (),
    "submitted": ("submitted",),
    "unknown": ("submitted", "unknown"),
    "accepted": ("submitted", "accepted"),
    "rejected": ("submitted", "rejected"),
    "withdrawn": ("withdrawn",),
    "superseded": ("submitted", "accepted", "superseded"),
}
"""How a bid comes to each state."""


@pytest.fixture
def cycles(tables: Engine) -> Cycles:
    return Cycles(tables)


def bid(key: str, revision: int, *, resource_id: str = "big", load_mw: float = 1.0) -> MarketBid:
    target = TargetInterval(start_ns=0, end_ns=10, load_mw=load_mw)
    return MarketBid(
        idempotency_key=key,
        resource_id=resource_id,
        market_id="gb",
        settlement_point="GB",
        delivery_date=DAY,
        revision=revision,
        offers=(LoadTarget(product="imbalance", intervals=(target,)),),
    )


def draft(
    cycles: Cycles, key: str, *, resource_id: str = "big", make: Callable[[int], MarketBid] | None = None
) -> MarketBidRecord:
    return cycles.draft_bid(
        make or (lambda revision: bid(key, revision, resource_id=resource_id)),
        resource_id=resource_id,
        market_id="gb",
        delivery_date=DAY,
        idempotency_key=key,
        gate_key="gate",
        closes_ns=100,
        decision_id=key,
        author="",
        created_ns=1,
        digest=lambda made: f"digest of {made.offers}"[:64],
        by="one",
    )


def brought_to(cycles: Cycles, key: str, state: SubmissionState) -> None:
    draft(cycles, key)
    for number, step in enumerate(WAYS[state]):
        cycles.move_bid(key, step, at_ns=10 + number, by="one", said=f"step {number}")


@pytest.mark.parametrize(("held", "to"), list(product(STATES, STATES)))
def test_a_bid_moves_only_as_it_may(cycles: Cycles, held: SubmissionState, to: SubmissionState) -> None:
    brought_to(cycles, "k", held)
    before = cycles.steps("k")
    assert [step.state for step in before] == ["draft", *WAYS[held]]
    if to == held:
        assert cycles.move_bid("k", to, at_ns=20, by="two").state == held
        assert cycles.steps("k") == before
    elif to in SUBMISSION_STEPS[held]:
        assert cycles.move_bid("k", to, at_ns=20, by="two", said="so").state == to
        last = cycles.steps("k")[-1]
        assert (last.step_no, last.at_ns, last.state, last.by, last.said) == (
            len(before),
            20,
            to,
            "two",
            "so",
        )
    else:
        with pytest.raises(InvalidInputError, match="can go to"):
            cycles.move_bid("k", to, at_ns=20, by="two")
        assert cycles.steps("k") == before and cycles.bid("k") is not None
        assert cycles.bids(states=[held])[0].state == held


def test_the_ways_of_this_test_cover_every_state() -> None:
    assert set(WAYS) == set(STATES) == set(SUBMISSION_STEPS)


def test_the_same_key_twice_gives_one_bid(cycles: Cycles) -> None:
    first = draft(cycles, "k")
    again = draft(cycles, "k", make=lambda revision: bid("k", revision, load_mw=99.0))
    assert again == first and len(cycles.bids()) == 1 and len(cycles.steps("k")) == 1


def test_concurrent_writers_draw_different_revisions(cycles: Cycles) -> None:
    ready = threading.Barrier(4)
    failures: list[BaseException] = []

    def write(name: str) -> None:
        try:
            ready.wait()
            for number in range(5):
                draft(cycles, f"{name}-{number}")
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=write, args=(f"w{number}",)) for number in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not failures
    assert [one.bid.revision for one in cycles.bids(resource_id="big")] == list(range(1, 21))
    assert draft(cycles, "k", resource_id="small").bid.revision == 1


def test_only_one_of_many_may_send_a_draft(cycles: Cycles) -> None:
    draft(cycles, "k")
    ready = threading.Barrier(4)
    sent: list[bool] = []

    def send(name: str) -> None:
        ready.wait()
        sent.append(cycles.begin_sending("k", at_ns=5, by=name))

    threads = [threading.Thread(target=send, args=(f"w{number}",)) for number in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(sent) == [False, False, False, True]
    assert [step.state for step in cycles.steps("k")] == ["draft", "submitted"]


def test_an_accepted_bid_supersedes_those_before_it_and_none_after(cycles: Cycles) -> None:
    for key in ("a", "b", "c"):
        draft(cycles, key)
    draft(cycles, "other", resource_id="small")
    for key in ("other", "a", "c", "b"):  # the answer to the second comes last
        cycles.move_bid(key, "submitted", at_ns=1, by="one")
        receipt = MarketReceipt(idempotency_key=key, bid_id=f"m-{key}", state="accepted", received_ns=1)
        moved = cycles.move_bid(key, "accepted", at_ns=2, by="one", receipt=receipt)
        assert moved.receipt == receipt
    states = {one.bid.idempotency_key: one.state for one in cycles.bids()}
    assert states["a"] == "superseded" and states["c"] == "accepted" and states["other"] == "accepted"
    # it was accepted, but what stands is the revision above it
    assert states["b"] == "superseded"
    assert cycles.steps("a")[-1].said == "by revision 3"


@pytest.mark.parametrize("held", STATES)
def test_only_a_draft_is_changed_and_takes_the_next_revision_of_its_day(
    cycles: Cycles, held: SubmissionState
) -> None:
    made = draft(cycles, "low")
    draft(cycles, "high")
    for to in WAYS[held]:
        cycles.move_bid("low", to, at_ns=2, by="a")

    def change(found: MarketBid, revision: int) -> MarketBid:
        return msgspec.structs.replace(found, revision=revision)

    changed = cycles.change_draft("low", change, digest=lambda _bid: "other", at_ns=3, by="a", said="why")
    assert changed == cycles.bid("low")
    if held == "draft":
        assert (changed.bid.revision, changed.content_digest) == (3, "other")
        assert [step.said for step in cycles.steps("low")] == ["revision 1", "why"]
    else:
        assert (changed.bid, changed.content_digest) == (made.bid, made.content_digest)
    with pytest.raises(UnknownIdError):
        cycles.change_draft("none", change, digest=lambda _bid: "", at_ns=3, by="a", said="")


def test_the_highest_revision_counts_only_the_states_asked_for(cycles: Cycles) -> None:
    for key in ("a", "b"):
        draft(cycles, key)
    assert cycles.highest_revision("big", "gb", DAY, states=["draft"]) == 2
    assert cycles.highest_revision("big", "gb", DAY, states=["accepted"]) == 0
    cycles.move_bid("a", "submitted", at_ns=1, by="one")
    assert cycles.highest_revision("big", "gb", DAY, states=["submitted", "accepted"]) == 1


def test_what_is_not_there_is_said_so(cycles: Cycles) -> None:
    assert cycles.bid("k") is None and cycles.steps("k") == []
    for act in (
        lambda: cycles.move_bid("k", "submitted", at_ns=1, by="one"),
        lambda: cycles.decision("k"),
    ):
        with pytest.raises(UnknownIdError):
            act()


def test_the_first_decision_of_a_name_stays(cycles: Cycles) -> None:
    record = DecisionRecord(
        decision_id="d",
        resource_id="big",
        market_id="gb",
        gate_key="gate",
        closes_ns=100,
        as_of_ns=50,
        strategy="s",
        strategy_version="1",
        rung="fresh",
        shadow=False,
        trigger="schedule",
        situation="{}",
        questions="[]",
        known_digest="",
        tried="[]",
        decision='{"rung":"fresh"}',
    )
    for one in (record, replace(record, decision="{}"), replace(record, decision_id="w", shadow=True)):
        cycles.record_decision(one)
    assert cycles.decision("d") == record
    assert cycles.decision_ids(from_ns=100, to_ns=101) == ["d"]
    assert cycles.decision_ids("big", from_ns=100, to_ns=101, shadow=None) == ["d", "w"]
    assert cycles.decision_ids("small", from_ns=100, to_ns=101, shadow=None) == []
    assert cycles.decision_ids(from_ns=101, to_ns=200, shadow=None) == []
    assert cycles.resources() == ["big"]


def test_an_award_of_one_version_has_one_content(cycles: Cycles) -> None:
    quantity = AwardedQuantity(product="imbalance", start_ns=0, end_ns=10, power_w=5, price_per_mwh=0.0)
    award = MarketAward(
        resource_id="big",
        market_id="gb",
        settlement_point="GB",
        delivery_date=DAY,
        bid_id="m",
        version=1,
        published_ns=1,
        quantities=(quantity,),
    )
    assert cycles.record_award(award, known_ns=5) and not cycles.record_award(award, known_ns=9)
    with pytest.raises(InvalidInputError, match="version 1"):
        cycles.record_award(msgspec.structs.replace(award, quantities=()), known_ns=9)
    assert cycles.record_award(msgspec.structs.replace(award, version=2, quantities=()), known_ns=9)
    assert [one.version for one in cycles.awards("big", "gb", DAY)] == [1, 2]
