"""The routes of administration: devices and their enrolment, programs, markets, feeds, the system, and who did what.

People are in `shoal.api.door.routes`. A secret is in the one answer that issues it, and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

import numpy as np
from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from shoal.api.admin.answers import (
    AuditEntryView,
    AuditList,
    DevicePage,
    DeviceView,
    EnrolledDevice,
    FeedsAdmin,
    MarketView,
    ProgramsAdmin,
    SystemAdmin,
)
from shoal.api.admin.views import (
    MOST_ROWS_ASKED,
    device_view,
    feeds_admin,
    heard_of,
    markets_admin,
    programs_admin,
    rows_of,
    system_admin,
)
from shoal.api.answers import OwnedUnit
from shoal.api.bodies import Body
from shoal.api.contract import answer, answers, faults
from shoal.api.door.rights import acting
from shoal.api.live.state import MS_PER_NS, to_ms
from shoal.api.plant import Plant
from shoal.domain.errors import ShoalError, UnavailableError
from shoal.domain.interval import iso
from shoal.store.audit import KINDS, Audit, AuditFilter, AuditKind, AuditLine
from shoal.store.devices import MOST_REASON_CHARACTERS, Device, DeviceCounts, Devices, DeviceState
from shoal.store.known_terms import KnownTerms

MOST_DEVICES: Final = 200
COUNTED_FOR_S: Final = 30.0
MOST_SERIES: Final = 1_000
MOST_LINES: Final = 500
MOST_EXPORTED: Final = 100_000
LINES_AT_ONCE: Final = 1_000
_LATEST_MS: Final = 2**53
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

DeviceName = Annotated[
    str, Path(max_length=64, description="A site with a connection of its own, or a gateway.")
]
Text = Annotated[str, Query(max_length=200, description="Only those whose name contains it, in any case.")]
Instant = Annotated[int | None, Query(ge=0, le=_LATEST_MS, description="Milliseconds since 1970, UTC.")]
Kinds = Annotated[list[AuditKind] | None, Query(description="Only these kinds; may be given again.")]
ByWhom = Annotated[str, Query(max_length=200, description="Only what somebody did whose name contains it.")]
About = Annotated[str, Query(max_length=300, description="Only what was done about what contains it.")]
PeopleOnly = Annotated[bool, Query(description="Leave out what the plant did by itself.")]


class RevokeAsked(Body):
    """Why a device's secret is refused from now on."""

    reason: str = Field(min_length=1, max_length=MOST_REASON_CHARACTERS)


def admin_routes(plant: Plant) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/api/admin", tags=["administration"])
    _add_devices(router, plant)
    _add_audit(router, Audit(plant.database, plant.registry))
    known = KnownTerms(plant.programs)

    @router.get("/programs", responses=answers(ProgramsAdmin, 403, 503))
    def read_programs() -> Response:
        """Return the programs, the one that goes first on top, with who takes part and what stands for each."""
        now_ns = plant.now_ns()
        return answer(programs_admin(plant, known.at(now_ns), now_ns))

    @router.get("/markets", responses=answers(list[MarketView], 403))
    def read_markets() -> Response:
        """Return every market's rules in force with their effective dates; they change with the software alone."""
        return answer(markets_admin(plant, plant.now_ns()))

    @router.get("/feeds", responses=answers(FeedsAdmin, 403, 422, 503))
    def read_feeds(
        text: Text = "",
        stale: Annotated[bool, Query(description="Only what is older than its contract allows.")] = False,
        limit: Annotated[int, Query(ge=1, le=MOST_SERIES)] = 200,
    ) -> Response:
        """Return how fresh what is known from outside is, the stale first, what was set aside, and which fallbacks are in use."""
        return answer(feeds_admin(plant, plant.now_ns(), containing=text, stale_only=stale, limit=limit))

    @router.get("/system", responses=answers(SystemAdmin, 403, 503))
    async def read_system() -> Response:
        """Return versions, roles, who owns which work and how far behind, leases, live clients, and the host's room."""
        owners: list[OwnedUnit] = []
        fault = ""
        try:
            owners = await plant.read_owners()
        except ShoalError as error:
            fault = str(error)
        return answer(await asyncio.to_thread(system_admin, plant, owners, fault))

    return router


