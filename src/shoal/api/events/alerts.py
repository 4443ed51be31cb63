"""The weather alerts that stand, and what of the fleet lies in the area of each.

What an alert touches is found once, when it comes and when this process starts: the fleet of a process does not change.
The places of the sites are put in order with the first alert.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from shoal.api.answers import AlertDetail, TouchedGroup
from shoal.api.live.state import AlertNow, to_ms
from shoal.domain.alert import SEVERITIES
from shoal.domain.errors import InvalidInputError, ShoalError, UnknownIdError
from shoal.domain.fleet import Fleet
from shoal.store.weather_alerts import KeptAlert, WeatherAlertLog
from shoal.twin.alerts import AlertImpact, alerts_from_geojson, impact_of
from shoal.twin.layout import Layout
from shoal.twin.zones import ZoneIndex

MOST_ALERTS: Final = 1_000
MOST_SHOWN: Final = 20
MOST_GROUPS: Final = 200
MOST_SITES: Final = 1_000
LOOK_EVERY_S: Final = 30.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingAlert:
    """An alert, and what it touches."""

    kept: KeptAlert
    impact: AlertImpact

    def now(self) -> AlertNow:
        """Return it in short."""
        alert, impact = self.kept.alert, self.impact
        return AlertNow(
            key=self.kept.key,
            event=alert.event,
            severity=alert.severity,
            from_ms=None if alert.effective is None else to_ms(alert.effective.start_ns),
            until_ms=to_ms(self.kept.until_ns),
            sites=len(impact.rows),
            charge_kw=impact.charge_kw,
            discharge_kw=impact.discharge_kw,
            capacity_kwh=impact.capacity_kwh,
        )

    def in_force(self, now_ns: int) -> bool:
        """Whether it holds at an instant."""
        effective = self.kept.alert.effective
        return now_ns < self.kept.until_ns and (effective is None or effective.start_ns <= now_ns)

    def detail(self, fleet: Fleet, now_ns: int) -> AlertDetail:
        """Return it with the groups and sites that it touches."""
        touched = sorted(self.impact.sites_by_group.items(), key=lambda one: -one[1])
        groups = [(fleet.groups[fleet.group_number[name]], sites) for name, sites in touched[:MOST_GROUPS]]
        return AlertDetail(
            summary=self.now(),
            alert_id=self.kept.alert.alert_id,
            taken_ms=to_ms(self.kept.taken_ns),
            taken_by=self.kept.taken_by,
            in_force=self.in_force(now_ns),
            groups_touched=len(touched),
            groups=[
                TouchedGroup(
                    hierarchy_id=group.hierarchy_id,
                    group_id=group.group_id,
                    name=group.name,
                    level=group.level,
                    sites=sites,
                )
                for group, sites in groups
            ],
            site_ids=[fleet.site_ids[row] for row in self.impact.rows[:MOST_SITES].tolist()],
        )


class AlertDesk:
    """Takes alerts and knows those that stand.

    Args:
        fleet: The fleet.
        log: Where alerts are kept.
        now_ns: The plant's clock.
        on_change: Told of the alerts that touch a site, the worst first, whenever they change.
    """

    def __init__(
        self,
        *,
        fleet: Fleet,
        log: WeatherAlertLog,
        now_ns: Callable[[], int],
        on_change: Callable[[list[AlertNow]], None],
    ) -> None:
        self._fleet = fleet
        self._log = log
        self._now_ns = now_ns
        self._on_change = on_change
        self._standing: dict[str, StandingAlert] = {}
        self._places: tuple[ZoneIndex, Layout] | None = None
        self._one_at_a_time = asyncio.Lock()

    def standing(self) -> list[StandingAlert]:
        """Return the alerts that have not ended, the worst first."""
        now_ns = self._now_ns()
        return sorted(
            (one for one in self._standing.values() if one.kept.until_ns > now_ns),
            key=lambda one: (SEVERITIES.index(one.kept.alert.severity), -len(one.impact.rows), one.kept.key),
        )

    def alert(self, key: str) -> StandingAlert:
        """Return one of them.

        Raises:
            UnknownIdError: when there is none of that key, or it has ended.
        """
        found = self._standing.get(key)
        if found is None or found.kept.until_ns <= self._now_ns():
            raise UnknownIdError("alert", key)
        return found

    def detail(self, alert: StandingAlert) -> AlertDetail:
        """Return an alert with the groups and sites that it touches."""
        return alert.detail(self._fleet, self._now_ns())

    async def take(self, content: object, *, by: str) -> list[StandingAlert]:
        """Take the alerts of a GeoJSON object, each in place of the former one of the same name.

        Raises:
            InvalidInputError: when it is none, an area is wrong, or there are too many.
            UnavailableError: when they cannot be kept; nothing was taken then.
        """
        async with self._one_at_a_time:
            taken = await asyncio.to_thread(self._take, content, by)
            self._put(taken)
        return taken

    async def withdraw(self, key: str) -> None:
        """Forget an alert.

        Raises:
            UnknownIdError: when there is none of that key.
        """
        async with self._one_at_a_time:
            was_kept = await asyncio.to_thread(self._log.withdraw, key)
            if self._standing.pop(key, None) is None and not was_kept:
                raise UnknownIdError("alert", key)
            self._put([])

    async def refresh(self) -> None:
        """Take over what stands in the database, where another process may have put it.

        Raises:
            UnavailableError: when it cannot be read.
        """
        async with self._one_at_a_time:
            kept = await asyncio.to_thread(self._log.standing, self._now_ns())
            known = {key: one for key, one in self._standing.items() if one.kept in kept}
            new = [one for one in kept if one.key not in known]
            if new or len(known) != len(self._standing):
                found = await asyncio.to_thread(self._touched, new)
                self._standing = known
                self._put(found)

    async def run(self) -> None:
        """Follow the database until cancelled."""
        while True:
            try:
                await self.refresh()
            except ShoalError as error:
                _log.warning("weather alerts not read", why=str(error))
            await asyncio.sleep(LOOK_EVERY_S)

    def _put(self, alerts: Sequence[StandingAlert]) -> None:
        self._standing.update({one.kept.key: one for one in alerts})
        shown = [one.now() for one in self.standing() if len(one.impact.rows)]
        self._on_change(shown[:MOST_SHOWN])

    def _take(self, content: object, by: str) -> list[StandingAlert]:
        alerts = alerts_from_geojson(content)
        if len(alerts) > MOST_ALERTS:
            raise InvalidInputError(
                field="geojson.features", value=f"{len(alerts)} alerts", fix=f"give at most {MOST_ALERTS}"
            )
        now_ns = self._now_ns()
        kept = [KeptAlert.of(alert, taken_ns=now_ns, taken_by=by) for alert in alerts]
        found = self._touched(list({one.key: one for one in kept}.values()))
        self._log.record([one.kept for one in found], now_ns=now_ns)
        return found

    def _touched(self, kept: Sequence[KeptAlert]) -> list[StandingAlert]:
        """Find what alerts touch; takes a moment, and more the first time."""
        if not kept:
            return []
        if self._places is None:
            fleet = self._fleet
            self._places = ZoneIndex(fleet.latitude_deg, fleet.longitude_deg), Layout.of(fleet)
        index, layout = self._places
        return [
            StandingAlert(kept=one, impact=impact_of(index.inside(one.alert.area), self._fleet, layout))
            for one in kept
        ]
