"""PJM's performance score: answers that can be worked out by hand, and a plain second implementation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.services.performance_score import HOUR_STEPS, WINDOW_STEPS, ScoreRules, performance_score

CAPABILITY_W = 1e6


def wave(hours: int = 2, period_steps: float = 47.0) -> NDArray[np.float64]:
    t = np.arange(hours * HOUR_STEPS)
    slow, fast = np.sin(2 * np.pi * t / period_steps), np.sin(2 * np.pi * t / 11.3)
    signal: NDArray[np.float64] = CAPABILITY_W * (0.6 * slow + 0.2 * fast)
    return signal


def test_perfect_response_scores_one_in_every_part() -> None:
    score = performance_score(wave(), wave(), capability_w=CAPABILITY_W)
    for part in (score.accuracy_frac, score.delay_frac, score.precision_frac, score.composite_frac):
        assert part == pytest.approx(np.ones(2))


def test_delay_costs_a_thirtieth_a_sample_and_no_accuracy() -> None:
    signal = CAPABILITY_W * np.random.default_rng(1).uniform(-1, 1, 3 * HOUR_STEPS)  # alike at no other delay
    late = np.concatenate((np.zeros(6), signal[:-6]))
    score = performance_score(signal, late, capability_w=CAPABILITY_W)
    assert score.accuracy_frac[1] == pytest.approx(1.0)
    assert score.delay_frac[1] == pytest.approx(1.0 - 6 / 30)
    error = np.abs(late - signal)[360:720].mean() / np.abs(signal)[360:720].mean()
    assert score.precision_frac[1] == pytest.approx(max(1.0 - error, 0.0))


def test_latency_allowance_forgives_the_signals_way() -> None:
    signal = wave(3)
    late = np.concatenate((np.zeros(1), signal[:-1]))
    strict = performance_score(signal, late, capability_w=CAPABILITY_W)
    allowed = performance_score(
        signal, late, capability_w=CAPABILITY_W, rules=ScoreRules(latency_allowance_steps=1)
    )
    assert allowed.delay_frac[1] == pytest.approx(1.0)
    assert strict.delay_frac[1] < 1.0


def test_half_the_power_is_accurate_and_half_precise() -> None:
    score = performance_score(wave(), 0.5 * wave(), capability_w=CAPABILITY_W)
    assert score.accuracy_frac == pytest.approx(np.ones(2))
    assert score.precision_frac == pytest.approx(np.full(2, 0.5))
    assert score.overall_frac == pytest.approx((1 + 1 + 0.5) / 3)


def test_dead_plant_scores_nothing_although_it_is_never_late() -> None:
    score = performance_score(wave(), np.zeros(2 * HOUR_STEPS), capability_w=CAPABILITY_W)
    assert score.composite_frac == pytest.approx(np.zeros(2))


def test_opposite_response_has_no_precision() -> None:
    score = performance_score(wave(), -wave(), capability_w=CAPABILITY_W)
    assert score.precision_frac.max() == 0.0
    assert score.accuracy_frac.min() >= 0.0


def test_flat_signal_is_scored_by_slopes() -> None:
    signal = np.full(HOUR_STEPS, 0.5 * CAPABILITY_W)
    steady = performance_score(signal, signal, capability_w=CAPABILITY_W)
    assert steady.composite_frac == pytest.approx([1.0])
    # a response that drifts by 10 % of the capability in each window of 30 samples
    drifting = signal + 0.1 * CAPABILITY_W * np.arange(HOUR_STEPS) / WINDOW_STEPS
    score = performance_score(signal, drifting, capability_w=CAPABILITY_W)
    assert score.accuracy_frac == pytest.approx([0.9])


def test_hour_without_any_signal_is_no_division_by_zero() -> None:
    nothing = np.zeros(HOUR_STEPS)
    assert performance_score(nothing, nothing, capability_w=1.0).composite_frac == pytest.approx([1.0])
    assert performance_score(nothing, nothing + 0.5, capability_w=1.0).precision_frac == pytest.approx([0.0])


def test_score_agrees_with_a_plain_second_implementation() -> None:
    random = np.random.default_rng(3)
    signal = np.cumsum(random.standard_normal(2 * HOUR_STEPS)) * 2e4
    response = np.concatenate((np.zeros(2), signal[:-2])) * 0.9 + 3e4 * random.standard_normal(len(signal))
    score = performance_score(signal, response, capability_w=CAPABILITY_W)
    accuracy, delay = [], []
    for t in range(HOUR_STEPS):  # windows of the first hour reach into the second
        x = signal[t : t + 30]
        sums = []
        for shift in range(31):
            r = float(np.corrcoef(x, response[t + shift : t + shift + 30])[0, 1])
            sums.append((r + (30 - shift) / 30, r, (30 - shift) / 30))
        best = max(sums)
        accuracy.append(min(max(best[1], 0.0), 1.0))
        delay.append(best[2])
    assert score.accuracy_frac[0] == pytest.approx(np.mean(accuracy))
    assert score.delay_frac[0] == pytest.approx(np.mean(delay))


@pytest.mark.parametrize(
    ("signal", "response", "capability_w"),
    [
        (np.zeros(359), np.zeros(359), 1.0),
        (np.zeros(360), np.zeros(361), 1.0),
        (np.full(360, np.nan), np.zeros(360), 1.0),
        (np.zeros(360), np.zeros(360), 0.0),
    ],
)
def test_what_cannot_be_scored_is_refused(
    signal: NDArray[np.float64], response: NDArray[np.float64], capability_w: float
) -> None:
    with pytest.raises(InvalidInputError):
        performance_score(signal, response, capability_w=capability_w)
