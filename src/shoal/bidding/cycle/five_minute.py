"""Bids into a market of bands and short intervals: prices for a day at its gate, quantities anew before every interval.

The quantities are those of the Markov programme in `shoal.bidding.strategy_markov`, the same code that a back-test
runs. A bid for an interval also lists the next few, within what the storage can do by then, so that for some minutes
the market holds something sensible even if nobody comes back.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.backtest_markets import band_market
from shoal.bidding.cycle.decision import Decision, GateStrategy, RungOf, register
from shoal.bidding.cycle.known import Known, Question, Series, Situation
from shoal.bidding.cycle.projection import projected, stored_kwh
from shoal.bidding.cycle.reserves_backing import held_back
from shoal.bidding.strategy import BandMarket, BandOffer, Bands, Setting
from shoal.bidding.strategy import Known as Prices
from shoal.bidding.strategy_markov import BandPlan, MarkovStrategy
from shoal.domain.errors import InvalidInputError
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_HOUR, Interval, iso, to_datetime
from shoal.market.bids import BAND_COUNT, BandInterval, BandSide
from shoal.market.bids import BandOffer as MarketOffer
from shoal.market.contract import Market
from shoal.market.registry import market_module
from shoal.market.series import price_series
from shoal.optimise.storage import Storage

PRODUCT: Final = "energy"
HISTORY_DAYS: Final = 90
FOLLOWING: Final = 2
"""Intervals listed beside the one of the gate."""
NEWEST_INTERVALS: Final = 3
"""The best rung wants to know a price that is at most so many intervals old."""
THRESHOLD_DAYS: Final = 7
BUY_BELOW: Final = 0.2
SELL_ABOVE: Final = 0.8
"""Quantiles of the last days between which the simple rung stands still."""
IDLE_BANDS_PER_MWH: Final = (-50.0, 0.0, 30.0, 60.0, 90.0, 120.0, 200.0, 300.0, 1_000.0, 5_000.0)
"""Prices of a day of which nothing is known."""
_KW_PER_MW: Final = 1e3
_PLANS_KEPT: Final = 8


def series_of(situation: Situation) -> SeriesId:
    """Return the series of prices of a resource's settlement point."""
    return price_series(situation.gate.market_id, situation.settlement_point, PRODUCT)


def questions(situation: Situation) -> tuple[Question, ...]:
    """Ask for the prices of the last months."""
    from_ns = situation.as_of_ns - HISTORY_DAYS * 24 * NS_PER_HOUR
    return (Question(series_id=series_of(situation), from_ns=from_ns, to_ns=situation.gate.covers_end_ns),)


def declines(situation: Situation) -> str:
    """Decline an interval of a day for which no prices were given in time: quantities need prices that stand."""
    if situation.gate.kind == "interval" and situation.standing is None:
        return "the day was not bid for before its gate, so none of its intervals can be"
    return ""


def markov(known: Known) -> Decision:
    """Bid what stored energy is worth at each level of price; raises when the newest price is too old."""
    prices, market = _prices(known), band_market(known.situation.gate.market_id)
    age_ns = known.situation.as_of_ns - (int(prices.start_ns[-1]) + market.interval_ns)
    if age_ns > NEWEST_INTERVALS * market.interval_ns:
        raise InvalidInputError(
            field="newest price",
            value=iso(int(prices.start_ns[-1])),
            fix=f"at most {NEWEST_INTERVALS} intervals old is wanted",
        )
    return _markov(known, prices, "fresh")


def markov_on_older_prices(known: Known) -> Decision:
    """The same on whatever prices there are."""
    return _markov(known, _prices(known), "older_prices")


