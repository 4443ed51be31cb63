"""The fact store in plain Python: a list of facts and the rules, one fact after the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from shoal.domain.facts import Facts, SeriesId
from shoal.store.facts_records import FactBatch, Slice

SOURCE = "test"
STEP = 300


class Said(NamedTuple):
    """One fact; `value` is None for one that is withdrawn."""

    start: int
    revision: int
    known: int
    value: float | None


@dataclass
class Oracle:
    """What the store is to hold, with the number of the record of each fact."""

    kept: dict[Said, int] = field(default_factory=dict)
    records: int = 0

    def record(self, facts: Iterable[Said]) -> dict[str, int]:
        """Take facts in the order in which they became known, of the same instant the lower revision first."""
        counts = dict.fromkeys(("new", "repeated", "corrected", "late", "quarantined"), 0)
        fresh: list[Said] = []
        for fact in sorted(facts, key=lambda one: (one.known, one.revision)):
            kind = self._kind(fact, fresh)
            counts[kind] += 1
            if kind in ("new", "corrected", "late"):
                fresh.append(fact)
        if fresh:
            self.records += 1
            self.kept |= dict.fromkeys(fresh, self.records)
        return counts

    def _kind(self, fact: Said, fresh: list[Said]) -> str:
        same = [one for one in (*self.kept, *fresh) if one.start == fact.start]
        chain = [one for one in same if one.revision == fact.revision and one.known <= fact.known]
        if chain:
            before = max(chain, key=lambda one: one.known)
            if before.value == fact.value:
                return "repeated"
            if before.known == fact.known:
                return "quarantined"
        if not same:
            return "new"
        newest = max((one.revision, one.known) for one in same)
        return "corrected" if (fact.revision, fact.known) > newest else "late"

    def as_of(self, from_: int, to: int, as_of: int, up_to_record: int | None = None) -> list[Said]:
        """Return what was known, by interval."""
        known: dict[int, Said] = {}
        for fact, record in self.kept.items():
            if not from_ <= fact.start < to or fact.known > as_of:
                continue
            if up_to_record is not None and record > up_to_record:
                continue
            held = known.get(fact.start)
            if held is None or (fact.revision, fact.known) > (held.revision, held.known):
                known[fact.start] = fact
        return [known[start] for start in sorted(known)]


def batch_of(series_id: SeriesId, facts: list[Said]) -> FactBatch:
    """Return facts as a batch."""
    starts = np.array([fact.start for fact in facts], dtype=np.int64)
    return FactBatch(
        series_id=series_id,
        source=SOURCE,
        known_ns=np.array([fact.known for fact in facts], dtype=np.int64),
        revision=np.array([fact.revision for fact in facts], dtype=np.int64),
        start_ns=starts,
        end_ns=starts + STEP,
        value=np.array([[np.nan if fact.value is None else fact.value] for fact in facts]).reshape(-1, 1),
    )


def publication(series_id: SeriesId, facts: list[Said]) -> Facts:
    """Return facts that were known at the same instant, with the same revision, in order."""
    starts = np.array([fact.start for fact in facts], dtype=np.int64)
    return Facts(
        series_id=series_id,
        source=SOURCE,
        known_ns=facts[0].known,
        revision=facts[0].revision,
        start_ns=starts,
        end_ns=starts + STEP,
        value=np.array([[np.nan if fact.value is None else fact.value] for fact in facts]),
    )


def said_of(known: Slice) -> list[Said]:
    """Return an answer of the store as plain facts."""
    assert (known.end_ns == known.start_ns + STEP).all()
    return [
        Said(start, revision, at, None if value != value else value)
        for start, revision, at, value in zip(
            known.start_ns.tolist(),
            known.revision.tolist(),
            known.known_ns.tolist(),
            known.value[:, 0].tolist(),
            strict=True,
        )
    ]
