"""A linear model a site, all sites at once: closed-form ridge in a space where a home's swings are even.

Features and outcome are taken by signed square roots (for loads), so that least squares is not ruled by the few high
hours; the model is drawn to a mean of the site's own profiles, so that a site with a week of data is forecast sensibly.
What is left over is kept as quantiles by time of day. With its weights held at one lag it is the seasonal naive model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel
from shoal.forecast import sites_features as f
from shoal.forecast.sites_features import Grid

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

BLOCKS: Final = 8
"""Parts of the day of which each has its own spread."""
_PROFILES: Final = (
    *(f.LAG_1, f.LAG_2, f.LAG_7, f.LAG_14, f.MEAN_7, f.MEAN_28),
    *(f.MEAN_TYPE, f.MEAN_WEEKDAY, f.SMOOTH_1, f.SMOOTH_7, f.MAX_28, f.MIN_28),
)
_BASE_COLUMNS: Final = 1 + len(_PROFILES) + 8 + 11
_PER_INPUT: Final = 5
# Positions in the basis: the constant, the profiles in the order above, then the rest.
_P_LAG_1, _P_LAG_7, _P_MEAN_7, _P_MEAN_28 = 1, 3, 5, 6
_PRIOR: Final = ((_P_MEAN_7, 0.4), (_P_MEAN_28, 0.4), (_P_LAG_1, 0.2))
_RIDGE_ROWS: Final = 40.0
_HALF_LIFE_DAYS: Final = 120.0
_TRUST_ROWS: Final = 40.0
"""Residuals of a block at which they count as much as the usual spread."""
_USUAL_SPREAD: Final = 0.3
_ROWS_AT_ONCE: Final = 200_000
"""Rows of features held at a time."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LocalState:
    """N fitted sites.

    Attributes:
        weight: N x K coefficients.
        left_over_scale: N x 8 x Q quantiles of what is left, in the fitted space.
        moment_scale: N x 8 x 2 means of what is left and of its square.
        input_level: V means of the inputs.
        input_scale: V standard deviations of them.
    """

    weight: Floats
    left_over_scale: Floats
    moment_scale: Floats
    input_level: Floats
    input_scale: Floats

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return its arrays by name, with `local_` before it."""
        return {f"local_{name}": getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """What kind of local model.

    Attributes:
        is_rooted: Whether square roots are taken: for loads, not for solar generation.
        is_naive: Whether the weights stay at last week's value.
        skips_dark: Whether steps at which nothing was seen for weeks are left out and forecast as 0.
    """

    is_rooted: bool
    is_naive: bool
    skips_dark: bool


def fit_local(
    grid: Grid,
    prior_kw: Floats,
    origin_at: Ints,
    settings: LocalSettings,
    level: Floats,
    *,
    known: LocalState | None = None,
) -> LocalState:
    """Return a model for each site, learned at the origins given; inputs are scaled as in a state known before."""
    mean, spread = _input_moments(grid) if known is None else (known.input_level, known.input_scale)
    sites, columns = len(grid.value), columns_of(grid)
    prior = prior_weights(columns, is_naive=settings.is_naive)
    weight = np.repeat(prior[None, :], sites, axis=0)
    left_over_scale = np.empty((sites, BLOCKS, len(level)))
    moment_scale = np.empty((sites, BLOCKS, 2))
    usual = _usual_quantiles(level)
    ridge = _RIDGE_ROWS * np.eye(columns)
    ridge[0, 0] = 1.0
    at_once = max(1, _ROWS_AT_ONCE // max(1, len(origin_at) * grid.steps))
    for start in range(0, sites, at_once):
        some = np.arange(start, min(start + at_once, sites))
        basis, outcome, recency, block = _rows(grid, prior_kw, some, origin_at, settings, mean, spread)
        if not settings.is_naive and len(origin_at):
            pulled = basis * recency[:, :, None]
            gram = pulled.transpose(0, 2, 1) @ basis + ridge
            right = (pulled.transpose(0, 2, 1) @ outcome[:, :, None])[:, :, 0] + ridge @ prior
            weight[some] = np.linalg.solve(gram, right[:, :, None])[:, :, 0]
        rest = outcome - (basis @ weight[some, :, None])[:, :, 0]
        rest[recency == 0.0] = np.nan
        left_over_scale[some], moment_scale[some] = _left_over(rest, block, level, usual)
    return LocalState(
        weight=weight,
        left_over_scale=left_over_scale,
        moment_scale=moment_scale,
        input_level=mean,
        input_scale=spread,
    )


def ask_local(
    state: LocalState, grid: Grid, prior_kw: Floats, origin_at: int, settings: LocalSettings
) -> Floats:
    """Return N x T x (Q + 1): the quantiles, not yet sorted, then the mean, in the unit of the values."""
    sites, levels = len(grid.value), state.left_over_scale.shape[2]
    out = np.empty((sites, grid.steps, levels + 1))
    at = origin_at + grid.lead_steps + np.arange(grid.steps)
    block = grid.slot_index[at] * BLOCKS // grid.slots
    rooted = settings.is_rooted and not settings.is_naive
    at_once = max(1, _ROWS_AT_ONCE // grid.steps)
    for start in range(0, sites, at_once):
        some = np.arange(start, min(start + at_once, sites))
        x, scale = described(grid, prior_kw, some, np.array([origin_at]))
        basis = np.empty((len(x), state.weight.shape[1]))
        _fill_basis(x, rooted, state.input_level, state.input_scale, basis)
        shape = (len(some), grid.steps)
        centre = (basis.reshape(*shape, -1) @ state.weight[some, :, None])[:, :, 0]
        size = scale.reshape(len(some), 1)
        first, second = state.moment_scale[some][:, block, 0], state.moment_scale[some][:, block, 1]
        quantile = centre[:, :, None] + state.left_over_scale[some][:, block]
        mean = centre + first
        if rooted:
            quantile = np.sign(quantile) * quantile**2
            mean = np.maximum(centre**2 + 2.0 * centre * first + second, 0.0)
        out[some, :, :levels] = quantile * size[:, :, None]
        out[some, :, levels] = mean * size
        if settings.skips_dark:
            out[some] *= ~is_dark(x).reshape(*shape, 1)
    return out


def described(grid: Grid, prior_kw: Floats, row: Ints, origin_at: Ints) -> tuple[NDArray[np.float32], Floats]:
    """Return the features of some sites at some origins, site by site, and the scale of each site and origin."""
    count = len(row) * len(origin_at)
    x = np.empty((count * grid.steps, f.INPUT_0 + 2 * len(grid.input_at)), dtype=np.float32)
    scale = np.empty(count)
    sites = np.repeat(row, len(origin_at))
    oldest = np.repeat(f.first_known(grid.value[row]), len(origin_at))
    f.gather_into(grid, sites, np.tile(origin_at, len(row)), oldest, prior_kw, x, scale)
    return x, scale


def _rows(
    grid: Grid,
    prior_kw: Floats,
    row: Ints,
    origin_at: Ints,
    settings: LocalSettings,
    input_level: Floats,
    input_scale: Floats,
) -> tuple[Floats, Floats, Floats, Ints]:
    """Return for n sites and R rows each: n x R x K basis, n x R outcomes, n x R weights (0: not known), R blocks."""
    x, scale = described(grid, prior_kw, row, origin_at)
    rooted = settings.is_rooted and not settings.is_naive
    basis = np.empty((len(x), columns_of(grid)))
    _fill_basis(x, rooted, input_level, input_scale, basis)
    at = (origin_at[:, None] + grid.lead_steps + np.arange(grid.steps)).reshape(-1)
    shape = (len(row), len(at))
    outcome = grid.value[row][:, at] / np.repeat(scale.reshape(len(row), -1), grid.steps, axis=1)
    if rooted:
        outcome = np.sign(outcome) * np.sqrt(np.abs(outcome))
    origins = np.repeat(origin_at, grid.steps)
    age_days = (origin_at[-1:].sum() - origins) / grid.slots
    recency = np.repeat(0.5 ** (age_days / _HALF_LIFE_DAYS)[None, :], len(row), axis=0)
    unknown = np.isnan(outcome) | (origins[None, :] <= f.first_known(grid.value[row])[:, None])
    if settings.skips_dark:
        unknown |= is_dark(x).reshape(shape)
    recency[unknown] = 0.0
    outcome[unknown] = 0.0
    return basis.reshape(*shape, basis.shape[1]), outcome, recency, grid.slot_index[at] * BLOCKS // grid.slots


def is_dark(x: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return for each row of features whether nothing was seen at that time of day for weeks."""
    return np.asarray((x[:, f.MAX_28] <= 0.0) & (x[:, f.SMOOTH_7] <= 0.0))


