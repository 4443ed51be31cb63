"""Fleets that hang from random trees of groups, and limits of them, for tests of what the grid can carry."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoal.domain.fleet import Fleet, Group
from shoal.domain.ids import GroupId, HierarchyId, SiteId
from shoal.store.limit_records import ConnectionLimit, LimitKind, OperatingEnvelope
from shoal.store.limits import StandingLimits
from tests.unit.edge.sites import nameplates

GRID = HierarchyId("grid")


def tree_fleet(parents: list[int], leaf: list[int], plate: NDArray[Any] | None = None) -> Fleet:
    """Return sites at `leaf` groups `g0`, `g1`, ...; the parent of each group comes before it, -1 at a root."""
    levels: list[int] = []
    groups = []
    for number, parent in enumerate(parents):
        levels.append(0 if parent < 0 else levels[parent] + 1)
        groups.append(
            Group(
                group_id=GroupId(f"g{number}"),
                hierarchy_id=GRID,
                parent_id=None if parent < 0 else GroupId(f"g{parent}"),
                name=f"g{number}",
                level=levels[-1],
            )
        )
    sites = len(leaf)
    return Fleet(
        site_ids=tuple(SiteId(f"s{row}") for row in range(sites)),
        nameplate=nameplates(sites) if plate is None else plate,
        latitude_deg=np.zeros(sites),
        longitude_deg=np.zeros(sites),
        groups=tuple(groups),
        leaf_group={GRID: np.array(leaf, dtype=np.int32)},
        resources=(),
    )


def limit(
    target: str, import_w: int | None, export_w: int | None, kind: LimitKind = "group"
) -> ConnectionLimit:
    return ConnectionLimit(
        kind=kind, target=target, import_limit_w=import_w, export_limit_w=export_w, by="test", at_ns=0
    )


def envelope(
    target: str, span: tuple[int, int], import_w: int, export_w: int, *, issued_ns: int = 0
) -> OperatingEnvelope:
    return OperatingEnvelope(
        kind="group",
        target=target,
        start_ns=span[0],
        end_ns=span[1],
        issued_ns=issued_ns,
        import_limit_w=import_w,
        export_limit_w=export_w,
        by="test",
        at_ns=0,
    )


class Source:
    """Limits in memory."""

    def __init__(self, *limits: ConnectionLimit, envelopes: tuple[OperatingEnvelope, ...] = ()) -> None:
        self.limits, self.envelopes = limits, envelopes
        self.number = 1

    def version(self) -> int:
        return self.number

    def standing(self, t_ns: int) -> StandingLimits:
        return StandingLimits(
            version=self.number,
            limits=self.limits,
            envelopes=tuple(one for one in self.envelopes if one.end_ns > t_ns),
        )
