"""The market of the bidding benchmark as a process: ``python -m shoal.cli.benches._bidding_market PLAN``."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn

from shoal.cli.benches._bidding_plan import PARTICIPANT, POINT, RESOURCE, Plan, price_tape, read_plan
from shoal.market.registry import market_module
from shoal.simulate.exchange import ExchangeFaults, create_exchange
from shoal.simulate.exchange_book import Participant
from shoal.simulate.exchange_tape import Corrections

FAULTS_FRAC = 0.05


def main(plan: Plan) -> None:
    """Serve until terminated."""
    faults = (
        ExchangeFaults(
            slow_frac=FAULTS_FRAC,
            slow_s=0.2,
            refused_frac=FAULTS_FRAC,
            unknown_frac=FAULTS_FRAC,
            lost_frac=FAULTS_FRAC / 5,
            lost_s=2.0,
            busy_frac=FAULTS_FRAC,
            seed=plan.seed,
        )
        if plan.hostile
        else ExchangeFaults()
    )
    app = create_exchange(
        market_module("nem"),
        plan.clock(),
        store=Path(plan.folder) / "market.db",
        tokens={plan.token: PARTICIPANT},
        resources=[
            Participant(
                resource_id=RESOURCE, settlement_point=POINT, participant=PARTICIPANT, product="energy"
            )
        ],
        tapes=[price_tape(plan)],
        since_ns=plan.origin_ns,
        faults=faults,
        corrections=Corrections(share_frac=FAULTS_FRAC if plan.hostile else 0.0, seed=plan.seed),
    )
    uvicorn.run(app, host="127.0.0.1", port=plan.port, log_level="critical")


if __name__ == "__main__":
    main(read_plan(Path(sys.argv[1])))
