"""Clearing in merit order: what a unit is dispatched when its own bands move the price, among the offers of others.

Load that is bid for counts as demand plus an offer to forgo it at its price, so one ascending stack serves both sides. The
price is that of the last offer needed; offers at that price share what is left in proportion. All in whole watts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.market.bids import BandInterval
from shoal.market.clearing import watts

Side = tuple[tuple[float, ...], Mapping[int, BandInterval]]
"""The band prices of a side, and its intervals by their start."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stack:
    """What everybody else does in one interval.

    Attributes:
        price_per_mwh: N offers' prices, in any order.
        quantity_mw: N offers' quantities, never negative.
        demand_mw: The demand that has no price.

    Raises:
        InvalidInputError: The two differ in length, or a number is not finite or a quantity negative.
    """

    price_per_mwh: NDArray[np.float64]
    quantity_mw: NDArray[np.float64]
    demand_mw: float

    def __post_init__(self) -> None:
        if self.price_per_mwh.shape != self.quantity_mw.shape or self.price_per_mwh.ndim != 1:
            raise InvalidInputError(
                field="quantity_mw", value=self.quantity_mw.shape, fix="give one quantity for each price"
            )
        sound = np.isfinite(self.price_per_mwh).all() and np.isfinite(self.quantity_mw).all()
        if not sound or (self.quantity_mw < 0).any() or not np.isfinite(self.demand_mw):
            raise InvalidInputError(
                field="stack", value="numbers", fix="give finite numbers, quantities from 0 up"
            )


def stack_around(
    price_per_mwh: float,
    demand_mw: float,
    *,
    lot_mw: float,
    step_per_mwh: float,
    floor_per_mwh: float,
    cap_per_mwh: float,
) -> Stack:
    """Return a stack that clears at a price by itself, and a step away from it for each lot bought or sold.

    The offers ascend evenly around the price as far as floor and cap and the demand allow; beyond them lie one offer at the
    floor for the rest of the demand, and one of a lot at the cap.

    Raises:
        InvalidInputError: when lot, step or demand is not positive, or the price outside floor and cap.
    """
    for field, value in (("lot_mw", lot_mw), ("step_per_mwh", step_per_mwh), ("demand_mw", demand_mw)):
        if not value > 0:
            raise InvalidInputError(field=field, value=value, fix="give more than 0")
    if not floor_per_mwh <= price_per_mwh <= cap_per_mwh:
        fix = f"stay within {floor_per_mwh} to {cap_per_mwh}"
        raise InvalidInputError(field="price_per_mwh", value=price_per_mwh, fix=fix)
    # The lot that sets the price is the last one needed, so the offers up to it add up to the demand.
    below_count = min(int((price_per_mwh - floor_per_mwh) / step_per_mwh), int(demand_mw / lot_mw) - 1)
    below_count = max(below_count, 0)
    above_count = int((cap_per_mwh - price_per_mwh) / step_per_mwh)
    steps = np.arange(-below_count, above_count + 1)
    quantity_mw = np.full(len(steps), lot_mw)
    quantity_mw[below_count] = min(lot_mw, demand_mw)
    rest_mw = max(demand_mw - float(quantity_mw[: below_count + 1].sum()), 0.0)
    return Stack(
        price_per_mwh=np.concatenate(([floor_per_mwh], price_per_mwh + steps * step_per_mwh, [cap_per_mwh])),
        quantity_mw=np.concatenate(([rest_mw], quantity_mw, [lot_mw])),
        demand_mw=demand_mw,
    )


def cleared_against(
    sides: Mapping[str, Side],
    start_ns: int,
    stack: Stack,
    *,
    floor_per_mwh: float,
    cap_per_mwh: float,
) -> tuple[int, float]:
    """Return a unit's dispatch in one interval, load-positive, and the price.

    Args:
        sides: The unit's ``gen`` and ``load`` bands; a side may be absent.
        start_ns: The interval.
        stack: The others.
        floor_per_mwh: The price when nothing is needed.
        cap_per_mwh: The price when not all demand can be met.
    """
    gen_price, gen_w = _band_watts(sides.get("gen"), start_ns, dearest_first=False)
    load_price, load_w = _band_watts(sides.get("load"), start_ns, dearest_first=True)
    price = np.concatenate((stack.price_per_mwh, gen_price, load_price))
    power_w = np.concatenate((np.rint(stack.quantity_mw * 1e6).astype(np.int64), gen_w, load_w))
    own_load_w = int(load_w.sum())
    needed_w = watts(stack.demand_mw) + own_load_w
    first_own = len(stack.price_per_mwh)
    own_of = np.arange(len(price)) >= first_own
    if needed_w <= 0:
        return own_load_w, floor_per_mwh
    order = np.argsort(price, kind="stable")
    reached = np.cumsum(power_w[order])
    if not len(order) or reached[-1] < needed_w:
        return own_load_w - int(power_w[own_of].sum()), cap_per_mwh
    marginal = float(price[order][int(np.searchsorted(reached, needed_w))])
    below, at = price < marginal, price == marginal
    left_w = needed_w - int(power_w[below].sum())
    own_w = int(power_w[below & own_of].sum())
    at_w = int(power_w[at].sum())
    if at_w:
        own_w += left_w * int(power_w[at & own_of].sum()) // at_w
    return own_load_w - own_w, min(max(marginal, floor_per_mwh), cap_per_mwh)


def _band_watts(
    side: Side | None, start_ns: int, *, dearest_first: bool
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the prices and watts of a side's bands; the availability is used up from the end that clears first."""
    if side is None or start_ns not in side[1]:
        return np.zeros(0), np.zeros(0, dtype=np.int64)
    band = side[1][start_ns]
    left_w = watts(band.max_avail_mw)
    power_w = [0] * len(side[0])
    numbers = range(len(side[0]))
    for number in reversed(numbers) if dearest_first else numbers:
        power_w[number] = min(left_w, watts(band.band_avail_mw[number]))
        left_w -= power_w[number]
    return np.array(side[0], dtype=np.float64), np.array(power_w, dtype=np.int64)
