"""What the command and the role of feeds share: which feeds, for which places, with which keys, and where facts go."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from shoal.cli.roles.host import sqlite_url
from shoal.connect.feeds.cache import DocumentCache
from shoal.connect.feeds.catalogue import catalogue, places
from shoal.connect.feeds.entsoe import SECRET
from shoal.connect.feeds.feed import Feed
from shoal.connect.feeds.fetch import CONTACT_VARIABLE, Fetcher
from shoal.connect.feeds.state import FeedStates
from shoal.domain.errors import InvalidInputError, SettingsError
from shoal.runtime.settings import Settings

SEPARATOR: Final = ";"


def feeds_for(settings: Settings, given: Sequence[str] = ()) -> dict[str, Feed]:
    """Return every feed by its name, for the places that are given, else for those of the settings.

    Raises:
        FeedError: when a place cannot be.
    """
    return catalogue(places(given or _parts(settings.feeds.places)))


def chosen_feeds(settings: Settings) -> list[Feed]:
    """Return the feeds that the settings name.

    Raises:
        SettingsError: when they name none, or one that does not exist.
        FeedError: when a place cannot be.
    """
    feeds = feeds_for(settings)
    found: dict[str, Feed] = {}
    for pattern in filter(None, settings.feeds.names.split(",")):
        named = {name: feeds[name] for name in fnmatch.filter(feeds, pattern)}
        if not named:
            raise SettingsError(field="feeds.names", value=pattern, fix=f"give some of {', '.join(feeds)}")
        found |= named
    if not found:
        raise SettingsError(field="feeds.names", value="", fix=f"name what to poll: {', '.join(feeds)}")
    return list(found.values())


def secrets_of(settings: Settings) -> dict[str, str]:
    """Return the keys and the contact by the environment variable that may hold them; the settings go first."""
    return {
        SECRET.variable: settings.feeds.entsoe_token or os.environ.get(SECRET.variable, ""),
        CONTACT_VARIABLE: settings.feeds.contact or os.environ.get(CONTACT_VARIABLE, ""),
    }


def missing(feed: Feed, secrets: Mapping[str, str]) -> str:
    """Return what a feed still needs, and how to get it; empty when nothing."""
    told = feed.description
    if told.secret is not None and not secrets.get(told.secret.variable):
        return f"{told.secret.variable}: {told.secret.source}"
    if told.needs_contact and not secrets.get(CONTACT_VARIABLE):
        return f"{CONTACT_VARIABLE}: a mail or web address that tells the provider who asks"
    return ""


def open_fetcher(settings: Settings, mirrors: Sequence[str], *, now_ns: Callable[[], int]) -> Fetcher:
    """Return a fetcher with the plant's cache and keys.

    Args:
        settings: The plant's.
        mirrors: Other places of documents, ``URL=URL``; else those of the settings.
        now_ns: The plant's clock.

    Raises:
        InvalidInputError: when a mirror is no pair of addresses.
    """
    other: dict[str, str] = {}
    for text in mirrors or _parts(settings.feeds.mirrors):
        begin, equals, place = text.partition("=")
        if not equals or not begin.startswith("http") or not place.startswith("http"):
            raise InvalidInputError(
                field="mirror", value=text, fix="give two addresses with '=' between them"
            )
        other[begin] = place
    secrets = secrets_of(settings)
    return Fetcher(
        cache=DocumentCache(settings.data_dir / "feeds" / "cache", max_bytes=settings.feeds.cache_max_bytes),
        now_ns=now_ns,
        contact=secrets.pop(CONTACT_VARIABLE),
        use_proxy=settings.feeds.use_proxy,
        secrets=secrets,
        mirrors=other,
    )


def feed_states(settings: Settings) -> FeedStates:
    """Return where it is written what is fresh."""
    return FeedStates(settings.data_dir / "feeds" / "state")


def facts_url(settings: Settings) -> str:
    """Return the database of the knowledge store."""
    return settings.bidding.database_url or sqlite_url(settings, "registry.db")


def _parts(text: str) -> list[str]:
    return [part for part in text.split(SEPARATOR) if part]
