"""What alarms cost: power that cannot be counted on while they stand, and the money that hangs on it.

An alarm about some sites of a group does not say which: the power is then between that of its smallest sites and that of
its largest, which is certain, and the mean is expected. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.alarms import Alarm, AlarmKind
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId, SiteId

COSTLY: Final = frozenset(
    {
        AlarmKind.COMMUNICATION_LOSS,
        AlarmKind.SUSPECT_SIGN,
        AlarmKind.SUSPECT_STUCK,
        AlarmKind.SUSPECT_REGISTER,
        AlarmKind.SUSPECT_POWER,
    }
)
"""Sites in these troubles are not counted on; those in others still are."""
_KW_PER_MW: Final = 1_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Discharging power that cannot be counted on, in kW: certainly between `low_kw` and `high_kw`."""

    expected_kw: float = 0.0
    low_kw: float = 0.0
    high_kw: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sold:
    """What a resource has sold in the interval under way: at `power_kw` >= 0, for `price_per_mwh`."""

    resource_id: str
    group_id: GroupId
    power_kw: float
    price_per_mwh: float
    currency: str
    until_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AtStake:
    """Money of one award per hour: `expected_per_h` when its other sites step in, `high_per_h` when none does."""

    sold: Sold
    low_per_h: float
    expected_per_h: float
    high_per_h: float


class Losses:
    """Reckons what alarms cost a fleet.

    Args:
        fleet: Sites, groups and nameplates.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        has_battery = fleet.nameplate["energy_capacity_kwh"] > 0
        self._power_kw = np.where(has_battery, fleet.nameplate["discharge_limit_kw"], 0.0).astype(np.float64)
        self._everywhere = np.arange(len(fleet.site_ids), dtype=np.int64)
        self._rows: dict[str, NDArray[np.int64]] = {}

    def lost(self, alarms: Iterable[Alarm], within: GroupId | None = None) -> Loss:
        """Return the power that cannot be counted on because of some alarms.

        Incidents of one kind share no site, but a site may be in several kinds of trouble: what is lost is at least what
        the costliest kind takes, and at most the sum.

        Args:
            alarms: The alarms.
            within: Only of the sites of this group.
        """
        inside: NDArray[np.bool_] | None = None
        total_kw = float(self._power_kw.sum())
        if within is not None:
            inside = np.zeros(len(self._everywhere), dtype=np.bool_)
            inside[self._rows_in(within)] = True
            total_kw = float(self._power_kw[inside].sum())
        by_kind: dict[AlarmKind, tuple[list[int], list[Loss]]] = {}
        shared: dict[tuple[str, int], Loss] = {}
        for alarm in alarms:
            if alarm.kind not in COSTLY or alarm.scope == "part" or alarm.sites <= 0:
                continue
            rows, losses = by_kind.setdefault(alarm.kind, ([], []))
            if alarm.scope == "site":
                row = self._row(alarm.subject)
                if row is not None:
                    rows.append(row)
                continue
            key = (alarm.subject if alarm.scope == "group" else "", alarm.sites)
            if key not in shared:
                shared[key] = self._of_some(self._held(alarm), alarm.sites, inside)
            losses.append(shared[key])
        sums = [
            self._sum(np.array(rows, dtype=np.int64), losses, inside) for rows, losses in by_kind.values()
        ]
        return Loss(
            expected_kw=min(sum(one.expected_kw for one in sums), total_kw),
            low_kw=min(max((one.low_kw for one in sums), default=0.0), total_kw),
            high_kw=min(sum(one.high_kw for one in sums), total_kw),
        )

    def at_stake(self, alarms: Iterable[Alarm], sold: Iterable[Sold]) -> list[AtStake]:
        """Return the money of the awards under way that the alarms touch, per hour."""
        standing = list(alarms)
        found: list[AtStake] = []
        for one in sold:
            lost = self.lost(standing, one.group_id)
            if lost.high_kw <= 0 or one.power_kw <= 0:
                continue
            able_kw = float(self._power_kw[self._rows_in(one.group_id)].sum())
            per_kw = max(one.price_per_mwh, 0.0) / _KW_PER_MW
            found.append(
                AtStake(
                    sold=one,
                    low_per_h=per_kw * _short(one.power_kw, able_kw - lost.low_kw),
                    expected_per_h=per_kw * _short(one.power_kw, able_kw - lost.expected_kw),
                    high_per_h=per_kw * min(lost.high_kw, one.power_kw),
                )
            )
        return found

    def _sum(self, rows: NDArray[np.int64], losses: list[Loss], inside: NDArray[np.bool_] | None) -> Loss:
        if inside is not None:
            rows = rows[inside[rows]]
        alone_kw = float(self._power_kw[rows].sum())
        return Loss(
            expected_kw=alone_kw + sum(one.expected_kw for one in losses),
            low_kw=alone_kw + sum(one.low_kw for one in losses),
            high_kw=alone_kw + sum(one.high_kw for one in losses),
        )

    def _of_some(self, rows: NDArray[np.int64], sites: int, inside: NDArray[np.bool_] | None) -> Loss:
        """Return what `sites` of some sites may be worth, counting those inside alone."""
        sites = min(sites, len(rows))
        if not sites:
            return Loss()
        counted = rows if inside is None else rows[inside[rows]]
        power_kw = np.sort(self._power_kw[counted])
        fewest = max(sites - (len(rows) - len(counted)), 0)
        most = min(sites, len(counted))
        return Loss(
            expected_kw=float(power_kw.sum()) * sites / len(rows),
            low_kw=float(power_kw[:fewest].sum()),
            high_kw=float(power_kw[len(power_kw) - most :].sum()),
        )

    def _held(self, alarm: Alarm) -> NDArray[np.int64]:
        if alarm.scope == "fleet":
            return self._everywhere
        return self._rows_in(GroupId(alarm.subject))

    def _rows_in(self, group_id: GroupId) -> NDArray[np.int64]:
        if group_id not in self._rows:
            known = group_id in self._fleet.group_number
            self._rows[group_id] = self._fleet.rows_in(group_id) if known else self._everywhere[:0]
        return self._rows[group_id]

    def _row(self, site_id: str) -> int | None:
        return self._fleet.row_of.get(SiteId(site_id))


def _short(power_kw: float, left_kw: float) -> float:
    """Return how much of a power is not there, in kW."""
    return max(power_kw - max(left_kw, 0.0), 0.0)
