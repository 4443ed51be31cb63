"""Many alarms gathered by what is behind them: a group of a tree, a gateway, the weather, one device type, a part of the plant.

What explains the most sites is taken first, and the smallest such thing of several, until nothing explains two alarms or
more. However many alarms stand, the causes are few: those beyond the worst are one cause called "other". Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.domain.alarms import Alarm, AlarmKind
from shoal.domain.fleet import Fleet
from shoal.domain.telemetry import DeviceType
from shoal.twin.alarm_incidents import SCATTERED
from shoal.twin.incidents import NO_GROUP, Forest

CauseKind: TypeAlias = Literal["group", "gateway", "weather", "type", "part", "kind", "other"]

MOST_CAUSES: Final = 10
SHARE_FRAC: Final = 0.6
"""Share of its sites with one trouble from which on something is behind them."""
MOST_OF_THEM_FRAC: Final = 0.75
"""Share of all sites with one trouble that the weather or a type of device has to hold to be behind them."""
COMMON_FRAC: Final = 0.5
"""What holds more than this share of the fleet explains nothing by holding them."""
LEAST_ALARMS: Final = 5
WEATHER_WEIGHT: Final = 2 / 3
"""A cause in the fleet's own trees goes before the weather unless that explains half as many again."""
BY_WEATHER: Final = (AlarmKind.COMMUNICATION_LOSS, AlarmKind.SAMPLES_LOST)
OTHER: Final = "other"
_MOST_LOOKS: Final = 4 * MOST_CAUSES
_KINDS: Final = {kind: number for number, kind in enumerate(AlarmKind)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """Sites under one weather alert; `rows` ascending."""

    key: str
    name: str
    rows: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What is behind some alarms.

    Attributes:
        key: Its name, the same as long as it stands.
        kind: What kind of thing it is.
        subject: The group, gateway, weather alert, device type or kind of alarm; empty for "other".
        name: The subject as people call it.
        hierarchy_id: Of a group; else empty.
        alarm_rows: Of its alarms in what was given, ascending.
    """

    key: str
    kind: CauseKind
    subject: str
    name: str
    hierarchy_id: str = ""
    alarm_rows: NDArray[np.int64]


class Explainer:
    """Finds the causes of a fleet's alarms. Groups, gateways and areas are numbered one after the other.

    Args:
        fleet: Sites, groups and gateways.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._sites = len(fleet.site_ids)
        self._groups = len(fleet.groups)
        above = np.arange(self._groups, dtype=np.int64)
        levels = [above]
        while (above != NO_GROUP).any():
            above = np.where(above == NO_GROUP, NO_GROUP, fleet.parent_number[above])
            levels.append(above)
        self._up = np.stack(levels[:-1] or [above], axis=1)
        """Of each group, itself and those above it."""
        behind = np.bincount(fleet.gateway_of[fleet.gateway_of >= 0], minlength=len(fleet.gateway_ids))
        self._sizes = np.concatenate([Forest(fleet).sites, behind]).astype(np.int64)

    def causes(
        self, alarms: Sequence[Alarm], areas: Sequence[Area] = (), *, most_count: int = MOST_CAUSES
    ) -> list[Cause]:
        """Return the causes, the worst first; each alarm is in exactly one of at most `most_count` causes."""
        if not alarms:
            return []
        facts = _Facts.of(alarms, self._fleet)
        left = ~facts.is_part
        found = [
            Cause(key=f"part:{kind}", kind="part", subject=kind.value, name=kind.value, alarm_rows=where)
            for kind, number in _KINDS.items()
            if len(where := np.flatnonzero(facts.is_part & (facts.kind_number == number)))
        ]
        found += self._places(facts, areas, left)
        found += self._rest(alarms, facts, left)
        return _fewest(alarms, found, most_count)

    def _places(self, facts: _Facts, areas: Sequence[Area], left: NDArray[np.bool_]) -> list[Cause]:
        """Take groups, gateways and areas while they explain something; what is taken is not `left` any more."""
        holders = self._holders(facts, areas)
        sizes = np.concatenate([self._sizes, [len(area.rows) for area in areas]]).astype(np.int64)
        weight = np.where(np.arange(len(sizes)) < len(self._sizes), 1.0, WEATHER_WEIGHT)
        kinds = len(_KINDS)
        found: list[Cause] = []
        for _ in range(_MOST_LOOKS):
            rows, columns = np.nonzero(left[:, None] & (holders != NO_GROUP))
            if not len(rows):
                break
            at = holders[rows, columns]
            by_kind = np.bincount(
                at * kinds + facts.kind_number[rows],
                weights=facts.sites[rows],
                minlength=len(sizes) * kinds,
            ).reshape(-1, kinds)
            alarms_at = np.bincount(at, minlength=len(sizes))
            share = by_kind.max(axis=1) / np.maximum(sizes, 1)
            explains = (share >= SHARE_FRAC) & (alarms_at >= 2)
            explains[facts.named[left & (facts.named != NO_GROUP)]] = True
            explains[len(self._sizes) :] = [
                self._is_weather(by_kind[number], alarms_at[number], sizes[number], facts, left)
                for number in range(len(self._sizes), len(sizes))
            ]
            if not explains.any():
                break
            worth = np.where(explains, by_kind.sum(axis=1) * weight, -1.0)
            best = min(
                np.flatnonzero(worth == worth.max()).tolist(), key=lambda one: (sizes[one], -self._level(one))
            )
            mine = left & (holders == best).any(axis=1)
            left &= ~mine
            found.append(self._cause(best, areas, np.flatnonzero(mine)))
        return found

    def _level(self, number: int) -> int:
        return self._fleet.groups[number].level if number < self._groups else 0

    def _holders(self, facts: _Facts, areas: Sequence[Area]) -> NDArray[np.int64]:
        """Return for each alarm the numbers of what holds its sites, filled up with `NO_GROUP`."""
        fleet, row, group = self._fleet, facts.row, facts.group
        columns: list[NDArray[np.int64]] = []
        is_site, is_group = row != NO_GROUP, group != NO_GROUP
        if self._groups:
            for leaves in fleet.leaf_group.values():
                leaf = np.where(is_site, leaves[row], NO_GROUP)
                columns.append(np.where((leaf != NO_GROUP)[:, None], self._up[leaf], NO_GROUP))
            columns.append(np.where(is_group[:, None], self._up[group], NO_GROUP))
        if fleet.gateway_ids:
            gateway = np.where(is_site, fleet.gateway_of[row], NO_GROUP)
            columns.append(np.where(gateway == NO_GROUP, NO_GROUP, self._groups + gateway)[:, None])
        below = {
            one: fleet.rows_in(fleet.groups[one].group_id)
            for one in (np.unique(group[is_group]).tolist() if areas else ())
        }
        for number, area in enumerate(areas):
            inside = np.zeros(self._sites, dtype=np.bool_)
            inside[area.rows] = True
            holds = is_site & inside[row]
            for one, rows in below.items():
                if len(rows) and inside[rows].mean() >= MOST_OF_THEM_FRAC:
                    holds |= group == one
            holds &= np.isin(facts.kind_number, [_KINDS[kind] for kind in BY_WEATHER])
            columns.append(np.where(holds, len(self._sizes) + number, NO_GROUP)[:, None])
        if not columns:
            return np.full((len(row), 1), NO_GROUP, dtype=np.int64)
        return np.concatenate(columns, axis=1).astype(np.int64)

    def _is_weather(
        self,
        by_kind: NDArray[np.float64],
        alarm_count: int,
        area_sites: int,
        facts: _Facts,
        left: NDArray[np.bool_],
    ) -> bool:
        """Whether an area holds most of the sites with a trouble that weather makes, and is no mere part of the map."""
        if alarm_count < 2 or area_sites > COMMON_FRAC * self._sites:
            return False
        number = int(by_kind.argmax())
        of_kind = float(facts.sites[left & (facts.kind_number == number)].sum())
        return float(by_kind[number]) >= max(MOST_OF_THEM_FRAC * of_kind, LEAST_ALARMS)

    def _cause(self, number: int, areas: Sequence[Area], alarm_rows: NDArray[np.int64]) -> Cause:
        if number < self._groups:
            group = self._fleet.groups[number]
            return Cause(
                key=f"group:{group.group_id}",
                kind="group",
                subject=group.group_id,
                name=group.name,
                hierarchy_id=group.hierarchy_id,
                alarm_rows=alarm_rows,
            )
        if number < len(self._sizes):
            gateway = self._fleet.gateway_ids[number - self._groups]
            return Cause(
                key=f"gateway:{gateway}", kind="gateway", subject=gateway, name=gateway, alarm_rows=alarm_rows
            )
        area = areas[number - len(self._sizes)]
        return Cause(
            key=f"weather:{area.key}", kind="weather", subject=area.key, name=area.name, alarm_rows=alarm_rows
        )

    def _rest(self, alarms: Sequence[Alarm], facts: _Facts, left: NDArray[np.bool_]) -> list[Cause]:
        """Gather what no place explains by the type of device, else by its kind."""
        found: list[Cause] = []
        types = self._fleet.device_type
        shares = np.bincount(types, minlength=max(DeviceType) + 1) / max(self._sites, 1)
        for kind, number in _KINDS.items():
            where = np.flatnonzero(left & (facts.kind_number == number))
            if not len(where):
                continue
            of_type = np.bincount(types[facts.row[where]], minlength=len(shares))
            common = int(of_type.argmax())
            alone = bool((facts.row[where] != NO_GROUP).all())
            if (
                alone
                and len(where) >= LEAST_ALARMS
                and of_type[common] >= MOST_OF_THEM_FRAC * len(where)
                and shares[common] <= COMMON_FRAC
            ):
                of_them = types[facts.row[where]] == common
                name = DeviceType(common).name.lower()
                found.append(
                    Cause(
                        key=f"type:{name}:{kind}",
                        kind="type",
                        subject=name,
                        name=name,
                        alarm_rows=where[of_them],
                    )
                )
                where = where[~of_them]
            if len(where):
                name = alarms[int(where[0])].name if len(where) == 1 else kind.value
                found.append(
                    Cause(key=f"kind:{kind}", kind="kind", subject=kind.value, name=name, alarm_rows=where)
                )
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """Alarms as columns: what they are about, and the number of their kind; `NO_GROUP` where there is none.

    Attributes:
        row: The site that an alarm is about.
        group: The group that it is about or lies in.
        named: The same group, when it is what is wrong and not just where.
        kind_number: Of its kind.
        sites: How many sites are concerned, one at least.
        is_part: Whether it is about a part of the plant.
    """

    row: NDArray[np.int64]
    group: NDArray[np.int64]
    named: NDArray[np.int64]
    kind_number: NDArray[np.int64]
    sites: NDArray[np.int64]
    is_part: NDArray[np.bool_]

    @staticmethod
    def of(alarms: Sequence[Alarm], fleet: Fleet) -> _Facts:
        rows: dict[str, int] = {str(name): row for name, row in fleet.row_of.items()}
        numbers: dict[str, int] = {str(name): number for name, number in fleet.group_number.items()}
        row = [rows.get(one.subject, NO_GROUP) if one.scope == "site" else NO_GROUP for one in alarms]
        group = [numbers.get(one.subject, NO_GROUP) if one.scope == "group" else NO_GROUP for one in alarms]
        scattered = np.array([one.detail == SCATTERED for one in alarms])
        groups = np.array(group, dtype=np.int64)
        return _Facts(
            row=np.array(row, dtype=np.int64),
            group=groups,
            named=np.where(scattered, NO_GROUP, groups),
            kind_number=np.array([_KINDS[one.kind] for one in alarms], dtype=np.int64),
            sites=np.array([max(one.sites, 1) for one in alarms], dtype=np.int64),
            is_part=np.array([one.scope == "part" for one in alarms]),
        )


def _fewest(alarms: Sequence[Alarm], found: Sequence[Cause], most: int) -> list[Cause]:
    """Return the causes, the worst first, those beyond the most as one."""

    def rank(one: Cause) -> tuple[int, int, str]:
        mine = [alarms[position] for position in one.alarm_rows.tolist()]
        worst = max(alarm.severity.order for alarm in mine)
        return -worst, -sum(max(alarm.sites, 1) for alarm in mine), one.key

    ordered = sorted(found, key=rank)
    if len(ordered) <= most:
        return ordered
    kept, others = ordered[: most - 1], ordered[most - 1 :]
    alarm_rows = np.sort(np.concatenate([one.alarm_rows for one in others]))
    return [*kept, Cause(key=OTHER, kind="other", subject="", name="", alarm_rows=alarm_rows)]
