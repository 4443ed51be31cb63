"""Events that owners sit out: taken out of documents at once, and told to those who run the events at their next look.

Whatever stands for a program that its owner has left, or for an event that its owner sits out, leaves the home's document
before anything else is decided. Who makes up for it is the next cycle's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from shoal.control.desired_book import Entry
from shoal.control.schedule import Enrolled
from shoal.domain.errors import UnavailableError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.orders import ScheduledEvent

KEPT_NS: Final = 4 * NS_PER_HOUR
"""So long after its end an event's words are still known: its sites are on their way back to their own use."""
STRETCHES: Final = ("", "-charge", "-hold", "-return")
"""What the parts of an event are called in documents, beside its own name."""

_log = structlog.get_logger(__name__)


class SkipStore(Protocol):
    """Where words are kept; see `shoal.store.event_skips.EventSkips`."""

    def standing(self, *, after_ns: int) -> dict[str, dict[str, int]]: ...


class NewestLine(Protocol):
    """Tells whether anything was said; see `shoal.store.orders.Orders`."""

    def newest(self) -> int: ...


class OwnerSkips:
    """Who sits out what, as last read.

    Args:
        fleet: The fleet.
        store: Where words are kept.
        lines: Tells whether anything was said since.
        enrolled: Who takes part in a program.
    """

    def __init__(self, fleet: Fleet, store: SkipStore, lines: NewestLine, *, enrolled: Enrolled) -> None:
        self._fleet = fleet
        self._store = store
        self._lines = lines
        self._enrolled = enrolled
        self._newest = -1
        self._since_ns: dict[str, dict[int, int]] = {}

    def refresh(self, t_ns: int) -> bool:
        """Read what was said since; return whether anything was. Blocks. What cannot be read leaves all as it was."""
        try:
            newest = self._lines.newest()
            if newest == self._newest:
                return False
            found = self._store.standing(after_ns=t_ns - KEPT_NS)
        except UnavailableError as error:
            _log.warning("what owners sit out cannot be read", why=str(error))
            return False
        self._newest = newest
        row_of = self._fleet.row_of
        before, self._since_ns = (
            self._since_ns,
            {
                event: {row_of[SiteId(site)]: t for site, t in sites.items() if SiteId(site) in row_of}
                for event, sites in found.items()
            },
        )
        return before != self._since_ns

    def since_ns(self, event_id: str) -> Mapping[int, int]:
        """Return who sits an event out, by row, and since when."""
        return self._since_ns.get(event_id, {})

    def rows(self, event_id: str) -> NDArray[np.int64]:
        """Return the rows of who sits an event out, ascending."""
        return np.array(sorted(self.since_ns(event_id)), dtype=np.int64)

    def without(self, wanted: Mapping[str, Entry]) -> dict[str, Entry]:
        """Return what is to stand in documents without those whose owners have left its event or its program."""
        out: dict[str, NDArray[np.int64]] = {
            f"{event}{stretch}": self.rows(event) for event in self._since_ns for stretch in STRETCHES
        }
        taking: dict[str, NDArray[np.int64] | None] = {}
        left: dict[str, Entry] = {}
        for key, entry in wanted.items():
            event = entry.item
            if not isinstance(event, ScheduledEvent):
                left[key] = entry
                continue
            stays = np.ones(len(entry.rows), dtype=np.bool_)
            if key in out:
                stays &= ~np.isin(entry.rows, out[key])
            if event.may_opt_out:
                if event.program not in taking:
                    taking[event.program] = self._enrolled(event.program)
                rows = taking[event.program]
                if rows is not None:
                    stays &= np.isin(entry.rows, rows)
            if stays.all():
                left[key] = entry
            elif stays.any():
                power = None if entry.battery_w is None else entry.battery_w[stays]
                left[key] = replace(entry, rows=entry.rows[stays], battery_w=power)
        return left
