"""What a plant can outgrow, where it is laid down, and at how many sites each gives way. Pure.

A limit of the code or of one process holds until somebody changes the program; a setting is raised beforehand. A plant
is as large as its first limit of the program allows; a larger fleet is several plants side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shoal.cli.benches._scaling_model import Model, Plant
from shoal.domain.pace import MOST_SPREAD_S
from shoal.domain.partition import PARTITIONS
from shoal.twin.aggregate import COLUMNS

MOST_SITES: Final = 2**31 - 1
"""Numbers of sites are 32-bit integers in history's files."""
_MEANS_A_DAY: Final = 288
_INT64: Final = 8


class Kind(StrEnum):
    """What it takes to move a limit."""

    CODE = "code"
    PROCESS = "one process"
    UNTRIED = "untried"
    SETTING = "setting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Something that gives way.

    Attributes:
        name: What it is.
        kind: What it takes to move it.
        where: Where it is laid down.
        unit: Of what is used.
        use: How much of it a plant of so many sites uses; never falls with the sites.
        most: How much there is to use.
        remedy: What to change when it gives way.
    """

    name: str
    kind: Kind
    where: str
    unit: str
    use: Callable[[int], float]
    most: float
    remedy: str

    def used_frac(self, sites: int) -> float:
        """Return which share of it a plant of so many sites uses."""
        return self.use(sites) / self.most

    def breaks_at(self) -> int:
        """Return the most sites that it allows, at most `MOST_SITES`."""
        if self.used_frac(MOST_SITES) <= 1:
            return MOST_SITES
        good, bad = 0, MOST_SITES
        while bad - good > 1:
            middle = (good + bad) // 2
            good, bad = (middle, bad) if self.used_frac(middle) <= 1 else (good, middle)
        return good


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A fleet of so many sites.

    Attributes:
        sites: How many.
        plants: How many plants it takes as the program stands.
        plant: One of them.
        outgrown: Limits that one plant for all of them would break, the first to break first.
        next: The limit that breaks first when one plant goes on growing from here.
        settings: Settings that one of the plants needs raised.
    """

    sites: int
    plants: int
    plant: Plant
    outgrown: tuple[Limit, ...]
    next: Limit
    settings: tuple[Limit, ...]


def limits(model: Model) -> tuple[Limit, ...]:
    """Return all limits, the first to break first."""
    found = (*_of_messages(model), *_of_processes(model), *_of_settings(model))
    return tuple(sorted(found, key=Limit.breaks_at))


def largest_plant(model: Model) -> Limit:
    """Return the limit that one plant meets first, settings left aside."""
    return next(limit for limit in limits(model) if limit.kind is not Kind.SETTING)


def step(model: Model, sites: int) -> Step:
    """Return what a fleet of so many sites takes, and what breaks."""
    every = limits(model)
    of_program = [limit for limit in every if limit.kind is not Kind.SETTING]
    plants = math.ceil(sites / of_program[0].breaks_at())
    each = math.ceil(sites / plants)
    return Step(
        sites=sites,
        plants=plants,
        plant=model.plant(each),
        outgrown=tuple(limit for limit in of_program if limit.breaks_at() < sites),
        next=next(limit for limit in of_program if limit.breaks_at() >= sites),
        settings=tuple(x for x in every if x.kind is Kind.SETTING and x.breaks_at() < each),
    )


def _of_messages(model: Model) -> tuple[Limit, ...]:
    most = float(model.most_message_bytes)
    return (
        Limit(
            name="sums of a shard, one message",
            kind=Kind.CODE,
            where="`max_payload_bytes`, fabric/config.py; `ShardSums`, telemetry/merge.py",
            unit="B",
            use=lambda sites: model.groups(sites) * float(_INT64 * (len(COLUMNS) + 1)),
            most=most,
            remedy="fewer or larger groups; else send the groups that a shard has sites in, in parts, or add up in "
            "two stages: shards of a region, then regions",
        ),
        Limit(
            name="aggregates, one message",
            kind=Kind.CODE,
            where="`max_payload_bytes`, fabric/config.py; `Aggregates`, domain/live.py",
            unit="B",
            use=lambda sites: model.groups(sites) * model.measured.aggregate_bytes,
            most=most,
            remedy="publish the upper levels, and a region's lower ones on a subject of its own for who asks",
        ),
        Limit(
            name="shards",
            kind=Kind.CODE,
            where="`PARTITIONS`, domain/partition.py",
            unit="shards",
            use=lambda sites: float(model.units(sites)),
            most=float(PARTITIONS),
            remedy="more partitions, which makes a new journal; else a plant a region",
        ),
        Limit(
            name="numbers of sites",
            kind=Kind.CODE,
            where="`site_no`, store/history_schema.py",
            unit="sites",
            use=float,
            most=float(MOST_SITES),
            remedy="wider numbers in history's files",
        ),
    )


