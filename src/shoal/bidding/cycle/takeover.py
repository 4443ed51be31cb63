"""Taking over from a dead bidder: a slot whose count stands still for long enough is taken by exactly one other.

Whoever holds the slot of a resource bids for it. Another that has seen the count stand still, by its own clock, takes
the slot with a compare-and-set and goes on with the workflows that the dead one left. Time in which the watcher could
not look, because the database was away for it as for the holder, hardly counts. One that comes back to life finds
itself replaced and stops; what it may still send is harmless, since a key repeats and a revision is drawn once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from shoal.store.slots import Held, Slots

LOOK_COUNTS_FRAC: Final = 0.25
"""However long ago the look before was, the time since then counts for at most this share of the wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was last seen of a slot, when, and for how long it has stood still."""

    held: Held
    at_s: float
    still_s: float


@dataclass(slots=True, kw_only=True)
class Watch:
    """What one bidder has seen of the slots of others.

    Attributes:
        holder: Its own name.
        dead_after_s: How long a count must stand still.
        seen: What was last seen of each slot of another, on the watcher's clock.
    """

    holder: str
    dead_after_s: float
    seen: dict[str, Seen] = field(default_factory=dict)

    def free(
        self, held: Mapping[str, Held], wanted: Sequence[str], *, now_s: float
    ) -> dict[str, Held | None]:
        """Return the wanted slots that nobody holds, or whose holder has stood still for too long.

        Args:
            held: Every slot that is held.
            wanted: Which slots matter.
            now_s: The watcher's own clock, which never runs backwards.
        """
        found: dict[str, Held | None] = {}
        for slot in wanted:
            now_held = held.get(slot)
            if now_held is None:
                found[slot] = None
                self.seen.pop(slot, None)
                continue
            if now_held.holder == self.holder:
                self.seen.pop(slot, None)
                continue
            before = self.seen.get(slot)
            still_s = 0.0
            if before is not None and before.held == now_held:
                most_s = self.dead_after_s * LOOK_COUNTS_FRAC
                still_s = before.still_s + min(now_s - before.at_s, most_s)
            self.seen[slot] = Seen(held=now_held, at_s=now_s, still_s=still_s)
            if still_s >= self.dead_after_s:
                found[slot] = now_held
        return found


def take_free(slots: Slots, watch: Watch, wanted: Sequence[str], *, now_s: float) -> dict[str, str]:
    """Take every wanted slot that is free; return those that were won with who held them before (empty for nobody)."""
    won: dict[str, str] = {}
    for slot, instead_of in watch.free(slots.held(), wanted, now_s=now_s).items():
        if slots.take(slot, holder=watch.holder, instead_of=instead_of):
            won[slot] = "" if instead_of is None else instead_of.holder
    return won
