"""A word by hand while the plant makes its own revision: it stands in what the market finally has, whatever comes first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from shoal.bidding.cycle.climb import Climbed
from shoal.bidding.cycle.consent import Approval, ManualBid, ModeSet
from shoal.bidding.cycle.known import FixedPower, GateRef, Situation
from shoal.bidding.cycle.manual import draft_manual
from shoal.bidding.cycle.workflow import (
    Order,
    decide_now,
    decision_record,
    draft,
    send_if_allowed,
    situation_of,
)
from shoal.domain.interval import NS_PER_S
from shoal.market.bids import BandInterval, BandOffer, MarketBid
from shoal.market.standing import starts_of
from shoal.simulate.exchange_book import ExchangeBook
from tests.integration.bidding.cycle_world import DAY, RESOURCE, Desk
from tests.integration.bidding.test_cycle import GATES, order_for, world
from tests.integration.simulate.clocks import HandClock

OWN = 1
"""The gate for which the plant makes its revision: it lists this interval and the two that follow."""


def bands_mw(book: ExchangeBook, number: int) -> dict[str, float]:
    """Return what stands in the market for the interval of a gate, by side."""
    standing = book.standing(RESOURCE, DAY.isoformat())
    assert standing is not None
    start_ns = GATES[number].covers.start_ns
    return {
        offer.side: one.max_avail_mw
        for offer in standing.offers
        if isinstance(offer, BandOffer)
        for one in offer.intervals
        if one.start_ns == start_ns
    }


def say(desk: Desk, clock: HandClock, name: str, *numbers: int, mw: float, by: str = "ann") -> None:
    """Say by hand that some intervals sell so much, and buy nothing."""
    day = desk.cycles.bids(resource_id=RESOURCE, delivery_date=DAY.isoformat())[0].bid
    spans = [GATES[number].covers for number in numbers]
    offers = []
    for offer in day.offers:
        assert isinstance(offer, BandOffer)
        sold = mw if offer.side == "gen" else 0.0
        listed = tuple(
            BandInterval(
                start_ns=span.start_ns,
                end_ns=span.end_ns,
                max_avail_mw=sold,
                band_avail_mw=(sold, *(0.0,) * 9),
            )
            for span in spans
        )
        offers.append(msgspec.structs.replace(offer, intervals=listed))
    word = ManualBid(
        manual_id=name,
        resource_id=RESOURCE,
        market_id="nem",
        offers=tuple(offers),
        fixed=tuple(
            FixedPower(start_ns=span.start_ns, end_ns=span.end_ns, power_kw=-mw * 1e3, reason="")
            for span in spans
        ),
        by=by,
        at_ns=clock.t_ns,
        reason="a test of the meter",
    )
    desk.consents.say("manual", subject=RESOURCE, by=by, at_ns=clock.t_ns, content=msgspec.json.encode(word))


def drafted(desk: Desk, clock: HandClock) -> None:
    bidder = desk.plant.bidders[RESOURCE]
    draft_manual(desk.plant, bidder, now_ns=clock.t_ns)


class Made:
    """The plant's own revision, step by step as its workflow takes them; between any two of them it may be killed."""

    def __init__(self, desk: Desk, *, number: int = 7) -> None:
        self._desk = desk
        self.order: Order = msgspec.structs.replace(order_for(OWN), number=number)
        self.about: Situation = situation_of(desk.plant, self.order, shadow="")
        self.climbed: Climbed = decide_now(desk.plant, self.order, self.about)

    def drafts(self) -> str:
        record = decision_record(self.order, self.about, self.climbed, shadow=False)
        self._desk.cycles.record_decision(record)
        made = draft(self._desk.plant, self.order, self.about, self.climbed.decision, author="")
        return made.bid.idempotency_key


def begin(clock: HandClock, desk: Desk) -> None:
    """Bid for the day; then its gate closes."""
    clock.t_ns = GATES[0].closes_ns - 60 * NS_PER_S
    desk.turn(clock.t_ns)
    clock.t_ns = GATES[0].closes_ns + NS_PER_S
    desk.turn(clock.t_ns)


def state(desk: Desk, key: str) -> str:
    record = desk.cycles.bid(key)
    assert record is not None
    return record.state


