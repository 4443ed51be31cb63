"""Any valid record survives the wire, and any bytes at all either decode or say why not."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.domain.errors import WireFormatError
from shoal.domain.telemetry import ALL_PRESENT, MAX_SEQ, OPTIONAL, POWERS, REGISTERS, TELEMETRY
from shoal.domain.wire import DEVICE_FLAGS, V1_DTYPE, V1_HEADER_BYTES, V2_HEADER_BYTES, decode, encode

REASONS = {"too_large", "truncated", "magic", "schema_version", "length"}
BASE_MS = 1_612_936_800_000


@st.composite
def raw(draw: st.DrawFn) -> NDArray[Any]:
    """Draw one to five records of any content."""
    size = draw(st.integers(1, 5)) * TELEMETRY.dtype.itemsize
    return np.frombuffer(draw(st.binary(min_size=size, max_size=size)), dtype=TELEMETRY.dtype)


@st.composite
def valid(draw: st.DrawFn) -> NDArray[Any]:
    """Draw one to five records that version 2 carries without a loss."""
    count = draw(st.integers(1, 5))
    records = TELEMETRY.empty(count)
    present = draw(st.integers(0, ALL_PRESENT))

    def column(low: int, high: int) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=count, max_size=count))

    records["ts_ns"] = (BASE_MS + np.array(column(-(2**30), 2**30))) * 1_000_000
    records["seq"] = column(1, MAX_SEQ)
    records["flags"] = np.array(column(0, 1)) * int(DEVICE_FLAGS)
    records["present"] = present
    for bit, name in enumerate(OPTIONAL):
        if not present >> bit & 1:
            continue
        if name == "soc_frac":
            records[name] = np.array(column(0, 10_000), dtype=np.float32) / np.float32(10_000)
        elif name in POWERS:
            records[name] = column(-(2**31), 2**31 - 1)
        elif name in REGISTERS:
            records[name] = column(0, 2**40 - 1)
        else:
            records[name] = column(0, 2**32 - 1)
    return records


@settings(max_examples=150, deadline=None)
@given(valid(), st.data())
def test_message_of_version_2_survives_the_wire(content: NDArray[Any], data: st.DataObject) -> None:
    count = len(content)
    held = np.array(data.draw(st.lists(st.integers(0, 65_534), min_size=count, max_size=count)))
    units = np.array(data.draw(st.lists(st.integers(0, 65_535), min_size=count, max_size=count)))
    decoded, oldest_seq, unit = decode(encode(content, oldest_seq=content["seq"] - held, units=units))
    assert decoded.tobytes() == content.tobytes()
    assert oldest_seq.tolist() == (content["seq"] - held).tolist()
    assert unit.tolist() == units.tolist()


@settings(max_examples=100, deadline=None)
@given(raw(), st.integers(-(2**63), 2**63 - 1))
def test_message_of_version_1_survives_the_wire(content: NDArray[Any], oldest: int) -> None:
    decoded, oldest_seq, units = decode(encode(content, oldest_seq=oldest, version=1))
    for name in V1_DTYPE.names or ():
        assert decoded[name].tobytes() == content[name].tobytes()
    assert (decoded["present"] == ALL_PRESENT).all()
    assert (oldest_seq == oldest).all()
    assert not units.any()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([0, 1, 2]))
def test_any_bytes_decode_or_say_why_not(noise: bytes, version: int) -> None:
    head = b""
    if version:
        size = V1_HEADER_BYTES if version == 1 else V2_HEADER_BYTES
        head = encode(TELEMETRY.empty(1), oldest_seq=1, version=version)[:size]
    try:
        records, oldest_seq, units = decode(head + noise)
    except WireFormatError as error:
        assert error.reason in REASONS
    else:
        assert len(records) == len(oldest_seq) == len(units) >= 1


@settings(max_examples=100, deadline=None)
@given(raw())
def test_violations_agree_with_a_loop_over_the_declaration(content: NDArray[Any]) -> None:
    found = TELEMETRY.violations(content).tolist()
    for record, at in zip(content, found, strict=True):
        bad = [
            position
            for position, column in enumerate(TELEMETRY.columns)
            if not _within(record[column.name].item(), column.low, column.high)
        ]
        assert at == (bad[0] if bad else -1)


def _within(value: float, low: float | None, high: float | None) -> bool:
    low = None if low is None else float(np.float32(low)) if low == -0.001 else low
    high = None if high is None else float(np.float32(high)) if high == 1.001 else high
    return np.isfinite(value) and (low is None or value >= low) and (high is None or value <= high)
