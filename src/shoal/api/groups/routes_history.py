"""A group from its history to now, and the feed that goes on from there."""

from __future__ import annotations

import math
from typing import Annotated, Final

import numpy as np
from fastapi import APIRouter, Query
from numpy.typing import NDArray
from starlette.responses import Response

from shoal.api.contract import answer, answers
from shoal.api.groups.answers import GroupHistory, GroupPoint
from shoal.api.groups.history import group_history, read_past, sites_of, with_live
from shoal.api.live.feeds import Feed, FeedSaid
from shoal.api.live.state import MS_PER_NS, to_ms
from shoal.api.plant import Plant
from shoal.api.slow_reads import SlowReads
from shoal.domain.errors import UnavailableError
from shoal.domain.ids import GroupId

FEED_EVERY_S: Final = 1.0
_LATEST_MS: Final = 2**62 // MS_PER_NS

Instant = Annotated[int, Query(ge=0, le=_LATEST_MS, description="Milliseconds since 1970, UTC.")]
Points = Annotated[int, Query(ge=10, le=4_000, description="About how many points at most.")]


def group_history_routes(plant: Plant) -> APIRouter:
    """Return the route; history is read in threads, a few at once."""
    router = APIRouter(prefix="/api", tags=["groups"])
    reads = SlowReads("groups")

    @router.get("/groups/{group_id}/history", responses=answers(GroupHistory, 404, 422, 503))
    async def read_history(group_id: str, from_ms: Instant, to_ms: Instant, points: Points = 600) -> Response:
        """Return a group's past up to its newest sums: from its sites' means, then what was live, without a seam."""
        number = plant.model.tree.number(group_id)
        plant.hub.catch_up()
        from_ns, to_ns = from_ms * MS_PER_NS, to_ms * MS_PER_NS
        live = plant.model.group_trail.track(number, from_ns, to_ns)

        def read() -> GroupHistory:
            sites = sites_of(plant.fleet, plant.fleet.rows_in(GroupId(group_id)))
            # before the first sums nobody can say more than samples do
            live_from_ns = int(live.t_ns[0]) if len(live.t_ns) else to_ns
            past = read_past(plant.history, sites, from_ns, to_ns, live_from_ns)
            track, written = with_live(past, live)
            return group_history(
                group_id,
                track,
                from_ns=from_ns,
                to_ns=to_ns,
                points=points,
                written=written,
                fresh_ns=max(plant.timeouts.fresh_ns),
            )

        return answer(await reads.read(f"the history of {group_id}", read))

    return router


def group_feed(plant: Plant) -> Feed:
    """Return the feed `group/<id>`: a group's newest sums, which go on from the last point of its history."""

    async def read(key: str) -> FeedSaid:
        number = plant.model.tree.number(key)
        plant.hub.catch_up()
        newest = plant.model.group_trail.newest(number)
        if newest is None:
            raise UnavailableError("the groups' figures", "none have come yet")
        t_ns, values = newest
        return FeedSaid(as_of_ms=to_ms(t_ns), value=_point(to_ms(t_ns), values))

    return Feed(name="group", every_s=FEED_EVERY_S, read=read)


def _point(t_ms: int, values: NDArray[np.float64]) -> GroupPoint:
    battery, low, high, grid, soc, coverage = (
        None if math.isnan(value) else round(value, 4) for value in values.tolist()
    )
    return GroupPoint(
        t_ms=t_ms,
        battery_kw=battery,
        low_kw=low,
        high_kw=high,
        grid_kw=grid,
        soc_frac=soc,
        coverage_kw_frac=coverage,
    )
