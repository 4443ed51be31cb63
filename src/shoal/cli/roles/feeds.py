"""The feeds role: polls public feeds into the knowledge store, each on its own calendar and none at the cost of another.

It needs the database and nothing else of the plant. A provider that is away makes its own facts stale and no more; a
database that takes nothing makes the role not ready until it takes facts again, and what it did not take is given anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import structlog
from sqlalchemy import Engine

from shoal.cli.feeds_setup import chosen_feeds, facts_url, feed_states, missing, open_fetcher, secrets_of
from shoal.cli.feeds_store import FeedFacts, known_series
from shoal.cli.roles.host import Host
from shoal.connect.feeds.feed import Feed
from shoal.connect.feeds.poll import FeedPoller
from shoal.connect.feeds.state import Freshness
from shoal.domain.errors import SettingsError, ShoalError, UnavailableError
from shoal.domain.facts import Facts
from shoal.domain.interval import NS_PER_S
from shoal.runtime.settings import Settings
from shoal.store.database import migrate, open_database
from shoal.store.facts import FactStore

LOOK_S: Final = 5.0
"""How often a feed looks whether its round is due, in plant time."""
COUNT_EVERY_S: Final = 30.0
"""Machine time between two looks at what is stale in the store."""
_REOPEN_S: Final = 2.0
_log = structlog.get_logger(__name__)


async def feeds(host: Host) -> None:
    """Poll the feeds that the settings name until the clock stops.

    Raises:
        SettingsError: when they name none that can be polled.
    """
    wanted = usable_feeds(host.settings)
    engine = await _opened(host)
    store = FactStore(engine)
    kept = FeedFacts(store)
    known: dict[str, int] = {"series": 0, "stale": 0, "quarantined_total": 0}

    async def keep(facts: Sequence[Facts]) -> Mapping[str, int]:
        try:
            broken = await asyncio.to_thread(kept.keep, facts)
        except ShoalError as error:
            host.not_ready = f"facts cannot be kept: {error}"
            raise
        host.not_ready = ""
        return broken

    try:
        async with open_fetcher(host.settings, (), now_ns=host.clock.now_ns) as fetcher:
            poller = FeedPoller(
                wanted,
                fetcher=fetcher,
                sink=keep,
                clock=host.clock,
                states=feed_states(host.settings),
                look_s=LOOK_S,
            )
            host.ops.register("feed", lambda: metrics_of(poller, wanted, now_ns=host.clock.now_ns()))
            host.ops.register("fetch", fetcher.statistics)
            host.ops.register("known", lambda: known)
            host.ready(feeds=len(wanted))
            counting = asyncio.create_task(_count(host, store, known))
            try:
                await poller.run()
            finally:
                counting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await counting
    finally:
        engine.dispose()


def usable_feeds(settings: Settings) -> list[Feed]:
    """Return the feeds that the settings name and that lack nothing; it is said what the others lack.

    Raises:
        SettingsError: when none is left.
    """
    secrets = secrets_of(settings)
    usable, needs = [], ""
    for feed in chosen_feeds(settings):
        needed = missing(feed, secrets)
        if needed:
            needs = needed
            _log.warning("feed_left_out", feed=feed.description.name, needs=needed)
        else:
            usable.append(feed)
    if not usable:
        raise SettingsError(
            field="feeds.names", value=settings.feeds.names, fix=f"each of them needs {needs}"
        )
    return usable


def metrics_of(poller: FeedPoller, wanted: Sequence[Feed], *, now_ns: int) -> dict[str, dict[str, float]]:
    """Return the counters of a poller by field, then by feed."""
    found: dict[str, dict[str, float]] = {}
    for name, told in poller.statistics().feeds.items():
        for field, value in (
            ("rounds_total", told.rounds_total),
            ("facts_total", told.facts_total),
            ("values_total", told.values_total),
            ("duplicates_total", told.duplicates_total),
            ("corrected_total", told.corrected_total),
            ("quarantined_total", sum(told.quarantined_total.values())),
            ("errors_total", told.errors_total),
            ("sink_errors_total", told.sink_errors_total),
            ("errors_in_a_row", told.errors_in_a_row),
            ("newest_end_s", told.newest_end_ns / NS_PER_S),
            ("due_in_s", max(told.due_ns - now_ns, 0) / NS_PER_S),
        ):
            found.setdefault(field, {})[name] = float(value)
    documents: Counter[str] = Counter()
    for told in poller.statistics().feeds.values():
        documents.update(told.documents_total)
    found["documents_total"] = {outcome: float(count) for outcome, count in documents.items()}
    states = poller.states()
    found["fresh"] = {
        feed.description.name: float(
            states[feed.description.name].freshness(feed.description, now_ns) is Freshness.FRESH
        )
        for feed in wanted
    }
    return found


async def _opened(host: Host) -> Engine:
    """Return the migrated database, waiting until it is there."""
    url = facts_url(host.settings)
    while True:
        try:
            await asyncio.to_thread(migrate, url)
        except UnavailableError as error:
            host.not_ready = str(error)
            _log.warning("waiting", until="the knowledge store is there", why=str(error))
            await asyncio.sleep(_REOPEN_S)
        else:
            return open_database(url)


async def _count(host: Host, store: FactStore, known: dict[str, int]) -> None:
    """Count now and then what is stale and what was set aside, for the metrics; a look that fails is left out."""
    while True:
        try:
            found = await asyncio.to_thread(known_series, store, host.clock.now_ns())
        except ShoalError as error:
            _log.warning("knowledge_not_counted", why=str(error))
        else:
            known["series"] = len(found)
            known["stale"] = sum(item.stale for item in found)
            known["quarantined_total"] = sum(item.quarantined for item in found)
        await asyncio.sleep(COUNT_EVERY_S)
