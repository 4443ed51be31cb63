"""Services that devices do not back, in an auction that clears energy and services together."""

from __future__ import annotations

from datetime import date
from typing import Final

import pytest

from shoal.bidding.cycle import reserves
from shoal.bidding.cycle.decision import Decision, decide
from shoal.bidding.cycle.known import Known, Offered, Withheld
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.bids import Orders, StorageCurves
from shoal.market.registry import market_module
from shoal.market.series import price_series
from tests.unit.bidding.gate_known import assert_valid, daily, known_at

ERCOT: Final = market_module("ercot")
DAY: Final = date(2026, 2, 1)
GATE: Final = ERCOT.gates("day-ahead", DAY)[0]
SAID: Final = "no more than 0 kW of regup is offered: droop"


def known(limits_kw: dict[str, float] | None = None, **more: object) -> Known:
    facts = {
        price_series("ercot", "HB_NORTH", one.product_id): daily(
            GATE.covers.start_ns,
            days=40,
            step_ns=NS_PER_HOUR,
            seed=n,
            level=40.0 if one.kind == "energy" else 30.0,
            swing=30.0 if one.kind == "energy" else 4.0,
            noise=2.0,
        )
        for n, one in enumerate(ERCOT.products(DAY))
    }
    if limits_kw is not None:
        withheld = Withheld(reason="parameter_drift", sites=1, power_kw=1.0, energy_kwh=0.0, said=SAID)
        more["offered"] = Offered(withheld=(withheld,), service_limit_kw=limits_kw)
    return known_at("ercot", "HB_NORTH", DAY, GATE, "reserves", facts, **more)  # type: ignore[arg-type]


def most_mw(decision: Decision) -> dict[str, float]:
    return {
        offer.product: max(order.quantity_mw for order in offer.orders)
        for offer in decision.offers
        if isinstance(offer, Orders)
    }


@pytest.mark.parametrize("limit_kw", [0.0, 3_250.0])
def test_service_is_offered_as_far_as_it_is_backed_and_energy_goes_on(limit_kw: float) -> None:
    free = known()
    sold = decide(free, "co_optimised")
    standing = assert_valid(free, sold)
    best = max(most_mw(sold), key=lambda name: most_mw(sold)[name])
    assert most_mw(sold)[best] > 10.0
    bound = known({best: limit_kw}, standing=standing)
    less = decide(bound, "co_optimised")
    assert_valid(bound, less)
    assert less.reasons[-1] == SAID
    assert any(isinstance(offer, StorageCurves) for offer in less.offers)
    taken_back = ERCOT.product(best).quantity_minimum_mw
    wanted = [
        order.quantity_mw
        for offer in less.offers
        if isinstance(offer, Orders) and offer.product == best
        for order in offer.orders
    ]
    assert max(wanted) <= max(limit_kw / 1e3, taken_back)
    others = {name: mw for name, mw in most_mw(less).items() if name != best}
    assert max(others.values()) > 1.0


def test_reasons_of_every_rung_say_what_is_not_offered() -> None:
    bound = known({"regup": 0.0})
    for name in ("energy_only", "simple", "idle", "standing"):
        assert decide(bound, name).reasons[-1] == SAID
    assert all(SAID not in decide(known(), one.name).reasons for one in reserves.RESERVES.rungs)
