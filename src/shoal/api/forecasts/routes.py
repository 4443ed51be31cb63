"""The routes of forecast quality: which forecasts are kept, their scores, how honest they are, and who forecasts better."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Annotated, Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
from fastapi import APIRouter, Query
from starlette.responses import Response

from shoal.api.contract import answer, answers
from shoal.api.forecasts.answers import (
    CoveragePoint,
    ForecastContest,
    ForecastContests,
    ForecastCoverage,
    ForecastScores,
    ForecastSeriesList,
    PitBin,
    ScoreColumns,
    ScoreTotal,
)
from shoal.api.forecasts.views import DAY_NS, Beside, ForecastReader, place_of
from shoal.api.live import state
from shoal.api.plant import Plant
from shoal.bidding.forecast_contests import NAIVE, Held, against, champions, model_contests, naive_of
from shoal.bidding.forecast_quality import (
    LEVELS,
    NAIVE_DAYS,
    OWN,
    Matched,
    Scored,
    by_step,
    scored,
    shares_below,
    spread_by_day,
)
from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.domain.interval import NS_PER_HOUR, local_midnight_ns, to_datetime
from shoal.forecast.champion import ContestRules
from shoal.store.facts import FactStore

MOST_DAYS: Final = 92
USUAL_DAYS: Final = 31
AHEAD_DAYS: Final = 3
"""What is forecast beyond now is in the usual span, so that it can be said what is still open."""
FAR_MS: Final = 2**62 // state.MS_PER_NS
WAIT_S: Final = 10.0
MOST_WAITING: Final = 4
"""More are sent away at once: each waits in one of the threads that everybody's questions need."""
LIKELY_Z: Final = 1.645
"""Nine times in ten within so many standard errors."""
_DAYS_OF: Final = {"day": 1, "week": NAIVE_DAYS}

OfSeries: TypeAlias = Annotated[str, Query(max_length=300, description="The forecast, as `series` names it.")]
FromMs: TypeAlias = Annotated[
    int | None, Query(ge=0, le=FAR_MS, description="Intervals that start from then on; 31 days when absent.")
]
ToMs: TypeAlias = Annotated[
    int | None, Query(ge=0, le=FAR_MS, description="And before then; in three days when absent.")
]
Step: TypeAlias = Annotated[Literal["day", "week"], Query(description="Of the market's clock.")]


