"""Dispatch through the interface: looked at, launched, proposed and approved, watched; four eyes by whichever door."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from shoal.api.plant import Plant
from shoal.control.second_person import SecondPerson
from shoal.domain.errors import UnavailableError
from shoal.domain.interval import NS_PER_HOUR
from shoal.store.order_records import Order
from shoal.store.proposals import Proposals
from tests.unit.api.doors import ask, make_plant, make_records
from tests.unit.api.plants import T0_NS, aggregates

TOKEN = "read-read-read"
OPERATORS = {"ann": "ann-ann-ann-ann", "bob": "bob-bob-bob-bob"}
T0_MS = T0_NS // 1_000_000
HOUR_MS = 3_600_000
SEND: dict[str, Any] = {"groups": ["homes"], "minutes": 60, "discharge_kw": 3.0, "reason": "peak"}
CALL: dict[str, Any] = {
    "targets": [{"group": "homes", "power_kw": 2.0}],
    "start_ms": T0_MS + 6 * HOUR_MS,
    "end_ms": T0_MS + 7 * HOUR_MS,
    "price_per_mwh": 500.0,
}


class Door:
    """A plant, and those who may ask."""

    def __init__(self, folder: Path, *, above_kw: float = 0.0) -> None:
        plant = make_plant(folder, records=make_records())
        plant.model.on_aggregates(aggregates())
        orders, proposals = plant.commands.orders, Proposals(plant.database)
        second = SecondPerson(orders, proposals, plant.fleet, above_kw=above_kw)
        self.plant: Plant = replace(
            plant, commands=replace(plant.commands, proposals=proposals, second=second)
        )

    def say(self, method: str, path: str, body: Any = None, *, who: str = "ann") -> httpx.Response:
        token = OPERATORS.get(who, TOKEN)
        headers = {"Authorization": f"Bearer {token}"}
        return ask(self.plant, method, path, token=TOKEN, operators=OPERATORS, headers=headers, json=body)

    def get(self, path: str) -> Any:
        found = self.say("GET", path)
        assert found.status_code == 200, found.text
        return found.json()

    def post(self, path: str, body: Any, *, who: str = "ann") -> Any:
        made = self.say("POST", path, body, who=who)
        assert made.status_code == 200, made.text
        return made.json()

    def refused(self, path: str, body: Any, status: int, *, who: str = "ann") -> Any:
        answered = self.say("POST", path, body, who=who)
        assert answered.status_code == status, answered.text
        return answered.json()


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


@pytest.fixture
def strict(tmp_path: Path) -> Door:
    return Door(tmp_path, above_kw=2.5)


def test_preview_says_who_takes_part_and_commits_nothing(door: Door) -> None:
    seen = door.post("/api/dispatch/preview", {"setpoint": SEND})
    assert (seen["sites"], seen["enrolled"], seen["taking_part"]) == (2, 2, 1)
    assert (seen["fresh"], seen["silent"], seen["halted"]) == (1, 1, 0)
    assert seen["asked_kw"] == -3.0
    # home-0 has 5 kWh, keeps 2, gives 95 percent of the rest
    assert seen["sustained_kw"] == pytest.approx(-2.85)
    assert seen["shortfall_kw"] == pytest.approx(0.15)
    assert seen["low_kw"] < seen["expected_kw"] < seen["high_kw"]
    assert [(one["reason"], one["sites"], one["sample"]) for one in seen["left_out"]] == [
        ("silent", 1, ["home-1"])
    ]
    assert [(one["name"], one["taking_part"]) for one in seen["by_feeder"]] == [("Feeder-1", 1)]
    assert seen["rebound"]["peak_kw"] == 5.0
    # what it gave, through both conversions
    assert seen["rebound"]["energy_kwh"] == pytest.approx(2.85 / 0.95**2)
    assert not seen["needs_second"]
    assert seen["second_above_kw"] is None
    assert door.get("/api/commands/orders") == []
    assert door.get("/api/commands/audit") == []


def test_preview_is_paged_by_reason(door: Door) -> None:
    token = door.post("/api/dispatch/preview", {"setpoint": {**SEND, "groups": [], "fleet": True}})["token"]
    everybody = door.get(f"/api/dispatch/preview/{token}/sites")
    assert [one["site_id"] for one in everybody["rows"]] == ["home-0", "home-1", "bess-0"]
    silent = door.get(f"/api/dispatch/preview/{token}/sites?reason=silent&offset=1&limit=1")
    assert (silent["total"], [one["site_id"] for one in silent["rows"]]) == (2, ["bess-0"])
    assert silent["rows"][0]["age_s"] is None
    assert door.say("GET", f"/api/dispatch/preview/{token}/sites?reason=mood").status_code == 422
    assert door.say("GET", "/api/dispatch/preview/no-such/sites").status_code == 404


def test_preview_gives_each_site_its_reason(door: Door) -> None:
    door.plant.programs.enrol("emergency", ["home-1", "bess-0"], at_ns=0, by="ann", said_ns=0)  # type: ignore[list-item]
    door.post("/api/commands/stops", {"groups": ["storage"], "reason": "smoke"})
    seen = door.post("/api/dispatch/preview", {"setpoint": {**SEND, "groups": [], "fleet": True}})
    assert {one["reason"]: one["sample"] for one in seen["left_out"]} == {
        "not_enrolled": ["home-0"],
        "silent": ["home-1"],
        "stopped": ["bess-0"],
    }
    assert (seen["enrolled"], seen["taking_part"], seen["halted"]) == (2, 0, 1)


def test_preview_sees_what_goes_first(door: Door) -> None:
    busy = {"silent": ["home-1"], "other_program": ["home-0"]}
    door.post("/api/commands/setpoints", {**SEND, "discharge_kw": 1.0, "program": "emergency"})
    for later in ({"program": "peak"}, {"program": "emergency"}, {"discharge_kw": None, "charge_kw": 1.0}):
        seen = door.post("/api/dispatch/preview", {"setpoint": {**SEND, **later}})
        # a site serves one dispatch at a time
        assert {one["reason"]: one["sample"] for one in seen["left_out"]} == busy, later
        assert seen["sustained_kw"] == 0.0


def test_preview_tells_who_would_lose(door: Door) -> None:
    order = door.post("/api/commands/setpoints", {**SEND, "program": "peak"})["order_id"]
    seen = door.post("/api/dispatch/preview", {"setpoint": {**SEND, "program": "emergency"}})
    assert seen["sustained_kw"] == pytest.approx(-2.85)
    assert f"order:{order}" in {one["claim"] for one in seen["losses"]}


def test_called_event_has_its_sites_from_its_notice_on(door: Door) -> None:
    door.post("/api/events", CALL)
    seen = door.post("/api/dispatch/preview", {"setpoint": {**SEND, "minutes": 10}})
    assert {one["reason"] for one in seen["left_out"]} == {"silent", "other_program"}


def test_preview_of_a_call_is_what_the_controller_would_expect(door: Door) -> None:
    seen = door.post("/api/dispatch/preview", {"call": CALL})
    assert (seen["kind"], seen["asked_kw"], seen["expected_kw"]) == ("call", -2.0, -1.9)
    assert seen["low_kw"] <= seen["expected_kw"] <= seen["high_kw"] <= 0
    assert [one["stretch"] for one in seen["steps"]] == ["charge", "hold", "power", "return"]
    assert seen["cost"]["currency"] == "USD"
    # 1.9 kWh at 500 a MWh, four fifths of it the owners'
    assert seen["cost"]["amount"] == "-0.19"
    assert [(one["name"], one["amount"]) for one in seen["cost"]["parts"]] == [
        ("energy", "-0.95"),
        ("owners", "0.76"),
    ]
    assert seen["assumes"]
    # for two hours afterwards nothing is taken from the grid
    assert seen["rebound"]["from_ms"] == CALL["end_ms"] + 2 * HOUR_MS


def test_preview_names_what_cannot_be(door: Door) -> None:
    for body, status in (
        ({}, 422),
        ({"setpoint": SEND, "call": CALL}, 422),
        ({"setpoint": {**SEND, "groups": ["nowhere"]}}, 404),
        ({"setpoint": {**SEND, "program": "nothing"}}, 422),
        ({"call": {**CALL, "start_ms": T0_MS - HOUR_MS}}, 422),
        ({"change": {"order_id": "no-such", "revision": 1}}, 404),
    ):
        assert door.say("POST", "/api/dispatch/preview", body).status_code == status, body
    assert door.say("POST", "/api/dispatch/preview", {"setpoint": SEND}, who="reader").status_code == 403


def test_launch_names_its_preview(door: Door) -> None:
    token = door.post("/api/dispatch/preview", {"setpoint": SEND}, who="bob")["token"]
    wrong = door.refused("/api/commands/setpoints", {**SEND, "discharge_kw": 4.0, "preview": token}, 422)
    assert wrong["field"] == "preview"
    assert door.refused("/api/commands/setpoints", {**SEND, "preview": "x"}, 422)["field"] == "preview"
    made = door.post("/api/commands/setpoints", {**SEND, "preview": token})
    detail = door.get(f"/api/dispatch/orders/{made['order_id']}")
    assert detail["preview"]["token"] == token
    assert {(one["action"], one["by"]) for one in detail["steps"]} == {("preview", "bob"), ("put", "ann")}
    assert token in [one["reason"] for one in detail["steps"]]


def test_orders_are_listed_by_where_they_are(door: Door) -> None:
    now = door.post("/api/commands/setpoints", SEND)["order_id"]
    ahead = door.post("/api/events", CALL)["event_id"]
    over = door.post("/api/commands/setpoints", {**SEND, "discharge_kw": 1})["order_id"]
    door.post(f"/api/commands/orders/{over}/end", {"now": True, "reason": "enough"}, who="bob")
    page = door.get("/api/dispatch")
    assert [(one["order_id"], one["phase"]) for one in page["rows"]] == [
        (now, "running"),
        (ahead, "planned"),
        (over, "past"),
    ]
    assert page["counts"] == {"running": 1, "planned": 1, "past": 1, "waiting": 0}
    running = page["rows"][0]
    assert (running["title"], running["asked_kw"]) == ("discharge 3.0 kW, Homes", -3.0)
    assert (running["measured_kw"], running["coverage_frac"]) == (-2.0, 0.5)
    assert door.get("/api/dispatch?phase=planned")["total"] == 1
    steps = door.get(f"/api/dispatch/orders/{over}")["steps"]
    assert [(one["action"], one["by"], one["reason"]) for one in steps] == [
        ("put", "ann", "peak"),
        ("abort", "bob", "enough"),
    ]


def test_order_goes_commanded_against_measured(door: Door) -> None:
    order = door.post("/api/commands/setpoints", SEND)["order_id"]
    now = door.get(f"/api/dispatch/orders/{order}/now")
    assert (now["commanded_kw"], now["measured_kw"], now["shortfall_kw"]) == (-3.0, -2.0, 1.0)
    # home-1 is silent: it may do anything that it is rated for
    assert (now["low_kw"], now["high_kw"]) == (-9.0, 5.0)
    assert now["coverage_frac"] == pytest.approx(5 / 12)
    assert now["sites"] == {"meant": 2, "fresh": 1, "answering": 1, "refused": 0, "left": 0, "stopped": 0}
    (feeder,) = now["by_feeder"]
    assert (feeder["name"], feeder["commanded_kw"], feeder["measured_kw"]) == ("Feeder-1", -3.0, -2.0)
    assert now["shared"] == "by rating"
    series = door.get(f"/api/dispatch/orders/{order}/series")
    assert (series["t_ms"][-1], series["measured_kw"][-1], series["commanded_kw"][-1]) == (T0_MS, -2.0, -3.0)
    assert series["seam_ms"] is None
    assert door.say("GET", "/api/dispatch/orders/no-such/now").status_code == 404


def test_large_order_needs_a_second_person(strict: Door) -> None:
    told = strict.refused("/api/commands/setpoints", SEND, 409)
    assert "a second person has to approve it" in told["detail"]
    assert "propose" in told["fix"]
    assert strict.get("/api/commands/orders") == []
    (line,) = strict.get("/api/commands/audit")
    assert (line["by"], line["outcome"], line["reason"]) == ("ann", "refused", "second_person")

    token = strict.post("/api/dispatch/preview", {"setpoint": SEND})["token"]
    asked = {"setpoint": SEND, "reason": "peak", "preview": token}
    made = strict.post("/api/dispatch/proposals", asked)
    assert (made["state"], made["by"], made["power_kw"], made["preview"]["token"]) == (
        "waiting",
        "ann",
        3.0,
        token,
    )
    place = f"/api/dispatch/proposals/{made['proposal_id']}"
    own = strict.refused(f"{place}/approve", {}, 409)
    assert "somebody else has to approve it" in own["detail"]
    assert strict.get("/api/dispatch")["counts"]["waiting"] == 1
    done = strict.post(f"{place}/approve", {"note": "seen"}, who="bob")
    assert (done["state"], done["decided_by"]) == ("approved", "bob")
    assert strict.refused(f"{place}/approve", {}, 409, who="bob")["detail"] == "bob approved it already"
    detail = strict.get(f"/api/dispatch/orders/{done['order_id']}")
    assert (detail["row"]["by"], detail["row"]["approved_by"], detail["row"]["phase"]) == (
        "ann",
        "bob",
        "running",
    )
    assert detail["proposal"]["proposal_id"] == made["proposal_id"]
    assert detail["preview"]["token"] == token
    assert {(one["action"], one["by"]) for one in detail["steps"]} == {
        ("preview", "ann"),
        ("propose", "ann"),
        ("put", "ann"),
        ("approve", "bob"),
    }


EVENT: dict[str, Any] = {
    "kind": "power",
    "groups": ["homes"],
    "start_ms": T0_MS + 24 * HOUR_MS,
    "minutes": 60,
    "discharge_kw": 3.0,
}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/commands/setpoints", {**SEND, "discharge_kw": None, "charge_kw": 2.6}),
        ("/api/commands/events", EVENT),
        ("/api/commands/events", {**EVENT, "discharge_kw": 1.5, "each": True}),
        ("/api/commands/events", {**EVENT, "kind": "charge", "discharge_kw": None, "soc_frac": 0.9}),
        ("/api/events", {**CALL, "targets": [{"group": "homes", "power_kw": 3.0}]}),
    ],
)
def test_no_door_gets_round_four_eyes(strict: Door, path: str, body: dict[str, Any]) -> None:
    strict.refused(path, body, 409)
    assert strict.get("/api/commands/orders") == []


def test_orders_of_one_person_count_together(strict: Door) -> None:
    half = {**SEND, "discharge_kw": 2.0}
    first = strict.post("/api/commands/setpoints", half)["order_id"]
    told = strict.refused("/api/commands/setpoints", {**half, "groups": ["feeder-1"]}, 409)
    assert first in told["detail"]
    # the other way, later, or by somebody else is another matter
    strict.post("/api/commands/setpoints", {**half, "discharge_kw": None, "charge_kw": 2.0})
    strict.post("/api/commands/setpoints", half, who="bob")
    later = {**CALL, "targets": [{"group": "homes", "power_kw": 2.0}]}
    strict.post("/api/events", later)


def test_change_that_adds_needs_a_second_person_and_ending_nobody(strict: Door) -> None:
    made = strict.post("/api/dispatch/proposals", {"setpoint": SEND, "reason": "peak"})
    done = strict.post(f"/api/dispatch/proposals/{made['proposal_id']}/approve", {}, who="bob")
    order = f"/api/commands/orders/{done['order_id']}"
    longer = {"revision": 1, "end_ms": T0_MS + 2 * HOUR_MS, "reason": "still hot"}
    strict.refused(f"{order}/change", longer, 409)
    body = {"change": {"order_id": done["order_id"], **longer}, "reason": "still hot"}
    more = strict.post("/api/dispatch/proposals", body)
    assert more["kind"] == "change"
    extended = strict.post(f"/api/dispatch/proposals/{more['proposal_id']}/approve", {}, who="bob")
    assert extended["order_id"] == done["order_id"]
    held = strict.get(order)
    assert (held["revision"], held["end_ms"]) == (2, T0_MS + 2 * HOUR_MS)
    shorter = strict.post(f"{order}/change", {"revision": 2, "end_ms": T0_MS + HOUR_MS // 2})
    assert shorter["revision"] == 3
    assert strict.post(f"{order}/end", {"now": True, "reason": "smoke"})["state"] == "aborted"
    strict.post("/api/commands/stops", {"fleet": True, "reason": "smoke"})
    call = strict.post("/api/events", CALL)
    larger = {"revision": 1, "targets": [{"group": "homes", "power_kw": 9.0}]}
    strict.refused(f"/api/events/{call['event_id']}/change", larger, 409)
    less = {"revision": 1, "targets": [{"group": "homes", "power_kw": 1.0}]}
    strict.post(f"/api/events/{call['event_id']}/change", less)
    strict.post(f"/api/events/{call['event_id']}/cancel", {"reason": "not needed"})
    actions = [one["action"] for one in strict.get(f"/api/dispatch/orders/{done['order_id']}")["steps"]]
    assert actions.count("change") == 3  # one of them refused
    assert actions[-1] == "abort"


def test_proposal_is_refused_withdrawn_and_void(strict: Door) -> None:
    body = {"call": {**CALL, "targets": [{"group": "homes", "power_kw": 4.0}]}, "reason": "heat"}
    made = strict.post("/api/dispatch/proposals", body)
    place = f"/api/dispatch/proposals/{made['proposal_id']}"
    assert made["expires_ms"] == T0_MS + HOUR_MS
    assert strict.refused(f"{place}/refuse", {}, 422, who="bob")["field"] == "note"
    assert strict.post(f"{place}/refuse", {"note": "too much"}, who="bob")["state"] == "refused"
    other = strict.post("/api/dispatch/proposals", {**body, "reason": "heat again"})
    assert strict.post(f"/api/dispatch/proposals/{other['proposal_id']}/withdraw", {})["state"] == "withdrawn"
    third = strict.post("/api/dispatch/proposals", {**body, "reason": "once more"})
    strict.plant.model.on_time(T0_NS + NS_PER_HOUR)
    late = strict.refused(f"/api/dispatch/proposals/{third['proposal_id']}/approve", {}, 409, who="bob")
    assert "it is void" in late["detail"]
    page = strict.get("/api/dispatch/proposals")
    assert {one["state"] for one in page["rows"]} == {"refused", "withdrawn", "expired"}
    assert (page["above_kw"], page["total"]) == (2.5, 3)
    assert strict.say("GET", "/api/dispatch/proposals/no-such").status_code == 404
    assert strict.get("/api/events") == []


def test_proposal_that_cannot_be_launched_any_more_waits(strict: Door) -> None:
    body = {"setpoint": {**SEND, "groups": ["feeder-1"]}, "reason": "peak"}
    first = strict.post("/api/commands/setpoints", {**SEND, "discharge_kw": 1.0})
    change = {"order_id": first["order_id"], "revision": 1, "end_ms": T0_MS + 3 * HOUR_MS}
    made = strict.post("/api/dispatch/proposals", {"change": change, "reason": "longer"})
    strict.post(f"/api/commands/orders/{first['order_id']}/end", {"reason": "over"})
    refused = strict.refused(f"/api/dispatch/proposals/{made['proposal_id']}/approve", {}, 422, who="bob")
    assert refused["field"] in ("revision", "order")
    assert strict.get(f"/api/dispatch/proposals/{made['proposal_id']}")["state"] == "waiting"
    assert strict.say("POST", "/api/dispatch/proposals", {**body, "reason": ""}).status_code == 422


@pytest.mark.parametrize(
    "body", [{"setpoint": SEND}, {"call": {**CALL, "targets": [{"group": "homes", "power_kw": 4.0}]}}]
)
def test_approval_that_fails_on_its_way_launches_once(
    strict: Door, monkeypatch: pytest.MonkeyPatch, body: dict[str, Any]
) -> None:
    made = strict.post("/api/dispatch/proposals", {**body, "reason": "peak"})
    place = f"/api/dispatch/proposals/{made['proposal_id']}/approve"
    orders = strict.plant.commands.orders
    put = orders.put

    def put_and_lose(order: Order) -> Order:
        put(order)
        raise UnavailableError("the database", "it went away after it had kept the order")

    monkeypatch.setattr(orders, "put", put_and_lose)
    strict.refused(place, {}, 503, who="bob")
    monkeypatch.setattr(orders, "put", put)
    strict.plant.model.on_time(T0_NS + NS_PER_HOUR // 4)
    done = strict.post(place, {}, who="bob")
    assert [one["order_id"] for one in strict.get("/api/commands/orders")] == [done["order_id"]]


def test_order_that_stands_is_not_told_as_a_fault(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    token = door.post("/api/dispatch/preview", {"setpoint": SEND})["token"]

    def gone(*_: Any, **__: Any) -> None:
        raise UnavailableError("the database", "it is away")

    monkeypatch.setattr(door.plant.commands.proposals, "keep_preview", gone)
    kept = door.post("/api/commands/setpoints", {**SEND, "preview": token})
    assert [one["order_id"] for one in door.get("/api/commands/orders")] == [kept["order_id"]]


@pytest.mark.parametrize("part", ['"watch_s": Infinity', '"error_frac": 1e999', '"watch_s": NaN'])
def test_number_without_end_is_refused_and_nothing_is_kept(door: Door, part: str) -> None:
    content = f'{{"groups": ["homes"], "minutes": 60, "discharge_kw": 1.0, "canary": {{{part}}}}}'
    headers = {"Authorization": f"Bearer {OPERATORS['ann']}", "Content-Type": "application/json"}
    how: dict[str, Any] = {"token": TOKEN, "operators": OPERATORS, "headers": headers, "content": content}
    assert ask(door.plant, "POST", "/api/commands/setpoints", **how).status_code == 422
    assert door.get("/api/commands/orders") == []
