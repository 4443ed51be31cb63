"""Whoever bids for the battery, as far as bids by hand go: it drafts what was submitted."""

from __future__ import annotations

from shoal.api.plant import Plant as ApiPlant
from shoal.bidding.cycle.budget import BudgetRules
from shoal.bidding.cycle.climb import InPlace
from shoal.bidding.cycle.known import GateRef
from shoal.bidding.cycle.manual import draft_manual
from shoal.bidding.cycle.ports import Bidder, Measured
from shoal.bidding.cycle.submission import Submission
from shoal.bidding.cycle.workflow import Plant
from shoal.market.registry import market_module
from shoal.store.consents import Consents
from shoal.store.facts import FactStore
from tests.unit.api.plants import BESS


def bidding(plant: ApiPlant) -> list[str]:
    """Return the bids by hand that a turn of the bidder drafts."""

    def measure(resource_id: str, gate: GateRef, as_of_ns: int) -> Measured:
        raise AssertionError("nothing has to be measured for a bid by hand")

    def submission(market_id: str) -> Submission:
        raise AssertionError("nothing is sent")

    bidder = Bidder(resource_id=BESS, market_id="ercot-da", settlement_point="HB_NORTH", strategy="day-ahead")
    at = Plant(
        bidders={BESS: bidder},
        market=market_module,
        cycles=plant.ledger,
        consents=Consents(plant.database),
        facts=FactStore(plant.database),
        measure=measure,
        solver=InPlace(),
        submission=submission,
        now_ns=plant.now_ns,
        left_s=lambda _ns: 60.0,
        budget=BudgetRules(),
        executor_id="test",
    )
    return draft_manual(at, bidder, now_ns=plant.now_ns())
