"""What `/api/forecast` answers: which forecasts are kept, how good they were, how honest, and which one is better.

Scores are in the unit of the series, lower is better. Every forecast counts by its last word before the interval began and
before anything of its outcome was known.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

ForecastBy: TypeAlias = Literal["plant", "others"]
ContestKind: TypeAlias = Literal["model", "shadow", "naive"]
ContestVerdict: TypeAlias = Literal["collecting", "keep", "promote", "drop"]


class ForecastSeries(msgspec.Struct, frozen=True, kw_only=True):
    """One forecast that is kept, or that a resource's bids would leave.

    `model` is who said the newest word, `model_since_ms` since when it speaks, as far back as was looked. `intervals` is 0
    for one of which nothing is kept yet; then `none_because` says why.
    """

    series_id: str
    outcome_series_id: str
    kind: str
    place: str
    market_id: str
    zone: str
    unit: str
    currency: str
    by: ForecastBy
    model: str
    model_since_ms: int | None
    intervals: int
    latest_known_ms: int | None
    latest_end_ms: int | None
    outcomes: int
    outcome_end_ms: int | None
    resource_ids: list[str]
    none_because: str


class ForecastSeriesList(msgspec.Struct, frozen=True, kw_only=True):
    """Every forecast, those of the plant first."""

    series: list[ForecastSeries]


class ScoreColumns(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of one forecast by steps, as columns beside `ForecastScores.t_ms`; None where there is nothing to score.

    `mae` is the error of the median, `bias` forecast less outcome, `inside_frac` the share of outcomes within the outer
    quantiles.
    """

    name: str
    n: list[int]
    mae: list[float | None]
    pinball: list[float | None]
    crps: list[float | None]
    bias: list[float | None]
    inside_frac: list[float | None]


class ScoreTotal(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of one forecast over all of the span.

    The true error lies between `mae_low` and `mae_high` nine times in ten, if days are alike; None for fewer than five days.
    `skill_frac` is how much smaller the error is than that of the naive forecast, on the `naive_n` intervals that have one.
    """

    name: str
    n: int
    days: int
    mae: float | None
    mae_low: float | None
    mae_high: float | None
    pinball: float | None
    crps: float | None
    bias: float | None
    inside_frac: float | None
    naive_n: int
    naive_mae: float | None
    skill_frac: float | None


class ForecastScores(msgspec.Struct, frozen=True, kw_only=True):
    """How good a forecast was, by days or weeks of the market's clock, with the naive one and challengers beside it.

    `issued` counts the intervals that were forecast in the span; those that are not scored have no whole outcome yet, or were
    said too late. `first_open_ms` and `last_open_ms` are where the unscored ones start.
    """

    series_id: str
    outcome_series_id: str
    unit: str
    currency: str
    zone: str
    from_ms: int
    to_ms: int
    step: str
    t_ms: list[int]
    t_end_ms: list[int]
    champion: ScoreColumns
    naive_n: list[int]
    naive_mae: list[float | None]
    naive_crps: list[float | None]
    challengers: list[ScoreColumns]
    totals: list[ScoreTotal]
    issued: int
    first_open_ms: int | None
    last_open_ms: int | None


class CoveragePoint(msgspec.Struct, frozen=True, kw_only=True):
    """One quantile: outcomes at or below it should be a share of `nominal`.

    The true share is between `low` and `high` nine times in ten; see `ScoreTotal`.
    """

    nominal: float
    observed: float
    low: float | None
    high: float | None


class PitBin(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the forecast's range: the share of outcomes that should fall into it, and that did."""

    from_frac: float
    to_frac: float
    expected: float
    observed: float
    n: int


class ForecastCoverage(msgspec.Struct, frozen=True, kw_only=True):
    """How honest a forecast is about how sure it is; no points for one that does not say."""

    series_id: str
    from_ms: int
    to_ms: int
    n: int
    days: int
    points: list[CoveragePoint]
    inside_nominal: float | None
    inside_observed: float | None
    pit: list[PitBin]


class ForecastContest(msgspec.Struct, frozen=True, kw_only=True):
    """Who forecasts better, and how likely that is chance.

    `p_value` is the most probable that so good a challenger were no better; it holds whenever one looks. Losses are in units
    of the day's mean magnitude. `since_ms` is when the champion took its place.
    """

    kind: ContestKind
    series_id: str
    champion: str
    challenger: str
    days: int
    from_date: str | None
    scored_to_ms: int | None
    since_ms: int | None
    champion_loss: float | None
    challenger_loss: float | None
    gain_frac: float
    p_value: float
    verdict: ContestVerdict
    why: str


class ForecastContests(msgspec.Struct, frozen=True, kw_only=True):
    """The contests: `trained` counts the series for which models are trained here, `shadows` the strategies in the shadow."""

    contests: list[ForecastContest]
    trained: int
    shadows: int
    alpha_frac: float
    least_days: int


FORECAST_TYPES: Final[tuple[Any, ...]] = (
    ForecastSeriesList,
    ForecastScores,
    ForecastCoverage,
    ForecastContests,
)
