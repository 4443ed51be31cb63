"""What `/api/settlement` answers: days, one day down to its intervals, and the way from perfect foresight to money.

Money is decimal strings with all eight digits, and whole cents where parts are shown beside their sum: those cents add up.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

SettledBy: TypeAlias = Literal["market", "plant", "nobody"]
DayStatus: TypeAlias = Literal["settled", "provisional", "delivered", "awarded"]


class SettlementDay(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery day; received amounts are positive, energies in a direction never negative.

    `settled_by` says whose settlement it is, `nobody` before the first; `run` and `version` are of the newest. It is
    `provisional` while a reading in it is estimated, `delivered` once meters are read, before that `awarded`. Energies
    delivered are None before meters are read, amounts None before a settlement. `imbalance_mwh` is how far delivery was
    from the award, interval by interval, either way. `disputes` counts lines of the newest version that the plant's own
    settlement contradicts, by `disputed_amount` in all, None when it was not checked.
    """

    resource_id: str
    market_id: str
    delivery_date: str
    currency: str
    status: DayStatus
    settled_by: SettledBy
    run: str
    version: int
    versions: int
    issued_ms: int | None
    awarded: bool
    bought_mwh: float
    sold_mwh: float
    charged_mwh: float | None
    discharged_mwh: float | None
    imbalance_mwh: float | None
    net_amount: str | None
    net_cents: int | None
    imbalance_amount: str | None
    imbalance_cents: int | None
    disputes: int | None
    disputed_amount: str | None
    disputed_cents: int | None
    unchecked: int | None
    intervals: int
    estimated_intervals: int


class SettlementDays(msgspec.Struct, frozen=True, kw_only=True):
    """The days of a resource, the newest first, and their sum; `zone` is the market's."""

    resource_id: str
    market_id: str
    zone: str
    currency: str
    from_date: str
    to_date: str
    days: list[SettlementDay]
    settled_days: int
    net_amount: str
    net_cents: int


class SettlementVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a day's settlement; `changed_intervals` and `step_cents` compare it with the one before."""

    version: int
    run: str
    issued_ms: int
    net_amount: str
    net_cents: int
    step_cents: int
    changed_intervals: int
    lines: int
    disputes: int | None
    disputed_cents: int | None
    unchecked: int | None


class SettlementIntervals(msgspec.Struct, frozen=True, kw_only=True):
    """A day in settlement intervals, as columns; the amounts add up to the newest version's."""

    start_ms: list[int]
    end_ms: list[int]
    award_mwh: list[float | None]
    delivered_mwh: list[float | None]
    price_per_mwh: list[float | None]
    net_amount: list[str | None]
    estimated: list[bool]


class SettlementPart(msgspec.Struct, frozen=True, kw_only=True):
    """What the lines of one product and kind come to; the cents of all parts add up to the day's."""

    product: str
    kind: str
    lines: int
    net_amount: str
    net_cents: int


class SettlementDispute(msgspec.Struct, frozen=True, kw_only=True):
    """A line in which the newest version and the plant's own settlement differ; `amount` is the market's less one's own."""

    start_ms: int
    end_ms: int
    product: str
    kind: str
    reason: str
    amount: str
    amount_cents: int
    market_mwh: float
    own_mwh: float
    market_price_per_mwh: float
    own_price_per_mwh: float


class SettlementGap(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the day that could not be checked, and why."""

    start_ms: int
    end_ms: int
    why: str


class HomeShare(msgspec.Struct, frozen=True, kw_only=True):
    """What one home receives."""

    site_id: str
    amount: str
    amount_cents: int


class SettlementShares(msgspec.Struct, frozen=True, kw_only=True):
    """Who receives the money of the newest version; homes and operator add up to it. `largest` are the largest shares."""

    homes: int
    homes_amount: str
    homes_cents: int
    operator_amount: str
    operator_cents: int
    largest: list[HomeShare]


class SettlementDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A day of a resource down to its intervals, versions, checks and shares; `shares` is None before it is shared."""

    day: SettlementDay
    zone: str
    versions: list[SettlementVersion]
    intervals: SettlementIntervals
    parts: list[SettlementPart]
    disputes: list[SettlementDispute]
    gaps: list[SettlementGap]
    shares: SettlementShares | None


class WaterfallStep(msgspec.Struct, frozen=True, kw_only=True):
    """What one step adds, negative when it takes, and where it leads."""

    name: str
    amount: str
    amount_cents: int
    level_cents: int


class SettlementWaterfall(msgspec.Struct, frozen=True, kw_only=True):
    """From perfect foresight to the money of a day: `from_cents` and the steps' cents add up to `to_cents`.

    `first` is the stage it begins with: `perfect`, or `bid` where a market has no prices to foresee. `settled_as` says which
    settlement it ends with, `metered` before the first: then the money is the meters at published prices. `residual_amount` is
    what that settlement has beyond the last level, nothing when all is well.
    """

    resource_id: str
    market_id: str
    delivery_date: str
    currency: str
    settled_as: str
    first: str
    from_amount: str
    from_cents: int
    steps: list[WaterfallStep]
    to_amount: str
    to_cents: int
    residual_amount: str


SETTLEMENT_TYPES: Final[tuple[Any, ...]] = (SettlementDays, SettlementDetail, SettlementWaterfall)
"""What these routes answer."""
