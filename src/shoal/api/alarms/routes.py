"""The routes of alarms: those that stand, those that are over, one with its every step, and a person's note."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from shoal.api.answers import AlarmDetail, AlarmPage, AlarmStep
from shoal.api.bodies import Body
from shoal.api.contract import answer, answers
from shoal.api.door.rights import acting_operator
from shoal.api.live import state
from shoal.api.live.state import to_ms
from shoal.api.live.views import alarm_view
from shoal.api.plant import Plant
from shoal.domain.alarms import AcknowledgeAlarm
from shoal.domain.errors import UnavailableError, UnknownIdError

MAX_ALARMS: Final = 500
MAX_NOTE_CHARACTERS: Final = 500
_REFUSALS: Final = {"acknowledged": 409, "malformed": 422}

Number = Annotated[int, Path(ge=1, le=2**62, description="The alarm's number.")]
Limit = Annotated[int, Query(ge=1, le=MAX_ALARMS, description="How many to list at most.")]
Before = Annotated[str, Query(max_length=40, description="What the former page gave as `next`.")]


class AlarmNote(Body):
    """What an operator says about an alarm."""

    note: str = Field(default="", max_length=MAX_NOTE_CHARACTERS)


def alarm_routes(plant: Plant) -> APIRouter:
    """Return the routes; those that read the database run in threads."""
    router = APIRouter(prefix="/api", tags=["alarms"])

    @router.get("/alarms", responses=answers(list[state.Alarm]))
    def read_alarms() -> Response:
        """Return the alarms that stand as of their last step, the most urgent first; the live state has their sites now."""
        return answer([alarm_view(alarm) for alarm in plant.alarms.active()])

    @router.get("/alarms/history", responses=answers(AlarmPage, 422))
    def read_cleared(limit: Limit = 100, before: Before = "") -> Response:
        """Return alarms that are over, the latest first, page by page."""
        found, further = plant.alarms.cleared(limit, before=before)
        return answer(AlarmPage(alarms=[alarm_view(alarm) for alarm in found], next=further or None))

    @router.get("/alarms/{number}", responses=answers(AlarmDetail, 404, 422))
    def read_alarm(number: Number) -> Response:
        """Return one alarm with every step of it and who was behind each."""
        found = plant.alarms.alarm(number)
        if found is None:
            raise UnknownIdError("alarm", str(number))
        alarm, events = found
        steps = [
            AlarmStep(t_ms=to_ms(event.t_ns), action=event.action, by=event.by, alarm=alarm_view(event.alarm))
            for event in events
        ]
        return answer(AlarmDetail(alarm=alarm_view(alarm), steps=steps))

    @router.post("/alarms/{number}/ack", responses=answers(state.Alarm, 403, 404, 409, 422, 503))
    async def acknowledge(request: Request, number: Number, note: AlarmNote) -> Response:
        """Take note of an alarm under the caller's own name; for operators only."""
        asked = AcknowledgeAlarm(number=number, by=acting_operator(request), note=note.note)
        said = await plant.acknowledge(asked)
        if said.alarm is not None:
            return answer(alarm_view(said.alarm))
        if said.reason == "not_active":
            raise await asyncio.to_thread(_not_active, plant, number)
        if said.reason in _REFUSALS:
            raise HTTPException(_REFUSALS[said.reason], said.detail)
        raise UnavailableError("the alarm desk", said.detail)

    return router


def _not_active(plant: Plant, number: int) -> Exception:
    """Return why an alarm that does not stand cannot be noted: it is over, or never was."""
    if plant.alarms.alarm(number) is None:
        return UnknownIdError("alarm", str(number))
    return HTTPException(409, f"alarm {number} is over")
