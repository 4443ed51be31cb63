"""A homeowner's own home: what it does now, what is kept for it, its events, storm watch, money, and who sees what.

What an owner says is kept in the database first. Then the controller is told, which looks at once and tells the home; when it
does not answer, the word counts as soon as it is back.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Final
from zoneinfo import ZoneInfo

import numpy as np
import structlog
from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from shoal.api.bodies import Body
from shoal.api.contract import answer, answers
from shoal.api.door.rights import own_site
from shoal.api.fleet.twins import site_detail
from shoal.api.home.answers import (
    HomeEarnings,
    HomeEvents,
    HomeNow,
    HomeReserve,
    HomeSharing,
    HomeSite,
    HomeSkip,
    HomeStorm,
)
from shoal.api.home.events import HomeEventBook, in_force
from shoal.api.home.views import (
    STORM,
    home_earnings,
    home_sharing,
    home_site,
    reserve_of,
    storm_of,
    told_of,
    zone_of,
)
from shoal.api.live.feeds import Feed, FeedSaid
from shoal.api.live.state import to_ms
from shoal.api.plant import Plant
from shoal.api.site.feed import row_of
from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_S
from shoal.domain.owners import AskHome, HomeTold
from shoal.store.known_terms import KnownTerms

HOME_EVERY_S = 1.0
CONFIRM_S: Final = (0.02, 0.03, 0.05, 0.1, 0.2)
"""How long the device's own word is waited for, between two questions."""

HomeSiteName = Annotated[str, Path(max_length=64, description="A site of one's own.")]
EventName = Annotated[str, Path(max_length=64, description="The event's id.")]
Month = Annotated[
    str | None,
    Query(
        pattern=r"^20\d\d-(0[1-9]|1[0-2])$",
        description="Such as 2026-11; the present one when left out.",
    ),
]

_log = structlog.get_logger(__name__)


class ReserveAsked(Body):
    """What the owner keeps for outages, of the battery's capacity."""

    reserve_frac: Annotated[float, Field(ge=0.0, le=1.0)]


class StormAsked(Body):
    """Whether the plant may get the home ready for dangerous weather."""

    on: bool


class HomeDoor:
    """What the routes share.

    Args:
        plant: The plant.
    """

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        self.terms = KnownTerms(plant.programs)
        self.events = HomeEventBook(plant, self.terms)

    async def told(self, site_id: str, *, look: bool) -> HomeTold | None:
        """Return what the home was told, None when the controller does not answer."""
        try:
            return await self.plant.ask_home(AskHome(site_id=site_id, look=look))
        except UnavailableError as error:
            _log.warning("an owner's word waits for the controller", site=site_id, why=str(error))
            return None

    async def tell(self, site_id: str) -> HomeTold | None:
        """Let the controller act on an owner's word, and wait a moment for the device's own."""
        said = await self.told(site_id, look=True)
        for pause_s in CONFIRM_S:
            if said is None or said.taken:
                break
            await asyncio.sleep(pause_s)
            said = await self.told(site_id, look=False) or said
        return said

    async def skip(self, request: Request, site_id: str, event_id: str, *, skips: bool) -> HomeSkip:
        """Keep an owner's word about an event, and let it be acted on."""
        by, row = own_site(request, site_id), row_of(self.plant, site_id)
        at_ns = await asyncio.to_thread(self.events.say, row, event_id, skips=skips, by=by)
        said = await self.tell(site_id)
        return HomeSkip(
            site_id=site_id,
            event_id=event_id,
            skipped=skips,
            at_ms=to_ms(at_ns),
            in_force=in_force(event_id, said),
            told=told_of(said),
        )

    def keep_reserve(self, row: int, reserve_frac: float, by: str) -> None:
        """Keep what an owner keeps for outages; the least is always kept. Blocks.

        Raises:
            InvalidInputError: when it is below the least.
        """
        plate = self.plant.fleet.nameplate[row]
        least_frac = float(plate["reserve_frac"])
        if not float(plate["energy_capacity_kwh"]) > 0:
            raise InvalidInputError(field="reserve_frac", value=reserve_frac, fix="this home has no battery")
        if round(reserve_frac, 6) < round(least_frac, 6):
            raise InvalidInputError(
                field="reserve_frac",
                value=reserve_frac,
                fix=f"the battery keeps {least_frac:g} at least: give that or more",
            )
        now_ns = self.plant.now_ns()
        asked = None if round(reserve_frac, 6) == round(least_frac, 6) else reserve_frac
        site = self.plant.fleet.site_ids[row]
        self.plant.programs.promise("reserve_frac", [site], asked, at_ns=now_ns, by=by, said_ns=now_ns)

    def watch_storms(self, row: int, on: bool, by: str) -> None:
        """Turn storm watch on or off. Blocks.

        Raises:
            InvalidInputError: when the home is not enrolled in it.
        """
        plant, now_ns = self.plant, self.plant.now_ns()
        site = plant.fleet.site_ids[row]
        if not storm_of(plant, self.terms, row, now_ns).offered:
            raise InvalidInputError(
                field="on",
                value=on,
                fix="this home is not in storm watch: ask who runs the plant to enrol it",
            )
        if on:
            plant.programs.opt_in(STORM, [site], at_ns=now_ns)
        else:
            plant.programs.opt_out(STORM, [site], at_ns=now_ns, by=by, said_ns=now_ns)


