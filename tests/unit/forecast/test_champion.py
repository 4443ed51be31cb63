"""Champion and challenger: a test that may be looked at every day, and a watch over losses."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.forecast.champion import (
    Contest,
    ContestRules,
    DriftRules,
    contest_of,
    judged,
    no_drift,
    rested,
    verdict,
    watched,
)

RULES = ContestRules()


def ends(gain_frac: float, seed: int, days: int = 120) -> tuple[str, int]:
    """Return how a contest over noisy daily losses ends and on which day; both share the day's difficulty."""
    draw = np.random.default_rng(seed)
    day = np.exp(draw.normal(0.0, 0.3, days))
    held = day * np.exp(draw.normal(0.0, 0.1, days))
    new = (1.0 - gain_frac) * day * np.exp(draw.normal(0.0, 0.1, days))
    contest = Contest(champion="a", challenger="b")
    for at, losses in enumerate(zip(held.tolist(), new.tolist(), strict=True)):
        contest = judged(contest, losses)
        said, _ = verdict(contest, RULES)
        if said in ("promote", "drop"):
            return said, at + 1
    return "keep", days


def test_equal_challenger_seldom_wins_however_often_one_looks() -> None:
    wins = sum(ends(0.0, seed)[0] == "promote" for seed in range(400))
    assert wins <= 0.05 * 400 + 3 * np.sqrt(0.05 * 0.95 * 400)


def test_worse_challenger_never_wins() -> None:
    assert all(ends(-0.05, seed)[0] == "drop" for seed in range(100))


def test_better_challenger_wins_and_the_sooner_the_better_it_is() -> None:
    small = [ends(0.05, seed) for seed in range(60)]
    large = [ends(0.2, seed) for seed in range(60)]
    assert np.mean([said == "promote" for said, _ in small]) > 0.8
    assert all(said == "promote" for said, _ in large)
    assert np.mean([day for _, day in large]) < np.mean([day for _, day in small])
    assert min(day for _, day in large) >= RULES.least_days


def test_verdict_tells_its_reason_and_collects_first() -> None:
    contest = contest_of("a", "b", [(1.0, 0.5)] * 5)
    assert verdict(contest, RULES) == ("collecting", "5 of at least 14 days")
    won = contest_of("a", "b", [(1.0, 0.5)] * 30)
    said, why = verdict(won, RULES)
    assert said == "promote"
    assert "+50.0 %" in why
    assert won.gain_frac == pytest.approx(0.5)
    little = ContestRules(least_gain_frac=0.6)
    assert verdict(won, little)[0] == "keep"


def test_contest_survives_its_bytes_and_refuses_nonsense() -> None:
    contest = contest_of("a", "b", [(1.0, 0.9), (0.8, 0.9)] * 8)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(contest), type=Contest) == contest
    for bad in ((-1.0, 1.0), (1.0, float("nan")), (float("inf"), 1.0)):
        with pytest.raises(InvalidInputError):
            judged(contest, bad)


def test_no_loss_at_all_is_no_gain() -> None:
    contest = contest_of("a", "b", [(0.0, 0.0)] * 40)
    assert contest.gain_frac == 0.0
    assert verdict(contest, RULES)[0] == "keep"


def test_drift_is_seen_soon_and_seldom_imagined() -> None:
    draw = np.random.default_rng(1)
    series, days = 300, 200
    loss = np.exp(draw.normal(0.0, 0.25, (days, series)))
    drift = no_drift(series)
    for day in loss:
        drift = watched(drift, day)
    assert drift.is_drifting.mean() < 0.1
    calm = ~drift.is_drifting
    worse = drift
    for day in loss[:20] * 1.6:
        worse = watched(worse, day)
    assert worse.is_drifting[calm].mean() > 0.9


def test_single_bad_day_and_absent_days_are_no_drift() -> None:
    draw = np.random.default_rng(2)
    drift = no_drift(2)
    for _ in range(40):
        drift = watched(drift, 1.0 + 0.1 * draw.standard_normal(2))
    before = drift
    drift = watched(drift, np.array([np.nan, 50.0]))
    assert not drift.is_drifting.any()
    assert drift.rise_scale[0] == before.rise_scale[0]
    assert drift.day_count.tolist() == [40, 41]
    assert drift.rise_scale[1] <= before.rise_scale[1] + DriftRules().most_rise_scale


def test_alarm_stays_until_rested() -> None:
    drift = no_drift(2)
    draw = np.random.default_rng(3)
    for _ in range(30):
        drift = watched(drift, 1.0 + 0.1 * draw.standard_normal(2))
    for _ in range(10):
        drift = watched(drift, np.array([3.0, 1.0]))
    assert drift.is_drifting.tolist() == [True, False]
    for _ in range(50):
        drift = watched(drift, np.array([1.0, 1.0]))
    assert drift.is_drifting[0]
    again = rested(drift, np.array([True, False]))
    assert not again.is_drifting.any()
    assert again.day_count.tolist() == [0, 90]
