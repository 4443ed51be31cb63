"""Clearing in merit order, beside a linear programme that knows nothing of it."""

from __future__ import annotations

from random import Random

import highspy
import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.market.bids import BandOffer
from shoal.market.merit import Side, Stack, cleared_against, stack_around
from shoal.market.nem import ENERGY, NEM
from tests.unit.market.days import DAY, a_bid, bands

FIRST = NEM.delivery_intervals(ENERGY, DAY)[0]
FLOOR, CAP = -1000.0, 20300.0


def stack(offers: list[tuple[float, float]], demand_mw: float) -> Stack:
    return Stack(
        price_per_mwh=np.array([price for price, _ in offers]),
        quantity_mw=np.array([quantity for _, quantity in offers]),
        demand_mw=demand_mw,
    )


def sides(*offers: BandOffer) -> dict[str, Side]:
    return {
        offer.side: (offer.band_price_per_mwh, {band.start_ns: band for band in offer.intervals})
        for offer in offers
    }


def clear(own: dict[str, Side], others: Stack) -> tuple[int, float]:
    return cleared_against(own, FIRST.start_ns, others, floor_per_mwh=FLOOR, cap_per_mwh=CAP)


OTHERS = stack([(10.0, 500.0), (60.0, 300.0), (200.0, 200.0)], 900.0)


def test_without_bids_the_last_offer_needed_sets_the_price() -> None:
    assert clear({}, OTHERS) == (0, 200.0)


@pytest.mark.parametrize(("mw", "power_w", "price"), [(50.0, -50_000_000, 200.0), (100.0, -100_000_000, 60.0),
                                                      (400.0, -400_000_000, 10.0), (1000.0, -900_000_000, 0.0)])  # fmt: skip
def test_a_large_fleet_moves_the_price(mw: float, power_w: int, price: float) -> None:
    assert clear(sides(bands(ENERGY, [FIRST], mw={2: mw})), OTHERS) == (power_w, price)


def test_charging_lifts_the_price_until_it_is_not_wanted() -> None:
    load = sides(bands(ENERGY, [FIRST], side="load", mw={5: 300.0}))  # pays up to 90
    assert clear(load, stack([(10.0, 500.0), (60.0, 300.0), (200.0, 200.0)], 600.0)) == (200_000_000, 90.0)
    assert clear(load, stack([(10.0, 500.0), (60.0, 300.0), (200.0, 200.0)], 400.0)) == (300_000_000, 60.0)
    assert clear(load, OTHERS) == (0, 200.0)


def test_offers_at_one_price_share_in_proportion() -> None:
    own = sides(bands(ENERGY, [FIRST], mw={4: 100.0}))  # at 50
    assert clear(own, stack([(0.0, 100.0), (50.0, 300.0)], 300.0)) == (-50_000_000, 50.0)


def test_shortage_and_surplus_reach_the_limits() -> None:
    own = sides(bands(ENERGY, [FIRST], mw={4: 100.0}), bands(ENERGY, [FIRST], side="load", mw={0: 30.0}))
    assert clear(own, stack([(0.0, 10.0)], 500.0)) == (-100_000_000, CAP)
    assert clear(own, stack([(0.0, 10.0)], -40.0)) == (30_000_000, FLOOR)


def test_a_stack_must_be_numbers() -> None:
    with pytest.raises(InvalidInputError, match="one quantity for each price"):
        Stack(price_per_mwh=np.zeros(2), quantity_mw=np.zeros(3), demand_mw=1.0)
    with pytest.raises(InvalidInputError, match="finite"):
        stack([(float("nan"), 1.0)], 1.0)


