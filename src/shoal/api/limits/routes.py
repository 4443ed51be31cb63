"""The routes of limits, operating envelopes and owners' hours; to change something takes an operator.

A network operator's system may post its envelopes here as it issues them: all of a list are taken, or none.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from shoal.api.bodies import Body
from shoal.api.contract import answer, answers, faults
from shoal.api.door.rights import acting_operator
from shoal.api.limits.answers import (
    EnvelopeView,
    GroupLimitView,
    HoursView,
    LimitsNow,
    LimitsView,
    LimitView,
    SiteHoursView,
)
from shoal.api.live.state import MS_PER_NS, to_ms
from shoal.api.plant import Plant
from shoal.control.envelope_feed import MOST, Issued, taken
from shoal.control.grid_limits import check_targets
from shoal.control.grid_state import kept_limits
from shoal.domain.errors import InvalidInputError
from shoal.domain.ids import SiteId
from shoal.programs.hours import LONGEST, parse_hours
from shoal.store.limit_records import ConnectionLimit, LimitKind
from shoal.store.limits import MOST_W, LimitStore
from shoal.store.programs import ProgramStore

_ID: Final = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
_LATEST_MS: Final = 2**53
MAX_NAMES: Final = 10_000
MAX_REASON_CHARACTERS: Final = 200

Kind = Annotated[Literal["site", "group"], Path(description="Of a site or a group.")]
Target = Annotated[str, Path(pattern=_ID, description="The site's or group's id.")]
SiteName = Annotated[str, Path(pattern=_ID, description="The site's id.")]
Watts = Annotated[int, Field(ge=0, le=MOST_W)]
Instant = Annotated[int, Field(ge=0, le=_LATEST_MS)]


class LimitAsked(Body):
    """What may always flow at the connection of groups or sites; what is absent has no limit."""

    groups: list[str] = Field(default_factory=list, max_length=MAX_NAMES)
    sites: list[str] = Field(default_factory=list, max_length=MAX_NAMES)
    import_limit_w: Watts | None = None
    export_limit_w: Watts | None = None
    reason: str = Field(default="", max_length=MAX_REASON_CHARACTERS)


class EnvelopeAsked(Body):
    """An envelope as a network operator issues it: for a group or a site, with instants in ISO 8601."""

    group: str = ""
    site: str = ""
    start: datetime
    end: datetime
    import_kw: float
    export_kw: float
    issued: datetime | None = None


class HoursAsked(Body):
    """Hours such as ``mon-fri 17:00-20:00``, from now on or from an instant, until another or for good."""

    hours: str = Field(max_length=LONGEST)
    zone: str = Field(max_length=64)
    from_ms: Instant | None = None
    until_ms: Instant | None = None


def limit_routes(plant: Plant) -> APIRouter:
    """Return the routes; they read and write the database, so they run in threads."""
    router = APIRouter(prefix="/api", tags=["limits"])
    store = LimitStore(plant.database)
    programs = plant.programs

    def view() -> Response:
        return answer(_limits(store, plant))

    @router.get("/limits", responses=answers(LimitsView, 503))
    def read_limits() -> Response:
        """Return the limits, the envelopes that are not over, and what the last cycle made of them."""
        return view()

    @router.put("/limits", responses=answers(LimitsView, 403, 422, 503))
    def set_limits(request: Request, asked: LimitAsked) -> Response:
        """Set what may always flow; for operators only."""
        by, now_ns = acting_operator(request), plant.now_ns()
        named: list[tuple[LimitKind, str]] = [("group", name) for name in dict.fromkeys(asked.groups)]
        named += [("site", name) for name in dict.fromkeys(asked.sites)]
        if not named:
            raise InvalidInputError(field="groups", value="none", fix="name groups or sites")
        for kind, target in named:
            check_targets(plant.fleet, kind, [target])
        store.put(
            [
                ConnectionLimit(
                    kind=kind,
                    target=target,
                    import_limit_w=asked.import_limit_w,
                    export_limit_w=asked.export_limit_w,
                    by=by,
                    at_ns=now_ns,
                    reason=asked.reason,
                )
                for kind, target in named
            ]
        )
        return view()

    @router.delete("/limits/{kind}/{target}", status_code=204, responses=faults(403, 404, 422, 503))
    def clear_limit(request: Request, kind: Kind, target: Target) -> Response:
        """Take a limit back, with the envelopes that stand on it; for operators only."""
        store.clear(kind, target, by=acting_operator(request), at_ns=plant.now_ns())
        return Response(status_code=204)

    @router.post("/limits/envelopes", responses=answers(LimitsView, 403, 422, 503))
    def take_envelopes(
        request: Request, asked: Annotated[list[EnvelopeAsked], Field(max_length=MOST)]
    ) -> Response:
        """Take in envelopes, all of them or none; each ends by itself. For operators only."""
        by = acting_operator(request)
        issued = [Issued(**one.model_dump()) for one in asked]
        store.put_envelopes(taken(issued, plant.fleet, by=by, now_ns=plant.now_ns()))
        return view()

    @router.delete("/limits/{kind}/{target}/envelopes", status_code=204, responses=faults(403, 422, 503))
    def withdraw_envelopes(request: Request, kind: Kind, target: Target) -> Response:
        """Take back the envelopes of a target, so that its static limit holds at once; for operators only."""
        store.withdraw(kind, target, by=acting_operator(request), at_ns=plant.now_ns())
        return Response(status_code=204)

    @router.get("/sites/{site_id}/hours", responses=answers(SiteHoursView, 404, 422, 503))
    def read_hours(site_id: SiteName) -> Response:
        """Return the hours in which a site's owner keeps it: past, present and planned."""
        return answer(_hours(programs, SiteId(site_id), plant.now_ns()))

    @router.put("/sites/{site_id}/hours", responses=answers(SiteHoursView, 403, 404, 422, 503))
    def keep_hours(request: Request, site_id: SiteName, asked: HoursAsked) -> Response:
        """Promise a site's owner hours in which no program uses it; for operators only."""
        by, now_ns = acting_operator(request), plant.now_ns()
        programs.keep_hours(
            [SiteId(site_id)],
            parse_hours(asked.hours, zone=asked.zone),
            at_ns=_start_ns(asked.from_ms, now_ns),
            until_ns=None if asked.until_ms is None else asked.until_ms * MS_PER_NS,
            by=by,
            said_ns=now_ns,
        )
        return answer(_hours(programs, SiteId(site_id), now_ns))

    @router.delete("/sites/{site_id}/hours", status_code=204, responses=faults(403, 404, 422, 503))
    def drop_hours(
        request: Request, site_id: SiteName, from_ms: Annotated[int | None, Query(ge=0, le=_LATEST_MS)] = None
    ) -> Response:
        """Take the hours back from now on, or from an instant; for operators only."""
        by, now_ns = acting_operator(request), plant.now_ns()
        programs.keep_hours([SiteId(site_id)], None, at_ns=_start_ns(from_ms, now_ns), by=by, said_ns=now_ns)
        return Response(status_code=204)

    return router


