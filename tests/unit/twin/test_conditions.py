"""A look at very many sites costs numpy work only: what Python itself does must not grow with them."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_S
from shoal.telemetry.merge import ShardConditions
from shoal.telemetry.shard import SiteLook
from shoal.twin.alarms import AlarmBook, Observation
from shoal.twin.conditions import Condition
from tests.unit.twin.forests import make_forest_fleet


def counted(act: Callable[[], Any]) -> int:
    """Return how many lines of Python `act` runs, turns of loops and comprehensions included."""
    lines = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    # What other tests left behind must not be finalised, and counted, in the middle.
    gc.collect()
    gc.disable()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
        gc.enable()
    return lines


def all_silent(sites: int) -> NDArray[np.uint16]:
    return np.full(sites, Condition.SILENT, dtype=np.uint16)


def half_silent(sites: int) -> NDArray[np.uint16]:
    return np.where(np.random.default_rng(3).random(sites) < 0.5, all_silent(sites), np.uint16(0))


def a_region_silent(sites: int) -> NDArray[np.uint16]:
    return np.where(np.arange(sites) < sites // 2, all_silent(sites), np.uint16(0))


@pytest.mark.parametrize("conditions", [all_silent, half_silent, a_region_silent])
def test_ticks_of_a_storm_and_its_end_do_the_same_work_however_many_sites(
    conditions: Callable[[int], NDArray[np.uint16]],
) -> None:
    def lines(sites: int) -> list[int]:
        fleet = make_forest_fleet(sites=sites)
        book, count = AlarmBook(fleet), len(fleet.site_ids)
        lost = np.zeros(count, dtype=np.uint32)
        found: list[int] = []
        for tick in range(14):
            flags = conditions(count) if tick < 5 else np.zeros(count, dtype=np.uint16)
            seen = Observation(t_ns=60 * tick * NS_PER_S, condition_flags=flags, lost=lost)
            found.append(counted(partial(book.step, seen)))
        assert not book.active()
        return found

    few, many = lines(100), lines(400)
    assert max(few) > min(few), "some ticks have more to do"
    assert max(many) <= max(few) + 10
    assert sum(many) <= sum(few) + 50


def test_conditions_travel_small_and_with_the_same_work_however_many_sites() -> None:
    def message(conditions: NDArray[np.uint16]) -> tuple[int, int]:
        sites = len(conditions)
        rows = 4 * np.arange(sites, dtype=np.int64)
        look = SiteLook(rows=rows, conditions=conditions, lost=np.zeros(sites, dtype=np.uint32))
        size = 0

        def there_and_back() -> None:
            nonlocal size
            said = ShardConditions.of(look, shard=0, token=1, lag_s=0.0)
            size = len(said.conditions) + len(said.lost)
            back = said.look(rows)
            assert back is not None
            assert np.array_equal(back.conditions, conditions)

        return counted(there_and_back), size

    few, _ = message(all_silent(1_000))
    silent, silent_bytes = message(all_silent(250_000))
    noise, noise_bytes = message(half_silent(250_000))
    assert few == silent == noise
    assert silent_bytes < 10_000
    assert noise_bytes < 250_000, "far below the engine's largest message"
