"""Store and forward of one site on its own disk: the samples that the plant has not yet called durable, over any power cut.

A ring of slots in one file of fixed size, laid out whole when it is made, so that a disk that fills up later takes nothing from
it. Each slot carries its sample's number and a checksum: what a power cut tore is seen and left out. A sample is on the disk
(`fdatasync`) before it is sent, so the plant never hears a number that a restart would give to another sample. While the
disk fails, samples are kept in memory, and written as soon as it works again.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.telemetry import TELEMETRY, VERSION
from shoal.domain.wire import MAX_SPAN_MS, VERSIONS, encode
from shoal.edge.outbox import MAX_RECORDS_PER_MESSAGE

_MAGIC: Final = b"SHSF"
_FORMAT: Final = 1
_HEADER: Final = struct.Struct(
    "<4sHHIIQQ"
)  # magic, format, record size, capacity, reserved, generation, durable
_HEADER_BYTES: Final = _HEADER.size + 4
_HEADER_AT: Final = (0, 512)
"""Two places, written in turns: a torn one leaves the other."""
_SLOTS_AT: Final = 1_024
_RECORD_BYTES: Final = TELEMETRY.dtype.itemsize
_SLOT_BYTES: Final = _RECORD_BYTES + 4
_MODE: Final = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatistics:
    """What is held, and how it fared.

    Attributes:
        waiting: Samples that are not yet durable.
        capacity: How many may wait.
        last_seq: Number of the newest sample; 0 before the first.
        on_disk_seq: Number up to which samples are on the disk.
        lost_by_overflow: Samples dropped because too many waited.
        recovered: Samples found on the disk at the start.
        torn: Slots that did not check out at the start.
        disk_fault: Why the disk does not take samples now; empty when it does.
    """

    waiting: int
    capacity: int
    last_seq: int
    on_disk_seq: int
    lost_by_overflow: int
    recovered: int
    torn: int
    disk_fault: str


class StoreForward:
    """The waiting samples of one site.

    Args:
        path: The file; it is made when it is not there.
        capacity: How many samples may wait; a file for another number is taken over.
        first_seq: Number of the first sample when there is no file yet.
        version: Version of the messages, as agreed with the plant.

    Raises:
        InvalidInputError: when a number is less than 1.
    """

    def __init__(self, path: Path, *, capacity: int, first_seq: int = 1, version: int = VERSION) -> None:
        if capacity < 1 or first_seq < 1:
            raise InvalidInputError(field="store", value=(capacity, first_seq), fix="give numbers from 1 on")
        self._path = path
        self._capacity = capacity
        self._ring = TELEMETRY.empty(capacity)
        self.last_seq = first_seq - 1
        self.oldest_seq = first_seq
        self._on_disk_seq = first_seq - 1
        self._generation = 0
        self._file: int | None = None
        self._fault = ""
        self._lost = self._recovered = self._torn = 0
        self.version = version
        self._open()

    def __len__(self) -> int:
        """Return how many samples wait."""
        return self.last_seq - self.oldest_seq + 1

    def add(self, record: NDArray[Any]) -> int:
        """Keep a sample, on the disk if it can be, and return its number.

        Args:
            record: One record of `TELEMETRY.dtype`; its `seq` is ignored, its `present` kept.
        """
        seq = self.last_seq + 1
        if len(self) >= self._capacity:
            self.oldest_seq += 1
            self._lost += 1
        slot = (seq - 1) % self._capacity
        self._ring[slot] = record
        self._ring[slot]["seq"] = seq
        self.last_seq = seq
        self._write_behind()
        return seq

    def durable(self, seq: int) -> int:
        """Forget the samples up to a number and return how many those were; what the plant cannot know is ignored."""
        forgotten = min(seq, self.last_seq) - self.oldest_seq + 1
        if forgotten <= 0:
            return 0
        self.oldest_seq += forgotten
        with contextlib.suppress(OSError):
            self._write_header()  # not synced: samples that are sent once more do no harm
        return forgotten

    def speak(self, version: int) -> bool:
        """Send messages in another version from now on; return whether it is another one."""
        changed = version in VERSIONS and version != self.version
        if changed:
            self.version = version
        return changed

    def records_since(self, seq: int, most: int) -> NDArray[Any]:
        """Return the samples after a number that still wait, oldest first, at most so many."""
        first = max(seq + 1, self.oldest_seq)
        count = max(min(self.last_seq - first + 1, most), 0)
        return self._ring[np.arange(first - 1, first - 1 + count) % self._capacity]

    def messages_since(self, seq: int, most: int = MAX_RECORDS_PER_MESSAGE) -> list[bytes]:
        """Return messages with the samples after a number that still wait, oldest first, at most so many samples."""
        records = self.records_since(seq, most)
        messages: list[bytes] = []
        at = 0
        while at < len(records):
            chunk = records[at : at + MAX_RECORDS_PER_MESSAGE]
            far = np.abs(chunk["ts_ns"] - chunk["ts_ns"][0]) >= MAX_SPAN_MS * 1_000_000
            apart = far | (chunk["present"] != chunk["present"][0])
            if apart.any():
                chunk = chunk[: int(apart.argmax())]
            messages.append(encode(chunk, oldest_seq=self.oldest_seq, version=self.version))
            at += len(chunk)
        return messages

    def statistics(self) -> StoreStatistics:
        """Return what is held, and how it fared."""
        return StoreStatistics(
            waiting=len(self),
            capacity=self._capacity,
            last_seq=self.last_seq,
            on_disk_seq=self._on_disk_seq,
            lost_by_overflow=self._lost,
            recovered=self._recovered,
            torn=self._torn,
            disk_fault=self._fault,
        )

    def close(self) -> None:
        """Write what can be written and close the file."""
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            self._write_header()
            os.fsync(self._file)
        os.close(self._file)
        self._file = None

    def _open(self) -> None:
        """Take over what is on the disk, or lay out a new file; a disk that fails is tried again with each sample."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists():
                self._recover(self._path.read_bytes())
            if self._file is None:
                self._lay_out()
            self._fault = ""
        except OSError as error:
            self._fault = f"{error.strerror or error}: {self._path}"

    def _lay_out(self) -> None:
        """Make a whole new file beside the old one and put it in its place, with all samples that wait."""
        aside = self._path.with_suffix(".new")
        file = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC, _MODE)
        try:
            size = _SLOTS_AT + self._capacity * _SLOT_BYTES
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file, 0, size)
            else:
                os.pwrite(file, bytes(size), 0)
            self._file = file
            self._on_disk_seq = self.oldest_seq - 1
            self._write_header()
            self._write_slots()
            os.fsync(file)
            aside.replace(self._path)
            self._sync_folder()
        except OSError:
            self._file = None
            os.close(file)
            aside.unlink(missing_ok=True)
            raise
        self._on_disk_seq = self.last_seq

    def _recover(self, content: bytes) -> None:
        """Take over the samples of a file; open it for writing when it is of our size."""
        header = _read_header(content)
        if header is None:
            return
        capacity, self._generation, durable = header
        size = len(content) - _SLOTS_AT
        found: dict[int, NDArray[Any]] = {}
        for slot in range(min(capacity, size // _SLOT_BYTES)):
            raw = content[_SLOTS_AT + slot * _SLOT_BYTES : _SLOTS_AT + (slot + 1) * _SLOT_BYTES]
            if not any(raw):
                continue
            body, check = raw[:_RECORD_BYTES], int.from_bytes(raw[_RECORD_BYTES:], "little")
            record = np.frombuffer(body, dtype=TELEMETRY.dtype)[0]
            seq = int(record["seq"])
            if zlib.crc32(body) != check or (seq - 1) % capacity != slot:
                self._torn += 1
                continue
            found[seq] = record
        last = max(found, default=durable)
        oldest = last + 1
        while oldest - 1 in found and oldest - 1 > durable and last - oldest + 2 <= self._capacity:
            oldest -= 1
        if last < 1:
            return
        self.last_seq, self.oldest_seq, self._on_disk_seq = last, oldest, last
        for seq in range(oldest, last + 1):
            self._ring[(seq - 1) % self._capacity] = found[seq]
        self._recovered = len(self)
        if capacity == self._capacity and size == capacity * _SLOT_BYTES:
            self._file = os.open(self._path, os.O_RDWR)

    def _write_behind(self) -> None:
        """Bring the file up to the newest sample."""
        try:
            if self._file is None:
                self._open_again()
            else:
                self._write_slots()
            self._fault = ""
        except OSError as error:
            self._fault = f"{error.strerror or error}: {self._path}"

    def _open_again(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lay_out()

    def _write_slots(self) -> None:
        file = self._file
        assert file is not None, "the file is open"
        for seq in range(max(self._on_disk_seq + 1, self.oldest_seq), self.last_seq + 1):
            slot = (seq - 1) % self._capacity
            body = self._ring[slot].tobytes()
            content = body + zlib.crc32(body).to_bytes(4, "little")
            if os.pwrite(file, content, _SLOTS_AT + slot * _SLOT_BYTES) != _SLOT_BYTES:
                raise OSError(28, "short write")
        os.fdatasync(file)
        self._on_disk_seq = self.last_seq

    def _write_header(self) -> None:
        if self._file is None:
            return
        self._generation += 1
        body = _HEADER.pack(
            _MAGIC, _FORMAT, _RECORD_BYTES, self._capacity, 0, self._generation, self.oldest_seq - 1
        )
        check = zlib.crc32(body).to_bytes(4, "little")
        os.pwrite(self._file, body + check, _HEADER_AT[self._generation % 2])

    def _sync_folder(self) -> None:
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _read_header(content: bytes) -> tuple[int, int, int] | None:
    """Return capacity, generation and the durable number of the newer sound header; None when there is none."""
    sound: list[tuple[int, int, int]] = []
    for at in _HEADER_AT:
        raw = content[at : at + _HEADER_BYTES]
        if len(raw) < _HEADER_BYTES or zlib.crc32(raw[:-4]) != int.from_bytes(raw[-4:], "little"):
            continue
        magic, form, record_bytes, capacity, _, generation, durable = _HEADER.unpack(raw[:-4])
        if (magic, form, record_bytes) == (_MAGIC, _FORMAT, _RECORD_BYTES) and capacity > 0:
            sound.append((generation, capacity, durable))
    if not sound:
        return None
    generation, capacity, durable = max(sound)
    return capacity, generation, durable
