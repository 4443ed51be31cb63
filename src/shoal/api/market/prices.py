"""Prices with the forecast of each interval that was the newest before the interval began."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from shoal.api.live.state import to_ms
from shoal.api.market.answers import MarketPrices
from shoal.domain.facts import SeriesId
from shoal.market.contract import Market
from shoal.market.series import price_series
from shoal.store.facts import FactStore

MEAN, LOW, MIDDLE, HIGH = range(4)
"""Columns of a forecast of prices as decisions leave it; one column is the mean alone."""
WHOLE: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Issue:
    """What was expected of an interval, and since when."""

    end_ns: int
    known_ns: int
    value: tuple[float | None, ...]


def market_prices(
    facts: FactStore,
    market: Market,
    point: str,
    product_id: str,
    *,
    from_ns: int,
    to_ns: int,
    now_ns: int,
) -> MarketPrices:
    """Return what prices were, and were expected to be, in the intervals that start in a span; blocks.

    Args:
        facts: The store of facts.
        market: Whose prices.
        point: Where they are made.
        product_id: Of what.
        from_ns: Where the span begins.
        to_ns: Where it ends.
        now_ns: The present: nothing that became known later is told.
    """
    prices = price_series(market.rules.market_id, point, product_id)
    published = facts.as_of([prices], from_ns, to_ns, now_ns)[prices]
    actual = {
        int(start_ns): (int(end_ns), _finite(float(row[0])), int(known_ns))
        for start_ns, end_ns, row, known_ns in zip(
            published.start_ns, published.end_ns, published.value, published.known_ns, strict=True
        )
    }
    issued = _issues(facts, SeriesId(f"forecast/{prices}"), from_ns=from_ns, to_ns=to_ns, now_ns=now_ns)
    starts = sorted(actual.keys() | issued.keys())
    fan = [issued.get(start_ns) for start_ns in starts]
    return MarketPrices(
        as_of_ms=to_ms(now_ns),
        market_id=market.rules.market_id,
        settlement_point=point,
        product_id=product_id,
        zone=market.rules.zone,
        currency=market.rules.currency,
        from_ms=to_ms(from_ns),
        to_ms=to_ms(to_ns),
        start_ms=[to_ms(start_ns) for start_ns in starts],
        end_ms=[
            to_ms(actual[start_ns][0] if start_ns in actual else issued[start_ns].end_ns)
            for start_ns in starts
        ],
        actual=[actual[start_ns][1] if start_ns in actual else None for start_ns in starts],
        actual_known_ms=[to_ms(actual[start_ns][2]) if start_ns in actual else None for start_ns in starts],
        issued_ms=[None if one is None else to_ms(one.known_ns) for one in fan],
        mean=[None if one is None else one.value[MEAN] for one in fan],
        q05=[None if one is None else one.value[LOW] for one in fan],
        # forecasts keep the middle and the nine tenths around it; nothing is put between
        q25=[None] * len(starts),
        q50=[None if one is None else one.value[MIDDLE] for one in fan],
        q75=[None] * len(starts),
        q95=[None if one is None else one.value[HIGH] for one in fan],
    )


def _issues(
    facts: FactStore, series_id: SeriesId, *, from_ns: int, to_ns: int, now_ns: int
) -> dict[int, _Issue]:
    """Return the newest forecast of each interval that was known before the interval began."""
    said = facts.window([series_id], from_ns, to_ns).facts[series_id]
    in_time = (said.known_ns < said.start_ns) & (said.known_ns <= now_ns)
    found: dict[int, _Issue] = {}
    for at in np.flatnonzero(in_time)[np.argsort(said.known_ns[in_time], kind="stable")].tolist():
        row = [_finite(float(value)) for value in said.value[at]]
        found[int(said.start_ns[at])] = _Issue(
            end_ns=int(said.end_ns[at]),
            known_ns=int(said.known_ns[at]),
            value=tuple(row[:WHOLE]) if len(row) >= WHOLE else (row[0], None, None, None),
        )
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
