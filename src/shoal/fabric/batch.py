"""Messages of the journal as they came: one piece of bytes, and columns that say where each message lies in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalBatch:
    """Some messages in the order of the journal; position `i` in each column is the same message.

    The bytes stay as they came, for kernels; `subjects` and `payloads` cut them into objects, for slow paths.

    Attributes:
        buffer: The bytes that hold all of them, among others.
        subject_at: Where each of n subjects begins in `buffer`, ``tele.<partition>.<site>``.
        subject_bytes: Their sizes.
        payload_at: Where each of n payloads begins, without headers.
        payload_bytes: Their sizes.
        seq: n positions in the stream, growing; holes are messages outside the filters.
        timestamp_ns: n instants at which the server stored them.
        pending: How many more there were when the last of these was sent.
    """

    buffer: NDArray[np.uint8]
    subject_at: NDArray[np.int64]
    subject_bytes: NDArray[np.int64]
    payload_at: NDArray[np.int64]
    payload_bytes: NDArray[np.int64]
    seq: NDArray[np.int64]
    timestamp_ns: NDArray[np.int64]
    pending: int

    @classmethod
    def of(
        cls,
        messages: Iterable[tuple[bytes, bytes]],
        *,
        timestamp_ns: NDArray[np.int64] | None = None,
        first_seq: int = 1,
        pending: int = 0,
    ) -> Self:
        """Return a batch of (subject, payload) pairs, numbered from `first_seq`, stored at 0 unless told when."""
        pieces = [piece for pair in messages for piece in pair]
        sizes = np.array([len(piece) for piece in pieces], dtype=np.int64)
        at = np.cumsum(sizes) - sizes
        count = len(pieces) // 2
        return cls(
            buffer=np.frombuffer(bytearray().join(pieces), dtype=np.uint8),
            subject_at=at[::2].copy(),
            subject_bytes=sizes[::2].copy(),
            payload_at=at[1::2].copy(),
            payload_bytes=sizes[1::2].copy(),
            seq=np.arange(first_seq, first_seq + count),
            timestamp_ns=np.zeros(count, dtype=np.int64) if timestamp_ns is None else timestamp_ns,
            pending=pending,
        )

    def __len__(self) -> int:
        return len(self.seq)

    def subject(self, position: int) -> bytes:
        """Return the subject of one message."""
        at = int(self.subject_at[position])
        return self.buffer[at : at + int(self.subject_bytes[position])].tobytes()

    def payload(self, position: int) -> bytes:
        """Return the payload of one message."""
        at = int(self.payload_at[position])
        return self.buffer[at : at + int(self.payload_bytes[position])].tobytes()

    @property
    def subjects(self) -> list[bytes]:
        """All subjects, cut out anew each time."""
        return [self.subject(position) for position in range(len(self))]

    @property
    def payloads(self) -> list[bytes]:
        """All payloads, cut out anew each time."""
        return [self.payload(position) for position in range(len(self))]
