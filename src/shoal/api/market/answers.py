"""What `/api/market` answers about products, prices, bids and plans, and what a trader sends.

Power is said in words where a side gives the direction: `buy` charges, `sell` discharges, `hold` is a service held ready;
quantities beside a side are never negative. Prices are per MWh of energy, or per MW and hour of a service.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

BidState: TypeAlias = Literal[
    "draft", "submitted", "unknown", "accepted", "rejected", "superseded", "withdrawn"
]
GateState: TypeAlias = Literal["open", "closed", "published"]
BidMode: TypeAlias = Literal["automatic", "advisory", "off"]
ApprovalState: TypeAlias = Literal["not needed", "wanted", "second wanted", "approved", "refused", "off"]
OfferShape: TypeAlias = Literal["orders", "storage_curves", "bands", "blocks", "load_target"]
StepSide: TypeAlias = Literal["buy", "sell", "hold"]
PlanAction: TypeAlias = Literal["charge", "discharge", "rest"]
ChangeKind: TypeAlias = Literal["added", "removed", "changed"]


class MarketMode(msgspec.Struct, frozen=True, kw_only=True):
    """How a resource bids; `by` is empty and `at_ms` None while nobody has said anything."""

    resource_id: str
    mode: BidMode
    four_eyes: bool
    by: str
    at_ms: int | None
    reason: str


class MarketResource(msgspec.Struct, frozen=True, kw_only=True):
    """A resource that bids: where, in which zone and currency, and how."""

    resource_id: str
    market_id: str
    market_name: str
    settlement_point: str
    zone: str
    currency: str
    mode: MarketMode


class MarketProduct(msgspec.Struct, frozen=True, kw_only=True):
    """A product at one gate: until when it can be bid for, and how the newest bid for it stands.

    `covers_*` is the delivery that the gate closes. `state` is `published` once its award is kept. `status` is the bid's, None
    without a bid; `rung` is empty for a bid made by hand, whose `author` is somebody.
    """

    resource_id: str
    market_id: str
    product_id: str
    name: str
    kind: Literal["energy", "capacity"]
    gate_kind: Literal["auction", "bands", "interval"]
    delivery_date: str
    covers_start_ms: int
    covers_end_ms: int
    gate_ms: int
    publishes_ms: int | None
    state: GateState
    bid_key: str | None
    revision: int | None
    status: BidState | None
    author: str
    rung: str
    rung_reason: str
    mode: BidMode
    approval: ApprovalState


class MarketProducts(msgspec.Struct, frozen=True, kw_only=True):
    """Every resource that bids, and for each of its products the gate that closed last and those that come."""

    as_of_ms: int
    resources: list[MarketResource]
    products: list[MarketProduct]


class MarketPrices(msgspec.Struct, frozen=True, kw_only=True):
    """Prices of a product at a point as columns, and what was forecast of each interval before it began.

    `actual` is None before it is published. The quantiles are those of the newest forecast that was known before the
    interval began (`issued_ms`), None without one, or where a forecast says nothing of that level.
    """

    as_of_ms: int
    market_id: str
    settlement_point: str
    product_id: str
    zone: str
    currency: str
    from_ms: int
    to_ms: int
    start_ms: list[int]
    end_ms: list[int]
    actual: list[float | None]
    actual_known_ms: list[int | None]
    issued_ms: list[int | None]
    mean: list[float | None]
    q05: list[float | None]
    q25: list[float | None]
    q50: list[float | None]
    q75: list[float | None]
    q95: list[float | None]


class BidRow(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of a bid. `stands` says that part of it is what the market holds now; `open` that its gate is."""

    key: str
    resource_id: str
    market_id: str
    delivery_date: str
    revision: int
    state: BidState
    author: str
    created_ms: int
    submitted_ms: int | None
    gate_ms: int
    open: bool
    stands: bool
    content_digest: str
    decision_id: str | None
    rung: str
    rung_reason: str
    products: list[str]
    intervals: int
    approval: ApprovalState
    approval_words: str


class MarketBids(msgspec.Struct, frozen=True, kw_only=True):
    """The revisions of a resource's bids for a delivery day, the newest first; `total` counts those before `offset`, too."""

    as_of_ms: int
    resource_id: str
    market_id: str
    day: str
    zone: str
    currency: str
    total: int
    offset: int
    limit: int
    bids: list[BidRow]


class PriceWhy(msgspec.Struct, frozen=True, kw_only=True):
    """Why an interval is as it is, by the optimiser that decided it.

    Below `charge_below_per_mwh` the best plan charges in it, above `discharge_above_per_mwh` it discharges, all other prices
    held; None where no price makes it. `marginal_value_per_mwh` is what a MWh more in store is worth then. `flips_at_per_mwh` is
    the nearest price at which the action would become `would`. `binding` names the limits that it is up against.
    """

    start_ms: int
    end_ms: int
    action: PlanAction
    expected_price_per_mwh: float
    marginal_value_per_mwh: float | None
    charge_below_per_mwh: float | None
    discharge_above_per_mwh: float | None
    flips_at_per_mwh: float | None
    would: PlanAction | None
    binding: list[str]


