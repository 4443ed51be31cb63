"""One search for prices: the roll, the rounds, and a result that was tried out on the homes before it is sent.

The search ends with shares of rows of prices; a home keeps to the mean of its plans against them. So what all homes do then is
asked for, and where a feeder would carry too much the rows are made dearer there, until it does not. The gap of what is sent is
that of the homes' own answers to just these prices, against the bound that no dispatch can go below.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.control.price_dispatch import PriceDispatch
from shoal.edge.price_round import MOST_PRICE_PER_KWH
from shoal.optimise.fleet_optimum import Answer, Ask, FleetPlan, FleetSearch, FleetTerms

Floats = NDArray[np.float64]

_FIRST_PART: Final = 0.05
"""By this share of the prices' spread, or of `_LEAST_STEP_PER_KWH`, a feeder's price is moved first; then by twice as much."""
_LEAST_STEP_PER_KWH: Final = 0.01
_TOLERANCE_FRAC: Final = 1e-3
_PATIENCE: Final = 3
"""After so many trials that made nothing better the best one is taken: some of what is beyond a limit nobody controls."""
_TRIAL: Final = 1_000_000
"""Trials are numbered from here on: no search has so many rounds."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PriceResult:
    """What a search found.

    Attributes:
        prices_per_kwh: Rows of prices of each feeder, shape (R, F, T).
        weights: The share of each row in each group, shape (G, R).
        feeder_kwh: What the homes of each feeder draw when they follow it, by their own answers, shape (F, T).
        excess_kwh: What of it is beyond the feeders' limits.
        cost: What that costs, in currency: the homes' own costs and the fleet's terms.
        lower_bound: No dispatch costs less.
        plan: The search's own result, and its memory.
        trials: Rounds in which the result was tried out.
        answered_frac: The share of homes whose own answer is in the last trial.
        heard_frac: The share that has answered at all; the gap speaks of these, with the others as they are taken to be.
        took_s: Wall time.
    """

    prices_per_kwh: Floats
    weights: Floats
    feeder_kwh: Floats
    excess_kwh: float
    cost: float
    lower_bound: float
    plan: FleetPlan
    trials: int
    answered_frac: float
    heard_frac: float
    took_s: float

    @property
    def gap_frac(self) -> float:
        """How far what is sent can be from the best, as a share of its cost."""
        return max(self.cost - self.lower_bound, 0.0) / max(abs(self.cost), 1e-9)


async def find_prices(
    over: PriceDispatch,
    search: FleetSearch,
    *,
    feeder_of: NDArray[np.int64],
    within_s: float,
    most_trials: int = 12,
) -> PriceResult:
    """Search, try the result out and mend it; a roll was called before.

    Args:
        over: The homes.
        search: A search that has not begun.
        feeder_of: The feeder of each group, shape (G,).
        within_s: After so long the search ends as it stands; trials come on top.
        most_trials: How often the result is tried at most.

    Raises:
        UnavailableError: no home answers, or the connection is gone.
    """
    began_s = time.monotonic()
    plan = await over.solve(search, within_s=within_s)
    # what is tried is what is sent, to the last bit: a hair decides between two hours that cost the same
    rows, weights = plan.prices_per_kwh.copy(), plan.weights
    spread = float(np.ptp(rows)) if rows.size else 0.0
    first = max(_FIRST_PART * spread, _LEAST_STEP_PER_KWH)
    step = np.full(rows.shape[1:], first)
    best: tuple[Floats, _Tried] | None = None
    trials = since_best = 0
    for trial in range(most_trials):
        asked = Ask(number=_TRIAL + trial, prices_per_kwh=rows, weights=weights, how="average")
        tried = _judge(await over.try_out(asked), search.terms, feeder_of)
        trials += 1
        if best is None or tried.cost < best[1].cost:
            best = (rows.copy(), tried)
            since_best = 0
        else:
            since_best += 1
        if not tried.beyond or since_best >= _PATIENCE:
            break
        moved = np.sign(tried.over_kwh) * step
        rows = np.clip(rows + moved, -MOST_PRICE_PER_KWH, MOST_PRICE_PER_KWH)
        step = np.where(tried.over_kwh != 0.0, 2.0 * step, step)
    assert best is not None, "there is at least one trial"
    rows, tried = best
    return PriceResult(
        prices_per_kwh=rows,
        weights=weights,
        feeder_kwh=tried.feeder_kwh,
        excess_kwh=float(np.abs(tried.over_kwh).sum()),
        cost=tried.cost,
        lower_bound=plan.lower_bound,
        plan=plan,
        trials=trials,
        answered_frac=tried.answer.answered_frac,
        heard_frac=tried.answer.heard_frac,
        took_s=time.monotonic() - began_s,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Tried:
    answer: Answer
    feeder_kwh: Floats
    over_kwh: Floats
    beyond: float
    cost: float


def _judge(answer: Answer, terms: FleetTerms, feeder_of: NDArray[np.int64]) -> _Tried:
    """Return what the homes' answer comes to, and by how much each feeder is beyond its limits, import positive."""
    sums = answer.sums
    feeder_kwh = np.zeros_like(terms.feeder_import_kwh)
    np.add.at(feeder_kwh, feeder_of, sums.energy_kwh)
    over = np.maximum(feeder_kwh - terms.feeder_import_kwh, 0.0)
    under = np.maximum(-terms.feeder_export_kwh - feeder_kwh, 0.0)
    slack = np.where(over > 0.0, terms.feeder_import_kwh, terms.feeder_export_kwh)
    away = over - under
    away = np.where(
        np.abs(away) <= _TOLERANCE_FRAC * np.where(np.isfinite(slack), slack, 0.0) + 1e-6, 0.0, away
    )
    cost = float(sums.cost.sum() - sums.penalty.sum()) + terms.cost(feeder_kwh)
    return _Tried(
        answer=answer, feeder_kwh=feeder_kwh, over_kwh=away, beyond=float(np.abs(away).sum()), cost=cost
    )
