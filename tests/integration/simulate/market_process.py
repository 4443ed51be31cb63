"""Run the simulated market as a process of its own, for tests that kill it: arguments are book, port and time."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

import uvicorn

from shoal.cli.roles.market import real_tape
from shoal.market.registry import market_module
from shoal.simulate.exchange import create_exchange
from shoal.simulate.exchange_book import Participant
from tests.integration.simulate.clocks import HandClock

MARKET = market_module("ercot-da")
RESOURCES = tuple(
    Participant(resource_id=resource_id, settlement_point=point, participant="shoal", product="day-ahead")
    for resource_id, point in (("bess-1", "HB_NORTH"), ("vpp-1", "LZ_NORTH"))
)
TAPES = tuple(real_tape(MARKET, resource.settlement_point) for resource in RESOURCES)
TOKENS = {"token-of-shoal": "shoal", "token-of-other": "other"}
SINCE_NS = MARKET.gates("day-ahead", date(2021, 7, 2))[0].closes_ns

if __name__ == "__main__":
    app = create_exchange(
        MARKET,
        HandClock(int(sys.argv[3])),
        store=Path(sys.argv[1]),
        tokens=TOKENS,
        resources=RESOURCES,
        tapes=TAPES,
        since_ns=SINCE_NS,
    )
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="critical")
