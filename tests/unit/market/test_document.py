"""`docs/markets.md` does what it says: its programme runs, and the market that it writes passes the conformance suite."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from shoal.domain.outcome import Accepted
from tests.property.market import test_conformance as suite
from tests.property.market.refusals import refusals_of

DOCUMENT = Path(__file__).parents[3] / "docs" / "markets.md"


@pytest.fixture(scope="module")
def namespace() -> dict[str, Any]:
    """Run the page from top to bottom, as one programme."""
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 4
    found: dict[str, Any] = {"__name__": __name__}
    for block in blocks:
        exec(compile(block, str(DOCUMENT), "exec", dont_inherit=True), found)
    return found


def test_the_page_runs(namespace: dict[str, Any]) -> None:
    assert namespace["final"].version == 2


@pytest.mark.parametrize(
    "check",
    [
        suite.test_valid_bids_are_accepted_and_revised,
        suite.test_awards_stay_within_bids,
        suite.test_a_better_price_never_awards_less,
        suite.test_settlement_sums_to_the_unit,
        suite.test_a_correction_changes_exactly_what_it_names,
        suite.test_settlement_faults_say_what_is_missing,
        suite.test_rounding_is_never_worse_and_is_taken,
        suite.test_intervals_tile_the_day_and_gates_come_before,
    ],
    ids=lambda check: check.__name__,
)
def test_the_market_of_the_page_conforms(namespace: dict[str, Any], check: Any) -> None:
    check(market=namespace["EVENING"])


def test_the_market_of_the_page_reaches_what_it_declares(namespace: dict[str, Any]) -> None:
    market = namespace["EVENING"]
    reached = {"hours_count"}  # read on the page itself
    for case in refusals_of(market):
        outcome = market.validate(case.bid, received_ns=case.received_ns, standing=case.standing)
        assert not isinstance(outcome, Accepted)
        assert outcome.reason == case.reason
        reached.add(outcome.reason)
    assert reached == set(market.rules.reasons)
