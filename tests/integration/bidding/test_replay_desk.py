"""The whole cycle against a market over HTTP, then replayed: bids, decisions and a shadow are the same to the last byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from shoal.bidding.cycle.climb import InPlace
from shoal.bidding.cycle.five_minute import questions
from shoal.bidding.cycle.known import Situation
from shoal.bidding.cycle.replay import replay, replay_all
from shoal.bidding.cycle.shadow import Shadows
from shoal.bidding.cycle.shadow_score import score_shadows
from shoal.bidding.cycle.workflow import Order
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.series import price_series
from shoal.store.facts_records import FactBatch
from tests.integration.bidding.cycle_world import DAY, NEM, POINT, RESOURCE, Desk
from tests.integration.bidding.test_cycle import GATES, bid_through, world

EVER_NS = 2**62


def order_of(desk: Desk, decision_id: str) -> Order:
    """Return the order that a live decision was made for."""
    record = desk.cycles.decision(decision_id)
    about = msgspec.json.decode(record.situation, type=Situation)
    number = int(decision_id.rpartition("-")[2])
    return Order(
        resource_id=record.resource_id,
        gate=about.gate,
        trigger=record.trigger,
        why="",
        event_ns=about.as_of_ns,
        number=number,
    )


def learn_more(desk: Desk, known_ns: int, revision: int, shift: float) -> None:
    """Say something else of every price of the last days, known at an instant of the past or the future."""
    series_id = price_series("nem", POINT, "energy")
    kept = desk.facts.as_of([series_id], 0, EVER_NS, EVER_NS)[series_id]
    count = len(kept.start_ns)
    desk.facts.load(
        FactBatch(
            series_id=series_id,
            source="somebody else",
            known_ns=np.full(count, known_ns),
            revision=np.full(count, revision),
            start_ns=kept.start_ns,
            end_ns=kept.end_ns,
            value=kept.value + shift,
        )
    )


def test_what_the_desk_decided_replays_whatever_was_learned_since(tmp_path: Path) -> None:
    with world(tmp_path) as (clock, desk, _):
        bid_through(clock, desk, intervals=2)
        live = desk.cycles.decision_ids(from_ns=0, to_ns=EVER_NS)
        bidder = replace(desk.plant.bidders[RESOURCE], shadows=("day-ahead", "markov"))
        shadows = Shadows(replace(desk.plant, bidders={RESOURCE: bidder}), solver=InPlace(), budget_s=120.0)
        for name in live:
            shadows.watch(order_of(desk, name))
        assert shadows.wait_idle(120.0) and shadows.statistics().failed == 0
        shadows.close()
        assert len(desk.cycles.bids(resource_id=RESOURCE)) <= len(live)

        before = replay_all(desk.cycles, desk.facts, from_ns=0, to_ns=EVER_NS)
        assert before.same == before.decisions == 3 * len(live), before.not_the_same
        first_ns = min(desk.cycles.decision(name).as_of_ns for name in live)
        for known_ns, revision, shift in (
            (clock.t_ns + 1, 0, 50.0),
            (clock.t_ns + NS_PER_HOUR, 5, -70.0),
            (first_ns, 6, 90.0),
            (0, 9, 400.0),
        ):
            learn_more(desk, known_ns, revision, shift)
        after = replay_all(desk.cycles, desk.facts, from_ns=0, to_ns=EVER_NS)
        assert after.same == after.decisions == before.decisions, after.not_the_same
        for record in desk.cycles.bids(resource_id=RESOURCE):
            assert replay(desk.cycles, desk.facts, record.bid.idempotency_key).verdict == "same"
        [asked] = questions(msgspec.json.decode(desk.cycles.decision(live[-1]).situation, type=Situation))
        assert asked.series_id == price_series("nem", POINT, "energy")

        span = (GATES[1].covers.start_ns, GATES[2].covers.end_ns)
        found = score_shadows(desk.cycles, desk.facts, NEM, RESOURCE, *span, as_of_ns=clock.t_ns)
        assert {(one.strategy, one.shadow) for one in found.books} == {
            ("markov", False),
            ("markov", True),
            ("day-ahead", True),
        }
        # the price of the second interval comes out when it begins
        assert found.intervals == 1 and DAY.isoformat() == found.books[0].days[0].day
