"""Champion and challenger: when a new model has earned the place of the old one, and when a model has drifted.

Promotion is a test that may be looked at every day without cheating: a bet against "the challenger is not better" whose
stake is set from the past alone, so that its wealth ever exceeds 1/alpha with probability at most alpha if that were
true (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86 (2024)). Drift is
Page-Hinkley's test on the losses (Page, Biometrika 41 (1954)), for N series at once. No clock: one step a scored day.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError

Floats: TypeAlias = NDArray[np.float64]
Verdict: TypeAlias = Literal["collecting", "keep", "promote", "drop"]

_MOST_BET: Final = 0.9
_WIDEST_SPREADS: Final = 4.0
"""A day's difference counts up to this many times the usual one."""
_FIRST_SCALE_DAYS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ContestRules:
    """When a challenger wins or gives up.

    Attributes:
        alpha_frac: Probability, at most, that a challenger that is no better ever wins.
        least_days: Days before it may win.
        most_days: Days after which it is dropped when it has not won.
        least_gain_frac: How much lower its mean loss must be as well, as a share of the champion's.
    """

    alpha_frac: float = 0.05
    least_days: int = 14
    most_days: int = 120
    least_gain_frac: float = 0.0


class Contest(msgspec.Struct, frozen=True, kw_only=True):
    """A contest so far; one more day by `judged`.

    Attributes:
        champion: Version of the model in use.
        challenger: Version of the one that would replace it.
        day_count: Days scored.
        champion_total: Sum of the champion's losses.
        challenger_total: Sum of the challenger's.
        difference_square_total: Sum of the squared differences of the losses.
        gain_total: Sum of the gains: differences in units of their usual size, within -1 to 1.
        gain_square_total: Sum of their squares.
        log_wealth_level: Logarithm of what the bet has grown to.
        highest_log_wealth_level: The most that it has been.
    """

    champion: str
    challenger: str
    day_count: int = 0
    champion_total: float = 0.0
    challenger_total: float = 0.0
    difference_square_total: float = 0.0
    gain_total: float = 0.0
    gain_square_total: float = 0.0
    log_wealth_level: float = 0.0
    highest_log_wealth_level: float = 0.0

    @property
    def gain_frac(self) -> float:
        """How much lower the challenger's mean loss is, as a share of the champion's."""
        if self.champion_total <= 0.0:
            return 0.0
        return 1.0 - self.challenger_total / self.champion_total

    @property
    def p_value(self) -> float:
        """Probability, at most, of so much wealth were the challenger no better; valid at any time."""
        return min(1.0, math.exp(-self.highest_log_wealth_level))


def judged(contest: Contest, losses: tuple[float, float]) -> Contest:
    """Return the contest after a day's mean losses of champion and challenger, on the same outcomes.

    Raises:
        InvalidInputError: when a loss is negative or not finite.
    """
    if not all(math.isfinite(loss) and loss >= 0.0 for loss in losses):
        raise InvalidInputError(field="losses", value=losses, fix="give finite losses of at least 0")
    held, new = losses
    count = contest.day_count
    gain, bet = 0.0, 0.0
    if count >= _FIRST_SCALE_DAYS and contest.difference_square_total > 0.0:
        # scale and stake are fixed before the day is looked at; else the wealth would prove nothing
        usual = _WIDEST_SPREADS * math.sqrt(contest.difference_square_total / count)
        gain = min(max((held - new) / usual, -1.0), 1.0)
        betted = count - _FIRST_SCALE_DAYS + 1.0
        square = (contest.gain_square_total + 1.0 / _WIDEST_SPREADS**2) / betted
        bet = min(max(contest.gain_total / betted / square, 0.0), _MOST_BET)
    wealth = contest.log_wealth_level + math.log1p(bet * gain)
    return msgspec.structs.replace(
        contest,
        day_count=count + 1,
        champion_total=contest.champion_total + held,
        challenger_total=contest.challenger_total + new,
        difference_square_total=contest.difference_square_total + (held - new) ** 2,
        gain_total=contest.gain_total + gain,
        gain_square_total=contest.gain_square_total + gain * gain,
        log_wealth_level=wealth,
        highest_log_wealth_level=max(contest.highest_log_wealth_level, wealth),
    )


