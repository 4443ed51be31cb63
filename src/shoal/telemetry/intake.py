"""From the journal to samples that count, by the rules of the live twins: a function of the journal and nothing else.

Whoever follows the same journal with the same fleet comes to the same samples with the same times and flags, each once: the
historian, and a reader that goes on where a snapshot of history ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoal.domain.clock import Clock
from shoal.domain.errors import CorruptStateError, InvalidInputError
from shoal.domain.fleet import Fleet
from shoal.fabric.batch import JournalBatch
from shoal.store.history_write import Samples
from shoal.telemetry.site_twins import SiteTwins
from shoal.twin.clockrule import ClockRule
from shoal.twin.columns import NEW
from shoal.twin.layout import Layout
from shoal.twin.plausible import Plausibility


class Intake:
    """Judges the samples of some sites in the order of the journal.

    Args:
        fleet: The fleet as registered.
        rows_of: Gives the fleet rows of the sites, of this fleet and of one with more sites.
        clock: For the plant's time of an arrival.
        layout_of: Gives the layout of a fleet; who runs several intakes need not make it for each.
        clock_rule: How far devices' clocks are believed; as in the live shards.
        plausibility: What a sound device cannot do; as in the live shards.
    """

    def __init__(
        self,
        *,
        fleet: Fleet,
        rows_of: Callable[[Fleet], NDArray[np.int64]],
        clock: Clock,
        layout_of: Callable[[Fleet], Layout] = Layout.of,
        clock_rule: ClockRule | None = None,
        plausibility: Plausibility | None = None,
    ) -> None:
        self._rows_of = rows_of
        self._layout_of = layout_of
        self._sites = SiteTwins(
            fleet,
            rows_of(fleet),
            layout_of(fleet),
            clock=clock,
            clock_rule=clock_rule,
            plausibility=plausibility,
        )

    def follow_fleet(self, fleet: Fleet) -> None:
        """Go on with a fleet to which sites were added, or in which sites were moved; what is known of the rest stays."""
        self._sites.follow_fleet(fleet, self._rows_of(fleet), self._layout_of(fleet))

    def take(self, batch: JournalBatch) -> Samples:
        """Return the samples of a batch that count; every batch of the journal is given once, in order."""
        judged = self._sites.judge(batch)
        new = np.flatnonzero(judged.applied.verdict == NEW)
        return Samples(
            records=judged.decoded.records[new],
            site_no=self._sites.site_no[judged.decoded.rows[new]],
            arrival_ns=judged.arrival_ns[new],
        )

    def accounted(self) -> int:
        """Return how many distinct samples are accounted for: taken, set aside, or given up by their device."""
        return self._sites.twins.accounted()

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that a snapshot needs."""
        return {"rows": self._sites.site_no.astype(np.int64), "twins": self._sites.twins.state()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take the state of a snapshot; sites that were registered since begin anew.

        Raises:
            CorruptStateError: when it is of sites that are not these, or of another version.
        """
        try:
            rows, twins = state["rows"], state["twins"]
            local = self._sites.local(rows)
            if (local < 0).any():
                raise CorruptStateError("snapshot of history", "it holds sites that are not this unit's")
            self._sites.twins.restore(twins, local)
        except (KeyError, InvalidInputError) as error:
            raise CorruptStateError("snapshot of history", str(error)) from error


def split(batch: JournalBatch, position: int) -> tuple[JournalBatch | None, JournalBatch | None]:
    """Return the messages up to and including a position, and those after it; None for none."""
    at = int(np.searchsorted(batch.seq, position, side="right"))
    parts: list[JournalBatch | None] = []
    for low, high in ((0, at), (at, len(batch))):
        columns = {
            name: getattr(batch, name)[low:high]
            for name in ("subject_at", "subject_bytes", "payload_at", "payload_bytes", "seq", "timestamp_ns")
        }
        parts.append(replace(batch, **columns) if low < high else None)
    return parts[0], parts[1]
