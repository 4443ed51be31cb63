"""Snapshots of a writer's window, kept beside history itself, for a plant of one machine and for tests."""

from __future__ import annotations

import asyncio
import io
import zlib
from collections.abc import Mapping
from typing import IO, Any, Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import CorruptStateError
from shoal.store.history_folder import Folder

_FOLDER: Final = "state"


class SnapshotStore(Protocol):
    """Where snapshots are kept: in the engine (`shoal.fabric.snapshots`), or here."""

    async def save(self, unit: str, token: int, arrays: Mapping[str, NDArray[Any]]) -> bytes:
        """Save named arrays, copied before the first wait, and return the reference to commit."""
        ...

    async def load(self, reference: bytes) -> dict[str, NDArray[Any]]:
        """Return the arrays of a snapshot.

        Raises:
            CorruptStateError: when it is not whole, or gone.
        """
        ...

    async def purge(self, reference: bytes) -> None:
        """Take away the unit's snapshots older than `reference`, which is committed."""
        ...


class _Reference(msgspec.Struct, frozen=True, array_like=True):
    unit: str
    name: str
    crc32: int


class FolderSnapshots:
    """Keeps snapshots as files of a folder; each save gets a name of its own.

    Args:
        folder: Where history lives.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    async def save(self, unit: str, token: int, arrays: Mapping[str, NDArray[Any]]) -> bytes:
        """See `SnapshotStore`."""
        packed = io.BytesIO()
        np.savez(packed, allow_pickle=False, **arrays)
        data = packed.getvalue()
        number = 1 + max((int(name.split("-")[1].split(".")[0]) for name in self._names(unit)), default=0)
        reference = _Reference(unit, f"{token}-{number}.npz", zlib.crc32(data))

        def fill(sink: IO[bytes]) -> None:
            sink.write(data)

        await asyncio.to_thread(self._folder.write, f"{_FOLDER}/{unit}/{reference.name}", fill)
        return msgspec.msgpack.encode(reference)

    async def load(self, reference: bytes) -> dict[str, NDArray[Any]]:
        """See `SnapshotStore`."""
        where = _decode(reference)
        path = f"{_FOLDER}/{where.unit}/{where.name}"
        data = await asyncio.to_thread(self._folder.read, path)
        if data is None or zlib.crc32(data) != where.crc32:
            raise CorruptStateError(f"{self._folder.address}/{path}", "it is gone, or not what was saved")
        with np.load(io.BytesIO(data)) as saved:
            return {name: saved[name] for name in saved.files}

    async def purge(self, reference: bytes) -> None:
        """See `SnapshotStore`. What a killed owner left half-written goes too."""
        where = _decode(reference)
        for name in self._names(where.unit):
            if name != where.name:
                await asyncio.to_thread(self._folder.remove, f"{_FOLDER}/{where.unit}/{name}")

    def _names(self, unit: str) -> list[str]:
        return self._folder.names(f"{_FOLDER}/{unit}")


def _decode(reference: bytes) -> _Reference:
    try:
        return msgspec.msgpack.decode(reference, type=_Reference)
    except msgspec.MsgspecError as error:
        raise CorruptStateError("reference of a snapshot", str(error)) from error
