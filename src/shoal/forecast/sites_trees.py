"""Boosted trees that fit every quantile and the mean at once, on binned features; the global model of many sites.

Each tree is grown on the pinball gradient of one level, the levels taking turns, and each of its leaves then corrects
all levels by the quantile of what is left there, and the mean by its mean. So one structure serves the whole
distribution: Friedman, "Greedy function approximation", Annals of Statistics 29 (2001), algorithm 3, with one leaf
value a level.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.domain.kernel import kernel

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bins: TypeAlias = NDArray[np.uint8]

MOST_BINS: Final = 64
"""Bin 0 is "absent"."""
_LEAF_SAMPLE: Final = 3_000
"""A quantile of a leaf is taken of at most this many of its rows."""
_CUT_SAMPLE: Final = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSettings:
    """How trees are grown.

    Attributes:
        tree_count: How many.
        leaf_count: Leaves a tree, at most.
        learning_frac: How far each tree goes.
        least_rows: Rows a leaf, at least.
        row_frac: Rows drawn for each tree.
        feature_frac: Features drawn for each tree.
    """

    tree_count: int = 160
    leaf_count: int = 12
    learning_frac: float = 0.08
    least_rows: int = 150
    row_frac: float = 0.5
    feature_frac: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trees:
    """K trees of at most W nodes with M outputs: the levels, then the mean.

    Attributes:
        cut_level: F x 62 upper ends of the bins, rising; infinite where there are fewer.
        feature_index: K x W features that a node splits, -1 for a leaf.
        split_index: K x W bins up to which (included) a row goes left.
        left_index: K x W nodes on the left; the right one follows it.
        leaf_level: K x W x M corrections.
        base_level: M values before the first tree.
    """

    cut_level: NDArray[np.float32]
    feature_index: NDArray[np.int16]
    split_index: Bins
    left_index: NDArray[np.int16]
    leaf_level: NDArray[np.float32]
    base_level: Floats

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return its arrays by name, with `tree_` before it."""
        return {f"tree_{name}": getattr(self, name) for name in self.__slots__}


def grow_trees(
    x: NDArray[np.float32],
    observed: Floats,
    *,
    level: Floats,
    settings: TreeSettings,
    seed: int,
) -> Trees:
    """Return trees fitted to R rows of F features.

    Args:
        x: R x F features, NaN where absent.
        observed: R outcomes.
        level: Q quantile levels, the median in the middle.
        settings: How.
        seed: Of the draws of rows and features.
    """
    draw = np.random.default_rng(seed)
    rows, features = x.shape
    cut = _cuts(x)
    binned = np.empty((rows, features), dtype=np.uint8)
    _to_bins(x, cut, binned)
    base = np.concatenate((np.quantile(observed, level), [observed.mean()]))
    now = np.repeat(base[None, :], rows, axis=0)
    nodes = 2 * settings.leaf_count - 1
    trees, outputs = settings.tree_count, len(base)
    feature_index = np.full((trees, nodes), -1, dtype=np.int16)
    split_index = np.zeros((trees, nodes), dtype=np.uint8)
    left_index = np.zeros((trees, nodes), dtype=np.int16)
    leaf = np.zeros((trees, nodes, outputs), dtype=np.float32)
    turns = _turns(level)
    gradient = np.empty(rows)
    for tree in range(trees):
        drawn = np.sort(draw.choice(rows, max(1, int(rows * settings.row_frac)), replace=False))
        kept = max(1, round(features * settings.feature_frac))
        columns = np.sort(draw.choice(features, kept, replace=False))
        at = turns[tree % len(turns)]
        _pinball_gradient(observed, now, at, float(level[at]), gradient)
        _grow_one(
            binned,
            gradient,
            drawn,
            columns,
            settings.leaf_count,
            settings.least_rows,
            settings.learning_frac,
            observed,
            now,
            level,
            feature_index[tree],
            split_index[tree],
            left_index[tree],
            leaf[tree],
        )
        _add_tree(binned, feature_index[tree], split_index[tree], left_index[tree], leaf[tree], now)
    return Trees(
        cut_level=cut,
        feature_index=feature_index,
        split_index=split_index,
        left_index=left_index,
        leaf_level=leaf,
        base_level=base,
    )


