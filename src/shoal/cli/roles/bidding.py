"""The bidding role: the market cycle on the durable workflow engine."""

from __future__ import annotations

import asyncio

import msgspec
from dbos import DBOS, DBOSConfig

from shoal.bidding.service import Bidding
from shoal.bidding.workflow import BidOptions, BidWorkflow
from shoal.cli.history_store import open_history
from shoal.cli.roles.host import Host, sqlite_url
from shoal.cli.roles.twins import ask_twins
from shoal.connect.market_http import MarketGateway
from shoal.domain.live import WorkflowRun
from shoal.domain.twins import FleetView
from shoal.fabric.fleet_feed import FleetFeed
from shoal.fabric.subjects import LIVE_MONEY, LIVE_RUNS
from shoal.store.database import open_database
from shoal.store.ledger import Ledger

WORKFLOW_VERSION = "day-ahead-1"


async def bidding(host: Host) -> None:
    """Run the market cycle of every resource."""
    settings = host.settings
    loop = asyncio.get_running_loop()
    client = await host.connect()
    feed = FleetFeed(client)
    published = await host.published_fleet(feed)
    fleet = published.fleet
    ledger = Ledger(open_database(host.ledger_url()))
    gateway = MarketGateway(url=settings.bidding.market_url, token=settings.bidding.market_token)

    def view() -> FleetView:
        asked = ask_twins(client, shards=settings.telemetry.shards, sites=len(fleet.site_ids))
        return asyncio.run_coroutine_threadsafe(asked, loop).result()

    def publish_run(run: WorkflowRun) -> None:
        asyncio.run_coroutine_threadsafe(client.publish(LIVE_RUNS, msgspec.json.encode(run)), loop)

    config: DBOSConfig = {
        "name": "shoal-bidding",
        "system_database_url": settings.bidding.database_url or sqlite_url(settings, "workflows.db"),
        "executor_id": "bidding",
        "application_version": WORKFLOW_VERSION,
        "log_level": "WARNING",
    }
    DBOS(config=config)
    workflow = BidWorkflow(
        fleet=fleet,
        clock=host.clock,
        ledger=ledger,
        gateway=gateway,
        view=view,
        publish_run=publish_run,
        options=BidOptions(
            forecast_budget_s=settings.bidding.forecast_budget_s,
            optimise_budget_s=settings.bidding.optimise_budget_s,
            submit_budget_s=settings.bidding.submit_budget_s,
            availability_frac=settings.bidding.availability_frac,
            fresh_timeout_s=settings.telemetry.fresh_timeout_s,
        ),
    )

    async def publish_money() -> None:
        await client.publish(LIVE_MONEY, b"{}")

    service = Bidding(
        fleet=fleet,
        clock=host.clock,
        ledger=ledger,
        gateway=gateway,
        history=open_history(settings),
        memberships=host.memberships() if host.has_registry() else None,
        launch=DBOS.launch,
        place=workflow.bring,
        coverage_frac=workflow.coverage_frac,
        lead_time_s=settings.bidding.lead_time_s,
        publish_money=publish_money,
        publish_run=publish_run,
    )
    host.ops.register("market", service.statistics)
    host.ready()
    watching = asyncio.create_task(host.end_on_change(feed, published))
    try:
        await service.follow()
    finally:
        watching.cancel()
        await asyncio.to_thread(DBOS.destroy)
        gateway.close()
        await client.close()
