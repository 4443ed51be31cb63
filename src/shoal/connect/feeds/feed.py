"""What a feed is: a description, the requests that cover a span, and a pure parser of what comes back.

A parser knows nothing of the network, and the fetcher nothing of formats: a feed is the pair of a description and two
pure functions. A record that cannot be used is set aside alone; only a document as a whole that is not what the feed
gives raises `FeedError`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from shoal.domain.errors import InvalidInputError
from shoal.domain.facts import Facts
from shoal.domain.interval import NS_PER_S, Interval

_MOST_SHOWN: Final = 80


class FeedError(InvalidInputError):
    """A document, an answer or a request of a feed that cannot be used; it names feed, field, value and fix."""

    def __init__(self, *, feed: str, field: str, value: object, fix: str) -> None:
        super().__init__(field=f"feed {feed}: {field}", value=shown(value), fix=fix)
        self.feed = feed


def shown(value: object) -> object:
    """Return a value from outside in a length that fits a message."""
    text = value if isinstance(value, str) else repr(value) if isinstance(value, bytes) else None
    return value if text is None or len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesNote:
    """One kind of series of a feed.

    Attributes:
        pattern: Its name with the varying part in braces: ``price/nem/{region}/dispatch``.
        unit: The unit of its values.
        step: How long its intervals are, for people: ``5 min``.
    """

    pattern: str
    unit: str
    step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """Under which terms the data are used.

    Attributes:
        name: The licence or the terms.
        url: Where they are written.
        attribution: What to say wherever the data are shown; ``{year}`` stands for the year.
    """

    name: str
    url: str
    attribution: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A key that a provider asks for. Its value lives in the environment only and is in no URL that is told.

    Attributes:
        variable: The environment variable that holds it.
        parameter: The query parameter that carries it.
        source: How it is got.
    """

    variable: str
    parameter: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedDescription:
    """What a feed gives, how often, and on which terms.

    Attributes:
        name: Its name, e.g. ``nem-dispatch``.
        source: Who says it, as facts carry it.
        about: One line for people.
        series: What it gives.
        url: Where, with the varying parts in braces.
        cadence_s: How often something new is published.
        delay_s: How long after a multiple of the cadence it is there.
        stale_after_s: How far the end of the newest interval may lie behind now; negative for a forecast, which has to
            reach that far ahead.
        behind_s: How far back a poll looks.
        ahead_s: How far ahead a poll looks.
        licence: The terms.
        secret: The key that it needs, if any.
        needs_contact: Whether the provider asks users to say who they are (see `Fetcher`).
        rate_per_s: Most requests a second to its host.
        told_in_body: Statuses besides 200 whose body the parser understands.
    """

    name: str
    source: str
    about: str
    series: tuple[SeriesNote, ...]
    url: str
    cadence_s: float
    delay_s: float
    stale_after_s: float
    behind_s: float
    ahead_s: float
    licence: Licence
    secret: Secret | None = None
    needs_contact: bool = False
    rate_per_s: float = 2.0
    told_in_body: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One document to get.

    Attributes:
        url: Where it is, without any secret.
        listing: Whether it lists documents (see `Feed.follow`) and is none itself.
        immutable: Whether what is there never changes, so that a copy is as good as asking again.
    """

    url: str
    listing: bool = False
    immutable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """A record that was set aside.

    Attributes:
        where: The record, e.g. ``line 17``.
        field: Which field of it.
        value: What it says, cut short.
        reason: Why it cannot be used.
    """

    where: str
    field: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a document says.

    Attributes:
        facts: Its facts, by series and revision.
        published_ns: When the document says that it was made; None when it does not say.
        absent_total: Values that the format says are not there.
        duplicates_total: Records that repeat another.
        corrected_total: Records that replace another of the same document.
        quarantined_total: Records set aside.
        quarantined: The first of them.
        reasons: How many records were set aside for each reason.
    """

    facts: tuple[Facts, ...]
    published_ns: int | None = None
    absent_total: int = 0
    duplicates_total: int = 0
    corrected_total: int = 0
    quarantined_total: int = 0
    quarantined: tuple[SetAside, ...] = ()
    reasons: Mapping[str, int] = field(default_factory=Counter)

    @property
    def values_total(self) -> int:
        """How many values the facts hold."""
        return sum(facts.value.size for facts in self.facts)

    @property
    def newest_end_ns(self) -> int | None:
        """The end of the latest interval; None without facts."""
        return max((int(facts.end_ns[-1]) for facts in self.facts), default=None)


class Feed(ABC):
    """One public feed."""

    @property
    @abstractmethod
    def description(self) -> FeedDescription:
        """What it gives, how often, and on which terms."""

    @abstractmethod
    def asks(self, span: Interval) -> tuple[Ask, ...]:
        """Return what to get for the intervals of a span."""

    @abstractmethod
    def read(self, content: bytes, *, known_ns: int) -> Reading:
        """Return what a document says.

        Raises:
            FeedError: when the document as a whole is not what this feed gives.
        """

    def follow(self, listing: bytes, *, ask: Ask, span: Interval) -> tuple[Ask, ...]:
        """Return the documents of a listing that belong to a span, oldest first.

        Raises:
            FeedError: when it is no listing of this feed.
        """
        raise FeedError(
            feed=self.description.name, field="listing", value=ask.url, fix="this feed has no listings"
        )

    def parse(self, content: bytes, *, known_ns: int) -> list[Facts]:
        """Return the facts of a document; `read` also says what was set aside.

        Raises:
            FeedError: when the document as a whole is not what this feed gives.
        """
        return list(self.read(content, known_ns=known_ns).facts)

    def recent(self, now_ns: int) -> Interval:
        """Return the span that a poll asks for."""
        told = self.description
        return Interval(
            start_ns=now_ns - int(told.behind_s * NS_PER_S), end_ns=now_ns + int(told.ahead_s * NS_PER_S)
        )