def ask_trees(trees: Trees, x: NDArray[np.float32]) -> Floats:
    """Return R x M outputs for R rows of features: the levels, not yet sorted, then the mean."""
    binned = np.empty(x.shape, dtype=np.uint8)
    _to_bins(x, trees.cut_level, binned)
    now = np.repeat(trees.base_level[None, :], len(x), axis=0)
    _add_all(binned, trees.feature_index, trees.split_index, trees.left_index, trees.leaf_level, now)
    return now


def _cuts(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the upper ends of each feature's bins: its quantiles, or its values where they are few."""
    sample = x[:: max(1, len(x) // _CUT_SAMPLE)]
    found = np.full((x.shape[1], MOST_BINS - 2), np.inf, dtype=np.float32)
    for column in range(x.shape[1]):
        held = sample[:, column]
        held = held[np.isfinite(held)]
        if not len(held):
            continue
        values = np.unique(held)
        if len(values) > MOST_BINS - 2:
            values = np.unique(np.quantile(held, np.linspace(0, 1, MOST_BINS - 1)[1:]).astype(np.float32))
        found[column, : len(values) - 1] = values[:-1]  # the last bin is open
    return found


def _turns(level: Floats) -> list[int]:
    """Return which level's gradient grows which tree: the median, then one below, the median, then one above."""
    middle = len(level) // 2
    low, high = middle // 2, len(level) - 1 - middle // 2
    return [middle, low, middle, high]


@kernel
def _to_bins(x: NDArray[np.float32], cut: NDArray[np.float32], out: Bins) -> None:
    """Fill the bin of each value: 0 when absent, else 1 and the number of cuts below it."""
    rows, features = x.shape
    for row in range(rows):
        for column in range(features):
            value = x[row, column]
            if np.isnan(value):
                out[row, column] = 0
                continue
            low, high = 0, cut.shape[1]
            while low < high:
                middle = (low + high) // 2
                if cut[column, middle] < value:
                    low = middle + 1
                else:
                    high = middle
            out[row, column] = low + 1


@kernel
def _pinball_gradient(observed: Floats, now: Floats, at: int, level: float, out: Floats) -> None:
    for row in range(observed.shape[0]):
        gap = observed[row] - now[row, at]
        out[row] = level if gap > 0.0 else (level - 1.0 if gap < 0.0 else 0.0)


@kernel
def _fill_histogram(binned: Bins, gradient: Floats, row: Ints, columns: Ints, out: Floats) -> None:
    """Fill, for each column and bin, the sum of gradients and the number of rows."""
    out[:] = 0.0
    for r in row:
        pull = gradient[r]
        for k in range(columns.shape[0]):
            bin_ = binned[r, columns[k]]
            out[k, bin_, 0] += pull
            out[k, bin_, 1] += 1.0


@kernel
def _best_split(histogram: Floats, least_rows: int, out: Floats) -> None:
    """Fill gain, column and bin of the split that takes the most from the squared gradient."""
    out[0], out[1], out[2] = 0.0, -1.0, 0.0
    pull, count = 0.0, 0.0
    for bin_ in range(histogram.shape[1]):
        pull += histogram[0, bin_, 0]
        count += histogram[0, bin_, 1]
    for k in range(histogram.shape[0]):
        left, lefts = 0.0, 0.0
        for bin_ in range(histogram.shape[1] - 1):
            if histogram[k, bin_, 1] == 0.0:
                continue
            left += histogram[k, bin_, 0]
            lefts += histogram[k, bin_, 1]
            rights = count - lefts
            if rights < least_rows:
                break
            if lefts < least_rows:
                continue
            right = pull - left
            gain = left * left / lefts + right * right / rights - pull * pull / count
            if gain > out[0]:
                out[0], out[1], out[2] = gain, k, bin_


@kernel
def _select(x: Floats, count: int, place: int) -> float:
    """Return the value that would stand at `place` if the first `count` were sorted; they change order (Hoare)."""
    low, high = 0, count - 1
    while low < high:
        pivot = x[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while x[i] < pivot:
                i += 1
            while x[j] > pivot:
                j -= 1
            if i <= j:
                x[i], x[j] = x[j], x[i]
                i += 1
                j -= 1
        if place <= j:
            high = j
        elif place >= i:
            low = i
        else:
            break
    return float(x[place])


@kernel
def _fill_leaf(
    row: Ints, observed: Floats, now: Floats, level: Floats, learning_frac: float, out: NDArray[np.float32]
) -> None:
    count = row.shape[0]
    stride = max(1, count // _LEAF_SAMPLE)
    left = np.empty(count // stride + 1)
    for at in range(level.shape[0]):
        size = 0
        for k in range(0, count, stride):
            left[size] = observed[row[k]] - now[row[k], at]
            size += 1
        place = min(size - 1, int(level[at] * size))
        out[at] = learning_frac * _select(left, size, place)
    total = 0.0
    for r in row:
        total += observed[r] - now[r, level.shape[0]]
    out[level.shape[0]] = learning_frac * total / count


@kernel
def _grow_one(
    binned: Bins,
    gradient: Floats,
    row: Ints,
    columns: Ints,
    leaf_count: int,
    least_rows: int,
    learning_frac: float,
    observed: Floats,
    now: Floats,
    level: Floats,
    feature_index: NDArray[np.int16],
    split_index: Bins,
    left_index: NDArray[np.int16],
    leaf: NDArray[np.float32],
) -> None:
    """Grow one tree, always at the leaf that gains most; `row` is put in the order of the leaves."""
    nodes = 2 * leaf_count - 1
    first, end = np.zeros(nodes, dtype=np.int64), np.zeros(nodes, dtype=np.int64)
    histogram = np.empty((nodes, columns.shape[0], MOST_BINS, 2))
    best = np.zeros((nodes, 3))
    end[0] = row.shape[0]
    _fill_histogram(binned, gradient, row, columns, histogram[0])
    _best_split(histogram[0], least_rows, best[0])
    aside = np.empty(row.shape[0], dtype=np.int64)
    size = 1
    while size + 1 < nodes:
        node = 0
        for other in range(1, size):
            if best[other, 0] > best[node, 0]:
                node = other
        if best[node, 0] <= 0.0:
            break
        column, bin_ = columns[int(best[node, 1])], int(best[node, 2])
        middle, moved = first[node], 0
        for k in range(first[node], end[node]):
            r = row[k]
            if binned[r, column] <= bin_:
                row[middle] = r
                middle += 1
            else:
                aside[moved] = r
                moved += 1
        for k in range(moved):
            row[middle + k] = aside[k]
        left, right = size, size + 1
        first[left], end[left] = first[node], middle
        first[right], end[right] = middle, end[node]
        small, large = (left, right) if middle - first[node] <= moved else (right, left)
        _fill_histogram(binned, gradient, row[first[small] : end[small]], columns, histogram[small])
        histogram[large] = histogram[node] - histogram[small]
        _best_split(histogram[left], least_rows, best[left])
        _best_split(histogram[right], least_rows, best[right])
        feature_index[node], split_index[node], left_index[node] = column, bin_, left
        best[node, 0] = 0.0
        size += 2
    for node in range(size):
        if feature_index[node] < 0:
            _fill_leaf(row[first[node] : end[node]], observed, now, level, learning_frac, leaf[node])


@kernel
def _add_tree(
    binned: Bins,
    feature_index: NDArray[np.int16],
    split_index: Bins,
    left_index: NDArray[np.int16],
    leaf: NDArray[np.float32],
    now: Floats,
) -> None:
    """Add a tree's corrections to every row."""
    for row in range(binned.shape[0]):
        node = 0
        while feature_index[node] >= 0:
            goes_left = binned[row, feature_index[node]] <= split_index[node]
            node = left_index[node] if goes_left else left_index[node] + 1
        for at in range(now.shape[1]):
            now[row, at] += leaf[node, at]


@kernel
def _add_all(
    binned: Bins,
    feature_index: NDArray[np.int16],
    split_index: Bins,
    left_index: NDArray[np.int16],
    leaf: NDArray[np.float32],
    now: Floats,
) -> None:
    """Add the corrections of all trees, tree by tree: a tree then stays in the cache for all rows."""
    for tree in range(feature_index.shape[0]):
        _add_tree(binned, feature_index[tree], split_index[tree], left_index[tree], leaf[tree], now)
