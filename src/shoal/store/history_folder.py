"""The place where history lives: a folder of this machine, or any other that fsspec knows.

Both offer the same few things: list, write durably, rename, remove, read, and the address by which DuckDB finds a file. On this
machine a file is synced before it gets its name; an object store shows a file only when it is complete.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final, Protocol

from shoal.domain.errors import InvalidInputError, UnavailableError

Fill = Callable[[IO[bytes]], None]
Tree = dict[str, list[str]]
_SETTLED_NS: Final = 1_000_000_000
_BUFFER_BYTES: Final = 1 << 20


class Folder(Protocol):
    """Where history lives; every path is relative to it, with ``/`` between."""

    address: str

    def tree(self, sub: str, *, folders: Callable[[str], bool] | None = None) -> Tree:
        """Return the names of the files in each folder directly below `sub`, hidden ones too.

        Args:
            sub: The folder; when it is not there the answer is empty.
            folders: Which of its folders are wanted, by name.
        """
        ...

    def names(self, sub: str) -> list[str]:
        """Return the names of the files in one folder, none when it is not there."""
        ...

    def write(self, path: str, fill: Fill) -> None:
        """Write a file by `fill`; when this returns it is durable and complete."""
        ...

    def rename(self, old: str, new: str) -> bool:
        """Give a file its name, durably; return False when there is no such file."""
        ...

    def remove(self, path: str) -> bool:
        """Remove a file; return False when there is no such file."""
        ...

    def remove_folder(self, sub: str) -> None:
        """Remove a folder with everything in it."""
        ...

    def read(self, path: str) -> bytes | None:
        """Return a small file, None when it is not there."""
        ...

    def open(self, path: str) -> IO[bytes]:
        """Open a file for reading at any place.

        Raises:
            FileNotFoundError: when it is not there.
        """
        ...

    def age_s(self, path: str) -> float:
        """Return how long ago a file was written, in machine time; 0 when it is not there."""
        ...

    def size(self, path: str) -> int:
        """Return a file's size in bytes; 0 when it is not there."""
        ...

    def url(self, path: str) -> str:
        """Return the address by which DuckDB finds a file."""
        ...

    def register(self, database: Any) -> None:
        """Teach a DuckDB connection to read from here."""
        ...


