"""Manual bids on their way: drafted once under their author's name, sent as every draft is, withdrawn when taken back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from shoal.bidding.cycle.budget import BudgetRules
from shoal.bidding.cycle.climb import InPlace
from shoal.bidding.cycle.consent import ManualBid, ModeSet
from shoal.bidding.cycle.known import FixedPower, GateRef
from shoal.bidding.cycle.manual import closes_ns, draft_manual
from shoal.bidding.cycle.ports import Bidder, Measured
from shoal.bidding.cycle.workflow import Plant, send_if_allowed
from shoal.domain.interval import NS_PER_S
from shoal.market.bids import LoadTarget, TargetInterval
from shoal.market.registry import market_module
from shoal.store.consents import Consents
from shoal.store.facts import FactStore
from tests.integration.bidding.test_submission import CLOSES_NS, DAY, GB, INTERVALS, Line, line

BIDDER = Bidder(resource_id="big", market_id="gb", settlement_point="GB", strategy="day-ahead")


def by_hand(name: str, *, at_ns: int, withdrawn: bool = False, by: str = "ann") -> ManualBid:
    spans = INTERVALS[2:4]
    targets = tuple(TargetInterval(start_ns=s.start_ns, end_ns=s.end_ns, load_mw=-2.0) for s in spans)
    return ManualBid(
        manual_id=name,
        resource_id="big",
        market_id="gb",
        offers=(LoadTarget(product="imbalance", intervals=targets),),
        fixed=tuple(
            FixedPower(start_ns=s.start_ns, end_ns=s.end_ns, power_kw=-2_000.0, reason="") for s in spans
        ),
        by=by,
        at_ns=at_ns,
        reason="a test of the meter",
        withdrawn=withdrawn,
    )


@pytest.fixture
def at(tmp_path: Path) -> Iterator[tuple[Line, Plant]]:
    with line(tmp_path) as to:
        engine = to.cycles._engine

        def measure(resource_id: str, gate: GateRef, as_of_ns: int) -> Measured:
            raise AssertionError("nothing has to be measured for a bid by hand")

        yield (
            to,
            Plant(
                bidders={"big": BIDDER},
                market=market_module,
                cycles=to.cycles,
                consents=Consents(engine),
                facts=FactStore(engine),
                measure=measure,
                solver=InPlace(),
                submission=lambda _market_id: to.submission,
                now_ns=to.clock.now_ns,
                left_s=lambda t_ns: (t_ns - to.clock.t_ns) / NS_PER_S,
                budget=BudgetRules(),
                executor_id="test",
            ),
        )


def say(plant: Plant, manual: ManualBid) -> None:
    plant.consents.say(
        "manual", subject="big", by=manual.by, at_ns=manual.at_ns, content=msgspec.json.encode(manual)
    )


def test_a_manual_bid_goes_once_under_the_name_of_its_author(at: tuple[Line, Plant]) -> None:
    to, plant = at
    now_ns = to.clock.t_ns
    say(plant, by_hand("m1", at_ns=now_ns))
    assert draft_manual(plant, BIDDER, now_ns=now_ns) == ["m1"]
    assert draft_manual(plant, BIDDER, now_ns=now_ns) == []
    record = to.cycles.bid("m1")
    assert record is not None and (record.author, record.state) == ("ann", "draft")
    assert record.closes_ns == GB.closes_ns("imbalance", INTERVALS[2]) > CLOSES_NS
    assert record.bid.delivery_date == DAY.isoformat()
    assert send_if_allowed(plant, "m1") == "accepted"
    standing = to.book.standing("big", DAY.isoformat())
    assert standing is not None and standing.offers == record.bid.offers


def test_a_manual_bid_waits_for_the_second_pair_of_eyes(at: tuple[Line, Plant]) -> None:
    to, plant = at
    mode = ModeSet(resource_id="big", mode="automatic", four_eyes=True, by="boss", at_ns=1)
    plant.consents.say("mode", subject="big", by="boss", at_ns=1, content=msgspec.json.encode(mode))
    say(plant, by_hand("m1", at_ns=to.clock.t_ns))
    draft_manual(plant, BIDDER, now_ns=to.clock.t_ns)
    assert send_if_allowed(plant, "m1") == "waiting"
    assert to.exchange.sent.total() == 0


def test_a_manual_bid_that_is_taken_back_before_it_went_never_goes(at: tuple[Line, Plant]) -> None:
    to, plant = at
    now_ns = to.clock.t_ns
    say(plant, by_hand("m1", at_ns=now_ns - 9))
    draft_manual(plant, BIDDER, now_ns=now_ns)
    say(plant, by_hand("m1", at_ns=now_ns, withdrawn=True, by="bob"))
    say(plant, by_hand("never", at_ns=now_ns, withdrawn=True))
    assert draft_manual(plant, BIDDER, now_ns=now_ns) == []
    assert [step.by for step in to.cycles.steps("m1")] == ["test", "bob"]
    assert send_if_allowed(plant, "m1") == "withdrawn"
    assert to.cycles.bid("never") is None


def test_a_bid_has_to_be_in_before_the_first_gate_of_what_it_lists() -> None:
    offers = by_hand("m1", at_ns=0).offers
    assert closes_ns(GB, offers) == GB.closes_ns("imbalance", INTERVALS[2])
