"""Agreeing on a version: the best that both know, or a refusal that says what would be taken."""

from __future__ import annotations

import msgspec
import pytest

from shoal.domain.errors import WireFormatError
from shoal.domain.negotiate import (
    ACCEPTS,
    answer_hello,
    choose_version,
    decode_answer,
    encode_hello,
    refuse_versions,
)


@pytest.mark.parametrize(
    ("mine", "agreed"), [([3, 2], 2), ([2, 1], 2), ([1], 1), ([1, 2, 9], 2), ([3], None), ([], None)]
)
def test_both_sides_choose_the_same_version(mine: list[int], agreed: int | None) -> None:
    answer = decode_answer(msgspec.json.encode(answer_hello(encode_hello(mine))))
    assert answer.version == agreed == choose_version(answer, mine)
    assert answer.reason == ("schema_version" if agreed is None else "agreed")


def test_refusal_says_what_is_accepted() -> None:
    answer = refuse_versions([7])
    assert answer.version is None
    assert "7" in answer.detail
    assert answer.accepts.versions == (2, 1)
    assert answer.accepts.dialects == ("binary", "json", "msgpack")
    columns = {column.name: column for column in answer.accepts.columns}
    assert (columns["load_w"].unit, columns["load_w"].bit) == ("W", 2)
    assert [name for name, column in columns.items() if column.required] == ["ts_ns", "seq"]
    assert "present" not in columns


def test_device_chooses_again_from_what_is_accepted_after_a_refusal() -> None:
    assert choose_version(refuse_versions([3]), [3, 1]) == 1


def test_hello_may_say_more() -> None:
    assert answer_hello(b'{"versions": [2], "firmware": {"name": "x"}}').version == 2


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", b"[]", b"{}", b'{"versions": 2}', b'{"versions": ["2"]}', b"[" * 4_000, b" " * 5_000],
)
def test_hello_that_cannot_be_read_is_refused_with_the_same_list(payload: bytes) -> None:
    answer = answer_hello(payload)
    assert (answer.version, answer.reason, answer.accepts) == (None, "malformed_hello", ACCEPTS)


def test_answer_that_cannot_be_read_is_no_answer() -> None:
    with pytest.raises(WireFormatError, match="schema_answer"):
        decode_answer(b'{"version": 2}')
