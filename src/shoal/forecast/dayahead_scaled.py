"""Inputs and outputs of an expert at like size: prices and forecasts by a `Scaler`, then each by mean and deviation.

All of it is taken from the window that the expert was trained on and kept with what it learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.forecast.dayahead_features import HOURS, Inputs, MarketDays, Scaler, Scaling, fit_scaler

_BEYOND: Final = 1.0
"""How far beyond the scaled prices of its window a forecast may go."""
_FLAT: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scaled:
    """How an expert's inputs and outputs were scaled when it was trained.

    Attributes:
        scaler: Of prices and exogenous forecasts.
        x_level: P means of the inputs.
        x_scale: P factors that follow.
        y_level: H means of the scaled prices.
        y_scale: Their common unit.
        low: The lowest scaled price of the window.
        high: The highest.
    """

    scaler: Scaler
    x_level: NDArray[np.float64]
    x_scale: NDArray[np.float64]
    y_level: NDArray[np.float64]
    y_scale: float
    low: float
    high: float

    def outputs(self, days: MarketDays, first_row: int) -> NDArray[np.float32]:
        """Return N x 24 standardised prices from `first_row` to the newest known day."""
        if first_row >= days.count:
            return np.empty((0, HOURS), dtype=np.float32)
        y = self.scaler.outputs(days, first_row, days.count - 1)
        return ((y - self.y_level) / self.y_scale).astype(np.float32)

    def prices(self, days: MarketDays, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the 24 prices of standardised ones, not far beyond those of the window."""
        return self.scaler.prices(days, self.bounded(self.level_of(z)))

    def level_of(self, z: NDArray[np.float64] | NDArray[np.float32]) -> NDArray[np.float64]:
        """Return scaled prices of standardised ones."""
        return np.asarray(z * self.y_scale + self.y_level)

    def bounded(self, level: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return scaled prices, none of them far beyond those of the window."""
        return np.asarray(np.clip(level, self.low - _BEYOND, self.high + _BEYOND))


def scale_window(
    days: MarketDays, scaling: Scaling, inputs: Inputs, first: int
) -> tuple[Scaled, NDArray[np.float64], NDArray[np.float64]]:
    """Return the scaling of the known days from `first` on, with their inputs and scaled prices."""
    scaler = fit_scaler(days, scaling, first)
    x = scaler.inputs(days, inputs, first, days.count - 1)
    y = scaler.outputs(days, first, days.count - 1)
    width = x.std(axis=0)
    scaled = Scaled(
        scaler=scaler,
        x_level=x.mean(axis=0),
        x_scale=np.where(width < _FLAT, 0.0, 1.0 / np.maximum(width, _FLAT)),
        y_level=y.mean(axis=0),
        y_scale=max(float(y.std()), _FLAT),
        low=float(y.min()),
        high=float(y.max()),
    )
    return scaled, x, y
