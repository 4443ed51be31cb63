"""Groups at the door: roots, children, levels, names, orders; and a client of the socket that watches some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal.api.groups.trees import GroupQuery, GroupTree
from shoal.api.live.hub import MAX_WATCHED
from shoal.api.live.listener import Listener
from shoal.api.plant import Plant
from shoal.control.doing import ControlNow
from shoal.domain.errors import UnknownIdError
from shoal.fabric.subjects import LIVE_AGGREGATES, LIVE_CONTROL
from tests.unit.api.doors import ask, make_plant
from tests.unit.api.plants import T0_NS, aggregates, make_fleet

ALL = ["homes", "feeder-1", "storage", "bess", "texas"]


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    plant = make_plant(tmp_path)
    plant.hub.take(LIVE_AGGREGATES, msgspec.json.encode(aggregates(suspect=[0, 1, 0, 0, 0])))
    return plant


def groups(plant: Plant, **query: Any) -> list[str]:
    answer = ask(plant, "GET", "/api/groups", params=query)
    assert answer.status_code == 200, answer.text
    return [group["group_id"] for group in answer.json()["groups"]]


def test_groups_are_opened_level_by_level(plant: Plant) -> None:
    assert groups(plant) == ["homes", "storage", "texas"]
    assert groups(plant, hierarchy="weather") == ["texas"]
    assert groups(plant, parent="storage") == ["bess"]
    assert groups(plant, parent="bess") == []
    assert groups(plant, level=1) == ["feeder-1", "bess"]
    assert groups(plant, level=7) == []
    assert groups(plant, parent="homes", hierarchy="weather") == []


def test_groups_are_found_by_name_and_sorted_by_what_matters(plant: Plant) -> None:
    assert groups(plant, text="FEED") == ["feeder-1"]
    assert groups(plant, text="s", order="name") == ["bess", "homes", "storage", "texas"]
    assert groups(plant, text="e", order="suspect")[0] == "feeder-1"
    assert groups(plant, order="coverage") == ["homes", "texas", "storage"]
    assert groups(plant, order="power")[0] == "storage"
    assert groups(plant, order="doubt")[-1] == "storage"
    assert groups(plant, order="sites")[-1] == "storage"


def told(**changes: Any) -> ControlNow:
    """Homes are told to give 4 kW while a home beside takes 0.5 kW by itself; the big battery does as it is told."""
    values: dict[str, Any] = {
        "t_ns": T0_NS,
        "holds_until_ns": T0_NS + 1,
        "serving": 2,
        "parts": [],
        "part_count": 0,
        "groups": [0, 1, 2, 3],
        "sites": [1, 1, 1, 1],
        "commanded_w": [-4_000, -4_000, 50_000, 50_000],
        "free_w": [500, 500, 0, 0],
    }
    return ControlNow(**{**values, **changes})


def test_groups_are_ranked_by_how_far_they_are_from_what_is_commanded(plant: Plant) -> None:
    before = ask(plant, "GET", "/api/groups", params={"order": "deviation"}).json()["groups"]
    assert [(one["commanded_kw"], one["deviation_frac"]) for one in before] == [(None, None)] * 3
    plant.hub.take(LIVE_CONTROL, msgspec.msgpack.encode(told()))
    shown = ask(plant, "GET", "/api/groups", params={"order": "deviation"}).json()["groups"]
    assert [one["group_id"] for one in shown] == ["homes", "storage", "texas"]
    # they give 3 kW of batteries of 12 kW, half a kilowatt less than the 3.5 kW that were to be
    assert shown[0]["commanded_kw"] == -4.0
    assert shown[0]["deviation_frac"] == pytest.approx(0.5 / 12, abs=1e-4)
    assert (shown[1]["commanded_kw"], shown[1]["deviation_frac"]) == (50.0, 0.0)
    assert (shown[2]["commanded_kw"], shown[2]["deviation_frac"], shown[2]["commanded_sites"]) == (
        None,
        None,
        0,
    )


def test_commands_that_hold_no_more_are_not_shown(plant: Plant) -> None:
    plant.hub.take(LIVE_CONTROL, msgspec.msgpack.encode(told(holds_until_ns=T0_NS)))
    shown = ask(plant, "GET", "/api/groups", params={"order": "deviation"}).json()["groups"]
    assert {one["commanded_kw"] for one in shown} == {None}
    assert not plant.model.on_control(told(groups=[0, 1, 2, 99]))


def test_groups_come_in_pages_with_their_instant(plant: Plant) -> None:
    page = ask(plant, "GET", "/api/groups", params={"level": 1, "offset": 1, "limit": 1}).json()
    assert (page["total"], page["offset"], page["limit"]) == (2, 1, 1)
    assert [group["group_id"] for group in page["groups"]] == ["bess"]
    assert page["as_of_ms"] == T0_NS // 1_000_000


def test_group_comes_with_those_above_it(plant: Plant) -> None:
    shown = ask(plant, "GET", "/api/groups/feeder-1").json()
    assert (shown["group"]["group_id"], shown["group"]["suspect"]) == ("feeder-1", 1)
    assert [group["group_id"] for group in shown["path"]] == ["homes"]


def test_hierarchies_say_how_deep_they_are(plant: Plant) -> None:
    assert ask(plant, "GET", "/api/hierarchies").json() == [
        {"hierarchy_id": "grid", "roots": 2, "groups": 4, "levels": 2},
        {"hierarchy_id": "weather", "roots": 1, "groups": 1, "levels": 1},
    ]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/groups?parent=nobody", 404),
        ("/api/groups?hierarchy=nobody", 404),
        ("/api/groups/nobody", 404),
        ("/api/groups?level=8", 422),
        ("/api/groups?limit=100000", 422),
        ("/api/groups?order=luck", 422),
        ("/api/groups?text=" + "x" * 300, 422),
    ],
)
def test_what_is_asked_wrongly_is_told(plant: Plant, path: str, status: int) -> None:
    assert ask(plant, "GET", path).status_code == status


def test_before_the_first_figures_there_are_none(tmp_path: Path) -> None:
    plant = make_plant(tmp_path)
    page = ask(plant, "GET", "/api/groups?order=coverage").json()
    assert (page["as_of_ms"], page["total"], page["groups"]) == (None, 3, [])
    assert ask(plant, "GET", "/api/groups/homes").status_code == 503


def test_tree_knows_paths_and_each_watched_group_once() -> None:
    tree = GroupTree(make_fleet())
    assert tree.path(tree.number("feeder-1")) == [0]
    assert tree.path(0) == []
    assert tree.known(["bess", "nobody", "bess", "homes"]) == (3, 0)
    with pytest.raises(UnknownIdError):
        tree.select(GroupQuery(parent="nobody"), None)


def test_client_gets_what_it_watches_and_nothing_else(plant: Plant) -> None:
    hub = plant.hub

    def texts() -> list[Any]:
        found = [text for one in (listener, other) for text in hub.texts_for(one)]
        return [message for text in found if (message := msgspec.json.decode(text))["kind"] == "groups"]

    with hub.listening() as listener, hub.listening() as other:
        hub.watch(listener, ["feeder-1", "nobody", "bess"])
        assert hub.statistics().watched == 2
        (message,) = texts()
        assert message["as_of_ms"] == T0_NS // 1_000_000
        assert [group["group_id"] for group in message["groups"]] == ["feeder-1", "bess"]
        assert texts() == [], "nothing new, nothing sent"
        hub.take(LIVE_AGGREGATES, msgspec.json.encode(aggregates(T0_NS + 1_000_000)))
        assert texts() == [], "at most once a second"
        hub.watch(other, ["texas"])
        assert [[g["group_id"] for g in one["groups"]] for one in texts()] == [["texas"]]
        hub.watch(listener, [])
        assert hub.statistics().watched == 1


def test_no_client_watches_more_than_its_bound(plant: Plant) -> None:
    listener = Listener(topics=())
    plant.hub.watch(listener, ["nobody"] * MAX_WATCHED + ["homes"])
    assert listener.watched == ()


def test_packed_aggregates_are_understood_too(plant: Plant) -> None:
    plant.hub.take(LIVE_AGGREGATES, msgspec.msgpack.encode(aggregates(T0_NS + 1, bess_kw=7.0)))
    assert plant.hub.state().groups[1].battery_kw == 7.0
    assert plant.hub.statistics().malformed_total == 0
