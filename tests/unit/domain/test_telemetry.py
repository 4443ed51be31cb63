"""The telemetry message: what is encoded is decoded, and whatever is not one is refused with its reason."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from shoal.domain.errors import WireFormatError
from shoal.domain.telemetry import (
    HEADER_BYTES,
    MAX_MESSAGE_BYTES,
    RECORD_BYTES,
    TELEMETRY,
    decode,
    encode,
)


def message(records: int = 1, *, oldest_seq: int = 1) -> bytearray:
    return bytearray(encode(TELEMETRY.empty(records), oldest_seq=oldest_seq))


def test_record_layout_is_what_devices_were_told() -> None:
    assert (HEADER_BYTES, RECORD_BYTES) == (16, 72)
    offsets = {name: TELEMETRY.dtype.fields[name][1] for name in TELEMETRY.names}  # type: ignore[index]
    assert offsets == {
        "ts_ns": 0,
        "seq": 8,
        "battery_w": 16,
        "solar_w": 20,
        "load_w": 24,
        "ev_w": 28,
        "soc_frac": 32,
        "command_version": 36,
        "charge_wh": 40,
        "discharge_wh": 48,
        "import_wh": 56,
        "export_wh": 64,
    }


def test_header_is_little_endian() -> None:
    assert bytes(message(2, oldest_seq=7)[:16]) == b"SH\x01\x00" + struct.pack("<HHq", 2, 72, 7)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_decode_takes_any_kind_of_bytes(kind: type[bytes]) -> None:
    records, oldest_seq = decode(kind(message(3, oldest_seq=5)))
    assert (len(records), oldest_seq) == (3, 5)


def altered(at: int, value: int, records: int = 1) -> bytes:
    payload = message(records)
    payload[at] = value
    return bytes(payload)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "truncated"),
        (bytes(message()[: HEADER_BYTES - 1]), "truncated"),
        (altered(0, ord("X")), "magic"),
        (altered(2, 2), "schema_version"),
        (altered(6, RECORD_BYTES - 8), "schema_version"),
        (altered(4, 0), "length"),
        (altered(4, 2), "length"),
        (bytes(message()[:-1]), "length"),
        (bytes(message()) + b"\x00", "length"),
        (bytes(message(0)), "length"),
        (b"\x00" * (MAX_MESSAGE_BYTES + 1), "too_large"),
        (b"\x00" * (1 << 20), "too_large"),
    ],
)
def test_decode_refuses_with_a_reason(payload: bytes, reason: str) -> None:
    with pytest.raises(WireFormatError) as caught:
        decode(payload)
    assert caught.value.reason == reason
    assert caught.value.detail


def test_flags_are_left_for_later_versions() -> None:
    records, _ = decode(altered(3, 255))
    assert len(records) == 1


def test_largest_message_holds_what_fits() -> None:
    most = (MAX_MESSAGE_BYTES - HEADER_BYTES) // RECORD_BYTES
    assert len(decode(bytes(message(most)))[0]) == most
    with pytest.raises(WireFormatError, match="too_large"):
        decode(bytes(message(most + 1)))


def test_encode_takes_records_that_do_not_lie_together() -> None:
    records = TELEMETRY.empty(6)
    records["seq"] = np.arange(1, 7)
    decoded, _ = decode(encode(records[::2], oldest_seq=1))
    assert decoded["seq"].tolist() == [1, 3, 5]
