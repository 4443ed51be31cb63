"""The binary messages that carry telemetry: columns in, bytes out, and back.

A message of version 2 is a 24-byte header and 1..n records, little-endian; it carries only the columns that the
device measures. Its records are of one site, or of the sites behind a gateway, each with its `unit`:

    0  2  magic, b"SH"             6  2  size of one record           20  4  reserved, 0
    2  1  version (2)              8  4  mask of the columns
    3  1  flags: 1 = kWh          12  8  base time, UTC ms

    0  2  unit; 0 = the site itself      4  4  seq
    2  2  older samples still held       8  4  time after the base, ms      12  the columns of the mask, in order

Version 1 (a 16-byte header and 72-byte records of one site) is taken for ever. The device keeps each
sample until the plant has said that it is durable; what it still holds tells the plant below which number nothing
will ever come (again).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError, WireFormatError
from shoal.domain.telemetry import (
    ALL_PRESENT,
    MAX_SEQ,
    OPTIONAL,
    POWERS,
    REGISTERS,
    TELEMETRY,
    VERSION,
    Flag,
    mask_of,
)

MAGIC: Final = b"SH"
VERSIONS: Final = (2, 1)
"""Versions of the binary message that are taken, the newest first."""
MAX_MESSAGE_BYTES: Final = 65_536
MAX_RECORDS: Final = 2**16 - 1
MAX_SPAN_MS: Final = 2**31 - 1
"""How far a record may lie from the base time of its message."""
MAX_TS_MS: Final = (2**63 - 1) // 1_000_000
MAX_HELD: Final = 2**16 - 1
"""A device that holds so many older samples, or more, says nothing about which."""
KWH: Final = 1
"""Header flag: registers are in whole kWh."""
_FAR_MS: Final = 2**45
_MOST_SOC: Final = 6.5
_SOC: Final = mask_of("soc_frac")
_COMMAND: Final = mask_of("command_version")
_MOST_WH: Final = 2**50 - 1
_V1: Final = struct.Struct("<2sBBHHq")
_V2: Final = struct.Struct("<2sBBHHIqI")
V1_HEADER_BYTES: Final = _V1.size
V2_HEADER_BYTES: Final = _V2.size
# What version 1 sends, for ever: a later change of the table does not touch it.
V1_DTYPE: Final = np.dtype(
    [
        ("ts_ns", "<i8"),
        ("seq", "<i8"),
        ("battery_w", "<i4"),
        ("solar_w", "<i4"),
        ("load_w", "<i4"),
        ("ev_w", "<i4"),
        ("soc_frac", "<f4"),
        ("command_version", "<u4"),
        ("charge_wh", "<i8"),
        ("discharge_wh", "<i8"),
        ("import_wh", "<i8"),
        ("export_wh", "<i8"),
    ]
)
V1_RECORD_BYTES: Final = V1_DTYPE.itemsize
FLAGS_BIT: Final = len(OPTIONAL)
"""Bit of the message's mask that says that each record ends in flags of its own."""
DEVICE_FLAGS: Final = Flag.ESTIMATED
"""The flags that a device may set; the others are the plant's."""
KEY_BYTES: Final = 12
"""The part of a record before its columns: unit, held, seq, time."""
COLUMN_BYTES: Final = (4, 4, 4, 4, 2, 4, 5, 5, 5, 5, 2)
"""Size of each column in a record of version 2, in the order of the mask's bits."""
SOC_STEPS: Final = 10_000


