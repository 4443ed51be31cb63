"""A model of sites taken apart for use: its arrays in the order of a panel's names, and put together again after learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.forecast.protocol import Model, Panel, packed
from shoal.forecast.sites_adapt import AdaptState, Experts, calibrated, mixed, state_rows
from shoal.forecast.sites_global import trees_of
from shoal.forecast.sites_local import LocalState, unknown_site
from shoal.forecast.sites_prior import SizePrior, expected_kw
from shoal.forecast.sites_trees import Trees

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mind:
    """What a model knows of the N sites of a panel.

    Attributes:
        row: N rows of the model, -1 for a site that it never saw.
        prior_kw: N mean magnitudes expected beforehand.
        local: The model a site; None when the method has none.
        trees: The model for all; None when the method has none.
        state: Trust and widths.
        is_nonnegative: Whether forecasts are held above zero.
    """

    row: Ints
    prior_kw: Floats
    local: LocalState | None
    trees: Trees | None
    state: AdaptState
    is_nonnegative: bool

    def told(self, experts: Experts, block_index: Ints) -> Floats:
        """Return the calibrated mix of what the experts say: N x T x (Q + 1)."""
        mix = mixed(self.state, experts)
        return calibrated(self.state, mix, block_index, is_nonnegative=self.is_nonnegative)


def mind_of(model: Model, panel: Panel, *, is_naive: bool) -> Mind:
    """Return what the model knows of a panel's sites; a site is known by its name."""
    if model.names == panel.names:
        row = np.arange(len(panel.names))
    else:
        place = {name: at for at, name in enumerate(model.names)}
        row = np.array([place.get(name, -1) for name in panel.names], dtype=np.int64)
    prior = SizePrior(
        typical_kw=model.array("prior_typical_kw"), of_nameplate_frac=model.array("prior_of_nameplate_frac")
    )
    held = AdaptState(**{name: model.array(f"adapt_{name}") for name in AdaptState.__slots__})
    local = None
    if "local_weight" in model.arrays:
        local = _local_rows(model, row, is_naive=is_naive)
    return Mind(
        row=row,
        prior_kw=expected_kw(prior, panel),
        local=local,
        trees=trees_of(model) if "tree_leaf_level" in model.arrays else None,
        state=state_rows(held, row),
        is_nonnegative=bool(model.settings["is_nonnegative"]),
    )


def replace_state(model: Model, names: tuple[str, ...], mind: Mind, state: AdaptState, to_ns: int) -> Model:
    """Return the model, not sealed, with what the sites of a panel taught; sites new to it are added."""
    new = mind.row < 0
    row = np.where(new, len(model.names) + np.cumsum(new) - 1, mind.row)
    arrays: dict[str, NDArray[Any]] = {
        "adapt_common_loss_scale": state.common_loss_scale,
        "adapt_common_stretch_scale": state.common_stretch_scale,
    }
    for name in ("loss_scale", "stretch_scale", "trained_days"):
        arrays[f"adapt_{name}"] = _put(model.array(f"adapt_{name}"), row, getattr(state, name), new)
    if mind.local is not None:
        for name in ("weight", "left_over_scale", "moment_scale"):
            arrays[f"local_{name}"] = _put(model.array(f"local_{name}"), row, getattr(mind.local, name), new)
    added = tuple(name for name, is_new in zip(names, new.tolist(), strict=True) if is_new)
    return msgspec.structs.replace(
        model, names=model.names + added, arrays=model.arrays | packed(arrays), to_ns=to_ns, version=""
    )


def _put(held: Floats, row: Ints, value: Floats, new: NDArray[np.bool_]) -> Floats:
    out = np.concatenate((held, np.zeros((int(new.sum()), *held.shape[1:]))))
    out[row] = value
    return out


def _local_rows(model: Model, row: Ints, *, is_naive: bool) -> LocalState:
    held = LocalState(**{name: model.array(f"local_{name}") for name in LocalState.__slots__})
    if not (row < 0).any():
        at = slice(None) if len(row) == len(held.weight) and np.array_equal(row, np.arange(len(row))) else row
        weight, left_over_scale, moment_scale = (
            held.weight[at],
            held.left_over_scale[at],
            held.moment_scale[at],
        )
    else:
        usual = unknown_site(held, np.array(model.quantile_level), is_naive=is_naive)
        seen, at = row >= 0, np.maximum(row, 0)
        parts = []
        for array, unknown in zip((held.weight, held.left_over_scale, held.moment_scale), usual, strict=True):
            shape = (len(row), *(1,) * (array.ndim - 1))
            parts.append(np.where(seen.reshape(shape), array[at], unknown) if len(array) else unknown[None])
        weight, left_over_scale, moment_scale = parts
    return LocalState(
        weight=weight,
        left_over_scale=left_over_scale,
        moment_scale=moment_scale,
        input_level=held.input_level,
        input_scale=held.input_scale,
    )
