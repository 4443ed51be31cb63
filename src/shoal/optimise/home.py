"""A home's own best plan: battery, solar that may be curtailed, a car with a deadline, tariff, demand charge and limits.

Given prices, the plan is the exact optimum: dynamic programming over the battery, with one number for what a kWh in the car is
worth and one for the highest import around it. A plan always comes out; wishes that cannot be met give way in a fixed
order (the car's energy, then the import limit, then the export limit), and the plan says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise import _home_room as rooms
from shoal.optimise import _home_stage as stage
from shoal.optimise._home_room import room_for
from shoal.optimise._home_search import Found, Problem, search
from shoal.optimise._inputs import column, number
from shoal.optimise._storage_inputs import check_loss
from shoal.optimise._storage_rows import KWH_PER_MWH
from shoal.optimise.storage import Storage

_GAP_FRAC = 1e-10
"""A search ends at this share of the money that could move."""

SHORT_TIMES, BREAK_TIMES = 10.0, 50.0
"""The car's missing energy is charged this many times the worst price; a broken limit that many times as much again."""

NO_STORAGE = Storage(
    charge_limit_kw=0.0,
    discharge_limit_kw=0.0,
    charge_efficiency_frac=1.0,
    discharge_efficiency_frac=1.0,
    energy_capacity_kwh=0.0,
    initial_energy_kwh=0.0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvSession:
    """A car at the charger, to be charged with so much energy by a deadline.

    Attributes:
        limit_kw: The highest charging power, >= 0; any power below it may be chosen.
        start_step: The first interval in which it may charge; one before the plan counts as 0.
        end_step: The interval before which it must be done; one after the plan's end asks for what cannot wait.
        energy_kwh: Energy to charge, at the charger's terminals, >= 0.
    """

    limit_kw: float
    start_step: int
    end_step: int
    energy_kwh: float

    def __post_init__(self) -> None:
        number("limit_kw", self.limit_kw, low=0.0)
        number("energy_kwh", self.energy_kwh, low=0.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Home:
    """A home over T intervals.

    Attributes:
        load_kw: Consumption that nothing controls, shape (T,).
        solar_potential_kw: What the roof could generate, >= 0, shape (T,); any part may be curtailed.
        storage: The battery; energy at the end is worth its `terminal_value_per_mwh`.
        ev: The car.
        import_limit_kw: The highest net import of the site, >= 0.
        export_limit_kw: The highest net export of the site, >= 0.
        demand_charge_per_kw: Currency per kW of the highest import above `demand_so_far_kw`, >= 0.
        demand_so_far_kw: The highest import of the billing period so far, >= 0.

    Raises:
        InvalidInputError: A field has the wrong shape, is not finite or out of its range.
    """

    load_kw: NDArray[np.float64]
    solar_potential_kw: NDArray[np.float64]
    storage: Storage | None = None
    ev: EvSession | None = None
    import_limit_kw: float = inf
    export_limit_kw: float = inf
    demand_charge_per_kw: float = 0.0
    demand_so_far_kw: float = 0.0

    def __post_init__(self) -> None:
        load = column("load_kw", self.load_kw)
        if load.size == 0:
            raise InvalidInputError(field="load_kw", value="no intervals", fix="give at least one")
        object.__setattr__(self, "load_kw", load)
        solar = column("solar_potential_kw", self.solar_potential_kw, length=load.size, low=0.0)
        object.__setattr__(self, "solar_potential_kw", solar)
        for field, limit in (
            ("import_limit_kw", self.import_limit_kw),
            ("export_limit_kw", self.export_limit_kw),
        ):
            if not limit >= 0.0:
                raise InvalidInputError(field=field, value=limit, fix="give at least 0")
        number("demand_charge_per_kw", self.demand_charge_per_kw, low=0.0)
        number("demand_so_far_kw", self.demand_so_far_kw, low=0.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HomePlan:
    """A home's plan over T intervals.

    Attributes:
        battery_kw: Mean power at the battery's terminals, charging positive, shape (T,).
        solar_kw: Mean power of the roof, <= 0, shape (T,).
        ev_kw: Mean power of the car, >= 0, shape (T,).
        grid_kw: Mean power of the site, import positive: the load and all of the above, shape (T,).
        energy_kwh: Stored energy at the start of each interval and at the end, shape (T + 1,).
        cost: What it costs in currency at the tariff and the added price: energy, wear, demand charge, less the
            worth of what is stored at the end.
        lower_bound: No plan that breaks as few wishes costs less; `cost` up to rounding where `exact`.
        reasons: One sentence for each wish that could not be met, in the order in which they gave way; empty else.
        nodes: How many relaxations were solved.
    """

    battery_kw: NDArray[np.float64]
    solar_kw: NDArray[np.float64]
    ev_kw: NDArray[np.float64]
    grid_kw: NDArray[np.float64]
    energy_kwh: NDArray[np.float64]
    cost: float
    lower_bound: float
    reasons: tuple[str, ...]
    nodes: int

    @property
    def exact(self) -> bool:
        """Whether the plan is proven to be the best, to a billionth of its cost or of one currency unit."""
        return self.cost - self.lower_bound <= 1e-9 * max(1.0, abs(self.cost))


def plan_home(
    home: Home,
    *,
    import_per_kwh: ArrayLike,
    export_per_kwh: ArrayLike,
    interval_h: float,
    price_per_kwh: ArrayLike | None = None,
    node_limit: int = 200,
) -> HomePlan:
    """Return the plan of the least cost; it never charges and discharges the battery in one interval.

    Args:
        home: The home, with its battery's stored energy at the start of the first interval.
        import_per_kwh: What each interval's net import costs, shape (T,); may be negative.
        export_per_kwh: What each interval's net export earns, shape (T,); may be negative, or above the import price.
        interval_h: Length of every interval, in hours.
        price_per_kwh: The fleet's price, added to both: net import pays it and net export earns it, shape (T,).
        node_limit: How many relaxations may be solved; only an export price above the import price or a very
            negative price needs more than one, and the bound says what is left open.

    Raises:
        InvalidInputError: An array has the wrong shape, or a number is not finite or out of its range.

    Example:
        >>> home = Home(load_kw=np.array([1.0, 1.0]), solar_potential_kw=np.array([3.0, 0.0]))
        >>> plan = plan_home(home, import_per_kwh=[0.3, 0.3], export_per_kwh=[0.1, 0.1], interval_h=1.0)
        >>> plan.grid_kw.tolist(), round(plan.cost, 6)
        ([-2.0, 1.0], 0.1)
    """
    steps = home.load_kw.size
    number("interval_h", interval_h, above=0.0)
    number("node_limit", node_limit, low=1)
    added = 0.0 if price_per_kwh is None else column("price_per_kwh", price_per_kwh, length=steps)
    buying = column("import_per_kwh", import_per_kwh, length=steps) + added
    selling = column("export_per_kwh", export_per_kwh, length=steps) + added
    storage = NO_STORAGE if home.storage is None else home.storage
    check_loss(storage.standing_loss_frac_per_h, steps * interval_h)
    problem = _problem(home, storage, buying, selling, interval_h)
    room = room_for(steps, problem.ramp_kwh.size)
    return _plan(home, storage, problem, search(problem, room, node_limit=node_limit), interval_h)


def _problem(
    home: Home,
    storage: Storage,
    import_per_kwh: NDArray[np.float64],
    export_per_kwh: NDArray[np.float64],
    interval_h: float,
) -> Problem:
    ramp_kwh = np.array([min(cost.below_kwh, storage.energy_capacity_kwh) for cost in storage.depth_costs])
    ramp_per_kwh = np.array([cost.cost_per_mwh_h * interval_h / KWH_PER_MWH for cost in storage.depth_costs])
    numbers = np.empty(stage.HOME_COLUMNS)
    holds = storage.energy_capacity_kwh > 0.0
    numbers[stage.CHARGE_KWH] = storage.charge_limit_kw * interval_h if holds else 0.0
    numbers[stage.DISCHARGE_KWH] = storage.discharge_limit_kw * interval_h if holds else 0.0
    numbers[stage.CHARGE_FRAC] = storage.charge_efficiency_frac
    numbers[stage.DISCHARGE_FRAC] = storage.discharge_efficiency_frac
    numbers[stage.CAPACITY_KWH] = storage.energy_capacity_kwh
    numbers[stage.INITIAL_KWH] = storage.initial_energy_kwh
    numbers[stage.WEAR_PER_KWH] = storage.throughput_cost_per_mwh / KWH_PER_MWH
    numbers[stage.TERMINAL_PER_KWH] = storage.terminal_value_per_mwh / KWH_PER_MWH
    numbers[stage.KEPT_FRAC] = (1.0 - storage.standing_loss_frac_per_h) ** interval_h
    numbers[stage.IMPORT_KWH] = home.import_limit_kw * interval_h
    numbers[stage.EXPORT_KWH] = home.export_limit_kw * interval_h
    numbers[stage.CAR_KWH : stage.CAR_ENERGY_KWH + 1] = _car(home.ev, home.load_kw.size, interval_h)
    numbers[stage.DEMAND_PER_KWH] = home.demand_charge_per_kw / interval_h
    numbers[stage.DEMAND_KWH] = home.demand_so_far_kw * interval_h
    price = max(float(np.abs(import_per_kwh).max()), float(np.abs(export_per_kwh).max()))
    price = max(price, abs(float(numbers[stage.TERMINAL_PER_KWH])))
    round_trip = storage.charge_efficiency_frac * storage.discharge_efficiency_frac
    worst = (price + numbers[stage.DEMAND_PER_KWH]) / round_trip + numbers[stage.WEAR_PER_KWH]
    worst += float(ramp_per_kwh.sum()) * home.load_kw.size + 1e-3
    numbers[stage.SHORT_PER_KWH] = SHORT_TIMES * worst
    numbers[stage.BREAK_PER_KWH] = BREAK_TIMES * numbers[stage.SHORT_PER_KWH] / round_trip
    moved = float(np.abs(home.load_kw).sum() + home.solar_potential_kw.sum()) * interval_h
    moved += storage.energy_capacity_kwh + numbers[stage.CAR_ENERGY_KWH] + 1e-3
    return Problem(
        home=numbers,
        load_kwh=home.load_kw * interval_h,
        solar_kwh=home.solar_potential_kw * interval_h,
        import_per_kwh=import_per_kwh,
        export_per_kwh=export_per_kwh,
        ramp_kwh=ramp_kwh,
        ramp_per_kwh=ramp_per_kwh,
        gap_amount=_GAP_FRAC * price * moved,
    )


def _car(ev: EvSession | None, steps: int, interval_h: float) -> tuple[float, float, float, float]:
    """Return the car's limit, its first interval, the one after its last, and the energy that cannot wait."""
    if ev is None:
        return 0.0, 0.0, 0.0, 0.0
    start, end = min(max(ev.start_step, 0), steps), min(max(ev.end_step, 0), steps)
    later_kwh = ev.limit_kw * interval_h * max(ev.end_step - max(steps, ev.start_step), 0)
    energy_kwh = max(ev.energy_kwh - later_kwh, 0.0)
    limit_kwh = ev.limit_kw * interval_h if energy_kwh > 0.0 else 0.0
    return limit_kwh, float(start), float(max(start, end)), energy_kwh


def _plan(home: Home, storage: Storage, problem: Problem, found: Found, interval_h: float) -> HomePlan:
    path, numbers = found.path, problem.home
    released = path[rooms.RELEASED_KWH]
    released = np.where(np.abs(released) <= 1e-12 * storage.energy_capacity_kwh, 0.0, released)
    drawn = np.where(
        released < 0.0,
        -released / storage.charge_efficiency_frac,
        -released * storage.discharge_efficiency_frac,
    )
    energy = np.empty(released.size + 1)
    energy[0] = storage.initial_energy_kwh
    for t in range(released.size):
        energy[t + 1] = numbers[stage.KEPT_FRAC] * energy[t] - released[t]
    np.clip(energy, 0.0, storage.energy_capacity_kwh, out=energy)
    solar = problem.solar_kwh - np.clip(path[rooms.CURTAILED_KWH], 0.0, problem.solar_kwh)
    car = np.clip(path[rooms.CAR_KWH], 0.0, numbers[stage.CAR_KWH])
    net = problem.load_kwh - solar + car + drawn
    reasons, penalty = _reasons(home, numbers, net, car, interval_h)
    return HomePlan(
        battery_kw=drawn / interval_h + 0.0,
        solar_kw=-solar / interval_h + 0.0,
        ev_kw=car / interval_h,
        grid_kw=net / interval_h,
        energy_kwh=energy,
        cost=found.cost_amount - penalty,
        lower_bound=found.bound_amount - penalty,
        reasons=reasons,
        nodes=found.nodes,
    )


def _reasons(
    home: Home,
    numbers: NDArray[np.float64],
    net_kwh: NDArray[np.float64],
    car_kwh: NDArray[np.float64],
    interval_h: float,
) -> tuple[tuple[str, ...], float]:
    """Return what gave way, in words, and what the search was charged for it."""
    reasons: list[str] = []
    short_kwh = max(float(numbers[stage.CAR_ENERGY_KWH] - car_kwh.sum()), 0.0)
    over = np.maximum(net_kwh - numbers[stage.IMPORT_KWH], 0.0)
    under = np.maximum(-numbers[stage.EXPORT_KWH] - net_kwh, 0.0)
    if home.ev is not None and short_kwh > 1e-6 * max(home.ev.energy_kwh, 1e-3):
        most_kwh = numbers[stage.CAR_KWH] * (numbers[stage.CAR_END] - numbers[stage.CAR_START])
        able = most_kwh < numbers[stage.CAR_ENERGY_KWH] * (1 - 1e-9)
        reasons.append(
            f"the car gets {car_kwh.sum():.3g} of {numbers[stage.CAR_ENERGY_KWH]:.3g} kWh: "
            + ("its charger cannot give more in time" if able else "the import limit leaves no more")
        )
    for excess, said, limit_kw in (
        (over, "import", home.import_limit_kw),
        (under, "export", home.export_limit_kw),
    ):
        steps = int((excess > 1e-9 * max(limit_kw if limit_kw < inf else 0.0, 1.0)).sum())
        if steps:
            most_kw = float(excess.max()) / interval_h
            reasons.append(
                f"the {said} limit of {limit_kw:.3g} kW is exceeded in {steps} intervals, by up to {most_kw:.3g} kW: "
                "what cannot be controlled is more"
            )
    penalty = (
        short_kwh * numbers[stage.SHORT_PER_KWH] + (over.sum() + under.sum()) * numbers[stage.BREAK_PER_KWH]
    )
    return tuple(reasons), float(penalty) if reasons else 0.0
