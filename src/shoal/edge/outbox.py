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
from shoal.domain.telemetry import ALL_PRESENT, TELEMETRY, VERSION
from shoal.domain.wire import MAX_SPAN_MS, VERSIONS, encode, encode_messages

DEFAULT_CAPACITY: Final = 1_440
MAX_RECORDS_PER_MESSAGE: Final = 60
MAX_RECORDS_PER_BATCH: Final = 600
"""In a gateway's message; it stays below the most bytes that a message may have."""
_FIRST_SLOTS: Final = 64
# One record as a lump of bytes: copying it is one move instead of one for each of its fields.
_LUMP: Final = np.dtype((np.void, TELEMETRY.dtype.itemsize))
_COUNTERS: Final = ("last_seq", "oldest_seq", "lost_by_overflow")
_NEVER_NS: Final = int(np.iinfo(np.int64).max)


class Outbox:
    """The unacknowledged samples of N sites.

    Attributes:
        last_seq: Number of each site's newest sample (N), 0 before the first.
        oldest_seq: Number of the oldest one it holds (N); `last_seq` + 1 when it holds none.
        lost_by_overflow: Samples that each site had to drop unacknowledged (N).
    """

    def __init__(
        self,
        sites: int,
        capacity: int = DEFAULT_CAPACITY,
        *,
        present: NDArray[np.uint16] | None = None,
        version: int = VERSION,
    ) -> None:
        """Begin empty, with room for `capacity` samples of each site.

        Args:
            sites: How many there are.
            capacity: Samples of each.
            present: For each site, the mask of the columns that it measures, see `PRESENT_OF`; all when None.
            version: Version of the messages, as agreed with the plant; version 1 always carries all columns.

        Raises:
            InvalidInputError: when a number is less than 1, or `present` is not for so many sites.
        """
        if sites < 1 or capacity < 1:
            raise InvalidInputError(
                field="outbox", value=(sites, capacity), fix="at least one site and one record"
            )
        self._present = np.full(sites, ALL_PRESENT, np.uint16) if present is None else present
        if self._present.shape != (sites,):
            raise InvalidInputError(
                field="present", value=self._present.shape, fix=f"give one for each of {sites} sites"
            )
        self._version = np.full(sites, version, dtype=np.uint8)
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
        stamped["present"] = self._present[sites]
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

    def speak(self, row: int, version: int) -> bool:
        """Send a site's messages in another version from now on; return whether it is another one.

        Raises:
            InvalidInputError: when there is no such version.
        """
        if version not in VERSIONS:
            raise InvalidInputError(field="version", value=version, fix=f"one of {VERSIONS}")
        changed = int(self._version[row]) != version
        self._version[row] = version
        return changed

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
        messages = []
        at = 0
        while at < len(records):
            chunk = records[at : at + MAX_RECORDS_PER_MESSAGE]
            # a message counts its times from the first; a device that was off for weeks needs another one
            far = np.abs(chunk["ts_ns"] - chunk["ts_ns"][0]) >= MAX_SPAN_MS * 1_000_000
            if far.any():
                chunk = chunk[: int(far.argmax())]
            messages.append(self._encode(row, chunk))
            at += len(chunk)
        return messages

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
        messages: list[bytes] = [b""] * len(sites)
        plain = self._version[sites] == 1
        for at in np.flatnonzero(plain).tolist():
            row, end = int(sites[at]), int(last[at])
            messages[at] = self._encode(row, self._records(row, end - count + 1, end))
        masks = np.where(plain, -1, self._present[sites].astype(np.int64))
        for mask in np.unique(masks[~plain]).tolist():
            alike = np.flatnonzero(masks == mask)
            rows_alike = sites[alike]
            seq = last[alike][:, None] - np.arange(count - 1, -1, -1)
            records = self._rings[rows_alike[:, None], (seq - 1) % self._slots].view(TELEMETRY.dtype)
            encoded = encode_messages(records, oldest_seq=self.oldest_seq[rows_alike][:, None], present=mask)
            raw, size = encoded.tobytes(), encoded.dtype.itemsize
            for position, at in zip(alike.tolist(), range(0, len(raw), size), strict=True):
                messages[position] = raw[at : at + size]
        return messages

    def encode_units(
        self, rows: NDArray[np.int64], units: NDArray[Any], since_seq: NDArray[np.int64]
    ) -> list[bytes]:
        """Return a gateway's messages with the samples of its sites, oldest first for each site.

        Always in version 2: version 1 has no place for the unit.

        Args:
            rows: Sites behind one gateway.
            units: The number of each behind it.
            since_seq: For each site, the samples after this number, as far as they are held.
        """
        first = np.maximum(since_seq + 1, self.oldest_seq[rows])
        held = np.maximum(self.last_seq[rows] - first + 1, 0)
        at = np.repeat(np.arange(len(rows)), held)
        seq = np.arange(len(at)) - np.repeat(np.cumsum(held) - held, held) + first[at]
        records = self._rings[rows[at], (seq - 1) % self._slots].view(TELEMETRY.dtype)
        # What one message cannot carry together is parted: other columns, or times too far from its first.
        span = (records["ts_ns"] - records["ts_ns"].min(initial=_NEVER_NS)) // (MAX_SPAN_MS * 1_000_000)
        key = self._present[rows[at]].astype(np.int64) + (span << 16)
        messages = []
        for alike in (np.flatnonzero(key == one) for one in np.unique(key)):
            for begin in range(0, len(alike), MAX_RECORDS_PER_BATCH):
                some = alike[begin : begin + MAX_RECORDS_PER_BATCH]
                messages.append(
                    encode(records[some], oldest_seq=self.oldest_seq[rows[at[some]]], units=units[at[some]])
                )
        return messages

    def _encode(self, row: int, records: NDArray[Any]) -> bytes:
        return encode(
            records,
            oldest_seq=int(self.oldest_seq[row]),
            present=int(self._present[row]),
            version=int(self._version[row]),
        )

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
