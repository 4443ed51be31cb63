"""Who bids for a resource: a slot with one holder, whose count grows while it lives.

The count is compared with itself over the watcher's own clock, never with a time that somebody else wrote, so clocks
that disagree can neither kill a live holder nor keep a dead one.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, delete, select, update

from shoal.domain.errors import FencedOutError
from shoal.store.cycle_schema import BIDDER_SLOT
from shoal.store.database import insert_into, reading, writing


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Who holds a slot, and its count."""

    holder: str
    beat: int


class Slots:
    """Slots in a migrated database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def held(self) -> dict[str, Held]:
        """Return every slot that is held."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(BIDDER_SLOT))
            return {row.slot: Held(holder=row.holder, beat=int(row.beat)) for row in rows}

    def take(self, slot: str, *, holder: str, instead_of: Held | None) -> bool:
        """Take a slot that nobody holds, or that still is as it was seen; return whether this taker is the one."""
        with writing(self._engine) as connection:
            if instead_of is None:
                values = {"slot": slot, "holder": holder, "beat": 0}
                insert = insert_into(connection, BIDDER_SLOT).values(values).on_conflict_do_nothing()
                return bool(connection.execute(insert).rowcount)
            taken = (
                update(BIDDER_SLOT)
                .where(
                    BIDDER_SLOT.c.slot == slot,
                    BIDDER_SLOT.c.holder == instead_of.holder,
                    BIDDER_SLOT.c.beat == instead_of.beat,
                )
                .values(holder=holder, beat=BIDDER_SLOT.c.beat + 1)
            )
            return bool(connection.execute(taken).rowcount)

    def beat(self, slots: list[str], *, holder: str) -> None:
        """Say that the holder of some slots lives.

        Raises:
            FencedOutError: when one of them was taken over.
        """
        with writing(self._engine) as connection:
            own = (BIDDER_SLOT.c.slot.in_(slots)) & (BIDDER_SLOT.c.holder == holder)
            grown = connection.execute(update(BIDDER_SLOT).where(own).values(beat=BIDDER_SLOT.c.beat + 1))
            if grown.rowcount != len(slots):
                raise FencedOutError(held=grown.rowcount, newest=len(slots))

    def release(self, slots: list[str], *, holder: str) -> None:
        """Give up slots at an orderly end, so that nobody has to wait until they look dead."""
        with writing(self._engine) as connection:
            own = (BIDDER_SLOT.c.slot.in_(slots)) & (BIDDER_SLOT.c.holder == holder)
            connection.execute(delete(BIDDER_SLOT).where(own))
