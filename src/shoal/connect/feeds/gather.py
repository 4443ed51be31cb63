"""From records to facts: duplicates and corrections within a document are settled, and what cannot be used is set aside.

The one idea: a record is placed under (series, revision, start), so that whatever the order of the rows, one value an
interval remains, and a bad row costs itself alone.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from datetime import datetime
from typing import Final

import numpy as np

from shoal.connect.feeds.feed import FeedError, Reading, SetAside
from shoal.domain.errors import InvalidInputError
from shoal.domain.facts import Facts, SeriesId
from shoal.domain.interval import NS_PER_HOUR, to_ns

EARLIEST_NS: Final = 631_152_000_000_000_000  # 1990-01-01: before any of these markets
LATEST_NS: Final = 4_102_444_800_000_000_000  # 2100-01-01: what lies beyond does not fit every calendar
_LONGEST_NS: Final = 24 * NS_PER_HOUR
_MOST_KEPT: Final = 100
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_WHOLE: Final = re.compile(r"[0-9]{1,9}")
_SAMPLE_BYTES: Final = 256


def number(text: str) -> float | None:
    """Return the finite decimal number that a text is; None when it is none (Python's own reading takes more)."""
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def whole(text: str) -> int | None:
    """Return the whole number of at most nine digits that a text is; None when it is none."""
    text = text.strip()
    return int(text) if _WHOLE.fullmatch(text) else None


def finite(value: object) -> float | None:
    """Return the finite number that a JSON value is; None when it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond every float
        return None


def instant_ns(text: object) -> int | None:
    """Return the instant of an ISO 8601 text with a zone; None when it is none."""
    if not isinstance(text, str):
        return None
    try:
        return to_ns(datetime.fromisoformat(text.strip()))
    except (ValueError, OverflowError, InvalidInputError):
        return None


def looks_like_html(content: bytes) -> bool:
    """Whether a document is a page for people."""
    start = content[:_SAMPLE_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head"))


def refuse_html(feed: str, content: bytes) -> None:
    """Refuse a page for people in place of data.

    Raises:
        FeedError: when it is one.
    """
    if looks_like_html(content):
        raise FeedError(
            feed=feed,
            field="document",
            value=content[:_SAMPLE_BYTES].decode("latin-1"),
            fix="the provider answered with a web page: try later, and see whether the address has moved",
        )


class Gatherer:
    """Collects the records of one document.

    Args:
        source: Who said it.
        known_ns: When the plant knew it.
    """

    def __init__(self, *, source: str, known_ns: int) -> None:
        self._source = source
        self._known_ns = known_ns
        self._held: dict[tuple[str, int], dict[int, tuple[str, int, float, str]]] = {}
        self._kept: list[SetAside] = []
        self._reasons: Counter[str] = Counter()
        self._duplicates = self._corrected = self._absent = 0
        self.published_ns: int | None = None

    def take(
        self,
        series_id: str,
        *,
        start_ns: int,
        end_ns: int,
        value: float,
        where: str,
        revision: int = 0,
        rank: str = "",
    ) -> None:
        """Place a value.

        Args:
            series_id: The series.
            start_ns: The start of its interval.
            end_ns: The end of its interval.
            value: A finite number in the unit of the series.
            where: The record, as a quarantine names it.
            revision: The source's own count of corrections.
            rank: Of two records of one interval the higher rank is right; of equals, the later one.
        """
        if not math.isfinite(value):
            self.quarantine(where, "value", str(value), "not a finite number")
            return
        if not (EARLIEST_NS <= start_ns < end_ns <= LATEST_NS and end_ns - start_ns <= _LONGEST_NS):
            self.quarantine(where, "interval", f"{start_ns}..{end_ns}", "no such interval")
            return
        rows = self._held.setdefault((series_id, revision), {})
        before = rows.get(start_ns)
        if before is not None:
            if before[1:3] == (end_ns, value):
                self._duplicates += 1
                return
            self._corrected += 1
            if rank < before[0]:
                return
        rows[start_ns] = (rank, end_ns, value, where)

    def absent(self, count: int = 1) -> None:
        """Count values that the format says are not there."""
        self._absent += count

    def quarantine(self, where: str, field: str, value: str, reason: str) -> None:
        """Set a record aside."""
        self._reasons[reason] += 1
        if len(self._kept) < _MOST_KEPT:
            self._kept.append(SetAside(where=where, field=field, value=value[:_MOST_KEPT], reason=reason))

    def reading(self) -> Reading:
        """Return what the document says."""
        facts = [self._facts(name, revision, rows) for (name, revision), rows in sorted(self._held.items())]
        return Reading(
            facts=tuple(facts),
            published_ns=self.published_ns,
            absent_total=self._absent,
            duplicates_total=self._duplicates,
            corrected_total=self._corrected,
            quarantined_total=self._reasons.total(),
            quarantined=tuple(self._kept),
            reasons=dict(self._reasons),
        )

    def _facts(self, name: str, revision: int, rows: dict[int, tuple[str, int, float, str]]) -> Facts:
        starts: list[int] = []
        ends: list[int] = []
        values: list[float] = []
        for start_ns in sorted(rows):
            _, end_ns, value, where = rows[start_ns]
            if ends and start_ns < ends[-1]:
                self.quarantine(where, "interval", str(start_ns), "it overlaps the interval before it")
                continue
            starts.append(start_ns)
            ends.append(end_ns)
            values.append(value)
        return Facts(
            series_id=SeriesId(name),
            source=self._source,
            known_ns=self._known_ns,
            revision=revision,
            start_ns=np.array(starts, dtype=np.int64),
            end_ns=np.array(ends, dtype=np.int64),
            value=np.array(values, dtype=np.float64).reshape(-1, 1),
        )
