"""An order as it goes: the feed `order/<id>`, and what it did up to now, of which the feed is the continuation.

The sites of an order are asked once a second for all who watch; what the database says of it is read again every few
seconds. What was seen is kept, so that the series has it before history does.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.api.dispatch.feeders import feeders_of
from shoal.api.dispatch.order_answers import OrderFeeder, OrderNow, OrderSeries, OrderSites
from shoal.api.dispatch.order_facts import asked_w_of, each_now_w, ends_ns, phase_of, rows_meant
from shoal.api.dispatch.order_facts import commanded_kw as commanded_at
from shoal.api.dispatch.order_trail import OrderTrails, after_sums, groups_of, sums_of
from shoal.api.dispatch.taking_now import TakingNow
from shoal.api.fleet.latest import FleetLatest, latest_of
from shoal.api.groups.history import group_history, read_past, sites_of, with_live
from shoal.api.groups.trail import LiveTrack
from shoal.api.live.feeds import Feed, FeedSaid
from shoal.api.live.state import MS_PER_NS, to_ms
from shoal.api.plant import Plant
from shoal.api.slow_reads import SlowReads
from shoal.control.event_calls import left_of
from shoal.control.kill import halted_rows
from shoal.control.results import DELIVERS_FRAC
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S
from shoal.domain.telemetry import mask_of
from shoal.store.order_lines import OrderLines
from shoal.store.order_records import CallSpec, Order

EVERY_S: Final = 1.0
RECORDS_EVERY_S: Final = 3.0
ORDERS_KEPT: Final = 200
SITES_KEPT: Final = 4_000_000
"""Of all orders that are kept together, each as large as the fleet: some 17 bytes a site."""
BEFORE_NS: Final = 15 * NS_PER_MINUTE
"""A series begins so long before its order, to show what the sites did anyway."""
AFTER_NS: Final = 30 * NS_PER_MINUTE
"""It goes on for so long after it, to show what came of it."""
_BATTERY: Final = mask_of("battery_w")
_W_PER_KW: Final = 1_000.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OnRecord:
    """What the database says of an order.

    Attributes:
        order: The order.
        rows: Whom it means now.
        each_w: What each of them is asked while it runs, charging positive.
        shared: How surely; see `OrderNow`.
        told_phase: Where the controller is with a call.
        refused: By site of the order, why its device refused.
        left: Rows whose owner left it.
        halted: Which sites are under a kill switch (N of the fleet).
    """

    order: Order
    rows: NDArray[np.int64]
    each_w: NDArray[np.int64]
    shared: Any
    told_phase: str
    refused: dict[int, str]
    left: frozenset[int]
    halted: NDArray[np.bool_]


class OrderDesk:
    """What the feed and the series of orders share.

    Args:
        plant: Whose.
        taking: Who takes part in what.
    """

    def __init__(self, plant: Plant, taking: TakingNow) -> None:
        self._plant = plant
        self._taking = taking
        self._lines = OrderLines(plant.database)
        self._kept: OrderedDict[str, tuple[float, OnRecord]] = OrderedDict()
        self._reads = SlowReads("orders")
        self.trails = OrderTrails()

    async def on_record(self, order_id: str) -> OnRecord:
        """Return what the database says of an order, a few seconds old at most.

        Raises:
            UnknownIdError: when there is no such order.
            UnavailableError: when the database cannot be reached.
        """
        kept = self._kept.get(order_id)
        if kept is not None and time.monotonic() - kept[0] < RECORDS_EVERY_S:
            return kept[1]
        read = await asyncio.to_thread(self._read, order_id)
        self._kept[order_id] = (time.monotonic(), read)
        self._kept.move_to_end(order_id)
        most = min(ORDERS_KEPT, max(SITES_KEPT // max(len(self._plant.fleet.site_ids), 1), 1))
        while len(self._kept) > most:
            self._kept.popitem(last=False)
        return read

    def _read(self, order_id: str) -> OnRecord:
        plant, door = self._plant, self._plant.commands
        fleet, now_ns = plant.fleet, plant.now_ns()
        order = door.orders.order(order_id)
        taking = self._taking.at(now_ns)
        rows = rows_meant(order, fleet, taking.enrolled)
        each_w, shared = each_now_w(order, rows, fleet, plant.kept_event)
        inside = set(rows.tolist())
        refused: dict[int, str] = {}
        for site, reason in self._lines.refusals(since_ns=min(order.at_ns, order.start_ns)):
            row = fleet.row_of.get(SiteId(site), -1)
            if row in inside:
                refused.setdefault(row, reason)
        left = left_of(self._lines.steps([order_id]))
        is_call = isinstance(order.spec, CallSpec)
        return OnRecord(
            order=order,
            rows=rows,
            each_w=each_w,
            shared=shared,
            told_phase=str(plant.kept_event(order_id).get("phase", "")) if is_call else "",
            refused=refused,
            left=frozenset(fleet.row_of[SiteId(site)] for site in left if SiteId(site) in fleet.row_of),
            halted=halted_rows(door.orders.stops(), fleet),
        )

    async def now(self, order_id: str) -> OrderNow:
        """Return an order as it goes, and keep what was seen of it.

        Raises:
            UnknownIdError: when there is no such order.
            UnavailableError: when its sites or the database cannot be asked.
        """
        record = await self.on_record(order_id)
        latest = await latest_of(self._plant, record.rows)
        said = order_now(record, latest, self._plant)
        if said.measured_kw is not None and said.coverage_frac is not None:
            self.trails.take(
                order_id,
                said.t_ms * MS_PER_NS,
                battery_kw=said.measured_kw,
                low_kw=said.low_kw,
                high_kw=said.high_kw,
                coverage=said.coverage_frac,
            )
        return said

    async def series(self, order_id: str, from_ms: int | None, to_ms: int | None, points: int) -> OrderSeries:
        """Return what an order asked and what its sites did, up to now.

        Raises:
            UnknownIdError: when there is no such order.
            InvalidInputError: when the span is empty or too long.
            UnavailableError: when history cannot be read now.
        """
        record, plant = await self.on_record(order_id), self._plant
        order, now_ns, gap_ns = record.order, plant.now_ns(), max(plant.timeouts.fresh_ns)
        from_ns = order.start_ns - BEFORE_NS if from_ms is None else from_ms * MS_PER_NS
        to_ns = min(ends_ns(order) + AFTER_NS, now_ns + 1) if to_ms is None else to_ms * MS_PER_NS
        if from_ms is None:
            from_ns = min(from_ns, now_ns - NS_PER_MINUTE)
        if to_ms is None:
            to_ns = max(to_ns, from_ns + NS_PER_MINUTE)
        live = self.trails.track(order_id, from_ns, to_ns, gap_ns=gap_ns)
        numbers = groups_of(order.scope, record.rows, plant)
        if numbers is not None:
            plant.hub.catch_up()
            live = after_sums(sums_of(numbers, from_ns, to_ns, plant), live)
        return await self._reads.read(
            f"the history of {order_id}", lambda: self._series(record, live, from_ns, to_ns, points)
        )

    def _series(
        self, record: OnRecord, live: LiveTrack, from_ns: int, to_ns: int, points: int
    ) -> OrderSeries:
        plant, order = self._plant, record.order
        sites, gap_ns = sites_of(plant.fleet, record.rows), max(plant.timeouts.fresh_ns)
        live_from_ns = int(live.t_ns[0]) if len(live.t_ns) else to_ns
        track, written = with_live(read_past(plant.history, sites, from_ns, to_ns, live_from_ns), live)
        found = group_history(
            order.order_id,
            track,
            from_ns=from_ns,
            to_ns=to_ns,
            points=points,
            written=written,
            fresh_ns=gap_ns,
        )
        all_give_kw = float(sites.give_w.sum()) / _W_PER_KW
        t_ns = np.array(found.t_ms, dtype=np.int64) * MS_PER_NS
        return OrderSeries(
            order_id=order.order_id,
            from_ms=found.from_ms,
            until_ms=found.to_ms,
            step_ms=round(found.step_s * 1e3),
            seam_ms=found.seam_ms,
            t_ms=found.t_ms,
            commanded_kw=[None if kw != kw else kw for kw in commanded_at(order, plant.fleet, t_ns).tolist()],
            measured_kw=[
                _measured(low, coverage, battery, all_give_kw, is_live=source == "live")
                for low, coverage, battery, source in zip(
                    found.low_kw, found.coverage_kw_frac, found.battery_kw, found.source, strict=True
                )
            ],
            low_kw=found.low_kw,
            high_kw=found.high_kw,
            coverage_frac=found.coverage_kw_frac,
            gap=found.gap,
        )


def _measured(
    low_kw: float | None,
    coverage: float | None,
    battery_kw: float | None,
    all_give_kw: float,
    *,
    is_live: bool,
) -> float | None:
    """Return what those that were measured did: history says what all may have done, bounded by ratings."""
    if is_live or low_kw is None or coverage is None:
        return battery_kw
    return round(low_kw + (1.0 - coverage) * all_give_kw, 4)


def order_now(record: OnRecord, latest: FleetLatest, plant: Plant) -> OrderNow:
    """Return an order as it goes, from its sites' latest records. Pure."""
    order, fleet, rows = record.order, plant.fleet, record.rows
    t_ns = max(latest.t_ns, 0) or plant.now_ns()
    seen = _Seen(record, latest, plant, t_ns)
    phase = phase_of(order, t_ns)
    asked_w = asked_w_of(order, fleet) if phase == "running" else None
    whole = seen.of(np.arange(len(rows)), running=phase == "running")
    asked_kw = None if asked_w is None else asked_w / _W_PER_KW
    short_kw = None
    if asked_kw is not None and whole.measured_kw is not None:
        less = asked_kw - whole.measured_kw if asked_kw >= 0 else whole.measured_kw - asked_kw
        short_kw = max(less, 0.0)
    return OrderNow(
        order_id=order.order_id,
        revision=order.revision,
        state=order.state,
        phase=phase,
        told_phase=record.told_phase,
        as_of_ms=to_ms(t_ns),
        t_ms=to_ms(t_ns),
        start_ms=to_ms(order.start_ns),
        end_ms=to_ms(ends_ns(order)),
        commanded_kw=asked_kw,
        measured_kw=whole.measured_kw,
        low_kw=whole.low_kw,
        high_kw=whole.high_kw,
        shortfall_kw=short_kw,
        coverage_frac=whole.coverage_frac,
        oldest_age_s=whole.oldest_age_s,
        shared=record.shared,
        sites=OrderSites(
            meant=len(rows),
            fresh=whole.fresh,
            answering=whole.answering,
            refused=len(record.refused),
            left=len(record.left & set(rows.tolist())),
            stopped=int(record.halted[rows].sum()),
        ),
        reasons=dict(Counter(record.refused.values())),
        by_feeder=[
            seen.of(feeder.at, group_id=feeder.group_id, name=feeder.name, running=phase == "running")
            for feeder in feeders_of(rows, fleet)
        ],
    )


