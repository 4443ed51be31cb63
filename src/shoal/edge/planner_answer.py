"""A site's answer to prices: the plan that it would follow, seen from the search for them.

It is made by the site's own planner, over its whole outlook, with the prices added where the question speaks of them; so what
the site answers is what it does when these prices become its orders. The bound holds in the few cases too in which the plan
is not proven to be the best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from shoal.domain.interval import NS_PER_S
from shoal.domain.orders import PriceSeries
from shoal.edge.planner import SitePlan, SitePlanner
from shoal.edge.planner_exact import PENALTY_PER_KWH, HomeSteps, plan_home_light
from shoal.edge.price_round import ROLL, PriceAnswer, PriceAsk, column, rows_of, series_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteNow:
    """What the answer rests on.

    Attributes:
        soc_frac: State of charge, 0 to 1.
        reserve_frac: What the owner keeps, of the capacity.
        ev_w: What the car draws.
        prices: What is followed until the question's first interval.
    """

    soc_frac: float
    reserve_frac: float
    ev_w: float = 0.0
    prices: PriceSeries | None = None


def answer(
    planner: SitePlanner, ask: PriceAsk, now: SiteNow, *, now_ns: int, alone: bool
) -> PriceAnswer | None:
    """Return the answer to a question; None when it speaks of times beyond what the site looks ahead.

    Args:
        planner: The site's planner.
        ask: The question.
        now: What the answer rests on.
        now_ns: The present instant.
        alone: See `PriceAnswer`.
    """
    roll = ask.number == ROLL
    rows = [(0.0,) * ask.steps] if roll else rows_of(ask)
    series = series_of(rows, ask.shares, start_ns=ask.start_ns, step_s=ask.step_s)
    added = series.import_per_kwh
    plan = planner.plan(
        now_ns,
        soc_frac=now.soc_frac,
        reserve_frac=now.reserve_frac,
        prices=series,
        before=now.prices,
        ev_w=now.ev_w,
    )
    places = _places(plan, ask)
    if places is None:
        return None
    if roll:
        least, most = _reach(plan)
        return PriceAnswer(
            search=ask.search,
            number=ROLL,
            alone=alone,
            least=column(_summed(least, places, ask.steps)),
            most=column(_summed(most, places, ask.steps)),
        )
    taken = [power * hours for power, hours in zip(plan.home.grid_kw, _hours(plan), strict=True)]
    paid = sum(added[place] * energy for place, energy in zip(places, taken, strict=True) if place >= 0)
    penalty = PENALTY_PER_KWH * _excess_kwh(taken, _hours(plan), *planner.limits_kw)
    # what is stored already is no gain of the plan: less its worth, costs are what energy really costs
    stored = plan.battery.terminal_per_kwh * plan.battery.initial_kwh
    return PriceAnswer(
        search=ask.search,
        number=ask.number,
        alone=alone,
        energy=column(_summed(taken, places, ask.steps)),
        cost=plan.home.cost + stored - paid + penalty,
        lower_bound=_bound(plan, penalty, *planner.limits_kw) + stored,
        penalty=penalty,
    )


def _places(plan: SitePlan, ask: PriceAsk) -> list[int] | None:
    """Return in which interval of the question each of the plan lies, -1 for none."""
    step_ns = ask.step_s * NS_PER_S
    end_ns = ask.start_ns + ask.steps * step_ns
    if end_ns > plan.start_ns[-1]:
        return None
    return [
        (begin_ns - ask.start_ns) // step_ns if ask.start_ns <= begin_ns < end_ns else -1
        for begin_ns in plan.start_ns[:-1]
    ]


def _summed(values: Sequence[float], places: Sequence[int], steps: int) -> list[float]:
    sums = [0.0] * steps
    for value, place in zip(values, places, strict=True):
        if place >= 0:
            sums[place] += value
    return sums


def _hours(plan: SitePlan) -> list[float]:
    return [(end - begin) / 3.6e12 for begin, end in zip(plan.start_ns, plan.start_ns[1:], strict=False)]


def _reach(plan: SitePlan) -> tuple[list[float], list[float]]:
    """Return the least and the most net import of each interval in kWh, whatever the prices."""
    least, most = [], []
    for hours, load_kw, solar_kw in zip(_hours(plan), plan.load_kw, plan.solar_kw, strict=True):
        least.append((load_kw - solar_kw - plan.battery.discharge_limit_kw) * hours)
        most.append((load_kw + plan.battery.charge_limit_kw) * hours)
    return least, most


def _excess_kwh(
    taken_kwh: Sequence[float], hours: Sequence[float], import_limit_kw: float, export_limit_kw: float
) -> float:
    return sum(
        max(energy - import_limit_kw * length, 0.0) + max(-energy - export_limit_kw * length, 0.0)
        for energy, length in zip(taken_kwh, hours, strict=True)
        if math.isfinite(import_limit_kw) or math.isfinite(export_limit_kw)
    )


def _bound(plan: SitePlan, penalty: float, import_limit_kw: float, export_limit_kw: float) -> float:
    """Return what no plan costs less, in currency, with penalties.

    The plan is the best where buying costs nothing less than nothing, and no less than selling earns. Else the best at prices
    that are bent to be so is, less the most that the bend could ever bring.
    """
    pairs = list(zip(plan.import_per_kwh, plan.export_per_kwh, strict=True))
    if all(0.0 <= buy >= sell for buy, sell in pairs):
        return plan.home.cost + penalty
    buys = [max(buy, 0.0) for buy, _ in pairs]
    sells = [min(sell, bent) for (_, sell), bent in zip(pairs, buys, strict=True)]
    hours = _hours(plan)
    bent_plan = plan_home_light(
        plan.battery,
        HomeSteps(
            duration_h=hours,
            load_kw=plan.load_kw,
            solar_kw=plan.solar_kw,
            import_per_kwh=buys,
            export_per_kwh=sells,
        ),
        import_limit_kw=import_limit_kw,
        export_limit_kw=export_limit_kw,
    )
    taken = [power * length for power, length in zip(bent_plan.grid_kw, hours, strict=True)]
    bound = bent_plan.cost + PENALTY_PER_KWH * _excess_kwh(taken, hours, import_limit_kw, export_limit_kw)
    least, most = _reach(plan)
    for (buy, sell), bent_buy, bent_sell, low, high in zip(pairs, buys, sells, least, most, strict=True):
        bound += min((buy - bent_buy) * max(high, 0.0), (sell - bent_sell) * min(low, 0.0), 0.0)
    return bound
