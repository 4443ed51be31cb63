"""The events of a home, and its owner's word about them, which is kept before anybody is told. Blocks."""

from __future__ import annotations

from typing import Final

from shoal.api.home.answers import HomeEvent, HomeEventKind, HomeEvents, HomeEventState, HomePay
from shoal.api.home.views import told_of
from shoal.api.live.state import to_ms
from shoal.api.plant import Plant
from shoal.api.site.answers import SiteAsked
from shoal.api.site.orders import SiteOrderBook
from shoal.control.owner_skips import STRETCHES
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.owners import HomeTold
from shoal.programs.ability import SiteTerms
from shoal.settle.statement import format_amount
from shoal.store.event_skips import EventSkips
from shoal.store.known_terms import KnownTerms
from shoal.store.order_records import CallSpec, EventSpec, Order
from shoal.store.orders import Orders

AHEAD_NS: Final = 14 * 24 * NS_PER_HOUR
PAST_NS: Final = 90 * 24 * NS_PER_HOUR
MOST_PAST: Final = 50
_UNITS_PER_CENT: Final = 1_000_000
"""Amounts count in 1e-8 of a currency."""
_WH_PER_MWH: Final = 1_000_000


class HomeEventBook:
    """Events of single homes.

    Args:
        plant: The plant.
        terms: Programs, and who takes part.
    """

    def __init__(self, plant: Plant, terms: KnownTerms) -> None:
        self._plant = plant
        self._terms = terms
        self._book = SiteOrderBook(plant.fleet, Orders(plant.database), plant.programs)
        self.skips = EventSkips(plant.database)

    def events(self, row: int, said: HomeTold | None) -> HomeEvents:
        """Return a home's events.

        Raises:
            UnavailableError: when the database cannot be reached.
        """
        now_ns = self._plant.now_ns()
        found = self._events(row, now_ns - PAST_NS, now_ns + AHEAD_NS, now_ns)
        ahead = [one for one in found if one.state in ("ahead", "running")]
        past = [one for one in found if one.state not in ("ahead", "running")]
        return HomeEvents(
            site_id=self._plant.fleet.site_ids[row],
            as_of_ms=to_ms(now_ns),
            next=sorted(ahead, key=lambda one: (one.from_ms, one.event_id)),
            past=sorted(past, key=lambda one: (one.until_ms, one.event_id), reverse=True)[:MOST_PAST],
            told=told_of(said),
        )

    def say(self, row: int, event_id: str, *, skips: bool, by: str) -> int:
        """Keep an owner's word about an event, and return since when it counts, in ns.

        Raises:
            UnknownIdError: when no such event means the home.
            InvalidInputError: when it is over, or its program lets nobody leave.
        """
        now_ns = self._plant.now_ns()
        found = self._events(row, now_ns, now_ns + AHEAD_NS, now_ns)
        event = next((one for one in found if one.event_id == event_id), None)
        if event is None:
            raise UnknownIdError("event", event_id)
        if event.state not in ("ahead", "running"):
            raise InvalidInputError(field="event", value=event_id, fix="it is over: nothing is left to skip")
        if skips and not event.may_skip:
            raise InvalidInputError(field="event", value=event_id, fix=event.why_not)
        site = self._plant.fleet.site_ids[row]
        word = self.skips.skip if skips else self.skips.take_back
        word(event_id, site, by=by, at_ns=now_ns)
        return now_ns

    def _events(self, row: int, from_ns: int, to_ns: int, now_ns: int) -> list[HomeEvent]:
        first_ns = max(from_ns, 0)
        asked = self._book.orders_between(row, first_ns, to_ns, now_ns=now_ns, kinds=(EventSpec, CallSpec))
        if not asked:
            return []
        site = self._plant.fleet.site_ids[row]
        skipped = self.skips.of_site(site, after_ns=first_ns)
        terms = self._terms.at(now_ns)
        return [
            self._event(order, one, row, skipped.get(order.order_id), terms, now_ns) for order, one in asked
        ]

    def _event(
        self,
        order: Order,
        asked: SiteAsked,
        row: int,
        skipped_ns: int | None,
        terms: SiteTerms,
        now_ns: int,
    ) -> HomeEvent:
        state = _state(order, now_ns)
        asked_kw, pay = asked.site_kw, None
        if isinstance(order.spec, CallSpec):
            asked_kw = self._called_kw(order, row) if skipped_ns is None else None
            if asked_kw is not None and state in ("ahead", "running"):
                pay = pay_of(order.spec, asked_kw, max(order.start_ns, now_ns), order.end_ns)
        known = order.program in terms.book.ids
        program = terms.book.program(order.program) if known else None
        lets = order.spec.may_opt_out if isinstance(order.spec, EventSpec) else True
        may_skip = lets and (program is None or program.may_opt_out)
        return HomeEvent(
            event_id=order.order_id,
            program_id=order.program,
            program=order.program if program is None else program.name,
            kind=_kind(order),
            from_ms=to_ms(order.start_ns),
            until_ms=asked.until_ms,
            state=state,
            asked_kw=asked_kw,
            soc_frac=asked.soc_frac,
            reason=order.reason,
            pay=pay,
            skipped_ms=None if skipped_ns is None else to_ms(skipped_ns),
            may_skip=may_skip and state in ("ahead", "running"),
            why_not=""
            if may_skip
            else f"{order.program} cannot be left for a while: ask who runs the plant to end your enrolment",
        )

    def _called_kw(self, order: Order, row: int) -> float | None:
        """Return what a called event asks of a home, as the controller has decided; None before, or when it asks nothing."""
        asked_w = self._plant.kept_event(order.order_id).get("asked_w", [])
        watts = int(asked_w[row]) if row < len(asked_w) else 0
        return -watts / 1e3 if watts > 0 else None


def in_force(event_id: str, said: HomeTold | None) -> bool | None:
    """Whether an event stands in what a home was told, whole or in part; None when nobody says."""
    if said is None:
        return None
    return not {f"{event_id}{stretch}" for stretch in STRETCHES}.isdisjoint(said.events)


def pay_of(spec: CallSpec, asked_kw: float, from_ns: int, to_ns: int) -> HomePay | None:
    """Return what an owner is likely paid for doing what is asked from an instant to the end; None where nothing is paid.

    >>> spec = CallSpec(targets=(), called_ns=0, price_cents_per_mwh=50_000, owner_share_permille=800)
    >>> pay_of(spec, -2.0, 0, 2 * NS_PER_HOUR).amount
    '1.60'
    """
    if spec.price_cents_per_mwh <= 0 or asked_kw >= 0 or to_ns <= from_ns:
        return None
    energy_wh = -asked_kw * 1e3 * (to_ns - from_ns) / NS_PER_HOUR
    cents = energy_wh * spec.price_cents_per_mwh / _WH_PER_MWH * spec.owner_share_permille / 1_000
    return HomePay(
        amount=format_amount(round(cents * _UNITS_PER_CENT)),
        currency=spec.currency,
        energy_kwh=energy_wh / 1e3,
    )


def _state(order: Order, now_ns: int) -> HomeEventState:
    if order.state != "standing":
        return "called off"
    if now_ns < order.start_ns:
        return "ahead"
    return "running" if now_ns < order.end_ns else "over"


def _kind(order: Order) -> HomeEventKind:
    return order.spec.kind if isinstance(order.spec, EventSpec) else "power"