def thresholds(known: Known) -> Decision:
    """Sell in the bands above what prices usually are, buy in those below."""
    situation = known.situation
    prices, market = _prices(known), band_market(situation.gate.market_id)
    recent = prices.price_per_mwh[prices.start_ns >= prices.now_ns - THRESHOLD_DAYS * 24 * NS_PER_HOUR]
    if not len(recent):
        recent = prices.price_per_mwh
    low, high = np.quantile(recent, [BUY_BELOW, SELL_ABOVE])
    storage = held_back(situation, projected(situation))
    bands = _standing_bands(situation)
    if bands is None:
        bands = _usual_bands(market, recent)
    sell_kw = [storage.discharge_limit_kw if price >= high else 0.0 for price in bands.sell_per_mwh]
    buy_kw = [storage.charge_limit_kw if price <= low else 0.0 for price in bands.buy_per_mwh]
    first_sell = next((k for k, kw in enumerate(sell_kw) if kw > 0), None)
    last_buy = next((k for k in range(len(buy_kw) - 1, -1, -1) if buy_kw[k] > 0), None)
    offer = BandOffer(
        sell_kw=tuple(kw if k == first_sell else 0.0 for k, kw in enumerate(sell_kw)),
        buy_kw=tuple(kw if k == last_buy else 0.0 for k, kw in enumerate(buy_kw)),
    )
    said = (
        f"sells from {high:.2f} up and buys up to {low:.2f}, as prices of the last {THRESHOLD_DAYS} days were"
    )
    return _decision(situation, bands, offer, storage, "simple", (said,))


def idle(known: Known) -> Decision:
    """Offer nothing at the usual prices, so that quantities can be given later; raises when anything stands already."""
    situation = known.situation
    if situation.standing is not None:
        raise InvalidInputError(field="standing", value="a bid", fix="it is better left as it is")
    market = band_market(situation.gate.market_id)
    bands = _usual_bands(market, np.array(IDLE_BANDS_PER_MWH))
    offer = BandOffer(sell_kw=(0.0,) * len(bands.sell_per_mwh), buy_kw=(0.0,) * len(bands.buy_per_mwh))
    storage = replace(situation.storage, charge_limit_kw=0.0, discharge_limit_kw=0.0)
    return _decision(
        situation, bands, offer, storage, "idle", ("offers nothing yet, and keeps the day open",)
    )


def _markov(known: Known, prices: Prices, rung: str) -> Decision:
    situation = known.situation
    market = band_market(situation.gate.market_id)
    storage = held_back(situation, projected(situation))
    strategy = MarkovStrategy(
        setting=Setting(market=market, storage=replace(storage, initial_energy_kwh=0.0))
    )
    bands = _standing_bands(situation)
    if bands is None:
        bands = strategy.bands(prices)
    plan = _planned(strategy, prices, bands)
    if plan.programme is None:
        raise InvalidInputError(
            field="price history", value=f"{len(prices.start_ns)} intervals", fix="some days are needed"
        )
    offer = strategy.offer(plan, prices, storage.initial_energy_kwh)
    return _decision(situation, bands, offer, storage, rung, (_worth(bands, offer),))


_PLANS: OrderedDict[tuple[object, ...], BandPlan] = OrderedDict()
"""The newest plans: a plan is a pure function of its key, which holds the very bits it is made from."""


def _planned(strategy: MarkovStrategy, prices: Prices, bands: Bands) -> BandPlan:
    """Return the plan of the present part of the day, made from what was known when that part began."""
    market = strategy.setting.market
    _, span = market.trading_day(prices.now_ns)
    part_ns = (span.end_ns - span.start_ns) // strategy.plans_a_day
    begins_ns = span.start_ns + (prices.now_ns - span.start_ns) // part_ns * part_ns
    count = int(np.searchsorted(prices.start_ns, begins_ns))
    then = _as_prices(market, begins_ns, prices.start_ns[:count], prices.price_per_mwh[:count])
    key = (strategy.setting.storage, bands, begins_ns, then.start_ns.tobytes(), then.price_per_mwh.tobytes())
    if key not in _PLANS:
        _PLANS[key] = strategy.plan(then, bands, 0.0)
        while len(_PLANS) > _PLANS_KEPT:
            _PLANS.popitem(last=False)
    return _PLANS[key]


def _prices(known: Known) -> Prices:
    """Return the prices that were known, up to the interval of the gate.

    Raises:
        InvalidInputError: when there are none.
    """
    situation = known.situation
    series: Series = known.facts[series_of(situation)]
    there = np.isfinite(series.value[:, 0]) & (series.end_ns <= situation.gate.covers_start_ns)
    start_ns, price = series.start_ns[there], series.value[there, 0]
    if not len(start_ns):
        raise InvalidInputError(field="price history", value="nothing", fix=f"record {series_of(situation)}")
    market = band_market(situation.gate.market_id)
    return _as_prices(market, situation.gate.covers_start_ns, start_ns, price)


