"""Days of homes in history, for what learns from them: feeders of homes that the simulator re-samples from measured ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from shoal.domain.fleet import NAMEPLATE, Fleet, Group
from shoal.domain.ids import GroupId, HierarchyId, SiteId
from shoal.domain.interval import NS_PER_MINUTE
from shoal.domain.telemetry import TELEMETRY
from shoal.simulate.replay import STEPS_PER_DAY, library, replay_fleet
from shoal.twin.silence_history import SilenceHistory, pretend_silence
from tests.unit.store.history_cases import write_history

GRID = HierarchyId("grid")
START_NS = 1_612_915_200_000_000_000
"""2021-02-10T00:00Z."""
STEP_NS = 5 * NS_PER_MINUTE
LATE_NS = 2 * 60 * NS_PER_MINUTE


def lived(*, sites: int = 80) -> SilenceHistory:
    """Return what homes of 40 feeders did for a week."""
    return replay_fleet(library(None), half="first", sites=sites, weeks=1, seed=5).history


def restless(history: SilenceHistory) -> SilenceHistory:
    """Return homes whose load is another every five minutes, often silent: of them the built-in table is wrong."""
    draw = np.random.default_rng(3)
    value_w = history.value_w.copy()
    value_w[2] = 800.0 + 500.0 * draw.standard_normal(value_w[2].shape)
    value_w[0] = np.where(history.scale[0] > 0, 900.0 * draw.standard_normal(value_w[0].shape), 0.0)
    silent = pretend_silence(len(history.silent), history.leaf_group, step_ns=STEP_NS)
    return replace(history, value_w=value_w, silent=silent | np.roll(silent, 100, axis=0))


def fleet_of(history: SilenceHistory) -> Fleet:
    """Return the fleet of these homes, in the groups that they are in."""
    sites = len(history.leaf_group)
    plate = NAMEPLATE.empty(sites)
    plate["charge_limit_kw"] = plate["discharge_limit_kw"] = history.scale[0] / 1e3
    plate["energy_capacity_kwh"] = 13.5
    plate["solar_limit_kw"] = history.scale[1] / 1e3
    plate["ev_limit_kw"] = history.scale[3] / 1e3
    names = [GroupId(f"group-{number}") for number in range(len(history.level))]
    return Fleet(
        site_ids=tuple(SiteId(f"home-{number:04d}") for number in range(sites)),
        nameplate=plate,
        latitude_deg=np.full(sites, 30.0),
        longitude_deg=np.full(sites, -97.0),
        groups=tuple(
            Group(
                group_id=name,
                hierarchy_id=GRID,
                parent_id=None if parent < 0 else names[parent],
                name=name,
                level=int(level),
            )
            for name, parent, level in zip(names, history.parent_number.tolist(), history.level, strict=True)
        ),
        leaf_group={GRID: history.leaf_group.astype(np.int32)},
        resources=(),
    )


def write_days(root: Path, history: SilenceHistory, *, days: float, start_ns: int = START_NS) -> None:
    """Write the first days into the history under `root`; what was silent came two hours late."""
    steps, sites = int(days * STEPS_PER_DAY), len(history.leaf_group)
    records = TELEMETRY.empty(steps * sites)
    step = np.repeat(np.arange(steps), sites)
    records["ts_ns"] = start_ns + step * STEP_NS
    records["seq"] = step + 1
    records["command_version"] = history.ordered[step]
    for number, name in enumerate(("battery_w", "solar_w", "load_w", "ev_w")):
        records[name] = np.rint(history.value_w[number, :steps]).reshape(-1)
    late = history.silent[:steps].reshape(-1)
    arrival_ns = records["ts_ns"] + np.where(late, LATE_NS, NS_PER_MINUTE // 600)
    write_history(root, records, np.tile(np.arange(sites), steps), arrival_ns)
