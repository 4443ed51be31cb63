"""A plant that settles, as a process that stops where a test kills it: ``python -m tests.integration.bidding.settler``.

Arguments: the market's URL, the database, the market, the instant, the folder of the meters' readings, and the point.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from shoal.connect.exchange_http import HttpExchange
from shoal.market.awards import Delivered, Settlement
from shoal.market.registry import market_module
from shoal.store.cycles import Cycles
from tests.integration.bidding.settling_plant import Meters, open_plant

POINTS = ("fetched", "recorded")


def halt(point: str) -> None:
    """Say where it is, and stay there."""
    sys.stdout.write(f"{point}\n")
    sys.stdout.flush()
    time.sleep(600.0)


class HaltsWhenFetched(HttpExchange):
    """Stops with settlements in hand that nothing has been done with."""

    def settlements(self, resource_id: str, delivery_date: str) -> list[Settlement]:
        found = super().settlements(resource_id, delivery_date)
        if found:
            halt("fetched")
        return found


class HaltsWhenRecorded(Cycles):
    """Stops when a settlement is kept and nothing else came of it."""

    def record_settlement(self, settlement: Settlement, *, known_ns: int) -> bool:
        done = super().record_settlement(settlement, known_ns=known_ns)
        halt("recorded")
        return done


def main(url: str, database: str, market_id: str, now: str, readings: str, point: str) -> None:
    """Settle until the point is reached."""
    delivered = msgspec.json.decode(Path(readings).read_bytes(), type=tuple[Delivered, ...])
    kinds: dict[str, Any] = {}
    if point == "fetched":
        kinds["exchange"] = HaltsWhenFetched
    if point == "recorded":
        kinds["cycles"] = HaltsWhenRecorded
    plant = open_plant(url, database, market_module(market_id), Meters(delivered), **kinds)
    for _ in range(50):  # what the market does not answer is asked again
        plant.settling.settle(plant.bidder, plant.market, plant.exchange, now_ns=int(now))


if __name__ == "__main__":
    main(*sys.argv[1:])
