"""What a feeder usually draws: learned by quarters of an hour, unknown where it was never seen, the same after a restart."""

from __future__ import annotations

import json

import numpy as np
import pytest

from shoal.domain.errors import CorruptStateError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.services.load_profile import SLOT_NS, LoadProfile, Place

DAY_NS = 24 * NS_PER_HOUR


def place_of(t_ns: int) -> Place:
    return int(t_ns // DAY_NS % 7 >= 5), t_ns % DAY_NS // SLOT_NS


def lived(days: int, *, busy_kw: float = 50.0) -> LoadProfile:
    profile = LoadProfile(place_of)
    for minute in range(0, days * 1_440, 5):
        hour = minute % 1_440 // 60
        load_kw = busy_kw if 17 <= hour < 21 else 10.0
        profile.observe(minute * NS_PER_MINUTE, (minute + 5) * NS_PER_MINUTE, load_kw)
    profile.observe(days * DAY_NS, days * DAY_NS + 1, 10.0)
    return profile


def test_usual_day_is_expected_and_moved_by_how_far_the_load_is_off_now() -> None:
    profile = lived(3)
    ahead = profile.expect(3 * DAY_NS + 12 * NS_PER_HOUR, step_ns=SLOT_NS, steps=96, load_kw=10.0)
    assert ahead.known.all()
    assert ahead.likely_kw[19] == pytest.approx(50.0)
    assert ahead.likely_kw[4] == pytest.approx(10.0)
    assert (ahead.high_kw >= ahead.likely_kw).all()
    off = profile.expect(3 * DAY_NS + 12 * NS_PER_HOUR, step_ns=SLOT_NS, steps=96, load_kw=16.0)
    moved_kw = off.likely_kw - ahead.likely_kw
    assert moved_kw[0] > 5.0
    assert moved_kw[-1] < 0.01
    assert (np.diff(moved_kw) <= 1e-9).all(), "it fades"


def test_what_was_never_seen_is_unknown_and_not_nothing() -> None:
    profile = LoadProfile(place_of)
    blank = profile.expect(0, step_ns=SLOT_NS, steps=4, load_kw=30.0)
    assert not blank.known.any()
    assert (blank.likely_kw == 30.0).all()
    half = LoadProfile(place_of)
    half.observe(0, SLOT_NS // 2, 99.0)
    half.observe(SLOT_NS, SLOT_NS + 1, 10.0)
    assert half.known_frac == 0.0, "half a quarter of an hour says nothing"


def test_other_days_stand_in_until_they_are_known_and_newer_days_count_more() -> None:
    profile = lived(2)
    saturday = profile.expect(5 * DAY_NS + 16 * NS_PER_HOUR, step_ns=SLOT_NS, steps=16, load_kw=10.0)
    assert saturday.known.all()
    profile = lived(5)
    for day in range(7, 11):
        for hour in range(24):
            at_ns = day * DAY_NS + hour * NS_PER_HOUR
            profile.observe(at_ns, at_ns + NS_PER_HOUR, 80.0)
    later = profile.expect(14 * DAY_NS, step_ns=SLOT_NS, steps=96, load_kw=80.0)
    assert later.likely_kw[80] > 55.0


def test_state_goes_through_json_and_nonsense_is_refused() -> None:
    profile = lived(2)
    other = LoadProfile(place_of)
    other.restore(json.loads(json.dumps(profile.state())))
    one, two = (each.expect(2 * DAY_NS, step_ns=SLOT_NS, steps=96, load_kw=12.0) for each in (profile, other))
    np.testing.assert_allclose(one.high_kw, two.high_kw, atol=1e-2)
    for nonsense in ({}, {**profile.state(), "mean_kw": [1.0]}, {**profile.state(), "count": "many"}):
        with pytest.raises(CorruptStateError):
            other.restore(nonsense)
    np.testing.assert_allclose(
        other.expect(2 * DAY_NS, step_ns=SLOT_NS, steps=96, load_kw=12.0).high_kw, two.high_kw
    )
