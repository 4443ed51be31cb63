"""The twins against the plainest model: for each site a set of the numbers that are in.

Devices repeat, delay and disorder their samples, forget some, and send some that are of no use.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.domain.telemetry import TELEMETRY
from shoal.twin.columns import DEFERRED, DUPLICATE, NEW, REFUSED, WINDOW, Applied, TwinColumns

SITES = 3


class Sent(NamedTuple):
    """One record on its way: its site, number, device time, the oldest its device holds, and whether it is usable."""

    row: int
    seq: int
    ts_ns: int
    oldest_seq: int
    usable: bool


@dataclass
class Site:
    """A site in plain Python."""

    known: set[int] = field(default_factory=set)
    floor: int = 0
    touched: bool = False
    lost: int = 0
    latest_ts_ns: int = 0
    latest_seq: int = 0

    def base(self) -> int:
        base = self.floor
        while base + 1 in self.known:
            base += 1
        return base

    def take(self, sent: Sent) -> int:
        if sent.usable and sent.oldest_seq - 1 > self.base():
            gone = range(self.base() + 1, sent.oldest_seq)
            if self.touched:
                self.lost += sum(seq not in self.known for seq in gone)
            self.floor = sent.oldest_seq - 1
        base = self.base()
        verdict = NEW
        if sent.seq <= base or sent.seq in self.known:
            verdict = DUPLICATE
        elif sent.seq > base + WINDOW:
            verdict = DEFERRED
        else:
            self.known.add(sent.seq)
        self.touched = self.touched or self.base() > 0 or bool(self.known)
        if not sent.usable:
            return REFUSED
        if verdict == NEW and sent.ts_ns >= self.latest_ts_ns:
            self.latest_ts_ns, self.latest_seq = sent.ts_ns, sent.seq
        return verdict

    def early(self) -> set[int]:
        return {seq for seq in self.known if seq > self.base()}


def columns_of(batch: list[Sent]) -> tuple[Any, ...]:
    records = TELEMETRY.empty(len(batch))
    records["seq"] = [s.seq for s in batch]
    records["ts_ns"] = [s.ts_ns for s in batch]
    records["battery_w"] = records["seq"] % 1_000
    return (
        np.array([s.row for s in batch], dtype=np.int64),
        records,
        np.array([s.oldest_seq for s in batch], dtype=np.int64),
        np.array([s.usable for s in batch], dtype=np.bool_),
    )


@st.composite
def sent(draw: st.DrawFn, most: int = 200) -> Sent:
    seq = draw(st.one_of(st.integers(1, most), st.integers(1, 12)))
    return Sent(
        row=draw(st.integers(0, SITES - 1)),
        seq=seq,
        ts_ns=draw(st.one_of(st.just(seq), st.integers(1, most))),
        oldest_seq=draw(st.one_of(st.just(0), st.just(1), st.integers(0, seq))),
        usable=draw(st.integers(0, 9)) > 0,
    )


def batches(most: int = 200) -> st.SearchStrategy[list[list[Sent]]]:
    return st.lists(st.lists(sent(most), max_size=30), max_size=8)


def plain(*numbers: tuple[int, int]) -> list[Sent]:
    """Return samples of site 0 as (number, oldest held)."""
    return [Sent(row=0, seq=seq, ts_ns=seq, oldest_seq=oldest, usable=True) for seq, oldest in numbers]


@settings(max_examples=150, deadline=None)
@given(batches())
@example([plain((1, 1), (66, 1), (65, 1), (2, 1), (66, 1))])
@example([plain((1, 1), (3, 1), (65, 65), (66, 66), (64, 1))])
@example([plain((1, 1), (3, 1), (66, 66)), plain((200, 200), (130, 1))])
@example([plain((5, 5), (4, 4), (70, 6), (69, 69))])
def test_twins_take_what_a_set_would(content: list[list[Sent]]) -> None:
    twins = TwinColumns(SITES)
    model = [Site() for _ in range(SITES)]
    for batch in content:
        applied = twins.apply(*columns_of(batch))
        lost_before = sum(site.lost for site in model)
        expected = [model[s.row].take(s) for s in batch]
        assert applied.verdict.tolist() == expected
        assert (applied.new, applied.duplicates) == (expected.count(NEW), expected.count(DUPLICATE))
        assert applied.lost == sum(site.lost for site in model) - lost_before
    for row, site in enumerate(model):
        assert twins.base_seq[row] == site.base()
        mask = int(twins.early_mask[row])
        assert {site.base() + 1 + bit for bit in range(WINDOW) if mask >> bit & 1} == site.early()
        assert (twins.latest["ts_ns"][row], twins.latest["seq"][row]) == (site.latest_ts_ns, site.latest_seq)
    assert twins.accepted() == sum(site.base() + len(site.early()) for site in model)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 150), st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_twins_take_each_sample_once_however_disordered(count: int, seed: int, reach: int) -> None:
    """Each sample is sent one to three times, displaced by less than the window; all are taken exactly once."""
    random = np.random.default_rng(seed)
    numbers = np.repeat(np.arange(1, count + 1), random.integers(1, 4, count))
    order = np.argsort(numbers + random.uniform(0, reach, len(numbers)), kind="stable")
    batch = [Sent(row=1, seq=int(n), ts_ns=int(n), oldest_seq=1, usable=True) for n in numbers[order]]
    twins = TwinColumns(SITES)
    taken: list[int] = []
    while batch:
        size = int(random.integers(1, 40))
        part, batch = batch[:size], batch[size:]
        applied = twins.apply(*columns_of(part))
        taken += [s.seq for s, verdict in zip(part, applied.verdict, strict=True) if verdict == NEW]
        assert not np.any(applied.verdict == DEFERRED)
        assert applied.lost == 0
    assert sorted(taken) == list(range(1, count + 1))
    assert twins.base_seq.tolist() == [0, count, 0]
    assert twins.accepted() == count
    assert twins.latest["seq"][1] == count


@settings(max_examples=60, deadline=None)
@given(batches(), st.integers(0, 8), st.integers(1, 9))
def test_replay_after_a_snapshot_gives_the_same_state(content: list[list[Sent]], at: int, size: int) -> None:
    """The state depends on the order of records alone, not on the batches, nor on a restart between."""
    once = TwinColumns(SITES)
    whole = [s for batch in content for s in batch]
    applied = once.apply(*columns_of(whole))
    first = TwinColumns(SITES)
    parts = [whole[i : i + size] for i in range(0, len(whole), size)]
    verdicts: list[Applied] = [first.apply(*columns_of(part)) for part in parts[:at]]
    second = TwinColumns(SITES)
    second.restore({name: column.copy() for name, column in first.state().items()}, np.arange(SITES))
    verdicts += [second.apply(*columns_of(part)) for part in parts[at:]]
    for name, column in once.state().items():
        assert column.tobytes() == second.state()[name].tobytes(), name
    got: NDArray[np.int8] = np.concatenate([v.verdict for v in verdicts] or [np.empty(0, dtype=np.int8)])
    assert got.tolist() == applied.verdict.tolist()
    assert sum(v.lost for v in verdicts) == applied.lost


@settings(max_examples=40, deadline=None)
@given(batches(most=2**40))
def test_twins_never_take_a_number_twice_at_any_distance(content: list[list[Sent]]) -> None:
    twins = TwinColumns(SITES)
    taken: set[tuple[int, int]] = set()
    for batch in content:
        applied = twins.apply(*columns_of(batch))
        for s, verdict in zip(batch, applied.verdict, strict=True):
            if verdict == NEW:
                assert (s.row, s.seq) not in taken
                taken.add((s.row, s.seq))
        assert applied.lost >= 0
    assert len(taken) <= twins.accepted()


def test_twins_of_one_batch_and_no_records() -> None:
    twins = TwinColumns(2)
    assert twins.apply(*columns_of([])).verdict.tolist() == []
    assert (len(twins), twins.accepted()) == (2, 0)
    assert twins.nbytes == 2 * (TELEMETRY.dtype.itemsize + 16)


def test_set_aside_sample_leaves_no_hole() -> None:
    twins = TwinColumns(1)
    numbers = range(1, 200)
    batch = [Sent(row=0, seq=n, ts_ns=n, oldest_seq=1, usable=n != 3) for n in numbers]
    applied = twins.apply(*columns_of(batch))
    assert [n for n, verdict in zip(numbers, applied.verdict, strict=True) if verdict != NEW] == [3]
    assert twins.base_seq.tolist() == [199]
