"""JSON and MessagePack telemetry judged plainly, from what the message says once it is objects.

The standard library reads JSON here; MessagePack is read by the same library as in the plant, so only what is made of it
is compared.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from shoal.domain.telemetry import OPTIONAL, TELEMETRY

_TYPES: Final = {name: np.dtype(TELEMETRY.column(name).dtype) for name in TELEMETRY.names}
_MOST_F4: Final = float(np.finfo(np.float32).max)
_MOST_SEQ: Final = 2**32 - 1


class Said(NamedTuple):
    """One record: who it is of, its values by name, the oldest sample held, and what is wrong with it or nothing.

    Of a record that cannot be read at all (`is_read` is false) only its number counts, 0 when there is none.
    """

    speaker: Any
    values: dict[str, Any]
    oldest_seq: int
    reason: str
    is_read: bool


class Refused(Exception):
    """The message or the record cannot be read."""


def load(payload: bytes) -> Any:
    """Return the objects of a message.

    Raises:
        ValueError: when it is not what its first byte says.
    """
    if payload[:1] not in (b"{", b"["):
        return msgspec.msgpack.decode(payload)
    return json.loads(payload.decode(), parse_constant=_no_constant)


def read(message: Any) -> list[Said] | str:
    """Return the records of a message, or why it is refused as a whole."""
    entries = message.get("records") if isinstance(message, dict) else None
    if not isinstance(entries, list) or not entries:
        return "malformed"
    version = message.get("v")
    if type(version) not in (int, float) or version not in (1, 2):
        return "schema_version"
    try:
        common = _oldest(message)
        said = [_record(entry) for entry in entries]
    except Refused as error:
        return str(error)
    smallest: dict[Any, int] = {}
    for one in said:
        if one.is_read:
            smallest[one.speaker] = min(one.values["seq"], smallest.get(one.speaker, _MOST_SEQ))
    return [_with_oldest(one, entry, common, smallest) for one, entry in zip(said, entries, strict=True)]


def _with_oldest(one: Said, entry: Any, common: int | None, smallest: dict[Any, int]) -> Said:
    if not one.is_read:
        return one
    own = _oldest(entry)
    if own is None and one.speaker is None:
        own = common
    return one._replace(oldest_seq=smallest[one.speaker] if own is None else own)


def _record(entry: Any) -> Said:
    number = entry.get("seq") if isinstance(entry, dict) else None
    known = number if type(number) is int and 1 <= number <= _MOST_SEQ else 0
    try:
        speaker: Any = _speaker(entry)
    except Refused:
        speaker = -1
    try:
        values = _values(entry)
        _oldest(entry)
    except Refused as error:
        return Said(speaker, {"seq": known}, 0, str(error), is_read=False)
    return Said(speaker, values, 0, _judge(values), is_read=True)


def _values(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise Refused("missing_field")
    _speaker(entry)
    ts_ns, ts_ms, seq = entry.get("ts_ns"), entry.get("ts_ms"), entry.get("seq")
    if seq is None or (ts_ns is None and ts_ms is None):
        raise Refused("missing_field")
    if not 1 <= _whole(seq) <= _MOST_SEQ:
        raise Refused("out_of_range")
    if ts_ns is None:
        ts_ns = _whole(ts_ms) * 1_000_000
        if ts_ns < 0:
            raise Refused("out_of_range")
    values = {"ts_ns": _fitting("ts_ns", _whole(ts_ns)), "seq": _whole(seq), "present": 0}
    for bit, name in enumerate(OPTIONAL):
        said = entry.get(name)
        values[name] = 0 if said is None else _fitting(name, said)
        values["present"] |= (said is not None) << bit
    flags = entry.get("flags")
    values["flags"] = 0 if flags is None else _fitting("flags", _whole(flags)) & 64
    return values


def _judge(values: dict[str, Any]) -> str:
    for column in TELEMETRY.columns:
        value = values[column.name]
        if column.name == "soc_frac":
            value = np.float32(value)
            if math.isnan(value):
                return "not_a_number"
            if not np.float32(-0.001) <= value <= np.float32(1.001):
                return "out_of_range"
        elif (column.low is not None and value < column.low) or (
            column.high is not None and value > column.high
        ):
            return "out_of_range"
    return ""


def _fitting(name: str, value: Any) -> Any:
    if type(value) not in (int, float):
        raise Refused("wrong_type")
    kind = _TYPES[name]
    if kind.kind == "f":
        return float(value) if value != value or abs(value) <= _MOST_F4 else math.inf
    if value != value:
        raise Refused("not_a_number")
    if not np.iinfo(kind).min <= value <= np.iinfo(kind).max:
        raise Refused("out_of_range")
    return int(value)


def _whole(value: Any) -> int:
    if type(value) is int or (type(value) is float and math.isfinite(value) and value == math.floor(value)):
        return int(value)
    raise Refused("wrong_type")


def _oldest(said: dict[str, Any]) -> int | None:
    value = said.get("oldest_seq")
    if value is None:
        return None
    if type(value) is not int:
        raise Refused("wrong_type")
    if not 0 <= value <= _MOST_SEQ:
        raise Refused("out_of_range")
    return value


def _speaker(entry: Any) -> str | int | None:
    if not isinstance(entry, dict):
        return -1
    site, unit = entry.get("site"), entry.get("unit")
    if site is not None:
        if type(site) is not str:
            raise Refused("wrong_type")
        return site
    return None if unit is None else _whole(unit)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
