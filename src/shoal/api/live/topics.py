"""The parts of the live state by topic, and the board on which each part stands with the number of its last change.

Because every part knows when it changed, whoever holds the state as of some number is brought up to date in one message,
however long that took: a client that reads slowly, or comes back, needs no queue and misses nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from shoal.api.live.state import FleetSeries

TOPICS: Final[Mapping[str, tuple[str, ...]]] = {
    "now": ("now_ms", "zone", "speed", "run"),
    "fleet": ("fleet", "twins", "groups", "resources", "next_gate"),
    "series": ("fleet_series",),
    "alarms": ("alarms", "alerts"),
    "market": ("prices", "bids", "delivery", "money"),
    "runs": ("runs",),
    "system": ("health", "quarantine"),
}
SERIES: Final = "fleet_series"
CLOCK: Final = frozenset({"now_ms", "run"})
"""Parts that change all the time and are no news by themselves."""
CHUNKS_KEPT: Final = 1_000
"""Points of the series are kept by flush for so many flushes; who is farther behind gets the whole series."""


def known_topics(names: Iterable[str]) -> tuple[str, ...]:
    """Return those names that are topics of the state, in order; `now` always is one."""
    wanted = {"now", *names}
    return tuple(name for name in TOPICS if name in wanted)


@dataclass(slots=True)
class _Part:
    """One part, and when it changed last; encoded when somebody needs it."""

    value: Callable[[], Any]
    changed_seq: int
    text: bytes | None = field(default=None, repr=False)

    def encoded(self) -> bytes:
        if self.text is None:
            self.text = msgspec.json.encode(self.value())
        return self.text


class Board:
    """Every part of the live state with the number of its last change, and the feeds beside them."""

    def __init__(self) -> None:
        self.seq = 0
        self._parts: dict[str, _Part] = {}
        self._feeds: dict[str, _Part] = {}
        self._series: deque[tuple[int, bytes]] = deque(maxlen=CHUNKS_KEPT)
        self._series_since = 0
        self._texts: dict[tuple[Any, ...], tuple[str, bool]] = {}

    # -- writing

    def begin(self, parts: Mapping[str, Any]) -> None:
        """Put up the whole state."""
        self._parts = {name: _Part(_always(value), self.seq) for name, value in parts.items()}
        self._series.clear()
        self._series_since = self.seq
        self._texts.clear()

    def change(
        self, parts: Mapping[str, Any], points: FleetSeries | None, series: Callable[[], FleetSeries]
    ) -> None:
        """Take a flush: parts that are new, points by which the series grew, and the series as it is now.

        The series is replaced when it is among the parts. It is long, so it is only made when somebody needs all of it.
        """
        self.seq += 1
        self._texts.clear()
        for name, value in parts.items():
            if name == SERIES:
                self._series.clear()
                self._series_since = self.seq
            self._parts[name] = _Part(_always(value), self.seq)
        if points is not None:
            if len(self._series) == self._series.maxlen:
                self._series_since = self._series[0][0]
            self._series.append((self.seq, msgspec.json.encode(points)))
            self._parts[SERIES] = _Part(series, self.seq)

    def put_feed(self, name: str, value: Any) -> None:
        """Take what a feed says now, for the next flush; the same again is no news."""
        text = msgspec.json.encode(value)
        held = self._feeds.get(name)
        if held is None or held.text != text:
            self._feeds[name] = _Part(_always(value), self.seq + 1, text)

    def drop_feed(self, name: str) -> None:
        """Forget a feed that nobody follows any more."""
        self._feeds.pop(name, None)

    # -- reading

    def snapshot(self, topics: Sequence[str], feeds: Sequence[str], *, epoch: str) -> str:
        """Return everything of some topics as a message."""
        key = ("snapshot", tuple(topics), tuple(feeds))
        held = self._texts.get(key)
        if held is None:
            state = [(name, self._parts[name].encoded()) for name in _names(topics) if name in self._parts]
            said = [(name, self._feeds[name].encoded()) for name in feeds if name in self._feeds]
            text = (
                b'{"kind":"snapshot","seq":%d,"epoch":%b,"state":%b,"feeds":%b}'
                % (self.seq, msgspec.json.encode(epoch), _object(state), _object(said))
            ).decode()
            held = self._texts[key] = (text, True)
        return held[0]

    def delta(
        self,
        since: int,
        topics: Sequence[str],
        feeds: Sequence[str],
        *,
        whole: Iterable[str] = (),
    ) -> tuple[str, bool]:
        """Return what changed after a number as a message, and whether it is more than the clock.

        Args:
            since: Up to where the reader is.
            topics: What the reader follows.
            feeds: Feeds that the reader follows.
            whole: Topics and feeds of which the reader has nothing yet.
        """
        fresh = frozenset(whole)
        key = (since, tuple(topics), tuple(feeds), fresh)
        held = self._texts.get(key)
        if held is None:
            held = self._texts[key] = self._delta(since, topics, feeds, fresh)
        return held

    def _delta(
        self, since: int, topics: Sequence[str], feeds: Sequence[str], fresh: frozenset[str]
    ) -> tuple[str, bool]:
        new_parts = set(_names([name for name in topics if name in fresh]))
        changed: list[tuple[str, bytes]] = []
        append: list[tuple[str, bytes]] = []
        for name in _names(topics):
            part = self._parts.get(name)
            if part is None or (part.changed_seq <= since and name not in new_parts):
                continue
            points = None if name != SERIES or name in new_parts else self._points_after(since)
            if points is None:
                changed.append((name, part.encoded()))
            else:
                append.append((name, points))
        said = [
            (name, self._feeds[name].encoded())
            for name in feeds
            if name in self._feeds and (self._feeds[name].changed_seq > since or name in fresh)
        ]
        parts = b'"set":%b,"append":%b' % (_object(changed), _object(append))
        if said:
            parts += b',"feeds":%b' % _object(said)
        head = b'{"kind":"delta","from":%d,"seq":%d,' % (since, self.seq)
        news = bool(append or said) or any(name not in CLOCK for name, _ in changed)
        return (head + parts + b"}").decode(), news

    def _points_after(self, since: int) -> bytes | None:
        """Return the points by which the series grew after a number; None when only the whole will do."""
        if since < self._series_since:
            return None
        chunks = [text for seq, text in self._series if seq > since]
        if len(chunks) == 1:
            return chunks[0]
        grown = [msgspec.json.decode(text, type=FleetSeries) for text in chunks]
        columns = {
            name: [value for one in grown for value in getattr(one, name)]
            for name in FleetSeries.__struct_fields__
        }
        return msgspec.json.encode(FleetSeries(**columns))


def _always(value: Any) -> Callable[[], Any]:
    return lambda: value


def _names(topics: Iterable[str]) -> list[str]:
    return [name for topic in topics for name in TOPICS.get(topic, ())]


def _object(members: Iterable[tuple[str, bytes]]) -> bytes:
    return b"{" + b",".join(msgspec.json.encode(name) + b":" + text for name, text in members) + b"}"
