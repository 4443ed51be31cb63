"""What time it is in the plant: a word of a trader is stamped with the clock that decisions are made by, not the machine's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from shoal.cli.options import read_settings

if TYPE_CHECKING:
    from shoal.cli.cycle_stores import Stores


def plant_now_ns(stores: Stores, config: Path | None, assignments: list[str] | None) -> int:
    """Return the present instant of the plant that the settings name.

    Where a conductor moves time step by step only those who take part are told; then it is the newest instant of which a
    decision or bid is kept.

    Raises:
        UnavailableError: time is conducted, and nothing is kept yet.
    """
    from shoal.domain.errors import UnavailableError
    from shoal.runtime.clock import ConductedClock, open_clock

    settings = read_settings(config, assignments)
    clock = open_clock(settings.clock.source, token=settings.clock.token, name="desk")
    if not isinstance(clock, ConductedClock):
        return clock.now_ns()
    seen_ns = [record.created_ns for record in stores.cycles.bids()]
    if not seen_ns:
        why = "a conductor tells it to those who take part, and no bid is kept yet"
        raise UnavailableError("the plant's clock", why)
    return max(seen_ns)
