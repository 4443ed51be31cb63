"""Forecasters of day-ahead prices behind the one protocol: what a decision plans on, and recipes that a job trains and judges.

Without a recipe there is nothing to learn: the forecast is made from the panel alone, as a decision makes it. What a recipe
has learned of each series is in the model, as bytes; days that came since are learned on the way, one after the other, as
they would have been live.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, time
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.forecast.dayahead import DayAheadRecipe, DayAheadState, forecast, train, warm_up
from shoal.forecast.dayahead_state import decode_state, digest_of, encode_state
from shoal.forecast.price import QUANTILE_LEVELS
from shoal.forecast.prices import KIND, LEAST_LIKE_DAYS, MODEL, check_known, price_outlook, taken_for_known
from shoal.forecast.prices_days import Curve, DayClock, PriceDays, on_intervals, price_days
from shoal.forecast.prices_like_days import followed
from shoal.forecast.protocol import Forecast, Horizon, Model, Panel, check_fits, packed, sealed

WARM_UP_DAYS: Final = 91
"""Days that a recipe is run over before it is first kept, for its weights and quantiles."""
_MOST_DAYS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceForecaster:
    """Prices of the next days, each series from its own past and the panel's inputs of its place.

    Attributes:
        recipe: Experts that are trained, and how they become one; None is what a bid is decided with.
        horizon_days: How many days it forecasts, at most 3.
        day_start: Local time at which the market's days begin.
    """

    recipe: DayAheadRecipe | None = None
    horizon_days: int = 2
    day_start: time = time(0)

    def __post_init__(self) -> None:
        if not 1 <= self.horizon_days <= _MOST_DAYS:
            raise InvalidInputError(
                field="horizon_days", value=self.horizon_days, fix=f"give 1 to {_MOST_DAYS}"
            )

    @property
    def kind(self) -> str:
        """Name and number of the recipe."""
        return KIND if self.recipe is None else "price-experts/1"

    @property
    def quantile_level(self) -> tuple[float, ...]:
        """Its levels."""
        return QUANTILE_LEVELS if self.recipe is None else self.recipe.conforming.level

    @property
    def recipe_digest(self) -> str:
        """What tells one recipe from another."""
        return MODEL if self.recipe is None else digest_of(self.recipe)

    def fit(self, history: Panel, *, seed: int = 0) -> Model:
        """Return a model trained on nothing but the history; a recipe's draws have seeds of their own."""
        states = self._states(history, None)
        bare = Model(
            kind=self.kind,
            names=history.names,
            from_ns=history.first_ns,
            to_ns=history.end_ns,
            step_ns=history.step_ns,
            lead_steps=0,
            # a day with a clock change has an hour more
            horizon_steps=self.horizon_days * history.steps_per_day + history.steps_per_day // 24,
            quantile_level=self.quantile_level,
            features=("prices", *sorted(history.inputs)),
            seed=seed,
            settings={"recipe": self.recipe_digest},
            scores={},
            arrays=packed(states),
        )
        return sealed(bare)

    def adapt(self, model: Model, recent: Panel) -> Model:
        """Return the model with the days of `recent` learned that it has not seen yet."""
        self._check(model, recent, model.horizon)
        if recent.end_ns <= model.to_ns:
            return model
        states = self._states(recent, model)
        return sealed(msgspec.structs.replace(model, to_ns=recent.end_ns, arrays=packed(states)))

    def predict(self, model: Model, recent: Panel, horizon: Horizon) -> Forecast:
        """Return what comes after the last step of `recent`, which reaches back as far as the model's history.

        Raises:
            InvalidInputError: when model, panel and horizon do not fit, or a series has no whole day of prices.
        """
        self._check(model, recent, horizon)
        first_ns = recent.end_ns + horizon.lead_steps * recent.step_ns
        start_ns = first_ns + np.arange(horizon.steps, dtype=np.int64) * recent.step_ns
        count, level = len(recent.names), np.asarray(model.quantile_level)
        quantile = np.empty((count, horizon.steps, len(level)))
        mean = np.empty((count, horizon.steps))
        for row, (name, known) in enumerate(self._days_of_all(recent, int(start_ns[-1]))):
            central, spread = self._told(model, name, known)
            clock = self._clock(recent)
            for into, values in ((mean, central), (quantile, spread)):
                into[row] = on_intervals(start_ns, clock=clock, first_day=known.first_target, level=values)
        return Forecast(
            start_ns=start_ns,
            quantile_level=level,
            quantile=quantile,
            mean=mean,
            issued_ns=recent.end_ns,
            version=model.version,
        )

    def _check(self, model: Model, recent: Panel, horizon: Horizon) -> None:
        check_fits(self.kind, model, recent, horizon)
        if model.settings.get("recipe") != self.recipe_digest:
            raise InvalidInputError(
                field="model", value=model.version, fix="use the recipe that it was trained with"
            )
        unknown = sorted(set(recent.names) - set(model.names))
        if unknown:
            raise InvalidInputError(field="names", value=unknown[0], fix="train a model with this series")

    def _clock(self, panel: Panel) -> DayClock:
        return DayClock(zone=panel.zone, day_start=self.day_start)

    def _days_of_all(self, panel: Panel, last_ns: int | None = None) -> Iterator[tuple[str, PriceDays]]:
        """Yield each series as days of 24 hours, with the days to forecast up to the one of an instant."""
        clock = self._clock(panel)
        first = _day_of(clock, panel.end_ns, panel.step_ns)
        last = first if last_ns is None else _day_of(clock, last_ns, panel.step_ns)
        place = panel.place_index
        for row, name in enumerate(panel.names):
            inputs = {
                key: _curve(panel, table[0 if place is None else int(place[row])])
                for key, table in panel.inputs.items()
            }
            known = price_days(
                _curve(panel, panel.value[row]),
                clock=clock,
                target=first,
                target_days=last.toordinal() - first.toordinal() + 1,
                exogenous=inputs,
            )
            yield name, known

    def _states(self, panel: Panel, model: Model | None) -> dict[str, NDArray[np.uint8]]:
        """Return what the recipe has learned of each series with enough days, as bytes."""
        states: dict[str, NDArray[np.uint8]] = {}
        if self.recipe is None:
            return states
        for name, known in self._days_of_all(panel):
            if known.days.count >= LEAST_LIKE_DAYS:
                state = self._state(self.recipe, model, name, known)
                states[_key(name, known)] = np.frombuffer(encode_state(self.recipe, state), dtype=np.uint8)
        return states

    def _state(
        self, recipe: DayAheadRecipe, model: Model | None, name: str, known: PriceDays
    ) -> DayAheadState:
        """Return what the model knows of a series, caught up with its days; warmed up on these when it knows nothing."""
        days = known.days
        held = None if model is None else model.arrays.get(_key(name, known))
        if held is None:
            return warm_up(recipe, days, warm_up_days=WARM_UP_DAYS)
        state = decode_state(recipe, held.data)
        count = state.trained_at - days.first_day.toordinal()
        if not LEAST_LIKE_DAYS <= count <= days.count:
            return warm_up(recipe, days, warm_up_days=WARM_UP_DAYS)
        for so_far in range(count, days.count):
            _, state = forecast(recipe, state, days.until(so_far))
            state = train(recipe, state, days.until(so_far + 1))
        return state

    def _told(
        self, model: Model, name: str, known: PriceDays
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return F x 24 central prices and F x 24 x Q quantiles of the days to forecast."""
        tail_days = check_known(known)
        if self.recipe is None or known.days.count < LEAST_LIKE_DAYS:
            plain = price_outlook(known, quantile_level=self.quantile_level)
            return plain.central_per_mwh, plain.quantile_per_mwh
        days, state = known.days, self._state(self.recipe, model, name, known)
        central, quantile = [], []
        for row in range(len(known.ahead_level)):
            answer, _ = forecast(self.recipe, state, days)
            spread = answer.quantile_per_mwh - answer.central_per_mwh[:, None]
            central.append(answer.central_per_mwh)
            quantile.append(answer.central_per_mwh[:, None] + np.sqrt(row + 1.0) * spread)
            if row + 1 < len(known.ahead_level):
                days = followed(days, taken_for_known(known, row, central[row]), known.ahead_level[row + 1])
                # a forecast that is taken for known is nothing to learn errors from
                state = train(self.recipe, replace(state, pending=None), days)
        return np.stack(central[tail_days:]), np.stack(quantile[tail_days:])


def _key(name: str, known: PriceDays) -> str:
    """Return under which name a state is kept: what it learned from one set of inputs says nothing of another."""
    return "|".join((name, *known.exogenous))


def _curve(panel: Panel, value: NDArray[np.float64]) -> Curve:
    start_ns = panel.first_ns + np.arange(len(value), dtype=np.int64) * panel.step_ns
    return Curve(start_ns=start_ns, end_ns=start_ns + panel.step_ns, value=value)


def _day_of(clock: DayClock, t_ns: int, step_ns: int) -> date:
    """Return the market's day of an instant on a panel's grid."""
    step_ns = min(step_ns, int(np.gcd(step_ns, 15 * 60 * 1_000_000_000)))
    day, _ = clock.days_and_hours(t_ns, step_ns, 1)
    return date.fromordinal(int(day[0]))
