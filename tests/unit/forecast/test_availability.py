"""How many kW answer: against simulated fleets whose truth is known."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR
from shoal.forecast.availability import AvailabilityForecaster, firm_kw
from shoal.forecast.availability_draws import draw_answers
from shoal.forecast.availability_history import COLUMNS, fleet_panel
from shoal.forecast.protocol import Horizon, Panel, decode_model, encode_model

Floats = NDArray[np.float64]
HORIZON = Horizon(steps=24, step_ns=NS_PER_HOUR)
DEVICE_KW = 5.0


def phi(z: Floats) -> Floats:
    return np.asarray(np.vectorize(lambda x: 0.5 * math.erfc(-x / math.sqrt(2.0)))(z))


def fleet(
    groups: int, devices: int, days: int, seed: int, *, common: float = 0.5, outage_per_h: float = 0.0
) -> tuple[Panel, Floats]:
    """Return a fleet's history and the kW that would have answered at each step, were all asked.

    Reporting and response have states that persist (0.9 an hour), partly in common; readiness follows the hour; single
    devices fail independently. Commands go out in one hour of twelve.
    """
    draw = np.random.default_rng(seed)
    steps = days * 24
    hour = np.arange(steps) % 24

    def state(spread: float) -> Floats:
        shocks = math.sqrt(common) * draw.standard_normal((1, steps))
        shocks = shocks + math.sqrt(1.0 - common) * draw.standard_normal((groups, steps))
        out = np.zeros((groups, steps))
        for at in range(1, steps):
            out[:, at] = 0.9 * out[:, at - 1] + math.sqrt(1 - 0.81) * shocks[:, at]
        return spread * out

    reporting_share = phi(1.6 + state(0.3))
    if outage_per_h:
        for group in range(groups):
            for at in np.flatnonzero(draw.random(steps) < outage_per_h).tolist():
                reporting_share[group, at : at + 4] *= 0.05
    ready_share = phi(0.5 + 0.5 * np.cos((hour - 3) / 24 * 2 * np.pi) + state(0.1))
    headroom_share = phi(0.3 + state(0.2))
    response_share = phi(1.3 + state(0.25))
    installed = np.full((groups, steps), float(devices))
    reporting = draw.binomial(devices, reporting_share).astype(np.float64)
    ready = draw.binomial(reporting.astype(int), ready_share).astype(np.float64)
    headroom = ready * DEVICE_KW * headroom_share
    answering = draw.binomial(ready.astype(int), response_share).astype(np.float64)
    truth = answering * DEVICE_KW * headroom_share
    asked = np.broadcast_to(np.arange(steps) % 12 == 7, (groups, steps))
    columns = {
        "installed_count": installed,
        "capacity_kw": installed * DEVICE_KW,
        "reporting_count": reporting,
        "ready_count": ready,
        "headroom_kw": headroom,
        "commanded_count": np.where(asked, ready, np.nan),
        "commanded_kw": np.where(asked, headroom, np.nan),
        "answered_kw": np.where(asked, truth, np.nan),
    }
    names = tuple(f"g{group}" for group in range(groups))
    return fleet_panel(names, first_ns=0, step_ns=NS_PER_HOUR, columns=columns), truth


def backtest(
    history: Panel, truth: Floats, trained_days: int, days: int, every_h: int = 29
) -> dict[float, float]:
    """Return how often the fleet's truth lay below each quantile, over origins after the training."""
    who = AvailabilityForecaster(horizon=HORIZON, draw_count=300)
    model = who.fit(history.until(trained_days * 24), seed=3)
    below, count = np.zeros(9), 0
    for origin in range(trained_days * 24, (days - 1) * 24, every_h):
        told = who.predict(model, history.until(origin).last(72), HORIZON)
        total = truth[:, origin : origin + 24].sum(axis=0)
        below += (total[:, None] < told.quantile[-1]).mean(axis=0)
        count += 1
    return dict(zip(told.quantile_level.tolist(), (below / count).tolist(), strict=True))


@pytest.mark.parametrize(("groups", "devices"), [(1, 400), (5, 60), (10, 8)])
def test_quantiles_hold_what_they_say(groups: int, devices: int) -> None:
    history, truth = fleet(groups, devices, 150, seed=groups)
    share = backtest(history, truth, 80, 150)
    assert abs(share[0.5] - 0.5) < 0.09
    assert share[0.05] < 0.085
    assert abs(share[0.1] - 0.1) < 0.05
    assert abs((share[0.9] - share[0.1]) - 0.8) < 0.06
    assert abs((share[0.95] - share[0.05]) - 0.9) < 0.05


def test_failures_in_common_widen_the_fleet_not_the_group() -> None:
    spread = {}
    for common in (0.0, 0.9):
        history, _ = fleet(10, 100, 90, seed=8, common=common)
        who = AvailabilityForecaster(horizon=HORIZON, draw_count=1_500)
        told = who.predict(who.fit(history), history.last(72), HORIZON)
        width = told.quantile[:, -1, -2] - told.quantile[:, -1, 1]
        spread[common] = (width[-1], width[:-1].mean())
    assert spread[0.9][0] > 1.8 * spread[0.0][0]
    assert spread[0.9][1] == pytest.approx(spread[0.0][1], rel=0.3)


