"""What a group and a site cost where one process has to do with all of them; figures that no other benchmark gives.

The aggregates are put together by one process, control is one process, and each process holds the whole fleet: these
decide how large one plant can be, long before the messages do.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
import numpy as np

from shoal.cli.bench import Result
from shoal.cli.benches._plant import measured_plant
from shoal.cli.benches._timing import timed
from shoal.cli.benches._twin_inputs import START_NS, make_fleet, make_samples
from shoal.control.dispatch import AwardNow, Dispatcher, DispatchOptions
from shoal.control.service import encode_desired
from shoal.domain.desired import DesiredState
from shoal.domain.fleet import Fleet
from shoal.domain.fleet_codec import fleet_arrays, fleet_of
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S, Interval
from shoal.domain.live import Aggregates
from shoal.fabric.keys import Role
from shoal.fabric.subjects import desired_subject
from shoal.simulate.load_fleet import LoadPlan
from shoal.store.database import migrate, open_database
from shoal.store.registry import Registry
from shoal.telemetry.merge import Said, ShardSums
from shoal.twin.aggregate import FleetSums, Timeouts, aggregates_of, sum_twins
from shoal.twin.columns import Twins
from shoal.twin.layout import Layout
from shoal.twin.silence import FleetTrail, estimate
from shoal.twin.silence_default import built_in_table

_REPEATS: Final = 5
_STEP_NS: Final = 60 * NS_PER_S
_AWARDED_WH: Final = 1_000
_SILENT_EACH: Final = 12
"""Every so many sites one is silent: what is estimated has more digits than what is known."""
_QUICK: Final = 5_000
_USUAL: Final = 100_000


def probe(quick: bool) -> list[Result]:
    """Return what each group costs whoever puts the aggregates together, and each site control and every process."""
    fleet = make_fleet(_QUICK if quick else _USUAL)
    return [*_groups(fleet), *_fleet(fleet), *_registry(make_fleet(_QUICK)), *_control(fleet)]


def _groups(fleet: Fleet) -> list[Result]:
    sites, groups = len(fleet.site_ids), len(fleet.groups)
    layout = Layout.of(fleet)
    twins, samples = Twins(sites, layout=layout), make_samples(fleet, 1)
    samples.records["ts_ns"][::_SILENT_EACH] -= NS_PER_HOUR
    twins.apply(samples.rows, samples.records, samples.oldest_seq, samples.arrival_ns)
    table, now_ns = built_in_table(), START_NS + NS_PER_S
    rates = table.effective(FleetTrail())
    sums = sum_twins(twins.rows, layout, rates, now_ns=now_ns, timeouts=Timeouts.alike())

    def travel(sums: FleetSums) -> bytes:
        return msgspec.msgpack.encode(
            ShardSums.of(Said(shard=0, token=1, t_ns=now_ns, applied=sites, lag=0, sums=sums))
        )

    def record(sums: FleetSums) -> bytes:
        doubt = estimate(table, sums.silence(), layout.parent_number, layout.level_of)
        return msgspec.json.encode(aggregates_of(sums, doubt, t_ns=now_ns))

    def arrived(message: bytes) -> FleetSums:
        return msgspec.msgpack.decode(message, type=ShardSums).said().sums.plus(sums)

    message, said = travel(sums), record(sums)
    added = timed(arrived, ready=lambda: message, repeats=_REPEATS)
    made = timed(record, ready=lambda: sums, repeats=_REPEATS)
    read = timed(
        lambda said: msgspec.json.decode(said, type=Aggregates), ready=lambda: said, repeats=_REPEATS
    )
    size = f"{groups:,} groups"
    return [
        _row(f"{size}: sums of a shard on their way", len(message) / groups, "B/group"),
        _row(f"{size}: aggregates on their way", len(said) / groups, "B/group"),
        _row(f"{size}: sums of a shard read and added", 1e6 * added.cpu_s / groups, "us/group"),
        _row(f"{size}: aggregates estimated and written", 1e6 * made.cpu_s / groups, "us/group"),
        _row(f"{size}: aggregates read", 1e6 * read.cpu_s / groups, "us/group"),
    ]


def _fleet(fleet: Fleet) -> list[Result]:
    sites = len(fleet.site_ids)
    arrays = fleet_arrays(fleet)
    before = _resident_bytes()
    held = fleet_of(arrays)
    held_bytes = _resident_bytes() - before
    read = timed(fleet_of, ready=lambda: arrays, repeats=_REPEATS)
    size = f"{len(held.site_ids):,} sites"
    return [
        _row(f"{size}: the fleet on its way", sum(a.nbytes for a in arrays.values()) / sites, "B/site"),
        _row(f"{size}: the fleet in a process", held_bytes / sites, "B/site"),
        _row(f"{size}: the fleet read by a process", 1e6 * read.cpu_s / sites, "us/site"),
    ]


def _registry(fleet: Fleet) -> list[Result]:
    sites = len(fleet.site_ids)
    with TemporaryDirectory(prefix="shoal-bench-") as directory:
        file = Path(directory) / "registry.db"
        migrate(f"sqlite:///{file}")
        engine = open_database(f"sqlite:///{file}")
        try:
            registry = Registry(engine)
            registry.load_fleet(fleet, valid_from_ns=0)
            read = timed(registry.fleet_at, ready=lambda: START_NS, repeats=_REPEATS)
        finally:
            engine.dispose()
        size = f"{sites:,} sites in SQLite"
        return [
            _row(f"{size}: the registry on disk", file.stat().st_size / sites, "B/site"),
            _row(f"{size}: the fleet read from the registry", 1e6 * read.cpu_s / sites, "us/site"),
        ]


def _control(fleet: Fleet) -> list[Result]:
    rows = np.flatnonzero(fleet.nameplate["energy_capacity_kwh"] > 0)
    samples = make_samples(fleet, 1)
    latest = np.empty_like(samples.records)
    latest[samples.rows] = samples.records
    options = DispatchOptions(lease_s=600.0, fresh_timeout_s=180.0, issuer="control", fence=1)
    hour = Interval(start_ns=START_NS, end_ns=START_NS + NS_PER_HOUR)
    award = AwardNow(interval=hour, energy_wh=_AWARDED_WH * len(rows))
    orders: list[tuple[int, DesiredState]] = []

    def decide(dispatcher: Dispatcher) -> None:
        decision = dispatcher.step(
            t_ns=START_NS + _STEP_NS, step_ns=_STEP_NS, latest=latest[rows], award=award
        )
        orders[:] = decision.commands

    def dispatcher() -> Dispatcher:
        return Dispatcher(resource_id="vpp-1", rows=rows, nameplate=fleet.nameplate[rows], options=options)

    decided = timed(decide, ready=dispatcher, repeats=_REPEATS)
    if not orders:
        raise RuntimeError("nobody was told anything")
    sent_s = asyncio.run(_send([(fleet.site_ids[row], desired) for row, desired in orders]))
    return [
        _row(
            f"{len(rows):,} batteries: a cycle of control that tells all",
            1e6 * decided.cpu_s / len(rows),
            "us/site",
        ),
        _row(f"{len(orders):,} set-points written and sent", 1e6 * sent_s / len(orders), "us"),
    ]


async def _send(orders: list[tuple[SiteId, DesiredState]]) -> float:
    """Return this process's time for sending the orders to an engine, in seconds."""
    plan = LoadPlan(sites=1_000, gateways=1, samples_per_message=1)
    with TemporaryDirectory(prefix="shoal-bench-") as directory:
        async with measured_plant(Path(directory), plan, roles=("fabric",)) as plant:
            client = await plant.client(Role.CONTROL)
            began_s = time.process_time()
            for site, desired in orders:
                await client.publish(desired_subject(site), encode_desired(desired))
            await client.flush()
            took_s = time.process_time() - began_s
            await client.close()
    return took_s


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _row(size: str, value: float, unit: str) -> Result:
    return Result(case="probe", size=size, value=value, unit=unit, better="lower")
