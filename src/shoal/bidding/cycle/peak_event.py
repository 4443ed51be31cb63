"""Commitments to a utility's peak-shaving programme: what can surely be held, charged for beforehand.

    fresh           the announced hours and targets, as much as the store can be charged to hold
    typical_event   no announcement is known: the hours of former events, at their lowest target
    cautious        the announced hours on the energy that is there now
    idle            no reduction, where nothing is committed yet

What is missing is charged for, so the plan is made on what surely answers: a low quantile of the availability that was seen
at these hours, silent capacity left out, a margin kept. The owner's reserve is no part of the storage that is planned with.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.cycle.decision import Decision, GateStrategy, PlannedIntervals, RungOf, register
from shoal.bidding.cycle.known import Known, Question, Situation
from shoal.bidding.cycle.peak_event_plan import HOUR_H, Shaved, held_evenly, hours_of, shave
from shoal.bidding.cycle.projection import projected
from shoal.domain.errors import InvalidInputError
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_HOUR, Interval, iso, to_datetime
from shoal.market.bids import LoadTarget, TargetInterval
from shoal.market.peak import PeakMarket
from shoal.market.registry import market_module
from shoal.optimise.storage import Storage

Floats = NDArray[np.float64]
HISTORY_DAYS: Final = 60
KW_PER_MW: Final = 1e3
CONFIDENCE_FRAC: Final = 0.95
AVAILABILITY_FRAC: Final = 0.9
"""Taken where none has been seen."""
MARGIN_FRAC: Final = 0.03
"""Of the energy is left aside, for losses that nobody meters."""
_LEAST_SEEN: Final = 5
_AMOUNT_PER_CURRENCY: Final = 1e8


def target_id(situation: Situation) -> SeriesId:
    """Return the series of events: the reduction that the utility asks for in an hour, in MW, never negative."""
    gate = situation.gate
    return SeriesId(f"event/{gate.market_id}/{situation.settlement_point}/{gate.product_id}")


def availability_id(situation: Situation) -> SeriesId:
    """Return the series of the share of the resource's power that answered, from 0 to 1."""
    return SeriesId(f"availability/{situation.resource_id}/share")


def questions(situation: Situation) -> tuple[Question, ...]:
    """Ask for events, past and announced, and for what has answered lately."""
    gate = situation.gate
    from_ns = gate.covers_start_ns - HISTORY_DAYS * 24 * NS_PER_HOUR
    return (
        Question(series_id=target_id(situation), from_ns=from_ns, to_ns=gate.covers_end_ns),
        Question(series_id=availability_id(situation), from_ns=from_ns, to_ns=gate.covers_start_ns),
    )


def fresh(known: Known) -> Decision:
    """Commit the announced hours; raises when none are announced."""
    return _planned(known, _announced(known), "fresh", "announced")


def typical_event(known: Known) -> Decision:
    """Commit the hours of former events; raises when none are known."""
    return _planned(known, _former(known), "typical_event", "expected, as in former events")


def cautious(known: Known) -> Decision:
    """Commit the announced hours evenly, on the energy that is there now and nothing that has yet to be charged."""
    situation = known.situation
    target_kw = _announced(known)
    storage, sure = _sure(known)
    intervals = _intervals(situation)
    free = np.array([not _is_fixed(situation, one) for one in intervals])
    kw = held_evenly(storage, np.where(free, target_kw, 0.0))
    rows = tuple(zip(intervals, _rounded(situation, kw), strict=True))
    said = (
        f"commits what is in store now, {storage.initial_energy_kwh:.0f} kWh, over {int((kw > 0).sum())} announced hours",
        sure,
    )
    return Decision(rung="cautious", offers=(_offer(situation, rows),), reasons=said)


def idle(known: Known) -> Decision:
    """Commit nothing; raises when anything stands already."""
    situation = known.situation
    if situation.standing is not None:
        raise InvalidInputError(field="standing", value="a commitment", fix="it is better left as it is")
    rows = tuple((one, 0.0) for one in _intervals(situation))
    return Decision(
        rung="idle", offers=(_offer(situation, rows),), reasons=("no event is known: no reduction",)
    )


