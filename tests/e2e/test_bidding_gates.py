"""Gates of a hostile market, met by real processes: bidders killed, database connections cut, solvers hung, prices late."""

from __future__ import annotations

import pytest

from shoal.cli.benches._bidding_run import run_gates

SPEED = 900.0
GATES = 24


@pytest.mark.slow
@pytest.mark.alone
def test_no_gate_is_missed_and_no_bid_is_sent_twice_whatever_fails() -> None:
    seen = run_gates(gates=GATES, speed=SPEED, hostile=True)
    assert seen.market.gates_passed > GATES
    assert seen.market.missed == ()
    assert seen.market.bids_duplicate == seen.market.bids_conflicting == 0
    assert seen.refused_though_valid == 0
    assert seen.believed_wrong == 0
    assert seen.kills > 0
    assert seen.market.bids_accepted > 0
    assert sum(seen.rungs.values()) == seen.decisions > 0
