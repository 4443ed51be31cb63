"""Polls feeds for ever: each at its cadence, a little late and never all at once; whatever goes wrong, the next round comes.

A document counts as dealt with only after the sink took its facts, so a sink that failed is given them again.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import structlog

from shoal.connect.feeds.collect import Document, documents
from shoal.connect.feeds.feed import Ask, Feed, FeedDescription
from shoal.connect.feeds.fetch import Fetcher, FetchStatistics
from shoal.connect.feeds.state import FeedState, FeedStates
from shoal.domain.clock import Clock, Stage
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.facts import Facts
from shoal.domain.interval import NS_PER_S

Sink: TypeAlias = Callable[[Sequence[Facts]], Awaitable[Mapping[str, int]]]
"""Takes the facts of one document; returns when they are kept, with how many intervals broke their contract, by reason."""

_LOG: Final = structlog.get_logger(__name__)
_MOST_REMEMBERED: Final = 20_000
_FIRST_WAIT_S: Final = 30.0
_MOST_DOUBLINGS: Final = 10
_JITTER_FRAC: Final = 0.1
_MOST_JITTER_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedStatistics:
    """One feed since the poller began.

    Attributes:
        rounds_total: Rounds begun.
        documents_total: Documents by what their requests came to.
        facts_total: Facts handed to the sink.
        values_total: Values in them.
        duplicates_total: Records that repeated another of their document.
        corrected_total: Records that replaced another of their document.
        quarantined_total: Records set aside by the parser, and intervals that broke their contract, by reason.
        errors_total: Documents that failed, and rounds that ended with an unforeseen error.
        sink_errors_total: Documents that the sink did not take.
        errors_in_a_row: Rounds that ended with an error since the last one that did not.
        last_error: What was wrong in the last round; empty when nothing was.
        newest_end_ns: The end of the latest interval ever seen; 0 for none.
        due_ns: When the next round begins.
    """

    rounds_total: int
    documents_total: Mapping[str, int]
    facts_total: int
    values_total: int
    duplicates_total: int
    corrected_total: int
    quarantined_total: Mapping[str, int]
    errors_total: int
    sink_errors_total: int
    errors_in_a_row: int
    last_error: str
    newest_end_ns: int
    due_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PollerStatistics:
    """All feeds of a poller.

    Attributes:
        feeds: Each by its name.
        remembered: Documents that need not be read again.
        fetch: What the fetcher has done.
    """

    feeds: Mapping[str, FeedStatistics]
    remembered: int
    fetch: FetchStatistics


class _Tally:
    """The counters of one feed."""

    def __init__(self, state: FeedState) -> None:
        self.state = state
        self.rounds = self.facts = self.values = self.duplicates = self.corrected = 0
        self.errors = self.sink_errors = 0
        self.documents: Counter[str] = Counter()
        self.quarantined: Counter[str] = Counter()
        self.due_ns = 0

    def read(self) -> FeedStatistics:
        return FeedStatistics(
            rounds_total=self.rounds,
            documents_total=dict(self.documents),
            facts_total=self.facts,
            values_total=self.values,
            duplicates_total=self.duplicates,
            corrected_total=self.corrected,
            quarantined_total=dict(self.quarantined),
            errors_total=self.errors,
            sink_errors_total=self.sink_errors,
            errors_in_a_row=self.state.errors_in_a_row,
            last_error=self.state.last_error,
            newest_end_ns=self.state.newest_end_ns,
            due_ns=self.due_ns,
        )


class FeedPoller:
    """Polls some feeds on one event loop.

    Args:
        feeds: Which.
        fetcher: Gets documents.
        sink: Takes facts.
        clock: Says when.
        states: Where it is written what is fresh.
        per_host: Most rounds under way together at one host, so that one that is slow holds up no other.
        look_s: How often a feed looks whether its round is due.
        draw: Even random numbers in [0, 1).

    Raises:
        InvalidInputError: when two feeds have one name, or a number is not positive.
    """

    def __init__(
        self,
        feeds: Sequence[Feed],
        *,
        fetcher: Fetcher,
        sink: Sink,
        clock: Clock,
        states: FeedStates,
        per_host: int = 2,
        look_s: float = 5.0,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._feeds = {feed.description.name: feed for feed in feeds}
        if len(self._feeds) < len(feeds):
            raise InvalidInputError(field="feeds", value=len(feeds), fix="give each feed once")
        if per_host < 1 or not look_s > 0:
            raise InvalidInputError(
                field="per_host, look_s", value=(per_host, look_s), fix="give more than 0"
            )
        self._fetcher = fetcher
        self._sink = sink
        self._clock = clock
        self._states = states
        self._rooms = {_host(feed.description): asyncio.Semaphore(per_host) for feed in feeds}
        self._look_s = look_s
        self._draw = draw
        self._tallies = {name: _Tally(states.load(name)) for name in self._feeds}
        self._dealt_with: OrderedDict[str, str] = OrderedDict()

    async def run(self) -> None:
        """Poll until cancelled."""
        async with asyncio.TaskGroup() as group:
            for feed in self._feeds.values():
                group.create_task(self._watch(feed), name=f"feed {feed.description.name}")

    async def poll(self, name: str) -> FeedState:
        """Do one round of a feed now and return how it stands; no failure of the round is raised.

        Raises:
            UnknownIdError: when there is no such feed.
        """
        if name not in self._feeds:
            raise UnknownIdError("feed", name)
        return await self._round(self._feeds[name])

    def states(self) -> dict[str, FeedState]:
        """Return how each feed stands."""
        return {name: tally.state for name, tally in self._tallies.items()}

    def statistics(self) -> PollerStatistics:
        """Return the counters."""
        return PollerStatistics(
            feeds={name: tally.read() for name, tally in self._tallies.items()},
            remembered=len(self._dealt_with),
            fetch=self._fetcher.statistics(),
        )

    async def _watch(self, feed: Feed) -> None:
        tally = self._tallies[feed.description.name]
        async for tick in self._clock.ticks(Stage.WORLD, self._look_s):
            if tick.t_ns < tally.due_ns:
                continue
            await self._round(feed)
            tally.due_ns = next_due_ns(
                feed.description,
                now_ns=self._clock.now_ns(),
                failures=tally.state.errors_in_a_row,
                draw=self._draw(),
            )

    async def _round(self, feed: Feed) -> FeedState:
        """Do one round. This is the supervisor of a feed: nothing that a round does ends it."""
        name = feed.description.name
        tally = self._tallies[name]
        async with self._rooms[_host(feed.description)]:
            tally.rounds += 1
            before = (tally.values, tally.quarantined.total())
            newest_end_ns, error = None, ""
            try:
                newest_end_ns, error = await self._documents(feed, tally)
            except Exception as failure:  # noqa: BLE001 - see the docstring
                tally.errors += 1
                error = f"{type(failure).__name__}: {failure}"
                _LOG.error("feed_round_failed", feed=name, error=error)
            tally.state = tally.state.after_round(
                now_ns=self._clock.now_ns(),
                newest_end_ns=newest_end_ns,
                values=tally.values - before[0],
                quarantined=tally.quarantined.total() - before[1],
                error=error,
            )
            try:
                await asyncio.to_thread(self._states.save, tally.state)
            except OSError as failure:
                _LOG.error("feed_state_not_written", feed=name, error=str(failure))
        return tally.state

    async def _documents(self, feed: Feed, tally: _Tally) -> tuple[int | None, str]:
        """Hand the documents of a round to the sink; return the newest end and the last error."""
        newest_end_ns, last_error = None, ""
        found = documents(
            feed,
            self._fetcher,
            feed.recent(self._clock.now_ns()),
            now_ns=self._clock.now_ns,
            is_known=self._is_known,
        )
        async for document in found:
            tally.documents["failed" if document.outcome is None else document.outcome.value] += 1
            if document.error is not None:
                tally.errors += 1
                last_error = str(document.error)
                _LOG.warning("feed_document_failed", feed=feed.description.name, error=last_error)
            elif document.reading is not None:
                end_ns = document.reading.newest_end_ns
                failed = await self._hand_on(feed, document, tally)
                last_error = failed or last_error
                if end_ns is not None and not failed:
                    newest_end_ns = max(end_ns, newest_end_ns or 0)
        return newest_end_ns, last_error

    async def _hand_on(self, feed: Feed, document: Document, tally: _Tally) -> str:
        """Give the facts of a document to the sink; return why it did not take them, empty when it did."""
        reading = document.reading
        assert reading is not None
        if reading.facts:
            try:
                broken = await self._sink(reading.facts)
            except Exception as failure:  # noqa: BLE001 - whatever a sink does, the next document comes
                tally.sink_errors += 1
                why = f"the facts could not be kept: {type(failure).__name__}: {failure}"
                _LOG.error("feed_sink_failed", feed=feed.description.name, error=why)
                return why
            tally.quarantined.update(broken)
            if broken:
                _LOG.warning("feed_facts_set_aside", feed=feed.description.name, reasons=dict(broken))
        tally.facts += len(reading.facts)
        tally.values += reading.values_total
        tally.duplicates += reading.duplicates_total
        tally.corrected += reading.corrected_total
        tally.quarantined.update(reading.reasons)
        if reading.quarantined:
            first = reading.quarantined[0]
            _LOG.warning(
                "feed_records_set_aside",
                feed=feed.description.name,
                count=reading.quarantined_total,
                first=f"{first.where}, {first.field}: {first.value!r}: {first.reason}",
            )
        self._dealt_with[document.ask.url] = document.digest
        self._dealt_with.move_to_end(document.ask.url)
        while len(self._dealt_with) > _MOST_REMEMBERED:
            self._dealt_with.popitem(last=False)
        return ""

    def _is_known(self, ask: Ask, digest: str) -> bool:
        return self._dealt_with.get(ask.url) == digest


def _host(told: FeedDescription) -> str:
    return urlsplit(told.url).netloc


def next_due_ns(told: FeedDescription, *, now_ns: int, failures: int, draw: float) -> int:
    """Return when the next round of a feed begins.

    After a success: at the next multiple of the cadence, plus the delay of publication, plus some jitter. After
    failures in a row: after 30 s, doubling, never more than the cadence, half of it drawn.

    Args:
        told: The feed.
        now_ns: Now.
        failures: Rounds in a row that failed.
        draw: An even random number in [0, 1).
    """
    if failures:
        wait_s = min(told.cadence_s, _FIRST_WAIT_S * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))
        return now_ns + int(wait_s * (0.5 + 0.5 * draw) * NS_PER_S)
    cadence_ns, delay_ns = int(told.cadence_s * NS_PER_S), int(told.delay_s * NS_PER_S)
    jitter_s = min(_JITTER_FRAC * told.cadence_s, _MOST_JITTER_S) * draw
    due_ns = ((now_ns - delay_ns) // cadence_ns + 1) * cadence_ns + delay_ns
    return due_ns + int(jitter_s * NS_PER_S)
