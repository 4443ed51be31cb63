"""Bids of energy and ancillary services together, where a market pays for capacity that is held ready.

co_optimised    energy and services from one programme over scenarios of their prices
energy_only     the programme of the market's other strategy; services that stand are taken back
simple          the same by what prices usually are
idle            nothing yet, where nothing stands
"""

from __future__ import annotations

from typing import Final

from shoal.bidding.cycle import day_ahead, five_minute, reserves_bands, reserves_day_ahead
from shoal.bidding.cycle.decision import Decision, GateStrategy, RungOf, register
from shoal.bidding.cycle.known import Known, Question, Situation
from shoal.market.registry import market_module


def questions(situation: Situation) -> tuple[Question, ...]:
    """Ask for the prices of energy and of all services."""
    if _by_bands(situation):
        return reserves_bands.questions(situation)
    return (*day_ahead.questions(situation), *reserves_day_ahead.questions(situation))


def declines(situation: Situation) -> str:
    """Decline what is not cleared together with services, and intervals of a day that was not bid for."""
    if _by_bands(situation):
        return five_minute.declines(situation)
    market = market_module(situation.gate.market_id)
    if all(one.kind != "capacity" for one in market.rules.products):
        return f"{market.rules.name} has no services"
    if situation.gate.kind != "auction":
        return "only the day ahead is bid for: it clears energy and services together"
    return ""


def co_optimised(known: Known) -> Decision:
    """Bid energy and services, planned together."""
    if _by_bands(known.situation):
        return reserves_bands.co_optimised(known)
    return reserves_day_ahead.co_optimised(known)


def energy_only(known: Known) -> Decision:
    """Bid energy as the market's other strategy does, whatever prices are known; services that stand are taken back."""
    situation = known.situation
    if _by_bands(situation):
        return reserves_bands.energy_only(known, five_minute.markov_on_older_prices, "energy_only")
    return reserves_day_ahead.curves_of(day_ahead.quick(known), situation, rung="energy_only")


def simple(known: Known) -> Decision:
    """Bid energy by what prices usually are."""
    situation = known.situation
    if _by_bands(situation):
        return reserves_bands.energy_only(known, five_minute.thresholds, "simple")
    return reserves_day_ahead.curves_of(day_ahead.simple(known), situation, rung="simple")


def idle(known: Known) -> Decision:
    """Offer nothing, so that something can be offered later; raises when anything stands already."""
    situation = known.situation
    if _by_bands(situation):
        return reserves_bands.energy_only(known, five_minute.idle, "idle")
    return reserves_day_ahead.curves_of(day_ahead.idle(known), situation, rung="idle")


def _by_bands(situation: Situation) -> bool:
    gate = situation.gate
    return "bands" in market_module(gate.market_id).product(gate.product_id).shapes


RESERVES: Final = register(
    GateStrategy(
        name="reserves",
        version=f"2/{day_ahead.DAY_AHEAD.version}/{five_minute.FIVE_MINUTE.version}",
        about="Energy and ancillary services from one programme over scenarios, every MW backed for as long as it must last.",
        questions=questions,
        rungs=(
            RungOf(name="co_optimised", decide=co_optimised, share=0.6),
            RungOf(name="energy_only", decide=energy_only, share=0.6),
            RungOf(name="simple", decide=simple, share=1.0),
            RungOf(name="idle", decide=idle, share=1.0, light=True),
        ),
        leaves=day_ahead.leaves,
        declines=declines,
    )
)