def columns_of(grid: Grid) -> int:
    """Return how many columns the basis has."""
    return _BASE_COLUMNS + _PER_INPUT * len(grid.input_at)


def prior_weights(column_count: int, *, is_naive: bool) -> Floats:
    """Return the coefficients that a site without data has: last week's value, or a mean of the profiles."""
    prior = np.zeros(column_count)
    if is_naive:
        prior[_P_LAG_7] = 1.0
        return prior
    for column, share in _PRIOR:
        prior[column] = share
    return prior


def unknown_site(state: LocalState, level: Floats, *, is_naive: bool) -> tuple[Floats, Floats, Floats]:
    """Return weights, left-over quantiles and moments of a site that was never seen."""
    usual = np.repeat(_usual_quantiles(level)[None, :], BLOCKS, axis=0)
    moment_scale = np.repeat(np.array([[0.0, _USUAL_SPREAD**2]]), BLOCKS, axis=0)
    if len(state.left_over_scale):
        usual, moment_scale = np.median(state.left_over_scale, axis=0), np.median(state.moment_scale, axis=0)
    return prior_weights(state.weight.shape[1], is_naive=is_naive), usual, moment_scale


def _usual_quantiles(level: Floats) -> Floats:
    """Return quantiles of a logistic distribution with the usual spread: closed and a little heavy in the tails."""
    return np.log(level / (1.0 - level)) * (_USUAL_SPREAD * math.sqrt(3.0) / math.pi)


