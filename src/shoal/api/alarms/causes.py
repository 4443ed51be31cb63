"""The alarms that stand, gathered by cause, with what they cost and what is put aside: from the database, at one instant.

Reading blocks; an asynchronous caller runs it in a thread.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np

from shoal.api.alarms.answers import (
    AlarmGroup,
    AlarmGroups,
    AlarmKindCount,
    AlarmMoney,
    AlarmsAside,
    Evidence,
    GroupedAlarm,
    ShelfRecord,
    Shelved,
)
from shoal.api.live.state import to_ms
from shoal.api.live.views import alarm_view
from shoal.api.plant import Plant
from shoal.api.records.books import known_resources
from shoal.bidding.awarded import Awarded
from shoal.domain.alarms import Alarm
from shoal.domain.errors import UnknownIdError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.market.registry import market_module
from shoal.store.alarm_shelf import AlarmShelf, ShelfStep
from shoal.twin.alarm_causes import Area, Cause, Explainer
from shoal.twin.alarm_losses import Losses, Sold

NUMBERS_SHOWN: Final = 20
ASIDE_SHOWN: Final = 1_000
AREAS_LOOKED_AT: Final = 20
EVIDENCE_SITES: Final = 3
_WH_PER_KWH: Final = 1_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The alarms that stand at one instant, the most urgent first, and what is behind them."""

    now_ns: int
    alarms: Sequence[Alarm]
    causes: Sequence[Cause]
    shelf: Mapping[int, ShelfStep]

    def members(self, cause: str) -> list[Alarm]:
        """Return the alarms of a cause, the most urgent first.

        Raises:
            UnknownIdError: when none stands with that cause.
        """
        if not (members := self.members_if_any(cause)):
            raise UnknownIdError("cause of alarms", cause)
        return members

    def members_if_any(self, cause: str) -> list[Alarm]:
        """Return the alarms of a cause, the most urgent first; none when it is over."""
        for one in self.causes:
            if one.key == cause:
                return [self.alarms[position] for position in one.alarm_rows.tolist()]
        return []

    def is_shelved(self, alarm: Alarm) -> bool:
        """Whether an alarm is put aside now."""
        step = self.shelf.get(alarm.number)
        return step is not None and step.ended(alarm, self.now_ns) is None

    def grouped(self, alarm: Alarm) -> GroupedAlarm:
        """Return an alarm in the page's words."""
        step = self.shelf.get(alarm.number)
        return GroupedAlarm(
            alarm=alarm_view(alarm),
            shelved=None if step is None else shelved_view(step, alarm, self.now_ns),
        )


@dataclass(slots=True, kw_only=True)
class _Held:
    """What was read last, as long as its version is that of the database, and what was made of it."""

    version: tuple[object, ...] = ()
    alarms: Sequence[Alarm] = ()
    shelf: Mapping[int, ShelfStep] = field(default_factory=dict)
    areas: tuple[object, ...] | None = None
    causes: Sequence[Cause] = ()


