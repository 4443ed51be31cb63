"""Energy bands and frequency services of one unit, interval by interval.

Dispatch shares the power anew in every interval, so a service costs no energy that pays better: what it costs is the energy
and the room that must stay behind it. How much is worth keeping is found by trying: in each scenario of the next day the
exact dispatch within what is left, and the services at what power that leaves. Energy itself is bid by the Markov programme
on the same part of the storage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from itertools import product as pairs
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.bidding.cycle import five_minute
from shoal.bidding.cycle.decision import Decision
from shoal.bidding.cycle.known import Known, Question, Situation
from shoal.bidding.cycle.projection import projected
from shoal.bidding.cycle.reserves_backing import awarded, backing_of, less_reserve
from shoal.bidding.cycle.reserves_scenarios import (
    HISTORY_DAYS,
    HourScenarios,
    hour_scenarios,
    hourly_means,
    seed_of,
)
from shoal.bidding.cycle.reserves_services import (
    KW_PER_MW,
    Bundle,
    Wanted,
    bundle_limit_kw,
    bundles,
    services,
)
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.registry import market_module
from shoal.market.series import price_series
from shoal.optimise.scenario_inputs import Risk, tail_mean
from shoal.optimise.storage import KWH_PER_MWH, Storage, plan_storage

Floats = NDArray[np.float64]
HOURS: Final = 24
SCENARIOS: Final = 16
LEVELS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the power that are tried as reserve."""
_HOUR_H: Final = 1.0
_RISK_LEVEL: Final = 0.9
_RISK_WEIGHT: Final = 0.2


def questions(situation: Situation) -> tuple[Question, ...]:
    """Ask for the prices of energy and of all services of the last months."""
    gate = situation.gate
    market, day = market_module(gate.market_id), date.fromisoformat(gate.delivery_date)
    from_ns = situation.as_of_ns - (HISTORY_DAYS + 1) * 24 * NS_PER_HOUR
    services = tuple(
        Question(
            series_id=price_series(gate.market_id, situation.settlement_point, one.product_id),
            from_ns=from_ns,
            to_ns=gate.covers_end_ns,
        )
        for one in market.products(day)
        if one.kind == "capacity"
    )
    return (*five_minute.questions(situation), *services)


def co_optimised(known: Known) -> Decision:
    """Bid energy and services.

    Raises:
        InvalidInputError: when prices are missing or old.
    """
    situation = known.situation
    market = market_module(situation.gate.market_id)
    every = bundles(market, date.fromisoformat(situation.gate.delivery_date))
    backed = tuple(one for one in every if bundle_limit_kw(situation, one) > 0.0)
    storage = projected(situation)
    scenarios = next_hours(known, backed)
    up_share, down_share = best_levels(
        storage,
        scenarios,
        backed,
        Risk(
            level=situation.settings.get("risk_level", _RISK_LEVEL),
            weight=situation.settings.get("risk_weight", _RISK_WEIGHT),
        ),
    )
    wanted = _wanted(situation, storage, scenarios, backed, up_share, down_share)
    floor_kwh, room_kwh = _kept(storage, backed, scenarios.products, up_share, down_share)
    decision = _energy_beside(known, five_minute.markov, floor_kwh, room_kwh)
    said = [
        f"offers {one.mw:.0f} MW of {name} from {one.least_per_mw:.2f} up: expected at "
        f"{scenarios.reserve_per_mw[:, 0, scenarios.products.index(name)].mean():.2f}"
        for name, one in wanted.items()
    ]
    said.append(f"keeps {floor_kwh:.0f} kWh in store and {room_kwh:.0f} kWh of room behind it")
    return msgspec.structs.replace(
        decision,
        rung="co_optimised",
        offers=(*decision.offers, *services(situation, storage, decision.offers, every, wanted)),
        reasons=(*decision.reasons, *said),
    )


