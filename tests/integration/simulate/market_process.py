"""Run the simulated market as a process of its own, for tests that kill it: arguments are book, port and time."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

import uvicorn

from shoal.market.ercot import ERCOT_DAY_AHEAD
from shoal.simulate.market import create_app
from shoal.simulate.market_book import RegisteredResource
from tests.integration.simulate.clocks import HandClock

RESOURCES = (
    RegisteredResource(resource_id="bess-1", settlement_point="HB_NORTH", participant="shoal"),
    RegisteredResource(resource_id="vpp-1", settlement_point="LZ_NORTH", participant="shoal"),
)
TOKENS = {"token-of-shoal": "shoal", "token-of-other": "other"}
SINCE_NS = ERCOT_DAY_AHEAD.gate_ns(date(2021, 7, 2))

if __name__ == "__main__":
    app = create_app(
        ERCOT_DAY_AHEAD,
        HandClock(int(sys.argv[3])),
        store=Path(sys.argv[1]),
        tokens=TOKENS,
        resources=RESOURCES,
        since_ns=SINCE_NS,
    )
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="critical")
