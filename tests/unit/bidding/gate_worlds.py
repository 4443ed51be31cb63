"""Small markets for tests of back-tests through the cycle: prices with a daily shape, and strategies that decide at once."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.backtest_ledger import GateSetting
from shoal.bidding.backtest_prices import GridPrices, grid_prices
from shoal.bidding.cycle.day_ahead import ProductRules
from shoal.bidding.cycle.decision import Decision, GateStrategy, PlannedIntervals, RungOf, register
from shoal.bidding.cycle.known import Known, Question, Situation
from shoal.bidding.cycle.projection import projected
from shoal.bidding.offer import make_offer
from shoal.domain.errors import InvalidInputError
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.bids import CurveInterval, CurvePoint, LoadTarget, Orders, StorageCurves, TargetInterval
from shoal.market.registry import market_module
from shoal.market.series import price_series
from shoal.optimise.storage import Storage

ERCOT_FIRST_NS: Final = 1_646_114_400_000_000_000  # 2022-03-01 00:00 in Texas; the clock changes on the 13th
GB_FIRST_NS: Final = 1_520_812_800_000_000_000  # 2018-03-12 00:00; the clock changes on the 25th


def battery(*, power_kw: float = 10_000.0, hours: float = 2.0, wear_per_mwh: float = 10.0) -> Storage:
    return Storage(
        charge_limit_kw=power_kw,
        discharge_limit_kw=power_kw,
        charge_efficiency_frac=0.9,
        discharge_efficiency_frac=0.95,
        energy_capacity_kwh=power_kw * hours,
        initial_energy_kwh=0.0,
        throughput_cost_per_mwh=wear_per_mwh,
    )


def shaped(count: int, slots: int, *, seed: int = 1) -> NDArray[np.float64]:
    """Cheap at night and noon, dear in the evening, with noise that lasts."""
    rng = np.random.default_rng(seed)
    hour = np.arange(count) * 24.0 / slots % 24.0
    price = 60.0 - 40.0 * np.exp(-(((hour - 13.0) / 3.0) ** 2)) + 80.0 * np.exp(-(((hour - 19.0) / 1.5) ** 2))
    return np.asarray(np.round(price + np.cumsum(rng.normal(scale=2.0, size=count)) % 15.0, 2))


def hourly(market_id: str, days: int, *, first_ns: int = ERCOT_FIRST_NS, seed: int = 1) -> GridPrices:
    count = days * 24
    start_ns = first_ns + np.arange(count) * NS_PER_HOUR
    return grid_prices(
        market_module(market_id), "day-ahead", start_ns, shaped(count, 24, seed=seed), interval_ns=NS_PER_HOUR
    )


def half_hourly(days: int, *, seed: int = 1) -> GridPrices:
    count, step_ns = days * 48, NS_PER_HOUR // 2
    start_ns = GB_FIRST_NS + np.arange(count) * step_ns
    return grid_prices(
        market_module("gb"), "imbalance", start_ns, shaped(count, 48, seed=seed), interval_ns=step_ns
    )


def setting(market_id: str, product: str, point: str, strategy: str, **settings: float) -> GateSetting:
    return GateSetting(
        market=market_module(market_id),
        product_id=product,
        settlement_point=point,
        storage=battery(),
        strategy=strategy,
        settings=settings,
    )


# ── strategies ──────────────────────────────────────────────────────────────────────────────────────────────


def _series(situation: Situation) -> SeriesId:
    return price_series(situation.gate.market_id, situation.settlement_point, situation.gate.product_id)


def _questions(situation: Situation) -> tuple[Question, ...]:
    ever = situation.as_of_ns - 40 * 24 * NS_PER_HOUR
    return (Question(series_id=_series(situation), from_ns=ever, to_ns=2**62),)


def _as_yesterday(known: Known) -> Decision:
    """Bid the optimum on the newest prices of each hour of the day; everything known counts."""
    situation = known.situation
    market = market_module(situation.gate.market_id)
    intervals = market.delivery_intervals(
        situation.gate.product_id, market.delivery_date(situation.gate.covers_start_ns)
    )
    series = known.facts[_series(situation)]
    newest = series.value[-24:, 0]
    if len(newest) < 24:
        raise InvalidInputError(field="history", value=len(newest), fix="a day is needed")
    expected = np.tile(newest, 3)[: len(intervals) + 24]
    offer = make_offer(
        market=ProductRules(market=market, product_id=situation.gate.product_id),
        delivery_date=market.delivery_date(situation.gate.covers_start_ns),
        intervals=intervals,
        expected_price_per_mwh=expected,
        storage=projected(situation),
    )
    count = len(intervals)
    plan = offer.plan
    return Decision(
        rung="yesterday",
        offers=(Orders(product=situation.gate.product_id, orders=offer.orders),),
        plan=PlannedIntervals(
            start_ns=tuple(one.start_ns for one in intervals),
            end_ns=tuple(one.end_ns for one in intervals),
            power_kw=tuple((plan.charge_kw - plan.discharge_kw)[:count].tolist()),
            energy_kwh=tuple(plan.energy_kwh[: count + 1].tolist()),
            price_per_mwh=tuple(expected[:count].tolist()),
            value_per_mwh=tuple(plan.marginal_value_per_mwh[: count + 1].tolist()),
        ),
    )


def _nothing_bid(known: Known) -> Decision:
    return Decision(rung="nothing", offers=(Orders(product=known.situation.gate.product_id, orders=()),))


YESTERDAY: Final = register(
    GateStrategy(
        name="test-yesterday",
        version="1",
        about="The optimum on yesterday's prices.",
        questions=_questions,
        rungs=(
            RungOf(name="yesterday", decide=_as_yesterday, share=0.9),
            RungOf(name="nothing", decide=_nothing_bid, share=1.0, light=True),
        ),
    )
)


def _by_the_last_price(known: Known) -> Decision:
    """Charge while the newest price is low, discharge while it is high, by what is in store."""
    situation = known.situation
    series = known.facts[_series(situation)]
    storage = projected(situation)
    price = float(series.value[-1, 0]) if len(series.start_ns) else 0.0
    held_kw = storage.initial_energy_kwh * storage.discharge_efficiency_frac / 0.5
    room_kw = (
        (storage.energy_capacity_kwh - storage.initial_energy_kwh) / storage.charge_efficiency_frac / 0.5
    )
    wanted_kw = min(storage.charge_limit_kw, room_kw) if price < 55.0 else 0.0
    wanted_kw = -min(storage.discharge_limit_kw, held_kw) if price > 90.0 else wanted_kw
    market = market_module(situation.gate.market_id)
    mw = market.round_quantity_mw(situation.gate.product_id, abs(wanted_kw) / 1e3)
    target = TargetInterval(
        start_ns=situation.gate.covers_start_ns,
        end_ns=situation.gate.covers_end_ns,
        load_mw=mw if wanted_kw > 0 else -mw,
    )
    return Decision(rung="last", offers=(LoadTarget(product=situation.gate.product_id, intervals=(target,)),))


LAST_PRICE: Final = register(
    GateStrategy(
        name="test-last-price",
        version="1",
        about="By the newest price alone.",
        questions=_questions,
        rungs=(RungOf(name="last", decide=_by_the_last_price, share=1.0),),
    )
)


def _by_curve(known: Known) -> Decision:
    """Charge below 50 and discharge above 80, as one storage curve."""
    gate = known.situation.gate
    storage = projected(known.situation)
    hours = (gate.covers_end_ns - gate.covers_start_ns) / NS_PER_HOUR
    held_kw = storage.initial_energy_kwh * storage.discharge_efficiency_frac / hours
    room_kw = (
        (storage.energy_capacity_kwh - storage.initial_energy_kwh) / storage.charge_efficiency_frac / hours
    )
    market = market_module(gate.market_id)
    out_mw = market.round_quantity_mw(gate.product_id, min(held_kw, storage.discharge_limit_kw) / 1e3)
    in_mw = market.round_quantity_mw(gate.product_id, min(room_kw, storage.charge_limit_kw) / 1e3)
    points = ((-in_mw, -250.0), (-in_mw, 50.0), (0.0, 50.01), (0.0, 80.0), (out_mw, 80.01))
    curve = CurveInterval(
        start_ns=gate.covers_start_ns,
        end_ns=gate.covers_end_ns,
        points=tuple(CurvePoint(output_mw=mw + 0.0, price_per_mwh=price) for mw, price in points),
    )
    return Decision(rung="curve", offers=(StorageCurves(product=gate.product_id, intervals=(curve,)),))


CURVES: Final = register(
    GateStrategy(
        name="test-curves",
        version="1",
        about="One curve for every interval.",
        questions=_questions,
        rungs=(RungOf(name="curve", decide=_by_curve, share=1.0),),
    )
)
