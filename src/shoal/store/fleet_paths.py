"""Groups as people write them: `grid=vpp-1/north/feeder-1; weather=texas/coast`, one path a hierarchy, root first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import MOST_LEVELS, Fleet, Group
from shoal.domain.ids import GroupId, HierarchyId, checked_id
from shoal.twin.layout import Layout

BETWEEN_PATHS: Final = ";"
BETWEEN_LEVELS: Final = "/"


class PathReader:
    """Takes paths and holds the groups that they name.

    Args:
        groups: The groups that are known; they keep their places and names.

    Attributes:
        groups: These, and behind them the new ones, named by their ids.
    """

    def __init__(self, groups: Iterable[Group]) -> None:
        self.groups = list(groups)
        self._number = {group.group_id: number for number, group in enumerate(self.groups)}

    def read(self, texts: Sequence[str], numbers: NDArray[np.int64]) -> dict[HierarchyId, NDArray[np.int32]]:
        """Return each row's group in every hierarchy that any row names, -1 where the row names none.

        Args:
            texts: The distinct texts.
            numbers: For each row the position of its text, -1 for none.

        Raises:
            InvalidInputError: naming the first row with a text that is wrong.
        """
        leaf_of: dict[HierarchyId, NDArray[np.int32]] = {}
        for position, text in enumerate(texts):
            try:
                for hierarchy, leaf in self._leaves(text):
                    if hierarchy not in leaf_of:
                        leaf_of[hierarchy] = np.full(len(texts) + 1, -1, dtype=np.int32)
                    column = leaf_of[hierarchy]
                    if column[position] >= 0:
                        raise InvalidInputError(
                            field="groups", value=text, fix=f"give one path of hierarchy {hierarchy}"
                        )
                    column[position] = leaf
            except InvalidInputError as error:
                row = int(np.flatnonzero(numbers == position)[0])
                raise InvalidInputError(
                    field=f"row {row + 1}, {error.field}", value=error.value, fix=error.fix
                ) from error
        return {hierarchy: column[numbers] for hierarchy, column in leaf_of.items()}

    def _leaves(self, text: str) -> Iterable[tuple[HierarchyId, int]]:
        for path in text.split(BETWEEN_PATHS):
            if not path.strip():
                continue
            name, equals, levels = path.partition("=")
            if not equals:
                raise InvalidInputError(
                    field="groups", value=path.strip(), fix="write it like grid=region/substation/feeder"
                )
            hierarchy = HierarchyId(checked_id("groups", name.strip()))
            yield hierarchy, self._leaf(hierarchy, [level.strip() for level in levels.split(BETWEEN_LEVELS)])

    def _leaf(self, hierarchy: HierarchyId, levels: list[str]) -> int:
        if len(levels) > MOST_LEVELS:
            raise InvalidInputError(
                field="groups",
                value=BETWEEN_LEVELS.join(levels),
                fix=f"a hierarchy has at most {MOST_LEVELS} levels, this path has {len(levels)}",
            )
        parent: GroupId | None = None
        number = -1
        for level, name in enumerate(levels):
            group_id = GroupId(checked_id("groups", name))
            number = self._number.get(group_id, -1)
            if number < 0:
                number = self._number[group_id] = len(self.groups)
                self.groups.append(
                    Group(group_id=group_id, hierarchy_id=hierarchy, parent_id=parent, name=name, level=level)
                )
            self._check(self.groups[number], hierarchy, parent)
            parent = group_id
        return number

    def _check(self, group: Group, hierarchy: HierarchyId, parent: GroupId | None) -> None:
        if group.hierarchy_id != hierarchy:
            raise InvalidInputError(
                field="groups",
                value=group.group_id,
                fix=f"it is a group of hierarchy {group.hierarchy_id}; give another name",
            )
        if group.parent_id != parent:
            above = "the top" if group.parent_id is None else group.parent_id
            raise InvalidInputError(
                field="groups", value=group.group_id, fix=f"elsewhere it hangs from {above}; give one place"
            )


def paths_of(fleet: Fleet) -> list[str | None]:
    """Return the groups of every site as text, None for a site in none."""
    layout = Layout.of(fleet)
    path: list[str] = [""] * len(fleet.groups)
    for number in layout.bottom_up[::-1].tolist():  # parents first
        group = fleet.groups[number]
        above = layout.parent_of[number]
        path[number] = group.group_id if above < 0 else f"{path[above]}{BETWEEN_LEVELS}{group.group_id}"
    text_of_cell = [
        f"{BETWEEN_PATHS} ".join(
            f"{hierarchy}={path[leaf]}"
            for hierarchy, leaf in zip(layout.hierarchies, leaves, strict=True)
            if leaf >= 0
        )
        or None
        for leaves in layout.leaf_of.T.tolist()
    ]
    return [text_of_cell[cell] for cell in layout.cell_of.tolist()]
