"""Many sites at the pace of the plant: slower for a while, each at a place of its own, and back by themselves."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_S
from shoal.domain.pace import Pace
from shoal.edge.pacing import Pacing

SITES = 1_000
EVERY = np.arange(SITES)


def word(issued_s: float, *, every_s: float = 100.0, until_s: float = 1_000.0) -> Pace:
    return Pace(every_s=every_s, until_ns=int(until_s * NS_PER_S), issued_ns=int(issued_s * NS_PER_S))


def live(pacing: Pacing, begin_s: int, end_s: int) -> NDArray[np.int64]:
    """Let every site that may report do so at once, each second; return how many did in each."""
    counts = []
    for now_s in range(begin_s, end_s):
        may = pacing.may_report(now_s * NS_PER_S)
        pacing.reported(np.flatnonzero(may), now_s * NS_PER_S)
        counts.append(int(may.sum()))
    return np.array(counts)


def test_sites_without_a_word_go_at_their_own_pace() -> None:
    assert Pacing(SITES, 1).may_report(0).all()


def test_slowed_sites_report_once_an_interval_evenly_spread() -> None:
    pacing = Pacing(SITES, 1)
    pacing.hear(EVERY, word(0), 0)
    counts = live(pacing, 0, 1_000)
    assert counts[0] < 30, "relief is at once"
    assert counts.max() < 30
    for begin in range(1, 900, 100):
        assert counts[begin : begin + 100].sum() == SITES
    assert pacing.slowed(500 * NS_PER_S) == SITES


def test_slowed_sites_resume_by_themselves_not_all_at_once() -> None:
    pacing = Pacing(SITES, 1)
    pacing.hear(EVERY, word(0), 0)
    live(pacing, 0, 1_000)
    free = [SITES - pacing.slowed(now_s * NS_PER_S) for now_s in range(995, 1_101)]
    assert free[0] == 0 and free[-1] == SITES
    assert max(np.diff(free)) < 30
    assert pacing.may_report(1_101 * NS_PER_S).all()


def test_word_that_comes_again_does_not_put_a_turn_off() -> None:
    """A plant says its word every few seconds, for devices that come back meanwhile."""
    pacing = Pacing(SITES, 1)
    counts = 0
    for now_s in range(201):
        pacing.hear(EVERY, word(now_s, until_s=now_s + 60.0), now_s * NS_PER_S)
        counts += int(live(pacing, now_s, now_s + 1).sum())
    assert counts == 2 * SITES


def test_older_word_and_one_that_is_over_change_nothing() -> None:
    pacing = Pacing(SITES, 1)
    pacing.hear(EVERY, word(50), 50 * NS_PER_S)
    pacing.hear(EVERY, word(40, every_s=0.0), 51 * NS_PER_S)
    pacing.hear(EVERY, word(60, until_s=70), 80 * NS_PER_S)
    assert (pacing.heard, pacing.ignored) == (SITES, 2 * SITES)
    assert pacing.slowed(90 * NS_PER_S) == SITES


def test_word_can_be_taken_back() -> None:
    pacing = Pacing(SITES, 1)
    pacing.hear(EVERY, word(0), 0)
    pacing.hear(EVERY, word(10, every_s=0.0, until_s=10), 11 * NS_PER_S)
    assert pacing.may_report(11 * NS_PER_S).all()


def test_only_who_has_heard_it_is_slowed() -> None:
    pacing = Pacing(SITES, 1)
    pacing.hear(EVERY[:10], word(0), 0)
    assert pacing.slowed(0) == 10
    assert pacing.may_report(0)[10:].all()


@pytest.mark.parametrize("late_s", [30, 250, 780])
def test_site_that_comes_late_to_its_turn_keeps_its_place(late_s: int) -> None:
    pacing = Pacing(1, 1)
    pacing.hear(np.array([0]), word(0), 0)
    turn_s = int(np.argmax([bool(pacing.may_report(now_s * NS_PER_S)[0]) for now_s in range(200)]))
    pacing.reported(np.array([0]), (turn_s + late_s) * NS_PER_S)
    expected_s = turn_s + (late_s // 100 + 1) * 100
    assert not pacing.may_report((expected_s - 2) * NS_PER_S)[0]
    assert pacing.may_report((expected_s + 1) * NS_PER_S)[0]
