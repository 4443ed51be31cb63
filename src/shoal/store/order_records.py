"""What people and programs ask of the fleet, as it is kept: orders, kill switches, canary trials, and who asked what.

An order says what is wanted of whom from when to when; the control role turns it into each site's document or set-point.
A newer revision replaces the one before, so who reads late reads what still applies and nothing else. Powers are
load-positive whole watts.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from shoal.domain.orders import EventKind, PriceSeries

OrderState: TypeAlias = Literal["standing", "cancelled", "aborted"]
"""``cancelled`` ends as the order itself would, with its ramp; ``aborted`` ends at once."""
StopKind: TypeAlias = Literal["site", "group", "fleet"]
TrialState: TypeAlias = Literal["watching", "passed", "failed"]


class Scope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who is meant: every site, or those named and those at or below the groups named, at the moment of asking.

    Attributes:
        sites: Ids of sites.
        groups: Ids of groups.
        fleet: Every site.
    """

    sites: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    fleet: bool = False


class EventSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="event"):
    """Something that devices are told ahead and run on their own clocks; see `shoal.domain.orders.ScheduledEvent`.

    Attributes:
        kind: See `EventKind`.
        battery_w: Of each site, charging positive.
        group_w: Of all sites together, split by rated power; instead of `battery_w`.
        soc_frac: See `EventKind`.
        solar_only: Charge from surplus solar power alone.
        ramp_s: From what was before to what is asked, and back.
        spread_s: Within so long each begins and ends at a place of its own.
        may_opt_out: Whether the owner may leave it.
    """

    kind: EventKind
    battery_w: int = 0
    group_w: int | None = None
    soc_frac: float = 0.0
    solar_only: bool = False
    ramp_s: float = 0.0
    spread_s: float = 0.0
    may_opt_out: bool = True


class SetPointSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="setpoint"):
    """A power of all sites together, charging positive, that the controller follows by their meters."""

    power_w: int


class PriceSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="prices"):
    """Prices that each site plans against by itself."""

    prices: PriceSeries


class EnvelopeSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="envelope"):
    """Limits at each site's connection point, never negative.

    Attributes:
        import_limit_w: Most that it may take.
        export_limit_w: Most that it may feed in.
        chargers_only: Only at sites that are chargers and nothing else.
    """

    import_limit_w: int
    export_limit_w: int
    chargers_only: bool = False


class DroopSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="droop"):
    """A response to the frequency; see `shoal.domain.orders.DroopArming`."""

    reference_hz: float
    deadband_hz: float
    full_deviation_hz: float
    up_w: int
    down_w: int = 0


class GroupCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a group is to deliver throughout an event: power to discharge, never negative."""

    group: str
    target_w: int


class CallSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="call"):
    """An event in which groups deliver a power, and what is paid; who gives how much is decided in every cycle anew.

    Attributes:
        targets: What of whom.
        called_ns: When notice was given: from then on sites get ready.
        feeds_in: Whether homes may feed into the grid; else they take off their own load and no more.
        measure: How delivery is measured: ``battery``, or a baseline's name.
        price_cents_per_mwh: What a delivered MWh is paid.
        owner_share_permille: The owners' part of it.
        currency: Of the price.
    """

    targets: tuple[GroupCall, ...]
    called_ns: int
    feeds_in: bool = True
    measure: str = "battery"
    price_cents_per_mwh: int = 0
    owner_share_permille: int = 800
    currency: str = "USD"


OrderSpec: TypeAlias = EventSpec | SetPointSpec | PriceSpec | EnvelopeSpec | DroopSpec | CallSpec


class CanarySpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Try an order on a few sites first, and go on only when their meters show what was asked.

    Attributes:
        share_frac: How many of the sites, above 0 and below 1.
        watch_s: How long their meters are watched after they were told.
        responding_frac: How many of them must deliver at least half of what was asked.
        error_frac: How far their sum may be from what was asked of them.
    """

    share_frac: float = 0.02
    watch_s: float = 300.0
    responding_frac: float = 0.9
    error_frac: float = 0.2


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One order as it stands.

    Attributes:
        order_id: The same in every revision.
        revision: From 1 on.
        program: For which program; its place in the order of priority decides what it yields to.
        scope: Who is meant.
        start_ns: From when.
        end_ns: Until when, exclusive.
        spec: What is wanted.
        canary: Try it first; None for all at once.
        state: See `OrderState`.
        by: Who asked for this revision.
        at_ns: When.
        reason: Why.
    """

    order_id: str
    program: str
    scope: Scope
    start_ns: int
    end_ns: int
    spec: OrderSpec
    by: str
    at_ns: int
    revision: int = 1
    canary: CanarySpec | None = None
    state: OrderState = "standing"
    reason: str = ""


class Stop(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A kill switch: nobody commands what it covers until a person releases it.

    Attributes:
        stop_id: Its name.
        kind: Of what.
        target: The site or group; empty for the fleet.
        since_ns: Since when.
        by: Who threw it.
        reason: Why.
        released_ns: When it was released; None while it holds.
        released_by: By whom.
        release_reason: Why.
    """

    stop_id: str
    kind: StopKind
    target: str
    since_ns: int
    by: str
    reason: str
    released_ns: int | None = None
    released_by: str = ""
    release_reason: str = ""


class Trial(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A canary trial of one order: which sites, since when, how it ended. A restart goes on with the same sites."""

    order_id: str
    sites: tuple[str, ...]
    began_ns: int
    state: TrialState = "watching"
    decided_ns: int | None = None
    reason: str = ""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the audit; nothing is ever changed or removed.

    Attributes:
        number: Grows with each line; 0 before it is kept.
        at_ns: When.
        by: Who asked, or which device said so.
        action: What was asked: ``put``, ``change``, ``cancel``, ``abort``, ``kill``, ``release``, ``trial``, ``report``,
            ``leave`` and ``return`` for an owner who left an event or came back, or ``result`` for what came of it;
            ``preview`` for what was seen before, ``propose``, ``approve``, ``refuse`` and ``withdraw`` of a proposal.
        subject: The order, proposal, stop or site.
        outcome: Whether it was done.
        reason: A stable code for a refusal (``replayed``, ``forged``, ``other_tenant``, ...), else what was said.
        detail: For people.
    """

    at_ns: int
    by: str
    action: str
    subject: str
    outcome: Literal["done", "refused"] = "done"
    reason: str = ""
    detail: str = ""
    number: int = 0
