"""What the interface answers of the fleet's places and of what bounds a group: columns for the map, rows for the table."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from shoal.api.answers import TwinGrade
from shoal.api.limits.answers import BoundView
from shoal.api.live.state import Severity


class MapSites(msgspec.Struct, frozen=True, kw_only=True):
    """Where the sites are and how large: columns in the order of the registry, packed so that ten thousand weigh little.

    Places are in thousandths of a degree, a hundred metres, which is as near as a map needs to know where somebody
    lives, each as the step from the one before; ratings in hundreds of watts. `device_type` is a position in `types`.
    A column of numbers is base64 of bytes: the lowest byte of all rows first, then the next ones; a code of 0 is none,
    else it is one more than 2v for v >= 0 and than -2v - 1 for v < 0. `site_ids` has a line each: a character whose code
    less that of `0` says how many characters of the name before stay, then the rest. `version` changes with the fleet;
    it is the answer's `ETag` as well.
    """

    version: str
    total: int
    site_ids: str
    latitude_mdeg: str
    longitude_mdeg: str
    capacity_hw: str
    device_type: str
    types: list[str]


class MapNow(msgspec.Struct, frozen=True, kw_only=True):
    """How the sites are: the rows that changed after the mark that the caller gave, as columns packed as in `MapSites`.

    `mark` is what to give as `since` the next time. `sent` rows are in the columns. `row` has their positions in
    `MapSites` of `version`, each as the step from the one before; null where the columns are all sites in the registry's
    order. `state` is a position in `grades` plus 16 times one more than a position in `severities`, without those 16
    where no alarm stands. `battery_hw` is in hundreds of watts, charging positive. What was never measured is none.
    `through` says which sites the filter lets through, a bit each in the registry's order, base64 of bytes, the lowest
    bit first; null where it lets all through. `total` is how many those are. `unanswered` of the fleet could not be
    asked: they are unknown here.
    """

    version: str
    as_of_ms: int | None
    total: int
    unanswered: int
    grades: list[TwinGrade]
    severities: list[Severity]
    mark: str
    sent: int
    row: str | None
    state: str
    battery_hw: str
    soc_percent: str
    through: str | None


class SiteHit(msgspec.Struct, frozen=True, kw_only=True):
    """One site of a search; `group_path` are the names from the root down, in the fleet's own hierarchy."""

    site_id: str
    device_type: str
    group_path: list[str]
    group_id: str | None
    grade: TwinGrade
    age_s: float | None
    capacity_kw: float
    battery_kw: float | None
    soc_frac: float | None
    alarm: Severity | None


class SiteHits(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the sites that a filter lets through; `unanswered` of the fleet could not be asked and count as unknown."""

    as_of_ms: int | None
    total: int
    unanswered: int
    offset: int
    limit: int
    rows: list[SiteHit]


class NodeLimit(msgspec.Struct, frozen=True, kw_only=True):
    """What may flow through a group at the most, and who says so.

    Attributes:
        group_id: Whose limit: the group asked for, or one above it that bounds it as well.
        kind: What is bounded.
        source: The connection's own limit, or an envelope that holds for a while in its place.
        now: Whether it is the one that counts now.
        set_by: Who set it.
        reason: Why, as written down then.
        used_frac: The share of it that flowed in the controller's last cycle; null when that says nothing of it.
    """

    group_id: str
    name: str
    kind: Literal["import", "export"]
    limit_kw: float
    source: Literal["connection", "envelope"]
    now: bool
    set_by: str
    reason: str
    from_ms: int
    until_ms: int | None
    used_frac: float | None


class NodeFlow(msgspec.Struct, frozen=True, kw_only=True):
    """What flowed through a limited group in the controller's last cycle, between what bounds, and whom it held back."""

    as_of_ms: int
    flow_kw: float
    low_kw: float
    high_kw: float
    sites: int
    silent_sites: int
    bound: list[BoundView]


class NodeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a group and of those above it, its own first; `flow` is null where the controller knows no limit."""

    group_id: str
    limits: list[NodeLimit]
    flow: NodeFlow | None


FLEET_TYPES: Final = (MapSites, MapNow, SiteHits, NodeLimits)
"""For the contract."""
