"""The exact plan of one home's battery in plain Python: no compiler and no megabytes on a small box.

The worth of stored energy is concave and piecewise linear, so it is kept as segments of falling slope. One step back in
time merges the slopes at which this interval's grid, roof and load take or give energy into that list and cuts what leaves
the battery; the best action is to move the energy towards one level for each slope. The levels of the first interval are
kept as the policy: they hold for whatever load and sun it really brings, not only for those that were forecast.

Exact where buying costs nothing less than nothing and no less than selling earns. Else it plans on the safe side: sales earn
at most what buying costs, and nothing is discharged while buying is paid for.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from shoal.domain.errors import InvalidInputError

PENALTY_PER_KWH: Final = 1_000.0
"""What a kWh beyond a limit of the connection counts for: more than any price, so a limit gives way only to nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeBattery:
    """The battery as the plan sees it; energies above the owner's reserve.

    Attributes:
        charge_limit_kw: At the terminals.
        discharge_limit_kw: At the terminals.
        charge_efficiency_frac: Stored per taken in, above 0.
        discharge_efficiency_frac: Given out per stored, above 0.
        usable_kwh: Room above the reserve.
        initial_kwh: What is in it now, 0 to the room.
        wear_per_kwh: Cost of each kWh discharged.
        terminal_per_kwh: What a kWh left at the end is worth.
    """

    charge_limit_kw: float
    discharge_limit_kw: float
    charge_efficiency_frac: float
    discharge_efficiency_frac: float
    usable_kwh: float
    initial_kwh: float
    wear_per_kwh: float = 0.0
    terminal_per_kwh: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeSteps:
    """What is expected in each of T intervals; all sequences have length T.

    Attributes:
        duration_h: Length of each, in hours.
        load_kw: Consumption without the battery, >= 0.
        solar_kw: What the roof can give, >= 0.
        import_per_kwh: Price of a kWh from the grid.
        export_per_kwh: What a kWh into the grid earns.
    """

    duration_h: Sequence[float]
    load_kw: Sequence[float]
    solar_kw: Sequence[float]
    import_per_kwh: Sequence[float]
    export_per_kwh: Sequence[float]


class Levels(NamedTuple):
    """The policy of an interval: usable energies up or down to which the battery moves, in kWh.

    Below `buy_kwh` it charges from the grid, below `absorb_kwh` from surplus; above `cover_kwh` it discharges to cover the
    home's need, above `sell_kwh` into the grid.
    """

    buy_kwh: float
    absorb_kwh: float
    cover_kwh: float
    sell_kwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HomePlanLight:
    """A schedule over T intervals.

    Attributes:
        battery_kw: Charging positive (T).
        solar_kw: What is taken of the roof, <= 0 (T).
        grid_kw: Import positive (T).
        energy_kwh: Usable energy at the start of each and at the end (T + 1).
        cost: Of the grid's energy and of wear, less what is left at the end.
        levels: The policy of the first interval.
        worth_per_kwh: What a stored kWh is worth at the end of the first interval.
    """

    battery_kw: list[float]
    solar_kw: list[float]
    grid_kw: list[float]
    energy_kwh: list[float]
    cost: float
    levels: Levels
    worth_per_kwh: float


# One segment of what an interval can take or give, from most charging down to most discharging: what releasing one more
# stored kWh brings, negated; how many stored kWh at that; and energy at the terminals per stored kWh. Plain, for speed.
_Piece: TypeAlias = tuple[float, float, float]


class _Stage(NamedTuple):
    """An interval: its pieces, and the level of each: release down to it."""

    most_charge_kwh: float
    most_stored_kwh: float
    pieces: list[_Piece]
    levels_kwh: list[float]