def _start_ns(from_ms: int | None, now_ns: int) -> int:
    start_ns = now_ns if from_ms is None else from_ms * MS_PER_NS
    if start_ns < now_ns:
        raise InvalidInputError(
            field="from_ms", value=from_ms, fix=f"give an instant from {to_ms(now_ns) + 1} on"
        )
    return start_ns


def _limits(store: LimitStore, plant: Plant) -> LimitsView:
    standing = store.standing(plant.now_ns())
    state = kept_limits(plant.ledger)
    now = None
    if state is not None:
        now = LimitsNow(
            t_ms=to_ms(state.t_ns),
            groups=msgspec.convert(msgspec.to_builtins(state.groups), type=list[GroupLimitView]),
            group_count=state.group_count,
            limited_sites=state.limited_sites,
            unknown=state.unknown,
            said=state.said,
            losses=state.losses,
        )
    return LimitsView(
        limits=[
            LimitView(
                kind=one.kind,
                target=one.target,
                import_limit_w=one.import_limit_w,
                export_limit_w=one.export_limit_w,
                by=one.by,
                at_ms=to_ms(one.at_ns),
                reason=one.reason,
            )
            for one in standing.limits
        ],
        envelopes=[
            EnvelopeView(
                kind=one.kind,
                target=one.target,
                start_ms=to_ms(one.start_ns),
                end_ms=to_ms(one.end_ns),
                issued_ms=to_ms(one.issued_ns),
                import_limit_w=one.import_limit_w,
                export_limit_w=one.export_limit_w,
                by=one.by,
            )
            for one in standing.envelopes
        ],
        now=now,
    )


def _hours(store: ProgramStore, site_id: SiteId, now_ns: int) -> SiteHoursView:
    held = store.hours(site_id)

    def holds(start_ns: int, end_ns: int | None) -> bool:
        return start_ns <= now_ns and (end_ns is None or now_ns < end_ns)

    return SiteHoursView(
        site_id=site_id,
        away=any(holds(one.start_ns, one.end_ns) and one.hours.away_at(now_ns) for one in held),
        hours=[
            HoursView(
                hours=one.hours.text(),
                zone=one.hours.zone,
                from_ms=to_ms(one.start_ns),
                until_ms=None if one.end_ns is None else to_ms(one.end_ns),
                now=holds(one.start_ns, one.end_ns),
                said_by=one.said_by,
                said_ms=to_ms(one.said_ns),
            )
            for one in held
        ],
    )