class AlarmCauses:
    """Gathers the alarms of a plant, anew only when they have changed: many readers of many alarms share one reading.

    Args:
        plant: Whose.
    """

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self.shelf = AlarmShelf(plant.database)
        self._awarded = Awarded(cycles=plant.ledger, market=market_module)
        self._lock = threading.Lock()
        self._held = _Held()

    def read(self) -> Standing:
        """Return what stands now.

        Raises:
            UnavailableError: when the database cannot be reached.
        """
        in_force = [one for one in self._plant.alerts.standing() if one.in_force(self._plant.now_ns())]
        areas = [
            Area(key=one.kept.key, name=one.kept.alert.event, rows=np.sort(one.impact.rows))
            for one in in_force[:AREAS_LOOKED_AT]
            if len(one.impact.rows)
        ]
        shape = tuple((one.key, one.rows.tobytes()) for one in areas)
        with self._lock:
            held = self._fresh()
            if held.areas != shape:
                held.causes = self._explainer.causes(held.alarms, areas)
                held.areas = shape
            return Standing(
                now_ns=self._plant.now_ns(), alarms=held.alarms, causes=held.causes, shelf=held.shelf
            )

    def aside(self) -> AlarmsAside:
        """Return how many alarms stand that nobody has put aside, and those that somebody has.

        Raises:
            UnavailableError: when the database cannot be reached.
        """
        with self._lock:
            held = self._fresh()
            alarms, shelf = held.alarms, held.shelf
        standing = Standing(now_ns=self._plant.now_ns(), alarms=alarms, causes=(), shelf=shelf)
        aside = {one.number: one for one in alarms if standing.is_shelved(one)}
        awake = Counter(one.severity.value for one in alarms if one.number not in aside)
        return AlarmsAside(standing=dict(awake), aside_count=len(aside), aside=list(aside)[:ASIDE_SHOWN])

    def groups(self) -> AlarmGroups:
        """Return the groups, those that are put aside last.

        Raises:
            UnavailableError: when the database cannot be reached.
        """
        standing = self.read()
        sold = self._sold(standing.now_ns) if standing.alarms else []
        groups = [self._group(standing, cause, sold) for cause in standing.causes]
        return AlarmGroups(
            as_of_ms=to_ms(standing.now_ns),
            alarms=len(standing.alarms),
            groups=sorted(groups, key=lambda one: one.shelved_until_ms is not None),
        )

    def _fresh(self) -> _Held:
        """Return the alarms that stand and the shelf, read again only when something has changed."""
        version = (self._plant.alarms.version(), self.shelf.version())  # before what it is of: never too new
        if version != self._held.version:
            alarms = self._plant.alarms.active()
            shelf = self.shelf.standing() if alarms else {}
            self._held = _Held(version=version, alarms=alarms, shelf=shelf)
        return self._held

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self._plant.fleet)

    @cached_property
    def _losses(self) -> Losses:
        return Losses(self._plant.fleet)

    def _sold(self, now_ns: int) -> list[Sold]:
        """Return what each resource has sold in the interval under way."""
        found: list[Sold] = []
        for resource in known_resources(self._plant.fleet.resources):
            award = self._awarded.at(resource, now_ns)
            if award is None or award.energy_wh >= 0:
                continue
            length_h = (award.end_ns - award.start_ns) / NS_PER_HOUR
            found.append(
                Sold(
                    resource_id=resource.resource_id,
                    group_id=resource.group_id,
                    power_kw=-award.energy_wh / _WH_PER_KWH / length_h,
                    price_per_mwh=award.price_per_mwh,
                    currency=market_module(resource.market_id).rules.currency,
                    until_ns=award.end_ns,
                )
            )
        return found

    def _group(self, standing: Standing, cause: Cause, sold: Sequence[Sold]) -> AlarmGroup:
        alarms = [standing.alarms[position] for position in cause.alarm_rows.tolist()]
        shelved = [one for one in alarms if standing.is_shelved(one)]
        awake = [one for one in alarms if not standing.is_shelved(one)] or alarms
        whole = len(shelved) == len(alarms)
        is_part = all(one.scope == "part" for one in alarms)
        lost = self._losses.lost(alarms)
        money = [
            AlarmMoney(
                resource_id=one.sold.resource_id,
                currency=one.sold.currency,
                low_per_h=f"{one.low_per_h:.2f}",
                expected_per_h=f"{one.expected_per_h:.2f}",
                high_per_h=f"{one.high_per_h:.2f}",
                sold_kw=one.sold.power_kw,
                price_per_mwh=one.sold.price_per_mwh,
                until_ms=to_ms(one.sold.until_ns),
            )
            for one in self._losses.at_stake(alarms, sold)
        ]
        since_ns = min(one.raised_ns for one in alarms)
        open_count = sum(one.acknowledged_ns is None for one in alarms)
        path = path_of(self._plant.fleet, cause.subject) if cause.kind == "group" else []
        kinds = Counter(one.kind.value for one in alarms).most_common()
        return AlarmGroup(
            cause=cause.key,
            kind=cause.kind,
            subject=cause.subject,
            name=cause.name,
            hierarchy_id=cause.hierarchy_id,
            path=path,
            severity=max(awake, key=lambda one: one.severity.order).severity.value,
            kinds=[AlarmKindCount(kind=kind, count=count) for kind, count in kinds],
            count=len(alarms),
            open_count=open_count,
            shelved_count=len(shelved),
            shelved_until_ms=to_ms(min(standing.shelf[one.number].until_ns for one in shelved))
            if whole
            else None,
            acknowledged=open_count == 0,
            sites=_least_sites(alarms),
            since_ms=to_ms(since_ns),
            oldest_age_s=max(standing.now_ns - since_ns, 0) / NS_PER_S,
            lost_kw=None if is_part else lost.expected_kw,
            low_kw=None if is_part else lost.low_kw,
            high_kw=None if is_part else lost.high_kw,
            money=money,
            numbers=[one.number for one in alarms[:NUMBERS_SHOWN]],
            evidence=_evidence(self._plant.fleet, cause, alarms, money),
        )


