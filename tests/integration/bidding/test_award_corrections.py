"""An award that the market corrects: it is noted on the bid, changes what is committed, and leads to another bid."""

from __future__ import annotations

from pathlib import Path

import msgspec

from shoal.bidding.cycle.known import Situation
from shoal.domain.interval import NS_PER_S, iso
from shoal.market.awards import MarketAward
from tests.integration.bidding.cycle_world import DAY, DAY_NS, RESOURCE
from tests.integration.bidding.test_cycle import GATES, bid_through, world


def test_a_corrected_award_is_noted_and_leads_to_another_bid(tmp_path: Path) -> None:
    with world(tmp_path) as (clock, desk, _book):
        bid_through(clock, desk, intervals=3)
        clock.t_ns = GATES[3].closes_ns + 190 * NS_PER_S
        desk.turn(clock.t_ns)  # the next gate has its bid
        orders = desk.keeper.statistics().orders_given
        before = desk.exchange.awards(RESOURCE, DAY.isoformat())[-1]
        last = before.quantities[-1]
        mended = msgspec.structs.replace(
            before,
            version=before.version + 1,
            quantities=(
                *before.quantities[:-1],
                msgspec.structs.replace(last, power_w=last.power_w - 5_000_000),
            ),
        )
        real = desk.exchange.awards

        def awards(resource_id: str, delivery_date: str) -> list[MarketAward]:
            found = real(resource_id, delivery_date)
            return [*found, mended] if delivery_date == DAY.isoformat() else found

        clock.t_ns += 20 * NS_PER_S
        desk.turn(clock.t_ns)
        assert desk.keeper.statistics().orders_given == orders  # nothing is new
        desk.exchange.awards = awards  # type: ignore[method-assign]
        clock.t_ns += 20 * NS_PER_S
        desk.turn(clock.t_ns)
        assert desk.keeper.statistics().orders_given == orders + 1
        (newest,) = [
            decision
            for name in desk.cycles.decision_ids(RESOURCE, from_ns=clock.t_ns, to_ns=clock.t_ns + DAY_NS)
            if (decision := desk.cycles.decision(name)).as_of_ns == clock.t_ns
        ]
        assert newest.trigger == "late"
        about = msgspec.json.decode(newest.situation, type=Situation)
        assert mended.quantities[-1] in about.commitments and last not in about.commitments
        notes = [
            (step.by, step.said)
            for record in desk.cycles.bids(resource_id=RESOURCE)
            for step in desk.cycles.steps(record.bid.idempotency_key)
            if step.said.startswith("award version")
        ]
        said = f"award version {mended.version} corrects 1, the first energy at {iso(last.start_ns)}"
        assert [by for by, _ in notes] == ["nem"] and notes[0][1].startswith(said)
        assert desk.collector.statistics().corrections == 1
