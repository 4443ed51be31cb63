"""Islands: a device's word counts at once, a flow over the connection outweighs it, what it has is nobody's to promise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoal.control.islanding import (
    ISLANDED,
    IslandState,
    IslandStep,
    step_islands,
    without_islanded,
    without_islanded_kw,
)
from shoal.domain.orders import OrderReport
from shoal.domain.telemetry import TELEMETRY
from shoal.programs.claims import SiteAbility


def samples(t_ns: int, **columns: list[int]) -> NDArray[Any]:
    latest = np.zeros(2, dtype=TELEMETRY.dtype)
    latest["ts_ns"] = t_ns
    for name, values in columns.items():
        latest[name] = values
    return latest


def report(t_ns: int, reason: str) -> OrderReport:
    return OrderReport(kind="orders", version=1, outcome="applied", t_ns=t_ns, reason=reason)


def test_a_device_that_says_so_is_out_at_once_and_back_when_it_says_so() -> None:
    state, step = step_islands(IslandState.of(2), [(1, report(5, ISLANDED))], samples(1, load_w=[900, 900]))
    assert step == IslandStep(lost=(1,))
    assert state.islanded.tolist() == [False, True]
    state, step = step_islands(state, [(1, report(4, ""))], samples(1))
    assert step == IslandStep(), "an older word changes nothing"
    _, step = step_islands(state, [(1, report(6, ""))], samples(1))
    assert step == IslandStep(back=(1,))


def test_a_home_that_lives_on_its_battery_is_no_island() -> None:
    state = IslandState.of(2)
    for second in range(1, 9):
        state, step = step_islands(state, [], samples(second, load_w=[800, 800], battery_w=[-800, -800]))
        assert step == IslandStep()


def test_power_over_the_connection_outweighs_a_word_that_was_lost() -> None:
    state, _ = step_islands(
        IslandState.of(2), [(0, report(5, ISLANDED))], samples(4, import_wh=[10, 10], load_w=[500, 500])
    )
    assert state.islanded[0]
    # the first sample after the word still holds what was bought before it
    state, step = step_islands(state, [], samples(9, import_wh=[20, 10], load_w=[500, 500]))
    assert step == IslandStep()
    _, step = step_islands(state, [], samples(10, import_wh=[21, 10], load_w=[500, 500]))
    assert step == IslandStep(back=(0,))


def test_what_an_island_can_do_is_nobodys_to_promise() -> None:
    columns: dict[str, Any] = {
        name: np.array([5, 7], dtype=np.int64)
        for name in ("charge_w", "discharge_w", "charge_wh", "discharge_wh", "cycle_left_wh", "kept_wh")
    }
    ability = SiteAbility(
        programs=("market",),
        **columns,
        enrolled_bits=np.ones(2, dtype=np.uint64),
        opted_out_bits=np.zeros(2, dtype=np.uint64),
        exclusive_index=np.full(2, -1),
        known=np.ones(2, dtype=np.bool_),
    )
    left = without_islanded(ability, np.array([False, True]))
    assert left.discharge_w.tolist() == left.charge_wh.tolist() == [5, 0]
    assert left.kept_wh.tolist() == [5, 7]
    assert (
        without_islanded_kw(12.0, np.array([5.0, 7.0]), np.array([False, True]), np.array([True, True]))
        == 5.0
    )
