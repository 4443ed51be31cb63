"""What a site's agent remembers over a restart or a power cut: one small file, replaced whole.

It is written beside the old one, brought to the disk, and then put in its place: whoever reads it finds the old or the new one.
A file that does not check out is put aside, and the agent starts afresh: it decides alone until the plant speaks again.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any, Final

import msgspec

from shoal.domain.errors import CorruptStateError

_MAGIC: Final = b"SHST1\n"


class StateFile:
    """The file.

    Args:
        path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.fault = ""

    def read(self) -> dict[str, Any] | None:
        """Return what was kept, None when nothing was.

        Raises:
            CorruptStateError: when the file does not check out; it has been put aside as ``.bad``.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self.fault = f"{error.strerror}: {self._path}"
            return None
        body = content[len(_MAGIC) + 4 :]
        check = int.from_bytes(content[len(_MAGIC) : len(_MAGIC) + 4], "little")
        try:
            if not content.startswith(_MAGIC) or zlib.crc32(body) != check:
                raise CorruptStateError(str(self._path), "its checksum is wrong")
            kept = msgspec.msgpack.decode(body)
            if not isinstance(kept, dict):
                raise CorruptStateError(str(self._path), "it does not hold a state")
        except (CorruptStateError, msgspec.DecodeError) as error:
            self.put_aside()
            raise CorruptStateError(str(self._path), str(error)) from error
        return kept

    def write(self, state: dict[str, Any]) -> bool:
        """Keep a state; return whether the disk took it, else `fault` says why."""
        body = msgspec.msgpack.encode(state)
        aside = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                with os.fdopen(file, "wb", closefd=False) as stream:
                    stream.write(_MAGIC + zlib.crc32(body).to_bytes(4, "little") + body)
                os.fsync(file)
            finally:
                os.close(file)
            aside.replace(self._path)
        except OSError as error:
            self.fault = f"{error.strerror}: {self._path}"
            return False
        self.fault = ""
        return True

    def put_aside(self) -> None:
        """Keep a file that is no use for whoever wants to look at it."""
        try:
            self._path.replace(self._path.with_suffix(".bad"))
        except OSError as error:
            self.fault = f"{error.strerror}: {self._path}"
