"""Weather alerts at the door: who may give them, what they touch, when they end, and that they are kept."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal.api.events import routes_alerts
from shoal.api.events.alerts import AlertDesk
from shoal.api.live.state import AlertNow
from shoal.api.plant import Plant
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.store.database import open_database
from shoal.store.weather_alerts import HOLDS_NS, WeatherAlertLog
from tests.unit.api.doors import ask, make_plant
from tests.unit.api.plants import T0_NS, make_fleet

TOKEN = "read-read-read"
OPERATORS = {"ada": "ada-ada-ada-ada"}
ADA = {"Authorization": f"Bearer {OPERATORS['ada']}"}


def square(west: float, south: float, size: float = 1.0) -> dict[str, Any]:
    ring = [
        (west, south),
        (west + size, south),
        (west + size, south + size),
        (west, south + size),
        (west, south),
    ]
    return {"type": "Polygon", "coordinates": [ring]}


def feature(geometry: object, **properties: Any) -> dict[str, Any]:
    said = {
        "id": "urn:1",
        "event": "Ice Storm Warning",
        "severity": "Severe",
        "effective": "2021-02-10T09:00:00-06:00",
        "ends": "2021-02-10T12:00:00-06:00",
    }
    return {"type": "Feature", "geometry": geometry, "properties": {**said, **properties}}


HOMES = square(-98.5, 30.5, 2.0)  # both homes, not the battery


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return make_plant(tmp_path)


def post(plant: Plant, content: object, **options: Any) -> Any:
    answer = ask(plant, "POST", "/api/alerts", content=msgspec.json.encode(content), **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_alert_says_which_sites_groups_and_capacity_it_touches(plant: Plant) -> None:
    (taken,) = post(plant, feature(HOMES))
    assert taken["site_ids"] == ["home-0", "home-1"]
    summary = taken["summary"]
    assert (summary["sites"], summary["discharge_kw"], summary["capacity_kwh"]) == (2, 12.0, 24.0)
    assert (summary["severity"], summary["event"], taken["in_force"]) == ("severe", "Ice Storm Warning", True)
    assert taken["taken_by"] == "this machine"
    assert {group["group_id"]: group["sites"] for group in taken["groups"]} == {
        "homes": 2,
        "feeder-1": 2,
        "texas": 2,
    }
    assert ask(plant, "GET", "/api/alerts").json() == [summary]
    shown = ask(plant, "GET", f"/api/alerts/{summary['key']}").json()
    assert shown == taken
    page = ask(plant, "GET", f"/api/alerts/{summary['key']}/sites?offset=1").json()
    assert (page["total"], page["site_ids"]) == (2, ["home-1"])


def test_alert_comes_to_the_page_when_it_touches_a_site(plant: Plant) -> None:
    post(plant, {"type": "FeatureCollection", "features": [feature(HOMES), feature(square(0, 0), id="far")]})
    assert [one["sites"] for one in ask(plant, "GET", "/api/alerts").json()] == [2, 0]
    assert [alert.sites for alert in plant.hub.state().alerts] == [2]


def test_alert_of_the_same_name_takes_the_place_of_the_former(plant: Plant) -> None:
    post(plant, feature(HOMES))
    (taken,) = post(plant, feature(square(-99.5, 32.5), severity="Minor"))
    assert taken["site_ids"] == ["bess-0"]
    (shown,) = ask(plant, "GET", "/api/alerts").json()
    assert (shown["severity"], shown["sites"]) == ("minor", 1)


def test_alerts_end_by_their_own_interval(plant: Plant) -> None:
    post(plant, feature(HOMES))
    (later,) = post(
        plant, feature(HOMES, id="urn:2", effective="2021-02-10T11:00:00-06:00", severity="extreme")
    )
    assert not later["in_force"]
    assert [one["severity"] for one in ask(plant, "GET", "/api/alerts").json()] == ["extreme", "severe"]
    plant.model.on_time(T0_NS + 2 * NS_PER_HOUR)
    assert ask(plant, "GET", "/api/alerts").json() == []
    assert plant.hub.state().alerts == []
    assert ask(plant, "GET", f"/api/alerts/{later['summary']['key']}").status_code == 404


def test_alert_whose_issuer_does_not_say_when_holds_for_a_day(plant: Plant) -> None:
    (taken,) = post(plant, HOMES)
    assert taken["summary"]["from_ms"] is None
    assert taken["summary"]["until_ms"] == (T0_NS + HOLDS_NS) // 1_000_000
    assert taken["in_force"]
    (again,) = post(plant, HOMES)
    assert again["summary"]["key"] == taken["summary"]["key"]


@pytest.mark.parametrize(
    ("token", "operators", "headers", "status"),
    [
        (TOKEN, OPERATORS, {}, 401),
        (TOKEN, OPERATORS, {"Authorization": f"Bearer {TOKEN}"}, 403),
        ("", OPERATORS, {}, 403),
        (TOKEN, OPERATORS, ADA, 200),
        ("", {}, {"Origin": "http://elsewhere.example"}, 403),
    ],
)
def test_only_operators_may_give_and_withdraw_alerts(
    plant: Plant, token: str, operators: dict[str, str], headers: dict[str, str], status: int
) -> None:
    how: dict[str, Any] = {"token": token, "operators": operators, "headers": headers}
    answer = ask(plant, "POST", "/api/alerts", json=feature(HOMES), **how)
    assert answer.status_code == status
    if status == 200:
        assert answer.json()[0]["taken_by"] == "ada"
    (taken,) = post(plant, feature(HOMES))
    withdrawn = ask(plant, "DELETE", f"/api/alerts/{taken['summary']['key']}", **how)
    assert withdrawn.status_code == (204 if status == 200 else status)
    assert len(ask(plant, "GET", "/api/alerts").json()) == (0 if status == 200 else 1)


def test_what_is_no_alert_is_told(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    for content, field in (
        (b"{", "body"),
        (b"[]", "geojson"),
        (msgspec.json.encode({"type": "Point", "coordinates": [0, 0]}), "geojson"),
        (msgspec.json.encode(feature(HOMES, severity="bad")), "geojson.properties.severity"),
        (msgspec.json.encode(feature(HOMES, ends="soon")), "geojson.properties.ends"),
    ):
        answer = ask(plant, "POST", "/api/alerts", content=content)
        assert answer.status_code == 422, answer.text
        assert answer.json()["field"].startswith(field)
    assert ask(plant, "DELETE", "/api/alerts/0123456789abcdef").status_code == 404
    assert ask(plant, "GET", "/api/alerts/nonsense").status_code == 422
    monkeypatch.setattr(routes_alerts, "MAX_BYTES", 10)
    assert ask(plant, "POST", "/api/alerts", json=feature(HOMES)).status_code == 413
    assert ask(plant, "GET", "/api/alerts").json() == []


def test_alerts_outlive_the_process_and_are_shared(plant: Plant, tmp_path: Path) -> None:
    (taken,) = post(plant, feature(HOMES))
    told: list[list[AlertNow]] = []
    now_ns = T0_NS
    engine = open_database(f"sqlite:///{tmp_path / 'registry.db'}")
    other = AlertDesk(
        fleet=make_fleet(), log=WeatherAlertLog(engine), now_ns=lambda: now_ns, on_change=told.append
    )
    asyncio.run(other.refresh())
    assert [alert.key for alert in told[-1]] == [taken["summary"]["key"]]
    asyncio.run(other.refresh())
    assert len(told) == 1, "nothing new, nothing told"
    assert ask(plant, "DELETE", f"/api/alerts/{taken['summary']['key']}").status_code == 204
    asyncio.run(other.refresh())
    assert (told[-1], other.standing()) == ([], [])
    post(plant, feature(HOMES))
    asyncio.run(other.refresh())
    now_ns = T0_NS + 2 * NS_PER_HOUR + NS_PER_MINUTE
    assert other.standing() == []
    engine.dispose()
