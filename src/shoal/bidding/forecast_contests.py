"""Who forecasts better: trained models in their contest, strategies in the shadow, and the naive forecast, by daily losses.

A verdict is `shoal.forecast.champion`'s: its p-value holds whenever one looks. What a shadow would have forecast is kept with
its decisions, so it is scored like what was issued: on the same intervals, by the last word in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal, TypeAlias

import msgspec
import numpy as np
from sqlalchemy import Engine, select

from shoal.bidding.cycle.decision import Decision
from shoal.bidding.cycle.known import Situation
from shoal.bidding.forecast_quality import LEVELS, OWN, Issued, Matched, by_step
from shoal.domain.facts import SeriesId
from shoal.forecast.champion import Contest, ContestRules, Verdict, contest_of, verdict
from shoal.market.series import price_series
from shoal.store.cycles import Cycles
from shoal.store.database import reading
from shoal.store.model_schema import CONTEST, PROMOTION

Kind: TypeAlias = Literal["model", "shadow", "naive"]

NAIVE: Final = "the same time a week before"
MOST_SHADOWS: Final = 400
"""Decisions are large; the newest so many of a resource are read."""
_SITUATION: Final = msgspec.json.Decoder(Situation)
_DECISION: Final = msgspec.json.Decoder(Decision)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A contest and its verdict.

    Attributes:
        kind: Between trained models, with a strategy in the shadow, or with the naive forecast.
        series_id: What is forecast.
        contest: So far.
        since_ns: Since when the champion is; None where nobody promotes.
        from_day: The first day that was scored; None where days are not kept.
        to_ns: Up to when it was scored; None where nothing was.
        said: The verdict.
        why: The same for people.
    """

    kind: Kind
    series_id: str
    contest: Contest
    since_ns: int | None
    from_day: date | None
    to_ns: int | None
    said: Verdict
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """Who is champion of a series since when, and why."""

    series_id: str
    version: str
    since_ns: int
    reason: str


def champions(engine: Engine) -> dict[str, Champion]:
    """Return the champion of each series for which models are trained; blocks."""
    with reading(engine) as connection:
        found = connection.execute(select(PROMOTION).order_by(PROMOTION.c.series_id, PROMOTION.c.number))
        return {
            row.series_id: Champion(
                series_id=row.series_id, version=row.version, since_ns=row.since_ns, reason=row.reason
            )
            for row in found
        }


def model_contests(engine: Engine, *, rules: ContestRules | None = None) -> list[Held]:
    """Return the contests of trained models that run; blocks."""
    by_series = champions(engine)
    rules = ContestRules() if rules is None else rules
    with reading(engine) as connection:
        rows = list(connection.execute(select(CONTEST).order_by(CONTEST.c.series_id)))
    held = []
    for row in rows:
        contest = msgspec.json.decode(row.contest, type=Contest)
        said, why = verdict(contest, rules)
        champion = by_series.get(row.series_id)
        held.append(
            Held(
                kind="model",
                series_id=row.series_id,
                contest=contest,
                since_ns=None if champion is None else champion.since_ns,
                from_day=None,
                to_ns=int(row.scored_to_ns),
                said=said,
                why=why,
            )
        )
    return held


def shadow_forecasts(
    cycles: Cycles, resource_ids: Sequence[str], series_id: str, *, from_ns: int, to_ns: int
) -> dict[str, Issued]:
    """Return what strategies in the shadow would have forecast of a series, by strategy; blocks.

    Args:
        cycles: Where decisions are kept.
        resource_ids: Whose.
        series_id: The forecast, as `shoal.bidding.forecast_quality.OWN` names it.
        from_ns: Gates that close from then on.
        to_ns: And before then.
    """
    words: dict[str, list[tuple[int, Decision]]] = {}
    for resource_id in resource_ids:
        names = cycles.decision_ids(resource_id, from_ns=from_ns, to_ns=to_ns, shadow=True)
        for name in names[-MOST_SHADOWS:]:
            record = cycles.decision(name)
            made = _DECISION.decode(record.decision)
            if made.forecast is not None and _series_of(_SITUATION.decode(record.situation)) == series_id:
                words.setdefault(record.strategy, []).append((record.as_of_ns, made))
    return {strategy: _issued(said) for strategy, said in sorted(words.items())}


def against(
    kind: Kind, series_id: str, champion: tuple[str, Matched], challenger: tuple[str, Matched]
) -> Held | None:
    """Return the contest of two forecasts of one series over the intervals that both have; None without any."""
    (held_name, held), (new_name, new) = champion, challenger
    _, ours, theirs = np.intersect1d(held.start_ns, new.start_ns, return_indices=True)
    if not len(ours):
        return None
    held, new = held.take(ours), new.take(theirs)
    days = list(zip(by_step(held, days=1), by_step(new, days=1), strict=True))
    contest = contest_of(held_name, new_name, [(_loss(one[2]), _loss(other[2])) for one, other in days])
    said, why = verdict(contest, ContestRules())
    return Held(
        kind=kind,
        series_id=series_id,
        contest=contest,
        since_ns=None,
        from_day=days[0][0][0],
        to_ns=int(held.end_ns[-1]),
        said=said,
        why=why,
    )


def naive_of(matched: Matched) -> Matched:
    """Return the naive forecast as one to be scored: always sure, on the intervals on which it is known."""
    beside = matched.take(np.isfinite(matched.naive))
    width = beside.quantile.shape[1]
    return Matched(
        start_ns=beside.start_ns,
        end_ns=beside.end_ns,
        issued_ns=beside.issued_ns,
        day=beside.day,
        observed=beside.observed,
        mean=beside.naive,
        quantile=np.repeat(beside.naive[:, None], width, axis=1),
        naive=beside.naive,
    )


def _loss(matched: Matched) -> float:
    """Return the mean loss of a day in units of its mean magnitude, as trained models are judged; 0 for a day of nothing."""
    size = float(np.abs(matched.observed).mean())
    if size <= 0.0:
        return 0.0
    if not matched.quantile.shape[1]:
        return float(np.abs(matched.observed - matched.mean).mean()) / size
    level = np.array(LEVELS)
    gap = matched.observed[:, None] - matched.quantile
    return float(np.maximum(level * gap, (level - 1.0) * gap).mean()) / size


def _series_of(about: Situation) -> SeriesId:
    gate = about.gate
    return SeriesId(OWN + price_series(gate.market_id, about.settlement_point, gate.product_id))


def _issued(said: list[tuple[int, Decision]]) -> Issued:
    """Return decisions' forecasts in the order in which they replace each other."""
    rows = []
    for as_of_ns, made in said:
        told = made.forecast
        assert told is not None
        columns = (told.mean_per_mwh, told.low_per_mwh, told.middle_per_mwh, told.high_per_mwh)
        rows += [
            (start_ns, end_ns, as_of_ns, *values)
            for start_ns, end_ns, *values in zip(told.start_ns, told.end_ns, *columns, strict=True)
        ]
    rows.sort(key=lambda row: (row[0], row[2]))
    return Issued(
        start_ns=np.array([row[0] for row in rows], dtype=np.int64),
        end_ns=np.array([row[1] for row in rows], dtype=np.int64),
        known_ns=np.array([row[2] for row in rows], dtype=np.int64),
        value=np.array([row[3:] for row in rows], dtype=np.float64),
    )
