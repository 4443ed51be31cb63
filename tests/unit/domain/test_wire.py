"""The binary messages: layouts that devices were told, and a reason for whatever is not a message."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError, WireFormatError
from shoal.domain.telemetry import ALL_PRESENT, PRESENT_OF, TELEMETRY, DeviceType, Flag, mask_of
from shoal.domain.wire import (
    MAX_MESSAGE_BYTES,
    V1_DTYPE,
    V1_HEADER_BYTES,
    V1_RECORD_BYTES,
    V2_HEADER_BYTES,
    decode,
    encode,
    encode_messages,
    record_bytes,
)

TS_NS = 1_612_936_800_000_000_000


def samples(count: int = 1) -> NDArray[Any]:
    records = TELEMETRY.empty(count)
    records["seq"] = np.arange(1, count + 1)
    records["ts_ns"] = TS_NS + np.arange(count) * 10**9
    return records


def message(count: int = 1, *, version: int = 2, oldest_seq: int = 1) -> bytearray:
    return bytearray(encode(samples(count), oldest_seq=oldest_seq, version=version))


def test_version_1_is_what_devices_were_told() -> None:
    assert (V1_HEADER_BYTES, V1_RECORD_BYTES) == (16, 72)
    assert {name: V1_DTYPE.fields[name][1] for name in V1_DTYPE.names or ()} == {  # type: ignore[index]
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
    assert bytes(message(2, version=1, oldest_seq=7)[:16]) == b"SH\x01\x00" + struct.pack("<HHq", 2, 72, 7)


def test_version_1_is_read_with_every_column_present() -> None:
    record = struct.pack("<qqiiiifIqqqq", TS_NS + 1, 3, 3000, -5000, 1000, 7, 0.5, 9, 12, 8, 40, 15)
    records, oldest_seq, units = decode(struct.pack("<2sBBHHq", b"SH", 1, 0, 1, 72, 2) + record)
    assert records.tolist() == [
        (TS_NS + 1, 3, 3000, -5000, 1000, 7, 0.5, 9, 12, 8, 40, 15, 0, ALL_PRESENT),
    ]
    assert (oldest_seq.tolist(), units.tolist()) == ([2], [0])


def test_version_2_is_what_devices_were_told() -> None:
    records = samples(1)
    for name, value in {"load_w": -2, "import_wh": 2**33 + 1, "export_wh": 7}.items():
        records[name] = value
    records["present"] = PRESENT_OF[DeviceType.METER]
    header = struct.pack("<2sBBHHIqI", b"SH", 2, 0, 1, 26, 0b11_0000_0100, TS_NS // 10**6, 0)
    body = struct.pack("<HHIiiIBIB", 0, 0, 1, 0, -2, 1, 2, 7, 0)
    assert encode(records, oldest_seq=1) == header + body


@pytest.mark.parametrize(
    ("kind", "size"),
    [(DeviceType.HOME, 50), (DeviceType.METER, 26), (DeviceType.EV_CHARGER, 30), (DeviceType.BATTERY, 32)],
)
def test_record_is_as_large_as_what_the_device_measures(kind: DeviceType, size: int) -> None:
    assert record_bytes(PRESENT_OF[kind]) == size


def test_columns_that_are_absent_stay_zero_and_are_said_to_be() -> None:
    records = samples(2)
    for name in ("battery_w", "ev_w", "import_wh", "charge_wh"):
        records[name] = 5
    present = mask_of("ev_w", "import_wh")
    decoded, _, _ = decode(encode(records, oldest_seq=1, present=present))
    assert decoded["present"].tolist() == [present] * 2
    assert decoded["ev_w"].tolist() == decoded["import_wh"].tolist() == [5, 5]
    assert not decoded["battery_w"].any()
    assert not decoded["charge_wh"].any()


def test_gateway_speaks_for_each_of_its_sites() -> None:
    oldest_seq, units = np.array([1, 2, 1]), np.array([1, 5, 65_535])
    records, oldest, unit = decode(encode(samples(3), oldest_seq=oldest_seq, units=units))
    assert (oldest.tolist(), unit.tolist()) == ([1, 2, 1], [1, 5, 65_535])
    assert records["seq"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(("held", "oldest"), [(0, 70_000), (65_534, 4_466), (65_535, 0), (69_999, 0)])
def test_device_that_holds_too_much_to_say_says_nothing(held: int, oldest: int) -> None:
    records = samples()
    records["seq"] = 70_000
    assert decode(encode(records, oldest_seq=70_000 - held))[1].tolist() == [oldest]


def test_own_estimates_are_said_and_the_plant_s_verdicts_are_not() -> None:
    records = samples(2)
    records["flags"] = [Flag.ESTIMATED | Flag.STUCK, Flag.STUCK]
    payload = encode(records, oldest_seq=1)
    assert decode(payload)[0]["flags"].tolist() == [Flag.ESTIMATED, 0]
    assert len(payload) == V2_HEADER_BYTES + 2 * (record_bytes(ALL_PRESENT) + 2)


def test_large_registers_go_in_kilowatt_hours() -> None:
    records = samples(2)
    records["import_wh"] = [2**41 + 999, 5_400]
    decoded, _, _ = decode(encode(records, oldest_seq=1))
    assert decoded["import_wh"].tolist() == [(2**41 + 999) // 1000 * 1000, 5_000]


def test_state_of_charge_out_of_range_stays_so() -> None:
    records = samples(4)
    records["soc_frac"] = [np.nan, 1.2, np.inf, -0.5]
    decoded = decode(encode(records, oldest_seq=1))[0]["soc_frac"]
    assert decoded[1] == np.float32(1.2)
    assert decoded[0] > 6
    assert decoded[2] > 6
    assert decoded[3] == 0


@pytest.mark.parametrize("base_ms", [-(2**63), -1, 2**63 - 1, 2**45, 9_223_372_036_855])
def test_time_beyond_the_calendar_is_no_time(base_ms: int) -> None:
    payload = message()
    payload[12:20] = struct.pack("<q", base_ms)
    assert decode(bytes(payload))[0]["ts_ns"].tolist() == [-1]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("version", [1, 2])
def test_decode_takes_any_kind_of_bytes(kind: type[bytes], version: int) -> None:
    payload = kind(message(3, oldest_seq=1, version=version))
    records, oldest_seq, _ = decode(payload)
    assert (records["seq"].tolist(), oldest_seq.tolist()) == ([1, 2, 3], [1, 1, 1])


def altered(at: int, value: int, *, version: int = 2) -> bytes:
    payload = message(version=version)
    payload[at] = value
    return bytes(payload)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "truncated"),
        (bytes(message()[:15]), "truncated"),
        (bytes(message()[:23]), "truncated"),
        (altered(0, ord("X")), "magic"),
        (altered(2, 3), "schema_version"),
        (altered(2, 0), "schema_version"),
        (altered(6, 64, version=1), "schema_version"),
        (altered(4, 0), "length"),
        (altered(4, 0, version=1), "length"),
        (altered(4, 2), "length"),
        (altered(6, 53), "length"),
        (bytes(message()[:-1]), "length"),
        (bytes(message(version=1)[:-1]), "length"),
        (bytes(message()) + b"\x00", "length"),
        (bytes(message(0)), "length"),
        (bytes(message(0, version=1)), "length"),
        (encode(samples(), oldest_seq=1, present=1)[:8] + b"\xff" + bytes(31), "length"),
        (b"\x00" * (MAX_MESSAGE_BYTES + 1), "too_large"),
    ],
)
def test_decode_refuses_with_a_reason(payload: bytes, reason: str) -> None:
    with pytest.raises(WireFormatError) as caught:
        decode(payload)
    assert caught.value.reason == reason
    assert caught.value.detail


def test_columns_of_a_later_version_are_passed_over() -> None:
    records = samples(2)
    records["export_wh"] = [7, 8]
    whole = encode(records, oldest_seq=1)
    each = record_bytes(ALL_PRESENT)
    wider = bytearray(whole[:V2_HEADER_BYTES])
    wider[6:8] = struct.pack("<H", each + 9)
    wider[8:12] = struct.pack("<I", ALL_PRESENT | 1 << 11 | 1 << 31)
    for at in (V2_HEADER_BYTES, V2_HEADER_BYTES + each):
        wider += whole[at : at + each] + b"\xaa" * 9
    assert decode(bytes(wider))[0].tobytes() == records.tobytes()


@pytest.mark.parametrize("version", [1, 2])
def test_unknown_header_flags_are_left_for_later(version: int) -> None:
    assert len(decode(altered(3, 254, version=version))[0]) == 1


@pytest.mark.parametrize("version", [1, 2])
def test_largest_message_holds_what_fits(version: int) -> None:
    head, each = (16, 72) if version == 1 else (24, record_bytes(ALL_PRESENT))
    most = (MAX_MESSAGE_BYTES - head) // each
    assert len(decode(bytes(message(most, version=version)))[0]) == most
    with pytest.raises(WireFormatError, match="too_large"):
        decode(bytes(message(most + 1, version=version)))


@pytest.mark.parametrize("version", [1, 2])
def test_encode_takes_records_that_do_not_lie_together(version: int) -> None:
    decoded, _, _ = decode(encode(samples(6)[::2], oldest_seq=1, version=version))
    assert decoded["seq"].tolist() == [1, 3, 5]


def changed(**values: Any) -> NDArray[Any]:
    records = samples(2)
    for name, value in values.items():
        records[name] = value
    return records


@pytest.mark.parametrize(
    "records",
    [
        changed(seq=[1, 2**32]),
        changed(seq=[-1, 1]),
        changed(charge_wh=[-1, 0]),
        changed(export_wh=[0, 2**51]),
        changed(present=[1, 3]),
        changed(ts_ns=[0, 2**31 * 10**6]),
        changed(present=2**12),
    ],
)
def test_encode_refuses_what_version_2_cannot_carry(records: NDArray[Any]) -> None:
    with pytest.raises(InvalidInputError):
        encode(records, oldest_seq=1)


def test_encode_refuses_an_unknown_version_and_a_gateway_of_version_1() -> None:
    with pytest.raises(InvalidInputError, match="version"):
        encode(samples(), oldest_seq=1, version=3)
    with pytest.raises(InvalidInputError, match="gateway"):
        encode(samples(), oldest_seq=1, version=1, units=np.array([1]))
    with pytest.raises(InvalidInputError, match="records"):
        encode(TELEMETRY.empty(2**16), oldest_seq=1)


def test_many_messages_at_once_are_those_of_each_alone() -> None:
    records = samples(12).reshape(4, 3)
    records["import_wh"][2] = 2**42 + np.arange(3) * 1_000
    oldest_seq = records["seq"][:, :1].copy()
    many = encode_messages(records, oldest_seq=oldest_seq, present=ALL_PRESENT)
    alone = [encode(row, oldest_seq=int(oldest[0])) for row, oldest in zip(records, oldest_seq, strict=True)]
    assert [each.tobytes() for each in many] == alone


def test_worked_example_of_the_docs_says_what_is_written_beside_it() -> None:
    text = (Path(__file__).parents[3] / "docs" / "connect-a-device.md").read_text(encoding="utf-8")
    lines = re.findall(r"^    ((?:[0-9a-f]{2} )*[0-9a-f]{2}) {2,}(.*)$", text, re.MULTILINE)
    records, oldest_seq, units = decode(bytes.fromhex(" ".join(hexes for hexes, _ in lines)))
    said = {name: int(value) for _, words in lines for name, value in re.findall(r"^(\w+) +(-?\d+)$", words)}
    assert len(said) == 9
    assert {name: int(records[name][0]) for name in said} == said
    assert (records["soc_frac"].tolist(), records["ts_ns"].tolist()) == ([0.5], [TS_NS])
    assert records["present"].tolist() == [PRESENT_OF[DeviceType.HOME]]
    assert (oldest_seq.tolist(), units.tolist()) == ([1], [0])
