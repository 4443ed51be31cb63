"""A settlement beside its shadow, in every market: what differs is found line by line, and what cannot be checked is said."""

from __future__ import annotations

from datetime import date
from random import Random

import msgspec
import pytest

from shoal.market.awards import Delivered, MarketAward, Settlement
from shoal.market.contract import Market
from shoal.market.registry import MODULES
from shoal.market.settlement import amounts_by_interval, settlement_intervals
from shoal.market.shadow import check_settlement
from tests.property.market.specimens import bid_of

each_market = pytest.mark.parametrize("market", MODULES, ids=lambda market: market.rules.market_id)
DAYS = {"spring": date(2025, 3, 9), "autumn": date(2025, 10, 26)}
Prices = dict[str, dict[int, float]]


def settled_day(
    market: Market, day: date, random: Random
) -> tuple[MarketAward, list[Delivered], Prices, Settlement]:
    """Return the award of a bid for the first intervals of a day, meters, prices, and what is settled."""
    bid = bid_of(random, market, day=day, count=4)
    grid = settlement_intervals(market.rules, day)
    prices: Prices = {
        product.product_id: {
            at.start_ns: round(random.uniform(-90, 290), 2)
            for at in market.delivery_intervals(product.product_id, day)
        }
        for product in market.products(day)
    }
    if market.rules.imbalance_price not in {"", *prices}:
        prices[market.rules.imbalance_price] = {
            at.start_ns: round(random.uniform(-90, 290), 2) for at in grid
        }
    award = market.clear(bid, prices, bid_id="b", published_ns=1)
    delivered = [
        Delivered(start_ns=at.start_ns, end_ns=at.end_ns, delivered_wh=random.randint(-50_000, 50_000))
        for at in grid
    ]
    run = market.rules.runs[0].run
    return award, delivered, prices, market.settle(award, delivered, prices, run=run, issued_ns=5)


@each_market
@pytest.mark.parametrize("day", DAYS.values(), ids=DAYS)
def test_a_settlement_agrees_with_its_own_shadow(market: Market, day: date) -> None:
    award, delivered, prices, settlement = settled_day(market, day, Random(1))
    checked = check_settlement(market, settlement, award=award, delivered=delivered, prices=prices)
    assert checked.agreed and checked.own_amount == checked.market_amount == settlement.amount


@each_market
@pytest.mark.parametrize("seed", range(3))
def test_every_difference_is_disputed_and_they_sum_to_the_whole(market: Market, seed: int) -> None:
    random = Random(seed)
    award, delivered, prices, settlement = settled_day(market, DAYS["autumn"], random)
    wrong = random.sample(range(len(settlement.lines)), min(3, len(settlement.lines)))
    lines = list(settlement.lines)
    for number in wrong:
        lines[number] = msgspec.structs.replace(
            lines[number],
            energy_wh=lines[number].energy_wh + random.choice((0, 5)),
            price_cents_per_mwh=lines[number].price_cents_per_mwh + random.choice((0, 3)),
            amount=lines[number].amount + random.randint(1, 10**9),
        )
    theirs = msgspec.structs.replace(
        settlement, lines=tuple(lines[:-1]), amount=sum(line.amount for line in lines[:-1])
    )
    checked = check_settlement(market, theirs, award=award, delivered=delivered, prices=prices)
    last = len(settlement.lines) - 1
    expected = {
        (settlement.lines[number].start_ns, settlement.lines[number].product, settlement.lines[number].kind)
        for number in {*wrong, last}
    }
    assert {(one.start_ns, one.product, one.kind) for one in checked.disputes} == expected
    assert sum(one.amount for one in checked.disputes) == theirs.amount - settlement.amount
    assert sum(one.reason == "only ours" for one in checked.disputes) == 1


@pytest.mark.parametrize(
    "market",
    [
        market for market in MODULES if market.rules.market_id != "peak"
    ],  # it pays by performance, without prices
    ids=lambda market: market.rules.market_id,
)
def test_what_is_not_known_is_left_out_and_the_rest_is_checked(market: Market) -> None:
    award, delivered, prices, settlement = settled_day(market, DAYS["autumn"], Random(2))
    key = market.rules.imbalance_price or next(iter(prices))
    line = next(one for one in settlement.lines if one.product == key)
    gone = {name: dict(held) for name, held in prices.items()}
    del gone[key][line.start_ns]
    checked = check_settlement(market, settlement, award=award, delivered=delivered, prices=gone)
    assert not checked.disputes and not checked.agreed
    (part,) = checked.unchecked
    assert part.start_ns <= line.start_ns < part.end_ns and "give the published price" in part.why
    outside = [
        amount
        for at, amount in amounts_by_interval(settlement.lines).items()
        if not part.start_ns <= at.start_ns < part.end_ns
    ]
    assert checked.own_amount == checked.market_amount == sum(outside)


@each_market
def test_without_an_award_of_ones_own_all_of_it_is_theirs(market: Market) -> None:
    _, delivered, prices, settlement = settled_day(market, DAYS["spring"], Random(3))
    checked = check_settlement(market, settlement, award=None, delivered=delivered, prices=prices)
    assert checked.award_version == 0
    kinds = {one.kind for one in checked.disputes if one.reason == "only theirs"}
    assert kinds <= {"award", "capacity", "performance", "penalty"}
    assert sum(one.amount for one in checked.disputes) == checked.market_amount - checked.own_amount
