"""Settled events: money adds up to the last unit, whoever leaves is paid until then, every line says why."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_MINUTE, Interval
from shoal.settle.event import EventTerms, Measured, by_battery, settle_event

STEP_NS = 15 * NS_PER_MINUTE
TERMS = EventTerms(program="emergency", currency="USD", price_cents_per_mwh=200_000, owner_share_permille=800)
EVENT = Interval(start_ns=0, end_ns=4 * STEP_NS)


def measured(
    reduced_wh: list[list[int]], known: NDArray[np.bool_] | None = None, why: tuple[str, ...] | None = None
) -> Measured:
    difference = np.array(reduced_wh, dtype=np.int64)
    marks = np.ones(difference.shape, dtype=np.bool_) if known is None else known
    start_ns = np.arange(difference.shape[1], dtype=np.int64) * STEP_NS
    return Measured(
        rule_name="test",
        interval_start_ns=start_ns,
        interval_end_ns=start_ns + STEP_NS,
        baseline_wh=np.full(difference.shape, 1_000),
        metered_wh=1_000 - difference,
        known=marks,
        why_none=why or ("",) * len(difference),
    )


def test_homes_are_paid_for_what_they_delivered() -> None:
    done = settle_event(
        measured([[100, 100, 100, 100], [300, 300, 300, 300]]),
        TERMS,
        event_id="e",
        site_ids=["a", "b"],
        event=EVENT,
        target_wh=2_000,
    )
    assert done.delivered_wh == 1_600
    assert done.performance_frac == 0.8
    assert done.amount == 1_600 * 200_000  # 3.20 USD
    assert [line.amount for line in done.lines] == [64_000_000, 192_000_000]
    assert done.operator_amount == 64_000_000
    assert done.balance_error == 0


def test_who_leaves_is_paid_until_then() -> None:
    rows = [[100, 100, -900, -900], [100, 100, 100, 100], [100, 100, 100, 100], [100, 100, 100, 100]]
    done = settle_event(
        measured(rows),
        TERMS,
        event_id="e",
        site_ids=["left", "stayed", "left-within", "never-came"],
        event=EVENT,
        left_ns={"left": 2 * STEP_NS + 60, "left-within": 2 * STEP_NS + 60, "never-came": 0},
    )
    assert [line.delivered_wh for line in done.lines] == [200, 400, 300, 0]
    assert [line.reason for line in done.lines] == ["left_early", "delivered", "left_early", "left_before"]
    assert done.lines[0].interval_count == 2
    assert done.balance_error == 0


def test_what_cannot_be_shown_is_not_paid_and_says_why() -> None:
    known = np.ones((4, 4), dtype=np.bool_)
    known[0] = False
    known[1] = False
    known[2, 3] = False
    done = settle_event(
        measured(
            [[100] * 4, [100] * 4, [100] * 4, [-100] * 4],
            known,
            ("too_few_days", "event_not_metered", "", ""),
        ),
        TERMS,
        event_id="e",
        site_ids=list("abcd"),
        event=EVENT,
    )
    assert [line.reason for line in done.lines] == [
        "no_baseline",
        "not_metered",
        "partly_metered",
        "used_more",
    ]
    assert done.lines[0].detail == "too few days"
    assert done.lines[2].detail == "1 intervals not metered"
    assert [line.amount > 0 for line in done.lines] == [False, False, True, False]
    assert done.delivered_wh == 300


def test_a_program_may_count_all_sites_together_and_pay_up_to_a_limit() -> None:
    terms = EventTerms(
        program="peak",
        currency="USD",
        price_cents_per_mwh=100,
        owner_share_permille=1000,
        owner_loss=True,
        most_paid_permille=1_100,
    )
    together = settle_event(
        measured([[500] * 4, [-100] * 4]),
        terms,
        event_id="e",
        site_ids=["a", "b"],
        event=EVENT,
        target_wh=1_000,
    )
    assert (together.delivered_wh, together.paid_wh, together.amount) == (1_600, 1_100, 110_000)
    assert [line.amount for line in together.lines] == [110_000, 0]


def test_battery_meter_counts_what_came_out() -> None:
    boundaries = np.arange(3, dtype=np.int64) * STEP_NS
    found = by_battery(
        charge_wh=np.array([[10, 10, 40]]),
        discharge_wh=np.array([[5, 105, 105]]),
        known=np.ones((1, 3), dtype=np.bool_),
        boundary_ns=boundaries,
    )
    done = settle_event(
        found, TERMS, event_id="e", site_ids=["a"], event=Interval(start_ns=0, end_ns=2 * STEP_NS)
    )
    assert done.lines[0].delivered_wh == 70
    assert done.rule_name == "battery"


def test_wrong_sites_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="site_ids"):
        settle_event(measured([[1], [1]]), TERMS, event_id="e", site_ids=["a", "a"], event=EVENT)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(-5_000, 5_000), min_size=4, max_size=4), min_size=1, max_size=12),
    permille=st.integers(0, 1000),
    price=st.integers(-10_000, 9_000_000),
    loss=st.booleans(),
    left=st.lists(st.integers(0, 5 * STEP_NS), min_size=12, max_size=12),
)
def test_money_always_adds_up(
    rows: list[list[int]], permille: int, price: int, loss: bool, left: list[int]
) -> None:
    terms = EventTerms(
        program="p", currency="USD", price_cents_per_mwh=price, owner_share_permille=permille, owner_loss=loss
    )
    sites = [f"s{row}" for row in range(len(rows))]
    done = settle_event(
        measured(rows),
        terms,
        event_id="e",
        site_ids=sites,
        event=EVENT,
        left_ns={site: left[row] for row, site in enumerate(sites) if row % 2},
    )
    assert done.balance_error == 0
    assert done.amount == done.paid_wh * price
    for line in done.lines:
        assert line.delivered_wh == line.baseline_wh - line.metered_wh
        assert line.amount == 0 or line.counted_wh > 0
