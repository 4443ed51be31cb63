"""What the store gives back where the domain has no word of its own: one frozen record a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shoal.domain.ids import ProgramId, ResourceId, SiteId


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
