"""What was known when: prices with their revisions, and forecasts as they were issued.

Nothing here is ever changed. A question carries the instant as of which it is asked, and the query cannot see a
fact that became known later, so a back-test cannot look ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, select

from shoal.domain.errors import InvalidInputError
from shoal.market.types import ClearingPrice
from shoal.store.database import bulk_insert, column_parts, insert_into, reading, writing
from shoal.store.records import ForecastRecord
from shoal.store.schema import FORECAST, PRICE

_BATCH: Final = 20_000
_PRICE_COLUMNS: Final = ("settlement_point", "source", "start_ns", "known_ns", "end_ns", "price_per_mwh")
_FORECAST_COLUMNS: Final = tuple(ForecastRecord.__dataclass_fields__)


class Knowledge:
    """Prices and forecasts in a migrated database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record_prices(self, prices: Sequence[ClearingPrice], *, source: str = "market") -> int:
        """Keep published prices; those already kept are left alone.

        A price published later for the same interval is a revision, kept beside the first.

        Returns:
            How many were new.

        Raises:
            InvalidInputError: when a price differs from one kept with the same interval and time of publication.
        """
        new = {
            (item.settlement_point, source, item.start_ns, item.published_ns): (
                item.end_ns,
                item.price_per_mwh,
            )
            for item in prices
        }
        if not new:
            return 0
        starts = [key[2] for key in new]
        query = select(*(PRICE.c[name] for name in _PRICE_COLUMNS)).where(
            PRICE.c.source == source, PRICE.c.start_ns.between(min(starts), max(starts))
        )
        with writing(self._engine, lock="prices") as connection:
            for row in connection.execute(query):
                kept = new.pop(tuple(row[:4]), None)
                if kept is not None and kept != tuple(row[4:]):
                    raise InvalidInputError(
                        field=f"price of {row[0]} at {row[2]}",
                        value=kept[1],
                        fix=f"give a revision its own time of publication; {row[5]} is already known",
                    )
            rows = [(*key, *value) for key, value in new.items()]
            bulk_insert(connection, PRICE, _PRICE_COLUMNS, rows, batch=_BATCH)
        return len(new)

    def prices(
        self, settlement_point: str, from_ns: int, to_ns: int, as_of_ns: int, *, source: str = "market"
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the prices of the intervals that start in `[from_ns, to_ns)`, as known at `as_of_ns`.

        Returns:
            The starts of the intervals in ns, ascending, and currency per MWh: each the latest revision that was
            known. An interval of which nothing was known is absent.
        """
        query = (
            select(PRICE.c.start_ns, PRICE.c.price_per_mwh)
            .where(
                PRICE.c.settlement_point == settlement_point,
                PRICE.c.source == source,
                PRICE.c.start_ns >= from_ns,
                PRICE.c.start_ns < to_ns,
                PRICE.c.known_ns <= as_of_ns,
            )
            .order_by(PRICE.c.start_ns, PRICE.c.known_ns)
        )
        latest: dict[int, float] = {}
        with reading(self._engine) as connection:
            for starts, values in column_parts(connection, query):
                latest.update(zip(starts, values, strict=True))
        return (
            np.fromiter(latest.keys(), dtype=np.int64, count=len(latest)),
            np.fromiter(latest.values(), dtype=np.float64, count=len(latest)),
        )

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
