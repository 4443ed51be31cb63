"""The routes of what the plant is and does now: state, sites, groups, resources, quarantine, the live socket."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

import numpy as np
from fastapi import APIRouter, Query, WebSocket
from starlette.responses import Response
from starlette.websockets import WebSocketDisconnect

from shoal.api import state
from shoal.api.answers import Site, SiteDetail, SitePage
from shoal.api.contract import answer, answers
from shoal.api.live import TRY_AGAIN_LATER, Listener, LiveHub
from shoal.api.plant import Plant
from shoal.domain.errors import UnavailableError, UnknownIdError
from shoal.domain.fleet import NAMEPLATE, Fleet
from shoal.domain.ids import SiteId
from shoal.domain.telemetry import TELEMETRY
from shoal.domain.twins import FleetView

MAX_SITES: Final = 1_000
ASK_TIMEOUT_S: Final = 5.0

Offset = Annotated[int, Query(ge=0, description="How many sites to leave out at the beginning.")]
Limit = Annotated[int, Query(ge=1, le=MAX_SITES, description="How many sites to list at most.")]


def plant_routes(plant: Plant) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/api", tags=["plant"])

    @router.get("/state", responses=answers(state.LiveState))
    async def read_state() -> Response:
        """Return everything that the page shows, as it is now."""
        return answer(plant.hub.state())

    @router.get("/sites", responses=answers(SitePage, 422))
    async def read_sites(offset: Offset = 0, limit: Limit = 100) -> Response:
        """Return some of the sites, in the order of the registry."""
        total = len(plant.fleet.site_ids)
        rows = range(min(offset, total), min(offset + limit, total))
        sites = [site_at(plant.fleet, row) for row in rows]
        return answer(SitePage(total=total, offset=offset, limit=limit, sites=sites))

    @router.get("/sites/{site_id}", responses=answers(SiteDetail, 404))
    async def read_site(site_id: str) -> Response:
        """Return one site with the latest record of its twin."""
        row = plant.fleet.row_of.get(SiteId(site_id))
        if row is None:
            raise UnknownIdError("site", site_id)
        view, why = await _ask(plant)
        return answer(site_detail(plant.fleet, row, view, why))

    @router.get("/groups", responses=answers(list[state.Group]))
    async def read_groups() -> Response:
        """Return every group of every hierarchy as last measured; none before the first measurement."""
        return answer(plant.hub.state().groups)

    @router.get("/resources", responses=answers(list[state.Resource]))
    async def read_resources() -> Response:
        """Return what the markets see, as their controllers last said."""
        return answer(plant.hub.state().resources)

    @router.get("/quarantine", responses=answers(state.Quarantine))
    async def read_quarantine() -> Response:
        """Return what was set aside so far."""
        return answer(plant.hub.state().quarantine)

    @router.websocket("/live")
    async def live(websocket: WebSocket) -> None:
        await serve_socket(websocket, plant.hub)

    return router


def site_at(fleet: Fleet, row: int) -> Site:
    """Return one site of the fleet."""
    groups = {}
    for hierarchy, leaves in fleet.leaf_group.items():
        if leaves[row] >= 0:
            groups[str(hierarchy)] = str(fleet.groups[int(leaves[row])].group_id)
    return Site(
        site_id=fleet.site_ids[row],
        latitude_deg=float(fleet.latitude_deg[row]),
        longitude_deg=float(fleet.longitude_deg[row]),
        nameplate={name: float(fleet.nameplate[name][row]) for name in NAMEPLATE.names},
        groups=groups,
    )


def site_detail(fleet: Fleet, row: int, view: FleetView | None, why: str | None) -> SiteDetail:
    """Return a site with its twin's record, or why there is none."""
    latest: dict[str, Any] | None = None
    if view is not None and view.latest["ts_ns"][row] > 0:
        latest = {name: np.asarray(view.latest[name])[row].item() for name in TELEMETRY.names}
    return SiteDetail(
        site=site_at(fleet, row),
        as_of_ms=None if view is None else state.to_ms(view.t_ns),
        latest=latest,
        latest_unavailable=why,
    )


async def _ask(plant: Plant) -> tuple[FleetView | None, str | None]:
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            return await plant.ask_view(), None
    except TimeoutError:
        return None, f"the twins did not answer within {ASK_TIMEOUT_S:g} s"
    except UnavailableError as error:
        return None, str(error)


async def serve_socket(websocket: WebSocket, hub: LiveHub) -> None:
    """Serve one live socket until either side ends it; what the client says is not listened to."""
    await websocket.accept()
    if hub.is_full():
        await websocket.close(TRY_AGAIN_LATER, "too many live sockets")
        return
    with hub.listening() as listener:
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(_watch(websocket))
            sending = tasks.create_task(_send(websocket, listener))
            watching.add_done_callback(lambda _: sending.cancel())
            sending.add_done_callback(lambda _: watching.cancel())


async def _watch(websocket: WebSocket) -> None:
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


async def _send(websocket: WebSocket, listener: Listener) -> None:
    try:
        await listener.forward(websocket)
    except WebSocketDisconnect:
        return  # it left while it was written to
