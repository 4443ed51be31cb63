"""What an order would come to: the controller's own dry run, with the reason of each site, its cost and what comes after.

The twins are asked as they are now; what begins later is reckoned with as if it began now, against everything else that is
asked of the same sites meanwhile. Nothing is sent and nothing is kept but the preview itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from shoal.api.dispatch.cost import Share, cost_of
from shoal.api.dispatch.feeders import feeders_of, limit_of
from shoal.api.dispatch.planned import plan_call
from shoal.api.dispatch.preview_answers import (
    AskedKind,
    BindingLimit,
    FeederPreview,
    LossView,
    PreviewView,
)
from shoal.api.dispatch.previews import KEPT_S, PreviewRows
from shoal.api.dispatch.reasons import bits_of, left_out, reasons_of
from shoal.api.dispatch.seen import (
    Seen,
    asked_kw_of,
    assumes,
    held_interval,
    interval_of,
    of_powers,
    rebound_of,
    rows_of_seen,
    short_kw,
    silent_of_groups,
    wants_power,
)
from shoal.api.fleet.latest import FleetLatest, latest_of
from shoal.api.live.state import to_ms
from shoal.api.plant import Plant
from shoal.api.records.books import known_resources, price_series
from shoal.bidding.awarded import Awarded
from shoal.control.asking import named
from shoal.control.dry_run import each_of, work_out
from shoal.control.grid_limits import GridLimits
from shoal.control.kill import halted_rows
from shoal.control.schedule import rows_in_scope, rows_of_order
from shoal.control.standing_claims import others_of
from shoal.control.taking_part import TakingPart
from shoal.domain.fleet import Resource
from shoal.domain.ids import GroupId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.market.registry import market_module
from shoal.store.facts import FactStore
from shoal.store.limits import LimitStore
from shoal.store.order_records import CallSpec, Order, Scope, SetPointSpec

_W_PER_KW: Final = 1_000.0
AFTER_NS: Final = 4 * NS_PER_HOUR
"""So long after its end a called event may still have its sites."""


class PreviewDesk:
    """Makes previews, one at a time.

    Args:
        plant: Whose.
    """

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._grid = plant.commands.grid or GridLimits(plant.fleet, LimitStore(plant.database))
        self._awarded = Awarded(cycles=plant.ledger, market=market_module)
        self._facts = FactStore(plant.database)
        self._lock = asyncio.Lock()

    async def look(self, order: Order, kind: AskedKind, asked: BaseModel) -> PreviewView:
        """Return what an order would come to, and keep it for a while.

        Args:
            order: As it would be launched.
            kind: What it is.
            asked: What was asked.

        Raises:
            InvalidInputError: when it cannot be carried out.
            UnavailableError: when the twins or the database cannot be asked.
        """
        async with self._lock:
            latest = await latest_of(self._plant)
            view, rows = await asyncio.to_thread(self._made, order, kind, latest)
        self._plant.commands.previews.keep(view, rows, by=order.by, asked=asked)
        return view

    # -- in a thread

    def _made(self, order: Order, kind: AskedKind, latest: FleetLatest) -> tuple[PreviewView, PreviewRows]:
        plant, door = self._plant, self._plant.commands
        t_ns = max(plant.now_ns(), latest.t_ns)
        # a set-point or a change begins when it is launched
        seen = self._see(order, t_ns, latest)
        told = seen.worked.preview
        low_kw, expected_kw, high_kw = interval_of(seen, told.low_kw, told.expected_kw, told.high_kw)
        held_low, held_kw, held_high = held_interval(seen)
        # what runs already has a part of it behind it
        begins_ns = order.start_ns if order.revision == 1 else max(order.start_ns, min(t_ns, order.end_ns))
        hours = (order.end_ns - begins_ns) / NS_PER_HOUR
        above_kw, second_kw = None, 0.0
        if door.second is not None:
            held = door.orders.order(order.order_id) if order.revision > 1 else None
            above_kw, (second_kw, _) = door.second.above_kw, door.second.weigh(order, held)
        view = PreviewView(
            token=named("preview", t_ns, order.by, order.spec, order.scope),
            kind=kind,
            program=order.program,
            made_ms=to_ms(t_ns),
            kept_s=KEPT_S,
            start_ms=to_ms(order.start_ns),
            end_ms=to_ms(order.end_ns),
            sites=len(seen.scope_rows),
            enrolled=len(seen.rows),
            taking_part=int((seen.reason == 0).sum()),
            fresh=told.fresh_sites,
            silent=told.silent_sites,
            halted=told.halted_sites,
            asked_kw=asked_kw_of(seen),
            expected_kw=expected_kw,
            low_kw=low_kw,
            high_kw=high_kw,
            sustained_kw=held_kw,
            sustained_low_kw=held_low,
            sustained_high_kw=held_high,
            energy_kwh=held_kw * hours,
            shortfall_kw=short_kw(asked_kw_of(seen), held_kw),
            binding=[
                BindingLimit(limit=one.limit, sites=one.sites, power_kw=one.power_w / _W_PER_KW)
                for one in told.binding
            ],
            losses=[
                LossView(claim=one.claim, sites=one.sites, power_kw=one.power_w / _W_PER_KW, words=one.told)
                for one in told.losses
            ],
            left_out=left_out(seen.reason, seen.scope_rows, plant.fleet, charges=asked_kw_of(seen) > 0),
            cost=cost_of(
                order,
                self._shares(seen, hours),
                held_kw * hours,
                *sorted((held_low * hours, held_high * hours)),
            ),
            rebound=rebound_of(seen, plant),
            by_feeder=self._feeders(seen),
            steps=[] if seen.planned is None else seen.planned.steps,
            assumes=assumes(seen),
            second_above_kw=above_kw,
            second_kw=second_kw,
            needs_second=above_kw is not None and second_kw > above_kw,
        )
        return view, rows_of_seen(seen)

    def _see(self, order: Order, t_ns: int, latest: FleetLatest) -> Seen:
        plant, door = self._plant, self._plant.commands
        fleet, sites = plant.fleet, len(plant.fleet.site_ids)
        terms = plant.programs.terms_at(t_ns)
        taking = (
            TakingPart(plant.programs, fleet.nameplate, t_ns=t_ns)
            if door.taking_part is None
            else door.taking_part(t_ns)
        )
        self._grid.refresh(t_ns)
        halted = halted_rows(door.orders.stops(), fleet)
        rows = rows_of_order(order, fleet, taking.enrolled)
        fresh_ns = plant.timeouts.fresh_ns[0]
        others = others_of(
            order,
            door.orders.orders(after_ns=t_ns - AFTER_NS),
            fleet=fleet,
            book=taking.book,
            enrolled=taking.enrolled,
            kept_event=plant.kept_event,
            awarded=self._award,
        )
        planned = None
        each_w = each_of(order, rows, fleet)
        if isinstance(order.spec, CallSpec):
            planned = plan_call(
                order,
                fleet,
                taking,
                latest.records,
                t_ns=t_ns,
                fresh_ns=fresh_ns,
                halted=halted | others.busy,
            )
            each_w = -planned.asked_w[rows]
        worked = work_out(
            order,
            t_ns=t_ns,
            fleet=fleet,
            rows=rows,
            each_w=each_w,
            latest=latest.records,
            halted=halted,
            book=taking.book,
            claims=others.claims,
            busy=others.busy,
            ability=taking.ability,
            fresh_timeout_s=fresh_ns / NS_PER_S,
            silent_kw=self._silent_kw(order.scope, rows),
            grid=self._grid,
            shared=isinstance(order.spec, SetPointSpec),
        )
        scope_rows = rows_in_scope(order.scope, fleet)
        outside, left = bits_of(terms, order.program, sites)
        reason = reasons_of(
            worked,
            scope_rows=scope_rows,
            rows=rows,
            fleet=fleet,
            latest=latest.records,
            outside=outside,
            left=left,
            halted=halted,
            busy=others.busy,
            asks_power=bool(each_w.any()) or wants_power(order),
            shared_w=order.spec.power_w if isinstance(order.spec, SetPointSpec) else 0,
        )
        return Seen(
            order=order,
            t_ns=t_ns,
            scope_rows=scope_rows,
            rows=rows,
            worked=worked,
            planned=planned,
            reason=reason,
            latest=latest,
            grid=self._grid,
        )

    def _award(self, resource: Resource, t_ns: int) -> tuple[int, int, int] | None:
        if resource not in known_resources([resource]):
            return None
        found = self._awarded.at(resource, t_ns)
        return None if found is None else (found.start_ns, found.end_ns, found.energy_wh)

    def _silent_kw(self, scope: Scope, rows: NDArray[np.int64]) -> tuple[float, float, float] | None:
        """Return what the plant says of the silent sites of a scope: its groups', when they are all there is to it."""
        plant = self._plant
        if scope.fleet:
            numbers: Sequence[int] = plant.model.tree.roots
            hierarchies = {plant.fleet.groups[one].hierarchy_id for one in numbers}
            if len(hierarchies) != 1 or not len(rows):
                return None
        elif scope.sites or not scope.groups:
            return None
        else:
            numbers = [plant.fleet.group_number[GroupId(one)] for one in scope.groups]
            chosen = [plant.fleet.groups[one] for one in numbers]
            # of one tree and one level: none of them is inside another
            if len({(one.hierarchy_id, one.level) for one in chosen}) != 1:
                return None
        return silent_of_groups(plant, numbers)

    def _shares(self, seen: Seen, hours: float) -> list[Share]:
        """Return what of the energy is of resources whose market is known."""
        plant = self._plant
        held_w = seen.worked.held_w
        total_w = float(np.abs(held_w).sum())
        if not total_w or isinstance(seen.order.spec, CallSpec):
            return []
        low_kw, held_kw, high_kw = held_interval(seen)
        taken = np.zeros(len(plant.fleet.site_ids), dtype=np.bool_)
        shares = []
        for resource in known_resources(plant.fleet.resources):
            mine = np.zeros_like(taken)
            mine[plant.fleet.battery_rows_in(resource.group_id)] = True
            inside = mine[seen.rows] & ~taken[seen.rows]
            taken |= mine
            part = float(np.abs(held_w[inside]).sum()) / total_w
            if part <= 0:
                continue
            market = market_module(resource.market_id)
            low_kwh, high_kwh = sorted((low_kw * hours * part, high_kw * hours * part))
            shares.append(
                Share(
                    energy_kwh=held_kw * hours * part,
                    low_kwh=low_kwh,
                    high_kwh=high_kwh,
                    currency=market.rules.currency,
                    wear_per_mwh=resource.throughput_cost_per_mwh,
                    prices=price_series(
                        self._facts, resource.market_id, resource.settlement_point, plant.now_ns()
                    ),
                )
            )
        return shares

    def _feeders(self, seen: Seen) -> list[FeederPreview]:
        plant, worked = self._plant, seen.worked
        limits = seen.grid.now(worked.interval.start_ns, worked.interval.end_ns)
        charges = bool(worked.asked_w.sum() > 0)
        takes = np.isin(seen.rows, seen.scope_rows[seen.reason == 0])
        made = []
        for feeder in feeders_of(seen.rows, plant.fleet):
            power_w = worked.at_once_w[feeder.at]
            low_kw, middle_kw, high_kw = of_powers(seen, power_w)
            if seen.planned is None and worked.silent[feeder.at].any() and feeder.number >= 0:
                quiet = silent_of_groups(plant, [feeder.number]) or (0.0, 0.0, 0.0)
                middle_kw, low_kw, high_kw = middle_kw + quiet[0], low_kw + quiet[1], high_kw + quiet[2]
            limit_kw, whose = limit_of(feeder.number, limits, plant.fleet, charges=charges)
            made.append(
                FeederPreview(
                    group_id=feeder.group_id,
                    name=feeder.name,
                    sites=len(feeder.at),
                    taking_part=int(takes[feeder.at].sum()),
                    asked_kw=float(worked.asked_w[feeder.at].sum()) / _W_PER_KW,
                    expected_kw=middle_kw,
                    low_kw=low_kw,
                    high_kw=high_kw,
                    limit_kw=limit_kw,
                    limit_group=whose,
                )
            )
        return made
