"""The decoder's kernels: one pass finds who sent each message and how many records it has, one reads the records.

Nothing outside a message's own bytes is read, whatever they say. Ranges come from the telemetry table.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.domain.directory import DirectoryArrays, unit_row
from shoal.domain.kernel import kernel
from shoal.domain.telemetry import ALL_PRESENT, MAX_SEQ, OPTIONAL, TELEMETRY
from shoal.domain.wire import (
    COLUMN_BYTES,
    DEVICE_FLAGS,
    FLAGS_BIT,
    KEY_BYTES,
    KWH,
    MAX_HELD,
    MAX_MESSAGE_BYTES,
    MAX_TS_MS,
    SOC_STEPS,
    V1_HEADER_BYTES,
    V1_RECORD_BYTES,
    V2_HEADER_BYTES,
)

UNKNOWN: Final = 0
"""A message of somebody who is not in the directory."""
BINARY_1: Final = 1
BINARY_2: Final = 2
OTHER: Final = 3
"""A message that the kernel leaves to others."""

NOT_A_NUMBER: Final = len(TELEMETRY.columns)
"""What is wrong with a record: the position of a column out of range, or one of these."""
UNKNOWN_UNIT: Final = NOT_A_NUMBER + 1

_SIZES: Final = np.array(COLUMN_BYTES, dtype=np.int64)
_COLUMNS: Final = len(COLUMN_BYTES)
_POWER: Final = TELEMETRY.column("battery_w")
_LOW_W, _HIGH_W = int(_POWER.low or 0), int(_POWER.high or 0)
_SOC: Final = TELEMETRY.column("soc_frac")
_LOW_SOC, _HIGH_SOC = np.float32(_SOC.low or 0), np.float32(_SOC.high or 0)
_HIGH_WH: Final = int(TELEMETRY.column("import_wh").high or 0)
_SOC_STEP: Final = np.float32(SOC_STEPS)
_DEVICE_FLAGS: Final = int(DEVICE_FLAGS)
_FAR_MS: Final = 2**45
_SOC_AT: Final = TELEMETRY.names.index("soc_frac")
_POWER_AT: Final = TELEMETRY.names.index("battery_w")
_REGISTER_AT: Final = TELEMETRY.names.index("charge_wh")
_SOC_BIT, _COMMAND_BIT, _REGISTER_BIT = (
    OPTIONAL.index(n) for n in ("soc_frac", "command_version", "charge_wh")
)

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Int: TypeAlias = int | np.int64


@kernel
def last_tokens(buffer: Bytes, at: Ints, size: Ints, token_at: Ints, token_bytes: Ints) -> None:
    """Find the last token of each subject."""
    for i in range(len(at)):
        end = at[i] + size[i]
        start = end
        while start > at[i] and buffer[start - 1] != 46:
            start -= 1
        token_at[i] = start
        token_bytes[i] = end - start


@kernel
def sort(
    buffer: Bytes, at: Ints, size: Ints, found: Ints, kind: NDArray[np.uint8], count: NDArray[np.int32]
) -> int:
    """Tell of each message what it is and how many records it has; return how many that are in all."""
    total = np.int64(0)
    for i in range(len(at)):
        count[i] = 0
        if found[i] < 0:
            kind[i] = UNKNOWN
            continue
        kind[i] = OTHER
        first, bytes_ = at[i], size[i]
        if (
            bytes_ < V1_HEADER_BYTES
            or bytes_ > MAX_MESSAGE_BYTES
            or buffer[first] != 83
            or buffer[first + 1] != 72
        ):
            continue
        records = _u16(buffer, first + 4)
        each = _u16(buffer, first + 6)
        if buffer[first + 2] == 2:
            if bytes_ < V2_HEADER_BYTES or records == 0 or bytes_ != V2_HEADER_BYTES + records * each:
                continue
            mask = _u32(buffer, first + 8)
            needed = np.int64(KEY_BYTES)
            for bit in range(_COLUMNS):
                if mask >> bit & 1:
                    needed += _SIZES[bit]
            if each < needed:
                continue
            kind[i] = BINARY_2
        elif buffer[first + 2] == 1:
            if each != V1_RECORD_BYTES or records == 0 or bytes_ != V1_HEADER_BYTES + records * each:
                continue
            kind[i] = BINARY_1
        else:
            continue
        count[i] = records
        total += records
    return int(total)


@kernel
def read(
    buffer: Bytes,
    at: Ints,
    arrival_ns: Ints,
    found: Ints,
    kind: NDArray[np.uint8],
    count: NDArray[np.int32],
    directory: DirectoryArrays,
    sites: int,
    rows_of: Ints,
    other_records: NDArray[Any],
    other_rows: Ints,
    other_oldest: Ints,
    other_fault: NDArray[np.bool_],
    rows: Ints,
    records: NDArray[Any],
    oldest_seq: Ints,
    arrived_ns: Ints,
    usable: NDArray[np.bool_],
    message: NDArray[np.int32],
    bad: NDArray[np.int32],
) -> tuple[int, int]:
    """Read every record of a batch into the columns from `rows` to `message`.

    `other_...` are the records of messages of kind `OTHER`, in the order of the journal, with rows of the directory.
    What is wrong with a record goes to `bad`: message, position in it, and what. Return how many records there are and
    how many are bad; a bad one whose row and number are known is among both.
    """
    offsets = np.full(_COLUMNS, -1, np.int64)
    offsets_mask = np.int64(-1)
    n = 0
    bads = 0
    other = 0
    for i in range(len(at)):
        this_kind = kind[i]
        if this_kind == UNKNOWN:
            continue
        start = at[i]
        each = np.int64(V1_RECORD_BYTES)
        base_ms = np.int64(0)
        oldest = np.int64(0)
        kwh = False
        if this_kind == BINARY_2:
            each = _u16(buffer, start + 6)
            mask = _u32(buffer, start + 8)
            if mask != offsets_mask:
                offsets_mask = mask
                place = np.int64(KEY_BYTES)
                for bit in range(_COLUMNS):
                    offsets[bit] = -1
                    if mask >> bit & 1:
                        offsets[bit] = place
                        place += _SIZES[bit]
            base_ms = _i64(buffer, start + 12)
            if base_ms <= -_FAR_MS or base_ms >= _FAR_MS:
                base_ms = np.int64(-_FAR_MS)
            kwh = buffer[start + 3] & KWH != 0
            start += V2_HEADER_BYTES
        elif this_kind == BINARY_1:
            oldest = _i64(buffer, start + 8)
            start += V1_HEADER_BYTES
        for j in range(count[i]):
            record = records[n]
            fault = False
            unit = np.int64(0)
            if this_kind == OTHER:
                records[n] = other_records[other]
                row = other_rows[other]
                oldest = other_oldest[other]
                fault = other_fault[other]
                other += 1
            else:
                place = start + j * each
                if this_kind == BINARY_1:
                    _read_1(buffer, place, record)
                else:
                    unit = _u16(buffer, place)
                    held = _u16(buffer, place + 2)
                    _read_2(buffer, place, record, offsets, offsets_mask, base_ms, kwh)
                    oldest = np.int64(0) if held == MAX_HELD else record.seq - held
                if found[i] >= sites:
                    row = unit_row(directory, found[i] - sites, unit)
                else:
                    row = found[i] if unit == 0 else np.int64(-1)
            wrong = -1 if fault else UNKNOWN_UNIT if row < 0 else _first_wrong(record)
            if wrong >= 0:
                bad[bads, 0] = i
                bad[bads, 1] = j
                bad[bads, 2] = wrong
                bads += 1
            seq = record.seq
            if row < 0 or seq < 1 or seq > MAX_SEQ:
                continue
            rows[n] = rows_of[row] if len(rows_of) else row
            # a device that sends a sample still holds it, whatever else it says
            oldest_seq[n] = min(max(oldest, np.int64(0)), seq)
            arrived_ns[n] = arrival_ns[i]
            usable[n] = wrong < 0 and not fault
            message[n] = i
            n += 1
    return n, bads


@kernel
def _read_1(buffer: Bytes, at: int, record: Any) -> None:
    record.ts_ns = _i64(buffer, at)
    record.seq = _i64(buffer, at + 8)
    record.battery_w = _i32(buffer, at + 16)
    record.solar_w = _i32(buffer, at + 20)
    record.load_w = _i32(buffer, at + 24)
    record.ev_w = _i32(buffer, at + 28)
    record.soc_frac = _f32(buffer, at + 32)
    record.command_version = _u32(buffer, at + 36)
    record.charge_wh = _i64(buffer, at + 40)
    record.discharge_wh = _i64(buffer, at + 48)
    record.import_wh = _i64(buffer, at + 56)
    record.export_wh = _i64(buffer, at + 64)
    record.flags = 0
    record.present = ALL_PRESENT


@kernel
def _read_2(buffer: Bytes, at: int, record: Any, offsets: Ints, mask: Int, base_ms: Int, kwh: bool) -> None:
    record.seq = _u32(buffer, at + 4)
    ms = base_ms + _i32(buffer, at + 8)
    record.ts_ns = ms * 1_000_000 if 0 <= ms <= MAX_TS_MS else -1
    record.battery_w = _i32(buffer, at + offsets[0]) if offsets[0] > 0 else 0
    record.solar_w = _i32(buffer, at + offsets[1]) if offsets[1] > 0 else 0
    record.load_w = _i32(buffer, at + offsets[2]) if offsets[2] > 0 else 0
    record.ev_w = _i32(buffer, at + offsets[3]) if offsets[3] > 0 else 0
    soc = offsets[_SOC_BIT]
    record.soc_frac = np.float32(_u16(buffer, at + soc)) / _SOC_STEP if soc > 0 else np.float32(0)
    command = offsets[_COMMAND_BIT]
    record.command_version = _u32(buffer, at + command) if command > 0 else 0
    scale = 1_000 if kwh else 1
    first = offsets[_REGISTER_BIT]
    record.charge_wh = _u40(buffer, at + first) * scale if first > 0 else 0
    second = offsets[_REGISTER_BIT + 1]
    record.discharge_wh = _u40(buffer, at + second) * scale if second > 0 else 0
    third = offsets[_REGISTER_BIT + 2]
    record.import_wh = _u40(buffer, at + third) * scale if third > 0 else 0
    fourth = offsets[_REGISTER_BIT + 3]
    record.export_wh = _u40(buffer, at + fourth) * scale if fourth > 0 else 0
    flags = offsets[FLAGS_BIT]
    record.flags = _u16(buffer, at + flags) & _DEVICE_FLAGS if flags > 0 else 0
    record.present = mask & ALL_PRESENT


@kernel
def _first_wrong(record: Any) -> int:
    """Return what is wrong with a record first, in the order of the columns, or -1; as `Table.violations` does."""
    if record.ts_ns < 0:
        return 0
    if record.seq < 1 or record.seq > MAX_SEQ:
        return 1
    if record.battery_w < _LOW_W or record.battery_w > _HIGH_W:
        return _POWER_AT
    if record.solar_w < _LOW_W or record.solar_w > _HIGH_W:
        return _POWER_AT + 1
    if record.load_w < _LOW_W or record.load_w > _HIGH_W:
        return _POWER_AT + 2
    if record.ev_w < _LOW_W or record.ev_w > _HIGH_W:
        return _POWER_AT + 3
    soc = record.soc_frac
    if soc != soc:
        return NOT_A_NUMBER
    if soc < _LOW_SOC or soc > _HIGH_SOC:
        return _SOC_AT
    if record.charge_wh < 0 or record.charge_wh > _HIGH_WH:
        return _REGISTER_AT
    if record.discharge_wh < 0 or record.discharge_wh > _HIGH_WH:
        return _REGISTER_AT + 1
    if record.import_wh < 0 or record.import_wh > _HIGH_WH:
        return _REGISTER_AT + 2
    if record.export_wh < 0 or record.export_wh > _HIGH_WH:
        return _REGISTER_AT + 3
    return -1


@kernel
def _u16(buffer: Bytes, at: int) -> np.int64:
    return np.int64(buffer[at]) | np.int64(buffer[at + 1]) << 8


@kernel
def _u32(buffer: Bytes, at: int) -> np.int64:
    return _u16(buffer, at) | _u16(buffer, at + 2) << 16


@kernel
def _i32(buffer: Bytes, at: int) -> np.int64:
    return np.int64(np.int32(_u32(buffer, at)))


@kernel
def _u40(buffer: Bytes, at: int) -> np.int64:
    return _u32(buffer, at) | np.int64(buffer[at + 4]) << 32


@kernel
def _i64(buffer: Bytes, at: int) -> np.int64:
    return _u32(buffer, at) | _u32(buffer, at + 4) << 32


@kernel
def _f32(buffer: Bytes, at: int) -> np.float32:
    return np.uint32(_u32(buffer, at)).view(np.float32)
