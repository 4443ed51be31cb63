"""What is alarmed of the plant itself: how far shards and history are behind, who is missing, how much of a resource is heard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from shoal.domain.alarms import AlarmKind
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_S
from shoal.domain.live import HistoryLag
from shoal.telemetry.alarms import AlarmDesk
from shoal.telemetry.merge import Merged
from shoal.twin.alarm_measures import Measure


class PlantWatch:
    """Turns what the telemetry role sees into what the alarm desk decides on.

    Args:
        desk: The alarm desk.
        parts: Returns what others measure of parts of the plant at an instant.
    """

    def __init__(
        self, desk: AlarmDesk, parts: Callable[[int], Awaitable[Sequence[Measure]]] | None = None
    ) -> None:
        self._desk = desk
        self._parts = parts
        self._missing_since_ns: dict[int, int] = {}
        self._history: dict[str, tuple[int, float]] = {}  # until when a word holds, and what it says

    def hear_history(self, lag: HistoryLag) -> None:
        """Take how far some units of history are behind."""
        until_ns = lag.t_ns + int(2 * lag.every_s * NS_PER_S)
        self._history.update({unit: (until_ns, behind_s) for unit, behind_s in lag.behind_s.items()})

    async def take_over(self) -> None:
        """Go on with the alarms that are kept: another process may have had the watch until now.

        Raises:
            UnavailableError: when the database cannot be reached, or lacks something that happened here.
        """
        await self._desk.restore()
        self._missing_since_ns = {}

    def see(self, rows: NDArray[np.int64], conditions: NDArray[np.uint16], lost: NDArray[np.uint32]) -> None:
        """Take what is the matter with some sites, and how many samples each has lost of late."""
        known = rows < len(self._desk.fleet.site_ids)  # shards hear of new sites a little before the desk
        self._desk.see(rows[known], conditions[known], lost[known])

    async def tick(self, t_ns: int, merged: Merged, lag_s: Mapping[int, float]) -> None:
        """Take the whole fleet's sums, and how far each shard is behind."""
        shards = range(merged.live + len(merged.silent_shards))
        missing = set(merged.silent_shards)
        self._missing_since_ns = {n: self._missing_since_ns.get(n, t_ns) for n in missing}
        measures = [
            Measure(
                kind=AlarmKind.SHARD_WITHOUT_OWNER,
                subject=f"shard-{number}",
                value=(t_ns - self._missing_since_ns.get(number, t_ns)) / NS_PER_S,
            )
            for number in shards
        ]
        measures += [
            Measure(kind=AlarmKind.JOURNAL_LAG, subject=f"shard-{number}", value=lag_s.get(number, 0.0))
            for number in shards
        ]
        measures += [
            # of whom nothing is heard falls behind as time goes by
            Measure(
                kind=AlarmKind.HISTORY_LAG,
                subject=unit,
                value=behind_s + max(t_ns - until_ns, 0) / NS_PER_S,
            )
            for unit, (until_ns, behind_s) in sorted(self._history.items())
        ]
        measures += [] if self._parts is None else await self._parts(t_ns)
        await self._desk.tick(t_ns, [*measures, *coverage(self._desk.fleet, merged)])


def coverage(fleet: Fleet, merged: Merged) -> list[Measure]:
    """Return the share of the rated battery power that is fresh, for the group of each resource that has any."""
    rated_w, fresh_w = merged.sums.column("capacity_w"), merged.sums.column("scale_battery")
    return [
        Measure(
            kind=AlarmKind.COVERAGE_LOW,
            subject=resource.group_id,
            value=float(fresh_w[number] / rated_w[number]),
            name=fleet.groups[number].name,
        )
        for resource in fleet.resources
        if rated_w[number := fleet.group_number[resource.group_id]] > 0
    ]
