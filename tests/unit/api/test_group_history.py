"""A group from history to now: no seam, no point twice, no line over what nobody measured, and a feed that goes on."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoal.api.groups import history as module
from shoal.api.groups.routes_history import group_feed
from shoal.api.groups.trail import MOST_BYTES, GroupTrail
from shoal.api.live.feeds import FeedSaid
from shoal.api.plant import Plant
from shoal.domain.errors import UnavailableError, UnknownIdError
from shoal.domain.interval import NS_PER_MINUTE
from shoal.domain.telemetry import ALL_PRESENT, TELEMETRY, mask_of
from shoal.store.history_folder import LocalFolder
from shoal.store.history_keep import Keeper, KeepOptions
from tests.unit.api.doors import ask, make_plant
from tests.unit.api.plants import T0_NS, aggregates
from tests.unit.store.history_cases import write_history

MINUTE_MS = 60_000
T0_MS = T0_NS // 1_000_000
FROM_MS = T0_MS - 200 * MINUTE_MS
HOMES_W = (-1_500, -2_100)


def write_homes(folder: Path, *, silent: range = range(0)) -> None:
    """Write 200 minutes of both homes, the second one silent for some; the hours before the last are rolled up."""
    for site, power_w in enumerate(HOMES_W):
        minutes = np.array([m for m in range(200, 0, -1) if site == 0 or m not in silent])
        records = TELEMETRY.empty(len(minutes))
        records["ts_ns"] = T0_NS - minutes * NS_PER_MINUTE
        records["seq"] = np.arange(len(minutes)) + 1
        records["battery_w"] = power_w
        records["load_w"] = 500
        records["soc_frac"] = 0.5
        records["present"] = ALL_PRESENT & ~mask_of("ev_w", "solar_w")
        write_history(folder / "history", records, np.full(len(minutes), site), records["ts_ns"])
    Keeper(LocalFolder(folder / "history"), KeepOptions(settle_s=600, grace_s=3_600)).run(T0_NS)


def live_for(plant: Plant, minutes: int) -> None:
    """Let the plant tell its sums each half minute up to the present."""
    for half in range(2 * minutes, -1, -1):
        said = aggregates(T0_NS - half * NS_PER_MINUTE // 2, fresh_kw=[12.0, 12.0, 1.0, 1.0, 12.0])
        assert plant.model.on_aggregates(said)


def history(plant: Plant, group: str = "homes", **query: Any) -> Any:
    asked = {"from_ms": FROM_MS, "to_ms": T0_MS + 1, "points": 4_000, **query}
    said = ask(plant, "GET", f"/api/groups/{group}/history?" + "&".join(f"{k}={v}" for k, v in asked.items()))
    assert said.status_code == 200, said.text
    return said.json()


async def fed(plant: Plant, key: str) -> FeedSaid:
    return await group_feed(plant).read(key)


def rows_of(said: Any, name: str) -> list[Any]:
    return [value for value, source in zip(said[name], said["source"], strict=True) if source == "5min"]


def test_history_goes_over_into_live_sums_without_a_seam(tmp_path: Path) -> None:
    write_homes(tmp_path)
    plant = make_plant(tmp_path)
    live_for(plant, 20)
    said = history(plant)
    at = said["t_ms"]
    assert all(a < b for a, b in pairwise(at))
    assert max(b - a for a, b in pairwise(at)) <= 5 * MINUTE_MS
    assert said["gap"] == [False] * len(at)
    assert [one for one, before in pairwise(reversed(said["source"])) if one != before] == ["live", "samples"]
    assert at[-1] == T0_MS
    # fifteen o'clock has no means yet: samples fill it up to the first live sum
    assert said["seam_ms"] == T0_MS - 20 * MINUTE_MS
    assert at[said["source"].index("live")] == said["seam_ms"]
    assert said["battery_kw"][0] == pytest.approx(-3.6)
    assert rows_of(said, "low_kw") == rows_of(said, "high_kw") == rows_of(said, "battery_kw")
    assert set(rows_of(said, "coverage_kw_frac")) == {1.0}
    assert rows_of(said, "grid_kw")[0] == pytest.approx(-2.6)
    assert (said["battery_kw"][-1], said["low_kw"][-1], said["soc_frac"][-1]) == (-3.0, -9.0, 0.4)


def test_a_silent_site_widens_the_range_to_its_ratings_and_no_further(tmp_path: Path) -> None:
    write_homes(tmp_path, silent=range(70, 100))
    plant = make_plant(tmp_path)
    live_for(plant, 20)
    said = history(plant)
    worst = int(np.argmin(rows_of(said, "coverage_kw_frac")))
    assert rows_of(said, "coverage_kw_frac")[worst] == pytest.approx(5 / 12, abs=1e-4)
    assert rows_of(said, "battery_kw")[worst] == pytest.approx(-1.5 * 12 / 5)
    assert (rows_of(said, "low_kw")[worst], rows_of(said, "high_kw")[worst]) == (-1.5 - 7, -1.5 + 7)


def test_where_nobody_kept_anything_there_is_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_homes(tmp_path)
    plant = make_plant(tmp_path)
    live_for(plant, 20)
    monkeypatch.setattr(module, "MOST_SITE_HOURS", 0)
    said = history(plant)
    first = said["source"].index("live")
    assert "samples" not in said["source"]
    assert [at for at, gap in enumerate(said["gap"]) if gap] == [first]
    assert said["t_ms"][first] - said["seam_ms"] == 40 * MINUTE_MS


def test_few_points_are_means_that_keep_the_newest_one(tmp_path: Path) -> None:
    write_homes(tmp_path)
    plant = make_plant(tmp_path)
    live_for(plant, 20)
    said = history(plant, points=10)
    assert len(said["t_ms"]) <= 10 + 4
    assert said["t_ms"][-1] == T0_MS


def test_a_group_without_any_history_has_its_live_sums_alone(tmp_path: Path) -> None:
    plant = make_plant(tmp_path)
    live_for(plant, 3)
    said = history(plant, "storage")
    assert (said["seam_ms"], set(said["source"]), said["battery_kw"][-1]) == (None, {"live"}, 50.0)


@pytest.mark.parametrize(
    ("query", "status"), [({"to_ms": FROM_MS}, 422), ({"from_ms": 0}, 422), ({"points": 1}, 422)]
)
def test_a_span_that_cannot_be_summed_is_refused(tmp_path: Path, query: dict[str, int], status: int) -> None:
    plant = make_plant(tmp_path)
    asked = {"from_ms": FROM_MS, "to_ms": T0_MS, "points": 100, **query}
    path = "/api/groups/homes/history?" + "&".join(f"{k}={v}" for k, v in asked.items())
    assert ask(plant, "GET", path).status_code == status


def test_a_group_too_large_for_its_span_is_told_how_long_it_may_be() -> None:
    table, *_ = module.tier_for(12 * 24 * 60 * NS_PER_MINUTE, 1_000)
    assert table == "rollup_5min"
    table, *_ = module.tier_for(12 * 24 * 60 * NS_PER_MINUTE, 10_000)
    assert table == "rollup_1h"
    with pytest.raises(Exception, match="at most 62 days of a group of 10000 sites"):
        module.tier_for(100 * 24 * 60 * NS_PER_MINUTE, 10_000)


def test_the_feed_goes_on_from_the_last_point(tmp_path: Path) -> None:
    plant = make_plant(tmp_path)
    with pytest.raises(UnavailableError):
        asyncio.run(fed(plant, "homes"))
    live_for(plant, 3)
    last = history(plant)
    plant.model.on_aggregates(aggregates(T0_NS + 1_000_000_000, bess_kw=7.0))
    said = asyncio.run(fed(plant, "storage"))
    assert (said.value.t_ms, said.value.battery_kw) == (T0_MS + 1_000, 7.0)
    assert last["t_ms"][-1] < said.value.t_ms
    with pytest.raises(UnknownIdError):
        asyncio.run(fed(plant, "nowhere"))


def test_the_trail_forgets_the_oldest_and_another_run() -> None:
    trail = GroupTrail(5)
    for minute in range(600):
        trail.take(aggregates(T0_NS + minute * NS_PER_MINUTE, bess_kw=float(minute)))
    kept = trail.track(2, 0, T0_NS * 2)
    assert (len(kept.t_ns), kept.values[0, 0], kept.values[0, -1]) == (480, 120.0, 599.0)
    trail.take(aggregates(T0_NS))
    assert len(trail.track(2, 0, T0_NS * 2).t_ns) == 1


def test_the_trail_of_many_groups_stays_within_its_memory() -> None:
    groups = 50_000
    columns: dict[str, Any] = {
        name: [1.0] * groups
        for name in aggregates().__struct_fields__
        if name.endswith(("_kw", "_kwh", "_s"))
    }
    counts: dict[str, Any] = {
        name: [1] * groups for name in ("sites", "fresh", "stale", "unknown", "suspect")
    }
    trail = GroupTrail(groups)
    trail.take(aggregates(T0_NS, **columns, **counts))
    assert trail._values is not None and trail._values.nbytes <= MOST_BYTES
