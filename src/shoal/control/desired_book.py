"""What is wanted of every site, and what is known of what it heard: its orders document, as columns.

Nothing is queued. Each cycle compares what is wanted with what a site is known to have and says who is to be told: whose
document changed, and who has spoken since without having taken it. So a device that was away
gets what still applies and nothing else, and a controller that was away starts from what is wanted, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_S
from shoal.domain.orders import (
    DroopArming,
    Envelope,
    EventKind,
    OrderReport,
    PriceSeries,
    ScheduledEvent,
    SiteOrders,
)
from shoal.edge.agent_columns import MOST_ENVELOPES, MOST_EVENTS

VERSION_EPOCH_NS: Final = 1_577_836_800 * NS_PER_S
"""2020-01-01: versions are seconds since then at least, so they grow across restarts of the controller."""
MOST_DOUBLINGS: Final = 6
LEAP: Final = 3_600
"""By so much the next version is larger when a device says that it has a newer one: somebody's clock was ahead."""
FOREVER_NS: Final = int(np.iinfo(np.int64).max)

Rows: TypeAlias = NDArray[np.int64]
Item: TypeAlias = ScheduledEvent | PriceSeries | Envelope | DroopArming
_PPM: Final = 1_000_000
_HEAD: Final = 2
_KINDS: Final[tuple[EventKind, ...]] = ("power", "charge", "hold", "local")
_COLUMNS: Final = ("doc_version", "doc_sent_ns", "doc_taken", "doc_tries", "holds")


