"""A site without a grid: generator, sun and battery, planned hour by hour so that the lights stay on for the least fuel.

The plan is exact on its grid of energies: by induction from the horizon backwards it knows what stored energy is worth at
each instant, with the generator off or running, and with the chance that it does not start. The choice of the moment is
then one look ahead with the energy and the load that are really there, so a forecast that was wrong costs little.

Fuel is counted by its energy, kWh of lower heating value; a litre of diesel has about ten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise import _microgrid_kernel as kernels

USUAL_CELLS: Final = 48
UNSERVED_FUEL_KWH_PER_KWH: Final = 2_000.0
"""What a kWh not served weighs against fuel: lights come first."""
BELOW_FLOOR_FUEL_PER_KWH: Final = 20.0
"""What a kWh below the floor weighs for an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """A generator and what it burns.

    Attributes:
        rated_kw: Most power.
        least_kw: Least power at which it may run.
        idle_fuel_kw: Fuel that it burns running without load.
        fuel_per_kwh: Fuel for each kWh on top of that, kWh of fuel.
        start_fuel_kwh: Fuel of a start, and what a start wears, as fuel.
        least_run_steps: Intervals that it runs at least.
        start_fails_frac: How often it does not start at once.
        stuck_frac: How often it does not start for `stuck_steps`.
        stuck_steps: For how many intervals, then.

    Raises:
        InvalidInputError: when a number cannot be.
    """

    rated_kw: float
    least_kw: float
    idle_fuel_kw: float
    fuel_per_kwh: float
    start_fuel_kwh: float = 0.0
    least_run_steps: int = 1
    start_fails_frac: float = 0.0
    stuck_frac: float = 0.0
    stuck_steps: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.least_kw <= self.rated_kw:
            raise InvalidInputError(
                field="least_kw", value=self.least_kw, fix="above 0, up to the rated power"
            )
        if min(self.idle_fuel_kw, self.fuel_per_kwh, self.start_fuel_kwh) < 0.0 or self.least_run_steps < 1:
            raise InvalidInputError(
                field="generator",
                value=self.fuel_per_kwh,
                fix="give fuel of 0 or more, and at least one step",
            )
        for name in ("start_fails_frac", "stuck_frac"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InvalidInputError(field=name, value=getattr(self, name), fix="0 to below 1")

    def fuel_kw(self, power_kw: float) -> float:
        """Return the fuel burnt at a power, 0 when it does not run."""
        return self.idle_fuel_kw + self.fuel_per_kwh * power_kw if power_kw > 0.0 else 0.0


def diesel(
    rated_kw: float,
    *,
    least_frac: float = 0.3,
    least_run_steps: int = 4,
    start_fails_frac: float = 0.0,
    stuck_frac: float = 0.0,
    stuck_steps: int = 0,
) -> Generator:
    """Return a usual diesel set: 0.08415 l/h per rated kW and 0.246 l/kWh (Skarstein and Uhlen, Wind Engineering 13, 1989)."""
    return Generator(
        rated_kw=rated_kw,
        least_kw=least_frac * rated_kw,
        idle_fuel_kw=0.8415 * rated_kw,
        fuel_per_kwh=2.46,
        start_fuel_kwh=0.1 * rated_kw,
        least_run_steps=least_run_steps,
        start_fails_frac=start_fails_frac,
        stuck_frac=stuck_frac,
        stuck_steps=stuck_steps,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Microgrid:
    """An islanded site.

    Attributes:
        generator: Its generator.
        charge_limit_kw: Most charging power of the battery.
        discharge_limit_kw: Most discharging power.
        charge_efficiency_frac: Stored energy per energy taken in.
        discharge_efficiency_frac: Energy given out per stored energy.
        energy_capacity_kwh: What the battery holds when full.
        floor_kwh: What is kept for a generator that does not start; below it only when it did not.
        empty_kwh: What the battery cannot give.
        step_h: Length of an interval.

    Raises:
        InvalidInputError: when a number cannot be.
    """

    generator: Generator
    charge_limit_kw: float
    discharge_limit_kw: float
    charge_efficiency_frac: float
    discharge_efficiency_frac: float
    energy_capacity_kwh: float
    floor_kwh: float
    empty_kwh: float = 0.0
    step_h: float = 0.25

    def __post_init__(self) -> None:
        if not 0.0 <= self.empty_kwh <= self.floor_kwh < self.energy_capacity_kwh:
            raise InvalidInputError(
                field="floor_kwh", value=self.floor_kwh, fix="keep empty <= floor < capacity, none negative"
            )
        if not (
            0.0 < self.charge_efficiency_frac <= 1.0
            and 0.0 < self.discharge_efficiency_frac <= 1.0
            and self.step_h > 0.0
            and min(self.charge_limit_kw, self.discharge_limit_kw) >= 0.0
        ):
            raise InvalidInputError(
                field="microgrid", value=self.step_h, fix="give efficiencies in (0, 1], limits of 0 or more"
            )

    def numbers(self) -> NDArray[np.float64]:
        """Return the numbers in the order that the kernels know."""
        p = np.zeros(kernels.NUMBERS)
        made = self.generator
        p[kernels.RATED], p[kernels.LEAST] = made.rated_kw, made.least_kw
        p[kernels.IDLE_FUEL], p[kernels.FUEL_PER_KWH] = made.idle_fuel_kw, made.fuel_per_kwh
        p[kernels.START_FUEL], p[kernels.FAILS] = made.start_fuel_kwh, made.start_fails_frac
        p[kernels.STUCK], p[kernels.STUCK_STEPS] = made.stuck_frac, made.stuck_steps
        p[kernels.CHARGE], p[kernels.DISCHARGE] = self.charge_limit_kw, self.discharge_limit_kw
        p[kernels.CHARGE_EFFICIENCY] = self.charge_efficiency_frac
        p[kernels.DISCHARGE_EFFICIENCY] = self.discharge_efficiency_frac
        p[kernels.CAPACITY], p[kernels.FLOOR] = self.energy_capacity_kwh, self.floor_kwh
        p[kernels.EMPTY], p[kernels.STEP_H] = self.empty_kwh, self.step_h
        p[kernels.UNSERVED_FUEL] = UNSERVED_FUEL_KWH_PER_KWH
        p[kernels.BELOW_FLOOR_FUEL] = BELOW_FLOOR_FUEL_PER_KWH
        return p


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MicrogridPlan:
    """What stored energy is worth over a horizon of T intervals.

    Attributes:
        site: Of which site.
        fuel_kwh: (T + 1) x Z x E: fuel from each interval on, in expectation, weighed as in the module's constants; Z by how
            many intervals the generator has run (0 for off, the last for long enough to stop), E by energy.
        need_kwh: T: energy that is needed from store while a generator that was started then is stuck.
    """

    site: Microgrid
    fuel_kwh: NDArray[np.float64]
    need_kwh: NDArray[np.float64]

    def power_kw(self, step_number: int, *, energy_kwh: float, net_kw: float, ran_steps: int) -> float:
        """Return the generator's best power in an interval of the horizon, 0 for off.

        Args:
            step_number: Which interval, from 0.
            energy_kwh: What the battery holds.
            net_kw: Load less solar power, as it is expected for this interval.
            ran_steps: For how many intervals the generator has run; 0 when it is off.

        Raises:
            InvalidInputError: when the interval is beyond the horizon.
        """
        if not 0 <= step_number < len(self.fuel_kwh) - 1:
            raise InvalidInputError(
                field="step_number", value=step_number, fix=f"0 to {len(self.fuel_kwh) - 2}: plan again"
            )
        longest = self.fuel_kwh.shape[1] - 1
        after = self.fuel_kwh[step_number + 1]
        ran = min(ran_steps, longest)
        need_kwh = float(self.need_kwh[step_number])
        return float(
            kernels.choose(self.site.numbers(), after, float(energy_kwh), float(net_kw), ran, need_kwh)
        )


def plan_microgrid(
    site: Microgrid, net_kw: NDArray[np.float64], *, cells: int = USUAL_CELLS
) -> MicrogridPlan:
    """Return what stored energy is worth at every instant of a horizon.

    Of several equally likely courses the mean of what each says is taken: the choice of the moment is made before it shows
    which it will be, and later ones are made again. Energy left at the end is worth the fuel that a generator at full load
    burns for it.

    Args:
        site: The site.
        net_kw: T, or S x T for S courses: expected load less solar power, negative when the sun gives more than is used.
        cells: Into how many equal parts the battery's energy is cut.

    Raises:
        InvalidInputError: when a number is not finite, or there are too few cells.
    """
    if net_kw.ndim not in (1, 2) or not len(net_kw) or not np.isfinite(net_kw).all():
        raise InvalidInputError(field="net_kw", value=net_kw.shape, fix="give finite powers by interval")
    if cells < 2:
        raise InvalidInputError(field="cells", value=cells, fix="give at least 2")
    made = site.generator
    energy_kwh = np.linspace(site.empty_kwh, site.energy_capacity_kwh, cells + 1)
    full_load_per_kwh = made.fuel_kw(made.rated_kw) / made.rated_kw
    end = (site.energy_capacity_kwh - energy_kwh) * site.discharge_efficiency_frac * full_load_per_kwh
    end += BELOW_FLOOR_FUEL_PER_KWH * np.maximum(site.floor_kwh - energy_kwh, 0.0)
    courses = np.ascontiguousarray(np.atleast_2d(net_kw), dtype=np.float64)
    shape = (courses.shape[1] + 1, made.least_run_steps + 1, cells + 1)
    value, mean = np.empty(shape), np.zeros(shape)
    p, need_kwh = site.numbers(), np.zeros(courses.shape[1])
    for course_kw in courses:
        kernels.induct(p, course_kw, end, value)
        mean += value / len(courses)
        need_kwh += kernels.needs(p, course_kw) / len(courses)
    return MicrogridPlan(site=site, fuel_kwh=mean, need_kwh=need_kwh)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The usual rules by which such sites are run; what a plan has to beat.

    Attributes:
        name: ``cycle charging`` or ``load following``, with its levels.
        cycles: Whether a running generator gives all it has, into the battery too.
        start_kwh: At which energy it starts, if not before because the load asks for it.
        stop_kwh: At which energy it stops.
    """

    name: str
    cycles: bool
    start_kwh: float
    stop_kwh: float

    def power_kw(self, site: Microgrid, *, energy_kwh: float, net_kw: float, ran_steps: int) -> float:
        """Return the generator's power by the rule, 0 for off."""
        least_run = site.generator.least_run_steps
        return float(
            kernels.rule_power(
                site.numbers(),
                float(energy_kwh),
                float(net_kw),
                ran_steps,
                least_run,
                self.cycles,
                self.start_kwh,
                self.stop_kwh,
            )
        )


def usual_rule(site: Microgrid, *, cycles: bool, stop_frac: float, start_kwh: float | None = None) -> Rule:
    """Return cycle charging or load following that stops at a share of the capacity.

    Args:
        site: The site.
        cycles: Whether it is cycle charging.
        stop_frac: Where it stops.
        start_kwh: Where it starts; the floor when None.
    """
    word = "cycle charging" if cycles else "load following"
    begin_kwh = site.floor_kwh if start_kwh is None else start_kwh
    begin_frac = begin_kwh / site.energy_capacity_kwh
    return Rule(
        name=f"{word} {begin_frac:.0%} to {stop_frac:.0%}",
        cycles=cycles,
        start_kwh=begin_kwh,
        stop_kwh=stop_frac * site.energy_capacity_kwh,
    )


def usual_rules(site: Microgrid) -> tuple[Rule, ...]:
    """Return cycle charging and load following at a range of levels: the best of them is the hardest to beat."""
    floor_frac = site.floor_kwh / site.energy_capacity_kwh
    return tuple(
        usual_rule(
            site,
            cycles=cycles,
            stop_frac=floor_frac + stop_frac * (1.0 - floor_frac),
            start_kwh=site.floor_kwh + start_frac * (site.energy_capacity_kwh - site.floor_kwh),
        )
        for cycles in (True, False)
        for start_frac in (0.0, 0.1, 0.25)
        for stop_frac in (0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
        if stop_frac > start_frac
    )
