"""What the prices of the next two days may be, interval by interval: ordinary prices, and spikes on top of them.

Day-ahead forecasts are judged by their medians; a battery in a five-minute market lives from the tail. Ordinary prices
are what the time of day usually brings, moved by two factors that fade within hours and within a day, on
``asinh(price / scale)``. A spike begins the more likely the higher ordinary prices stand, lasts a while, and may be of
any height up to the cap; how likely, how long and how high is learned from all that is known, and guessed from what
five-minute markets are known for before anything has been seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.forecast._spikes_kernel import count_spikes, follow_factors, ordinary_prices, spike_stages

Floats = NDArray[np.float64]

DAY_H: Final = 24.0
EDGE_GAP_PER_MWH: Final = 1.0
"""Edges of price levels are at least this far apart."""
MOST_SURPRISE: Final = 3.0
"""A surprise beyond this many usual deviations moves the factors no further."""
STAGES: Final = 3
"""Of a spike: none, young, established."""
_GUESS_INTERVAL_H: Final = 1.0 / 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceModelSettings:
    """What counts how much; the defaults are what back-tests settled on.

    Attributes:
        usual_days: Mean age of what is usual at a time of day.
        spread_days: Mean age of how far prices stray from it.
        usual_h: How much of the day around it a usual price is taken from.
        factor_h: How long each factor lasts.
        factor_share: What part of the variance of ordinary prices each factor explains; the rest is noise.
        surprise_days: How old surprises may be.
        surprise_cut_frac: Where outcomes of ordinary prices meet, as shares of the surprises.
        surprise_frac: How far outcomes spread, as a share of the surprises seen: much of a surprise is gone before it
            can be used, and a plan that counts on choosing among all of them waits for prices that do not come.
        factor_grid: For each factor, how many points and up to what value.
        spike_frac: The lowest price of a spike, as a share of the cap.
        premium_frac: How much of what spikes of the last weeks added on average is expected again at its time of day.
        premium_days: Mean age of what it is the mean of.
        premium_h: How far around a time of day it is taken from.
        level_frac: Where classes of ordinary prices meet, as shares of the lowest price of a spike.
        entry_guess_frac: How likely a spike begins within five minutes in each class.
        entry_weight_count: Intervals that a class must have been seen for to count as much as the guess.
        established_h: A spike that fills half of this time is established: such ones last for hours.
        ageing_frac: How likely a young spike that goes on for another five minutes is established by it.
        stay_guess: How likely a young and an established spike go on for another five minutes.
        stay_weight_count: Intervals of spikes that must have been seen to count as much as the guess.
        height_frac: Where heights of spikes meet, as shares of the cap.
        height_guess: How likely each height is, of young and of established spikes.
        height_weight_count: Spikes that must have been seen to count as much as the guess.
    """

    usual_days: float = 12.0
    spread_days: float = 20.0
    usual_h: float = 1.0
    factor_h: tuple[float, float] = (22.0, 2.5)
    factor_share: tuple[float, float] = (0.60, 0.33)
    surprise_days: float = 40.0
    surprise_cut_frac: tuple[float, ...] = (0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0)
    surprise_frac: float = 0.4
    factor_grid: tuple[tuple[int, float], tuple[int, float]] = ((5, 2.4), (5, 1.2))
    spike_frac: float = 0.03
    premium_frac: float = 0.0
    premium_days: float = 28.0
    premium_h: float = 1.0
    level_frac: tuple[float, ...] = (0.2, 0.3, 0.45, 0.6, 0.8)
    entry_guess_frac: tuple[float, ...] = (1e-6, 1e-6, 1e-6, 1e-6, 1e-6, 1e-6)
    entry_weight_count: float = 2_000.0
    established_h: float = 0.5
    ageing_frac: float = 0.25
    stay_guess: tuple[float, float] = (0.65, 0.9)
    stay_weight_count: float = 40.0
    height_frac: tuple[float, ...] = (0.03, 0.1, 0.3, 0.65, 1.0)
    height_guess: tuple[tuple[float, ...], tuple[float, ...]] = ((0.6, 0.2, 0.12, 0.08), (0.2, 0.2, 0.3, 0.3))
    height_weight_count: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PriceModel:
    """What was learned of the prices of one point.

    Attributes:
        settings: With what.
        money_scale: The price at which the transformation turns from linear to logarithmic.
        usual: S transformed prices, what each slot of the day usually brings.
        spread: S transformed prices, how far they stray from it.
        decay: What each factor keeps over an interval.
        gain: What of a surprise goes into each factor.
        factors: The factors after the last known interval.
        surprise: Surprises of the last weeks, ascending.
        spike_per_mwh: The lowest price of a spike.
        premium_per_mwh: S means of what spikes of the last weeks added, by slot.
        entry: How likely a spike begins in an interval, by class of ordinary prices.
        stay: How likely a spike goes on: 3 chances by stage, the first unused.
        window_count: Intervals among which spikes are counted to tell its stage.
        height_per_mwh: H prices of spikes.
        height_chance: 3 x H chances of them by stage.
    """

    settings: PriceModelSettings
    money_scale: float
    usual: Floats
    spread: Floats
    decay: Floats
    gain: Floats
    factors: Floats
    surprise: Floats
    spike_per_mwh: float
    premium_per_mwh: Floats
    entry: Floats
    stay: Floats
    window_count: int
    height_per_mwh: Floats
    height_chance: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PriceOutcomes:
    """The model as a chain: S slots, Z states (points of the factors' grid, each in three stages), O outcomes.

    Attributes:
        price_per_mwh: S x Z x O prices.
        chance: S x Z x O chances.
        next_position: Z x O x 8 states that may follow.
        next_chance: Z x O x 8 chances of these.
    """

    price_per_mwh: Floats
    chance: Floats
    next_position: NDArray[np.int64]
    next_chance: Floats


def level_edges(
    price_per_mwh: Floats,
    *,
    floor_per_mwh: float,
    cap_per_mwh: float,
    body_frac: tuple[float, ...],
    tail_edges_count: int,
) -> Floats:
    """Return prices that part the range into levels: quantiles of recent prices, then growing factors up to the cap.

    They ascend strictly, and all lie between floor and cap.
    """
    body = np.quantile(price_per_mwh, body_frac)
    top = max(float(body[-1]), 0.005 * cap_per_mwh)
    steps = (
        np.arange(1, tail_edges_count + 1) / (tail_edges_count + 1.0)
    ) ** 1.5  # denser near ordinary prices
    tail = top * (cap_per_mwh / top) ** steps
    edges = np.round(np.concatenate([body, tail]), 2)
    room = EDGE_GAP_PER_MWH * len(edges)
    edges[0] = min(max(edges[0], floor_per_mwh + EDGE_GAP_PER_MWH), cap_per_mwh - room)
    for at in range(1, len(edges)):
        edges[at] = min(
            max(edges[at], edges[at - 1] + EDGE_GAP_PER_MWH), cap_per_mwh - room + EDGE_GAP_PER_MWH * at
        )
    return edges


def fit_price_model(
    *,
    price_per_mwh: Floats,
    age_days: Floats,
    slot_number: NDArray[np.int64],
    follows: NDArray[np.bool_],
    slots_count: int,
    cap_per_mwh: float,
    settings: PriceModelSettings,
) -> PriceModel:
    """Learn the prices of one point from all that is known.

    Args:
        price_per_mwh: N prices, ascending in time.
        age_days: N ages.
        slot_number: N numbers of the interval in its local day.
        follows: Whether each interval follows the one before it without a gap.
        slots_count: Intervals of a day.
        cap_per_mwh: The highest price that there can be.
        settings: What counts how much.
    """
    interval_h = DAY_H / slots_count
    spike_per_mwh = settings.spike_frac * cap_per_mwh
    held = np.minimum(price_per_mwh, spike_per_mwh)
    scale = max(float(np.median(np.abs(held[-28 * slots_count :]))), 1.0)
    z = np.arcsinh(held / scale)
    usual, spread = _usual(z, age_days, slot_number, slots_count, settings)
    decay, gain = (np.array(one) for one in _gains(interval_h, settings.factor_h, settings.factor_share))
    factors, foreseen = np.zeros(len(decay)), np.empty(len(z))
    unusual = np.where(price_per_mwh < spike_per_mwh, (z - usual[slot_number]) / spread[slot_number], np.nan)
    follow_factors(unusual, decay, gain, MOST_SURPRISE, factors, foreseen)
    body_per_mwh = scale * np.sinh(usual[slot_number] + spread[slot_number] * foreseen)
    spikes = _learn_spikes(price_per_mwh, body_per_mwh, follows, cap_per_mwh, interval_h, settings)
    missed = unusual - foreseen
    settled = np.isfinite(missed) & (age_days <= settings.surprise_days)
    settled &= np.arange(len(z)) >= min(slots_count, len(z) // 2)
    return PriceModel(
        settings=settings,
        money_scale=scale,
        usual=usual,
        spread=spread,
        decay=decay,
        gain=gain,
        factors=factors,
        surprise=np.sort(missed[settled]) if settled.any() else np.zeros(1),
        spike_per_mwh=spike_per_mwh,
        premium_per_mwh=_around(
            price_per_mwh - held,
            np.exp(-age_days / settings.premium_days),
            slot_number,
            slots_count,
            max(1, round(settings.premium_h * slots_count / DAY_H)),
        ),
        entry=spikes.entry,
        stay=spikes.stay,
        window_count=spikes.window_count,
        height_per_mwh=spikes.height_per_mwh,
        height_chance=spikes.height_chance,
    )


def _usual(
    z: Floats, age_days: Floats, slot: NDArray[np.int64], slots: int, settings: PriceModelSettings
) -> tuple[Floats, Floats]:
    """Return mean and spread of each slot, from the slots around it and the newer days above all."""
    width = max(1, round(settings.usual_h / 2.0 * slots / DAY_H))
    usual = _around(z, np.exp(-age_days / settings.usual_days), slot, slots, width)
    far = np.abs(z - usual[slot])
    wide = max(1, round(1.5 * slots / DAY_H))
    spread = 1.25 * _around(far, np.exp(-age_days / settings.spread_days), slot, slots, wide)
    return usual, np.maximum(spread, 0.05)


def _around(x: Floats, weight: Floats, slot: NDArray[np.int64], slots: int, width: int) -> Floats:
    """Return weighted means by slot over a window that falls off to both sides."""
    total = np.bincount(slot, weights=weight * x, minlength=slots)
    seen = np.bincount(slot, weights=weight, minlength=slots)
    shape = 1.0 - np.abs(np.arange(-width, width + 1)) / (width + 1.0)
    index = (np.arange(slots)[:, None] + np.arange(-width, width + 1)[None, :]) % slots
    mean = float((weight @ x) / weight.sum())
    few = 1e-6 * weight.sum()
    return np.asarray(
        ((total[index] * shape).sum(axis=1) + few * mean) / ((seen[index] * shape).sum(axis=1) + few)
    )


@lru_cache(maxsize=8)
def _gains(
    interval_h: float, factor_h: tuple[float, ...], factor_share: tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return what factors keep and what they learn from a surprise: the steady gains of a Kalman filter."""
    decay = np.exp(-interval_h / np.array(factor_h))
    share = np.array(factor_share)
    noise = 1.0 - float(share.sum())
    spread = np.diag(share)
    gain = np.zeros(len(share))
    for _ in range(round(10.0 * max(factor_h) / interval_h)):
        spread = np.outer(decay, decay) * spread + np.diag(share * (1.0 - decay**2))
        gain = spread.sum(axis=1) / (spread.sum() + noise)
        spread = spread - np.outer(gain, spread.sum(axis=0))
    return tuple(decay.tolist()), tuple(gain.tolist())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Spikes:
    entry: Floats
    stay: Floats
    window_count: int
    height_per_mwh: Floats
    height_chance: Floats


def _learn_spikes(
    price: Floats,
    body: Floats,
    follows: NDArray[np.bool_],
    cap_per_mwh: float,
    interval_h: float,
    settings: PriceModelSettings,
) -> _Spikes:
    """Return how spikes begin (never less likely at higher prices), go on and how high they are, guesses blended in."""
    steps = interval_h / _GUESS_INTERVAL_H
    least = settings.spike_frac * cap_per_mwh
    window = max(1, round(settings.established_h / interval_h))
    stage = np.empty(len(price), np.int64)
    spike_stages(price, follows, least, window, stage)
    edges = np.array(settings.height_frac) * cap_per_mwh
    levels = np.array(settings.level_frac) * least
    entries, exposed = np.zeros(len(levels) + 1), np.zeros(len(levels) + 1)
    went_on, inside, seen = np.zeros(3), np.zeros(3), np.zeros((3, len(edges) - 1))
    count_spikes(
        price, body, follows, stage, least, levels, edges[1:-1], entries, exposed, went_on, inside, seen
    )
    guess = 1.0 - (1.0 - np.array(settings.entry_guess_frac)) ** steps
    weight = settings.entry_weight_count / steps
    entry = np.maximum.accumulate((entries + weight * guess) / (exposed + weight))
    stay_guess = np.maximum(np.array((0.0, *settings.stay_guess)) ** steps, 0.3)
    weight = settings.stay_weight_count / steps
    stay = (went_on + weight * stay_guess) / (inside + weight)
    young, established = (np.array(one) for one in settings.height_guess)
    seen[0] += seen[1]
    chance = np.stack([seen[0], seen[0], seen[2]])
    chance += settings.height_weight_count * np.stack([young, young, established])
    at = np.searchsorted(edges[1:-1], price)
    spikes = np.where(price >= least, price, 0.0)
    total = np.bincount(at, weights=spikes, minlength=len(edges) - 1)
    count = np.bincount(at, weights=(spikes > 0.0).astype(np.float64), minlength=len(edges) - 1)
    middle = np.sqrt(edges[1:] * edges[:-1])
    return _Spikes(
        entry=entry,
        stay=stay,
        window_count=window,
        height_per_mwh=(total + 2.0 * middle) / (count + 2.0),
        height_chance=chance / chance.sum(axis=1, keepdims=True),
    )


# ── the model as a chain ────────────────────────────────────────────────────────────────────────────────────


def outcomes_of(model: PriceModel) -> PriceOutcomes:
    """Return the outcomes of every state; the stages of a spike stand side by side."""
    settings = model.settings
    first, second = (np.linspace(-most, most, points) for points, most in settings.factor_grid)
    points = np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2)
    kept = points * model.decay
    expected = kept.sum(axis=1)
    cuts = np.array(settings.surprise_cut_frac)
    parts = np.array([0.25, 0.75])
    surprise = np.quantile(model.surprise, cuts[:-1, None] + np.diff(cuts)[:, None] * parts)
    surprise = settings.surprise_frac * surprise
    middle = surprise.mean(axis=1)
    slots, states, ordinary, heights = len(model.usual), len(points), len(middle), len(model.height_per_mwh)
    body = np.empty((slots, states, ordinary))
    ordinary_prices(
        model.usual, model.spread, expected, surprise, model.money_scale, model.spike_per_mwh, body
    )
    begin = model.entry[_class_of(model, model.usual[:, None] + model.spread[:, None] * expected)]
    spike = np.stack(
        [begin, *(np.maximum(begin, stay) for stay in model.stay[1:])], axis=-1
    )  # S x points x 3
    outcomes = ordinary + heights
    price, chance = np.empty((slots, states, STAGES, outcomes)), np.empty((slots, states, STAGES, outcomes))
    price[..., :ordinary] = body[:, :, None, :]
    price[:, :, 0, :ordinary] += model.settings.premium_frac * model.premium_per_mwh[:, None, None]
    price[..., ordinary:] = model.height_per_mwh
    chance[..., :ordinary] = (1.0 - spike)[..., None] * np.diff(cuts)
    chance[..., ordinary:] = spike[..., None] * model.height_chance
    position = np.zeros((states, STAGES, outcomes, 8), np.int64)
    share = np.zeros((states, STAGES, outcomes, 8))
    for o in range(outcomes):
        corner, part = _corners(model, kept + model.gain * (middle[o] if o < ordinary else 0.0))
        for stage in range(STAGES):
            for at, likely in enumerate(_next_stages(model, stage) if o >= ordinary else ((0, 1.0),)):
                position[:, stage, o, 4 * at : 4 * at + 4] = STAGES * corner + likely[0]
                share[:, stage, o, 4 * at : 4 * at + 4] = part * likely[1]
    return PriceOutcomes(
        price_per_mwh=price.reshape(slots, STAGES * states, outcomes),
        chance=chance.reshape(slots, STAGES * states, outcomes),
        next_position=position.reshape(STAGES * states, outcomes, 8),
        next_chance=share.reshape(STAGES * states, outcomes, 8),
    )


