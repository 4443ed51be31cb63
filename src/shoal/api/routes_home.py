"""A homeowner's own home: what it does now, live on `home/<site>` and once over HTTP."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from shoal.api.contract import answer, answers
from shoal.api.feeds import Feed, FeedSaid
from shoal.api.home_answers import HomeNow
from shoal.api.plant import Plant
from shoal.api.rights import own_site
from shoal.api.twins import site_detail
from shoal.domain.errors import UnavailableError, UnknownIdError
from shoal.domain.ids import SiteId

HOME_EVERY_S = 1.0

HomeSite = Annotated[str, Path(max_length=64, description="A site of one's own.")]


def home_routes(plant: Plant) -> APIRouter:
    """Return the routes; what they take is a homeowner's right to the site."""
    router = APIRouter(prefix="/api/home/sites", tags=["home"])

    @router.get("/{site_id}/now", responses=answers(HomeNow, 403, 404, 503))
    async def read_home(request: Request, site_id: HomeSite) -> Response:
        """Return what a home does now."""
        own_site(request, site_id)
        return answer(await home_now(plant, site_id))

    return router


def home_feed(plant: Plant) -> Feed:
    """Return the feed `home/<site>`."""

    async def read(key: str) -> FeedSaid:
        now = await home_now(plant, key)
        return FeedSaid(as_of_ms=now.as_of_ms, value=now)

    return Feed(name="home", every_s=HOME_EVERY_S, read=read, right="home", own=True)


async def home_now(plant: Plant, site_id: str) -> HomeNow:
    """Return what a home does now, as the shard that owns it has it.

    Raises:
        UnknownIdError: when there is no such site.
        UnavailableError: when nobody can say now.
    """
    row = plant.fleet.row_of.get(SiteId(site_id))
    if row is None:
        raise UnknownIdError("site", site_id)
    for said in await plant.ask_sites(np.array([row])):
        if said.latest:
            twin = site_detail(plant.fleet, row, said, plant.timeouts)
            kw = {signal.signal: signal.power_kw for signal in twin.signals}
            known = [power for power in kw.values() if power is not None]
            return HomeNow(
                site_id=site_id,
                as_of_ms=twin.as_of_ms,
                age_s=twin.age_s,
                grade=twin.grade,
                battery_kw=kw["battery"],
                solar_kw=kw["solar"],
                load_kw=kw["load"],
                ev_kw=kw["ev"],
                grid_kw=sum(known) if kw["load"] is not None else None,
                soc_frac=twin.soc_frac,
                energy_kwh=twin.energy_kwh,
            )
    raise UnavailableError(f"the twin of {site_id}", "its shard does not have the site yet")
