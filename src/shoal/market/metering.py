"""What a meter says to a market: readings by settlement interval, which may come late and be corrected.

Each reading carries its own count of corrections, so that reports may come twice, late or in the wrong order: the
highest revision of an interval counts, the same one again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from shoal.domain.interval import Interval
from shoal.market.awards import Delivered


class MeterReading(msgspec.Struct, frozen=True, kw_only=True):
    """Energy metered in one settlement interval.

    Attributes:
        start_ns: When it begins.
        end_ns: When it ends, exclusive.
        delivered_wh: Energy, charging positive, discharging negative.
        estimated: Whether it is estimated.
        revision: 0 at first, one more for each correction.
    """

    start_ns: int
    end_ns: int
    delivered_wh: int
    estimated: bool = False
    revision: int = 0

    @property
    def delivered(self) -> Delivered:
        """What is settled."""
        return Delivered(
            start_ns=self.start_ns,
            end_ns=self.end_ns,
            delivered_wh=self.delivered_wh,
            estimated=self.estimated,
        )


class MeterReport(msgspec.Struct, frozen=True, kw_only=True):
    """Readings of one resource."""

    resource_id: str
    readings: tuple[MeterReading, ...]


class MeterReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a report; the three counts sum to its readings.

    Attributes:
        taken_count: New or corrected.
        repeated_count: Held already with the same revision.
        older_count: A higher revision is held.
    """

    taken_count: int
    repeated_count: int
    older_count: int


def to_report(held: Iterable[MeterReading], own: Sequence[Delivered]) -> tuple[MeterReading, ...]:
    """Return what a market has to be told, given what it holds: what is missing, and what differs under the next revision.

    Args:
        held: What the market holds.
        own: What was metered.
    """
    there = {one.start_ns: one for one in held}
    wanted = []
    for reading in own:
        before = there.get(reading.start_ns)
        if before is None or before.delivered != reading:
            wanted.append(
                MeterReading(
                    start_ns=reading.start_ns,
                    end_ns=reading.end_ns,
                    delivered_wh=reading.delivered_wh,
                    estimated=reading.estimated,
                    revision=0 if before is None else before.revision + 1,
                )
            )
    return tuple(wanted)


def complete(intervals: Iterable[Interval], held: Iterable[Delivered]) -> list[Delivered]:
    """Return a reading for every interval: what nobody metered counts as nothing delivered, estimated."""
    there = {one.start_ns: one for one in held}
    return [
        there.get(one.start_ns)
        or Delivered(start_ns=one.start_ns, end_ns=one.end_ns, delivered_wh=0, estimated=True)
        for one in intervals
    ]
