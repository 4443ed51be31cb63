"""The contract of a market: what it states as data, and what can be asked of it. Every answer is a pure function.

`MarketRules` and its `Product`s say everything that an adapter, a bidder and a settlement need to know; `Market` is what
code may call. A market is usually a `shoal.market.module.MarketModule` with its data and the few rules that are its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import Interval
from shoal.domain.outcome import Accepted, Rejected
from shoal.market.awards import Delivered, MarketAward, Settlement
from shoal.market.bids import MarketBid
from shoal.market.rules import PriceLimits

ProductKind: TypeAlias = Literal["energy", "capacity"]
Direction: TypeAlias = Literal["both", "up", "down"]
GateKind: TypeAlias = Literal["auction", "bands", "interval"]
SettledBy: TypeAlias = Literal["position", "metered", "capacity", "notified", "instruction"]
Prices: TypeAlias = Mapping[str, Mapping[int, float]]
"""Prices per MWh by product, then by the start of the interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedBid(Rejected):
    """A bid that the market would not take.

    Attributes:
        reason: A stable code; `MarketRules.reasons` lists those that a market can give.
        detail: The whole message.
        field: What is wrong, as a path: ``offers[0].orders[3].quantity_mw``.
        value: What it was, as text.
        fix: What to do instead.
    """

    field: str
    value: str
    fix: str


