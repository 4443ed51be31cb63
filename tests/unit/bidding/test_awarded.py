"""What may come of offers at most, whatever their shape: what is still to be kept possible."""

from __future__ import annotations

import pytest

from shoal.bidding.awarded import offered_w
from shoal.market.bids import (
    BandInterval,
    BandOffer,
    Block,
    BlockInterval,
    Blocks,
    CurveInterval,
    CurvePoint,
    LoadTarget,
    Offer,
    Orders,
    StorageCurves,
    TargetInterval,
)
from shoal.market.types import Order, Side


def order(side: Side, quantity_mw: float, start_ns: int = 0) -> Order:
    return Order(
        start_ns=start_ns, end_ns=start_ns + 1, side=side, quantity_mw=quantity_mw, limit_price_per_mwh=1.0
    )


def band(max_avail_mw: float) -> BandInterval:
    return BandInterval(
        start_ns=0, end_ns=1, max_avail_mw=max_avail_mw, band_avail_mw=(max_avail_mw, *(0.0,) * 9)
    )


def block(name: str, side: Side, quantity_mw: float) -> Block:
    return Block(
        block_id=name,
        side=side,
        limit_price_per_mwh=1.0,
        intervals=(BlockInterval(start_ns=0, end_ns=1, quantity_mw=quantity_mw),),
    )


@pytest.mark.parametrize(
    ("offer", "powers_w"),
    [
        (
            Orders(product="e", orders=(order("sell", 0.2), order("sell", 0.3), order("buy", 0.1, 5))),
            [-500_000, 100_000],
        ),
        (
            StorageCurves(
                product="e",
                intervals=(
                    CurveInterval(
                        start_ns=0,
                        end_ns=1,
                        points=(
                            CurvePoint(output_mw=-1.0, price_per_mwh=0.0),
                            CurvePoint(output_mw=2.0, price_per_mwh=9.0),
                        ),
                    ),
                ),
            ),
            [1_000_000, -2_000_000],
        ),
        (
            BandOffer(product="e", side="gen", band_price_per_mwh=(0.0,) * 10, intervals=(band(3.0),)),
            [-3_000_000],
        ),
        (
            BandOffer(product="e", side="load", band_price_per_mwh=(0.0,) * 10, intervals=(band(3.0),)),
            [3_000_000],
        ),
        (
            Blocks(product="e", blocks=(block("a", "sell", 1.0), block("b", "sell", 0.5))),
            [-1_500_000],
        ),
        (
            LoadTarget(
                product="e",
                intervals=(TargetInterval(start_ns=0, end_ns=1, load_mw=-0.4),),
            ),
            [-400_000],
        ),
    ],
    ids=["orders", "curves", "gen", "load", "blocks", "target"],
)
def test_most_that_may_come_of_an_offer(offer: Offer, powers_w: list[int]) -> None:
    assert sorted(offered_w(offer)) == sorted((power_w, 1) for power_w in powers_w)
