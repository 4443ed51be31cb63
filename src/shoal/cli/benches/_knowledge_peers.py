"""The peers of the knowledge benchmark: a plain indexed table of rows, and timely-beliefs in an environment of its own.

Both get the facts of the benchmark and answer its questions; the answers are compared number by number.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.cli.benches._knowledge_inputs import Read, Size
from shoal.cli.benches._peers import SCRIPTS, Absent, Peer, clean_environment, last_complaint, prepare
from shoal.store.facts_records import FactBatch

ANSWER: Final = np.dtype([("series", "<i8"), ("start_ns", "<i8"), ("known_ns", "<i8"), ("value", "<f8")])
"""One row of an answer; an answer is in the order (series, start)."""

TIMELY_BELIEFS: Final = Peer(
    name="timely-beliefs",
    module="timely_beliefs_read",
    pins=("timely-beliefs==4.4.1", "packaging==25.0"),
    about="BeliefsDataFrame in memory, a frame a series, the day cut out, then fixed_viewpoint",
    devices=50,
    rounds=1,
)
_TIMEOUT_S: Final = 900.0
_CREATE: Final = """CREATE TABLE fact (series INTEGER, start_ns INTEGER, revision INTEGER, known_ns INTEGER,
    end_ns INTEGER, source INTEGER, value REAL, PRIMARY KEY (series, start_ns, revision, known_ns)) WITHOUT ROWID"""
_INSERT: Final = "INSERT OR IGNORE INTO fact VALUES (?, ?, ?, ?, ?, 0, ?)"
_ASK: Final = """SELECT start_ns, known_ns, value FROM fact
    WHERE series = ? AND start_ns >= ? AND start_ns < ? AND known_ns <= ? ORDER BY start_ns, revision, known_ns"""


class SqliteRows:
    """A row a fact in a table with the best index for the question, as durable as Shoal's database."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._connection = sqlite3.connect(file, isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute(_CREATE)

    def load(self, number: int, batch: FactBatch) -> float:
        """Store the facts of a series; return how long it took, in seconds."""
        columns = (batch.start_ns, batch.revision, batch.known_ns, batch.end_ns, batch.value[:, 0])
        began_s = time.perf_counter()
        rows = zip([number] * len(batch), *(column.tolist() for column in columns), strict=True)
        self._connection.execute("BEGIN")
        self._connection.executemany(_INSERT, rows)
        self._connection.execute("COMMIT")
        return time.perf_counter() - began_s

    def answer(self, size: Size, read: Read) -> NDArray[Any]:
        """Return what was known."""
        found: list[NDArray[Any]] = []
        for number in range(size.series):
            asked = (number, read.from_ns, read.to_ns, read.as_of_ns)
            rows = self._connection.execute(_ASK, asked).fetchall()
            if rows:
                found.append(_answer(number, rows))
        return np.concatenate(found) if found else np.zeros(0, dtype=ANSWER)

    def bytes_stored(self) -> int:
        """Return the size of the file once everything is in it."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return self.file.stat().st_size

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _answer(number: int, rows: Sequence[tuple[int, int, float]]) -> NDArray[Any]:
    answer = np.empty(len(rows), dtype=ANSWER)
    answer["series"] = number
    for name, column in zip(("start_ns", "known_ns", "value"), zip(*rows, strict=True), strict=True):
        answer[name] = column
    starts = answer["start_ns"]
    newest: NDArray[Any] = answer[np.append(starts[1:] != starts[:-1], True)]
    return newest


def timely_beliefs(
    size: Size, questions: Sequence[Read], *, install: bool
) -> tuple[list[float], list[NDArray[Any]]] | Absent:
    """Let timely-beliefs answer; return how long each question took, in seconds, and its answers."""
    python = prepare(TIMELY_BELIEFS, install=install)
    if isinstance(python, Absent):
        return python
    with tempfile.TemporaryDirectory(prefix="shoal-bench-", ignore_cleanup_errors=True) as directory:
        folder = Path(directory)
        for number, batch in enumerate(size.batches()):
            # It has no revisions: what is known last counts, which in these facts is the same.
            np.savez(
                folder / f"{number}.npz",
                start_ns=batch.start_ns,
                known_ns=batch.known_ns,
                value=batch.value[:, 0],
            )
        asked = np.array([[read.from_ns, read.to_ns, read.as_of_ns] for read in questions], dtype=np.int64)
        np.save(folder / "reads.npy", asked)
        command = [str(python), str(SCRIPTS / f"{TIMELY_BELIEFS.module}.py"), directory, str(size.series)]
        try:
            done = subprocess.run(
                command,
                env=clean_environment(),
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Absent(f"it took more than {_TIMEOUT_S:.0f} s")
        if done.returncode:
            return Absent(f"it did not finish: {last_complaint(done.stderr, done.returncode)}")
        took_s: list[float] = json.loads(done.stdout.splitlines()[-1])["took_s"]
        return took_s, [np.load(folder / f"answer{number}.npy") for number in range(len(questions))]
