"""Taking over from a dead bidder: a slot whose count stands still for long enough is taken by exactly one other.

Whoever holds the slot of a resource bids for it. Another that has seen the count stand still, by its own clock, takes
the slot with a compare-and-set and goes on with the workflows that the dead one left. One that comes back to life
finds itself replaced and stops; what it may still send is harmless, since a key repeats and a revision is drawn once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shoal.store.slots import Held, Slots


@dataclass(slots=True, kw_only=True)
class Watch:
    """What one bidder has seen of the slots of others.

    Attributes:
        holder: Its own name.
        dead_after_s: How long a count must stand still.
        seen: For each slot of another what was last seen, and since when, on the watcher's clock.
    """

    holder: str
    dead_after_s: float
    seen: dict[str, tuple[Held, float]] = field(default_factory=dict)

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
                continue
            known = self.seen.get(slot)
            if known is None or known[0] != now_held:
                self.seen[slot] = (now_held, now_s)
            elif now_s - known[1] >= self.dead_after_s:
                found[slot] = now_held
        return found


def take_free(slots: Slots, watch: Watch, wanted: Sequence[str], *, now_s: float) -> dict[str, str]:
    """Take every wanted slot that is free; return those that were won with who held them before (empty for nobody)."""
    won: dict[str, str] = {}
    for slot, instead_of in watch.free(slots.held(), wanted, now_s=now_s).items():
        if slots.take(slot, holder=watch.holder, instead_of=instead_of):
            won[slot] = "" if instead_of is None else instead_of.holder
    return won
