"""The fact store against a plain list of facts: late, out of order, repeated, corrected and withdrawn, in any order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_HOUR
from shoal.store.database import migrate, open_database
from shoal.store.facts import FactStore
from shoal.store.facts_columns import Columns, judge, known_then
from shoal.store.facts_records import Recorded
from tests.unit.store.facts_oracle import STEP, Oracle, Said, batch_of, publication, said_of

_STARTS = [-STEP, 0, STEP, 2 * STEP, NS_PER_HOUR, NS_PER_HOUR + STEP]
"""Three parts: a part of so short steps is an hour long."""
_FAR = 10**13
_FACT = st.builds(
    Said,
    start=st.sampled_from(_STARTS),
    revision=st.integers(0, 2),
    known=st.integers(0, 7),
    value=st.sampled_from([1.0, 2.5, None]),
)
_STEP: st.SearchStrategy[tuple[str, list[Said]]] = st.one_of(
    st.tuples(st.just("one"), st.lists(_FACT, min_size=1, max_size=1)),
    st.tuples(st.just("publication"), st.lists(_FACT, min_size=1, max_size=4)),
    st.tuples(st.just("load"), st.lists(_FACT, min_size=1, max_size=45)),
    st.tuples(st.just("compact"), st.just(list[Said]())),
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path_factory.mktemp('facts') / 'facts.db'}"
    migrate(url)
    engine = open_database(url)
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
    yield engine
    engine.dispose()


_numbers = count()


def fresh() -> SeriesId:
    return SeriesId(f"series/{next(_numbers)}")


def told(done: Recorded) -> dict[str, int]:
    return {
        "new": done.new,
        "repeated": done.repeated,
        "corrected": done.corrected,
        "late": done.late,
        "quarantined": len(done.quarantined),
    }


def apply(
    store: FactStore, oracle: Oracle, series_id: SeriesId, kind: str, facts: list[Said]
) -> tuple[dict[str, int], dict[str, int]]:
    """Do a step with both; return what each says."""
    if kind == "compact":
        store.compact()
        return {}, {}
    if kind == "load":
        return told(store.load(batch_of(series_id, facts))), oracle.record(facts)
    head = facts[0]
    starts = {fact.start: fact for fact in facts}
    alike = [fact._replace(known=head.known, revision=head.revision) for _, fact in sorted(starts.items())]
    return told(store.record(publication(series_id, alike))), oracle.record(alike)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_STEP, min_size=1, max_size=25))
def test_store_answers_as_a_plain_list_does(engine: Engine, steps: list[tuple[str, list[Said]]]) -> None:
    store, oracle, series_id = FactStore(engine), Oracle(), fresh()
    records: dict[int, int] = {}
    for kind, facts in steps:
        mine, theirs = apply(store, oracle, series_id, kind, facts)
        assert mine == theirs, (kind, facts)
        records[oracle.records] = store.last_record()
    window = store.window([series_id], -_FAR, _FAR)
    for from_, to in ((-_FAR, _FAR), (0, STEP + 1), (STEP, NS_PER_HOUR + 1)):
        for as_of in range(-1, 9):
            expected = oracle.as_of(from_, to, as_of)
            assert said_of(store.as_of([series_id], from_, to, as_of)[series_id]) == expected
            assert said_of(window.as_of(as_of, from_ns=from_, to_ns=to)[series_id]) == expected
    for number, record in records.items():
        found = store.as_of([series_id], -_FAR, _FAR, 7, up_to_record=record)[series_id]
        assert said_of(found) == oracle.as_of(-_FAR, _FAR, 7, number)
    for start in _STARTS:
        history = store.history(series_id, start)
        said = sorted((f for f in oracle.kept if f.start == start), key=lambda f: (f.known, f.revision))
        assert history.known_ns.tolist() == [fact.known for fact in said]
        assert history.revision.tolist() == [fact.revision for fact in said]
        assert [None if v != v else v for v in history.value[:, 0].tolist()] == [fact.value for fact in said]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_STEP, min_size=1, max_size=12))
def test_the_same_again_changes_nothing(engine: Engine, steps: list[tuple[str, list[Said]]]) -> None:
    store, series_id = FactStore(engine), fresh()
    for kind, facts in steps:
        apply(store, Oracle(), series_id, kind, facts)
        before = store.last_record()
        everything = store.window([series_id], -_FAR, _FAR).facts[series_id]
        apply(store, Oracle(), series_id, kind, facts)
        assert store.last_record() == before
        again = store.window([series_id], -_FAR, _FAR).facts[series_id]
        assert again.record_no.tolist() == everything.record_no.tolist()
        assert again.known_ns.tolist() == everything.known_ns.tolist()


def distinct(facts: list[Said]) -> list[Said]:
    """Give each interval, revision and instant one value, and each value once, so that nothing is a repetition."""
    return [
        fact._replace(value=float(n)) for n, fact in enumerate({f._replace(value=0.0): None for f in facts})
    ]


@settings(max_examples=150, deadline=None)
@given(st.lists(_FACT, min_size=1, max_size=40), st.randoms(), st.integers(1, 5))
def test_the_order_of_arrival_does_not_matter(facts: list[Said], random: object, portions: int) -> None:
    """What was known at an instant is the same whoever came first, when no fact repeats another."""
    plain = distinct(facts)
    shuffled = sorted(plain, key=lambda _: random.random())  # type: ignore[attr-defined]
    kept = [
        _columns(some) for some in np.array_split(np.array(shuffled, dtype=object), portions) if len(some)
    ]
    oracle = Oracle(kept=dict.fromkeys(plain, 1))
    for as_of in range(9):
        found = known_then(kept, 1, from_ns=-_FAR, to_ns=_FAR, as_of_ns=as_of)
        expected = oracle.as_of(-_FAR, _FAR, as_of)
        assert found.start_ns.tolist() == [fact.start for fact in expected]
        assert found.value[:, 0].tolist() == [fact.value for fact in expected]


def _columns(facts: object) -> Columns:
    rows = [Said(*row) for row in facts]  # type: ignore[attr-defined]
    batch = batch_of(SeriesId("s"), rows)
    zeros = np.zeros(len(rows), np.int64)
    return Columns(
        start_ns=batch.start_ns,
        end_ns=batch.end_ns,
        known_ns=batch.known_ns,
        revision=batch.revision,
        source_no=zeros,
        record_no=zeros,
        value=batch.value,
    ).ordered()


@settings(max_examples=150, deadline=None)
@given(st.lists(_FACT, max_size=20), st.lists(_FACT, min_size=1, max_size=30))
def test_each_fact_is_judged_once(known: list[Said], said: list[Said]) -> None:
    oracle = Oracle()
    oracle.record(known)
    judged = judge(_columns(list(oracle.kept)), _columns(said))
    flags = np.vstack([judged.new, judged.corrected, judged.late, judged.repeated, judged.contradicting])
    assert (flags.sum(axis=0) == 1).all()
