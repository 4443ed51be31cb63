"""What goes into the scenario programme and what comes out: prices, reserve products, risk, offers.

Prices are per MWh for energy and per MW held for one hour for reserve. S scenarios, T intervals, P products, K buckets
of a day-ahead price grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise._inputs import column, number

Floats = NDArray[np.float64]
_WEIGHT_SLACK = 1e-9
# Less than this, in currency, is nothing: a share of it would say nothing.
_NO_AMOUNT = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class ReserveProduct:
    """A reserve that is paid for being held, and now and then called.

    Attributes:
        name: What the market calls it.
        direction: ``up`` is more discharge or less charge when called, ``down`` the reverse.
        duration_h: For how long all of it must be deliverable from the energy, or into the room, kept at either end
            of the interval, >= 0.
        call_frac: Share of what is held that is expected to be called, as energy over the interval, in [0, 1].
        limit_kw: The most that may be held in an interval; None for what the power allows.

    Raises:
        InvalidInputError: A field is out of its range.
    """

    name: str
    direction: Literal["up", "down"]
    duration_h: float
    call_frac: float = 0.0
    limit_kw: float | None = None

    def __post_init__(self) -> None:
        if self.direction not in ("up", "down"):
            raise InvalidInputError(field="direction", value=self.direction, fix="say up or down")
        number("duration_h", self.duration_h, low=0.0)
        number("call_frac", self.call_frac, low=0.0, high=1.0)
        if self.limit_kw is not None:
            number("limit_kw", self.limit_kw, low=0.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PriceScenarios:
    """What prices may come, each scenario with its weight.

    Attributes:
        real_time_per_mwh: Prices at which energy is settled in the end, shape (S, T).
        day_ahead_per_mwh: Prices of the day-ahead auction, shape (S, T); None where there is none.
        reserve_per_mw: Prices of reserve, per MW and hour held, shape (S, T, P); None without products.
        weights: Probability of each scenario, shape (S,), summing to 1; None when all are alike.

    Raises:
        InvalidInputError: A shape is wrong, or a number is not finite.
    """

    real_time_per_mwh: Floats
    day_ahead_per_mwh: Floats | None = None
    reserve_per_mw: Floats | None = None
    weights: Floats | None = None

    def __post_init__(self) -> None:
        shape = np.shape(self.real_time_per_mwh)
        if len(shape) != 2 or 0 in shape:
            raise InvalidInputError(
                field="real_time_per_mwh", value=f"shape {shape}", fix="give scenarios by intervals"
            )
        _finite("real_time_per_mwh", self.real_time_per_mwh, shape)
        if self.day_ahead_per_mwh is not None:
            _finite("day_ahead_per_mwh", self.day_ahead_per_mwh, shape)
        if self.reserve_per_mw is not None:
            products = (*np.shape(self.reserve_per_mw), 0, 0, 0)[2]
            _finite("reserve_per_mw", self.reserve_per_mw, (*shape, products))
        if self.weights is not None:
            total = float(column("weights", self.weights, length=shape[0], low=0.0).sum())
            number("sum of weights", total, low=1.0 - _WEIGHT_SLACK, high=1.0 + _WEIGHT_SLACK)

    @property
    def count(self) -> int:
        """How many scenarios there are."""
        return int(self.real_time_per_mwh.shape[0])

    @property
    def steps(self) -> int:
        """How many intervals there are."""
        return int(self.real_time_per_mwh.shape[1])

    def probability(self) -> Floats:
        """Return the probability of each scenario, shape (S,)."""
        if self.weights is None:
            return np.full(self.count, 1.0 / self.count)
        weights: Floats = np.asarray(self.weights, dtype=np.float64) / np.sum(self.weights)
        return weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """How much the worst outcomes count: ``(1 - weight) mean + weight CVaR``.

    Attributes:
        level: The tail is the worst ``1 - level`` of outcomes, in [0, 1).
        weight: Weight of the tail's mean, in [0, 1]; 0 is indifference to risk.

    Raises:
        InvalidInputError: A field is out of its range.
    """

    level: float = 0.9
    weight: float = 0.0

    def __post_init__(self) -> None:
        number("level", self.level, low=0.0, high=1.0 - 1e-9)
        number("weight", self.weight, low=0.0, high=1.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScenarioPlan:
    """Offers that are the same in every scenario, and what each scenario would make of them.

    Attributes:
        reserve_kw: What is held of each product, >= 0, shape (T, P).
        reserve_cost_per_mw: What holding one MW more for an hour costs (energy not traded, wear, energy called): the
            least price at which it is worth offering, shape (T, P).
        day_ahead_kw: Energy bought (positive) or sold (negative) when the day-ahead price is in a bucket of the grid,
            never rising with the price, shape (T, K); K is 0 where there is no auction.
        day_ahead_grid_per_mwh: Where the buckets meet; a price on an edge is in the upper one, shape (T, K - 1).
        value: What is maximised, ``(1 - weight) mean + weight CVaR``, in currency.
        value_bound: No offers are worth more than this in these scenarios, in currency; proved by multipliers.
        scenario_amount: What each scenario earns, in currency, shape (S,).
        mean_amount: Mean of it over the scenarios.
        tail_amount: Its mean over the worst ``1 - level``.
        charge_kw: Mean power drawn in each scenario and interval, >= 0, shape (S, T); calls of reserve not included.
        discharge_kw: Mean power delivered, >= 0; zero wherever `charge_kw` is not.
        energy_kwh: Stored energy at the boundaries, expected calls included, shape (S, T + 1).
        iterations: How many steps the method took.
    """

    reserve_kw: Floats
    reserve_cost_per_mw: Floats
    day_ahead_kw: Floats
    day_ahead_grid_per_mwh: Floats
    value: float
    value_bound: float
    scenario_amount: Floats
    mean_amount: float
    tail_amount: float
    charge_kw: Floats
    discharge_kw: Floats
    energy_kwh: Floats
    iterations: int

    @property
    def gap_frac(self) -> float:
        """How far the value may be from the best, as a share of the larger of value and bound."""
        size = max(abs(self.value), abs(self.value_bound))
        return (self.value_bound - self.value) / size if size > _NO_AMOUNT else 0.0


def tail_mean(amounts: Floats, probability: Floats, tail_frac: float) -> float:
    """Return the mean of the worst `tail_frac` of outcomes, the outcome on the edge by its share.

    Args:
        amounts: What each outcome earns.
        probability: Of each, summing to 1.
        tail_frac: Which share of the worst counts, in (0, 1].
    """
    order = np.argsort(amounts, kind="stable")
    taken = np.minimum(np.cumsum(probability[order]), tail_frac)
    shares = np.diff(taken, prepend=0.0)
    return float(shares @ amounts[order] / taken[-1])


def _finite(name: str, values: Floats, shape: tuple[int, ...]) -> None:
    if np.shape(values) != shape:
        raise InvalidInputError(field=name, value=f"shape {np.shape(values)}", fix=f"give the shape {shape}")
    if not np.isfinite(values).all():
        raise InvalidInputError(field=name, value="a number that is not finite", fix="give finite numbers")
