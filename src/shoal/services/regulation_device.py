"""The device's side of regulation: an arming ahead, a broadcast every few seconds, and a lease so short that silence ends it.

What a broadcast asks of a home becomes a set-point with a lease of its own, so everything that holds for set-points holds for
it: at most once, never past its end, and the owner's limits and reserve last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import msgspec

from shoal.domain.desired import DesiredState
from shoal.services.regulation import RegulationSignal
from shoal.services.regulation_shares import answer_of_one_w


class RegulationArming(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A home's part in a regulation offer for a while, sent ahead.

    Attributes:
        resource_id: Whose signal it follows.
        version: Grows with each new arming of the resource.
        start_ns: When it begins.
        end_ns: When it ends, exclusive.
        base_w: Power at a signal of 0, load-positive.
        up_w: Most by which the power falls below it.
        down_w: Most by which it rises above it.
    """

    resource_id: str
    version: int
    start_ns: int
    end_ns: int
    base_w: int
    up_w: int
    down_w: int


class RegulationReading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a home's meter says every few seconds while it is armed.

    Attributes:
        start_ns: Beginning of the time it speaks of.
        end_ns: Its end.
        mean_w: Mean battery power in it, load-positive.
        stored_kwh: Energy stored at its end.
        version: Arming that is followed; 0 for none.
        barred: Why an armed home does not follow it now: ``off``, ``halted``, ``independent`` (its owner keeps it), or the
            program of an event that goes first; empty when nothing keeps it.
    """

    start_ns: int
    end_ns: int
    mean_w: float
    stored_kwh: float
    version: int = 0
    barred: str = ""


@dataclass(slots=True, kw_only=True)
class RegulatedSite:
    """What a device remembers: the arming in force and the one that waits, and the newest broadcast.

    Attributes:
        armings: Those that have not ended, by their start; at most two.
        seq: Number of the newest broadcast taken.
    """

    armings: list[RegulationArming] = field(default_factory=list)
    seq: int = 0

    def take_arming(self, arming: RegulationArming, *, now_ns: int) -> bool:
        """Take an arming; False for one that is over, empty, negative or older than one taken for the same time."""
        sound = (
            now_ns < arming.end_ns
            and arming.start_ns < arming.end_ns
            and min(arming.up_w, arming.down_w) >= 0
        )
        known = [one for one in self.armings if one.end_ns > now_ns]
        if not sound or any(one.version >= arming.version for one in known):
            return False
        kept = [one for one in known if one.start_ns < arming.start_ns]
        self.armings = [*kept[-1:], arming]
        return True

    def in_force(self, now_ns: int) -> RegulationArming | None:
        """Return the arming that holds now; the later one where two overlap."""
        holding = [one for one in self.armings if one.start_ns <= now_ns < one.end_ns]
        return holding[-1] if holding else None

    def take_signal(self, signal: RegulationSignal, *, now_ns: int) -> float | None:
        """Take a broadcast; its value, or None for one that is over, older than another, or no number."""
        if signal.seq <= self.seq or now_ns >= signal.end_ns or not math.isfinite(signal.value_frac):
            return None
        self.seq = signal.seq
        return signal.value_frac


def lease_of(
    arming: RegulationArming,
    value_frac: float,
    *,
    start_ns: int,
    end_ns: int,
    version: int,
    issuer: str,
    fence: int,
) -> DesiredState:
    """Return the set-point that a broadcast value means for an armed home, as a lease that ends with either of the two."""
    return DesiredState(
        version=version,
        battery_w=answer_of_one_w(value_frac, base_w=arming.base_w, up_w=arming.up_w, down_w=arming.down_w),
        start_ns=start_ns,
        end_ns=min(end_ns, arming.end_ns),
        issuer=issuer,
        fence=fence,
        resource_id=arming.resource_id,
    )
