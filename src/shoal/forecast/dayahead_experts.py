"""The experts of the day-ahead forecast: each carries what it learned from day to day and says 24 prices.

Five kinds: a lasso on a window of days, refitted every day; small networks, trained anew now and then and tuned every day;
kernel ridge on like days; boosted trees on hours; yesterday's or last week's prices. When an expert is trained anew follows
from the date and its seed alone, so a run that starts later does the same work on the same day.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias, assert_never

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.forecast.dayahead_features import (
    HOURS,
    Inputs,
    InputWeights,
    MarketDays,
    Scaling,
    first_row_of,
)
from shoal.forecast.dayahead_hours import hour_inputs, hours_around
from shoal.forecast.dayahead_kernel import (
    KernelModel,
    KernelRecipe,
    fit_kernel,
    left_out_errors,
    predict_kernel,
)
from shoal.forecast.dayahead_scaled import Scaled, scale_window
from shoal.forecast.lear import Lasso, PathRecipe, fit_lasso, predict_lasso
from shoal.forecast.network import (
    Network,
    NetworkRecipe,
    predict_network,
    train_network,
    tune_network,
)
from shoal.forecast.sites_trees import Trees, TreeSettings, ask_trees, grow_trees

_WIDEST: Final = 5.0
"""Standardised inputs of networks are cut here."""
_TUNED_DAYS: Final = 364
_NO_INPUTS: Final = Inputs(price_lag_days=(), exogenous_lag_days=(), is_seasonal=False)


WEIGHTS: Final = InputWeights(
    price_scale=(1.0, 0.5, 0.5, 0.7),
    exogenous_scale=(2.0, 0.7, 0.4),
    level_scale=0.3,
    weekday_scale=0.2,
    season_scale=0.5,
)
TREES: Final = TreeSettings(
    tree_count=400, leaf_count=16, learning_frac=0.05, least_rows=20, row_frac=0.5, feature_frac=0.4
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearExpert:
    """A lasso on the newest `window_days`."""

    name: str
    window_days: int
    scaling: Scaling = "asinh"
    inputs: Inputs = field(default_factory=lambda: Inputs(is_seasonal=False))
    path: PathRecipe = field(default_factory=PathRecipe)
    path_every_days: int = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkExpert:
    """A few networks alike but for their seeds; the forecast is the mean of their scaled prices."""

    name: str
    window_days: int = 1456
    scaling: Scaling = "asinh"
    inputs: Inputs = field(default_factory=Inputs)
    weights: InputWeights | None = None
    network: NetworkRecipe = field(default_factory=NetworkRecipe)
    half_life_days: float = 1000.0
    tune_half_life_days: float = 60.0
    train_every_days: int = 91
    network_count: int = 2
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelExpert:
    """Kernel ridge on the newest `window_days`; the weights say how much a group of inputs adds to distance."""

    name: str
    window_days: int = 1092
    scaling: Scaling = "asinh"
    inputs: Inputs = field(default_factory=Inputs)
    kernel: KernelRecipe = field(default_factory=KernelRecipe)
    weights: InputWeights = WEIGHTS
    fit_every_days: int = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeExpert:
    """Boosted trees on the hours of the newest `window_days`, of prices or of what kernel ridge leaves of them.

    Attributes:
        name: The expert's.
        window_days: Days that trees are grown on; of a kernel, its own window counts.
        scaling: Of prices; of a kernel, its own counts.
        kernel: Kernel ridge whose errors the trees learn: those that it makes on each day without having seen it.
        trees: How trees are grown.
        grow_every_days: Days between two growths.
        seed: Of the draws of rows and inputs.
    """

    name: str
    window_days: int = 1092
    scaling: Scaling = "local"
    kernel: KernelExpert | None = None
    trees: TreeSettings = field(default_factory=lambda: TREES)
    grow_every_days: int = 28
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NaiveExpert:
    """The prices of `lag_days` before."""

    name: str
    lag_days: int


Expert: TypeAlias = LearExpert | NetworkExpert | KernelExpert | TreeExpert | NaiveExpert


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LearState:
    """The newest fit with its scaling."""

    scaled: Scaled
    model: Lasso


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetworkState:
    """Networks with the scaling that they were trained in."""

    scaled: Scaled
    networks: tuple[Network, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KernelState:
    """A fit with its scaling; `first_new_at` is the ordinal of the first day after it."""

    scaled: Scaled
    model: KernelModel
    first_new_at: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TreeState:
    """Trees with the scaling that they were grown in, and the kernel below them if there is one."""

    scaled: Scaled
    trees: Trees
    kernel: KernelState | None


ExpertState: TypeAlias = LearState | NetworkState | KernelState | TreeState | None


def train(expert: Expert, state: ExpertState, days: MarketDays) -> ExpertState:
    """Return what the expert has learned from the known days; the exogenous row of the day to forecast is not read.

    Args:
        expert: The expert.
        state: What it carried from the day before; None at the start.
        days: All known days, at least 8.
    """
    match expert:
        case LearExpert():
            return _train_lear(expert, state if isinstance(state, LearState) else None, days)
        case NetworkExpert():
            due = (days.target_ordinal + 11 * expert.seed) % expert.train_every_days == 0
            return (
                _tune(expert, state, days)
                if isinstance(state, NetworkState) and not due
                else _train_networks(expert, days)
            )
        case KernelExpert():
            due = days.target_ordinal % expert.fit_every_days == 0
            return state if isinstance(state, KernelState) and not due else _fit_like_days(expert, days)
        case TreeExpert():
            due = days.target_ordinal % expert.grow_every_days == 0
            return state if isinstance(state, TreeState) and not due else _grow(expert, days)
        case NaiveExpert():
            return None
        case _:
            assert_never(expert)


def predict(expert: Expert, state: ExpertState, days: MarketDays) -> NDArray[np.float64]:
    """Return 24 prices of the day to forecast.

    Raises:
        InvalidInputError: when the state is not the expert's.
    """
    if isinstance(expert, NaiveExpert):
        return np.array(days.price_per_mwh[days.count - expert.lag_days])
    if isinstance(expert, LearExpert) and isinstance(state, LearState):
        x = state.scaled.scaler.inputs(days, expert.inputs, days.count, days.count)
        return state.scaled.prices(days, predict_lasso(state.model, x)[0])
    if isinstance(expert, NetworkExpert) and isinstance(state, NetworkState):
        inputs = _network_inputs(expert, state.scaled, days, days.count, days.count)
        said = [predict_network(expert.network, one, inputs)[0] for one in state.networks]
        return state.scaled.prices(days, np.mean(said, axis=0))
    if isinstance(expert, KernelExpert) and isinstance(state, KernelState):
        return state.scaled.prices(days, _like_days(expert, state, days))
    if isinstance(expert, TreeExpert) and isinstance(state, TreeState):
        return _ask(expert, state, days)
    raise InvalidInputError(field="state", value=type(state).__name__, fix=f"train {expert.name!r} first")


def _train_lear(expert: LearExpert, state: LearState | None, days: MarketDays) -> LearState:
    first = first_row_of(days, expert.window_days)
    scaled, x, y = scale_window(days, expert.scaling, expert.inputs, first)
    # Windows take turns, so that no day is much dearer than the others.
    due = (days.target_ordinal + expert.window_days // 28) % expert.path_every_days == 0
    warm = None if state is None or due else state.model
    model = fit_lasso(x, y, recipe=expert.path, warm=warm)
    return LearState(scaled=replace(scaled, y_level=np.zeros(HOURS), y_scale=1.0), model=model)


def _train_networks(expert: NetworkExpert, days: MarketDays) -> NetworkState:
    first = first_row_of(days, expert.window_days)
    scaled, x, _ = scale_window(days, expert.scaling, expert.inputs, first)
    if expert.weights is not None:
        factors = expert.weights.factors(expert.inputs, expert.scaling, days.exogenous_level.shape[2])
        scaled = replace(scaled, x_scale=scaled.x_scale * factors * np.sqrt(len(factors)))
    inputs = _cut(scaled, x)
    outputs = scaled.outputs(days, first)
    weight = _fading(len(outputs), expert.half_life_days)
    networks = tuple(
        train_network(expert.network, inputs, outputs, weight, seed=_seed_of(expert, days, number))
        for number in range(expert.network_count)
    )
    return NetworkState(scaled=scaled, networks=networks)


def _tune(expert: NetworkExpert, state: NetworkState, days: MarketDays) -> NetworkState:
    first = first_row_of(days, _TUNED_DAYS)
    inputs = _network_inputs(expert, state.scaled, days, first, days.count - 1)
    outputs = state.scaled.outputs(days, first)
    weight = _fading(len(outputs), expert.tune_half_life_days)
    networks = tuple(
        tune_network(expert.network, one, inputs, outputs, weight, seed=_seed_of(expert, days, number))
        for number, one in enumerate(state.networks)
    )
    return NetworkState(scaled=state.scaled, networks=networks)


def _fading(count: int, half_life_days: float) -> NDArray[np.float32]:
    return (0.5 ** (np.arange(count, 0, -1) / half_life_days)).astype(np.float32)


def _seed_of(expert: NetworkExpert, days: MarketDays, number: int) -> int:
    return (expert.seed * 97 + number) * 10_000_000 + days.target_ordinal


def _cut(scaled: Scaled, x: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.clip((x - scaled.x_level) * scaled.x_scale, -_WIDEST, _WIDEST).astype(np.float32)


def _network_inputs(
    expert: NetworkExpert, scaled: Scaled, days: MarketDays, first_row: int, last_row: int
) -> NDArray[np.float32]:
    return _cut(scaled, scaled.scaler.inputs(days, expert.inputs, first_row, last_row))


def _fit_like_days(expert: KernelExpert, days: MarketDays) -> KernelState:
    first = first_row_of(days, expert.window_days)
    scaled, x, _ = scale_window(days, expert.scaling, expert.inputs, first)
    factors = expert.weights.factors(expert.inputs, expert.scaling, days.exogenous_level.shape[2])
    scaled = replace(scaled, x_scale=scaled.x_scale * factors)
    model = fit_kernel(
        expert.kernel,
        ((x - scaled.x_level) * scaled.x_scale).astype(np.float32),
        scaled.outputs(days, first),
        np.arange(len(x), 0, -1, dtype=np.float32),
    )
    return KernelState(scaled=scaled, model=model, first_new_at=days.target_ordinal)


def _like_days(expert: KernelExpert, state: KernelState, days: MarketDays) -> NDArray[np.float64]:
    """Return 24 standardised prices of the day to forecast."""
    first_new = state.first_new_at - days.first_day.toordinal()
    inputs = _kernel_inputs(expert, state.scaled, days, first_new, days.count)
    added = state.scaled.outputs(days, first_new)
    return predict_kernel(expert.kernel, state.model, inputs[:-1], added, inputs[-1:])


def _grow(expert: TreeExpert, days: MarketDays) -> TreeState:
    if expert.kernel is None:
        first = first_row_of(days, expert.window_days)
        scaled, _, _ = scale_window(days, expert.scaling, _NO_INPUTS, first)
        scaled = replace(scaled, y_level=np.zeros(HOURS), y_scale=1.0)
        kernel, outcome = None, scaled.scaler.outputs(days, first, days.count - 1)
        x = hour_inputs(scaled.scaler, days, first, days.count - 1)
    else:
        kernel = _fit_like_days(expert.kernel, days)
        scaled, first = kernel.scaled, days.count - len(kernel.model.x)
        missed = left_out_errors(kernel.model)
        blind = scaled.level_of(kernel.model.y - missed)
        outcome = np.asarray(missed * scaled.y_scale, dtype=np.float64)
        x = np.concatenate(
            [hour_inputs(scaled.scaler, days, first, days.count - 1), hours_around(blind)], axis=2
        )
    trees = grow_trees(
        np.ascontiguousarray(x.reshape(-1, x.shape[2])),
        outcome.reshape(-1),
        level=np.array([0.5]),
        settings=expert.trees,
        seed=expert.seed,
    )
    return TreeState(scaled=scaled, trees=trees, kernel=kernel)


def _ask(expert: TreeExpert, state: TreeState, days: MarketDays) -> NDArray[np.float64]:
    """Return 24 prices: what the kernel says, if there is one, and what the trees add."""
    scaled = state.scaled
    x = hour_inputs(scaled.scaler, days, days.count, days.count)[0]
    below = np.zeros(HOURS)
    if expert.kernel is not None and state.kernel is not None:
        below = scaled.bounded(scaled.level_of(_like_days(expert.kernel, state.kernel, days)))
        x = np.concatenate([x, hours_around(below[None])[0]], axis=1)
    added = ask_trees(state.trees, np.ascontiguousarray(x))[:, 0]
    return scaled.scaler.prices(days, scaled.bounded(below + added))


def _kernel_inputs(
    expert: KernelExpert, scaled: Scaled, days: MarketDays, first_row: int, last_row: int
) -> NDArray[np.float32]:
    x = scaled.scaler.inputs(days, expert.inputs, first_row, last_row)
    return ((x - scaled.x_level) * scaled.x_scale).astype(np.float32)
