"""What the interface answers to who administers a plant: devices, programs, markets, feeds, the system, and who did what."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from shoal.api.answers import OwnedUnit, TwinGrade
from shoal.api.live.state import RoleHealth
from shoal.domain.contracts import Breach
from shoal.market.contract import GateKind, ProductKind
from shoal.programs.program import Pays, ProgramKind
from shoal.store.audit import AuditKind
from shoal.store.devices import DeviceKind, DeviceState

FreshWord = Literal["fresh", "stale", "unjudged"]
"""``unjudged``: no contract says how old it may be."""


class DeviceView(msgspec.Struct, frozen=True, kw_only=True):
    """Something that signs in: a site, or a gateway that speaks for `sites`.

    `enrolled_ms` and `revoked_ms` are of the machine's clock, `heard_ms` of the device's own: its newest sample, of a
    gateway the newest of its sites'. Secrets do not expire: they hold until they are replaced or revoked. `asked` is
    whether the shards could be asked when it was last heard.
    """

    device_id: str
    kind: DeviceKind
    device_type: str | None
    sites: int
    state: DeviceState
    enrolled_ms: int | None
    revoked_ms: int | None
    firmware: str | None
    asked: bool
    heard_ms: int | None
    age_s: float | None
    grade: TwinGrade | None


class DevicePage(msgspec.Struct, frozen=True, kw_only=True):
    """Some devices, gateways first, each kind by name; `next` goes on after them and is null at the end.

    The counts are of all devices, whatever is searched for.
    """

    as_of_ms: int
    devices: int
    enrolled: int
    revoked: int
    missing: int
    limit: int
    next: str | None
    rows: list[DeviceView]


class EnrolledDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device's new secret. It is in this answer and nowhere else: the plant keeps a digest of it."""

    device_id: str
    secret: str
    enrolled_ms: int
    replaced: bool


class ServiceHours(msgspec.Struct, frozen=True, kw_only=True):
    """A standing service of a program, and when it acts; no windows stand for always."""

    service_id: str
    kind: str
    group: str
    windows: tuple[str, ...]
    zone: str


class ProgramAdmin(msgspec.Struct, frozen=True, kw_only=True):
    """A program as it is in the book, who takes part now, and what stands for it."""

    place: int
    program_id: str
    name: str
    kind: ProgramKind
    exclusive: bool
    may_opt_out: bool
    minimum_notice_s: int
    pays: Pays
    terms: str
    sites: int
    opted_out_sites: int
    asks_everybody: bool
    standing_orders: int
    next_order_ms: int | None
    services: list[ServiceHours]


class ProgramsAdmin(msgspec.Struct, frozen=True, kw_only=True):
    """The book, the program that goes first on top; `sites_with_hours` keep hours of the day to themselves."""

    as_of_ms: int
    sites: int
    sites_with_hours: int
    programs: list[ProgramAdmin]


class LimitsFrom(msgspec.Struct, frozen=True, kw_only=True):
    """The lowest and highest price of an offer for delivery days from one on."""

    effective_from: str
    floor_per_mwh: float
    cap_per_mwh: float
    in_force: bool


class GateView(msgspec.Struct, frozen=True, kw_only=True):
    """When bids close; `closes_at` is local on the day before delivery, `lead_s` before each interval."""

    kind: GateKind
    closes_at: str | None
    lead_s: float
    publishes_at: str | None


class ProductView(msgspec.Struct, frozen=True, kw_only=True):
    """A product and its rules; `interval_s`, `floor_per_mwh` and `cap_per_mwh` are those in force on `MarketView.day`."""

    product_id: str
    name: str
    kind: ProductKind
    first_day: str
    last_day: str | None
    traded: bool
    interval_s: float | None
    interval_from: str | None
    floor_per_mwh: float | None
    cap_per_mwh: float | None
    limits: list[LimitsFrom]
    gates: list[GateView]
    next_gate_ms: int | None
    quantity_minimum_mw: float
    quantity_step_mw: float
    price_tick_per_mwh: float


class MarketView(msgspec.Struct, frozen=True, kw_only=True):
    """A market's rules as the software has them; `resources` are those of this plant that bid there."""

    market_id: str
    name: str
    zone: str
    currency: str
    day: str
    resources: list[str]
    settlement_s: float
    products: list[ProductView]


class FeedSeries(msgspec.Struct, frozen=True, kw_only=True):
    """How fresh the knowledge of one series is.

    `age_s` is since its newest fact became known, `expected_s` how old that may be by the contract of the series.
    """

    series_id: str
    unit: str
    facts: int
    latest_end_ms: int | None
    known_ms: int | None
    age_s: float | None
    expected_s: float | None
    state: FreshWord
    set_aside: int


class FactSetAside(msgspec.Struct, frozen=True, kw_only=True):
    """A fact that was set aside because it cannot be true."""

    series_id: str
    source: str
    start_ms: int
    known_ms: int
    reason: Breach
    detail: str


class FallbackNow(msgspec.Struct, frozen=True, kw_only=True):
    """By which rung a resource bid last, where that was not the best one, and why better ones did not."""

    resource_id: str
    delivery_date: str
    rung: str
    reason: str
    at_ms: int


class FeedsAdmin(msgspec.Struct, frozen=True, kw_only=True):
    """What is known from outside: the stale series first. `total` counts those that match, before `limit` cuts them."""

    as_of_ms: int
    series: int
    stale: int
    set_aside: int
    total: int
    limit: int
    rows: list[FeedSeries]
    latest_set_aside: list[FactSetAside]
    fallbacks: list[FallbackNow]


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A slot that one process holds; `beat` grows while that lives."""

    slot: str
    holder: str
    beat: int


class HostNow(msgspec.Struct, frozen=True, kw_only=True):
    """The machine on which the interface runs; `disk` is the one with its database, null where that is elsewhere."""

    processors: int
    load_1min: float | None
    memory_bytes: int
    memory_free_bytes: int
    disk_bytes: int | None
    disk_free_bytes: int | None


class SystemAdmin(msgspec.Struct, frozen=True, kw_only=True):
    """The plant's software: versions, roles, owners of work, leases, live clients, the host.

    `owners_fault` says why the owners are not known, empty when they are. `wall_ms` is the machine's clock, `as_of_ms` the
    plant's, which may be simulated. `message_age_s` is since the last live message, null before the first.
    """

    as_of_ms: int
    wall_ms: int
    version: str
    python: str
    database: str
    schema_revision: str
    roles: list[RoleHealth]
    owners: list[OwnedUnit]
    owners_fault: str
    leases: list[Lease]
    clients: int
    slow_clients: int
    message_age_s: float | None
    host: HostNow


class AuditEntryView(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what; `by` is empty for the plant itself."""

    kind: AuditKind
    at_ms: int
    by: str
    action: str
    about: str
    outcome: Literal["done", "refused"]
    detail: str


class AuditList(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the audit, the newest first; `next` is `before` of the following page, null at the end."""

    lines: list[AuditEntryView]
    next: str | None


ADMIN_TYPES: Final = (
    DevicePage,
    EnrolledDevice,
    ProgramsAdmin,
    MarketView,
    FeedsAdmin,
    SystemAdmin,
    AuditList,
)
"""For the contract."""
