"""The routes of one site beyond its twin: history to the present, orders against what it did, its device, what happened.

They read files and the database in threads, a few at once; who comes later waits a little.
"""

from __future__ import annotations

from typing import Annotated, Final

import numpy as np
from fastapi import APIRouter, Query
from starlette.responses import Response

from shoal.api.contract import answer, answers
from shoal.api.fleet.twins import site_detail
from shoal.api.live.state import MS_PER_NS, to_ms
from shoal.api.live.views import alarm_view
from shoal.api.plant import Plant
from shoal.api.site.answers import (
    SiteAsked,
    SiteCommands,
    SiteDevice,
    SiteEvents,
    SiteHistory,
    SiteResponse,
)
from shoal.api.site.device import parameters_of
from shoal.api.site.events import site_events
from shoal.api.site.feed import SiteDesk, row_of, twin_of
from shoal.api.site.history import (
    joined,
    read_track,
    site_history,
    step_ns_of,
    tier_of,
    track_of,
)
from shoal.api.slow_reads import SlowReads
from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.telemetry import TELEMETRY
from shoal.domain.twins import ShardAnswer
from shoal.store.registry import Registry

MOST_ORDERS: Final = 200
_LATEST_MS: Final = 2**62 // MS_PER_NS
_LONGEST_NS: Final = 400 * 24 * NS_PER_HOUR

Instant = Annotated[int, Query(ge=0, le=_LATEST_MS, description="Milliseconds since 1970, UTC.")]
Points = Annotated[int, Query(ge=10, le=4_000, description="About how many points at most.")]
Limit = Annotated[int, Query(ge=1, le=500, description="How many of the newest to list.")]


def one_site_routes(plant: Plant) -> APIRouter:
    """Return the routes of one site."""
    router = APIRouter(prefix="/api/sites", tags=["sites"])
    desk = SiteDesk(plant)
    in_thread = SlowReads("sites").read

    @router.get("/{site_id}/history", responses=answers(SiteHistory, 404, 422, 503))
    async def read_history(site_id: str, from_ms: Instant, to_ms: Instant, points: Points = 600) -> Response:
        """Return a site's history up to its newest sample, thinned, with every silence; from samples or roll-ups."""
        row = row_of(plant, site_id)
        said = await _newest(plant, site_id)
        return answer(
            await in_thread(
                f"the history of {site_id}", lambda: history_of(plant, row, from_ms, to_ms, points, said)
            )
        )

    @router.get("/{site_id}/commands", responses=answers(SiteCommands, 404, 422, 503))
    async def read_commands(site_id: str, from_ms: Instant, to_ms: Instant, points: Points = 600) -> Response:
        """Return what was asked of a site's battery against what it did, and how each order went, the newest first."""
        row = row_of(plant, site_id)
        said = await _newest(plant, site_id)

        def read() -> SiteCommands:
            history = history_of(plant, row, from_ms, to_ms, points, said)
            orders = desk.orders.between(row, from_ms * MS_PER_NS, to_ms * MS_PER_NS, now_ns=plant.now_ns())
            return commands_of(history, orders)

        return answer(await in_thread(f"the orders of {site_id}", read))

    @router.get("/{site_id}/device", responses=answers(SiteDevice, 404, 503))
    async def read_device(site_id: str) -> Response:
        """Return a site's device: its connection, its settings against what services assume, its alarms."""
        row_of(plant, site_id)
        said = await twin_of(plant, site_id)
        return answer(
            await in_thread(f"the device of {site_id}", lambda: device_of(plant, desk, site_id, said))
        )

    @router.get("/{site_id}/events", responses=answers(SiteEvents, 404, 422, 503))
    async def read_events(site_id: str, limit: Limit = 100) -> Response:
        """Return what happened to a site: orders, refusals, what its owner said, what it was paid, the newest first."""
        row = row_of(plant, site_id)

        def read() -> SiteEvents:
            return site_events(plant, desk.records, desk.orders, row, now_ns=plant.now_ns(), limit=limit)

        return answer(await in_thread(f"the events of {site_id}", read))

    return router


async def _newest(plant: Plant, site_id: str) -> ShardAnswer | None:
    """Return the twin of a site, None when nobody can say now: what is on record is told all the same."""
    try:
        return await twin_of(plant, site_id)
    except UnavailableError:
        return None