def _planned(known: Known, target_kw: Floats, rung: str, how: str) -> Decision:
    situation = known.situation
    storage, sure = _sure(known)
    intervals = _intervals(situation)
    fixed_kw = {
        row: next(
            other.power_kw
            for other in situation.fixed
            if other.start_ns < one.end_ns and one.start_ns < other.end_ns
        )
        for row, one in enumerate(intervals)
        if _is_fixed(situation, one)
    }
    shaved = shave(storage, target_kw, fixed_kw=fixed_kw)
    committed_mw = _rounded(situation, shaved.committed_kw)
    rows = tuple(
        (one, mw)
        for number, (one, mw) in enumerate(zip(intervals, committed_mw, strict=True))
        if number not in fixed_kw
    )
    return Decision(
        rung=rung,
        offers=(_offer(situation, rows),),
        reasons=(*_said(shaved, target_kw, intervals, how, known), sure),
        relaxed=shaved.relaxed,
        plan=PlannedIntervals(
            start_ns=tuple(one.start_ns for one in intervals),
            end_ns=tuple(one.end_ns for one in intervals),
            power_kw=tuple(shaved.net_kw.tolist()),
            energy_kwh=tuple(shaved.energy_kwh.tolist()),
            price_per_mwh=tuple(np.where(target_kw > 0.0, _paid(situation), 0.0).tolist()),
            value_per_mwh=tuple(_worth(situation, storage, shaved, target_kw).tolist()),
        ),
        expected_amount=round(sum(committed_mw) * HOUR_H * _paid(situation) * _AMOUNT_PER_CURRENCY),
    )


def _sure(known: Known) -> tuple[Storage, str]:
    """Return the storage that surely answers at the start of the day, and what that rests on."""
    situation = known.situation
    settings = situation.settings
    confidence = settings.get("confidence_frac", CONFIDENCE_FRAC)
    series = known.facts.get(availability_id(situation))
    seen = (
        np.empty(0)
        if series is None
        else series.value[np.isfinite(series.value[:, 0]) & (series.known_ns <= situation.as_of_ns), 0]
    )
    if len(seen) >= _LEAST_SEEN:
        # the lower of two neighbours: never bolder than the confidence
        share = float(np.quantile(np.clip(seen, 0.0, 1.0), 1.0 - confidence, method="lower"))
        why = f"{share:.1%} of the power answered in {confidence:.0%} of {len(seen)} hours"
    else:
        share = settings.get("availability_frac", AVAILABILITY_FRAC)
        why = f"{share:.1%} of the power is taken to answer: too little has been seen"
    whole = projected(situation)
    kept = share * (1.0 - settings.get("margin_frac", MARGIN_FRAC))
    storage = replace(
        whole,
        charge_limit_kw=whole.charge_limit_kw * share,
        discharge_limit_kw=whole.discharge_limit_kw * share,
        energy_capacity_kwh=whole.energy_capacity_kwh * kept,
        initial_energy_kwh=min(whole.initial_energy_kwh, whole.energy_capacity_kwh) * kept,
        standing_loss_frac_per_h=0.0,
        depth_costs=(),
    )
    silent = f", {situation.silent_frac:.1%} is silent and left out" if situation.silent_frac else ""
    return storage, why + silent


def _announced(known: Known) -> Floats:
    """Return the announced target of each hour of the day, in kW.

    Raises:
        InvalidInputError: when no hour of the day has one.
    """
    situation = known.situation
    series = known.facts.get(target_id(situation))
    targets: dict[int, float] = {}
    if series is not None:
        there = np.isfinite(series.value[:, 0])
        targets = dict(zip(series.start_ns[there].tolist(), series.value[there, 0].tolist(), strict=True))
    found = hours_of(_intervals(situation), targets)
    if not (found > 0.0).any():
        day = situation.gate.delivery_date
        raise InvalidInputError(field="event", value="none", fix=f"no target is announced for {day}")
    return found * KW_PER_MW


