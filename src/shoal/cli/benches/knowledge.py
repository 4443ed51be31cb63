"""The fact store on one core: what was known of a day of 50 series, one fact at a time, bulk loads, and bytes a fact.

Beside it a plain indexed table of rows with the same facts and the same durability, and timely-beliefs with as many facts
as it can bear, where Shoal is measured at that size too. Every answer is compared with the peer's, number by number.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text

from shoal.cli.bench import Benchmark, Result
from shoal.cli.benches._knowledge_inputs import STEP_NS, Read, Size, contract_of, reads
from shoal.cli.benches._knowledge_peers import ANSWER, TIMELY_BELIEFS, SqliteRows, timely_beliefs
from shoal.cli.benches._peers import Absent
from shoal.domain.facts import Facts
from shoal.store.database import migrate, open_database, reading
from shoal.store.facts import FactStore
from shoal.store.facts_records import FactBatch

_FULL: Final = Size(series=50, days=228)
_SMALL: Final = Size(series=50, days=14)
_TINY: Final = Size(series=5, days=3)
_READS: Final = 30
_RECORDS: Final = 300
_NS_PER_S: Final = 1e9


@dataclass(slots=True, kw_only=True)
class _Loaded:
    """Both stores with the same facts, and how long they took to take them."""

    size: Size
    facts: int
    store: FactStore
    rows: SqliteRows | None
    own_s: float
    rows_s: float
    own_bytes: int

    @property
    def about(self) -> str:
        """Say how much there is."""
        return f"{self.facts / 1e6:.3g}M facts, {self.size.series} five-minute series, {self.size.days} days"


def run(case: str | None, quick: bool) -> list[Result]:
    """Run one case, or all of them on what is loaded once."""
    chosen = list(_CASES) if case is None else [case]
    with _loaded(_TINY if quick else _FULL, peer=True) as loaded:
        return [result for name in chosen for result in _CASES[name](loaded, quick)]


def as_of_day(loaded: _Loaded, quick: bool) -> list[Result]:
    """Return how long a day of all series as of its noon takes, beside each peer."""
    assert loaded.rows is not None
    peer_rows, size = loaded.rows, loaded.size
    questions = reads(size, 3 if quick else _READS)
    own, answers = _timed(lambda read: _answer(loaded.store, size, read), questions)
    other, theirs = _timed(lambda read: peer_rows.answer(size, read), questions)
    _demand_equal(answers, theirs, "sqlite-rows")
    beside = _row("as_of_day_50", f"{loaded.about}; {_spread(own)}", own, "sqlite-rows", other)
    return [beside, _beside_timely_beliefs(quick)]


def _beside_timely_beliefs(quick: bool) -> Result:
    size = _TINY if quick else _SMALL
    questions = reads(size, 3 if quick else 10)
    with _loaded(size, peer=False) as loaded:
        own, answers = _timed(lambda read: _answer(loaded.store, size, read), questions)
        about = f"{loaded.about}; {_spread(own)}; {TIMELY_BELIEFS.about}"
    outcome = timely_beliefs(size, questions, install=not quick)
    if isinstance(outcome, Absent):
        return _row("as_of_day_50", f"{about}; absent: {outcome.reason}", own, TIMELY_BELIEFS.label, None)
    other, theirs = outcome
    _demand_equal(answers, theirs, TIMELY_BELIEFS.label)
    return _row("as_of_day_50", about, own, TIMELY_BELIEFS.label, other)


def record(loaded: _Loaded, quick: bool) -> list[Result]:
    """Return how long a live fact takes until it is safe: one interval of one series in a transaction of its own."""
    assert loaded.rows is not None
    count = 30 if quick else _RECORDS
    live = Size(series=loaded.size.series, days=loaded.size.days + 2)
    series_id = live.series_ids()[0]
    batch = next(live.batches())
    begin_ns = int(batch.start_ns.max()) + STEP_NS
    value = np.array([[42.5]])
    own: list[float] = []
    other: list[float] = []
    for number in range(count):
        start_ns = np.array([begin_ns + number * STEP_NS])
        facts = Facts(
            series_id=series_id,
            source="bench",
            known_ns=int(start_ns[0]) + int(30 * _NS_PER_S),
            start_ns=start_ns,
            end_ns=start_ns + STEP_NS,
            value=value + number,
        )
        began_s = time.perf_counter()
        loaded.store.record(facts)
        own.append(time.perf_counter() - began_s)
        other.append(loaded.rows.load(0, FactBatch.of(facts)))
    return [
        _row("record", f"one fact, on disk; after {loaded.about}; {_spread(own)}", own, "sqlite-rows", other)
    ]


def load(loaded: _Loaded, quick: bool) -> list[Result]:
    """Return facts a second of a bulk load."""
    return [
        Result(
            case="load",
            size=f"{loaded.about}: {loaded.own_s:.1f} s",
            value=loaded.facts / loaded.own_s,
            unit="facts/s",
            better="higher",
            peer="sqlite-rows",
            peer_value=loaded.facts / loaded.rows_s,
        )
    ]


def bytes_stored(loaded: _Loaded, quick: bool) -> list[Result]:
    """Return bytes a fact in the database's file."""
    assert loaded.rows is not None
    return [
        Result(
            case="bytes",
            size=f"{loaded.about}; the whole file",
            value=loaded.own_bytes / loaded.facts,
            unit="bytes/fact",
            better="lower",
            peer="sqlite-rows",
            peer_value=loaded.rows.bytes_stored() / loaded.facts,
        )
    ]


