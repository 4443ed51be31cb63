"""Tries a table of silent sites on days that it was not learned from: how often its intervals hold the truth, at what loss.

The loss (pinball, of both ends) is small for intervals that are narrow and yet keep their word; wide or wrong ones both cost.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoal.twin.silence import SilenceTable, add_up, estimate
from shoal.twin.silence_history import SilenceHistory, replay

_SMALL_W = 1.0


class TrialScore(NamedTuple):
    """What a trial found, over groups with silent sites and quantities about which there is doubt.

    Attributes:
        covered_frac: How often the 90 % interval held the truth.
        loss_w: Mean loss, W per site of the group.
    """

    covered_frac: float
    loss_w: float


def try_table(table: SilenceTable, history: SilenceHistory, *, every_steps: int = 6) -> TrialScore:
    """Return how well a table does on a history, at every so many steps; NaN when no site was silent."""
    wanted = np.arange(len(history.silent)) % every_steps == 0
    sites = np.bincount(history.leaf_group, minlength=len(history.parent_number)).astype(np.float64)
    sites = add_up(sites[:, None], history.parent_number, history.level)
    inside: list[NDArray[np.bool_]] = []
    loss: list[NDArray[np.float64]] = []
    for moment in replay(history, table, wanted):
        said = estimate(table, moment.sums, history.parent_number, history.level)
        fresh_w = moment.sums.fresh_w
        truth_w = np.column_stack([fresh_w, fresh_w.sum(axis=1)]) + moment.silent_truth_w
        doubtful = (said.high_w - said.low_w > _SMALL_W) | (np.abs(truth_w - said.expected_w) > _SMALL_W)
        doubtful &= (moment.sums.silent_sites > 0)[:, None]
        inside.append(((truth_w >= said.low_w - _SMALL_W) & (truth_w <= said.high_w + _SMALL_W))[doubtful])
        below, above = truth_w - said.low_w, truth_w - said.high_w
        both = np.maximum(0.05 * below, -0.95 * below) + np.maximum(0.95 * above, -0.05 * above)
        loss.append((both / 2.0 / np.maximum(sites, 1.0))[doubtful])
    if not sum(len(each) for each in loss):
        return TrialScore(float("nan"), float("nan"))
    return TrialScore(float(np.concatenate(inside).mean()), float(np.concatenate(loss).mean()))


def part(history: SilenceHistory, steps: slice) -> SilenceHistory:
    """Return some of the instants of a history."""
    return replace(
        history,
        value_w=history.value_w[:, steps],
        silent=history.silent[steps],
        ordered=history.ordered[steps],
    )
