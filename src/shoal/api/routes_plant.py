"""The routes of what the plant is and does now: state, resources, quarantine, the live socket."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
import structlog
from fastapi import APIRouter, WebSocket
from starlette.responses import Response
from starlette.websockets import WebSocketDisconnect

from shoal.api import state
from shoal.api.contract import answer, answers
from shoal.api.listener import TRY_AGAIN_LATER, Listener
from shoal.api.live import LiveHub
from shoal.api.messages import WatchRequest
from shoal.api.plant import Plant

_WATCH: Final = msgspec.json.Decoder(WatchRequest)

_log = structlog.get_logger(__name__)


def plant_routes(plant: Plant) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/api", tags=["plant"])

    @router.get("/state", responses=answers(state.LiveState))
    async def read_state() -> Response:
        """Return everything that the page shows, as it is now."""
        return answer(plant.hub.state())

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


async def serve_socket(websocket: WebSocket, hub: LiveHub) -> None:
    """Serve one live socket until either side ends it; of what the client says only what it watches is understood."""
    await websocket.accept()
    if hub.is_full():
        await websocket.close(TRY_AGAIN_LATER, "too many live sockets")
        return
    with hub.listening() as listener:
        async with asyncio.TaskGroup() as tasks:
            hearing = tasks.create_task(_hear(websocket, hub, listener))
            sending = tasks.create_task(_send(websocket, listener))
            hearing.add_done_callback(lambda _: sending.cancel())
            sending.add_done_callback(lambda _: hearing.cancel())


async def _hear(websocket: WebSocket, hub: LiveHub, listener: Listener) -> None:
    while (message := await websocket.receive())["type"] != "websocket.disconnect":
        try:
            hub.watch(listener, _WATCH.decode(message.get("text") or b"").watch)
        except msgspec.DecodeError as error:
            _log.info("live client not understood", why=str(error))


async def _send(websocket: WebSocket, listener: Listener) -> None:
    try:
        await listener.forward(websocket)
    except WebSocketDisconnect:
        return  # it left while it was written to
