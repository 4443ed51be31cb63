"""What offers are worth to somebody who sees real-time prices only as they come.

The scenario programme gives each scenario's dispatch full foresight. Here the same offers are carried through scenarios
held out, with a policy that knows the day-ahead prices (they are published before), the real-time price of its own
interval, and how such prices went on in the scenarios it has learnt from: a decision tree folded into a Markov chain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise._inputs import number
from shoal.optimise._scenario_build import Frame, build
from shoal.optimise._scenario_chain import chain_value, reachable
from shoal.optimise._scenario_outcome import evaluate, held_ranges
from shoal.optimise._scenario_policy import roll_policy
from shoal.optimise.scenario_inputs import PriceScenarios, ReserveProduct, Risk, ScenarioPlan, tail_mean
from shoal.optimise.storage import Storage

Floats = NDArray[np.float64]
_RISK_NEUTRAL = Risk()
# How many observations the share of a kind at large counts for beside the transitions seen.
_PRIOR_COUNT = 4.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OfferValue:
    """What offers earned in H scenarios that they were not made for.

    Attributes:
        scenario_amount: What each earned with the policy, in currency, shape (H,).
        mean_amount: Its mean.
        tail_amount: Its mean over the worst ``1 - level``.
        standard_error_amount: Of the mean.
        foresight_amount: The mean, had each scenario's dispatch known all its prices.
        energy_kwh: Stored energy at the boundaries, shape (H, T + 1).
    """

    scenario_amount: Floats
    mean_amount: float
    tail_amount: float
    standard_error_amount: float
    foresight_amount: float
    energy_kwh: Floats


def roll_offers(
    storage: Storage,
    plan: ScenarioPlan,
    learnt: PriceScenarios,
    held_out: PriceScenarios,
    interval_h: float,
    *,
    products: tuple[ReserveProduct, ...] = (),
    risk: Risk = _RISK_NEUTRAL,
    kinds_count: int = 6,
    levels_count: int = 49,
) -> OfferValue:
    """Return what a plan's offers earn in scenarios held out, dispatched without foresight.

    Args:
        storage: The storage that the plan was made for.
        plan: The offers: reserve and the day-ahead curve.
        learnt: Scenarios from which the policy learns how prices go on; the ones the plan was made from, usually.
        held_out: Scenarios that neither the plan nor the policy has seen, for an honest figure.
        interval_h: Length of every interval, in hours.
        products: The products of the plan.
        risk: Which tail to report.
        kinds_count: How many kinds of price the chain tells apart.
        levels_count: On how many levels of energy its value is kept.

    Raises:
        InvalidInputError: The scenarios are not of the plan's intervals, or the storage cannot carry out the offers.
    """
    number("kinds_count", kinds_count, low=1, high=learnt.count)
    number("levels_count", levels_count, low=2)
    for name, given in (("learnt", learnt), ("held_out", held_out)):
        if given.steps != plan.reserve_kw.shape[0]:
            fix = f"give {plan.reserve_kw.shape[0]} intervals"
            raise InvalidInputError(field=name, value=f"{given.steps} intervals", fix=fix)
    grid = plan.day_ahead_grid_per_mwh if plan.day_ahead_kw.shape[1] else None
    frame, programme = build(storage, held_out, interval_h, products, risk, grid)
    first = np.zeros(programme.links.shape[1])
    reserve, sold = frame.split(first)
    reserve[:] = plan.reserve_kw.T / frame.power_kw
    if sold.size:
        sold[:] = -plan.day_ahead_kw / frame.power_kw
    ranges = held_ranges(frame, programme, reserve)
    foreseen = evaluate(frame, programme, first)
    if ranges is None or foreseen is None:
        raise InvalidInputError(field="plan", value="its reserve", fix="give the storage it was made for")

    low, high = np.empty(held_out.steps + 1), np.empty(held_out.steps + 1)
    floor, ceiling = ranges.floor_mwh.copy(), ranges.ceiling_mwh.copy()
    floor[0], ceiling[0] = programme.start[0], programme.start[0]
    reachable(ranges.least_mwh, ranges.most_mwh, floor, ceiling, low, high)
    spread, edges, kind, chance = _chain(learnt, frame, kinds_count)
    factors = (1.0 / storage.charge_efficiency_frac, storage.discharge_efficiency_frac)
    slopes = np.array([*factors, frame.wear_per_mwh, programme.terminal[0]])
    levels = np.linspace(0.0, float(programme.constants[4]), levels_count)
    base = np.zeros((held_out.count, held_out.steps))
    if held_out.day_ahead_per_mwh is not None and learnt.day_ahead_per_mwh is not None:
        base = held_out.day_ahead_per_mwh / frame.price_per_mwh
    energy, earned = np.empty((held_out.count, held_out.steps + 1)), np.empty(held_out.count)
    energy[:, 0] = programme.start[0]
    moved = np.concatenate([[0.0], np.cumsum(ranges.shift_mwh)])
    for s in range(held_out.count):
        prices = frame.real_time_per_mwh[s]
        roll_policy(
            spread,
            kind,
            learnt.probability(),
            chance,
            base[s],
            prices,
            edges,
            slopes,
            ranges.least_mwh - ranges.shift_mwh,
            ranges.most_mwh - ranges.shift_mwh,
            ranges.shift_mwh,
            low,
            high,
            levels,
            energy[s],
        )
        traded = energy[s] - moved
        earned[s] = chain_value(
            prices * slopes[0], (prices - slopes[2]) * slopes[1], float(slopes[3]), traded
        )
    earned += programme.by_first @ first + programme.terminal[0] * moved[-1]
    amounts = earned * frame.money_amount
    mean = float(programme.probability @ amounts)
    variance = float(programme.probability @ (amounts - mean) ** 2)
    # With unequal weights fewer scenarios count.
    effective = 1.0 / float(np.square(programme.probability).sum())
    return OfferValue(
        scenario_amount=amounts,
        mean_amount=mean,
        tail_amount=tail_mean(amounts, programme.probability, programme.tail_frac),
        standard_error_amount=float(np.sqrt(variance / max(effective - 1.0, 1.0))),
        foresight_amount=float(programme.probability @ foreseen.profit_amount) * frame.money_amount,
        energy_kwh=energy * frame.power_kw,
    )


def _chain(
    learnt: PriceScenarios, frame: Frame, kinds_count: int
) -> tuple[Floats, Floats, NDArray[np.int64], Floats]:
    """Return spreads, the edges of their kinds, the kind of each, and the chances of the next interval's kind."""
    spread = np.ascontiguousarray(learnt.real_time_per_mwh / frame.price_per_mwh)
    if learnt.day_ahead_per_mwh is not None:
        spread = spread - learnt.day_ahead_per_mwh / frame.price_per_mwh
    steps, weight = learnt.steps, learnt.probability()
    shares = np.linspace(0.0, 1.0, kinds_count + 1)[1:-1]
    edges = np.ascontiguousarray(np.quantile(spread, shares, axis=0).T.reshape(steps, kinds_count - 1))
    kind = (spread[:, :, None] >= edges[None]).sum(axis=2).astype(np.int64)
    chance = np.empty((steps, kinds_count, kinds_count))
    for t in range(steps):
        at_large = np.bincount(kind[:, t], weight, minlength=kinds_count)
        seen = np.zeros((kinds_count, kinds_count))
        if t:
            np.add.at(seen, (kind[:, t - 1], kind[:, t]), weight * learnt.count)
        chance[t] = seen + _PRIOR_COUNT * at_large[None, :]
        chance[t] /= chance[t].sum(axis=1, keepdims=True)
    return spread, edges, kind, chance
