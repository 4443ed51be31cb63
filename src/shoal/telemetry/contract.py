"""What the telemetry role is given and what it shows: settings, outlets, counters, and the names of its work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from shoal.domain.fleet import Fleet
from shoal.domain.partition import PARTITIONS
from shoal.fabric.ownership import Event
from shoal.telemetry.merge import Merged
from shoal.twin.aggregate import Timeouts
from shoal.twin.clockrule import ClockRule

AGGREGATE: Final = "aggregate"
"""The unit of work of putting the sums of all shards together."""

Publish = Callable[[str, bytes], Awaitable[None]]


def shard_unit(number: int) -> str:
    """Return the name of a shard as a unit of work."""
    return f"shard_{number}"


def shard_number(unit: str) -> int | None:
    """Return the number of the shard that the unit is, None when it is another kind of work."""
    kind, _, number = unit.partition("_")
    return int(number) if kind == "shard" else None


def shard_rows(fleet: Fleet, number: int, shards: int) -> NDArray[np.int64]:
    """Return the fleet rows of a shard: those of its share of the partitions."""
    return np.flatnonzero(fleet.partition.astype(np.int64) * shards // PARTITIONS == number)


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryOptions:
    """Settings of the role; ages in seconds of the plant's clock, but for `refresh_every_s`.

    Attributes:
        shards: How many shards the whole plant has.
        timeouts: When a signal is fresh, and when nothing is known of it.
        refresh_every_s: Time between two aggregates, on the machine's clock.
        checkpoint_every_s: Time between two snapshots.
        durable_ack_every_s: Time in which every device hears once what is safe.
        clock_rule: How far devices' clocks are believed.
        conducted: Whether time waits for this role.
    """

    shards: int
    timeouts: Timeouts
    refresh_every_s: float
    checkpoint_every_s: float
    durable_ack_every_s: float
    clock_rule: ClockRule
    conducted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryStatistics:
    """Counters over the shards that this process owns, restarts and former owners included.

    Attributes:
        applied: See `ShardStatistics`; also the next four, `pending` and `flagged`.
        shards: Shards owned here.
        sites: Their sites.
        stalls: How often a conducted tick waited for a sample that did not come.
        refreshes: Aggregates made.
        refresh_ms: Time that the latest took, in milliseconds.
        coverage_mean: Mean share of the rated power that was fresh.
        live_shards: Shards heard from, of the whole plant, when this process puts the sums together.
        stale_owners: Sums refused because a newer owner had spoken.
        bytes_per_twin: Memory of twins, lookup and layout over the number of sites.
        actor_failures: How often a shard failed and was started again.
        evidence_skipped: Set-aside messages that were counted but not kept, in a flood of them.
    """

    applied: int
    duplicates: int
    deferred: int
    lost: int
    quarantined: int
    pending: int
    flagged: dict[str, int]
    shards: int
    sites: int
    stalls: int
    refreshes: int
    refresh_ms: float
    coverage_mean: float
    live_shards: int
    stale_owners: int
    bytes_per_twin: float
    actor_failures: int
    evidence_skipped: int


class Membership(Protocol):
    """What the role sees of its membership, see `shoal.fabric.ownership.Ownership`."""

    def events(self) -> AsyncIterator[Event]:
        """Give what happens to this member's units."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlets:
    """Where the role's messages go.

    Attributes:
        publish: Sends a message on a subject.
        durable_subject: Subject on which a site hears what is safe.
        aggregates_subject: Subject of the aggregates.
        sums_subject: Subject of a shard's sums.
        conditions_subject: Subject of what is the matter with a shard's sites.
        pace_subject: Subject on which devices hear how often they may report.
        quarantine_subject: Subject of the state of what was set aside.
        evidence_subject: Subject under which a message set aside for a reason is kept.
    """

    publish: Publish
    durable_subject: Callable[[str], str]
    aggregates_subject: str
    sums_subject: Callable[[int], str]
    conditions_subject: Callable[[int], str]
    pace_subject: str
    quarantine_subject: str
    evidence_subject: Callable[[str], str]


class Watch(Protocol):
    """Who is told what the telemetry role sees, in the process that puts the sums together."""

    async def take_over(self) -> None:
        """Go on from what is kept: another process may have had the watch until now.

        Raises:
            UnavailableError: when that cannot be read.
        """
        ...

    def see(self, rows: NDArray[np.int64], conditions: NDArray[np.uint16], lost: NDArray[np.uint32]) -> None:
        """Take what is the matter with some sites: bits of `shoal.twin.conditions.Condition`, and samples lost of late."""
        ...

    async def tick(self, t_ns: int, merged: Merged, lag_s: dict[int, float]) -> None:
        """Take the whole fleet's sums, and how far each shard is behind."""
        ...