def test_merit_order_is_the_cheapest_way() -> None:
    """The same market as a linear programme: least cost of supply less the worth of load."""
    random = Random(2)
    for _ in range(60):
        offers = [(float(random.randint(-60, 400)), float(random.randint(0, 300))) for _ in range(12)]
        gen = bands(ENERGY, [FIRST], mw={n: float(random.randint(0, 90)) for n in range(4, 9)}, most_mw=150.0)
        load = bands(
            ENERGY,
            [FIRST],
            side="load",
            mw={n: float(random.randint(0, 90)) for n in range(1, 4)},
            most_mw=120.0,
        )
        others = stack(offers, float(random.randint(0, 1500)))
        power_w, price = clear(sides(gen, load), others)
        if price in (FLOOR, CAP):
            continue
        lp = highspy.Highs()  # type: ignore[no-untyped-call]
        lp.setOptionValue("output_flag", False)
        supply = [(lp.addVariable(lb=0, ub=quantity, obj=cost), 1) for cost, quantity in offers]
        own_gen = [
            lp.addVariable(lb=0, ub=quantity, obj=cost)
            for cost, quantity in zip(gen.band_price_per_mwh, gen.intervals[0].band_avail_mw, strict=True)
        ]
        own_load = [
            lp.addVariable(lb=0, ub=quantity, obj=-worth)
            for worth, quantity in zip(load.band_price_per_mwh, load.intervals[0].band_avail_mw, strict=True)
        ]
        lp.addConstr(sum(own_gen) <= 150.0)
        lp.addConstr(sum(own_load) <= 120.0)
        lp.addConstr(sum(v for v, _ in supply) + sum(own_gen) - sum(own_load) == others.demand_mw)
        lp.minimize()
        assert lp.getModelStatus() == highspy.HighsModelStatus.kOptimal
        best = lp.getInfo().objective_function_value
        # The dispatch found, priced by itself: the others serve the rest from the cheapest up.
        left = others.demand_mw + power_w / 1e6
        cost = 0.0
        for offer, quantity in sorted(offers):
            used = min(quantity, left)
            cost, left = cost + offer * used, left - used
        own = -power_w / 1e6
        ladder = sorted(zip(gen.band_price_per_mwh, gen.intervals[0].band_avail_mw, strict=True))
        for offer, quantity in ladder if own > 0 else ():
            used = min(quantity, own)
            cost, own = cost + offer * used, own - used
        for worth, quantity in reversed(
            list(zip(load.band_price_per_mwh, load.intervals[0].band_avail_mw, strict=True))
        ):
            used = min(quantity, -own) if own < 0 else 0.0
            cost, own = cost - worth * used, own + used
        assert abs(left) < 1e-6 and abs(own) < 1e-6
        assert cost == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("price", [-1000.0, -37.5, 0.0, 88.25, 17_000.0, 20_300.0])
@pytest.mark.parametrize("demand_mw", [3.0, 95.0, 6000.0])
def test_a_stack_around_a_price_clears_there_and_gives_way(price: float, demand_mw: float) -> None:
    others = stack_around(
        price, demand_mw, lot_mw=10.0, step_per_mwh=2.5, floor_per_mwh=FLOOR, cap_per_mwh=CAP
    )
    assert clear({}, others) == (0, price)
    for lots in (1, 3):
        load = sides(bands(ENERGY, [FIRST], side="load", mw={9: 10.0 * lots}))  # at any price
        assert clear(load, others)[1] == min(price + 2.5 * lots, CAP)
        if demand_mw > 50:
            gen = sides(bands(ENERGY, [FIRST], mw={0: 10.0 * lots}))
            power_w, found = clear(gen, others)
            assert found == max(price - 2.5 * lots, FLOOR)
            assert found == FLOOR or power_w == -round(lots * 1e7)  # at the floor all share


def test_a_stack_around_a_price_needs_sound_numbers() -> None:
    with pytest.raises(InvalidInputError, match=r"lot_mw: 0\.0"):
        stack_around(1.0, 1.0, lot_mw=0.0, step_per_mwh=1.0, floor_per_mwh=FLOOR, cap_per_mwh=CAP)
    with pytest.raises(InvalidInputError, match=r"stay within -1000\.0 to 20300\.0"):
        stack_around(1e5, 1.0, lot_mw=1.0, step_per_mwh=1.0, floor_per_mwh=FLOOR, cap_per_mwh=CAP)


def test_the_market_gives_award_and_prices() -> None:
    bid = a_bid("nem", bands(ENERGY, [FIRST], mw={2: 100.0}))
    award, prices = NEM.clear_against(bid, {FIRST.start_ns: OTHERS}, bid_id="b", published_ns=1)
    assert prices == {FIRST.start_ns: 60.0}
    assert [(q.power_w, q.price_per_mwh, q.end_ns) for q in award.quantities] == [
        (-100_000_000, 60.0, FIRST.end_ns)
    ]
