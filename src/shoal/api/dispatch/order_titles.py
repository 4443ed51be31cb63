"""An order in a few words, without signs. Pure."""

from __future__ import annotations

from typing import Final

from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId
from shoal.store.order_records import (
    CallSpec,
    DroopSpec,
    EnvelopeSpec,
    EventSpec,
    Order,
    PriceSpec,
    Scope,
    SetPointSpec,
)

_W_PER_KW: Final = 1_000.0
_NAMES_SHOWN: Final = 2


def title_of(order: Order, fleet: Fleet) -> str:
    """Return what an order asks, of whom."""
    return f"{_what(order)}, {whom(order.scope, fleet)}"


def whom(scope: Scope, fleet: Fleet) -> str:
    """Return who is meant."""
    if scope.fleet:
        return "the whole fleet"
    names = [_name(group, fleet) for group in scope.groups] + list(scope.sites)
    shown = ", ".join(names[:_NAMES_SHOWN])
    rest = len(names) - _NAMES_SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown


def _what(order: Order) -> str:
    spec = order.spec
    if isinstance(spec, SetPointSpec):
        return _power(spec.power_w, "rest")
    if isinstance(spec, CallSpec):
        return _power(-sum(one.target_w for one in spec.targets), "deliver nothing")
    if isinstance(spec, EventSpec):
        if spec.kind == "hold":
            return f"keep {spec.soc_frac:.0%} stored"
        if spec.kind == "local":
            return "use own solar power"
        each = spec.group_w is None and spec.battery_w != 0
        power_w = spec.battery_w if spec.group_w is None else spec.group_w
        if spec.kind == "charge":
            to = f" up to {spec.soc_frac:.0%}"
            told = "charge" if not power_w else _power(power_w, "rest")
            return told + (" each" if each else "") + to + (" from the sun" if spec.solar_only else "")
        return _power(power_w, "rest") + (" each" if each else "")
    if isinstance(spec, PriceSpec):
        return "plan by prices"
    if isinstance(spec, DroopSpec):
        return "answer the frequency"
    assert isinstance(spec, EnvelopeSpec)
    return f"import at most {spec.import_limit_w / _W_PER_KW:,.1f} kW, export {spec.export_limit_w / _W_PER_KW:,.1f} kW"


def _power(power_w: int, nothing: str) -> str:
    if not power_w:
        return nothing
    return f"{'charge' if power_w > 0 else 'discharge'} {abs(power_w) / _W_PER_KW:,.1f} kW"


def _name(group: str, fleet: Fleet) -> str:
    number = fleet.group_number.get(GroupId(group))
    return group if number is None else fleet.groups[number].name