def test_promise_falls_with_confidence_and_is_below_the_mean() -> None:
    history, _ = fleet(4, 50, 60, seed=2)
    who = AvailabilityForecaster(horizon=HORIZON)
    told = who.predict(who.fit(history), history, HORIZON)
    bold, careful, most = (firm_kw(told, confidence_frac=c) for c in (0.75, 0.95, 0.99))
    assert np.all(most <= careful)
    assert np.all(careful < bold)
    assert np.all(bold < told.mean[-1])
    np.testing.assert_array_equal(firm_kw(told, confidence_frac=0.93), careful)  # never bolder than asked
    np.testing.assert_array_equal(careful, told.quantile[-1, :, 1])
    with pytest.raises(InvalidInputError):
        firm_kw(told, confidence_frac=0.999)


def test_fleet_is_the_sum_of_its_groups_in_the_mean_and_within_capacity() -> None:
    history, _ = fleet(5, 30, 60, seed=4)
    who = AvailabilityForecaster(horizon=HORIZON)
    told = who.predict(who.fit(history), history, HORIZON)
    np.testing.assert_allclose(told.mean[:-1].sum(axis=0), told.mean[-1], rtol=1e-9)
    assert np.all(told.quantile[-1] <= 5 * 30 * DEVICE_KW)
    assert np.all(told.quantile >= 0.0)
    assert np.all(np.diff(told.quantile, axis=2) >= 0.0)


def test_group_that_fell_silent_is_out_of_the_promise_and_comes_back() -> None:
    history, _ = fleet(3, 80, 90, seed=6, outage_per_h=0.004)
    who = AvailabilityForecaster(horizon=HORIZON)
    model = who.fit(history)
    fine = who.predict(model, history, HORIZON)
    value = history.value.copy()
    row = COLUMNS.index("reporting_count") * 3
    for column in ("reporting_count", "ready_count", "headroom_kw"):
        value[COLUMNS.index(column) * 3, -2:] *= 0.02
    silent = who.predict(model, replace(history, value=np.round(value)), HORIZON)
    assert value[row, -1] < 3
    assert silent.mean[0, 0] < 0.5 * fine.mean[0, 0]
    assert silent.mean[0, -1] > 0.7 * fine.mean[0, -1]
    np.testing.assert_allclose(silent.mean[1], fine.mean[1], rtol=0.1)


def test_outage_never_seen_still_has_odds() -> None:
    history, _ = fleet(1, 2_000, 30, seed=9)
    who = AvailabilityForecaster(horizon=HORIZON, draw_count=8_000, quantile_level=(0.0005, 0.5, 0.9995))
    told = who.predict(who.fit(history), history, HORIZON)
    assert told.quantile[0, -1, 0] < 0.35 * told.quantile[0, -1, 1]


def test_same_bits_from_the_same_bytes_and_no_look_ahead() -> None:
    history, _ = fleet(3, 40, 70, seed=5)
    who = AvailabilityForecaster(horizon=HORIZON, draw_count=300)
    past = history.until(60 * 24)
    value = history.value.copy()
    value[:, 60 * 24 :] = 0.0
    other = replace(history, value=value).until(60 * 24)
    model = who.fit(past, seed=2)
    assert who.fit(other, seed=2).version == model.version
    first = who.predict(model, past, HORIZON)
    second = who.predict(decode_model(encode_model(model)), other, HORIZON)
    assert first.quantile.tobytes() == second.quantile.tobytes()
    drawn_anew = who.predict(who.fit(past, seed=3), past, HORIZON)
    assert drawn_anew.quantile.tobytes() != first.quantile.tobytes()


def test_without_commands_and_with_absent_reports_it_is_careful() -> None:
    history, _ = fleet(2, 40, 30, seed=5)
    value = history.value.copy()
    for column in ("commanded_count", "commanded_kw", "answered_kw"):
        first = COLUMNS.index(column) * 2
        value[first : first + 2] = np.nan
    value[:, -5:] = np.nan
    untold = replace(history, value=value)
    who = AvailabilityForecaster(horizon=HORIZON)
    told = who.predict(who.fit(untold), untold, HORIZON)
    known = who.predict(who.fit(history), history, HORIZON)
    assert np.all(np.isfinite(told.quantile))
    width = told.quantile[-1, :, -2] - told.quantile[-1, :, 1]
    assert width.mean() > (known.quantile[-1, :, -2] - known.quantile[-1, :, 1]).mean()


def test_draws_match_the_binomial_they_are_of() -> None:
    for count, share in ((3, 0.4), (40, 0.97), (500, 0.03), (5_000, 0.3)):
        z = NormalDist().inv_cdf(share)
        out = np.empty((20_000, 2))
        zero = np.zeros(1)
        draw_answers(
            np.array([[z]]),
            np.zeros((1, 1)),
            zero,
            np.zeros((1, 1)),
            zero,
            zero,
            np.array([float(count)]),
            np.ones(1),
            np.array([True]),
            7,
            out,
        )
        drawn = out[:, 0]
        assert np.array_equal(drawn, out[:, 1])
        assert drawn.mean() == pytest.approx(count * share, rel=0.02)
        assert drawn.var() == pytest.approx(count * share * (1 - share), rel=0.05)
        assert drawn.min() >= 0
        assert drawn.max() <= count


def test_panel_of_a_fleet_is_checked() -> None:
    with pytest.raises(InvalidInputError, match="capacity_kw"):
        fleet_panel(("g",), first_ns=0, step_ns=NS_PER_HOUR, columns={"installed_count": np.ones((1, 3))})
    history, _ = fleet(1, 10, 5, seed=1)
    with pytest.raises(InvalidInputError, match="names"):
        AvailabilityForecaster(horizon=HORIZON).fit(history.rows(np.arange(4)))