def versions_at(t_ns: int, last: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a version for each of some sites that are told something at an instant, larger than its `last` one."""
    return np.maximum((t_ns - VERSION_EPOCH_NS) // NS_PER_S, last + 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entry:
    """One thing that stands in the documents of some sites.

    Attributes:
        key: Names it; a newer entry of the same key replaces it.
        item: What the documents say; of an event with `battery_w`, with the site's own power put in.
        end_ns: When it ends by itself, exclusive.
        rows: In whose documents it stands, ascending.
        battery_w: Of an event, each of these sites' own power; None for the event's.
    """

    key: str
    item: Item
    end_ns: int
    rows: Rows
    battery_w: NDArray[np.int64] | None = None

    def says_same(self, other: Entry) -> bool:
        """Whether a site that both name reads the same."""
        return self.item == other.item and (self.battery_w is None) == (other.battery_w is None)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Documents:
    """Documents to be sent, one for each of some rows; equal ones share their bytes.

    Attributes:
        rows: For whom.
        payloads: What each is sent, as JSON.
    """

    rows: Rows
    payloads: list[bytes]


class DesiredBook:
    """The documents of N sites.

    Attributes:
        doc_version: Version of the document last sent (N); 0 for none ever.
        doc_sent_ns: When it was sent (N).
        doc_taken: The newest version that the device said it has (N).
        doc_tries: How often in a row it was sent that version (N).
        holds: Whether the document last sent says anything (N).
        halted: Whether nobody commands the site (N).
        reserve_ppm: What owners asked to be kept beyond the nameplate's reserve, in millionths of the capacity (N); 0 for
            nothing.
        opted_out: Events that a site's owner has left, by row.
    """

    def __init__(self, sites: int) -> None:
        self.doc_version = np.zeros(sites, dtype=np.int64)
        self.doc_sent_ns = np.zeros(sites, dtype=np.int64)
        self.doc_taken = np.zeros(sites, dtype=np.int64)
        self.doc_tries = np.zeros(sites, dtype=np.int64)
        self.holds = np.zeros(sites, dtype=np.bool_)
        self.halted = np.zeros(sites, dtype=np.bool_)
        self.reserve_ppm = np.zeros(sites, dtype=np.int64)
        self.opted_out: dict[int, tuple[str, ...]] = {}
        self._changed = np.zeros(sites, dtype=np.bool_)
        self._entries: dict[str, Entry] = {}
        self._programs: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.doc_version)

    # -- what is wanted

    @property
    def changed(self) -> NDArray[np.bool_]:
        """Whose documents were changed since they were sent, or are to be looked at again (N)."""
        return self._changed & (self.holds | self._says_something())

    def entries(self) -> Mapping[str, Entry]:
        """Return what stands in documents, by key."""
        return self._entries

    def put(self, entry: Entry) -> Rows:
        """Let an entry stand in place of the one of its key; return the rows whose documents change."""
        held = self._entries.get(entry.key)
        self._entries[entry.key] = entry
        if held is None:
            return self._mark(entry.rows)
        if not held.says_same(entry):
            return self._mark(np.union1d(held.rows, entry.rows))
        changed = [np.setxor1d(held.rows, entry.rows)]
        if held.battery_w is not None and entry.battery_w is not None:
            both, before, after = np.intersect1d(held.rows, entry.rows, return_indices=True)
            changed.append(both[held.battery_w[before] != entry.battery_w[after]])
        return self._mark(np.concatenate(changed))

    def drop(self, key: str) -> Rows:
        """Take an entry out; return the rows whose documents change."""
        held = self._entries.pop(key, None)
        return self._mark(np.empty(0, dtype=np.int64) if held is None else held.rows)

    def forget_ended(self, t_ns: int) -> list[str]:
        """Take out what has ended by itself, of which no device needs to be told; return the keys."""
        ended = [key for key, entry in self._entries.items() if entry.end_ns <= t_ns]
        if ended:
            # where there was no room for what comes later there is now
            self._changed |= self._covering() > MOST_EVENTS
            self._mark(self._crowded_out([self._entries[key] for key in ended]))
        for key in ended:
            del self._entries[key]
        if ended:
            self.opted_out = {
                row: left
                for row, names in self.opted_out.items()
                if (left := tuple(name for name in names if name in self._entries))
            }
        return ended

    def _covering(self) -> NDArray[np.int64]:
        """Return how many events stand for each site (N)."""
        count = np.zeros(len(self), dtype=np.int64)
        for entry in self._entries.values():
            if isinstance(entry.item, ScheduledEvent):
                count[entry.rows] += 1
        return count

    def _crowded_out(self, ended: Sequence[Entry]) -> Rows:
        """Return who had more envelopes than a document holds, of those of whom one has ended."""
        rows = [entry.rows for entry in ended if isinstance(entry.item, Envelope)]
        if not rows:
            return np.empty(0, dtype=np.int64)
        count = np.zeros(len(self), dtype=np.int64)
        for entry in self._entries.values():
            if isinstance(entry.item, Envelope):
                count[entry.rows] += 1
        lost = np.unique(np.concatenate(rows))
        return lost[count[lost] > MOST_ENVELOPES]

    def rank(self, programs: tuple[str, ...]) -> None:
        """Let the events of these programs come before others in documents, in this order: the first in force rules."""
        if programs != self._programs:
            self._programs = programs
            self._changed |= self._covering() > 1

    def _place(self, event: ScheduledEvent) -> tuple[int, int, int, str]:
        return place_of(event, self._programs)

    def halt(self, halted: NDArray[np.bool_]) -> Rows:
        """Let just these sites be halted (N); return the rows whose documents change."""
        changed = np.flatnonzero(halted != self.halted)
        self.halted = halted.copy()
        return self._mark(changed)

    def keep_reserve(self, reserve_frac: NDArray[np.float64]) -> Rows:
        """Let documents say just these reserves (N), 0 for none; return the rows whose documents change."""
        reserve_ppm = np.rint(reserve_frac * _PPM).astype(np.int64)
        changed = np.flatnonzero(reserve_ppm != self.reserve_ppm)
        self.reserve_ppm = reserve_ppm
        return self._mark(changed)

    def _mark(self, rows: Rows) -> Rows:
        self._changed[rows] = True
        return rows

    # -- who is to be told

    def due(self, t_ns: int, *, spoke_ns: NDArray[np.int64], patience_ns: int) -> Rows:
        """Return who is to be sent its document now, ascending.

        Whose document changed is told whether it was heard from or not. Who has spoken since it was told, and has not said
        that it took the document, is told again, at growing distances.

        Args:
            t_ns: The instant.
            spoke_ns: When each site was last heard from (N); 0 for never.
            patience_ns: How long to wait for a device's word before telling it again.
        """
        wait_ns = patience_ns << np.minimum(np.maximum(self.doc_tries - 1, 0), MOST_DOUBLINGS)
        open_ = (self.doc_version > self.doc_taken) & (self.doc_version > 0)
        unheard = open_ & (t_ns - self.doc_sent_ns >= wait_ns) & (spoke_ns > self.doc_sent_ns)
        # who has nothing and is to have nothing needs no document
        changed = self._changed & (self.holds | self._says_something())
        return np.flatnonzero(changed | unheard)

    def _says_something(self) -> NDArray[np.bool_]:
        says = self.halted | (self.reserve_ppm > 0)
        for entry in self._entries.values():
            says[entry.rows] = True
        return says

    def documents(self, rows: Rows, t_ns: int, *, issuer: str, fence: int) -> Documents:
        """Return the documents of some rows as they are wanted now, and note that they are being sent."""
        again = ~self._changed[rows] & (self.doc_version[rows] > 0)
        versions = versions_at(t_ns, self.doc_version[rows])
        content = self._content(rows, t_ns)
        made: dict[tuple[int, tuple[int, ...]], bytes] = {}
        payloads = []
        says = np.zeros(len(rows), dtype=np.bool_)
        for place, (version, says_now) in enumerate(zip(versions.tolist(), content, strict=True)):
            payload = made.get((version, says_now))
            if payload is None:
                document = self._document(says_now, version=version, t_ns=t_ns, issuer=issuer, fence=fence)
                payload = made[version, says_now] = msgspec.json.encode(document)
            payloads.append(payload)
            says[place] = len(says_now) > _HEAD or any(says_now)
        self.doc_tries[rows] = np.where(again, self.doc_tries[rows] + 1, 1)
        self.doc_version[rows] = versions
        self.doc_sent_ns[rows] = t_ns
        self.holds[rows] = says
        self._changed[rows] = False
        return Documents(rows=rows, payloads=payloads)

    def document(self, row: int, t_ns: int, *, issuer: str, fence: int) -> SiteOrders:
        """Return what the document of one site says now, under its last version; nothing is noted."""
        (key,) = self._content(np.array([row], dtype=np.int64), t_ns)
        return self._document(key, version=int(self.doc_version[row]), t_ns=t_ns, issuer=issuer, fence=fence)

    def _content(self, rows: Rows, t_ns: int) -> list[tuple[int, ...]]:
        """Return for each row what its document says: halted or not, its reserve, then pairs of entry number and power."""
        heads = zip(self.halted[rows].tolist(), self.reserve_ppm[rows].tolist(), strict=True)
        contents: list[list[int]] = [[int(halted), reserve_ppm] for halted, reserve_ppm in heads]
        for number, entry in enumerate(self._entries.values()):
            if entry.end_ns <= t_ns or not len(entry.rows):
                continue
            found = np.minimum(np.searchsorted(entry.rows, rows), len(entry.rows) - 1)
            inside = np.flatnonzero(entry.rows[found] == rows)
            own_w = None if entry.battery_w is None else entry.battery_w[found]
            for place in inside.tolist():
                contents[place] += (number, 0 if own_w is None else int(own_w[place]))
        return [tuple(content) for content in contents]

    def _document(
        self, content: tuple[int, ...], *, version: int, t_ns: int, issuer: str, fence: int
    ) -> SiteOrders:
        entries = list(self._entries.values())
        events: list[ScheduledEvent] = []
        envelopes: list[Envelope] = []
        prices: PriceSeries | None = None
        droop: DroopArming | None = None
        for number, battery_w in zip(content[_HEAD::2], content[_HEAD + 1 :: 2], strict=True):
            entry = entries[number]
            if isinstance(entry.item, ScheduledEvent):
                own = entry.battery_w is not None
                events.append(msgspec.structs.replace(entry.item, battery_w=battery_w) if own else entry.item)
            elif isinstance(entry.item, Envelope):
                envelopes.append(entry.item)
            elif isinstance(entry.item, PriceSeries):
                prices = entry.item  # the one put last
            else:
                droop = entry.item
        return SiteOrders(
            version=version,
            issued_ns=t_ns,
            issuer=issuer,
            fence=fence,
            halted=bool(content[0]),
            events=tuple(sorted(events, key=self._place)[:MOST_EVENTS]),
            prices=prices,
            envelopes=tuple(sorted(envelopes, key=lambda one: (one.start_ns, one.end_ns))[:MOST_ENVELOPES]),
            droop=droop,
            reserve_frac=content[1] / _PPM,
        )

    # -- what devices say

    def note_left(self, row: int, left: tuple[str, ...]) -> None:
        """Note which events the owner of a site has left."""
        if left:
            self.opted_out[row] = left
        else:
            self.opted_out.pop(row, None)

    def report(self, row: int, report: OrderReport) -> bool:
        """Take what a device says of a document; return whether it is news.

        Each time a document is sent it has a new version, so ``stale_version`` says that the device has a newer one of
        somebody else's count, and the document goes out again under a later version.
        """
        sent = int(self.doc_version[row])
        if report.version != sent or self.doc_taken[row] >= sent:
            return False
        if report.outcome != "refused":
            self.doc_taken[row] = sent
        elif report.reason == "stale_version":
            self.doc_version[row] = sent + LEAP
            self._changed[row] = True
        return True

    def unheard(self) -> Rows:
        """Return the rows of the sites that have not said that they took their document."""
        return np.flatnonzero((self.doc_version > self.doc_taken) & (self.doc_version > 0))

    # -- what a successor needs

    def state(self) -> dict[str, Any]:
        """Return what a successor needs to know of what devices may hold."""
        rows = np.flatnonzero(self.doc_version)
        return {
            "sites": len(self),
            "rows": rows.tolist(),
            **{name: getattr(self, name)[rows].tolist() for name in _COLUMNS},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over from a predecessor: whoever may hold a document is told what is wanted now.

        Rows are numbers of the registry, which a site keeps for ever; those beyond the fleet are left out.
        """
        rows = np.array(state["rows"], dtype=np.int64)
        known = rows < len(self)
        for name in _COLUMNS:
            column = getattr(self, name)
            column[rows[known]] = np.array(state[name], dtype=column.dtype)[known]
        # what was wanted then is not known: let everybody who was ever told hear it again
        self._changed[rows[known]] = True
        self.holds[rows[known]] = True


def place_of(event: ScheduledEvent, programs: Sequence[str] = ()) -> tuple[int, int, int, str]:
    """Return what orders the events of a document, for on a device the first that is in force rules and others lie beneath.

    Programs come in their order. Within one what is delivered comes before what is kept, and that before own use.
    """
    rank = programs.index(event.program) if event.program in programs else len(programs)
    return rank, _KINDS.index(event.kind), event.start_ns, event.event_id


def rows_of(rows: Iterable[int]) -> Rows:
    """Return rows as a sorted column without repetitions."""
    return np.unique(np.fromiter(rows, dtype=np.int64))
