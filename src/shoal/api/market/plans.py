"""The plan behind a resource's bids, and the rules by which the market takes a bid, as `/api/market` answers them."""

from __future__ import annotations

from datetime import date

from shoal.api.live.state import to_ms
from shoal.api.market.act_answers import MarketDayRules, MarketFlip, MarketPlan, RuleProduct
from shoal.api.market.offers import offer_views
from shoal.api.settlement.views import money
from shoal.bidding.desk_plans import PlanRow, PlanTold
from shoal.bidding.desk_views import Told
from shoal.domain.fleet import Resource
from shoal.market.bids import MarketBid
from shoal.market.contract import Market, Product

_KW_PER_MW = 1e3


def plan_view(told: Told, plan: PlanTold, market: Market, now_ns: int) -> MarketPlan:
    """Return what a decision planned, with the prices at which it would do otherwise."""
    about, rows = told.about, plan.rows
    capacity = plan.capacity_kwh
    energy: list[float | None] = [None] * (len(rows) + 1)
    energy[: len(plan.energy_kwh)] = plan.energy_kwh
    return MarketPlan(
        as_of_ms=to_ms(now_ns),
        resource_id=about.resource_id,
        market_id=market.rules.market_id,
        settlement_point=about.settlement_point,
        zone=market.rules.zone,
        currency=market.rules.currency,
        delivery_date=about.gate.delivery_date,
        decision_id=told.record.decision_id,
        decided_ms=to_ms(told.record.as_of_ns),
        gate_ms=to_ms(told.record.closes_ns),
        strategy=told.record.strategy,
        rung=told.record.rung,
        capacity_kwh=capacity,
        expected_amount=None
        if told.decision.expected_amount is None
        else money(told.decision.expected_amount),
        start_ms=[to_ms(row.start_ns) for row in rows],
        end_ms=[to_ms(row.end_ns) for row in rows],
        action=[row.action for row in rows],
        soc_kwh=energy,
        soc_frac=[None if one is None or capacity <= 0.0 else one / capacity for one in energy],
        charge_kw=[None if row.power_kw is None else max(row.power_kw, 0.0) for row in rows],
        discharge_kw=[None if row.power_kw is None else max(-row.power_kw, 0.0) for row in rows],
        price_per_mwh=[row.price_per_mwh for row in rows],
        water_value_per_mwh=[row.worth_per_mwh for row in rows],
        charge_below_per_mwh=[row.charge_below_per_mwh for row in rows],
        discharge_above_per_mwh=[row.discharge_above_per_mwh for row in rows],
        by_hand=[row.by_hand for row in rows],
        binding=[list(row.binding) for row in rows],
        flips_at=[] if plan.basis == "none" else [one for row in rows if (one := _flip(row)) is not None],
        basis=plan.basis,
        why_none=plan.why_none,
    )


def _flip(row: PlanRow) -> MarketFlip | None:
    flip = row.flip
    if flip is None or row.by_hand:  # what a person decided no price flips
        return None
    price, would = flip
    return MarketFlip(
        start_ms=to_ms(row.start_ns),
        end_ms=to_ms(row.end_ns),
        action=row.action,
        expected_price_per_mwh=row.price_per_mwh,
        price_per_mwh=price,
        would=would,
        words=f"would flip at {price:.2f}",
    )


def rules_view(
    resource: Resource,
    market: Market,
    day: date,
    *,
    standing: MarketBid | None,
    told: Told | None,
    now_ns: int,
) -> MarketDayRules:
    """Return what a market takes of a resource for a delivery day, and what stands for it."""
    rules = market.rules
    storage = None if told is None else told.about.storage
    return MarketDayRules(
        as_of_ms=to_ms(now_ns),
        resource_id=resource.resource_id,
        market_id=rules.market_id,
        market_name=rules.name,
        settlement_point=resource.settlement_point,
        zone=rules.zone,
        currency=rules.currency,
        delivery_date=day.isoformat(),
        reason_categories=list(rules.rebid.categories),
        reason_required=rules.rebid.reason_required,
        charge_limit_mw=None if storage is None else storage.charge_limit_kw / _KW_PER_MW,
        discharge_limit_mw=None if storage is None else storage.discharge_limit_kw / _KW_PER_MW,
        capacity_kwh=None if storage is None else storage.energy_capacity_kwh,
        products=[_product(market, product, day, now_ns) for product in market.products(day)],
        standing=[] if standing is None else offer_views(market, standing.offers),
        standing_revision=None if standing is None else standing.revision,
    )


def _product(market: Market, product: Product, day: date, now_ns: int) -> RuleProduct:
    floor, cap = market.price_limits(product.product_id, day)
    intervals = market.delivery_intervals(product.product_id, day)
    closes_ns = [market.closes_ns(product.product_id, one) for one in intervals]
    return RuleProduct(
        product_id=product.product_id,
        name=product.name,
        kind=product.kind,
        direction=product.direction,
        shapes=list(product.shapes),  # type: ignore[arg-type]
        floor_per_mwh=floor,
        cap_per_mwh=cap,
        price_tick_per_mwh=product.price_tick_per_mwh,
        quantity_minimum_mw=product.quantity_minimum_mw,
        quantity_step_mw=product.quantity_step_mw,
        points=product.points_count,
        start_ms=[to_ms(one.start_ns) for one in intervals],
        end_ms=[to_ms(one.end_ns) for one in intervals],
        closes_ms=[to_ms(one) for one in closes_ns],
        open=[now_ns < one for one in closes_ns],
    )