def home_routes(plant: Plant) -> APIRouter:
    """Return the routes; what they take is a homeowner's right to the site."""
    router = APIRouter(prefix="/api/home/sites", tags=["home"])
    door = HomeDoor(plant)

    @router.get("/{site_id}", responses=answers(HomeSite, 403, 404, 503))
    async def read_site(request: Request, site_id: HomeSiteName) -> Response:
        """Return a home: what its owner keeps and how long that lasts, its programs, and storm watch."""
        own_site(request, site_id)
        row = row_of(plant, site_id)
        said = await door.told(site_id, look=False)
        return answer(await asyncio.to_thread(home_site, plant, door.terms, row, said))

    @router.get("/{site_id}/now", responses=answers(HomeNow, 403, 404, 503))
    async def read_home(request: Request, site_id: HomeSiteName) -> Response:
        """Return what a home does now."""
        own_site(request, site_id)
        return answer(await home_now(plant, site_id))

    @router.put("/{site_id}/reserve", responses=answers(HomeReserve, 403, 404, 422, 503))
    async def keep_reserve(request: Request, site_id: HomeSiteName, asked: ReserveAsked) -> Response:
        """Keep so much of the battery for outages, from now on: no program takes it, and the device is told."""
        by, row = own_site(request, site_id), row_of(plant, site_id)
        await asyncio.to_thread(door.keep_reserve, row, asked.reserve_frac, by)
        said = await door.tell(site_id)
        return answer(await asyncio.to_thread(reserve_of, plant, row, said))

    @router.get("/{site_id}/events", responses=answers(HomeEvents, 403, 404, 503))
    async def read_events(request: Request, site_id: HomeSiteName) -> Response:
        """Return the events that mean a home: under way, ahead, and of late; and which of them it follows now."""
        own_site(request, site_id)
        row = row_of(plant, site_id)
        said = await door.told(site_id, look=False)
        return answer(await asyncio.to_thread(door.events.events, row, said))

    @router.post("/{site_id}/events/{event_id}/skip", responses=answers(HomeSkip, 403, 404, 422, 503))
    async def skip(request: Request, site_id: HomeSiteName, event_id: EventName) -> Response:
        """Sit an event out, also one under way: the home goes back to its own plan at once."""
        return answer(await door.skip(request, site_id, event_id, skips=True))

    @router.delete("/{site_id}/events/{event_id}/skip", responses=answers(HomeSkip, 403, 404, 422, 503))
    async def come_back(request: Request, site_id: HomeSiteName, event_id: EventName) -> Response:
        """Take part again in an event that was skipped and is not over."""
        return answer(await door.skip(request, site_id, event_id, skips=False))

    @router.put("/{site_id}/storm-watch", responses=answers(HomeStorm, 403, 404, 422, 503))
    async def watch_storms(request: Request, site_id: HomeSiteName, asked: StormAsked) -> Response:
        """Turn storm watch on or off; off counts at once, on from the plant's next look at the weather."""
        by, row = own_site(request, site_id), row_of(plant, site_id)
        await asyncio.to_thread(door.watch_storms, row, asked.on, by)
        await door.tell(site_id)
        return answer(await asyncio.to_thread(storm_of, plant, door.terms, row, plant.now_ns()))

    @router.get("/{site_id}/earnings", responses=answers(HomeEarnings, 403, 404, 422, 503))
    async def read_earnings(request: Request, site_id: HomeSiteName, month: Month = None) -> Response:
        """Return what a home earned in a month, day by day, of what is settled."""
        own_site(request, site_id)
        row = row_of(plant, site_id)
        return answer(await asyncio.to_thread(home_earnings, plant, row, month or month_of(plant)))

    @router.get("/{site_id}/sharing", responses=answers(HomeSharing, 403, 404, 503))
    async def read_sharing(request: Request, site_id: HomeSiteName) -> Response:
        """Return who sees what of a home, and to what its owner consented."""
        own_site(request, site_id)
        row = row_of(plant, site_id)
        return answer(await asyncio.to_thread(home_sharing, plant, door.terms, row))

    return router


def month_of(plant: Plant) -> str:
    """Return the present month by the plant's clock on the wall, such as ``2026-11``."""
    now = datetime.fromtimestamp(plant.now_ns() / NS_PER_S, ZoneInfo(zone_of(plant)))
    return f"{now.year:04d}-{now.month:02d}"


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
    row = row_of(plant, SiteId(site_id))
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
