"""The simulated market as a process: real rules and real prices behind HTTP, on the world's clock."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import msgspec
import uvicorn

from shoal.cli.roles.homes import run_bounds_ns
from shoal.cli.roles.host import Host
from shoal.domain.clock import Stage
from shoal.market.registry import market as rules_of
from shoal.runtime.clock import ConductedClock
from shoal.simulate.fleet import plan_fleet
from shoal.simulate.market import create_app
from shoal.simulate.market_book import RegisteredResource

PARTICIPANT = "shoal"
TICK_S = 300.0


async def market(host: Host) -> None:
    """Serve the market until the clock stops."""
    settings = host.settings
    conducted = isinstance(host.clock, ConductedClock)
    fleet = plan_fleet(1, settings.demo.seed)
    app = create_app(
        rules_of("ercot-da"),
        host.clock,
        store=settings.data_dir / "market" / "book.db",
        tokens={settings.bidding.market_token: PARTICIPANT},
        resources=[
            RegisteredResource(
                resource_id=r.resource_id, settlement_point=r.settlement_point, participant=PARTICIPANT
            )
            for r in fleet.resources
        ],
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
    try:
        async for tick in host.clock.ticks(Stage.WORLD, TICK_S):
            if tick.facts.get("closing"):
                summary = app.state.book.summary(now_ns=tick.t_ns)
                host.clock.account(msgspec.to_builtins(summary))
    finally:
        server.should_exit = True
        await serving
        app.state.book.close()
