"""Canary dispatch: an even few first, and on only when their meters show what was asked."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.control.canary import judge_canaries, pick_canaries
from shoal.store.order_records import CanarySpec

SPEC = CanarySpec(share_frac=0.1, watch_s=300.0, responding_frac=0.9, error_frac=0.2)


def test_canaries_are_an_even_share_of_every_stratum() -> None:
    rows = np.arange(100, 500, dtype=np.int64)
    strata = (rows // 100).astype(np.int64)
    picked = pick_canaries(rows, strata, share_frac=0.05)
    assert len(picked) == 20
    assert np.all(np.diff(picked) > 0)
    assert [int((picked // 100 == stratum).sum()) for stratum in (1, 2, 3, 4)] == [5, 5, 5, 5]
    assert np.array_equal(picked, pick_canaries(rows, strata, share_frac=0.05)), "the same every time"
    assert not np.array_equal(picked, pick_canaries(rows, strata, share_frac=0.05, salt=7))


@pytest.mark.parametrize(("sites", "count"), [(0, 0), (1, 1), (7, 1), (30, 2)])
def test_canaries_are_one_at_least(sites: int, count: int) -> None:
    rows = np.arange(sites, dtype=np.int64)
    assert len(pick_canaries(rows, rows, share_frac=0.05)) == count


@pytest.mark.parametrize(
    ("share", "metered", "watched_s", "verdict"),
    [
        ([1.0] * 10, 10, 100.0, "wait"),
        ([1.0] * 10, 10, 300.0, "go"),
        ([0.9] * 10, 10, 300.0, "go"),
        ([1.0] * 8 + [0.0] * 2, 10, 300.0, "abort"),  # 80 % respond
        ([0.7] * 10, 10, 300.0, "abort"),  # all respond, the sum is off by 30 %
        ([-1.0] * 10, 10, 300.0, "abort"),
        ([1.0] * 10, 4, 300.0, "wait"),
        ([1.0] * 10, 4, 600.0, "abort"),
    ],
)
@pytest.mark.parametrize("asked_w", [-3_000, 2_000])
def test_trial_is_decided_by_the_meters(
    asked_w: int, share: list[float], metered: int, watched_s: float, verdict: str
) -> None:
    said = judge_canaries(
        SPEC,
        asked_w=np.full(10, asked_w),
        measured_w=np.array([part * asked_w for part in share], dtype=np.float64),
        metered=np.arange(10) < metered,
        watched_s=watched_s,
    )
    assert said.verdict == verdict, said.reason


def test_trial_of_what_no_meter_shows_goes_on_after_the_watch() -> None:
    nothing = np.zeros(5, dtype=np.int64)
    still: NDArray[np.float64] = np.zeros(5)
    said = judge_canaries(SPEC, asked_w=nothing, measured_w=still, metered=nothing == 0, watched_s=301.0)
    assert said.verdict == "go"