def shelved_view(step: ShelfStep, alarm: Alarm, now_ns: int) -> Shelved:
    """Return how an alarm stands on the shelf."""
    return Shelved(
        at_ms=to_ms(step.at_ns),
        until_ms=to_ms(step.until_ns),
        by=step.by,
        reason=step.reason,
        ended=step.ended(alarm, now_ns),
    )


def shelf_record(step: ShelfStep) -> ShelfRecord:
    """Return a step in the page's words."""
    return ShelfRecord(
        number=step.number,
        t_ms=to_ms(step.at_ns),
        action=step.action,
        by=step.by,
        reason=step.reason,
        until_ms=to_ms(step.until_ns),
    )


def path_of(fleet: Fleet, group_id: str) -> list[str]:
    """Return the names of a group and of those above it, from the root down."""
    found: list[str] = []
    at: GroupId | None = GroupId(group_id)
    while at is not None:
        group = fleet.groups[fleet.group_number[at]]
        found.append(group.name)
        at = group.parent_id
    return found[::-1]


def _least_sites(alarms: Sequence[Alarm]) -> int:
    """Return of how many sites the alarms are at least: those of one kind share none."""
    alone = {one.subject for one in alarms if one.scope == "site"}
    by_kind: Counter[str] = Counter()
    for one in alarms:
        by_kind[one.kind.value] += one.sites
    return max(len(alone), *by_kind.values())


def _evidence(
    fleet: Fleet, cause: Cause, alarms: Sequence[Alarm], money: Sequence[AlarmMoney]
) -> list[Evidence]:
    """Return where to look next, the nearest first, each once."""
    found: list[Evidence] = []
    if cause.kind == "group":
        found.append(Evidence(kind="group", id=cause.subject, label=cause.name))
    elif cause.kind == "gateway":
        found.append(Evidence(kind="gateway", id=cause.subject, label=cause.name))
    elif cause.kind == "weather":
        found.append(Evidence(kind="alert", id=cause.subject, label=cause.name))
    elif cause.kind == "part":
        found.append(Evidence(kind="system", id="", label=""))
    found += [
        Evidence(kind="group", id=one.subject, label=one.name)
        for one in alarms
        if one.scope == "group" and one.subject in fleet.group_number
    ][:EVIDENCE_SITES]
    sites = [one.subject for one in alarms if one.scope == "site"]
    sites += [site for one in alarms[:NUMBERS_SHOWN] if one.scope != "site" for site in one.examples]
    known = dict.fromkeys(site for site in sites if site in fleet.row_of)
    found += [Evidence(kind="site", id=site, label=site) for site in list(known)[:EVIDENCE_SITES]]
    found += [Evidence(kind="resource", id=one.resource_id, label=one.resource_id) for one in money]
    return list({(one.kind, one.id): one for one in reversed(found)}.values())[::-1]