def forecast_routes(plant: Plant) -> APIRouter:
    """Return the routes; they read the database in threads, one at a time."""
    router = APIRouter(prefix="/api/forecast", tags=["forecast"])
    reader = ForecastReader(plant.ledger, FactStore(plant.database), lambda: plant.fleet)
    alone, turns = threading.Lock(), threading.Semaphore(MOST_WAITING)

    def beside(series: str, from_ms: int | None, to_ms: int | None) -> tuple[int, int, Beside]:
        now_ns = plant.now_ns()
        from_ns, to_ns = span_ns(series, from_ms, to_ms, now_ns=now_ns)
        with _alone(alone, turns):
            return from_ns, to_ns, reader.beside(series, from_ns=from_ns, to_ns=to_ns, now_ns=now_ns)

    @router.get("/series", responses=answers(ForecastSeriesList))
    def read_series() -> Response:
        """Return every forecast that is kept, with who makes it since when; what is not forecast says why."""
        return answer(ForecastSeriesList(series=reader.series(plant.now_ns())))

    @router.get("/scores", responses=answers(ForecastScores, 404, 422, 503))
    def read_scores(
        series: OfSeries, from_ms: FromMs = None, to_ms: ToMs = None, step: Step = "day"
    ) -> Response:
        """Return how good a forecast was by day or week, beside the naive one and challengers; at most 92 days."""
        about = reader.one(series, plant.now_ns())
        from_ns, to_ns, found = beside(series, from_ms, to_ms)
        zone = ZoneInfo(about.zone)
        steps = by_step(found.matched, days=_DAYS_OF[step])
        told = [scored(one) for _, _, one in steps]
        return answer(
            ForecastScores(
                series_id=series,
                outcome_series_id=about.outcome_series_id,
                unit=about.unit,
                currency=about.currency,
                zone=about.zone,
                from_ms=state.to_ms(from_ns),
                to_ms=state.to_ms(to_ns),
                step=step,
                t_ms=[state.to_ms(local_midnight_ns(first, zone)) for first, _, _ in steps],
                t_end_ms=[state.to_ms(local_midnight_ns(last, zone)) for _, last, _ in steps],
                champion=columns_of(about.model, told),
                naive_n=[one.naive_count for one in told],
                naive_mae=[one.naive_mae for one in told],
                naive_crps=[one.naive_crps for one in told],
                challengers=[
                    columns_of(name, _at_steps(one, steps, _DAYS_OF[step]))
                    for name, one in found.challengers.items()
                ],
                totals=[
                    total_of(about.model, found.matched),
                    *(total_of(name, one) for name, one in found.challengers.items()),
                ],
                issued=found.issued,
                first_open_ms=None if found.first_open_ns is None else state.to_ms(found.first_open_ns),
                last_open_ms=None if found.last_open_ns is None else state.to_ms(found.last_open_ns),
            )
        )

    @router.get("/coverage", responses=answers(ForecastCoverage, 404, 422, 503))
    def read_coverage(series: OfSeries, from_ms: FromMs = None, to_ms: ToMs = None) -> Response:
        """Return how often outcomes were below each quantile, and where in the forecast's range they fell."""
        reader.one(series, plant.now_ns())
        from_ns, to_ns, found = beside(series, from_ms, to_ms)
        return answer(coverage_of(series, from_ns, to_ns, found.matched))

    @router.get("/contests", responses=answers(ForecastContests, 404, 422, 503))
    def read_contests(series: OfSeries | None = None, from_ms: FromMs = None, to_ms: ToMs = None) -> Response:
        """Return who forecasts better and how likely that is chance: trained models, shadows, and the naive forecast."""
        held = [one for one in model_contests(plant.database) if series is None or one.series_id == series]
        shadows = 0
        if series is not None:
            about = reader.one(series, plant.now_ns())
            _, _, found = beside(series, from_ms, to_ms)
            shadows = len(found.challengers)
            ours = (about.model or series, found.matched)
            rivals = [against("shadow", series, ours, one) for one in found.challengers.items()]
            rivals.append(against("naive", series, (NAIVE, naive_of(found.matched)), ours))
            held += [one for one in rivals if one is not None]
        rules = ContestRules()
        return answer(
            ForecastContests(
                contests=[contest_view(one) for one in held],
                trained=len(champions(plant.database)),
                shadows=shadows,
                alpha_frac=rules.alpha_frac,
                least_days=rules.least_days,
            )
        )

    return router


def span_ns(series: str, from_ms: int | None, to_ms: int | None, *, now_ns: int) -> tuple[int, int]:
    """Return the span asked for; where nothing is said, whole local days that stay the same all day.

    Raises:
        InvalidInputError: when it is empty or too long.
    """
    zone = ZoneInfo(place_of(series).zone)
    if to_ms is None:
        after = to_datetime(now_ns, zone).date() + timedelta(days=AHEAD_DAYS)
        to_ns = local_midnight_ns(after, zone)
    else:
        to_ns = to_ms * state.MS_PER_NS
    if from_ms is None:
        # by the calendar: where clocks were changed on the way, so many times 24 hours cut a day
        end = to_datetime(to_ns, zone)
        first = local_midnight_ns(end.date() - timedelta(days=USUAL_DAYS + AHEAD_DAYS), zone)
        from_ns = first + to_ns - local_midnight_ns(end.date(), zone)
    else:
        from_ns = from_ms * state.MS_PER_NS
    from_ns = max(from_ns, 0)
    if from_ns >= to_ns:
        raise InvalidInputError(field="from_ms", value=from_ms, fix="begin before the end")
    if to_ns - from_ns > MOST_DAYS * DAY_NS + NS_PER_HOUR:  # of local days one may have 25 hours
        raise InvalidInputError(field="from_ms", value=from_ms, fix=f"ask for at most {MOST_DAYS} days")
    return from_ns, to_ns


def columns_of(name: str, told: Sequence[Scored]) -> ScoreColumns:
    """Return scores by step as columns."""
    return ScoreColumns(
        name=name,
        n=[one.count for one in told],
        mae=[one.mae for one in told],
        pinball=[one.pinball for one in told],
        crps=[one.crps for one in told],
        bias=[one.bias for one in told],
        inside_frac=[one.inside_frac for one in told],
    )