@lru_cache(maxsize=256)
def record_bytes(mask: int) -> int:
    """Return the size of a record of version 2 with the columns of `mask`; unknown bits count for nothing."""
    return KEY_BYTES + sum(size for bit, size in enumerate(COLUMN_BYTES) if mask >> bit & 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """A record of version 2: its layout, and which powers and registers are in it, by position among their like."""

    dtype: np.dtype[Any]
    powers: list[int]
    registers: list[int]


def _offset(name: str) -> int:
    before = TELEMETRY.columns[: TELEMETRY.names.index(name)]
    return sum(np.dtype(column.dtype).itemsize for column in before)


# A record in memory, with its powers and its registers each as one field.
_STACKED: Final = np.dtype(
    {
        "names": ["powers", "registers"],
        "formats": [np.dtype(("<i4", (len(POWERS),))), np.dtype(("<i8", (len(REGISTERS),)))],
        "offsets": [_offset(POWERS[0]), _offset(REGISTERS[0])],
        "itemsize": TELEMETRY.dtype.itemsize,
    }
)
_REGISTER_BYTES: Final = 5


@lru_cache(maxsize=256)
def _layout(mask: int, size: int) -> _Layout:
    """Return the layout of a record of `size` bytes; what is beyond the known columns is padding."""
    names, formats, offsets = ["unit", "held", "seq", "dt_ms"], ["<u2", "<u2", "<u4", "<i4"], [0, 2, 4, 8]
    there = [name for bit, name in enumerate((*OPTIONAL, "flags")) if mask >> bit & 1]
    powers = [at for at, name in enumerate(POWERS) if name in there]
    registers = [at for at, name in enumerate(REGISTERS) if name in there]
    parts: list[tuple[str, Any, int]] = [("powers", ("<i4", (len(powers),)), 4 * len(powers))]
    parts += [("soc_frac", "<u2", 2)] if "soc_frac" in there else []
    parts += [("command_version", "<u4", 4)] if "command_version" in there else []
    parts += [("registers", ("u1", (len(registers), _REGISTER_BYTES)), _REGISTER_BYTES * len(registers))]
    parts += [("flags", "<u2", 2)] if "flags" in there else []
    at = KEY_BYTES
    for name, form, width in parts:
        if width:
            names.append(name)
            formats.append(form)
            offsets.append(at)
            at += width
    dtype = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})
    return _Layout(dtype=dtype, powers=powers, registers=registers)


@lru_cache(maxsize=256)
def _message(mask: int, count: int) -> tuple[np.dtype[Any], tuple[np.void, np.void]]:
    """Return the layout of a message with `count` records, and its beginning with registers in Wh and in kWh."""
    size = record_bytes(mask)
    begin = _V2.size - 12
    dtype = np.dtype(
        [
            ("head", f"V{begin}"),
            ("base_ms", "<i8"),
            ("reserved", "<u4"),
            ("records", _layout(mask, size).dtype, (count,)),
        ]
    )
    wh, kwh = (
        np.void(_V2.pack(MAGIC, VERSION, flags, count, size, mask, 0, 0)[:begin]) for flags in (0, KWH)
    )
    return dtype, (wh, kwh)


def encode(
    records: NDArray[Any],
    *,
    oldest_seq: int | NDArray[np.int64],
    present: int | None = None,
    units: NDArray[Any] | None = None,
    version: int = VERSION,
) -> bytes:
    """Return one message.

    Args:
        records: n records of `TELEMETRY`, oldest first; times are cut to whole milliseconds.
        oldest_seq: The oldest sample that the device still holds; for a gateway, one for each record.
        present: Mask of the columns to send; by default what the records say, which must be the same for all.
        units: Number of each record's site behind the gateway; None for a site that speaks for itself.
        version: 2, or 1 for what was sold before it (one site; all columns, to the nanosecond).

    Raises:
        InvalidInputError: when the message cannot carry the records.
    """
    if len(records) > MAX_RECORDS:
        raise InvalidInputError(
            field="records", value=len(records), fix=f"at most {MAX_RECORDS} in a message"
        )
    if version == 1:
        if units is not None or np.ndim(oldest_seq):
            raise InvalidInputError(field="version", value=1, fix="a gateway needs version 2")
        head = _V1.pack(MAGIC, 1, 0, len(records), V1_RECORD_BYTES, int(oldest_seq))
        return head + _as(V1_DTYPE, records).tobytes()
    if version != VERSION:
        raise InvalidInputError(field="version", value=version, fix=f"one of {VERSIONS}")
    if present is None:
        masks = records["present"]
        present = int(masks[0]) if len(masks) else ALL_PRESENT
        if (masks != present).any():
            raise InvalidInputError(
                field="present", value=masks.tolist(), fix="give each set of columns a message of its own"
            )
    return encode_messages(
        records[None], oldest_seq=np.atleast_1d(oldest_seq)[None], present=present, units=units
    ).tobytes()


