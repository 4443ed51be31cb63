"""One site, live on `site/<id>`: what it does, what is asked of it, and what its device says that it follows.

The twin is asked each time; what the database has is read again every few seconds, for it changes when people act.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import numpy as np

from shoal.api.fleet.twins import site_detail
from shoal.api.live.feeds import Feed, FeedSaid
from shoal.api.live.state import to_ms
from shoal.api.plant import Plant
from shoal.api.site.answers import SiteAsked, SiteNow, SiteReported, SiteStop
from shoal.api.site.orders import SiteOrderBook
from shoal.domain.errors import UnavailableError, UnknownIdError
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.twins import ShardAnswer
from shoal.store.order_records import AuditEntry
from shoal.store.orders import Orders
from shoal.store.site_records import SiteRecords

SITE_EVERY_S: Final = 1.0
RECORDS_EVERY_S: Final = 3.0
SITES_KEPT: Final = 2_000
REFUSED_WITHIN_NS: Final = 24 * NS_PER_HOUR
_LINES_LOOKED_AT: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteOnRecord:
    """What the database says of a site now.

    Attributes:
        asked: The orders in force, the one that goes first on top.
        stop: The kill switch that halts it.
        reserve_frac: The state of charge that its owner keeps.
        refused: The newest refusal of its device, of the last day.
    """

    asked: list[SiteAsked]
    stop: SiteStop | None
    reserve_frac: float
    refused: AuditEntry | None


class SiteDesk:
    """What the answers about single sites share.

    Args:
        plant: The plant.
    """

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self.records = SiteRecords(plant.database, plant.registry)
        self.orders = SiteOrderBook(plant.fleet, Orders(plant.database), plant.programs)
        self._kept: OrderedDict[str, tuple[float, SiteOnRecord]] = OrderedDict()

    async def on_record(self, site_id: str) -> SiteOnRecord:
        """Return what the database says of a site, a few seconds old at most.

        Raises:
            UnavailableError: when the database cannot be reached.
        """
        now_s = time.monotonic()
        kept = self._kept.get(site_id)
        if kept is not None and now_s - kept[0] < RECORDS_EVERY_S:
            return kept[1]
        read = await asyncio.to_thread(self._read, SiteId(site_id))
        self._kept[site_id] = (now_s, read)
        self._kept.move_to_end(site_id)
        while len(self._kept) > SITES_KEPT:
            self._kept.popitem(last=False)
        return read

    def _read(self, site_id: SiteId) -> SiteOnRecord:
        plant = self._plant
        row, now_ns = plant.fleet.row_of[site_id], plant.now_ns()
        lines = self.records.lines(site_id, (), _LINES_LOOKED_AT)
        refusals = (
            line for line in lines if line.outcome == "refused" and now_ns - line.at_ns < REFUSED_WITHIN_NS
        )
        promised = [
            one.amount for one in plant.programs.promises(site_id, at_ns=now_ns) if one.kind == "reserve_frac"
        ]
        return SiteOnRecord(
            asked=self.orders.now(row, now_ns),
            stop=self.orders.stop(row),
            reserve_frac=max(float(plant.fleet.nameplate["reserve_frac"][row]), *promised, 0.0),
            refused=next(refusals, None),
        )


def site_feed(plant: Plant) -> Feed:
    """Return the feed `site/<id>`."""
    desk = SiteDesk(plant)

    async def read(key: str) -> FeedSaid:
        now = await site_now(plant, desk, key)
        return FeedSaid(as_of_ms=now.as_of_ms, value=now)

    return Feed(name="site", every_s=SITE_EVERY_S, read=read)


async def site_now(plant: Plant, desk: SiteDesk, site_id: str) -> SiteNow:
    """Return what a site does now, as the shard that owns it has it, and what is asked of it.

    Raises:
        UnknownIdError: when there is no such site.
        UnavailableError: when nobody can say now.
    """
    row = row_of(plant, site_id)
    said = await twin_of(plant, site_id)
    on_record = await desk.on_record(site_id)
    twin = site_detail(plant.fleet, row, said, plant.timeouts)
    kw = {signal.signal: signal.power_kw for signal in twin.signals}
    known = [power for power in kw.values() if power is not None]
    follows = None if twin.latest is None else twin.latest["command_version"]
    refused = on_record.refused
    return SiteNow(
        site_id=site_id,
        as_of_ms=twin.as_of_ms,
        grade=twin.grade,
        heard_ms=twin.heard_ms,
        age_s=twin.age_s,
        signals=twin.signals,
        grid_kw=sum(known) if kw["load"] is not None else None,
        soc_frac=twin.soc_frac,
        energy_kwh=twin.energy_kwh,
        energy_capacity_kwh=twin.site.nameplate["energy_capacity_kwh"],
        reserve_frac=on_record.reserve_frac,
        flags=twin.flags,
        stop=on_record.stop,
        asked=on_record.asked,
        reported=SiteReported(
            following=None if follows is None else int(follows),
            heard_ms=twin.heard_ms,
            refused_ms=None if refused is None else to_ms(refused.at_ns),
            refused="" if refused is None else " ".join((refused.reason, refused.detail)).strip(),
        ),
    )


def row_of(plant: Plant, site_id: str) -> int:
    """Return a site's row in the fleet.

    Raises:
        UnknownIdError: when there is no such site.
    """
    row = plant.fleet.row_of.get(SiteId(site_id))
    if row is None:
        raise UnknownIdError("site", site_id)
    return row


async def twin_of(plant: Plant, site_id: str) -> ShardAnswer:
    """Return the answer of a site's shard.

    Raises:
        UnknownIdError: when there is no such site.
        UnavailableError: when nobody can say now.
    """
    for said in await plant.ask_sites(np.array([row_of(plant, site_id)])):
        if said.latest:
            return said
    raise UnavailableError(f"the twin of {site_id}", "its shard does not have the site yet")
