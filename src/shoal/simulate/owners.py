"""Simulated owners: at instants given beforehand they leave an event, come back to it, or set their reserve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shoal.domain.outcome import Accepted, Outcome
from shoal.edge.agent_columns import AgentColumns
from shoal.edge.agent_owner import opt_in, opt_out, set_reserve
from shoal.edge.audit import Referee


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerAct:
    """What an owner does, and when.

    Attributes:
        t_ns: When.
        row: Whose site.
        kind: What.
        event_id: The event that is left, or come back to.
        reserve_frac: The reserve that is set.
    """

    t_ns: int
    row: int
    kind: Literal["leave", "return", "reserve"]
    event_id: str = ""
    reserve_frac: float = 0.0


class Owners:
    """The owners of a fleet, who act once each time their hour has come."""

    def __init__(self, acts: Sequence[OwnerAct], agents: AgentColumns, referee: Referee) -> None:
        self._acts = sorted(acts, key=lambda act: act.t_ns, reverse=True)
        self._agents = agents
        self._referee = referee
        self.refused = 0

    def next_ns(self, default_ns: int) -> int:
        """Return when somebody acts next, `default_ns` when nobody does before."""
        return min(default_ns, self._acts[-1].t_ns) if self._acts else default_ns

    def act(self, now_ns: int) -> list[int]:
        """Do what is due; return the sites whose owners have left or come back to an event, for these say so."""
        changed = []
        while self._acts and self._acts[-1].t_ns <= now_ns:
            act = self._acts.pop()
            outcome = self._do(act, now_ns)
            self.refused += not isinstance(outcome, Accepted)
            if isinstance(outcome, Accepted) and act.kind != "reserve":
                changed.append(act.row)
        return changed

    def _do(self, act: OwnerAct, now_ns: int) -> Outcome:
        if act.kind == "reserve":
            outcome = set_reserve(self._agents, act.row, act.reserve_frac)
            if isinstance(outcome, Accepted):
                self._referee.owner_reserve(act.row, act.reserve_frac)
            return outcome
        self._referee.owner_left(act.row, act.event_id, now_ns=now_ns, back=act.kind == "return")
        does = opt_in if act.kind == "return" else opt_out
        return does(self._agents, act.row, act.event_id, now_ns)
