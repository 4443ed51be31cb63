"""A shard is a function of its journal: whenever it dies, the next one ends up where it would have been."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.errors import CorruptStateError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.domain.telemetry import TELEMETRY, encode
from shoal.domain.twins import ShardAnswer
from shoal.store.history import History, HistoryWriter
from shoal.telemetry.decode import Decoded, Decoder
from shoal.telemetry.shard import Shard
from tests.integration.store.fleets import make_fleet

START_NS = 1_612_936_800_000_000_000
FLEET = make_fleet(6)
ROWS = np.array([1, 2, 4], dtype=np.int64)
DECODER = Decoder(
    row_of={site.encode(): row for site, row in FLEET.row_of.items()}, max_ahead_ns=10 * NS_PER_HOUR
)


def new_shard(folder: Path, *, rows: NDArray[np.int64] = ROWS, number: int = 0) -> Shard:
    return Shard(
        number=number,
        rows=rows,
        fleet=FLEET,
        history=HistoryWriter(folder / "history", number),
        snapshot_path=folder / "twins" / f"shard-{number}.npz",
    )


class Journal:
    """A journal in memory: messages by position, beginning at 1."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes]] = []

    def append(self, row: int, *numbers: int, oldest_seq: int = 1, **values: float) -> None:
        records = TELEMETRY.empty(len(numbers))
        records["seq"] = numbers
        records["ts_ns"] = START_NS + np.array(numbers) * NS_PER_MINUTE
        records["charge_wh"] = np.array(numbers) * 10 + row
        for name, value in values.items():
            records[name] = value
        subject = f"tele.0.{FLEET.site_ids[row]}".encode()
        self.messages.append((subject, encode(records, oldest_seq=oldest_seq)))

    def read(self, from_seq: int, to_seq: int) -> Decoded:
        """Return what lies at the positions, both inclusive."""
        part = self.messages[from_seq - 1 : to_seq]
        return DECODER.decode(
            [subject for subject, _ in part],
            [payload for _, payload in part],
            START_NS + np.arange(from_seq, from_seq + len(part), dtype=np.int64),
            now_ns=START_NS,
        )


@pytest.fixture
def journal() -> Journal:
    """Return 90 minutes of three sites, with repeats, disorder, a hole that is filled late, and rubbish."""
    journal = Journal()
    for minute in range(1, 91):
        for row in ROWS.tolist():
            if row == 2 and minute == 20:
                continue
            journal.append(row, minute)
            if minute % 7 == row % 7:
                journal.append(row, minute)
            if minute % 11 == 0 and row == 4:
                journal.append(row, minute - 3, minute - 2)
        if minute == 40:
            journal.append(2, 20)
        if minute == 50:
            journal.append(1, 50, soc_frac=np.nan)
            journal.messages.append((b"tele.0.nobody", b"x"))
    return journal


def replay(shard: Shard, journal: Journal, *, to_seq: int, size: int = 17) -> None:
    """Let the shard take what follows its position, in batches."""
    while shard.position < to_seq:
        last = min(shard.position + size, to_seq)
        shard.take(journal.read(shard.position + 1, last), last_seq=last)


def state(shard: Shard) -> dict[str, Any]:
    """Return everything about a shard that must not depend on crashes."""
    columns = {name: column.tobytes() for name, column in shard._columns.state().items()}
    figures = msgspec.to_builtins(shard.statistics())
    return columns | {name: figures[name] for name in figures if name not in ("buffered", "history_rows")}


def history_of(folder: Path) -> list[tuple[int, ...]]:
    history = History(folder / "history")
    try:
        rows = history.query(
            "SELECT site_no, seq, ts_ns, charge_wh FROM telemetry ORDER BY site_no, seq"
        ).to_pylist()
    finally:
        history.close()
    return [tuple(row.values()) for row in rows]


def test_shard_counts_what_it_took(tmp_path: Path, journal: Journal) -> None:
    shard = new_shard(tmp_path)
    shard.restore()
    replay(shard, journal, to_seq=len(journal.messages))
    figures = shard.statistics()
    sent = 3 * 90
    assert (figures.sites, figures.position, figures.applied) == (3, len(journal.messages), sent)
    assert (figures.deferred, figures.lost, figures.quarantined) == (0, 0, 2)
    assert shard.accepted() == sent
    assert figures.applied + figures.duplicates + figures.quarantined == sum(
        1 if subject.endswith(b"nobody") else (len(payload) - 16) // 72
        for subject, payload in journal.messages
    )


