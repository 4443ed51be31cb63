"""The plan of one site: what it expects, what energy costs, and what its battery had best do, made anew every five minutes.

Prices come from the plant's last series as long as that lasts, afterwards from the site's own tariff. Between two plans the
policy of the present interval (levels of stored energy) answers to what is measured, so a forecast that was wrong costs
little.
"""

from __future__ import annotations

import itertools
import math
import time
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from typing import Final
from zoneinfo import ZoneInfo

from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.domain.orders import PriceSeries
from shoal.edge.planner_exact import (
    HomeBattery,
    HomePlanLight,
    HomeSteps,
    kept_plan,
    levels_power_kw,
    plan_home_light,
)
from shoal.edge.planner_forecast import SLOT_NS, SiteForecast
from shoal.edge.planner_tariff import Tariff, TariffWeek

REPLAN_NS: Final = 5 * NS_PER_MINUTE
HORIZON_NS: Final = 36 * NS_PER_HOUR
_FINE_NS: Final = 2 * NS_PER_HOUR
"""For so long ahead the plan goes in steps of five minutes, afterwards of a quarter of an hour."""
_SHORT_KWH: Final = 0.05
_HOUR: Final = float(NS_PER_HOUR)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantBattery:
    """The battery as it is installed; the plan adds what is in it.

    Attributes:
        charge_limit_kw: At the terminals.
        discharge_limit_kw: At the terminals.
        charge_efficiency_frac: Stored per taken in.
        discharge_efficiency_frac: Given out per stored.
        capacity_kwh: When full.
        wear_per_kwh: Cost of each kWh discharged.
    """

    charge_limit_kw: float
    discharge_limit_kw: float
    charge_efficiency_frac: float
    discharge_efficiency_frac: float
    capacity_kwh: float
    wear_per_kwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePlan:
    """A plan and what it was made of; columns over T intervals.

    Attributes:
        made_ns: When it was made.
        start_ns: When each interval begins, and when the last one ends (T + 1).
        load_kw: Expected consumption.
        solar_kw: What the roof is expected to give, positive.
        import_per_kwh: What a kWh from the grid costs.
        export_per_kwh: What a kWh into the grid earns.
        battery: The battery it was made for.
        home: The schedule.
        from_plant_until_ns: Up to when prices are the plant's; 0 when none of them are.
        took_s: How long it took.
    """

    made_ns: int
    start_ns: list[int]
    load_kw: list[float]
    solar_kw: list[float]
    import_per_kwh: list[float]
    export_per_kwh: list[float]
    battery: HomeBattery
    home: HomePlanLight
    from_plant_until_ns: int
    took_s: float

    def power_w(self, *, net_w: int, usable_kwh: float, now_ns: int) -> int:
        """Return the battery's power for what is measured now, charging positive.

        Args:
            net_w: Load and EV less what the roof gives.
            usable_kwh: Energy above the reserve.
            now_ns: The present instant; a level is to be reached by the end of the first interval.
        """
        left_h = max(self.start_ns[1] - now_ns, NS_PER_MINUTE) / _HOUR
        power_kw = levels_power_kw(
            self.battery,
            self.home.levels,
            net_kw=net_w / 1e3,
            usable_kwh=max(usable_kwh, 0.0),
            horizon_h=left_h,
        )
        if usable_kwh < -_SHORT_KWH:
            # below what the owner keeps, what the roof has left goes to the battery first
            power_kw = max(power_kw, min(max(-net_w, 0) / 1e3, self.battery.charge_limit_kw))
        return math.trunc(power_kw * 1e3)


@dataclass(slots=True)
class KeptLevels:
    """Where a mean of plans leads: usable energies over time; empty until it is made."""

    start_ns: list[int] = field(default_factory=list)
    energy_kwh: list[float] = field(default_factory=list)

    def at(self, t_ns: int) -> float:
        """Return the usable energy at an instant, that of the nearest end beyond both."""
        place = bisect_right(self.start_ns, t_ns)
        if place in (0, len(self.start_ns)):
            return self.energy_kwh[0 if place == 0 else -1]
        begin_ns, end_ns = self.start_ns[place - 1 : place + 1]
        low, high = self.energy_kwh[place - 1 : place + 1]
        return low + (high - low) * (t_ns - begin_ns) / (end_ns - begin_ns)


