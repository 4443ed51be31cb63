"""The strategy that bids what stored energy is worth: price levels as bands, a Markov programme behind them.

Bands stand where levels of price meet. Before each interval the programme says what to move at each level, the
spike that has not come yet among them; that is the offer.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.strategy import BandOffer, Bands, Known, Setting
from shoal.bidding.strategy_schedules import Schedule, ScheduleStrategy, shape
from shoal.domain.interval import NS_PER_HOUR
from shoal.forecast.spikes import (
    PriceModel,
    PriceModelSettings,
    carry_on,
    expected_prices,
    fit_price_model,
    level_edges,
    next_levels,
    outcomes_of,
)
from shoal.optimise.markov import Levels, MarkovPlan, MarkovPrices, best_moves, plan_markov

DAY_NS: Final = 24 * NS_PER_HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkovSettings:
    """How the programme is run.

    Attributes:
        model: How prices are learned.
        body_frac: Where bands of ordinary prices stand, as shares of the prices of the last weeks.
        body_days: How many days these are.
        tail_edges_count: How many bands stand between the last of them and the cap, by growing factors.
        sell_edges: Which of these prices are bands to sell, at most as many as the market takes.
        buy_edges: Which are bands to buy.
        horizon_days: How far the programme looks.
        plans_a_day: How often it is run anew.
        cells: How finely stored energy is divided.
        tight_frac: When ordinary prices are expected to reach this share of the lowest price of a spike within half a day,
            what is stored is kept for the hours that are usually dearest, whatever the price before them.
        least_days: Days of history without which nothing is offered.
    """

    model: PriceModelSettings = field(default_factory=PriceModelSettings)
    body_frac: tuple[float, ...] = (0.03, 0.1, 0.2, 0.32, 0.45, 0.58, 0.7, 0.8, 0.88, 0.94, 0.975)
    body_days: float = 28.0
    tail_edges_count: int = 3
    sell_edges: tuple[int, ...] = (2, 4, 5, 6, 7, 8, 10, 11, 12, 13)
    buy_edges: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10)
    horizon_days: float = 1.5
    plans_a_day: int = 1
    cells: int = 40
    least_days: float = 2.0
    tight_frac: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BandPlan:
    """What a part of a day is bid with; the programme is None where too little is known.

    Attributes:
        start_ns: When the part begins.
        bands: The prices of the day's bands.
        edge_per_mwh: L - 1 prices where levels meet.
        sells: L - 1, whether a band to sell stands there.
        buys: L - 1, whether a band to buy ends there, a tick below.
        level_per_mwh: L prices that stand for the levels.
        seen_count: Past intervals that the model has learned from.
        model: The model of prices.
        programme: The worth of energy.
    """

    start_ns: int
    bands: Bands
    edge_per_mwh: NDArray[np.float64]
    sells: NDArray[np.bool_]
    buys: NDArray[np.bool_]
    level_per_mwh: NDArray[np.float64]
    seen_count: int
    model: PriceModel | None = None
    programme: MarkovPlan | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkovStrategy:
    """Bids the marginal value of stored energy."""

    setting: Setting
    settings: MarkovSettings = field(default_factory=MarkovSettings)

    @property
    def plans_a_day(self) -> int:
        """As set."""
        return self.settings.plans_a_day

    def bands(self, known: Known) -> Bands:
        """Return the levels' edges: the lower ones to buy at (just below), the upper ones to sell at."""
        market, settings = self.setting.market, self.settings
        price = known.price_per_mwh[known.start_ns >= known.now_ns - int(settings.body_days * DAY_NS)]
        if not len(price):
            return Bands(sell_per_mwh=(market.cap_per_mwh,), buy_per_mwh=(market.floor_per_mwh,))
        edges = level_edges(
            price,
            floor_per_mwh=market.floor_per_mwh,
            cap_per_mwh=market.cap_per_mwh,
            body_frac=settings.body_frac,
            tail_edges_count=settings.tail_edges_count,
        ).tolist()
        return Bands(
            sell_per_mwh=tuple(edges[at] for at in settings.sell_edges if at < len(edges))[
                -market.bands_count :
            ],
            buy_per_mwh=tuple(
                round(edges[at] - market.tick_per_mwh, 6) for at in settings.buy_edges if at < len(edges)
            )[: market.bands_count],
        )

    def plan(self, known: Known, bands: Bands, energy_kwh: float) -> BandPlan:
        """Learn the prices from all that is known and run the programme from now on."""
        settings, market = self.settings, self.setting.market
        above = [round(price + market.tick_per_mwh, 6) for price in bands.buy_per_mwh]
        edges = np.array(sorted({*above, *bands.sell_per_mwh}))
        stands_for = np.concatenate([edges[:1] - 5.0, 0.5 * (edges[1:] + edges[:-1]), 1.1 * edges[-1:]])
        idle = BandPlan(
            start_ns=known.now_ns,
            bands=bands,
            edge_per_mwh=edges,
            sells=np.isin(edges, bands.sell_per_mwh),
            buys=np.isin(edges, above),
            level_per_mwh=stands_for,
            seen_count=len(known.start_ns),
        )
        if len(known.start_ns) < settings.least_days * market.slots_count or len(edges) < 3:
            return idle
        age_days = (known.now_ns - known.start_ns) / DAY_NS
        follows = np.zeros(len(known.start_ns), np.bool_)
        follows[1:] = np.diff(known.start_ns) == market.interval_ns
        model = fit_price_model(
            price_per_mwh=known.price_per_mwh,
            age_days=age_days,
            slot_number=known.slot_numbers,
            follows=follows,
            slots_count=market.slots_count,
            cap_per_mwh=market.cap_per_mwh,
            settings=settings.model,
        )
        outcomes = outcomes_of(model)
        keep = -(-market.slots_count // settings.plans_a_day) + market.slots_count // 24 + 1
        steps = max(round(settings.horizon_days * market.slots_count), keep)
        usual = float(np.median(known.price_per_mwh[-28 * market.slots_count :]))
        programme = plan_markov(
            replace(self.setting.storage, terminal_value_per_mwh=usual),
            MarkovPrices(
                price_per_mwh=outcomes.price_per_mwh,
                chance_frac=outcomes.chance,
                next_position=outcomes.next_position,
                next_chance_frac=outcomes.next_chance,
            ),
            market.interval_h,
            slot_number=(known.slot_number + np.arange(steps)) % market.slots_count,
            keep_steps=keep,
            cells=settings.cells,
        )
        return replace(idle, model=model, programme=programme)

    def offer(self, plan: BandPlan, known: Known, energy_kwh: float) -> BandOffer:
        """Return the best moves of the interval as quantities of the bands."""
        bands = plan.bands
        if plan.programme is None or plan.model is None:
            return BandOffer(sell_kw=(0.0,) * len(bands.sell_per_mwh), buy_kw=(0.0,) * len(bands.buy_per_mwh))
        market, storage, since = self.setting.market, self.setting.storage, plan.seen_count
        factors = carry_on(
            plan.model, plan.model.factors, known.price_per_mwh[since:], known.slot_numbers[since:]
        )
        hours = expected_prices(plan.model, factors, known.slot_number, market.slots_count // 2)
        if float(hours.max()) >= self.settings.tight_frac * plan.model.spike_per_mwh:
            schedule = ScheduleStrategy(setting=self.setting, guess=shape).plan(known, bands, energy_kwh)
            return _scheduled(schedule, bands, known.now_ns, market.interval_ns)
        chance, position, share = next_levels(
            plan.model,
            factors,
            known.price_per_mwh[-plan.model.window_count :],
            known.slot_number,
            plan.edge_per_mwh,
            plan.level_per_mwh,
        )
        levels = Levels(
            price_per_mwh=plan.level_per_mwh,
            chance_frac=chance,
            next_position=position,
            next_chance_frac=share,
            sells=plan.sells,
            buys=plan.buys,
        )
        step = (known.now_ns - plan.start_ns) // market.interval_ns
        release_kwh, _ = best_moves(plan.programme, step + 1, levels, energy_kwh)
        return as_bands(
            release_kwh,
            levels.sells,
            levels.buys,
            storage.charge_efficiency_frac,
            storage.discharge_efficiency_frac,
            market.interval_h,
        )


def _scheduled(schedule: Schedule, bands: Bands, now_ns: int, interval_ns: int) -> BandOffer:
    """Return the schedule's power at the lowest price to sell and the highest to buy."""
    at = (now_ns - schedule.start_ns) // interval_ns
    net_kw = float(schedule.net_kw[at]) if at < len(schedule.net_kw) else 0.0
    return BandOffer(
        sell_kw=(max(-net_kw, 0.0), *(0.0,) * (len(bands.sell_per_mwh) - 1)),
        buy_kw=(*(0.0,) * (len(bands.buy_per_mwh) - 1), max(net_kw, 0.0)),
    )


def as_bands(
    release_kwh: NDArray[np.float64],
    sells: NDArray[np.bool_],
    buys: NDArray[np.bool_],
    charge_efficiency_frac: float,
    discharge_efficiency_frac: float,
    interval_h: float,
) -> BandOffer:
    """Return the offer that moves what is wished at each level: what changes where a band stands is its quantity."""
    sell_kw = np.maximum(release_kwh, 0.0) * (discharge_efficiency_frac / interval_h)
    buy_kw = np.maximum(-release_kwh, 0.0) / (charge_efficiency_frac * interval_h)
    return BandOffer(
        sell_kw=tuple(np.diff(sell_kw)[sells].tolist()), buy_kw=tuple((-np.diff(buy_kw))[buys].tolist())
    )
