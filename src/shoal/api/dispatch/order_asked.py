"""What people ask by the doors of commands, events and dispatch, and the orders that are made of it; the same for all.

An order is made the same way whether it is looked at first, launched at once, or launched when somebody else approves it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from pydantic import Field

from shoal.api.bodies import Body
from shoal.control.asking import check_asked, gently, named, power_w_of, scope_of
from shoal.control.event_calls import check_call, event_order, group_calls, make_call
from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_MINUTE, Interval
from shoal.programs.program import ProgramBook
from shoal.store.order_records import CallSpec, CanarySpec, EventSpec, Order, Scope, SetPointSpec
from shoal.store.orders import Orders

MAX_NAMES: Final = 10_000
MAX_REASON_CHARACTERS: Final = 500
MAX_MINUTES: Final = 14 * 24 * 60
MOST_GROUPS: Final = 1_000
MAX_TOKEN_CHARACTERS: Final = 64
_NS_PER_MS: Final = 1_000_000
_LATEST_MS: Final = 2**62 // _NS_PER_MS

PreviewToken: TypeAlias = Annotated[
    str, Field(max_length=MAX_TOKEN_CHARACTERS, description="The preview that it is launched from.")
]


class ScopeAsked(Body):
    """Who is meant: sites, groups, or the fleet."""

    sites: list[str] = Field(default_factory=list, max_length=MAX_NAMES)
    groups: list[str] = Field(default_factory=list, max_length=MAX_NAMES)
    fleet: bool = False

    def scope(self) -> Scope:
        """Return it as it is kept."""
        return scope_of(sites=self.sites, groups=self.groups, fleet=self.fleet)


class CanaryAsked(Body):
    """A trial on a few sites first."""

    share_frac: float = Field(default=0.02, gt=0, lt=1)
    watch_s: float = Field(default=300.0, gt=0)
    responding_frac: float = Field(default=0.9, ge=0, le=1)
    error_frac: float = Field(default=0.2, ge=0)


class SetPointAsked(ScopeAsked):
    """A power of all sites together, from now on; in one direction, or neither to rest."""

    minutes: float = Field(ge=1, le=MAX_MINUTES)
    charge_kw: float | None = None
    discharge_kw: float | None = None
    program: str = "emergency"
    reason: str = Field(default="", max_length=MAX_REASON_CHARACTERS)
    canary: CanaryAsked | None = None
    preview: PreviewToken = ""


class EventAsked(ScopeAsked):
    """An event that devices are told ahead; a power is of all together, or of each site with `each`."""

    kind: Literal["power", "charge", "hold", "local"]
    start_ms: int = Field(ge=0, le=_LATEST_MS)
    minutes: float = Field(ge=1, le=MAX_MINUTES)
    charge_kw: float | None = None
    discharge_kw: float | None = None
    each: bool = False
    soc_frac: float = Field(default=0.0, ge=0, le=1)
    solar_only: bool = False
    slope_kw_per_min: float | None = Field(default=None, gt=0)
    may_opt_out: bool = True
    program: str = "peak"
    reason: str = Field(default="", max_length=MAX_REASON_CHARACTERS)
    canary: CanaryAsked | None = None
    preview: PreviewToken = ""


class TargetAsked(Body):
    """What a group delivers throughout."""

    group: str
    power_kw: float = Field(gt=0, lt=1e9)


class CallAsked(Body):
    """An event; notice is given now. It begins and ends at quarters of an hour."""

    event_id: str | None = Field(default=None, max_length=60)
    program: str = "emergency"
    targets: list[TargetAsked] = Field(min_length=1, max_length=MOST_GROUPS)
    start_ms: int = Field(ge=0, le=_LATEST_MS)
    end_ms: int = Field(ge=0, le=_LATEST_MS)
    feeds_in: bool = True
    measure: str = "battery"
    price_per_mwh: float = Field(default=0.0, ge=0, le=1e7)
    owner_share_permille: int = Field(default=800, ge=0, le=1000)
    currency: str = Field(default="USD", min_length=3, max_length=3)
    reason: str = Field(default="", max_length=MAX_REASON_CHARACTERS)
    preview: PreviewToken = ""


class ChangeAsked(Body):
    """A change of an order; what is absent stays. `revision` is the one that was read."""

    revision: int = Field(ge=1)
    end_ms: int | None = Field(default=None, ge=0, le=_LATEST_MS)
    reason: str = Field(default="", max_length=MAX_REASON_CHARACTERS)


class CallChanged(Body):
    """A change of an event; what is absent stays. `revision` is the one that was read."""

    revision: int = Field(ge=1)
    targets: list[TargetAsked] | None = Field(default=None, min_length=1, max_length=MOST_GROUPS)
    end_ms: int | None = Field(default=None, ge=0, le=_LATEST_MS)
    reason: str = Field(default="", max_length=MAX_REASON_CHARACTERS)


class NamedChange(ChangeAsked):
    """A change of the order of this name."""

    order_id: str = Field(max_length=64)


class NamedCallChange(CallChanged):
    """A change of the event of this name."""

    event_id: str = Field(max_length=60)


class DispatchAsked(Body):
    """What is looked at or proposed: exactly one of these."""

    setpoint: SetPointAsked | None = None
    event: EventAsked | None = None
    call: CallAsked | None = None
    change: NamedChange | None = None
    call_change: NamedCallChange | None = None

    def one(self) -> tuple[AskedKind, Asked]:
        """Return what it is, and what is asked.

        Raises:
            InvalidInputError: unless it is one of them.
        """
        kinds: tuple[AskedKind, ...] = ("setpoint", "event", "call", "change", "call_change")
        found = [(kind, getattr(self, kind)) for kind in kinds if getattr(self, kind) is not None]
        if len(found) != 1:
            raise InvalidInputError(
                field="body",
                value=[kind for kind, _ in found],
                fix=f"give exactly one of {', '.join(kinds)}",
            )
        return found[0]


Asked: TypeAlias = SetPointAsked | EventAsked | CallAsked | NamedChange | NamedCallChange
AskedKind: TypeAlias = Literal["setpoint", "event", "call", "change", "call_change"]


def order_of(asked: Asked, *, orders: Orders, fleet: Fleet, by: str, now_ns: int) -> Order:
    """Return the order that somebody asks for, of whatever kind; of a change the order as it would then be.

    Raises:
        InvalidInputError: naming what cannot be.
        UnknownIdError: when the order to be changed is not there.
    """
    if isinstance(asked, SetPointAsked):
        return setpoint_order(asked, by=by, now_ns=now_ns)
    if isinstance(asked, EventAsked):
        return scheduled_order(asked, fleet, by=by, now_ns=now_ns)
    if isinstance(asked, CallAsked):
        return call_order(asked, by=by, now_ns=now_ns)
    if isinstance(asked, NamedChange):
        return changed_order(orders.order(asked.order_id), asked, by=by, now_ns=now_ns)
    held = event_order([orders.order(asked.event_id)], asked.event_id)
    return changed_call(held, asked, by=by, now_ns=now_ns)


def check_order_asked(order: Order, fleet: Fleet, book: ProgramBook, *, now_ns: int) -> None:
    """Refuse what this plant cannot carry out; see `check_asked` and `check_call`.

    Raises:
        InvalidInputError: naming the field that is wrong.
        UnknownIdError: when it names a site or group that does not exist.
    """
    if isinstance(order.spec, CallSpec):
        check_call(order, fleet, book, now_ns=now_ns)
    else:
        check_asked(order, fleet, book, now_ns=now_ns)


def setpoint_order(asked: SetPointAsked, *, by: str, now_ns: int) -> Order:
    """Return a power from now on."""
    scope = asked.scope()
    power_w = power_w_of(charge_kw=asked.charge_kw, discharge_kw=asked.discharge_kw)
    return Order(
        order_id=named("send", now_ns, by, scope, power_w),
        program=asked.program,
        scope=scope,
        start_ns=now_ns,
        end_ns=now_ns + round(asked.minutes * NS_PER_MINUTE),
        spec=SetPointSpec(power_w=power_w),
        canary=_canary(asked.canary),
        by=by,
        at_ns=now_ns,
        reason=asked.reason,
    )


def scheduled_order(asked: EventAsked, fleet: Fleet, *, by: str, now_ns: int) -> Order:
    """Return an event that devices are told ahead."""
    scope = asked.scope()
    power_w = power_w_of(charge_kw=asked.charge_kw, discharge_kw=asked.discharge_kw)
    spec = EventSpec(
        kind=asked.kind,
        battery_w=power_w if asked.each else 0,
        group_w=None if asked.each or not power_w else power_w,
        soc_frac=asked.soc_frac,
        solar_only=asked.solar_only,
        may_opt_out=asked.may_opt_out,
    )
    start_ns = asked.start_ms * _NS_PER_MS
    order = Order(
        order_id=named(asked.kind, now_ns, by, scope, spec),
        program=asked.program,
        scope=scope,
        start_ns=start_ns,
        end_ns=start_ns + round(asked.minutes * NS_PER_MINUTE),
        spec=spec,
        canary=_canary(asked.canary),
        by=by,
        at_ns=now_ns,
        reason=asked.reason,
    )
    if asked.slope_kw_per_min is None:
        return order
    how = gently(order, fleet, limit_kw_per_min=asked.slope_kw_per_min)
    spec = msgspec.structs.replace(spec, ramp_s=how.ramp_s, spread_s=how.spread_s)
    return msgspec.structs.replace(order, spec=spec)


def call_order(asked: CallAsked, *, by: str, now_ns: int) -> Order:
    """Return an event in which groups deliver."""
    window = Interval(start_ns=asked.start_ms * _NS_PER_MS, end_ns=asked.end_ms * _NS_PER_MS)
    targets = [(one.group, one.power_kw) for one in asked.targets]
    return make_call(
        event_id=asked.event_id or named(asked.program, now_ns, by, targets, window),
        program=asked.program,
        targets=targets,
        window=window,
        by=by,
        now_ns=now_ns,
        reason=asked.reason,
        feeds_in=asked.feeds_in,
        measure=asked.measure,
        price_per_mwh=asked.price_per_mwh,
        owner_share_permille=asked.owner_share_permille,
        currency=asked.currency,
    )


def changed_order(held: Order, asked: ChangeAsked, *, by: str, now_ns: int) -> Order:
    """Return an order as it is after a change."""
    return msgspec.structs.replace(
        held,
        revision=asked.revision + 1,
        end_ns=held.end_ns if asked.end_ms is None else asked.end_ms * _NS_PER_MS,
        by=by,
        at_ns=now_ns,
        reason=asked.reason or held.reason,
    )


def changed_call(held: Order, asked: CallChanged, *, by: str, now_ns: int) -> Order:
    """Return an event as it is after a change."""
    spec, scope = held.spec, held.scope
    if asked.targets is not None:
        groups = group_calls((one.group, one.power_kw) for one in asked.targets)
        spec = msgspec.structs.replace(spec, targets=groups)
        scope = Scope(groups=tuple(one.group for one in groups))
    changes: dict[str, Any] = {"scope": scope, "spec": spec}
    return msgspec.structs.replace(
        changed_order(held, ChangeAsked(**asked.model_dump(include=_CHANGED)), by=by, now_ns=now_ns),
        **changes,
    )


_CHANGED: Final = {"revision", "end_ms", "reason"}


def _canary(asked: CanaryAsked | None) -> CanarySpec | None:
    if asked is None:
        return None
    return CanarySpec(
        share_frac=asked.share_frac,
        watch_s=asked.watch_s,
        responding_frac=asked.responding_frac,
        error_frac=asked.error_frac,
    )
