"""What stored energy is worth when the price is a Markov chain, and the offer that follows from it.

In each state an interval has a few possible outcomes, each with a price and with the states that may follow. The move is
made in answer to the price, as a band offer is dispatched; the offer itself is made before. What is kept is worth what
the states that may follow say, so a spike that may come holds energy back, and one that is here sells it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise._inputs import column, number, whole_column
from shoal.optimise._markov_kernel import induct, offer_moves
from shoal.optimise.storage import KWH_PER_MWH, Storage

DEFAULT_CELLS: Final = 40
NEVER_PER_KWH: Final = -1e9
"""What a move that is not allowed is worth: finite, so that a chance of nothing times it is nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MarkovPrices:
    """How the price moves: S slots of a cycle, Z states, O outcomes of an interval, C ways on from each.

    Attributes:
        price_per_mwh: S x Z x O prices.
        chance_frac: S x Z x O chances of the outcomes; each state's sum to one.
        next_position: Z x O x C states that may follow an outcome.
        next_chance_frac: Z x O x C chances of these; each outcome's sum to one.

    Raises:
        InvalidInputError: A shape does not fit, a price is not finite, a chance is negative or its row does not sum to one.
    """

    price_per_mwh: NDArray[np.float64]
    chance_frac: NDArray[np.float64]
    next_position: NDArray[np.int64]
    next_chance_frac: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.price_per_mwh.ndim != 3 or self.chance_frac.shape != self.price_per_mwh.shape:
            raise InvalidInputError(
                field="chance_frac", value=self.chance_frac.shape, fix="give S x Z x O, as prices"
            )
        _, states, outcomes = self.chance_frac.shape
        if self.next_position.ndim != 3 or self.next_position.shape[:2] != (states, outcomes):
            raise InvalidInputError(
                field="next_position", value=self.next_position.shape, fix=f"give {states} x {outcomes} x C"
            )
        if self.next_chance_frac.shape != self.next_position.shape:
            raise InvalidInputError(
                field="next_chance_frac",
                value=self.next_chance_frac.shape,
                fix="give one for each next state",
            )
        if not np.isfinite(self.price_per_mwh).all():
            raise InvalidInputError(field="price_per_mwh", value="not finite", fix="give finite prices")
        for name, rows in (("chance_frac", self.chance_frac), ("next_chance_frac", self.next_chance_frac)):
            if not (np.all(rows >= 0.0) and np.allclose(rows.sum(axis=-1), 1.0, rtol=0, atol=1e-9)):
                raise InvalidInputError(field=name, value="rows", fix="give chances that sum to one")
        if self.next_position.min() < 0 or self.next_position.max() >= states:
            raise InvalidInputError(
                field="next_position", value="out of range", fix=f"number states from 0 to {states - 1}"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MarkovPlan:
    """The worth of energy before each of K intervals, in every state.

    Attributes:
        storage: The storage; its initial energy plays no part.
        interval_h: Length of an interval, in hours.
        value_amount: K x Z x (M + 1) values of stored energy, in currency, on M cells from empty to full.
    """

    storage: Storage
    interval_h: float
    value_amount: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Levels:
    """What the price of one interval may be, as L levels that an offer can tell apart.

    Attributes:
        price_per_mwh: L prices, ascending.
        chance_frac: L chances.
        next_position: L x C states that may follow.
        next_chance_frac: L x C chances of these.
        sells: L - 1, whether a band to sell stands where levels meet.
        buys: L - 1, whether a band to buy stands there.
    """

    price_per_mwh: NDArray[np.float64]
    chance_frac: NDArray[np.float64]
    next_position: NDArray[np.int64]
    next_chance_frac: NDArray[np.float64]
    sells: NDArray[np.bool_]
    buys: NDArray[np.bool_]


def plan_markov(
    storage: Storage,
    prices: MarkovPrices,
    interval_h: float,
    *,
    slot_number: NDArray[np.int64],
    keep_steps: int,
    cells: int = DEFAULT_CELLS,
) -> MarkovPlan:
    """Return what energy is worth before each interval, by backward induction from the last.

    Args:
        storage: The storage; energy left at the end is worth its terminal value.
        prices: How the price moves.
        interval_h: Length of an interval, in hours.
        slot_number: T slots, of each interval to the end of the horizon.
        keep_steps: For how many intervals, from the first on, to keep the values; at most T.
        cells: How finely stored energy is divided.

    Raises:
        InvalidInputError: A number is out of range, or the storage holds no energy.
    """
    number("interval_h", interval_h, above=0.0)
    number("cells", cells, low=1)
    number("energy_capacity_kwh", storage.energy_capacity_kwh, above=0.0)
    slot = whole_column("slot_number", slot_number)
    number("keep_steps", keep_steps, low=1, high=len(slot))
    slots, states, _ = prices.chance_frac.shape
    if slot.min() < 0 or slot.max() >= slots:
        raise InvalidInputError(field="slot_number", value="out of range", fix=f"number slots below {slots}")
    cell_kwh = storage.energy_capacity_kwh / cells
    charge, discharge = _move_worth(storage, prices.price_per_mwh)
    up_kwh, down_kwh = _reach(storage, interval_h)
    terminal = np.linspace(0.0, storage.energy_capacity_kwh, cells + 1)
    terminal *= storage.terminal_value_per_mwh / KWH_PER_MWH
    value = np.empty((keep_steps, states, cells + 1))
    induct(
        charge * cell_kwh,
        discharge * cell_kwh,
        np.ascontiguousarray(prices.chance_frac),
        np.ascontiguousarray(prices.next_position),
        np.ascontiguousarray(prices.next_chance_frac),
        slot,
        up_kwh / cell_kwh,
        down_kwh / cell_kwh,
        np.ascontiguousarray(np.broadcast_to(terminal, (states, cells + 1))),
        value,
    )
    return MarkovPlan(storage=storage, interval_h=interval_h, value_amount=value)


def best_moves(
    plan: MarkovPlan, next_step_number: int, levels: Levels, energy_kwh: float
) -> tuple[NDArray[np.float64], float]:
    """Return the best offer of one interval, made before its price is known.

    Args:
        plan: The worth of energy.
        next_step_number: Which interval of the plan comes after the one that is bid for.
        levels: What its price may be.
        energy_kwh: Stored energy at its start.

    Returns:
        L releases of stored energy in kWh, one for each level that the price may turn out to have, charging
        negative and never falling with the price; and what they and the energy kept are worth, in currency.
    """
    storage = plan.storage
    price = column("price_per_mwh", levels.price_per_mwh)
    charge, discharge = _move_worth(storage, price)
    up_kwh, down_kwh = _reach(storage, plan.interval_h)
    value = plan.value_amount[next_step_number]
    release = np.empty(len(price))
    worth = offer_moves(
        charge,
        discharge,
        levels.chance_frac,
        levels.next_position,
        levels.next_chance_frac,
        value,
        levels.sells,
        levels.buys,
        storage.energy_capacity_kwh / (value.shape[1] - 1),
        min(up_kwh, max(storage.energy_capacity_kwh - energy_kwh, 0.0)),
        min(down_kwh, max(energy_kwh, 0.0)),
        energy_kwh,
        release,
    )
    return release, worth


def _reach(storage: Storage, interval_h: float) -> tuple[float, float]:
    """Return how much energy one interval can store and release, in kWh."""
    up_kwh = storage.charge_limit_kw * interval_h * storage.charge_efficiency_frac
    down_kwh = storage.discharge_limit_kw * interval_h / storage.discharge_efficiency_frac
    return min(up_kwh, storage.energy_capacity_kwh), min(down_kwh, storage.energy_capacity_kwh)


def _move_worth(
    storage: Storage, price_per_mwh: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what a stored kWh costs and a released one gains at each price.

    Where the price is so negative that storing and releasing at once would pay, only storing is left.
    """
    charge = price_per_mwh / (KWH_PER_MWH * storage.charge_efficiency_frac)
    discharge = (price_per_mwh - storage.throughput_cost_per_mwh) * (
        storage.discharge_efficiency_frac / KWH_PER_MWH
    )
    return charge, np.where(discharge > charge, NEVER_PER_KWH, discharge)
