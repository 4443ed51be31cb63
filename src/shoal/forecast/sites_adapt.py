"""What a forecast of sites learns day by day without being trained again: whom to trust, and how wide to be.

Two experts (a model a site, one model for all) are mixed by the losses that each mix would have had, recent days
weighing more; a site's own losses are added to those of all. Intervals are stretched or shrunk, for each level and part
of the day, until as many outcomes lie below as should: Gibbs and Candes, "Adaptive conformal inference under
distribution shift", NeurIPS 34 (2021), with one track common to all sites and one of the site's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.forecast.sites_local import BLOCKS

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

Experts: TypeAlias = tuple[Floats, ...]
"""What the one or two experts say of N sites, T steps: each N x T x (Q + 1), quantiles and the mean."""

SHARES: Final = np.linspace(0.0, 1.0, 9)
"""The mixes that are compared: how much the second expert weighs."""
LEAST_SPREAD_FRAC: Final = 0.1
"""A step whose widest interval is narrower, in units of the site's usual magnitude, says nothing about widths: the sun
is down, or nearly."""
_KEEP_FRAC: Final = 0.95
"""Of what was learned, kept each day."""
_SHARPNESS: Final = 15.0
_COMMON_WEIGHT: Final = 0.5
_COMMON_GAIN: Final = 0.3
_OWN_GAIN: Final = 0.2
_CENTRE_FRAC: Final = 0.15
"""The median is moved this much slower than the widths: a hasty one costs accuracy."""
_MOST_STRETCH: Final = 2.0
_MOST_SHIFT: Final = 1.5
_POOL_SITES: Final = 4.0
_MATURE_DAYS: Final = 14.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AdaptState:
    """What N sites have taught.

    Attributes:
        loss_scale: N x G kept losses of the mixes, in units of the site's scale.
        common_loss_scale: G means of these over the sites.
        stretch_scale: N x 8 x Q logarithms of widths; for the median a shift in units of the inner half's width.
        common_stretch_scale: 8 x Q, the same for all.
        trained_days: N days that the first expert was trained on; it is believed as they grow.
    """

    loss_scale: Floats
    common_loss_scale: Floats
    stretch_scale: Floats
    common_stretch_scale: Floats
    trained_days: Floats

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return its arrays by name, with `adapt_` before it."""
        return {f"adapt_{name}": getattr(self, name) for name in self.__slots__}


def fresh_state(sites: int, level_count: int, trained_days: Floats) -> AdaptState:
    """Return the state before the first day."""
    return AdaptState(
        loss_scale=np.zeros((sites, len(SHARES))),
        common_loss_scale=np.zeros(len(SHARES)),
        stretch_scale=np.zeros((sites, BLOCKS, level_count)),
        common_stretch_scale=np.zeros((BLOCKS, level_count)),
        trained_days=trained_days,
    )


def state_rows(state: AdaptState, row: Ints) -> AdaptState:
    """Return the state of some sites; row -1 is one that was never seen."""
    seen = row >= 0
    at = np.maximum(row, 0)
    if not len(state.loss_scale):
        return AdaptState(
            loss_scale=np.zeros((len(row), len(SHARES))),
            common_loss_scale=state.common_loss_scale,
            stretch_scale=np.zeros((len(row), *state.common_stretch_scale.shape)),
            common_stretch_scale=state.common_stretch_scale,
            trained_days=np.zeros(len(row)),
        )
    return AdaptState(
        loss_scale=np.where(seen[:, None], state.loss_scale[at], 0.0),
        common_loss_scale=state.common_loss_scale,
        stretch_scale=np.where(seen[:, None, None], state.stretch_scale[at], 0.0),
        common_stretch_scale=state.common_stretch_scale,
        trained_days=np.where(seen, state.trained_days[at], 0.0),
    )


def second_share(state: AdaptState) -> Floats:
    """Return, for each site, how much the second expert weighs; an untrained first one weighs nothing."""
    total = state.loss_scale + _COMMON_WEIGHT * state.common_loss_scale
    trust = np.exp(-_SHARPNESS * (total - total.min(axis=1, keepdims=True)))
    share = (trust * SHARES).sum(axis=1) / trust.sum(axis=1)
    mature = state.trained_days / (state.trained_days + _MATURE_DAYS)
    return np.asarray(1.0 - (1.0 - share) * mature)


def mixed(state: AdaptState, experts: Experts) -> Floats:
    """Return N x T x (Q + 1), the mix of the experts."""
    if len(experts) == 1:
        return experts[0]
    share = second_share(state)[:, None, None]
    return np.asarray((1.0 - share) * experts[0] + share * experts[1])


