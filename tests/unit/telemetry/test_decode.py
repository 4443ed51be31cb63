"""The decoder: a bad message or record is set aside with its reason, and its neighbours never notice."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.domain.directory import Directory
from shoal.domain.interval import NS_PER_S
from shoal.domain.telemetry import ALL_PRESENT, TELEMETRY, Flag, mask_of
from shoal.domain.wire import MAX_MESSAGE_BYTES, V1_HEADER_BYTES, V1_RECORD_BYTES, encode
from shoal.fabric.batch import JournalBatch
from shoal.telemetry.decode import EVIDENCE_BYTES, MOST_NAMED, Decoded, Decoder

NOW_NS = 1_612_936_800 * NS_PER_S
SITES = ("home-a", "home-b", "home-c", "flat-1", "flat-2")
DIRECTORY = Directory(
    SITES,
    gateway_ids=["gate-x", "gate-y"],
    gateway_of=np.array([-1, -1, -1, 0, 1]),
    gateway_unit=np.array([0, 0, 0, 1, 1]),
)
DECODER = Decoder(directory=DIRECTORY)


def binary(*numbers: int, oldest_seq: int = 1, version: int = 1, **values: float) -> bytes:
    """Return a message with a record of each number; the last one carries `values`."""
    records = TELEMETRY.empty(len(numbers))
    records["seq"] = numbers
    records["ts_ns"] = NOW_NS
    for name, value in values.items():
        records[name][-1] = value
    return encode(records, oldest_seq=oldest_seq, version=version)


def dialect(*records: Any, **top: Any) -> bytes:
    return json.dumps({"v": 1, "records": records, **top}).encode()


def packed(*records: Any, **top: Any) -> bytes:
    return msgspec.msgpack.encode({"v": 2, "records": records, **top})


def decode(*messages: tuple[str, bytes], decoder: Decoder = DECODER) -> Decoded:
    return decoder.decode(
        JournalBatch.of(
            [(f"tele.7.{site}".encode(), payload) for site, payload in messages],
            timestamp_ns=NOW_NS + np.arange(len(messages), dtype=np.int64),
        )
    )


def altered(payload: bytes, at: int, value: int) -> bytes:
    changed = bytearray(payload)
    changed[at] = value
    return bytes(changed)


ONE = {"ts_ns": NOW_NS, "seq": 1}
FIVE = {"ts_ns": NOW_NS, "seq": 5}

BAD_MESSAGES: list[tuple[str, str, bytes]] = [
    ("unknown_site", "home-z", binary(1)),
    ("unknown_site", "", binary(1)),
    ("unknown_site", "flat-1", binary(1)),
    ("schema_version", "home-a", altered(binary(1), 2, 3)),
    ("schema_version", "home-a", altered(binary(1), 6, 80)),
    ("length", "home-a", altered(binary(1), 4, 2)),
    ("length", "home-a", altered(binary(1, version=2), 4, 2)),
    ("length", "home-a", binary(1) + b"\x00"),
    ("length", "home-a", binary(1, version=2)[:-1]),
    ("length", "home-a", altered(binary(1, version=2), 6, 12)),
    ("length", "home-a", binary()),
    ("magic", "home-a", altered(binary(1), 1, 0)),
    ("magic", "home-a", b"temperature=21.5;humidity=40"),
    ("truncated", "home-a", b""),
    ("truncated", "home-a", b"SH\x01"),
    ("truncated", "home-a", binary(1, version=2)[:23]),
    ("too_large", "home-a", b"\x00" * (1 << 20)),
    ("too_large", "home-a", b"{" * (MAX_MESSAGE_BYTES + 1)),
    ("too_large", "home-a", b"\x81" * (MAX_MESSAGE_BYTES + 1)),
    ("too_large", "home-a", binary(*range(1, 1000))),
    ("malformed_json", "home-a", b'{"v": 1, "records": [{'),
    ("malformed_json", "home-a", b'{"v": 1}'),
    ("malformed_json", "home-a", b'{"v": 1, "records": []}'),
    ("malformed_json", "home-a", b'{"v": 1, "records": {"seq": 1}}'),
    ("malformed_json", "home-a", b"[1, 2, 3]"),
    ("malformed_json", "home-a", b"[" * 60_000),
    ("malformed_json", "home-a", b'{"v": 1, "records": [{"ts_ns": 1, "seq": 1, "load_w": 1e999}]}'),
    ("malformed_json", "home-a", b'{"\xff": 1}'),
    ("malformed_msgpack", "home-a", b"\x81"),
    ("malformed_msgpack", "home-a", b"\x80"),
    ("malformed_msgpack", "home-a", b"\x81\xa1v" + b"\x91" * 60_000),
    ("malformed_msgpack", "home-a", b"\x81\x80\x01"),
    ("malformed_msgpack", "home-a", packed()),
    ("schema_version", "home-a", dialect(ONE, v=3)),
    ("schema_version", "home-a", dialect(ONE, v=True)),
    ("schema_version", "home-a", packed(ONE, v=[1])),
    ("schema_version", "home-a", json.dumps({"records": [ONE]}).encode()),
    ("missing_field", "home-a", dialect({"ts_ns": NOW_NS})),
    ("missing_field", "home-a", dialect(7)),
    ("wrong_type", "home-a", dialect(ONE, oldest_seq="1")),
    ("wrong_type", "home-a", dialect(ONE, oldest_seq=1.0)),
    ("wrong_type", "home-a", dialect({"ts_ns": NOW_NS, "seq": 1.5})),
    ("out_of_range", "home-a", dialect(ONE, oldest_seq=10**30)),
    ("out_of_range", "home-a", dialect(ONE, oldest_seq=-1)),
    ("out_of_range", "home-a", dialect({"ts_ns": NOW_NS, "seq": 0})),
    ("out_of_range", "home-a", packed({"ts_ns": NOW_NS, "seq": 2**32})),
    ("out_of_range", "home-a", binary(-4)),
    ("out_of_range", "home-a", binary(2**32)),
    ("unknown_unit", "gate-x", binary(1)),
    ("unknown_unit", "gate-x", dialect(ONE)),
    ("unknown_unit", "gate-x", dialect({**ONE, "unit": 2})),
    ("unknown_unit", "gate-x", dialect({**ONE, "site": "flat-2"})),
    ("unknown_unit", "gate-x", dialect({**ONE, "site": "home-a"})),
    ("unknown_unit", "home-a", dialect({**ONE, "site": "home-b"})),
    ("unknown_unit", "home-a", packed({**ONE, "unit": 1})),
]
BAD_RECORDS: list[tuple[str, str, bytes]] = [
    ("missing_field", "home-a", dialect({"seq": 5})),
    ("missing_field", "home-a", dialect({"seq": 5, "ts_ns": None})),
    ("wrong_type", "home-a", dialect({**FIVE, "load_w": "12"})),
    ("wrong_type", "home-a", dialect({**FIVE, "load_w": True})),
    ("wrong_type", "home-a", packed({**FIVE, "load_w": [12]})),
    ("wrong_type", "home-a", packed({**FIVE, "flags": "x"})),
    ("wrong_type", "home-a", packed({**FIVE, "oldest_seq": "x"})),
    ("out_of_range", "home-a", dialect({**FIVE, "load_w": 2**31})),
    ("out_of_range", "home-a", dialect({**FIVE, "command_version": -1})),
    ("out_of_range", "home-a", dialect({**FIVE, "soc_frac": 1e300})),
    ("out_of_range", "home-a", packed({**FIVE, "battery_w": float("inf")})),
    ("out_of_range", "home-a", packed({**FIVE, "import_wh": 10**17})),
    ("out_of_range", "home-a", dialect({**FIVE, "ts_ns": 10**30})),
    ("not_a_number", "home-a", packed({**FIVE, "battery_w": float("nan")})),
    ("not_a_number", "home-a", packed({**FIVE, "soc_frac": float("nan")})),
    ("not_a_number", "home-a", binary(5, soc_frac=np.nan)),
    ("out_of_range", "home-a", binary(5, soc_frac=np.inf)),
    ("out_of_range", "home-a", binary(5, soc_frac=1.2)),
    ("out_of_range", "home-a", binary(5, soc_frac=1.2, version=2)),
    ("out_of_range", "home-a", binary(5, battery_w=1_000_000_001)),
    ("out_of_range", "home-a", binary(5, ev_w=-1_000_000_001, version=2)),
    ("out_of_range", "home-a", binary(5, charge_wh=-1)),
    ("out_of_range", "home-a", binary(5, ts_ns=-1)),
    ("out_of_range", "home-a", binary(5, ts_ns=-1_000_000, version=2)),
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


def four(version: int) -> bytes:
    records = TELEMETRY.empty(4)
    records["seq"] = [1, 2, 3, 4]
    records["ts_ns"] = NOW_NS
    records["soc_frac"][1] = 1.2
    records["load_w"][3] = 2 * 10**9
    return encode(records, oldest_seq=1, version=version)


FOUR = [ONE, {**ONE, "seq": 2, "soc_frac": 1.2}, {**ONE, "seq": 3}, {**ONE, "seq": 4, "load_w": 2 * 10**9}]


@pytest.mark.parametrize("payload", [four(1), four(2), dialect(*FOUR), dialect(*FOUR, v=2), packed(*FOUR)])
def test_bad_record_is_set_aside_alone_in_every_dialect(payload: bytes) -> None:
    decoded = decode(("home-a", payload))
    assert decoded.records["seq"].tolist() == [1, 2, 3, 4]
    assert decoded.usable.tolist() == [True, False, True, False]
    assert [(r.reason, r.record, r.count) for r in decoded.rejected] == [
        ("out_of_range", 1, 1),
        ("out_of_range", 3, 1),
    ]
    assert "soc_frac is 1.2" in decoded.rejected[0].detail


def test_evidence_is_the_bytes_of_what_was_set_aside() -> None:
    payload = four(1)
    decoded = decode(
        ("home-a", payload), ("home-b", b"?" * 2_000), ("home-c", dialect({**ONE, "load_w": "x"}))
    )
    second, fourth, whole, entry = decoded.rejected
    start = V1_HEADER_BYTES + V1_RECORD_BYTES
    assert base64.b64decode(second.payload_b64) == payload[start : start + V1_RECORD_BYTES]
    assert base64.b64decode(fourth.payload_b64) == payload[-V1_RECORD_BYTES:]
    assert base64.b64decode(whole.payload_b64) == b"?" * EVIDENCE_BYTES
    assert (whole.record, whole.size_bytes) == (-1, 2_000)
    assert json.loads(base64.b64decode(entry.payload_b64)) == {**ONE, "load_w": "x"}


def test_message_full_of_bad_records_names_the_first_and_counts_the_rest() -> None:
    numbers = range(1, 901)
    records = TELEMETRY.empty(900)
    records["seq"] = numbers
    records["soc_frac"] = [np.nan, *[7.0] * 899]
    entries = [{"seq": number} for number in numbers]
    for payload in (encode(records, oldest_seq=1, version=1), packed(*entries)):
        rejected = decode(("home-a", payload)).rejected
        assert len(rejected) == MOST_NAMED + 1
        assert sum(r.count for r in rejected) == 900
        assert rejected[-1].count == 900 - MOST_NAMED


def test_gateway_speaks_for_its_sites_in_every_dialect() -> None:
    records = TELEMETRY.empty(3)
    records["seq"], records["ts_ns"] = [4, 5, 6], NOW_NS
    oldest_seq, units = np.array([4, 5, 3]), np.array([1, 2, 1])
    entries = [{**ONE, "seq": 4, "unit": 1}, {**ONE, "seq": 5, "unit": 2}, {**ONE, "seq": 6, "unit": 1}]
    named = [{**entry, "site": "flat-1" if entry["unit"] == 1 else "flat-2"} for entry in entries]
    named[2]["oldest_seq"] = entries[2]["oldest_seq"] = 3
    for payload in (
        encode(records, oldest_seq=oldest_seq, units=units),
        dialect(*entries, v=2),
        packed(*named),
    ):
        decoded = decode(("gate-x", payload), ("gate-y", binary(9)))
        assert decoded.rows.tolist() == [3, 3], "units of another gateway's sites are not taken"
        assert decoded.records["seq"].tolist() == [4, 6]
        assert decoded.oldest_seq.tolist() == [4, 3]
        assert [(r.reason, r.record, r.site_id) for r in decoded.rejected] == [
            ("unknown_unit", 1, "gate-x"),
            ("unknown_unit", 0, "gate-y"),
        ]


def test_gateway_that_is_a_site_too_is_unit_zero() -> None:
    directory = Directory(
        ["box", "flat"], gateway_ids=["box"], gateway_of=np.array([-1, 0]), gateway_unit=np.array([0, 7])
    )
    records = TELEMETRY.empty(2)
    records["seq"] = 1
    payload = encode(records, oldest_seq=1, units=np.array([7, 0]))
    decoded = decode(("box", payload), ("box", binary(2)), decoder=Decoder(directory=directory))
    assert decoded.rows.tolist() == [1, 0, 0]
    assert decoded.rejected == []


def test_rows_may_be_those_of_the_fleet() -> None:
    decoder = Decoder(directory=DIRECTORY, rows_of=np.array([10, 20, 30, 40, 50]))
    decoded = decode(
        ("home-b", binary(1)),
        ("gate-y", dialect({**ONE, "unit": 1})),
        ("home-a", packed(ONE)),
        decoder=decoder,
    )
    assert decoded.rows.tolist() == [20, 50, 10]


def test_answer_that_is_reused_is_the_same() -> None:
    decoder = Decoder(directory=DIRECTORY, reuse=True)
    for count in (3, 700, 2, 0, 900):
        messages = [(SITES[n % 3], binary(n + 1, version=1 + n % 2)) for n in range(count)]
        again, fresh = decode(*messages, decoder=decoder), decode(*messages)
        for name in ("rows", "records", "oldest_seq", "arrival_ns", "usable", "message"):
            assert getattr(again, name).tobytes() == getattr(fresh, name).tobytes()


def test_columns_of_a_record_are_those_that_were_measured() -> None:
    records = TELEMETRY.empty(1)
    records["seq"], records["ts_ns"], records["flags"] = 1, NOW_NS, Flag.ESTIMATED | Flag.SIGN
    present = mask_of("ev_w", "import_wh")
    decoded = decode(
        ("home-a", encode(records, oldest_seq=1, present=present)),
        ("home-b", packed({**ONE, "ev_w": 7, "import_wh": 0, "flags": 127})),
        ("home-c", binary(1)),
    )
    assert decoded.records["present"].tolist() == [present, present, ALL_PRESENT]
    assert decoded.records["flags"].tolist() == [Flag.ESTIMATED, Flag.ESTIMATED, 0]
    assert decoded.message.tolist() == [0, 1, 2]


def test_time_may_be_given_in_milliseconds() -> None:
    decoded = decode(("home-a", dialect({"ts_ms": NOW_NS // 10**6, "seq": 1}, v=2)))
    assert decoded.records["ts_ns"].tolist() == [NOW_NS]


def test_bytes_of_another_message_are_never_read() -> None:
    """A header that promises more than its message holds is refused, whatever lies behind it in the buffer."""
    record = binary(2, version=2)
    lying = struct.pack("<2sBBHHIqI", b"SH", 2, 0, 2, len(record) - 24, ALL_PRESENT, 0, 0) + record[24:]
    decoded = decode(("home-a", lying), ("home-b", record))
    assert (decoded.rows.tolist(), [r.reason for r in decoded.rejected]) == ([1], ["length"])


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
    records["ts_ns"] = [NOW_NS, NOW_NS + 1]
    for position, name in enumerate(TELEMETRY.names[2:12]):
        records[name] = 1 if name == "soc_frac" else 1_000 + position
    decoded = decode(("home-c", encode(records, oldest_seq=2, version=1)))
    assert decoded.records.tobytes() == records.tobytes()
    assert (decoded.rows.tolist(), decoded.oldest_seq.tolist()) == ([2, 2], [2, 2])
    assert decoded.usable.all()


def test_json_record_fills_what_is_left_out_and_passes_over_what_is_unknown() -> None:
    entry = {**ONE, "battery_w": -1500, "soc_frac": 0.5, "export_wh": 7, "firmware": "1.2", "load_w": None}
    decoded = decode(("home-a", dialect(entry, vendor={"name": "x"})))
    expected = TELEMETRY.empty(1)
    for name in ("ts_ns", "seq", "battery_w", "soc_frac", "export_wh"):
        expected[name] = entry[name]
    expected["present"] = mask_of("battery_w", "soc_frac", "export_wh")
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
            st.sampled_from([*SITES, "home-z", "gate-x"]),
            st.one_of(
                st.binary(max_size=120),
                st.binary(max_size=90).map(lambda b: binary(1)[:4] + b),
                st.binary(max_size=90).map(lambda b: binary(1, version=2)[:4] + b),
                st.binary(max_size=90).map(lambda b: packed(ONE)[:20] + b),
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
    assert np.all(np.diff(decoded.message) >= 0)
    assert np.all((decoded.oldest_seq >= 0) & (decoded.oldest_seq <= decoded.records["seq"]))
    heard = set((decoded.arrival_ns - NOW_NS).tolist()) | {r.arrival_ns - NOW_NS for r in decoded.rejected}
    assert heard == set(range(len(messages) + 2)), "every message is either taken or set aside"
