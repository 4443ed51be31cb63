"""Writers are killed in the middle of recording and compacting: nothing that was acknowledged is lost, nothing is half."""

from __future__ import annotations

import random
import signal
import subprocess
import sys

from shoal.domain.facts import SeriesId
from shoal.store.database import open_database
from shoal.store.facts import FactStore
from tests.integration.store import fact_writer
from tests.integration.store.fact_writer import STEP_NS

SERIES = SeriesId("series/killed")
FAR = 10**15


def write_until_killed(
    url: str, seed: int, after_lines: int, delay_s: float
) -> list[tuple[int, int, int, int]]:
    """Let a writer say so many lines and kill it a moment later; return all that it acknowledged."""
    command = [sys.executable, "-W", "error", fact_writer.__file__, url, SERIES, str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(after_lines)]
        try:
            writer.wait(delay_s)
        except subprocess.TimeoutExpired:
            writer.send_signal(signal.SIGKILL)
        # The pipe keeps what was said before the end; a last line that is cut off was said nonetheless.
        lines += writer.stdout.read().splitlines(keepends=True)
    assert writer.returncode == -signal.SIGKILL
    said = [tuple(int(word) for word in line.split()) for line in lines if line.endswith("\n")]
    return [(start, count, revision, known) for start, count, revision, known in said]


def test_nothing_acknowledged_is_lost_when_writers_are_killed(database_url: str) -> None:
    draw = random.Random(7)
    acknowledged: list[tuple[int, int, int, int]] = []
    engine = open_database(database_url)
    store = FactStore(engine)
    try:
        for round_no in range(2):
            acknowledged += write_until_killed(
                database_url, round_no, draw.randint(15, 45), draw.uniform(0.0, 0.02)
            )
            window = store.window([SERIES], -FAR, FAR).facts[SERIES]
            kept = set(
                zip(
                    (window.start_ns // STEP_NS).tolist(),
                    window.revision.tolist(),
                    window.known_ns.tolist(),
                    window.value[:, 0].tolist(),
                    strict=True,
                )
            )
            said = {
                (place, revision, known, float(known))
                for start, count, revision, known in acknowledged
                for place in range(start, start + count)
            }
            assert len(kept) == len(window)
            assert said <= kept
            # Each record is there as a whole or not at all: 1 or 40 facts.
            by_record: dict[int, int] = {}
            for record in window.record_no.tolist():
                by_record[record] = by_record.get(record, 0) + 1
            assert set(by_record.values()) <= {1, 40}
            assert sorted(by_record) == list(range(1, len(by_record) + 1))
            assert store.freshness(0)[0].facts == len(window)
            assert store.last_record() == len(by_record)
            assert_answers(store, kept)
        before = store.as_of([SERIES], -FAR, FAR, FAR)[SERIES].value.tolist()
        store.compact()
        assert store.as_of([SERIES], -FAR, FAR, FAR)[SERIES].value.tolist() == before
    finally:
        engine.dispose()


def assert_answers(store: FactStore, kept: set[tuple[int, int, int, float]]) -> None:
    newest = max(known for _, _, known, _ in kept)
    for as_of in (newest, newest // 2):
        expected: dict[int, tuple[int, int, float]] = {}
        for place, revision, known, value in kept:
            if known <= as_of:
                expected[place] = max(expected.get(place, (-1, -1, 0.0)), (revision, known, value))
        found = store.as_of([SERIES], -FAR, FAR, as_of)[SERIES]
        assert (found.start_ns // STEP_NS).tolist() == sorted(expected)
        assert found.value[:, 0].tolist() == [expected[place][2] for place in sorted(expected)]
