"""Copies of fetched documents on disk, up to a size; the one unused for longest goes first.

A copy is one file with its own digest, written beside its place and moved there, so a crash leaves the old copy or the
new one. A damaged copy is no copy.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

import msgspec

from shoal.connect.feeds.gather import whole

_SUFFIX: Final = ".feed"
_FORMAT: Final = 1
_PART: Final = ".part-"
_ABANDONED_S: Final = 3_600.0


class Copy(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A fetched document.

    Attributes:
        format: The form of the file.
        url: Where it was, without any secret.
        etag: What the provider called this version; empty when it did not.
        last_modified: When the provider says it was made, as it says it.
        fresh_until_ns: Until when the provider asks not to ask again.
        digest: Of the body.
        body: The document.
    """

    format: int
    url: str
    etag: str
    last_modified: str
    fresh_until_ns: int
    digest: str
    body: bytes


def digest_of(body: bytes) -> str:
    """Return the digest of a document."""
    return hashlib.blake2b(body, digest_size=16).hexdigest()


class DocumentCache:
    """The copies in one folder; several processes may share it.

    Args:
        folder: Where; made when it is needed.
        max_bytes: The most that the copies may take together.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def get(self, url: str) -> Copy | None:
        """Return the copy of a document, None when there is no sound one."""
        path = self._path(url)
        try:
            copy = msgspec.msgpack.decode(path.read_bytes(), type=Copy)
            os.utime(path)
        except (OSError, msgspec.DecodeError):
            return None
        if copy.format != _FORMAT or copy.url != url or digest_of(copy.body) != copy.digest:
            return None
        return copy

    def put(
        self, url: str, body: bytes, *, etag: str = "", last_modified: str = "", fresh_until_ns: int = 0
    ) -> None:
        """Keep a copy, and let the oldest go until all fit; one that is too large for itself alone is not kept.

        Raises:
            OSError: when the disk refuses.
        """
        if len(body) > self._max_bytes:
            self.forget(url)
            return
        copy = Copy(
            format=_FORMAT,
            url=url,
            etag=etag,
            last_modified=last_modified,
            fresh_until_ns=fresh_until_ns,
            digest=digest_of(body),
            body=body,
        )
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self._folder, prefix=_PART)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.msgpack.encode(copy))
            Path(temporary).replace(self._path(url))
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
        self._trim()

    def forget(self, url: str) -> None:
        """Drop the copy of a document, if there is one."""
        self._path(url).unlink(missing_ok=True)

    def size_bytes(self) -> int:
        """Return how much the copies take."""
        return sum(size for _, size, _ in self._files())

    def _trim(self) -> None:
        for path in self._folder.glob(f"{_PART}*"):  # of a process that was killed while it wrote
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _ABANDONED_S:
                    path.unlink()
        files = sorted(self._files())
        total_bytes = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total_bytes <= self._max_bytes:
                return
            path.unlink(missing_ok=True)
            total_bytes -= size

    def _files(self) -> list[tuple[int, int, Path]]:
        found: list[tuple[int, int, Path]] = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            try:
                stat = path.stat()
            except FileNotFoundError:  # another process let it go
                continue
            found.append((stat.st_mtime_ns, stat.st_size, path))
        return found

    def _path(self, url: str) -> Path:
        return self._folder / f"{digest_of(url.encode())}{_SUFFIX}"


def fresh_for_s(headers: Mapping[str, str]) -> float:
    """Return for how long a provider asks not to be asked again: ``Cache-Control: max-age``, or ``Expires``.

    Args:
        headers: Of an answer; looked up without regard to case.
    """
    for part in headers.get("Cache-Control", "").lower().split(","):
        name, _, value = part.strip().partition("=")
        if name == "no-cache":
            return 0.0
        if name == "max-age":
            return float(whole(value) or 0)
    expires, sent = _date(headers.get("Expires", "")), _date(headers.get("Date", ""))
    if expires is None or sent is None:
        return 0.0
    return max(0.0, (expires - sent).total_seconds())


def _date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else None
