"""From journal messages to columns: each record is judged alone, and a bad one is set aside with its reason.

Binary messages are read by kernels straight from the bytes as they came, a batch at once. What they cannot take (the
JSON and MessagePack dialects, and what is broken) is read message by message, and joins the others at its own place.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.directory import Directory, find_all
from shoal.domain.errors import WireFormatError
from shoal.domain.live import Quarantined
from shoal.domain.telemetry import TELEMETRY
from shoal.fabric.batch import JournalBatch
from shoal.telemetry import _parse
from shoal.telemetry.dialects import Spoken, decode_dialect, is_dialect, read_binary

EVIDENCE_BYTES: Final = 512
"""How much is kept of what was set aside."""
MOST_NAMED: Final = 16
"""How many bad records of one message are set aside each by itself; the rest are counted together."""
_FIRST_ROOM: Final = 1_024
_NO_ROWS: Final = np.empty(0, dtype=np.int64)
_REASONS: Final = (
    *(("out_of_range", column) for column in range(len(TELEMETRY.columns))),
    ("not_a_number", TELEMETRY.names.index("soc_frac")),
    ("unknown_unit", -1),
)
"""By what the kernel finds wrong: the reason, and the column at fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """The records of a batch, as columns in the order of the journal, and what was set aside.

    Attributes:
        rows: Row of each record.
        records: Records of `TELEMETRY`, numbered from 1.
        oldest_seq: For each record, the oldest sample that its device still holds: 0 to the record's own number.
        arrival_ns: For each record, when its message reached the journal.
        usable: For each record, whether it can be read and is in range. The others are listed for their numbers only:
            they were set aside for good, and nobody need wait for them.
        message: For each record, the position of its message in the batch.
        rejected: Messages and records that were set aside.
    """

    rows: NDArray[np.int64]
    records: NDArray[Any]
    oldest_seq: NDArray[np.int64]
    arrival_ns: NDArray[np.int64]
    usable: NDArray[np.bool_]
    message: NDArray[np.int32]
    rejected: list[Quarantined]


