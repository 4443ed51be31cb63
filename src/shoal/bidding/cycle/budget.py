"""The time until a gate, carved into budgets: every step gets a part, and the last ones are never starved.

Sending and reading back come first: their time is set aside before any is given to thinking. A gate so near that
nothing is left for thinking still leaves the bid that stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shoal.domain.errors import InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How long each step may take, in seconds of wall time.

    Attributes:
        gather_s: Measuring the resource and asking for facts.
        rung_s: For each rung of the strategy, the best first; 0 when there is no time for it.
        submit_s: Sending, and reading back when the outcome is unknown.
    """

    gather_s: float
    rung_s: tuple[float, ...]
    submit_s: float

    @property
    def total_s(self) -> float:
        """The longest that the whole can take."""
        return self.gather_s + sum(self.rung_s) + self.submit_s


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRules:
    """How time is carved.

    Attributes:
        submit_share: Of the time left that is set aside for sending.
        submit_least_s: And at least so much, if there is so much.
        gather_share: Of what remains then.
        most_s: No more than this is spent on a bid, however far the gate is.
        rung_least_s: A rung that would get less is left out.
    """

    submit_share: float = 0.3
    submit_least_s: float = 2.0
    gather_share: float = 0.2
    most_s: float = 60.0
    rung_least_s: float = 0.02

    def __post_init__(self) -> None:
        if not (0 < self.submit_share < 1 and 0 < self.gather_share < 1):
            raise InvalidInputError(
                field="budget",
                value=(self.submit_share, self.gather_share),
                fix="give shares between 0 and 1",
            )
        if min(self.submit_least_s, self.rung_least_s) < 0 or self.most_s <= 0:
            raise InvalidInputError(field="budget", value=self.most_s, fix="give times from 0 up")


def carve(left_s: float, shares: Sequence[float], *, rules: BudgetRules) -> Budget:
    """Return the budgets of a bid with so much wall time left to its gate.

    The rungs get shares of what remains after sending and gathering, in turn: each a share of what those above it leave. So
    all together they never take more than there is, and one that is quick leaves its time unused rather than to be planned for.

    Args:
        left_s: Wall seconds until the gate; 0 or less when it has passed.
        shares: For each rung, the share of what is left for deciding that it may take, in (0, 1].
        rules: How time is carved.
    """
    left_s = min(max(left_s, 0.0), rules.most_s)
    submit_s = min(max(left_s * rules.submit_share, rules.submit_least_s), left_s)
    gather_s = (left_s - submit_s) * rules.gather_share
    deciding_s = left_s - submit_s - gather_s
    rung_s: list[float] = []
    for share in shares:
        if not 0 < share <= 1:
            raise InvalidInputError(field="share", value=share, fix="give a share above 0, at most 1")
        part_s = deciding_s * share
        rung_s.append(part_s if part_s >= rules.rung_least_s else 0.0)
        deciding_s -= rung_s[-1]
    return Budget(gather_s=gather_s, rung_s=tuple(rung_s), submit_s=submit_s)
