"""The routes of what the plant is and does now: state, resources, quarantine, the live socket."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
import structlog
from fastapi import APIRouter, WebSocket
from starlette.responses import Response
from starlette.websockets import WebSocketDisconnect

from shoal.api.contract import answer, answers
from shoal.api.door.doorman import Doorman
from shoal.api.door.rights import Caller, caller_of
from shoal.api.live import state
from shoal.api.live.hub import LiveHub
from shoal.api.live.listener import SESSION_OVER, TRY_AGAIN_LATER, Listener
from shoal.api.live.messages import WatchRequest
from shoal.api.live.topics import TOPICS
from shoal.api.plant import Plant
from shoal.domain.errors import ShoalError

GUARD_EVERY_S: Final = 5.0
_SAID: Final = msgspec.json.Decoder(WatchRequest)

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
        await serve_socket(websocket, plant.hub, plant.doorman)

    return router


async def serve_socket(websocket: WebSocket, hub: LiveHub, doorman: Doorman) -> None:
    """Serve one live socket until either side ends it, or the session of who listens."""
    await websocket.accept()
    caller: Caller | None = caller_of(websocket)
    if caller is None:
        await websocket.close(SESSION_OVER, "sign in first")
        return
    if hub.is_full():
        await websocket.close(TRY_AGAIN_LATER, "too many live sockets")
        return
    asked = websocket.query_params
    with hub.listening(
        topics=asked["topics"].split(",") if "topics" in asked else TOPICS,
        caller=caller,
        epoch=asked.get("epoch", ""),
        since=_whole(asked.get("seq", "")),
    ) as listener:
        async with asyncio.TaskGroup() as tasks:
            guarding = tasks.create_task(_guard(listener, doorman))
            hearing = tasks.create_task(_hear(websocket, hub, listener))
            sending = tasks.create_task(_send(websocket, hub, listener))
            hearing.add_done_callback(lambda _: sending.cancel())
            sending.add_done_callback(lambda _: (hearing.cancel(), guarding.cancel()))


async def _hear(websocket: WebSocket, hub: LiveHub, listener: Listener) -> None:
    while (message := await websocket.receive())["type"] != "websocket.disconnect":
        try:
            said = _SAID.decode(message.get("text") or b"")
        except msgspec.DecodeError as error:
            _log.info("live client not understood", why=str(error))
            continue
        if said.topics is not None:
            hub.follow(listener, said.topics)
        if said.watch is not None:
            hub.watch(listener, said.watch)


async def _send(websocket: WebSocket, hub: LiveHub, listener: Listener) -> None:
    try:
        await listener.forward(websocket, hub.texts_for)
    except WebSocketDisconnect:
        return  # it left while it was written to


async def _guard(listener: Listener, doorman: Doorman) -> None:
    """Let a client go when its session is over."""
    while listener.caller.mode == "user":
        await asyncio.sleep(GUARD_EVERY_S)
        try:
            holds = await doorman.caller_of(listener.caller.secret)
        except ShoalError as error:
            _log.warning("session not looked up", why=str(error))
            continue
        if holds is None:
            listener.let_go(SESSION_OVER, "the session is over: sign in again")
            return


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
