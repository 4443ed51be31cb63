"""Fits how a silent site's last value fades, by signal and age: correlation, bias, and errors own and shared.

Deviations from the fleet's mean are reckoned in its dispersion, so that day and night, calm and busy hours teach the
same thing; products of different sites' errors at the same instant tell what silent sites share.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_MINUTE
from shoal.twin.silence import ORDERED
from shoal.twin.silence_history import SilenceHistory, last_known

AGE_EDGES_MIN: Final = (
    *(2, 7, 12, 17, 25, 35, 45, 55, 70, 90, 110, 135, 165, 195, 225, 270, 330, 390, 450, 510, 570, 630),
    *(690, 780, 900, 1020, 1140, 1290, 1500),
)
"""Ages in minutes that divide the bins: every few minutes at first, an hour or two at the end of a day."""
FLOOR_FRAC: Final = (0.2, 0.02, 0.3, 0.6)
"""Few cars charge at once, so that dispersion tells little of who may start; at night no roof generates."""
FEW: Final = 300
"""Samples below which a bin is filled in from its neighbours."""
_RIDGE: Final = 1e-3


class FleetLevels(NamedTuple):
    """The fleet's fresh mean and dispersion, W per scale, 4 x T each, and the usual dispersion, 4."""

    mean: NDArray[np.float64]
    dispersion: NDArray[np.float64]
    usual: NDArray[np.float64]


class Rates(NamedTuple):
    """Fitted columns of the table, 4 x B each."""

    weight: NDArray[np.float64]
    stay: NDArray[np.float64]
    bias: NDArray[np.float64]
    spread: NDArray[np.float64]
    common: NDArray[np.float64]
    shift: NDArray[np.float64]


def edges_ns() -> NDArray[np.int64]:
    return np.array(AGE_EDGES_MIN, dtype=np.int64) * NS_PER_MINUTE


def ages_ns() -> NDArray[np.int64]:
    edges = np.array((0, *AGE_EDGES_MIN, AGE_EDGES_MIN[-1] + 300), dtype=np.int64)
    return (edges[:-1] + edges[1:]) * NS_PER_MINUTE // 2


def fleet_levels(history: SilenceHistory) -> FleetLevels:
    mean, dispersion = [], []
    for value_w, scale in zip(history.value_w, history.scale, strict=True):
        known = ~history.silent & np.isfinite(value_w) & (scale > 0.0)
        taken = np.where(known, value_w, 0.0).astype(np.float64)
        scales = np.where(known, scale, 0.0)
        centre = taken.sum(axis=1) / np.maximum(scales.sum(axis=1), 1e-9)
        square = (taken**2).sum(axis=1) / np.maximum((scales**2).sum(axis=1), 1e-9)
        mean.append(centre)
        dispersion.append(np.sqrt(np.maximum(square - centre**2, 0.0)))
    spread = np.stack(dispersion)
    return FleetLevels(np.stack(mean), spread, np.sqrt((spread**2).mean(axis=1)))


def fit_rates(history: SilenceHistory, levels: FleetLevels, fitted_on: NDArray[np.bool_]) -> list[Rates]:
    """Return the rates, by rows of the table, fitted on some of the instants (T)."""
    last = last_known(history.silent)
    times, sites = np.nonzero(history.silent & (last >= 0) & fitted_on[:, None])
    since = last[times, sites].astype(np.int64)
    bins = np.searchsorted(edges_ns(), (times - since) * history.step_ns, side="right")
    lag = np.rint(ages_ns() / history.step_ns).astype(np.int64)
    fitted: list[Rates] = []
    for row in range(5):
        number = 0 if row == ORDERED else row
        scale = history.scale[number][sites]
        truth = history.value_w[number][times, sites]
        value = history.value_w[number][since, sites]
        then = np.maximum(times - lag[bins], 0)
        least = FLOOR_FRAC[number] * levels.usual[number]
        sd = np.maximum(levels.dispersion[number], least)
        use = (
            (scale > 0.0) & np.isfinite(truth) & np.isfinite(value) & (levels.dispersion[number][times] > 0.0)
        )
        if number == 0:
            use &= history.ordered[times] == (row == ORDERED)
        if row == ORDERED and np.count_nonzero(use) < 10 * FEW:
            fitted.append(fitted[0])
            continue
        t, b, past = times[use], bins[use], then[use]
        now_level, past_level = levels.mean[number][t], levels.mean[number][past]
        u = (truth[use] / scale[use] - now_level) / sd[t]
        z = (value[use] / scale[use] - past_level) / sd[past]
        fitted.append(_fit_signal(t, b, u, z, (past_level - now_level) / sd[t]))
    return fitted