@dataclass(frozen=True, slots=True)
class _Aside:
    """What is set aside, before it is written down."""

    message: int
    record: int
    reason: str
    detail: str
    evidence: bytes | None = None
    count: int = 1

    def quarantined(self, batch: JournalBatch) -> Quarantined:
        subject = batch.subject(self.message)
        payload = batch.payload(self.message) if self.evidence is None else self.evidence
        return Quarantined(
            arrival_ns=int(batch.timestamp_ns[self.message]),
            site_id=subject[subject.rfind(b".") + 1 :].decode("utf-8", "replace"),
            reason=self.reason,
            detail=self.detail[:200],
            size_bytes=int(batch.payload_bytes[self.message]),
            payload_b64=base64.b64encode(payload[:EVIDENCE_BYTES]).decode("ascii"),
            record=self.record,
            count=self.count,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Others:
    """The records that were read message by message, one after the other; `spoken` by position in the batch."""

    spoken: dict[int, Spoken]
    records: NDArray[Any]
    rows: NDArray[np.int64]
    oldest_seq: NDArray[np.int64]
    fault: NDArray[np.bool_]


_NO_OTHERS: Final = _Others(
    spoken={},
    records=TELEMETRY.empty(0),
    rows=_NO_ROWS,
    oldest_seq=_NO_ROWS,
    fault=np.empty(0, dtype=np.bool_),
)


class _PerMessage:
    """Working columns of a batch, one entry a message; kept from batch to batch."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.token_at = np.empty(size, dtype=np.int64)
        self.token_bytes = np.empty(size, dtype=np.int64)
        self.found = np.empty(size, dtype=np.int64)
        self.kind = np.empty(size, dtype=np.uint8)
        self.count = np.empty(size, dtype=np.int32)

    def fitting(self, size: int) -> _PerMessage:
        return self if size <= self.size else _PerMessage(2 * size)


class _PerRecord:
    """The columns of an answer."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.rows = np.empty(size, dtype=np.int64)
        self.records = np.empty(size, dtype=TELEMETRY.dtype)
        self.oldest_seq = np.empty(size, dtype=np.int64)
        self.arrival_ns = np.empty(size, dtype=np.int64)
        self.usable = np.empty(size, dtype=np.bool_)
        self.message = np.empty(size, dtype=np.int32)

    def fitting(self, size: int) -> _PerRecord:
        return self if size <= self.size else _PerRecord(2 * size)


class Decoder:
    """Decodes the messages of known sites and gateways.

    Args:
        directory: Who is known.
        rows_of: The row to give for each row of the directory; the same when None.
        reuse: Whether an answer's arrays may be overwritten by the next answer, which saves their making.
    """

    def __init__(
        self, *, directory: Directory, rows_of: NDArray[np.int64] | None = None, reuse: bool = False
    ) -> None:
        self._directory = directory
        self._sites = len(directory)
        self._rows_of = _NO_ROWS if rows_of is None else rows_of
        self._reuse = reuse
        self._messages = _PerMessage(_FIRST_ROOM)
        self._records = _PerRecord(0)
        self._bad = np.empty((0, 3), dtype=np.int32)

    def decode(self, batch: JournalBatch) -> Decoded:
        """Return the columns of a batch; clocks are not judged here, nor who may say what."""
        each = self._messages = self._messages.fitting(len(batch))
        n = len(batch)
        found, kind, count = each.found[:n], each.kind[:n], each.count[:n]
        token_at, token_bytes = each.token_at[:n], each.token_bytes[:n]
        _parse.last_tokens(batch.buffer, batch.subject_at, batch.subject_bytes, token_at, token_bytes)
        find_all(self._directory.arrays, batch.buffer, token_at, token_bytes, found)
        total = _parse.sort(batch.buffer, batch.payload_at, batch.payload_bytes, found, kind, count)
        aside: list[_Aside] = []
        others = self._read_others(batch, found, kind, count, aside)
        total += len(others.records)
        into = self._records.fitting(total) if self._reuse else _PerRecord(total)
        if self._reuse:
            self._records = into
        if len(self._bad) < total:
            self._bad = np.empty((2 * total, 3), dtype=np.int32)
        length, bads = _parse.read(
            batch.buffer,
            batch.payload_at,
            batch.timestamp_ns,
            found,
            kind,
            count,
            self._directory.arrays,
            self._sites,
            self._rows_of,
            others.records,
            others.rows,
            others.oldest_seq,
            others.fault,
            into.rows,
            into.records,
            into.oldest_seq,
            into.arrival_ns,
            into.usable,
            into.message,
            self._bad,
        )
        aside += _bad_records(batch, self._bad[:bads].tolist(), others)
        aside.sort(key=lambda one: (one.message, one.record))
        return Decoded(
            rows=into.rows[:length],
            records=into.records[:length],
            oldest_seq=into.oldest_seq[:length],
            arrival_ns=into.arrival_ns[:length],
            usable=into.usable[:length],
            message=into.message[:length],
            rejected=[one.quarantined(batch) for one in aside],
        )

    def _read_others(
        self,
        batch: JournalBatch,
        found: NDArray[np.int64],
        kind: NDArray[np.uint8],
        count: NDArray[np.int32],
        aside: list[_Aside],
    ) -> _Others:
        """Read what the kernels leave, message by message, and set aside who is not known."""
        spoken: dict[int, Spoken] = {}
        rows: list[int] = []
        faults: list[bool] = []
        for position in np.flatnonzero((kind == _parse.UNKNOWN) | (kind == _parse.OTHER)).tolist():
            who = int(found[position])
            if who < 0:
                detail = (
                    "the registry does not have it" if who == -1 else "it is to speak through its gateway"
                )
                aside.append(_Aside(position, -1, "unknown_site", detail))
                continue
            try:
                payload = batch.payload(position)
                said = decode_dialect(payload) if is_dialect(payload) else read_binary(payload)
            except WireFormatError as error:
                aside.append(_Aside(position, -1, error.reason, error.detail))
                continue
            spoken[position] = said
            count[position] = len(said.records)
            rows += [self._row(who, speaker) for speaker in said.speakers]
            faults += [at in said.faults for at in range(len(said.records))]
            if said.faults:
                aside += _name(position, [(at, reason, -1) for at, (reason, _) in said.faults.items()], said)
        if not spoken:
            return _NO_OTHERS
        return _Others(
            spoken=spoken,
            # joined as bytes, for numpy compares the columns of each piece when it joins records; writable, for
            # kernels are compiled for either kind
            records=np.frombuffer(
                bytearray().join(said.records.tobytes() for said in spoken.values()), TELEMETRY.dtype
            ),
            rows=np.array(rows, dtype=np.int64),
            oldest_seq=np.concatenate([said.oldest_seq for said in spoken.values()]),
            fault=np.array(faults, dtype=np.bool_),
        )

    def _row(self, who: int, speaker: str | int | None) -> int:
        """Return the directory's row of a record that `who` sent, -1 when he may not speak for that site."""
        directory = self._directory
        gateway = who - self._sites
        if isinstance(speaker, str):
            row = directory.row(speaker.encode())
            return row if row == who or (gateway >= 0 and directory.is_behind(gateway, row)) else -1
        if gateway >= 0:
            return directory.unit_row(gateway, speaker or 0)
        return -1 if speaker else who


def _bad_records(batch: JournalBatch, bad: list[list[int]], others: _Others) -> Iterator[_Aside]:
    """Give what the kernel found wrong: message, record and what, in the order of the journal."""
    for message, group in groupby(bad, key=itemgetter(0)):
        said = others.spoken.get(message) or read_binary(batch.payload(message))
        yield from _name(message, [(record, *_REASONS[wrong]) for _, record, wrong in group], said)


def _name(message: int, bad: list[tuple[int, str, int]], said: Spoken) -> Iterator[_Aside]:
    """Set aside the bad records of a message: the first ones each by itself, the rest by reason.

    Args:
        message: Position in the batch.
        bad: Record, reason, and the column that is at fault or -1.
        said: The message.
    """
    for record, reason, column in bad[:MOST_NAMED]:
        yield _Aside(message, record, reason, _describe(said, record, reason, column), said.evidence(record))
    rest = bad[MOST_NAMED:]
    first = {reason: record for record, reason, _ in reversed(rest)}
    for reason, count in Counter(reason for _, reason, _ in rest).items():
        detail = f"{count} more records of this message, from this one on"
        yield _Aside(message, first[reason], reason, detail, said.evidence(first[reason]), count)


def _describe(said: Spoken, record: int, reason: str, column: int) -> str:
    if record in said.faults:
        return said.faults[record][1]
    if column < 0:
        return f"{said.speakers[record]!r} is no site that this device speaks for"
    limits = TELEMETRY.columns[column]
    value = said.records[limits.name][record]
    return f"{limits.name} is {value}; it must lie within {limits.low} to {limits.high} {limits.unit}"
