"""Telemetry read one message at a time: JSON and MessagePack, and binary messages that need a closer look.

The dialects use the same names

    {"v": 2, "oldest_seq": 7, "records": [{"ts_ns": …, "seq": 7, "battery_w": -1500}, …]}

A gateway names the site of each record, by `site` or by its `unit`. What is left out is not measured; unknown names are
passed over. A record that cannot be read is a fault of that record alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import WireFormatError
from shoal.domain.telemetry import MAX_SEQ, OPTIONAL, TELEMETRY
from shoal.domain.wire import (
    DEVICE_FLAGS,
    MAX_MESSAGE_BYTES,
    MAX_TS_MS,
    V1_HEADER_BYTES,
    V2_HEADER_BYTES,
    VERSIONS,
    decode,
)

_SHAPE: Final = 'expected {"v": 2, "oldest_seq": …, "records": [{…}]}'
_MAPS: Final = frozenset([*range(0x80, 0x90), 0xDE, 0xDF])
_MOST_F4: Final = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """What a message says.

    Attributes:
        records: n records of `TELEMETRY`, not judged; of a faulty one only `seq` counts, 0 when even that is not known.
        oldest_seq: For each, the oldest sample that its device still holds.
        speakers: For each the site's name, its number behind the gateway, or None for the sender itself.
        faults: Reason and detail of each record that cannot be read, by position.
        entries: The records as they were sent, for evidence.
    """

    records: NDArray[Any]
    oldest_seq: NDArray[np.int64]
    speakers: list[str | int | None]
    faults: dict[int, tuple[str, str]]
    entries: list[Any]

    def evidence(self, at: int) -> bytes:
        """Return one record as it was sent, or as near as it can be written again."""
        entry = self.entries[at]
        if isinstance(entry, bytes):
            return entry
        try:
            return msgspec.json.encode(entry)
        except (TypeError, ValueError, OverflowError, RecursionError):
            return repr(entry).encode()


def read_binary(payload: bytes) -> Spoken:
    """Return what a binary message says, see `shoal.domain.wire.decode`.

    Raises:
        WireFormatError: as there.
    """
    records, oldest_seq, units = decode(payload)
    header = V1_HEADER_BYTES if payload[2] == 1 else V2_HEADER_BYTES
    size = (len(payload) - header) // len(records)
    return Spoken(
        records=records,
        oldest_seq=oldest_seq,
        speakers=units.tolist(),
        faults={},
        entries=[payload[at : at + size] for at in range(header, len(payload), size)],
    )


def is_dialect(payload: bytes) -> bool:
    """Return whether a message is JSON or MessagePack, by its first byte; binary messages begin with ``S``."""
    return payload[:1] in (b"{", b"[") or (bool(payload) and payload[0] in _MAPS)


def decode_dialect(payload: bytes) -> Spoken:
    """Return what a JSON or MessagePack message says.

    Raises:
        WireFormatError: for the whole message, with reason ``too_large``, ``malformed_json``, ``malformed_msgpack``,
            ``schema_version``, ``wrong_type`` or ``out_of_range``.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise WireFormatError("too_large", f"{len(payload)} bytes, at most {MAX_MESSAGE_BYTES} are taken")
    is_json = payload[:1] in (b"{", b"[")
    malformed = "malformed_json" if is_json else "malformed_msgpack"
    try:
        message = msgspec.json.decode(payload) if is_json else msgspec.msgpack.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError) as error:
        raise WireFormatError(malformed, str(error)) from error
    entries = message.get("records") if isinstance(message, dict) else None
    if not isinstance(entries, list) or not entries:
        raise WireFormatError(malformed, _SHAPE)
    version = message.get("v")
    if isinstance(version, bool) or version not in VERSIONS:
        raise WireFormatError("schema_version", f"version {version!r}; taken are versions {VERSIONS}")
    return _read(entries, _oldest(message.get("oldest_seq")))


