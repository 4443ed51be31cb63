"""Positions for a market that prices imbalance afterwards: what is notified is planned on what the price will be in the mean.

    fresh           a Markov programme on prices up to the last hours
    older_prices    the same on whatever prices there are
    typical_shape   the exact optimum on what the half-hours usually cost
    idle            nothing, where nothing is notified yet

The position is the physical plan: what is notified is delivered, and the contract behind it is not the market's affair.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.bidding.cycle.balancing_chain import SLOTS, fit_prices, middle_shape
from shoal.bidding.cycle.decision import Decision, GateStrategy, PlannedIntervals, RungOf, register
from shoal.bidding.cycle.known import FixedPower, Known, Question, Series, Situation
from shoal.bidding.cycle.projection import projected, stored_kwh
from shoal.domain.errors import InvalidInputError
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_HOUR, Interval, iso, to_datetime
from shoal.market.bids import LoadTarget, TargetInterval
from shoal.market.contract import Market
from shoal.market.registry import market_module
from shoal.market.series import price_series
from shoal.optimise.markov import MarkovPlan, plan_markov
from shoal.optimise.storage import KWH_PER_MWH, Storage, plan_storage

Floats = NDArray[np.float64]
HALF_HOUR_NS: Final = NS_PER_HOUR // 2
HALF_HOUR_H: Final = 0.5
HISTORY_DAYS: Final = 90
TYPICAL_DAYS: Final = 14
HORIZON_STEPS: Final = 72
FOLLOWING: Final = 2
"""Half-hours listed beside the one of the gate, so that something sensible is notified if nobody comes back."""
FRESH_STEPS: Final = 8
"""The best rung wants to know a price of so many half-hours before delivery at the latest: three are always unknown."""
OLDEST_STEPS: Final = 48
_KW_PER_MW: Final = 1e3
_AMOUNT_PER_CURRENCY: Final = 1e8
_CLOSE_FRAC: Final = 1e-9


def price_id(situation: Situation) -> SeriesId:
    """Return the series of imbalance prices."""
    gate = situation.gate
    return price_series(gate.market_id, situation.settlement_point, gate.product_id)


def volume_id(situation: Situation) -> SeriesId:
    """Return the series of the system's net imbalance."""
    return SeriesId(f"imbalance/{situation.gate.market_id}/{situation.settlement_point}/volume")


def questions(situation: Situation) -> tuple[Question, ...]:
    """Ask for the prices of the last months and the imbalance of the system."""
    from_ns, to_ns = situation.as_of_ns - HISTORY_DAYS * 24 * NS_PER_HOUR, situation.gate.covers_start_ns
    return tuple(
        Question(series_id=one, from_ns=from_ns, to_ns=to_ns)
        for one in (price_id(situation), volume_id(situation))
    )


def fresh(known: Known) -> Decision:
    """Notify what stored energy is worth in each state of the price; raises when the newest price is too old."""
    past = _past(known)
    if past.lag_steps > FRESH_STEPS:
        raise InvalidInputError(
            field="newest price",
            value=iso(past.newest_ns),
            fix=f"at most {FRESH_STEPS} half-hours before delivery is wanted",
        )
    return _by_chain(known.situation, past, past.lag_steps, "fresh")


def on_older_prices(known: Known) -> Decision:
    """The same on whatever prices there are: the older they are, the less they say."""
    past = _past(known)
    return _by_chain(known.situation, past, min(past.lag_steps, OLDEST_STEPS), "older_prices")


def typical_shape(known: Known) -> Decision:
    """Notify the exact optimum on what the half-hours of the day cost lately."""
    situation, past = known.situation, _past(known)
    recent = slice(-TYPICAL_DAYS * SLOTS, None)
    price, slot = past.price_per_mwh[recent], past.slot_number[recent]
    shape = middle_shape(price, slot)
    expected = shape[_slots(situation, 0, HORIZON_STEPS)]
    storage = replace(_projected(situation), terminal_value_per_mwh=_worth_after(situation, shape))
    plan = plan_storage(storage, expected, HALF_HOUR_H)
    rows = 1 + FOLLOWING
    return _decision(
        situation,
        storage,
        wanted_kw=(plan.charge_kw - plan.discharge_kw)[:rows].tolist(),
        expected_per_mwh=expected[:rows].tolist(),
        worth_per_mwh=plan.marginal_value_per_mwh[: rows + 1].tolist(),
        rung="typical_shape",
        reasons=(
            f"this half-hour usually costs {expected[0]:.2f}, a MWh in store is worth "
            f"{plan.marginal_value_per_mwh[1]:.2f}",
        ),
        amount=plan.value,
    )


