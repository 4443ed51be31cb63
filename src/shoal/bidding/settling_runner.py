"""Putting the settling of a plant together: its stores, the meters in its history, the owners' shares of its resources."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlalchemy import Engine

from shoal.bidding.settling import Settling, SettlingOptions
from shoal.bidding.settling_meters import HistoryMeters
from shoal.domain.errors import UnknownIdError
from shoal.domain.fleet import Fleet
from shoal.store.cycles import Cycles
from shoal.store.facts import FactStore
from shoal.store.group_energy import Memberships
from shoal.store.history import History
from shoal.store.settlings import Settlings

_PERMILLE: Final = 1_000


def open_settling(
    *,
    engine: Engine,
    fleet: Callable[[], Fleet],
    history: History,
    memberships: Memberships | None = None,
    options: SettlingOptions | None = None,
) -> Settling:
    """Return what settles the resources of a fleet; `Settling.run` takes its turns, or a step calls `Settling.settle`.

    Args:
        engine: The migrated database of bids and facts.
        fleet: Returns the fleet as it is registered now.
        history: The telemetry.
        memberships: Who was in a group when; those who are in it now were all day when None.
        options: When what is done.
    """

    def owner_share_permille(resource_id: str) -> int:
        for resource in fleet().resources:
            if resource.resource_id == resource_id:
                return round(resource.owner_share_frac * _PERMILLE)
        raise UnknownIdError("resource", resource_id)

    return Settling(
        facts=FactStore(engine),
        cycles=Cycles(engine),
        settlings=Settlings(engine),
        metering=HistoryMeters(fleet=fleet, history=history, memberships=memberships),
        owner_share_permille=owner_share_permille,
        options=options,
    )