BidOutcome: TypeAlias = Accepted | RejectedBid


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthFrom:
    """The length of a product's intervals for delivery days from `effective_from` on."""

    effective_from: date
    interval_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SustainFrom:
    """How long an award of capacity must be sustained, for delivery days from `effective_from` on."""

    effective_from: date
    sustain_h: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRule:
    """When bids close.

    Attributes:
        kind: ``auction``: one instant for the whole day. ``bands``: until then daily prices may change, afterwards only
            quantities. ``interval``: each interval has its own.
        at: Local wall time on the day before delivery (``auction``, ``bands``).
        lead_ns: Before the start of each interval (``interval``).
        publication: Local wall time on the day before delivery when results are out; None when they come as dispatch.
    """

    kind: GateKind
    at: time | None = None
    lead_ns: int = 0
    publication: time | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One instant at which bids close: a bid received at `closes_ns` is too late for what it `covers`."""

    kind: GateKind
    product_id: str
    covers: Interval
    closes_ns: int
    publishes_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """Something that is bought or sold.

    Attributes:
        product_id: Its name in bids.
        name: Its name for people.
        kind: Energy, or capacity held ready.
        direction: ``up`` and ``down`` for services (up is more to the grid); ``both`` for energy.
        shapes: The tags of the offers that it takes, see `shoal.market.bids`.
        gates: When bids close; the first is the one that a bid must meet.
        lengths: The length of its intervals by delivery day, the earliest first.
        limits: Floors and caps by delivery day, the earliest first.
        quantity_minimum_mw: The smallest quantity.
        quantity_step_mw: Every quantity is a whole multiple.
        price_tick_per_mwh: Every price is a whole multiple.
        points_count: Points of a curve, or orders of a side and interval, at most.
        settled_by: ``position``: the award at the product's price, and the deviation from it at the imbalance price.
            ``metered``: metered energy at the product's price. ``capacity``: the award held, at the product's price.
            ``notified``: no money of its own, but the award is a position from which deviations count. ``instruction``:
            no money of its own and no position.
        first_day: The first delivery day on which it is traded.
        last_day: The last; None while it is.
        sustain: How long an award must be sustained, for capacity.
    """

    product_id: str
    name: str
    kind: ProductKind
    direction: Direction
    shapes: tuple[str, ...]
    gates: tuple[GateRule, ...]
    lengths: tuple[LengthFrom, ...]
    limits: tuple[PriceLimits, ...]
    quantity_minimum_mw: float
    quantity_step_mw: float
    price_tick_per_mwh: float
    points_count: int
    settled_by: SettledBy
    first_day: date
    last_day: date | None = None
    sustain: tuple[SustainFrom, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RebidRules:
    """Whether and how a standing bid may be changed.

    Attributes:
        allowed: Whether a higher revision may replace a lower one at all.
        reason_required: Whether a revision after the daily gate must say why.
        categories: The kinds of reason that the market knows.
    """

    allowed: bool
    reason_required: bool = False
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionRules:
    """How the market answers a submission.

    Attributes:
        idempotent: Whether the market itself recognises a key that it has seen.
        read_back: Whether the standing bid can be read, which is how an UNKNOWN submission is resolved.
    """

    idempotent: bool
    read_back: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementRunRule:
    """One of the market's settlement runs.

    Attributes:
        run: Its name.
        after_days: About how long after the delivery day, in calendar days; for working days `working` is true.
        working: Whether `after_days` counts working days.
    """

    run: str
    after_days: int
    working: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchRules:
    """What the market asks of a resource once it is awarded.

    Attributes:
        instruction_s: Seconds between instructions; 0 when the award itself is the schedule.
        telemetry_s: The longest that measurements may be apart; 0 when none are asked for.
        measurement: How delivery is measured.
    """

    instruction_s: int
    telemetry_s: int
    measurement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketRules:
    """All that a market states.

    Attributes:
        market_id: Its name in bids.
        name: Its name for people.
        zone: IANA name of the zone of its calendar.
        currency: ISO 4217 code of every price.
        day_start: Local time at which a delivery day begins.
        label: Whether the market's own files name an interval by its start or its end (adapters convert).
        products: What is traded.
        rebid: Changing a standing bid.
        submission: How submissions are answered.
        dispatch: After the award.
        runs: Settlement runs, in order.
        settlement_ns: The length of a settlement interval: that of `Delivered`.
        imbalance_price: The key in `Prices` of the price of deviations from positions; empty when there is none.
        reasons: The codes with which a bid can be rejected.
    """

    market_id: str
    name: str
    zone: str
    currency: str
    day_start: time
    label: Literal["start", "end"]
    products: tuple[Product, ...]
    rebid: RebidRules
    submission: SubmissionRules
    dispatch: DispatchRules
    runs: tuple[SettlementRunRule, ...]
    settlement_ns: int
    imbalance_price: str
    reasons: tuple[str, ...]


class Market(Protocol):
    """What can be asked of a market. All of it is pure and deterministic."""

    @property
    def rules(self) -> MarketRules:
        """Return what the market states."""
        ...

    def products(self, day: date | None = None) -> tuple[Product, ...]:
        """Return the products, or those that are traded on a delivery day."""
        ...

    def product(self, product_id: str) -> Product:
        """Return a product by its id.

        Raises:
            UnknownIdError: when the market has none of that name.
        """
        ...

    def bounds_ns(self, product_id: str, day: date) -> NDArray[np.int64]:
        """Return the boundaries of a delivery day's B intervals: B + 1 instants."""
        ...

    def delivery_intervals(self, product_id: str, day: date) -> tuple[Interval, ...]:
        """Return the intervals of a delivery day, in order."""
        ...

    def gates(self, product_id: str, day: date) -> tuple[Gate, ...]:
        """Return every instant at which bids for the day close, in order."""
        ...

    def closes_ns(self, product_id: str, interval: Interval) -> int:
        """Return the instant at which the last bid for one interval is due."""
        ...

    def next_gate(self, product_id: str, now_ns: int) -> Gate:
        """Return the first gate strictly after now."""
        ...

    def delivery_date(self, t_ns: int) -> date:
        """Return the market's day in which an instant lies."""
        ...

    def interval_at(self, product_id: str, t_ns: int) -> Interval:
        """Return the interval in which an instant lies."""
        ...

    def label_ns(self, interval: Interval) -> int:
        """Return the instant by which the market's own files name an interval: its start or its end."""
        ...

    def labelled(self, product_id: str, label_ns: int) -> Interval:
        """Return the interval that the market's own files name by an instant."""
        ...

    def price_limits(self, product_id: str, day: date) -> tuple[float, float]:
        """Return the floor and the cap in force.

        Raises:
            InvalidInputError: when the day lies before the first that is known.
        """
        ...

    def round_quantity_mw(self, product_id: str, quantity_mw: float) -> float:
        """Return the quantity rounded down to the step, 0 when below the minimum."""
        ...

    def clip_price(
        self, product_id: str, price_per_mwh: float, *, day: date, side: Literal["buy", "sell"]
    ) -> float:
        """Return the nearest price that the market takes, never worse for the participant but for floor and cap."""
        ...

    def validate(self, bid: MarketBid, *, received_ns: int, standing: MarketBid | None = None) -> BidOutcome:
        """Return whether the market takes the bid when it arrives at an instant, given what stands."""
        ...

    def clear(
        self,
        bid: MarketBid,
        prices: Prices,
        *,
        bid_id: str,
        published_ns: int,
        version: int = 1,
    ) -> MarketAward:
        """Return the award of a valid bid at given prices: the bidder does not move them.

        Intervals for which `prices` has nothing are left out of the award.

        Raises:
            InvalidInputError: when a price is not finite.
        """
        ...

    def settle(
        self,
        award: MarketAward,
        delivered: Sequence[Delivered],
        prices: Prices,
        *,
        run: str,
        issued_ns: int,
        previous: Settlement | None = None,
        named: Sequence[Interval] | None = None,
    ) -> Settlement:
        """Return a settlement of the day.

        Args:
            award: The newest version of the award.
            delivered: Metered energy by settlement interval.
            prices: Published prices.
            run: One of the market's runs.
            issued_ns: When it is issued.
            previous: The version before; None for the first.
            named: The intervals that this run corrects; every other line is kept as it was. None settles everything.

        Raises:
            InvalidInputError: when the run is unknown, a price or reading that is needed is missing, a named interval
                has nothing to settle, or `named` comes without `previous`.
        """
        ...
