"""Which orders mean one site, and what each asks of it: the same answer as the controller's, for one row. Blocks.

Who takes part in a program is looked up for the site alone. Only where a power is split among many is the fleet looked at,
and what that came to is remembered for a while.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np

from shoal.api.dispatch.order_facts import ends_ns
from shoal.api.live.state import to_ms
from shoal.api.site.answers import AskKind, SiteAsked, SiteStop
from shoal.control.schedule import rows_of_order, split_by_rating_w
from shoal.domain.fleet import Fleet
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_MINUTE
from shoal.domain.telemetry import DeviceType
from shoal.programs.ability import SiteTerms
from shoal.programs.enrolment import Enrolment
from shoal.store.known_terms import KnownTerms
from shoal.store.order_records import (
    CallSpec,
    DroopSpec,
    EnvelopeSpec,
    EventSpec,
    Order,
    PriceSpec,
    SetPointSpec,
    Stop,
    Trial,
)
from shoal.store.orders import EVERY_STATE, Orders
from shoal.store.program_records import OptOut
from shoal.store.programs import ProgramStore

SPLITS_KEPT: Final = 256
_W_PER_KW: Final = 1_000.0
_RANK: Final[tuple[AskKind, ...]] = ("power", "charge", "hold", "local")
"""Of two orders of one program, what is delivered comes before what is kept; set-points and calls deliver, too."""


class SiteOrderBook:
    """The orders of single sites.

    Args:
        fleet: The fleet.
        orders: Orders, kill switches and trials.
        programs: Programs, and who takes part.
    """

    def __init__(self, fleet: Fleet, orders: Orders, programs: ProgramStore) -> None:
        self._fleet = fleet
        self._orders = orders
        self._programs = programs
        self._terms = KnownTerms(programs)
        self._splits: OrderedDict[tuple[str, int, int, int], float | None] = OrderedDict()
        self._lock = threading.Lock()

    def between(self, row: int, from_ns: int, to_ns: int, *, now_ns: int) -> list[SiteAsked]:
        """Return what a site was asked within `[from_ns, to_ns)`, by the place of the orders, then their start.

        Raises:
            UnavailableError: when the database cannot be reached.
        """
        return [asked for _, asked in self.orders_between(row, from_ns, to_ns, now_ns=now_ns)]

    def orders_between(
        self, row: int, from_ns: int, to_ns: int, *, now_ns: int, kinds: tuple[type, ...] = (object,)
    ) -> list[tuple[Order, SiteAsked]]:
        """Return the orders of some kinds that meant a site within `[from_ns, to_ns)`, and what each asked of it.

        Raises:
            UnavailableError: when the database cannot be reached.
        """
        held = self._orders.orders(after_ns=from_ns, states=EVERY_STATE)
        meant = [
            one
            for one in held
            if isinstance(one.spec, kinds)
            and from_ns < ends_ns(one)
            and one.start_ns < to_ns
            and self._means(one, row)
        ]
        if not meant:
            return []
        site = self._fleet.site_ids[row]
        terms = self._terms.at(now_ns)
        enrolments, opt_outs = self._programs.enrolments(site), self._programs.opt_outs(site)
        trials = self._orders.trials() if any(one.canary is not None for one in meant) else {}
        found: list[tuple[tuple[int, int, int, str], Order, SiteAsked]] = []
        for order in meant:
            at_ns = min(max(order.start_ns, now_ns), ends_ns(order) - 1)
            if not takes_part(order.program, at_ns, terms, enrolments, opt_outs):
                continue
            if not _is_tried(order, trials.get(order.order_id), site):
                continue
            asked = self._asked(order, row, at_ns, now_ns=now_ns)
            found.append((_place(order, asked, terms), order, asked))
        return [(order, asked) for _, order, asked in sorted(found, key=lambda one: one[0])]

    def now(self, row: int, now_ns: int) -> list[SiteAsked]:
        """Return the orders in force for a site, the one that goes first on top."""
        return self.between(row, now_ns, now_ns + 1, now_ns=now_ns)

    def stop(self, row: int) -> SiteStop | None:
        """Return the kill switch that halts a site since longest; None for none."""
        groups = self._groups(row)
        for one in sorted(self._orders.stops(), key=lambda stop: stop.since_ns):
            if self._halts(one, row, groups):
                return SiteStop(
                    stop_id=one.stop_id,
                    kind=one.kind,
                    target=one.target,
                    since_ms=to_ms(one.since_ns),
                    by=one.by,
                    reason=one.reason,
                )
        return None

    def _halts(self, stop: Stop, row: int, groups: frozenset[str]) -> bool:
        if stop.released_ns is not None:
            return False
        if stop.kind == "group":
            return stop.target in groups
        return stop.kind == "fleet" or stop.target == self._fleet.site_ids[row]

    def _groups(self, row: int) -> frozenset[str]:
        """Return every group that a site hangs from, up to the roots."""
        found = set()
        for leaves in self._fleet.leaf_group.values():
            number = int(leaves[row])
            while number >= 0:
                found.add(str(self._fleet.groups[number].group_id))
                number = int(self._fleet.parent_number[number])
        return frozenset(found)

    def _means(self, order: Order, row: int) -> bool:
        scope = order.scope
        inside = scope.fleet or self._fleet.site_ids[row] in scope.sites
        if not inside and scope.groups:
            inside = not self._groups(row).isdisjoint(scope.groups)
        if not inside:
            return False
        if isinstance(order.spec, EnvelopeSpec):
            charger = int(self._fleet.device_type[row]) == DeviceType.EV_CHARGER
            return charger or not order.spec.chargers_only
        return (
            isinstance(order.spec, PriceSpec) or float(self._fleet.nameplate["energy_capacity_kwh"][row]) > 0
        )

    def _asked(self, order: Order, row: int, at_ns: int, *, now_ns: int) -> SiteAsked:
        spec = order.spec
        kind, site_kw, all_kw, soc_frac = _kind_of(order), None, None, None
        if isinstance(spec, EventSpec):
            soc_frac = spec.soc_frac if spec.kind in ("charge", "hold") else None
            if spec.group_w is not None:
                all_kw = spec.group_w / _W_PER_KW
                site_kw = self._split_kw(order, spec.group_w, row, at_ns)
            elif spec.kind == "power":
                site_kw = spec.battery_w / _W_PER_KW
        elif isinstance(spec, SetPointSpec):
            all_kw = spec.power_w / _W_PER_KW
        elif isinstance(spec, CallSpec):
            all_kw = -sum(one.target_w for one in spec.targets) / _W_PER_KW
        return SiteAsked(
            order_id=order.order_id,
            program=order.program,
            kind=kind,
            from_ms=to_ms(order.start_ns),
            until_ms=to_ms(ends_ns(order)),
            state=order.state,
            site_kw=site_kw,
            all_kw=all_kw,
            soc_frac=soc_frac,
            by=order.by,
            at_ms=to_ms(order.at_ns),
            reason=order.reason,
        )

    def _split_kw(self, order: Order, group_w: int, row: int, at_ns: int) -> float | None:
        """Return a site's own part of a power that is split among all; worked out anew each minute while it may change."""
        key = (order.order_id, order.revision, row, at_ns // NS_PER_MINUTE)
        with self._lock:
            if key in self._splits:
                return self._splits[key]
        terms = self._programs.terms_at(at_ns)
        place = {name: number for number, name in enumerate(terms.book.ids)}.get(order.program)
        rows = rows_of_order(order, self._fleet)
        if place is not None:
            bit = np.uint64(1 << place)
            if not terms.asks_everybody(place):
                rows = rows[(terms.enrolled_bits[rows] & bit) != 0]
            if terms.book.programs[place].may_opt_out:
                rows = rows[(terms.opted_out_bits[rows] & bit) == 0]
        share_w = split_by_rating_w(group_w, rows, self._fleet)
        mine = share_w[rows == row]
        share_kw = float(mine[0]) / _W_PER_KW if len(mine) else None
        with self._lock:
            self._splits[key] = share_kw
            while len(self._splits) > SPLITS_KEPT:
                self._splits.popitem(last=False)
        return share_kw


def takes_part(
    program: str,
    at_ns: int,
    terms: SiteTerms,
    enrolments: Sequence[Enrolment],
    opt_outs: Sequence[OptOut],
) -> bool:
    """Whether a site takes part in a program at an instant; one from which nobody was ever enrolled asks everybody."""
    if program not in terms.book.ids:
        return True
    place = terms.book.position(program)
    known = terms.book.programs[place]

    def covers(start_ns: int, end_ns: int | None) -> bool:
        return start_ns <= at_ns and (end_ns is None or at_ns < end_ns)

    inside = terms.asks_everybody(place) or any(
        one.program == program and covers(one.start_ns, one.end_ns) for one in enrolments
    )
    away = any(one.program == program and covers(one.start_ns, one.end_ns) for one in opt_outs)
    return inside and not (known.may_opt_out and away)


def _is_tried(order: Order, trial: Trial | None, site: SiteId) -> bool:
    """Whether an order is for a site yet: while it is tried on a few, only for these."""
    if order.canary is None or (trial is not None and trial.state == "passed"):
        return True
    return trial is not None and site in trial.sites


def _kind_of(order: Order) -> AskKind:
    spec = order.spec
    if isinstance(spec, EventSpec):
        return spec.kind
    if isinstance(spec, SetPointSpec):
        return "setpoint"
    if isinstance(spec, CallSpec):
        return "call"
    if isinstance(spec, PriceSpec):
        return "prices"
    return "droop" if isinstance(spec, DroopSpec) else "envelope"


def _place(order: Order, asked: SiteAsked, terms: SiteTerms) -> tuple[int, int, int, str]:
    ids = terms.book.ids
    rank = ids.index(order.program) if order.program in ids else len(ids)
    delivers = asked.kind in ("setpoint", "call")
    kind = 0 if delivers else _RANK.index(asked.kind) if asked.kind in _RANK else len(_RANK)
    return rank, kind, order.start_ns, order.order_id
