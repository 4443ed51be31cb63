"""The routes of programs: their order, and what is on record of a site: enrolments, opt-outs and promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

from fastapi import APIRouter, Path, Request
from pydantic import Field
from starlette.responses import Response

from shoal.api.bodies import Body
from shoal.api.contract import answer, answers, faults
from shoal.api.door.rights import acting_operator
from shoal.api.live.state import MS_PER_NS, to_ms
from shoal.api.programs.answers import ProgramNow, SiteOptOut, SitePrograms, SitePromise, enrolment_view
from shoal.domain.errors import InvalidInputError
from shoal.domain.ids import SiteId
from shoal.programs.ability import SiteTerms
from shoal.store.known_terms import KnownTerms
from shoal.store.program_records import PromiseKind
from shoal.store.programs import ProgramStore

_LATEST_MS: Final = 2**53
_ID: Final = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"

SiteName = Annotated[str, Path(pattern=_ID, description="The site's id.")]
ProgramName = Annotated[str, Path(pattern=_ID, description="The program's id.")]
Instant = Annotated[int, Field(ge=0, le=_LATEST_MS)]


class Leave(Body):
    """For how long an owner leaves a program: from now on, or from an instant, until another or for good."""

    from_ms: Instant | None = None
    until_ms: Instant | None = None


class Promised(Body):
    """What an owner asks for, from now on or from an instant, until another or for good.

    A promise that is not named stays; one that is null is taken back.
    """

    reserve_frac: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    cycle_wh_per_day: Annotated[float, Field(ge=0.0, le=1e10)] | None = None
    from_ms: Instant | None = None
    until_ms: Instant | None = None


def program_routes(store: ProgramStore, now_ns: Callable[[], int]) -> APIRouter:
    """Return the routes; all of them read or write the database, and run in threads.

    Args:
        store: Programs.
        now_ns: The plant's time.
    """
    router = APIRouter(prefix="/api", tags=["programs"])
    known = KnownTerms(store)

    @router.get("/programs", responses=answers(list[ProgramNow], 503))
    def read_programs() -> Response:
        """Return the programs, the one that goes first on top."""
        terms = known.at(now_ns())
        return answer([_program(terms, place) for place in range(len(terms.book.programs))])

    @router.get("/sites/{site_id}/programs", responses=answers(SitePrograms, 404, 422, 503))
    def read_site_programs(site_id: SiteName) -> Response:
        """Return a site's enrolments, opt-outs and promises: past, present and planned."""
        return answer(_site(store, SiteId(site_id), now_ns()))

    @router.put("/sites/{site_id}/promises", responses=answers(SitePrograms, 403, 404, 422, 503))
    def promise(request: Request, site_id: SiteName, asked: Promised) -> Response:
        """Promise a site's owner a reserve or a cycle budget, effective at once unless it says otherwise; operators only."""
        by, now = acting_operator(request), now_ns()
        start_ns, end_ns = _span(asked.from_ms, asked.until_ms, now)
        kinds: tuple[PromiseKind, ...] = ("reserve_frac", "cycle_wh_per_day")
        named = [kind for kind in kinds if kind in asked.model_fields_set]
        if not named:
            raise InvalidInputError(field="body", value="no promise", fix=f"name {' or '.join(kinds)}")
        for kind in named:
            store.promise(
                kind,
                [SiteId(site_id)],
                getattr(asked, kind),
                at_ns=start_ns,
                until_ns=end_ns,
                by=by,
                said_ns=now,
            )
        return answer(_site(store, SiteId(site_id), now))

    @router.put("/sites/{site_id}/opt-outs/{program_id}", responses=answers(SitePrograms, 403, 404, 422, 503))
    def leave(request: Request, site_id: SiteName, program_id: ProgramName, asked: Leave) -> Response:
        """Let a site leave a program for a while, effective at once unless it says otherwise; operators only."""
        by, now = acting_operator(request), now_ns()
        start_ns, end_ns = _span(asked.from_ms, asked.until_ms, now)
        store.opt_out(program_id, [SiteId(site_id)], at_ns=start_ns, until_ns=end_ns, by=by, said_ns=now)
        return answer(_site(store, SiteId(site_id), now))

    @router.delete(
        "/sites/{site_id}/opt-outs/{program_id}", status_code=204, responses=faults(403, 404, 422, 503)
    )
    def come_back(request: Request, site_id: SiteName, program_id: ProgramName) -> Response:
        """Let a site that has left a program come back at once; operators only."""
        acting_operator(request)
        store.opt_in(program_id, [SiteId(site_id)], at_ns=now_ns())
        return Response(status_code=204)

    return router


def _span(from_ms: int | None, until_ms: int | None, now_ns: int) -> tuple[int, int | None]:
    """Return the span asked for.

    Raises:
        InvalidInputError: when it begins in the past: what was done was done on the terms of its time.
    """
    start_ns = now_ns if from_ms is None else from_ms * MS_PER_NS
    if start_ns < now_ns:
        raise InvalidInputError(
            field="from_ms", value=from_ms, fix=f"give an instant from {to_ms(now_ns) + 1} on"
        )
    return start_ns, None if until_ms is None else until_ms * MS_PER_NS


def _program(terms: SiteTerms, place: int) -> ProgramNow:
    program = terms.book.programs[place]
    sites, opted_out_sites = terms.enrolled_counts(place)
    return ProgramNow(
        place=place + 1,
        program_id=program.id,
        name=program.name,
        kind=program.kind,
        reserve=program.reserve,
        exclusive=program.exclusive,
        beside_exclusive=program.beside_exclusive,
        may_opt_out=program.may_opt_out,
        minimum_notice_s=program.minimum_notice_s,
        pays=program.pays,
        terms=program.terms,
        sites=sites,
        opted_out_sites=opted_out_sites,
    )


def _site(store: ProgramStore, site_id: SiteId, now_ns: int) -> SitePrograms:
    def holds(start_ns: int, end_ns: int | None) -> bool:
        return start_ns <= now_ns and (end_ns is None or now_ns < end_ns)

    def ms(t_ns: int | None) -> int | None:
        return None if t_ns is None else to_ms(t_ns)

    return SitePrograms(
        site_id=site_id,
        enrolments=[enrolment_view(one, now_ns) for one in store.enrolments(site_id)],
        opt_outs=[
            SiteOptOut(
                program_id=one.program,
                from_ms=to_ms(one.start_ns),
                until_ms=ms(one.end_ns),
                now=holds(one.start_ns, one.end_ns),
                said_by=one.said_by,
                said_ms=to_ms(one.said_ns),
            )
            for one in store.opt_outs(site_id)
        ],
        promises=[
            SitePromise(
                kind=one.kind,
                amount=one.amount,
                from_ms=to_ms(one.start_ns),
                until_ms=ms(one.end_ns),
                now=holds(one.start_ns, one.end_ns),
                said_by=one.said_by,
                said_ms=to_ms(one.said_ns),
            )
            for one in store.promises(site_id)
        ],
    )
