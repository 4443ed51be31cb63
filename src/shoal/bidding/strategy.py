"""What a strategy of a market with five-minute dispatch is: a pure function from what was known to an offer.

An offer is quantities at prices. The prices of the bands stand for a whole trading day and are given on the day
before; the quantities are given anew before each interval. So a dispatch answers to the price of its interval
although nobody knew it, and a strategy never sees more than what was published before the interval began.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Protocol, TypeVar
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_HOUR, Interval, to_datetime, to_ns
from shoal.optimise.storage import Storage

P = TypeVar("P")


@dataclass(frozen=True, slots=True, kw_only=True)
class BandMarket:
    """A market whose dispatch follows bands of price and quantity.

    Attributes:
        market_id: Its name.
        zone: The zone of its calendar.
        currency: ISO 4217 code of its prices.
        interval_ns: Length of a dispatch interval.
        day_start: Local time at which a trading day begins.
        lodgement: Local time on the day before by which the prices of the bands are given.
        bands_count: Prices that one side of a day may have.
        floor_per_mwh: The lowest price that there can be.
        cap_per_mwh: The highest.
        tick_per_mwh: Every price is a whole multiple of it.
    """

    market_id: str
    zone: ZoneInfo
    currency: str
    interval_ns: int
    day_start: time
    lodgement: time
    bands_count: int
    floor_per_mwh: float
    cap_per_mwh: float
    tick_per_mwh: float

    @property
    def interval_h(self) -> float:
        """Length of a dispatch interval, in hours."""
        return self.interval_ns / NS_PER_HOUR

    @property
    def slots_count(self) -> int:
        """Dispatch intervals in a day of 24 hours."""
        return 24 * NS_PER_HOUR // self.interval_ns

    def trading_day(self, t_ns: int) -> tuple[date, Interval]:
        """Return the trading day that an instant lies in: its date, and from when to when it lasts."""
        moment = to_datetime(t_ns, self.zone)
        day = moment.date() - timedelta(days=int(moment.time() < self.day_start))
        return day, Interval(start_ns=self._at(day, self.day_start), end_ns=self._at(day, self.day_start, 1))

    def lodgement_ns(self, day: date) -> int:
        """Return the instant by which the prices of a trading day's bands are given."""
        return self._at(day, self.lodgement, -1)

    def _at(self, day: date, at: time, days: int = 0) -> int:
        return to_ns(datetime.combine(day + timedelta(days=days), at, tzinfo=self.zone))


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a strategy is made for: the market, the storage (empty at the start), and how long it looks back."""

    market: BandMarket
    storage: Storage


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """What was known at an instant: every interval that had been dispatched before.

    Attributes:
        now_ns: The instant; the start of the interval that is bid for.
        slot_number: The number of that interval in its local day.
        start_ns: H starts of past intervals, ascending; there may be gaps.
        slot_numbers: H numbers of these intervals in their local days.
        price_per_mwh: H prices.
    """

    now_ns: int
    slot_number: int
    start_ns: NDArray[np.int64]
    slot_numbers: NDArray[np.int64]
    price_per_mwh: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """The prices of a trading day.

    Attributes:
        sell_per_mwh: Ascending; a band is dispatched when the price is at or above its own.
        buy_per_mwh: Ascending; a band is dispatched when the price is at or below its own.
    """

    sell_per_mwh: tuple[float, ...]
    buy_per_mwh: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BandOffer:
    """The quantities of one interval: a power for each band, never negative."""

    sell_kw: tuple[float, ...]
    buy_kw: tuple[float, ...]


class Strategy(Protocol[P]):
    """How to bid. Every method is a pure function: the same arguments give the same bits."""

    @property
    def plans_a_day(self) -> int:
        """How often a trading day is planned anew, at equal distances from its start."""
        ...

    def bands(self, known: Known) -> Bands:
        """Return the prices of the bands of a day, from what was known when they had to be given."""
        ...

    def plan(self, known: Known, bands: Bands, energy_kwh: float) -> P:
        """Return whatever `offer` needs, from what is known when part of a day begins."""
        ...

    def offer(self, plan: P, known: Known, energy_kwh: float) -> BandOffer:
        """Return the offer of the interval that begins now.

        Args:
            plan: What `plan` returned for this part of the day.
            known: All that is known now.
            energy_kwh: Stored energy now.
        """
        ...
