"""Conflation: the newest message wins, and reading takes no more than its share of the time."""

from __future__ import annotations

import pytest

from shoal.api.live.newest import Newest


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_only_the_newest_is_kept() -> None:
    newest = Newest()
    assert newest.take() is None
    newest.put(b"old")
    newest.put(b"new")
    assert (newest.take(), newest.replaced) == (b"new", 1)
    assert (newest.take(), newest.waits) == (None, False)


@pytest.mark.parametrize(
    ("took_s", "every_s", "read"), [(0.001, 0.05, 400), (0.02, 0.05, 112), (0.02, 0.02, 112)]
)
def test_reading_takes_a_share_of_the_time(took_s: float, every_s: float, read: int) -> None:
    clock = Clock()
    newest = Newest(share_frac=0.1, in_hand_s=0.25, now_s=clock)
    taken = 0
    for step in range(1, round(20.0 / every_s) + 1):
        clock.now_s = step * every_s
        newest.put(b"%d" % step)
        if newest.take() is not None:
            taken += 1
            newest.spent(took_s)
    assert taken == pytest.approx(read, abs=2)
    assert taken * took_s <= 0.1 * 20.0 + 0.25 + took_s


def test_what_waits_is_read_once_there_is_time() -> None:
    clock = Clock()
    newest = Newest(share_frac=0.1, in_hand_s=0.25, now_s=clock)
    newest.put(b"dear")
    assert newest.take() == b"dear"
    newest.spent(0.5)
    newest.put(b"next")
    clock.now_s = 2.4
    assert newest.take() is None
    assert newest.waits
    clock.now_s = 2.6
    assert newest.take() == b"next"
