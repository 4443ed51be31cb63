"""What a back-test came to: by trading day, against perfect foresight, and without the richest days.

A few days of spikes carry much of a year's value. A strategy is therefore also judged without them, and the share of
value that they carry stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.backtest import AMOUNTS_PER_UNIT, WH_PER_KWH, Outcome, Series
from shoal.optimise.storage import Storage

RICHEST_DAYS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Days:
    """D trading days that a back-test touched.

    Attributes:
        day: D dates.
        first_index: D + 1 positions in the outcome: where each day begins, and the end.
        amount: D amounts of the strategy, in `AMOUNTS_PER_UNIT` to the unit of currency.
        perfect_amount: D amounts of perfect foresight.
    """

    day: tuple[date, ...]
    first_index: NDArray[np.int64]
    amount: NDArray[np.int64]
    perfect_amount: NDArray[np.int64]

    def richest(self, count: int = RICHEST_DAYS) -> NDArray[np.int64]:
        """Return the positions of the days on which perfect foresight earns most, the richest first."""
        return np.argsort(-self.perfect_amount, kind="stable")[:count]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The figures of one strategy; money in units of currency, net of wear.

    Attributes:
        revenue: Income less cost and wear.
        revenue_perfect_foresight: The same of the best schedule in hindsight.
        share_of_perfect_foresight: The one by the other; None when there was nothing to earn.
        share_without_richest_days: The same without the four days on which hindsight earns most.
        perfect_share_in_richest_days: What part of hindsight's value these days carry.
        cycles: Energy discharged from the store by its capacity.
        decisions: Offers made.
    """

    revenue: float
    revenue_perfect_foresight: float
    share_of_perfect_foresight: float | None
    share_without_richest_days: float | None
    perfect_share_in_richest_days: float | None
    cycles: float
    decisions: int


def by_day(series: Series, outcome: Outcome, perfect: Outcome) -> Days:
    """Return amounts by trading day."""
    first = outcome.first_index
    number = series.day_number[first : first + len(outcome.amount)]
    starts = np.flatnonzero(np.diff(number, prepend=number[:1] - 1))
    epoch = date(1970, 1, 1).toordinal()
    return Days(
        day=tuple(date.fromordinal(epoch + one) for one in number[starts].tolist()),
        first_index=np.append(starts, len(number)),
        amount=np.add.reduceat(outcome.amount, starts),
        perfect_amount=np.add.reduceat(perfect.amount, starts),
    )


def score(storage: Storage, days: Days, outcome: Outcome) -> Score:
    """Return the figures of a strategy."""
    rich = np.zeros(len(days.day), np.bool_)
    rich[days.richest()] = True
    earned, perfect = int(days.amount.sum()), int(days.perfect_amount.sum())
    rest, perfect_rest = int(days.amount[~rich].sum()), int(days.perfect_amount[~rich].sum())
    released_kwh = int(outcome.sold_wh.sum()) / WH_PER_KWH / storage.discharge_efficiency_frac
    return Score(
        revenue=earned / AMOUNTS_PER_UNIT,
        revenue_perfect_foresight=perfect / AMOUNTS_PER_UNIT,
        share_of_perfect_foresight=_share(earned, perfect),
        share_without_richest_days=_share(rest, perfect_rest),
        perfect_share_in_richest_days=_share(perfect - perfect_rest, perfect),
        cycles=released_kwh / storage.energy_capacity_kwh,
        decisions=outcome.decisions_count,
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole > 0 else None
