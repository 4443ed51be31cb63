"""The strategy that bids opportunity cost: bands stand where prices usually are, their quantities follow the outlook.

Before each interval every band is asked: should the price come at yours, what would be expected of the hours after it,
and would the best plan on that sell now, buy now or wait? The answers are the offer. So a price that tells of dearer
hours holds energy back, and one that is likely to pass is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.strategy import BandOffer, Bands, Known, Setting
from shoal.domain.interval import NS_PER_HOUR
from shoal.forecast.outlook import Outlook, OutlookSettings, expected_prices, fit_outlook, state_after
from shoal.optimise.opportunity import DEFAULT_CELLS, releases

DAY_NS: Final = 24 * NS_PER_HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlookBidSettings:
    """How the outlook is bid.

    Attributes:
        outlook: How prices are learned.
        band_days: From how many days the prices of the bands are taken.
        sell_frac: Where bands to sell stand, as shares of these prices.
        buy_frac: Where bands to buy stand.
        tail_bands_count: Bands to sell above all these, by equal factors up to the cap.
        cells: How finely stored energy is divided.
        least_days: Days of history without which nothing is offered.
        inset_frac: How far inside a band the price lies that stands for it, at least, as a share of its width.
    """

    outlook: OutlookSettings = field(default_factory=OutlookSettings)
    band_days: float = 28.0
    sell_frac: tuple[float, ...] = (0.4, 0.55, 0.68, 0.79, 0.87, 0.93, 0.97, 0.992)
    buy_frac: tuple[float, ...] = (0.04, 0.12, 0.2, 0.3, 0.4, 0.52, 0.66, 0.8, 0.92, 0.99)
    tail_bands_count: int = 2
    cells: int = DEFAULT_CELLS
    least_days: float = 2.0
    inset_frac: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutlookPlan:
    """What a day is bid with; the outlook is None where too little is known.

    Attributes:
        price_per_mwh: The prices of the bands: first those to buy at, then those to sell at.
        buys_count: How many of them are to buy at.
        seen_count: Past intervals that were learned from.
        outlook: What was learned.
    """

    price_per_mwh: NDArray[np.float64]
    buys_count: int
    seen_count: int
    outlook: Outlook | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlookStrategy:
    """Bids the marginal value of stored energy on what prices are expected to be."""

    setting: Setting
    settings: OutlookBidSettings = field(default_factory=OutlookBidSettings)

    @property
    def plans_a_day(self) -> int:
        """Once: the newest prices come in with every offer."""
        return 1

    def bands(self, known: Known) -> Bands:
        """Return prices between which the recent ones lay, and to sell at some far above them."""
        market, settings = self.setting.market, self.settings
        recent = known.price_per_mwh[known.start_ns >= known.now_ns - int(settings.band_days * DAY_NS)]
        if not len(recent):
            return Bands(sell_per_mwh=(market.cap_per_mwh,), buy_per_mwh=(market.floor_per_mwh,))
        body = np.quantile(recent, settings.sell_frac)
        top = max(float(body[-1]), 0.01 * market.cap_per_mwh)
        steps = np.arange(1, settings.tail_bands_count + 1) / (settings.tail_bands_count + 1.0)
        tail = top * (market.cap_per_mwh / top) ** steps
        return Bands(
            sell_per_mwh=self._ascending(np.concatenate([body, tail])),
            buy_per_mwh=self._ascending(np.quantile(recent, settings.buy_frac)),
        )

    def _ascending(self, prices: NDArray[np.float64]) -> tuple[float, ...]:
        """Return at most as many prices as there may be bands, in ticks, strictly ascending between floor and cap."""
        market = self.setting.market
        tick = market.tick_per_mwh
        ticks = np.unique(np.round(np.clip(prices, market.floor_per_mwh, market.cap_per_mwh) / tick))
        inside = [round(float(one) * tick, 6) for one in ticks]
        return tuple(one for one in inside if market.floor_per_mwh <= one <= market.cap_per_mwh)[
            -market.bands_count :
        ]

    def plan(self, known: Known, bands: Bands, energy_kwh: float) -> OutlookPlan:
        """Learn the prices from all that is known."""
        market = self.setting.market
        plan = OutlookPlan(
            price_per_mwh=np.array((*bands.buy_per_mwh, *bands.sell_per_mwh)),
            buys_count=len(bands.buy_per_mwh),
            seen_count=len(known.start_ns),
        )
        if len(known.start_ns) < self.settings.least_days * market.slots_count:
            return plan
        follows = np.zeros(len(known.start_ns), np.bool_)
        follows[1:] = np.diff(known.start_ns) == market.interval_ns
        outlook = fit_outlook(
            price_per_mwh=known.price_per_mwh,
            slot_number=known.slot_numbers,
            follows=follows,
            slots_count=market.slots_count,
            settings=self.settings.outlook,
        )
        return replace(plan, outlook=outlook)

    def offer(self, plan: OutlookPlan, known: Known, energy_kwh: float) -> BandOffer:
        """Return what to move should the price come at each band, as the quantities of the bands."""
        buys = plan.buys_count
        if plan.outlook is None:
            return BandOffer(sell_kw=(0.0,) * (len(plan.price_per_mwh) - buys), buy_kw=(0.0,) * buys)
        market, storage, since = self.setting.market, self.setting.storage, plan.seen_count
        asked_per_mwh = stand_ins(
            plan.price_per_mwh,
            buys,
            float(known.price_per_mwh[-1]),
            inset_frac=self.settings.inset_frac,
            money_scale=plan.outlook.money_scale,
            floor_per_mwh=market.floor_per_mwh,
            cap_per_mwh=market.cap_per_mwh,
        )
        state = state_after(plan.outlook, known.price_per_mwh[since:], known.slot_numbers[since:])
        expected = expected_prices(
            plan.outlook,
            state,
            known.slot_number,
            asked_per_mwh,
            floor_per_mwh=market.floor_per_mwh,
            cap_per_mwh=market.cap_per_mwh,
        )
        release_kwh = releases(
            replace(
                storage,
                terminal_value_per_mwh=plan.outlook.money_scale * storage.discharge_efficiency_frac,
            ),
            market.interval_h,
            price_per_mwh=asked_per_mwh,
            buys_count=buys,
            expected_per_mwh=expected,
            block_count=plan.outlook.block_count,
            energy_kwh=energy_kwh,
            cells=self.settings.cells,
        )
        return as_bands(
            release_kwh,
            plan.price_per_mwh,
            buys,
            storage.charge_efficiency_frac,
            storage.discharge_efficiency_frac,
            market.interval_h,
        )


def stand_ins(
    price_per_mwh: NDArray[np.float64],
    buys_count: int,
    newest_per_mwh: float,
    *,
    inset_frac: float,
    money_scale: float,
    floor_per_mwh: float,
    cap_per_mwh: float,
) -> NDArray[np.float64]:
    """Return for each band the price that it is most likely met by: the one between it and the next nearest to the newest.

    A band to buy is met by prices down to the band below it, one to sell by prices up to the band above it. Widths are
    those of transformed prices.
    """
    buy, sell = price_per_mwh[:buys_count], price_per_mwh[buys_count:]
    low = np.concatenate([[min(floor_per_mwh, *buy)], buy[:-1], sell])
    high = np.concatenate([buy, sell[1:], [max(cap_per_mwh, *sell)]])
    low_z, high_z = np.arcsinh(low / money_scale), np.arcsinh(high / money_scale)
    inset = inset_frac * (high_z - low_z)
    near_z = np.clip(np.arcsinh(newest_per_mwh / money_scale), low_z + inset, high_z - inset)
    return np.asarray(money_scale * np.sinh(near_z))


def as_bands(
    release_kwh: NDArray[np.float64],
    price_per_mwh: NDArray[np.float64],
    buys_count: int,
    charge_efficiency_frac: float,
    discharge_efficiency_frac: float,
    interval_h: float,
) -> BandOffer:
    """Return the offer that moves what is wished at each band; nothing is bought where something is sold."""
    sell_kw = release_kwh[buys_count:] * (discharge_efficiency_frac / interval_h)
    buy_kw = -release_kwh[:buys_count] / (charge_efficiency_frac * interval_h)
    sold = np.flatnonzero(sell_kw > 0.0)
    if len(sold):
        buy_kw = np.where(price_per_mwh[:buys_count] < price_per_mwh[buys_count + sold[0]], buy_kw, 0.0)
    return BandOffer(
        sell_kw=tuple(np.diff(sell_kw, prepend=0.0).tolist()),
        buy_kw=tuple((-np.diff(buy_kw, append=0.0)).tolist()),
    )
