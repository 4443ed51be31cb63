"""Who holds which set-point lease: what each site was told last, for whom, until when, and whether it heard it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.control.desired_book import LEAP, MOST_DOUBLINGS, Rows, versions_at
from shoal.domain.interval import NS_PER_S
from shoal.domain.orders import OrderReport

NOBODY: Final = -1
RELEASED: Final = -2
MEASURED_NS: Final = 900 * NS_PER_S
RELEASE_NS: Final = 30 * NS_PER_S
"""A lease that is taken back is replaced by one of this length."""
RELEASE_RAMP_S: Final = 240.0
"""Afterwards its site goes over so long from what it did to what it does by itself, so that thousands do not step together."""
EVEN_TRIES: Final = 3
"""So often it is told again at the same distance: a network that loses a few messages is made up for soon."""
FIRST_TRIES: Final = 8
"""Who has never answered is taken for a device that does not when it was told so often in vain."""


class LeaseBook:
    """The set-point leases of N sites; a site has one at a time, whoever asks.

    Attributes:
        asked_w: What each was told last, load-positive (N).
        least_w: The least that it was told since `since_ns`, in one direction (N): so much it has to deliver at any rate.
        since_ns: Since when it is told something in that direction, for that dispatch (N).
        owner: Number of the dispatch that told it, `NOBODY` for none, `RELEASED` for one whose lease is taken back (N).
        version: Version of what it was told (N); 0 for nothing yet.
        end_ns: When that lease ends (N).
        sent_ns: When it was told (N).
        taken: The newest version that its reports say it has (N); telemetry says it, too.
        tries: How often in a row it was told the same without a word of it (N).
        stray_until_ns: Until when one that is `RELEASED` may still follow what is taken back (N).
        speaks: Whether it ever said what it does with what it was told (N).
    """

    def __init__(self, sites: int) -> None:
        self.asked_w = np.zeros(sites, dtype=np.int64)
        self.least_w = np.zeros(sites, dtype=np.int64)
        self.since_ns = np.zeros(sites, dtype=np.int64)
        self.owner = np.full(sites, NOBODY, dtype=np.int64)
        self.version = np.zeros(sites, dtype=np.int64)
        self.end_ns = np.zeros(sites, dtype=np.int64)
        self.sent_ns = np.zeros(sites, dtype=np.int64)
        self.taken = np.zeros(sites, dtype=np.int64)
        self.tries = np.zeros(sites, dtype=np.int64)
        self.stray_until_ns = np.zeros(sites, dtype=np.int64)
        self.speaks = np.zeros(sites, dtype=np.bool_)

    def due(
        self,
        rows: Rows,
        t_ns: int,
        *,
        owner: int,
        wanted_w: NDArray[np.int64],
        length_ns: NDArray[np.int64],
        latest: NDArray[Any],
    ) -> NDArray[np.bool_]:
        """Return which of M rows are to be told what is wanted of them now.

        Args:
            rows: Which sites, M.
            t_ns: The instant.
            owner: Who wants it.
            wanted_w: What is wanted of each (M).
            length_ns: How long each lease is to be (M).
            latest: Their latest records (M).
        """
        changed = wanted_w != self.asked_w[rows]
        # what nobody's lease says is what nothing was ever told: resting
        changed |= (self.owner[rows] != owner) & (self.owner[rows] != NOBODY)
        ending = self.end_ns[rows] - t_ns < length_ns // 2
        # heard nothing of it although the site has spoken since: say it again
        unheard = (latest["command_version"] != self.version[rows]) & (latest["ts_ns"] > self.sent_ns[rows])
        due: NDArray[np.bool_] = changed | ending | unheard
        return due

    def tell(
        self, rows: Rows, t_ns: int, *, owner: int, wanted_w: NDArray[np.int64], end_ns: NDArray[np.int64]
    ) -> None:
        """Note that some rows are being told what is wanted of them, until `end_ns`."""
        held_w = self.asked_w[rows]
        new = (np.sign(wanted_w) != np.sign(held_w)) | (self.owner[rows] != owner)
        # what was little for a while is no measure for ever
        new |= (wanted_w != held_w) & (t_ns - self.since_ns[rows] > MEASURED_NS)
        self.since_ns[rows[new]] = t_ns
        smaller_w = np.minimum(np.abs(self.least_w[rows]), np.abs(wanted_w)) * np.sign(wanted_w)
        self.least_w[rows] = np.where(new, wanted_w, smaller_w)
        self.asked_w[rows] = wanted_w
        self.owner[rows] = owner
        self.version[rows] = versions_at(t_ns, self.version[rows])
        self.end_ns[rows] = end_ns
        self.sent_ns[rows] = t_ns
        self.tries[rows] = 0

    def unheard(self, t_ns: int, *, patience_ns: int, able: NDArray[np.bool_]) -> Rows:
        """Return who is to be told again, for it has not answered: at growing distances, while its lease lasts.

        Args:
            t_ns: The instant.
            patience_ns: How long to wait for an answer at first.
            able: Who can be told at all (N).
        """
        waited_ns = t_ns - self.sent_ns
        answers = self.speaks | (self.tries < FIRST_TRIES)
        silent = (self.version > self.taken) & (self.owner != NOBODY) & answers & able
        until_ns = np.where(self.owner == RELEASED, self.stray_until_ns, self.end_ns)
        doublings = np.clip(self.tries - EVEN_TRIES, 0, MOST_DOUBLINGS)
        return np.flatnonzero(silent & (waited_ns >= patience_ns << doublings) & (until_ns > t_ns))

    def tell_again(self, rows: Rows, t_ns: int) -> None:
        """Note that some are being told the same again, under a later version."""
        self.end_ns[rows] = np.where(self.owner[rows] == RELEASED, t_ns + RELEASE_NS, self.end_ns[rows])
        self.version[rows] = versions_at(t_ns, self.version[rows])
        self.sent_ns[rows] = t_ns
        self.tries[rows] += 1

    def report(self, row: int, report: OrderReport) -> bool:
        """Take what a device says of the set-point it was told; return whether it is news."""
        self.speaks[row] = True
        # `item`: comparing a numpy scalar costs microseconds, for every device's every answer
        if report.version != self.version.item(row) or self.taken.item(row) >= report.version:
            return False
        if report.outcome != "refused":
            self.taken[row] = report.version
        elif report.reason == "stale_version":
            # it has a newer one of somebody else's count
            self.version[row] += LEAP
        return True

    def note_taken(self, rows: Rows, versions: NDArray[np.int64]) -> None:
        """Note that some rows say that they took these versions; only what they were told last is news, as in `report`."""
        self.speaks[rows] = True
        current = rows[versions == self.version[rows]]
        self.taken[current] = np.maximum(self.taken[current], self.version[current])

    def in_force(self, rows: Rows, t_ns: int) -> NDArray[np.bool_]:
        """Return whose lease may be followed now, of M rows."""
        current: NDArray[np.bool_] = (self.version[rows] > 0) & (self.end_ns[rows] > t_ns)
        return current

    def take_back(self, rows: Rows, t_ns: int, *, at_once: bool) -> Rows:
        """Note that the leases of some rows are being replaced by short ones; return those that are to be told.

        Args:
            rows: Which sites.
            t_ns: The instant.
            at_once: Let them rest meanwhile, rather than go on as they were told.
        """
        told = rows[self.end_ns[rows] > t_ns + RELEASE_NS]
        over = rows[self.end_ns[rows] <= t_ns + RELEASE_NS]
        self.owner[over] = NOBODY
        self.asked_w[over] = 0
        self.stray_until_ns[told] = self.end_ns[told]
        wanted_w = np.zeros(len(told), dtype=np.int64) if at_once else self.asked_w[told]
        end_ns = np.full(len(told), t_ns + RELEASE_NS, dtype=np.int64)
        self.tell(told, t_ns, owner=RELEASED, wanted_w=wanted_w, end_ns=end_ns)
        return told

    def strays(self, t_ns: int, latest: NDArray[Any]) -> Rows:
        """Return who follows, by its telemetry, what was taken back from it.

        Args:
            t_ns: The instant.
            latest: Latest records (N).
        """
        version = latest["command_version"]
        other = (version != 0) & (version != self.version) & (latest["ts_ns"] > self.sent_ns)
        return np.flatnonzero((self.owner == RELEASED) & (self.stray_until_ns > t_ns) & other)