def plan_home_light(
    battery: HomeBattery,
    steps: HomeSteps,
    *,
    import_limit_kw: float = math.inf,
    export_limit_kw: float = math.inf,
) -> HomePlanLight:
    """Return the cheapest schedule of the battery.

    Raises:
        InvalidInputError: when a sequence is empty or of another length, or a number is none.
    """
    count = _checked(battery, steps)
    usable = battery.usable_kwh
    falls, lengths = [-battery.terminal_per_kwh], [usable]
    stages: list[_Stage] = []
    first_falls, first_lengths = falls, lengths
    for t in range(count - 1, -1, -1):
        if t == 0:
            first_falls, first_lengths = falls.copy(), lengths.copy()
        stage = _stage(battery, steps, t, import_limit_kw, export_limit_kw)
        given = _merge(falls, lengths, stage) - stage.most_stored_kwh
        _cut(falls, lengths, stage.most_stored_kwh, given)
        stages.append(stage)
    stages.reverse()
    return _follow(battery, steps, stages, (first_falls, first_lengths), import_limit_kw, export_limit_kw)


def levels_power_kw(
    battery: HomeBattery, levels: Levels, *, net_kw: float, usable_kwh: float, horizon_h: float
) -> float:
    """Return the battery's power, charging positive, that the levels call for now.

    Args:
        battery: The battery.
        levels: The policy of the present interval.
        net_kw: What the home takes less what the roof gives, as measured.
        usable_kwh: Energy above the reserve, as measured.
        horizon_h: Over how long a level is to be reached at most.
    """
    into, out = battery.charge_efficiency_frac, battery.discharge_efficiency_frac
    surplus_kw, need_kw = max(-net_kw, 0.0), max(net_kw, 0.0)
    to_buy_kw = min((levels.buy_kwh - usable_kwh) / into / horizon_h, battery.charge_limit_kw)
    to_absorb_kw = min(
        (levels.absorb_kwh - usable_kwh) / into / horizon_h, surplus_kw, battery.charge_limit_kw
    )
    charge_kw = max(to_buy_kw, to_absorb_kw, 0.0)
    if charge_kw > 0.0:
        return charge_kw
    to_sell_kw = min((usable_kwh - levels.sell_kwh) * out / horizon_h, battery.discharge_limit_kw)
    to_cover_kw = min((usable_kwh - levels.cover_kwh) * out / horizon_h, need_kw, battery.discharge_limit_kw)
    return -max(to_sell_kw, to_cover_kw, 0.0)


def kept_plan(
    battery: HomeBattery, steps: HomeSteps, energy_kwh: Sequence[float], limits_kw: tuple[float, float]
) -> HomePlanLight:
    """Return the plan that keeps to given energies as far as the battery can, whatever it costs.

    Args:
        battery: The battery; it begins with what is in it now.
        steps: What is expected.
        energy_kwh: Usable energy wanted at the start of each interval and at the end (T + 1).
        limits_kw: Most net import and export of the connection.
    """
    _checked(battery, steps)
    into, out = battery.charge_efficiency_frac, battery.discharge_efficiency_frac
    energy = [battery.initial_kwh]
    powers, roofs, grids = [], [], []
    cost = 0.0
    for t, hours in enumerate(steps.duration_h):
        wanted = min(max(energy_kwh[t + 1], 0.0), battery.usable_kwh) - energy[-1]
        power = wanted / into / hours if wanted > 0.0 else wanted * out / hours
        power = min(max(power, -battery.discharge_limit_kw), battery.charge_limit_kw)
        energy.append(energy[-1] + (power * into if power > 0.0 else power / out) * hours)
        net = (steps.load_kw[t] + power) * hours
        sun = _roof_kwh(steps, t, net, limits_kw[0] * hours, limits_kw[1] * hours)
        grid = net - sun
        price = steps.import_per_kwh[t] if grid > 0 else steps.export_per_kwh[t]
        cost += price * grid + battery.wear_per_kwh * max(-power, 0.0) * hours
        powers.append(power)
        roofs.append(-sun / hours)
        grids.append(grid / hours)
    level = energy[1]
    return HomePlanLight(
        battery_kw=powers,
        solar_kw=roofs,
        grid_kw=grids,
        energy_kwh=energy,
        cost=cost - battery.terminal_per_kwh * energy[-1],
        levels=Levels(buy_kwh=level, absorb_kwh=level, cover_kwh=level, sell_kwh=level),
        worth_per_kwh=battery.terminal_per_kwh,
    )


