"""Prices of the next day's 24 hours: experts trained every day, combined online, with quantiles that learn from misses.

A day has two steps, the same live and in a back-test. `train` takes what is known up to yesterday and may run any time
before the gate; `forecast` takes the day's exogenous forecasts and answers in milliseconds. Both return the state that
the next day starts from; nothing else is remembered. The default recipe is the same for every market.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.forecast import dayahead_experts as experts
from shoal.forecast.combine import CombineRecipe, CombineState, combine, learn, start_combining, weights_of
from shoal.forecast.conformal import (
    ConformalRecipe,
    ConformalState,
    Spread,
    learn_errors,
    spread_around,
    start_conforming,
)
from shoal.forecast.dayahead_features import HOURS, MarketDays
from shoal.forecast.dayahead_recipe import COMBINING, EXPERTS

MODEL: Final = "day-ahead-experts/2"
MIN_HISTORY_DAYS: Final = 35
WARM_UP_DAYS: Final = 182
"""Days forecast before the first one that counts, so that weights and quantiles have something to go by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayAheadRecipe:
    """Who is asked and how the answers become one.

    Attributes:
        experts: The experts, each with a name of its own.
        combining: How weights follow.
        conforming: How quantiles are laid.
    """

    experts: tuple[experts.Expert, ...] = EXPERTS
    combining: CombineRecipe = COMBINING
    conforming: ConformalRecipe = field(default_factory=ConformalRecipe)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pending:
    """What was said of a day whose prices have not come yet; `target_at` is the day's ordinal."""

    target_at: int
    expert_per_mwh: NDArray[np.float64]
    combined_per_mwh: NDArray[np.float64]
    spread: Spread


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DayAheadState:
    """All that is carried from day to day; `trained_at` is the ordinal of the day that the experts are ready for."""

    experts: tuple[experts.ExpertState, ...]
    combining: CombineState
    conforming: ConformalState
    pending: Pending | None
    trained_at: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DayAheadForecast:
    """What the 24 prices of a day may be.

    Attributes:
        day: The day.
        quantile_level: Q levels, ascending.
        quantile_per_mwh: 24 x Q prices, never falling along Q.
        central_per_mwh: 24 prices that have the least absolute error: what the experts agree on.
        expected_per_mwh: 24 means; above the central price where spikes are likely.
        expert_per_mwh: 24 x K prices of the experts.
        weight: 24 x K weights that they had.
    """

    day: date
    quantile_level: NDArray[np.float64]
    quantile_per_mwh: NDArray[np.float64]
    central_per_mwh: NDArray[np.float64]
    expected_per_mwh: NDArray[np.float64]
    expert_per_mwh: NDArray[np.float64]
    weight: NDArray[np.float64]


def train(recipe: DayAheadRecipe, state: DayAheadState | None, days: MarketDays) -> DayAheadState:
    """Return a state ready to forecast the day after the known ones.

    What was said of a day that is known by now is learned from; the experts are brought up to the newest day.

    Args:
        recipe: The recipe; the same as long as a state is carried on.
        state: What the day before left; None at the start.
        days: All known days, at least 35. Their last exogenous row is not read.

    Raises:
        InvalidInputError: when there are too few days, or the state is of another recipe.
    """
    if days.count < MIN_HISTORY_DAYS:
        raise InvalidInputError(
            field="days", value=days.count, fix=f"give at least {MIN_HISTORY_DAYS} days of prices"
        )
    if state is None:
        state = DayAheadState(
            experts=(None,) * len(recipe.experts),
            combining=start_combining(HOURS, len(recipe.experts)),
            conforming=start_conforming(recipe.conforming, HOURS),
            pending=None,
            trained_at=0,
        )
    if len(state.experts) != len(recipe.experts):
        raise InvalidInputError(field="state", value=len(state.experts), fix="start anew with another recipe")
    state = _learn(recipe, state, days)
    if state.trained_at == days.target_ordinal:
        return state
    trained = (
        experts.train(expert, one, days) for expert, one in zip(recipe.experts, state.experts, strict=True)
    )
    return replace(state, experts=tuple(trained), trained_at=days.target_ordinal)


def forecast(
    recipe: DayAheadRecipe, state: DayAheadState, days: MarketDays
) -> tuple[DayAheadForecast, DayAheadState]:
    """Return the forecast of the day after the known ones, and the state that remembers it until prices come.

    Raises:
        InvalidInputError: when the state was not trained for that day.
    """
    if state.trained_at != days.target_ordinal:
        raise InvalidInputError(field="state", value=state.trained_at, fix="train it on the same days first")
    said = np.stack(
        [
            experts.predict(expert, one, days)
            for expert, one in zip(recipe.experts, state.experts, strict=True)
        ],
        axis=1,
    )
    weight = weights_of(recipe.combining, state.combining)
    combined = combine(weight, said) + state.combining.correction_level
    spread = spread_around(recipe.conforming, state.conforming, combined, said.std(axis=1))
    pending = Pending(
        target_at=days.target_ordinal, expert_per_mwh=said, combined_per_mwh=combined, spread=spread
    )
    answer = DayAheadForecast(
        day=date.fromordinal(days.target_ordinal),
        quantile_level=np.asarray(recipe.conforming.level),
        quantile_per_mwh=spread.quantile,
        central_per_mwh=combined,
        expected_per_mwh=spread.mean,
        expert_per_mwh=said,
        weight=weight,
    )
    return answer, replace(state, pending=pending)


def replay(
    recipe: DayAheadRecipe, days: MarketDays, first_count: int, state: DayAheadState | None = None
) -> Iterator[tuple[DayAheadForecast, DayAheadState]]:
    """Yield forecast and state of each day from the one after the first `first_count` to the day to forecast.

    Each is made from `days.until(...)`: a later day is not even handed over.
    """
    for count in range(first_count, days.count + 1):
        known = days.until(count)
        state = train(recipe, state, known)
        answer, state = forecast(recipe, state, known)
        yield answer, state


def warm_up(recipe: DayAheadRecipe, days: MarketDays, *, warm_up_days: int = WARM_UP_DAYS) -> DayAheadState:
    """Return a state with weights and quantiles learned on the newest known days, as if it had run all along."""
    state: DayAheadState | None = None
    for count in range(max(MIN_HISTORY_DAYS, days.count - warm_up_days), days.count):
        known = days.until(count)
        state = train(recipe, state, known)
        _, state = forecast(recipe, state, known)
    return train(recipe, state, days)


def _learn(recipe: DayAheadRecipe, state: DayAheadState, days: MarketDays) -> DayAheadState:
    pending = state.pending
    if pending is None or pending.target_at >= days.target_ordinal:
        return state
    row = pending.target_at - days.first_day.toordinal()
    if row < 0:
        raise InvalidInputError(
            field="days", value=str(days.first_day), fix="give the days that were forecast"
        )
    observed = days.price_per_mwh[row]
    return replace(
        state,
        combining=learn(recipe.combining, state.combining, pending.expert_per_mwh, observed),
        conforming=learn_errors(
            recipe.conforming, state.conforming, pending.spread, pending.combined_per_mwh, observed
        ),
        pending=None,
    )
