"""Fleets re-sampled from measured homes: their halves, their batteries and how they fall silent."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.simulate.replay import (
    LEVELS,
    STEP_MIN,
    STEPS_PER_DAY,
    STEPS_PER_WEEK,
    Half,
    Library,
    ReplayedFleet,
    library,
    replay_fleet,
)

SITES = 200


@pytest.fixture(scope="module")
def fleet() -> ReplayedFleet:
    return replay_fleet(library(None), half="first", sites=SITES, weeks=2, seed=5)


def test_fleet_is_the_same_for_the_same_seed(fleet: ReplayedFleet) -> None:
    again = replay_fleet(library(None), half="first", sites=SITES, weeks=2, seed=5)
    np.testing.assert_array_equal(fleet.history.value_w, again.history.value_w)
    np.testing.assert_array_equal(fleet.history.silent, again.history.silent)


def test_powers_have_their_signs_and_stay_within_ratings(fleet: ReplayedFleet) -> None:
    battery, solar, load, ev = fleet.history.value_w
    scale = fleet.history.scale
    assert (np.abs(battery) <= scale[0] + 1e-2).all()
    assert (solar <= 0.0).all()
    assert (-solar <= scale[1] + 1e-2).all()
    assert (load >= 0.0).all()
    assert ((ev >= 0.0) & (ev <= scale[3] + 1e-2)).all()


def test_batteries_give_back_no_more_than_they_took_and_held(fleet: ReplayedFleet) -> None:
    battery = fleet.history.value_w[0].astype(np.float64)
    moved_wh = np.cumsum(np.where(battery > 0.0, battery * 0.95, battery / 0.95), axis=0) * STEP_MIN / 60.0
    assert (moved_wh.max(axis=0) - moved_wh.min(axis=0)).max() < 16_000.0 * 1.001


def test_halves_share_no_day() -> None:
    weeks = 20
    stamp = np.repeat(np.arange(1.0, weeks + 1)[:, None], STEPS_PER_WEEK, axis=1).astype(np.float32)
    nothing = np.zeros_like(stamp)
    stamped = Library(load=(stamp,), solar=((nothing,),), ev=(nothing,), about="week numbers")
    # each home scales its load: only what it took in one week against another tells which weeks they were
    halves: tuple[Half, Half] = ("first", "second")
    widest = []
    for half in halves:
        load = replay_fleet(stamped, half=half, sites=40, weeks=2, seed=9).history.value_w[2]
        widest.append((load.max(axis=0) / load.min(axis=0)).min())
    assert widest[0] > 20 / 11
    assert 1.0 < widest[1] <= 20 / 11


def test_silence_reaches_each_days_share_in_whole_areas(fleet: ReplayedFleet) -> None:
    silent = fleet.history.silent
    for day in range(14):
        wanted = fleet.level_frac[day * STEPS_PER_DAY]
        assert wanted in LEVELS
        assert silent[day * STEPS_PER_DAY : (day + 1) * STEPS_PER_DAY].mean() >= 0.9 * wanted
    feeder = fleet.history.leaf_group
    whole = np.stack([silent[:, feeder == at].mean(axis=1) for at in np.unique(feeder)], axis=1)
    assert (whole >= 0.8).any()


def test_silent_batteries_leave_the_orders_after_their_lease(fleet: ReplayedFleet) -> None:
    history = fleet.history
    last = np.maximum.accumulate(
        np.where(history.silent, -1, np.arange(len(history.silent))[:, None]), axis=0
    )
    quiet = np.arange(len(last))[:, None] - last
    discharged = history.value_w[0] / np.maximum(history.scale[0], 1.0)
    evening = history.ordered & (np.arange(len(last)) % STEPS_PER_DAY > 16.5 * 12)
    at = evening[:, None] & (history.scale[0] > 0.0)
    following = discharged[at & (quiet == 0)].mean()
    cut_off = discharged[at & (quiet > 2)].mean()
    assert following < cut_off - 0.05


def test_sites_must_fill_the_feeders() -> None:
    with pytest.raises(InvalidInputError, match="multiple of 40"):
        replay_fleet(library(None), half="first", sites=50, weeks=1, seed=1)