def test_history_holds_each_sample_once(tmp_path: Path, journal: Journal) -> None:
    shard = new_shard(tmp_path)
    for last in (40, 41, 150, len(journal.messages)):
        replay(shard, journal, to_seq=last)
        shard.checkpoint()
        shard.checkpoint()
    expected = [
        (row, minute, START_NS + minute * NS_PER_MINUTE, minute * 10 + row)
        for row in ROWS.tolist()
        for minute in range(1, 91)
    ]
    assert history_of(tmp_path) == expected
    assert shard.statistics().history_rows == len(expected)
    assert shard.statistics().buffered == 0


@pytest.mark.parametrize("checkpoints", [(), (30,), (30, 90), (30, 90, 200)])
def test_successor_of_a_killed_shard_ends_up_in_the_same_place(
    tmp_path: Path, journal: Journal, checkpoints: tuple[int, ...]
) -> None:
    """The predecessor dies with 30 positions taken and not yet written."""
    end = len(journal.messages)
    alone = new_shard(tmp_path / "alone")
    replay(alone, journal, to_seq=end)
    alone.checkpoint()
    folder = tmp_path / "plant"
    first = new_shard(folder)
    for last in checkpoints:
        replay(first, journal, to_seq=last)
        first.checkpoint()
    replay(first, journal, to_seq=first.position + 30)
    second = new_shard(folder)
    second.restore()
    assert second.position == max(checkpoints, default=0)
    replay(second, journal, to_seq=end, size=5)
    second.checkpoint()
    assert state(second) == state(alone)
    assert history_of(folder) == history_of(tmp_path / "alone")
    assert second.statistics().history_rows == len(history_of(folder))


def crash_between_history_and_snapshot(shard: Shard, folder: Path) -> None:
    """Do a checkpoint and take back its snapshot: what a process that died between the two leaves."""
    snapshot = folder / "twins" / "shard-0.npz"
    kept = folder / "kept.npz"
    if snapshot.exists():
        shutil.copy(snapshot, kept)
    shard.checkpoint()
    snapshot.unlink()
    if kept.exists():
        kept.replace(snapshot)


@pytest.mark.parametrize("checkpoints", [(), (60,)])
def test_history_is_exactly_once_when_a_shard_dies_before_its_snapshot(
    tmp_path: Path, journal: Journal, checkpoints: tuple[int, ...]
) -> None:
    first = new_shard(tmp_path)
    first.restore()
    for last in checkpoints:
        replay(first, journal, to_seq=last)
        first.checkpoint()
    replay(first, journal, to_seq=150)
    crash_between_history_and_snapshot(first, tmp_path)
    before = len(history_of(tmp_path))
    second = new_shard(tmp_path)
    second.restore()
    assert second.position == max(checkpoints, default=0)
    assert len(history_of(tmp_path)) < before, "what no snapshot vouches for is gone"
    replay(second, journal, to_seq=len(journal.messages), size=23)
    second.checkpoint()
    rows = [(site, seq) for site, seq, _, _ in history_of(tmp_path)]
    assert rows == [(row, minute) for row in ROWS.tolist() for minute in range(1, 91)]


def test_shard_leaves_the_history_of_others_alone(tmp_path: Path, journal: Journal) -> None:
    other = new_shard(tmp_path, rows=np.array([0, 3]), number=1)
    records = Journal()
    records.append(0, 1, 2, 3)
    other.take(records.read(1, 1), last_seq=1)
    other.checkpoint()
    first = new_shard(tmp_path)
    first.restore()
    replay(first, journal, to_seq=60)
    crash_between_history_and_snapshot(first, tmp_path)
    new_shard(tmp_path).restore()
    assert [(site, seq) for site, seq, _, _ in history_of(tmp_path)] == [(0, 1), (0, 2), (0, 3)]


def test_snapshot_of_other_sites_is_refused(tmp_path: Path, journal: Journal) -> None:
    first = new_shard(tmp_path)
    replay(first, journal, to_seq=20)
    first.checkpoint()
    before = history_of(tmp_path)
    for rows in (np.array([1, 2]), np.array([1, 2, 5])):
        with pytest.raises(CorruptStateError, match="does not own"):
            new_shard(tmp_path, rows=rows).restore()
    assert history_of(tmp_path) == before, "nothing was deleted on the way"


def test_site_registered_since_the_snapshot_begins_anew_and_the_others_go_on(
    tmp_path: Path, journal: Journal
) -> None:
    first = new_shard(tmp_path)
    replay(first, journal, to_seq=20)
    first.checkpoint()
    second = new_shard(tmp_path, rows=np.array([*ROWS.tolist(), 5]))
    second.restore()
    assert second.position == first.position
    assert second.accepted() == first.accepted()
    assert len(history_of(tmp_path)) == first.statistics().history_rows