def _as_prices(
    market: BandMarket, now_ns: int, start_ns: NDArray[np.int64], price: NDArray[np.float64]
) -> Prices:
    offset = to_datetime(now_ns, market.zone).utcoffset()
    offset_ns = 0 if offset is None else int(offset.total_seconds()) * 1_000_000_000
    day_ns = 24 * NS_PER_HOUR
    slots = (start_ns + offset_ns) % day_ns // market.interval_ns
    return Prices(
        now_ns=now_ns,
        slot_number=int((now_ns + offset_ns) % day_ns // market.interval_ns),
        start_ns=start_ns,
        slot_numbers=slots,
        price_per_mwh=price,
    )


def _standing_bands(situation: Situation) -> Bands | None:
    """Return the prices that stand for the day; None when none do, and new ones may be given."""
    if situation.standing is None:
        return None
    found: dict[BandSide, tuple[float, ...]] = {
        offer.side: offer.band_price_per_mwh
        for offer in situation.standing.offers
        if isinstance(offer, MarketOffer) and offer.product == PRODUCT
    }
    if set(found) != {"gen", "load"}:
        return None
    return Bands(sell_per_mwh=found["gen"], buy_per_mwh=found["load"])


def _usual_bands(market: BandMarket, recent: NDArray[np.float64]) -> Bands:
    """Return bands at the quantiles of recent prices, the outermost at floor and cap."""
    inner = np.unique(np.round(np.quantile(recent, np.linspace(0.05, 0.95, BAND_COUNT - 2)), 2)).tolist()
    edges = [one for one in inner if market.floor_per_mwh < one < market.cap_per_mwh]
    return Bands(sell_per_mwh=(*edges, market.cap_per_mwh), buy_per_mwh=(market.floor_per_mwh, *edges))


def _decision(
    situation: Situation,
    bands: Bands,
    offer: BandOffer,
    storage: Storage,
    rung: str,
    reasons: tuple[str, ...],
) -> Decision:
    """Return the offers of both sides for the gate's interval and those after it, in lots of the market."""
    market = market_module(situation.gate.market_id)
    gen_prices, gen_kw = _ten(
        bands.sell_per_mwh, offer.sell_kw, band_market(situation.gate.market_id), last=True
    )
    load_prices, load_kw = _ten(
        bands.buy_per_mwh, offer.buy_kw, band_market(situation.gate.market_id), last=False
    )
    covered = _covered(market, situation)
    fixed = [Interval(start_ns=one.start_ns, end_ns=one.end_ns) for one in situation.fixed]
    gen, load = [], []
    # whatever is dispatched, the next interval must be able to follow: the emptiest and the fullest case go along
    emptiest_kwh = fullest_kwh = storage.initial_energy_kwh
    for position, interval in enumerate(covered):
        if any(one.overlaps(interval) for one in fixed):
            continue
        idle = situation.gate.kind != "interval" or position > FOLLOWING
        hours = interval.duration_h
        held_kw = emptiest_kwh * storage.discharge_efficiency_frac / hours
        room_kw = (storage.energy_capacity_kwh - fullest_kwh) / storage.charge_efficiency_frac / hours
        out_kw = 0.0 if idle else min(storage.discharge_limit_kw, held_kw)
        in_kw = 0.0 if idle else min(storage.charge_limit_kw, room_kw)
        sold_mw = _lots(market, gen_kw, out_kw, ascending=True)
        bought_mw = _lots(market, load_kw, in_kw, ascending=False)
        gen.append(_interval(interval, sold_mw))
        load.append(_interval(interval, bought_mw))
        emptiest_kwh = max(emptiest_kwh + stored_kwh(storage, -sum(sold_mw) * _KW_PER_MW * hours), 0.0)
        filled_kwh = fullest_kwh + stored_kwh(storage, sum(bought_mw) * _KW_PER_MW * hours)
        fullest_kwh = min(filled_kwh, storage.energy_capacity_kwh)
    if not gen:
        return Decision(rung=rung, reasons=("every interval was decided by hand", *reasons))
    offers = (
        MarketOffer(product=PRODUCT, side="gen", band_price_per_mwh=gen_prices, intervals=tuple(gen)),
        MarketOffer(product=PRODUCT, side="load", band_price_per_mwh=load_prices, intervals=tuple(load)),
    )
    return Decision(rung=rung, offers=offers, reasons=reasons)


def _covered(market: Market, situation: Situation) -> list[Interval]:
    """Return the intervals that the bid lists: those of the gate, and for one interval the next ones of its day."""
    day = date.fromisoformat(situation.gate.delivery_date)
    every = market.delivery_intervals(PRODUCT, day)
    if situation.gate.kind != "interval":
        return list(every)
    first = next(k for k, one in enumerate(every) if one.start_ns == situation.gate.covers_start_ns)
    return list(every[first : first + 1 + FOLLOWING])


def _ten(
    prices: tuple[float, ...], kw: tuple[float, ...], market: BandMarket, *, last: bool
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return ten ascending prices with their quantities: the missing ones come beyond the end and hold nothing."""
    ten, amount = list(prices), list(kw)
    while len(ten) < BAND_COUNT:
        if last:
            highest = ten[-1]
            if highest < market.cap_per_mwh:
                ten.append(round(min(highest + 1.0, market.cap_per_mwh), 2))
                amount.append(0.0)
                continue
        lowest = ten[0]
        if lowest > market.floor_per_mwh:
            ten.insert(0, round(max(lowest - 1.0, market.floor_per_mwh), 2))
            amount.insert(0, 0.0)
            continue
        gap = next(k for k in range(len(ten) - 1) if ten[k + 1] - ten[k] > 2 * market.tick_per_mwh)
        ten.insert(gap + 1, round(ten[gap] + market.tick_per_mwh, 2))
        amount.insert(gap + 1, 0.0)
    return tuple(ten), tuple(amount)


def _lots(market: Market, kw: tuple[float, ...], most_kw: float, *, ascending: bool) -> tuple[float, ...]:
    """Return the quantities of the bands in whole lots, together no more than the storage can do.

    The running sum is rounded, from the band that is taken first: so rounding never moves more than a lot.
    """
    order = range(len(kw)) if ascending else range(len(kw) - 1, -1, -1)
    mw = [0.0] * len(kw)
    total_kw = given_mw = 0.0
    for k in order:
        total_kw = min(total_kw + kw[k], most_kw)
        reached_mw = market.round_quantity_mw(PRODUCT, total_kw / _KW_PER_MW)
        mw[k] = round(max(reached_mw - given_mw, 0.0), 6)
        given_mw = max(reached_mw, given_mw)
    return tuple(mw)


def _interval(interval: Interval, band_mw: tuple[float, ...]) -> BandInterval:
    return BandInterval(
        start_ns=interval.start_ns,
        end_ns=interval.end_ns,
        max_avail_mw=round(sum(band_mw), 6),
        band_avail_mw=band_mw,
    )


def _worth(bands: Bands, offer: BandOffer) -> str:
    sells = [price for price, kw in zip(bands.sell_per_mwh, offer.sell_kw, strict=True) if kw > 0]
    buys = [price for price, kw in zip(bands.buy_per_mwh, offer.buy_kw, strict=True) if kw > 0]
    parts = []
    if sells:
        parts.append(f"sells from {sells[0]:.2f} up")
    if buys:
        parts.append(f"buys up to {buys[-1]:.2f}")
    return " and ".join(parts) if parts else "stands still at every price"


FIVE_MINUTE: Final = register(
    GateStrategy(
        name="markov",
        version="1",
        about="Ten bands a day, quantities before every interval from a Markov programme of prices.",
        questions=questions,
        rungs=(
            RungOf(name="fresh", decide=markov, share=0.6),
            RungOf(name="older_prices", decide=markov_on_older_prices, share=0.6),
            RungOf(name="simple", decide=thresholds, share=1.0, light=True),
            RungOf(name="idle", decide=idle, share=1.0, light=True),
        ),
        declines=declines,
    )
)
