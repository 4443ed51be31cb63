"""How the parts of the plant are: from the file that the supervisor keeps, else this role alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from shoal.api.live.state import RoleHealth, RoleStatus

SILENT_AFTER_S: Final = 150.0
_STATUS: Final[dict[str, RoleStatus]] = {
    "up": "up",
    "ready": "up",
    "starting": "starting",
    "backoff": "starting",
}


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the supervisor's file; a status that is not known here counts as down."""

    role: str
    status: str
    restarts: int = 0
    since_ms: int | None = None


_ENTRIES: Final = msgspec.json.Decoder(list[_Kept])


class RoleFile:
    """Reads `<data_dir>/run/roles.json`; calling it returns the health of every role.

    Args:
        path: The file.
        message_age_s: Wall time since the last live message; when given, long silence is shown as a part that is
            down, because everything else on the page is then old.
        since_ms: When this role started, for a plant without the file.
    """

    def __init__(
        self, path: Path, *, message_age_s: Callable[[], float | None] | None = None, since_ms: int
    ) -> None:
        self._path = path
        self._message_age_s = message_age_s
        self._since_ms = since_ms
        self._silent_since_ms: int | None = None

    def __call__(self) -> list[RoleHealth]:
        """Return every role; a file that cannot be read counts as none."""
        health = self._from_file() or [
            RoleHealth(role="api", status="up", restarts=0, since_ms=self._since_ms)
        ]
        age_s = None if self._message_age_s is None else self._message_age_s()
        if age_s is None or age_s <= SILENT_AFTER_S:
            self._silent_since_ms = None
            return health
        if self._silent_since_ms is None:
            self._silent_since_ms = int((time.time() - age_s) * 1_000)
        silent = RoleHealth(role="live messages", status="down", restarts=0, since_ms=self._silent_since_ms)
        return [*health, silent]

    def _from_file(self) -> list[RoleHealth]:
        try:
            entries = _ENTRIES.decode(self._path.read_bytes())
        except (OSError, msgspec.DecodeError):
            return []
        return [
            RoleHealth(
                role=entry.role,
                status=_STATUS.get(entry.status, "down"),
                restarts=entry.restarts,
                since_ms=entry.since_ms,
            )
            for entry in entries
        ]
