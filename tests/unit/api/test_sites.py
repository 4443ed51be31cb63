"""Sites and their twins at the door: one with all that is known, those in one state, who owns what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from shoal.api.answers import OwnedUnit
from shoal.api.fleet import routes_sites
from shoal.api.fleet.twins import GRADES, flag_words, grades
from shoal.api.plant import Plant
from shoal.domain.interval import NS_PER_MINUTE
from shoal.domain.telemetry import SUSPECT, TELEMETRY, Flag, mask_of
from shoal.twin.aggregate import Timeouts
from tests.unit.api.doors import answering, ask, make_plant, make_records
from tests.unit.api.plants import T0_NS


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return make_plant(tmp_path, records=make_records())


def get(plant: Plant, path: str, **request: Any) -> Any:
    answer = ask(plant, "GET", path, **request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_site_comes_with_its_twin(plant: Plant) -> None:
    shown = get(plant, "/api/sites/home-0")
    assert (shown["grade"], shown["age_s"], shown["heard_ms"]) == ("fresh", 5.0, (T0_NS // 1_000_000) - 5_000)
    assert (shown["as_of_ms"], shown["shard"], shown["token"]) == (T0_NS // 1_000_000, 0, 7)
    assert (shown["soc_frac"], shown["energy_kwh"]) == (0.5, 5.0)
    assert shown["signals"][0] == {"signal": "battery", "power_kw": -2.0, "age_s": 5.0, "grade": "fresh"}
    assert shown["signals"][3] == {"signal": "ev", "power_kw": None, "age_s": None, "grade": None}
    assert shown["latest"]["battery_w"] == -2_000
    assert shown["latest"]["ev_w"] is None, "what is not measured is absent, not zero"
    assert shown["site"]["device_type"] == "home"
    assert shown["memberships"] == [
        {"hierarchy_id": "grid", "group_id": "feeder-1", "path": ["Homes", "Feeder-1"]},
        {"hierarchy_id": "weather", "group_id": "texas", "path": ["Texas"]},
    ]


def test_site_that_was_never_heard_has_no_values(plant: Plant) -> None:
    shown = get(plant, "/api/sites/bess-0")
    assert (shown["grade"], shown["age_s"], shown["heard_ms"], shown["latest"]) == (
        "unknown",
        None,
        None,
        None,
    )
    assert {signal["power_kw"] for signal in shown["signals"]} == {None}
    assert (shown["soc_frac"], shown["flags"], shown["shard"]) == (None, [], 1)


def test_flags_are_told_in_words(tmp_path: Path) -> None:
    records = make_records()
    records["flags"][0] = Flag.STUCK | Flag.CLOCK_CORRECTED
    shown = get(make_plant(tmp_path, records=records), "/api/sites/home-0")
    assert shown["grade"] == "suspect"
    assert [(flag["flag"], flag["suspect"]) for flag in shown["flags"]] == [
        ("clock_corrected", False),
        ("stuck", True),
    ]
    words = flag_words((1 << 16) - 1)
    assert {one.flag for one in words} == {str(flag.name).lower() for flag in Flag}
    assert all(one.about for one in words)


def test_site_of_a_shard_without_owner_is_503_and_an_unknown_one_404(tmp_path: Path) -> None:
    plant = make_plant(tmp_path)
    answer = ask(plant, "GET", "/api/sites/home-0")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert "does not answer" in answer.json()["detail"]
    assert ask(plant, "GET", "/api/sites/nobody").status_code == 404


def test_grade_is_that_of_the_oldest_signal_that_a_site_measures() -> None:
    times = Timeouts(fresh_ns=(10, 100, 10, 10), unknown_ns=(20, 200, 20, 20))
    records = TELEMETRY.empty(7)
    records["ts_ns"] = [0, 995, 985, 970, 950, 880, 995]
    records["present"] = mask_of("battery_w", "solar_w")
    records["present"][4:6] = mask_of("solar_w")
    records["flags"] = [0, 0, 0, 0, 0, SUSPECT, SUSPECT]
    at_once = np.zeros((7, 4))
    shown = [GRADES[grade] for grade in grades(records, at_once, 1_000, times)]
    assert shown == ["unknown", "fresh", "stale", "unknown", "fresh", "stale", "suspect"]


def test_a_signal_that_comes_seldom_has_an_age_of_its_own(plant: Plant) -> None:
    inner = plant.ask_sites

    async def in_parts(rows: Any) -> Any:
        return [
            msgspec.structs.replace(said, behind=bytes([0, 50, 255, 255]) * (len(said.rows) // 8))
            for said in await inner(rows)
        ]

    shown = get(replace(plant, ask_sites=in_parts), "/api/sites/home-0")
    assert [(signal["age_s"], signal["grade"]) for signal in shown["signals"]] == [
        (5.0, "fresh"),
        (205.0, "stale"),
        (None, None),
        (None, None),
    ]
    assert shown["grade"] == "unknown", "load is measured but never came"


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, ["home-0", "home-1", "bess-0"]),
        ({"state": "silent"}, ["home-1", "bess-0"]),
        ({"state": "unknown"}, ["bess-0"]),
        ({"state": "stale"}, ["home-1"]),
        ({"state": "fresh", "group": "texas"}, ["home-0"]),
        ({"state": "suspect"}, []),
        ({"state": "silent", "group": "storage"}, ["bess-0"]),
    ],
)
def test_twins_in_one_state_are_found(plant: Plant, query: dict[str, str], wanted: list[str]) -> None:
    shown = get(plant, "/api/twins", params=query)
    assert [twin["site_id"] for twin in shown["twins"]] == wanted
    assert (shown["looked_at"], shown["more"]) == (shown["sites"], False)


def test_search_stops_when_the_list_is_full(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = get(plant, "/api/twins", params={"limit": 1})
    assert [twin["site_id"] for twin in shown["twins"]] == ["home-0"]
    assert (shown["sites"], shown["looked_at"], shown["more"]) == (3, 1, True)
    monkeypatch.setattr(routes_sites, "ROWS_AT_ONCE", 1)
    shown = get(plant, "/api/twins", params={"limit": 1, "state": "silent"})
    assert (shown["looked_at"], shown["more"]) == (2, True)
    assert shown["twins"][0] == {
        "site_id": "home-1",
        "grade": "stale",
        "heard_ms": (T0_NS - 10 * NS_PER_MINUTE) // 1_000_000,
        "age_s": 600.0,
        "flags": [],
        "battery_kw": 0.0,
        "soc_frac": 0.25,
    }


def test_search_says_what_is_wrong(plant: Plant, tmp_path: Path) -> None:
    assert ask(plant, "GET", "/api/twins?group=nobody").status_code == 404
    assert ask(plant, "GET", "/api/twins?state=sad").status_code == 422
    assert ask(plant, "GET", "/api/twins?limit=0").status_code == 422
    away = replace(plant, ask_sites=answering(None))
    assert ask(away, "GET", "/api/twins").status_code == 503


def test_search_over_many_sites_asks_in_parts(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes_sites, "ROWS_AT_ONCE", 2)
    asked: list[int] = []
    inner = plant.ask_sites

    async def counting(rows: Any) -> Any:
        asked.append(len(rows))
        return await inner(rows)

    shown = get(replace(plant, ask_sites=counting), "/api/twins")
    assert asked == [2, 1]
    assert len(shown["twins"]) == 3
    assert np.all(np.diff([twin["site_id"] == "bess-0" for twin in shown["twins"]]) >= 0)


def test_owners_are_told_and_an_engine_that_is_away_is_503(plant: Plant) -> None:
    assert ask(plant, "GET", "/api/owners").status_code == 503
    unit = OwnedUnit(
        group="live", unit="shard_0", owner="a-1", alive=True, token=3, position=5, journal_end=9, behind=4
    )

    async def owners() -> list[OwnedUnit]:
        return [unit]

    (shown,) = get(replace(plant, read_owners=owners), "/api/owners")
    assert (shown["owner"], shown["behind"]) == ("a-1", 4)
