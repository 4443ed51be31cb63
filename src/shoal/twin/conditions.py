"""What is the matter with each site, as bits, and how long it must last before it counts.

A bit that changes is first only noted; it counts once it has stood for its delay, so a site that comes and goes within
the delay is never heard of. Two bytes a site, and whatever is changing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_S
from shoal.domain.telemetry import Flag


class Condition(IntFlag):
    """What may be the matter with a site."""

    SILENT = 1
    SIGN = 2
    STUCK = 4
    REGISTER = 8
    POWER = 16
    CLOCK = 32
    LOST = 64


_OF_FLAGS = (
    (Flag.SIGN, Condition.SIGN),
    (Flag.STUCK, Condition.STUCK),
    (Flag.REGISTER_BACKWARDS, Condition.REGISTER),
    (Flag.OVER_NAMEPLATE, Condition.POWER),
    (Flag.CLOCK_CORRECTED | Flag.CLOCK_DOUBTFUL, Condition.CLOCK),
)


def site_conditions(
    *,
    silent: NDArray[np.bool_],
    flags: NDArray[np.uint16],
    lost: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint16]:
    """Return the conditions of sites.

    Args:
        silent: Whether nothing fresh was heard of each.
        flags: `Flag` bits of the latest record of each.
        lost: Whether samples of each were lost since the last look.
    """
    found = silent.astype(np.uint16)  # SILENT is 1
    flagged = np.flatnonzero(flags != 0)
    if len(flagged):
        bits = flags[flagged]
        for flag, condition in _OF_FLAGS:
            found[flagged] |= np.where(bits & np.uint16(flag), np.uint16(condition), np.uint16(0))
    if lost is not None:
        found[lost] |= np.uint16(Condition.LOST)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """How long a condition must stand before it counts, and be away before it counts as over."""

    raise_after_s: float
    clear_after_s: float


def _no_rows() -> NDArray[np.int64]:
    return np.empty(0, dtype=np.int64)


@dataclass(slots=True)
class _Changing:
    rows: NDArray[np.int64] = field(default_factory=_no_rows)
    since_ns: NDArray[np.int64] = field(default_factory=_no_rows)


class Watch:
    """The conditions that count, site by site.

    Args:
        site_count: How many sites there are.
        delays: Of each condition that is watched.
    """

    def __init__(self, site_count: int, delays: Mapping[Condition, Delay]) -> None:
        self._counted = np.zeros(site_count, dtype=np.uint16)
        self._delays = dict(delays)
        self._watched = np.uint16(sum(delays))
        self._changing = {condition: _Changing() for condition in delays}
        self._rows = {condition: _no_rows() for condition in delays}

    def rows(self, condition: Condition) -> NDArray[np.int64]:
        """Return the rows of the sites whose condition counts, ascending."""
        return self._rows[condition]

    def look(
        self, condition_flags: NDArray[np.uint16], t_ns: int, *, at_once: bool = False
    ) -> set[Condition]:
        """Take what is the matter with every site now; return the conditions whose rows changed.

        Args:
            condition_flags: Bits by row.
            t_ns: Now.
            at_once: Whether everything counts without delay.
        """
        differing = np.flatnonzero(((condition_flags ^ self._counted) & self._watched) != 0)
        different = condition_flags[differing] ^ self._counted[differing]
        changed: set[Condition] = set()
        for condition, delay in self._delays.items():
            bit = np.uint16(condition)
            rows = differing[(different & bit) != 0]
            changing = self._changing[condition]
            if not len(rows) and not len(changing.rows):
                continue
            since_ns = _carried(changing, rows, t_ns)
            is_new = (condition_flags[rows] & bit) != 0
            wait_ns = np.where(
                is_new, int(delay.raise_after_s * NS_PER_S), int(delay.clear_after_s * NS_PER_S)
            )
            due = np.ones(len(rows), dtype=np.bool_) if at_once else t_ns - since_ns >= wait_ns
            self._changing[condition] = _Changing(rows[~due], since_ns[~due])
            if not due.any():
                continue
            self._counted[rows[due]] ^= bit
            self._rows[condition] = np.flatnonzero((self._counted & bit) != 0)
            changed.add(condition)
        return changed


def _carried(changing: _Changing, rows: NDArray[np.int64], t_ns: int) -> NDArray[np.int64]:
    """Return since when each of the rows is changing: as noted before, or now."""
    since_ns = np.full(len(rows), t_ns, dtype=np.int64)
    if len(changing.rows) and len(rows):
        at = np.minimum(np.searchsorted(changing.rows, rows), len(changing.rows) - 1)
        known = changing.rows[at] == rows
        since_ns[known] = changing.since_ns[at[known]]
    return since_ns
