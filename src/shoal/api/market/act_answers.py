"""What `/api/market` answers a trader who has a say, and what there is to decide from: rules of a day, and the plan."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

from shoal.api.market.answers import (
    BidChange,
    BidDetail,
    BidDiff,
    BidRow,
    MarketBids,
    MarketMode,
    MarketPrices,
    MarketProducts,
    OfferShape,
    OfferView,
    PlanAction,
)

ManualState: TypeAlias = Literal["invalid", "draft", "submitted", "withdrawn"]


class ApprovalAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a word about a bid: whether it may go now, and if not, why."""

    bid: BidRow
    may_go: bool
    words: str


class ManualProblem(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a bid made by hand, where, and what to do."""

    field: str
    value: str
    fix: str


class ManualPower(msgspec.Struct, frozen=True, kw_only=True):
    """The power that a bid made by hand is expected to come to, charging positive; all else is planned around it."""

    start_ms: int
    end_ms: int
    power_kw: float


class ManualAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A bid made by hand. `invalid`: nothing was kept, `problems` say why. It is a bid (`bid`) soon after it was submitted.

    `gate_ms` is the first gate of all that it lists. `changes` is what would stand, against what stands now.
    """

    as_of_ms: int
    manual_id: str | None
    state: ManualState
    resource_id: str
    market_id: str
    delivery_date: str
    gate_ms: int | None
    open: bool
    by: str
    at_ms: int
    reason: str
    problems: list[ManualProblem]
    offers: list[OfferView]
    power: list[ManualPower]
    changes: list[BidChange]
    bid: BidRow | None


class ManualList(msgspec.Struct, frozen=True, kw_only=True):
    """Bids made by hand for a resource whose delivery is not over, and drafts of such, the newest first."""

    as_of_ms: int
    resource_id: str
    manual: list[ManualAnswer]


class RuleProduct(msgspec.Struct, frozen=True, kw_only=True):
    """What a market takes of a product on a day: everything that an editor of bids needs.

    `closes_ms` says of each interval until when it may be bid for; `open` whether that is still so.
    """

    product_id: str
    name: str
    kind: Literal["energy", "capacity"]
    direction: Literal["both", "up", "down"]
    shapes: list[OfferShape]
    floor_per_mwh: float
    cap_per_mwh: float
    price_tick_per_mwh: float
    quantity_minimum_mw: float
    quantity_step_mw: float
    points: int
    start_ms: list[int]
    end_ms: list[int]
    closes_ms: list[int]
    open: list[bool]


class MarketDayRules(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of a resource's market for a delivery day, and what stands for it.

    `charge_limit_mw`, `discharge_limit_mw` and `stored_kwh` are as the newest decision saw the resource, None before one.
    """

    as_of_ms: int
    resource_id: str
    market_id: str
    market_name: str
    settlement_point: str
    zone: str
    currency: str
    delivery_date: str
    reason_categories: list[str]
    reason_required: bool
    charge_limit_mw: float | None
    discharge_limit_mw: float | None
    capacity_kwh: float | None
    products: list[RuleProduct]
    standing: list[OfferView]
    standing_revision: int | None


class MarketFlip(msgspec.Struct, frozen=True, kw_only=True):
    """At which price of an interval its action would become another, all other prices held."""

    start_ms: int
    end_ms: int
    action: PlanAction
    expected_price_per_mwh: float | None
    price_per_mwh: float
    would: PlanAction
    words: str


class MarketPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of the newest decision that had one, as columns of N intervals; `soc_kwh` and `soc_frac` are N + 1.

    Charging and discharging are never negative. `basis` says what the flips rest on: `optimum` is the exact optimum solved
    again from what the decision kept, `decision` are thresholds that the decision kept itself, `offer` are the bands that were
    offered (then the price decides, and power and later energies are None), `none` that there are none (`why_none`).
    """

    as_of_ms: int
    resource_id: str
    market_id: str
    settlement_point: str
    zone: str
    currency: str
    delivery_date: str
    decision_id: str
    decided_ms: int
    gate_ms: int
    strategy: str
    rung: str
    capacity_kwh: float
    expected_amount: str | None
    start_ms: list[int]
    end_ms: list[int]
    action: list[PlanAction]
    soc_kwh: list[float | None]
    soc_frac: list[float | None]
    charge_kw: list[float | None]
    discharge_kw: list[float | None]
    price_per_mwh: list[float | None]
    water_value_per_mwh: list[float | None]
    charge_below_per_mwh: list[float | None]
    discharge_above_per_mwh: list[float | None]
    by_hand: list[bool]
    binding: list[list[str]]
    flips_at: list[MarketFlip]
    basis: Literal["optimum", "decision", "offer", "none"]
    why_none: str


MARKET_TYPES: Final[tuple[Any, ...]] = (
    MarketProducts,
    MarketPrices,
    MarketBids,
    BidDetail,
    BidDiff,
    ApprovalAnswer,
    ManualAnswer,
    ManualList,
    MarketMode,
    MarketDayRules,
    MarketPlan,
)
"""What these routes answer."""