def verdict(contest: Contest, rules: ContestRules) -> tuple[Verdict, str]:
    """Return what is to be done with the challenger, and why."""
    shown = f"after {contest.day_count} days its loss is {100 * contest.gain_frac:+.1f} % better"
    if contest.day_count < rules.least_days:
        return "collecting", f"{contest.day_count} of at least {rules.least_days} days"
    if contest.p_value <= rules.alpha_frac and contest.gain_frac > rules.least_gain_frac:
        return "promote", f"{shown}, p at most {contest.p_value:.3g}"
    if contest.day_count >= rules.most_days:
        return "drop", f"{shown}, which proves nothing (p {contest.p_value:.3g})"
    return "keep", f"{shown}, p {contest.p_value:.3g} is above {rules.alpha_frac:g}"


def contest_of(champion: str, challenger: str, losses: Iterable[tuple[float, float]]) -> Contest:
    """Return the contest over a sequence of daily losses, e.g. of a window of the past."""
    contest = Contest(champion=champion, challenger=challenger)
    for day in losses:
        contest = judged(contest, day)
    return contest


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftRules:
    """When a loss has risen.

    Attributes:
        learning_days: Days that teach a series' usual loss and its spread; no alarm before.
        slack_scale: Rise that is let pass, in spreads.
        threshold_scale: Cumulated rise above the slack that raises the alarm, in spreads.
        most_rise_scale: The most that one day counts, in spreads: a single bad day is no drift.
    """

    learning_days: int = 28
    slack_scale: float = 0.5
    threshold_scale: float = 12.0
    most_rise_scale: float = 4.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drift:
    """The watch over N series.

    Attributes:
        day_count: N days with a loss.
        mean: N means of the learning days' losses.
        squares: N sums of squared distances from it.
        rise_scale: N cumulated rises above the slack, in spreads; never below 0.
        is_drifting: N alarms; once raised, they stay until `rested`.
    """

    day_count: NDArray[np.int64]
    mean: Floats
    squares: Floats
    rise_scale: Floats
    is_drifting: NDArray[np.bool_]


def no_drift(count: int) -> Drift:
    """Return the watch before the first day."""
    return Drift(
        day_count=np.zeros(count, dtype=np.int64),
        mean=np.zeros(count),
        squares=np.zeros(count),
        rise_scale=np.zeros(count),
        is_drifting=np.zeros(count, dtype=np.bool_),
    )


def watched(drift: Drift, value: Floats, rules: DriftRules | None = None) -> Drift:
    """Return the watch after a day's N losses; NaN where a series was not scored."""
    rules = DriftRules() if rules is None else rules
    known = ~np.isnan(value)
    loss = np.where(known, value, 0.0)
    learning = known & (drift.day_count < rules.learning_days)
    count = drift.day_count + known
    step = np.where(learning, (loss - drift.mean) / np.maximum(count, 1), 0.0)
    mean = drift.mean + step
    squares = drift.squares + np.where(learning, (loss - drift.mean) * (loss - mean), 0.0)
    spread = np.sqrt(squares / np.maximum(np.minimum(count, rules.learning_days) - 1, 1))
    spread = np.maximum(spread, 1e-3 * np.abs(mean) + 1e-12)
    rise = np.clip((loss - mean) / spread, -rules.most_rise_scale, rules.most_rise_scale)
    testing = known & ~learning
    total = np.where(testing, np.maximum(drift.rise_scale + rise - rules.slack_scale, 0.0), drift.rise_scale)
    return Drift(
        day_count=count,
        mean=mean,
        squares=squares,
        rise_scale=total,
        is_drifting=drift.is_drifting | (total > rules.threshold_scale),
    )


def rested(drift: Drift, which: NDArray[np.bool_]) -> Drift:
    """Return the watch begun anew for some series, as after a new model took their place."""
    return replace(
        drift,
        day_count=np.where(which, 0, drift.day_count),
        mean=np.where(which, 0.0, drift.mean),
        squares=np.where(which, 0.0, drift.squares),
        rise_scale=np.where(which, 0.0, drift.rise_scale),
        is_drifting=drift.is_drifting & ~which,
    )
