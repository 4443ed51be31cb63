"""The routes of the map and of the search among sites: places once, how they are by filter, rows for a table."""

from __future__ import annotations

import asyncio
import gzip
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from numpy.typing import NDArray
from starlette.responses import Response

from shoal.api.contract import answer, answers
from shoal.api.encoding import takes_gzip
from shoal.api.fleet.answers import MapNow, MapSites, SiteHit, SiteHits
from shoal.api.fleet.map_columns import MapColumns
from shoal.api.fleet.packed import pack, pack_bits, pack_names, pack_steps
from shoal.api.fleet.sites_look import (
    SEVERITIES,
    Look,
    SiteFilter,
    SiteOrder,
    SitesDesk,
    alarm_of_sites,
    in_order,
)
from shoal.api.fleet.twins import GRADES
from shoal.api.live.aggregates import root_numbers
from shoal.api.live.state import Severity, to_ms
from shoal.api.plant import Plant
from shoal.domain.fleet import Fleet
from shoal.domain.telemetry import DeviceType

MAX_HITS: Final = 1_000
MAX_TEXT_CHARACTERS: Final = 200
_MDEG_PER_DEG: Final = 1_000.0
_HW_PER_KW: Final = 10.0
_TYPES: Final = tuple(one.name.lower() for one in DeviceType)

GradeAsked: TypeAlias = Literal["any", "fresh", "suspect", "stale", "unknown", "silent"]
Text = Annotated[str, Query(max_length=MAX_TEXT_CHARACTERS, description="Only sites whose name contains it.")]
OfGroup = Annotated[str | None, Query(description="Only sites at or below this group.")]
InGrade = Annotated[GradeAsked, Query(description="Only sites that count so; `silent` is stale or unknown.")]
OfType = Annotated[str | None, Query(alias="type", description="Only sites of this type of device.")]
UnderAlarm = Annotated[Severity | None, Query(description="Only sites under an alarm at least so urgent.")]
InProgram = Annotated[str | None, Query(description="Only sites that take part in this program now.")]
Since = Annotated[
    str, Query(max_length=64, description="The `mark` of the answer before; left out: everything.")
]
Sorting = Annotated[SiteOrder, Query(description="What comes first.")]
Offset = Annotated[int, Query(ge=0, description="How many to leave out at the beginning.")]
Limit = Annotated[int, Query(ge=1, le=MAX_HITS, description="How many to list at most.")]


def _asked(
    text: Text = "",
    group: OfGroup = None,
    grade: InGrade = "any",
    device_type: OfType = None,
    alarm: UnderAlarm = None,
    program: InProgram = None,
) -> SiteFilter:
    return SiteFilter(
        text=text, group=group, grade=grade, device_type=device_type, alarm=alarm, program=program
    )


Asked = Annotated[SiteFilter, Depends(_asked)]


