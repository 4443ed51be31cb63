"""From journal messages to columns: each message is judged alone, and a bad one is set aside with its reason.

The common case (one record of the newest version in each message) is judged for the whole batch at once; everything
else takes the slow path, message by message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import WireFormatError
from shoal.domain.live import Quarantined
from shoal.domain.telemetry import (
    HEADER_BYTES,
    MAGIC,
    MAX_MESSAGE_BYTES,
    RECORD_BYTES,
    TELEMETRY,
    VERSION,
    decode,
)

_KNOWN: Final = MAGIC + bytes([VERSION])


def _frame(count: int) -> np.dtype[Any]:
    """Return the layout of a whole message with `count` records."""
    return np.dtype(
        [
            ("magic", "S2"),
            ("version", "u1"),
            ("flags", "u1"),
            ("count", "<u2"),
            ("size", "<u2"),
            ("oldest_seq", "<i8"),
            ("records", TELEMETRY.dtype, (count,)),
        ]
    )


_SEQ: Final = TELEMETRY.column("seq")
_REQUIRED: Final = {column.name for column in TELEMETRY.columns if not column.optional}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """The records of a batch, as columns, and what was set aside.

    Attributes:
        rows: Fleet row of each record.
        records: Records of `TELEMETRY`, numbered from 1.
        oldest_seq: For each record, the oldest sample that its device still holds: 0 to the record's own number.
        arrival_ns: For each record, when its message reached the journal.
        usable: For each record, whether it is in range. The others are listed for their numbers only: they were
            set aside for good, and nobody need wait for them.
        rejected: Messages and records that were set aside.
    """

    rows: NDArray[np.int64]
    records: NDArray[Any]
    oldest_seq: NDArray[np.int64]
    arrival_ns: NDArray[np.int64]
    usable: NDArray[np.bool_]
    rejected: list[Quarantined]


class Decoder:
    """Decodes the messages of known sites.

    Args:
        row_of: Fleet row by the site token of the subject, as bytes.
        max_ahead_ns: How far a device's clock may run ahead before its records are set aside.
    """

    def __init__(self, *, row_of: Mapping[bytes, int], max_ahead_ns: int) -> None:
        self._row_of = row_of
        self._max_ahead_ns = max_ahead_ns

    def decode(
        self,
        subjects: Sequence[bytes],
        payloads: Sequence[bytes],
        arrival_ns: NDArray[np.int64],
        *,
        now_ns: int,
    ) -> Decoded:
        """Return the columns of a batch of messages.

        Args:
            subjects: Journal subject of each message; its last token is the site.
            payloads: What the devices sent.
            arrival_ns: When each reached the journal.
            now_ns: The present instant, for judging clocks that run ahead.
        """
        rejected: list[Quarantined] = []
        by_count: dict[int, tuple[list[int], list[bytes], list[int]]] = {}
        slow: list[tuple[int, int]] = []
        for position, (subject, payload) in enumerate(zip(subjects, payloads, strict=True)):
            row = self._row_of.get(subject[subject.rfind(b".") + 1 :])
            count, rest = divmod(len(payload) - HEADER_BYTES, RECORD_BYTES)
            if row is None:
                rejected.append(
                    _set_aside(
                        subject,
                        arrival_ns[position],
                        payload,
                        "unknown_site",
                        "the registry does not have it",
                    )
                )
            elif rest == 0 and count > 0 and len(payload) <= MAX_MESSAGE_BYTES and payload[:3] == _KNOWN:
                alike = by_count.setdefault(count, ([], [], []))
                alike[0].append(row)
                alike[1].append(payload)
                alike[2].append(position)
            else:
                slow.append((position, row))
        parts: list[tuple[NDArray[np.int64], NDArray[Any], NDArray[np.int64], NDArray[np.int64]]] = []
        for count, (alike_rows, alike_payloads, positions) in by_count.items():
            frames = np.frombuffer(b"".join(alike_payloads), dtype=_frame(count))
            good = (frames["count"] == count) & (frames["size"] == RECORD_BYTES)
            for index in np.flatnonzero(~good).tolist():
                slow.append((positions[index], alike_rows[index]))
            each_row = np.array(alike_rows, dtype=np.int64)[good]
            each_at = np.array(positions, dtype=np.int64)[good]
            oldest = frames["oldest_seq"][good].astype(np.int64)
            parts.append(
                (
                    np.repeat(each_row, count),
                    frames["records"][good].reshape(-1),
                    np.repeat(oldest, count),
                    np.repeat(each_at, count),
                )
            )
        for position, row in slow:
            try:
                records, oldest = _decode_any(payloads[position])
            except WireFormatError as error:
                rejected.append(
                    _set_aside(
                        subjects[position],
                        arrival_ns[position],
                        payloads[position],
                        error.reason,
                        error.detail,
                    )
                )
                continue
            n = len(records)
            parts.append((np.full(n, row), records, np.full(n, oldest), np.full(n, position)))
        if not parts:
            return _nothing(rejected)
        rows = np.concatenate([p[0] for p in parts]).astype(np.int64)
        records = np.concatenate([p[1] for p in parts])
        oldest_seq = np.concatenate([p[2] for p in parts]).astype(np.int64)
        at = np.concatenate([p[3] for p in parts]).astype(np.int64)
        usable = self._judge(records, at, subjects, payloads, arrival_ns, now_ns, rejected)
        keep = np.flatnonzero(usable | _is_numbered(records))
        if len(parts) > 1:
            # the journal's order is the order that devices spoke in
            keep = keep[np.argsort(at[keep], kind="stable")]
        return Decoded(
            rows=rows[keep],
            records=records[keep],
            # a device that sends a sample still holds it, whatever else it says
            oldest_seq=np.clip(oldest_seq[keep], 0, records["seq"][keep]),
            arrival_ns=arrival_ns[at[keep]],
            usable=usable[keep],
            rejected=rejected,
        )

    def _judge(
        self,
        records: NDArray[Any],
        at: NDArray[np.int64],
        subjects: Sequence[bytes],
        payloads: Sequence[bytes],
        arrival_ns: NDArray[np.int64],
        now_ns: int,
        rejected: list[Quarantined],
    ) -> NDArray[np.bool_]:
        first_bad = TELEMETRY.violations(records)
        ahead = records["ts_ns"] > now_ns + self._max_ahead_ns
        bad = (first_bad >= 0) | ahead
        for index in np.flatnonzero(bad):
            position = int(at[index])
            if first_bad[index] >= 0:
                column = TELEMETRY.columns[int(first_bad[index])]
                value = records[column.name][index]
                reason = "not_a_number" if value != value else "out_of_range"
                detail = f"{column.name} is {value}; it must lie within {column.low} to {column.high} {column.unit}"
            else:
                reason = "future_timestamp"
                detail = f"ts_ns is {(int(records['ts_ns'][index]) - now_ns) / 1e9:.0f} s ahead; set the device's clock"
            rejected.append(
                _set_aside(subjects[position], arrival_ns[position], payloads[position], reason, detail)
            )
        return ~bad


def _is_numbered(records: NDArray[Any]) -> NDArray[np.bool_]:
    return (records["seq"] >= (_SEQ.low or 0)) & (records["seq"] <= (_SEQ.high or 0))


def _decode_any(payload: bytes) -> tuple[NDArray[Any], int]:
    if len(payload) > MAX_MESSAGE_BYTES:
        raise WireFormatError("too_large", f"{len(payload)} bytes, at most {MAX_MESSAGE_BYTES} are taken")
    if payload[:1] in (b"{", b"["):
        return _decode_json(payload)
    return decode(payload)


def _decode_json(payload: bytes) -> tuple[NDArray[Any], int]:
    """Return the records of the JSON dialect: ``{"v": 1, "oldest_seq": 7, "records": [{...}]}``.

    Names are those of the table; what is left out takes its default; unknown names are passed over.
    """
    try:
        message = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireFormatError("malformed_json", str(error)) from error
    if (
        not isinstance(message, dict)
        or not isinstance(message.get("records"), list)
        or not message["records"]
    ):
        raise WireFormatError("malformed_json", 'expected {"v": 1, "oldest_seq": …, "records": [{…}]}')
    if message.get("v") != VERSION:
        raise WireFormatError("schema_version", f"version {message.get('v')!r}; version {VERSION} is known")
    records = TELEMETRY.empty(len(message["records"]))
    for position, entry in enumerate(message["records"]):
        if not isinstance(entry, dict) or any(entry.get(name) is None for name in _REQUIRED):
            raise WireFormatError("missing_field", f"record {position} needs {', '.join(sorted(_REQUIRED))}")
        for name in TELEMETRY.names:
            value = entry.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise WireFormatError("wrong_type", f"{name} is {value!r}, not a number")
            try:
                with np.errstate(over="ignore"):  # a number beyond 32 bits becomes infinite: out of range
                    records[name][position] = value
            except (OverflowError, ValueError) as error:
                raise WireFormatError("out_of_range", f"{name} is {value!r}: {error}") from error
    oldest = message.get("oldest_seq", int(records["seq"].min()))
    if isinstance(oldest, bool) or not isinstance(oldest, int):
        raise WireFormatError("wrong_type", f"oldest_seq is {oldest!r}, not a whole number")
    if not 0 <= oldest <= (_SEQ.high or 0):
        raise WireFormatError("out_of_range", f"oldest_seq is {oldest}; it must lie within 0 to {_SEQ.high}")
    return records, oldest


def _set_aside(subject: bytes, arrival_ns: np.int64, payload: bytes, reason: str, detail: str) -> Quarantined:
    site = subject[subject.rfind(b".") + 1 :].decode("utf-8", "replace")
    return Quarantined(
        arrival_ns=int(arrival_ns), site_id=site, reason=reason, detail=detail[:200], size_bytes=len(payload)
    )


def _nothing(rejected: list[Quarantined]) -> Decoded:
    none = np.empty(0, dtype=np.int64)
    return Decoded(
        rows=none,
        records=TELEMETRY.empty(0),
        oldest_seq=none,
        arrival_ns=none,
        usable=np.empty(0, dtype=np.bool_),
        rejected=rejected,
    )
