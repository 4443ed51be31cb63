"""The storms of a plant: the alerts that stand, whom they have, and what these had before.

Where an alert is, is found once; who is held is worked out anew in every cycle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from shoal.control.storm import (
    OwnerChanged,
    StandingAlert,
    StormPolicy,
    StormSites,
    StormState,
    StormStep,
    standing_alert,
    step_storm,
)
from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_S
from shoal.store.weather_alerts import KeptAlert
from shoal.twin.zones import ZoneIndex

_log = structlog.get_logger(__name__)


class AlertStore(Protocol):
    """Where weather alerts are kept; see `shoal.store.weather_alerts.WeatherAlertLog`."""

    def readable(self, now_ns: int) -> tuple[list[KeptAlert], dict[str, str]]: ...


class StormWatch:
    """The storms of a plant.

    Args:
        fleet: The fleet.
        policy: How the plant gets ready for weather.

    Attributes:
        state: What sites had that a storm has taken.
        held: Whom a storm has (N).
    """

    def __init__(self, fleet: Fleet, policy: StormPolicy) -> None:
        self._fleet = fleet
        self._policy = policy
        self._index: ZoneIndex | None = None
        self._standing: dict[str, tuple[KeptAlert, StandingAlert | None]] = {}
        self._broken: dict[str, str] = {}
        self.state = StormState()
        self.held = np.zeros(len(fleet.site_ids), dtype=np.bool_)

    @property
    def alerts(self) -> int:
        """How many alerts that stand move somebody."""
        return sum(alert is not None and len(alert.rows) > 0 for _, alert in self._standing.values())

    def look(self, store: AlertStore, t_ns: int) -> None:
        """Take in the alerts that stand, and those that ended while their sites still end one after another. Blocks.

        Raises:
            UnavailableError: when they cannot be read.
        """
        alerts, broken = store.readable(t_ns - int(self._policy.spread_s * NS_PER_S))
        for key, why in broken.items():
            if key not in self._broken:
                _log.error("a weather alert cannot be read: what was known of it stays", alert=key, why=why)
        self._broken = broken
        self.take(alerts, unread=broken)

    def take(self, alerts: Sequence[KeptAlert], *, unread: Iterable[str] = ()) -> None:
        """Let just these alerts stand, and those of some keys as they were."""
        known, self._standing = self._standing, {}
        self._standing |= {key: known[key] for key in unread if key in known}
        for kept in alerts:
            before = known.get(kept.key)
            if before is not None and before[0] == kept:
                self._standing[kept.key] = before
                continue
            if self._index is None:
                self._index = ZoneIndex(self._fleet.latitude_deg, self._fleet.longitude_deg)
            found: StandingAlert | None = None
            try:
                found = standing_alert(
                    key=kept.key,
                    alert=kept.alert,
                    taken_ns=kept.taken_ns,
                    until_ns=kept.until_ns,
                    index=self._index,
                    policy=self._policy,
                )
            except InvalidInputError as error:
                _log.warning("a weather alert cannot be followed", alert=kept.key, why=str(error))
            self._standing[kept.key] = (kept, found)

    def step(self, t_ns: int, sites: StormSites, *, taking_part: NDArray[np.bool_]) -> StormStep:
        """Return what storms want of the sites from now on; of those that take part."""
        standing = [
            replace(alert, rows=alert.rows[taking_part[alert.rows]])
            for _, alert in self._standing.values()
            if alert is not None
        ]
        self.state, step = step_storm(
            self.state,
            self._owners_changed(sites),
            t_ns=t_ns,
            standing=standing,
            sites=sites,
            policy=self._policy,
        )
        self.held = step.held
        return step

    def _owners_changed(self, sites: StormSites) -> list[OwnerChanged]:
        found = []
        for site, prior in self.state.prior_of.items():
            row = self._fleet.row_of.get(SiteId(site))
            if row is not None and float(sites.reserve_frac[row]) != prior.reserve_frac:
                found.append(OwnerChanged(site_id=site, reserve_frac=float(sites.reserve_frac[row])))
        return found
