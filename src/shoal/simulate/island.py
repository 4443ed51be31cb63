"""A simulated site that has lost the grid: its battery makes the grid, a generator helps as its controller decides.

The controller is the plant's own (`shoal.optimise.microgrid`); it plans every two hours and chooses every quarter of an
hour. Within that the site itself starts the generator as soon as the battery cannot carry the load that is there. Beside it
the usual rules run on the same minutes with a battery of their own, to compare the fuel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval, local_midnight_ns, to_datetime
from shoal.optimise import _microgrid_kernel as kernels
from shoal.optimise.microgrid import Microgrid, MicrogridPlan, Rule, plan_microgrid, usual_rule
from shoal.simulate.microgrid_outlook import Outlook
from shoal.simulate.physics import STANDBY_FRAC_PER_H
from shoal.simulate.profiles import ZONE, Profiles

SLOT_NS: Final = 15 * NS_PER_MINUTE
WARM_UP_DAYS: Final = 14
HORIZON_STEPS: Final = 64
AGAIN_STEPS: Final = 8
COURSES: Final = 5
CELLS: Final = 24
STOP_FRAC: Final = 0.8
"""Where the usual rules stop the generator, of the battery's capacity."""
FUEL_KWH_PER_LITRE: Final = 10.0

Decide = Callable[[float, float, int], float]
"""Takes stored energy, the net load of the quarter before and for how many quarters the generator has run."""


@dataclass(slots=True)
class Running:
    """A generator on its way through an island, and what came of it.

    Attributes:
        site: What stands there.
        decide: What the generator does in the next quarter of an hour, in kW.
        wanted_kw: What it does in this one.
        ran: For how many quarters it has run.
        fuel_kwh: Fuel burnt, in starts too.
        starts: Its starts.
        unserved_kwh: Energy that was asked for and not served.
        lowest_kwh: The least that was in the battery.
    """

    site: Microgrid
    decide: Decide
    wanted_kw: float = 0.0
    ran: int = 0
    fuel_kwh: float = 0.0
    starts: int = 0
    unserved_kwh: float = 0.0
    lowest_kwh: float = np.inf

    def quarter(self, energy_kwh: float, net_kw: float) -> None:
        """Decide on a quarter of an hour."""
        self.ran = self.ran + 1 if self.wanted_kw > 0.0 else 0
        before_kw, self.wanted_kw = self.wanted_kw, self.decide(energy_kwh, net_kw, self.ran)
        if self.wanted_kw > 0.0 and before_kw <= 0.0:
            self._start()

    def carry(self, energy_kwh: float, net_kw: float, span_h: float) -> tuple[float, float, float, float]:
        """Return energy after a span, the generator's power, what is not served and what is not used, in kW."""
        p = self.site.numbers()
        p[kernels.STEP_H] = span_h
        if self.wanted_kw <= 0.0 and kernels.must_run(p, energy_kwh, net_kw):
            made = self.site.generator
            self.wanted_kw = min(max(net_kw, made.least_kw), made.rated_kw)
            self._start()
        after_kwh, power_kw, dark_kw, unused_kw = kernels.carry(p, energy_kwh, net_kw, self.wanted_kw)
        self.fuel_kwh += kernels.fuel(p, power_kw)
        self.unserved_kwh += dark_kw * span_h
        self.lowest_kwh = min(self.lowest_kwh, after_kwh)
        return after_kwh, power_kw, dark_kw, unused_kw

    def _start(self) -> None:
        self.starts += 1
        self.fuel_kwh += self.site.generator.start_fuel_kwh

    def litres_even(self, start_kwh: float, end_kwh: float) -> float:
        """Return the fuel burnt, with the energy that the battery has less at the end put at full load."""
        made = self.site.generator
        full_load = made.fuel_kw(made.rated_kw) / made.rated_kw
        missing_kwh = (start_kwh - end_kwh) * self.site.discharge_efficiency_frac
        return (self.fuel_kwh + missing_kwh * full_load) / FUEL_KWH_PER_LITRE


