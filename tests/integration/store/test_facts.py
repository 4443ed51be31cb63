"""The fact store on both databases: contracts, quarantine, freshness, several writers, and how blocks stay few."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, func, select

from shoal.domain.contracts import SeriesContract, ValueColumn
from shoal.domain.errors import CorruptStateError, InvalidInputError
from shoal.domain.facts import Facts, SeriesId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.store.database import reading, writing
from shoal.store.facts import FactStore
from shoal.store.facts_records import FactBatch
from shoal.store.schema import FACT_BLOCK

STEP = 5 * NS_PER_MINUTE
DAY = 24 * NS_PER_HOUR
PRICE = SeriesId("price/nem/VIC1/dispatch")
LOAD = SeriesId("load/nem/VIC1/forecast")


@pytest.fixture
def store(engine: Engine) -> FactStore:
    return FactStore(engine)


def contract(series_id: SeriesId = PRICE, **changes: Any) -> SeriesContract:
    column = ValueColumn(name="price_per_mwh", low=-1_000.0, high=17_500.0)
    values: dict[str, Any] = {
        "series_id": series_id,
        "unit": "AUD/MWh",
        "columns": (column,),
        "step_ns": STEP,
    }
    return SeriesContract(**values | changes)


def publication(
    values: list[float], *, first: int = 0, known: int = 0, revision: int = 0, **changes: Any
) -> Facts:
    start_ns = STEP * np.arange(first, first + len(values))
    given: dict[str, Any] = {"series_id": PRICE, "source": "aemo"}
    return Facts(
        **given | changes,
        known_ns=known,
        revision=revision,
        start_ns=start_ns,
        end_ns=start_ns + STEP,
        value=np.array(values)[:, None],
    )


def blocks(engine: Engine) -> int:
    with reading(engine) as connection:
        return connection.execute(select(func.count()).select_from(FACT_BLOCK)).scalar_one()


def test_answers_are_what_was_known_then(store: FactStore) -> None:
    store.record(publication([20.0, 21.0, 22.0], known=100))
    done = store.record(publication([20.0, 25.0, math.nan], known=200))
    assert (done.repeated, done.corrected, done.kept) == (1, 2, 2)

    def known(as_of: int) -> list[float]:
        found: list[float] = store.as_of([PRICE], 0, DAY, as_of)[PRICE].value[:, 0].tolist()
        return found

    assert known(99) == []
    assert known(100) == known(199) == [20.0, 21.0, 22.0]
    assert known(200)[:2] == [20.0, 25.0]
    assert math.isnan(known(200)[2])
    found = store.as_of([PRICE], STEP, 3 * STEP, 200)[PRICE]
    assert found.start_ns.tolist() == [STEP, 2 * STEP]
    assert found.end_ns.tolist() == [2 * STEP, 3 * STEP]
    assert found.known_ns.tolist() == [200, 200]


def test_an_older_revision_that_comes_later_does_not_win(store: FactStore) -> None:
    store.record(publication([30.0], known=100, revision=2))
    done = store.record(publication([10.0], known=200, revision=1))
    assert done.late == 1
    assert store.as_of([PRICE], 0, DAY, 300)[PRICE].value.tolist() == [[30.0]]
    store.record(publication([5.0], known=50))
    assert store.as_of([PRICE], 0, DAY, 99)[PRICE].value.tolist() == [[5.0]]


def test_an_unknown_series_gets_an_empty_slice(store: FactStore) -> None:
    assert store.as_of([LOAD], 0, DAY, DAY)[LOAD].value.shape == (0, 1)
    assert store.as_of([], 0, DAY, DAY) == {}
    assert store.history(LOAD, 0).source == ()


def test_slice_of_many_series_has_each_ones_own_facts(store: FactStore) -> None:
    names = [SeriesId(f"price/nem/P{n}/dispatch") for n in range(700)]
    some = [names[0], names[350], names[699]]
    store.record_all([publication([float(n)], series_id=name) for n, name in enumerate(some)])
    found = store.as_of(names, 0, DAY, 0)
    assert list(found) == names
    assert [found[name].value.tolist() for name in some] == [[[0.0]], [[1.0]], [[2.0]]]
    assert sum(len(one.start_ns) for one in found.values()) == 3


def test_history_tells_all_that_was_said_and_by_whom(store: FactStore) -> None:
    store.record(publication([20.0], known=100))
    store.record(publication([20.0], known=150))
    store.record(publication([25.0], known=200, revision=1, source="mirror"))
    found = store.history(PRICE, 0)
    assert found.known_ns.tolist() == [100, 200]
    assert found.value[:, 0].tolist() == [20.0, 25.0]
    assert found.revision.tolist() == [0, 1]
    assert found.source == ("aemo", "mirror")
    assert found.record.tolist() == [1, 2]


def test_what_breaks_the_contract_is_kept_apart_once(store: FactStore) -> None:
    store.declare(contract())
    said = [20.0, 99_999.0, math.inf, 21.0]
    done = store.record(publication(said, known=100))
    assert done.new == 2
    assert [(item.index, item.reason) for item in done.quarantined] == [(1, "range"), (2, "infinite")]
    store.record(publication(said, known=200))

    assert store.as_of([PRICE], 0, DAY, 300)[PRICE].start_ns.tolist() == [0, 3 * STEP]
    found = store.quarantine()
    assert [(item.start_ns, item.reason, item.value) for item in found] == [
        (STEP, "range", (99_999.0,)),
        (2 * STEP, "infinite", (math.inf,)),
    ]
    assert {(item.series_id, item.source, item.known_ns) for item in found} == {(PRICE, "aemo", 100)}
    assert store.quarantine(LOAD) == []
    assert len(store.quarantine(PRICE, limit=1)) == 1


def test_another_value_with_the_same_revision_and_instant_is_set_aside(store: FactStore) -> None:
    store.record(publication([20.0, 21.0], known=100))
    done = store.record(publication([20.0, 22.0], known=100))
    assert (done.repeated, [item.reason for item in done.quarantined]) == (1, ["contradiction"])
    assert done.quarantined[0].index == 1
    assert store.as_of([PRICE], 0, DAY, 100)[PRICE].value[:, 0].tolist() == [20.0, 21.0]
    assert store.quarantine()[0].value == (22.0,)


def test_a_batch_counts_as_its_facts_one_by_one_would(store: FactStore) -> None:
    """Of one instant a repetition, a correction and what contradicts that: only the correction is kept."""
    store.record(publication([20.0], known=100))
    done = store.load(
        FactBatch(
            series_id=PRICE,
            source="aemo",
            known_ns=np.array([200, 200, 200, 200]),
            revision=np.zeros(4, np.int64),
            start_ns=np.zeros(4, np.int64),
            end_ns=np.full(4, STEP),
            value=np.array([[20.0], [25.0], [20.0], [25.0]]),
        )
    )
    assert (done.corrected, done.repeated, [item.index for item in done.quarantined]) == (1, 2, [2])
    assert store.as_of([PRICE], 0, DAY, 200)[PRICE].value.tolist() == [[25.0]]


def test_strict_recording_is_all_or_nothing(store: FactStore) -> None:
    store.record(publication([20.0], known=100))
    with pytest.raises(InvalidInputError, match="revision"):
        store.record_all([publication([1.0], first=9), publication([21.0], known=100)], strict=True)
    assert store.as_of([PRICE], 0, DAY, 100)[PRICE].value.tolist() == [[20.0]]
    assert store.last_record() == 1
    assert store.quarantine() == []


def test_facts_of_another_width_are_set_aside_without_a_contract_too(store: FactStore) -> None:
    store.record(publication([20.0]))
    two = FactBatch(
        series_id=PRICE,
        source="aemo",
        known_ns=np.array([9]),
        revision=np.array([0]),
        start_ns=np.array([STEP]),
        end_ns=np.array([2 * STEP]),
        value=np.array([[1.0, 2.0]]),
    )
    done = store.load(two)
    assert [item.reason for item in done.quarantined] == ["width"]
    assert store.quarantine()[0].value == (1.0, 2.0)


def test_contracts_are_kept_and_replaced(store: FactStore) -> None:
    store.declare(contract())
    store.declare(contract(unit="EUR/MWh"))
    assert store.contracts() == {PRICE: contract(unit="EUR/MWh")}
    store.record(publication([20.0]))
    with pytest.raises(InvalidInputError, match="columns"):
        store.declare(contract(columns=(ValueColumn(name="a"), ValueColumn(name="b"))))


def test_freshness_says_how_far_knowledge_reaches(store: FactStore) -> None:
    store.declare(contract(stale_after_ns=100))
    store.declare(contract(LOAD))
    (load, price) = store.freshness(0)
    assert (load.stale, price.stale, price.latest_start_ns) == (False, True, None)
    store.record(publication([20.0, 21.0], known=1_000))
    store.record(publication([21.0], first=1, known=1_050))  # repeats: no news
    (_, price) = store.freshness(1_100)
    assert (price.facts, price.latest_start_ns, price.latest_end_ns) == (2, STEP, 2 * STEP)
    assert (price.latest_known_ns, price.stale) == (1_000, False)
    assert store.freshness(1_101)[1].stale
    store.record(publication([3.0], known=500, revision=0))  # late: not newer
    assert store.freshness(1_101)[1].latest_known_ns == 1_000


def test_a_question_asked_again_is_answered_as_before(store: FactStore) -> None:
    before = store.record(publication([20.0], known=100)).up_to_record
    store.record(publication([19.0], known=90))
    store.record(publication([25.0], known=150))
    asked = {"series_ids": [PRICE], "from_ns": 0, "to_ns": DAY}
    assert store.as_of(**asked, as_of_ns=95)[PRICE].value.tolist() == [[19.0]]  # type: ignore[arg-type]
    assert len(store.as_of(**asked, as_of_ns=95, up_to_record=before)[PRICE].start_ns) == 0  # type: ignore[arg-type]
    found = store.as_of(**asked, as_of_ns=200, up_to_record=before)[PRICE]  # type: ignore[arg-type]
    assert found.value.tolist() == [[20.0]]


def test_facts_one_at_a_time_lie_in_few_blocks(store: FactStore, engine: Engine) -> None:
    for number in range(288):
        store.record(publication([float(number)], first=number, known=number))
    assert blocks(engine) <= 20
    before = store.as_of([PRICE], 0, DAY, 200)[PRICE].value.tolist()
    assert len(before) == 201
    done = store.compact()
    assert (done.parts, done.blocks_after) == (1, 1)
    assert blocks(engine) == 1
    assert store.as_of([PRICE], 0, DAY, 200)[PRICE].value.tolist() == before
    assert store.compact().parts == 0
    assert store.record(publication([7.0], first=7, known=7)).repeated == 1


def test_writers_at_once_lose_nothing(store: FactStore, engine: Engine) -> None:
    """Writers give each interval its revisions in different orders; the highest revision counts in the end."""

    def write(writer: int) -> None:
        for number in range(20):
            revision = (number * 7 + writer * 5) % 20 * 4 + writer
            said = publication([float(revision)] * 3, known=1_000 + revision, revision=revision)
            FactStore(engine).record(said)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert store.as_of([PRICE], 0, DAY, 2_000)[PRICE].value[:, 0].tolist() == [79.0] * 3
    said = store.history(PRICE, 0)
    assert said.revision.tolist() == list(range(80))
    assert sorted(said.record.tolist()) == list(range(1, 81))
    for as_of in range(1_000, 1_080):
        assert store.as_of([PRICE], 0, STEP, as_of)[PRICE].value.tolist() == [[as_of - 1_000]]


def test_damage_is_seen_and_named(store: FactStore, engine: Engine) -> None:
    store.record(publication([1.5] * 100))
    with writing(engine) as connection:
        payload = bytearray(connection.execute(select(FACT_BLOCK.c.payload)).scalar_one())
        payload[-1] ^= 1
        connection.execute(FACT_BLOCK.update().values(payload=bytes(payload)))
    with pytest.raises(CorruptStateError, match=PRICE):
        store.as_of([PRICE], 0, DAY, 0)


def test_hourly_series_take_more_days_into_a_part(store: FactStore, engine: Engine) -> None:
    hours = np.arange(24 * 24) * NS_PER_HOUR
    batch = FactBatch(
        series_id=LOAD,
        source="aemo",
        known_ns=np.zeros(len(hours), np.int64),
        revision=np.zeros(len(hours), np.int64),
        start_ns=hours,
        end_ns=hours + NS_PER_HOUR,
        value=np.arange(2.0 * len(hours)).reshape(-1, 2),
    )
    assert store.load(batch).new == 576
    assert blocks(engine) == 2
    found = store.as_of([LOAD], DAY, 2 * DAY, NS_PER_S)[LOAD]
    assert found.value.tolist() == batch.value[24:48].tolist()
    window = store.window([LOAD], DAY, 2 * DAY)
    assert window.as_of(NS_PER_S)[LOAD].value.tolist() == batch.value[24:48].tolist()
    with pytest.raises(InvalidInputError, match="stay in"):
        window.as_of(0, to_ns=2 * DAY + 1)
