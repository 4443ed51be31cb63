"""Scores of a forecast: how far off it was, and how honest about that.

Lower is better, except for coverage, which should equal its aim. A score is a mean over the hours given;
nothing is skipped, so that two forecasts scored on the same hours compare.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError


def mae(observed: NDArray[np.float64], forecast: NDArray[np.float64]) -> float:
    """Return the mean absolute error, in the unit of the data.

    The score of a median: Gneiting, "Making and evaluating point forecasts", JASA 106 (2011), 746-762.

    >>> mae(np.array([10.0, 20.0]), np.array([12.0, 19.0]))
    1.5

    Raises:
        InvalidInputError: when the shapes differ, there is nothing to score, or a number is not finite.
    """
    _check(observed, forecast, forecast.shape)
    return float(np.mean(np.abs(observed - forecast)))


def pinball(
    observed: NDArray[np.float64], quantile: NDArray[np.float64], quantile_level: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return, for each of Q levels, the mean pinball loss, in the unit of the data.

    ``max(a (y - q), (a - 1)(y - q))`` for level a: Koenker and Bassett, "Regression quantiles", Econometrica
    46 (1978), 33-50. At a = 0.5 it is half the absolute error.

    Args:
        observed: T outcomes.
        quantile: T x Q forecasts.
        quantile_level: Q levels between 0 and 1.

    Raises:
        InvalidInputError: when the shapes do not fit, there is nothing to score, or a number is not finite.
    """
    _check(observed, quantile, (len(observed), len(quantile_level)))
    error = observed[:, None] - quantile
    return np.asarray(np.mean(np.maximum(quantile_level * error, (quantile_level - 1.0) * error), axis=0))


def coverage(observed: NDArray[np.float64], lower: NDArray[np.float64], upper: NDArray[np.float64]) -> float:
    """Return the share of outcomes within ``[lower, upper]``, both included, as a fraction from 0 to 1.

    The unconditional coverage of Christoffersen, "Evaluating interval forecasts", International Economic
    Review 39 (1998), 841-862.

    Raises:
        InvalidInputError: when the shapes differ, there is nothing to score, or a number is not finite.
    """
    _check(observed, lower, lower.shape)
    _check(observed, upper, upper.shape)
    return float(np.mean((lower <= observed) & (observed <= upper)))


def crps_from_quantiles(
    observed: NDArray[np.float64], quantile: NDArray[np.float64], quantile_level: NDArray[np.float64]
) -> float:
    """Return the continuous ranked probability score read off quantiles, in the unit of the data.

    CRPS is twice the integral of the pinball loss over the level: Laio and Tamea, Hydrology and Earth System
    Sciences 11 (2007), 1267-1277, equation 7. The integral is taken by cells around the given levels that
    together span 0 to 1 (each ends midway to the next level), so tails beyond the outermost levels count as
    flat: compare only scores on the same levels.

    Raises:
        InvalidInputError: when the shapes do not fit, there is nothing to score, or a number is not finite.
    """
    loss = pinball(observed, quantile, quantile_level)
    edge = np.concatenate(([0.0], (quantile_level[1:] + quantile_level[:-1]) / 2.0, [1.0]))
    return float(2.0 * np.sum(np.diff(edge) * loss))


def _check(observed: NDArray[np.float64], forecast: NDArray[np.float64], shape: tuple[int, ...]) -> None:
    if len(observed) == 0 or forecast.shape != shape or forecast.shape[0] != len(observed):
        raise InvalidInputError(
            field="forecast",
            value=(observed.shape, forecast.shape),
            fix="give a forecast for each outcome, at least one",
        )
    if not (np.all(np.isfinite(observed)) and np.all(np.isfinite(forecast))):
        raise InvalidInputError(
            field="forecast", value="not finite", fix="leave out hours without a number on both sides"
        )
