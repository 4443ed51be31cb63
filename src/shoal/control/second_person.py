"""Four eyes: an order above a power is launched by one person and approved by another, whichever door it comes through.

What counts is the most that an order may move. Orders of one person that overlap in time and direction count together
unless somebody else approved them, so that nobody gets round the rule by cutting an order into pieces. What makes an order
smaller or shorter, or ends it, never needs anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from shoal.control.schedule import rows_of_order
from shoal.domain.errors import ShoalError
from shoal.domain.fleet import Fleet
from shoal.store.order_records import CallSpec, EventSpec, Order, SetPointSpec
from shoal.store.orders import Orders
from shoal.store.proposals import Proposals

_W_PER_KW: Final = 1_000.0


class SecondNeededError(ShoalError):
    """An order needs a second person."""

    def __init__(self, *, power_kw: float, above_kw: float, others: Sequence[str]) -> None:
        with_others = f" together with {', '.join(others)}, which you launched" if others else ""
        super().__init__(
            f"{power_kw:,.0f} kW{with_others} is above {above_kw:,.0f} kW: a second person has to approve it"
        )
        self.power_kw = power_kw
        self.above_kw = above_kw
        self.others = tuple(others)
        self.fix = (
            "propose it (POST /api/dispatch/proposals); somebody else with the right to operate approves it"
        )


class SecondPerson:
    """The rule, with what it needs to know.

    Args:
        orders: Where orders are kept.
        proposals: Where approvals are.
        fleet: Whom an order can mean.
        above_kw: Orders above this power need a second person; 0 for none.
    """

    def __init__(self, orders: Orders, proposals: Proposals, fleet: Fleet, *, above_kw: float = 0.0) -> None:
        self._orders = orders
        self._proposals = proposals
        self._fleet = fleet
        self._above_kw = above_kw

    @property
    def above_kw(self) -> float | None:
        """Above which power a second person is needed; None where none ever is."""
        return self._above_kw if self._above_kw > 0 else None

    def check(self, order: Order, held: Order | None = None) -> None:
        """Refuse an order that its asker may not launch alone. Blocks.

        Args:
            order: As it would be.
            held: As it is, of a change.

        Raises:
            SecondNeededError: when somebody else has to approve it.
        """
        power_kw, others = self.weigh(order, held)
        if self.above_kw is not None and power_kw > self.above_kw:
            raise SecondNeededError(power_kw=power_kw, above_kw=self.above_kw, others=others)

    def weigh(self, order: Order, held: Order | None = None) -> tuple[float, list[str]]:
        """Return the power that counts, without direction, and which other orders of the same person are in it. Blocks.

        It is 0 for a change that makes nothing larger or longer.
        """
        power_w = most_w(order, self._fleet)
        if power_w == 0 or (held is not None and is_less(order, held, self._fleet)):
            return 0.0, []
        own = [
            one
            for one in self._orders.orders(after_ns=order.start_ns)
            if one.order_id != order.order_id and one.by == order.by and one.start_ns < order.end_ns
        ]
        approved = self._proposals.approved_results("dispatch", [one.order_id for one in own])
        total_w, names = abs(power_w), []
        for one in own:
            other_w = most_w(one, self._fleet)
            if one.order_id not in approved and other_w * power_w > 0:
                total_w += abs(other_w)
                names.append(one.order_id)
        return total_w / _W_PER_KW, names


def most_w(order: Order, fleet: Fleet) -> int:
    """Return the most power that an order may move, charging positive; 0 for what asks for none."""
    spec = order.spec
    if isinstance(spec, SetPointSpec):
        return spec.power_w
    if isinstance(spec, CallSpec):
        return -sum(one.target_w for one in spec.targets)
    if not isinstance(spec, EventSpec) or spec.kind not in ("power", "charge"):
        return 0
    if spec.group_w is not None:
        return spec.group_w
    rows = rows_of_order(order, fleet)
    if spec.battery_w == 0 and spec.kind == "charge":
        return int(np.floor(fleet.nameplate["charge_limit_kw"][rows] * _W_PER_KW).sum())
    return spec.battery_w * len(rows)


def is_less(order: Order, held: Order, fleet: Fleet) -> bool:
    """Whether a change makes an order smaller or shorter, and nothing of it larger, longer or somebody else's."""
    if order.end_ns > held.end_ns or order.start_ns < held.start_ns:
        return False
    if isinstance(order.spec, CallSpec) and isinstance(held.spec, CallSpec):
        before = {one.group: one.target_w for one in held.spec.targets}
        return all(one.target_w <= before.get(one.group, -1) for one in order.spec.targets)
    if order.scope != held.scope or order.program != held.program:
        return False
    now_w, before_w = most_w(order, fleet), most_w(held, fleet)
    return abs(now_w) <= abs(before_w) and now_w * before_w >= 0
