"""The routes of the sites: the registry's list, one site with its twin, sites in one state, who owns what."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final, Literal, TypeAlias

import numpy as np
from fastapi import APIRouter, Query
from numpy.typing import NDArray
from starlette.responses import Response

from shoal.api.answers import OwnedUnit, SiteDetail, SitePage, TwinPage, TwinRow
from shoal.api.contract import answer, answers
from shoal.api.fleet.twins import GRADES, behind_of, grades, site_at, site_detail, twin_row
from shoal.api.live.state import to_ms
from shoal.api.plant import Plant
from shoal.domain.errors import UnavailableError, UnknownIdError
from shoal.domain.ids import GroupId, SiteId
from shoal.domain.telemetry import TELEMETRY

MAX_SITES: Final = 1_000
MAX_TWINS: Final = 1_000
ROWS_AT_ONCE: Final = 20_000
SEARCH_TIMEOUT_S: Final = 20.0
SEARCHES_AT_ONCE: Final = 2

Grade: TypeAlias = Literal["any", "fresh", "suspect", "stale", "unknown", "silent"]

Offset = Annotated[int, Query(ge=0, description="How many sites to leave out at the beginning.")]
Limit = Annotated[int, Query(ge=1, le=MAX_SITES, description="How many sites to list at most.")]
TwinLimit = Annotated[int, Query(ge=1, le=MAX_TWINS, description="How many sites to list at most.")]
OfGroup = Annotated[str | None, Query(description="Only sites at or below this group.")]
InState = Annotated[Grade, Query(description="Only sites that count so; `silent` is stale or unknown.")]


def site_routes(plant: Plant) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/api", tags=["sites"])
    searches = asyncio.Semaphore(SEARCHES_AT_ONCE)

    @router.get("/sites", responses=answers(SitePage, 422))
    async def read_sites(offset: Offset = 0, limit: Limit = 100) -> Response:
        """Return some of the sites, in the order of the registry."""
        total = len(plant.fleet.site_ids)
        rows = range(min(offset, total), min(offset + limit, total))
        sites = [site_at(plant.fleet, row) for row in rows]
        return answer(SitePage(total=total, offset=offset, limit=limit, sites=sites))

    @router.get("/sites/{site_id}", responses=answers(SiteDetail, 404, 503))
    async def read_site(site_id: str) -> Response:
        """Return one site with its twin, as the shard that owns it has it now; 503 when nobody owns the shard."""
        row = plant.fleet.row_of.get(SiteId(site_id))
        if row is None:
            raise UnknownIdError("site", site_id)
        for said in await plant.ask_sites(np.array([row])):
            if said.latest:
                return answer(site_detail(plant.fleet, row, said, plant.timeouts))
        raise UnavailableError(f"the twin of {site_id}", "its shard does not have the site yet")

    @router.get("/twins", responses=answers(TwinPage, 404, 422, 503))
    async def read_twins(group: OfGroup = None, state: InState = "any", limit: TwinLimit = 100) -> Response:
        """Return sites of a group in one state, such as the silent ones, in the order of the registry."""
        if searches.locked():
            raise UnavailableError("the search among twins", "others are searching, ask again")
        async with searches:
            try:
                async with asyncio.timeout(SEARCH_TIMEOUT_S):
                    return answer(await _search(plant, group, state, limit))
            except TimeoutError as error:
                raise UnavailableError(
                    "the search among twins", f"it took longer than {SEARCH_TIMEOUT_S:g} s"
                ) from error

    @router.get("/owners", responses=answers(list[OwnedUnit], 503))
    async def read_owners() -> Response:
        """Return every unit of work, who owns it, and how far behind the journal its kept state is."""
        return answer(await plant.read_owners())

    return router


async def _search(plant: Plant, group: str | None, state: Grade, limit: int) -> TwinPage:
    rows = await asyncio.to_thread(_rows_of, plant, group)
    wanted = _wanted(state)
    found: list[TwinRow] = []
    instants: list[int] = []
    looked_at = 0
    while looked_at < len(rows) and len(found) < limit:
        some = rows[looked_at : looked_at + ROWS_AT_ONCE]
        matches: list[tuple[int, TwinRow]] = []
        for said in await plant.ask_sites(some):
            answered = np.frombuffer(said.rows, dtype=np.int64)
            records = np.frombuffer(said.latest, dtype=TELEMETRY.dtype)
            graded = grades(records, behind_of(said), said.t_ns, plant.timeouts)
            instants.append(said.t_ns)
            for at in np.flatnonzero(wanted[graded])[: limit + 1].tolist():
                row = int(answered[at])
                matches.append((row, twin_row(plant.fleet, row, records[at], int(graded[at]), said.t_ns)))
        matches.sort(key=lambda one: one[0])
        room = limit - len(found)
        found += [line for _, line in matches[:room]]
        if len(matches) > room:
            looked_at += int(np.searchsorted(some, matches[room - 1][0])) + 1
        else:
            looked_at += len(some)
    return TwinPage(
        group_id=group,
        state=state,
        as_of_ms=to_ms(min(instants, default=0)),
        sites=len(rows),
        looked_at=looked_at,
        more=looked_at < len(rows),
        twins=found,
    )


def _rows_of(plant: Plant, group: str | None) -> NDArray[np.int64]:
    if group is None:
        return np.arange(len(plant.fleet.site_ids))
    if group not in plant.fleet.group_number:
        raise UnknownIdError("group", group)
    return plant.fleet.rows_in(GroupId(group))


def _wanted(state: Grade) -> NDArray[np.bool_]:
    """Return which of `GRADES` are asked for."""
    several: dict[str, tuple[str, ...]] = {"any": GRADES, "silent": ("stale", "unknown")}
    chosen = several.get(state, (state,))
    return np.array([grade in chosen for grade in GRADES])
