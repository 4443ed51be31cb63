"""Blocks: every number comes back bit for bit, in few bytes, and damage is seen."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.domain.errors import CorruptStateError
from shoal.store.facts_columns import INTEGERS, Columns
from shoal.store.facts_pack import PACK_FROM, pack, unpack

MINUTE = 60_000_000_000
_WHOLE = st.integers(-(2**63), 2**63 - 1)
_SMALL = st.integers(-3, 3)
_COLUMN = st.one_of(
    st.tuples(st.just("any"), _WHOLE, _WHOLE),
    st.tuples(st.just("run"), _WHOLE.filter(lambda n: abs(n) < 2**60), st.integers(-(2**20), 2**20)),
    st.tuples(st.just("few"), _WHOLE, _WHOLE),
    st.tuples(st.just("steps"), st.integers(-(2**60), 2**60), st.integers(1, 2**30)),
)
_VALUE = st.one_of(
    st.floats(width=64),
    st.floats(width=32),
    st.integers(-(10**7), 10**7).map(lambda n: n / 100),
    st.sampled_from([0.0, -0.0, math.nan, math.inf, 1e300, 5e-324]),
)


def column(kind: str, one: int, other: int, count: int, rng: np.random.Generator) -> list[int]:
    if kind == "any":
        return [one, other, *rng.integers(-(2**63), 2**63 - 1, count).tolist()][:count]
    if kind == "run":
        return [one + other * n for n in range(count)]
    if kind == "few":
        return [[one, other, 7][n] for n in rng.integers(0, 3, count)]
    return (one + other * np.cumsum(rng.integers(0, 3, count))).tolist()  # type: ignore[no-any-return]


def columns_of(whole: list[list[int]], value: list[list[float]]) -> Columns:
    named = {name: np.array(some, dtype=np.int64) for name, some in zip(INTEGERS, whole, strict=True)}
    return Columns(**named, value=np.array(value, dtype=np.float64))


def day(*, decimals: int | None = 2, publications: int = 3) -> Columns:
    """A day of five-minute facts of some publications, in order."""
    rng = np.random.default_rng(0)
    start = np.repeat(np.arange(288) * 5 * MINUTE, publications)
    value = rng.normal(50.0, 20.0, len(start))
    return Columns(
        start_ns=start,
        end_ns=start + 5 * MINUTE,
        known_ns=start + rng.integers(0, MINUTE, len(start)),
        revision=np.zeros(len(start), np.int64),
        source_no=np.full(len(start), 3),
        record_no=rng.integers(0, 50, len(start)),
        value=(value if decimals is None else np.round(value, decimals))[:, None],
    )


def assert_same(found: Columns, expected: Columns) -> None:
    for name in INTEGERS:
        assert getattr(found, name).dtype == np.int64
        assert getattr(found, name).tolist() == getattr(expected, name).tolist(), name
    assert found.value.dtype == np.float64
    assert found.value.shape == expected.value.shape
    absent = np.isnan(expected.value)
    assert (np.isnan(found.value) == absent).all()
    assert found.value[~absent].tobytes() == expected.value[~absent].tobytes()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(_COLUMN, min_size=6, max_size=6),
    st.lists(_VALUE, min_size=1, max_size=8),
    st.integers(PACK_FROM, 90),
    st.integers(1, 3),
    st.integers(0, 2**32),
)
def test_every_number_comes_back_bit_for_bit(
    kinds: list[tuple[str, int, int]], values: list[float], count: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    whole = [column(*kind, count, rng) for kind in kinds]
    value = [[values[i] for i in rng.integers(0, len(values), width)] for _ in range(count)]
    columns = columns_of(whole, value)
    (part,) = unpack([pack(columns)], where="here")
    assert_same(part.take(slice(None)), columns)
    rows = np.flatnonzero(rng.random(count) < 0.5)
    assert_same(part.take(rows), columns.take(rows))
    answer, expected = part.answer(rows), columns.answer(rows)
    for name in ("start_ns", "end_ns", "known_ns", "revision"):
        assert getattr(answer, name).tolist() == getattr(expected, name).tolist(), name
    assert np.array_equal(answer.value, expected.value, equal_nan=True)
    assert part.start_ns.tolist() == whole[0]
    assert part.known_ns.tolist() == whole[2]
    assert part.record_no.tolist() == whole[5]


def test_a_few_facts_of_many_blocks_become_one_part_in_order() -> None:
    every = day(publications=1)
    order = np.random.default_rng(1).permutation(20)
    payloads = [pack(every.take(np.array([row]))) for row in order.tolist()]
    (part,) = unpack(payloads, where="here")
    assert_same(part.take(slice(None)), every.take(np.arange(20)))


def test_a_day_of_prices_needs_few_bytes() -> None:
    # start 1, known 8, record 1, value 2 of the 56 that a plain record has
    assert len(pack(day())) / len(day()) < 13
    assert len(pack(day(decimals=None))) / len(day()) < 20


@pytest.mark.parametrize("at", [0, 2, 3, 6, 20, 200, -1])
def test_damage_is_corrupt_state(at: int) -> None:
    payload = bytearray(pack(day()))
    payload[at] ^= 0x40
    with pytest.raises(CorruptStateError, match="series x"):
        unpack([bytes(payload)], where="series x")


def test_a_block_that_is_cut_off_is_corrupt_state() -> None:
    for length in (0, 5, 100):
        with pytest.raises(CorruptStateError):
            unpack([pack(day())[:length]], where="series x")
