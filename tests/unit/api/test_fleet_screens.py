"""The map, the search among sites, and what bounds a group."""

from __future__ import annotations

import base64
import gzip
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.api.fleet.map_columns import ALARM_TIMES, MapColumns
from shoal.api.fleet.packed import pack, pack_steps
from shoal.api.fleet.routes import places_of
from shoal.api.fleet.sites_look import Look, alarm_of_sites
from shoal.api.live.views import alarm_view
from shoal.api.plant import Plant
from shoal.control.grid_room import Bound, GroupNow
from shoal.control.grid_state import STATE, LimitsState
from shoal.domain.alarms import Severity
from shoal.domain.ids import ResourceId
from shoal.domain.interval import NS_PER_HOUR
from shoal.simulate.fleet import plan_fleet
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


def unpacked(text: str, rows: int) -> list[int | None]:
    """Read a column by its description in the contract, not by the code that wrote it."""
    planes = np.frombuffer(base64.b64decode(text), dtype=np.uint8).astype(np.int64).reshape(-1, max(rows, 1))
    codes = sum((plane << (8 * at) for at, plane in enumerate(planes)), np.zeros(rows, dtype=np.int64))
    return [None if one == 0 else (one - 1) // 2 if one % 2 else -one // 2 for one in codes.tolist()]


def steps(text: str) -> list[int]:
    return list(accumulate(one or 0 for one in unpacked(text, 3)))


def bits(text: str | None, rows: int) -> list[bool]:
    if text is None:
        return [True] * rows
    raw = base64.b64decode(text)
    return [bool(raw[row // 8] >> (row % 8) & 1) for row in range(rows)]


def make_look(sites: int, *, battery_kw: list[float] | None = None) -> Look:
    return Look(
        t_ns=T0_NS,
        grade=np.zeros(sites, dtype=np.int64),
        age_s=np.zeros(sites),
        battery_kw=np.ones(sites) if battery_kw is None else np.array(battery_kw),
        soc_frac=np.full(sites, 0.5),
        unanswered=0,
    )


def test_places_come_once_and_then_as_304(plant: Plant) -> None:
    answer = ask(plant, "GET", "/api/map/sites")
    shown = answer.json()
    assert shown["total"] == 3
    assert shown["site_ids"].split("\n") == ["0home-0", "51", "0bess-0"], "what names share comes once"
    assert steps(shown["latitude_mdeg"]) == [31_000, 32_000, 33_000]
    assert steps(shown["longitude_mdeg"]) == [-97_000, -98_000, -99_000]
    assert unpacked(shown["capacity_hw"], 3) == [50, 70, 100_000]
    assert [shown["types"][one] for one in unpacked(shown["device_type"], 3)] == ["home", "home", "home"]
    again = ask(plant, "GET", "/api/map/sites", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert ask(plant, "GET", "/api/map/sites", headers={"If-None-Match": '"other"'}).status_code == 200
    assert answer.headers["content-encoding"] == "gzip"
    plain = ask(plant, "GET", "/api/map/sites", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.json() == shown


def test_map_says_how_sites_are_and_what_was_never_measured_is_null(plant: Plant) -> None:
    shown = get(plant, "/api/map/now")
    assert (shown["total"], shown["unanswered"], shown["sent"]) == (3, 0, 3)
    assert (shown["row"], shown["through"]) == (None, None), "all of them, in order"
    assert [shown["grades"][one] for one in unpacked(shown["state"], 3)] == ["fresh", "stale", "unknown"]
    assert unpacked(shown["battery_hw"], 3) == [-20, 0, None]
    assert unpacked(shown["soc_percent"], 3) == [50, 25, None]
    assert shown["version"] == get(plant, "/api/map/sites")["version"]


def test_sites_are_found_by_the_program_they_take_part_in(plant: Plant) -> None:
    def hits(query: str) -> list[str]:
        return [one["site_id"] for one in get(plant, f"/api/sites/search?{query}")["rows"]]

    plant.programs.enrol("storm", make_fleet().site_ids[:2], at_ns=0, by="ada", said_ns=0)
    assert hits("program=storm") == ["home-0", "home-1"]
    assert hits("program=storm&grade=silent") == ["home-1"]
    assert get(plant, "/api/map/now?program=storm")["total"] == 2
    plant.programs.opt_out("storm", make_fleet().site_ids[:1], at_ns=0, until_ns=None, by="ada", said_ns=0)
    assert hits("program=storm") == ["home-1"]
    assert ask(plant, "GET", "/api/sites/search?program=nothing").status_code == 404


def test_map_sends_after_a_mark_only_what_changed_since(plant: Plant) -> None:
    first = get(plant, "/api/map/now")
    again = get(plant, "/api/map/now", params={"since": first["mark"], "grade": "silent"})
    assert (again["mark"], again["sent"], unpacked(again["row"], 0)) == (first["mark"], 0, [])
    assert (again["total"], bits(again["through"], 3)) == (2, [False, True, True]), (
        "the filter counts all the same"
    )
    for other in ("ffffffff-1", first["mark"] + "000", first["mark"].partition("-")[0], "odd", "-", "-1"):
        assert get(plant, "/api/map/now", params={"since": other})["row"] is None, "it is no mark of this run"


def test_columns_of_the_map_count_each_row_by_its_own_last_change() -> None:
    columns = MapColumns()
    look = make_look(4)
    columns.take(look, np.full(4, -1))
    assert columns.shows(look)
    first = columns.mark
    still = make_look(4)
    columns.take(still, np.full(4, -1))
    assert (columns.mark, columns.since(first).sent) == (first, 0), "another look, and nothing is otherwise"
    columns.take(make_look(4, battery_kw=[1.0, 1.0, 2.0, 1.0]), np.array([-1, -1, -1, -1]))
    second = columns.mark
    columns.take(make_look(4, battery_kw=[1.0, np.nan, 2.0, 1.01]), np.array([-1, -1, -1, 3]))
    changed = columns.since(second)
    assert (changed.sent, changed.row) == (2, pack_steps(np.array([1, 3])))
    assert unpacked(changed.battery_hw, 2) == [None, 10]
    assert unpacked(changed.state, 2) == [0, 4 * ALARM_TIMES]
    assert columns.since(first).row is None, "three of four rows: all of them are shorter"
    assert columns.since(columns.mark).sent == 0
    assert MapColumns().mark.partition("-")[0] != first.partition("-")[0]


@given(st.lists(st.one_of(st.none(), st.integers(-(2**28), 2**28)), max_size=40))
def test_packed_numbers_come_back(values: list[int | None]) -> None:
    known = np.array([one is not None for one in values], dtype=np.bool_)
    given_values = np.array([one or 0 for one in values], dtype=np.int64)
    assert unpacked(pack(given_values, known), len(values)) == values


def test_ten_thousand_sites_are_light_on_the_wire() -> None:
    fleet = plan_fleet(9_999, 7)
    rng = np.random.default_rng(1)
    count = len(fleet.site_ids)
    columns = MapColumns()
    look = Look(
        t_ns=T0_NS,
        grade=(rng.random(count) < 0.05).astype(np.int64) * 2,
        age_s=np.zeros(count),
        battery_kw=rng.uniform(-5.0, 5.0, count),
        soc_frac=rng.random(count),
        unanswered=0,
    )
    columns.take(look, np.full(count, -1))
    places = gzip.compress(msgspec.json.encode(places_of(fleet, "v")), 5)
    now = gzip.compress(msgspec.json.encode(columns.since("")), 5)
    assert (len(places) < 45_000, len(now) < 40_000) == (True, True), (len(places), len(now))


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
    now = get(plant, f"/api/map/now?{query}")
    assert shown["total"] == now["total"] == sum(bits(now["through"], 3))
    assert now["sent"] == 3, (
        "how every site is comes whatever the filter, so that another filter needs no more"
    )


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