def encode_messages(
    records: NDArray[Any],
    *,
    oldest_seq: NDArray[np.int64],
    present: int,
    units: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Return m messages of version 2 with k records each, as an array of their bytes.

    Args:
        records: Records of `TELEMETRY` (m x k), in each row oldest first.
        oldest_seq: The oldest sample that each device still holds (m x k or m x 1).
        present: Mask of the columns to send.
        units: As for `encode`, for all rows alike.

    Raises:
        InvalidInputError: when the messages cannot carry the records.
    """
    if present & ~ALL_PRESENT:
        raise InvalidInputError(field="present", value=present, fix=f"a mask of at most {ALL_PRESENT}")
    seq = records["seq"]
    _check("seq", seq, MAX_SEQ)
    own_flags = records["flags"] & DEVICE_FLAGS
    mask = present | (1 << FLAGS_BIT if own_flags.any() else 0)
    dtype, (wh, kwh) = _message(mask, records.shape[1])
    layout = _layout(mask, record_bytes(mask))
    messages = np.zeros(len(records), dtype=dtype)
    messages["head"] = wh
    sent = messages["records"]
    ms = records["ts_ns"] // 1_000_000
    messages["base_ms"] = ms[:, 0] if records.size else 0
    dt_ms = ms - messages["base_ms"][:, None]
    if np.abs(dt_ms).max(initial=0) > MAX_SPAN_MS:
        raise InvalidInputError(
            field="ts_ns", value=int(np.ptp(ms)), fix=f"at most {MAX_SPAN_MS} ms in a message"
        )
    if units is not None:
        sent["unit"] = units
    sent["held"] = np.minimum(np.maximum(seq - oldest_seq, 0), MAX_HELD)
    sent["seq"] = seq
    sent["dt_ms"] = dt_ms
    stacked = records.view(_STACKED)
    if layout.powers:
        sent["powers"] = stacked["powers"].take(layout.powers, axis=-1)
    if mask & _SOC:
        soc = records["soc_frac"]
        with np.errstate(invalid="ignore"):  # what is no number at all goes out of range, and stays so
            soc = np.where(soc <= _MOST_SOC, np.maximum(soc, np.float32(0)), np.float32(_MOST_SOC))
        sent["soc_frac"] = np.rint(soc * np.float32(SOC_STEPS))
    if mask & _COMMAND:
        sent["command_version"] = records["command_version"]
    if layout.registers:
        registers = stacked["registers"].take(layout.registers, axis=-1)
        _check("registers", registers, _MOST_WH)
        large = (registers >> 8 * _REGISTER_BYTES).any(axis=(1, 2))
        if large.any():
            messages["head"][large] = kwh
            registers[large] //= 1_000
        as_bytes = registers.view(np.uint8).reshape(*registers.shape, 8)
        sent["registers"] = as_bytes[..., :_REGISTER_BYTES]
    if mask >> FLAGS_BIT & 1:
        sent["flags"] = own_flags
    return messages


def decode(payload: bytes | memoryview) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.uint16]]:
    """Return the records of one binary message of any version; for each `oldest_seq` and its unit behind the gateway.

    `oldest_seq` of version 2 is 0 when the device does not say; no value is judged here.

    Raises:
        WireFormatError: with reason ``too_large``, ``truncated``, ``magic``, ``schema_version`` or ``length``.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise WireFormatError("too_large", f"{len(payload)} bytes, at most {MAX_MESSAGE_BYTES} are taken")
    if len(payload) < V1_HEADER_BYTES:
        raise WireFormatError(
            "truncated", f"{len(payload)} bytes are less than the header of {V1_HEADER_BYTES}"
        )
    magic, version, flags, count, size, oldest_seq = _V1.unpack_from(payload)
    if magic != MAGIC:
        raise WireFormatError("magic", f"begins with {bytes(magic)!r}, not {MAGIC!r}")
    if version not in VERSIONS or (version == 1 and size != V1_RECORD_BYTES):
        raise WireFormatError(
            "schema_version", f"version {version}, record of {size} bytes; taken are versions {VERSIONS}"
        )
    if version == 1:
        _check_length(payload, V1_HEADER_BYTES, count, size)
        records = TELEMETRY.empty(count)
        sent = np.frombuffer(payload, dtype=V1_DTYPE, offset=V1_HEADER_BYTES)
        for name in V1_DTYPE.names or ():
            records[name] = sent[name]
        return records, np.full(count, oldest_seq, dtype=np.int64), np.zeros(count, dtype=np.uint16)
    if len(payload) < V2_HEADER_BYTES:
        raise WireFormatError(
            "truncated", f"{len(payload)} bytes are less than the header of {V2_HEADER_BYTES}"
        )
    *_, mask, base_ms, _reserved = _V2.unpack_from(payload)
    _check_length(payload, V2_HEADER_BYTES, count, size)
    if size < record_bytes(mask):
        raise WireFormatError("length", f"a record of {size} bytes cannot hold the columns of mask {mask:#x}")
    known = mask & ((2 << FLAGS_BIT) - 1)
    sent = np.frombuffer(payload, dtype=_layout(known, size).dtype, offset=V2_HEADER_BYTES)
    return _from_v2(sent, known, base_ms, kwh=bool(flags & KWH))


def _from_v2(
    sent: NDArray[Any], mask: int, base_ms: int, *, kwh: bool
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.uint16]]:
    records = np.zeros(len(sent), dtype=TELEMETRY.dtype)
    far = not -_FAR_MS < base_ms < _FAR_MS
    ms = sent["dt_ms"] + np.int64(-_FAR_MS if far else base_ms)
    records["ts_ns"] = np.where((ms >= 0) & (ms <= MAX_TS_MS), ms, 0) * 1_000_000
    records["ts_ns"][(ms < 0) | (ms > MAX_TS_MS)] = -1
    records["seq"] = sent["seq"]
    layout = _layout(mask, sent.dtype.itemsize)
    stacked = records.view(_STACKED)
    if layout.powers:
        stacked["powers"][..., layout.powers] = sent["powers"]
    if mask & _SOC:
        records["soc_frac"] = sent["soc_frac"] / np.float32(SOC_STEPS)
    if mask & _COMMAND:
        records["command_version"] = sent["command_version"]
    if layout.registers:
        wide = np.zeros((len(sent), len(layout.registers), 8), dtype=np.uint8)
        wide[..., :_REGISTER_BYTES] = sent["registers"]
        stacked["registers"][..., layout.registers] = wide.view("<i8")[..., 0] * (1_000 if kwh else 1)
    if mask >> FLAGS_BIT & 1:
        records["flags"] = sent["flags"] & DEVICE_FLAGS
    records["present"] = mask & ALL_PRESENT
    held = sent["held"].astype(np.int64)
    oldest_seq = np.where(held == MAX_HELD, 0, records["seq"] - held)
    return records, oldest_seq, sent["unit"].copy()


def _as(dtype: np.dtype[Any], records: NDArray[Any]) -> NDArray[Any]:
    converted = np.empty(records.shape, dtype=dtype)
    for name in dtype.names or ():
        converted[name] = records[name]
    return converted


def _check(name: str, values: NDArray[Any], high: int) -> None:
    if values.size and (int(values.min()) < 0 or int(values.max()) > high):
        raise InvalidInputError(
            field=name, value=(int(values.min()), int(values.max())), fix=f"from 0 to {high}"
        )


def _check_length(payload: bytes | memoryview, header_bytes: int, count: int, size: int) -> None:
    if len(payload) != header_bytes + count * size or count == 0:
        raise WireFormatError("length", f"{len(payload)} bytes do not hold {count} records of {size}")
