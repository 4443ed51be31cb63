"""The orders as a list, and one with everything that was done to it. What reads the database blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from shoal.api.dispatch.order_answers import OrderDetail, OrderPage, OrderRow, OrderStep, Phase
from shoal.api.dispatch.order_facts import DISPATCHES, asked_w_of, ends_ns, kind_of, phase_of, rows_meant
from shoal.api.dispatch.order_titles import title_of
from shoal.api.dispatch.preview_answers import PreviewView
from shoal.api.dispatch.proposals import proposal_view
from shoal.api.dispatch.taking_now import TakingNow
from shoal.api.fleet.latest import FleetLatest
from shoal.api.live.state import to_ms
from shoal.api.plant import Plant
from shoal.control.taking_part import TakingPart
from shoal.domain.telemetry import mask_of
from shoal.store.order_lines import OrderLines
from shoal.store.order_records import EventSpec, Order, Trial
from shoal.store.orders import EVERY_STATE
from shoal.store.proposals import Proposals

_PHASES: Final[tuple[Phase, ...]] = ("running", "planned", "past")
_OF_BOTH: Final = frozenset({"preview", "propose", "approve"})
"""Noted of a proposal and of the order that came of it."""
_RANK: Final = {"preview": 0, "propose": 1, "approve": 2, "put": 3}
"""Of what was noted of one instant, what came before what."""
_W_PER_KW: Final = 1_000.0
_BATTERY: Final = mask_of("battery_w")


class OrderList:
    """Reads orders for people.

    Args:
        plant: Whose.
        proposals: Where approvals are.
        taking: Who takes part in what.
    """

    def __init__(self, plant: Plant, proposals: Proposals, taking: TakingNow) -> None:
        self._plant = plant
        self._taking = taking
        self._proposals = proposals
        self._lines = OrderLines(plant.database)

    def any_running(self, t_ns: int) -> bool:
        """Whether any order runs, so that it is worth to look at the sites."""
        orders = self._plant.commands.orders.orders(after_ns=t_ns)
        return any(
            phase_of(order, t_ns) == "running" and isinstance(order.spec, DISPATCHES) for order in orders
        )

    def page(
        self, *, phase: Phase | None, every_kind: bool, offset: int, limit: int, latest: FleetLatest | None
    ) -> OrderPage:
        """Return some orders: what runs, then what is planned by its start, then what is past, the newest first."""
        plant, now_ns = self._plant, self._plant.now_ns()
        held = [
            order
            for order in plant.commands.orders.orders(after_ns=-1, states=EVERY_STATE)
            if every_kind or isinstance(order.spec, DISPATCHES)
        ]
        by_phase: dict[Phase, list[Order]] = {name: [] for name in _PHASES}
        for order in held:
            by_phase[phase_of(order, now_ns)].append(order)
        by_phase["past"].sort(key=lambda order: (-ends_ns(order), order.order_id))
        chosen = [order for name in _PHASES if phase in (None, name) for order in by_phase[name]]
        shown = chosen[offset : offset + limit]
        waiting, _ = self._proposals.proposals("dispatch", now_ns=now_ns, state="waiting", limit=1)
        return OrderPage(
            as_of_ms=None if latest is None or not latest.t_ns else to_ms(latest.t_ns),
            now_ms=to_ms(now_ns),
            total=len(chosen),
            offset=offset,
            limit=limit,
            counts={name: len(by_phase[name]) for name in _PHASES} | {"waiting": waiting},
            rows=self._rows(shown, now_ns, latest),
        )

    def detail(self, order_id: str, latest: FleetLatest | None) -> OrderDetail:
        """Return one order.

        Raises:
            UnknownIdError: when there is no such order.
        """
        order, now_ns = self._plant.commands.orders.order(order_id), self._plant.now_ns()
        _, proposed = self._proposals.proposals("dispatch", now_ns=now_ns, subject=order_id, limit=1_000)
        launched = next(
            (one for one in reversed(proposed) if not one.subject and one.result == order_id), None
        )
        said = self._proposals.preview_of(order_id)
        (row,) = self._rows([order], now_ns, latest)
        return OrderDetail(
            row=row,
            spec=msgspec.to_builtins(order.spec),
            proposal=None if launched is None else proposal_view(launched),
            preview=None if said is None else msgspec.json.decode(said, type=PreviewView),
            steps=self._steps(order_id, [one.proposal_id for one in proposed]),
        )

    def _steps(self, order_id: str, proposals: list[str]) -> list[OrderStep]:
        """Return the audit of an order and its proposals; what is noted of both is told once."""
        told: dict[tuple[int | str, ...], OrderStep] = {}
        lines = self._lines.steps([*proposals, order_id])
        for line in sorted(
            lines, key=lambda line: (line.at_ns, _RANK.get(line.action, len(_RANK)), line.number)
        ):
            step = OrderStep(
                number=line.number,
                at_ms=to_ms(line.at_ns),
                by=line.by,
                action=line.action,
                outcome=line.outcome,
                reason=line.reason,
                detail=line.detail,
            )
            twice = line.action in _OF_BOTH
            key = (line.at_ns, line.by, line.action, line.reason) if twice else (line.number,)
            told.setdefault(key, step)
        return list(told.values())

    def _rows(self, orders: list[Order], now_ns: int, latest: FleetLatest | None) -> list[OrderRow]:
        if not orders:
            return []
        plant = self._plant
        approved = self._proposals.approved_results("dispatch", [order.order_id for order in orders])
        trials = plant.commands.orders.trials()
        taking = self._taking.at(now_ns)
        return [self._row(order, now_ns, taking, trials, approved, latest) for order in orders]

    def _row(
        self,
        order: Order,
        now_ns: int,
        taking: TakingPart,
        trials: Mapping[str, Trial],
        approved: Mapping[str, str],
        latest: FleetLatest | None,
    ) -> OrderRow:
        fleet = self._plant.fleet
        phase, rows = phase_of(order, now_ns), rows_meant(order, fleet, taking.enrolled)
        measured_kw = coverage = None
        if phase == "running" and latest is not None and len(rows):
            mine = latest.records[rows]
            heard = (mine["ts_ns"] > 0) & (now_ns - mine["ts_ns"] <= self._plant.timeouts.fresh_ns[0])
            heard &= (mine["present"].astype(np.int64) & _BATTERY) != 0
            measured_kw = float(mine["battery_w"][heard].sum()) / _W_PER_KW if heard.any() else None
            coverage = float(heard.mean())
        asked_w, trial = asked_w_of(order, fleet), trials.get(order.order_id)
        known = order.program in taking.book.ids
        return OrderRow(
            order_id=order.order_id,
            revision=order.revision,
            kind=kind_of(order),
            device_kind=order.spec.kind if isinstance(order.spec, EventSpec) else "",
            title=title_of(order, fleet),
            program=order.program,
            for_whom=taking.book.program(order.program).name if known else order.program,
            scope_sites=list(order.scope.sites),
            scope_groups=list(order.scope.groups),
            fleet=order.scope.fleet,
            phase=phase,
            state=order.state,
            start_ms=to_ms(order.start_ns),
            end_ms=to_ms(ends_ns(order)),
            by=order.by,
            at_ms=to_ms(order.at_ns),
            reason=order.reason,
            approved_by=approved.get(order.order_id, ""),
            trial=""
            if trial is None
            else f"{trial.state} on {len(trial.sites)} sites {trial.reason}".rstrip(),
            asked_kw=None if asked_w is None else asked_w / _W_PER_KW,
            measured_kw=measured_kw,
            coverage_frac=coverage,
            sites=len(rows),
        )
