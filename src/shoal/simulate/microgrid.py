"""An islanded site run for a year by a plan and by the usual rules, on the same weather: lights, fuel, and why dark if dark.

Each interval is decided with what was measured before it. Then the site itself corrects: a generator that is off starts when
the battery cannot carry the load that is really there. That correction is the same for plan and rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.optimise import _microgrid_kernel as kernels
from shoal.optimise.microgrid import (
    Microgrid,
    MicrogridPlan,
    Rule,
    diesel,
    plan_microgrid,
    usual_rule,
    usual_rules,
)
from shoal.simulate.microgrid_outlook import Outlook
from shoal.simulate.microgrid_world import FAILS_FRAC, HOMES, STUCK_FRAC, Year, stuck_steps

FUEL_KWH_PER_LITRE: Final = 10.0
SERVICE_STEPS: Final = 16
SERVICE_AFTER_STEPS: Final = 250 * 4
"""After 250 hours of running the generator is serviced for four hours, when it is off and the battery is well filled."""
HORIZON_STEPS: Final = 64
AGAIN_STEPS: Final = 8
COURSES: Final = 5
"""So far ahead, so often, and for so many courses of the weather is planned."""
USUAL_STOP_FRAC: Final = 0.8
"""Of the battery's capacity: where cycle charging usually stops."""
CELLS: Final = 24

Decide = Callable[[int, float, float, int], float]
"""Takes number of the interval, stored energy, net load of the interval before and how long the generator has run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a year came to.

    Attributes:
        name: How it was run.
        fuel_litres: Fuel burnt, in starts too.
        fuel_litres_even: The same, with the energy that the battery had more or less at the end put at full load.
        unserved_kwh: Energy that was asked for and not served.
        dark_intervals: Intervals with any of that.
        dark_because: Why, by cause: ``no_generator`` (it did not start, or was in service) or ``too_much_load``.
        starts: Starts of the generator.
        failed_starts: Tries that failed.
        run_h: Hours that it ran.
        services: How often it was serviced.
        unused_kwh: Energy that could not be used or stored.
        load_kwh: What was asked for.
        lowest_kwh: The least that was in the battery.
    """

    name: str
    fuel_litres: float
    fuel_litres_even: float
    unserved_kwh: float
    dark_intervals: int
    dark_because: dict[str, int]
    starts: int
    failed_starts: int
    run_h: float
    services: int
    unused_kwh: float
    load_kwh: float
    lowest_kwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A plan beside the usual rules.

    Attributes:
        days: How many were run.
        plan: What the plan came to.
        best_rule: What the best of all rules came to that left nobody dark (of all when each did): chosen afterwards, which
            nobody can beforehand.
        usual: What cycle charging up to `USUAL_STOP_FRAC` and load following come to, the two that such sites are run by.
        rules: All rules.
        fuel_saved_frac: How much less fuel the plan burnt than the best of all.
        fuel_saved_usual_frac: How much less than the better of the usual two.
        plans_made: How often it was planned.
    """

    days: int
    plan: Outcome
    best_rule: Outcome
    usual: tuple[Outcome, ...]
    rules: tuple[Outcome, ...]
    fuel_saved_frac: float
    fuel_saved_usual_frac: float
    plans_made: int


def village(start_fails_frac: float = FAILS_FRAC) -> Microgrid:
    """Return the site that is simulated: a village of 24 homes with a generator that can carry it alone."""
    capacity_kwh = 20.0 * HOMES
    return Microgrid(
        generator=diesel(
            80.0,
            start_fails_frac=start_fails_frac,
            stuck_frac=start_fails_frac * STUCK_FRAC,
            stuck_steps=stuck_steps(),
        ),
        charge_limit_kw=100.0,
        discharge_limit_kw=100.0,
        charge_efficiency_frac=0.96,
        discharge_efficiency_frac=0.96,
        energy_capacity_kwh=capacity_kwh,
        floor_kwh=0.25 * capacity_kwh,
        empty_kwh=0.05 * capacity_kwh,
    )


class Planner:
    """Plans every two hours on its own outlook, and chooses by the plan from the energy that is really there.

    Attributes:
        plans_made: How often it planned.
    """

    def __init__(self, site: Microgrid, year: Year) -> None:
        self._site, self._year = site, year
        self._outlook = Outlook()
        self._plan: MicrogridPlan | None = None
        self._planned_at = 0
        self.plans_made = 0
        for step in range(year.warm_up_steps):
            self._learn(step)

    def power_kw(self, step: int, energy_kwh: float, _net_kw: float, ran_steps: int) -> float:
        """Return the generator's power for an interval; 0 for off. Intervals are asked for in order."""
        if step > self._year.warm_up_steps:
            self._learn(step - 1)
        if self._plan is None or step - self._planned_at >= AGAIN_STEPS:
            courses_kw = self._outlook.paths_kw(
                step, HORIZON_STEPS, self._weekend(step, HORIZON_STEPS), count=COURSES
            )
            self._plan = plan_microgrid(self._site, courses_kw, cells=CELLS)
            self._planned_at = step
            self.plans_made += 1
        load_kw, solar_kw = self._outlook.expect(step, 1, self._weekend(step, 1))
        net_kw = float(load_kw[0] - solar_kw[0])
        at = step - self._planned_at
        return self._plan.power_kw(at, energy_kwh=energy_kwh, net_kw=net_kw, ran_steps=ran_steps)

    def _learn(self, step: int) -> None:
        year = self._year
        self._outlook.learn(
            step,
            load_kw=float(year.load_kw[step]),
            solar_kw=float(year.solar_kw[step]),
            weekend=bool(year.weekend[step]),
        )

    def _weekend(self, step: int, steps: int) -> NDArray[np.bool_]:
        # The kind of a day is known ahead; beyond the end of the year it is that of a week before.
        at = np.arange(step, step + steps)
        return self._year.weekend[np.where(at < len(self._year.weekend), at, at - 7 * 96)]


