"""Time is injected: whoever needs it is given a `Clock`; nobody asks the machine.

A service acts on *ticks*. A tick says what time it is and carries the *facts* that earlier stages of the same
tick have counted (how many samples were sent, how many commands), so that a stage can wait for exactly what is
on its way to it. On a system clock a tick carries no facts and nothing waits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Stage(IntEnum):
    """The order in which the parts of the loop act within one tick."""

    WORLD = 0
    """Homes, networks and markets: what happens outside the plant."""
    MEASURE = 1
    """Telemetry is applied, twins are aged, aggregates are made."""
    DECIDE = 2
    """Forecasts, bids and awards."""
    ACT = 3
    """Set-points and commands."""
    OBSERVE = 4
    """Live view, statistics, reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One instant to act on.

    Attributes:
        t_ns: The instant.
        facts: What earlier stages of this tick counted; empty on a clock that waits for nobody.
        replay: Whether this tick may have been acted on before (the process was restarted).
    """

    t_ns: int
    facts: Mapping[str, int] = field(default_factory=dict)
    replay: bool = False


class Clock(Protocol):
    """Where time comes from."""

    def now_ns(self) -> int:
        """Return the present instant."""
        ...

    def at(self, machine_ns: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return what this clock showed at instants of the machine's clock, such as arrivals in the journal.

        The journal writes its time in coarse steps, so on a clock that runs far ahead of the machine's an arrival is only
        known to lie between two instants; elsewhere the two are one.
        """
        ...

    def ticks(self, stage: Stage, every_s: float) -> AsyncIterator[Tick]:
        """Yield a tick at every multiple of `every_s`; asking for the next one says that this one is done."""
        ...

    def report(self, facts: Mapping[str, int]) -> None:
        """Tell later stages of the present tick what was counted."""
        ...

    def account(self, account: Mapping[str, Any]) -> None:
        """Hand in this part's own account of the run (JSON values), for who compares the accounts."""
        ...
