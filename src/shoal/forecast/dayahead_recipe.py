"""The default experts of the day-ahead forecast: one recipe for every market.

Chosen on the year before the last two of five markets in Europe and America, the last two being kept for the score. What
counts is that experts err differently: windows from eight weeks to four years; linear, like days, networks and trees; whole
days and single hours; three ways to scale prices. Long windows alone are the most accurate; the short ones repair them when
a market changes. Trees, which see hours instead of days, brought the most to what there was before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from shoal.forecast.combine import CombineRecipe
from shoal.forecast.dayahead_experts import (
    TREES,
    WEIGHTS,
    Expert,
    KernelExpert,
    LearExpert,
    NetworkExpert,
    TreeExpert,
)
from shoal.forecast.dayahead_features import InputWeights
from shoal.forecast.dayahead_kernel import KernelRecipe
from shoal.forecast.network import NetworkRecipe

_SHORT: Final = KernelRecipe(half_life_days=60.0)
_SKIPPING: Final = NetworkRecipe(is_skipping=True)
_FORECASTS_FIRST: Final = InputWeights(
    price_scale=(0.4, 0.2, 0.2, 0.3),
    exogenous_scale=(3.0, 0.3, 0.3),
    level_scale=0.3,
    weekday_scale=0.2,
    season_scale=0.5,
)

_LIKE_EXOGENOUS: Final = KernelExpert(name="like-days-exogenous", scaling="local", weights=_FORECASTS_FIRST)

EXPERTS: Final[tuple[Expert, ...]] = (
    KernelExpert(name="like-days-asinh"),
    KernelExpert(name="like-days-local", scaling="local"),
    KernelExpert(name="like-days-plain", scaling="plain"),
    _LIKE_EXOGENOUS,
    KernelExpert(name="like-days-84-asinh", window_days=84, kernel=_SHORT, fit_every_days=7),
    KernelExpert(name="like-days-84-local", window_days=84, scaling="local", kernel=_SHORT, fit_every_days=7),
    LearExpert(name="lear-56", window_days=56),
    LearExpert(name="lear-84", window_days=84),
    NetworkExpert(name="network-local", seed=1, scaling="local", weights=WEIGHTS, network=_SKIPPING),
    NetworkExpert(name="network-asinh", seed=2, weights=WEIGHTS, network=_SKIPPING),
    NetworkExpert(name="network-deep", seed=5),
    NetworkExpert(name="network-plain", seed=8, scaling="plain", weights=WEIGHTS),
    TreeExpert(name="trees"),
    TreeExpert(
        name="trees-182",
        window_days=182,
        trees=replace(TREES, tree_count=300, leaf_count=12),
        grow_every_days=14,
    ),
    TreeExpert(name="trees-like-days", kernel=_LIKE_EXOGENOUS, trees=replace(TREES, tree_count=300)),
)

COMBINING: Final = CombineRecipe(pool_frac=0.4, neighbour_scale=2.0, fitted_frac=0.5, correction_frac=0.02)
