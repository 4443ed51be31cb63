"""What the prices of the next day and a half are expected to be, given how they have been up to this very interval.

The idea: in a market of short intervals what will be earned hangs upon the next few hours, and those upon how far prices
stand from what is usual at this time of day. How far they were a moment, an hour and a day ago are the features of a
ridge regression for each block of time ahead (a direct forecast for each horizon, after Marcellino, Stock and Watson
2006), on ``asinh(price / scale)`` as Uniejewski, Weron and Ziel (2018) do against spikes. Its coefficients differ by
time of day, shrunk towards those of the whole day. The way back to prices takes the errors that such forecasts made
(the smearing estimate of Duan 1983), so a spike that comes one evening in fifty counts for what it brings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.forecast._outlook_kernel import (
    accumulate,
    block_means,
    follow,
    follow_days,
    foresee,
    gather,
    learn_usual,
)

Floats = NDArray[np.float64]

DAY_H: Final = 24.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlookSettings:
    """What counts how much; chosen on five-minute prices of three regions and hourly ones of a hub.

    Attributes:
        history_days: How far back is learned from.
        scale_days: The days whose median price is where the transformation turns logarithmic.
        usual_days: Mean age of what is usual at a time of day.
        usual_h: How much of the day around it a usual price is taken from.
        memory_h: Over how long each feature averages how far prices are from the usual; 0 is the newest price.
        learn_days: Age at which what is learned from counts half.
        learn_every_h: How far apart the moments lie that are learned from.
        groups_count: Parts of the day with coefficients of their own.
        shrink_frac: How strongly they are drawn towards those of the whole day.
        ridge_frac: How strongly these are drawn towards nothing.
        error_groups_count: Parts of the day with errors of their own.
        error_cut_frac: Where classes of errors meet, as shares of them.
        least_errors_count: Errors without which none are reckoned with.
        block_h: Lengths of the blocks ahead, each up to an hour ahead: (length, until).
    """

    history_days: float = 120.0
    scale_days: float = 28.0
    usual_days: float = 10.0
    usual_h: float = 1.0
    memory_h: tuple[float, ...] = (0.0, 0.5, 1.0, 6.0, 24.0)
    learn_days: float = 30.0
    learn_every_h: float = 0.25
    groups_count: int = 12
    shrink_frac: float = 2.0
    ridge_frac: float = 0.003
    error_groups_count: int = 6
    error_cut_frac: tuple[float, ...] = (0.0, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1.0)
    least_errors_count: int = 40
    block_h: tuple[tuple[float, float], ...] = ((0.5, 8.0), (1.0, 18.0), (2.0, 36.0))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outlook:
    """What was learned of the prices of one point: S slots a day, J blocks ahead, F features, G and E parts of the day.

    Attributes:
        money_scale: The price at which the transformation turns from linear to logarithmic.
        usual: S transformed prices.
        usual_ahead: S x J means of them over the blocks that follow a slot.
        gain: F, what of a surprise goes into each feature.
        state: F features after the last known interval.
        coefficient: G x J x F.
        error_cosh: E x J x B hyperbolic cosines of typical errors.
        error_sinh: Their hyperbolic sines.
        error_chance: B chances of them.
        block_count: J lengths of the blocks, in intervals.
    """

    money_scale: float
    usual: Floats
    usual_ahead: Floats
    gain: Floats
    state: Floats
    coefficient: Floats
    error_cosh: Floats
    error_sinh: Floats
    error_chance: Floats
    block_count: NDArray[np.int64]


def blocks_ahead(interval_h: float, block_h: tuple[tuple[float, float], ...]) -> NDArray[np.int64]:
    """Return the lengths of the blocks in intervals, none shorter than one."""
    lengths: list[int] = []
    reached_h = 0.0
    for length_h, until_h in block_h:
        step = max(1, round(length_h / interval_h))
        while reached_h < until_h - 1e-9:
            lengths.append(step)
            reached_h += step * interval_h
    return np.array(lengths, np.int64)


def fit_outlook(
    *,
    price_per_mwh: Floats,
    slot_number: NDArray[np.int64],
    follows: NDArray[np.bool_],
    slots_count: int,
    settings: OutlookSettings,
) -> Outlook:
    """Learn from all that is known.

    Args:
        price_per_mwh: N prices, ascending in time; at least a day of them.
        slot_number: N numbers of the interval in its local day.
        follows: Whether each interval follows the one before it without a gap.
        slots_count: Intervals of a day.
        settings: What counts how much.
    """
    interval_h = DAY_H / slots_count
    recent = slice(-round(settings.history_days * slots_count), None)
    price, slot = price_per_mwh[recent], np.ascontiguousarray(slot_number[recent])
    scale = max(float(np.median(np.abs(price[-round(settings.scale_days * slots_count) :]))), 1.0)
    z = np.arcsinh(price / scale)
    count, days = len(z), -(-len(z) // slots_count)
    usual = np.empty((days + 1, slots_count))
    width = max(1, round(settings.usual_h / 2.0 / interval_h))
    learn_usual(z, slot, slots_count, float(np.exp(-1.0 / settings.usual_days)), width, usual)
    gain = _gain(np.array(settings.memory_h), interval_h)
    states = np.empty((count, len(gain)))
    follow_days(z, slot, slots_count, usual, gain, states)
    lengths = blocks_ahead(interval_h, settings.block_h)
    starts = np.cumsum(lengths) - lengths
    ahead = int(lengths.sum())
    usual_ahead = np.empty((slots_count, len(lengths)))
    block_means(usual[-1], starts, lengths, usual_ahead)
    every = max(1, round(settings.learn_every_h / interval_h))
    # the first day has nothing usual to be held against
    first = min(count - (days - 1) * slots_count, count)
    origins = np.arange(count - 1 - ahead, first - 1, -every, dtype=np.int64)[::-1].copy()
    targets = np.empty((len(origins), len(lengths)))
    gather(z, slot, follows[recent], slots_count, usual, starts, lengths, origins, targets)
    there = np.isfinite(targets[:, 0])
    origins, targets = origins[there], targets[there]
    features = states[origins]
    age_days = (count - origins) / slots_count
    coefficient = _regress(
        features,
        targets,
        slot[origins] * settings.groups_count // slots_count,
        0.5 ** (age_days / settings.learn_days),
        settings,
    )
    group = slot[origins] * settings.groups_count // slots_count
    sparse = slice(None, None, max(1, round(1.0 / interval_h / every)))
    missed = targets[sparse] - np.einsum("kf,kjf->kj", features[sparse], coefficient[group[sparse]])
    error, chance = _typical_errors(
        missed, slot[origins][sparse] * settings.error_groups_count // slots_count, settings
    )
    return Outlook(
        money_scale=scale,
        usual=usual[-1].copy(),
        usual_ahead=usual_ahead,
        gain=gain,
        state=states[-1].copy(),
        coefficient=coefficient,
        error_cosh=np.cosh(error),
        error_sinh=np.sinh(error),
        error_chance=chance,
        block_count=lengths,
    )


def state_after(outlook: Outlook, price_per_mwh: Floats, slot_number: NDArray[np.int64]) -> Floats:
    """Return the features after some more intervals."""
    state = outlook.state.copy()
    follow(np.arcsinh(price_per_mwh / outlook.money_scale), slot_number, outlook.usual, outlook.gain, state)
    return state


def expected_prices(
    outlook: Outlook,
    state: Floats,
    slot_number: int,
    price_per_mwh: Floats,
    *,
    floor_per_mwh: float,
    cap_per_mwh: float,
) -> Floats:
    """Return the expected price of each block ahead, should the interval now come at each of L prices: L x J.

    Args:
        outlook: What was learned.
        state: The features before the interval.
        slot_number: Its number in the local day.
        price_per_mwh: L prices that it may come at.
        floor_per_mwh: The lowest price that there can be.
        cap_per_mwh: The highest.
    """
    slots = len(outlook.usual)
    group = slot_number * len(outlook.coefficient) // slots
    error_group = slot_number * len(outlook.error_cosh) // slots
    paths = np.empty((len(price_per_mwh), len(outlook.block_count)))
    foresee(
        price_per_mwh,
        slot_number,
        state,
        outlook.gain,
        outlook.usual,
        outlook.usual_ahead,
        outlook.coefficient[group],
        outlook.error_cosh[error_group],
        outlook.error_sinh[error_group],
        outlook.error_chance,
        outlook.money_scale,
        floor_per_mwh,
        cap_per_mwh,
        paths,
    )
    return paths


def _gain(memory_h: Floats, interval_h: float) -> Floats:
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(memory_h > 0.0, 1.0 - np.exp(-interval_h / memory_h), 1.0))


def _regress(
    features: Floats, targets: Floats, group: NDArray[np.int64], weight: Floats, settings: OutlookSettings
) -> Floats:
    """Return coefficients, G x J x F: ridge towards those of the whole day, and these towards nothing."""
    groups, count = settings.groups_count, features.shape[1]
    gram = np.zeros((groups, count, count))
    cross = np.zeros((groups, count, targets.shape[1]))
    accumulate(features, targets, group, weight, gram, cross)
    every, every_cross = gram.sum(axis=0), cross.sum(axis=0)
    plain = settings.ridge_frac * (float(np.trace(every)) / count + 1e-9) * np.eye(count)
    if not every.any():
        return np.zeros((groups, targets.shape[1], count))
    common = np.linalg.solve(every + plain, every_cross)
    pull = (settings.shrink_frac * np.diag(np.diag(every)) + plain) / groups
    own = np.linalg.solve(gram + pull, cross + pull @ common)
    return np.ascontiguousarray(own.transpose(0, 2, 1))


def _typical_errors(
    missed: Floats, group: NDArray[np.int64], settings: OutlookSettings
) -> tuple[Floats, Floats]:
    """Return the mean error of each class of errors, E x J x B, and how likely the classes are."""
    cut = np.array(settings.error_cut_frac)
    error = np.zeros((settings.error_groups_count, missed.shape[1], len(cut) - 1))
    for g in range(settings.error_groups_count):
        mine = np.sort(missed[group == g], axis=0)
        if len(mine) < settings.least_errors_count:
            continue
        at = np.round(cut * len(mine)).astype(np.int64)
        for b in range(len(cut) - 1):
            error[g, :, b] = mine[at[b] : max(at[b + 1], at[b] + 1)].mean(axis=0)
    return error, np.diff(cut)
