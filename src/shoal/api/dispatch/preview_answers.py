"""What the interface answers about an order that is only looked at: who would take part, what it would come to and cost.

Powers are kW at the batteries' terminals, charging positive; energies kWh, taken in positive. Where a figure is not
certain it stands between `low_*` and `high_*` nine times out of ten. Instants are milliseconds, money decimal strings.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

AskedKind: TypeAlias = Literal["setpoint", "event", "call", "change", "call_change"]
"""A power from now on; an event that devices are told ahead; an event in which groups deliver; a change of either."""
Reason: TypeAlias = Literal[
    "takes_part",
    "silent",
    "stopped",
    "no_battery",
    "not_enrolled",
    "opted_out",
    "owner_hours",
    "other_program",
    "no_energy",
    "no_room",
    "unknown_state",
    "not_asked",
]
"""Why a site is where it is in a preview; see `LeftOut`."""


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """Sites that would not take part, for one reason; each site is under one reason only.

    `silent`: not heard from lately; told as soon as it speaks. `stopped`: under a kill switch. `no_battery`. `not_enrolled`
    in the program. `opted_out`: its owner left the program for now. `owner_hours`: its owner keeps it at that hour.
    `other_program`: a program that goes first has it. `no_energy`: too little stored above what its owner keeps, or no room
    left to charge. `no_room`: its connection or a group above carries no more. `unknown_state`: its state of charge is not
    known. `not_asked`: more were there than are needed.

    Attributes:
        reason: A stable code.
        words: For people.
        sites: How many.
        sample: The first ten of them.
    """

    reason: Reason
    words: str
    sites: int
    sample: list[str]


class BindingLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit at which sites would stand: how many, and how much it keeps back, kW without direction."""

    limit: str
    sites: int
    power_kw: float


class LossView(msgspec.Struct, frozen=True, kw_only=True):
    """Who would get less than it asked for by this: the claim, how much, kW without direction, and in words."""

    claim: str
    sites: int
    power_kw: float
    words: str


class CostView(msgspec.Struct, frozen=True, kw_only=True):
    """What an order would cost, as far as the plant knows prices; positive costs, negative earns.

    Attributes:
        currency: Of the amounts; empty when nothing is known of any.
        amount: Expected in all; null when no part of it is known.
        low_amount: With the energy that may be expected nine times out of ten: the lesser amount.
        high_amount: See there.
        per_mwh: The amount per MWh moved; null when none is moved.
        parts: What it is made of; the amounts of those that are known add up to `amount`.
        missing: What is not in it, in words; empty when all of it is.
    """

    currency: str
    amount: str | None
    low_amount: str | None
    high_amount: str | None
    per_mwh: str | None
    parts: list[CostPart]
    missing: list[str]


class CostPart(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a cost: `energy` bought or sold, `wear` of batteries, `owners`, what their owners are paid."""

    name: Literal["energy", "wear", "owners"]
    words: str
    amount: str


class Rebound(msgspec.Struct, frozen=True, kw_only=True):
    """What may come after the end, at the most: those that took part refill what they gave, from the grid, all at once.

    It is a bound, not an expectation: sun takes part of it, and devices with plans of their own come back later. After an
    order that charges nothing is to be refilled, and `peak_kw` is 0.

    Attributes:
        sure: What kind of figure it is.
        peak_kw: Most that they take together, charging positive.
        energy_kwh: What they take in until all is as before.
        from_ms: When the first come back.
        until_ms: When the last is as before.
        steepest_kw_per_min: How fast their sum changes at the most at the end of the order.
        t_ms: Instants of the curve.
        kw: Most that they take together then, the order's own power before its end included.
    """

    sure: Literal["at most"]
    peak_kw: float
    energy_kwh: float
    from_ms: int
    until_ms: int
    steepest_kw_per_min: float
    t_ms: list[int]
    kw: list[float]


class FeederPreview(msgspec.Struct, frozen=True, kw_only=True):
    """The part of one feeder: the groups right above sites in the hierarchy of the grid.

    Attributes:
        group_id: Its id; empty for sites under none.
        sites: Of the order, there.
        taking_part: Of these.
        asked_kw: What is asked of them.
        expected_kw: What they would do.
        limit_kw: Tightest limit at the feeder's connection in the direction of the order, without sign; null for none.
        limit_group: Whose limit that is: the feeder's or one above it.
    """

    group_id: str
    name: str
    sites: int
    taking_part: int
    asked_kw: float
    expected_kw: float
    low_kw: float
    high_kw: float
    limit_kw: float | None
    limit_group: str


class PreviewView(msgspec.Struct, frozen=True, kw_only=True):
    """What an order would come to; nothing is sent. Launch with its `token`, and the audit names it.

    Attributes:
        token: Its name.
        kept_s: For how many seconds of real time it is kept, however fast the plant's clock goes.
        kind: What was asked.
        made_ms: When it was worked out.
        start_ms: When the order would begin.
        end_ms: When it would end, exclusive.
        sites: Who is meant: all in scope.
        enrolled: Of these, who takes part in the program and has a battery.
        taking_part: Who would do something of it.
        fresh: Of the enrolled, heard from lately.
        silent: Not; told as soon as they speak.
        halted: Under a kill switch.
        asked_kw: What is asked of all together.
        expected_kw: What they would do at once.
        sustained_kw: What they can hold to the end.
        sustained_low_kw: That nine times out of ten, as the next; of the fresh ones' batteries.
        energy_kwh: What they would move until the end.
        shortfall_kw: What is missing of the asked power at the end, without direction.
        second_above_kw: Orders above this power need a second person; null where none is needed for any.
        second_kw: The power that counts for that, without direction.
        needs_second: Whether this one does: propose it instead of launching it.
        steps: What would be told to whom when, of a call: getting ready, delivering, recovering.
        assumes: What the figures rest on, in words.
    """

    token: str
    kind: AskedKind
    program: str
    made_ms: int
    kept_s: float
    start_ms: int
    end_ms: int
    sites: int
    enrolled: int
    taking_part: int
    fresh: int
    silent: int
    halted: int
    asked_kw: float
    expected_kw: float
    low_kw: float
    high_kw: float
    sustained_kw: float
    sustained_low_kw: float
    sustained_high_kw: float
    energy_kwh: float
    shortfall_kw: float
    binding: list[BindingLimit]
    losses: list[LossView]
    left_out: list[LeftOut]
    cost: CostView
    rebound: Rebound
    by_feeder: list[FeederPreview]
    steps: list[CallStep]
    assumes: list[str]
    second_above_kw: float | None
    second_kw: float
    needs_second: bool


class CallStep(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch of a call: `kind` as devices are told; `all_kw` of all its sites, null where each does what it can."""

    stretch: str
    kind: str
    start_ms: int
    end_ms: int
    sites: int
    all_kw: float | None


class PreviewSite(msgspec.Struct, frozen=True, kw_only=True):
    """One site in a preview: what it is asked and would do, or why not; `age_s` null for one never heard."""

    site_id: str
    reason: Reason
    asked_kw: float
    expected_kw: float
    sustained_kw: float
    soc_frac: float | None
    age_s: float | None


class PreviewSites(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the sites of a preview, in the order of the registry."""

    token: str
    reason: str
    total: int
    offset: int
    limit: int
    rows: list[PreviewSite]
