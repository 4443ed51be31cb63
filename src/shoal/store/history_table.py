"""Where the samples of history are: which files hold them, how an hour is merged and let go, in one kind of table or another."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from shoal.domain.errors import UnavailableError
from shoal.store import history_layout as layout
from shoal.store.history_folder import Folder, Tree
from shoal.store.history_layout import RawFile
from shoal.store.history_merge import merge
from shoal.store.history_write import Mark, read_marks

_TRIES: Final = 3
EARLY_PARTS: Final = 24
"""Parts at which a small fleet's hour is merged although it still grows, so that a query opens few files."""
_SMALL_BYTES: Final = 64 << 20
_LATE_PARTS: Final = 8
_LATE_SHARE: Final = 0.05
_LATE_AGE_S: Final = 86_400.0
_LEFTOVER_AGE_S: Final = 3_600.0


class RawTable(Protocol):
    """Where the samples are: which files hold them, and how an hour is merged."""

    def files(self, *, folders: Callable[[str], bool] | None = None, settled: bool = False) -> list[RawFile]:
        """Return the files that count, by hour; `settled` leaves out what is still on its way to its place."""
        ...

    def marked(self) -> tuple[dict[str, Mark], list[RawFile]]:
        """Return how far each unit is, and the files that hold exactly its samples up to there.

        Raises:
            UnavailableError: when they change faster than they can be listed.
        """
        ...

    def merge_due(self, hour: list[RawFile], *, settled: bool, now: bool) -> bool:
        """Return whether it is worth merging these files of an hour and unit, which may still grow unless `settled`."""
        ...

    def merge(self, hour: list[RawFile]) -> int:
        """Replace these files by one sorted file; return its rows."""
        ...

    def expire(self, hours: Iterable[str]) -> None:
        """Remove whole hours."""
        ...

    def clean(self, grace_s: float) -> int:
        """Remove what was replaced more than `grace_s` ago; return how many files."""
        ...


class ParquetTable:
    """Samples in Parquet files of which the names say which count."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def files(self, *, folders: Callable[[str], bool] | None = None, settled: bool = False) -> list[RawFile]:
        """See `RawTable`."""
        up_to = {u: mark.position for u, mark in read_marks(self._folder).items()} if settled else None
        return layout.visible(layout.raw_files(self._folder.tree(layout.RAW, folders=folders)), up_to)

    def marked(self) -> tuple[dict[str, Mark], list[RawFile]]:
        """See `RawTable`."""
        for _ in range(_TRIES):
            marks = read_marks(self._folder)
            listed = layout.raw_files(self._folder.tree(layout.RAW))
            up_to = {unit: mark.position for unit, mark in marks.items()}
            # only what was in its place is merged: a merged file beyond the marks means that they have moved on
            if all(f.to_seq <= up_to.get(f.unit, -1) for f in listed if f.merged):
                return marks, layout.visible(listed, up_to)
        raise UnavailableError(f"history {self._folder.address}", "it is being merged; ask again")

    def merge_due(self, hour: list[RawFile], *, settled: bool, now: bool) -> bool:
        """See `RawTable`: late samples wait until there are enough of them to write the hour again."""
        if len(hour) < 2:
            return False
        late = [f for f in hour if not f.merged]
        if not settled:
            small = sum(self._folder.size(f.path) for f in hour) < _SMALL_BYTES
            return small and (now or len(late) >= EARLY_PARTS)
        if now or len(late) == len(hour) or len(late) >= _LATE_PARTS:
            return True
        late_bytes = sum(self._folder.size(f.path) for f in late)
        if late_bytes > _LATE_SHARE * self._folder.size(hour[0].path):
            return True
        return max(self._folder.age_s(f.path) for f in late) > _LATE_AGE_S

    def merge(self, hour: list[RawFile]) -> int:
        """See `RawTable`."""
        last = hour[-1]
        path = layout.merged_path(last.hour, last.unit, last.to_seq)
        hidden = layout.hidden_path(path, new_mark())
        rows = merge(self._folder, [f.path for f in hour], hidden)
        self._folder.rename(hidden, path)
        return rows

    def expire(self, hours: Iterable[str]) -> None:
        """See `RawTable`."""
        for hour in hours:
            self._folder.remove_folder(f"{layout.RAW}/hour={hour}")

    def clean(self, grace_s: float) -> int:
        """See `RawTable`."""
        tree = self._folder.tree(layout.RAW)
        listed = layout.raw_files(tree)
        newest = {(f.hour, f.unit): f for f in listed if f.merged}
        counting = {f.path for f in layout.visible(listed)}
        pairs = [(f.path, newest[f.hour, f.unit].path) for f in listed if f.path not in counting]
        return remove_replaced(self._folder, pairs, grace_s) + remove_leftovers(
            self._folder, layout.RAW, tree, ".c-"
        )


def new_mark() -> str:
    """Return what tells a hidden file of this pass from those of others."""
    return uuid.uuid4().hex[:8]


def remove_replaced(folder: Folder, pairs: Iterable[tuple[str, str]], grace_s: float) -> int:
    """Remove each first file whose second, which replaced it, has been there long enough."""
    old_enough: dict[str, bool] = {}
    removed = 0
    for path, by in pairs:
        if by not in old_enough:
            old_enough[by] = folder.age_s(by) >= grace_s
        removed += old_enough[by] and folder.remove(path)
    return removed


def remove_leftovers(folder: Folder, sub: str, tree: Tree, lead: str) -> int:
    """Remove hidden files of passes that died long ago."""
    return sum(
        folder.remove(f"{sub}/{name}/{file}")
        for name, files in tree.items()
        for file in files
        if file.startswith(lead) and folder.age_s(f"{sub}/{name}/{file}") > _LEFTOVER_AGE_S
    )
