"""Losses are summed up by site until it has been quiet, however they are told, and never take much room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_S
from shoal.twin.losses import LEAST_NAMED, LOSS, MOST_WAITING, QUIET_S, Losses

QUIET = int(QUIET_S)
SITES = 5


def note(losses: Losses, *told: tuple[int, int, int]) -> None:
    """Tell of losses as (row, samples, second)."""
    rows, lost, at_s = (np.array(column, dtype=np.int64) for column in zip(*told, strict=True))
    losses.note(rows, lost, at_s * NS_PER_S)


def at(losses: Losses, t_s: int) -> dict[int, int]:
    rows, lost = losses.at(t_s * NS_PER_S)
    assert rows.tolist() == sorted(set(rows.tolist()))
    return dict(zip(rows.tolist(), lost.tolist(), strict=True))


def test_site_is_told_of_until_it_was_quiet_and_counted_anew_after() -> None:
    losses = Losses(SITES)
    note(losses, (7, 3, 100), (2, 1, 100))
    note(losses, (7, 4, 100 + QUIET - 1))
    assert at(losses, 100) == {2: 1, 7: 7}
    assert at(losses, 100 + QUIET) == {7: 7}
    note(losses, (7, 5, 100 + 2 * QUIET))
    assert at(losses, 100 + 2 * QUIET) == {7: 5}
    assert at(losses, 100 + 3 * QUIET) == {}


def test_nothing_lost_takes_no_memory() -> None:
    losses = Losses(SITES)
    losses.note(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64))
    assert losses.nbytes == 0
    assert at(losses, 5) == {}


@pytest.mark.parametrize(("sites", "most"), [(100, LEAST_NAMED), (1_000_000, 125_000)])
def test_the_latest_are_named_of_very_many_and_their_memory_is_bounded(sites: int, most: int) -> None:
    losses = Losses(0)
    losses.follow(sites)
    for start in range(0, 3 * most, most // 2):
        rows = np.arange(start, start + most // 2)
        losses.note(rows, np.ones(len(rows), dtype=np.int64), np.full(len(rows), start // most * NS_PER_S))
        assert losses.nbytes <= (most + MOST_WAITING) * LOSS.itemsize
    rows, _ = losses.at(5 * NS_PER_S)
    assert rows.tolist() == list(range(2 * most, 3 * most))


def test_count_stops_at_the_most_it_can_say() -> None:
    losses = Losses(SITES)
    note(losses, (1, 2**32 - 2, 1), (1, 2**40, 2))
    assert at(losses, 2) == {1: 2**32 - 1}


def test_many_losses_between_two_looks_cost_one_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    sorts: list[int] = []
    lexsort = np.lexsort

    def counting(keys: Any) -> NDArray[np.int64]:
        sorts.append(1)
        return lexsort(keys)

    monkeypatch.setattr(np, "lexsort", counting)
    losses = Losses(SITES)
    for n in range(1_000):
        note(losses, (n % 50, 1, n % 7))
    assert sum(at(losses, 7).values()) == 1_000
    assert len(sorts) == 1


TOLD = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(0, QUIET // 2)), max_size=30)


@given(TOLD, st.lists(st.sampled_from(["look", "copy", "go on"]), min_size=30, max_size=30))
def test_looks_and_restarts_in_between_change_nothing(
    told: Sequence[tuple[int, int, int]], between: list[str]
) -> None:
    losses, t_s = Losses(SITES), 0
    plain: dict[int, tuple[int, int]] = {}
    for (row, lost, later_s), then in zip(told, between, strict=False):
        t_s += later_s
        before, last_s = plain.get(row, (0, t_s))
        plain[row] = (lost + (before if t_s - last_s < QUIET else 0), t_s)
        note(losses, (row, lost, t_s))
        if then == "look":
            at(losses, t_s)
        elif then == "copy":
            state, losses = losses.state(), Losses(SITES)
            losses.restore(state)
    assert at(losses, t_s) == {row: lost for row, (lost, last_s) in plain.items() if t_s - last_s < QUIET}


def test_copy_of_another_version_is_forgotten() -> None:
    losses = Losses(SITES)
    note(losses, (1, 1, 1))
    losses.restore(np.zeros(3, dtype=np.int64))
    assert at(losses, 1) == {}
