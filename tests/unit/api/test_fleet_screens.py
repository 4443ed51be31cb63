"""The map, the search among sites, and what bounds a group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from shoal.api.plant import Plant
from shoal.api.sites_look import alarm_of_sites
from shoal.api.views import alarm_view
from shoal.control.grid_room import Bound, GroupNow
from shoal.control.grid_state import STATE, LimitsState
from shoal.domain.alarms import Severity
from shoal.domain.ids import ResourceId
from shoal.domain.interval import NS_PER_HOUR
from shoal.store.limit_records import ConnectionLimit, OperatingEnvelope
from shoal.store.limits import LimitStore
from tests.unit.api.doors import ask, make_plant, make_records
from tests.unit.api.plants import T0_NS, make_fleet
from tests.unit.api.test_alarms import make_alarm


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return make_plant(tmp_path, records=make_records())


def get(plant: Plant, path: str, **request: Any) -> Any:
    answer = ask(plant, "GET", path, **request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_places_come_once_and_then_as_304(plant: Plant) -> None:
    answer = ask(plant, "GET", "/api/map/sites")
    shown = answer.json()
    assert shown["site_ids"] == ["home-0", "home-1", "bess-0"]
    assert shown["latitude_mdeg"] == [31_000, 32_000, 33_000]
    assert shown["capacity_hw"] == [50, 70, 100_000]
    assert [shown["types"][one] for one in shown["device_type"]] == ["home", "home", "home"]
    again = ask(plant, "GET", "/api/map/sites", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert ask(plant, "GET", "/api/map/sites", headers={"If-None-Match": '"other"'}).status_code == 200


def test_map_says_how_sites_are_and_what_was_never_measured_is_null(plant: Plant) -> None:
    shown = get(plant, "/api/map/now")
    assert (shown["total"], shown["unanswered"], shown["row"]) == (3, 0, None)
    assert [shown["grades"][one] for one in shown["grade"]] == ["fresh", "stale", "unknown"]
    assert (shown["battery_hw"], shown["soc_percent"]) == ([-20, 0, None], [50, 25, None])
    assert shown["alarm"] == [-1, -1, -1]
    assert shown["version"] == get(plant, "/api/map/sites")["version"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["home-0", "home-1", "bess-0"]),
        ("text=HOME", ["home-0", "home-1"]),
        ("group=storage", ["bess-0"]),
        ("grade=silent", ["home-1", "bess-0"]),
        ("grade=fresh&group=homes", ["home-0"]),
        ("type=meter", []),
        ("alarm=notice", []),
        ("order=age", ["bess-0", "home-1", "home-0"]),
        ("order=grade", ["bess-0", "home-1", "home-0"]),
        ("order=charge", ["home-1", "home-0", "bess-0"]),
        ("order=power&limit=1", ["home-0"]),
        ("offset=2", ["bess-0"]),
    ],
)
def test_search_filters_and_sorts(plant: Plant, query: str, found: list[str]) -> None:
    shown = get(plant, f"/api/sites/search?{query}")
    assert [one["site_id"] for one in shown["rows"]] == found
    assert shown["total"] == len(get(plant, f"/api/map/now?{query}")["grade"])


def test_search_tells_the_path_and_the_age(plant: Plant) -> None:
    (hit,) = get(plant, "/api/sites/search?text=home-1")["rows"]
    assert (hit["group_path"], hit["group_id"], hit["age_s"], hit["capacity_kw"]) == (
        ["Homes", "Feeder-1"],
        "feeder-1",
        600.0,
        7.0,
    )


def test_search_for_what_there_is_not_is_404_and_without_shards_503(plant: Plant, tmp_path: Path) -> None:
    assert ask(plant, "GET", "/api/sites/search?group=nowhere").status_code == 404
    assert ask(plant, "GET", "/api/sites/search?type=kettle").status_code == 404
    assert ask(plant, "GET", "/api/sites/search?grade=odd").status_code == 422
    (tmp_path / "dumb").mkdir()
    dumb = make_plant(tmp_path / "dumb")
    assert ask(dumb, "GET", "/api/map/now").status_code == 503
    assert ask(dumb, "GET", "/api/map/sites").status_code == 200, "places are known without the shards"


def test_alarm_of_a_group_stands_over_its_sites_that_are_not_fresh() -> None:
    fleet = make_fleet()
    grade = np.array([0, 2, 3])
    group = make_alarm(scope="group", subject="feeder-1", severity=Severity.MAJOR, examples=[])
    site = make_alarm(scope="site", subject="bess-0", severity=Severity.CRITICAL, examples=[])
    assert alarm_of_sites(fleet, [alarm_view(group), alarm_view(site)], grade).tolist() == [-1, 2, 3]


def _keep(plant: Plant) -> None:
    state = LimitsState(
        t_ns=T0_NS,
        groups=[
            GroupNow(
                group_id="feeder-1",
                import_limit_w=9_000,
                export_limit_w=None,
                source="envelope",
                flow_w=6_000,
                low_w=5_000,
                high_w=8_000,
                sites=2,
                silent_sites=1,
                bound=[Bound(claim="event-1", direction="charge", held_w=1_500, shadow_price_per_w=0.5)],
            )
        ],
        group_count=1,
        limited_sites=0,
        unknown=[],
        said=[],
        losses=[],
    )
    kept = msgspec.json.encode(state)
    fence = plant.ledger.next_fence("control")
    plant.ledger.save_state(ResourceId(STATE), kept, issuer="control", fence=fence, saved_ns=T0_NS)


def test_limits_of_a_group_name_who_set_them_and_those_above(plant: Plant) -> None:
    store = LimitStore(plant.database)
    store.put(
        [
            ConnectionLimit(
                kind="group",
                target=target,
                import_limit_w=import_w,
                export_limit_w=5_000,
                by="grid-operator",
                at_ns=T0_NS,
            )
            for target, import_w in (("feeder-1", 12_000), ("homes", None), ("storage", 1))
        ]
    )
    store.put_envelopes(
        [
            OperatingEnvelope(
                kind="group",
                target="feeder-1",
                start_ns=T0_NS - NS_PER_HOUR,
                end_ns=T0_NS + NS_PER_HOUR,
                issued_ns=T0_NS - NS_PER_HOUR,
                import_limit_w=9_000,
                export_limit_w=0,
                by="grid-operator",
                at_ns=T0_NS - NS_PER_HOUR,
            )
        ]
    )
    _keep(plant)
    shown = get(plant, "/api/groups/feeder-1/limits")
    lines = [
        (one["group_id"], one["kind"], one["source"], one["now"], one["limit_kw"]) for one in shown["limits"]
    ]
    assert lines == [
        ("feeder-1", "import", "connection", False, 12.0),
        ("feeder-1", "export", "connection", False, 5.0),
        ("feeder-1", "import", "envelope", True, 9.0),
        ("feeder-1", "export", "envelope", True, 0.0),
        ("homes", "export", "connection", True, 5.0),
    ]
    assert [one["used_frac"] for one in shown["limits"]] == [None, None, 0.6667, None, None]
    assert {one["set_by"] for one in shown["limits"]} == {"grid-operator"}
    assert (shown["flow"]["flow_kw"], shown["flow"]["silent_sites"]) == (6.0, 1)
    assert shown["flow"]["bound"][0]["claim"] == "event-1"


def test_group_without_a_limit_says_so_and_an_unknown_one_is_404(plant: Plant) -> None:
    assert get(plant, "/api/groups/storage/limits") == {"group_id": "storage", "limits": [], "flow": None}
    assert ask(plant, "GET", "/api/groups/nowhere/limits").status_code == 404