def calibrated(state: AdaptState, value: Floats, block_index: Ints, *, is_nonnegative: bool) -> Floats:
    """Return N x T x (Q + 1) with their quantiles stretched, in order, and not below zero where that cannot be."""
    levels = value.shape[2] - 1
    middle = levels // 2
    stretch = state.common_stretch_scale[block_index] + state.stretch_scale[:, block_index]
    quantile = np.sort(value[:, :, :levels], axis=2)
    width = quantile[:, :, middle + 1] - quantile[:, :, middle - 1]
    away = quantile - quantile[:, :, middle : middle + 1]
    shift = np.clip(stretch[:, :, middle], -_MOST_SHIFT, _MOST_SHIFT) * width
    factor = np.exp(np.clip(stretch, -_MOST_STRETCH, _MOST_STRETCH))
    factor[:, :, middle] = 1.0
    out = np.empty_like(value)
    centre = quantile[:, :, middle] + shift
    out[:, :, :levels] = np.sort(centre[:, :, None] + away * factor, axis=2)
    out[:, :, levels] = value[:, :, levels]
    if is_nonnegative:
        np.maximum(out, 0.0, out=out)
    return out


def observe(
    state: AdaptState,
    experts: Experts,
    observed: Floats,
    *,
    scale: Floats,
    block_index: Ints,
    level: Floats,
    is_nonnegative: bool,
) -> AdaptState:
    """Return the state after a day came true.

    Args:
        state: Before it.
        experts: What each said before the day.
        observed: N x T outcomes, NaN where absent.
        scale: N usual magnitudes.
        block_index: T parts of the day.
        level: Q levels.
        is_nonnegative: Whether forecasts are held above zero.
    """
    forecast = calibrated(state, mixed(state, experts), block_index, is_nonnegative=is_nonnegative)
    quantile = forecast[:, :, : len(level)]
    teaches = ~np.isnan(observed) & (
        quantile[:, :, -1] - quantile[:, :, 0] > LEAST_SPREAD_FRAC * scale[:, None]
    )
    middle = len(level) // 2
    towards = np.where(np.arange(len(level)) < middle, 1.0, -1.0)
    pace = np.where(np.arange(len(level)) == middle, _CENTRE_FRAC, 1.0) * towards
    # an outcome on the edge of an interval is inside; one on the median is half below
    side = np.sign(quantile - observed[:, :, None])
    below = np.where(side == 0.0, np.where(towards > 0.0, 0.0, 1.0), side > 0.0)
    below[:, :, middle] = 0.5 + 0.5 * side[:, :, middle]
    off = np.where(teaches[:, :, None], below - level, 0.0)
    which = (block_index[:, None] == np.arange(BLOCKS)).astype(np.float64)
    count = teaches.astype(np.float64) @ which
    total = np.einsum("ntq,tb->nbq", off, which)
    own = np.divide(total, count[:, :, None], out=np.zeros_like(total), where=count[:, :, None] > 0)
    blocks = count.sum(axis=0)
    common = np.divide(
        total.sum(axis=0), blocks[:, None], out=np.zeros(total.shape[1:]), where=blocks[:, None] > 0
    )
    sites = len(observed)
    return AdaptState(
        **_losses(state, experts, observed, scale=scale, level=level),
        stretch_scale=_bounded(state.stretch_scale + _OWN_GAIN * pace * own),
        common_stretch_scale=_bounded(
            state.common_stretch_scale + _COMMON_GAIN * sites / (sites + _POOL_SITES) * pace * common
        ),
        trained_days=state.trained_days,
    )


def _losses(
    state: AdaptState,
    experts: Experts,
    observed: Floats,
    *,
    scale: Floats,
    level: Floats,
) -> dict[str, Floats]:
    if len(experts) == 1:
        return {"loss_scale": state.loss_scale, "common_loss_scale": state.common_loss_scale}
    known = ~np.isnan(observed)
    count = known.sum(axis=1)
    middle = len(level) // 2
    inner = slice(middle - 1, middle + 2)  # of the outer levels widths are set elsewhere
    day = np.zeros_like(state.loss_scale)
    for at, share in enumerate(SHARES.tolist()):
        quantile = (1.0 - share) * experts[0][:, :, inner] + share * experts[1][:, :, inner]
        gap = np.where(known[:, :, None], observed[:, :, None] - quantile, 0.0)
        pinball = np.maximum(level[inner] * gap, (level[inner] - 1.0) * gap).mean(axis=2).sum(axis=1)
        day[:, at] = np.divide(pinball, count * scale, out=np.zeros(len(count)), where=count > 0)
    seen = count > 0
    kept = np.where(seen[:, None], _KEEP_FRAC * state.loss_scale + day, state.loss_scale)
    common = day[seen].mean(axis=0) if seen.any() else np.zeros(len(SHARES))
    return {"loss_scale": kept, "common_loss_scale": _KEEP_FRAC * state.common_loss_scale + common}


def _bounded(stretch: Floats) -> Floats:
    return np.asarray(np.clip(stretch, -_MOST_STRETCH, _MOST_STRETCH))
