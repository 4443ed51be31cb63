"""Who takes part in regulation and what each can do, from the registry, the kill switches and the twins.

Pure. Storms, emergencies and owners are the devices' own to tell: they say in their readings what keeps them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.control.arbiter import EventNow
from shoal.control.desired_book import FOREVER_NS
from shoal.control.kill import halted_rows
from shoal.control.schedule import Enrolled
from shoal.control.sites_now import sites_now
from shoal.domain.errors import SettingsError
from shoal.domain.fleet import Fleet
from shoal.services.regulation_shares import RegulationAbility
from shoal.store.order_records import Stop

PROGRAM: Final = "regulation"


def rows_of_resource(fleet: Fleet, resource_id: str) -> NDArray[np.int64]:
    """Return the rows of a resource's sites that have a battery, ascending.

    Raises:
        SettingsError: when the fleet has no such resource.
    """
    for resource in fleet.resources:
        if resource.resource_id == resource_id:
            return fleet.battery_rows_in(resource.group_id)
    known = ", ".join(str(resource.resource_id) for resource in fleet.resources)
    raise SettingsError(field="regulation.resource", value=resource_id, fix=f"name one of: {known or 'none'}")


def may_follow(
    fleet: Fleet, rows: NDArray[np.int64], *, enrolled: Enrolled, stops: Sequence[Stop]
) -> NDArray[np.bool_]:
    """Return which of M rows may follow: enrolled, not left for now by their owners, and under no kill switch."""
    may = ~halted_rows(stops, fleet)[rows]
    taking_part = enrolled(PROGRAM)
    if taking_part is not None:
        may &= np.isin(rows, taking_part)
    return may


def regulation_ability(
    nameplate: NDArray[Any],
    latest: NDArray[Any],
    *,
    t_ns: int,
    fresh_ns: int,
    reserve_frac: NDArray[np.float64],
) -> RegulationAbility:
    """Return what M sites can do; of one that was silent for longer than `fresh_ns` nothing is known."""
    now = sites_now(
        nameplate,
        latest,
        t_ns=t_ns,
        fresh_ns=fresh_ns,
        reserve_frac=reserve_frac,
        available=np.ones(len(nameplate), dtype=np.bool_),
    )
    return RegulationAbility(
        charge_limit_w=now.charge_w,
        discharge_limit_w=now.discharge_w,
        stored_kwh=np.where(now.known, now.energy_wh / 1e3, np.nan),
        floor_kwh=now.reserve_wh / 1e3,
        ceiling_kwh=nameplate["energy_capacity_kwh"].astype(np.float64),
        charge_efficiency_frac=nameplate["charge_efficiency_frac"].astype(np.float64),
        discharge_efficiency_frac=nameplate["discharge_efficiency_frac"].astype(np.float64),
    )


def regulation_event(fleet: Fleet, resource_id: str, *, enrolled: Enrolled, t_ns: int) -> EventNow:
    """Return what keeps the controller's other dispatches off the sites that follow a signal; storms still go first.

    Raises:
        SettingsError: when the fleet has no such resource.
    """
    rows = rows_of_resource(fleet, resource_id)
    taking_part = enrolled(PROGRAM)
    if taking_part is not None:
        rows = np.intersect1d(rows, taking_part, assume_unique=True)
    return EventNow(
        event_id=f"{PROGRAM}:{resource_id}",
        program=PROGRAM,
        kind="local",
        start_ns=t_ns,
        end_ns=FOREVER_NS,
        rows=rows,
        each_w=np.zeros(len(rows), dtype=np.int64),
    )
