"""What the interface answers of a group over time, and of what the plant does now and for whom."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

GroupSource: TypeAlias = Literal["1h", "5min", "samples", "live"]
"""Means of an hour or of five minutes, samples that have no means yet, or the sums that were live then."""


class GroupHistory(msgspec.Struct, frozen=True, kw_only=True):
    """A group over time as columns of one length, strictly in order of time: from history up to `seam_ms`, live sums after.

    The group is the sites that hang there now. `battery_kw` is the best estimate of all its batteries. Where it is from
    history, `low_kw` to `high_kw` hold it for certain: what was not measured is taken at its rating either way. Where it is
    live they hold it nine times out of ten. `coverage_kw_frac` is the share of the rated power that was measured.
    `gap` is true of a point before which nothing was for longer than `gap_after_s`: no line belongs there.
    `seam_ms` is null when nothing is from history; `from` a live sum on the points are instants, else the middle of means.
    """

    group_id: str
    from_ms: int
    to_ms: int
    step_s: float
    gap_after_s: float
    seam_ms: int | None
    t_ms: list[int]
    battery_kw: list[float | None]
    low_kw: list[float | None]
    high_kw: list[float | None]
    grid_kw: list[float | None]
    soc_frac: list[float | None]
    coverage_kw_frac: list[float | None]
    source: list[GroupSource]
    gap: list[bool]


class GroupPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A group's newest sums, as `group/<id>` says them: the next point after those of `GroupHistory`."""

    t_ms: int
    battery_kw: float | None
    low_kw: float | None
    high_kw: float | None
    grid_kw: float | None
    soc_frac: float | None
    coverage_kw_frac: float | None


class PurposePart(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the plant does now.

    Attributes:
        kind: An award of a market, an order of a power, or an event that devices run.
        name: The resource's, or the order's id.
        program_id: Under which program; "" for none that is known.
        program: Its name for people.
        market_id: Which market it is for; null for none.
        doing: What the sites are to do.
        sites: How many of them.
        silent_sites: How many of them were not heard in time: taken at the mean of the others.
        commanded_kw: What is commanded of them, charging positive; null where devices choose it by themselves.
        power_kw: Best estimate of what they do.
        low_kw: With `high_kw` what they do for certain: the silent ones anywhere within their ratings.
        until_ms: Up to when.
    """

    kind: Literal["award", "setpoint", "event"]
    name: str
    program_id: str
    program: str
    market_id: str | None
    doing: Literal["power", "charge", "hold", "local"]
    sites: int
    silent_sites: int
    commanded_kw: float | None
    power_kw: float
    low_kw: float
    high_kw: float
    until_ms: int


class Purpose(msgspec.Struct, frozen=True, kw_only=True):
    """What the plant does now and for whom, as its controller said in its last cycle.

    `as_of_ms` is null before it said anything, `stale` is true when it has been silent for longer than its orders hold.
    `sites` are all that serve something, each once; the others do what their owners set. `parts` are the first of
    `part_count`, the most power first; without any of them the plant is at rest.
    """

    as_of_ms: int | None
    stale: bool
    sites: int
    of_sites: int
    part_count: int
    parts: list[PurposePart]


NODE_TYPES: Final = (GroupHistory, GroupPoint, Purpose)
"""For the contract."""
