"""The decoder equals a plain-Python twin, bit for bit, on random streams with garbage among them."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.domain.directory import Directory
from shoal.domain.telemetry import ALL_PRESENT, OPTIONAL, TELEMETRY, mask_of
from shoal.domain.wire import encode
from shoal.fabric.batch import JournalBatch
from shoal.telemetry.decode import Decoder
from shoal.telemetry.dialects import is_dialect

SITES = ["home-a", "home-b", "flat-1", "flat-2", "flat-3"]
DIRECTORY = Directory(
    SITES,
    gateway_ids=["gate", "home-b"],
    gateway_of=np.array([-1, -1, 0, 0, 1]),
    gateway_unit=np.array([0, 0, 1, 300, 1]),
)
SPEAKERS = [*SITES, "gate", "home-z", ""]
UNITS: dict[str, dict[int, int]] = {
    "home-a": {0: 0},
    "home-b": {0: 1, 1: 4},
    "gate": {1: 2, 300: 3},
}
DECODER = Decoder(directory=DIRECTORY)
NOW_NS = 1_612_936_800_000_000_000

Row = tuple[int, tuple[Any, ...], int, int, bool]
Fault = tuple[int, int, str]


class Twin:
    """The decoder as one would write it without a care for speed: message by message, field by field."""

    def __init__(self, messages: list[tuple[str, bytes]]) -> None:
        self.rows: list[Row] = []
        self.faults: list[Fault] = []
        for position, (speaker, payload) in enumerate(messages):
            if speaker not in UNITS:
                self.faults.append((position, -1, "unknown_site"))
            elif reason := self.message(position, UNITS[speaker], payload):
                self.faults.append((position, -1, reason))

    def message(self, position: int, units: dict[int, int], payload: bytes) -> str:
        """Read one message; return why it is refused as a whole, or nothing."""
        if len(payload) > 65_536:
            return "too_large"
        if len(payload) < 16:
            return "truncated"
        if payload[:2] != b"SH":
            return "magic"
        version, flags = payload[2], payload[3]
        count, size = struct.unpack_from("<HH", payload, 4)
        if version == 1 and size == 72:
            if count == 0 or len(payload) != 16 + 72 * count:
                return "length"
            (oldest,) = struct.unpack_from("<q", payload, 8)
            for at in range(count):
                values = struct.unpack_from("<qqiiiifIqqqq", payload, 16 + 72 * at)
                self.record(position, at, units, 0, (*values, 0, ALL_PRESENT), oldest)
            return ""
        if version != 2:
            return "schema_version"
        if len(payload) < 24:
            return "truncated"
        if count == 0 or len(payload) != 24 + size * count:
            return "length"
        mask, base_ms = struct.unpack_from("<Iq", payload, 8)
        widths = [4, 4, 4, 4, 2, 4, 5, 5, 5, 5, 2]
        if size < 12 + sum(width for bit, width in enumerate(widths) if mask >> bit & 1):
            return "length"
        for at in range(count):
            start = 24 + size * at
            unit, held, seq, dt_ms = struct.unpack_from("<HHIi", payload, start)
            place = start + 12
            fields: list[Any] = []
            for bit, width in enumerate(widths):
                if not mask >> bit & 1:
                    fields.append(0)
                    continue
                number = int.from_bytes(payload[place : place + width], "little", signed=bit < 4)
                if bit == 4:
                    fields.append(float(np.float32(number) / np.float32(10_000)))
                elif 6 <= bit <= 9:
                    fields.append(number * 1_000 if flags & 1 else number)
                else:
                    fields.append(number & 64 if bit == 10 else number)
                place += width
            ms = base_ms + dt_ms
            ts_ns = ms * 1_000_000 if 0 <= ms * 1_000_000 < 2**63 else -1
            oldest = 0 if held == 65_535 else seq - held
            self.record(position, at, units, unit, (ts_ns, seq, *fields, mask & ALL_PRESENT), oldest)
        return ""

    def record(
        self, position: int, at: int, units: dict[int, int], unit: int, values: tuple[Any, ...], oldest: int
    ) -> None:
        """Judge one record."""
        row, seq = units.get(unit, -1), values[1]
        reason = "unknown_unit" if row < 0 else self.fault(values)
        if reason:
            self.faults.append((position, at, reason))
        if row >= 0 and 1 <= seq < 2**32:
            self.rows.append((row, values, min(max(oldest, 0), seq), position, not reason))

    @staticmethod
    def fault(values: tuple[Any, ...]) -> str:
        """Return what is wrong with a record first, or nothing."""
        for column, value in zip(TELEMETRY.columns, values, strict=True):
            if value != value:
                return "not_a_number"
            low, high = column.low, column.high
            if column.name == "soc_frac":
                low, high = float(np.float32(-0.001)), float(np.float32(1.001))
            if (low is not None and value < low) or (high is not None and value > high):
                return "out_of_range"
        return ""


@st.composite
def any_message(draw: st.DrawFn) -> bytes:
    """Draw a message: as it should be, with some bytes changed, cut, or of a made-up shape."""
    count = draw(st.integers(1, 4))
    version = draw(st.sampled_from([1, 2, 2]))
    if draw(st.booleans()):
        size = count * TELEMETRY.dtype.itemsize
        records = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), TELEMETRY.dtype).copy()
        for name in TELEMETRY.names[8:12]:
            records[name] &= 2 ** draw(st.sampled_from([20, 41, 50])) - 1
        records["seq"] &= 2**32 - 1
    else:
        records = TELEMETRY.empty(count)
        records["seq"] = draw(st.integers(1, 2**32 - 1 - count)) + np.arange(count)
    records["ts_ns"] = NOW_NS + np.arange(count) * draw(st.integers(0, 7 * 10**14))
    if version == 1:
        payload = encode(records, oldest_seq=draw(st.integers(-(2**63), 2**63 - 1)), version=1)
    else:
        held = draw(st.integers(0, 70_000))
        units = np.array(draw(st.lists(st.sampled_from([0, 0, 1, 300, 9]), min_size=count, max_size=count)))
        payload = encode(
            records,
            oldest_seq=records["seq"] - held,
            present=draw(st.integers(0, ALL_PRESENT)),
            units=units,
        )
    whole = bytearray(payload)
    for at, value in draw(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 255)), max_size=3)):
        whole[at % len(whole)] = value
    if draw(st.integers(0, 9)) == 0:
        del whole[draw(st.integers(0, len(whole))) :]
    return bytes(whole)


MESSAGES = st.lists(
    st.tuples(
        st.sampled_from(SPEAKERS),
        # the dialects have their own test below
        (any_message() | st.binary(max_size=120)).filter(lambda payload: not is_dialect(payload)),
    ),
    max_size=12,
)


@settings(max_examples=400, deadline=None)
@given(MESSAGES)
def test_decoder_equals_its_plain_twin(messages: list[tuple[str, bytes]]) -> None:
    decoded = DECODER.decode(
        JournalBatch.of(
            [(f"tele.3.{speaker}".encode(), payload) for speaker, payload in messages],
            timestamp_ns=NOW_NS + np.arange(len(messages), dtype=np.int64),
        )
    )
    twin = Twin(messages)
    expected = np.array([values for _, values, _, _, _ in twin.rows], dtype=TELEMETRY.dtype)
    for records in (decoded.records, expected):
        records["soc_frac"][np.isnan(records["soc_frac"])] = (
            np.nan
        )  # one kind of not-a-number is like another
    assert decoded.records.tobytes() == expected.tobytes()
    assert decoded.rows.tolist() == [row for row, *_ in twin.rows]
    assert decoded.oldest_seq.tolist() == [oldest for _, _, oldest, _, _ in twin.rows]
    assert decoded.message.tolist() == [position for *_, position, _ in twin.rows]
    assert decoded.arrival_ns.tolist() == [NOW_NS + position for *_, position, _ in twin.rows]
    assert decoded.usable.tolist() == [good for *_, good in twin.rows]
    found = [(r.arrival_ns - NOW_NS, r.record, r.reason) for r in decoded.rejected]
    assert found == twin.faults


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "ts_ms": st.integers(0, 2**42),
                "seq": st.integers(1, 2**32 - 1),
                "battery_w": st.integers(-(10**9), 10**9),
                "soc_frac": st.integers(0, 10_000).map(lambda step: step / 10_000),
                "charge_wh": st.integers(0, 2**40 - 1),
            }
        ),
        min_size=1,
        max_size=4,
    )
)
def test_every_dialect_says_the_same(entries: list[dict[str, Any]]) -> None:
    records = TELEMETRY.empty(len(entries))
    for position, entry in enumerate(entries):
        records["ts_ns"][position] = entry["ts_ms"] * 1_000_000
        for name in ("seq", *OPTIONAL):
            records[name][position] = entry.get(name, 0)
    oldest = min(entry["seq"] for entry in entries)
    present = mask_of("battery_w", "soc_frac", "charge_wh")
    message = {"v": 2, "oldest_seq": oldest, "records": entries}
    payloads = [msgspec.json.encode(message), msgspec.msgpack.encode(message)]
    if np.ptp(records["ts_ns"]) < 2**31 * 10**6 and np.ptp(records["seq"]) < 65_535:
        payloads.append(encode(records, oldest_seq=oldest, present=present))
    for payload in payloads:
        decoded = DECODER.decode(JournalBatch.of([(b"tele.3.home-a", payload)]))
        assert decoded.usable.all()
        assert decoded.oldest_seq.tolist() == [oldest] * len(entries)
        records["present"] = present
        assert decoded.records.tobytes() == records.tobytes()
