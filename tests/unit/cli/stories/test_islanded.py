"""The story of an island: its settings put a hamlet into the fleet, and each of its verdicts can fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoal.cli.roles.homes import planned_fleet
from shoal.cli.stories import islanded
from shoal.cli.stories.doors import orders
from shoal.cli.stories.islanded import ISLANDED
from shoal.cli.stories.seen import Seen
from shoal.cli.stories.story import Ending, Scene
from shoal.control.event_desk import GRID_BACK, GRID_LOST
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval
from shoal.runtime.settings import load_settings
from shoal.simulate.hamlet import CAPACITY_KWH, HAMLET
from shoal.store.database import migrate
from shoal.store.order_records import AuditEntry

START_NS = 1_612_936_800_000_000_000
SPAN = Interval(start_ns=START_NS, end_ns=START_NS + 6 * NS_PER_HOUR)
ISLAND = Interval(start_ns=START_NS + NS_PER_HOUR, end_ns=START_NS + 3 * NS_PER_HOUR)
MINUTES = 6 * 60
ROW = 0


def told(**changes: Any) -> dict[str, Any]:
    return {
        "row": ROW,
        "start_ns": ISLAND.start_ns,
        "end_ns": ISLAND.end_ns,
        "unserved_kwh": 0.0,
        "fuel_litres_even": 5.0,
        "rules_litres_even": {"cycle charging": 6.0, "load following": 7.0},
        "starts": 1,
        "start_kwh": 60.0,
        "lowest_kwh": 30.0,
        "floor_kwh": 30.0,
        **changes,
    }


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    migrate(f"sqlite:///{tmp_path / 'registry.db'}")
    flags = {"data_dir": str(tmp_path), **ISLANDED.settings, "demo.sites": 4}
    settings = load_settings(file=None, env={}, flags=flags)
    return Scene(settings=settings, fleet=planned_fleet(settings), span=SPAN)


def made_of(scene: Scene, **columns: Any) -> Seen:
    shape = (len(scene.fleet.site_ids), MINUTES)
    names = ("battery_w", "command_version", "charge_wh", "discharge_wh")
    made = {name: np.zeros(shape, dtype=np.int64) for name in names} | columns
    return Seen(
        t_ns=START_NS + np.arange(MINUTES) * NS_PER_MINUTE,
        there=np.ones(shape, dtype=np.bool_),
        columns=made,
    )


def ending(scene: Scene, account: dict[str, Any], awards: list[dict[str, Any]] | None = None) -> Ending:
    accounts: dict[str, dict[str, Any]] = {"homes": {"island": account}, "market": {"awards": awards or []}}
    return Ending(scene=scene, report={}, accounts=accounts)


def note(scene: Scene, action: str, at_ns: int) -> None:
    line = AuditEntry(at_ns=at_ns, by="control", action=action, subject=HAMLET, reason="device", detail="")
    orders(scene).note([line])


def test_fleet_of_the_story_has_a_hamlet_in_the_place_of_a_home(scene: Scene) -> None:
    fleet = scene.fleet
    row = fleet.site_ids.index(HAMLET)
    assert fleet.nameplate["energy_capacity_kwh"][row] == CAPACITY_KWH
    plain = planned_fleet(scene.settings.with_values({"demo.island_s": 0.0}, "test"))
    assert len(plain.site_ids) == len(fleet.site_ids)
    assert HAMLET not in plain.site_ids


def test_word_of_the_grid_counts_from_when_it_was_lost(scene: Scene) -> None:
    found = ending(scene, told())
    assert not islanded._noticed(found, GRID_LOST, ISLAND.start_ns, "x").passed, "nobody noticed"
    note(scene, GRID_LOST, ISLAND.start_ns + NS_PER_MINUTE)
    assert islanded._noticed(found, GRID_LOST, ISLAND.start_ns, "x").passed
    note(scene, GRID_BACK, ISLAND.end_ns + 5 * NS_PER_MINUTE)
    assert not islanded._noticed(found, GRID_BACK, ISLAND.end_ns, "x").passed, "too late"


def test_others_have_to_carry_what_was_awarded(scene: Scene) -> None:
    hour = {"start_ns": ISLAND.start_ns, "end_ns": ISLAND.start_ns + NS_PER_HOUR, "energy_wh": -3_000}
    found = ending(scene, told(), [{"resource_id": "vpp-1", "intervals": [hour]}])
    discharge_wh = np.zeros((len(scene.fleet.site_ids), MINUTES), dtype=np.int64)
    discharge_wh[1, 90:] = 3_000
    assert islanded._carried(found, made_of(scene, discharge_wh=discharge_wh), ISLAND).passed
    # what the hamlet's battery does for its own lights is nobody's delivery
    discharge_wh[[0, 1]] = discharge_wh[[1, 0]]
    assert not islanded._carried(found, made_of(scene, discharge_wh=discharge_wh), ISLAND).passed


def test_who_had_set_points_has_them_again_and_none_meanwhile(scene: Scene) -> None:
    found = ending(scene, told())
    version = np.zeros((len(scene.fleet.site_ids), MINUTES), dtype=np.int64)

    def passed(column: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> dict[str, bool]:
        verdicts = islanded._returned(found, made_of(scene, command_version=column), ISLAND)
        return {verdict.name: verdict.passed for verdict in verdicts}

    version[ROW, :61] = 7
    assert passed(version)["prior_mode_restored"] is False
    version[ROW, 200:] = 8
    assert all(passed(version).values())
    version[ROW, 100] = 7
    assert passed(version)["obeys_nobody_meanwhile"] is False


def test_leap_of_the_others_at_the_return_is_a_step_and_the_hamlets_own_is_none(scene: Scene) -> None:
    found = ending(scene, told())
    power_w = np.zeros((len(scene.fleet.site_ids), MINUTES), dtype=np.int64)
    power_w[ROW, 100:150] = 20_000
    steps = [
        v for v in islanded._returned(found, made_of(scene, battery_w=power_w), ISLAND) if v.name == "no_step"
    ]
    assert steps[0].passed
    power_w[1:, 181:] = 5_000
    steps = [
        v for v in islanded._returned(found, made_of(scene, battery_w=power_w), ISLAND) if v.name == "no_step"
    ]
    assert not steps[0].passed


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"unserved_kwh": 0.1}, "lights_stay_on"),
        ({"lowest_kwh": 29.0}, "battery_within_its_reserve"),
        ({"fuel_litres_even": 6.1}, "less_fuel_than_by_rule"),
    ],
)
def test_what_the_island_came_to_can_fail(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], name: str
) -> None:
    soc = np.full((len(scene.fleet.site_ids), MINUTES), 0.9)
    monkeypatch.setattr(islanded, "seen", lambda *_: made_of(scene, soc_frac=soc))
    verdicts = {v.name: v.passed for v in ISLANDED.verdicts(ending(scene, told()))}
    assert verdicts[name]
    verdicts = {v.name: v.passed for v in ISLANDED.verdicts(ending(scene, told(**changes)))}
    assert not verdicts[name]
