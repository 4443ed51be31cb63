"""Store and forward, for many sites at once: the samples that the plant has not yet called durable.

One ring of records per site, all in one array. The rings begin small and double together, up to the capacity,
when some site falls behind: a fleet whose samples are acknowledged stays small. When a full ring takes
another sample, the oldest one is lost and counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import CorruptStateError, InvalidInputError
from shoal.domain.telemetry import HEADER_BYTES, RECORD_BYTES, TELEMETRY, encode

DEFAULT_CAPACITY: Final = 1_440
MAX_RECORDS_PER_MESSAGE: Final = 60
_FIRST_SLOTS: Final = 64
# One record as a lump of bytes: copying it is one move instead of one for each of its fields.
_LUMP: Final = np.dtype((np.void, RECORD_BYTES))
_COUNTERS: Final = ("last_seq", "oldest_seq", "lost_by_overflow")


def _message(count: int) -> np.dtype[Any]:
    """Return the layout of a whole message with `count` records."""
    return np.dtype(
        {
            "names": ["header", "oldest_seq", "records"],
            "formats": [np.dtype((np.void, HEADER_BYTES - 8)), "<i8", (_LUMP, (count,))],
            "offsets": [0, HEADER_BYTES - 8, HEADER_BYTES],
            "itemsize": HEADER_BYTES + count * RECORD_BYTES,
        }
    )


def _header(count: int) -> np.void:
    """Return the header of such a message, without its `oldest_seq`."""
    whole = np.frombuffer(encode(TELEMETRY.empty(count), oldest_seq=0), dtype=_message(count))
    head: np.void = whole["header"][0]
    return head


class Outbox:
    """The unacknowledged samples of N sites.

    Attributes:
        last_seq: Number of each site's newest sample (N), 0 before the first.
        oldest_seq: Number of the oldest one it holds (N); `last_seq` + 1 when it holds none.
        lost_by_overflow: Samples that each site had to drop unacknowledged (N).
    """

    def __init__(self, sites: int, capacity: int = DEFAULT_CAPACITY) -> None:
        """Begin empty, with room for `capacity` samples of each site.

        Raises:
            InvalidInputError: when either is less than 1.
        """
        if sites < 1 or capacity < 1:
            raise InvalidInputError(
                field="outbox", value=(sites, capacity), fix="at least one site and one record"
            )
        self._capacity = capacity
        self._slots = min(_FIRST_SLOTS, capacity)
        self._rings = np.zeros((sites, self._slots), dtype=_LUMP)
        self.last_seq = np.zeros(sites, dtype=np.int64)
        self.oldest_seq = np.ones(sites, dtype=np.int64)
        self.lost_by_overflow = np.zeros(sites, dtype=np.int64)

    def __len__(self) -> int:
        """Return how many samples are held, of all sites together."""
        return int((self.last_seq - self.oldest_seq + 1).sum())

    @property
    def allocated_bytes(self) -> int:
        """The memory that the rings take."""
        return self._rings.nbytes

    def add(self, records: NDArray[Any], rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Append one sample for each site and return their numbers.

        Args:
            records: One record of `TELEMETRY.dtype` for each site, in order; its `seq` is ignored.
            rows: The sites, each at most once; all when None.

        Raises:
            InvalidInputError: when there is not one record for each site.
        """
        sites = np.arange(len(self.last_seq)) if rows is None else rows
        if len(records) != len(sites):
            raise InvalidInputError(
                field="records", value=len(records), fix=f"give one for each of {len(sites)} sites"
            )
        stamped = records.astype(TELEMETRY.dtype)
        seq = self.last_seq[sites] + 1
        stamped["seq"] = seq
        held = seq - self.oldest_seq[sites]
        if held.max(initial=0) >= self._slots and self._slots < self._capacity:
            self._grow()
        full = held >= self._slots
        if full.any():
            self.oldest_seq[sites[full]] += 1
            self.lost_by_overflow[sites[full]] += 1
        self._rings[sites, (seq - 1) % self._slots] = stamped.view(_LUMP)
        self.last_seq[sites] = seq
        return seq

    def durable(self, row: int, seq: int) -> int:
        """Forget the samples of a site up to number `seq` and return how many those were.

        What was acknowledged before, or never made, is ignored.
        """
        oldest = int(self.oldest_seq[row])
        forgotten = min(seq, int(self.last_seq[row])) - oldest + 1
        if forgotten <= 0:
            return 0
        self.oldest_seq[row] = oldest + forgotten
        return forgotten

    def unsent(self, row: int) -> NDArray[Any]:
        """Return the samples of a site that are not yet durable, oldest first, as a copy."""
        return self._records(row, int(self.oldest_seq[row]), int(self.last_seq[row]))

    def messages_since(self, row: int, seq: int, max_records: int = DEFAULT_CAPACITY) -> list[bytes]:
        """Return messages with the samples of a site after number `seq`, oldest first.

        At most `MAX_RECORDS_PER_MESSAGE` are in a message and `max_records` in all; what is no longer held is
        left out.
        """
        first = max(seq + 1, int(self.oldest_seq[row]))
        records = self._records(row, first, min(int(self.last_seq[row]), first + max_records - 1))
        oldest = int(self.oldest_seq[row])
        return [
            encode(records[at : at + MAX_RECORDS_PER_MESSAGE], oldest_seq=oldest)
            for at in range(0, len(records), MAX_RECORDS_PER_MESSAGE)
        ]

    def encode_latest(self, rows: NDArray[np.int64] | None = None, count: int = 1) -> list[bytes]:
        """Return for each site one message with its `count` newest samples; all sites when `rows` is None.

        Raises:
            InvalidInputError: when a site holds fewer samples.
        """
        sites = np.arange(len(self.last_seq)) if rows is None else rows
        last = self.last_seq[sites]
        short = last - self.oldest_seq[sites] + 1 < count
        if short.any():
            raise InvalidInputError(
                field="rows", value=int(sites[short][0]), fix=f"add {count} samples before they are encoded"
            )
        seq = last[:, None] - np.arange(count - 1, -1, -1)
        messages = np.empty(len(sites), dtype=_message(count))
        messages["header"] = _header(count)
        messages["oldest_seq"] = self.oldest_seq[sites]
        messages["records"] = self._rings[sites[:, None], (seq - 1) % self._slots]
        raw = messages.tobytes()
        size = messages.dtype.itemsize
        return [raw[at : at + size] for at in range(0, len(raw), size)]

    def state(self) -> dict[str, NDArray[Any]]:
        """Return copies of everything that a checkpoint must keep; only held samples are in it."""
        held = self.last_seq - self.oldest_seq + 1
        sites = np.repeat(np.arange(len(held)), held)
        seq = np.arange(len(sites)) - np.repeat(np.cumsum(held) - held, held) + self.oldest_seq[sites]
        records = self._rings[sites, (seq - 1) % self._slots].view(TELEMETRY.dtype)
        return {"records": records, **{name: getattr(self, name).copy() for name in _COUNTERS}}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `state` returned; nothing changes when it does not fit.

        Raises:
            CorruptStateError: when it is for another number of sites, holds more than the capacity, or its
                samples are not those that its counters speak of.
        """
        counters = [state.get(name) for name in _COUNTERS]
        records = state.get("records")
        if records is None or any(c is None or c.shape != self.last_seq.shape for c in counters):
            raise CorruptStateError(
                "outbox state", f"a column is missing or not for {len(self.last_seq)} sites"
            )
        last, oldest, _ = (np.asarray(c, dtype=np.int64) for c in counters)
        held = last - oldest + 1
        if (held < 0).any() or (held > self._capacity).any() or int(held.sum()) != len(records):
            raise CorruptStateError(
                "outbox state", "the number of samples differs from what the counters say"
            )
        sites = np.repeat(np.arange(len(held)), held)
        seq = np.arange(len(sites)) - np.repeat(np.cumsum(held) - held, held) + oldest[sites]
        if records.dtype != TELEMETRY.dtype or not np.array_equal(records["seq"], seq):
            raise CorruptStateError("outbox state", "the samples are not numbered as the counters say")
        while self._slots < held.max(initial=0):
            self._slots = min(2 * self._slots, self._capacity)
        self._rings = np.zeros((len(held), self._slots), dtype=_LUMP)
        self._rings[sites, (seq - 1) % self._slots] = np.ascontiguousarray(records).view(_LUMP)
        for name in _COUNTERS:
            getattr(self, name)[...] = state[name]

    def _records(self, row: int, first: int, last: int) -> NDArray[Any]:
        slots = np.arange(first - 1, last) % self._slots
        records: NDArray[Any] = self._rings[row, slots].view(TELEMETRY.dtype)
        return records

    def _grow(self) -> None:
        """Double the rings; a sample's slot depends on their size, so every held one moves."""
        state = self.state()
        self._slots = min(2 * self._slots, self._capacity)
        self.restore(state)
