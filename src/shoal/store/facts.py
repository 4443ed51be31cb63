"""The fact store: every series, what was said of it, by whom, and when that was known; nothing is ever changed.

Each fact has two times, the interval that it is about and the instant at which it became known, so that a question asked
as of an instant gets what was known then. Facts lie in packed blocks, a few for each part of a series (a day of
five-minute intervals), with the least start and the least instant of each block beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from sqlalchemy import Engine, func, select

from shoal.domain.contracts import SeriesContract
from shoal.domain.errors import InvalidInputError
from shoal.domain.facts import Facts, SeriesId
from shoal.store import facts_rows as rows
from shoal.store.database import reading, writing
from shoal.store.facts_columns import Columns, Part, known_then
from shoal.store.facts_intake import Intake, compact_part
from shoal.store.facts_pack import unpack
from shoal.store.facts_records import (
    Compacted,
    FactBatch,
    Freshness,
    History,
    Recorded,
    SetAside,
    Slice,
)
from shoal.store.facts_window import Window
from shoal.store.schema import FACT_QUARANTINE, FACT_SERIES, FACT_SOURCE

_PARTS_AT_ONCE: Final = 64
"""Parts that a compaction does in one transaction, so that nobody waits long for it."""


class FactStore:
    """Facts in a migrated database. Calls block; an asynchronous caller runs them in a thread.

    A series needs no contract; then its facts may say anything finite, with as many values as the first one had.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # -- contracts

    def declare(self, contract: SeriesContract) -> None:
        """Keep what a series may say, from now on; what is kept already stays as it is.

        Raises:
            InvalidInputError: when facts of the series have another number of values.
        """
        with writing(self._engine, lock=rows.LOCK) as connection:
            row = rows.read_series(connection, [contract.series_id]).get(contract.series_id)
            row = rows.add_series(connection, contract.series_id) if row is None else row
            if row.facts and row.width != len(contract.columns):
                raise InvalidInputError(
                    field="columns", value=len(contract.columns), fix=f"its facts have {row.width} values"
                )
            row.contract, row.width = contract, len(contract.columns)
            if row.span_ns is None and contract.step_ns is not None:
                row.span_ns = rows.span_for(contract.step_ns)
            rows.save_contract(connection, row)

    def contracts(self) -> dict[SeriesId, SeriesContract]:
        """Return the contract of every series that has one."""
        with reading(self._engine) as connection:
            found = rows.read_series(connection)
        return {name: row.contract for name, row in found.items() if row.contract is not None}

    # -- recording

    def record(self, facts: Facts) -> Recorded:
        """Keep what a publication adds; on return it survives a loss of power.

        The same publication again changes nothing, and an interval of which it repeats what was known adds nothing:
        what was repeated is taken to hold from its first word on, until another one says otherwise.
        What breaks the contract, or contradicts a fact with the same revision and instant, is set aside.

        Raises:
            UnavailableError: when the database cannot be reached; nothing was kept then.
        """
        return self.record_all([facts])[0]

    def record_all(
        self, publications: Iterable[Facts | FactBatch], *, strict: bool = False
    ) -> list[Recorded]:
        """Keep several publications, all or none.

        Args:
            publications: In the order in which they are to be taken.
            strict: Refuse all of them when a fact would be set aside.

        Raises:
            UnavailableError: as for `record`.
            InvalidInputError: with `strict`, when a fact breaks the contract or contradicts.
        """
        batches = [item if isinstance(item, FactBatch) else FactBatch.of(item) for item in publications]
        if not batches:
            return []
        with writing(self._engine, lock=rows.LOCK) as connection:
            intake = Intake(connection, [batch.series_id for batch in batches])
            done = [intake.take(batch, strict=strict) for batch in batches]
            intake.finish()
        return done

    def load(self, batch: FactBatch) -> Recorded:
        """Keep facts of many instants at once, such as a file of the past; they count in the order of these.

        Raises:
            UnavailableError: as for `record`.
        """
        return self.record_all([batch])[0]

    # -- asking

    def as_of(
        self,
        series_ids: Iterable[SeriesId],
        from_ns: int,
        to_ns: int,
        as_of_ns: int,
        *,
        up_to_record: int | None = None,
    ) -> dict[SeriesId, Slice]:
        """Return what was known at an instant of the intervals that start in `[from_ns, to_ns)`.

        Of each interval the fact with the highest (revision, known) counts, among those known by then.

        Args:
            series_ids: Each gets a slice; one of which nothing is known an empty one.
            from_ns: Where the span begins.
            to_ns: Where it ends.
            as_of_ns: The instant; what became known at it counts.
            up_to_record: Leave out what was recorded later although it was known by then, from
                `Recorded.up_to_record` or `last_record`: a question asked again is answered bit for bit as before.
        """
        asked = list(dict.fromkeys(series_ids))
        parts, widths = self._parts(asked, from_ns, to_ns, as_of_ns)
        return {
            series_id: known_then(
                parts.get(series_id, ()),
                widths.get(series_id, 1),
                from_ns=from_ns,
                to_ns=to_ns,
                as_of_ns=as_of_ns,
                up_to_record=up_to_record,
            )
            for series_id in asked
        }

    def window(
        self, series_ids: Iterable[SeriesId], from_ns: int, to_ns: int, *, up_to_record: int | None = None
    ) -> Window:
        """Return a span with all that was ever said of it, to be asked in memory as of many instants."""
        asked = list(dict.fromkeys(series_ids))
        parts, widths = self._parts(asked, from_ns, to_ns, None)
        facts: dict[SeriesId, Columns] = {}
        for series_id in asked:
            some = [part.take(slice(None)) for part in parts.get(series_id, ())]
            every = Columns.joined(some).ordered() if some else Columns.empty(widths.get(series_id, 1))
            inside = (every.start_ns >= from_ns) & (every.start_ns < to_ns)
            if up_to_record is not None:
                inside &= every.record_no <= up_to_record
            facts[series_id] = every.take(inside)
        return Window(from_ns=from_ns, to_ns=to_ns, facts=facts)

    def _parts(
        self, asked: Sequence[SeriesId], from_ns: int, to_ns: int, as_of_ns: int | None
    ) -> tuple[dict[SeriesId, list[Part]], dict[SeriesId, int]]:
        with reading(self._engine) as connection:
            found = rows.places(connection, asked)
            blocks = rows.payloads(
                connection, found.values(), from_ns=from_ns, to_ns=to_ns, as_of_ns=as_of_ns
            )
        parts = {
            series_id: unpack(blocks.get(place.series_no, ()), where=f"series {series_id}")
            for series_id, place in found.items()
        }
        return parts, {series_id: place.width for series_id, place in found.items()}

    def history(self, series_id: SeriesId, start_ns: int) -> History:
        """Return all that was ever said of the interval that starts at an instant."""
        with reading(self._engine) as connection:
            found = rows.places(connection, [series_id])
            blocks = rows.payloads(connection, found.values(), from_ns=start_ns, to_ns=start_ns + 1)
            names = rows.source_names(connection)
        said = [Columns.empty(found[series_id].width if series_id in found else 1)]
        for part in unpack([p for some in blocks.values() for p in some], where=f"series {series_id}"):
            said.append(part.take(np.flatnonzero(part.start_ns == start_ns)))
        every = Columns.joined([part for part in said if len(part)] or said[:1])
        every = every.take(np.lexsort((every.revision, every.known_ns)))
        return History(
            known_ns=every.known_ns,
            revision=every.revision,
            end_ns=every.end_ns,
            value=every.value,
            source=tuple(names[number] for number in every.source_no.tolist()),
            record=every.record_no,
        )

    def quarantine(self, series_id: SeriesId | None = None, *, limit: int = 1_000) -> list[SetAside]:
        """Return what was set aside, of one series or of all, the newest first."""
        query = (
            select(
                FACT_SERIES.c.series_id,
                FACT_SOURCE.c.name.label("source"),
                *(
                    FACT_QUARANTINE.c[name]
                    for name in ("start_ns", "end_ns", "known_ns", "revision", "reason", "detail", "value")
                ),
            )
            .join_from(FACT_QUARANTINE, FACT_SERIES)
            .join(FACT_SOURCE)
            .order_by(FACT_QUARANTINE.c.known_ns.desc(), FACT_SERIES.c.series_id, FACT_QUARANTINE.c.start_ns)
            .limit(limit)
        )
        if series_id is not None:
            query = query.where(FACT_SERIES.c.series_id == series_id)
        with reading(self._engine) as connection:
            found = [row._asdict() for row in connection.execute(query)]
        return [
            SetAside(**row | {"value": tuple(np.frombuffer(row["value"], "<f8").tolist())}) for row in found
        ]

    def quarantined(self) -> dict[SeriesId, int]:
        """Return how many intervals of each series were set aside; one without any is left out."""
        query = (
            select(FACT_SERIES.c.series_id, func.count())
            .join_from(FACT_QUARANTINE, FACT_SERIES)
            .group_by(FACT_SERIES.c.series_id)
        )
        with reading(self._engine) as connection:
            return {series_id: int(count) for series_id, count in connection.execute(query)}

    def freshness(self, now_ns: int) -> list[Freshness]:
        """Return how far the knowledge of each series reaches, by name."""
        with reading(self._engine) as connection:
            found = rows.read_series(connection)
        return [
            Freshness(
                series_id=name,
                facts=row.facts,
                latest_start_ns=row.latest_start_ns,
                latest_end_ns=row.latest_end_ns,
                latest_known_ns=row.latest_known_ns,
                stale=_is_stale(row, now_ns),
            )
            for name, row in found.items()
        ]

    def last_record(self) -> int:
        """Return the number of the last record, for `up_to_record`; 0 before the first."""
        with reading(self._engine) as connection:
            return rows.last_record(connection)

    # -- keeping

    def last_record_of(self, series_ids: Iterable[SeriesId]) -> int:
        """Return the number of the last record of some series, 0 when there is none; it grows with each."""
        query = select(func.max(FACT_SERIES.c.last_record)).where(
            FACT_SERIES.c.series_id.in_(list(series_ids))
        )
        with reading(self._engine) as connection:
            return int(connection.execute(query).scalar_one() or 0)

    def compact(self) -> Compacted:
        """Merge the blocks of every part into one; answers stay as they are.

        It may be stopped at any point and done again, and others record meanwhile.
        """
        with reading(self._engine) as connection:
            scattered = rows.scattered_parts(connection)
            by_number = {row.series_no: row for row in rows.read_series(connection).values()}
        before = after = 0
        for begin in range(0, len(scattered), _PARTS_AT_ONCE):
            with writing(self._engine, lock=rows.LOCK) as connection:
                for series_no, part_no in scattered[begin : begin + _PARTS_AT_ONCE]:
                    had, has = compact_part(connection, by_number[series_no], part_no)
                    before, after = before + had, after + has
        return Compacted(parts=len(scattered), blocks_before=before, blocks_after=after)


def _is_stale(row: rows.SeriesRow, now_ns: int) -> bool:
    if row.contract is None or row.contract.stale_after_ns is None:
        return False
    return row.latest_known_ns is None or now_ns - row.latest_known_ns > row.contract.stale_after_ns