def _former(known: Known) -> Floats:
    """Return for each hour of the day the lowest target that former events had at it, in kW.

    Raises:
        InvalidInputError: when there was no event, or one is announced.
    """
    situation = known.situation
    zone = ZoneInfo(market_module(situation.gate.market_id).rules.zone)
    series = known.facts.get(target_id(situation))
    lowest: dict[int, float] = {}
    if series is not None:
        before = (series.start_ns < situation.gate.covers_start_ns) & (series.value[:, 0] > 0.0)
        for start_ns, mw in zip(
            series.start_ns[before].tolist(), series.value[before, 0].tolist(), strict=True
        ):
            hour = to_datetime(start_ns, zone).hour
            lowest[hour] = min(lowest.get(hour, mw), mw)
    if not lowest:
        raise InvalidInputError(field="event", value="none", fix="no event was ever known")
    hours = [to_datetime(one.start_ns, zone).hour for one in _intervals(situation)]
    return np.array([lowest.get(hour, 0.0) for hour in hours]) * KW_PER_MW


def _intervals(situation: Situation) -> tuple[Interval, ...]:
    day = date.fromisoformat(situation.gate.delivery_date)
    return market_module(situation.gate.market_id).delivery_intervals(situation.gate.product_id, day)


def _is_fixed(situation: Situation, interval: Interval) -> bool:
    return any(one.start_ns < interval.end_ns and interval.start_ns < one.end_ns for one in situation.fixed)


def _rounded(situation: Situation, committed_kw: Floats) -> list[float]:
    """Return reductions in whole steps, rounded down."""
    market, product = market_module(situation.gate.market_id), situation.gate.product_id
    return [market.round_quantity_mw(product, max(kw, 0.0) / KW_PER_MW) for kw in committed_kw.tolist()]


def _offer(situation: Situation, rows: tuple[tuple[Interval, float], ...]) -> LoadTarget:
    """Return the commitment of each hour, nothing where nothing is: so a revision takes back what stood."""
    return LoadTarget(
        product=situation.gate.product_id,
        intervals=tuple(
            TargetInterval(start_ns=one.start_ns, end_ns=one.end_ns, load_mw=-mw if mw else 0.0)
            for one, mw in rows
        ),
    )


def _paid(situation: Situation) -> float:
    """Return what a MWh of reduction earns; 0 where the programme does not say."""
    market = market_module(situation.gate.market_id)
    return market.performance_per_mwh if isinstance(market, PeakMarket) else 0.0


def _worth(situation: Situation, storage: Storage, shaved: Shaved, target_kw: Floats) -> Floats:
    """Return what a MWh more in store is worth: the payment before an hour that falls short, nothing afterwards."""
    short = (shaved.committed_kw < np.minimum(target_kw, storage.discharge_limit_kw) - 1e-6).tolist()
    paid = _paid(situation) * storage.discharge_efficiency_frac
    return np.array([paid if any(short[row:]) else 0.0 for row in range(len(short) + 1)])


def _said(
    shaved: Shaved, target_kw: Floats, intervals: tuple[Interval, ...], how: str, known: Known
) -> tuple[str, ...]:
    hours = np.flatnonzero(target_kw > 0.0)
    first, last = intervals[hours[0]], intervals[hours[-1]]
    asked, given = float(target_kw.sum()), float(shaved.committed_kw.sum())
    said = [
        f"{len(hours)} hours are {how}, {iso(first.start_ns)} to {iso(last.end_ns)}: {given:.0f} of {asked:.0f} kWh "
        f"are committed"
    ]
    charged = float(np.maximum(shaved.net_kw, 0.0).sum()) * HOUR_H
    at_first = float(shaved.energy_kwh[hours[0]])
    said.append(
        f"charges {charged:.0f} kWh before and between: {at_first:.0f} kWh are in store when it begins"
    )
    said += [f"hour {row}: {because}" for row, because in shaved.short_because]
    return tuple(said)


PEAK_EVENT: Final = register(
    GateStrategy(
        name="peak-event",
        version="1",
        about="Reductions for a utility's event that can surely be held, charged for beforehand.",
        questions=questions,
        rungs=(
            RungOf(name="fresh", decide=fresh, share=0.6),
            RungOf(name="typical_event", decide=typical_event, share=0.6),
            RungOf(name="cautious", decide=cautious, share=1.0, light=True),
            RungOf(name="idle", decide=idle, share=1.0, light=True),
        ),
    )
)
