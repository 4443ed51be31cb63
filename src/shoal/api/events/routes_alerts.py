"""The routes of weather alerts: taking them as GeoJSON, those that stand, and what of the fleet each one touches."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Path, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from shoal.api.answers import AlertDetail, AlertSites
from shoal.api.contract import answer, answers, faults
from shoal.api.door.rights import acting_operator
from shoal.api.live.state import AlertNow
from shoal.api.plant import Plant
from shoal.domain.errors import InvalidInputError

MAX_BYTES: Final = 8 << 20
MAX_SITES: Final = 10_000

Key = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="The alert's key.")]
Offset = Annotated[int, Query(ge=0, description="How many sites to leave out at the beginning.")]
Limit = Annotated[int, Query(ge=1, le=MAX_SITES, description="How many sites to list at most.")]
_BODY: Final = {
    "requestBody": {
        "required": True,
        "description": "GeoJSON: a FeatureCollection or Feature with `id`, `event`, `severity`, `effective` or `onset`, "
        "and `ends` or `expires` among its properties, or a bare Polygon or MultiPolygon.",
        "content": {"application/geo+json": {"schema": {"type": "object"}}},
    }
}


def alert_routes(plant: Plant) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/api", tags=["alerts"])
    desk = plant.alerts

    @router.get("/alerts", responses=answers(list[AlertNow]))
    async def read_alerts() -> Response:
        """Return the alerts that are in force or to come, the worst first; one ends by its own interval."""
        return answer([one.now() for one in desk.standing()])

    @router.post("/alerts", responses=answers(list[AlertDetail], 403, 413, 422, 503), openapi_extra=_BODY)
    async def take_alerts(request: Request) -> Response:
        """Take weather alerts, each in place of the former one of the same id, and say what each touches; operators only.

        One whose issuer does not say when it holds, holds for a day. A feature without an area is left out.
        """
        by = acting_operator(request)
        taken = await desk.take(_geojson(await _body(request)), by=by)
        return answer([desk.detail(one) for one in taken])

    @router.get("/alerts/{key}", responses=answers(AlertDetail, 404, 422))
    async def read_alert(key: Key) -> Response:
        """Return one alert with the groups and sites that it touches."""
        return answer(desk.detail(desk.alert(key)))

    @router.get("/alerts/{key}/sites", responses=answers(AlertSites, 404, 422))
    async def read_alert_sites(key: Key, offset: Offset = 0, limit: Limit = 1_000) -> Response:
        """Return the sites inside an alert's area, in the order of the registry."""
        rows = desk.alert(key).impact.rows
        some = rows[offset : offset + limit].tolist()
        site_ids = [str(plant.fleet.site_ids[row]) for row in some]
        return answer(AlertSites(key=key, total=len(rows), offset=offset, limit=limit, site_ids=site_ids))

    @router.delete("/alerts/{key}", status_code=204, responses=faults(403, 404, 422, 503))
    async def withdraw_alert(request: Request, key: Key) -> Response:
        """Withdraw an alert before it ends; for operators only."""
        acting_operator(request)
        await desk.withdraw(key)
        return Response(status_code=204)

    return router


async def _body(request: Request) -> bytes:
    """Return the body of a request.

    Raises:
        HTTPException: 413 when it is too long.
    """
    parts = bytearray()
    async for part in request.stream():
        parts += part
        if len(parts) > MAX_BYTES:
            raise HTTPException(413, f"give at most {MAX_BYTES >> 20} MiB at once")
    return bytes(parts)


def _geojson(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise InvalidInputError(
            field="body", value=body[:60].decode(errors="replace"), fix=str(error)
        ) from error
