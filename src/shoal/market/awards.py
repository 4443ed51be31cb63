"""What comes back from a market: receipts, versioned awards, and settlements line by line.

Power awarded is whole watts, energy delivered whole watt-hours, both load-positive: bought (charging) positive, sold
(discharging) negative. Capacity of a service is never negative. Amounts are whole 1e-8 currency units (decision 0006): Wh
times cents per MWh, positive when the participant receives.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from shoal.domain.interval import Interval

SubmissionState: TypeAlias = Literal[
    "draft", "submitted", "unknown", "accepted", "rejected", "superseded", "withdrawn"
]

SUBMISSION_STEPS: Final[dict[SubmissionState, tuple[SubmissionState, ...]]] = {
    "draft": ("submitted", "withdrawn"),
    "submitted": ("accepted", "rejected", "unknown"),
    "unknown": ("accepted", "rejected", "draft"),
    "accepted": ("superseded", "withdrawn"),
    "rejected": (),
    "superseded": (),
    "withdrawn": (),
}
"""Where a submission may go next. UNKNOWN (the answer was lost) is left only by reading back: it is found accepted, found
rejected, or found absent, which makes it a draft again; it is never sent again blindly."""


class MarketReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """The market's answer to a bid, or what reading back found; the last four say why it was rejected."""

    idempotency_key: str
    bid_id: str
    state: SubmissionState
    received_ns: int
    reason: str = ""
    field: str = ""
    value: str = ""
    fix: str = ""


class AwardedQuantity(msgspec.Struct, frozen=True, kw_only=True):
    """What was awarded of one product in one interval; 0 when nothing cleared.

    Attributes:
        product: The product.
        start_ns: When it begins.
        end_ns: When it ends, exclusive.
        power_w: Energy products: bought positive, sold negative. Capacity products: held ready, never negative.
        price_per_mwh: The price at which it cleared; per MW and hour for capacity. 0 where the product has none.
    """

    product: str
    start_ns: int
    end_ns: int
    power_w: int
    price_per_mwh: float


class MarketAward(msgspec.Struct, frozen=True, kw_only=True):
    """The result for one resource and day; a higher version replaces a lower one."""

    resource_id: str
    market_id: str
    settlement_point: str
    delivery_date: str
    bid_id: str
    version: int
    published_ns: int
    quantities: tuple[AwardedQuantity, ...]


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """Energy metered in one settlement interval, charging positive, discharging negative."""

    start_ns: int
    end_ns: int
    delivered_wh: int
    estimated: bool = False


LineKind: TypeAlias = Literal["energy", "award", "imbalance", "capacity", "performance", "penalty"]


class SettlementLine(msgspec.Struct, frozen=True, kw_only=True):
    """One amount of a settlement.

    Attributes:
        product: The product.
        kind: ``energy`` metered energy at the price, ``award`` the position at its own price, ``imbalance`` the deviation
            from it, ``capacity`` the holding of a service, ``performance`` and ``penalty`` of a programme.
        start_ns: When it begins.
        end_ns: When it ends, exclusive.
        energy_wh: What is priced, load-positive; capacity times hours for a service, rounded down.
        price_cents_per_mwh: The price in whole cents.
        amount: Received, negative when paid; 1e-8 currency units.
        estimated: Whether it rests on an estimated reading.
    """

    product: str
    kind: LineKind
    start_ns: int
    end_ns: int
    energy_wh: int
    price_cents_per_mwh: int
    amount: int
    estimated: bool = False


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the settlement of a resource's delivery day.

    Attributes:
        resource_id: Whose.
        market_id: Where.
        delivery_date: The market's day.
        run: The name of the run, one of the market's.
        version: From 1, one more for every settlement of the day, whichever run.
        issued_ns: When it was issued.
        currency: ISO 4217.
        lines: Every amount, by start, product and kind.
        changed: The intervals of which a line differs from the version before; all of them in the first.
        amount: The sum of the lines.
    """

    resource_id: str
    market_id: str
    delivery_date: str
    run: str
    version: int
    issued_ns: int
    currency: str
    lines: tuple[SettlementLine, ...]
    changed: tuple[Interval, ...]
    amount: int