def test_missing_snapshot_beside_a_history_is_refused_and_nothing_is_deleted(
    tmp_path: Path, journal: Journal
) -> None:
    first = new_shard(tmp_path)
    first.restore()
    replay(first, journal, to_seq=20)
    first.checkpoint()
    before = history_of(tmp_path)
    (tmp_path / "twins" / "shard-0.npz").unlink()
    with pytest.raises(CorruptStateError, match="missing"):
        new_shard(tmp_path).restore()
    assert history_of(tmp_path) == before


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _bit(content: bytes) -> bytes:
    at = content.index(b"latest.npy") + 300
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize("damage", [_cut, _bit, lambda _: b"", lambda _: b"not a snapshot"])
def test_damaged_snapshot_is_refused(
    tmp_path: Path, journal: Journal, damage: Callable[[bytes], bytes]
) -> None:
    first = new_shard(tmp_path)
    replay(first, journal, to_seq=20)
    first.checkpoint()
    snapshot = tmp_path / "twins" / "shard-0.npz"
    snapshot.write_bytes(damage(snapshot.read_bytes()))
    with pytest.raises(CorruptStateError, match=r"shard-0\.npz"):
        new_shard(tmp_path).restore()
    assert history_of(tmp_path), "the history was left alone"


def test_snapshot_without_a_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twins" / "shard-0.npz"
    path.parent.mkdir()
    np.savez(path, rows=ROWS, position=np.int64(4))
    with pytest.raises(CorruptStateError):
        new_shard(tmp_path).restore()


def test_half_written_snapshot_is_never_read(tmp_path: Path, journal: Journal) -> None:
    first = new_shard(tmp_path)
    replay(first, journal, to_seq=20)
    first.checkpoint()
    (tmp_path / "twins" / "shard-0.tmp").write_bytes(b"half")
    second = new_shard(tmp_path)
    second.restore()
    assert state(second) == state(first)


def test_device_hears_what_is_durable_and_only_news(tmp_path: Path, journal: Journal) -> None:
    shard = new_shard(tmp_path)
    assert shard.newly_durable() == []
    replay(shard, journal, to_seq=4)
    news = dict(shard.newly_durable())
    assert news.keys() <= set(ROWS.tolist())
    assert shard.newly_durable() == []
    replay(shard, journal, to_seq=len(journal.messages))
    assert dict(shard.newly_durable()) == dict.fromkeys(ROWS.tolist(), 90)
    assert all(seq >= 1 for seq in news.values())


def test_device_hears_nothing_beyond_a_hole(tmp_path: Path) -> None:
    journal = Journal()
    journal.append(1, 1, 2)
    journal.append(1, 4, 5)
    journal.append(1, 3)
    shard = new_shard(tmp_path)
    shard.take(journal.read(1, 2), last_seq=2)
    assert shard.newly_durable() == [(1, 2)]
    shard.take(journal.read(3, 3), last_seq=3)
    assert shard.newly_durable() == [(1, 5)]


def test_answer_is_the_latest_record_of_each_site(tmp_path: Path, journal: Journal) -> None:
    shard = new_shard(tmp_path)
    replay(shard, journal, to_seq=len(journal.messages))
    answer = msgspec.msgpack.decode(shard.answer(t_ns=START_NS), type=ShardAnswer)
    assert (answer.t_ns, answer.shard) == (START_NS, 0)
    assert np.frombuffer(answer.rows, dtype=np.int64).tolist() == ROWS.tolist()
    latest = np.frombuffer(answer.latest, dtype=TELEMETRY.dtype)
    assert latest["seq"].tolist() == [90, 90, 90]
    assert latest["soc_frac"].tolist() == [0.0, 0.0, 0.0]


def test_shards_together_sum_to_the_fleet(tmp_path: Path, journal: Journal) -> None:
    ages = {"now_ns": START_NS + 91 * NS_PER_MINUTE, "fresh_ns": 2 * NS_PER_MINUTE, "unknown_ns": NS_PER_HOUR}
    both = [new_shard(tmp_path, rows=ROWS), new_shard(tmp_path, rows=np.array([0, 3, 5]), number=1)]
    replay(both[0], journal, to_seq=len(journal.messages))
    total = both[0].sums(**ages).plus(both[1].sums(**ages))
    root = next(n for n, group in enumerate(FLEET.groups) if group.group_id == "vpp")
    assert (total.sites[root], total.fresh[root], total.unknown[root]) == (6, 3, 3)
