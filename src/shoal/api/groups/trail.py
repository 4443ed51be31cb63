"""What every group's sums were in the last hours, kept as they were live: what history has not written yet.

A point a minute of every group at once, in arrays of one fixed size: as far back as fits, the oldest gives way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_MINUTE
from shoal.domain.live import Aggregates

SPACING_NS: Final = NS_PER_MINUTE
MOST_POINTS: Final = 480
MOST_BYTES: Final = 48 << 20
COLUMNS: Final = ("battery_kw", "low_kw", "high_kw", "grid_kw", "soc_frac", "coverage_kw_frac")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTrack:
    """One group's live sums in order of time.

    Attributes:
        t_ns: When, N.
        values: Those of `COLUMNS`, NaN where there is none, 6 x N.
    """

    t_ns: NDArray[np.int64]
    values: NDArray[np.float64]


class GroupTrail:
    """The sums of G groups over the last while.

    Args:
        groups: How many there are.
    """

    def __init__(self, groups: int) -> None:
        points = max(2, min(MOST_POINTS, MOST_BYTES // max(4 * len(COLUMNS) * groups, 1)))
        self._groups = groups
        self._t_ns = np.zeros(points, dtype=np.int64)
        self._values: NDArray[np.float32] | None = None
        self._taken = 0
        self._newest: Aggregates | None = None

    def take(self, aggregates: Aggregates) -> None:
        """Take the sums of an instant; an earlier one than the last means that another run began."""
        newest = self._newest
        if newest is not None and aggregates.t_ns < newest.t_ns:
            self._taken = 0
        self._newest = aggregates
        if self._taken:
            last_ns = int(self._t_ns[(self._taken - 1) % len(self._t_ns)])
            if aggregates.t_ns - last_ns < SPACING_NS:
                return
        if self._values is None:
            self._values = np.empty((len(self._t_ns), len(COLUMNS), self._groups), dtype=np.float32)
        at = self._taken % len(self._t_ns)
        self._t_ns[at] = aggregates.t_ns
        self._values[at] = _columns(aggregates)
        self._taken += 1

    def track(self, number: int, from_ns: int, to_ns: int) -> LiveTrack:
        """Return one group's sums within `[from_ns, to_ns)`, up to the newest ones."""
        kept = min(self._taken, len(self._t_ns))
        order = np.arange(self._taken - kept, self._taken) % len(self._t_ns)
        t_ns = self._t_ns[order]
        values = np.empty((len(COLUMNS), 0))
        if self._values is not None:
            values = self._values[order, :, number].T.astype(np.float64)
        newest = self._newest
        if newest is not None and (not kept or newest.t_ns > int(t_ns[-1])):
            t_ns = np.append(t_ns, newest.t_ns)
            values = np.concatenate([values, newest_of(newest, number)[:, None]], axis=1)
        within = (t_ns >= from_ns) & (t_ns < to_ns)
        return LiveTrack(t_ns=t_ns[within], values=values[:, within])

    def newest(self, number: int) -> tuple[int, NDArray[np.float64]] | None:
        """Return the instant and `COLUMNS` of one group's newest sums; None before the first."""
        newest = self._newest
        return None if newest is None else (newest.t_ns, newest_of(newest, number))


def newest_of(of: Aggregates, number: int) -> NDArray[np.float64]:
    """Return `COLUMNS` of one group, NaN where there is nothing to have a share of."""
    energy_kwh, rated_kw = of.fresh_capacity_kwh[number], of.capacity_kw[number]
    return np.array(
        [
            of.expected_kw[number],
            of.low_kw[number],
            of.high_kw[number],
            of.grid_expected_kw[number],
            of.energy_kwh[number] / energy_kwh if energy_kwh > 0 else np.nan,
            of.fresh_kw[number] / rated_kw if rated_kw > 0 else np.nan,
        ]
    )


def _columns(of: Aggregates) -> NDArray[np.float64]:
    rated_kw, stored_kwh = np.array(of.capacity_kw), np.array(of.fresh_capacity_kwh)
    with np.errstate(divide="ignore", invalid="ignore"):
        soc = np.where(stored_kwh > 0, np.array(of.energy_kwh) / stored_kwh, np.nan)
        coverage = np.where(rated_kw > 0, np.array(of.fresh_kw) / rated_kw, np.nan)
    return np.stack(
        [
            np.array(of.expected_kw),
            np.array(of.low_kw),
            np.array(of.high_kw),
            np.array(of.grid_expected_kw),
            soc,
            coverage,
        ]
    )
