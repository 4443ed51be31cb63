"""The whole loop, and what is done to it: every process may be killed, the same zeros hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.running import assert_zeros, kill_role, once_at, run_plant

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("loop")]

DECISIONS = (
    "revenue",
    "revenue_by_resource",
    "award_mwh",
    "delivered_mwh",
    "rungs",
    "samples_sent",
    "bids_accepted",
)


@pytest.fixture(scope="module")
def quiet_run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_plant(tmp_path_factory.mktemp("quiet"))


def test_a_day_of_the_loop_loses_nothing_and_delivers(quiet_run: dict[str, Any]) -> None:
    assert_zeros(quiet_run)
    assert quiet_run["rungs"] == {"fresh": 4}
    assert quiet_run["gates_total"] == 4
    assert quiet_run["duplicates_dropped"] > 0, "the network of the homes has faults by default"
    assert 0.9 < quiet_run["coverage_mean"] < 1.0
    assert quiet_run["revenue"] <= quiet_run["revenue_perfect_foresight"]
    assert sum(quiet_run["restarts"].values()) == 0


def test_the_same_seed_makes_the_same_decisions_and_the_same_money_even_if_telemetry_is_killed(
    quiet_run: dict[str, Any], tmp_path: Path
) -> None:
    act, done = once_at(0.5, lambda supervisor: kill_role(supervisor, "telemetry"))
    report = run_plant(tmp_path, act=act)
    assert done
    assert report["restarts"]["telemetry"] == 1
    assert_zeros(report)
    assert {name: report[name] for name in DECISIONS} == {name: quiet_run[name] for name in DECISIONS}


def test_a_killed_bidding_process_comes_back_and_bids_once(quiet_run: dict[str, Any], tmp_path: Path) -> None:
    # 9:05 local: the lead time before the gate at 10:00 has begun
    act, done = once_at(9.09 / 24, lambda supervisor: kill_role(supervisor, "bidding"))
    report = run_plant(tmp_path, act=act)
    assert done
    assert report["restarts"]["bidding"] == 1
    assert_zeros(report)
    assert report["bids_accepted"] == quiet_run["bids_accepted"]
    assert report["revenue"] == quiet_run["revenue"]
