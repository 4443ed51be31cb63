"""What the control role shares the fleet out by, beside programs: limits of the grid, fairness, and who follows a signal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Engine

from shoal.cli.roles.host import Host
from shoal.control.arbiter import EventNow
from shoal.control.burden import Burden
from shoal.control.burden import Memory as BurdenMemory
from shoal.control.day_meters import DayMeters, local_day_ns, utc_day_ns
from shoal.control.day_meters import Memory as DayMemory
from shoal.control.desired_book import Entry
from shoal.control.event_caps import EventCaps
from shoal.control.grid_limits import GridLimits
from shoal.control.kept_hours import leave_out_kept
from shoal.control.leases import LeaseBook
from shoal.control.owner_skips import OwnerSkips
from shoal.control.regulation_sites import regulation_event
from shoal.control.schedule import Enrolled
from shoal.control.taking_part import TakingPart
from shoal.domain.errors import UnknownIdError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import ResourceId
from shoal.domain.interval import NS_PER_S
from shoal.market.registry import market_module
from shoal.programs.program import default_book
from shoal.runtime.settings import Settings
from shoal.store.ledger import Ledger
from shoal.store.limits import LimitStore


def grid_limits(settings: Settings, fleet: Fleet, engine: Engine) -> GridLimits:
    """Return the limits at connections, as the database has them."""
    return GridLimits(
        fleet,
        LimitStore(engine),
        stale_after_ns=int(settings.control.envelope_stale_s * NS_PER_S) or None,
        margin_frac=settings.control.limit_margin_frac,
    )


def burden_of(settings: Settings, fleet: Fleet, memory: BurdenMemory) -> Burden:
    """Return what each site gave of late, as a predecessor kept it."""
    return Burden(
        fleet.nameplate,
        memory,
        days=settings.control.fairness_days,
        share_frac=settings.control.fairness,
    )


def following(
    host: Host, fleet: Fleet, enrolled: Enrolled
) -> tuple[Callable[[int], Sequence[EventNow]], ...]:
    """Return what keeps dispatches off the homes that follow a regulation signal; nothing where none is followed.

    Raises:
        SettingsError: when the settings name a resource that the fleet does not have.
    """
    resource = host.settings.regulation.resource
    if not resource:
        return ()

    def follow(t_ns: int) -> Sequence[EventNow]:
        return (regulation_event(fleet, resource, enrolled=enrolled, t_ns=t_ns),)

    follow(0)  # a name that is wrong is told at the start
    return (follow,)


def event_caps(
    fleet: Fleet, grid: GridLimits, leases: LeaseBook, taking_part: TakingPart | None
) -> EventCaps:
    """Return what keeps events within the limits of groups."""

    def rank(program: str) -> int:
        ids = default_book().ids if taking_part is None else taking_part.book.ids
        return ids.index(program) if program in ids else len(ids)

    return EventCaps(fleet, grid, leases, rank=rank)


def within(
    taking_part: TakingPart | None, caps: EventCaps, skips: OwnerSkips | None = None
) -> Callable[[int, dict[str, Entry]], dict[str, Entry]]:
    """Return what takes out of documents what owners left, the hours that they keep, and what groups cannot carry."""

    def allowed(t_ns: int, wanted: dict[str, Entry]) -> dict[str, Entry]:
        if skips is not None:
            wanted = skips.without(wanted)
        if taking_part is not None:
            wanted = leave_out_kept(wanted, taking_part.book, taking_part.away_in, t_ns=t_ns)
        return caps.within(t_ns, wanted)

    return allowed


class KeptStates:
    """States that a controller keeps, to look at only.

    Args:
        ledger: Where they are.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def load_state(self, key: str) -> dict[str, Any] | None:
        """Return the state kept, or None."""
        kept = self._ledger.load_state(ResourceId(key))
        return None if kept is None else msgspec.json.decode(kept.state, type=dict[str, Any])

    def save_state(self, key: str, state: dict[str, Any]) -> None:
        """Keep nothing: only a controller does."""


def day_meters(fleet: Fleet, memory: DayMemory) -> DayMeters:
    """Return what counts cycle budgets: days begin by the clock of the plant's market, else of UTC."""
    began: Callable[[int], int] = utc_day_ns
    for resource in fleet.resources:
        with contextlib.suppress(UnknownIdError):
            began = local_day_ns(ZoneInfo(market_module(resource.market_id).rules.zone))
            break
    return DayMeters(len(fleet.site_ids), day_starts_ns=began, memory=memory)
