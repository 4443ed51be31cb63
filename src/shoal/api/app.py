"""The application: the interface under `/api`, the probes, the contract, and the page at the root."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import HTMLResponse, Response

from shoal import __version__
from shoal.api.admin.routes import admin_routes
from shoal.api.alarms.causes import AlarmCauses
from shoal.api.alarms.routes import alarm_routes
from shoal.api.alarms.routes_causes import alarm_group_routes, alarm_groups_feed
from shoal.api.answers import Alive, Ready
from shoal.api.commands.routes import command_routes
from shoal.api.contract import answer, answers, describe, docs_page
from shoal.api.dispatch.routes import dispatch_routes
from shoal.api.door.access import Gate
from shoal.api.door.routes import session_routes, user_routes
from shoal.api.events.routes import event_routes
from shoal.api.events.routes_alerts import alert_routes
from shoal.api.fleet.routes import fleet_routes
from shoal.api.fleet.routes_purpose import ProgramNames, purpose_feed, purpose_routes
from shoal.api.fleet.routes_sites import site_routes
from shoal.api.forecasts.routes import forecast_routes
from shoal.api.groups.routes import group_routes
from shoal.api.groups.routes_history import group_feed, group_history_routes
from shoal.api.groups.routes_nodes import node_routes
from shoal.api.home.routes import home_feed, home_routes
from shoal.api.limits.routes import limit_routes
from shoal.api.live.routes import plant_routes
from shoal.api.market.routes import market_routes
from shoal.api.market.routes_acts import market_act_routes
from shoal.api.page import PageFiles
from shoal.api.plant import Plant
from shoal.api.problem import handle_faults
from shoal.api.programs.routes import program_routes
from shoal.api.records.routes import books_routes
from shoal.api.runs.routes import run_routes
from shoal.api.services.routes import service_routes
from shoal.api.settlement.routes import settlement_routes
from shoal.api.site.feed import site_feed
from shoal.api.site.routes import one_site_routes

ROLE = "api"


def create_app(
    plant: Plant,
    *,
    token: str = "",
    operators: Mapping[str, str] | None = None,
    page: PageFiles | None = None,
) -> FastAPI:
    """Return the application.

    Args:
        plant: What it shows.
        token: What a caller must show; empty asks nobody and answers loopback names only.
        operators: Tokens of those who may act, by name; without any, this machine acts when there is no token.
        page: The page's files; those in the package when none are given.
    """
    files = page or PageFiles()
    app = FastAPI(title="Shoal", version=__version__, docs_url=None, redoc_url=None)
    app.include_router(session_routes(plant.doorman))
    app.include_router(user_routes(plant.doorman))
    app.include_router(admin_routes(plant))
    app.include_router(plant_routes(plant))
    app.include_router(group_routes(plant))
    app.include_router(node_routes(plant))
    app.include_router(group_history_routes(plant))
    plant.hub.feeds.add(group_feed(plant))
    names = ProgramNames(plant)
    app.include_router(purpose_routes(plant, names))
    plant.hub.feeds.add(purpose_feed(plant, names))
    app.include_router(fleet_routes(plant))  # before the sites: "search" is no site
    app.include_router(site_routes(plant))
    app.include_router(one_site_routes(plant))
    app.include_router(alert_routes(plant))
    app.include_router(books_routes(plant))
    causes = AlarmCauses(plant)
    app.include_router(alarm_group_routes(plant, causes))
    plant.hub.feeds.add(alarm_groups_feed(causes))
    app.include_router(alarm_routes(plant))
    app.include_router(program_routes(plant.programs, plant.now_ns))
    app.include_router(command_routes(plant.commands))
    app.include_router(limit_routes(plant))
    app.include_router(service_routes(plant))
    app.include_router(event_routes(plant.commands, plant.kept_event))
    app.include_router(dispatch_routes(plant))
    app.include_router(home_routes(plant))
    app.include_router(settlement_routes(plant))
    app.include_router(market_routes(plant))
    app.include_router(market_act_routes(plant))
    app.include_router(run_routes(plant))
    app.include_router(forecast_routes(plant))
    plant.hub.feeds.add(home_feed(plant))
    plant.hub.feeds.add(site_feed(plant))
    _add_operations(app, plant, files)

    @app.get("/docs", include_in_schema=False)
    async def read_docs() -> Response:
        return HTMLResponse(docs_page(app.openapi()))

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def read_page() -> Response:
        return files.document()

    @app.api_route("/home", methods=["GET", "HEAD"], include_in_schema=False)
    async def read_home() -> Response:
        return files.document("home.html")

    app.mount("/", files)
    describe(app)
    handle_faults(app)
    app.add_middleware(GZipMiddleware, minimum_size=1_024, compresslevel=6)
    app.add_middleware(Gate, token=token, operators=operators or {}, doorman=plant.doorman)
    return app


def _add_operations(app: FastAPI, plant: Plant, files: PageFiles) -> None:
    @app.get("/metrics", include_in_schema=False)
    async def read_metrics() -> Response:
        return Response(generate_latest(plant.metrics), media_type=CONTENT_TYPE_LATEST)

    @app.get("/healthz", tags=["operations"], responses=answers(Alive))
    async def read_health() -> Response:
        """Answer as long as the process turns."""
        return answer(Alive(role=ROLE, status="alive"))

    @app.get("/readyz", tags=["operations"], responses=answers(Ready, 503))
    async def read_readiness() -> Response:
        """Say whether this role can serve: the fleet is loaded and the page is there; neighbours do not count."""
        reason = not_ready(plant, files)
        ready = Ready(
            role=ROLE,
            status="not ready" if reason else "ready",
            reason=reason,
            sites=len(plant.fleet.site_ids),
            page_built=files.built,
            last_message_age_s=plant.hub.statistics().last_message_age_s,
        )
        return answer(ready, status=503 if reason else 200)


def not_ready(plant: Plant, files: PageFiles) -> str:
    """Return why the role cannot serve, empty when it can."""
    if not plant.fleet.site_ids:
        return "the registry has no site"
    return "" if files.built else "the page is not built"
