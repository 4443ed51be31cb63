"""No rebound: the sum of thousands that start, stop or come back changes no faster than the limit."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.control.rebound import (
    MOST_RAMP_S,
    MOST_SPREAD_S,
    PLACES_MARGIN,
    gentle,
    gentle_together,
    places_frac,
    spread_ends_ns,
    steepest_kw_per_min,
)
from shoal.domain.errors import InvalidInputError


@pytest.mark.parametrize("step_kw", [-9_000.0, 50.0, 4_000.0, -2_500.0])
@pytest.mark.parametrize("limit_kw_per_min", [150.0, 1_000.0])
def test_step_of_a_group_stays_below_the_slope(step_kw: float, limit_kw_per_min: float) -> None:
    sites = 1_000
    how = gentle(step_kw, limit_kw_per_min=limit_kw_per_min)
    begin_s = places_frac(np.arange(sites, dtype=np.int64)) * how.spread_s
    steepest = steepest_kw_per_min(
        step_w=np.full(sites, step_kw * 1e3 / sites), begin_s=begin_s, ramp_s=how.ramp_s
    )
    assert steepest <= how.slope_kw_per_min * 1.001
    assert how.slope_kw_per_min <= limit_kw_per_min or how.spread_s == MOST_SPREAD_S
    assert how.ramp_s <= MOST_RAMP_S
    assert (how.spread_s > 0) == (60 * abs(step_kw) / limit_kw_per_min > MOST_RAMP_S)


def test_step_without_care_would_break_the_limit() -> None:
    """The measure itself can tell: the same sites all at once are far too steep."""
    assert steepest_kw_per_min(step_w=np.full(1_000, 5e3), begin_s=np.zeros(1_000), ramp_s=0.0) == 5_000.0


def test_step_too_large_for_an_hour_says_how_steep_it_is() -> None:
    how = gentle(100_000.0, limit_kw_per_min=100.0)
    assert how.spread_s == MOST_SPREAD_S
    assert how.slope_kw_per_min == pytest.approx(60 * 100_000 / MOST_SPREAD_S * PLACES_MARGIN)


def test_steps_that_fall_together_share_the_slope() -> None:
    sizes_kw = [3_000.0, -1_000.0, 0.0]
    hows = gentle_together(sizes_kw, limit_kw_per_min=500.0)
    assert sum(how.slope_kw_per_min for how, size in zip(hows, sizes_kw, strict=True) if size) <= 500.0
    assert hows[2].ramp_s == 0.0


def test_limit_must_be_positive() -> None:
    with pytest.raises(InvalidInputError):
        gentle(1.0, limit_kw_per_min=0.0)


@pytest.mark.parametrize("run", [range(50), range(100_000, 100_050), range(0, 5_000, 100)])
def test_places_are_even_for_any_run_of_rows(run: range) -> None:
    place = np.sort(places_frac(np.array(run, dtype=np.int64)))
    assert np.all((place >= 0) & (place < 1))
    gaps = np.diff(np.concatenate([place, [place[0] + 1]]))
    assert gaps.max() < 6 / len(run)


def test_leases_that_nobody_renews_do_not_end_together() -> None:
    rows = np.arange(900, dtype=np.int64)
    end_ns = spread_ends_ns(np.full(900, 10**12), rows, np.full(900, 3 * 10**11))
    assert end_ns.max() <= 10**12
    assert end_ns.min() > 10**12 - 3 * 10**11
    assert np.diff(np.sort(end_ns)).max() < 10**9