def _next_stages(model: PriceModel, stage: int) -> tuple[tuple[int, float], ...]:
    """Return the stages that a spike may be in after another interval of it, and how likely each is."""
    if model.window_count <= 2 or stage == 2:
        return ((2, 1.0),)
    if stage == 0:
        return ((1, 1.0),)
    return ((1, 1.0 - model.settings.ageing_frac), (2, model.settings.ageing_frac))


def _class_of(model: PriceModel, transformed: Floats) -> NDArray[np.int64]:
    edges = np.arcsinh(np.array(model.settings.level_frac) * model.spike_per_mwh / model.money_scale)
    return np.asarray(np.searchsorted(edges, transformed))


def _corners(model: PriceModel, factors: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Return the four points of the grid around each pair of factors, and how near each is."""
    at, part = [], []
    for f, (points, most) in enumerate(model.settings.factor_grid):
        cells = np.clip((factors[..., f] + most) / (2.0 * most) * (points - 1), 0.0, points - 1.0)
        low = np.minimum(cells.astype(np.int64), points - 2)
        at.append(low)
        part.append(cells - low)
    width = model.settings.factor_grid[1][0]
    corner = [(at[0] + i) * width + at[1] + j for i in (0, 1) for j in (0, 1)]
    share = [
        (part[0] if i else 1.0 - part[0]) * (part[1] if j else 1.0 - part[1]) for i in (0, 1) for j in (0, 1)
    ]
    return np.stack(corner, axis=-1), np.stack(share, axis=-1)


def carry_on(
    model: PriceModel, factors: Floats, price_per_mwh: Floats, slot_number: NDArray[np.int64]
) -> Floats:
    """Return the factors after further intervals."""
    z = np.arcsinh(price_per_mwh / model.money_scale)
    unusual = (z - model.usual[slot_number]) / model.spread[slot_number]
    carried = factors.copy()
    follow_factors(
        np.where(price_per_mwh < model.spike_per_mwh, unusual, np.nan),
        model.decay,
        model.gain,
        MOST_SURPRISE,
        carried,
        np.empty(len(z)),
    )
    return carried


def expected_prices(model: PriceModel, factors: Floats, slot_number: int, steps: int) -> Floats:
    """Return what ordinary prices are expected to be in the next intervals, the first of them in `slot_number`, per MWh."""
    ahead = (slot_number + np.arange(steps)) % len(model.usual)
    kept = (factors[None, :] * model.decay[None, :] ** np.arange(1, steps + 1)[:, None]).sum(axis=1)
    return np.asarray(model.money_scale * np.sinh(model.usual[ahead] + model.spread[ahead] * kept))


def stage_of(model: PriceModel, price_per_mwh: Floats) -> int:
    """Return the stage after the last of some prices: 0 no spike, 1 a young one, 2 an established one."""
    newest = price_per_mwh[-model.window_count :]
    if not len(newest) or newest[-1] < model.spike_per_mwh:
        return 0
    return 2 if 2 * int(np.sum(newest >= model.spike_per_mwh)) >= model.window_count else 1


def next_levels(
    model: PriceModel,
    factors: Floats,
    newest_per_mwh: Floats,
    slot_number: int,
    edge_per_mwh: Floats,
    price_per_mwh: Floats,
) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Return what the next price may be, by levels: chances, states that may follow (L x 4), their chances.

    Args:
        model: The model.
        factors: The factors now.
        newest_per_mwh: The newest prices, at least as many as tell the stage of a spike.
        slot_number: The slot of the interval that comes.
        edge_per_mwh: L - 1 prices where levels meet.
        price_per_mwh: L prices that stand for the levels.
    """
    kept = factors * model.decay
    expected = float(kept.sum())
    usual, spread = model.usual[slot_number], model.spread[slot_number]
    stage = stage_of(model, newest_per_mwh)
    spike = float(model.entry[_class_of(model, np.array(usual + spread * expected))])
    spike = max(spike, float(model.stay[stage])) if stage else spike
    ordinary = (np.arcsinh(edge_per_mwh / model.money_scale) - usual) / spread - expected
    below = np.searchsorted(model.surprise, ordinary) / len(model.surprise)
    below[edge_per_mwh >= model.spike_per_mwh] = 1.0
    high = np.searchsorted(model.height_per_mwh, edge_per_mwh)
    tall = np.concatenate([[0.0], np.cumsum(model.height_chance[stage])])[high]
    cumulated = np.concatenate([[0.0], (1.0 - spike) * below + spike * tall, [1.0]])
    chance = np.maximum(np.diff(cumulated), 1e-5)
    is_spike = price_per_mwh >= model.spike_per_mwh
    missed = (np.arcsinh(price_per_mwh / model.money_scale) - usual) / spread - expected
    missed = np.where(is_spike, 0.0, np.clip(missed, -MOST_SURPRISE, MOST_SURPRISE))
    corner, share = _corners(model, kept[None, :] + model.gain[None, :] * missed[:, None])
    after = stage_of(model, np.append(newest_per_mwh, model.spike_per_mwh))
    return chance, STAGES * corner + np.where(is_spike, after, 0)[:, None], share