@pytest.mark.parametrize("first", ["plant", "hand"])
def test_word_between_the_decision_and_its_draft_stands_whichever_goes_first(
    tmp_path: Path, first: str
) -> None:
    with world(tmp_path) as (clock, desk, book):
        begin(clock, desk)
        made = Made(desk)
        say(desk, clock, "m", OWN + 1, mw=7.0)
        drafted(desk, clock)
        own = made.drafts()
        for key in (own, "m") if first == "plant" else ("m", own):
            assert send_if_allowed(desk.plant, key) == "accepted"
        assert bands_mw(book, OWN + 1) == {"gen": 7.0, "load": 0.0}
        sent = desk.cycles.bid(own)
        assert sent is not None
        # the rest of what the plant made is there
        assert {start for one in sent.bid.offers for start in starts_of(one)} == {
            GATES[OWN].covers.start_ns,
            GATES[OWN + 2].covers.start_ns,
        }
        assert any("ann decided by hand" in step.said for step in desk.cycles.steps(own))
        assert book.summary(now_ns=clock.t_ns).bids_duplicate == 0


@pytest.mark.parametrize("first", ["plant", "hand"])
def test_word_between_the_draft_and_its_sending_stands_whichever_goes_first(
    tmp_path: Path, first: str
) -> None:
    with world(tmp_path) as (clock, desk, book):
        begin(clock, desk)
        own = Made(desk).drafts()
        say(desk, clock, "m", OWN + 1, mw=7.0)
        drafted(desk, clock)
        for key in (own, "m") if first == "plant" else ("m", own):
            send_if_allowed(desk.plant, key)
        assert state(desk, "m") == "accepted"
        # what is made for an older footing is withdrawn, and made anew by the keeper
        assert state(desk, own) == ("superseded" if first == "plant" else "withdrawn")
        assert bands_mw(book, OWN + 1) == {"gen": 7.0, "load": 0.0}


def test_word_is_gone_over_while_it_is_on_its_way_and_goes_over_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plant's newer revision goes after the word was found fit, and before the word is sent."""
    with world(tmp_path) as (clock, desk, book):
        begin(clock, desk)
        made = Made(desk)
        say(desk, clock, "m", OWN, mw=7.0)
        drafted(desk, clock)
        own = made.drafts()
        submission = desk.plant.submission("nem")
        inner: Callable[..., object] = type(submission).bring

        def bring(self: object, key: str, *, budget_s: float) -> object:
            if key == "m":
                inner(self, own, budget_s=budget_s)
            return inner(self, key, budget_s=budget_s)

        monkeypatch.setattr(type(submission), "bring", bring)
        assert send_if_allowed(desk.plant, "m") == "accepted"
        assert bands_mw(book, OWN) == {"gen": 7.0, "load": 0.0}
        assert any("goes over revision" in step.said for step in desk.cycles.steps("m"))
        assert book.summary(now_ns=clock.t_ns).bids_duplicate == 0


@pytest.mark.parametrize("died", ["word drafted", "drafted", "word sent"])
def test_killed_bidder_comes_back_and_the_word_stands(tmp_path: Path, died: str) -> None:
    with world(tmp_path) as (clock, desk, book):
        begin(clock, desk)
        made = Made(desk)
        say(desk, clock, "m", OWN + 1, mw=7.0)
        steps = ["word drafted", "drafted", "word sent"]
        reached = steps[: steps.index(died) + 1]
        drafted(desk, clock)
        if "drafted" in reached:
            made.drafts()
        if "word sent" in reached:
            send_if_allowed(desk.plant, "m")
        desk.forget()
        for before_s in (40, 20):
            clock.t_ns = GATES[OWN].closes_ns - before_s * NS_PER_S
            desk.turn(clock.t_ns)
        assert state(desk, "m") in {"accepted", "superseded"}
        assert bands_mw(book, OWN + 1) == {"gen": 7.0, "load": 0.0}
        newest = desk.cycles.decisions(
            RESOURCE, from_ns=GATES[OWN].closes_ns, to_ns=GATES[OWN].closes_ns + 1
        )[-1]
        about = msgspec.json.decode(newest.situation, type=Situation)
        assert [one.start_ns for one in about.fixed] == [GATES[OWN + 1].covers.start_ns]


def test_keeper_makes_the_plants_own_bid_anew_around_a_word_that_came_meanwhile(tmp_path: Path) -> None:
    """The whole of it through the keeper: the word comes while its workflow measures."""
    with world(tmp_path) as (clock, desk, book):
        begin(clock, desk)
        measure, said = desk.plant.measure, list[GateRef]()

        def measured(resource_id: str, gate: GateRef, as_of_ns: int) -> object:
            found = measure(resource_id, gate, as_of_ns)
            if gate.covers_start_ns == GATES[OWN].covers.start_ns and not said:
                said.append(gate)
                clock.t_ns += 1  # after the instant of which all is known
                say(desk, clock, "m", OWN, OWN + 1, mw=7.0)
                drafted(desk, clock)
            return found

        object.__setattr__(desk.plant, "measure", measured)
        for before_s in (100, 60, 30, 10):
            clock.t_ns = max(GATES[OWN].closes_ns - before_s * NS_PER_S, clock.t_ns)
            desk.turn(clock.t_ns)
        assert said and state(desk, "m") in {"accepted", "superseded"}
        assert bands_mw(book, OWN) == bands_mw(book, OWN + 1) == {"gen": 7.0, "load": 0.0}
        account = book.summary(now_ns=clock.t_ns)
        assert account.bids_duplicate == account.bids_late == account.bids_rejected == 0