def _read(entries: list[Any], oldest: int | None) -> Spoken:
    rows: list[tuple[Any, ...]] = []
    speakers: list[str | int | None] = []
    faults: dict[int, tuple[str, str]] = {}
    oldest_of: list[int | None] = []
    for position, entry in enumerate(entries):
        try:
            if not isinstance(entry, dict):
                raise WireFormatError("missing_field", f"record {position} is {entry!r}, not a map")
            speakers.append(_speaker(entry))
            rows.append(_row(entry))
            own = _oldest(entry.get("oldest_seq"))
            oldest_of.append(oldest if own is None and speakers[-1] is None else own)
        except WireFormatError as error:
            faults[position] = (error.reason, error.detail)
            del speakers[position:], rows[position:]
            speakers.append(_speaker_or_none(entry))
            rows.append(_unread(entry))
            oldest_of.append(0)
    smallest: dict[str | int | None, int] = {}
    for position, (who, row) in enumerate(zip(speakers, rows, strict=True)):
        if position not in faults:
            smallest[who] = min(row[1], smallest.get(who, row[1]))
    return Spoken(
        records=np.array(rows, dtype=TELEMETRY.dtype),
        # a device without a store holds nothing older than what it sends
        oldest_seq=np.array(
            [smallest[who] if said is None else said for who, said in zip(speakers, oldest_of, strict=True)],
            dtype=np.int64,
        ),
        speakers=speakers,
        faults=faults,
        entries=entries,
    )


def _row(entry: dict[str, Any]) -> tuple[Any, ...]:
    """Return one record in the order of the table's columns."""
    seq = entry.get("seq")
    if seq is None or (entry.get("ts_ns") is None and entry.get("ts_ms") is None):
        raise WireFormatError("missing_field", "a record needs seq, and ts_ns or ts_ms")
    number = _whole("seq", seq)
    if not 1 <= number <= MAX_SEQ:
        raise WireFormatError("out_of_range", f"seq is {number}; it must lie within 1 to {MAX_SEQ}")
    values: list[Any] = [_time_ns(entry), number]
    present = 0
    for bit, name in enumerate(OPTIONAL):
        value = entry.get(name)
        if value is None:
            values.append(0)
        else:
            present |= 1 << bit
            values.append(_fitting(name, value))
    flags = entry.get("flags")
    values.append(0 if flags is None else int(_fitting("flags", _whole("flags", flags))) & DEVICE_FLAGS)
    values.append(present)
    return tuple(values)


def _time_ns(entry: dict[str, Any]) -> int | float:
    if entry.get("ts_ns") is not None:
        return _fitting("ts_ns", _whole("ts_ns", entry["ts_ns"]))
    ts_ms = _whole("ts_ms", entry["ts_ms"])
    if not 0 <= ts_ms <= MAX_TS_MS:  # the product of a longer one could not even be written into the remark
        raise WireFormatError("out_of_range", f"ts_ms must lie within 0 to {MAX_TS_MS}")
    return ts_ms * 1_000_000


def _limits(name: str) -> tuple[int, int] | None:
    dtype = np.dtype(TELEMETRY.column(name).dtype)
    return None if dtype.kind == "f" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))


_LIMITS: Final = {name: _limits(name) for name in TELEMETRY.names}


def _fitting(name: str, value: Any) -> int | float:
    """Return a number that fits the column's type; whether it is in range is judged with all others."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WireFormatError("wrong_type", f"{name} is {value!r}, not a number")
    limits = _LIMITS[name]
    if limits is None:
        if value > _MOST_F4 or value < -_MOST_F4:
            return float("inf")
        return float(value)
    if value != value:
        raise WireFormatError("not_a_number", f"{name} is not a number")
    if not limits[0] <= value <= limits[1]:
        raise WireFormatError(
            "out_of_range", f"{name} is {value!r}; it must lie within {limits[0]} to {limits[1]}"
        )
    return int(value)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not (
        isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    ):
        raise WireFormatError("wrong_type", f"{name} is {value!r}, not a whole number")
    return int(value)


def _oldest(said: Any) -> int | None:
    if said is None:
        return None
    if isinstance(said, bool) or not isinstance(said, int):
        raise WireFormatError("wrong_type", f"oldest_seq is {said!r}, not a whole number")
    if not 0 <= said <= MAX_SEQ:
        raise WireFormatError("out_of_range", f"oldest_seq is {said}; it must lie within 0 to {MAX_SEQ}")
    return said


def _speaker(entry: dict[str, Any]) -> str | int | None:
    site, unit = entry.get("site"), entry.get("unit")
    if site is not None:
        if not isinstance(site, str):
            raise WireFormatError("wrong_type", f"site is {site!r}, not a name")
        return site
    return None if unit is None else _whole("unit", unit)


def _speaker_or_none(entry: Any) -> str | int | None:
    try:
        return _speaker(entry) if isinstance(entry, dict) else -1
    except WireFormatError:
        return -1


def _unread(entry: Any) -> tuple[Any, ...]:
    """Return a record with nothing but the number, if there is one, so that nobody waits for it."""
    seq = entry.get("seq") if isinstance(entry, dict) else None
    known = isinstance(seq, int) and not isinstance(seq, bool) and 1 <= seq <= MAX_SEQ
    return (0, seq if known else 0, *(0 for _ in TELEMETRY.names[2:]))
