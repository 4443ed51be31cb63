"""What a simulated market holds of meters: every reading that came, of which the highest revision of an interval counts.

A reading is kept with the instant at which it came, so that a run of the settlement uses what was there when it was due.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Final

from shoal.domain.interval import iso
from shoal.market.calendar import parsed_date
from shoal.market.checks import rejected
from shoal.market.contract import Market, RejectedBid
from shoal.market.metering import MeterReading, MeterReceipt, MeterReport
from shoal.market.settlement import settlement_intervals

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS readings (
    resource_id TEXT NOT NULL, delivery_date TEXT NOT NULL, start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL,
    revision INTEGER NOT NULL, received_ns INTEGER NOT NULL, delivered_wh INTEGER NOT NULL, estimated INTEGER NOT NULL,
    PRIMARY KEY (resource_id, delivery_date, start_ns, revision)) STRICT, WITHOUT ROWID;
"""
MOST_WH: Final = 2**53
_MOST_NS: Final = 2**62
_MOST_REVISION: Final = 2**31


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Hold a transaction that writes: committed at the end, undone by an exception."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


class MeterBook:
    """The readings in the book of one market.

    Args:
        db: The book's file.
        market: Its rules.
    """

    def __init__(self, db: sqlite3.Connection, market: Market) -> None:
        self._db = db
        self._market = market
        self._db.executescript(_SCHEMA)

    def take(self, report: MeterReport, *, received_ns: int) -> MeterReceipt | RejectedBid:
        """Keep all readings of a report, or say what is wrong with the first that cannot be kept."""
        ends: dict[date, dict[int, int]] = {}
        wanted: dict[int, tuple[date, MeterReading]] = {}
        repeated = older = 0
        for number, reading in enumerate(report.readings):
            at = f"readings[{number}]"
            if not 0 <= reading.start_ns < _MOST_NS:
                fix = "give the start of a settlement interval"
                return rejected("interval_unknown", f"{at}.start_ns", reading.start_ns, fix)
            day = self._market.delivery_date(reading.start_ns)
            if day not in ends:
                grid = settlement_intervals(self._market.rules, day)
                ends[day] = {one.start_ns: one.end_ns for one in grid}
            refused = self._refused(reading, at, ends[day], received_ns)
            if refused is None and reading.start_ns in wanted:
                fix = "give one reading for an interval"
                refused = rejected("interval_twice", f"{at}.start_ns", iso(reading.start_ns), fix)
            held = self._held(report.resource_id, day.isoformat(), reading)
            if held is not None and held.revision == reading.revision and held != reading:
                fix = f"a correction has revision {held.revision + 1} or higher"
                refused = refused or rejected("revision", f"{at}.revision", reading.revision, fix)
            if refused is not None:
                return refused
            if held is None or held.revision < reading.revision:
                wanted[reading.start_ns] = (day, reading)
            elif held.revision == reading.revision:
                repeated += 1
            else:
                older += 1
        with transaction(self._db):
            for day, reading in wanted.values():
                self._db.execute(
                    "INSERT INTO readings VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        report.resource_id,
                        day.isoformat(),
                        reading.start_ns,
                        reading.end_ns,
                        reading.revision,
                        received_ns,
                        reading.delivered_wh,
                        reading.estimated,
                    ),
                )
        return MeterReceipt(taken_count=len(wanted), repeated_count=repeated, older_count=older)

    @staticmethod
    def _refused(
        reading: MeterReading, at: str, ends: dict[int, int], received_ns: int
    ) -> RejectedBid | None:
        if ends.get(reading.start_ns) != reading.end_ns:
            fix = "give the bounds of a settlement interval"
            return rejected("interval_unknown", f"{at}.start_ns", iso(reading.start_ns), fix)
        if reading.end_ns > received_ns:
            return rejected("not_over", f"{at}.end_ns", iso(reading.end_ns), "wait until it is over")
        if not 0 <= reading.revision < _MOST_REVISION or abs(reading.delivered_wh) > MOST_WH:
            fix = f"count revisions from 0, and stay within {MOST_WH} Wh"
            return rejected("reading", at, (reading.revision, reading.delivered_wh), fix)
        return None

    def _held(self, resource_id: str, delivery_date: str, reading: MeterReading) -> MeterReading | None:
        """Return the reading of the same revision, else the newest."""
        row = self._db.execute(
            "SELECT start_ns, end_ns, delivered_wh, estimated, revision FROM readings WHERE resource_id = ? "
            "AND delivery_date = ? AND start_ns = ? ORDER BY revision = ? DESC, revision DESC LIMIT 1",
            (resource_id, delivery_date, reading.start_ns, reading.revision),
        ).fetchone()
        return None if row is None else _reading(row)

    def readings(
        self, resource_id: str, delivery_date: str, *, at_ns: int | None = None
    ) -> list[MeterReading]:
        """Return the readings that count, in order; those that counted at an instant when one is given."""
        rows = self._db.execute(
            "SELECT start_ns, end_ns, delivered_wh, estimated, max(revision) FROM readings "
            "WHERE resource_id = ? AND delivery_date = ? AND received_ns <= ? GROUP BY start_ns ORDER BY start_ns",
            (resource_id, delivery_date, _MOST_NS if at_ns is None else at_ns),
        )
        return [_reading(row) for row in rows]

    def has(self, resource_id: str, delivery_date: str) -> bool:
        """Whether there is any reading of a day."""
        if parsed_date(delivery_date) is None:
            return False
        row = self._db.execute(
            "SELECT 1 FROM readings WHERE resource_id = ? AND delivery_date = ? LIMIT 1",
            (resource_id, delivery_date),
        ).fetchone()
        return row is not None

    def taken(self) -> int:
        """Return how many readings were taken, corrections too."""
        return int(self._db.execute("SELECT COUNT(*) FROM readings").fetchone()[0])


def _reading(row: tuple[int, int, int, int, int]) -> MeterReading:
    start_ns, end_ns, delivered_wh, estimated, revision = row
    return MeterReading(
        start_ns=start_ns,
        end_ns=end_ns,
        delivered_wh=delivered_wh,
        estimated=bool(estimated),
        revision=revision,
    )