def _input_moments(grid: Grid) -> tuple[Floats, Floats]:
    mean, spread = np.zeros(len(grid.input_at)), np.ones(len(grid.input_at))
    for row, table in enumerate(grid.input_at[:, :, : grid.known_steps]):
        known = table[~np.isnan(table)]
        if len(known):
            mean[row], spread[row] = known.mean(), max(float(known.std()), 1e-9)
    return mean, spread


def _left_over(rest: Floats, block: Ints, level: Floats, usual: Floats) -> tuple[Floats, Floats]:
    """Return quantiles and moments of what is left over by block of the day, drawn to the usual ones when few.

    Args:
        rest: n x R, NaN where not known.
        block: R.
        level: Q.
        usual: Q quantiles.
    """
    quantile = np.empty((len(rest), BLOCKS, len(level)))
    moment = np.empty((len(rest), BLOCKS, 2))
    for part in range(BLOCKS):
        held = np.sort(rest[:, block == part], axis=1)  # NaN comes last
        count = (~np.isnan(held)).sum(axis=1)[:, None]
        held = np.concatenate((np.nan_to_num(held), np.zeros((len(rest), 1))), axis=1)
        place = level * np.maximum(count - 1, 0)
        below = place.astype(np.int64)
        low = np.take_along_axis(held, below, axis=1)
        high = np.take_along_axis(held, np.minimum(below + 1, np.maximum(count - 1, 0)), axis=1)
        own = count / (count + _TRUST_ROWS)
        quantile[:, part] = own * (low + (place - below) * (high - low)) + (1.0 - own) * usual
        # own times a mean over the count is a sum over the count and the trust
        moment[:, part, 0] = held.sum(axis=1) / (count[:, 0] + _TRUST_ROWS)
        square = (held**2).sum(axis=1) + _TRUST_ROWS * _USUAL_SPREAD**2
        moment[:, part, 1] = square / (count[:, 0] + _TRUST_ROWS)
    return quantile, moment


