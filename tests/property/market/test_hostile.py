"""Bids with any number or word in them: a market answers each, and what it accepts it can clear and settle."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shoal.domain.outcome import Accepted
from shoal.market.bids import MarketBid
from shoal.market.contract import Market, RejectedBid
from shoal.market.registry import MODULES
from tests.property.market.specimens import DAY, bid_of, in_time_ns

NUMBERS = (0.0, -0.0, -1.0, 1e-9, 0.1, 1e6, 1e300, -1e300, 5e-324, float("nan"), float("inf"), -float("inf"))
COUNTS = (0, -1, 1, 2**31, 2**63 - 1, -(2**63), 10**18)
WORDS = (
    "",
    "buy",
    "x" * 200,
    "9999-12-31",
    "0001-01-01",
    "2025-12-15",
    "2025-02-30",
    "block-0",
    "énergie",
    "\x00",
)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every plain value in a tree."""
    if isinstance(value, dict):
        return [found for key, each in value.items() for found in leaves(each, (*path, key))]
    if isinstance(value, list):
        return [found for key, each in enumerate(value) for found in leaves(each, (*path, key))]
    return [path]


def spoil(random: Random, tree: Any) -> None:
    """Put something else of the same kind in one place."""
    path = random.choice(leaves(tree))
    holder = tree
    for key in path[:-1]:
        holder = holder[key]
    old = holder[path[-1]]
    if isinstance(old, float):
        holder[path[-1]] = random.choice(NUMBERS)
    elif isinstance(old, int):
        holder[path[-1]] = random.choice(COUNTS)
    elif isinstance(old, str) and path[-1] != "shape":
        holder[path[-1]] = random.choice(WORDS)


@pytest.mark.parametrize("market", MODULES, ids=lambda market: market.rules.market_id)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    random=st.randoms(use_true_random=False), blows=st.integers(1, 3), received_ns=st.sampled_from((0, None))
)
def test_every_bid_is_answered(market: Market, random: Random, blows: int, received_ns: int | None) -> None:
    good = bid_of(random, market, count=2, products=2)
    tree = msgspec.json.decode(msgspec.json.encode(good))
    for _ in range(blows):
        spoil(random, tree)
    try:
        bid = msgspec.convert(tree, MarketBid)
    except msgspec.ValidationError:
        return  # the wire refuses it before the market sees it
    at_ns = in_time_ns(market) if received_ns is None else received_ns
    for standing in (None, msgspec.structs.replace(good, revision=0)):
        outcome = market.validate(bid, received_ns=at_ns, standing=standing)
        assert isinstance(outcome, Accepted | RejectedBid)
        if isinstance(outcome, RejectedBid):
            assert outcome.reason in market.rules.reasons
            continue
        prices = {
            product.product_id: {
                interval.start_ns: 50.0 for interval in market.delivery_intervals(product.product_id, DAY)[:2]
            }
            for product in market.products(DAY)
        }
        if bid.delivery_date == DAY.isoformat():
            assert market.clear(bid, prices, bid_id="b", published_ns=1).version == 1
