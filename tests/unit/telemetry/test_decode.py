"""The decoder: a bad message is set aside with its reason, and its neighbours never notice."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.domain.interval import NS_PER_S
from shoal.domain.telemetry import MAX_MESSAGE_BYTES, TELEMETRY, encode
from shoal.telemetry.decode import Decoded, Decoder

NOW_NS = 1_612_936_800 * NS_PER_S
AHEAD_NS = 300 * NS_PER_S
DECODER = Decoder(row_of={b"home-a": 0, b"home-b": 1, b"home-c": 2}, max_ahead_ns=AHEAD_NS)
SITES = ("home-a", "home-b", "home-c")


def binary(*numbers: int, oldest_seq: int = 1, **values: float) -> bytes:
    """Return a message with a record of each number; the last one carries `values`."""
    records = TELEMETRY.empty(len(numbers))
    records["seq"] = numbers
    records["ts_ns"] = NOW_NS
    for name, value in values.items():
        records[name][-1] = value
    return encode(records, oldest_seq=oldest_seq)


def dialect(*records: Any, **top: Any) -> bytes:
    return json.dumps({"v": 1, "records": records, **top}).encode()


def decode(*messages: tuple[str, bytes], now_ns: int = NOW_NS) -> Decoded:
    return DECODER.decode(
        [f"tele.7.{site}".encode() for site, _ in messages],
        [payload for _, payload in messages],
        NOW_NS + np.arange(len(messages), dtype=np.int64),
        now_ns=now_ns,
    )


def altered(payload: bytes, at: int, value: int) -> bytes:
    changed = bytearray(payload)
    changed[at] = value
    return bytes(changed)


ONE = {"ts_ns": NOW_NS, "seq": 1}

BAD_MESSAGES: list[tuple[str, str, bytes]] = [
    ("unknown_site", "home-z", binary(1)),
    ("unknown_site", "", binary(1)),
    ("schema_version", "home-a", altered(binary(1), 2, 2)),
    ("schema_version", "home-a", altered(binary(1), 6, 80)),
    ("length", "home-a", altered(binary(1), 4, 2)),
    ("length", "home-a", binary(1) + b"\x00"),
    ("length", "home-a", binary()),
    ("magic", "home-a", altered(binary(1), 1, 0)),
    ("magic", "home-a", b"temperature=21.5;humidity=40"),
    ("truncated", "home-a", b""),
    ("truncated", "home-a", b"SH\x01"),
    ("too_large", "home-a", b"\x00" * (1 << 20)),
    ("too_large", "home-a", b"{" * (MAX_MESSAGE_BYTES + 1)),
    ("too_large", "home-a", binary(*range(1, 1000))),
    ("malformed_json", "home-a", b'{"v": 1, "records": [{'),
    ("malformed_json", "home-a", b'{"v": 1}'),
    ("malformed_json", "home-a", b'{"v": 1, "records": []}'),
    ("malformed_json", "home-a", b'{"v": 1, "records": {"seq": 1}}'),
    ("malformed_json", "home-a", b"[1, 2, 3]"),
    ("malformed_json", "home-a", b"[" * 60_000),
    ("malformed_json", "home-a", b'{"v": 1, "records": [{"ts_ns": 1, "seq": 1, "load_w": 1e999}]}'),
    ("malformed_json", "home-a", b'{"\xff": 1}'),
    ("schema_version", "home-a", dialect(ONE, v=2)),
    ("schema_version", "home-a", json.dumps({"records": [ONE]}).encode()),
    ("missing_field", "home-a", dialect({"seq": 1})),
    ("missing_field", "home-a", dialect(ONE, {"ts_ns": NOW_NS})),
    ("missing_field", "home-a", dialect({"seq": 1, "ts_ns": None})),
    ("missing_field", "home-a", dialect(7)),
    ("wrong_type", "home-a", dialect({**ONE, "load_w": "12"})),
    ("wrong_type", "home-a", dialect({**ONE, "load_w": True})),
    ("wrong_type", "home-a", dialect({**ONE, "load_w": [12]})),
    ("wrong_type", "home-a", dialect(ONE, oldest_seq="1")),
    ("wrong_type", "home-a", dialect(ONE, oldest_seq=1.0)),
    ("out_of_range", "home-a", dialect(ONE, oldest_seq=10**30)),
    ("out_of_range", "home-a", dialect(ONE, oldest_seq=-1)),
    ("out_of_range", "home-a", dialect({**ONE, "load_w": 2**31})),
    ("out_of_range", "home-a", dialect({**ONE, "command_version": -1})),
    ("out_of_range", "home-a", dialect({"ts_ns": NOW_NS, "seq": 0})),
    ("out_of_range", "home-a", binary(-4)),
    ("out_of_range", "home-a", binary(2**53 + 1)),
]
BAD_RECORDS: list[tuple[str, str, bytes]] = [
    ("out_of_range", "home-a", dialect({**ONE, "seq": 5, "soc_frac": 1e300})),
    ("not_a_number", "home-a", binary(5, soc_frac=np.nan)),
    ("out_of_range", "home-a", binary(5, soc_frac=np.inf)),
    ("out_of_range", "home-a", binary(5, soc_frac=1.2)),
    ("out_of_range", "home-a", binary(5, battery_w=1_000_000_001)),
    ("out_of_range", "home-a", binary(5, charge_wh=-1)),
    ("out_of_range", "home-a", binary(5, ts_ns=-1)),
    ("future_timestamp", "home-a", binary(5, ts_ns=NOW_NS + AHEAD_NS + 1)),
]


@pytest.mark.parametrize(("reason", "site", "payload"), BAD_MESSAGES + BAD_RECORDS)
def test_bad_message_is_set_aside_and_its_neighbours_survive(reason: str, site: str, payload: bytes) -> None:
    decoded = decode(("home-b", binary(1)), (site, payload), ("home-c", binary(8, 9)))
    (rejected,) = decoded.rejected
    assert (rejected.reason, rejected.site_id) == (reason, site)
    assert rejected.arrival_ns == NOW_NS + 1
    assert rejected.size_bytes == len(payload)
    assert 0 < len(rejected.detail) <= 200
    assert decoded.rows[decoded.usable].tolist() == [1, 2, 2]
    assert decoded.records["seq"][decoded.usable].tolist() == [1, 8, 9]
    assert decoded.arrival_ns[decoded.usable].tolist() == [NOW_NS, NOW_NS + 2, NOW_NS + 2]


@pytest.mark.parametrize(("reason", "site", "payload"), BAD_RECORDS)
def test_bad_record_keeps_its_number_so_that_nobody_waits_for_it(
    reason: str, site: str, payload: bytes
) -> None:
    decoded = decode((site, payload))
    assert (decoded.records["seq"].tolist(), decoded.usable.tolist()) == ([5], [False]), reason


@pytest.mark.parametrize(("reason", "site", "payload"), BAD_MESSAGES)
def test_bad_message_alone_gives_nothing(reason: str, site: str, payload: bytes) -> None:
    decoded = decode((site, payload))
    assert [r.reason for r in decoded.rejected] == [reason]
    assert len(decoded.rows) == len(decoded.records) == len(decoded.usable) == 0


def test_one_bad_record_leaves_the_others_of_its_message() -> None:
    records = TELEMETRY.empty(4)
    records["seq"] = [1, 2, 3, 4]
    records["ts_ns"] = NOW_NS
    records["soc_frac"][1] = np.nan
    records["ts_ns"][3] = NOW_NS + AHEAD_NS + 1
    decoded = decode(("home-a", encode(records, oldest_seq=1)))
    assert decoded.records["seq"][decoded.usable].tolist() == [1, 3]
    assert [r.reason for r in decoded.rejected] == ["not_a_number", "future_timestamp"]


def test_batch_of_mixed_lengths_and_dialects_keeps_the_order_of_the_journal() -> None:
    decoded = decode(
        ("home-a", binary(1)),
        ("home-a", dialect({**ONE, "seq": 2})),
        ("home-b", binary(1, 2, 3)),
        ("home-a", binary(3)),
        ("home-z", binary(9)),
        ("home-a", altered(binary(99), 2, 3)),
        ("home-b", dialect({**ONE, "seq": 4}, {**ONE, "seq": 5})),
        ("home-a", binary(4)),
        ("home-b", binary(6, 7, 8)),
    )
    of = {
        site: decoded.records["seq"][decoded.rows == row].tolist()
        for row, site in enumerate(SITES)
        if row < 2
    }
    assert of == {"home-a": [1, 2, 3, 4], "home-b": [1, 2, 3, 4, 5, 6, 7, 8]}
    assert decoded.rows.tolist() == [0, 0, 1, 1, 1, 0, 1, 1, 0, 1, 1, 1]
    assert np.all(np.diff(decoded.arrival_ns) >= 0)
    assert sorted(r.reason for r in decoded.rejected) == ["schema_version", "unknown_site"]


def test_records_are_taken_to_the_last_bit() -> None:
    records = TELEMETRY.empty(2)
    records["seq"] = [3, 4]
    records["ts_ns"] = [NOW_NS, NOW_NS + AHEAD_NS]
    for position, name in enumerate(TELEMETRY.names[2:]):
        records[name] = 1 if name == "soc_frac" else 1_000 + position
    decoded = decode(("home-c", encode(records, oldest_seq=2)))
    assert decoded.records.tobytes() == records.tobytes()
    assert (decoded.rows.tolist(), decoded.oldest_seq.tolist()) == ([2, 2], [2, 2])
    assert decoded.usable.all()


def test_json_record_fills_what_is_left_out_and_passes_over_what_is_unknown() -> None:
    entry = {**ONE, "battery_w": -1500, "soc_frac": 0.5, "export_wh": 7, "firmware": "1.2", "load_w": None}
    decoded = decode(("home-a", dialect(entry, vendor={"name": "x"})))
    expected = TELEMETRY.empty(1)
    for name in ("ts_ns", "seq", "battery_w", "soc_frac", "export_wh"):
        expected[name] = entry[name]
    assert decoded.records.tobytes() == expected.tobytes()
    assert decoded.rejected == []


def test_json_device_without_a_store_holds_nothing_older() -> None:
    decoded = decode(("home-a", dialect({**ONE, "seq": 8}, {**ONE, "seq": 7})))
    assert decoded.oldest_seq.tolist() == [7, 7]


@pytest.mark.parametrize(("said", "believed"), [(-(2**63), 0), (0, 0), (3, 3), (4, 3), (2**63 - 1, 3)])
def test_device_that_sends_a_sample_still_holds_it(said: int, believed: int) -> None:
    assert decode(("home-a", binary(3, oldest_seq=said))).oldest_seq.tolist() == [believed]


def test_empty_batch_is_no_trouble() -> None:
    decoded = decode()
    assert len(decoded.rows) == len(decoded.arrival_ns) == 0
    assert decoded.rejected == []


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*SITES, "home-z"]),
            st.one_of(
                st.binary(max_size=120),
                st.binary(max_size=90).map(lambda b: binary(1)[:4] + b),
                st.text(max_size=60).map(lambda t: b"{" + t.encode()),
                st.recursive(
                    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                    lambda inner: (
                        st.lists(inner, max_size=3)
                        | st.dictionaries(
                            st.sampled_from(
                                ["ts_ns", "seq", "records", "v", "soc_frac", "load_w", "oldest_seq"]
                            ),
                            inner,
                            max_size=6,
                        )
                    ),
                    max_leaves=12,
                ).map(lambda content: json.dumps({"v": 1, "records": [content, ONE]}).encode()),
            ),
        ),
        max_size=6,
    )
)
def test_no_message_ever_stops_the_stream(messages: list[tuple[str, bytes]]) -> None:
    decoded = decode(("home-a", binary(1)), *messages, ("home-b", binary(2)))
    usable = decoded.records[decoded.usable]
    assert decoded.arrival_ns[0] == NOW_NS
    assert decoded.arrival_ns[-1] == NOW_NS + len(messages) + 1
    assert np.all(TELEMETRY.violations(usable) == -1)
    assert np.all((decoded.oldest_seq >= 0) & (decoded.oldest_seq <= decoded.records["seq"]))
    heard = set((decoded.arrival_ns - NOW_NS).tolist()) | {r.arrival_ns - NOW_NS for r in decoded.rejected}
    assert heard == set(range(len(messages) + 2)), "every message is either taken or set aside"