@kernel
def _root(u: float, is_rooted: bool) -> float:
    if not is_rooted:
        return u
    return math.sqrt(u) if u >= 0.0 else -math.sqrt(-u)


@kernel
def _fill_basis(
    x: NDArray[np.float32], is_rooted: bool, input_level: Floats, input_scale: Floats, out: Floats
) -> None:
    """Fill the columns of each row; what is absent is replaced by the nearest profile that is known."""
    feature = np.empty(x.shape[1])
    for row in range(x.shape[0]):
        feature[:] = x[row]
        _fill_row(feature, is_rooted, input_level, input_scale, out[row])


@kernel
def _fill_row(
    feature: Floats, is_rooted: bool, input_level: Floats, input_scale: Floats, out: Floats
) -> None:
    level = feature[f.MEAN_28]
    if math.isnan(level):
        level = feature[f.LAST_7D]
    if math.isnan(level):
        level = 1.0
    short = feature[f.MEAN_7]
    if math.isnan(short):
        short = level
    out[0] = 1.0
    for k in range(len(_PROFILES)):
        value = feature[_PROFILES[k]]
        if math.isnan(value):
            is_short = k <= 1 or k == 4 or k == 8 or k == 9  # lags and means of a week
            value = short if is_short else level
        out[1 + k] = _root(value, is_rooted)
    at = 1 + len(_PROFILES)
    hours = feature[f.AHEAD] * 24.0
    week = feature[f.LAST_7D]
    week = 1.0 if math.isnan(week) else week
    day = feature[f.LAST_24H]
    day = week if math.isnan(day) else day
    gap = feature[f.ANOMALY]
    gap = 0.0 if math.isnan(gap) else min(max(gap, -3.0), 3.0)
    share = feature[f.OF_ENVELOPE]
    share = 0.7 if math.isnan(share) else share
    spread = feature[f.SPREAD_28]
    last = feature[f.LAST]
    last = day if math.isnan(last) else last
    out[at] = 0.0 if math.isnan(spread) else _root(spread, is_rooted)
    out[at + 1] = _root(week, is_rooted)
    out[at + 2] = _root(day, is_rooted)
    out[at + 3] = gap
    out[at + 4] = gap * math.exp(-hours / 3.0)
    out[at + 5] = (_root(last, is_rooted) - _root(day, is_rooted)) * math.exp(-hours / 2.0)
    out[at + 6] = share * out[11]
    out[at + 7] = gap * out[6]
    at += 8
    angle = 2.0 * math.pi * feature[f.SLOT]
    weekend = feature[f.WEEKEND]
    for harmonic in range(1, 4):
        out[at] = 0.5 * math.sin(harmonic * angle)
        out[at + 1] = 0.5 * math.cos(harmonic * angle)
        at += 2
    out[at] = weekend
    for harmonic in range(1, 3):
        out[at + 1] = 0.5 * weekend * math.sin(harmonic * angle)
        out[at + 2] = 0.5 * weekend * math.cos(harmonic * angle)
        at += 2
    at += 1
    for row in range(input_level.shape[0]):
        now = (feature[f.INPUT_0 + 2 * row] - input_level[row]) / input_scale[row]
        change = feature[f.INPUT_0 + 2 * row + 1] / input_scale[row]
        now = 0.0 if math.isnan(now) else min(max(now, -4.0), 4.0)
        change = 0.0 if math.isnan(change) else min(max(change, -4.0), 4.0)
        out[at], out[at + 1], out[at + 2] = 0.5 * now, 0.25 * now * now, 0.5 * change
        out[at + 3], out[at + 4] = 0.5 * now * out[6], 0.5 * change * out[6]
        at += 5
