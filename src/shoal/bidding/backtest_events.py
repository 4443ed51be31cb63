"""A programme of events for a back-test: hours in which a reduction was asked for, and what one was worth.

There is no price: a MWh is worth what the programme pays in an hour that was called, and nothing in any other. What the
charging costs is on the bill of the site and not seen here.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.backtest_prices import CENTS, GridPrices
from shoal.bidding.backtest_tape import Tape, published_ns
from shoal.domain.errors import InvalidInputError
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.peak import PeakMarket
from shoal.store.facts_records import FactBatch

BEFORE_THE_GATE_NS: Final = 2 * NS_PER_HOUR
"""So long before its gate an event is announced."""
_EPOCH: Final = date(1970, 1, 1).toordinal()


def event_grid(
    market: PeakMarket, product_id: str, start_ns: NDArray[np.int64], target_mw: NDArray[np.float64]
) -> tuple[GridPrices, dict[int, float]]:
    """Return every hour of the days from the first event to the last with its worth, and the target of the hours called.

    Args:
        market: The programme.
        product_id: Its product.
        start_ns: E starts of hours, ascending.
        target_mw: E reductions asked for, never negative.

    Raises:
        InvalidInputError: a target is negative, or an hour is none of the programme's.
    """
    if np.any(target_mw < 0):
        at = int(np.argmax(target_mw < 0))
        raise InvalidInputError(field=f"target_mw[{at}]", value=float(target_mw[at]), fix="give 0 or more")
    first, last = (market.delivery_date(int(start_ns[at])) for at in (0, -1))
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    bounds = [market.bounds_ns(product_id, day) for day in days]
    starts = np.concatenate([one[:-1] for one in bounds])
    ends = np.concatenate([one[1:] for one in bounds])
    called = {start: mw for start, mw in zip(start_ns.tolist(), target_mw.tolist(), strict=True) if mw > 0.0}
    lost = sorted(set(called) - set(starts.tolist()))
    if lost:
        raise InvalidInputError(
            field="start_ns", value=lost[0], fix=f"give starts of hours of {market.rules.market_id}"
        )
    paid = round(market.performance_per_mwh * CENTS)
    prices = GridPrices(
        start_ns=starts,
        end_ns=ends,
        price_cents_per_mwh=np.array([paid if start in called else 0 for start in starts.tolist()], np.int64),
        known_ns=published_ns(market, product_id, starts, ends),
        day_number=np.repeat(
            np.array([day.toordinal() - _EPOCH for day in days]), [len(one) - 1 for one in bounds]
        ),
    )
    return prices, called


def announce(
    tape: Tape, market: PeakMarket, product_id: str, settlement_point: str, called_mw: dict[int, float]
) -> None:
    """Put events on a tape under the name that strategies ask for, known some time before the gate of their day."""
    starts = np.array(sorted(called_mw), np.int64)
    gates = [market.gates(product_id, market.delivery_date(one))[0] for one in starts.tolist()]
    tape.load(
        FactBatch(
            series_id=SeriesId(f"event/{market.rules.market_id}/{settlement_point}/{product_id}"),
            source=market.rules.market_id,
            known_ns=np.array([gate.closes_ns - BEFORE_THE_GATE_NS for gate in gates], np.int64),
            revision=np.zeros(len(starts), np.int64),
            start_ns=starts,
            end_ns=starts + NS_PER_HOUR,
            value=np.array([called_mw[one] for one in starts.tolist()]).reshape(-1, 1),
        )
    )
