"""Snapshots of a unit's arrays, kept in the engine: whoever owns the unit next finds them, on whatever machine.

A snapshot is cut into chunks that go out several at a time. It counts once its reference, a few bytes with a checksum
of all the rest, stands in the unit's register: chunks without one are rubbish that the next `purge` takes away.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
import nats.errors
import numpy as np
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.nuid import NUID
from numpy.typing import NDArray

from shoal.domain.errors import CorruptStateError, UnavailableError
from shoal.fabric.connection import translated
from shoal.fabric.subjects import SNAPSHOTS_STREAM, snapshot_subject, snapshots_of

_CHUNK_BYTES: Final = 512 << 10
_WINDOW: Final = 8
_TIMEOUT_S: Final = 5.0
_CHUNK_TRIES: Final = 20
_RETRY_S: Final = 0.1
_HEAD: Final = 8
_ALIGN: Final = 64


class _Array(msgspec.Struct, frozen=True, array_like=True):
    name: str
    dtype: Any
    shape: tuple[int, ...]
    start: int


class Reference(msgspec.Struct, frozen=True, array_like=True):
    """Where a snapshot is and what it must add up to; opaque bytes to all but this module.

    Attributes:
        unit: Whose snapshot it is.
        token: Under which token it was taken.
        number: Tells the snapshots of one tenure apart.
        first_seq: Position of its oldest chunk in the stream.
        chunks: How many there are.
        bytes: What they add up to.
        crc32: Over all of them.
    """

    unit: str
    token: int
    number: str
    first_seq: int
    chunks: int
    bytes: int
    crc32: int


class Snapshots:
    """Saves and loads snapshots of the units of one group."""

    def __init__(self, client: Client, *, group: str, chunk_bytes: int = _CHUNK_BYTES) -> None:
        self._client = client
        self._group = group
        self._chunk_bytes = chunk_bytes

    async def save(self, unit: str, token: int, arrays: Mapping[str, NDArray[Any]]) -> bytes:
        """Save named arrays and return the reference to commit. They are copied before the first wait.

        Raises:
            UnavailableError: when the engine does not answer, or has no room.
        """
        data = memoryview(_pack(arrays))
        number = NUID().next().decode()
        subject = snapshot_subject(self._group, unit, token, number)
        window: deque[asyncio.Task[int]] = deque()
        first_seq, crc, count = 0, 0, 0
        try:
            for start in range(0, len(data), self._chunk_bytes):
                if len(window) >= _WINDOW:
                    first_seq = _earliest(first_seq, await window.popleft())
                chunk = bytes(data[start : start + self._chunk_bytes])
                crc = zlib.crc32(chunk, crc)
                window.append(asyncio.create_task(self._store(f"{subject}.{count}", chunk)))
                count += 1
            while window:
                first_seq = _earliest(first_seq, await window.popleft())
        except UnavailableError:
            # without a reference nobody can use these chunks, and what has no room for all must not be full of parts;
            # those still under way are waited for, since the engine may store them after a purge that was sent later
            await asyncio.gather(*window, return_exceptions=True)
            with contextlib.suppress(UnavailableError):
                await self._purge(f"{subject}.>")
            raise
        finally:
            await _ended(window)
        return msgspec.msgpack.encode(
            Reference(
                unit=unit,
                token=token,
                number=number,
                first_seq=first_seq,
                chunks=count,
                bytes=len(data),
                crc32=crc,
            )
        )

    async def load(self, reference: bytes) -> dict[str, NDArray[Any]]:
        """Return the arrays of a snapshot, writable.

        Raises:
            CorruptStateError: when the reference does not decode, or a chunk is missing or wrong.
            UnavailableError: when the engine does not answer.
        """
        where = _reference(reference)
        name = f"snapshot {where.number} of {where.unit}"
        subject = snapshot_subject(self._group, where.unit, where.token, where.number)
        data = bytearray(where.bytes)
        window: deque[asyncio.Task[bytes]] = deque()
        asked = at = crc = 0
        try:
            while asked < where.chunks or window:
                while asked < where.chunks and len(window) < _WINDOW:
                    window.append(asyncio.create_task(self._fetch(f"{subject}.{asked}", name)))
                    asked += 1
                chunk = await window.popleft()
                if at + len(chunk) > where.bytes:
                    raise CorruptStateError(
                        name, f"it has more than the {where.bytes} bytes of its reference"
                    )
                data[at : at + len(chunk)] = chunk
                at += len(chunk)
                crc = zlib.crc32(chunk, crc)
        finally:
            await _ended(window)
        if (at, crc) != (where.bytes, where.crc32):
            raise CorruptStateError(
                name, f"{at} bytes add up to {crc:08x}, not {where.bytes} bytes to {where.crc32:08x}"
            )
        return _unpack(data, name)

    async def purge(self, reference: bytes) -> None:
        """Take away the unit's snapshots older than `reference`; call it once that is committed.

        Raises:
            CorruptStateError: when the reference does not decode.
            UnavailableError: when the engine does not answer; a later call makes up for it.
        """
        where = _reference(reference)
        await self._purge(snapshots_of(self._group, where.unit), before_seq=where.first_seq)

    async def _purge(self, subjects: str, *, before_seq: int = 0) -> None:
        """Take away the chunks under some subjects: those before a position, or all."""
        request = {"filter": subjects, **({"seq": before_seq} if before_seq else {})}
        with translated("the snapshots"):
            reply = await self._client.request(
                f"$JS.API.STREAM.PURGE.{SNAPSHOTS_STREAM}", msgspec.json.encode(request), timeout=_TIMEOUT_S
            )
        _check(reply)

    async def _store(self, subject: str, chunk: bytes) -> int:
        """Store one chunk and return its position."""
        for left in reversed(range(_CHUNK_TRIES)):
            try:
                with translated("the snapshots"):
                    reply = await self._client.request(subject, chunk, timeout=_TIMEOUT_S)
                return int(_check(reply)["seq"])
            except UnavailableError as error:
                # A cluster between two leaders answers nobody for a while; the last of equal chunks counts.
                if not left or not isinstance(error.__cause__, nats.errors.NoRespondersError):
                    raise
                await asyncio.sleep(_RETRY_S)
        raise AssertionError("unreachable")

    async def _fetch(self, subject: str, name: str) -> bytes:
        """Return one chunk; a server of a cluster that is behind gets a while to catch up."""
        status = ""
        for _ in range(_CHUNK_TRIES):
            with translated("the snapshots"):
                reply = await self._client.request(
                    f"$JS.API.DIRECT.GET.{SNAPSHOTS_STREAM}.{subject}", b"", timeout=_TIMEOUT_S
                )
            status = (reply.headers or {}).get("Status", "")
            if not status:
                return reply.data
            await asyncio.sleep(_RETRY_S)
        raise CorruptStateError(name, f"chunk {subject.rpartition('.')[2]} is missing (status {status})")


async def _ended(window: Iterable[asyncio.Task[Any]]) -> None:
    for task in window:
        task.cancel()
    await asyncio.gather(*window, return_exceptions=True)


def _earliest(first_seq: int, seq: int) -> int:
    return seq if first_seq == 0 else min(first_seq, seq)


def _check(reply: Msg) -> dict[str, Any]:
    answer: dict[str, Any] = msgspec.json.decode(reply.data)
    if "error" in answer:
        raise UnavailableError("the snapshots", str(answer["error"].get("description", "refused")))
    return answer


def _reference(reference: bytes) -> Reference:
    try:
        return msgspec.msgpack.decode(reference, type=Reference)
    except msgspec.MsgspecError as error:
        raise CorruptStateError("reference of a snapshot", str(error)) from error


def _pack(arrays: Mapping[str, NDArray[Any]]) -> bytearray:
    """Return the size of a directory, the directory, and the arrays, each at a multiple of 64 bytes."""
    entries: list[_Array] = []
    at = 0
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"array {name!r} holds objects, not numbers")
        descr = np.lib.format.dtype_to_descr(array.dtype)
        entries.append(_Array(name, descr, array.shape, at))
        at += -(-array.nbytes // _ALIGN) * _ALIGN
    directory = msgspec.msgpack.encode(entries)
    body = -(-(_HEAD + len(directory)) // _ALIGN) * _ALIGN
    data = bytearray(body + at)
    data[:_HEAD] = len(directory).to_bytes(_HEAD, "little")
    data[_HEAD : _HEAD + len(directory)] = directory
    for entry, array in zip(entries, arrays.values(), strict=True):
        into = np.frombuffer(data, array.dtype, array.size, body + entry.start)
        into.reshape(array.shape)[...] = array
    return data


def _unpack(data: bytearray, name: str) -> dict[str, NDArray[Any]]:
    size = int.from_bytes(data[:_HEAD], "little")
    body = -(-(_HEAD + size) // _ALIGN) * _ALIGN
    try:
        entries = msgspec.msgpack.decode(data[_HEAD : _HEAD + size], type=list[_Array])
        return {
            entry.name: np.frombuffer(
                data, _dtype(entry.dtype), _count(entry.shape), body + entry.start
            ).reshape(entry.shape)
            for entry in entries
        }
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise CorruptStateError(name, f"its directory does not check out: {error}") from error


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count


def _dtype(descr: Any) -> np.dtype[Any]:
    """Return the type that numpy described, after its tuples have become lists on the way."""
    return np.dtype(np.lib.format.descr_to_dtype(_tuples(descr)))


def _tuples(descr: Any) -> Any:
    if not isinstance(descr, list):
        return descr
    return [tuple(_field(part) for part in field) for field in descr]


def _field(part: Any) -> Any:
    if not isinstance(part, list):
        return part
    if all(isinstance(length, int) for length in part):
        return tuple(part)
    return _tuples(part)