class LocalFolder:
    """A folder of this machine."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._seen: dict[str, tuple[int, list[str]]] = {}
        self.address = str(self._root)

    def tree(self, sub: str, *, folders: Callable[[str], bool] | None = None) -> Tree:
        """See `Folder`. A folder that has not changed since it was listed is not listed again."""
        found: Tree = {}
        now_ns = time.time_ns()
        with suppress(FileNotFoundError), os.scandir(self._root / sub) as entries:
            for entry in entries:
                if folders is not None and not folders(entry.name):
                    continue
                with suppress(FileNotFoundError, NotADirectoryError):
                    changed_ns = entry.stat().st_mtime_ns
                    seen_ns, names = self._seen.get(entry.path, (0, []))
                    if seen_ns != changed_ns:
                        names = os.listdir(entry.path)  # noqa: PTH208 - names only, and many of them
                        # a change within the clock's grain of the last one would go unseen
                        if now_ns - changed_ns > _SETTLED_NS:
                            self._seen[entry.path] = (changed_ns, names)
                    found[entry.name] = names
        return found

    def names(self, sub: str) -> list[str]:
        """See `Folder`."""
        try:
            return sorted(os.listdir(self._root / sub))  # noqa: PTH208 - names only
        except FileNotFoundError:
            return []

    def write(self, path: str, fill: Fill) -> None:
        """See `Folder`."""
        target = self._root / path
        new = [folder for folder in target.parents if not folder.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb", buffering=_BUFFER_BYTES) as sink:
            fill(sink)
            sink.flush()
            os.fsync(sink.fileno())
        for folder in {target.parent, *(made.parent for made in new)}:
            sync_folder(folder)

    def rename(self, old: str, new: str) -> bool:
        """See `Folder`."""
        try:
            (self._root / old).replace(self._root / new)
        except FileNotFoundError:
            return False
        sync_folder((self._root / new).parent)
        return True

    def remove(self, path: str) -> bool:
        """See `Folder`."""
        try:
            (self._root / path).unlink()
        except FileNotFoundError:
            return False
        return True

    def remove_folder(self, sub: str) -> None:
        """See `Folder`."""
        shutil.rmtree(self._root / sub, ignore_errors=True)

    def read(self, path: str) -> bytes | None:
        """See `Folder`."""
        try:
            return (self._root / path).read_bytes()
        except FileNotFoundError:
            return None

    def open(self, path: str) -> IO[bytes]:
        """See `Folder`."""
        return (self._root / path).open("rb")

    def age_s(self, path: str) -> float:
        """See `Folder`."""
        try:
            return time.time() - (self._root / path).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def size(self, path: str) -> int:
        """See `Folder`."""
        try:
            return (self._root / path).stat().st_size
        except FileNotFoundError:
            return 0

    def url(self, path: str) -> str:
        """See `Folder`."""
        return str(self._root / path)

    def register(self, database: Any) -> None:
        """See `Folder`: DuckDB reads files by itself."""


class ObjectFolder:
    """A folder behind fsspec: an object store, or memory in tests.

    Args:
        url: ``s3://bucket/path``, ``memory://path`` and the like.
        options: What the filesystem takes, such as an endpoint.

    Raises:
        UnavailableError: when the package for this kind of store is not installed.
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        try:
            import fsspec  # type: ignore[import-untyped]
        except ImportError as error:
            raise UnavailableError(
                f"history {url}", "install shoal[objects] for stores behind fsspec"
            ) from error
        try:
            self._files, self._root = fsspec.core.url_to_fs(url, **dict(options or {}))
        except ImportError as error:
            raise UnavailableError(f"history {url}", str(error)) from error
        except ValueError as error:
            raise InvalidInputError(field="history.url", value=url, fix=str(error)) from error
        self._root = self._root.rstrip("/")
        self.address = str(self._files.unstrip_protocol(self._root))

    def tree(self, sub: str, *, folders: Callable[[str], bool] | None = None) -> Tree:
        """See `Folder`."""
        self._files.invalidate_cache()
        base = self._at(sub)
        found: Tree = {}
        try:
            paths = self._files.find(base)
        except FileNotFoundError:
            return found
        for path in paths:
            folder, _, name = path.removeprefix(base).strip("/").rpartition("/")
            if folder and (folders is None or folders(folder)):
                found.setdefault(folder, []).append(name)
        return found

    def names(self, sub: str) -> list[str]:
        """See `Folder`."""
        self._files.invalidate_cache()
        try:
            return sorted(path.rpartition("/")[2] for path in self._files.ls(self._at(sub), detail=False))
        except FileNotFoundError:
            return []

    def write(self, path: str, fill: Fill) -> None:
        """See `Folder`."""
        self._files.makedirs(self._at(path).rpartition("/")[0], exist_ok=True)
        with self._files.open(self._at(path), "wb") as sink:
            fill(sink)

    def rename(self, old: str, new: str) -> bool:
        """See `Folder`. A store without renaming copies, then removes; the copy shows itself when it is whole."""
        try:
            self._files.mv(self._at(old), self._at(new))
        except FileNotFoundError:
            return False
        return True

    def remove(self, path: str) -> bool:
        """See `Folder`."""
        try:
            self._files.rm_file(self._at(path))
        except (FileNotFoundError, KeyError):
            return False
        return True

    def remove_folder(self, sub: str) -> None:
        """See `Folder`."""
        with suppress(FileNotFoundError):
            self._files.rm(self._at(sub), recursive=True)

    def read(self, path: str) -> bytes | None:
        """See `Folder`."""
        try:
            content: bytes = self._files.cat_file(self._at(path))
        except FileNotFoundError:
            return None
        return content

    def open(self, path: str) -> IO[bytes]:
        """See `Folder`."""
        opened: IO[bytes] = self._files.open(self._at(path), "rb")
        return opened

    def age_s(self, path: str) -> float:
        """See `Folder`."""
        try:
            return time.time() - float(self._files.modified(self._at(path)).timestamp())
        except FileNotFoundError:
            return 0.0

    def size(self, path: str) -> int:
        """See `Folder`."""
        try:
            return int(self._files.size(self._at(path)))
        except FileNotFoundError:
            return 0

    def url(self, path: str) -> str:
        """See `Folder`."""
        return f"{self.address}/{path}"

    def register(self, database: Any) -> None:
        """See `Folder`."""
        database.register_filesystem(self._files)

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"


def open_folder(place: Path | str, options: Mapping[str, Any] | None = None) -> Folder:
    """Return the folder at a path or URL; it need not exist yet.

    Raises:
        UnavailableError: see `ObjectFolder`.
        InvalidInputError: when the URL names no kind of store.
    """
    if isinstance(place, Path) or "://" not in place:
        return LocalFolder(Path(place))
    if place.startswith("file://"):
        return LocalFolder(Path(place.removeprefix("file://")))
    return ObjectFolder(place, options)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
