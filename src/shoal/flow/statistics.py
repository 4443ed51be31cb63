"""What each stage of a stream counts, and the frozen record that metrics read.

The counts balance at every instant: what was taken was handed on, dropped by a declared policy, waits inside, failed, or
was abandoned when somebody closed the stage. A stage that loses something cannot look well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowStatistics:
    """One stage at one instant; totals since its start.

    Attributes:
        name: The stage.
        taken_total: Items taken in.
        given_total: Items handed on (a batch counts as one).
        dropped_total: Items let go on purpose, by the policy that did.
        abandoned_total: Items that were held when the stage was closed before its end.
        queued: Items and results that wait inside now.
        high_water: The most that ever waited.
        oldest_age_s: Age of what waits longest for its reader, in seconds; 0 when nothing does. This is the lag.
        waited_s_total: How long senders waited for room: the back-pressure that reached upstream.
        errors_total: Failures of functions that the stage called.
    """

    name: str
    taken_total: int
    given_total: int
    dropped_total: Mapping[str, int]
    abandoned_total: int
    queued: int
    high_water: int
    oldest_age_s: float
    waited_s_total: float
    errors_total: int


@dataclass(slots=True)
class Meter:
    """The counters behind `FlowStatistics`; a stage's own."""

    taken: int = 0
    given: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    abandoned: int = 0
    in_hand: int = 0
    high_water: int = 0
    waited_s: float = 0.0
    errors: int = 0

    def take(self) -> None:
        """Count one item taken, which is in hand until it is released."""
        self.taken += 1
        self.in_hand += 1

    def release(self, items: int = 1) -> None:
        """Count items that are no longer in hand: handed on, or dropped."""
        self.in_hand -= items

    def drop(self, reason: str, items: int = 1) -> None:
        """Count items let go for a reason."""
        self.dropped[reason] += items

    def level(self, queued: int) -> None:
        """Note how much waits now."""
        self.high_water = max(self.high_water, queued)

    def abandon(self, items: int) -> None:
        """Count items that nobody will read any more."""
        self.abandoned += items

    def read(self, name: str, *, queued: int, oldest_age_s: float) -> FlowStatistics:
        """Return the record."""
        return FlowStatistics(
            name=name,
            taken_total=self.taken,
            given_total=self.given,
            dropped_total=dict(self.dropped),
            abandoned_total=self.abandoned,
            queued=queued,
            high_water=self.high_water,
            oldest_age_s=oldest_age_s,
            waited_s_total=self.waited_s,
            errors_total=self.errors,
        )
