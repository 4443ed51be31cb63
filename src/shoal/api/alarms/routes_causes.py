"""The routes of alarms by cause: at most ten groups of all that stand, a person's note on one, and the shelf.

The groups are live on the feed `alarms/groups`. An act on a group touches those of its alarms that the person had seen:
what was raised after `as_of_ms` is left alone.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from shoal.api.alarms.answers import AlarmGroups, AlarmMembers, AlarmShelfNow, GroupAct, RefusedAlarm
from shoal.api.alarms.causes import AlarmCauses, Standing, shelf_record, shelved_view
from shoal.api.bodies import Body
from shoal.api.contract import answer, answers
from shoal.api.door.rights import acting_operator
from shoal.api.live.feeds import Feed, FeedSaid
from shoal.api.live.state import to_ms
from shoal.api.plant import Plant
from shoal.domain.alarms import AcknowledgeAlarm, Alarm
from shoal.domain.errors import UnavailableError, UnknownIdError
from shoal.store.alarm_shelf import LEAST_MINUTES, MOST_MINUTES, MOST_REASON_CHARACTERS

GROUPS_EVERY_S: Final = 2.0
MOST_NOTED: Final = 500
NOTED_AT_ONCE: Final = 8
MOST_REFUSED: Final = 20
MOST_MEMBERS: Final = 500

Number = Annotated[int, Path(ge=1, le=2**62, description="The alarm's number.")]
CauseKey = Annotated[str, Query(min_length=1, max_length=200, description="The group's cause.")]


class NoteOnGroup(Body):
    """What an operator says about a group of alarms as it was at `as_of_ms`."""

    cause: str = Field(min_length=1, max_length=200)
    as_of_ms: int = Field(ge=0, le=2**53)
    note: str = Field(default="", max_length=500)


class PutAside(Body):
    """For how long an alarm is put aside, and why."""

    minutes: int = Field(ge=LEAST_MINUTES, le=MOST_MINUTES)
    reason: str = Field(min_length=1, max_length=MOST_REASON_CHARACTERS)


class PutGroupAside(PutAside):
    """The same of a group of alarms as it was at `as_of_ms`."""

    cause: str = Field(min_length=1, max_length=200)
    as_of_ms: int = Field(ge=0, le=2**53)


class TakeGroupBack(Body):
    """Which group of alarms is taken back from the shelf."""

    cause: str = Field(min_length=1, max_length=200)


def alarm_group_routes(plant: Plant, causes: AlarmCauses) -> APIRouter:
    """Return the routes; they go before those of single alarms, whose numbers are no words."""
    router = APIRouter(prefix="/api/alarms", tags=["alarms"])

    @router.get("/groups", responses=answers(AlarmGroups, 503))
    def read_groups() -> Response:
        """Return every alarm that stands in at most ten groups by cause, the worst first."""
        return answer(causes.groups())

    @router.get("/groups/members", responses=answers(AlarmMembers, 422, 503))
    def read_members(
        cause: CauseKey,
        offset: Annotated[int, Query(ge=0, le=10**6)] = 0,
        limit: Annotated[int, Query(ge=1, le=MOST_MEMBERS)] = 100,
    ) -> Response:
        """Return the alarms of one group, the most urgent first; none once the last of them is over."""
        standing = causes.read()
        alarms = standing.members_if_any(cause)
        return answer(
            AlarmMembers(
                as_of_ms=to_ms(standing.now_ns),
                cause=cause,
                total=len(alarms),
                offset=offset,
                limit=limit,
                alarms=[standing.grouped(one) for one in alarms[offset : offset + limit]],
            )
        )

    @router.post("/groups/ack", responses=answers(GroupAct, 403, 404, 422, 503))
    async def acknowledge_group(request: Request, asked: NoteOnGroup) -> Response:
        """Take note of a group's alarms under the caller's own name, at most 500 at a time; for operators only."""
        by = acting_operator(request)
        standing = await asyncio.to_thread(causes.read)
        alarms = [one for one in _seen(standing, asked.cause, asked.as_of_ms) if one.acknowledged_ns is None]
        return answer(await _note(plant, asked, alarms, by))

    @router.post("/groups/shelve", responses=answers(GroupAct, 403, 404, 422, 503))
    def shelve_group(request: Request, asked: PutGroupAside) -> Response:
        """Put a group's alarms aside for some minutes; each comes back when that is over, or when it gets worse."""
        by = acting_operator(request)
        standing = causes.read()
        alarms = _seen(standing, asked.cause, asked.as_of_ms)
        done = causes.shelf.shelve(
            alarms, minutes=asked.minutes, reason=asked.reason, by=by, now_ns=standing.now_ns
        )
        return answer(GroupAct(cause=asked.cause, done=len(done), left=0, refused=[]))

    @router.post("/groups/return", responses=answers(GroupAct, 403, 404, 422, 503))
    def return_group(request: Request, asked: TakeGroupBack) -> Response:
        """Take a group's alarms back from the shelf."""
        by = acting_operator(request)
        standing = causes.read()
        done = causes.shelf.put_back(standing.members(asked.cause), by=by, now_ns=standing.now_ns)
        return answer(GroupAct(cause=asked.cause, done=len(done), left=0, refused=[]))

    @router.get("/{number}/shelf", responses=answers(AlarmShelfNow, 404, 422, 503))
    def read_shelf(number: Number) -> Response:
        """Return whether an alarm is put aside, and every time that it was, by whom and why."""
        return answer(_shelf_now(plant, causes, _alarm(plant, number)))

    @router.post("/{number}/shelve", responses=answers(AlarmShelfNow, 403, 404, 422, 503))
    def shelve(request: Request, number: Number, asked: PutAside) -> Response:
        """Put an alarm aside for some minutes; it comes back when that is over, or when it gets worse."""
        by = acting_operator(request)
        alarm = _alarm(plant, number, standing=True)
        causes.shelf.shelve([alarm], minutes=asked.minutes, reason=asked.reason, by=by, now_ns=plant.now_ns())
        return answer(_shelf_now(plant, causes, alarm))

    @router.delete("/{number}/shelve", responses=answers(AlarmShelfNow, 403, 404, 422, 503))
    def put_back(request: Request, number: Number) -> Response:
        """Take an alarm back from the shelf."""
        by = acting_operator(request)
        alarm = _alarm(plant, number, standing=True)
        causes.shelf.put_back([alarm], by=by, now_ns=plant.now_ns())
        return answer(_shelf_now(plant, causes, alarm))

    return router


