"""Any strategy over any span of prices, with the physics and the money kept exactly.

The engine owns the future: a strategy is handed only the intervals that had been dispatched when it was asked.
Energy at the terminals is whole watt-hours, prices are whole ticks of a hundredth, so revenue is a sum of whole
numbers; what is stored follows from the totals and does not drift.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.strategy import BandMarket, BandOffer, Bands, Known, Setting, Strategy
from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, to_datetime
from shoal.optimise.storage import plan_storage

P = TypeVar("P")
CENTS: Final = 100
WH_PER_KWH: Final = 1000
AMOUNTS_PER_UNIT: Final = 100 * 1_000_000
"""An amount of the books is a cent per MWh times a watt-hour; so many make a unit of currency."""
_WHOLE: Final = 1e-6
_PROGRESS_EVERY: Final = 288
_AHEAD_FILLS: Final = 6
_NODE_LIMIT: Final = 300
_EPOCH: Final = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """Prices of a point: N intervals of one length, with or without gaps.

    Attributes:
        start_ns: N starts, ascending.
        price_cents_per_mwh: N prices in whole hundredths.
        slot_number: N numbers of the intervals in their local day, see `slots_of`.
        day_number: N ordinals of the trading days.
    """

    start_ns: NDArray[np.int64]
    price_cents_per_mwh: NDArray[np.int64]
    slot_number: NDArray[np.int64]
    day_number: NDArray[np.int64]

    @property
    def price_per_mwh(self) -> NDArray[np.float64]:
        """The prices."""
        return self.price_cents_per_mwh / CENTS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What a strategy did from the first interval asked for to the last, N intervals.

    Attributes:
        first_index: Which interval of the series is the first.
        asked_wh: N energies that the market gave to the offer, charging positive, whether or not the storage could follow.
        bought_wh: N energies bought at the terminals, >= 0.
        sold_wh: N energies sold at the terminals, >= 0; never both in one interval.
        energy_kwh: N + 1 stored energies: at each start, and at the end.
        amount: N amounts: income less cost and wear, in `AMOUNTS_PER_UNIT` to the unit of currency.
        sell_limit_per_mwh: N lowest prices at which anything was sold; NaN where nothing was.
        buy_limit_per_mwh: N highest prices at which anything was bought; NaN where nothing was.
        decisions_count: Offers that were made.
    """

    first_index: int
    asked_wh: NDArray[np.int64]
    bought_wh: NDArray[np.int64]
    sold_wh: NDArray[np.int64]
    energy_kwh: NDArray[np.float64]
    amount: NDArray[np.int64]
    sell_limit_per_mwh: NDArray[np.float64]
    buy_limit_per_mwh: NDArray[np.float64]
    decisions_count: int

    @property
    def delivered_wh(self) -> NDArray[np.int64]:
        """N energies at the terminals, charging positive."""
        return self.bought_wh - self.sold_wh

    @property
    def revenue(self) -> float:
        """Income less cost and wear, in currency."""
        return int(self.amount.sum()) / AMOUNTS_PER_UNIT


def make_series(
    market: BandMarket,
    start_ns: NDArray[np.int64],
    price_per_mwh: NDArray[np.float64],
    *,
    limits: Callable[[date], tuple[float, float]] | None = None,
) -> Series:
    """Return prices with the numbers that a back-test needs.

    Args:
        market: Its calendar and limits.
        start_ns: N starts.
        price_per_mwh: N prices.
        limits: Floor and cap of a trading day, where they are dated; None takes the market's for all.

    Raises:
        InvalidInputError: Starts do not ascend by whole intervals, or a price is missing or out of range.
    """
    if not len(start_ns) or len(start_ns) != len(price_per_mwh):
        raise InvalidInputError(field="series", value=len(start_ns), fix="give a price for every interval")
    step = np.diff(start_ns)
    if np.any(step <= 0) or np.any((start_ns - start_ns[0]) % market.interval_ns):
        at = int(np.argmax((step <= 0) | (step % market.interval_ns != 0))) + 1
        raise InvalidInputError(
            field=f"start_ns[{at}]",
            value=int(start_ns[at]),
            fix=f"ascend by whole intervals of {market.interval_ns // 1_000_000_000} s",
        )
    slot, day = calendar_of(market, start_ns)
    floor, cap = _limits_of_days(market, day, limits)
    bad = ~((price_per_mwh >= floor) & (price_per_mwh <= cap))
    if bad.any():
        at = int(np.argmax(bad))
        raise InvalidInputError(
            field=f"price_per_mwh[{at}]",
            value=float(price_per_mwh[at]),
            fix=f"give a price from {floor[at]} to {cap[at]}",
        )
    cents = np.rint(price_per_mwh * CENTS).astype(np.int64)
    return Series(start_ns=start_ns, price_cents_per_mwh=cents, slot_number=slot, day_number=day)


