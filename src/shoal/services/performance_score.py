"""How well a response follows a regulation signal: PJM's performance score.

After PJM Manual 12 (Balancing Operations), section 4.5.6, as it stood for the signals RegA and RegD: samples of 10 s; an
accuracy, a delay and a precision score, a third each, averaged by the hour. For each sample the five minutes of signal
from there on are laid over the response 0 to 5 minutes later; the place where correlation plus delay score is highest
gives both. The manual's text leaves some cases open; `ScoreRules` says how each of them is decided here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError

SAMPLE_S: Final = 10
WINDOW_STEPS: Final = 30
"""Samples in the five minutes that are correlated; also the longest delay looked for."""
HOUR_STEPS: Final = 360

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRules:
    """What the manual leaves open.

    Attributes:
        flat_frac: A signal whose standard deviation in a window is below this share of the assigned capability is flat:
            its correlation is ``1 - |slope of the signal - slope of the response|`` by linear regression, the slopes
            counted in shares of the capability per window. The manual has this rule but names no threshold.
        still_frac: A response that varies by less than this share of the capability while the signal moves does not
            follow it: neither accuracy nor delay, although the formula would give a dead plant the best delay.
        latency_allowance_steps: Samples of delay that cost nothing. The manual allows 10 s (1) for the signal's way;
            0 is the stricter reading.
    """

    flat_frac: float = 0.01
    still_frac: float = 1e-6
    latency_allowance_steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PerformanceScore:
    """Scores of consecutive hours, each from 0 to 1, shape (hours,).

    Attributes:
        accuracy_frac: Correlation of response and signal at the best delay.
        delay_frac: 1 without delay, 0 at five minutes.
        precision_frac: 1 less the mean absolute error as a share of the hour's mean absolute signal.
    """

    accuracy_frac: Floats
    delay_frac: Floats
    precision_frac: Floats

    @property
    def composite_frac(self) -> Floats:
        """The performance score of each hour: the mean of the three."""
        total: Floats = (self.accuracy_frac + self.delay_frac + self.precision_frac) / 3.0
        return total

    @property
    def overall_frac(self) -> float:
        """Mean of the hours."""
        return float(self.composite_frac.mean())

    @property
    def worst_frac(self) -> float:
        """The lowest hour."""
        return float(self.composite_frac.min())


_USUAL: Final = ScoreRules()


def performance_score(
    signal_w: Floats, response_w: Floats, *, capability_w: float, rules: ScoreRules = _USUAL
) -> PerformanceScore:
    """Return the scores of every whole hour of samples 10 s apart.

    Windows and delays reach into the following hour where there is one; in the last five minutes of the samples, where no
    whole window is left, a sample has precision alone, and delays are looked for as far as there is a response. A score
    below 0 or above 1 counts as 0 or 1. The sign does not matter as long as both use the same.

    Args:
        signal_w: What was asked, e.g. signal times capability, shape (S,).
        response_w: What was done beyond the base schedule, shape (S,).
        capability_w: Regulation capability that was assigned, above 0.
        rules: Cases that the manual leaves open.

    Raises:
        InvalidInputError: when the lengths differ, are below an hour, hold something that is not a finite number, or the
            capability is not above 0.
    """
    signal = np.asarray(signal_w, dtype=np.float64)
    response = np.asarray(response_w, dtype=np.float64)
    if signal.ndim != 1 or signal.shape != response.shape or len(signal) < HOUR_STEPS:
        raise InvalidInputError(
            field="response_w",
            value=response.shape,
            fix=f"give as many samples as of the signal, {HOUR_STEPS} or more",
        )
    if not (np.isfinite(signal).all() and np.isfinite(response).all()):
        raise InvalidInputError(field="signal_w, response_w", value="not a number", fix="give finite numbers")
    if not 0.0 < capability_w < np.inf:
        raise InvalidInputError(field="capability_w", value=capability_w, fix="give a number above 0")
    signal, response = signal / capability_w, response / capability_w
    hours = len(signal) // HOUR_STEPS
    used = slice(0, hours * HOUR_STEPS)
    accuracy, delay = _accuracy_and_delay(signal, response, rules)
    error = np.abs(response - signal)[used].reshape(hours, -1).mean(axis=1)
    # an hour without any signal: errors are then counted as shares of the least signal that counts as one
    level = np.maximum(np.abs(signal)[used].reshape(hours, -1).mean(axis=1), rules.flat_frac)
    return PerformanceScore(
        accuracy_frac=_hourly(accuracy, hours),
        delay_frac=_hourly(delay, hours),
        precision_frac=np.clip(1.0 - error / level, 0.0, 1.0),
    )


def _accuracy_and_delay(signal: Floats, response: Floats, rules: ScoreRules) -> tuple[Floats, Floats]:
    """Return both scores of every sample with a whole window after it."""
    x, y = sliding_window_view(signal, WINDOW_STEPS), sliding_window_view(response, WINDOW_STEPS)
    count = len(x)
    x_off, x_norm = _centred(x)
    y_off, y_norm = _centred(y)
    root = np.sqrt(WINDOW_STEPS)
    flat = x_norm < rules.flat_frac * root
    ramp = np.arange(WINDOW_STEPS) - (WINDOW_STEPS - 1) / 2.0
    x_slope, y_slope = ((off @ ramp) / (ramp @ ramp) * WINDOW_STEPS for off in (x_off, y_off))
    best = np.full(count, -np.inf)
    accuracy, delay = np.zeros(count), np.zeros(count)
    for shift in range(WINDOW_STEPS + 1):
        reach = count - shift
        if reach <= 0:
            break
        late = max(shift - rules.latency_allowance_steps, 0)
        delay_score = abs(late - WINDOW_STEPS) / WINDOW_STEPS
        with np.errstate(divide="ignore", invalid="ignore"):
            product = np.einsum("ij,ij->i", x_off[:reach], y_off[shift:])
            r = np.where(
                flat[:reach],
                1.0 - np.abs(x_slope[:reach] - y_slope[shift:]),
                product / (x_norm[:reach] * y_norm[shift:]),
            )
        still = ~flat[:reach] & (y_norm[shift:] < rules.still_frac * root)
        score = np.where(still, 0.0, r + delay_score)
        better = score > best[:reach]
        best[:reach][better] = score[better]
        accuracy[:reach][better] = np.where(still, 0.0, r)[better]
        delay[:reach][better] = np.where(still, 0.0, delay_score)[better]
    return np.clip(accuracy, 0.0, 1.0), delay


def _centred(windows: Floats) -> tuple[Floats, Floats]:
    """Return each window less its mean, and the length of that."""
    off = windows - windows.mean(axis=1, keepdims=True)
    return off, np.sqrt(np.einsum("ij,ij->i", off, off))


def _hourly(scores: Floats, hours: int) -> Floats:
    return np.array([scores[hour * HOUR_STEPS : (hour + 1) * HOUR_STEPS].mean() for hour in range(hours)])
