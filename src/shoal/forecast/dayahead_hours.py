"""What trees look at: a row for each hour of a day, with what its neighbours and the same hour of earlier days were.

Like the rows of whole days, a row uses prices of days before its own only; exogenous forecasts of the day itself are known
before the gate. Trees split on order alone, so exogenous forecasts come as they are.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.forecast.dayahead_features import HOURS, LONGEST_LAG_DAYS, MarketDays, Scaler

_Floats = NDArray[np.float64]
_LAST_HOURS: Final = (3, 8, 12, 18, 21, 23)
"""Hours of yesterday that every row sees."""
_NEAR: Final = (-2, -1, 1, 2)
_NEAR_EXOGENOUS: Final = (-3, -2, -1, 1, 2, 3)
_YEAR_DAYS: Final = 365.25


def hour_inputs(scaler: Scaler, days: MarketDays, first_row: int, last_row: int) -> NDArray[np.float32]:
    """Return N x 24 x F inputs of the days `first_row` to `last_row`, both included; NaN where there is none.

    The day to forecast is row `days.count`; the first row must have seven days before it.
    """
    rows = np.arange(first_row, last_row + 1)
    ordinal = days.first_day.toordinal() + rows
    weekday = (ordinal - 1) % 7
    phase = 2.0 * np.pi * ordinal / _YEAR_DAYS
    columns = [
        np.broadcast_to(np.arange(float(HOURS)), (len(rows), HOURS)),
        *_of_prices(scaler, days, rows),
        *(
            column
            for number in range(days.exogenous_level.shape[2])
            for column in _exogenous(days, rows, number)
        ),
        *(_whole_day(one) for one in (weekday, (weekday - 1) % 7, np.sin(phase), np.cos(phase))),
    ]
    return np.stack(columns, axis=2).astype(np.float32)


def hours_around(level: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return N x 24 x 6: N x 24 values, those an hour before and after, and the day's mean, highest and lowest."""
    day = [_whole_day(one) for one in (level.mean(axis=1), level.max(axis=1), level.min(axis=1))]
    return np.stack([level, _shifted(level, -1), _shifted(level, 1), *day], axis=2).astype(np.float32)


def _of_prices(scaler: Scaler, days: MarketDays, rows: NDArray[np.int64]) -> list[_Floats]:
    lagged = [scaler.lagged(days, rows, lag) for lag in range(1, LONGEST_LAG_DAYS + 1)]
    one, two, three, seven = lagged[0], lagged[1], lagged[2], lagged[6]
    return [
        *(one, two, three, seven),
        *(_shifted(one, by) for by in _NEAR),
        np.mean(lagged, axis=0),
        *(_whole_day(one[:, hour]) for hour in _LAST_HOURS),
        *(_whole_day(value) for value in (one.mean(axis=1), one.max(axis=1), one.min(axis=1))),
        *(_whole_day(two.mean(axis=1)), _whole_day(seven.mean(axis=1))),
        *(one - two, one - seven),
        *(_whole_day(scaler.level(days, rows)), _whole_day(np.abs(one - two).mean(axis=1))),
    ]


def _exogenous(days: MarketDays, rows: NDArray[np.int64], number: int) -> list[_Floats]:
    level = days.exogenous_level[:, :, number]
    own = level[rows]
    before = [level[rows - lag] for lag in range(1, LONGEST_LAG_DAYS + 1)]
    to_one, to_two, to_seven = (own - before[lag - 1] for lag in (1, 2, 7))
    return [
        own,
        *(_shifted(own, by) for by in _NEAR_EXOGENOUS),
        *(to_one, to_two, to_seven, own - np.mean(before, axis=0)),
        *(_whole_day(value) for value in (own.mean(axis=1), own.max(axis=1), own.min(axis=1))),
        *(_whole_day(to_one.mean(axis=1)), _whole_day(to_seven.mean(axis=1))),
        own - own.mean(axis=1, keepdims=True),
    ]


def _whole_day(value: NDArray[np.float64] | NDArray[np.int64]) -> _Floats:
    """Return N values for each hour of their days."""
    return np.repeat(np.asarray(value, dtype=np.float64)[:, None], HOURS, axis=1)


def _shifted(value: _Floats, by: int) -> _Floats:
    """Return the values `by` hours later in the same day, NaN beyond its ends."""
    out = np.full_like(value, np.nan)
    if by > 0:
        out[:, :-by] = value[:, by:]
    else:
        out[:, -by:] = value[:, :by]
    return out
