"""What was set aside in the whole plant: each process of the telemetry role tells its own counts, and these are put together.

A process that has ended stays counted, so the total never falls while the plant runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from heapq import nlargest
from typing import Final

from shoal.domain.live import Quarantined, QuarantineState

RECENT: Final = 50
MOST_MEMBERS: Final = 64
"""So many processes are kept apart; what others said, who were not heard for longest, is kept as one sum."""


class QuarantineTotals:
    """The newest word of every process."""

    def __init__(self) -> None:
        self._said: dict[str, QuarantineState] = {}  # who spoke last stands last
        self._past: Counter[str] = Counter()
        self._past_recent: list[Quarantined] = []

    def take(self, state: QuarantineState) -> None:
        """Take what a process says of itself; its counts only grow, so what is older than the last word is let go."""
        held = self._said.pop(state.member, None)
        self._said[state.member] = state if held is None or state.total >= held.total else held
        if len(self._said) > MOST_MEMBERS:
            former = self._said.pop(next(iter(self._said)))
            self._past.update(former.by_reason)
            self._past_recent = _latest([*self._past_recent, *former.recent])

    def total(self) -> QuarantineState | None:
        """Return what was set aside by all of them; None while nobody has said a word."""
        if not self._said:
            return None
        reasons = Counter(self._past)
        for state in self._said.values():
            reasons.update(state.by_reason)
        every = [one for state in self._said.values() for one in state.recent]
        return QuarantineState(
            t_ns=max(state.t_ns for state in self._said.values()),
            member="",
            total=reasons.total(),
            by_reason=dict(sorted(reasons.items())),
            recent=_latest([*self._past_recent, *every]),
        )


def _latest(every: Iterable[Quarantined]) -> list[Quarantined]:
    return nlargest(RECENT, every, key=lambda one: one.arrival_ns)
