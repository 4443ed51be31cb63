"""What to make of a device's clock, decided from the record and its arrival alone, so that a replay decides the same.

A device counts its samples, so their order never depends on its clock. A time that cannot be (before the floor, or
ahead of the arrival by more than a little) is set right when the message carries the newest sample of its device: that
one was taken about when it arrived, and the others keep their distance from it. When older samples come that way,
nobody knows how long they lay: they are put in the same place, but called doubtful. A clock that steps back is
believed, and its first sample is called doubtful.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from shoal.domain.interval import NS_PER_S

FLOOR_NS: Final = 1_420_070_400 * NS_PER_S
"""2015-01-01: no device measured anything for this plant before."""


class ClockRule(NamedTuple):
    """How far a device's clock is believed.

    Attributes:
        floor_ns: Times before this instant are impossible.
        max_ahead_ns: How far ahead of its arrival a sample may claim to be.
        step_ns: How far count and clock may contradict each other without a remark.
        backfill_ns: A sample that arrives later than this after its time is marked `Flag.BACKFILL`.
    """

    floor_ns: int = FLOOR_NS
    max_ahead_ns: int = 60 * NS_PER_S
    step_ns: int = 5 * NS_PER_S
    backfill_ns: int = 180 * NS_PER_S

    def is_plausible(self, ts_ns: int, arrival_ns: int) -> bool:
        """Whether a sample that arrived at `arrival_ns` may have been taken at `ts_ns`."""
        return self.floor_ns <= ts_ns <= arrival_ns + self.max_ahead_ns
