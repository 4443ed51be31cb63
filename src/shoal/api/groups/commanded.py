"""What is commanded of a group against what it does: the deviation by which an operator finds who does not follow. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shoal.control.doing import ControlNow
from shoal.domain.live import Aggregates

_W_PER_KW: Final = 1_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OfGroup:
    """Commands in one group.

    Attributes:
        sites: Sites that are commanded a power.
        commanded_kw: Its sum, charging positive.
        free_kw: What the group's other batteries did when they were last heard.
    """

    sites: int
    commanded_kw: float
    free_kw: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Commanded:
    """Commands by the number of the group, which hold until an instant."""

    holds_until_ns: int
    groups: Mapping[int, OfGroup]

    def of(self, number: int, at_ns: int) -> OfGroup | None:
        """Return the commands in a group; None where nobody is commanded, or nobody knows any more."""
        return self.groups.get(number) if at_ns < self.holds_until_ns else None

    def deviation_frac(self, number: int, of: Aggregates) -> float | None:
        """Return how far a group is from its commands, as a share of its rated power; None where nobody is commanded.

        What the others in the group do by themselves is no deviation.
        """
        mine = self.of(number, of.t_ns)
        if mine is None or of.capacity_kw[number] <= 0:
            return None
        off_kw = of.expected_kw[number] - mine.commanded_kw - mine.free_kw
        return abs(off_kw) / of.capacity_kw[number]


def commanded_of(now: ControlNow) -> Commanded:
    """Return the commands of a cycle by group."""
    return Commanded(
        holds_until_ns=now.holds_until_ns,
        groups={
            number: OfGroup(sites=sites, commanded_kw=told_w / _W_PER_KW, free_kw=free_w / _W_PER_KW)
            for number, sites, told_w, free_w in zip(
                now.groups, now.sites, now.commanded_w, now.free_w, strict=True
            )
        },
    )