def _limits_of_days(
    market: BandMarket, day_number: NDArray[np.int64], limits: Callable[[date], tuple[float, float]] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return floor and cap of each interval."""
    if limits is None:
        limits = lambda _day: (market.floor_per_mwh, market.cap_per_mwh)  # noqa: E731 - the simplest of rules
    numbers, row = np.unique(day_number, return_inverse=True)
    of_day = np.array([limits(date.fromordinal(int(number) + _EPOCH)) for number in numbers])
    return of_day[row, 0], of_day[row, 1]


def calendar_of(
    market: BandMarket, start_ns: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the slot in the local day and the ordinal of the trading day of each start."""
    hours = start_ns // NS_PER_HOUR
    change, row = np.unique(hours, return_inverse=True)
    offset_ns = np.empty(len(change), np.int64)
    for at, hour in enumerate(change.tolist()):
        offset = to_datetime(hour * NS_PER_HOUR, market.zone).utcoffset()
        offset_ns[at] = 0 if offset is None else int(offset.total_seconds()) * 1_000_000_000
    local_ns = start_ns + offset_ns[row]
    day_ns = 24 * NS_PER_HOUR
    at_day = market.day_start
    begins_ns = (at_day.hour * 60 + at_day.minute) * 60 * 1_000_000_000
    return (local_ns % day_ns) // market.interval_ns, (local_ns - begins_ns) // day_ns


def clear(bands: Bands, offer: BandOffer, price_per_mwh: float) -> tuple[float, float]:
    """Return the power bought and sold at a price, in kW; a band's own price is included."""
    sold_kw = sum(kw for at, kw in zip(bands.sell_per_mwh, offer.sell_kw, strict=True) if price_per_mwh >= at)
    bought_kw = sum(kw for at, kw in zip(bands.buy_per_mwh, offer.buy_kw, strict=True) if price_per_mwh <= at)
    return bought_kw, sold_kw


def run_backtest(
    strategy: Strategy[P],
    setting: Setting,
    series: Series,
    *,
    first_index: int = 0,
    end_index: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Outcome:
    """Return what a strategy does, interval by interval.

    Args:
        strategy: How to bid.
        setting: The market and the storage.
        series: Prices; those before the first interval are history.
        first_index: The first interval that is bid for.
        end_index: The interval after the last one; None for all.
        progress: Told now and then how many intervals are done.

    Raises:
        InvalidInputError: An offer is not what the market takes: bands, signs, or a purchase above a sale.
    """
    end = len(series.start_ns) if end_index is None else end_index
    book = _Book(setting, first_index, end)
    price = series.price_per_mwh
    day_number = series.day_number[first_index:end]
    day_first = first_index + np.flatnonzero(np.diff(day_number, prepend=day_number[:1] - 1))
    for at, until in zip(day_first.tolist(), [*day_first[1:].tolist(), end], strict=True):
        day, span = setting.market.trading_day(int(series.start_ns[at]))
        lodged_ns = setting.market.lodgement_ns(day)
        bands = strategy.bands(
            _known(series, price, lodged_ns, int(np.searchsorted(series.start_ns, lodged_ns)))
        )
        _check_bands(setting.market, bands)
        part_ns = (span.end_ns - span.start_ns) // strategy.plans_a_day
        part, plan = -1, None
        for i in range(at, until):
            now_ns = int(series.start_ns[i])
            known = _known(series, price, now_ns, i)
            if plan is None or (now_ns - span.start_ns) // part_ns != part:
                part = (now_ns - span.start_ns) // part_ns
                plan = strategy.plan(known, bands, book.energy_now_kwh)
            offer = strategy.offer(plan, known, book.energy_now_kwh)
            book.enter(i, bands, offer, int(series.price_cents_per_mwh[i]))
            if i % _PROGRESS_EVERY == 0:
                progress(i - first_index)
    progress(end - first_index)
    return book.outcome()


def perfect_foresight(
    setting: Setting,
    series: Series,
    *,
    first_index: int = 0,
    end_index: int | None = None,
    discharge_limit_kw: NDArray[np.float64] | None = None,
) -> Outcome:
    """Return what the best schedule earns that knew every price: same physics, same costs, same books.

    It is planned day by day, each time far enough ahead that what comes later does not matter any more. Where prices
    are so negative that waste would pay, the search of a window ends at `_NODE_LIMIT` relaxations.

    Args:
        setting: The market and the storage.
        series: The prices.
        first_index: The first interval.
        end_index: The interval after the last one; None for all.
        discharge_limit_kw: A limit for each interval of the series, where discharging more is worth nothing.
    """
    end = len(series.start_ns) if end_index is None else end_index
    price = series.price_per_mwh
    market, storage = setting.market, setting.storage
    ahead_h = 24.0 + _AHEAD_FILLS * storage.energy_capacity_kwh / min(
        storage.charge_limit_kw, storage.discharge_limit_kw
    )
    ahead = round(ahead_h / market.interval_h)
    usual = float(np.median(price[first_index:end]))
    book = _Book(setting, first_index, end)
    everything = Bands(sell_per_mwh=(market.floor_per_mwh,), buy_per_mwh=(market.cap_per_mwh,))
    for begin in range(first_index, end, market.slots_count):
        until = min(begin + market.slots_count, end)
        horizon = min(until + ahead, end)
        plan = plan_storage(
            replace(
                storage,
                initial_energy_kwh=book.energy_now_kwh,
                terminal_value_per_mwh=usual if horizon < end else storage.terminal_value_per_mwh,
            ),
            price[begin:horizon],
            market.interval_h,
            discharge_limit_kw=None if discharge_limit_kw is None else discharge_limit_kw[begin:horizon],
            node_limit=_NODE_LIMIT,
        )
        for i in range(begin, until):
            at = i - begin
            offer = BandOffer(sell_kw=(float(plan.discharge_kw[at]),), buy_kw=(float(plan.charge_kw[at]),))
            book.enter(i, everything, offer, int(series.price_cents_per_mwh[i]))
    return book.outcome()


def _known(series: Series, price: NDArray[np.float64], now_ns: int, count: int) -> Known:
    return Known(
        now_ns=now_ns,
        slot_number=int(series.slot_number[count]) if count < len(series.start_ns) else 0,
        start_ns=series.start_ns[:count],
        slot_numbers=series.slot_number[:count],
        price_per_mwh=price[:count],
    )


def _check_bands(market: BandMarket, bands: Bands) -> None:
    for name, prices in (("sell_per_mwh", bands.sell_per_mwh), ("buy_per_mwh", bands.buy_per_mwh)):
        if len(prices) > market.bands_count:
            raise InvalidInputError(
                field=name, value=len(prices), fix=f"give at most {market.bands_count} prices"
            )
        inside = all(market.floor_per_mwh <= price <= market.cap_per_mwh for price in prices)
        if not inside or any(low >= high for low, high in pairwise(prices)):
            raise InvalidInputError(field=name, value=prices, fix="ascend strictly between floor and cap")


class _Book:
    """The state of the storage and what it earned so far."""

    def __init__(self, setting: Setting, first_index: int, end_index: int) -> None:
        count = end_index - first_index
        self._setting, self._first = setting, first_index
        self._bought_wh, self._sold_wh = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self._asked_wh = np.zeros(count, np.int64)
        self._energy_kwh = np.empty(count + 1)
        self._amount = np.zeros(count, np.int64)
        self._sell_limit, self._buy_limit = np.full(count, np.nan), np.full(count, np.nan)
        self._total_bought_wh = self._total_sold_wh = self._decisions = 0
        self._wear_cents = round(setting.storage.throughput_cost_per_mwh * CENTS)
        self.energy_now_kwh = setting.storage.initial_energy_kwh
        self._energy_kwh[0] = self.energy_now_kwh

    def enter(self, index: int, bands: Bands, offer: BandOffer, price_cents_per_mwh: int) -> None:
        """Dispatch an offer at the interval's price, as far as the storage can follow."""
        storage, interval_h = self._setting.storage, self._setting.market.interval_h
        at = index - self._first
        self._limits(at, bands, offer)
        bought_kw, sold_kw = clear(bands, offer, price_cents_per_mwh / CENTS)
        if bought_kw > 0.0 and sold_kw > 0.0:
            raise InvalidInputError(field="offer", value=offer, fix="buy below the price to sell at")
        self._asked_wh[at] = round((bought_kw - sold_kw) * interval_h * WH_PER_KWH)
        room_kwh = (storage.energy_capacity_kwh - self.energy_now_kwh) / storage.charge_efficiency_frac
        held_kwh = self.energy_now_kwh * storage.discharge_efficiency_frac
        bought_kwh = min(min(bought_kw, storage.charge_limit_kw) * interval_h, room_kwh)
        sold_kwh = min(min(sold_kw, storage.discharge_limit_kw) * interval_h, held_kwh)
        bought_wh = max(int(bought_kwh * WH_PER_KWH + _WHOLE), 0)
        sold_wh = max(int(sold_kwh * WH_PER_KWH + _WHOLE), 0)
        self._bought_wh[at], self._sold_wh[at] = bought_wh, sold_wh
        self._amount[at] = price_cents_per_mwh * (sold_wh - bought_wh) - self._wear_cents * sold_wh
        self._total_bought_wh += bought_wh
        self._total_sold_wh += sold_wh
        stored_kwh = (
            self._total_bought_wh * storage.charge_efficiency_frac
            - self._total_sold_wh / storage.discharge_efficiency_frac
        ) / WH_PER_KWH
        energy_kwh = storage.initial_energy_kwh + stored_kwh
        self.energy_now_kwh = min(max(energy_kwh, 0.0), storage.energy_capacity_kwh)
        self._energy_kwh[at + 1] = self.energy_now_kwh
        self._decisions += 1

    def _limits(self, at: int, bands: Bands, offer: BandOffer) -> None:
        """Keep the lowest price to sell at and the highest to buy at, and refuse a negative quantity."""
        for limit, kw in zip(bands.sell_per_mwh, offer.sell_kw, strict=True):
            if kw < 0.0:
                raise InvalidInputError(field="sell_kw", value=kw, fix="give quantities of 0 or more")
            if kw > 0.0:
                self._sell_limit[at] = limit
                break
        for limit, kw in zip(reversed(bands.buy_per_mwh), reversed(offer.buy_kw), strict=True):
            if kw < 0.0:
                raise InvalidInputError(field="buy_kw", value=kw, fix="give quantities of 0 or more")
            if kw > 0.0:
                self._buy_limit[at] = limit
                break

    def outcome(self) -> Outcome:
        """Return the books."""
        return Outcome(
            first_index=self._first,
            asked_wh=self._asked_wh,
            bought_wh=self._bought_wh,
            sold_wh=self._sold_wh,
            energy_kwh=self._energy_kwh,
            amount=self._amount,
            sell_limit_per_mwh=self._sell_limit,
            buy_limit_per_mwh=self._buy_limit,
            decisions_count=self._decisions,
        )