class SitePlanner:
    """Makes the plans of one site.

    Args:
        battery: What is installed.
        tariff: The site's own prices.
        zone: Its local time.
        forecast: What it expects.
        import_limit_kw: Of the connection.
        export_limit_kw: Of the connection.
    """

    def __init__(
        self,
        *,
        battery: PlantBattery,
        tariff: Tariff,
        zone: ZoneInfo,
        forecast: SiteForecast,
        import_limit_kw: float = math.inf,
        export_limit_kw: float = math.inf,
    ) -> None:
        self._battery = battery
        self._tariff = TariffWeek(tariff, zone)
        self.forecast = forecast
        self._import_limit_kw = import_limit_kw
        self._export_limit_kw = export_limit_kw

    @property
    def limits_kw(self) -> tuple[float, float]:
        """The most net import and export of the connection."""
        return self._import_limit_kw, self._export_limit_kw

    def plan(
        self,
        now_ns: int,
        *,
        soc_frac: float,
        reserve_frac: float,
        prices: PriceSeries | None = None,
        before: PriceSeries | None = None,
        kept: KeptLevels | None = None,
        ev_w: float = 0.0,
        import_limit_w: float = math.inf,
        export_limit_w: float = math.inf,
    ) -> SitePlan:
        """Return the plan from now on.

        Args:
            now_ns: The present instant.
            soc_frac: State of charge, 0 to 1.
            reserve_frac: What the owner keeps, of the capacity.
            prices: The plant's last series, as long as the plant's prices are to be followed.
            before: What is followed until that series begins, where it begins later.
            kept: Where the mean of the plans against several rows was to lead; noted in it when it is empty.
            ev_w: What the car draws now; it is expected to go on for the next hour.
            import_limit_w: An envelope's limit that holds now.
            export_limit_w: Likewise.
        """
        began_s = time.perf_counter()
        starts = _starts(now_ns, prices)
        hours, load_kw, solar_kw, buy, sell, plain = self._columns(starts, now_ns, prices, before, ev_w)
        from_plant_ns = min(_end_ns(prices), starts[-1]) if prices is not None else 0
        reserve_kwh = self._battery.capacity_kwh * reserve_frac
        usable_kwh = max(self._battery.capacity_kwh - reserve_kwh, 0.0)
        stored_kwh = self._battery.capacity_kwh * soc_frac - reserve_kwh
        battery = HomeBattery(
            charge_limit_kw=self._battery.charge_limit_kw,
            discharge_limit_kw=self._battery.discharge_limit_kw,
            charge_efficiency_frac=self._battery.charge_efficiency_frac,
            discharge_efficiency_frac=self._battery.discharge_efficiency_frac,
            usable_kwh=usable_kwh,
            initial_kwh=min(max(stored_kwh, 0.0), usable_kwh),
            wear_per_kwh=self._battery.wear_per_kwh,
            # what is left is worth at least what it saves at the cheapest hour, whatever the plant adds until then
            terminal_per_kwh=max(min(plain) - self._battery.wear_per_kwh, 0.0)
            * self._battery.discharge_efficiency_frac,
        )
        steps = HomeSteps(
            duration_h=hours, load_kw=load_kw, solar_kw=solar_kw, import_per_kwh=buy, export_per_kwh=sell
        )
        limits = (
            min(self._import_limit_kw, import_limit_w / 1e3),
            min(self._export_limit_kw, export_limit_w / 1e3),
        )
        if prices is None or not prices.rows:
            home = plan_home_light(battery, steps, import_limit_kw=limits[0], export_limit_kw=limits[1])
        else:
            home = self._mean_plan(battery, steps, starts, prices, before, limits, kept)
        return SitePlan(
            made_ns=now_ns,
            start_ns=starts,
            load_kw=load_kw,
            solar_kw=solar_kw,
            import_per_kwh=buy,
            export_per_kwh=sell,
            battery=battery,
            home=home,
            from_plant_until_ns=from_plant_ns if from_plant_ns > now_ns else 0,
            took_s=time.perf_counter() - began_s,
        )

    def _mean_plan(
        self,
        battery: HomeBattery,
        steps: HomeSteps,
        starts: list[int],
        prices: PriceSeries,
        before: PriceSeries | None,
        limits: tuple[float, float],
        kept: KeptLevels | None,
    ) -> HomePlanLight:
        """Return the mean of the plans against several rows, or what is left of one that was made before.

        It is made once: the mean of plans that were made anew on the way would be another one.
        """
        if kept is not None and kept.start_ns:
            energy_kwh = [min(kept.at(begin_ns), battery.usable_kwh) for begin_ns in starts]
            return kept_plan(battery, steps, energy_kwh, limits)
        plans = []
        for row in prices.rows:
            # from the row itself, to the last bit: a hair decides between two hours that cost the same
            one = PriceSeries(
                start_ns=prices.start_ns,
                step_s=prices.step_s,
                import_per_kwh=row,
                export_per_kwh=row,
                added=True,
            )
            priced = [self._prices_at(t, before if t < one.start_ns else one) for t in starts[:-1]]
            row_steps = replace(
                steps,
                import_per_kwh=[buy for buy, _, _ in priced],
                export_per_kwh=[sell for _, sell, _ in priced],
            )
            plans.append(
                plan_home_light(battery, row_steps, import_limit_kw=limits[0], export_limit_kw=limits[1])
            )
        energy_kwh = [
            math.fsum(share * level for share, level in zip(prices.weights, levels, strict=True))
            for levels in zip(*(plan.energy_kwh for plan in plans), strict=True)
        ]
        if kept is not None:
            kept.start_ns, kept.energy_kwh = list(starts), energy_kwh
        return kept_plan(battery, steps, energy_kwh, limits)

    def _columns(
        self,
        starts: list[int],
        now_ns: int,
        prices: PriceSeries | None,
        before: PriceSeries | None,
        ev_w: float,
    ) -> tuple[list[float], list[float], list[float], list[float], list[float], list[float]]:
        """Return durations, load, sun, both prices, and that of import without what is added, of each interval."""
        self.forecast.prepare(now_ns)
        hours: list[float] = []
        load_kw: list[float] = []
        solar_kw: list[float] = []
        buy: list[float] = []
        sell: list[float] = []
        plain: list[float] = []
        expected = (0.0, 0.0)
        slot = -1
        for begin_ns, end_ns in itertools.pairwise(starts):
            if begin_ns // SLOT_NS != slot:
                slot = begin_ns // SLOT_NS
                expected = self.forecast.expect(begin_ns, now_ns=now_ns)
            car_w = ev_w if begin_ns - now_ns < NS_PER_HOUR else 0.0
            earlier = prices is not None and begin_ns < prices.start_ns
            cost, earned, unmoved = self._prices_at(begin_ns, before if earlier else prices)
            hours.append((end_ns - begin_ns) / _HOUR)
            load_kw.append((expected[0] + car_w) / 1e3)
            solar_kw.append(expected[1] / 1e3)
            buy.append(cost)
            sell.append(earned)
            plain.append(unmoved)
        return hours, load_kw, solar_kw, buy, sell, plain

    def _prices_at(self, t_ns: int, prices: PriceSeries | None) -> tuple[float, float, float]:
        """Return what a kWh costs and earns, and what it costs without what the plant adds."""
        cost, earned = self._tariff.at(t_ns)
        if prices is None or not prices.start_ns <= t_ns < _end_ns(prices):
            return cost, earned, cost
        at = (t_ns - prices.start_ns) // (prices.step_s * NS_PER_S)
        said, paid = prices.import_per_kwh[at], prices.export_per_kwh[at]
        return (cost + said, earned + paid, cost) if prices.added else (said, paid, said)


def _end_ns(prices: PriceSeries) -> int:
    steps = min(len(prices.import_per_kwh), len(prices.export_per_kwh))
    return prices.start_ns + steps * prices.step_s * NS_PER_S


def _starts(now_ns: int, prices: PriceSeries | None) -> list[int]:
    """Return where the intervals begin and the last one ends: now, then five minutes, then quarters of an hour.

    Near ahead one also begins wherever the plant's price changes.
    """
    starts = {now_ns}
    fine_until_ns = now_ns + _FINE_NS
    at = now_ns // REPLAN_NS * REPLAN_NS + REPLAN_NS
    while at < fine_until_ns or at % SLOT_NS:
        starts.add(at)
        at += REPLAN_NS
    if prices is not None and (prices.start_ns % REPLAN_NS or prices.step_s * NS_PER_S % REPLAN_NS):
        step_ns = max(prices.step_s * NS_PER_S, NS_PER_MINUTE)
        first = prices.start_ns + max(-(-(now_ns - prices.start_ns) // step_ns), 0) * step_ns
        starts.update(range(first, min(fine_until_ns, _end_ns(prices) + 1), step_ns))
    while at <= now_ns + HORIZON_NS:
        starts.add(at)
        at += SLOT_NS
    return sorted(starts)