def run_year(site: Microgrid, year: Year, name: str, decide: Decide) -> Outcome:
    """Return what a year comes to when each interval is decided by `decide`."""
    p = site.numbers()
    net_kw = year.load_kw - year.solar_kw
    start_kwh = 0.6 * site.energy_capacity_kwh
    energy_kwh = lowest_kwh = start_kwh
    fuel_kwh = unserved_kwh = unused_kwh = 0.0
    ran = starts = failed = run_steps = services = since_service = dark = 0
    out_until = 0
    because: dict[str, int] = {}
    first = year.warm_up_steps
    for step in range(first, len(net_kw)):
        net = float(net_kw[step])
        wanted_kw = decide(step, energy_kwh, float(net_kw[step - 1]), ran)
        if wanted_kw <= 0.0 and kernels.must_run(p, energy_kwh, net):
            wanted_kw = min(max(net, site.generator.least_kw), site.generator.rated_kw)
        due = since_service >= SERVICE_AFTER_STEPS
        if due and wanted_kw <= 0.0 and ran == 0 and energy_kwh >= 0.6 * site.energy_capacity_kwh:
            out_until, since_service, services = step + SERVICE_STEPS, 0, services + 1
        if wanted_kw > 0.0 and ran == 0:
            if step < out_until:
                wanted_kw = 0.0
            elif year.refuses[step]:
                failed, wanted_kw = failed + 1, 0.0
                fuel_kwh += site.generator.start_fuel_kwh
                if year.stuck[step]:
                    out_until = step + stuck_steps()
            else:
                starts += 1
                fuel_kwh += site.generator.start_fuel_kwh
        energy_kwh, power_kw, dark_kw, unused_kw = kernels.carry(p, energy_kwh, net, wanted_kw)
        fuel_kwh += kernels.fuel(p, power_kw)
        ran = ran + 1 if power_kw > 0.0 else 0
        run_steps += power_kw > 0.0
        since_service += power_kw > 0.0
        unserved_kwh += dark_kw * site.step_h
        unused_kwh += unused_kw * site.step_h
        lowest_kwh = min(lowest_kwh, energy_kwh)
        if dark_kw > 1e-9:
            dark += 1
            cause = "too_much_load" if power_kw > 0.0 or net > site.discharge_limit_kw else "no_generator"
            because[cause] = because.get(cause, 0) + 1
    made = site.generator
    full_load = made.fuel_kw(made.rated_kw) / made.rated_kw
    missing_kwh = (start_kwh - energy_kwh) * site.discharge_efficiency_frac
    return Outcome(
        name=name,
        fuel_litres=fuel_kwh / FUEL_KWH_PER_LITRE,
        fuel_litres_even=(fuel_kwh + missing_kwh * full_load) / FUEL_KWH_PER_LITRE,
        unserved_kwh=unserved_kwh,
        dark_intervals=dark,
        dark_because=because,
        starts=starts,
        failed_starts=failed,
        run_h=run_steps * site.step_h,
        services=services,
        unused_kwh=unused_kwh,
        load_kwh=float(year.load_kw[first:].sum()) * site.step_h,
        lowest_kwh=lowest_kwh,
    )


def run_rule(site: Microgrid, year: Year, rule: Rule) -> Outcome:
    """Return what a year comes to by a rule."""
    p, least_run = site.numbers(), site.generator.least_run_steps

    def decide(_step: int, energy_kwh: float, net_kw: float, ran: int) -> float:
        return kernels.rule_power(
            p, energy_kwh, net_kw, ran, least_run, rule.cycles, rule.start_kwh, rule.stop_kwh
        )

    return run_year(site, year, rule.name, decide)


def compare(year: Year, site: Microgrid | None = None) -> Comparison:
    """Return what a plan and every usual rule come to in the same year."""
    site = site or village()
    planner = Planner(site, year)
    plan = run_year(site, year, "plan", planner.power_kw)
    rules = tuple(run_rule(site, year, rule) for rule in usual_rules(site))
    usual = tuple(
        run_rule(site, year, usual_rule(site, cycles=cycles, stop_frac=USUAL_STOP_FRAC))
        for cycles in (True, False)
    )
    best = _best((*rules, *usual))
    return Comparison(
        days=(len(year.load_kw) - year.warm_up_steps) // 96,
        plan=plan,
        best_rule=best,
        usual=usual,
        rules=rules,
        fuel_saved_frac=1.0 - plan.fuel_litres_even / best.fuel_litres_even,
        fuel_saved_usual_frac=1.0 - plan.fuel_litres_even / _best(usual).fuel_litres_even,
        plans_made=planner.plans_made,
    )


def _best(outcomes: tuple[Outcome, ...]) -> Outcome:
    lit = [one for one in outcomes if one.unserved_kwh == 0.0]
    return min(lit or outcomes, key=lambda one: one.fuel_litres_even)
