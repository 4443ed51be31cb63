"""What a rejected bidder reads, word for word: one message for each code that any market may give."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from shoal.domain.outcome import Rejected
from shoal.market.bids import (
    Block,
    BlockInterval,
    Blocks,
    CurveInterval,
    CurvePoint,
    MarketBid,
    Offer,
    Orders,
    StorageCurves,
)
from shoal.market.contract import Market, RejectedBid
from shoal.market.ercot import DAY_AHEAD, ERCOT
from shoal.market.nem import ENERGY, NEM
from shoal.market.registry import MODULES
from shoal.market.sdac import SDAC
from shoal.market.types import Order
from tests.unit.market.days import DAY, a_bid, bands, utc_ns

EARLY_NS = utc_ns(2025, 12, 1)
HOUR = ERCOT.delivery_intervals(DAY_AHEAD, DAY)[0]
QUARTER = SDAC.delivery_intervals("day-ahead", DAY)[0]
FIVE = NEM.delivery_intervals(ENERGY, DAY)[0]

BUY = Order(
    start_ns=QUARTER.start_ns, end_ns=QUARTER.end_ns, side="buy", quantity_mw=1.0, limit_price_per_mwh=30.0
)
BLOCK = Block(
    block_id="a",
    side="sell",
    limit_price_per_mwh=50.0,
    intervals=(BlockInterval(start_ns=QUARTER.start_ns, end_ns=QUARTER.end_ns, quantity_mw=1.0),),
)
CURVE = CurveInterval(
    start_ns=HOUR.start_ns,
    end_ns=HOUR.end_ns,
    points=(CurvePoint(output_mw=-5.0, price_per_mwh=10.0), CurvePoint(output_mw=5.0, price_per_mwh=60.0)),
)
BANDS = bands(ENERGY, [FIVE], mw={5: 10.0})


def orders(*changed: Any) -> MarketBid:
    return a_bid("sdac", Orders(product="day-ahead", orders=changed))


def blocks(*changed: Block) -> MarketBid:
    return a_bid("sdac", Blocks(product="day-ahead", blocks=changed))


def curve(*points: CurvePoint) -> MarketBid:
    curves = StorageCurves(product=DAY_AHEAD, intervals=(replace(CURVE, points=points),))
    return a_bid("ercot", curves)


def nem(**changes: Any) -> MarketBid:
    return a_bid("nem", replace(BANDS, **changes))


def band(**changes: Any) -> MarketBid:
    return nem(intervals=(replace(BANDS.intervals[0], **changes),))


SOUND: Offer = Orders(product="day-ahead", orders=(BUY,))
START = QUARTER.start_ns
MESSAGES: list[tuple[str, Market, MarketBid, str]] = [
    ("market_unknown", SDAC, a_bid("nem"), "market_id: 'nem' cannot be used; use 'sdac'"),
    (
        "idempotency_key",
        SDAC,
        a_bid("sdac", idempotency_key=""),
        "idempotency_key: '' cannot be used; give a key that no other bid has",
    ),
    (
        "delivery_date",
        SDAC,
        a_bid("sdac", delivery_date="20251215"),
        "delivery_date: '20251215' cannot be used; give a date as YYYY-MM-DD",
    ),
    ("revision", SDAC, a_bid("sdac", revision=0), "revision: 0 cannot be used; count revisions from 1"),
    (
        "product_unknown",
        SDAC,
        a_bid("sdac", Orders(product="intraday", orders=())),
        "offers[0].product: 'intraday' cannot be used; use one of day-ahead",
    ),
    (
        "product_inactive",
        NEM,
        a_bid("nem", bands("raise1sec", [], mw={}), delivery_date="2023-10-08"),
        "offers[0].product: 'raise1sec' cannot be used; bid for days from 2023-10-09 on",
    ),
    (
        "shape",
        SDAC,
        a_bid("sdac", StorageCurves(product="day-ahead", intervals=())),
        "offers[0]: 'storage_curves' cannot be used; day-ahead takes orders, blocks",
    ),
    (
        "duplicate_offer",
        SDAC,
        a_bid("sdac", SOUND, SOUND),
        "offers[1]: 'day-ahead' cannot be used; give one offer for a product, shape and side",
    ),
    (
        "interval_unknown",
        SDAC,
        orders(replace(BUY, end_ns=START + 1)),
        f"offers[0].orders[0].start_ns: '{START}..{START + 1}' cannot be used; use one of the 96 intervals of 2025-12-15",
    ),
    (
        "interval_unknown",
        SDAC,
        a_bid("sdac", SOUND, interval_start_ns=5),
        "interval_start_ns: 5 cannot be used; give the start of an interval of day-ahead on 2025-12-15",
    ),
    (
        "side",
        SDAC,
        orders(replace(BUY, side="hold")),
        "offers[0].orders[0].side: 'hold' cannot be used; use 'buy' or 'sell'",
    ),
    (
        "side",
        ERCOT,
        a_bid(
            "ercot",
            Orders(product="rrs", orders=(replace(BUY, start_ns=HOUR.start_ns, end_ns=HOUR.end_ns),)),
        ),
        "offers[0].orders[0].side: 'buy' cannot be used; use 'sell': capacity is offered, not bought",
    ),
    (
        "quantity_minimum",
        SDAC,
        orders(replace(BUY, quantity_mw=0.05)),
        "offers[0].orders[0].quantity_mw: 0.05 cannot be used; give at least 0.1 MW, or leave it out",
    ),
    (
        "quantity_limit",
        SDAC,
        orders(replace(BUY, quantity_mw=1e300)),
        "offers[0].orders[0].quantity_mw: 1e+300 cannot be used; give at most 100000 MW",
    ),
    (
        "quantity_step",
        SDAC,
        orders(replace(BUY, quantity_mw=1.25)),
        "offers[0].orders[0].quantity_mw: 1.25 cannot be used; give a multiple of 0.1 MW",
    ),
    (
        "price_limit",
        SDAC,
        orders(replace(BUY, limit_price_per_mwh=4000.01)),
        "offers[0].orders[0].limit_price_per_mwh: 4000.01 cannot be used; stay within -500.0 to 4000.0 EUR/MWh",
    ),
    (
        "price_tick",
        SDAC,
        orders(replace(BUY, limit_price_per_mwh=30.001)),
        "offers[0].orders[0].limit_price_per_mwh: 30.001 cannot be used; give a multiple of 0.01 EUR/MWh",
    ),
    (
        "points_count",
        SDAC,
        orders(*(BUY,) * 201),
        "offers[0].orders[200]: '2025-12-14T23:00:00.000Z' cannot be used; give at most 200 buy order(s) an interval",
    ),
    (
        "side_conflict",
        SDAC,
        orders(BUY, replace(BUY, side="sell")),
        "offers[0].orders: '2025-12-14T23:00:00.000Z' cannot be used; "
        "keep every buy limit of an interval below its sell limits, or drop one side",
    ),
    (
        "points_count",
        ERCOT,
        curve(CURVE.points[0]),
        "offers[0].intervals[0].points: 1 cannot be used; give 2 to 10 points",
    ),
    (
        "monotonicity",
        ERCOT,
        curve(*reversed(CURVE.points)),
        "offers[0].intervals[0].points[1]: '-5.0 MW at 10.0' cannot be used; let output and price ascend from point to point",
    ),
    (
        "duplicate_interval",
        ERCOT,
        a_bid("ercot", StorageCurves(product=DAY_AHEAD, intervals=(CURVE, CURVE))),
        "offers[0].intervals[1].start_ns: '2025-12-15T06:00:00.000Z' cannot be used; list each interval once",
    ),
    (
        "band_count",
        NEM,
        nem(band_price_per_mwh=BANDS.band_price_per_mwh[:3]),
        "offers[0].band_price_per_mwh: 3 cannot be used; give 10 prices",
    ),
    (
        "monotonicity",
        NEM,
        nem(band_price_per_mwh=(*BANDS.band_price_per_mwh[:9], 5000.0)),
        "offers[0].band_price_per_mwh[9]: 5000.0 cannot be used; give more than 5000.0",
    ),
    (
        "quantity_minimum",
        NEM,
        band(max_avail_mw=-3.0),
        "offers[0].intervals[0].max_avail_mw: -3.0 cannot be used; give 0 MW or more",
    ),
    (
        "trapezium",
        NEM,
        a_bid("nem", bands("raise6sec", [FIVE], mw={5: 10.0})),
        "offers[0].intervals[0].trapezium: None cannot be used; give the four corners for a service",
    ),
    (
        "service_side",
        NEM,
        a_bid("nem", bands("raise6sec", [], side="load", mw={})),
        "offers[0].side: 'load' cannot be used; offer contingency services once, on the 'gen' side",
    ),
    (
        "acceptance_frac",
        SDAC,
        blocks(replace(BLOCK, minimum_acceptance_frac=1.5)),
        "offers[0].blocks[0].minimum_acceptance_frac: 1.5 cannot be used; stay within 0.01 to 1",
    ),
    (
        "block_id",
        SDAC,
        blocks(BLOCK, BLOCK),
        "offers[0].blocks[1].block_id: 'a' cannot be used; give each block its own name",
    ),
    (
        "block_parent",
        SDAC,
        blocks(replace(BLOCK, parent_id="z")),
        "offers[0].blocks[0].parent_id: 'z' cannot be used; list the parent block before",
    ),
    (
        "block_group",
        SDAC,
        blocks(BLOCK, replace(BLOCK, block_id="b", parent_id="a", exclusive_group="g")),
        "offers[0].blocks[1].exclusive_group: 'g' cannot be used; give a block of an exclusive group no parent",
    ),
]
ELSEWHERE = {"gate_closed", "band_prices_fixed", "rebid_reason", "convexity", "reduction", "not_the_same"}
"""Codes whose messages are read in the tests of one market, and below."""


@pytest.mark.parametrize(("reason", "market", "bid", "message"), MESSAGES, ids=[m[0] for m in MESSAGES])
def test_rejection_names_field_value_and_fix(
    reason: str, market: Market, bid: MarketBid, message: str
) -> None:
    outcome = market.validate(bid, received_ns=EARLY_NS)
    assert isinstance(outcome, Rejected)  # the outcome that every caller knows
    assert isinstance(outcome, RejectedBid)
    assert (outcome.reason, outcome.detail) == (reason, message)


def test_rejection_by_what_stands_or_by_the_clock() -> None:
    standing = orders(BUY)
    again = SDAC.validate(standing, received_ns=EARLY_NS, standing=standing)
    assert isinstance(again, RejectedBid)
    assert again.detail == "revision: 1 cannot be used; give at least 2"
    other = replace(standing, revision=2, settlement_point="FR")
    outcome = SDAC.validate(other, received_ns=EARLY_NS, standing=standing)
    assert isinstance(outcome, RejectedBid)
    assert outcome.detail == "settlement_point: 'FR' cannot be used; revise the bid of 'VIC1'"
    gate_ns = SDAC.gates("day-ahead", DAY)[0].closes_ns
    late = SDAC.validate(standing, received_ns=gate_ns)
    assert isinstance(late, RejectedBid)
    assert late.detail == (
        "received_ns: '2025-12-14T11:00:00.000Z' cannot be used; bid before the gate at 2025-12-14T11:00:00.000Z"
    )


def test_no_code_is_without_its_message() -> None:
    declared = {reason for market in MODULES for reason in market.rules.reasons}
    assert declared == {message[0] for message in MESSAGES} | ELSEWHERE
