"""The twins of some sites with everything that brings the journal's messages to them: lookup, decoder, clock.

Live shards and history both judge a message here and nowhere else, so both come to the same samples with the same times
and flags.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoal.domain.clock import Clock
from shoal.domain.directory import Directory
from shoal.domain.fleet import Fleet
from shoal.fabric.batch import JournalBatch
from shoal.telemetry.arrival import arrivals
from shoal.telemetry.decode import Decoded, Decoder
from shoal.twin.clockrule import ClockRule
from shoal.twin.columns import Applied, Twins
from shoal.twin.layout import Layout
from shoal.twin.plausible import Plausibility


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a batch held, when it arrived, and what became of it; its arrays may be overwritten by the next one's."""

    decoded: Decoded
    arrival_ns: NDArray[np.int64]
    applied: Applied


class SiteTwins:
    """The twins of the sites in `rows`.

    Args:
        fleet: The fleet.
        rows: Fleet rows of the sites, ascending.
        layout: Cells and nameplates of the whole fleet.
        clock: The plant's clock.
        clock_rule: How far devices' clocks are believed.
        plausibility: What a sound device cannot do.

    Attributes:
        site_no: The fleet rows, in the order of the twins.
        layout: Cells and nameplates of these sites.
        twins: The twins.
    """

    def __init__(
        self,
        fleet: Fleet,
        rows: NDArray[np.int64],
        layout: Layout,
        *,
        clock: Clock,
        clock_rule: ClockRule | None = None,
        plausibility: Plausibility | None = None,
    ) -> None:
        self._clock = clock
        self._clock_rule = clock_rule
        self._plausibility = plausibility
        self._take_fleet(fleet, rows, layout)

    def _take_fleet(self, fleet: Fleet, rows: NDArray[np.int64], layout: Layout) -> None:
        self.site_no = rows.astype(np.int32)
        self.layout = layout.for_rows(rows)
        self.twins = Twins(
            len(rows), layout=self.layout, clock=self._clock_rule, plausibility=self._plausibility
        )
        self._directory = Directory.of_fleet(fleet, rows)
        self._decoder = Decoder(directory=self._directory, reuse=True)

    def follow_fleet(self, fleet: Fleet, rows: NDArray[np.int64], layout: Layout) -> None:
        """Go on with a fleet to which sites were added, or in which sites were moved; every twin stays what it is."""
        before, state = self.site_no, self.twins.state()
        self._take_fleet(fleet, rows, layout)
        local = self.local(before)
        self.twins.restore(state[local >= 0], local[local >= 0])

    def local(self, rows: NDArray[Any]) -> NDArray[np.int64]:
        """Return the position here of each fleet row, -1 for a site that is not here."""
        if not len(self.site_no):
            return np.full(len(rows), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.site_no, rows), len(self.site_no) - 1)
        return np.where(self.site_no[at] == rows, at, -1)

    def judge(self, batch: JournalBatch) -> Judged:
        """Apply a batch; every batch of the journal is given once, in order."""
        decoded = self._decoder.decode(batch)
        arrival_ns = arrivals(decoded, self._clock)
        applied = self.twins.apply(
            decoded.rows, decoded.records, decoded.oldest_seq, arrival_ns, decoded.usable
        )
        return Judged(decoded=decoded, arrival_ns=arrival_ns, applied=applied)

    @property
    def nbytes(self) -> int:
        """Memory of twins, lookup and layout in bytes."""
        cells = self.layout.cell_of.nbytes + self.layout.plate_of.nbytes + self.layout.kept_bytes
        return self.twins.nbytes + self._directory.nbytes + cells + self.site_no.nbytes