def fleet_routes(plant: Plant) -> APIRouter:
    """Return the routes; they stand before those of a single site, whose names would hide `search`."""
    router = APIRouter(prefix="/api", tags=["fleet"])
    desk = SitesDesk(plant)
    columns = MapColumns()
    places: list[bytes] = []

    def alarms_at(look: Look) -> NDArray[np.int64]:
        plant.hub.catch_up()
        return alarm_of_sites(plant.fleet, plant.model.standing_alarms(), look.grade)

    async def found(asked: SiteFilter) -> tuple[Look, NDArray[np.int64], NDArray[np.int64]]:
        look = await desk.look()
        alarm = alarms_at(look)
        return look, alarm, await desk.rows_of(asked, look, alarm)

    @router.get("/map/sites", responses=answers(MapSites))
    async def read_places(request: Request) -> Response:
        """Return where every site is; 304 when the caller has it already, by `If-None-Match`."""
        tag = f'"{desk.version}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match", "").removeprefix("W/") == tag:
            return Response(status_code=304, headers=headers)
        if not places:
            plain = msgspec.json.encode(places_of(plant.fleet, desk.version))
            # made once for all readers, so as small as it gets
            places.extend((plain, await asyncio.to_thread(gzip.compress, plain, 9, mtime=0)))
        headers["Vary"] = "Accept-Encoding"
        if not takes_gzip(request.headers):
            return Response(places[0], media_type="application/json", headers=headers)
        headers["Content-Encoding"] = "gzip"
        return Response(places[1], media_type="application/json", headers=headers)

    @router.get("/map/now", responses=answers(MapNow, 404, 422, 503))
    async def read_now(asked: Asked, since: Since = "") -> Response:
        """Return which sites a filter lets through, and how those sites of the fleet are that changed since the last answer."""
        look = await desk.look()
        if not columns.shows(look):
            columns.take(look, alarms_at(look))
        rows = await desk.rows_of(asked, look, columns.alarm)
        changed = columns.since(since)
        return answer(
            MapNow(
                version=desk.version,
                as_of_ms=to_ms(look.t_ns) if look.t_ns else None,
                total=len(rows),
                unanswered=look.unanswered,
                grades=list(GRADES),
                severities=list(SEVERITIES),
                mark=columns.mark,
                sent=changed.sent,
                row=changed.row,
                state=changed.state,
                battery_hw=changed.battery_hw,
                soc_percent=changed.soc_percent,
                through=None
                if len(rows) == len(plant.fleet.site_ids)
                else _bits(len(plant.fleet.site_ids), rows),
            )
        )

    @router.get("/sites/search", responses=answers(SiteHits, 404, 422, 503))
    async def search_sites(
        asked: Asked, order: Sorting = "registry", offset: Offset = 0, limit: Limit = 100
    ) -> Response:
        """Return the sites that a filter lets through, sorted, some at a time."""
        look, alarm, rows = await found(asked)
        shown = in_order(rows, order, look, alarm)[offset : offset + limit]
        return answer(
            SiteHits(
                as_of_ms=to_ms(look.t_ns) if look.t_ns else None,
                total=len(rows),
                unanswered=look.unanswered,
                offset=offset,
                limit=limit,
                rows=[_hit(plant, int(row), look, alarm) for row in shown],
            )
        )

    return router


def places_of(fleet: Fleet, version: str) -> MapSites:
    """Return where the sites of a fleet are, as `version` of it."""
    return MapSites(
        version=version,
        total=len(fleet.site_ids),
        site_ids=pack_names(fleet.site_ids),
        latitude_mdeg=pack_steps(np.rint(fleet.latitude_deg * _MDEG_PER_DEG).astype(np.int64)),
        longitude_mdeg=pack_steps(np.rint(fleet.longitude_deg * _MDEG_PER_DEG).astype(np.int64)),
        capacity_hw=pack(np.rint(fleet.nameplate["discharge_limit_kw"] * _HW_PER_KW).astype(np.int64)),
        device_type=pack(fleet.device_type.astype(np.int64)),
        types=list(_TYPES),
    )


def _hit(plant: Plant, row: int, look: Look, alarm: NDArray[np.int64]) -> SiteHit:
    fleet = plant.fleet
    number = _leaf(plant, row)
    path = [] if number < 0 else [*plant.model.tree.path(number), number]
    (battery_kw,) = _plain(look.battery_kw[row : row + 1])
    (soc_frac,) = _plain(look.soc_frac[row : row + 1])
    (age_s,) = _plain(look.age_s[row : row + 1])
    return SiteHit(
        site_id=fleet.site_ids[row],
        device_type=_TYPES[int(fleet.device_type[row])],
        group_path=[fleet.groups[one].name for one in path],
        group_id=None if number < 0 else str(fleet.groups[number].group_id),
        grade=GRADES[int(look.grade[row])],
        age_s=age_s,
        capacity_kw=float(fleet.nameplate["discharge_limit_kw"][row]),
        battery_kw=battery_kw,
        soc_frac=soc_frac,
        alarm=None if alarm[row] < 0 else SEVERITIES[int(alarm[row])],
    )


def _leaf(plant: Plant, row: int) -> int:
    """Return the group that a site hangs from in the hierarchy of which the fleet is the sum, -1 for none."""
    roots = root_numbers(plant.fleet)
    if not roots:
        return -1
    return int(plant.fleet.leaf_group[plant.fleet.groups[roots[0]].hierarchy_id][row])


def _bits(site_count: int, rows: NDArray[np.int64]) -> str:
    through = np.zeros(site_count, dtype=np.bool_)
    through[rows] = True
    return pack_bits(through)


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    return [None if value != value else value for value in np.round(values, 3).tolist()]
