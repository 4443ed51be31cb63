"""One model for all sites: boosted trees on features in units of each site's own scale.

Part of the pairs of site and day that it learns from are shown as if the site were only some days old, down to none: so
the same trees forecast a home on its first day. What they cost to train is bounded by a number of rows, not of sites.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.forecast import sites_features as f
from shoal.forecast.protocol import Model
from shoal.forecast.sites_features import Grid
from shoal.forecast.sites_local import described, is_dark
from shoal.forecast.sites_trees import Trees, TreeSettings, ask_trees, grow_trees

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

YOUNG_DAYS: Final = (0, 0, 1, 2, 3, 5, 7, 10, 14, 21)
"""How old a site is made to look where it is shown young; each as often as it stands here."""
_YOUNG_FRAC: Final = 0.25
_MOST_SCALED: Final = 50.0
_ROWS_AT_ONCE: Final = 200_000


def fit_global(
    grid: Grid,
    prior_kw: Floats,
    origin_at: Ints,
    *,
    level: Floats,
    skips_dark: bool,
    most_rows: int,
    settings: TreeSettings,
    seed: int,
) -> Trees:
    """Return trees learned from all sites at the origins given, from at most `most_rows` drawn steps."""
    draw = np.random.default_rng(seed)
    oldest = f.first_known(grid.value)
    row = np.repeat(np.arange(len(grid.value)), len(origin_at))
    origin = np.tile(origin_at, len(grid.value))
    usable = origin >= oldest[row]
    row, origin = row[usable], origin[usable]
    most_pairs = max(1, most_rows // grid.steps)
    if len(row) > most_pairs:
        kept = np.sort(draw.choice(len(row), most_pairs, replace=False))
        row, origin = row[kept], origin[kept]
    age_days = np.where(draw.random(len(row)) < _YOUNG_FRAC, draw.choice(YOUNG_DAYS, len(row)), 10**6)
    since = np.maximum(oldest[row], origin - age_days * grid.slots)
    x = np.empty((len(row) * grid.steps, f.INPUT_0 + 2 * len(grid.input_at)), dtype=np.float32)
    scale = np.empty(len(row))
    f.gather_into(grid, row, origin, since, prior_kw, x, scale)
    at = origin[:, None] + grid.lead_steps + np.arange(grid.steps)
    outcome = (grid.value[row[:, None], at] / scale[:, None]).reshape(-1)
    usable = ~np.isnan(outcome)
    if skips_dark:
        usable &= ~is_dark(x)
    if not usable.any():  # nothing is known of any site: every site is as large as expected
        return _flat(x.shape[1], len(level))
    return grow_trees(
        x[usable],
        np.clip(outcome[usable], -_MOST_SCALED, _MOST_SCALED),
        level=level,
        settings=settings,
        seed=seed,
    )


def ask_global(trees: Trees, grid: Grid, prior_kw: Floats, origin_at: int, *, skips_dark: bool) -> Floats:
    """Return N x T x (Q + 1): the quantiles, not yet sorted, then the mean, in the unit of the values."""
    sites = len(grid.value)
    out = np.empty((sites, grid.steps, len(trees.base_level)))
    at_once = max(1, _ROWS_AT_ONCE // grid.steps)
    for start in range(0, sites, at_once):
        some = np.arange(start, min(start + at_once, sites))
        x, scale = described(grid, prior_kw, some, np.array([origin_at]))
        told = ask_trees(trees, x).reshape(len(some), grid.steps, -1) * scale[:, None, None]
        if skips_dark:
            told *= ~is_dark(x).reshape(len(some), grid.steps, 1)
        out[some] = told
    return out


def trees_of(model: Model) -> Trees:
    """Return the trees that a model holds."""
    held: dict[str, NDArray[Any]] = {name: model.array(f"tree_{name}") for name in Trees.__slots__}
    return Trees(**held)


def _flat(features: int, levels: int) -> Trees:
    return Trees(
        cut_level=np.full((features, 62), np.inf, dtype=np.float32),
        feature_index=np.full((1, 1), -1, dtype=np.int16),
        split_index=np.zeros((1, 1), dtype=np.uint8),
        left_index=np.zeros((1, 1), dtype=np.int16),
        leaf_level=np.zeros((1, 1, levels + 1), dtype=np.float32),
        base_level=np.append(np.linspace(0.2, 1.8, levels), 1.0),
    )
