"""How the price of imbalance moves, as a Markov chain of what is known when a position has to be notified.

The price of a half-hour is what that half-hour of the day usually costs, and a departure from it. What the newest prices (and
the imbalance of the system, where it is known) say of the departure at delivery is one number, sorted into states by its
quantiles. Between gate and delivery the price cannot be answered to, so only its mean in each state counts; between one gate
and the next the state moves on, and a later position can be another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise.markov import MarkovPrices

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SLOTS: Final = 48
STATES: Final = 7
LEAST_DAYS: Final = 7
_RECENCY_DAYS: Final = 28.0
_SMOOTH_SLOTS: Final = 2.5
"""What a half-hour costs is known no better than so: neighbours are averaged in, or chance is traded for a shape."""
_MOST_DEPARTURE: Final = 8.0
"""Departures are cut off at so many times their mean size: a spike of thousands says little about the next."""
_PRIOR_COUNT: Final = 4.0
_RIDGE: Final = 10.0
_LOW, _HIGH = 0.1, 0.9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImbalancePrices:
    """Prices of imbalance, so many half-hours after the newest that is known.

    Attributes:
        shape_per_mwh: What each half-hour of the day usually costs, shape (48,).
        mean_per_mwh: Mean departure in each state, shape (Z,).
        low_per_mwh: Departure that is undercut in a tenth of the cases, shape (Z,).
        high_per_mwh: Departure that is exceeded in a tenth.
        transition: Z x Z chances from one gate's state to the next one's; rows sum to one.
        state_number: The state now.
    """

    shape_per_mwh: Floats
    mean_per_mwh: Floats
    low_per_mwh: Floats
    high_per_mwh: Floats
    transition: Floats
    state_number: int

    def markov(self) -> MarkovPrices:
        """Return the chain for the programme: one outcome in each state, its mean."""
        states = len(self.mean_per_mwh)
        return MarkovPrices(
            price_per_mwh=(self.shape_per_mwh[:, None] + self.mean_per_mwh[None, :])[:, :, None],
            chance_frac=np.ones((SLOTS, states, 1)),
            next_position=np.broadcast_to(np.arange(states), (states, 1, states)).copy(),
            next_chance_frac=self.transition[:, None, :].copy(),
        )

    def chances(self, steps: int) -> Floats:
        """Return the chances of the states so many gates from now, shape (Z,)."""
        now = np.zeros(len(self.mean_per_mwh))
        now[self.state_number] = 1.0
        moved: Floats = now @ np.linalg.matrix_power(self.transition, steps)
        return moved


def usual_shape(price_per_mwh: Floats, slot_number: Ints, age_days: Floats) -> Floats:
    """Return what each half-hour of the day costs in the mean, newer days counting more; NaN prices do not count.

    Args:
        price_per_mwh: H prices.
        slot_number: H numbers of their half-hours in the local day.
        age_days: H ages.
    """
    known = np.isfinite(price_per_mwh)
    weight = np.where(known, np.exp(-age_days / _RECENCY_DAYS), 0.0)
    value = np.where(known, price_per_mwh, 0.0)
    total = np.bincount(slot_number, weights=weight * value, minlength=SLOTS)
    weights = np.bincount(slot_number, weights=weight, minlength=SLOTS)
    overall = float(total.sum() / weights.sum()) if weights.sum() > 0 else 0.0
    return _smooth(np.divide(total, weights, out=np.full(SLOTS, overall), where=weights > 0))


def middle_shape(price_per_mwh: Floats, slot_number: Ints) -> Floats:
    """Return the median price of each half-hour of the day, that of all where one was never known; one spike moves nothing.

    Raises:
        InvalidInputError: when no price is known.
    """
    known = np.isfinite(price_per_mwh)
    if not known.any():
        raise InvalidInputError(field="price history", value="nothing", fix="give prices")
    price, slot = price_per_mwh[known], slot_number[known]
    overall = float(np.median(price))
    medians = [float(np.median(price[slot == k])) if (slot == k).any() else overall for k in range(SLOTS)]
    return _smooth(np.array(medians))


def _smooth(shape: Floats) -> Floats:
    """Return a day's shape with neighbours averaged in, round the clock."""
    away = np.arange(SLOTS)
    away = np.minimum(away, SLOTS - away)
    weight = np.exp(-0.5 * (away / _SMOOTH_SLOTS) ** 2)
    weight /= weight.sum()
    return np.array([float(np.roll(weight, k) @ shape) for k in range(SLOTS)])


