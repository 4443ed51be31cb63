"""Energy and reserve of one storage, offered together over many price scenarios, with risk.

First stage, the same in every scenario: the reserve held and a day-ahead curve on a price grid. Second stage: the
dispatch in real time of each scenario, within what the reserve leaves. **A scenario's dispatch knows that scenario's
prices to the end**, so the value here overstates what can be earned: it is for choosing offers. What the offers are
worth to somebody who sees prices as they come is what `shoal.optimise.scenario_policy.roll_offers` returns, on scenarios
held out; report the two beside each other.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise._inputs import number
from shoal.optimise._scenario_build import Frame, build, first_guess
from shoal.optimise._scenario_outcome import Outcome, evaluate
from shoal.optimise._scenario_programme import Programme, both_ways, bound_of, objective, reserve_costs
from shoal.optimise._scenario_solver import Point, advance, starting_point
from shoal.optimise.relax_limits import knows_all
from shoal.optimise.scenario_inputs import PriceScenarios, ReserveProduct, Risk, ScenarioPlan, tail_mean
from shoal.optimise.storage import Storage

Floats = NDArray[np.float64]
_RISK_NEUTRAL = Risk()
# A plan is dispatched exactly once the method's own gap is within this many times what is asked for, or this.
_LOOK_TIMES = 3.0
_LOOK_FRAC = 1e-3
# Once its own gap is this share of what is asked for, the rest is due to directions, not to the method.
_DONE_TIMES = 0.05
# Going both ways counts from this share of the power on; a direction is shut to the reciprocal of this.
_BURN = 1e-4
_SHUT = 1e5
_MOST_DIVES = 3
_NOTHING = 1e-12
# After so many steps that prove nothing new, rounding has the upper hand.
_MOST_IDLE = 6


def price_grid(day_ahead_per_mwh: Floats, buckets_count: int) -> Floats:
    """Return where the buckets of a day-ahead curve meet: quantiles of the scenarios, shape (T, K - 1).

    Args:
        day_ahead_per_mwh: Prices of the scenarios, shape (S, T).
        buckets_count: How many buckets each interval has, K >= 1.
    """
    number("buckets_count", buckets_count, low=1)
    shares = np.linspace(0.0, 1.0, buckets_count + 1)[1:-1]
    return np.ascontiguousarray(np.quantile(day_ahead_per_mwh, shares, axis=0).T)


def plan_scenarios(
    storage: Storage,
    scenarios: PriceScenarios,
    interval_h: float,
    *,
    products: tuple[ReserveProduct, ...] = (),
    risk: Risk = _RISK_NEUTRAL,
    day_ahead_grid_per_mwh: Floats | None = None,
    buckets_count: int = 8,
    gap_frac: float = 1e-4,
    iterations: int = 80,
) -> ScenarioPlan:
    """Return the offers of the highest value, proved to within a gap.

    Every MW held is backed: energy (or room) for its duration is there at both ends of its interval, power is shared
    with trading, and expected calls move the stored energy and are settled at the real-time price. The bound is that
    of the linear programme in which charge and discharge in one interval lie on one side of their chord; the value is of
    dispatch that never does both. With very negative prices the two can stay apart: then `gap_frac` of the plan says so.

    Args:
        storage: The storage, or a fleet seen as one (`shoal.optimise.fleet_battery`).
        scenarios: Prices; with `day_ahead_per_mwh` an auction is offered to.
        interval_h: Length of every interval, in hours.
        products: Reserve products, in the order of `scenarios.reserve_per_mw`.
        risk: How much the worst outcomes count.
        day_ahead_grid_per_mwh: Where the buckets of the curve meet, rising, shape (T, K - 1); quantiles when None.
        buckets_count: How many buckets when no grid is given.
        gap_frac: The method stops when value and bound are as close as this.
        iterations: How many steps it may take before the best offers so far are returned.

    Raises:
        InvalidInputError: An input is malformed, or the storage has no power or no capacity.
    """
    _check(storage, scenarios, interval_h, products)
    number("gap_frac", gap_frac, above=0.0)
    number("iterations", iterations, low=1)
    grid = _grid(scenarios, day_ahead_grid_per_mwh, buckets_count)
    frame, programme = build(storage, scenarios, interval_h, products, risk, grid)
    outcome, bound, point, steps = _solve(frame, programme, gap_frac, iterations)
    return _plan(frame, programme, scenarios, grid, outcome, bound, point, steps)


def _solve(
    frame: Frame, programme: Programme, gap_frac: float, iterations: int
) -> tuple[Outcome, float, Point, int]:
    """Return the best outcome, the least bound, the point of the bound and how many steps were taken."""
    idle = evaluate(frame, programme, np.zeros(programme.links.shape[1]))
    assert idle is not None, "an idle storage holds no reserve, so it can be dispatched"
    best, bound, point, steps = _descend(frame, programme, gap_frac, iterations, idle, np.inf)
    last, restricted = point, programme
    for _ in range(_MOST_DIVES):
        if _apart(bound, best.value) <= gap_frac:
            break
        held = _held_directions(restricted, last)
        if held is None:
            break
        restricted = held
        best, _, last, more = _descend(frame, restricted, gap_frac, iterations, best, bound)
        steps += more
    return best, max(bound, best.value), point, steps


def _descend(
    frame: Frame, programme: Programme, gap_frac: float, iterations: int, best: Outcome, known_bound: float
) -> tuple[Outcome, float, Point, int]:
    """Run the method until value and bound meet, or nothing more is found; the point keeps the best proof."""
    point = starting_point(programme, first_guess(frame, programme))
    bound, proof, steps, idle_steps = np.inf, point.y, 0, 0
    while steps < iterations and idle_steps < _MOST_IDLE:
        try:
            advance(programme, point)
        except np.linalg.LinAlgError:
            break
        steps += 1
        proved = bound_of(programme, point.y)
        idle_steps += 1
        if proved < bound:
            bound, proof, idle_steps = proved, point.y, 0
        own_gap = _apart(bound, objective(programme, point.at))
        if own_gap > max(_LOOK_TIMES * gap_frac, _LOOK_FRAC):
            continue
        found = evaluate(frame, programme, point.at.x)
        if found is not None and found.value > best.value:
            best = found
        if _apart(min(bound, known_bound), best.value) <= gap_frac or own_gap < _DONE_TIMES * gap_frac:
            break
    point.y = proof
    return best, bound, point, steps


def _held_directions(programme: Programme, point: Point) -> Programme | None:
    """Return the programme with its direction held wherever the point goes both ways; None when it nowhere does.

    Only where prices are very negative, or where burning energy makes room for reserve, does that happen.
    """
    drawn, given = both_ways(programme, point.at)
    burning = np.minimum(drawn, given) > _BURN
    if not burning.any():
        return None
    chord = programme.chord.copy()
    chord[1][burning & (drawn >= given)] = _SHUT
    chord[0][burning & (drawn < given)] = _SHUT
    return replace(programme, chord=chord)


def _apart(bound: float, value: float) -> float:
    size = max(abs(bound), abs(value))
    return (bound - value) / size if size > _NOTHING else 0.0


def _plan(
    frame: Frame,
    programme: Programme,
    scenarios: PriceScenarios,
    grid: Floats | None,
    outcome: Outcome,
    bound: float,
    point: Point,
    steps: int,
) -> ScenarioPlan:
    s, h, power_kw, money = frame.storage, frame.interval_h, frame.power_kw, frame.money_amount
    shift = frame.shift_per_mw @ outcome.reserve_mw
    change = np.diff(outcome.energy_mwh, axis=1) - shift
    change[np.abs(change) < 1e-9 * programme.constants[4]] = 0.0
    amounts = outcome.profit_amount * money
    costs = reserve_costs(programme, point.y, frame.up.size)
    return ScenarioPlan(
        reserve_kw=np.ascontiguousarray(outcome.reserve_mw.T) * power_kw,
        reserve_cost_per_mw=np.ascontiguousarray(costs.T) * (frame.price_per_mwh / h),
        day_ahead_kw=-outcome.sold_mw * power_kw + 0.0,
        day_ahead_grid_per_mwh=np.empty((scenarios.steps, 0)) if grid is None else grid,
        value=outcome.value * money,
        value_bound=bound * money,
        scenario_amount=amounts,
        mean_amount=float(programme.probability @ amounts),
        tail_amount=tail_mean(amounts, programme.probability, programme.tail_frac),
        charge_kw=np.maximum(change, 0.0) * (power_kw / (s.charge_efficiency_frac * h)),
        discharge_kw=np.maximum(-change, 0.0) * (power_kw * s.discharge_efficiency_frac / h),
        energy_kwh=outcome.energy_mwh * power_kw,
        iterations=steps,
    )


def _grid(scenarios: PriceScenarios, given: Floats | None, buckets_count: int) -> Floats | None:
    if scenarios.day_ahead_per_mwh is None:
        return None
    if given is None:
        return price_grid(scenarios.day_ahead_per_mwh, buckets_count)
    grid = np.ascontiguousarray(given, dtype=np.float64)
    if grid.ndim != 2 or grid.shape[0] != scenarios.steps:
        fix = f"give {scenarios.steps} rows of edges"
        raise InvalidInputError(field="day_ahead_grid_per_mwh", value=f"shape {grid.shape}", fix=fix)
    if not np.isfinite(grid).all() or np.any(np.diff(grid, axis=1) < 0.0):
        raise InvalidInputError(
            field="day_ahead_grid_per_mwh", value="edges", fix="give finite edges that never fall"
        )
    return grid


def _check(
    storage: Storage, scenarios: PriceScenarios, interval_h: float, products: tuple[ReserveProduct, ...]
) -> None:
    knows_all(storage)
    number("interval_h", interval_h, above=0.0)
    number("charge_limit_kw", storage.charge_limit_kw, above=0.0)
    number("discharge_limit_kw", storage.discharge_limit_kw, above=0.0)
    number("energy_capacity_kwh", storage.energy_capacity_kwh, above=0.0)
    priced = 0 if scenarios.reserve_per_mw is None else scenarios.reserve_per_mw.shape[2]
    if priced != len(products):
        fix = f"give prices of {len(products)} products"
        raise InvalidInputError(field="reserve_per_mw", value=f"{priced} products", fix=fix)
