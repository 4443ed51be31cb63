"""Facts as columns: which of them was known when, and what a new word adds to what is already there.

Columns are kept in the order (start, revision, known), in which the fact that counts as of an instant is the last
visible one of its interval. Everything here is plain array work without a database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.store.facts_records import Slice

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

INTEGERS: Final = ("start_ns", "end_ns", "known_ns", "revision", "source_no", "record_no")
"""The columns beside the values, in the order in which they are stored."""
_ANSWER: Final = ("start_ns", "end_ns", "value", "known_ns", "revision")
_REVISION_BITS: Final = 32


class Part(Protocol):
    """Some facts of one series in order, perhaps not yet unpacked."""

    @property
    def start_ns(self) -> Ints:
        """N starts, ascending."""

    @property
    def known_ns(self) -> Ints:
        """N instants."""

    @property
    def record_no(self) -> Ints:
        """N numbers of records."""

    def take(self, rows: Ints | slice) -> Columns:
        """Return some of the facts."""

    def answer(self, rows: Ints) -> Slice:
        """Return some of the facts as they are given out: without who said them, and in which record."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Columns:
    """N facts of one series.

    Attributes:
        start_ns: N starts.
        end_ns: N ends.
        known_ns: N instants at which they became known.
        revision: N counts of corrections.
        source_no: N numbers of who said so.
        record_no: N numbers of the record that brought them.
        value: N x V values.
    """

    start_ns: Ints
    end_ns: Ints
    known_ns: Ints
    revision: Ints
    source_no: Ints
    record_no: Ints
    value: Floats

    def __len__(self) -> int:
        return len(self.start_ns)

    @classmethod
    def empty(cls, width: int) -> Columns:
        """Return no facts of `width` values each."""
        return cls(**{name: np.zeros(0, np.int64) for name in INTEGERS}, value=np.zeros((0, width)))

    @classmethod
    def joined(cls, parts: Sequence[Columns]) -> Columns:
        """Return the facts of several parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in INTEGERS},
            value=np.concatenate([part.value for part in parts]),
        )

    def take(self, rows: Ints | Bools | slice) -> Columns:
        """Return some of the facts."""
        return Columns(**{name: getattr(self, name)[rows] for name in INTEGERS}, value=self.value[rows])

    def answer(self, rows: Ints) -> Slice:
        """Return some of the facts as they are given out."""
        return Slice(
            start_ns=self.start_ns[rows],
            end_ns=self.end_ns[rows],
            value=self.value[rows],
            known_ns=self.known_ns[rows],
            revision=self.revision[rows],
        )

    def ordered(self) -> Columns:
        """Return them in the order (start, revision, known)."""
        if len(self) < 2:
            return self
        return self.take(np.lexsort((self.known_ns, self.revision, self.start_ns)))


def visible_rows(
    part: Part, *, from_ns: int, to_ns: int, as_of_ns: int, up_to_record: int | None = None
) -> Ints:
    """Return for each interval that starts in `[from_ns, to_ns)` the row of what was known of it."""
    start_ns = part.start_ns
    low, high = start_ns.searchsorted((from_ns, to_ns)).tolist()
    visible = part.known_ns[low:high] <= as_of_ns
    if up_to_record is not None:
        visible &= part.record_no[low:high] <= up_to_record
    rows = visible.nonzero()[0]
    if low:
        rows += low
    return rows[_last_of_each(start_ns[rows])]


def known_then(
    parts: Sequence[Part],
    width: int,
    *,
    from_ns: int,
    to_ns: int,
    as_of_ns: int,
    up_to_record: int | None = None,
) -> Slice:
    """Return what was known at an instant, at most one fact an interval, the earliest interval first."""
    found: list[Slice] = []
    for part in parts:
        rows = visible_rows(part, from_ns=from_ns, to_ns=to_ns, as_of_ns=as_of_ns, up_to_record=up_to_record)
        if len(rows):
            found.append(part.answer(rows))
    if len(found) == 1:
        return found[0]
    if not found:
        return Columns.empty(width).answer(np.zeros(0, np.int64))
    every = {name: np.concatenate([getattr(one, name) for one in found]) for name in _ANSWER}
    starts = every["start_ns"]
    if bool((starts[1:] > starts[:-1]).all()):
        return Slice(**every)
    order = np.lexsort((every["known_ns"], every["revision"], starts))
    rows = order[_last_of_each(starts[order])]
    return Slice(**{name: column[rows] for name, column in every.items()})


def _last_of_each(starts: Ints) -> Bools:
    last = np.ones(len(starts), dtype=np.bool_)
    np.not_equal(starts[1:], starts[:-1], out=last[:-1])
    return last


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """What N facts add to what was known; each is exactly one of these.

    Attributes:
        new: The first word about their interval (N).
        corrected: From their instant on they replace what was known of it (N).
        late: Something of a higher revision, or known later, is there already (N).
        repeated: What they say was known already with that revision (N).
        contradicting: Another value is kept with the same revision and instant (N).
    """

    new: Bools
    corrected: Bools
    late: Bools
    repeated: Bools
    contradicting: Bools

    @property
    def kept(self) -> Bools:
        """Those that are to be kept (N)."""
        return self.new | self.corrected | self.late


def judge(known: Columns, said: Columns) -> Judged:
    """Return what facts add, taken in the order in which they became known.

    A fact repeats when the one before it of its interval and revision, by the instant, says the same.

    Args:
        known: What is kept, in order.
        said: N facts in any order; of two that are alike in interval, revision and instant the first one counts.
    """
    count = len(known)
    every = Columns.joined([known, said])
    # A stable sort: of facts with the same key the one that is kept comes first, then by position.
    order = np.lexsort((every.known_ns, every.revision, every.start_ns))
    every = every.take(order)
    chained = _same_as_before(every.start_ns) & _same_as_before(every.revision)
    keyed = chained & _same_as_before(every.known_ns)
    places = np.arange(len(every))
    repeats = chained & _alike(every, places, np.maximum(places - 1, 0))
    contradicts = np.zeros(len(every), dtype=np.bool_)
    if keyed.any():
        chain = np.cumsum(~chained)
        rows = np.flatnonzero(np.isin(chain, chain[keyed]))
        _judge_in_turn(every, rows.tolist(), (chained, keyed, order >= count), (repeats, contradicts))
    flags = np.zeros((2, len(every)), dtype=np.bool_)
    flags[:, order] = repeats, contradicts
    repeated, contradicting = flags[:, count:]
    kept = ~(repeated | contradicting)
    new, corrected = _classed(known, said, np.flatnonzero(kept))
    return Judged(
        new=new,
        corrected=corrected,
        late=kept & ~new & ~corrected,
        repeated=repeated,
        contradicting=contradicting,
    )


def _judge_in_turn(
    every: Columns, rows: Sequence[int], known: tuple[Bools, Bools, Bools], told: tuple[Bools, Bools]
) -> None:
    """Judge the facts of chains in which one instant occurs twice: whether one counts depends on those before it."""
    chained, keyed, fresh = known
    repeats, contradicts = told
    before = held = -1  # rows: what was in force until this instant, and what is kept of it
    for row in rows:
        if not chained[row]:
            before = held = -1
        elif not keyed[row]:
            before, held = (before if held < 0 else held), -1
        against = before if held < 0 else held
        alike = against >= 0 and bool(_alike(every, np.array([row]), np.array([against]))[0])
        repeats[row] = alike and bool(fresh[row])
        contradicts[row] = not alike and held >= 0
        if held < 0 and not repeats[row]:
            held = row


def _same_as_before(values: Ints) -> Bools:
    same = np.zeros(len(values), dtype=np.bool_)
    np.equal(values[1:], values[:-1], out=same[1:])
    return same


def _alike(every: Columns, rows: Ints, others: Ints) -> Bools:
    mine, theirs = every.value[rows], every.value[others]
    equal = (mine == theirs) | (np.isnan(mine) & np.isnan(theirs))
    result: Bools = equal.all(axis=1) & (every.end_ns[rows] == every.end_ns[others])
    return result


def _classed(known: Columns, said: Columns, kept: Ints) -> tuple[Bools, Bools]:
    """Return which of the facts to keep are the first of their interval, and which are its newest word."""
    new, corrected = np.zeros((2, len(said)), dtype=np.bool_)
    if not len(kept):
        return new, corrected
    rows = kept[np.lexsort((said.revision[kept], said.known_ns[kept], said.start_ns[kept]))]
    start_ns, known_ns, revision = said.start_ns[rows], said.known_ns[rows], said.revision[rows]
    first = ~_same_as_before(start_ns)
    # The highest revision so far within each interval: intervals ascend, so that one running maximum does for all.
    high = np.cumsum(first) << _REVISION_BITS
    so_far = np.maximum.accumulate(high | revision)
    above = first.copy()
    above[1:] |= (high | revision)[1:] >= so_far[:-1]
    has, beats = np.zeros((2, len(rows)), dtype=np.bool_)
    if len(known):
        newest = np.searchsorted(known.start_ns, start_ns, side="right") - 1
        has = (newest >= 0) & (known.start_ns[newest] == start_ns)
        beats = (revision > known.revision[newest]) | (
            (revision == known.revision[newest]) & (known_ns > known.known_ns[newest])
        )
    new[rows] = first & ~has
    corrected[rows] = above & (~has | beats) & ~(first & ~has)
    return new, corrected