def _checked(battery: HomeBattery, steps: HomeSteps) -> int:
    count = len(steps.duration_h)
    for name in HomeSteps.__slots__:
        column = getattr(steps, name)
        if len(column) != count or count == 0:
            raise InvalidInputError(field=name, value=len(column), fix=f"give {max(count, 1)} numbers")
        if not all(map(math.isfinite, column)):
            raise InvalidInputError(field=name, value="not finite", fix="give numbers")
    numbers = [getattr(battery, name) for name in HomeBattery.__slots__]
    fit = all(map(math.isfinite, numbers)) and min(numbers[:6]) >= 0 and min(numbers[2:4]) > 0
    if not fit or battery.initial_kwh > battery.usable_kwh or min(steps.duration_h) <= 0:
        raise InvalidInputError(field="battery", value=numbers, fix="within the ranges of HomeBattery")
    return count


def _marginals(
    buy: float, sell: float, solar_kwh: float, import_kwh: float, export_kwh: float
) -> list[tuple[float, float]]:
    """Return pairs of lower end and marginal cost, falling, over the net energy before any curtailment.

    A roof is curtailed where its energy would earn less than nothing or cannot leave.
    """
    if buy < 0.0:
        # buying is paid for: the roof is off, up to what the connection carries
        return [
            (import_kwh, PENALTY_PER_KWH),
            (import_kwh - solar_kwh, 0.0),
            (-solar_kwh, buy),
            (-solar_kwh - export_kwh, sell),
            (-math.inf, -PENALTY_PER_KWH),
        ]
    top = [(0.0, buy)] if import_kwh == math.inf else [(import_kwh, buy + PENALTY_PER_KWH), (0.0, buy)]
    if sell < 0.0:
        top += ((-solar_kwh, 0.0), (-solar_kwh - export_kwh, sell))
    elif export_kwh == math.inf:
        top.append((-math.inf, sell))
        return top
    else:
        top += ((-export_kwh, sell), (-solar_kwh - export_kwh, 0.0))
    top.append((-math.inf, -PENALTY_PER_KWH))
    return top


def _stage(battery: HomeBattery, steps: HomeSteps, t: int, import_kw: float, export_kw: float) -> _Stage:
    """Return an interval's pieces; their levels are still to be found."""
    hours = steps.duration_h[t]
    buy = steps.import_per_kwh[t]
    sell = min(steps.export_per_kwh[t], buy)
    solar_kwh = steps.solar_kw[t] * hours
    net_kwh = steps.load_kw[t] * hours - solar_kwh
    into, out, wear = battery.charge_efficiency_frac, battery.discharge_efficiency_frac, battery.wear_per_kwh
    most = battery.charge_limit_kw * hours
    least = -battery.discharge_limit_kw * hours if buy >= 0.0 else 0.0
    pieces: list[_Piece] = []
    top = most
    for end_kwh, slope in _marginals(buy, sell, solar_kwh, import_kw * hours, export_kw * hours):
        low = end_kwh - net_kwh
        if low >= top:
            continue
        if low < least:
            low = least
        if low >= 0.0:
            pieces.append((-slope / into, (top - low) * into, 1.0 / into))
        else:
            if top > 0.0:
                pieces.append((-slope / into, top * into, 1.0 / into))
                top = 0.0
            pieces.append(((wear - slope) * out, (top - low) / out, out))
        top = low
        if top <= least:
            break
    return _Stage(most, most * into, pieces, [])


def _merge(falls: list[float], lengths: list[float], stage: _Stage) -> float:
    """Note the level of each piece, put the pieces among the segments, and return how many stored kWh they are."""
    places: list[int] = []
    at, level, stored = 0, 0.0, 0.0
    for fall, length, _ in stage.pieces:
        place = bisect_left(falls, fall, at)
        level += sum(lengths[at:place])
        at = place
        places.append(place)
        stage.levels_kwh.append(level)
        stored += length
    # from the last on, so that the places before stay where they are
    for place, (fall, length, _) in zip(reversed(places), reversed(stage.pieces), strict=True):
        if place < len(falls) and falls[place] == fall:
            lengths[place] += length
        else:
            falls.insert(place, fall)
            lengths.insert(place, length)
    return stored


