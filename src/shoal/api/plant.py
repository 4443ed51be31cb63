"""What the doors open to: the fleet, the ledger, the history, the twins and the hub, handed in by the role."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from prometheus_client import CollectorRegistry

from shoal.api.live import LiveHub
from shoal.api.model import LiveModel
from shoal.domain.fleet import Fleet
from shoal.domain.twins import FleetView
from shoal.store.history import History
from shoal.store.ledger import Ledger

AskView: TypeAlias = Callable[[], Awaitable[FleetView]]
"""Asks every twin shard; raises `UnavailableError` when one does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """Everything that an answer is made from."""

    fleet: Fleet
    ledger: Ledger
    history: History
    model: LiveModel
    hub: LiveHub
    ask_view: AskView
    metrics: CollectorRegistry