def alarm_groups_feed(causes: AlarmCauses) -> Feed:
    """Return the feeds `alarms/groups` and `alarms/aside`."""

    async def read(key: str) -> FeedSaid:
        if key == "aside":
            aside = await asyncio.to_thread(causes.aside)
            return FeedSaid(as_of_ms=None, value=aside)
        if key != "groups":
            raise UnknownIdError("feed of alarms", key)
        said = await asyncio.to_thread(causes.groups)
        return FeedSaid(as_of_ms=said.as_of_ms, value=said)

    return Feed(name="alarms", every_s=GROUPS_EVERY_S, read=read)


def _seen(standing: Standing, cause: str, as_of_ms: int) -> list[Alarm]:
    return [one for one in standing.members(cause) if to_ms(one.raised_ns) <= as_of_ms]


def _alarm(plant: Plant, number: int, *, standing: bool = False) -> Alarm:
    found = plant.alarms.alarm(number)
    if found is None or (standing and found[0].cleared_ns is not None):
        raise UnknownIdError("alarm that stands" if standing else "alarm", str(number))
    return found[0]


def _shelf_now(plant: Plant, causes: AlarmCauses, alarm: Alarm) -> AlarmShelfNow:
    steps = causes.shelf.steps(alarm.number)
    return AlarmShelfNow(
        number=alarm.number,
        shelved=shelved_view(steps[-1], alarm, plant.now_ns()) if steps else None,
        steps=[shelf_record(step) for step in steps],
    )


async def _note(plant: Plant, asked: NoteOnGroup, alarms: list[Alarm], by: str) -> GroupAct:
    """Take note of alarms, a few at once; stop when the desk does not answer.

    Raises:
        UnavailableError: when it never answered.
    """
    done, refused, away = 0, list[RefusedAlarm](), ""

    async def one(alarm: Alarm) -> str:
        nonlocal away
        try:
            said = await plant.acknowledge(AcknowledgeAlarm(number=alarm.number, by=by, note=asked.note))
        except UnavailableError as error:
            away = str(error)
            return away
        return "" if said.alarm is not None else said.detail

    tried = 0
    for first in range(0, min(len(alarms), MOST_NOTED), NOTED_AT_ONCE):
        part = alarms[first : min(first + NOTED_AT_ONCE, MOST_NOTED)]
        for alarm, why in zip(part, await asyncio.gather(*(one(alarm) for alarm in part)), strict=True):
            done += not why
            if why:
                refused.append(RefusedAlarm(number=alarm.number, why=why))
        tried += len(part)
        if away:
            break
    if away and not done:
        raise UnavailableError("the alarm desk", away)
    return GroupAct(cause=asked.cause, done=done, left=len(alarms) - tried, refused=refused[:MOST_REFUSED])
