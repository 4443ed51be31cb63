"""Keeping history in shape: parts become one sorted file an hour, hours become roll-ups, and what is too old goes.

Every step writes a new file beside the old ones and is complete when the file gets its name; nothing is removed before what
replaces it has been there for a while. So a pass may die anywhere, run twice, or run in two processes: the names say what is
done, and doing it again gives the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from shoal.domain.errors import CorruptStateError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.store import history_layout as layout
from shoal.store.history_folder import Folder
from shoal.store.history_layout import TIERS, RawFile, RollupFile
from shoal.store.history_merge import sorted_blocks
from shoal.store.history_rollup import NEEDED, ROLLUP_SCHEMA, roll_up
from shoal.store.history_schema import group_rows, write_options
from shoal.store.history_table import (
    ParquetTable,
    RawTable,
    new_mark,
    remove_leftovers,
    remove_replaced,
)

_NS_PER_DAY: Final = 24 * NS_PER_HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepOptions:
    """When hours are merged and rolled up, and how long each tier is kept.

    Attributes:
        settle_s: How long after its end an hour is left to late samples, plant time.
        hold_s: How long a power holds in a roll-up when no sample follows it.
        raw_days: How long samples are kept, 0 for ever.
        rollup_5min_days: How long means of five minutes are kept, 0 for ever.
        rollup_1h_days: How long means of hours are kept, 0 for ever.
        grace_s: How long replaced files stay for queries that began before, machine time.
    """

    settle_s: float = 900.0
    hold_s: float = 180.0
    raw_days: float = 90.0
    rollup_5min_days: float = 730.0
    rollup_1h_days: float = 0.0
    grace_s: float = 600.0

    def days(self, tier: str) -> float:
        """Return how long a roll-up is kept."""
        return self.rollup_5min_days if tier == "rollup_5min" else self.rollup_1h_days


@dataclass(slots=True, kw_only=True)
class KeepStatistics:
    """What passes have done so far.

    Attributes:
        merged_hours: Hours whose parts became one file.
        merged_rows: Samples in them.
        rolled_hours: Hours rolled up, repetitions for late samples included.
        merged_days: Days of roll-ups that became one file.
        removed_files: Files that had been replaced.
        expired: Folders past their time.
        skipped: Steps left for the next pass because a file went away under them.
    """

    merged_hours: int = 0
    merged_rows: int = 0
    rolled_hours: int = 0
    merged_days: int = 0
    removed_files: int = 0
    expired: int = 0
    skipped: int = 0


class Keeper:
    """Does what is due, in passes.

    Args:
        folder: Where history lives.
        raw: Its samples; Parquet files with telling names when None.
        options: When and how long.
    """

    def __init__(self, folder: Folder, options: KeepOptions, raw: RawTable | None = None) -> None:
        self._folder = folder
        self._raw = raw or ParquetTable(folder)
        self._options = options
        self._count = KeepStatistics()

    def statistics(self) -> KeepStatistics:
        """Return what was done so far."""
        return self._count

    def run(
        self,
        now_ns: int,
        *,
        everything: bool = False,
        retain: bool = True,
        stop: Callable[[], bool] = lambda: False,
    ) -> KeepStatistics:
        """Make one pass and return what was done so far; blocks.

        Args:
            now_ns: The present instant, plant time.
            everything: Whether to merge hours that are not worth it yet.
            retain: Whether to remove what is past its time. Ages count from the newest sample, at most from `now_ns`.
            stop: Asked between steps whether to leave the rest for later.
        """
        files = self._raw.files(settled=True)
        newest_ns = max((layout.hour_start_ns(f.hour) for f in files), default=0) + NS_PER_HOUR
        latest_ns = min(now_ns, newest_ns)
        oldest_ns = _horizon(latest_ns, self._options.raw_days if retain else 0.0)
        horizons = {tier: _horizon(latest_ns, self._options.days(tier) if retain else 0.0) for tier in TIERS}
        by_hour: dict[tuple[str, str], list[RawFile]] = {}
        for file in files:
            by_hour.setdefault((file.hour, file.unit), []).append(file)
        done_to = {tier: self._rolled(tier) for tier in TIERS}
        # days are merged from what this pass has seen: what came later may belong to an hour that it left as it was
        seen_to: dict[str, int] = {}
        for file in files:
            seen_to[file.unit] = max(file.to_seq, seen_to.get(file.unit, -1))
        expired: set[str] = set()
        unsure: set[str] = set()
        for (hour, unit), mine in sorted(by_hour.items()):
            end_ns = layout.hour_start_ns(hour) + NS_PER_HOUR
            if stop():
                break
            if end_ns + self._options.settle_s * NS_PER_S > now_ns:
                with self._skipping(unsure, hour[:10]):
                    self._merge(mine, settled=False, now=everything)
                continue
            if end_ns <= oldest_ns:
                expired.add(hour)
            to_seq = max(f.to_seq for f in mine)
            # what comes after the samples of its hour have gone is too late: a roll-up of it would replace the whole
            due = [
                tier
                for tier in TIERS
                if end_ns > horizons[tier]
                and done_to[tier].get((hour, unit), -1) < to_seq
                and not (hour in expired and self._holds(tier, hour, unit))
            ]
            with self._skipping(unsure, hour[:10]):
                if due:
                    self._roll_hour(hour, unit, mine, due)
                if hour not in expired:
                    self._merge(mine, settled=True, now=everything)
        if not stop():
            # an hour that may not have been rolled up stays for the next pass
            gone = sorted(hour for hour in expired if hour[:10] not in unsure)
            self._raw.expire(gone)
            self._count.expired += len(gone)
            self._count.removed_files += self._raw.clean(self._options.grace_s)
            for tier in TIERS:
                self._keep_days(tier, now_ns, horizons[tier], seen_to, unsure)
        return self._count

    def _merge(self, hour: list[RawFile], *, settled: bool, now: bool) -> None:
        if self._raw.merge_due(hour, settled=settled, now=now):
            self._count.merged_rows += self._raw.merge(hour)
            self._count.merged_hours += 1

    def _rolled(self, tier: str) -> dict[tuple[str, str], int]:
        """Return up to which position each hour and unit is rolled up."""
        done: dict[tuple[str, str], int] = {}
        for file in layout.rollup_files(tier, self._folder.tree(tier)):
            for hour in [file.hour] if file.hour else [f"{file.day}T{h:02}" for h in range(24)]:
                done[hour, file.unit] = max(file.to_seq, done.get((hour, file.unit), -1))
        return done

    def _holds(self, tier: str, hour: str, unit: str) -> bool:
        """Return whether an hour is in a roll-up already."""
        day = hour[:10]
        tree = self._folder.tree(tier, folders=lambda name: name == f"day={day}")
        rolled = layout.visible_rollups(layout.rollup_files(tier, tree))
        mine = {f.hour: f for f in rolled if f.unit == unit}
        if hour in mine:
            return True
        return None in mine and next(self._hours_of_day(day, mine[None], {}, only=hour), None) is not None

    def _roll_hour(self, hour: str, unit: str, files: list[RawFile], tiers: Iterable[str]) -> None:
        hour_ns = layout.hour_start_ns(hour)
        to_seq = max(f.to_seq for f in files)
        paths = [f.path for f in files]
        for tier in tiers:
            every_ns = TIERS[tier]
            path = layout.rollup_path(tier, hour[:10], hour, unit, to_seq)
            hold_ns = int(self._options.hold_s * NS_PER_S)
            tables = (
                roll_up(block, hour_ns=hour_ns, every_ns=every_ns, hold_ns=hold_ns)
                for block in sorted_blocks(self._folder, paths, columns=NEEDED)
            )
            self._write_rollup(path, tables)
        self._count.rolled_hours += 1

    def _write_rollup(self, path: str, tables: Iterable[pa.Table]) -> None:
        hidden = layout.hidden_path(path, new_mark())

        def fill(sink: IO[bytes]) -> None:
            with pq.ParquetWriter(sink, ROLLUP_SCHEMA, **write_options(ROLLUP_SCHEMA, 0)) as writer:
                for table in tables:
                    if len(table):
                        writer.write_table(table, row_group_size=group_rows(len(table)))

        self._folder.write(hidden, fill)
        self._folder.rename(hidden, path)

    def _keep_days(
        self, tier: str, now_ns: int, oldest_ns: int, seen_to: Mapping[str, int], unsure: set[str]
    ) -> None:
        tree = self._folder.tree(tier)
        listed = layout.rollup_files(tier, tree)
        of_day: dict[tuple[str, str], list[RollupFile]] = {}
        for file in listed:
            of_day.setdefault((file.day, file.unit), []).append(file)
        gone: set[str] = set()
        for (day, unit), mine in sorted(of_day.items()):
            end_ns = layout.day_start_ns(day) + _NS_PER_DAY
            if end_ns <= oldest_ns:
                gone.add(day)
            elif end_ns + self._options.settle_s * NS_PER_S <= now_ns and day not in unsure:
                with self._skipping(unsure, day):
                    seen = [f for f in mine if f.to_seq <= seen_to.get(unit, -1)]
                    self._merge_day(tier, day, unit, seen)
        for day in sorted(gone):
            self._folder.remove_folder(f"{tier}/day={day}")
        self._count.expired += len(gone)
        counting = {f.path: f for f in layout.visible_rollups(listed)}
        pairs = []
        for file in listed:
            if file.path not in counting:
                by = next(
                    c
                    for c in counting.values()
                    if (c.day, c.unit) == (file.day, file.unit) and c.hour in (None, file.hour)
                )
                # a piece that is newer than its day has not been taken in yet
                if by.to_seq >= file.to_seq:
                    pairs.append((file.path, by.path))
        self._count.removed_files += remove_replaced(self._folder, pairs, self._options.grace_s)
        for lead in (".h", ".d-"):
            self._count.removed_files += remove_leftovers(self._folder, tier, tree, lead)

    def _merge_day(self, tier: str, day: str, unit: str, files: list[RollupFile]) -> None:
        """Make one file of a day's hours, from those that are newer than the day's file, and from that file."""
        whole = max((f for f in files if f.hour is None), key=lambda f: f.to_seq, default=None)
        newest = {f.hour: f for f in files if f.hour is not None}  # sorted by position: the last one stays
        fresh = {h: f for h, f in newest.items() if whole is None or f.to_seq > whole.to_seq}
        if not fresh:
            return
        to_seq = max(f.to_seq for f in fresh.values())
        path = layout.rollup_path(tier, day, None, unit, to_seq)
        self._write_rollup(path, self._hours_of_day(day, whole, fresh))
        self._count.merged_days += 1

    def _hours_of_day(
        self, day: str, whole: RollupFile | None, fresh: Mapping[str, RollupFile], *, only: str | None = None
    ) -> Iterator[pa.Table]:
        for number in range(24):
            hour = f"{day}T{number:02}"
            file = fresh.get(hour, whole)
            if file is None or only not in (None, hour):
                continue
            start_ns = layout.hour_start_ns(hour)
            with self._folder.open(file.path) as source:
                parquet = pq.ParquetFile(source, pre_buffer=False)
                column = parquet.schema_arrow.names.index("start_ns")
                for group in range(parquet.metadata.num_row_groups):
                    stats = parquet.metadata.row_group(group).column(column).statistics
                    # every row group lies within one hour, because hours are written one after the other
                    if start_ns <= stats.min < start_ns + NS_PER_HOUR:
                        yield parquet.read_row_group(group, use_threads=False)

    @contextmanager
    def _skipping(self, unsure: set[str], day: str) -> Iterator[None]:
        """Leave a step for the next pass when another process removed a file under it; a damaged file is a fault."""
        try:
            yield
        except FileNotFoundError:
            unsure.add(day)
            self._count.skipped += 1
        except pa.ArrowInvalid as error:
            raise CorruptStateError(f"history {self._folder.address}", str(error)) from error


def _horizon(now_ns: int, days: float) -> int:
    return now_ns - int(days * _NS_PER_DAY) if days > 0 else 0
