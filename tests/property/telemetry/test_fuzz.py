"""Messages of any content: no crash, no wrong record, and the neighbours survive; compared with plain readings."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.domain.directory import Directory
from shoal.domain.errors import InvalidInputError
from shoal.domain.telemetry import ALL_PRESENT, OPTIONAL, TELEMETRY
from shoal.domain.wire import V1_HEADER_BYTES, V2_HEADER_BYTES, encode
from tests.fuzz.messages import (
    TARGETS,
    among_neighbours,
    check_binary,
    check_dialect,
    check_directory,
    check_hello,
    check_records,
    decode,
    records,
)
from tests.fuzz.strategies import inputs_of
from tests.fuzz.streams import TARGETS as STREAMS
from tests.fuzz.streams import check_packets
from tests.fuzz.target import Target
from tests.fuzz.twins import TARGETS as TWINS
from tests.fuzz.twins import check_apply
from tests.property.telemetry.test_decode import NOW_NS

BINARY, RECORDS, DIALECT, HELLO, DIRECTORY = TARGETS
MQTT = STREAMS[3]
(APPLY,) = TWINS


@settings(max_examples=120, deadline=None)
@given(inputs_of(BINARY))
def test_binary_message_is_read_as_the_plain_twin_reads_it(payload: bytes) -> None:
    check_binary(payload)


@settings(max_examples=120, deadline=None)
@given(inputs_of(RECORDS))
def test_strange_records_are_read_as_the_plain_twin_reads_them(body: bytes) -> None:
    check_records(body)


@settings(max_examples=150, deadline=None)
@given(inputs_of(DIALECT))
def test_dialects_are_read_as_they_are_plainly_read(payload: bytes) -> None:
    check_dialect(payload)


@settings(max_examples=150, deadline=None)
@given(inputs_of(HELLO))
def test_every_hello_is_answered(payload: bytes) -> None:
    check_hello(payload)


@settings(max_examples=60, deadline=None)
@given(inputs_of(DIRECTORY))
def test_directory_answers_as_a_dictionary(names: bytes) -> None:
    check_directory(names)


@settings(max_examples=120, deadline=None)
@given(inputs_of(MQTT))
def test_mqtt_parser_equals_the_plain_reader(stream: bytes) -> None:
    check_packets(stream)


@settings(max_examples=25, deadline=None)
@given(inputs_of(APPLY) | st.binary(min_size=30, max_size=400))
def test_extreme_records_leave_the_twins_as_the_plainest_ones(choices: bytes) -> None:
    check_apply(choices)


@pytest.mark.parametrize("version", [1, 2])
def test_every_flipped_bit_is_seen_or_means_something_else(version: int) -> None:
    whole = encode(records(2), oldest_seq=1_000, version=version)
    for at in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[at // 8] ^= 1 << at % 8
        check_binary(bytes(changed))


@pytest.mark.parametrize("version", [1, 2])
def test_every_shorter_message_is_refused_alone(version: int) -> None:
    whole = encode(records(2), oldest_seq=1_000, version=version)
    for size in range(len(whole)):
        decoded = decode(among_neighbours(whole[:size], "home-a"))
        assert [(one.record, one.reason in ("truncated", "length")) for one in decoded.rejected] == [
            (-1, True)
        ]
        assert decoded.rows.tolist() == [1, 1, 0]


@pytest.mark.parametrize("at", [4, 5, 6, 7])
def test_every_count_and_size_that_a_header_can_claim_is_safe(at: int) -> None:
    for version, header in ((1, V1_HEADER_BYTES), (2, V2_HEADER_BYTES)):
        for size in (0, 1, 3):
            whole = encode(records(size), oldest_seq=0, version=version)
            for value in range(256):
                check_binary(whole[:at] + bytes((value,)) + whole[at + 1 :])
            check_binary(whole[:4] + b"\xff\xff\xff\xff" + whole[8:header])
            check_binary((whole[:4] + b"\xff\xff\x00\x00" + whole[8:]).ljust(header, b"\0"))


HOSTILE: list[tuple[str, Any]] = [
    ("seq", -1),
    ("seq", 2**64 - 1),
    ("seq", 1e300),
    ("seq", "7"),
    ("seq", [7]),
    ("ts_ns", -1),
    ("ts_ns", 2**63),
    ("ts_ns", True),
    ("battery_w", 2**31),
    ("battery_w", {}),
    ("solar_w", -(10**9) - 1),
    ("soc_frac", 1.1),
    ("soc_frac", 1e308),
    ("soc_frac", -1),
    ("command_version", -1),
    ("charge_wh", 2**53 + 1),
    ("charge_wh", 1e18),
    ("export_wh", "0"),
    ("flags", 65_536),
    ("flags", 0.5),
    ("oldest_seq", -1),
    ("unit", 1.5),
    ("unit", 9),
    ("site", "home-z"),
    ("site", "x" * 9_000),
    ("site", 5),
]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.none() | st.sampled_from(HOSTILE), min_size=1, max_size=14),
    st.sampled_from([msgspec.json.encode, msgspec.msgpack.encode]),
)
def test_bad_record_of_a_dialect_is_set_aside_alone(faults: list[tuple[str, Any] | None], write: Any) -> None:
    values = {"battery_w": -5, "soc_frac": 0.25, "charge_wh": 9, "command_version": 3}
    entries = [
        {"ts_ns": NOW_NS + position, "seq": 10 + position, **values, **(dict([fault]) if fault else {})}
        for position, fault in enumerate(faults)
    ]
    payload = write({"v": 2, "records": entries, "oldest_seq": 10})
    check_dialect(payload)
    decoded = decode(among_neighbours(payload, "home-a"))
    sound = decoded.records[(decoded.message == 1) & decoded.usable]
    assert sound["seq"].tolist() == [10 + position for position, fault in enumerate(faults) if not fault]
    assert (sound["ts_ns"] == NOW_NS + sound["seq"] - 10).all()
    for name in OPTIONAL:
        assert (sound[name] == np.array([values.get(name, 0)], dtype=sound.dtype[name])).all()
    bad = [position for position, fault in enumerate(faults) if fault]
    assert [one.record for one in decoded.rejected] == bad


@pytest.mark.parametrize("digits", [4_294, 4_295, 4_298, 4_300])
@pytest.mark.parametrize(
    "name", ["ts_ms", "ts_ns", "seq", "battery_w", "soc_frac", "unit", "oldest_seq", "flags"]
)
def test_endless_number_is_set_aside_like_any_other(digits: int, name: str) -> None:
    """Python writes no number of more than 4300 digits, not even into a remark about it."""
    for sign in ("", "-"):
        number = f"{sign}{'9' * digits}"
        payload = f'{{"v":2,"records":[{{"ts_ms":1,"seq":1}},{{"{name}":{number}}},{{"ts_ms":1,"seq":3}}]}}'
        given = json.dumps({"ts_ms": 1, "seq": 2, name: 0}).replace(f'"{name}": 0', f'"{name}": {number}')
        for text in (payload, f'{{"v":2,"records":[{{"ts_ms":1,"seq":1}},{given},{{"ts_ms":1,"seq":3}}]}}'):
            decoded = decode(among_neighbours(text.encode(), "home-a"))
            assert decoded.message.tolist().count(0) == 2 and decoded.message.tolist().count(2) == 1
            assert len(decoded.rejected) == 1


@pytest.mark.parametrize("depth", [200, 600, 900, 950, 980, 990, 1_100, 30_000])
def test_nesting_of_any_depth_is_set_aside(depth: int) -> None:
    for payload in (
        b'{"v":2,"records":[' + b"[" * depth + b"]" * depth + b"]}",
        b'{"v":2,"records":[{"ts_ms":1,"seq":' + b"[" * depth + b"]" * depth + b"}]}",
        b"\x82\xa1v\x02\xa7records\x91" + b"\x91" * depth + b"\xc0",
    ):
        decoded = decode(among_neighbours(payload, "home-a"))
        assert len(decoded.rejected) == 1
        assert decoded.usable.tolist() == [True] * 3


def test_record_of_no_columns_and_one_of_many_more_bytes_are_read() -> None:
    one = records(1, present=0)
    for name in OPTIONAL:
        one[name] = 0
    whole = encode(one, oldest_seq=1_001, present=0)
    longer = (
        whole[:6]
        + (65_000).to_bytes(2, "little")
        + whole[8:]
        + bytes(65_000 - (len(whole) - V2_HEADER_BYTES))
    )
    for payload in (whole, longer):
        decoded = decode(among_neighbours(payload, "home-a"))
        assert decoded.records[2].tobytes() == one[0].tobytes()
        assert decoded.usable.all() and not decoded.rejected
    assert one["present"][0] == 0 and ALL_PRESENT
    assert check_binary(longer + b"\0") != check_binary(longer)


def test_directory_takes_no_name_that_its_reads_ahead_could_mistake() -> None:
    for name in ("\0", "a\0b"):
        with pytest.raises(InvalidInputError, match="NUL"):
            Directory([name])


@pytest.mark.parametrize("target", [BINARY, RECORDS, DIALECT, HELLO, DIRECTORY, APPLY], ids=lambda t: t.name)
def test_seeds_of_a_target_make_different_things_happen(target: Target) -> None:
    """A target whose inputs all end the same way would find nothing."""
    assert len({target.check(seed) for seed in target.seeds}) >= 3


def test_table_has_no_default_that_it_would_refuse() -> None:
    sound = TELEMETRY.empty(1)
    sound["seq"] = 1
    assert TELEMETRY.violations(sound).tolist() == [-1]
