"""How facts get in: judged against contract and store, and laid into blocks that are merged as they become many.

A part of a series (a day of five-minute intervals) holds a few blocks whose sizes grow geometrically, so that facts that
come one at a time cost little to write and little to read. All of it happens in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from sqlalchemy import Connection

from shoal.domain.contracts import Quarantined, violations
from shoal.domain.errors import InvalidInputError
from shoal.domain.facts import SeriesId
from shoal.store import facts_rows as rows
from shoal.store.facts_columns import Columns, Ints, judge
from shoal.store.facts_pack import unpack
from shoal.store.facts_records import FactBatch, Recorded
from shoal.store.facts_rows import SeriesRow, StoredBlock

_MOST_BLOCKS: Final = 16
"""A part that has so many is merged when the next one comes."""


@dataclass(slots=True, kw_only=True)
class _Counts:
    new: int = 0
    repeated: int = 0
    corrected: int = 0
    late: int = 0

    @property
    def kept(self) -> int:
        return self.new + self.corrected + self.late


class Intake:
    """Takes batches inside one transaction of a caller that holds the lock; `finish` ends it.

    What batches have in common, such as their series and sources, is read once.
    """

    def __init__(self, connection: Connection, series_ids: Iterable[SeriesId]) -> None:
        self._connection = connection
        self._series = rows.read_series(connection, series_ids)
        self._sources: dict[str, int] = {}
        self._record = rows.last_record(connection)
        self._touched: dict[int, SeriesRow] = {}

    def take(self, batch: FactBatch, *, strict: bool = False) -> Recorded:
        """Keep what a batch adds.

        Raises:
            InvalidInputError: with `strict`, when a fact breaks the contract or contradicts; the caller undoes all.
        """
        row = self._series_of(batch.series_id)
        source_no = self._source_of(batch.source)
        bad = _against_contract(batch, row)
        sound = np.ones(len(batch), dtype=np.bool_)
        sound[[item.index for item in bad]] = False
        positions = np.flatnonzero(sound)
        counts = _Counts()
        if len(positions):
            if row.width is None:
                row.width = batch.value.shape[1]
            if row.span_ns is None:
                row.span_ns = rows.span_for(_usual_step_ns(batch))
            said = _columns_of(batch, source_no, self._record + 1).take(positions)
            bad += _lay_down(self._connection, row, said, positions, counts)
        if bad and strict:
            raise _refusal(batch, bad[0])
        if bad:
            bad.sort(key=lambda item: item.index)
            rows.set_aside(self._connection, row.series_no, source_no, batch, bad)
        if counts.kept:
            self._record += 1
            row.last_record = self._record
            self._touched[row.series_no] = row
        return Recorded(
            new=counts.new,
            repeated=counts.repeated,
            corrected=counts.corrected,
            late=counts.late,
            quarantined=tuple(bad),
            up_to_record=self._record,
        )

    def finish(self) -> None:
        """Write back how far the series reach."""
        rows.save_series(self._connection, list(self._touched.values()))

    def _series_of(self, series_id: SeriesId) -> SeriesRow:
        if series_id not in self._series:
            self._series[series_id] = rows.add_series(self._connection, series_id)
        return self._series[series_id]

    def _source_of(self, name: str) -> int:
        if name not in self._sources:
            self._sources[name] = rows.source_number(self._connection, name)
        return self._sources[name]


def _against_contract(batch: FactBatch, row: SeriesRow) -> list[Quarantined]:
    width = batch.value.shape[1]
    bad = violations(batch.start_ns, batch.end_ns, batch.value, row.contract)
    if row.contract is None and row.width not in (None, width):
        detail = f"{width} values where there are {row.width}"
        bad = [
            Quarantined(
                index=index,
                start_ns=int(batch.start_ns[index]),
                reason="width",
                detail=detail,
                value=tuple(batch.value[index].tolist()),
            )
            for index in range(len(batch))
        ]
    return bad


def _refusal(batch: FactBatch, item: Quarantined) -> InvalidInputError:
    return InvalidInputError(
        field=f"{batch.series_id} at {item.start_ns}",
        value=item.value,
        fix=f"give a revision its own instant or number; {item.detail}"
        if item.reason == "contradiction"
        else f"give what the contract allows; {item.detail}",
    )


def _usual_step_ns(batch: FactBatch) -> int:
    return int(np.median(batch.end_ns - batch.start_ns))


def _columns_of(batch: FactBatch, source_no: int, record: int) -> Columns:
    count = len(batch)
    return Columns(
        start_ns=batch.start_ns.astype(np.int64, copy=False),
        end_ns=batch.end_ns.astype(np.int64, copy=False),
        known_ns=batch.known_ns.astype(np.int64, copy=False),
        revision=batch.revision.astype(np.int64, copy=False),
        source_no=np.full(count, source_no, dtype=np.int64),
        record_no=np.full(count, record, dtype=np.int64),
        value=batch.value.astype(np.float64, copy=False),
    )


def _lay_down(
    connection: Connection, row: SeriesRow, said: Columns, positions: Ints, counts: _Counts
) -> list[Quarantined]:
    """Lay facts into the blocks of their parts; return those that contradict, by their positions in the batch."""
    assert row.span_ns is not None
    part_of = said.start_ns // row.span_ns
    order = np.argsort(part_of, kind="stable")
    part_nos, begins = np.unique(part_of[order], return_index=True)
    groups = np.split(order, begins[1:])
    stored = rows.stored_blocks(connection, row.series_no, part_nos.tolist())
    fresh: dict[tuple[int, int], Columns] = {}
    contradicting: list[Quarantined] = []
    for part_no, group in zip(part_nos.tolist(), groups, strict=True):
        blocks = stored.get(part_no, [])
        facts = said.take(group)
        judged = judge(_known_of(blocks, facts, row.series_id), facts)
        for name in ("new", "repeated", "corrected", "late"):
            setattr(counts, name, getattr(counts, name) + int(getattr(judged, name).sum()))
        contradicting += [
            _contradiction(facts, at, int(positions[group[at]]))
            for at in np.flatnonzero(judged.contradicting).tolist()
        ]
        kept = facts.take(judged.kept)
        if len(kept):
            _reach(row, kept)
            gone, block = _merged(blocks, kept, row.series_id)
            if gone:
                rows.remove_blocks(connection, row.series_no, part_no, gone)
            fresh[part_no, max((b.block_no for b in blocks), default=-1) + 1] = block
    rows.add_blocks(connection, row.series_no, fresh)
    return contradicting


def _contradiction(facts: Columns, at: int, index: int) -> Quarantined:
    return Quarantined(
        index=index,
        start_ns=int(facts.start_ns[at]),
        reason="contradiction",
        detail="another value is known with the same revision and instant",
        value=tuple(facts.value[at].tolist()),
    )


def _known_of(blocks: Sequence[StoredBlock], said: Columns, series_id: SeriesId) -> Columns:
    """Return what is kept of the intervals of some facts, in order."""
    asked_ns = np.unique(said.start_ns)
    found: list[Columns] = []
    for part in unpack([block.payload for block in blocks], where=f"series {series_id}"):
        at = np.minimum(np.searchsorted(asked_ns, part.start_ns), len(asked_ns) - 1)
        matching = np.flatnonzero(asked_ns[at] == part.start_ns)
        if len(matching):
            found.append(part.take(matching))
    return Columns.joined(found).ordered() if found else said.take(slice(0, 0))


def _reach(row: SeriesRow, kept: Columns) -> None:
    row.facts += len(kept)
    last = int(np.argmax(kept.start_ns))
    start_ns, known_ns = int(kept.start_ns[last]), int(kept.known_ns.max())
    if row.latest_start_ns is None or start_ns >= row.latest_start_ns:
        row.latest_start_ns, row.latest_end_ns = start_ns, int(kept.end_ns[last])
    row.latest_known_ns = known_ns if row.latest_known_ns is None else max(row.latest_known_ns, known_ns)


def _merged(blocks: Sequence[StoredBlock], fresh: Columns, series_id: SeriesId) -> tuple[list[int], Columns]:
    """Return the blocks that go and the one that comes: the fresh facts, and those of small blocks when they are many."""
    if len(blocks) < _MOST_BLOCKS:
        return [], fresh.ordered()
    ascending = sorted(blocks, key=lambda block: block.facts)
    taken, total = 0, len(fresh)
    while taken < len(ascending) and (taken < _MOST_BLOCKS // 2 or ascending[taken].facts <= 2 * total):
        total += ascending[taken].facts
        taken += 1
    some = ascending[:taken]
    return [block.block_no for block in some], joined_blocks(some, series_id, fresh)


def joined_blocks(blocks: Sequence[StoredBlock], series_id: SeriesId, *more: Columns) -> Columns:
    """Return all facts of some blocks of a part, and more of them, in order."""
    parts = unpack([block.payload for block in blocks], where=f"series {series_id}")
    return Columns.joined([*(part.take(slice(None)) for part in parts), *more]).ordered()


def compact_part(connection: Connection, row: SeriesRow, part_no: int) -> tuple[int, int]:
    """Merge all blocks of a part into one; return how many there were, and how many there are."""
    blocks = rows.stored_blocks(connection, row.series_no, [part_no]).get(part_no, [])
    if len(blocks) < 2:
        return len(blocks), len(blocks)
    numbers = [block.block_no for block in blocks]
    rows.remove_blocks(connection, row.series_no, part_no, numbers)
    block = joined_blocks(blocks, row.series_id)
    rows.add_blocks(connection, row.series_no, {(part_no, max(numbers) + 1): block})
    return len(blocks), 1
