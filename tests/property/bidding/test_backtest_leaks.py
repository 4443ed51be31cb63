"""Nothing that was published after a decision changes it, bit for bit: whatever later prices become."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import shoal.bidding.cycle.balancing
import shoal.bidding.cycle.day_ahead  # noqa: F401 - both register
from shoal.bidding.backtest_gates import run_gates
from shoal.bidding.backtest_ledger import GateSetting
from shoal.bidding.backtest_prices import GridPrices
from shoal.bidding.cycle.climb import Climbed
from shoal.bidding.cycle.known import Situation, canonical
from tests.unit.bidding.gate_worlds import half_hourly, hourly, setting

ERCOT_FIRST, ERCOT_END = 12 * 24, 16 * 24 - 1  # over the change of the clock
GB_FIRST = 12 * 48 + 40


class Told:
    """Keeps each decision as bytes, with the digest of all that it was made from."""

    def __init__(self) -> None:
        self.said: list[tuple[int, str, bytes]] = []

    def __call__(self, situation: Situation, climbed: Climbed) -> None:
        content = climbed.decision.content() + canonical(situation)
        self.said.append((situation.as_of_ns, climbed.known.digest(), content))

    def until(self, t_ns: int) -> list[tuple[int, str, bytes]]:
        return [one for one in self.said if one[0] <= t_ns]


def decisions(about: GateSetting, prices: GridPrices, first: int, end: int) -> Told:
    told = Told()
    run_gates(about, prices, first_index=first, end_index=end, heard=told)
    return told


def changed_after(prices: GridPrices, t_ns: int, how: str, seed: int) -> GridPrices:
    """Return prices of which every one that was published after an instant is another one."""
    later = prices.known_ns > t_ns
    cents = prices.price_cents_per_mwh.copy()
    tail = cents[later]
    cents[later] = {
        "shifted": np.roll(tail, 1 + seed % 23),
        "raised": tail + 12_345,
        "turned": tail[::-1],
        "spiked": np.full(len(tail), 490_000),
    }[how]
    return replace(prices, price_cents_per_mwh=cents)


ERCOT = setting("ercot", "day-ahead", "HB_NORTH", "day-ahead")
ERCOT_PRICES = hourly("ercot", 16)
GB = setting("gb", "imbalance", "system", "imbalance")
GB_PRICES = half_hourly(14)
HOW = st.sampled_from(["shifted", "raised", "turned", "spiked"])
FEW = settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def ercot_told() -> Told:
    return decisions(ERCOT, ERCOT_PRICES, ERCOT_FIRST, ERCOT_END)


@pytest.fixture(scope="module")
def gb_told() -> Told:
    return decisions(GB, GB_PRICES, GB_FIRST, GB_FIRST + 24)


@FEW
@given(gate=st.integers(0, 3), how=HOW, seed=st.integers(0, 99))
def test_no_day_ahead_decision_changes_when_every_later_fact_does(
    ercot_told: Told, gate: int, how: str, seed: int
) -> None:
    t_ns = ercot_told.said[gate][0]
    changed = decisions(ERCOT, changed_after(ERCOT_PRICES, t_ns, how, seed), ERCOT_FIRST, ERCOT_END)
    assert changed.until(t_ns) == ercot_told.until(t_ns)
    assert len(changed.until(t_ns)) == gate + 1


@FEW
@given(gate=st.integers(0, 22), how=HOW, seed=st.integers(0, 99))
def test_no_decision_on_imbalance_changes_when_every_later_fact_does(
    gb_told: Told, gate: int, how: str, seed: int
) -> None:
    t_ns = gb_told.said[gate][0]
    changed = decisions(GB, changed_after(GB_PRICES, t_ns, how, seed), GB_FIRST, GB_FIRST + 24)
    assert changed.until(t_ns) == gb_told.until(t_ns)
    assert changed.said != gb_told.said


def test_the_leak_test_finds_a_leak(gb_told: Told) -> None:
    """Prices that come out before they can are caught."""
    early = replace(GB_PRICES, known_ns=GB_PRICES.start_ns - 10**14)
    t_ns = gb_told.said[8][0]
    before = decisions(GB, early, GB_FIRST, GB_FIRST + 24)
    late = GB_PRICES.known_ns > t_ns
    cents = np.where(late, early.price_cents_per_mwh[::-1], early.price_cents_per_mwh)
    after = decisions(GB, replace(early, price_cents_per_mwh=cents), GB_FIRST, GB_FIRST + 24)
    assert before.until(t_ns) != after.until(t_ns)
