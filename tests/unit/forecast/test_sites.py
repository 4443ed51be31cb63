"""Forecasts of sites: what they learn, what they may look at, and what they do without data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR
from shoal.forecast.protocol import LEVELS, Horizon, Model, Panel, decode_model, encode_model
from shoal.forecast.sites import METHODS, Method, SiteForecaster
from shoal.forecast.sites_features import grid_of
from shoal.forecast.sites_local import described
from shoal.forecast.sites_score import SiteScores
from tests.unit.forecast.homes import DAY, FIRST_NS, HORIZON, forecaster, loads, panel, suns

LEVEL = np.array(LEVELS)
SITES, DAYS, TRAINED = 8, 130, 100


@pytest.fixture(scope="module")
def homes() -> Panel:
    return panel(loads(SITES, DAYS))


@pytest.fixture(scope="module")
def fitted(homes: Panel) -> dict[Method, Model]:
    past = homes.until(TRAINED * DAY)
    return {method: forecaster(method).fit(past, seed=1) for method in METHODS}


def walk(who: SiteForecaster, model: Model, whole: Panel, days: range) -> tuple[SiteScores, Model]:
    """Forecast day by day, learning from each, and score."""
    scores = SiteScores.none(len(whole.names), len(LEVEL))
    for day in days:
        known = whole.until(day * DAY, HORIZON)
        model = who.adapt(model, known)
        told = who.predict(model, known, HORIZON)
        observed = whole.value[:, day * DAY : (day + 1) * DAY]
        scores = scores.added(observed, told.quantile, LEVEL, least_width=np.full(len(whole.names), 0.02))
    return scores, model


def test_every_method_beats_the_naive_one_and_covers(homes: Panel, fitted: dict[Method, Model]) -> None:
    scored = {m: walk(forecaster(m), fitted[m], homes, range(TRAINED, DAYS))[0] for m in METHODS}
    naive = scored["naive"].scaled_mae()
    for method in ("local", "global", "adapted"):
        assert scored[method].scaled_mae() < 0.85 * naive, method
    best = min(scored["local"].scaled_mae(), scored["global"].scaled_mae())
    assert scored["adapted"].scaled_mae() < 1.02 * best
    for method in METHODS:
        wide, narrow = scored[method].coverage()[:2]
        assert abs(wide - 0.9) < 0.03, method
        assert abs(narrow - 0.8) < 0.04, method


def test_forecast_has_its_shape_and_order(homes: Panel, fitted: dict[Method, Model]) -> None:
    known = homes.until(TRAINED * DAY)
    for method in METHODS:
        told = forecaster(method).predict(fitted[method], known, HORIZON)
        assert told.quantile.shape == (SITES, DAY, len(LEVELS))
        assert told.mean.shape == (SITES, DAY)
        assert np.all(np.diff(told.quantile, axis=2) >= 0.0)
        assert np.all(told.quantile >= 0.0)
        assert told.start_ns[0] == known.end_ns == told.issued_ns
        assert told.version == fitted[method].version
        # the mean lies within the middle of the distribution
        assert np.mean((told.mean > told.quantile[:, :, 1]) & (told.mean < told.quantile[:, :, -2])) > 0.95


@pytest.mark.parametrize("method", METHODS)
def test_forecast_is_the_same_from_bytes_and_again(
    method: Method, homes: Panel, fitted: dict[Method, Model]
) -> None:
    past = homes.until(TRAINED * DAY)
    again = forecaster(method).fit(past, seed=1)
    assert encode_model(again) == encode_model(fitted[method])
    first = forecaster(method).predict(fitted[method], past, HORIZON)
    second = forecaster(method).predict(decode_model(encode_model(again)), past, HORIZON)
    assert first.quantile.tobytes() == second.quantile.tobytes()
    assert first.mean.tobytes() == second.mean.tobytes()


@pytest.mark.parametrize("method", METHODS)
def test_the_future_changes_nothing(method: Method, homes: Panel) -> None:
    """Fit, adaptation and forecast see the same bits whatever comes after the instant they stand at."""
    who = forecaster(method)
    at = TRAINED * DAY
    other = homes.value.copy()
    other[:, at:] = 1e6 + 7.0 * other[:, at:]
    changed = replace(homes, value=other)
    one, two = (who.fit(whole.until(at), seed=1) for whole in (homes, changed))
    assert one.version == two.version
    # an adaptation that was given more than it may look at: only days that ended are taken in
    ended = [who.adapt(one, whole.until(at + 2 * DAY).until(at)) for whole in (homes, changed)]
    assert ended[0].version == ended[1].version


@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris", "Australia/Lord_Howe"])
@pytest.mark.parametrize("lead_steps", [0, 14])
def test_features_read_nothing_at_or_after_their_origin(zone: str, lead_steps: int) -> None:
    """Teaching walks through one panel: what it reads at an origin is what was there, around clock changes as well."""
    horizon = Horizon(steps=24, step_ns=NS_PER_HOUR, lead_steps=lead_steps)
    inputs = {"degc": np.arange(310.0 * DAY)[None, :]}
    whole = replace(panel(loads(2, 300), inputs=inputs), zone=zone)
    prior_kw = np.ones(2)
    for origin in (5, 40, 90 * DAY, 90 * DAY + 7, 97 * DAY, 299 * DAY + 3 - lead_steps):
        spoilt = whole.value.copy()
        spoilt[:, origin:] = 1e9
        seen = []
        for value in (whole.value, spoilt):
            grid = grid_of(replace(whole, value=value), horizon, ("degc",), is_generation=False)
            x, scale = described(grid, prior_kw, np.arange(2), np.array([origin]))
            seen.append((x.tobytes(), scale.tobytes()))
        assert seen[0] == seen[1], origin


def test_adapting_in_one_go_is_adapting_day_by_day(homes: Panel, fitted: dict[Method, Model]) -> None:
    who = forecaster("adapted")
    at = TRAINED * DAY
    by_day = fitted["adapted"]
    for day in (1, 2, 3):
        by_day = who.adapt(by_day, homes.until(at + day * DAY))
    at_once = who.adapt(fitted["adapted"], homes.until(at + 3 * DAY))
    assert by_day.version == at_once.version
    assert who.adapt(at_once, homes.until(at + 3 * DAY)).version == at_once.version
    assert at_once.to_ns == homes.until(at + 3 * DAY).end_ns


def test_adapted_mix_follows_the_expert_that_is_right(homes: Panel) -> None:
    """A home whose evenings moved to the morning after training is better served by the features of the global model."""
    who = forecaster("adapted")
    model = who.fit(homes.until(TRAINED * DAY), seed=1)
    before = model.array("adapt_loss_scale")
    after = who.adapt(model, homes.until((TRAINED + 5) * DAY)).array("adapt_loss_scale")
    assert after.shape == before.shape
    assert np.all(after > 0.0)
    assert not np.array_equal(before, after)


@pytest.mark.parametrize("method", METHODS)
def test_new_home_is_forecast_from_its_first_day(
    method: Method, homes: Panel, fitted: dict[Method, Model]
) -> None:
    model = fitted[method]
    fresh = panel(loads(1, 30, seed=99))
    fresh = replace(fresh, names=("new",))
    for days in (0, 1, 3, 7):
        known = replace(
            fresh,
            value=np.concatenate((np.full((1, 40 * DAY), np.nan), fresh.value[:, : days * DAY]), axis=1),
        )
        told = forecaster(method).predict(model, known, HORIZON)
        assert np.all(np.isfinite(told.quantile)), days
        assert np.all(np.isfinite(told.mean)), days
        assert told.quantile[0, :, -1].max() > 0.0


def test_global_model_knows_the_shape_of_a_home_without_data(fitted: dict[Method, Model]) -> None:
    empty = replace(panel(np.full((1, 40 * DAY), np.nan)), names=("new",))
    told = forecaster("global").predict(fitted["global"], empty, HORIZON)
    median = told.quantile[0, :, len(LEVELS) // 2]
    assert 15 <= int(np.argmax(median)) <= 21
    assert median[18] > 2.0 * median[4]


def test_new_home_joins_by_adapting(homes: Panel, fitted: dict[Method, Model]) -> None:
    who = forecaster("adapted")
    model = fitted["adapted"]
    value = np.concatenate((homes.value, loads(1, DAYS, seed=5)))
    value[-1, : (TRAINED - 2) * DAY] = np.nan
    grown = replace(homes, names=(*homes.names, "new"), value=value)
    joined = who.adapt(model, grown.until((TRAINED + 4) * DAY))
    assert joined.names == (*model.names, "new")
    alone = who.adapt(model, homes.until((TRAINED + 4) * DAY))
    told = who.predict(joined, grown.until((TRAINED + 4) * DAY), HORIZON)
    assert np.all(np.isfinite(told.quantile))
    assert len(joined.array("adapt_loss_scale")) == len(alone.array("adapt_loss_scale")) + 1
    assert joined.array("adapt_trained_days")[-1] == 0.0
    # order does not matter: a site is known by its name
    turned = grown.rows(np.array([8, 3, 0, 1, 2, 4, 5, 6, 7])).until((TRAINED + 4) * DAY)
    mixed = who.predict(joined, turned, HORIZON)
    np.testing.assert_allclose(mixed.quantile[2], told.quantile[0])
    np.testing.assert_allclose(mixed.quantile[0], told.quantile[8])


def test_young_home_gets_a_model_of_its_own_by_adapting(homes: Panel, fitted: dict[Method, Model]) -> None:
    who = forecaster("adapted")
    value = np.concatenate((homes.value, loads(1, DAYS, seed=5)))
    value[-1, : (TRAINED - 20) * DAY] = np.nan
    grown = replace(homes, names=(*homes.names, "new"), value=value)
    joined = who.adapt(fitted["adapted"], grown.until(TRAINED * DAY))
    alone = fitted["adapted"]
    assert joined.array("adapt_trained_days")[-1] == 20.0
    np.testing.assert_array_equal(joined.array("local_weight")[:-1], alone.array("local_weight"))
    usual = who.adapt(alone, grown.until((TRAINED - 14) * DAY)).array("local_weight")[-1]
    assert not np.array_equal(joined.array("local_weight")[-1], usual)


def test_gaps_are_not_filled_but_lived_with(homes: Panel) -> None:
    value = homes.value.copy()
    value[0, 40 * DAY : 60 * DAY] = np.nan
    value[1, TRAINED * DAY - 30 : TRAINED * DAY] = np.nan
    value[2] = np.nan
    holed = replace(homes, value=value).until(TRAINED * DAY)
    for method in METHODS:
        told = forecaster(method).predict(forecaster(method).fit(holed, seed=1), holed, HORIZON)
        assert np.all(np.isfinite(told.quantile)), method


def test_solar_is_generation_and_dark_at_night() -> None:
    value, plate = suns(4, 120)
    whole = panel(value, nameplate_kw=plate)
    naive, adapted = (
        walk(forecaster(m, "solar"), forecaster(m, "solar").fit(whole.until(90 * DAY)), whole, range(90, 120))
        for m in ("naive", "adapted")
    )
    assert adapted[0].scaled_mae() < 0.85 * naive[0].scaled_mae()
    assert abs(adapted[0].coverage()[1] - 0.8) < 0.08
    told = forecaster("adapted", "solar").predict(adapted[1], whole, HORIZON)
    assert np.all(told.quantile <= 0.0)
    assert np.all(told.mean <= 0.0)
    assert np.all(told.quantile[:, [0, 1, 2, 3, 22, 23]] == 0.0)
    assert np.all(np.diff(told.quantile, axis=2) >= 0.0)
    assert told.quantile[:, 12, 0].max() < -0.5  # the lowest quantile is the most generation


def test_new_roof_is_as_large_as_its_nameplate() -> None:
    value, plate = suns(6, 100)
    who = forecaster("global", "solar")
    model = who.fit(panel(value, nameplate_kw=plate))
    empty = np.full((2, 40 * DAY), np.nan)
    asked = replace(panel(empty, nameplate_kw=np.array([2.0, 8.0])), names=("small", "large"))
    told = who.predict(model, asked, HORIZON)
    small, large = told.mean.sum(axis=1)
    assert large / small == pytest.approx(4.0, rel=0.25)
    assert 8.0 * 0.1 < -large / DAY < 8.0 * 0.3


def test_input_that_explains_the_load_is_used() -> None:
    draw = np.random.default_rng(4)
    days = 120
    heat = np.repeat(draw.normal(0.0, 1.0, days + 1), DAY)[None, :]
    value = loads(4, days) * (1.0 + 0.6 * np.maximum(heat[:, : days * DAY], 0.0))
    whole = panel(value, inputs={"heat": heat[:, : days * DAY]})
    errors = {}
    for inputs in ((), ("heat",)):
        who = forecaster("adapted", inputs=inputs)
        model = who.fit(whole.until(90 * DAY, HORIZON), seed=1)
        scores, _ = walk(who, model, whole, range(90, 119))
        errors[inputs] = scores.scaled_mae()
    assert errors["heat",] < 0.85 * errors[()]


def test_lead_leaves_out_what_is_not_known_yet(homes: Panel) -> None:
    late = Horizon(steps=24, step_ns=NS_PER_HOUR, lead_steps=14)
    who = SiteForecaster(
        method="adapted",
        settings=replace(forecaster("adapted").settings, horizon=late, origin_slots=(10,)),
    )
    model = who.fit(homes.until(TRAINED * DAY), seed=1)
    told = who.predict(model, homes.until(TRAINED * DAY + 10), late)
    assert told.start_ns[0] == FIRST_NS + (TRAINED + 1) * DAY * NS_PER_HOUR
    part = Horizon(steps=4, step_ns=NS_PER_HOUR, lead_steps=20)
    some = who.predict(model, homes.until(TRAINED * DAY + 10), part)
    np.testing.assert_array_equal(some.quantile, told.quantile[:, 6:10])
    assert some.start_ns[0] == told.start_ns[6]


def test_what_does_not_belong_together_is_refused(homes: Panel, fitted: dict[Method, Model]) -> None:
    who = forecaster("local")
    with pytest.raises(InvalidInputError, match="model"):
        who.predict(fitted["global"], homes, HORIZON)
    with pytest.raises(InvalidInputError, match="horizon"):
        who.predict(fitted["local"], homes, Horizon(steps=25, step_ns=NS_PER_HOUR))
    with pytest.raises(InvalidInputError, match="inputs"):
        forecaster("local", inputs=("degc",)).fit(homes)
    with pytest.raises(InvalidInputError, match="history"):
        who.fit(panel(np.full((2, 60 * DAY), np.nan)))