def total_of(name: str, matched: Matched) -> ScoreTotal:
    """Return the scores over all intervals, and how sure they are."""
    told = scored(matched)
    spread = (
        spread_by_day(matched, np.abs(matched.observed - matched.central)) if told.mae is not None else None
    )
    low = high = None
    if told.mae is not None and spread is not None:
        low, high = max(told.mae - LIKELY_Z * spread, 0.0), told.mae + LIKELY_Z * spread
    skill = None
    if told.naive_mae and told.beside_mae is not None:
        skill = 1.0 - told.beside_mae / told.naive_mae
    return ScoreTotal(
        name=name,
        n=told.count,
        days=len(set(matched.day)),
        mae=told.mae,
        mae_low=low,
        mae_high=high,
        pinball=told.pinball,
        crps=told.crps,
        bias=told.bias,
        inside_frac=told.inside_frac,
        naive_n=told.naive_count,
        naive_mae=told.naive_mae,
        skill_frac=skill,
    )


def coverage_of(series: str, from_ns: int, to_ns: int, matched: Matched) -> ForecastCoverage:
    """Return nominal against observed shares, and the parts of the range into which outcomes fell."""
    points: list[CoveragePoint] = []
    pit: list[PitBin] = []
    inside: float | None = None
    if len(matched) and matched.quantile.shape[1]:
        below = shares_below(matched)
        for number, level in enumerate(LEVELS):
            share = float(below[:, number].mean())
            spread = spread_by_day(matched, below[:, number])
            points.append(
                CoveragePoint(
                    nominal=level,
                    observed=share,
                    low=None if spread is None else max(share - LIKELY_Z * spread, 0.0),
                    high=None if spread is None else min(share + LIKELY_Z * spread, 1.0),
                )
            )
        # of quantiles that cross, the outcome counts as above the first that it exceeds
        part = (1.0 - below).sum(axis=1).astype(np.int64)
        counts = np.bincount(part, minlength=len(LEVELS) + 1)
        edges = (0.0, *LEVELS, 1.0)
        pit = [
            PitBin(
                from_frac=low,
                to_frac=high,
                expected=round(high - low, 6),
                observed=int(count) / len(matched),
                n=int(count),
            )
            for low, high, count in zip(edges[:-1], edges[1:], counts.tolist(), strict=True)
        ]
        inside = scored(matched).inside_frac
    return ForecastCoverage(
        series_id=series,
        from_ms=state.to_ms(from_ns),
        to_ms=state.to_ms(to_ns),
        n=len(matched),
        days=len(set(matched.day)),
        points=points,
        inside_nominal=round(LEVELS[-1] - LEVELS[0], 6) if points else None,
        inside_observed=inside,
        pit=pit,
    )


def contest_view(one: Held) -> ForecastContest:
    """Return a contest in the words of the interface."""
    contest = one.contest
    days = contest.day_count
    return ForecastContest(
        kind=one.kind,
        series_id=one.series_id,
        champion=contest.champion.removeprefix(OWN),
        challenger=contest.challenger.removeprefix(OWN),
        days=days,
        from_date=None if one.from_day is None else one.from_day.isoformat(),
        scored_to_ms=None if one.to_ns is None else state.to_ms(one.to_ns),
        since_ms=None if one.since_ns is None else state.to_ms(one.since_ns),
        champion_loss=contest.champion_total / days if days else None,
        challenger_loss=contest.challenger_total / days if days else None,
        gain_frac=contest.gain_frac,
        p_value=contest.p_value,
        verdict=one.said,
        why=one.why,
    )


def _at_steps(one: Matched, steps: Sequence[tuple[date, date, Matched]], days: int) -> list[Scored]:
    """Return another forecast's scores at the same steps."""
    held = {first: scored(some) for first, _, some in by_step(one, days=days)}
    return [held.get(first, Scored(count=0)) for first, _, _ in steps]


@contextmanager
def _alone(lock: threading.Lock, turns: threading.Semaphore) -> Iterator[None]:
    """Hold a lock, or say that others were first.

    Raises:
        UnavailableError: when it is not free soon, or too many wait for it already.
    """
    busy = UnavailableError("scores of forecasts", "others are being computed; ask again")
    if not turns.acquire(blocking=False):
        raise busy
    try:
        if not lock.acquire(timeout=WAIT_S):
            raise busy
        try:
            yield
        finally:
            lock.release()
    finally:
        turns.release()
