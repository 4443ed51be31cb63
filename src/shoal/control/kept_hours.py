"""Owners' hours and what is told ahead: an event that reaches into hours which an owner keeps is none of that site's.

Documents run on devices' own clocks, up to 36 hours ahead and with the plant gone, so what an owner keeps is left out of
them from the beginning, and not only when the hour comes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.control.desired_book import Entry
from shoal.domain.orders import ScheduledEvent
from shoal.programs.hours import kept_programs
from shoal.programs.program import ProgramBook

AwayIn: TypeAlias = Callable[[int, int], NDArray[np.bool_]]
"""Returns which owners keep their sites at some instant of `[start_ns, end_ns)`."""


def leave_out_kept(
    wanted: Mapping[str, Entry], book: ProgramBook, away_in: AwayIn, *, t_ns: int
) -> dict[str, Entry]:
    """Return what stands in documents, without the sites whose owners keep them while an event would run.

    Args:
        wanted: What is to stand, by key.
        book: The programs.
        away_in: Who keeps the site when.
        t_ns: The instant; what of an event is over concerns nobody.
    """
    bits = int(kept_programs(book))
    found = dict(wanted)
    for key, entry in wanted.items():
        event = entry.item
        if not isinstance(event, ScheduledEvent) or event.program not in book.ids:
            continue
        start_ns = max(event.start_ns, t_ns)
        if not bits >> book.position(event.program) & 1 or event.kind == "local" or start_ns >= event.end_ns:
            continue
        stays = ~away_in(start_ns, event.end_ns)[entry.rows]
        if stays.all():
            continue
        own_w = None if entry.battery_w is None else entry.battery_w[stays]
        found[key] = replace(entry, rows=entry.rows[stays], battery_w=own_w)
    return found
