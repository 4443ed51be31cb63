"""A decision and how it comes about: rungs, the best first, each a pure function of what is known.

A strategy is a name, a version, what it wants to know, and its rungs. Strategies are found by name, so that a
decision can be made in another process, and again years later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from shoal.bidding.cycle.known import Known, Question, Situation, canonical
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.facts import Facts
from shoal.market.bids import Offer

STANDING: Final = "standing"
"""The rung below all others: what stands in the market stays, or nothing is offered. It needs nothing and cannot fail."""


class PlannedIntervals(msgspec.Struct, frozen=True, kw_only=True):
    """The plan behind the offers, N intervals.

    Attributes:
        start_ns: N starts.
        end_ns: N ends.
        power_kw: N powers at the terminals, charging positive.
        energy_kwh: N + 1 stored energies.
        price_per_mwh: N expected prices.
        value_per_mwh: N + 1 worths of a MWh more in store.
        after_per_mwh: Prices after these intervals that it was made for, too; unset where it looked at none.
        charge_below_per_mwh: N prices of the interval below which it would charge, None where no price makes it; unset where
            they follow from the rest.
        discharge_above_per_mwh: N prices above which it would discharge, likewise.
        binding: N times the limits that the interval is up against, likewise.
    """

    start_ns: tuple[int, ...]
    end_ns: tuple[int, ...]
    power_kw: tuple[float, ...]
    energy_kwh: tuple[float, ...]
    price_per_mwh: tuple[float, ...]
    value_per_mwh: tuple[float, ...]
    after_per_mwh: tuple[float, ...] | msgspec.UnsetType = msgspec.UNSET
    charge_below_per_mwh: tuple[float | None, ...] | msgspec.UnsetType = msgspec.UNSET
    discharge_above_per_mwh: tuple[float | None, ...] | msgspec.UnsetType = msgspec.UNSET
    binding: tuple[tuple[str, ...], ...] | msgspec.UnsetType = msgspec.UNSET


class ExpectedPrices(msgspec.Struct, frozen=True, kw_only=True):
    """The forecast behind the offers, N hours or intervals: the mean and the nine tenths around the middle.

    Attributes:
        start_ns: N starts.
        end_ns: N ends.
        mean_per_mwh: N means.
        low_per_mwh: N prices below which it falls one time in twenty.
        middle_per_mwh: N medians.
        high_per_mwh: N prices above which it rises one time in twenty.
    """

    start_ns: tuple[int, ...]
    end_ns: tuple[int, ...]
    mean_per_mwh: tuple[float, ...]
    low_per_mwh: tuple[float, ...]
    middle_per_mwh: tuple[float, ...]
    high_per_mwh: tuple[float, ...]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be bid, and why.

    Attributes:
        rung: The rung that held.
        offers: What the bid lists; empty when nothing is to change.
        reasons: In sentences, the most important first: binding limits, prices that would flip it.
        relaxed: Wishes that could not all hold, and by how much they were relaxed.
        plan: The plan behind it, None on a rung without one.
        expected_amount: What it is expected to earn until the horizon, in 1e-8 currency; None without a plan.
        forecast: The new forecast behind it, None on a rung without one.
    """

    rung: str
    offers: tuple[Offer, ...] = ()
    reasons: tuple[str, ...] = ()
    relaxed: tuple[str, ...] = ()
    plan: PlannedIntervals | None = None
    expected_amount: int | None = None
    forecast: ExpectedPrices | None = None

    def content(self) -> bytes:
        """Return its one JSON: two decisions are the same when these bytes are."""
        return canonical(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RungOf:
    """One way to decide.

    Attributes:
        name: Of the rung.
        decide: A pure function; what it raises is the reason for the next rung.
        share: Of the time left for deciding that it may take at most, in (0, 1].
        light: Whether it takes a few milliseconds and cannot hang: then it is decided in place, whatever became of the
            solver's processes, and even when no time was left.
    """

    name: str
    decide: Callable[[Known], Decision]
    share: float
    light: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GateStrategy:
    """How bids for a gate are made.

    Attributes:
        name: As it is chosen in settings.
        version: Changes with every change of what it decides.
        about: One line for people.
        questions: What it wants to know, given the situation.
        rungs: The best first; `STANDING` comes below them by itself.
        leaves: Facts that a decision leaves for later ones, such as its forecast.
        declines: Why there is nothing to decide in a situation; empty when there is.
        counts_cycles: Whether it keeps the situation's budgets of days.
    """

    name: str
    version: str
    about: str
    questions: Callable[[Situation], tuple[Question, ...]]
    rungs: tuple[RungOf, ...]
    leaves: Callable[[Situation, Decision], tuple[Facts, ...]] = lambda _situation, _decision: ()
    declines: Callable[[Situation], str] = lambda _situation: ""
    counts_cycles: bool = False

    def rung(self, name: str) -> RungOf:
        """Return a rung by name.

        Raises:
            UnknownIdError: when there is none.
        """
        for one in self.rungs:
            if one.name == name:
                return one
        raise UnknownIdError("rung", name)


_KNOWN: Final[dict[str, GateStrategy]] = {}


def register(strategy: GateStrategy) -> GateStrategy:
    """Make a strategy known by its name; it is returned.

    Raises:
        InvalidInputError: when another one has the name.
    """
    if _KNOWN.setdefault(strategy.name, strategy) is not strategy:
        raise InvalidInputError(
            field="strategy", value=strategy.name, fix="give each strategy a name of its own"
        )
    return strategy


def strategy(name: str) -> GateStrategy:
    """Return a strategy by name.

    Raises:
        UnknownIdError: when there is none.
    """
    if name not in _KNOWN:
        raise UnknownIdError("strategy", name)
    return _KNOWN[name]


def strategies() -> tuple[GateStrategy, ...]:
    """Return all strategies by name."""
    return tuple(_KNOWN[name] for name in sorted(_KNOWN))


def standing_decision(situation: Situation) -> Decision:
    """Return the decision below all rungs: what stands stays."""
    said = (
        "nothing new could be made: the bid that stands is left as it is"
        if situation.standing is not None
        else "nothing could be made and nothing stands: no offer"
    )
    return _with_less(Decision(rung=STANDING, reasons=(said,)), situation)


def _with_less(decision: Decision, situation: Situation) -> Decision:
    """Return a decision that says, too, what of the resource was not offered and why."""
    said = tuple(one.said for one in situation.less.withheld)
    return msgspec.structs.replace(decision, reasons=(*decision.reasons, *said)) if said else decision


def decide(known: Known, rung: str) -> Decision:
    """Return what one rung of the situation's strategy decides.

    Raises:
        InvalidInputError: when the strategy's version is not that of the situation.
        UnknownIdError: when strategy or rung are unknown.
    """
    situation = known.situation
    if rung == STANDING:
        return standing_decision(situation)
    chosen = strategy(situation.strategy)
    if chosen.version != situation.strategy_version:
        raise InvalidInputError(
            field="strategy_version",
            value=situation.strategy_version,
            fix=f"{chosen.name} is at version {chosen.version} here; use the release that made the decision",
        )
    return _with_less(chosen.rung(rung).decide(known), situation)
