"""What is fresh: a small file a feed, written whole after each round, read by whoever asks."""

from __future__ import annotations

import os
import tempfile
from enum import StrEnum
from pathlib import Path

import msgspec

from shoal.connect.feeds.feed import FeedDescription
from shoal.domain.interval import NS_PER_S

_ROUNDS_MISSED = 3


class Freshness(StrEnum):
    """How a feed stands."""

    NEVER = "never"
    """Nothing was ever got."""
    FRESH = "fresh"
    STALE = "stale"
    """Its newest interval is too old, or nothing could be got for three rounds."""


class FeedState(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a feed's rounds.

    Attributes:
        name: The feed.
        tried_ns: When it was last asked.
        succeeded_ns: When a round last ended without an error; 0 for never.
        newest_end_ns: The end of the latest interval of any of its facts; 0 for none.
        values_total: Values that were handed on.
        quarantined_total: Records that were set aside.
        errors_in_a_row: Rounds that ended with an error since the last one that did not.
        last_error: What was wrong last time; empty when nothing was.
    """

    name: str
    tried_ns: int = 0
    succeeded_ns: int = 0
    newest_end_ns: int = 0
    values_total: int = 0
    quarantined_total: int = 0
    errors_in_a_row: int = 0
    last_error: str = ""

    def after_round(
        self, *, now_ns: int, newest_end_ns: int | None, values: int, quarantined: int, error: str
    ) -> FeedState:
        """Return the state after one more round; `error` is empty when there was none."""
        return FeedState(
            name=self.name,
            tried_ns=now_ns,
            succeeded_ns=self.succeeded_ns if error else now_ns,
            newest_end_ns=max(self.newest_end_ns, newest_end_ns or 0),
            values_total=self.values_total + values,
            quarantined_total=self.quarantined_total + quarantined,
            errors_in_a_row=self.errors_in_a_row + 1 if error else 0,
            last_error=error,
        )

    def freshness(self, told: FeedDescription, now_ns: int) -> Freshness:
        """Return how the feed stands at an instant."""
        if not self.newest_end_ns:
            return Freshness.NEVER
        behind_s = (now_ns - self.newest_end_ns) / NS_PER_S
        silent_s = (now_ns - self.succeeded_ns) / NS_PER_S
        late = behind_s > told.stale_after_s or silent_s > _ROUNDS_MISSED * told.cadence_s + told.delay_s
        return Freshness.STALE if late else Freshness.FRESH


class FeedStates:
    """The states in one folder; made when something is first written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, name: str) -> FeedState:
        """Return the state of a feed; an empty one when there is none, or none that can be read."""
        try:
            state = msgspec.json.decode(self._path(name).read_bytes(), type=FeedState)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return FeedState(name=name)
        return state if state.name == name else FeedState(name=name)

    def save(self, state: FeedState) -> None:
        """Write a state in one piece.

        Raises:
            OSError: when the disk refuses.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self._folder, prefix=".")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.encode(state))
            Path(temporary).replace(self._path(state.name))
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"
