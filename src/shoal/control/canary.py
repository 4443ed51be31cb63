"""Canary dispatch: an order goes to a few sites first, and to the others only when the meters of the few show it.

Who is tried is drawn evenly from every stratum (a feeder, a size), so that the few stand for all; the decision is a pure
function of what was asked and what the meters say, by a criterion that was declared before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.control.rebound import places_frac
from shoal.store.order_records import CanarySpec

DELIVERS_FRAC: Final = 0.5
"""Who delivers at least so much of what was asked counts as responding."""
FEWEST_ASKED_W: Final = 100
"""Who was asked for less is not judged by its meter."""
FEWEST_METERED_FRAC: Final = 0.5
"""With fewer meters heard from than this share, nothing is decided but to stop in the end."""
PATIENCE: Final = 2.0
"""After so many times the watch without enough meters the trial has failed."""

Verdict: TypeAlias = Literal["wait", "go", "abort"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryVerdict:
    """What a trial says now.

    Attributes:
        verdict: Whether to go on to all, to wait, or to call the order off.
        reason: Why, for people.
        judged: Sites whose meters were heard from since and that were asked for something.
        responding_frac: How many of these respond.
        error_frac: How far their sum is from what was asked of them, relative to that.
    """

    verdict: Verdict
    reason: str
    judged: int
    responding_frac: float
    error_frac: float


def pick_canaries(
    rows: NDArray[np.int64], strata: NDArray[np.int64], *, share_frac: float, salt: int = 0
) -> NDArray[np.int64]:
    """Return the rows to try first, ascending: the share of each stratum, and at least one site in all.

    Args:
        rows: Who is meant, N.
        strata: To which stratum each belongs, N numbers.
        share_frac: How many of them.
        salt: Draws others, evenly as well.
    """
    if not len(rows):
        return rows
    place_frac = places_frac(rows + salt)
    # within a stratum by place; strata one after the other, so that a share of the whole is a share of each
    order = np.lexsort((place_frac, strata))
    count = max(1, math.ceil(len(rows) * share_frac))
    taken = np.floor((np.arange(count) + 0.5) * len(rows) / count).astype(np.int64)
    return np.sort(rows[order[taken]])


def judge_canaries(
    spec: CanarySpec,
    *,
    asked_w: NDArray[np.int64],
    measured_w: NDArray[np.float64],
    metered: NDArray[np.bool_],
    watched_s: float,
) -> CanaryVerdict:
    """Return what a trial says.

    Args:
        spec: The criterion.
        asked_w: What was asked of each tried site, N.
        measured_w: What each has done by its meter since, N.
        metered: Whether its meter was heard from since it was told, N.
        watched_s: How long ago they were told.
    """
    judged = metered & (np.abs(asked_w) >= FEWEST_ASKED_W)
    asked, measured = asked_w[judged].astype(np.float64), measured_w[judged]
    count, wanted = int(judged.sum()), int((np.abs(asked_w) >= FEWEST_ASKED_W).sum())
    responding = float((measured * np.sign(asked) >= DELIVERS_FRAC * np.abs(asked)).mean()) if count else 0.0
    total_w = float(np.abs(asked).sum())
    error = abs(float(measured.sum() - asked.sum())) / total_w if total_w else 0.0

    def say(verdict: Verdict, reason: str) -> CanaryVerdict:
        return CanaryVerdict(
            verdict=verdict, reason=reason, judged=count, responding_frac=responding, error_frac=error
        )

    if watched_s < spec.watch_s:
        return say("wait", f"watched for {watched_s:.0f} of {spec.watch_s:.0f} s")
    if wanted == 0:
        return say("go", "nothing is asked that a meter could show")
    if count < FEWEST_METERED_FRAC * wanted:
        reason = f"{count} of {wanted} meters were heard from"
        return say("abort" if watched_s >= PATIENCE * spec.watch_s else "wait", reason)
    if responding < spec.responding_frac:
        return say("abort", f"{responding:.1%} respond, {spec.responding_frac:.1%} must")
    if error > spec.error_frac:
        return say("abort", f"their sum is off by {error:.1%}, at most {spec.error_frac:.1%} may be")
    return say("go", f"{responding:.1%} respond, their sum is off by {error:.1%}")
