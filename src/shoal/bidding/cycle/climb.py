"""Down the ladder of a gate: the best rung that decides in time holds; the last needs neither time nor a process.

Whatever a rung raises, or its overrunning its budget, is the reason for the next. The rung that held is recorded with
the reasons of those above it.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from shoal.bidding.cycle.decision import STANDING, Decision, GateStrategy, decide, standing_decision
from shoal.bidding.cycle.known import Known, Series, Situation
from shoal.domain.errors import DeadlineExceededError, UnavailableError
from shoal.domain.facts import SeriesId


class Deciding(Protocol):
    """Where rungs are decided: `shoal.bidding.cycle.solver.Solver`, or in place for a back-test."""

    def decide(self, known: Known, rung: str, *, budget_s: float) -> Decision:
        """Return the decision of a rung, or raise why there is none."""
        ...


GATHER: Final = "gather"
"""The step before the rungs, as it is named among those that were tried."""


class InPlace:
    """Decides where it is asked, however long it takes: for back-tests and replays.

    A decision goes through its JSON as one from another process does, so that the bytes are the same wherever it was made.
    """

    def decide(self, known: Known, rung: str, *, budget_s: float) -> Decision:
        """Return the decision of a rung."""
        return msgspec.json.decode(decide(known, rung).content(), type=Decision)


class _NotGathered(Mapping[SeriesId, Series]):
    """The facts when they could not be gathered: there are none, and whoever needs one is told so."""

    def __getitem__(self, series_id: SeriesId) -> Series:
        raise UnavailableError("facts", "it needs what could not be gathered")

    def __iter__(self) -> Iterator[SeriesId]:
        return iter(())

    def __len__(self) -> int:
        return 0


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """One rung that was tried: how long it took, of how long it had, and ``ok`` or why it did not hold.

    `budget_s` is None where nothing limited it, and in records from before it was kept.
    """

    rung: str
    took_s: float
    outcome: str
    budget_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Climbed:
    """What came of a ladder.

    Attributes:
        decision: What holds.
        tried: Every rung tried, in order; the last one is that of `decision`.
        known: What it was decided from; without facts when they could not be gathered.
    """

    decision: Decision
    tried: tuple[Tried, ...]
    known: Known

    @property
    def reason(self) -> str:
        """Why the rungs above the one that held did not; empty for the best one."""
        return "; ".join(f"{one.rung}: {one.outcome}" for one in self.tried[:-1])


def climb(
    situation: Situation,
    strategy: GateStrategy,
    gather: Callable[[], Known],
    solver: Deciding,
    rung_s: tuple[float, ...],
    *,
    gather_s: float | None = None,
    acceptable: Callable[[Decision], str] = lambda _decision: "",
) -> Climbed:
    """Return the decision of the best rung that holds.

    What gathering takes beyond its budget, and a rung beyond its own, is missing from the rungs below: the time that is
    set aside for sending is never touched.

    Args:
        situation: What is decided about.
        strategy: Whose rungs.
        gather: Returns what is known; after what it raises only light rungs can hold, without facts.
        solver: Where rungs are decided that are not light.
        rung_s: The budget of each rung; one without is left out unless it is light.
        gather_s: The budget of gathering; one that hangs is left behind. None waits for it.
        acceptable: Why a decision must not be sent (the market's own validation), empty when it may.
    """
    tried: list[Tried] = []
    declined = strategy.declines(situation)
    if declined:
        tried.append(Tried(rung="declined", took_s=0.0, outcome=declined))
        return _standing(situation, tried, Known(situation=situation, facts={}))
    started_s = time.perf_counter()
    try:
        known = gather() if gather_s is None else _within(gather, gather_s)
    except Exception as error:  # noqa: BLE001 - whatever fails, the gate must be met
        took_s = time.perf_counter() - started_s
        tried.append(Tried(rung=GATHER, took_s=took_s, outcome=_said(error), budget_s=gather_s))
        known = Known(situation=situation, facts=_NotGathered())  # only rungs that need no facts can hold
    if gather_s is None:
        gather_s = time.perf_counter() - started_s
    until_s = started_s + gather_s + sum(rung_s)
    in_place = InPlace()
    for rung, planned_s in zip(strategy.rungs, rung_s, strict=True):
        budget_s = min(planned_s, until_s - time.perf_counter())
        if not rung.light and (budget_s <= 0 or (tried and tried[0].rung == GATHER)):
            outcome = "no time was left for it" if budget_s <= 0 else "it needs what could not be gathered"
            tried.append(Tried(rung=rung.name, took_s=0.0, outcome=outcome, budget_s=_kept(budget_s)))
            continue
        started_s = time.perf_counter()
        try:
            decide_at: Deciding = in_place if rung.light else solver
            decision = decide_at.decide(known, rung.name, budget_s=budget_s)
            outcome = acceptable(decision)
        except Exception as error:  # noqa: BLE001 - whatever fails, the gate must be met
            outcome = _said(error)
        took_s = time.perf_counter() - started_s
        if outcome:
            tried.append(Tried(rung=rung.name, took_s=took_s, outcome=outcome, budget_s=_kept(budget_s)))
            continue
        tried.append(Tried(rung=rung.name, took_s=took_s, outcome="ok", budget_s=_kept(budget_s)))
        return Climbed(decision=decision, tried=tuple(tried), known=known)
    return _standing(situation, tried, known)


def _kept(budget_s: float) -> float | None:
    """Return a budget as it is kept: never below 0, None when there was no limit."""
    return max(budget_s, 0.0) if math.isfinite(budget_s) else None


def _standing(situation: Situation, tried: list[Tried], known: Known) -> Climbed:
    tried.append(Tried(rung=STANDING, took_s=0.0, outcome="ok"))
    return Climbed(decision=standing_decision(situation), tried=tuple(tried), known=known)


def _within(gather: Callable[[], Known], budget_s: float) -> Known:
    """Return what is gathered in time; a thread that hangs in a driver cannot be ended, so it is left behind.

    Raises:
        DeadlineExceededError: it took longer.
    """
    answer: queue.SimpleQueue[Known | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            answer.put(gather())
        except Exception as error:  # noqa: BLE001 - it is raised again where it is waited for
            answer.put(error)

    threading.Thread(target=run, name="gather", daemon=True).start()
    try:
        found = answer.get(timeout=max(budget_s, 0.0))
    except queue.Empty:
        raise DeadlineExceededError("gather", budget_s) from None
    if isinstance(found, Exception):
        raise found
    return found


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
