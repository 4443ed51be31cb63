"""The fleet over time: every recent point, older ones thinned, never more than its bounds."""

from __future__ import annotations

from itertools import pairwise

from shoal.api.live.series import Point, Trail
from shoal.domain.interval import NS_PER_S


def point(at_s: int) -> Point:
    return (at_s * 1_000, *[float(at_s)] * 8)


def fill(trail: Trail, seconds: range) -> None:
    for at_s in seconds:
        if trail.wants(at_s * NS_PER_S):
            trail.add(point(at_s))


def test_recent_points_stay_and_older_ones_are_thinned() -> None:
    trail = Trail(points=24, recent=10)  # an hour apart
    fill(trail, range(0, 30 * 3_600, 600))
    t_s = [t_ms // 1_000 for t_ms in trail.series().t_ms]
    recent = list(range(30 * 3_600 - 6_000, 30 * 3_600, 600))
    assert t_s[-10:] == recent
    old = t_s[:-10]
    assert len(old) == 24
    assert {later - earlier for earlier, later in pairwise(old)} == {3_600}
    assert old[-1] < recent[0]


def test_points_closer_than_a_second_are_not_wanted() -> None:
    trail = Trail()
    trail.add(point(10))
    assert not trail.wants(10 * NS_PER_S + NS_PER_S // 2)
    assert not trail.wants(9 * NS_PER_S)
    assert trail.wants(11 * NS_PER_S)


def test_new_points_are_handed_out_once() -> None:
    trail = Trail()
    assert trail.take_new() is None
    fill(trail, range(3))
    new = trail.take_new()
    assert new is not None
    assert (new.t_ms, new.expected_kw) == ([0, 1_000, 2_000], [0.0, 1.0, 2.0])
    assert trail.take_new() is None
    trail.clear()
    assert trail.series().t_ms == []