def fit_prices(
    price_per_mwh: Floats, volume_mwh: Floats, slot_number: Ints, *, lag_steps: int
) -> ImbalancePrices:
    """Return the chain from the past on a regular grid of half-hours, the newest price last.

    Args:
        price_per_mwh: H prices, NaN where unknown; the last one is known.
        volume_mwh: H net imbalances of the system, NaN where unknown.
        slot_number: H numbers of the half-hours in their local days.
        lag_steps: How many half-hours after the newest price delivery begins, >= 1.

    Raises:
        InvalidInputError: when fewer than seven days of prices are known.
    """
    known = np.isfinite(price_per_mwh)
    if int(known.sum()) < LEAST_DAYS * SLOTS:
        raise InvalidInputError(
            field="price history",
            value=f"{int(known.sum())} half-hours",
            fix=f"{LEAST_DAYS} days are needed",
        )
    count = len(price_per_mwh)
    age_days = (count - 1 - np.arange(count)) / SLOTS
    shape = usual_shape(price_per_mwh, slot_number, age_days)
    departure = price_per_mwh - shape[slot_number]
    size = max(float(np.abs(departure[known]).mean()), 1.0)
    u = np.clip(departure / size, -_MOST_DEPARTURE, _MOST_DEPARTURE)
    seen = _told(u, volume_mwh)
    ahead = np.full(count, np.nan)
    if lag_steps < count:
        ahead[:-lag_steps] = u[lag_steps:]
    both = np.isfinite(ahead) & known
    if int(both.sum()) < SLOTS:
        raise InvalidInputError(field="price history", value="scattered", fix="give consecutive days")
    rows = seen[both]
    weights = np.linalg.solve(rows.T @ rows + _RIDGE * np.eye(rows.shape[1]), rows.T @ ahead[both])
    index = seen @ weights
    edges = np.quantile(index[both], np.linspace(0.0, 1.0, STATES + 1)[1:-1])
    state = np.searchsorted(edges, index, side="right").astype(np.int64)
    mean, low, high = np.zeros(STATES), np.zeros(STATES), np.zeros(STATES)
    overall = float(ahead[both].mean())
    for z in range(STATES):
        those = ahead[both & (state == z)]
        mean[z] = (float(those.sum()) + _PRIOR_COUNT * overall) / (len(those) + _PRIOR_COUNT)
        low[z], high[z] = np.quantile(those, [_LOW, _HIGH]) if len(those) else (mean[z], mean[z])
    pair = known[:-1] & known[1:]
    moves = np.zeros((STATES, STATES))
    np.add.at(moves, (state[:-1][pair], state[1:][pair]), 1.0)
    at_large = np.bincount(state[known], minlength=STATES) / float(known.sum())
    moves += _PRIOR_COUNT * at_large[None, :]
    return ImbalancePrices(
        shape_per_mwh=shape,
        mean_per_mwh=mean * size,
        low_per_mwh=low * size,
        high_per_mwh=high * size,
        transition=moves / moves.sum(axis=1, keepdims=True),
        state_number=int(state[-1]),
    )


def _told(u: Floats, volume_mwh: Floats) -> Floats:
    """Return H x 4 of what is known at each instant: the departure, the one before, the imbalance, and one."""
    filled = np.where(np.isfinite(u), u, 0.0)
    before = np.append(0.0, filled[:-1])
    there = np.isfinite(volume_mwh)
    spread = max(float(np.abs(volume_mwh[there]).mean()), 1.0) if there.any() else 1.0
    volume = np.clip(np.where(there, volume_mwh, 0.0) / spread, -_MOST_DEPARTURE, _MOST_DEPARTURE)
    return np.stack([filled, before, volume, np.ones(len(u))], axis=1)
