"""What was known when: prices, which are facts of series of their own, and forecasts as they were issued.

Nothing here is ever changed. A question carries the instant as of which it is asked, and the query cannot see a
fact that became known later, so a back-test cannot look ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, select

from shoal.domain.facts import SeriesId
from shoal.market.types import ClearingPrice
from shoal.store.database import insert_into, reading, writing
from shoal.store.facts import FactStore
from shoal.store.facts_records import FactBatch
from shoal.store.records import ForecastRecord
from shoal.store.schema import FORECAST

_FORECAST_COLUMNS: Final = tuple(ForecastRecord.__dataclass_fields__)


def price_series(settlement_point: str, source: str) -> SeriesId:
    """Return the series of a settlement point's prices from one source."""
    return SeriesId(f"price/{source}/{settlement_point}")


def _batch(settlement_point: str, prices: Sequence[ClearingPrice], source: str) -> FactBatch:
    instants = np.array([(item.start_ns, item.end_ns, item.published_ns) for item in prices], dtype=np.int64)
    return FactBatch(
        series_id=price_series(settlement_point, source),
        source=source,
        known_ns=instants[:, 2],
        revision=np.zeros(len(prices), dtype=np.int64),
        start_ns=instants[:, 0],
        end_ns=instants[:, 1],
        value=np.array([[item.price_per_mwh] for item in prices], dtype=np.float64),
    )


class Knowledge:
    """Prices and forecasts in a migrated database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record_prices(self, prices: Sequence[ClearingPrice], *, source: str = "market") -> int:
        """Keep published prices; those already kept are left alone.

        A price published later for the same interval is a revision, kept beside the first; one that says again what
        was known is not.

        Returns:
            How many were new.

        Raises:
            InvalidInputError: when a price differs from one kept with the same interval and time of publication.
        """
        by_point: dict[str, list[ClearingPrice]] = {}
        for item in prices:
            by_point.setdefault(item.settlement_point, []).append(item)
        batches = [_batch(point, some, source) for point, some in sorted(by_point.items())]
        done = FactStore(self._engine).record_all(batches, strict=True)
        return sum(one.kept for one in done)

    def prices(
        self, settlement_point: str, from_ns: int, to_ns: int, as_of_ns: int, *, source: str = "market"
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the prices of the intervals that start in `[from_ns, to_ns)`, as known at `as_of_ns`.

        Returns:
            The starts of the intervals in ns, ascending, and currency per MWh: each the latest revision that was
            known. An interval of which nothing was known is absent.
        """
        series_id = price_series(settlement_point, source)
        known = FactStore(self._engine).as_of([series_id], from_ns, to_ns, as_of_ns)[series_id]
        return known.start_ns, known.value[:, 0]

    def record_forecast(self, forecast: ForecastRecord) -> None:
        """Keep a forecast; the same workflow, resource and model is the same forecast, and the first stays."""
        values = {name: getattr(forecast, name) for name in _FORECAST_COLUMNS}
        with writing(self._engine) as connection:
            connection.execute(insert_into(connection, FORECAST).values(values).on_conflict_do_nothing())

    def latest_forecast(
        self, settlement_point: str, as_of_ns: int, *, delivery_date: str | None = None
    ) -> ForecastRecord | None:
        """Return the forecast issued last at or before an instant, of one delivery day if it is given."""
        query = (
            select(*(FORECAST.c[name] for name in _FORECAST_COLUMNS))
            .where(FORECAST.c.settlement_point == settlement_point, FORECAST.c.issued_ns <= as_of_ns)
            .order_by(
                FORECAST.c.issued_ns.desc(),
                FORECAST.c.workflow_id.desc(),
                FORECAST.c.resource_id,
                FORECAST.c.model,
            )
            .limit(1)
        )
        if delivery_date is not None:
            query = query.where(FORECAST.c.delivery_date == delivery_date)
        with reading(self._engine) as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else ForecastRecord(**row)
