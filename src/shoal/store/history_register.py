"""The register of a writer: how far it is, written only by whoever owns it now.

The register is the one place where a write of history happens or not. In a plant it is a unit of the engine; `FileRegister`
is the same for one machine.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from shoal.domain.errors import CorruptStateError, FencedOutError
from shoal.store.history_folder import sync_folder


class Register(Protocol):
    """What a writer owns: `token` grows with every owner, `state` is what was committed last."""

    @property
    def token(self) -> int:
        """The fencing token."""
        ...

    @property
    def state(self) -> bytes:
        """What was committed last, by this owner or one before; empty when nothing ever was."""
        ...

    async def commit(self, state: bytes) -> None:
        """Make `state` what the next owner starts from.

        Raises:
            FencedOutError: when somebody else owns the register; nothing was changed.
            UnavailableError: when it may or may not have been committed.
        """
        ...


class UnitState(msgspec.Struct, frozen=True, kw_only=True):
    """What a writer of history has committed.

    Attributes:
        position: Journal position up to which everything is written, inclusive.
        from_position: First position of the last write.
        files: How many files the last write made.
        mark: What the hidden names of the last write end in.
        rows: Rows written since the unit began.
        snapshot: Reference of the snapshot of the window; empty when there is none yet.
        snapshot_position: Position up to which that snapshot is complete, at most `position`.
    """

    position: int = 0
    from_position: int = 0
    files: int = 0
    mark: str = ""
    rows: int = 0
    snapshot: bytes = b""
    snapshot_position: int = 0

    def encode(self) -> bytes:
        """Return it for a register: some 200 bytes, whatever was written."""
        return msgspec.msgpack.encode(self)

    @staticmethod
    def decode(state: bytes) -> UnitState:
        """Return what `encode` wrote; the state of a unit that never wrote for empty bytes.

        Raises:
            CorruptStateError: when it is neither.
        """
        if not state:
            return UnitState()
        try:
            return msgspec.msgpack.decode(state, type=UnitState)
        except msgspec.MsgspecError as error:
            raise CorruptStateError("register of history", str(error)) from error


class _Content(msgspec.Struct, frozen=True):
    token: int
    state: bytes


class FileRegister:
    """A register in a file. Opening it takes it from whoever had it; the former owner's commits are refused.

    Args:
        path: The file; it is made when it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked():
            before = self._read()
            self._token = before.token + 1
            self._state = before.state
            self._write(_Content(self._token, self._state))

    @property
    def token(self) -> int:
        """See `Register`."""
        return self._token

    @property
    def state(self) -> bytes:
        """See `Register`."""
        return self._state

    async def commit(self, state: bytes) -> None:
        """See `Register`."""
        with self._locked():
            newest = self._read().token
            if newest != self._token:
                raise FencedOutError(held=self._token, newest=newest)
            self._write(_Content(self._token, state))
        self._state = state

    @contextmanager
    def _locked(self) -> Iterator[None]:
        handle = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _read(self) -> _Content:
        if not self._path.exists():
            return _Content(0, b"")
        try:
            return msgspec.msgpack.decode(self._path.read_bytes(), type=_Content)
        except msgspec.MsgspecError as error:
            raise CorruptStateError(str(self._path), str(error)) from error

    def _write(self, content: _Content) -> None:
        temporary = self._path.with_suffix(".tmp")
        with temporary.open("wb") as sink:
            sink.write(msgspec.msgpack.encode(content))
            sink.flush()
            os.fsync(sink.fileno())
        temporary.replace(self._path)
        sync_folder(self._path.parent)
