"""The forecaster of prices behind the protocol: what it learned travels as bytes, and days that came since are caught up."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, local_midnight_ns
from shoal.forecast.combine import CombineRecipe
from shoal.forecast.dayahead import DayAheadRecipe
from shoal.forecast.dayahead_experts import LearExpert, NaiveExpert
from shoal.forecast.prices_model import PriceForecaster
from shoal.forecast.protocol import Horizon, Panel, decode_model, encode_model
from tests.unit.forecast.test_prices import made_up

SMALL = DayAheadRecipe(
    experts=(NaiveExpert(name="week", lag_days=7), LearExpert(name="lear", window_days=56)),
    combining=CombineRecipe(),
)

ZONE = "Europe/Berlin"
FIRST = date(2024, 8, 1)
DAY = Horizon(steps=24, step_ns=NS_PER_HOUR)


def midnight_ns(day: date) -> int:
    return local_midnight_ns(day, ZoneInfo(ZONE))


def panel(last: date, *, names: tuple[str, ...] = ("north", "south"), step_ns: int = NS_PER_HOUR) -> Panel:
    """Return a panel of hours from the first day up to the begin of a day."""
    count = (midnight_ns(last) - midnight_ns(FIRST)) // NS_PER_HOUR
    rows = [made_up(400, seed=row).ravel()[:count] for row in range(len(names))]
    value = np.repeat(np.stack(rows), NS_PER_HOUR // step_ns, axis=1)
    return Panel(names=names, first_ns=midnight_ns(FIRST), step_ns=step_ns, value=value, zone=ZONE)


@pytest.mark.parametrize("recipe", [None, SMALL], ids=["plain", "trained"])
def test_model_forecasts_the_same_from_its_bytes(recipe: DayAheadRecipe | None) -> None:
    forecaster = PriceForecaster(recipe=recipe)
    history = panel(date(2024, 10, 20))
    model = forecaster.fit(history)
    told = forecaster.predict(model, history, DAY)
    again = forecaster.predict(decode_model(encode_model(model)), history, DAY)
    assert told.quantile.shape == (2, 24, len(forecaster.quantile_level))
    assert told.quantile.tobytes() == again.quantile.tobytes()
    assert forecaster.fit(history).version == model.version
    assert told.version == model.version
    assert (np.diff(told.quantile, axis=2) >= 0.0).all()


@pytest.mark.parametrize("step_ns", [NS_PER_HOUR, 15 * NS_PER_MINUTE])
def test_day_of_a_clock_change_has_its_true_hours(step_ns: int) -> None:
    changed = date(2024, 10, 27)
    forecaster = PriceForecaster()
    history = panel(changed, names=("north",), step_ns=step_ns)
    model = forecaster.fit(history)
    steps = (midnight_ns(changed + timedelta(days=1)) - midnight_ns(changed)) // step_ns
    assert steps == 25 * NS_PER_HOUR // step_ns
    told = forecaster.predict(model, history, Horizon(steps=steps, step_ns=step_ns))
    hours = told.mean[0, :: NS_PER_HOUR // step_ns]
    assert hours[2] == hours[3]  # the hour that comes twice
    assert len(set(hours.tolist())) == 24
    assert told.start_ns[0] == history.end_ns


@pytest.mark.parametrize("recipe", [None, SMALL], ids=["plain", "trained"])
def test_days_that_came_since_are_caught_up_as_if_learned_live(recipe: DayAheadRecipe | None) -> None:
    forecaster = PriceForecaster(recipe=recipe, horizon_days=1)
    first, later = panel(date(2024, 10, 10)), panel(date(2024, 10, 15))
    model = forecaster.fit(first)
    adapted = forecaster.adapt(model, later)
    assert adapted.to_ns == later.end_ns
    assert adapted.version != model.version
    caught_up = forecaster.predict(model, later, DAY)
    told = forecaster.predict(adapted, later, DAY)
    assert caught_up.quantile.tobytes() == told.quantile.tobytes()
    assert forecaster.adapt(adapted, first) is adapted


def test_other_recipes_have_models_of_their_own() -> None:
    forecaster = PriceForecaster(recipe=SMALL)
    history = panel(date(2024, 10, 10), names=("north",))
    model = forecaster.fit(history)
    told = forecaster.predict(model, history, DAY)
    assert told.quantile.shape == (1, 24, 99)
    with pytest.raises(InvalidInputError, match="price-days"):
        PriceForecaster().predict(model, history, DAY)
    other = replace(SMALL, experts=SMALL.experts[:1])
    with pytest.raises(InvalidInputError, match="recipe"):
        PriceForecaster(recipe=other).predict(model, history, DAY)


def test_young_series_is_forecast_without_a_state() -> None:
    forecaster = PriceForecaster()
    history = panel(FIRST + timedelta(days=10))
    model = forecaster.fit(history)
    assert model.arrays == {}
    assert np.isfinite(forecaster.predict(model, history, DAY).quantile).all()
    with pytest.raises(InvalidInputError, match="this series"):
        forecaster.predict(model, panel(FIRST + timedelta(days=10), names=("west",)), DAY)
    with pytest.raises(InvalidInputError, match="horizon"):
        forecaster.predict(model, history, Horizon(steps=80, step_ns=NS_PER_HOUR))
    with pytest.raises(InvalidInputError):
        PriceForecaster(horizon_days=4)