def energy_only(known: Known, decide: Callable[[Known], Decision], rung: str) -> Decision:
    """Bid energy by another rung's programme; services that stand are taken back."""
    situation = known.situation
    decision = _energy_beside(known, decide, 0.0, 0.0)
    every = bundles(market_module(situation.gate.market_id), date.fromisoformat(situation.gate.delivery_date))
    none = services(situation, projected(situation), decision.offers, every, {})
    return msgspec.structs.replace(decision, rung=rung, offers=(*decision.offers, *none))


def next_hours(known: Known, every: tuple[Bundle, ...]) -> HourScenarios:
    """Return scenarios of the next hours: days are counted back from now, so the newest hour is known.

    Raises:
        InvalidInputError: when fewer than seven days are known.
    """
    situation = known.situation
    gate = situation.gate
    now_ns = gate.covers_start_ns
    energy = hourly_means(known.facts.get(five_minute.series_of(situation)), until_ns=now_ns)
    reserve: dict[str, dict[int, float]] = {}
    for bundle in every:
        sums: dict[int, float] = {}
        for product in bundle.services:
            name = price_series(gate.market_id, situation.settlement_point, product.product_id)
            for hour_ns, price in hourly_means(known.facts.get(name), until_ns=now_ns).items():
                sums[hour_ns] = sums.get(hour_ns, 0.0) + price
        reserve[bundle.name] = sums
    market = market_module(gate.market_id)
    floor, cap = market.price_limits(five_minute.PRODUCT, date.fromisoformat(gate.delivery_date))
    first_ns = now_ns // NS_PER_HOUR * NS_PER_HOUR
    cells = {hour_ns: divmod((hour_ns - first_ns) // NS_PER_HOUR, HOURS) for hour_ns in energy}
    return hour_scenarios(
        energy,
        reserve,
        cells=cells,
        target_cells=[(0, hour) for hour in range(HOURS)],
        price_limits=(floor, cap),
        seed=seed_of(situation),
        most_count=int(situation.settings.get("scenarios_count", SCENARIOS)),
    )


def best_levels(
    storage: Storage, scenarios: HourScenarios, every: tuple[Bundle, ...], risk: Risk
) -> tuple[float, float]:
    """Return the shares of the power, up and down, that are worth most as reserve; of equals the least.

    Args:
        storage: The storage at the start.
        scenarios: Prices of the next hours.
        every: The bundles of the day.
        risk: How much the worst scenarios count.
    """
    count = len(scenarios.energy_per_mwh)
    probability = np.full(count, 1.0 / count)
    worth_per_mwh = float(scenarios.expected_per_mwh.mean()) * storage.discharge_efficiency_frac
    best, found = -np.inf, (0.0, 0.0)
    for up_share, down_share in pairs(LEVELS, LEVELS):
        floor_kwh, room_kwh = _kept(storage, every, scenarios.products, up_share, down_share)
        if floor_kwh + room_kwh > storage.energy_capacity_kwh:
            continue
        amounts = _amounts(
            storage, scenarios, every, up_share, down_share, floor_kwh, room_kwh, worth_per_mwh
        )
        tail = tail_mean(amounts, probability, 1.0 - risk.level)
        value = (1.0 - risk.weight) * float(amounts.mean()) + risk.weight * tail
        if value > best + 1e-9 * abs(best if np.isfinite(best) else 1.0):
            best, found = value, (up_share, down_share)
    return found


def _amounts(
    storage: Storage,
    scenarios: HourScenarios,
    every: tuple[Bundle, ...],
    up_share: float,
    down_share: float,
    floor_kwh: float,
    room_kwh: float,
    worth_per_mwh: float,
) -> Floats:
    """Return what each scenario earns, in currency, energy left at the end at its worth."""
    left = less_reserve(storage, up_kw=0.0, down_kw=0.0, floor_kwh=floor_kwh, room_kwh=room_kwh)
    left = replace(left, terminal_value_per_mwh=worth_per_mwh)
    amounts = np.empty(len(scenarios.energy_per_mwh))
    for row, prices in enumerate(scenarios.energy_per_mwh):
        plan = plan_storage(left, prices, _HOUR_H)
        kept_kwh = storage.initial_energy_kwh - left.initial_energy_kwh
        amounts[row] = plan.value + kept_kwh * worth_per_mwh / KWH_PER_MWH
        net_kw = plan.discharge_kw - plan.charge_kw
        for is_up, share in ((True, up_share), (False, down_share)):
            most_kw = storage.discharge_limit_kw if is_up else storage.charge_limit_kw
            room_kw = np.minimum(most_kw * share, np.maximum(most_kw + (-net_kw if is_up else net_kw), 0.0))
            paid = [
                scenarios.reserve_per_mw[row, :, scenarios.products.index(one.name)]
                for one in every
                if one.is_up == is_up and one.name in scenarios.products
            ]
            if paid:  # what shares the power takes it in turn, the dearer first
                amounts[row] += float(room_kw @ np.max(paid, axis=0)) / KW_PER_MW
    return amounts


def _kept(
    storage: Storage, every: tuple[Bundle, ...], names: tuple[str, ...], up_share: float, down_share: float
) -> tuple[float, float]:
    """Return the energy and the room behind reserve of some shares of the power, in kWh."""
    up_h = sum(one.duration_h for one in every if one.is_up and one.name in names)
    down_h = sum(one.duration_h for one in every if not one.is_up and one.name in names)
    floor_kwh = up_share * storage.discharge_limit_kw * up_h / storage.discharge_efficiency_frac
    return floor_kwh, down_share * storage.charge_limit_kw * down_h * storage.charge_efficiency_frac


def _wanted(
    situation: Situation,
    storage: Storage,
    scenarios: HourScenarios,
    every: tuple[Bundle, ...],
    up_share: float,
    down_share: float,
) -> dict[str, Wanted]:
    """Return what is wanted of each bundle: regulation, which dispatch takes first, only where it pays more than the rest."""
    least = situation.settings.get("reserve_least_per_mw", 0.0)
    expected = {
        name: float(scenarios.reserve_per_mw[:, 0, k].mean()) for k, name in enumerate(scenarios.products)
    }
    found = {}
    for one in every:
        if one.name not in expected:
            continue
        share = up_share if one.is_up else down_share
        most_kw = storage.discharge_limit_kw if one.is_up else storage.charge_limit_kw
        mw = min(share * most_kw, bundle_limit_kw(situation, one)) / KW_PER_MW
        others = [
            expected[b.name]
            for b in every
            if b.is_up == one.is_up and len(b.services) > 1 and b.name in expected
        ]
        rest = 0.0 if len(one.services) > 1 else max(others, default=0.0)
        found[one.name] = Wanted(mw=mw, least_per_mw=max(least, rest))
    return found


def _energy_beside(
    known: Known, decide: Callable[[Known], Decision], floor_kwh: float, room_kwh: float
) -> Decision:
    """Return what another strategy's rung bids on what reserve leaves of the storage."""
    situation = known.situation
    market = market_module(situation.gate.market_id)
    storage = projected(situation)
    covers = situation.gate.covers
    kept = backing_of(awarded(market, situation.commitments), storage, (covers.start_ns, covers.end_ns))
    left = less_reserve(
        storage,
        up_kw=float(kept.up_kw[0]),
        down_kw=float(kept.down_kw[0]),
        floor_kwh=max(floor_kwh, float(kept.floor_kwh.max())),
        room_kwh=max(room_kwh, float(kept.room_kwh.max())),
    )
    # it stands where it will stand: what was awarded until then is in it already
    ahead = tuple(one for one in situation.fixed if one.end_ns > covers.start_ns)
    changed = msgspec.structs.replace(situation, storage=left, commitments=(), fixed=ahead)
    return decide(Known(situation=changed, facts=known.facts))