class Island:
    """One site of a world, while it has no grid.

    Args:
        row: The site.
        span: When it has none.
        site: What stands there.
        profiles: What it uses and generates; of the two weeks before the span its controller knows what was.
    """

    def __init__(self, *, row: int, span: Interval, site: Microgrid, profiles: Profiles) -> None:
        self.row, self.span = row, span
        self._site, self._profiles = site, profiles
        self._outlook = Outlook()
        self._plan: MicrogridPlan | None = None
        self._planned_at = 0
        self._own = Running(site, self._planned_kw)
        rules = [usual_rule(site, cycles=cycles, stop_frac=STOP_FRAC) for cycles in (True, False)]
        self._rules = [(rule, Running(site, _by_rule(rule, site))) for rule in rules]
        self._rule_kwh: list[float] = []
        self._start_kwh = self._end_kwh = 0.0
        self._slot = -1
        self._midnight_ns, self._lived_h = 0, 0.0
        self._seen_kw = np.zeros(2)
        self._unbalanced_wh = 0.0

    def is_on(self, now_ns: int) -> bool:
        """Return whether the site has no grid at an instant."""
        return self.span.contains(now_ns)

    def next_ns(self, now_ns: int, default_ns: int) -> int:
        """Return when the site loses the grid or has it again, `default_ns` when not before."""
        later = [t_ns for t_ns in (self.span.start_ns, self.span.end_ns) if t_ns > now_ns]
        return min([default_ns, *later])

    def carried(
        self,
        now_ns: int,
        until_ns: int,
        *,
        load_w: NDArray[np.int64],
        solar_w: NDArray[np.int64],
        ev_w: NDArray[np.int64],
        battery_w: NDArray[np.int64],
        stored_kwh: NDArray[np.float64],
    ) -> None:
        """Put in what the site's generator and battery do over a span: the generator among the solar power."""
        if not self.is_on(now_ns):
            return
        row, span_h = self.row, (until_ns - now_ns) / NS_PER_HOUR
        energy_kwh = float(stored_kwh[row])
        load_kw, solar_kw = float(load_w[row] + ev_w[row]) / 1e3, -float(solar_w[row]) / 1e3
        net_kw = load_kw - solar_kw
        self._quarter(now_ns, energy_kwh, net_kw)
        _, power_kw, dark_kw, unused_kw = self._own.carry(energy_kwh, net_kw, span_h)
        for place, (_, rule) in enumerate(self._rules):
            # their batteries lose standing still what the real one does
            lost_kwh = self._site.energy_capacity_kwh * STANDBY_FRAC_PER_H * span_h
            kept_kwh = max(self._rule_kwh[place] - lost_kwh, 0.0)
            self._rule_kwh[place] = rule.carry(kept_kwh, net_kw, span_h)[0]
        self._seen_kw += np.array([load_kw, solar_kw]) * span_h
        self._lived_h += span_h
        load_w[row] -= round(dark_kw * 1e3)
        solar_w[row] = -round((solar_kw - unused_kw + power_kw) * 1e3)
        battery_w[row] = -(load_w[row] + ev_w[row] + solar_w[row])

    def balance(
        self,
        now_ns: int,
        until_ns: int,
        *,
        load_w: NDArray[np.int64],
        solar_w: NDArray[np.int64],
        ev_w: NDArray[np.int64],
        battery_w: NDArray[np.int64],
        stored_kwh: NDArray[np.float64],
    ) -> None:
        """Let nothing go through a connection that is not there: what the battery really did decides on the last watts."""
        if not self.is_on(now_ns):
            return
        row = self.row
        missing_w = int(load_w[row] + ev_w[row] + solar_w[row] + battery_w[row])
        if missing_w > 0:
            load_w[row] -= missing_w
            self._unbalanced_wh += missing_w * (until_ns - now_ns) / NS_PER_HOUR
        else:
            solar_w[row] -= missing_w
        self._end_kwh = float(stored_kwh[row])
        self._own.lowest_kwh = min(self._own.lowest_kwh, self._end_kwh)

    def account(self) -> dict[str, Any]:
        """Return what the island came to, and what the usual rules would have."""
        rules = {
            rule.name: running.litres_even(self._start_kwh, kwh)
            for (rule, running), kwh in zip(self._rules, self._rule_kwh, strict=True)
        }
        return {
            "row": self.row,
            "start_ns": self.span.start_ns,
            "end_ns": self.span.end_ns,
            "unserved_kwh": self._own.unserved_kwh + self._unbalanced_wh / 1e3,
            "fuel_litres": self._own.fuel_kwh / FUEL_KWH_PER_LITRE,
            "fuel_litres_even": self._own.litres_even(self._start_kwh, self._end_kwh),
            "rules_litres_even": rules,
            "rules_unserved_kwh": {rule.name: running.unserved_kwh for rule, running in self._rules},
            "starts": self._own.starts,
            "start_kwh": self._start_kwh,
            "end_kwh": self._end_kwh,
            "lowest_kwh": self._own.lowest_kwh,
            "floor_kwh": self._site.floor_kwh,
        }

    def _quarter(self, now_ns: int, energy_kwh: float, net_kw: float) -> None:
        """Take up a new quarter of an hour: learn what the last one was, and decide."""
        if self._slot < 0:
            self._begin(now_ns, energy_kwh)
        slot = self._number(now_ns)
        if slot == self._slot:
            return
        if self._lived_h > 0.0:
            load_kw, solar_kw = self._seen_kw / self._lived_h
            net_kw = load_kw - solar_kw
            self._outlook.learn(
                self._slot, load_kw=load_kw, solar_kw=solar_kw, weekend=self._weekend(self._slot)
            )
        self._slot, self._lived_h = slot, 0.0
        self._seen_kw[:] = 0.0
        self._own.quarter(energy_kwh, net_kw)
        for (_, rule), kwh in zip(self._rules, self._rule_kwh, strict=True):
            rule.quarter(kwh, net_kw)

    def _begin(self, now_ns: int, energy_kwh: float) -> None:
        """Learn from the two weeks before."""
        self._start_kwh = energy_kwh
        self._rule_kwh = [energy_kwh] * len(self._rules)
        first_ns = local_midnight_ns(to_datetime(now_ns, ZONE).date(), ZONE) - WARM_UP_DAYS * 24 * NS_PER_HOUR
        self._midnight_ns = first_ns
        for number in range((now_ns - first_ns) // SLOT_NS):
            # the middle minute of a quarter has the quarter's own value
            middle_ns = first_ns + number * SLOT_NS + 7 * NS_PER_MINUTE
            load_w, solar_w, ev_w = self._profiles.power_w(middle_ns, middle_ns + NS_PER_MINUTE)
            self._outlook.learn(
                number,
                load_kw=float(load_w[self.row] + ev_w[self.row]) / 1e3,
                solar_kw=-float(solar_w[self.row]) / 1e3,
                weekend=self._weekend(number),
            )

    def _number(self, now_ns: int) -> int:
        return (now_ns - self._midnight_ns) // SLOT_NS

    def _weekend(self, number: int) -> bool:
        middle_ns = self._midnight_ns + number * SLOT_NS + 7 * NS_PER_MINUTE
        return to_datetime(middle_ns, ZONE).weekday() >= 5

    def _planned_kw(self, energy_kwh: float, _net_kw: float, ran: int) -> float:
        weekend = np.array([self._weekend(self._slot + step) for step in range(HORIZON_STEPS)])
        if self._plan is None or self._slot - self._planned_at >= AGAIN_STEPS:
            courses_kw = self._outlook.paths_kw(self._slot, HORIZON_STEPS, weekend, count=COURSES)
            self._plan = plan_microgrid(self._site, courses_kw, cells=CELLS)
            self._planned_at = self._slot
        load_kw, solar_kw = self._outlook.expect(self._slot, 1, weekend[:1])
        net_kw = float(load_kw[0] - solar_kw[0])
        at = self._slot - self._planned_at
        return self._plan.power_kw(at, energy_kwh=energy_kwh, net_kw=net_kw, ran_steps=ran)


def _by_rule(rule: Rule, site: Microgrid) -> Decide:
    def decide(energy_kwh: float, net_kw: float, ran: int) -> float:
        return rule.power_kw(site, energy_kwh=energy_kwh, net_kw=net_kw, ran_steps=ran)

    return decide
