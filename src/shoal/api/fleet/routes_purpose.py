"""What the plant does now and for whom: the parts of one sentence, from the controller's last cycle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from shoal.api.contract import answer, answers
from shoal.api.groups.answers import Purpose, PurposePart
from shoal.api.live.feeds import Feed, FeedSaid
from shoal.api.live.state import to_ms
from shoal.api.plant import Plant
from shoal.control.arbiter import MARKET
from shoal.control.doing import Doing
from shoal.domain.errors import UnknownIdError

FEED_EVERY_S: Final = 1.0
KEY: Final = "now"
NAMES_FOR_S: Final = 30.0
_W_PER_KW: Final = 1_000.0


class ProgramNames:
    """The names of programs, read again every `NAMES_FOR_S`.

    Args:
        plant: Whose.
    """

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._names: Mapping[str, str] = {}
        self._read_s = -NAMES_FOR_S

    async def read(self) -> Mapping[str, str]:
        """Return the names by id.

        Raises:
            UnavailableError: when the database cannot be reached.
        """
        if time.monotonic() - self._read_s >= NAMES_FOR_S:
            terms = await asyncio.to_thread(self._plant.programs.terms_at, self._plant.now_ns())
            self._names = {one.id: one.name for one in terms.book.programs}
            self._read_s = time.monotonic()
        return self._names


def purpose_routes(plant: Plant, names: ProgramNames) -> APIRouter:
    """Return the route."""
    router = APIRouter(prefix="/api", tags=["fleet"])

    @router.get("/now/purpose", responses=answers(Purpose, 503))
    async def read_purpose() -> Response:
        """Return what the plant does now and for whom, the most power first."""
        return answer(purpose(plant, await names.read()))

    return router


def purpose_feed(plant: Plant, names: ProgramNames) -> Feed:
    """Return the feed `purpose/now`."""

    async def read(key: str) -> FeedSaid:
        if key != KEY:
            raise UnknownIdError("purpose", key)
        said = purpose(plant, await names.read())
        return FeedSaid(as_of_ms=said.as_of_ms, value=said)

    return Feed(name="purpose", every_s=FEED_EVERY_S, read=read)


def purpose(plant: Plant, names: Mapping[str, str]) -> Purpose:
    """Return what the plant does now, with programs by their names."""
    now, of_sites = plant.model.control, len(plant.fleet.site_ids)
    if now is None:
        return Purpose(as_of_ms=None, stale=True, sites=0, of_sites=of_sites, part_count=0, parts=[])
    markets = {str(one.resource_id): one.market_id for one in plant.fleet.resources}
    return Purpose(
        as_of_ms=to_ms(now.t_ns),
        stale=plant.model.now_ns >= now.holds_until_ns,
        sites=now.serving,
        of_sites=of_sites,
        part_count=now.part_count,
        parts=[_part(one, markets, names) for one in now.parts],
    )


def _part(one: Doing, markets: Mapping[str, str], names: Mapping[str, str]) -> PurposePart:
    for_market = one.kind == "award" or one.program == MARKET
    return PurposePart(
        kind=one.kind,
        name=one.name,
        program_id=one.program,
        program=names.get(one.program, one.program),
        market_id=markets.get(one.name) if for_market else None,
        doing=one.what,
        sites=one.sites,
        silent_sites=one.silent_sites,
        commanded_kw=None if one.commanded_w is None else one.commanded_w / _W_PER_KW,
        power_kw=one.power_w / _W_PER_KW,
        low_kw=one.low_w / _W_PER_KW,
        high_kw=one.high_w / _W_PER_KW,
        until_ms=to_ms(one.until_ns),
    )