class _Seen:
    """The sites of an order as they were seen at an instant."""

    def __init__(self, record: OnRecord, latest: FleetLatest, plant: Plant, t_ns: int) -> None:
        self._record = record
        mine = latest.records[record.rows]
        self._plate = plant.fleet.nameplate[record.rows]
        heard = mine["ts_ns"] > 0
        measures = (mine["present"].astype(np.int64) & _BATTERY) != 0
        self._fresh = heard & measures & (t_ns - mine["ts_ns"] <= plant.timeouts.fresh_ns[0])
        self._battery_w = np.where(self._fresh, mine["battery_w"], 0).astype(np.int64)
        self._age_s = np.where(heard, np.maximum(t_ns - mine["ts_ns"], 0) / NS_PER_S, np.nan)
        each_w = record.each_w
        does = self._battery_w * np.sign(each_w) >= DELIVERS_FRAC * np.abs(each_w)
        self._answers = self._fresh & (each_w != 0) & does

    def of(
        self, at: NDArray[np.int64], *, group_id: str = "", name: str = "", running: bool = False
    ) -> OrderFeeder:
        """Return the figures of some of them, by their places among the order's sites."""
        fresh, battery_w = self._fresh[at], self._battery_w[at]
        give_kw, take_kw = self._plate["discharge_limit_kw"][at], self._plate["charge_limit_kw"][at]
        measured_kw = float(battery_w.sum()) / _W_PER_KW
        all_give_kw = float(give_kw.sum())
        ages = self._age_s[at]
        refused = [
            self._record.refused[row] for row in self._record.rows[at].tolist() if row in self._record.refused
        ]
        each_w = self._record.each_w[at]
        return OrderFeeder(
            group_id=group_id,
            name=name,
            sites=len(at),
            fresh=int(fresh.sum()),
            commanded_kw=float(each_w.sum()) / _W_PER_KW if running and self._record.each_w.any() else None,
            measured_kw=measured_kw if fresh.any() else None,
            low_kw=measured_kw - float(give_kw[~fresh].sum()),
            high_kw=measured_kw + float(take_kw[~fresh].sum()),
            coverage_frac=float(give_kw[fresh].sum()) / all_give_kw if all_give_kw > 0 else None,
            oldest_age_s=float(np.nanmax(ages)) if np.isfinite(ages).any() else None,
            answering=int(self._answers[at].sum()) if running and self._record.each_w.any() else None,
            refused=len(refused),
            reasons=dict(Counter(refused)),
        )


def order_feed(desk: OrderDesk) -> Feed:
    """Return the feed `order/<id>`."""

    async def read(key: str) -> FeedSaid:
        now = await desk.now(key)
        return FeedSaid(as_of_ms=now.as_of_ms, value=now)

    return Feed(name="order", every_s=EVERY_S, read=read)
