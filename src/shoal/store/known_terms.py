"""The terms on record, read again only when they may have changed: one small question a cycle, whatever the fleet."""

from __future__ import annotations

import threading

from shoal.programs.ability import SiteTerms
from shoal.programs.enrolment import FOREVER_NS
from shoal.store.programs import ProgramStore


class KnownTerms:
    """What `ProgramStore.terms_at` says, kept while the store's version stands and nothing begins or ends.

    Calls block; an asynchronous caller runs them in a thread.

    Args:
        store: Where it is read.
    """

    def __init__(self, store: ProgramStore) -> None:
        self._store = store
        self._terms: SiteTerms | None = None
        self._version = -1
        self._from_ns = 0
        self._until_ns = 0
        self._lock = threading.Lock()

    def at(self, t_ns: int) -> SiteTerms:
        """Return on what terms every site takes part at an instant.

        Raises:
            UnavailableError: when the database cannot be reached.
        """
        with self._lock:
            # The version is read first: a change in between is read again at the next question.
            version = self._store.version()
            stands = version == self._version and self._from_ns <= t_ns < self._until_ns
            if self._terms is None or not stands:
                following_ns = self._store.next_change_ns(t_ns)
                self._terms = self._store.terms_at(t_ns)
                self._version, self._from_ns = version, t_ns
                self._until_ns = FOREVER_NS if following_ns is None else following_ns
            return self._terms