def _add_devices(router: APIRouter, plant: Plant) -> None:
    devices = Devices(plant.registry)
    counted: list[tuple[float, DeviceCounts]] = []

    def counts() -> DeviceCounts:
        """Count, unless that was done a moment ago: it takes a second at a million devices."""
        if not counted or time.monotonic() - counted[0][0] > COUNTED_FOR_S:
            counted[:] = [(time.monotonic(), devices.counts())]
        return counted[0][1]

    async def viewed(some: Sequence[Device]) -> list[DeviceView]:
        most = max(MOST_ROWS_ASKED // max(len(some), 1), 1)
        rows = [rows_of(plant, one, most) for one in some]
        asked = np.concatenate(rows) if rows else np.empty(0, dtype=np.int64)
        told = None
        # who signs in is known all the same; `asked` says that the rest is not
        with contextlib.suppress(UnavailableError):
            told = heard_of(plant, await plant.ask_sites(asked)) if len(asked) else (0, {}, {})
        return [device_view(one, mine.tolist(), told) for one, mine in zip(some, rows, strict=True)]

    def listed(
        limit: int, text: str, state: DeviceState | None, after: str
    ) -> tuple[DeviceCounts, list[Device]]:
        held = counts()
        if not held.devices and plant.fleet.site_ids:
            raise UnavailableError("the registry", "it is on another machine; set registry.database_url")
        return held, devices.page(limit + 1, text=text, state=state, after=after)

    @router.get("/devices", responses=answers(DevicePage, 403, 422, 503))
    async def read_devices(
        text: Text = "",
        state: Annotated[DeviceState | None, Query(description="Only those in this state.")] = None,
        after: Annotated[str, Query(max_length=80, description="`next` of the page before.")] = "",
        limit: Annotated[int, Query(ge=1, le=MOST_DEVICES)] = 50,
    ) -> Response:
        """Return devices, gateways first, each kind by name: their secret's state, and when each was last heard."""
        held, found = await asyncio.to_thread(listed, limit, text.strip(), state, after)
        page = DevicePage(
            as_of_ms=to_ms(plant.now_ns()),
            devices=held.devices,
            enrolled=held.enrolled,
            revoked=held.revoked,
            missing=held.missing,
            limit=limit,
            next=found[limit - 1].cursor if len(found) > limit else None,
            rows=await viewed(found[:limit]),
        )
        return answer(page)

    @router.post("/devices/{device_id}/enrol", responses=answers(EnrolledDevice, 403, 404, 503))
    async def enrol(request: Request, device_id: DeviceName) -> Response:
        """Give a device a new secret, shown in this answer alone; a former one is refused from then on."""
        by, at_ns = acting(request).name, time.time_ns()

        def done() -> EnrolledDevice:
            replaced = devices.device(device_id).enrolled_ns is not None
            secret = devices.enrol(device_id, by=by, at_ns=at_ns)
            return EnrolledDevice(
                device_id=device_id, secret=secret, enrolled_ms=to_ms(at_ns), replaced=replaced
            )

        response = answer(await asyncio.to_thread(done))
        counted.clear()
        response.headers["Cache-Control"] = "no-store"
        return response

    @router.post("/devices/{device_id}/revoke", responses=answers(DeviceView, 403, 404, 422, 503))
    async def revoke(request: Request, device_id: DeviceName, asked: RevokeAsked) -> Response:
        """Refuse a device's secret from now on, for a reason that is kept."""
        by = acting(request).name
        await asyncio.to_thread(devices.revoke, device_id, by=by, at_ns=time.time_ns(), reason=asked.reason)
        counted.clear()
        (view,) = await viewed([await asyncio.to_thread(devices.device, device_id)])
        return answer(view)


def _wanted(
    kind: Kinds = None,
    by: ByWhom = "",
    about: About = "",
    from_ms: Instant = None,
    until_ms: Instant = None,
    people: PeopleOnly = False,
) -> AuditFilter:
    return AuditFilter(
        kinds=KINDS if not kind else tuple(one for one in KINDS if one in kind),
        by=by.strip(),
        about=about.strip(),
        from_ns=None if from_ms is None else from_ms * MS_PER_NS,
        until_ns=None if until_ms is None else until_ms * MS_PER_NS,
        people_only=people,
    )


Wanted = Annotated[AuditFilter, Depends(_wanted)]


def _add_audit(router: APIRouter, audit: Audit) -> None:
    @router.get("/audit", responses=answers(AuditList, 403, 422, 503))
    def read_audit(
        only: Wanted,
        before: Annotated[str, Query(max_length=4_000, description="`next` of the page before.")] = "",
        limit: Annotated[int, Query(ge=1, le=MOST_LINES)] = 100,
    ) -> Response:
        """Return who did what, the newest first: orders and stops, alarms, bids, proposals, people, devices."""
        page = audit.page(limit, only=only, before=before)
        return answer(AuditList(lines=[_line(one) for one in page.lines], next=page.before or None))

    @router.get("/audit/export", responses=_file(403, 422, 503))
    def export_audit(only: Wanted) -> Response:
        """Return the same as CSV, the newest 100,000 lines at most."""
        first = audit.page(LINES_AT_ONCE, only=only)  # before anything is sent: a fault is still told as one

        def pages() -> Iterator[str]:
            page, told = first, 0
            yield _csv([("at", "kind", "by", "action", "about", "outcome", "detail")])
            while True:
                yield _csv(_row(one) for one in page.lines)
                told += len(page.lines)
                if not page.before or told >= MOST_EXPORTED:
                    return
                page = audit.page(LINES_AT_ONCE, only=only, before=page.before)

        headers = {"Content-Disposition": 'attachment; filename="audit.csv"', "Cache-Control": "no-store"}
        return StreamingResponse(pages(), media_type="text/csv; charset=utf-8", headers=headers)


def _line(line: AuditLine) -> AuditEntryView:
    return AuditEntryView(
        kind=line.kind,
        at_ms=to_ms(line.at_ns),
        by=line.by,
        action=line.action,
        about=line.about,
        outcome=line.outcome,
        detail=line.detail,
    )


def _row(line: AuditLine) -> tuple[str, ...]:
    texts = (line.kind, line.by, line.action, line.about, line.outcome, line.detail)
    # what somebody typed must stay text in whatever opens the file
    kind, *rest = (f"'{one}" if one.startswith(_FORMULA) else one for one in texts)
    return (iso(line.at_ns), kind, *rest)


def _csv(rows: Any) -> str:
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\r\n").writerows(rows)
    return sink.getvalue()


def _file(*also: int) -> dict[int | str, dict[str, Any]]:
    """Return how the file stands in OpenAPI, with the faults that may be answered instead."""
    content = {"text/csv": {"schema": {"type": "string", "format": "binary"}}}
    return {200: {"description": "The file", "content": content}, **faults(*also)}
