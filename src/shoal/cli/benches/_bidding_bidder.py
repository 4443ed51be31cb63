"""A bidder of the bidding benchmark as a process: ``python -m shoal.cli.benches._bidding_bidder PLAN NAME``.

Everything is the product's own but the battery, which stands where its awards bring it, and the solvers that fail on
purpose.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
from dbos import DBOS

from shoal.bidding.cycle.budget import BudgetRules
from shoal.bidding.cycle.known import GateRef
from shoal.bidding.cycle.ports import Bidder, Measured
from shoal.bidding.cycle.projection import stored_kwh
from shoal.bidding.cycle.runner import RunnerOptions, open_autobidder
from shoal.cli.benches._bidding_plan import POINT, RESOURCE, STORAGE, Plan, read_plan
from shoal.cli.benches._bidding_rungs import NAME
from shoal.connect.exchange_http import HttpExchange
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.market.registry import market_module
from shoal.store.cycles import Cycles
from shoal.store.database import open_database

TURN_S = 0.1
DAILY_LEAD_S = 3 * 3_600.0
EARLY_LEAD_S = 18 * 3_600.0
SUBMIT_LEAST_S = 0.8


class PaperBattery:
    """A battery that follows its awards exactly, from where it stood at the start of the run."""

    def __init__(self, cycles: Cycles, plan: Plan) -> None:
        self._cycles = cycles
        self._market = market_module("nem")
        self._from_ns = plan.origin_ns

    def __call__(self, resource_id: str, gate: GateRef, as_of_ns: int, /) -> Measured:
        """Return where it stands."""
        energy_kwh = STORAGE.initial_energy_kwh
        day, last = self._market.delivery_date(self._from_ns), self._market.delivery_date(as_of_ns)
        while day <= last:
            awards = self._cycles.awards(resource_id, "nem", day.isoformat())
            for one in awards[-1].quantities if awards else ():
                done_ns = min(one.end_ns, as_of_ns) - one.start_ns
                if one.product == "energy" and done_ns > 0:
                    energy_kwh += stored_kwh(STORAGE, one.power_w / 1e3 * done_ns / NS_PER_HOUR)
                    energy_kwh = min(max(energy_kwh, 0.0), STORAGE.energy_capacity_kwh)
            day = type(day).fromordinal(day.toordinal() + 1)
        return Measured(storage=replace(STORAGE, initial_energy_kwh=energy_kwh), silent_frac=0.0)


async def main(plan: Plan, name: str) -> None:
    """Bid until terminated; writes its statistics beside the plan at an orderly end."""
    clock = plan.clock()
    engine = open_database(plan.database_url)
    cycles = Cycles(engine)
    exchange = HttpExchange(url=f"http://127.0.0.1:{plan.port}", token=plan.token, timeout_s=5.0)
    opened = open_autobidder(
        engine=engine,
        workflows_url=plan.workflows_url,
        bidders={
            RESOURCE: Bidder(
                resource_id=RESOURCE,
                market_id="nem",
                settlement_point=POINT,
                strategy=NAME if plan.hostile else "markov",
                lead_s=plan.lead_s,
                daily_lead_s=DAILY_LEAD_S,
                early_lead_s=EARLY_LEAD_S,
            )
        },
        exchanges={"nem": exchange},
        measure=PaperBattery(cycles, plan),
        clock=clock,
        left_s=lambda t_ns: (t_ns - clock.now_ns()) / NS_PER_S / plan.speed,
        holder=name,
        options=RunnerOptions(
            prepare=("shoal.cli.benches._bidding_rungs",),
            turn_s=TURN_S,
            again_s=0.4,
            exchange_s=0.5,
            # at 300 times real time a gate's lead is three seconds: two for sending would leave one to decide
            budget=BudgetRules(submit_least_s=SUBMIT_LEAST_S),
            first_days=45,
        ),
    )
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    running = asyncio.create_task(opened.autobidder.run())
    waiting = asyncio.create_task(ended.wait())
    try:
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        statistics = msgspec.json.encode(opened.autobidder.statistics())
        (Path(plan.folder) / f"{name}.json").write_bytes(statistics)
        if running.done():
            running.result()
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        opened.close()
        DBOS.destroy()
        exchange.close()


if __name__ == "__main__":
    asyncio.run(main(read_plan(Path(sys.argv[1])), sys.argv[2]))
