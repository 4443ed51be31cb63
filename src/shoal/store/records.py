"""What the store gives back where the domain has no word of its own: one frozen record a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from shoal.domain.ids import ProgramId, ResourceId, SiteId
from shoal.market.types import Bid, BidReceipt

BidStatus: TypeAlias = Literal["building", "submitted", "accepted", "rejected", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A use of flexibility; the one with the higher priority goes first."""

    program_id: ProgramId
    name: str
    priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One device of a site. `rated_kw` and `energy_kwh` are None where they are unknown or do not apply."""

    asset_id: str
    site_id: SiteId
    kind: Literal["battery", "solar", "ev", "load"]
    rated_kw: float | None
    energy_kwh: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastRecord:
    """A forecast as it was issued; `payload` is the JSON of its quantiles, byte for byte."""

    workflow_id: str
    resource_id: ResourceId
    settlement_point: str
    delivery_date: str
    issued_ns: int
    model: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BidRecord:
    """A bid and what became of it.

    Attributes:
        bid: As submitted.
        status: ``unknown`` when no answer came: read back, never submit blindly again.
        rung: The step of the ladder of fallbacks that made it.
        rung_reason: Why that step.
        created_ns: When it was built.
        submitted_ns: When it was first sent, None before.
        receipt: The market's answer, None before.
    """

    bid: Bid
    status: BidStatus
    rung: str
    rung_reason: str
    created_ns: int
    submitted_ns: int | None
    receipt: BidReceipt | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """The settlement of one resource and day; `net_amount` in 1e-8 currency units, received positive."""

    resource_id: ResourceId
    delivery_date: str
    version: int
    known_ns: int
    net_amount: int
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerState:
    """What a controller saved last, and the token it held."""

    issuer: str
    fence: int
    saved_ns: int
    state: bytes