@contextmanager
def _loaded(size: Size, *, peer: bool) -> Iterator[_Loaded]:
    with tempfile.TemporaryDirectory(prefix="shoal-bench-", ignore_cleanup_errors=True) as directory:
        file = Path(directory) / "facts.db"
        migrate(f"sqlite:///{file}")
        engine = open_database(f"sqlite:///{file}")
        store = FactStore(engine)
        rows = SqliteRows(Path(directory) / "rows.db") if peer else None
        facts, own_s, rows_s = 0, 0.0, 0.0
        try:
            for number, batch in enumerate(size.batches()):
                store.declare(contract_of(batch.series_id))
                began_s = time.perf_counter()
                facts += store.load(batch).kept
                own_s += time.perf_counter() - began_s
                if rows is not None:
                    rows_s += rows.load(number, batch)
            with reading(engine) as connection:
                pages, page_bytes = (
                    connection.execute(text(f"PRAGMA {name}")).scalar_one()
                    for name in ("page_count", "page_size")
                )
            yield _Loaded(
                size=size,
                facts=facts,
                store=store,
                rows=rows,
                own_s=own_s,
                rows_s=rows_s,
                own_bytes=pages * page_bytes,
            )
        finally:
            engine.dispose()
            if rows is not None:
                rows.close()


def _answer(store: FactStore, size: Size, read: Read) -> NDArray[Any]:
    known = store.as_of(size.series_ids(), read.from_ns, read.to_ns, read.as_of_ns)
    slices = list(known.values())
    answer = np.empty(sum(len(one.start_ns) for one in slices), dtype=ANSWER)
    answer["series"] = np.repeat(np.arange(len(slices)), [len(one.start_ns) for one in slices])
    answer["start_ns"] = np.concatenate([one.start_ns for one in slices])
    answer["known_ns"] = np.concatenate([one.known_ns for one in slices])
    answer["value"] = np.concatenate([one.value[:, 0] for one in slices])
    return answer


def _timed(
    ask: Callable[[Read], NDArray[Any]], questions: Sequence[Read]
) -> tuple[list[float], list[NDArray[Any]]]:
    ask(questions[0])
    took_s: list[float] = []
    answers: list[NDArray[Any]] = []
    for read in questions:
        began_s = time.perf_counter()
        answers.append(ask(read))
        took_s.append(time.perf_counter() - began_s)
    return took_s, answers


def _demand_equal(own: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]], peer: str) -> None:
    """Compare answers.

    Raises:
        RuntimeError: when they differ.
    """
    if any(
        len(mine) == 0 or not np.array_equal(mine, theirs) for mine, theirs in zip(own, other, strict=True)
    ):
        raise RuntimeError(f"the answers of {peer} differ")


def _spread(took_s: Sequence[float]) -> str:
    return f"{1e3 * min(took_s):.3g} to {1e3 * max(took_s):.3g} ms"


def _row(case: str, size: str, own: Sequence[float], peer: str, other: Sequence[float] | None) -> Result:
    return Result(
        case=case,
        size=size,
        value=1e3 * statistics.median(own),
        unit="ms",
        better="lower",
        peer=peer,
        peer_value=None if other is None else 1e3 * statistics.median(other),
    )


_CASES: Final[dict[str, Callable[[_Loaded, bool], list[Result]]]] = {
    "as_of_day_50": as_of_day,
    "record": record,
    "load": load,
    "bytes": bytes_stored,
}

BENCHMARK: Final = Benchmark(
    name="knowledge",
    about="the fact store: as-of reads, live and bulk recording, bytes a fact",
    cases=tuple(_CASES),
    run=run,
)
