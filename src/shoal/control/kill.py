"""Kill switches: who is halted by which, and how the orders that a person aborts are taken back at once.

A switch outranks everything: what it covers gets no set-point, and its document says so, until a person releases it. It
holds for whoever belongs to the site, group or fleet at the moment, so a site that joins a stopped group is stopped.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId, SiteId
from shoal.store.order_records import Stop


def halted_rows(stops: Sequence[Stop], fleet: Fleet) -> NDArray[np.bool_]:
    """Return which sites are halted (N) by the switches that hold; one that names nobody any more halts nobody."""
    halted = np.zeros(len(fleet.site_ids), dtype=np.bool_)
    for stop in stops:
        if stop.released_ns is not None:
            continue
        halted[rows_of_stop(stop, fleet)] = True
    return halted


def rows_of_stop(stop: Stop, fleet: Fleet) -> NDArray[np.int64]:
    """Return the rows that a switch covers now, ascending."""
    if stop.kind == "fleet":
        return np.arange(len(fleet.site_ids), dtype=np.int64)
    if stop.kind == "group":
        known = GroupId(stop.target) in fleet.group_number
        return fleet.rows_in(GroupId(stop.target)) if known else np.empty(0, dtype=np.int64)
    row = fleet.row_of.get(SiteId(stop.target))
    return np.array([] if row is None else [row], dtype=np.int64)


def reasons_for(row: int, stops: Sequence[Stop], fleet: Fleet) -> list[Stop]:
    """Return the switches that halt one site."""
    return [stop for stop in stops if stop.released_ns is None and row in rows_of_stop(stop, fleet)]
