"""The benchmark of the fact store: what it stores says nothing twice, answers are compared, and who is absent is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shoal.cli.benches import knowledge
from shoal.cli.benches._knowledge_inputs import DAY_NS, FIRST_NS, STEP_NS, Size, reads
from shoal.cli.benches._knowledge_peers import SqliteRows

SIZE = Size(series=2, days=2)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_facts_are_alike_in_each_run_and_repeat_nothing() -> None:
    (first, second), (again, _) = SIZE.batches(), SIZE.batches()
    assert np.array_equal(first.value, again.value)
    assert np.array_equal(first.known_ns, again.known_ns)
    assert not np.array_equal(first.value, second.value)
    count = 2 * 288
    assert 3 * count < len(first) < 3.2 * count
    keys = np.stack([first.start_ns, first.revision, np.round(100 * first.value[:, 0]).astype(np.int64)])
    assert np.unique(keys, axis=1).shape[1] == len(first)


def test_rows_answer_with_the_newest_that_was_known(tmp_path: Path) -> None:
    rows = SqliteRows(tmp_path / "rows.db")
    batch = next(SIZE.batches())
    rows.load(0, batch)
    (read,) = reads(SIZE, 1)
    answer = rows.answer(SIZE, read)
    rows.close()
    assert (read.to_ns - read.from_ns, read.as_of_ns - read.from_ns) == (DAY_NS, DAY_NS // 2)
    for row in answer[[0, 143, 144, 150]]:
        said = (batch.start_ns == row["start_ns"]) & (batch.known_ns <= read.as_of_ns)
        assert row["known_ns"] == batch.known_ns[said].max()
    assert answer["start_ns"][0] in (FIRST_NS, FIRST_NS + DAY_NS)
    # Of the next hour a forecast of an hour before is known, of later hours one of the day before.
    assert answer["start_ns"].tolist() == list(range(read.from_ns, read.to_ns, STEP_NS))


def test_smoke_run_has_every_case_beside_its_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge, "_TINY", SIZE)
    found = knowledge.run(None, True)
    assert {result.case for result in found} == set(knowledge.BENCHMARK.cases)
    assert all(result.value > 0 for result in found)
    (absent,) = [result for result in found if result.peer_value is None]
    assert absent.peer == "timely-beliefs 4.4.1"
    assert "absent: it is not installed" in absent.size


def test_answers_that_differ_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge, "_TINY", SIZE)
    whole = SqliteRows.answer
    monkeypatch.setattr(SqliteRows, "answer", lambda self, size, read: whole(self, size, read)[:-1])
    with pytest.raises(RuntimeError, match="sqlite-rows differ"):
        knowledge.run("as_of_day_50", True)