def idle(known: Known) -> Decision:
    """Notify that nothing is planned; raises when the half-hour is notified already."""
    situation = known.situation
    if situation.gate.covers_start_ns in _standing_kw(situation):
        raise InvalidInputError(field="standing", value="a position", fix="it is better left as it is")
    return _decision(
        situation,
        situation.storage,
        wanted_kw=[0.0],
        expected_per_mwh=[0.0],
        worth_per_mwh=[0.0, 0.0],
        rung="idle",
        reasons=("nothing could be planned: nothing is notified",),
        amount=None,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Past:
    """Prices on a regular grid of half-hours up to the newest, and how far before delivery that is."""

    price_per_mwh: Floats
    volume_mwh: Floats
    slot_number: NDArray[np.int64]
    newest_ns: int
    lag_steps: int


def _past(known: Known) -> _Past:
    situation = known.situation
    zone = ZoneInfo(market_module(situation.gate.market_id).rules.zone)
    series = known.facts[price_id(situation)]
    there = np.isfinite(series.value[:, 0]) & (series.end_ns <= situation.gate.covers_start_ns)
    if not there.any():
        raise InvalidInputError(field="price history", value="nothing", fix=f"record {price_id(situation)}")
    first_ns, newest_ns = int(series.start_ns[there][0]), int(series.start_ns[there][-1])
    count = (newest_ns - first_ns) // HALF_HOUR_NS + 1
    price = _gridded(series, first_ns, count)
    volume = known.facts.get(volume_id(situation))
    return _Past(
        price_per_mwh=price,
        volume_mwh=np.full(count, np.nan) if volume is None else _gridded(volume, first_ns, count),
        slot_number=_slots_of(first_ns, count, zone),
        newest_ns=newest_ns,
        lag_steps=max((situation.gate.covers_start_ns - newest_ns) // HALF_HOUR_NS, 1),
    )


def _gridded(series: Series, first_ns: int, count: int) -> Floats:
    """Return a series on the grid of half-hours, NaN where it is unknown."""
    found = np.full(count, np.nan)
    row = (series.start_ns - first_ns) // HALF_HOUR_NS
    held = (row >= 0) & (row < count) & np.isfinite(series.value[:, 0])
    found[row[held]] = series.value[held, 0]
    return found


def _slots_of(first_ns: int, count: int, zone: ZoneInfo) -> NDArray[np.int64]:
    """Return the number of each half-hour in its local day."""
    # the offset of a zone changes on whole hours: ask once an hour at most, and only where it may have changed
    start_ns = first_ns + np.arange(count, dtype=np.int64) * HALF_HOUR_NS
    day_no = start_ns // (6 * NS_PER_HOUR)
    offset_ns = np.empty(count, dtype=np.int64)
    for part in np.unique(day_no).tolist():
        rows = np.flatnonzero(day_no == part)
        ends = [_offset_ns(int(start_ns[at]), zone) for at in (rows[0], rows[-1])]
        if ends[0] == ends[1]:
            offset_ns[rows] = ends[0]
        else:
            offset_ns[rows] = [_offset_ns(int(start_ns[at]), zone) for at in rows.tolist()]
    return np.asarray((start_ns + offset_ns) // HALF_HOUR_NS % SLOTS)


def _offset_ns(t_ns: int, zone: ZoneInfo) -> int:
    offset = to_datetime(t_ns, zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds()) * 1_000_000_000


def _slots(situation: Situation, first: int, count: int) -> NDArray[np.int64]:
    zone = ZoneInfo(market_module(situation.gate.market_id).rules.zone)
    return _slots_of(situation.gate.covers_start_ns + first * HALF_HOUR_NS, count, zone)


def _by_chain(situation: Situation, past: _Past, lag_steps: int, rung: str) -> Decision:
    prices = fit_prices(past.price_per_mwh, past.volume_mwh, past.slot_number, lag_steps=lag_steps)
    storage = replace(
        _projected(situation), terminal_value_per_mwh=_worth_after(situation, prices.shape_per_mwh)
    )
    rows = 1 + FOLLOWING
    plan = plan_markov(
        storage,
        prices.markov(),
        HALF_HOUR_H,
        slot_number=_slots(situation, 1, HORIZON_STEPS),
        keep_steps=rows,
    )
    slots = _slots(situation, 0, rows)
    energy_kwh = storage.initial_energy_kwh
    wanted_kw, expected, worths, flips, earned = [], [], [], [], 0.0
    for row in range(rows):
        chances = prices.chances(row)
        price = float(prices.shape_per_mwh[slots[row]] + chances @ prices.mean_per_mwh)
        follows = chances @ prices.transition
        released_kwh, worth = _best_release(plan, row, follows, energy_kwh, price)
        flips.append(_flips(plan, row, follows, energy_kwh))
        earned = worth if row == 0 else earned
        wanted_kw.append(_net_kw(storage, released_kwh))
        expected.append(price)
        energy_kwh = min(max(energy_kwh - released_kwh, 0.0), storage.energy_capacity_kwh)
        worths.append(_slopes(plan, row, follows, energy_kwh))
    (gain, loss), state = worths[0], prices.state_number
    low = expected[0] + float(prices.low_per_mwh[state] - prices.mean_per_mwh[state])
    high = expected[0] + float(prices.high_per_mwh[state] - prices.mean_per_mwh[state])
    below = gain * storage.charge_efficiency_frac
    above = loss / storage.discharge_efficiency_frac + storage.throughput_cost_per_mwh
    middle = [0.5 * (more + less) for more, less in worths]
    return _decision(
        situation,
        storage,
        wanted_kw=wanted_kw,
        expected_per_mwh=expected,
        worth_per_mwh=[middle[0], *middle],
        rung=rung,
        reasons=(
            f"expects {expected[0]:.2f}, in one case of ten below {low:.2f} and in one above {high:.2f}, "
            f"{lag_steps} half-hours after the newest price",
            f"charging pays below {below:.2f}, discharging above {above:.2f}, by what energy is worth afterwards",
        ),
        amount=earned,
        flips_per_mwh=flips,
    )


def _best_release(
    plan: MarkovPlan, row: int, chances: Floats, energy_kwh: float, price_per_mwh: float
) -> tuple[float, float]:
    """Return how much energy it is best to release before the price is known, charging negative, and what all is worth.

    Money and worth are both straight between the levels of the plan, so the best is on one of them, or at an end.
    """
    storage, value = plan.storage, chances @ plan.value_amount[row]
    after, levels = _reached(storage, energy_kwh, len(value) - 1)
    release = energy_kwh - after
    sold_kwh = np.maximum(release, 0.0) * storage.discharge_efficiency_frac
    bought_kwh = np.maximum(-release, 0.0) / storage.charge_efficiency_frac
    wear = storage.throughput_cost_per_mwh
    money = ((price_per_mwh - wear) * sold_kwh - price_per_mwh * bought_kwh) / KWH_PER_MWH
    worth = money + np.interp(after, levels, value)
    best = int(np.argmax(worth > worth.max() - _CLOSE_FRAC * max(abs(float(worth.max())), 1.0)))
    return float(release[best]), float(worth[best])


def _reached(storage: Storage, energy_kwh: float, cells: int) -> tuple[Floats, Floats]:
    """Return where a half-hour can lead, standing still first, and the levels of a plan of so many cells."""
    up_kwh = storage.charge_limit_kw * HALF_HOUR_H * storage.charge_efficiency_frac
    down_kwh = storage.discharge_limit_kw * HALF_HOUR_H / storage.discharge_efficiency_frac
    low = max(energy_kwh - down_kwh, 0.0)
    high = min(energy_kwh + up_kwh, storage.energy_capacity_kwh)
    levels = np.linspace(0.0, storage.energy_capacity_kwh, cells + 1)
    return np.concatenate([[energy_kwh, low, high], levels[(levels > low) & (levels < high)]]), levels


def _flips(
    plan: MarkovPlan, row: int, chances: Floats, energy_kwh: float
) -> tuple[float | None, float | None]:
    """Return the prices below which it is best to charge, and above which to discharge; None where none makes it.

    At them the best charging, or the best discharging, is worth just what standing still is.
    """
    storage, value = plan.storage, chances @ plan.value_amount[row]
    after, levels = _reached(storage, energy_kwh, len(value) - 1)
    worth = np.interp(after, levels, value)
    gained, moved_kwh = worth - worth[0], after - energy_kwh
    fuller, emptier = moved_kwh > 0.0, moved_kwh < 0.0
    per_mwh = gained[fuller] / (moved_kwh[fuller] / storage.charge_efficiency_frac) * KWH_PER_MWH
    asked_per_mwh = gained[emptier] / (moved_kwh[emptier] * storage.discharge_efficiency_frac) * KWH_PER_MWH
    return (
        float(per_mwh.max()) if fuller.any() else None,
        float(asked_per_mwh.min()) + storage.throughput_cost_per_mwh if emptier.any() else None,
    )


def _net_kw(storage: Storage, released_kwh: float) -> float:
    """Return the net load that releases so much from the store in half an hour."""
    if released_kwh >= 0.0:
        return -released_kwh * storage.discharge_efficiency_frac / HALF_HOUR_H
    return -released_kwh / storage.charge_efficiency_frac / HALF_HOUR_H


def _slopes(plan: MarkovPlan, row: int, chances: Floats, energy_kwh: float) -> tuple[float, float]:
    """Return what a MWh more, and a MWh less, in store is worth before an interval."""
    value = chances @ plan.value_amount[row]
    cells = len(value) - 1
    cell_kwh = plan.storage.energy_capacity_kwh / cells
    at = energy_kwh / cell_kwh
    up, down = min(int(at + _CLOSE_FRAC), cells - 1), max(int(np.ceil(at - _CLOSE_FRAC)), 1)
    per_mwh = KWH_PER_MWH / cell_kwh
    return float(value[up + 1] - value[up]) * per_mwh, float(value[down] - value[down - 1]) * per_mwh


def _worth_after(situation: Situation, shape: Floats) -> float:
    """Return what a MWh left at the end of the horizon is worth: what is asked for, or the mean of the day delivered."""
    storage = situation.storage
    if storage.terminal_value_per_mwh:
        return storage.terminal_value_per_mwh
    return max(float(shape.mean()) - storage.throughput_cost_per_mwh, 0.0) * storage.discharge_efficiency_frac


def _standing_kw(situation: Situation) -> dict[int, tuple[int, float]]:
    """Return what is notified already, by the start of the half-hour: its end and its power."""
    found: dict[int, tuple[int, float]] = {}
    for offer in () if situation.standing is None else situation.standing.offers:
        if isinstance(offer, LoadTarget) and offer.product == situation.gate.product_id:
            for one in offer.intervals:
                found[one.start_ns] = one.end_ns, one.load_mw * _KW_PER_MW
    return found


def _projected(situation: Situation) -> Storage:
    """Return the storage at the start of the half-hour, after what is notified until then, awarded already or not."""
    notified = tuple(
        FixedPower(start_ns=start_ns, end_ns=end_ns, power_kw=kw, reason="notified")
        for start_ns, (end_ns, kw) in sorted(_standing_kw(situation).items())
        if start_ns < situation.gate.covers_start_ns
        and not any(one.start_ns < end_ns and start_ns < one.end_ns for one in situation.fixed)
    )
    return projected(msgspec.structs.replace(situation, fixed=(*situation.fixed, *notified)))


def _decision(
    situation: Situation,
    storage: Storage,
    *,
    wanted_kw: list[float],
    expected_per_mwh: list[float],
    worth_per_mwh: list[float],
    rung: str,
    reasons: tuple[str, ...],
    amount: float | None,
    flips_per_mwh: list[tuple[float | None, float | None]] | None = None,
) -> Decision:
    """Return the position of the half-hour and the next ones, in whole lots, each possible after those before it."""
    market, product = market_module(situation.gate.market_id), situation.gate.product_id
    targets, power_kw, energy_kwh = [], [], [storage.initial_energy_kwh]
    covered = _covered(market, situation)[: len(wanted_kw)]
    for interval, wanted in zip(covered, wanted_kw, strict=False):
        fixed = [
            one
            for one in situation.fixed
            if one.start_ns < interval.end_ns and interval.start_ns < one.end_ns
        ]
        if fixed:
            kw = fixed[0].power_kw
        else:
            held = energy_kwh[-1] * storage.discharge_efficiency_frac / HALF_HOUR_H
            room = (
                (storage.energy_capacity_kwh - energy_kwh[-1]) / storage.charge_efficiency_frac / HALF_HOUR_H
            )
            kw = max(min(wanted, storage.charge_limit_kw, room), -storage.discharge_limit_kw, -held)
            mw = market.round_quantity_mw(product, abs(kw) / _KW_PER_MW)
            mw = mw if kw > 0 else -mw
            kw = mw * _KW_PER_MW
            targets.append(
                TargetInterval(start_ns=interval.start_ns, end_ns=interval.end_ns, load_mw=mw + 0.0)
            )
        power_kw.append(kw)
        after_kwh = energy_kwh[-1] + stored_kwh(storage, kw * HALF_HOUR_H)
        energy_kwh.append(min(max(after_kwh, 0.0), storage.energy_capacity_kwh))
    if not targets:
        return Decision(rung=rung, reasons=("every half-hour was decided by hand", *reasons))
    count = len(power_kw)
    return Decision(
        rung=rung,
        offers=(LoadTarget(product=product, intervals=tuple(targets)),),
        reasons=(_does(power_kw[0]), *reasons),
        plan=PlannedIntervals(
            start_ns=tuple(one.start_ns for one in covered),
            end_ns=tuple(one.end_ns for one in covered),
            power_kw=tuple(power_kw),
            energy_kwh=tuple(energy_kwh),
            price_per_mwh=tuple(expected_per_mwh[:count]),
            value_per_mwh=tuple(worth_per_mwh[: count + 1]),
            charge_below_per_mwh=_column(flips_per_mwh, 0, count),
            discharge_above_per_mwh=_column(flips_per_mwh, 1, count),
        ),
        expected_amount=None if amount is None else round(amount * _AMOUNT_PER_CURRENCY),
    )


def _column(
    flips_per_mwh: list[tuple[float | None, float | None]] | None, side: int, count: int
) -> tuple[float | None, ...] | msgspec.UnsetType:
    return msgspec.UNSET if flips_per_mwh is None else tuple(one[side] for one in flips_per_mwh[:count])


def _does(power_kw: float) -> str:
    if power_kw == 0.0:
        return "stands still"
    return f"{'charges' if power_kw > 0 else 'discharges'} {abs(power_kw):.4g} kW"


def _covered(market: Market, situation: Situation) -> list[Interval]:
    """Return the half-hour of the gate and the next ones of its day."""
    every = market.delivery_intervals(
        situation.gate.product_id, date.fromisoformat(situation.gate.delivery_date)
    )
    first = next(k for k, one in enumerate(every) if one.start_ns == situation.gate.covers_start_ns)
    return list(every[first : first + 1 + FOLLOWING])


BALANCING: Final = register(
    GateStrategy(
        name="imbalance",
        version="2",
        about="Half-hourly positions from a Markov programme of the imbalance price, which is known only afterwards.",
        questions=questions,
        rungs=(
            RungOf(name="fresh", decide=fresh, share=0.6),
            RungOf(name="older_prices", decide=on_older_prices, share=0.6),
            RungOf(name="typical_shape", decide=typical_shape, share=1.0),
            RungOf(name="idle", decide=idle, share=1.0, light=True),
        ),
    )
)