def _cut(falls: list[float], lengths: list[float], left_kwh: float, right_kwh: float) -> None:
    """Take so much away from both ends of the list."""
    first = 0
    while first < len(lengths) - 1 and lengths[first] <= left_kwh:
        left_kwh -= lengths[first]
        first += 1
    lengths[first] = max(lengths[first] - left_kwh, 0.0)
    last = len(lengths) - 1
    while last > first and lengths[last] <= right_kwh:
        right_kwh -= lengths[last]
        last -= 1
    lengths[last] = max(lengths[last] - right_kwh, 0.0)
    del falls[last + 1 :], lengths[last + 1 :], falls[:first], lengths[:first]


def _follow(
    battery: HomeBattery,
    steps: HomeSteps,
    stages: list[_Stage],
    ahead: tuple[list[float], list[float]],
    import_kw: float,
    export_kw: float,
) -> HomePlanLight:
    """Walk forward along the levels and return the plan."""
    energy = [battery.initial_kwh]
    powers, roofs, grids = [], [], []
    cost = 0.0
    for t, stage in enumerate(stages):
        hours = steps.duration_h[t]
        stored = energy[-1] + stage.most_stored_kwh
        taken = stage.most_charge_kwh
        for (_, length, kwh_per_stored), level in zip(stage.pieces, stage.levels_kwh, strict=True):
            released = stored - level
            if released <= 0.0:
                break
            if released < length:
                stored = level
                taken -= released * kwh_per_stored
                break
            stored -= length
            taken -= length * kwh_per_stored
        net = steps.load_kw[t] * hours + taken
        sun = _roof_kwh(steps, t, net, import_kw * hours, export_kw * hours)
        grid = net - sun
        price = steps.import_per_kwh[t] if grid > 0 else steps.export_per_kwh[t]
        cost += price * grid + battery.wear_per_kwh * max(-taken, 0.0)
        energy.append(min(max(stored, 0.0), battery.usable_kwh))
        powers.append(taken / hours)
        roofs.append(-sun / hours)
        grids.append(grid / hours)
    levels, worth = _first_policy(battery, steps, ahead, energy[1])
    return HomePlanLight(
        battery_kw=powers,
        solar_kw=roofs,
        grid_kw=grids,
        energy_kwh=energy,
        cost=cost - battery.terminal_per_kwh * energy[-1],
        levels=levels,
        worth_per_kwh=worth,
    )


def _roof_kwh(steps: HomeSteps, t: int, net_kwh: float, import_kwh: float, export_kwh: float) -> float:
    """Return how much of the roof is taken when so much goes to the home and its battery."""
    sun = steps.solar_kw[t] * steps.duration_h[t]
    if steps.import_per_kwh[t] < 0.0:
        return min(sun, max(net_kwh - import_kwh, 0.0))
    if min(steps.export_per_kwh[t], steps.import_per_kwh[t]) < 0.0:
        return min(sun, max(net_kwh, 0.0))
    return min(sun, max(net_kwh + export_kwh, 0.0))


def _first_policy(
    battery: HomeBattery, steps: HomeSteps, ahead: tuple[list[float], list[float]], energy_kwh: float
) -> tuple[Levels, float]:
    """Return the levels of the first interval, and what a stored kWh is worth at its end."""
    falls, lengths = ahead
    buy = steps.import_per_kwh[0]
    sell = min(steps.export_per_kwh[0], buy)
    into, out = battery.charge_efficiency_frac, battery.discharge_efficiency_frac

    def level(slope: float) -> float:
        return sum(lengths[: bisect_left(falls, -slope)])

    never = battery.usable_kwh
    at, reached = 0, lengths[0]
    while at < len(falls) - 1 and reached < energy_kwh:
        at += 1
        reached += lengths[at]
    levels = Levels(
        buy_kwh=level(buy / into),
        absorb_kwh=level(max(sell, 0.0) / into),
        cover_kwh=level((buy - battery.wear_per_kwh) * out) if buy >= 0.0 else never,
        sell_kwh=level((sell - battery.wear_per_kwh) * out) if buy >= 0.0 and sell > 0.0 else never,
    )
    return levels, -falls[at]