def _of_processes(model: Model) -> tuple[Limit, ...]:
    a, fill = model.assumed, model.assumed.fill_frac
    return (
        Limit(
            name="control's cycle",
            kind=Kind.PROCESS,
            where="control/service.py; `control.step_s`",
            unit="s",
            use=model.control_cycle_s,
            most=model.settings.control.step_s * fill,
            remedy="a resource a process; split once a region, then within it; a longer `control.step_s` meanwhile",
        ),
        Limit(
            name="aggregate's owner",
            kind=Kind.PROCESS,
            where="telemetry/summing.py",
            unit="cores",
            use=lambda sites: model.merge_cores(sites, model.shards(sites)),
            most=fill,
            remedy="a longer `telemetry.refresh_every_s`; else add up in two stages",
        ),
        Limit(
            name="api's reading of aggregates",
            kind=Kind.PROCESS,
            where="api/live/state.py, api/live/aggregates.py",
            unit="cores",
            use=model.api_cores,
            most=fill,
            remedy="a longer `telemetry.refresh_every_s`; else a binary message, or the levels that are shown",
        ),
        Limit(
            name="registry read after a change",
            kind=Kind.PROCESS,
            where="store/fleet_read.py",
            unit="s",
            use=lambda sites: sites * (model.measured.registry_read_us + model.measured.fleet_read_us) / 1e6,
            most=a.fleet_change_s * fill,
            remedy="publish what changed instead of the whole fleet",
        ),
        Limit(
            name="servers in one cluster",
            kind=Kind.UNTRIED,
            where="assumed: `servers_a_cluster`, `connections_a_server`",
            unit="servers",
            use=lambda sites: float(model.servers(sites)),
            most=float(a.servers_a_cluster),
            remedy="devices on leaf nodes, which pass on to the cluster; gateways instead of own connections",
        ),
    )


def _of_settings(model: Model) -> tuple[Limit, ...]:
    fabric, fill = model.settings.fabric, model.assumed.fill_frac
    return (
        Limit(
            name="journal's size",
            kind=Kind.SETTING,
            where="`fabric.store_max_bytes`, a half of it",
            unit="B",
            use=model.journal_bytes,
            most=fabric.store_max_bytes / 2,
            remedy="raise `fabric.store_max_bytes`, or keep the journal for a shorter time",
        ),
        Limit(
            name="snapshots' size",
            kind=Kind.SETTING,
            where="`fabric.store_max_bytes`, an eighth of it",
            unit="B",
            use=model.snapshot_bytes,
            most=fabric.store_max_bytes / 8,
            remedy="raise `fabric.store_max_bytes`",
        ),
        Limit(
            name="all devices back at once",
            kind=Kind.SETTING,
            where="`fabric.sign_ins_per_s`; `MOST_SPREAD_S`, domain/pace.py",
            unit="s",
            use=lambda sites: model.connections(sites) / fabric.sign_ins_per_s,
            most=MOST_SPREAD_S,
            remedy="raise `fabric.sign_ins_per_s` and run a sign-in service on each node; gateways",
        ),
        Limit(
            name="a day of five-minute means by SQL",
            kind=Kind.SETTING,
            where="`history.query_timeout_s`",
            unit="s",
            use=lambda sites: sites * _MEANS_A_DAY / model.measured.query_rows_per_s,
            most=model.settings.history.query_timeout_s * fill,
            remedy="ask `rollup_1h`; raise `history.query_timeout_s`; else keep means of groups",
        ),
    )
