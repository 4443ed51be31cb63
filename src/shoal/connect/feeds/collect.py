"""One round of a feed: what a span asks for, listings followed, each document fetched and read; one bad document is one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from shoal.connect.feeds.feed import Ask, Feed, FeedError, Reading
from shoal.connect.feeds.fetch import Fetcher, Outcome
from shoal.domain.errors import ShoalError
from shoal.domain.interval import Interval

MOST_DOCUMENTS: Final = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document of a round.

    Attributes:
        ask: What was asked for.
        outcome: What the request came to; None when it failed.
        digest: Of the document.
        reading: What it says; None when it was not read.
        error: Why it was not fetched or could not be used.
    """

    ask: Ask
    outcome: Outcome | None = None
    digest: str = ""
    reading: Reading | None = None
    error: ShoalError | None = None


async def documents(
    feed: Feed,
    fetcher: Fetcher,
    span: Interval,
    *,
    now_ns: Callable[[], int],
    is_known: Callable[[Ask, str], bool] = lambda _ask, _digest: False,
) -> AsyncIterator[Document]:
    """Yield the documents of a span, oldest first, each as soon as it is read.

    Args:
        feed: The feed.
        fetcher: Gets documents.
        span: Of which intervals.
        now_ns: The plant's clock: when a document is in hand, its facts are known.
        is_known: Whether a document of this digest was dealt with before and need not be read.

    Raises:
        FeedError: when the span is not one that the feed takes, or asks for too many documents.
    """
    told = feed.description
    count = 0
    for ask in feed.asks(span):
        asks: tuple[Ask, ...] = (ask,)
        if ask.listing:
            try:
                listing = await fetcher.fetch(ask, told)
                if listing.outcome is Outcome.ABSENT:
                    raise FeedError(
                        feed=told.name,
                        field="listing",
                        value=ask.url,
                        fix="it is not there: see whether it moved",
                    )
                asks = feed.follow(listing.content, ask=ask, span=span)
            except ShoalError as error:
                await fetcher.forget(ask)
                yield Document(ask=ask, error=error)
                continue
        for wanted in asks:
            count += 1
            if count > MOST_DOCUMENTS:
                raise FeedError(
                    feed=told.name,
                    field="span",
                    value=f"more than {MOST_DOCUMENTS} documents",
                    fix="give a shorter one",
                )
            yield await _document(feed, fetcher, wanted, now_ns, is_known)


async def _document(
    feed: Feed,
    fetcher: Fetcher,
    ask: Ask,
    now_ns: Callable[[], int],
    is_known: Callable[[Ask, str], bool],
) -> Document:
    try:
        fetched = await fetcher.fetch(ask, feed.description)
    except ShoalError as error:
        return Document(ask=ask, error=error)
    if fetched.outcome is Outcome.ABSENT or is_known(ask, fetched.digest):
        return Document(ask=ask, outcome=fetched.outcome, digest=fetched.digest)
    known_ns = now_ns()
    try:
        reading = await asyncio.to_thread(feed.read, fetched.content, known_ns=known_ns)
    except FeedError as error:
        await fetcher.forget(ask)  # a copy of it would be as bad the next time
        return Document(ask=ask, outcome=fetched.outcome, digest=fetched.digest, error=error)
    return Document(ask=ask, outcome=fetched.outcome, digest=fetched.digest, reading=reading)