@pytest.mark.parametrize("first", ["m1", "m2"])
def test_of_two_words_both_stand_and_the_later_one_where_they_meet(tmp_path: Path, first: str) -> None:
    with world(tmp_path) as (clock, desk, book):
        begin(clock, desk)
        made = Made(desk)
        say(desk, clock, "m1", OWN, OWN + 1, mw=7.0)
        clock.t_ns += 1
        say(desk, clock, "m2", OWN + 1, OWN + 2, mw=9.0, by="bob")
        drafted(desk, clock)
        own = made.drafts()
        for key in (first, own, "m2" if first == "m1" else "m1"):
            send_if_allowed(desk.plant, key)
        assert [bands_mw(book, OWN + k)["gen"] for k in range(3)] == [7.0, 9.0, 9.0]
        assert {state(desk, "m1"), state(desk, "m2")} == {"accepted", "superseded"}
        assert state(desk, own) == "withdrawn"  # people decided all that it lists
        assert desk.cycles.steps(own)[-1].said == "ann, bob decided all of it by hand"


def test_keeper_sends_two_words_in_the_order_they_were_made(tmp_path: Path) -> None:
    with world(tmp_path) as (clock, desk, book):
        begin(clock, desk)
        for name, mw in (("m1", 7.0), ("m2", 9.0)):
            clock.t_ns += 1
            say(desk, clock, name, OWN + 1, mw=mw)
        for _ in range(2):
            desk.turn(clock.t_ns)
        assert bands_mw(book, OWN + 1)["gen"] == 9.0
        assert [step.state for step in desk.cycles.steps("m1")][:3] == ["draft", "submitted", "accepted"]


def test_approval_of_a_word_covers_it_over_what_has_gone_meanwhile(tmp_path: Path) -> None:
    with world(tmp_path) as (clock, desk, book):
        begin(clock, desk)
        mode = ModeSet(resource_id=RESOURCE, mode="automatic", four_eyes=True, by="boss", at_ns=1)
        desk.consents.say("mode", subject=RESOURCE, by="boss", at_ns=1, content=msgspec.json.encode(mode))
        made = Made(desk)
        say(desk, clock, "m", OWN + 1, mw=7.0)
        drafted(desk, clock)
        own = made.drafts()
        assert send_if_allowed(desk.plant, "m") == "waiting"
        assert send_if_allowed(desk.plant, own) == "accepted"
        waits = desk.cycles.bid("m")
        assert waits is not None
        yes = Approval(
            idempotency_key="m",
            content_digest=waits.content_digest,
            approved=True,
            by="bob",
            at_ns=clock.t_ns,
        )
        desk.consents.say(
            "approval", subject="m", by="bob", at_ns=clock.t_ns, content=msgspec.json.encode(yes)
        )
        assert send_if_allowed(desk.plant, "m") == "accepted"
        assert bands_mw(book, OWN + 1) == {"gen": 7.0, "load": 0.0}


def test_word_that_is_taken_back_leaves_the_plants_own_bid_whole(tmp_path: Path) -> None:
    with world(tmp_path) as (clock, desk, _book):
        begin(clock, desk)
        made = Made(desk)
        say(desk, clock, "m", OWN, mw=7.0)
        drafted(desk, clock)
        own = made.drafts()
        [word] = [
            msgspec.json.decode(one.content, type=ManualBid)
            for one in desk.consents.said("manual", subject=RESOURCE, as_of_ns=clock.t_ns)
        ]
        back = msgspec.structs.replace(word, withdrawn=True)
        desk.consents.say(
            "manual", subject=RESOURCE, by="ann", at_ns=clock.t_ns, content=msgspec.json.encode(back)
        )
        before: MarketBid | None = getattr(desk.cycles.bid(own), "bid", None)
        assert send_if_allowed(desk.plant, own) == "accepted"
        assert before is not None and getattr(desk.cycles.bid(own), "bid", None) == before
