"""A process that places bids on the durable engine, for tests that kill it.

It is given the folder, the market, the days, and where to die. It says the status of each bid in a file.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from dbos import DBOS, DBOSConfig

from shoal.bidding.workflow import BidOptions, BidWorkflow
from shoal.connect.market_http import MarketGateway
from shoal.domain.errors import UnavailableError
from shoal.domain.interval import NS_PER_HOUR, Interval
from shoal.domain.telemetry import TELEMETRY
from shoal.domain.twins import FleetView
from shoal.market.ercot import ERCOT_DAY_AHEAD as MARKET
from shoal.market.types import Bid, BidReceipt, ClearingPrice
from shoal.simulate.prices import prices_over
from shoal.store.database import migrate, open_database
from shoal.store.ledger import Ledger
from tests.integration.simulate.clocks import HandClock
from tests.integration.store.fleets import make_fleet

FLEET = make_fleet(300)
RESOURCE = FLEET.resources[0]
TOKEN = "token-of-shoal"
HISTORY_DAYS = 40

T = TypeVar("T")


def now_ns(day: date) -> int:
    """Return when the bid for a day is made: an hour before its gate."""
    return MARKET.gate_ns(day) - NS_PER_HOUR


class DyingGateway(MarketGateway):
    """A gateway whose process dies around an exchange, or which loses sight of the market for a while."""

    die_at = ""
    away = 0

    def receipt(self, idempotency_key: str) -> BidReceipt | None:
        if self.die_at == "made":
            die()
        return self._seen(lambda: super(DyingGateway, self).receipt(idempotency_key))

    def submit(self, bid: Bid) -> BidReceipt:
        answer = super().submit(bid)
        if self.die_at == "sent":
            die()
        return self._seen(lambda: answer)

    def _seen(self, answer: Callable[[], T]) -> T:
        """Lose answers from the first submission on, `away` times."""
        found = answer()
        if found is not None and self.away > 0:
            self.away -= 1
            raise UnavailableError("market", "out of sight")
        return found


class DyingLedger(Ledger):
    """A ledger whose process dies right after a bid was recorded."""

    die_at = ""

    def record_bid(self, bid: Bid, *, rung: str, rung_reason: str, created_ns: int) -> None:
        super().record_bid(bid, rung=rung, rung_reason=rung_reason, created_ns=created_ns)
        if self.die_at == "recorded":
            die()


def die() -> None:
    """End as by ``kill -9``."""
    os.kill(os.getpid(), signal.SIGKILL)


def record_prices(ledger: Ledger, day: date) -> None:
    """Put the real prices up to the day's start into the ledger."""
    end_ns = MARKET.delivery_intervals(day)[0].start_ns
    span = Interval(start_ns=end_ns - HISTORY_DAYS * 24 * NS_PER_HOUR, end_ns=end_ns)
    starts, cents = prices_over(RESOURCE.settlement_point, span)
    ledger.record_prices(
        [
            ClearingPrice(
                settlement_point=RESOURCE.settlement_point,
                start_ns=int(start),
                end_ns=int(start) + NS_PER_HOUR,
                price_per_mwh=int(price) / 100,
                published_ns=span.start_ns,
            )
            for start, price in zip(starts, cents, strict=True)
        ]
    )


def main(task: dict[str, Any]) -> None:
    """Place the bids of the task."""
    folder = Path(task["folder"])
    days = [date.fromisoformat(text) for text in task["days"]]
    url = f"sqlite:///{folder / 'ledger.db'}"
    if not (folder / "ledger.db").exists():
        migrate(url)
    ledger = DyingLedger(open_database(url))
    record_prices(ledger, days[-1])
    ledger.die_at = task["die_at"]
    gateway = DyingGateway(url=task["market"], token=TOKEN)
    gateway.die_at, gateway.away = task["die_at"], task.get("away", 0)
    clock = HandClock(now_ns(days[0]))

    def view() -> FleetView:
        if task.get("twins_away"):
            raise UnavailableError("twin shard 0", "it does not answer")
        latest = TELEMETRY.empty(len(FLEET.site_ids))
        latest["ts_ns"] = clock.now_ns()
        latest["soc_frac"] = np.linspace(0.3, 0.9, len(latest))
        return FleetView(t_ns=clock.now_ns(), latest=latest)

    config: DBOSConfig = {
        "name": "shoal-bidding",
        "system_database_url": f"sqlite:///{folder / 'workflows.db'}",
        "executor_id": "bidding",
        "application_version": "test",
        "log_level": "ERROR",
    }
    DBOS(config=config)
    workflow = BidWorkflow(
        fleet=FLEET,
        clock=clock,
        ledger=ledger,
        gateway=gateway,
        view=view,
        publish_run=lambda _: None,
        options=BidOptions(
            forecast_budget_s=20.0,
            optimise_budget_s=20.0,
            submit_budget_s=0.0 if task.get("away") else 20.0,
            availability_frac=task.get("availability_frac", 0.95),
            fresh_timeout_s=180.0,
        ),
    )
    said = (folder / "said.txt").open("a", encoding="utf-8", buffering=1)
    code = 1
    try:
        DBOS.launch()
        for day in days:
            clock.t_ns = now_ns(day) + task.get("late_ns", 0)
            for _ in range(task.get("asks", 1)):
                said.write(f"{workflow.bring(RESOURCE.resource_id, day.isoformat())}\n")
                if task.get("away"):
                    recorded = ledger.bids(delivery_date=day.isoformat())[0].status
                    said.write(f"recorded {recorded}\n")
                    gateway.away = 0
        code = 0
    finally:
        if code:
            traceback.print_exc()
        # without a goodbye: whatever matters is on the disk, and the engine takes a second to stop
        os._exit(code)
