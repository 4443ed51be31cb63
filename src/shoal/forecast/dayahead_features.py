"""What the experts of day-ahead prices look at: days of 24 prices and forecasts known before the gate, as rows of inputs.

A row speaks of one day: prices of earlier days, exogenous forecasts of the day itself and of earlier ones, weekday and
season. Row d uses prices of days before d only; a `Scaler` fitted on a window of known days brings all of it to like
size, so nothing of the day that is forecast can leak into it but what was known.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError

HOURS: Final = 24
LONGEST_LAG_DAYS: Final = 7
Scaling = Literal["asinh", "plain", "local"]
_TO_DEVIATION: Final = 1.4826  # of a normal law, from the median absolute deviation
_LEAST: Final = 1e-6
_YEAR_DAYS: Final = 365.25


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MarketDays:
    """D days of prices, and what was forecast for them and for the day that follows.

    A day has 24 slots of the local clock; of an hour that the clock repeats give the mean, of one that it skips the mean
    of its neighbours.

    Attributes:
        first_day: The first day.
        price_per_mwh: D x 24 published prices.
        exogenous_level: (D + 1) x 24 x E forecasts of load, wind and the like, each known before the gate of its day;
            the last row is of the day to forecast.

    Raises:
        InvalidInputError: when shapes do not fit or a number is not finite.
    """

    first_day: date
    price_per_mwh: NDArray[np.float64]
    exogenous_level: NDArray[np.float64]

    def __post_init__(self) -> None:
        count = len(self.price_per_mwh)
        if self.price_per_mwh.shape != (count, HOURS):
            raise InvalidInputError(
                field="price_per_mwh", value=self.price_per_mwh.shape, fix="give days of 24 prices"
            )
        if self.exogenous_level.ndim != 3 or self.exogenous_level.shape[:2] != (count + 1, HOURS):
            raise InvalidInputError(
                field="exogenous_level",
                value=self.exogenous_level.shape,
                fix=f"give {count + 1} x 24 x E: one day more than prices",
            )
        for field in ("price_per_mwh", "exogenous_level"):
            if not np.isfinite(getattr(self, field)).all():
                raise InvalidInputError(
                    field=field, value="not finite", fix="fill or leave out what is unknown"
                )

    @property
    def count(self) -> int:
        """How many days have prices."""
        return len(self.price_per_mwh)

    @property
    def target_ordinal(self) -> int:
        """The ordinal of the day to forecast."""
        return self.first_day.toordinal() + self.count

    def until(self, count: int) -> MarketDays:
        """Return what was known when `count` days had prices: the same, less all that came later."""
        return MarketDays(
            first_day=self.first_day,
            price_per_mwh=self.price_per_mwh[:count],
            exogenous_level=self.exogenous_level[: count + 1],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Which inputs a row has.

    Attributes:
        price_lag_days: Days whose 24 prices are inputs, counted back from the row's own.
        exogenous_lag_days: Days whose exogenous forecasts are inputs; 0 is the row's own.
        is_seasonal: Whether the season is an input.
    """

    price_lag_days: tuple[int, ...] = (1, 2, 3, 7)
    exogenous_lag_days: tuple[int, ...] = (0, 1, 7)
    is_seasonal: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class InputWeights:
    """How much each group of inputs counts, whatever its size.

    Attributes:
        price_scale: One for each day of prices.
        exogenous_scale: One for each day of exogenous forecasts.
        level_scale: Of the level of the last seven days, which only the ``local`` scaling has.
        weekday_scale: Of the day of the week.
        season_scale: Of the season.
    """

    price_scale: tuple[float, ...]
    exogenous_scale: tuple[float, ...]
    level_scale: float
    weekday_scale: float
    season_scale: float

    def factors(self, inputs: Inputs, scaling: Scaling, exogenous_count: int) -> NDArray[np.float64]:
        """Return a factor for each input; standardised inputs times theirs have a mean square sum of 1."""
        groups = [(weight, HOURS) for weight in self.price_scale]
        groups += [(self.level_scale, 1)] if scaling == "local" else []
        groups += [(weight, HOURS * exogenous_count) for weight in self.exogenous_scale if exogenous_count]
        groups += [(self.weekday_scale, 7)]
        groups += [(self.season_scale, 2)] if inputs.is_seasonal else []
        each = np.concatenate([np.full(size, weight / np.sqrt(size)) for weight, size in groups])
        return np.asarray(each / np.sqrt(np.sum(each * each)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scaler:
    """Brings prices and exogenous forecasts to like size, by what a window of known days showed.

    Attributes:
        scaling: ``asinh`` is linear near the median and logarithmic in a spike; ``plain`` is linear; ``local`` is
            ``asinh`` around the mean of the last seven days, so that it follows the level of prices.
        price_centre_per_mwh: Where scaled prices are 0.
        price_scale_per_mwh: The unit of scaled prices.
        exogenous_centre_level: 24 x E centres.
        exogenous_scale: 24 x E units.
    """

    scaling: Scaling
    price_centre_per_mwh: float
    price_scale_per_mwh: float
    exogenous_centre_level: NDArray[np.float64]
    exogenous_scale: NDArray[np.float64]

    def inputs(self, days: MarketDays, inputs: Inputs, first_row: int, last_row: int) -> NDArray[np.float64]:
        """Return the rows `first_row` to `last_row`, both included; the day to forecast is row `days.count`."""
        rows = np.arange(first_row, last_row + 1)
        level = self.level(days, rows)
        parts = [
            self._scaled(days.price_per_mwh[rows - lag], level[:, None]) for lag in inputs.price_lag_days
        ]
        if self.scaling == "local":
            parts.append((level[:, None] - self.price_centre_per_mwh) / self.price_scale_per_mwh)
        start = first_row - LONGEST_LAG_DAYS
        around = days.exogenous_level[start : last_row + 1]
        exogenous = (around - self.exogenous_centre_level) / self.exogenous_scale
        if self.scaling != "plain":
            exogenous = np.arcsinh(exogenous)
        parts += [
            exogenous[rows - start - lag].transpose(0, 2, 1).reshape(len(rows), -1)
            for lag in inputs.exogenous_lag_days
        ]
        ordinal = days.first_day.toordinal() + rows
        parts.append(np.eye(7)[(ordinal - 1) % 7])
        if inputs.is_seasonal:
            phase = 2.0 * np.pi * (ordinal % _YEAR_DAYS) / _YEAR_DAYS
            parts.append(np.stack([np.sin(phase), np.cos(phase)], axis=1))
        return np.hstack(parts)

    def outputs(self, days: MarketDays, first_row: int, last_row: int) -> NDArray[np.float64]:
        """Return scaled prices of the days `first_row` to `last_row`, both included and known."""
        rows = np.arange(first_row, last_row + 1)
        return self._scaled(days.price_per_mwh[rows], self.level(days, rows)[:, None])

    def lagged(self, days: MarketDays, rows: NDArray[np.int64], lag_days: int) -> NDArray[np.float64]:
        """Return N x 24 scaled prices of `lag_days` before each row, around the row's own level."""
        return self._scaled(days.price_per_mwh[rows - lag_days], self.level(days, rows)[:, None])

    def prices(self, days: MarketDays, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the prices of the day to forecast from its scaled ones, `z`."""
        level = self.level(days, np.array([days.count]))[0]
        raw = z if self.scaling == "plain" else np.sinh(z)
        return np.asarray(raw * self.price_scale_per_mwh + level)

    def level(self, days: MarketDays, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the price around which each row's prices are scaled."""
        if self.scaling != "local":
            return np.full(len(rows), self.price_centre_per_mwh)
        return _week_before(days.price_per_mwh, rows)

    def _scaled(self, price: NDArray[np.float64], level: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled = (price - level) / self.price_scale_per_mwh
        return scaled if self.scaling == "plain" else np.arcsinh(scaled)


def fit_scaler(days: MarketDays, scaling: Scaling, first_row: int) -> Scaler:
    """Return the scaler of the known days from `first_row` on."""
    price = days.price_per_mwh[first_row:]
    exogenous = days.exogenous_level[first_row : days.count]
    if scaling == "plain":
        centre, unit = float(price.mean()), float(price.std())
        exogenous_centre, exogenous_unit = exogenous.mean(axis=0), exogenous.std(axis=0)
    else:
        centre = float(np.median(price))
        around = centre if scaling == "asinh" else _week_before(days.price_per_mwh, _rows(days, first_row))
        spread = np.abs(price - np.reshape(around, (-1, 1)))
        unit = _TO_DEVIATION * float(np.median(spread))
        exogenous_centre = np.median(exogenous, axis=0)
        exogenous_unit = _TO_DEVIATION * np.median(np.abs(exogenous - exogenous_centre), axis=0)
    return Scaler(
        scaling=scaling,
        price_centre_per_mwh=centre,
        price_scale_per_mwh=max(unit, _LEAST),
        exogenous_centre_level=exogenous_centre,
        exogenous_scale=np.where(exogenous_unit < _LEAST, 1.0, exogenous_unit),
    )


def first_row_of(days: MarketDays, window_days: int) -> int:
    """Return the first row of a window that ends with the newest known day."""
    return max(LONGEST_LAG_DAYS, days.count - window_days)


def _rows(days: MarketDays, first_row: int) -> NDArray[np.int64]:
    return np.arange(first_row, days.count)


def _week_before(price: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean price of the seven days before each row."""
    daily = price.mean(axis=1)
    return np.asarray(sum(daily[rows - lag] for lag in range(1, LONGEST_LAG_DAYS + 1)) / LONGEST_LAG_DAYS)
