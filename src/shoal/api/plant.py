"""What the doors open to: the fleet, the ledger, history, the twins, alerts and the hub, handed in by the role."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine

from shoal.api.answers import OwnedUnit
from shoal.api.commands.door import CommandDoor
from shoal.api.door.doorman import Doorman
from shoal.api.events.alerts import AlertDesk
from shoal.api.events.routes import KeptNow
from shoal.api.live.hub import LiveHub
from shoal.api.live.model import LiveModel
from shoal.domain.alarms import AcknowledgeAlarm, AcknowledgeAnswer
from shoal.domain.errors import UnavailableError
from shoal.domain.fleet import Fleet
from shoal.domain.owners import AskHome, HomeTold
from shoal.domain.twins import ShardAnswer
from shoal.store.alarms import AlarmLog
from shoal.store.group_energy import Memberships
from shoal.store.history import History
from shoal.store.ledger import Ledger
from shoal.store.programs import ProgramStore
from shoal.twin.aggregate import Timeouts

AskSites: TypeAlias = Callable[[NDArray[np.int64]], Awaitable[list[ShardAnswer]]]
"""Asks the shards of these fleet rows for their twins; raises `UnavailableError` when one does not answer soon."""

ReadOwners: TypeAlias = Callable[[], Awaitable[list[OwnedUnit]]]
"""Reads who owns what; raises `UnavailableError` when the engine does not answer."""

Acknowledge: TypeAlias = Callable[[AcknowledgeAlarm], Awaitable[AcknowledgeAnswer]]
"""Tells the alarm desk that somebody takes note; raises `UnavailableError` when it does not answer."""


AskHomeNow: TypeAlias = Callable[[AskHome], Awaitable[HomeTold]]
"""Tells the controller that an owner has said something; raises `UnavailableError` when it does not answer soon."""


async def no_controller(asked: AskHome) -> HomeTold:
    """Say that nobody commands: a plant without a controller."""
    raise UnavailableError("the controller", "there is none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """Everything that an answer is made from.

    `timeouts` are those by which the sums count sites, `now_ns` is the plant's time. `database` has the ledger, facts,
    orders and alarms, `registry` sites, groups, programs and people; on one machine they are the same.
    """

    fleet: Fleet
    ledger: Ledger
    history: History
    memberships: Memberships
    model: LiveModel
    hub: LiveHub
    ask_sites: AskSites
    timeouts: Timeouts
    read_owners: ReadOwners
    alerts: AlertDesk
    alarms: AlarmLog
    acknowledge: Acknowledge
    programs: ProgramStore
    commands: CommandDoor
    kept_event: KeptNow
    now_ns: Callable[[], int]
    metrics: CollectorRegistry
    doorman: Doorman
    database: Engine
    registry: Engine
    ask_home: AskHomeNow = no_controller
