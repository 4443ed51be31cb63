"""A twin shard's state: the twins of the sites in some partitions, as a function of the journal.

It takes messages in the order of the journal and nothing else changes it, so a snapshot with the position that it is
complete up to, and the messages after that, make the same state anywhere. What is asked of it are sums and records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.clock import Clock
from shoal.domain.errors import CorruptStateError, InvalidInputError
from shoal.domain.fleet import Fleet
from shoal.domain.live import Quarantined
from shoal.domain.telemetry import Flag
from shoal.domain.twins import AskTwins, ShardAnswer
from shoal.fabric.batch import JournalBatch
from shoal.telemetry.site_twins import SiteTwins
from shoal.twin.aggregate import FleetSums, Timeouts, sum_twins
from shoal.twin.clockrule import ClockRule
from shoal.twin.conditions import site_conditions
from shoal.twin.layout import Layout
from shoal.twin.losses import Losses
from shoal.twin.silence import SilenceRates

MOST_RECORDS: Final = 20_000
"""How many records one answer holds: with these it is smaller than the engine's largest message."""
SIGNALS: Final = ("battery", "solar", "load", "ev")
_FLAG: Final = "flag:"
_COUNTERS: Final = ("applied", "duplicates", "deferred", "lost", "quarantined")


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a shard commits: where its twins are kept, and up to which position of the journal they are complete."""

    position: int
    reference: bytes
    counters: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardStatistics:
    """What a shard has done since its state began, restarts and former owners included.

    Attributes:
        sites: How many sites it has.
        position: Up to where it has read its journal.
        applied: Samples taken.
        duplicates: Samples that had been taken before.
        deferred: Samples too far ahead of a hole, to be sent again.
        lost: Samples that devices no longer hold and that never came.
        quarantined: Messages and records set aside.
        pending: Messages that waited in the journal when it last read.
        flagged: How many of the samples taken have each flag.
    """

    sites: int
    position: int
    applied: int
    duplicates: int
    deferred: int
    lost: int
    quarantined: int
    pending: int
    flagged: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteLook:
    """What is the matter with the sites of a shard.

    Attributes:
        rows: Their fleet rows, ascending.
        conditions: For each, bits of `shoal.twin.conditions.Condition`.
        lost: How many samples each has lost of late, see `shoal.twin.losses`.
    """

    rows: NDArray[np.int64]
    conditions: NDArray[np.uint16]
    lost: NDArray[np.uint32]


class Shard:
    """The twins of the sites in `rows`.

    Args:
        number: The shard's number.
        fleet: The fleet.
        rows: Fleet rows of its sites.
        layout: Cells and nameplates of the whole fleet.
        time: The plant's clock.
        clock_rule: How far devices' clocks are believed.
    """

    def __init__(
        self,
        *,
        number: int,
        fleet: Fleet,
        rows: NDArray[np.int64],
        layout: Layout,
        time: Clock,
        clock_rule: ClockRule,
    ) -> None:
        self.number = number
        self.position = 0
        self._time = time
        self._pending = 0
        self._holes: tuple[NDArray[np.int64], NDArray[np.int64]] = (_NONE, _NONE)
        self._count = dict.fromkeys(_COUNTERS, 0)
        self._flagged = dict.fromkeys(Flag, 0)
        self._losses = Losses(len(rows))
        self._sites = SiteTwins(fleet, rows, layout, clock=time, clock_rule=clock_rule)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Fleet rows of the sites, ascending."""
        return self._sites.site_no.astype(np.int64)

    @property
    def nbytes(self) -> int:
        """Memory of twins, lookup, layout and losses in bytes."""
        return self._sites.nbytes + self._losses.nbytes

    def follow_fleet(self, fleet: Fleet, rows: NDArray[np.int64], layout: Layout) -> None:
        """Go on with a fleet to which sites were added, or in which sites were moved; every twin stays what it is."""
        self._sites.follow_fleet(fleet, rows, layout)
        self._losses.follow(len(rows))
        self._holes = (_NONE, _NONE)

    def take(self, batch: JournalBatch) -> list[Quarantined]:
        """Apply what a batch holds beyond the position; return what was set aside."""
        judged = self._sites.judge(batch)
        decoded, applied = judged.decoded, judged.applied
        self._count["applied"] += applied.new
        self._count["duplicates"] += applied.duplicates
        self._count["deferred"] += applied.deferred
        self._count["lost"] += applied.lost
        self._count["quarantined"] += sum(one.count for one in decoded.rejected)
        at = applied.losing_position
        self._losses.note(self._sites.site_no[decoded.rows[at]], applied.each_lost, judged.arrival_ns[at])
        for flag, count in applied.flagged().items():
            self._flagged[flag] += count
        self.position = int(batch.seq[-1])
        self._pending = batch.pending
        _, latest = self._time.at(np.array([one.arrival_ns for one in decoded.rejected], dtype=np.int64))
        return [
            msgspec.structs.replace(one, arrival_ns=t_ns)
            for one, t_ns in zip(decoded.rejected, latest.tolist(), strict=True)
        ]

    def accounted(self) -> int:
        """Return how many distinct samples are accounted for: taken, set aside, or given up by their device."""
        return self._sites.twins.accounted()

    def newly_durable(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return fleet rows and sequence numbers of the sites whose devices are to be told what is safe.

        What has been read from the journal is on its disk, so a device may forget it.
        """
        local, seq = self._sites.twins.newly_durable()
        return self._sites.site_no[local].astype(np.int64), seq

    def lasting_holes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return fleet rows of the sites whose hole was there when last asked, and the first number that is missing."""
        local, missing = self._sites.twins.missing()
        before_local, before_missing = self._holes
        self._holes = (local, missing)
        _, now_at, before_at = np.intersect1d(local, before_local, assume_unique=True, return_indices=True)
        same = missing[now_at] == before_missing[before_at]
        at = now_at[same]
        return self._sites.site_no[local[at]].astype(np.int64), missing[at]

    def sums(self, *, now_ns: int, rates: SilenceRates, timeouts: Timeouts) -> FleetSums:
        """Return the sums of every group over this shard's sites."""
        return sum_twins(self._sites.twins.rows, self._sites.layout, rates, now_ns=now_ns, timeouts=timeouts)

    def look(self, *, now_ns: int, fresh_ns: int) -> SiteLook:
        """Return what is the matter with each site."""
        latest = self._sites.twins.latest()
        lost = np.zeros(len(latest), dtype=np.uint32)
        rows, counts = self._losses.at(now_ns)
        local = self._sites.local(rows)
        lost[local[local >= 0]] = counts[local >= 0]
        conditions = site_conditions(
            silent=latest["ts_ns"] < now_ns - fresh_ns, flags=latest["flags"], lost=lost > 0
        )
        return SiteLook(rows=self.rows, conditions=conditions, lost=lost)

    def answer(self, question: AskTwins, *, t_ns: int, token: int) -> ShardAnswer:
        """Return the latest records that are asked for: of some sites, or a part of all."""
        if question.rows is not None:
            wanted = np.frombuffer(question.rows, dtype=np.int64)
            local = self._sites.local(wanted)
            local = local[local >= 0][:MOST_RECORDS]
        else:
            first = min(max(question.first, 0), len(self._sites.site_no))
            local = np.arange(first, min(first + MOST_RECORDS, len(self._sites.site_no)))
        return ShardAnswer(
            t_ns=t_ns,
            shard=self.number,
            token=token,
            sites=len(self._sites.site_no),
            rows=self._sites.site_no[local].astype(np.int64).tobytes(),
            latest=self._sites.twins.latest(local).tobytes(),
            behind=np.stack(
                [self._sites.twins.rows[f"{name}_behind"][local] for name in SIGNALS], axis=1
            ).tobytes(),
        )

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of a snapshot; they are copies."""
        return {
            "site_no": self._sites.site_no.copy(),
            "twins": self._sites.twins.state(),
            "losses": self._losses.state(),
        }

    def mark(self) -> Snapshot:
        """Return what is to be committed with `state`, but for the reference under which that is kept."""
        flagged = {f"{_FLAG}{flag.name}": count for flag, count in self._flagged.items()}
        return Snapshot(position=self.position, reference=b"", counters={**self._count, **flagged})

    def restore(self, snapshot: Snapshot, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over a snapshot; sites that were registered since begin anew.

        Raises:
            CorruptStateError: when it is of another version, or arrays are missing.
        """
        try:
            site_no, twins = state["site_no"], state["twins"]
            local = self._sites.local(site_no)
            self._sites.twins.restore(twins[local >= 0], local[local >= 0])
        except (KeyError, IndexError, InvalidInputError) as error:
            raise CorruptStateError(f"snapshot of shard {self.number}", str(error)) from error
        if (losses := state.get("losses")) is not None:  # snapshots of before have none
            self._losses.restore(losses)
        self.position = snapshot.position
        self._count = {name: snapshot.counters.get(name, 0) for name in _COUNTERS}
        self._flagged = {flag: snapshot.counters.get(f"{_FLAG}{flag.name}", 0) for flag in Flag}

    def statistics(self) -> ShardStatistics:
        """Return the counters."""
        return ShardStatistics(
            sites=len(self._sites.site_no),
            position=self.position,
            pending=self._pending,
            flagged={str(flag.name).lower(): count for flag, count in self._flagged.items()},
            **self._count,
        )


_NONE: Final = np.empty(0, dtype=np.int64)