def history_of(
    plant: Plant, row: int, from_ms: int, to_ms: int, points: int, said: ShardAnswer | None
) -> SiteHistory:
    """Return a site's history; blocks.

    Raises:
        InvalidInputError: when the span is empty or too long.
        UnavailableError: when history cannot be read now.
    """
    from_ns, to_ns = from_ms * MS_PER_NS, to_ms * MS_PER_NS
    if not 0 < to_ns - from_ns <= _LONGEST_NS:
        raise InvalidInputError(
            field="to_ms", value=to_ms, fix="give an end after the beginning, at most 400 days"
        )
    now_ns = max(plant.now_ns(), 0 if said is None else said.t_ns)
    tier = tier_of(to_ns - from_ns)
    track = read_track(plant.history, row, from_ns, to_ns, tier)
    written = len(track.first_ns)
    heard_ns = None
    if said is not None:
        newest = track_of(np.frombuffer(said.latest, dtype=TELEMETRY.dtype))
        heard_ns = int(newest.first_ns[0]) if len(newest.first_ns) else None
        ahead = newest.first_ns > (track.last_ns[-1] if written else from_ns)
        if len(newest.first_ns) and bool((ahead & (newest.first_ns < to_ns)).all()):
            track = joined(track, newest)
    return site_history(
        plant.fleet.site_ids[row],
        track,
        from_ns=from_ns,
        to_ns=to_ns,
        now_ns=now_ns,
        tier=tier,
        step_ns=step_ns_of(to_ns - from_ns, points, tier),
        fresh_ns=max(plant.timeouts.fresh_ns),
        written=written,
        heard_ns=heard_ns,
    )


def commands_of(history: SiteHistory, orders: list[SiteAsked]) -> SiteCommands:
    """Return what was asked against what was done, from a site's history and its orders by place. Pure."""
    asks = [one for one in orders if one.kind in ("power", "charge", "hold", "local", "setpoint", "call")]

    def wanted(at_ms: int) -> float | None:
        first = next((one for one in asks if one.from_ms <= at_ms < one.until_ms), None)
        return None if first is None else first.site_kw

    newest = sorted(orders, key=lambda one: (one.from_ms, one.order_id), reverse=True)[:MOST_ORDERS]
    return SiteCommands(
        site_id=history.site_id,
        from_ms=history.from_ms,
        to_ms=history.to_ms,
        step_s=history.step_s,
        t_ms=history.t_ms,
        commanded_kw=[wanted(at_ms) for at_ms in history.t_ms],
        measured_kw=history.battery_kw,
        following=history.following,
        gap=history.gap,
        orders=[response_of(history, one) for one in newest],
    )


def response_of(history: SiteHistory, order: SiteAsked) -> SiteResponse:
    """Return how a site answered one order, from the points of its history within it. Pure."""
    inside = [at for at, t_ms in enumerate(history.t_ms) if order.from_ms <= t_ms < order.until_ms]
    measured = [kw for at in inside if (kw := history.battery_kw[at]) is not None]
    follows = [version for at in inside if (version := history.following[at]) is not None]
    begin_ms = max(order.from_ms, history.from_ms)
    end_ms = min(order.until_ms, history.to_ms)
    silent_ms = sum(max(min(one.to_ms, end_ms) - max(one.from_ms, begin_ms), 0) for one in history.silences)
    return SiteResponse(
        order=order,
        measured_kw=sum(measured) / len(measured) if measured else None,
        heard_frac=1.0 - silent_ms / (end_ms - begin_ms) if measured and end_ms > begin_ms else 0.0,
        followed_frac=sum(version > 0 for version in follows) / len(follows) if follows else None,
    )


def device_of(plant: Plant, desk: SiteDesk, site_id: str, said: ShardAnswer) -> SiteDevice:
    """Return a site's device; blocks.

    Raises:
        UnavailableError: when the database cannot be reached.
    """
    row = plant.fleet.row_of[SiteId(site_id)]
    twin = site_detail(plant.fleet, row, said, plant.timeouts)
    name = SiteId(twin.site.gateway_id or site_id)
    credential = Registry(plant.registry).credentials([name]).get(name)
    reported = desk.records.reported(SiteId(site_id))
    assumed = desk.records.assumed(SiteId(site_id))
    parameters, withheld_kw = parameters_of(site_id, assumed, reported, now_ns=plant.now_ns())
    names = {site_id, str(name)}
    alarms = [
        alarm_view(one)
        for one in plant.alarms.active()
        if one.subject in names or not names.isdisjoint(one.examples)
    ]
    return SiteDevice(
        site_id=site_id,
        as_of_ms=twin.as_of_ms,
        device_type=twin.site.device_type,
        gateway_id=twin.site.gateway_id,
        gateway_unit=twin.site.gateway_unit,
        grade=twin.grade,
        heard_ms=twin.heard_ms,
        age_s=twin.age_s,
        signals=twin.signals,
        flags=twin.flags,
        enrolled_ms=None if credential is None else to_ms(credential.created_ns),
        revoked_ms=None
        if credential is None or credential.revoked_ns is None
        else to_ms(credential.revoked_ns),
        firmware=None if reported is None else reported.firmware or None,
        reported_ms=None if reported is None else to_ms(reported.t_ns),
        parameters=parameters,
        withheld_kw=withheld_kw,
        alarms=alarms,
    )