def _fit_signal(
    t: NDArray[np.int64],
    b: NDArray[np.int64],
    u: NDArray[np.float64],
    z: NDArray[np.float64],
    moved: NDArray[np.float64],
) -> Rates:
    """Fit u = weight z + stay moved + bias by age bin, then split what is left into own and shared error."""
    size = len(AGE_EDGES_MIN) + 1
    count = np.bincount(b, minlength=size)
    regressors = (z, moved, np.ones_like(z))
    normal = np.empty((size, 3, 3))
    target = np.empty((size, 3))
    for i, left in enumerate(regressors):
        target[:, i] = np.bincount(b, weights=left * u, minlength=size)
        for j, right in enumerate(regressors):
            normal[:, i, j] = np.bincount(b, weights=left * right, minlength=size)
    ridge = _RIDGE * (count[:, None, None] + 1.0) * np.eye(3)
    weight, stay, bias = np.linalg.solve(normal + ridge, target[..., None])[..., 0].T
    weight = np.clip(weight, 0.0, 1.0)
    weight[-1] = 0.0  # beyond the last edge, and when nothing ever came, there is no value to lean on
    left = u - weight[b] * z - stay[b] * moved - bias[b]

    # products of different sites at the same instant and age: what they share
    key, group = np.unique(t * size + b, return_inverse=True)
    n = np.bincount(group).astype(np.float64)
    total, square = np.bincount(group, weights=left), np.bincount(group, weights=left**2)
    step = np.bincount(group, weights=moved) / n
    pairs = n * n - n
    some = pairs > 0
    at = (key % size)[some]
    heft = n[some] - 1.0
    shared = (total**2 - square)[some] / pairs[some]
    moved2 = step[some] ** 2
    mass = np.maximum(np.bincount(at, weights=heft, minlength=size), 1e-9)
    shared_mean = np.bincount(at, weights=heft * shared, minlength=size) / mass
    moved_mean = np.bincount(at, weights=heft * moved2, minlength=size) / mass
    offset = moved2 - moved_mean[at]
    slope = (heft * offset * (shared - shared_mean[at])).sum() / max((heft * offset**2).sum(), 1e-9)
    shift2 = max(float(slope), 0.0)
    common2 = np.maximum(shared_mean - shift2 * moved_mean, 0.0)
    variance = np.bincount(b, weights=left**2, minlength=size) / np.maximum(count, 1)
    spread2 = np.maximum(variance - np.maximum(shared_mean, 0.0), 0.05 * variance)
    enough = count >= FEW
    return Rates(
        weight=np.append(_filled(weight, enough, newest=1.0)[:-1], 0.0),
        stay=_filled(stay, enough, newest=0.0),
        bias=_filled(bias, enough, newest=0.0),
        spread=np.sqrt(_filled(spread2, enough, newest=0.0)),
        common=np.sqrt(_filled(common2, enough, newest=0.0)),
        shift=np.full(size, np.sqrt(shift2)),
    )


def _filled(values: NDArray[np.float64], enough: NDArray[np.bool_], *, newest: float) -> NDArray[np.float64]:
    """Return the values with bins of few samples filled in along the age, from `newest` at age 0."""
    age = ages_ns().astype(np.float64)
    filled: NDArray[np.float64] = np.interp(
        age, np.append(0.0, age[enough]), np.append(newest, values[enough])
    )
    return filled
