"""Opens what providers pack: ZIP archives, with limits that a hostile or broken one cannot pass.

Sizes in a header are claims; what counts is what comes out, and reading stops there.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import Final

from shoal.connect.feeds.feed import FeedError

MAX_MEMBERS: Final = 64
MAX_UNPACKED_BYTES: Final = 256 << 20
_CHUNK_BYTES: Final = 1 << 20
_MAGIC: Final = b"PK\x03\x04"
_EMPTY: Final = b"PK\x05\x06"


def is_zip(content: bytes) -> bool:
    """Whether the bytes begin as a ZIP archive does."""
    return content.startswith((_MAGIC, _EMPTY))


def unpacked(
    feed: str, content: bytes, *, suffix: str, max_bytes: int = MAX_UNPACKED_BYTES
) -> list[tuple[str, bytes]]:
    """Return the members of a ZIP archive whose names end in `suffix` (any case), by name.

    Args:
        feed: Whose archive it is, for the error.
        content: The archive.
        suffix: E.g. ``.csv``.
        max_bytes: The most that all of them together may hold.

    Raises:
        FeedError: when the archive is broken, encrypted, too large or has no such member.
    """
    try:
        return _members(feed, content, suffix, max_bytes)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ) as error:
        if isinstance(error, FeedError):
            raise
        raise FeedError(
            feed=feed,
            field="archive",
            value=f"{len(content)} bytes",
            fix=f"the ZIP archive is broken or cut off ({type(error).__name__}); fetch it again",
        ) from error


def _members(feed: str, content: bytes, suffix: str, max_bytes: int) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise _too_much(feed, f"{len(members)} members", f"at most {MAX_MEMBERS} are taken")
        wanted = sorted((m for m in members if m.filename.lower().endswith(suffix)), key=lambda m: m.filename)
        if not wanted:
            raise FeedError(
                feed=feed,
                field="archive",
                value=", ".join(m.filename for m in members),
                fix=f"there is no file {suffix} in it: see whether the provider changed the format",
            )
        found: list[tuple[str, bytes]] = []
        left_bytes = max_bytes
        for member in wanted:
            parts: list[bytes] = []
            with archive.open(member) as stream:
                while part := stream.read(_CHUNK_BYTES):
                    left_bytes -= len(part)
                    if left_bytes < 0:
                        raise _too_much(feed, member.filename, f"it unpacks to more than {max_bytes} bytes")
                    parts.append(part)
            found.append((member.filename, b"".join(parts)))
        return found


def _too_much(feed: str, value: str, why: str) -> FeedError:
    return FeedError(feed=feed, field="archive", value=value, fix=f"{why}: it is not what this feed gives")
