"""Prices of the days to come from nothing but facts: what a bid for the day ahead is planned on.

Three ways, each needing less: kernels on like days, similar hours, the few days that there are. Whatever a forecast rests
on comes in with the call and nothing is carried from day to day, so that it can be made again bit for bit, in any process.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import date
from statistics import NormalDist
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.forecast.dayahead_features import HOURS, MarketDays
from shoal.forecast.price import QUANTILE_LEVELS, similar_hours_day
from shoal.forecast.prices_days import PriceDays
from shoal.forecast.prices_like_days import LikeDaysRecipe, fit_like_days, followed, predict_like_days

KIND: Final = "price-days/1"
HISTORY_DAYS: Final = 730
"""No forecast looks further back."""
LONGEST_TAIL_DAYS: Final = 3
"""With more days unknown before the first to forecast there is no forecast."""
LEAST_LIKE_DAYS: Final = 56
"""With fewer whole days kernels know too little."""
LEAST_SIMILAR_DAYS: Final = 7
_WEEK_DAYS: Final = 7
_LEAST_SPREAD_FRAC: Final = 0.1

Way = Literal["like-days", "similar-hours", "few-days"]

RECIPE: Final = LikeDaysRecipe()
"""Chosen by what plans on it earned at three points of ERCOT in 2021. Lassos and networks, which lead where load and wind are
known, earned less on prices alone."""


def model_of(recipe: LikeDaysRecipe) -> str:
    """Return name and version of what a recipe gives: another recipe, another version."""
    return f"{KIND}-{hashlib.sha256(repr(recipe).encode()).hexdigest()[:8]}"


MODEL: Final = model_of(RECIPE)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PriceOutlook:
    """What the prices of F days may be.

    Attributes:
        first_day: The first of them.
        quantile_level: Q levels, ascending.
        quantile_per_mwh: F x 24 x Q prices, never falling along Q.
        central_per_mwh: F x 24 prices that plans are made on: medians but for what averaging does.
        naive_per_mwh: F x 24 prices of a week before (of the newest day when there is no week).
        way: How they were made.
        model: Name and version of the recipe.
    """

    first_day: date
    quantile_level: NDArray[np.float64]
    quantile_per_mwh: NDArray[np.float64]
    central_per_mwh: NDArray[np.float64]
    naive_per_mwh: NDArray[np.float64]
    way: Way
    model: str


def price_outlook(
    known: PriceDays,
    *,
    recipe: LikeDaysRecipe = RECIPE,
    quantile_level: tuple[float, ...] = QUANTILE_LEVELS,
) -> PriceOutlook:
    """Return what the prices of the days to forecast may be.

    Days between the last whole one and the first to forecast are forecast on the way, what is known of them put in.

    Raises:
        InvalidInputError: when no day is whole, or more than three before the first to forecast are not.
    """
    tail_days = check_known(known)
    days = recent_days(known.days)
    ahead_days, level = len(known.ahead_level), np.asarray(quantile_level)
    if days.count >= LEAST_LIKE_DAYS:
        way, central, quantile = _like_days(recipe, replace(known, days=days), level)
    elif days.count >= LEAST_SIMILAR_DAYS:
        way, central, quantile = _similar_hours(days.price_per_mwh, ahead_days, level)
    else:
        way, central, quantile = _few_days(days.price_per_mwh, ahead_days, level)
    return PriceOutlook(
        first_day=known.first_target,
        quantile_level=level,
        quantile_per_mwh=quantile[tail_days:],
        central_per_mwh=central[tail_days:],
        naive_per_mwh=naive_days(days.price_per_mwh, ahead_days)[tail_days:],
        way=way,
        model=model_of(recipe),
    )


def check_known(known: PriceDays) -> int:
    """Return how many days lie between the last whole one and the first to forecast.

    Raises:
        InvalidInputError: when no day is whole, or more than three before the first to forecast are not.
    """
    tail_days = len(known.tail_per_mwh)
    if not known.days.count:
        raise InvalidInputError(field="price history", value="no whole day", fix="give a day of prices")
    if tail_days > LONGEST_TAIL_DAYS:
        raise InvalidInputError(
            field="price history",
            value=f"{tail_days} days unknown before {known.first_target}",
            fix=f"give prices up to {LONGEST_TAIL_DAYS} days before",
        )
    return tail_days


def naive_days(price_per_mwh: NDArray[np.float64], ahead_days: int) -> NDArray[np.float64]:
    """Return, for each of the days after D known ones, the 24 prices of a week before."""
    season = price_per_mwh[-_WEEK_DAYS:] if len(price_per_mwh) >= _WEEK_DAYS else price_per_mwh[-1:]
    return np.asarray(season[np.arange(ahead_days) % len(season)])


_Made = tuple[Way, NDArray[np.float64], NDArray[np.float64]]


def _like_days(recipe: LikeDaysRecipe, known: PriceDays, level: NDArray[np.float64]) -> _Made:
    """Forecast day after day, each of which the next takes for known."""
    days, ahead_days = known.days, len(known.ahead_level)
    fitted = fit_like_days(recipe, days)
    central = np.empty((ahead_days, HOURS))
    quantile = np.empty((ahead_days, HOURS, len(level)))
    for row in range(ahead_days):
        central[row], quantile[row] = predict_like_days(recipe, fitted, days, level, ahead_days=row + 1)
        if row + 1 < ahead_days:
            days = followed(days, taken_for_known(known, row, central[row]), known.ahead_level[row + 1])
    return "like-days", central, quantile


def taken_for_known(known: PriceDays, row: int, central_per_mwh: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a day after the last whole one as the next takes it: what is known of it, and else its forecast."""
    if row >= len(known.tail_per_mwh):
        return central_per_mwh
    tail = known.tail_per_mwh[row]
    return np.where(np.isnan(tail), central_per_mwh, tail)


def _similar_hours(price_per_mwh: NDArray[np.float64], ahead_days: int, level: NDArray[np.float64]) -> _Made:
    told = np.append(level, 0.5)
    order = np.argsort(told, kind="stable")
    quantile = np.empty((ahead_days, HOURS, len(told)))
    for row in range(ahead_days):
        made, _ = similar_hours_day(price_per_mwh, horizon_days=row + 1, quantile_level=told[order])
        quantile[row][:, order] = made
    return "similar-hours", quantile[:, :, -1], quantile[:, :, :-1]


def _few_days(price_per_mwh: NDArray[np.float64], ahead_days: int, level: NDArray[np.float64]) -> _Made:
    """The mean of the days that there are, with a normal law as wide as their prices differ."""
    mean = price_per_mwh.mean(axis=0)
    width = max(float(price_per_mwh.std()), _LEAST_SPREAD_FRAC * float(np.abs(mean).mean()))
    normal = np.array([NormalDist().inv_cdf(one) for one in level.tolist()])
    quantile = mean[:, None] + width * normal
    central = np.repeat(mean[None], ahead_days, axis=0)
    return "few-days", central, np.repeat(quantile[None], ahead_days, axis=0)


def recent_days(days: MarketDays) -> MarketDays:
    """Return the days that a forecast may look at."""
    drop = max(0, days.count - HISTORY_DAYS)
    return MarketDays(
        first_day=date.fromordinal(days.first_day.toordinal() + drop),
        price_per_mwh=days.price_per_mwh[drop:],
        exogenous_level=days.exogenous_level[drop:],
    )
