"""Prices that came out, on the intervals of a product, with the instants at which each was known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from math import inf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.backtest_tape import Tape, published_ns
from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, iso
from shoal.market.contract import Market
from shoal.market.series import price_series
from shoal.store.facts_records import FactBatch

CENTS: Final = 100
_EPOCH: Final = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GridPrices:
    """N intervals of one product, with or without gaps.

    Attributes:
        start_ns: N starts, ascending.
        end_ns: N ends.
        price_cents_per_mwh: N prices in whole hundredths.
        known_ns: N instants at which the prices came out.
        day_number: N ordinals of the delivery days, from 1970.
        deviation_per_mwh: Prices of deviations by the start of the settlement interval, where they are known.
    """

    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    price_cents_per_mwh: NDArray[np.int64]
    known_ns: NDArray[np.int64]
    day_number: NDArray[np.int64]
    deviation_per_mwh: Mapping[int, float] = field(default_factory=dict)

    @property
    def price_per_mwh(self) -> NDArray[np.float64]:
        """The prices."""
        return self.price_cents_per_mwh / CENTS

    @property
    def interval_ns(self) -> int:
        """The length of the first interval."""
        return int(self.end_ns[0] - self.start_ns[0])

    @property
    def stride_count(self) -> int:
        """So many intervals are an hour, or one if an interval is longer."""
        return max(NS_PER_HOUR // self.interval_ns, 1)


def grid_prices(
    market: Market,
    product_id: str,
    start_ns: NDArray[np.int64],
    price_per_mwh: NDArray[np.float64],
    *,
    interval_ns: int,
) -> GridPrices:
    """Return prices of a file on the intervals of a product.

    Where the file's intervals are longer, each part has the price of the whole, known when that of the whole is. Days before
    the product's first are left out.

    Args:
        market: The market.
        product_id: The product.
        start_ns: F starts, ascending.
        price_per_mwh: F prices.
        interval_ns: The length of the file's intervals.

    Raises:
        InvalidInputError: the file's intervals are shorter, are not the product's, or a price is beyond floor or cap.
    """
    if not len(start_ns) or len(start_ns) != len(price_per_mwh):
        raise InvalidInputError(field="series", value=len(start_ns), fix="give a price for every interval")
    if np.any(np.diff(start_ns) < interval_ns):
        at = int(np.argmax(np.diff(start_ns) < interval_ns)) + 1
        raise InvalidInputError(
            field=f"start_ns[{at}]", value=iso(int(start_ns[at])), fix="give each interval once, in order"
        )
    day_of_hour = {
        hour: market.delivery_date(hour * NS_PER_HOUR) for hour in np.unique(start_ns // NS_PER_HOUR).tolist()
    }
    starts, ends, prices, known, days = [], [], [], [], []
    file_known = published_ns(market, product_id, start_ns, start_ns + interval_ns)
    product = market.product(product_id)
    first_day = max(product.first_day, product.limits[0].effective_from)
    traded = [day for day in sorted(set(day_of_hour.values())) if day >= first_day]
    if not traded:
        raise InvalidInputError(
            field="--series",
            value=f"up to {max(day_of_hour.values())}",
            fix=f"{product_id} is traded from {first_day} on",
        )
    for day in traded:
        bounds = market.bounds_ns(product_id, day)
        own_ns = int(bounds[1] - bounds[0])
        if interval_ns % own_ns:
            raise InvalidInputError(
                field="--series",
                value=f"intervals of {interval_ns // NS_PER_MINUTE} min",
                fix=f"{product_id} has intervals of {own_ns // NS_PER_MINUTE} min on {day}: give those, or whole multiples",
            )
        floor, cap = market.price_limits(product_id, day)
        if product.settled_by == "instruction":
            floor, cap = -inf, inf  # a price of a place holds congestion, too: offers are limited, it is not
        row = np.searchsorted(start_ns, bounds[:-1], side="right") - 1
        there = (row >= 0) & (bounds[:-1] < start_ns[np.maximum(row, 0)] + interval_ns)
        row, begins = row[there], bounds[:-1][there]
        found = price_per_mwh[row]
        bad = ~((found >= floor) & (found <= cap))
        if bad.any():
            at = int(np.argmax(bad))
            raise InvalidInputError(
                field=f"price from {iso(int(begins[at]))}",
                value=float(found[at]),
                fix=f"{market.rules.market_id} {product_id} has prices from {floor:g} to {cap:g} on {day}",
            )
        starts.append(begins)
        ends.append(begins + own_ns)
        prices.append(found)
        known.append(file_known[row])
        days.append(np.full(len(begins), day.toordinal() - _EPOCH))
    return GridPrices(
        start_ns=np.concatenate(starts),
        end_ns=np.concatenate(ends),
        price_cents_per_mwh=np.rint(np.concatenate(prices) * CENTS).astype(np.int64),
        known_ns=np.concatenate(known),
        day_number=np.concatenate(days),
    )


def load_prices(
    tape: Tape, market: Market, settlement_point: str, product_id: str, prices: GridPrices
) -> None:
    """Put prices on a tape under the name that strategies ask for."""
    count = len(prices.start_ns)
    tape.load(
        FactBatch(
            series_id=price_series(market.rules.market_id, settlement_point, product_id),
            source=market.rules.market_id,
            known_ns=prices.known_ns,
            revision=np.zeros(count, np.int64),
            start_ns=prices.start_ns,
            end_ns=prices.end_ns,
            value=prices.price_per_mwh.reshape(-1, 1),
        )
    )
