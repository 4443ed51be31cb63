"""Trust and widths: what a day teaches, and that long-run coverage is what it should be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.forecast.protocol import LEVELS
from shoal.forecast.sites_adapt import (
    AdaptState,
    calibrated,
    fresh_state,
    mixed,
    observe,
    second_share,
    state_rows,
)
from shoal.forecast.sites_score import SiteScores

LEVEL = np.array(LEVELS)
BLOCK = np.arange(24) // 3
NORMAL = np.array([-1.645, -1.282, -0.674, 0.0, 0.674, 1.282, 1.645])


def said(centre: NDArray[np.float64], spread: float) -> NDArray[np.float64]:
    """Return N x 24 x 8: normal quantiles and the mean."""
    return np.concatenate((centre[:, :, None] + spread * NORMAL, centre[:, :, None]), axis=2)


def run(
    state: AdaptState, days: int, spreads: tuple[float, float], told_spread: float, seed: int = 0
) -> tuple[AdaptState, SiteScores]:
    """Let outcomes come true whose spread changes half way; score the second part of each half."""
    draw = np.random.default_rng(seed)
    sites = len(state.loss_scale)
    scores = SiteScores.none(sites, len(LEVEL))
    for day in range(days):
        true_spread = spreads[0] if day < days // 2 else spreads[1]
        centre = 5.0 + draw.normal(0.0, 1.0, (sites, 24))
        expert = said(centre, told_spread)
        observed = centre + draw.normal(0.0, true_spread, (sites, 24))
        told = calibrated(state, mixed(state, (expert,)), BLOCK, is_nonnegative=False)
        if day % (days // 2) >= days // 4:
            scores = scores.added(observed, told[:, :, :-1], LEVEL, least_width=np.zeros(sites))
        state = observe(
            state,
            (expert,),
            observed,
            scale=np.full(sites, 5.0),
            block_index=BLOCK,
            level=LEVEL,
            is_nonnegative=False,
        )
    return state, scores


@pytest.mark.parametrize("sites", [1, 12])
@pytest.mark.parametrize("told_spread", [0.4, 1.0, 2.5])
def test_coverage_is_right_whatever_the_expert_thinks_of_itself(sites: int, told_spread: float) -> None:
    state = fresh_state(sites, len(LEVEL), np.full(sites, 100.0))
    _, scores = run(state, 160, (1.0, 1.8), told_spread)
    np.testing.assert_allclose(scores.coverage(), [0.9, 0.8, 0.5], atol=0.025)
    assert np.abs(scores.site_coverage()[:, :2] - [0.9, 0.8]).max() < 0.05


def test_pooled_track_serves_a_site_that_was_never_seen() -> None:
    state, _ = run(fresh_state(12, len(LEVEL), np.full(12, 100.0)), 80, (1.0, 1.0), 0.4)
    new = state_rows(state, np.array([-1]))
    centre = np.full((1, 24), 5.0)
    raw = said(centre, 0.4)
    told = calibrated(new, raw, BLOCK, is_nonnegative=False)
    width = (told[0, :, -2] - told[0, :, 0]) / (raw[0, :, -2] - raw[0, :, 0])
    assert 1.6 < width.mean() < 3.4  # 2.5 would be right
    np.testing.assert_array_equal(new.loss_scale, 0.0)


def test_mix_goes_to_the_expert_that_is_right_site_by_site() -> None:
    draw = np.random.default_rng(1)
    state = fresh_state(2, len(LEVEL), np.full(2, 1e6))
    start = second_share(state)
    for _ in range(60):
        truth = 5.0 + draw.normal(0.0, 1.0, (2, 24))
        good, bad = said(truth, 0.5), said(truth + draw.normal(0.0, 2.0, (2, 24)), 0.5)
        first = np.stack((good[0], bad[1]))
        second = np.stack((bad[0], good[1]))
        state = observe(
            state,
            (first, second),
            truth,
            scale=np.full(2, 5.0),
            block_index=BLOCK,
            level=LEVEL,
            is_nonnegative=True,
        )
    share = second_share(state)
    assert share[0] < 0.15 < start[0]
    assert share[1] > 0.85


def test_untrained_expert_weighs_nothing_and_gains_trust_with_days() -> None:
    days = np.array([0.0, 7.0, 14.0, 200.0])
    share = second_share(fresh_state(4, len(LEVEL), days))
    assert share[0] == 1.0
    assert np.all(np.diff(share) < 0.0)
    assert share[-1] == pytest.approx(0.5, abs=0.05)


def test_absent_outcomes_and_steps_without_spread_teach_nothing() -> None:
    state = fresh_state(2, len(LEVEL), np.full(2, 50.0))
    expert = said(np.full((2, 24), 5.0), 0.5)
    options: dict[str, Any] = {"scale": np.full(2, 5.0), "block_index": BLOCK, "level": LEVEL}
    none = observe(state, (expert, expert), np.full((2, 24), np.nan), **options, is_nonnegative=True)
    np.testing.assert_array_equal(none.stretch_scale, 0.0)
    np.testing.assert_array_equal(none.loss_scale, 0.0)
    dark = said(np.zeros((2, 24)), 0.0)
    night = observe(state, (dark,), np.zeros((2, 24)), **options, is_nonnegative=True)
    np.testing.assert_array_equal(night.stretch_scale, 0.0)


def test_calibrated_quantiles_stay_in_order_and_above_zero() -> None:
    state, _ = run(fresh_state(3, len(LEVEL), np.full(3, 50.0)), 60, (3.0, 3.0), 0.2)
    draw = np.random.default_rng(4)
    wild = draw.normal(0.5, 1.0, (3, 24, 8))
    told = calibrated(state, wild, BLOCK, is_nonnegative=True)
    assert np.all(np.diff(told[:, :, :-1], axis=2) >= 0.0)
    assert np.all(told >= 0.0)
