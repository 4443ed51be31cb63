"""The simulated market as a process: real rules and real prices behind HTTP, on the world's clock."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

import msgspec
import numpy as np
import uvicorn

from shoal.bidding.awarded import energy_award
from shoal.cli.roles.homes import run_bounds_ns
from shoal.cli.roles.host import Host
from shoal.domain.clock import Stage
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.contract import Market
from shoal.market.registry import market_module
from shoal.market.types import Award
from shoal.runtime.clock import ConductedClock
from shoal.simulate.exchange import create_exchange
from shoal.simulate.exchange_book import ExchangeBook, Participant
from shoal.simulate.exchange_tape import Tape
from shoal.simulate.fleet import only_plants, plan_fleet
from shoal.simulate.prices import real_prices, settlement_points

MARKET: Final = "ercot-da"
PRODUCT: Final = "day-ahead"
PARTICIPANT: Final = "shoal"
TICK_S: Final = 300.0


async def market(host: Host) -> None:
    """Serve the market until the clock stops."""
    settings = host.settings
    conducted = isinstance(host.clock, ConductedClock)
    rules = market_module(MARKET)
    fleet = only_plants(plan_fleet(1, settings.demo.seed), settings.demo.plants)
    app = create_exchange(
        rules,
        host.clock,
        store=settings.data_dir / "market" / "book.db",
        tokens={settings.bidding.market_token: PARTICIPANT},
        resources=[
            Participant(
                resource_id=r.resource_id,
                settlement_point=r.settlement_point,
                participant=PARTICIPANT,
                product=PRODUCT,
            )
            for r in fleet.resources
        ],
        tapes=[real_tape(rules, point) for point in settlement_points()],
        since_ns=run_bounds_ns(settings)[0] if conducted else host.clock.now_ns(),
    )
    address = urlsplit(settings.bidding.market_url)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=address.hostname or "127.0.0.1",
            port=address.port or 0,
            log_config=None,
            access_log=False,
            lifespan="off",
        )
    )
    serving = asyncio.create_task(server._serve())
    while not server.started:
        if serving.done():
            await serving
        await asyncio.sleep(0.01)
    host.ready(url=settings.bidding.market_url)
    book: ExchangeBook = app.state.book
    resource_ids = [str(resource.resource_id) for resource in fleet.resources]
    try:
        async for tick in host.clock.ticks(Stage.WORLD, TICK_S):
            if tick.facts.get("closing"):
                awards = awards_of(book, rules, resource_ids, now_ns=tick.t_ns)
                summary = msgspec.to_builtins(book.summary(now_ns=tick.t_ns))
                host.clock.account({**summary, "awards": msgspec.to_builtins(awards)})
    finally:
        server.should_exit = True
        await serving
        book.close()


def real_tape(rules: Market, settlement_point: str) -> Tape:
    """Return the real day-ahead prices of a settlement point, each day out when its results are published.

    Raises:
        InvalidInputError: when the settlement point has no prices.
    """
    start_ns, cents = real_prices(settlement_point)
    day, last = rules.delivery_date(int(start_ns[0])), rules.delivery_date(int(start_ns[-1]))
    begins_ns, outs_ns = [], []
    while day <= last:
        gate = rules.gates(PRODUCT, day)[0]
        begins_ns.append(gate.covers.start_ns)
        outs_ns.append(gate.closes_ns if gate.publishes_ns is None else gate.publishes_ns)
        day += timedelta(days=1)
    row = np.searchsorted(np.array(begins_ns, dtype=np.int64), start_ns, side="right") - 1
    return Tape(
        product=PRODUCT,
        settlement_point=settlement_point,
        start_ns=start_ns,
        end_ns=start_ns + NS_PER_HOUR,
        price_per_mwh=cents / 100,
        published_ns=np.array(outs_ns, dtype=np.int64)[np.maximum(row, 0)],
    )


def awards_of(book: ExchangeBook, rules: Market, resource_ids: Sequence[str], *, now_ns: int) -> list[Award]:
    """Return the newest version of every award since the book began, by day and resource."""
    found: list[Award] = []
    day, last = rules.delivery_date(book.since_ns), rules.delivery_date(now_ns) + timedelta(days=1)
    while day <= last:
        for resource_id in sorted(resource_ids):
            versions = book.awards(resource_id, day.isoformat(), now_ns=now_ns)
            found += [energy_award(versions[-1], rules)] if versions else []
        day += timedelta(days=1)
    return found
