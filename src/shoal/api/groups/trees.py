"""The trees of groups as they are opened: roots, what is right below a group, a whole level, names. Pure.

Ten thousand groups are looked through here by their numbers; only those that are asked for become records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from shoal.api.answers import Hierarchy
from shoal.api.groups.commanded import Commanded
from shoal.domain.errors import UnknownIdError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId
from shoal.domain.live import Aggregates

Order: TypeAlias = Literal["registry", "name", "sites", "power", "coverage", "suspect", "doubt", "deviation"]
"""As registered; by name; the most sites, the most power, the least coverage, the most suspect sites, the widest
interval, or the farthest from what is commanded first."""

_NO_ORDER: Final = ("registry", "name")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupQuery:
    """Which groups are asked for; without `parent`, `level` and `text` the roots.

    Attributes:
        hierarchy: Only of this hierarchy.
        parent: Those right below this group.
        level: All of this level, 0 for the roots.
        text: Those whose name or id contains it, in any case.
        order: How they are sorted.
    """

    hierarchy: str | None = None
    parent: str | None = None
    level: int | None = None
    text: str = ""
    order: Order = "registry"


class GroupTree:
    """Every group of the fleet, by its number (its position in `Fleet.groups`)."""

    def __init__(self, fleet: Fleet) -> None:
        self._groups = fleet.groups
        self._number = fleet.group_number
        self._parent = fleet.parent_number.tolist()
        self._below: dict[int, list[int]] = {}
        for number, parent in enumerate(self._parent):
            self._below.setdefault(parent, []).append(number)
        self._hierarchies: dict[str, list[int]] = {}
        for number, group in enumerate(self._groups):
            self._hierarchies.setdefault(str(group.hierarchy_id), []).append(number)
        self._text = [f"{group.name}\n{group.group_id}".casefold() for group in self._groups]
        self.children = [len(self._below.get(number, ())) for number in range(len(self._groups))]
        self.roots: tuple[int, ...] = tuple(self._below.get(-1, ()))

    def number(self, group_id: str) -> int:
        """Return the number of a group.

        Raises:
            UnknownIdError: when there is none of that name.
        """
        number = self._number.get(GroupId(group_id))
        if number is None:
            raise UnknownIdError("group", group_id)
        return number

    def known(self, group_ids: Sequence[str]) -> tuple[int, ...]:
        """Return the numbers of those groups that there are, each once."""
        found = (self._number.get(GroupId(one)) for one in dict.fromkeys(group_ids))
        return tuple(number for number in found if number is not None)

    def path(self, number: int) -> list[int]:
        """Return the numbers of the groups above a group, the root first."""
        above: list[int] = []
        while (number := self._parent[number]) >= 0:
            above.append(number)
        return above[::-1]

    def hierarchies(self) -> list[Hierarchy]:
        """Return every hierarchy."""
        return [
            Hierarchy(
                hierarchy_id=name,
                groups=len(numbers),
                roots=sum(self._parent[number] < 0 for number in numbers),
                levels=1 + max(self._groups[number].level for number in numbers),
            )
            for name, numbers in self._hierarchies.items()
        ]

    def select(
        self, query: GroupQuery, aggregates: Aggregates | None, commanded: Commanded | None = None
    ) -> list[int]:
        """Return the numbers of the groups that are asked for, sorted by the figures of `aggregates` and commands.

        Before the first figures they are as registered.

        Raises:
            UnknownIdError: when there is no such parent or hierarchy.
        """
        if query.hierarchy is not None and query.hierarchy not in self._hierarchies:
            raise UnknownIdError("hierarchy", query.hierarchy)
        if query.parent is not None:
            numbers: Sequence[int] = self._below.get(self.number(query.parent), ())
        elif query.level is not None or query.text:
            numbers = range(len(self._groups))
        else:
            numbers = self.roots
        text = query.text.casefold()
        found = [
            number
            for number in numbers
            if (query.hierarchy is None or self._groups[number].hierarchy_id == query.hierarchy)
            and (query.level is None or self._groups[number].level == query.level)
            and text in self._text[number]
        ]
        return self._sorted(found, query.order, aggregates, commanded)

    def _sorted(
        self, numbers: list[int], order: Order, aggregates: Aggregates | None, commanded: Commanded | None
    ) -> list[int]:
        if order == "name":
            return sorted(numbers, key=lambda number: self._text[number])
        if order in _NO_ORDER or aggregates is None:
            return numbers
        return sorted(numbers, key=_key(order, aggregates, commanded))


def _key(order: Order, of: Aggregates, commanded: Commanded | None) -> Callable[[int], float]:
    """Return what puts the groups first that somebody looks for first."""
    if order == "sites":
        return lambda number: -of.sites[number]
    if order == "power":
        return lambda number: -abs(of.expected_kw[number])
    if order == "suspect":
        return lambda number: -of.suspect[number]
    if order == "deviation":
        return lambda number: -_deviation_frac(number, of, commanded)
    if order == "doubt":
        return lambda number: of.low_kw[number] - of.high_kw[number]
    return lambda number: (
        of.fresh_kw[number] / of.capacity_kw[number] if of.capacity_kw[number] > 0 else float("inf")
    )


def _deviation_frac(number: int, of: Aggregates, commanded: Commanded | None) -> float:
    """Return how far a group is from its commands; below 0 where nobody is commanded, so that it comes last."""
    off_frac = None if commanded is None else commanded.deviation_frac(number, of)
    return -1.0 if off_frac is None else off_frac
