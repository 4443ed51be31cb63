"""The cost of an order: prices of its hours, wear of what is given, and nothing that is not known."""

from __future__ import annotations

import pytest

from shoal.api.dispatch.cost import NO_MARKET, NO_PRICE, REFILL, Share, cost_of, price_in
from shoal.api.live.state import PriceSeries
from shoal.domain.interval import NS_PER_HOUR
from shoal.store.order_records import Order, Scope, SetPointSpec
from tests.unit.api.plants import T0_NS

T0_MS = T0_NS // 1_000_000
HOUR_MS = 3_600_000


def make_prices() -> PriceSeries:
    """A published hour at 100, then one that is forecast, then nothing."""
    return PriceSeries(
        settlement_point="HB_NORTH",
        start_ms=[T0_MS, T0_MS + HOUR_MS],
        actual=[100.0, None],
        q05=[None, 20.0],
        q50=[None, 40.0],
        q95=[None, 60.0],
    )


def make_order(start_h: float, hours: float, power_w: int = -1_000_000) -> Order:
    start_ns = T0_NS + round(start_h * NS_PER_HOUR)
    return Order(
        order_id="o-1",
        program="peak",
        scope=Scope(fleet=True),
        start_ns=start_ns,
        end_ns=start_ns + round(hours * NS_PER_HOUR),
        spec=SetPointSpec(power_w=power_w),
        by="ann",
        at_ns=T0_NS,
    )


def make_share(energy_kwh: float, low_kwh: float, high_kwh: float) -> Share:
    return Share(
        energy_kwh=energy_kwh,
        low_kwh=low_kwh,
        high_kwh=high_kwh,
        currency="USD",
        wear_per_mwh=10.0,
        prices=make_prices(),
    )


def test_price_is_the_mean_of_the_span_and_known_throughout() -> None:
    order = make_order(0.5, 1.0)
    assert price_in(make_prices(), order.start_ns, order.end_ns) == (60.0, 70.0, 80.0)
    late = make_order(1.5, 1.0)
    assert price_in(make_prices(), late.start_ns, late.end_ns) is None


def test_discharging_earns_the_price_less_wear() -> None:
    cost = cost_of(make_order(0, 1), [make_share(-1_000, -1_100, -900)], -1_000, -1_100, -900)
    assert (cost.amount, cost.currency, cost.per_mwh) == ("-90.00", "USD", "-90.00")
    assert [(part.name, part.amount) for part in cost.parts] == [("energy", "-100.00"), ("wear", "10.00")]
    assert (cost.low_amount, cost.high_amount) == ("-101.00", "-79.00")
    assert REFILL in cost.missing


def test_charging_costs_and_wears_nothing() -> None:
    cost = cost_of(make_order(1, 1), [make_share(1_000, 1_000, 1_000)], 1_000, 1_000, 1_000)
    assert (cost.amount, cost.low_amount, cost.high_amount) == ("40.00", "20.00", "60.00")
    assert [part.name for part in cost.parts] == ["energy"]
    assert REFILL not in cost.missing


@pytest.mark.parametrize(("shares", "why"), [([], NO_MARKET), ([make_share(-1.0, -1.0, -1.0)], NO_PRICE)])
def test_what_is_not_known_is_not_taken_for_nothing(shares: list[Share], why: str) -> None:
    cost = cost_of(make_order(5, 1), shares, -1.0, -1.0, -1.0)
    assert why in cost.missing
    assert "energy" not in [part.name for part in cost.parts]
    if not shares:
        assert (cost.amount, cost.currency) == (None, "")