class OfferStep(msgspec.Struct, frozen=True, kw_only=True):
    """A quantity at a price: an order, or a band. `why` says in words where the price comes from, empty when nobody knows.

    A `buy` is taken when the price is at or below its own, `sell` and `hold` when it is at or above.
    """

    side: StepSide
    quantity_mw: float
    price_per_mwh: float
    why: str


class OfferPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A point of a curve: the power at a price, charging positive; linear between points."""

    power_mw: float
    price_per_mwh: float


class OfferTrapezium(msgspec.Struct, frozen=True, kw_only=True):
    """Where a service can be enabled, on the axis of net dispatch to the grid."""

    enablement_min_mw: float
    low_breakpoint_mw: float
    high_breakpoint_mw: float
    enablement_max_mw: float


class OfferInterval(msgspec.Struct, frozen=True, kw_only=True):
    """What is offered in one interval: steps, or the points of a curve, or a load without a price (`power_mw`).

    Steps without a quantity are left out. `max_avail_mw` of bands is the most that may be dispatched, whatever they add up to.
    """

    start_ms: int
    end_ms: int
    steps: list[OfferStep]
    points: list[OfferPoint]
    power_mw: float | None
    max_avail_mw: float | None
    trapezium: OfferTrapezium | None
    why: PriceWhy | None


class OfferBlock(msgspec.Struct, frozen=True, kw_only=True):
    """An order for several intervals, taken together or not at all."""

    block_id: str
    side: Literal["buy", "sell"]
    limit_price_per_mwh: float
    minimum_acceptance_frac: float
    parent_id: str
    exclusive_group: str
    start_ms: list[int]
    end_ms: list[int]
    quantity_mw: list[float]


class OfferView(msgspec.Struct, frozen=True, kw_only=True):
    """One offer of a bid. `band_prices_per_mwh` are the ten of bands, which hold for the whole day; else empty."""

    product: str
    name: str
    kind: Literal["energy", "capacity"]
    shape: OfferShape
    side: Literal["", "gen", "load"]
    band_prices_per_mwh: list[float]
    intervals: list[OfferInterval]
    blocks: list[OfferBlock]


class BidTried(msgspec.Struct, frozen=True, kw_only=True):
    """A rung that was tried: `outcome` is `ok`, or why it did not hold."""

    rung: str
    took_s: float
    outcome: str


class BidInput(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a series was known when it was decided, and how old its newest fact was; None when there was none."""

    series_id: str
    from_ms: int
    to_ms: int
    intervals: int
    newest_known_ms: int | None
    newest_age_s: float | None
    newest_interval_end_ms: int | None


class BidDecision(msgspec.Struct, frozen=True, kw_only=True):
    """The decision behind a bid: what was tried, which rung held, why, and what the resource was then."""

    decision_id: str
    trigger: str
    as_of_ms: int
    strategy: str
    strategy_version: str
    rung: str
    tried: list[BidTried]
    reasons: list[str]
    relaxed: list[str]
    expected_amount: str | None
    stored_kwh: float
    capacity_kwh: float
    silent_frac: float
    inputs: list[BidInput]


class BidAuditStep(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done to a bid, or said about it: who, when, what."""

    at_ms: int
    by: str
    what: str
    said: str
    kind: Literal["step", "word"]


class BidReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """The market's answer; the last four say why it refused."""

    state: BidState
    bid_id: str
    received_ms: int
    reason: str
    field: str
    value: str
    fix: str


class BidAwarded(msgspec.Struct, frozen=True, kw_only=True):
    """What was awarded in one interval: bought (charging) positive, sold negative; of a service what is held."""

    product: str
    start_ms: int
    end_ms: int
    power_mw: float
    price_per_mwh: float


class BidAward(msgspec.Struct, frozen=True, kw_only=True):
    """The newest version of the award, in the intervals that the bid lists."""

    version: int
    published_ms: int
    quantities: list[BidAwarded]


class BidDetail(msgspec.Struct, frozen=True, kw_only=True):
    """All that is kept about a bid; `decision` is None for one made by hand, `award` before there is one."""

    as_of_ms: int
    bid: BidRow
    settlement_point: str
    zone: str
    currency: str
    offers: list[OfferView]
    rebid_category: str
    rebid_reason: str
    decision: BidDecision | None
    manual_id: str | None
    audit: list[BidAuditStep]
    receipt: BidReceipt | None
    award: BidAward | None


class BidChange(msgspec.Struct, frozen=True, kw_only=True):
    """One interval of one product in which what stands differs; curves come as points, the rest as steps."""

    product: str
    name: str
    start_ms: int
    end_ms: int
    kind: ChangeKind
    before: list[OfferStep]
    after: list[OfferStep]
    before_points: list[OfferPoint]
    after_points: list[OfferPoint]
    before_power_mw: float | None
    after_power_mw: float | None


class BidDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What stands after a bid and did not stand after another (`against`; empty: nothing stood)."""

    key: str
    revision: int
    against: str
    against_revision: int | None
    same_intervals: int
    changes: list[BidChange]
