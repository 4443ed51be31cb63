"""Facts of feeds on their way into the knowledge store: each series under its contract, and how fresh each is against it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shoal.connect.feeds.contracts import contract_of
from shoal.domain.contracts import SeriesContract
from shoal.domain.facts import Facts, SeriesId
from shoal.store.facts import FactStore


class FeedFacts:
    """Keeps facts of feeds, having declared the contract of each series before its first one. Calls block.

    Args:
        store: Where they are kept.
    """

    def __init__(self, store: FactStore) -> None:
        self._store = store
        self._declared: dict[SeriesId, SeriesContract] | None = None

    def keep(self, facts: Sequence[Facts]) -> Counter[str]:
        """Keep the facts of one document, all or none; return how many intervals broke their contract, by reason.

        Raises:
            UnavailableError: when the database cannot be reached or has no room; nothing was kept then.
            InvalidInputError: when another number of values is known of a series.
        """
        self._declare(item.series_id for item in facts)
        broken: Counter[str] = Counter()
        for done in self._store.record_all(facts):
            broken.update(f"contract: {item.reason}" for item in done.quarantined)
        return broken

    def _declare(self, series_ids: Iterable[SeriesId]) -> None:
        if self._declared is None:
            self._declared = self._store.contracts()
        for series_id in dict.fromkeys(series_ids):
            contract = contract_of(series_id)
            if contract is not None and self._declared.get(series_id) != contract:
                self._store.declare(contract)
                self._declared[series_id] = contract


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSeries:
    """What is known of a series, against its contract.

    Attributes:
        series_id: The series.
        facts: How many facts are kept.
        latest_end_ns: The end of its latest interval; None for none.
        latest_known_ns: When something was last learned of it; None for never.
        stale_after_ns: How old that may become; None for any age.
        stale: Whether it is older.
        quarantined: How many intervals were set aside.
    """

    series_id: SeriesId
    facts: int
    latest_end_ns: int | None
    latest_known_ns: int | None
    stale_after_ns: int | None
    stale: bool
    quarantined: int


def known_series(store: FactStore, now_ns: int) -> list[KnownSeries]:
    """Return every series with its freshness at an instant, by name."""
    contracts, set_aside = store.contracts(), store.quarantined()
    return [
        KnownSeries(
            series_id=item.series_id,
            facts=item.facts,
            latest_end_ns=item.latest_end_ns,
            latest_known_ns=item.latest_known_ns,
            stale_after_ns=found.stale_after_ns if (found := contracts.get(item.series_id)) else None,
            stale=item.stale,
            quarantined=set_aside.get(item.series_id, 0),
        )
        for item in store.freshness(now_ns)
    ]


def age_text(age_ns: int) -> str:
    """Return an age for people.

    >>> age_text(3 * 3_600_000_000_000)
    '3 h'
    """
    age_s = max(age_ns, 0) / 1e9
    for unit, length_s in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if age_s >= 2 * length_s:
            return f"{age_s / length_s:.0f} {unit}"
    return f"{age_s:.0f} s"
