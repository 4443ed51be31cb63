"""The routes of administration over a real database: enrolment, revocation, programs, markets, feeds, system, audit."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoal.api.admin.views import fallbacks_of
from shoal.api.answers import OwnedUnit
from shoal.api.live.state import WorkflowRun, WorkflowStep
from shoal.api.plant import Plant
from shoal.domain.contracts import SeriesContract, ValueColumn
from shoal.domain.facts import Facts, SeriesId
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.registry import MODULES
from shoal.store.facts import FactStore
from shoal.store.order_records import AuditEntry
from shoal.store.orders import Orders
from shoal.store.registry import Registry
from tests.unit.api.doors import ask, make_plant, make_records, write_day
from tests.unit.api.plants import T0_NS


def get(plant: Plant, path: str, status: int = 200, **request: Any) -> Any:
    answer = ask(plant, "GET", f"/api/admin/{path}", **request)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_devices_are_listed_with_their_secret_and_when_they_were_heard(tmp_path: Path) -> None:
    plant = make_plant(tmp_path, records=make_records())
    Registry(plant.registry).issue_credential(SiteId("home-0"), at_ns=T0_NS)
    page = get(plant, "devices")
    assert (page["devices"], page["enrolled"], page["revoked"], page["missing"]) == (3, 1, 0, 2)
    assert page["next"] is None
    rows = {one["device_id"]: one for one in page["rows"]}
    assert list(rows) == ["bess-0", "home-0", "home-1"]
    home = rows["home-0"]
    assert (home["state"], home["kind"], home["sites"], home["device_type"]) == (
        "enrolled",
        "site",
        1,
        "home",
    )
    assert (home["enrolled_ms"], home["age_s"], home["grade"]) == (T0_NS // 10**6, 5.0, "fresh")
    assert (rows["bess-0"]["heard_ms"], rows["bess-0"]["grade"]) == (None, "unknown")
    assert not any("secret" in one or "salt" in one or "digest" in one for one in page["rows"])


def test_devices_are_listed_when_no_shard_answers(tmp_path: Path) -> None:
    (row, *_) = get(make_plant(tmp_path), "devices?text=HOME-0")["rows"]
    assert (row["device_id"], row["asked"], row["heard_ms"], row["grade"]) == ("home-0", False, None, None)


def test_pages_of_devices_follow_each_other(tmp_path: Path) -> None:
    plant = make_plant(tmp_path, records=make_records())
    first = get(plant, "devices?limit=2")
    second = get(plant, f"devices?limit=2&after={first['next']}")
    assert [one["device_id"] for one in [*first["rows"], *second["rows"]]] == ["bess-0", "home-0", "home-1"]
    assert second["next"] is None
    assert get(plant, "devices?after=nonsense", 422)["field"] == "after"
    assert get(plant, "devices?state=lost", 422)


def test_registry_on_another_machine_is_said_so(tmp_path: Path) -> None:
    plant = make_plant(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "registry.db").write_bytes(b"")
    from shoal.store.database import migrate, open_database

    url = f"sqlite:///{tmp_path / 'other' / 'registry.db'}"
    migrate(url)
    elsewhere = replace(plant, registry=open_database(url))
    assert "registry.database_url" in get(elsewhere, "devices", 503)["detail"]


def test_enrolling_shows_the_secret_once_and_never_again(tmp_path: Path) -> None:
    plant = make_plant(tmp_path, records=make_records())
    answer = ask(plant, "POST", "/api/admin/devices/home-0/enrol")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    said = answer.json()
    assert (said["device_id"], said["replaced"], len(said["secret"])) == ("home-0", False, 43)
    assert Registry(plant.registry).verify(SiteId("home-0"), said["secret"])
    for path in ("devices", "audit", "users/steps", "system"):
        assert said["secret"] not in ask(plant, "GET", f"/api/admin/{path}").text
    again = ask(plant, "POST", "/api/admin/devices/home-0/enrol").json()
    assert again["replaced"]
    assert not Registry(plant.registry).verify(SiteId("home-0"), said["secret"])
    assert ask(plant, "POST", "/api/admin/devices/nobody/enrol").status_code == 404


def test_revoking_takes_a_reason_and_is_kept(tmp_path: Path) -> None:
    plant = make_plant(tmp_path, records=make_records())
    secret = ask(plant, "POST", "/api/admin/devices/home-0/enrol").json()["secret"]
    revoke = "/api/admin/devices/home-0/revoke"
    assert ask(plant, "POST", revoke, json={"reason": ""}).status_code == 422
    assert ask(plant, "POST", revoke, json={"reason": "  "}).json()["field"] == "reason"
    said = ask(plant, "POST", revoke, json={"reason": "stolen"}).json()
    assert said["state"] == "revoked"
    assert not Registry(plant.registry).verify(SiteId("home-0"), secret)
    assert "already" in ask(plant, "POST", revoke, json={"reason": "again"}).json()["fix"]
    lines = get(plant, "audit?kind=devices")["lines"]
    assert [(one["action"], one["about"], one["by"], one["detail"]) for one in lines] == [
        ("device revoked", "home-0", "this machine", "stolen"),
        ("device enrolled", "home-0", "this machine", "first secret"),
    ]


def test_users_see_no_device_or_secret_and_viewers_no_users(tmp_path: Path) -> None:
    plant = make_plant(tmp_path)
    viewer = {"Authorization": "Bearer looking"}
    for path, status in (
        ("devices", 403),
        ("programs", 403),
        ("audit", 403),
        ("audit/export", 403),
        ("markets", 200),
        ("feeds", 200),
        ("system", 200),
    ):
        got = ask(plant, "GET", f"/api/admin/{path}", token="looking", headers=viewer)
        assert got.status_code == status, path
    assert (
        ask(plant, "POST", "/api/admin/devices/home-0/enrol", token="looking", headers=viewer).status_code
        == 403
    )


def test_programs_say_who_takes_part_and_what_stands(tmp_path: Path) -> None:
    plant = make_plant(tmp_path)
    first = plant.programs.book().programs[0].id
    plant.programs.save_book(plant.programs.book())
    plant.programs.enrol(first, [SiteId("home-0")], at_ns=T0_NS - 1, by="owner")
    said = get(plant, "programs")
    assert said["sites"] == 3
    assert said["sites_with_hours"] == 0
    assert [one["place"] for one in said["programs"]] == list(range(1, len(said["programs"]) + 1))
    top = said["programs"][0]
    assert (top["program_id"], top["sites"], top["standing_orders"], top["services"]) == (first, 1, 0, [])


def test_markets_show_the_rules_in_force_with_their_dates(tmp_path: Path) -> None:
    views = {one["market_id"]: one for one in get(make_plant(tmp_path), "markets")}
    assert set(views) == {module.rules.market_id for module in MODULES}
    market = views["ercot-da"]
    assert market["resources"] == ["homes", "bess"]
    assert market["day"] == "2021-02-10"
    (product,) = market["products"]
    assert (product["floor_per_mwh"], product["cap_per_mwh"]) == (-250.0, 9_000.0)
    assert [one["in_force"] for one in product["limits"]] == [True, False]
    assert product["gates"][0]["closes_at"] == "10:00"
    assert product["next_gate_ms"] > T0_NS // 10**6


def test_feeds_put_the_stale_first_with_what_was_expected(tmp_path: Path) -> None:
    plant = make_plant(tmp_path)
    store = FactStore(plant.database)
    column = ValueColumn(name="price_per_mwh", low=-500.0, high=1_000.0)
    for name, hours in (("a/fresh", 5), ("z/stale", 1)):
        contract = SeriesContract(
            series_id=SeriesId(name), unit="USD/MWh", columns=(column,), stale_after_ns=hours * NS_PER_HOUR
        )
        store.declare(contract)
        starts = np.array([T0_NS, T0_NS + NS_PER_HOUR])
        store.record(
            Facts(
                series_id=SeriesId(name),
                source="test",
                known_ns=T0_NS - 2 * NS_PER_HOUR,
                start_ns=starts,
                end_ns=starts + NS_PER_HOUR,
                value=np.array([[20.0], [9_999.0]]),
            )
        )
    said = get(plant, "feeds")
    assert (said["series"], said["stale"], said["set_aside"], said["total"]) == (2, 1, 2, 2)
    assert [(one["series_id"], one["state"], one["age_s"], one["expected_s"]) for one in said["rows"]] == [
        ("z/stale", "stale", 7_200.0, 3_600.0),
        ("a/fresh", "fresh", 7_200.0, 18_000.0),
    ]
    assert {one["reason"] for one in said["latest_set_aside"]} == {"range"}
    assert [one["series_id"] for one in get(plant, "feeds?text=FRESH")["rows"]] == ["a/fresh"]
    assert [one["series_id"] for one in get(plant, "feeds?stale=true&limit=1")["rows"]] == ["z/stale"]


def test_fallback_is_said_of_the_newest_run_alone() -> None:
    def run(started_ms: int, rung: str, *, resource: str = "bess") -> WorkflowRun:
        tried = [WorkflowStep(name="fresh", took_s=0.1, outcome="too late")]
        return WorkflowRun(
            workflow_id=f"{resource}-{started_ms}",
            kind="bid",
            resource_id=resource,
            delivery_date="2021-02-10",
            gate_ms=0,
            started_ms=started_ms,
            finished_ms=started_ms + 1,
            status="accepted",
            rung=rung,
            rung_reason="prices too old",
            steps=tried,
        )

    runs = [run(2, "fresh"), run(1, "yesterday"), run(3, "yesterday", resource="homes")]
    assert [(one.resource_id, one.rung, one.reason) for one in fallbacks_of(runs)] == [
        ("homes", "yesterday", "prices too old")
    ]


def test_system_says_versions_roles_leases_and_room(tmp_path: Path) -> None:
    async def owners() -> list[OwnedUnit]:
        return [
            OwnedUnit(
                group="live",
                unit="shard_0",
                owner="a",
                alive=True,
                token=3,
                position=5,
                journal_end=9,
                behind=4,
            )
        ]

    plant = make_plant(tmp_path)
    assert get(plant, "system")["owners_fault"] != ""
    said = get(replace(plant, read_owners=owners), "system")
    assert (said["owners_fault"], said["owners"][0]["behind"]) == ("", 4)
    assert said["database"] == "sqlite"
    assert said["schema_revision"].isdigit()
    assert said["host"]["disk_free_bytes"] > 0
    assert 0 < said["host"]["memory_free_bytes"] <= said["host"]["memory_bytes"]
    assert said["leases"] == []


def test_audit_has_what_happened_and_is_paged(tmp_path: Path) -> None:
    plant = make_plant(tmp_path)
    write_day(plant)
    orders = Orders(plant.database)
    orders.note([AuditEntry(at_ns=T0_NS + n, by="ada", action="put", subject=f"o-{n}") for n in range(5)])
    every = get(plant, "audit?limit=500")["lines"]
    assert {one["kind"] for one in every} == {"orders", "bids"}
    found, before = [], ""
    while True:
        page = get(plant, f"audit?limit=3&before={before}")
        found += page["lines"]
        before = page["next"]
        if before is None:
            break
    assert found == every
    assert [one["about"] for one in get(plant, "audit?by=AD&about=o-3")["lines"]] == ["o-3"]
    assert get(plant, "audit?before=x", 422)["field"] == "before"
    assert get(plant, "audit?kind=weather", 422)


def test_export_is_text_that_no_program_runs(tmp_path: Path) -> None:
    plant = make_plant(tmp_path)
    Orders(plant.database).note(
        [AuditEntry(at_ns=T0_NS, by="=cmd()", action="put", subject="o-1", reason='a, "b"\nc')]
    )
    answer = ask(plant, "GET", "/api/admin/audit/export?kind=orders")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    head, row = csv.reader(io.StringIO(answer.text, newline=""))
    assert head == ["at", "kind", "by", "action", "about", "outcome", "detail"]
    assert row == ["2021-02-10T16:00:00.000Z", "orders", "'=cmd()", "put", "o-1", "done", 'a, "b"\nc']


@pytest.mark.parametrize("path", ["audit/export?by=nobody", "audit?from_ms=5&until_ms=5"])
def test_nothing_found_is_an_empty_answer(tmp_path: Path, path: str) -> None:
    answer = ask(make_plant(tmp_path), "GET", f"/api/admin/{path}")
    assert answer.status_code == 200
