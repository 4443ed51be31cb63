"""A homeowner at the door: the home, its reserve, events and skips, storm watch, money, and who sees what."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from shoal.api.home.events import pay_of
from shoal.api.home.views import hourly_kw, month_days, use_of_hours
from shoal.api.plant import Plant
from shoal.api.site.history import track_of
from shoal.control.event_calls import STATE, make_call
from shoal.domain.ids import ResourceId, SiteId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval
from shoal.domain.owners import AskHome, HomeTold
from shoal.domain.telemetry import ALL_PRESENT, TELEMETRY, mask_of
from shoal.store.order_records import CallSpec, EventSpec, Order, Scope
from shoal.store.orders import Orders
from tests.unit.api.doors import ask, make_plant, make_records, write_statement
from tests.unit.api.plants import T0_NS
from tests.unit.api.test_sessions import PASSWORD, Door

HOME = "/api/home/sites/home-0"
SITE = SiteId("home-0")
T0_MS = T0_NS // 1_000_000
WINDOW = Interval(start_ns=T0_NS - NS_PER_HOUR, end_ns=T0_NS + NS_PER_HOUR)


class Controller:
    """Answers what homes were told: whatever stands in `events`, taken from the second question on."""

    def __init__(self) -> None:
        self.asked: list[AskHome] = []
        self.events: tuple[str, ...] = ()

    async def answer(self, asked: AskHome) -> HomeTold:
        self.asked.append(asked)
        return HomeTold(
            site_id=asked.site_id,
            t_ns=T0_NS,
            events=self.events,
            reserve_frac=0.0,
            version=3,
            sent_ns=T0_NS,
            taken=not asked.look,
        )


@pytest.fixture
def control() -> Controller:
    return Controller()


@pytest.fixture
def plant(tmp_path: Path, control: Controller) -> Plant:
    made = dataclasses.replace(make_plant(tmp_path, records=make_records()), ask_home=control.answer)
    call = make_call(
        event_id="e-1",
        program="emergency",
        targets=[("homes", 6.0)],
        window=WINDOW,
        by="ann",
        now_ns=WINDOW.start_ns,
        reason="a hot evening",
        price_per_mwh=500.0,
    )
    Orders(made.database).put(call)
    ledger = made.ledger
    fence = ledger.next_fence("control")
    kept = {"events": {"e-1": {"asked_w": [2_000, 0, 0], "phase": "deliver"}}}
    ledger.save_state(ResourceId(STATE), msgspec.json.encode(kept), issuer="control", fence=fence, saved_ns=1)
    return made


def get(plant: Plant, path: str = "") -> Any:
    answer = ask(plant, "GET", f"{HOME}{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def event_order(name: str, start_ns: int, hours: int = 1, *, may_opt_out: bool = True) -> Order:
    return Order(
        order_id=name,
        program="peak",
        scope=Scope(sites=(SITE,)),
        start_ns=start_ns,
        end_ns=start_ns + hours * NS_PER_HOUR,
        spec=EventSpec(kind="power", battery_w=-1_500, may_opt_out=may_opt_out),
        by="ann",
        at_ns=T0_NS - 5 * NS_PER_HOUR,
    )


def test_home_says_what_is_kept_and_what_it_takes_part_in(plant: Plant) -> None:
    home = get(plant)
    assert home["energy_capacity_kwh"] == 10.0
    assert home["reserve"]["asked_frac"] is None
    assert home["reserve"]["reserve_frac"] == home["reserve"]["least_frac"]
    assert home["use"] == {
        "low_kw": None,
        "usual_kw": None,
        "high_kw": None,
        "hours": 0,
        "needed_hours": 12,
        "days": 0,
    }
    assert {"storm", "emergency"} <= {one["program_id"] for one in home["programs"]}
    assert home["storm"] == {"offered": True, "on": True, "changed_ms": None, "alerts": []}


def test_reserve_is_kept_told_and_never_below_the_least(plant: Plant, control: Controller) -> None:
    answer = ask(plant, "PUT", f"{HOME}/reserve", json={"reserve_frac": 0.6})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["reserve_frac"], answer.json()["asked_frac"]) == (0.6, 0.6)
    assert answer.json()["told"]["taken"], "the device's own word is waited for"
    assert [one.look for one in control.asked] == [True, False]
    (kept,) = plant.programs.promises(SITE, at_ns=T0_NS)
    assert (kept.amount, kept.said_by) == (0.6, "this machine")
    least = answer.json()["least_frac"]
    below = ask(plant, "PUT", f"{HOME}/reserve", json={"reserve_frac": least - 0.01})
    assert below.status_code == 422
    assert "at least" in below.json()["fix"]
    assert ask(plant, "PUT", f"{HOME}/reserve", json={"reserve_frac": least}).json()["asked_frac"] is None, (
        "nothing beyond the least is asked for any more"
    )


def test_event_under_way_says_what_it_asks_pays_and_that_it_may_be_skipped(plant: Plant) -> None:
    (event,) = get(plant, "/events")["next"]
    assert (event["event_id"], event["state"], event["program"]) == ("e-1", "running", "Grid emergency")
    assert event["asked_kw"] == -2.0
    assert event["pay"] == {"amount": "0.80", "currency": "USD", "energy_kwh": 2.0}, "what is left of it"
    assert event["may_skip"]
    assert event["skipped_ms"] is None
    assert event["reason"] == "a hot evening"


def test_skip_is_kept_once_then_told_and_taken_back(plant: Plant, control: Controller) -> None:
    answer = ask(plant, "POST", f"{HOME}/events/e-1/skip")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["skipped"], answer.json()["in_force"]) == (True, False)
    assert ask(plant, "POST", f"{HOME}/events/e-1/skip").status_code == 200
    lines = [one for one in Orders(plant.database).audit(100, subject="e-1") if one.action == "skip"]
    assert [(one.by, one.detail) for one in lines] == [("this machine", "home-0")], "said once"
    (event,) = get(plant, "/events")["next"]
    assert event["skipped_ms"] == T0_MS
    control.events = ("e-1-return", "e-1")
    back = ask(plant, "DELETE", f"{HOME}/events/e-1/skip").json()
    assert (back["skipped"], back["in_force"]) == (False, True)
    assert get(plant, "/events")["next"][0]["skipped_ms"] is None


def test_skip_counts_although_nobody_commands(plant: Plant, tmp_path: Path) -> None:
    values = {name: getattr(plant, name) for name in Plant.__dataclass_fields__ if name != "ask_home"}
    alone = Plant(**values)
    answer = ask(alone, "POST", f"{HOME}/events/e-1/skip")
    assert answer.status_code == 200
    assert answer.json()["in_force"] is None
    assert answer.json()["told"]["taken"] is None
    assert get(alone, "/events")["next"][0]["skipped_ms"] == T0_MS


def test_events_ahead_and_past_and_what_cannot_be_skipped(plant: Plant) -> None:
    orders = Orders(plant.database)
    orders.put(event_order("later", T0_NS + 5 * NS_PER_HOUR))
    orders.put(event_order("must", T0_NS + 2 * NS_PER_HOUR, may_opt_out=False))
    orders.put(event_order("before", T0_NS - 4 * NS_PER_HOUR))
    found = get(plant, "/events")
    assert [one["event_id"] for one in found["next"]] == ["e-1", "must", "later"]
    assert [(one["event_id"], one["state"]) for one in found["past"]] == [("before", "over")]
    assert found["next"][2]["asked_kw"] == -1.5
    refused = ask(plant, "POST", f"{HOME}/events/must/skip")
    assert refused.status_code == 422
    assert "who runs the plant" in refused.json()["fix"]
    assert ask(plant, "POST", f"{HOME}/events/before/skip").status_code in (404, 422)
    assert ask(plant, "POST", f"{HOME}/events/nothing/skip").status_code == 404
    assert ask(plant, "POST", "/api/home/sites/bess-0/events/e-1/skip").status_code == 404, "it is not meant"


def test_storm_watch_is_left_and_joined_again(plant: Plant) -> None:
    off = ask(plant, "PUT", f"{HOME}/storm-watch", json={"on": False}).json()
    assert (off["offered"], off["on"], off["changed_ms"]) == (True, False, T0_MS)
    programs = {one["program_id"]: one for one in get(plant)["programs"]}
    assert programs["storm"]["left"]
    assert not programs["emergency"]["left"]
    assert ask(plant, "PUT", f"{HOME}/storm-watch", json={"on": True}).json()["on"]


def test_storm_watch_is_not_offered_to_who_is_not_enrolled(plant: Plant) -> None:
    plant.programs.enrol("storm", [SiteId("home-1")], at_ns=T0_NS - 1, by="ann", said_ns=T0_NS - 1)
    assert not get(plant)["storm"]["offered"]
    refused = ask(plant, "PUT", f"{HOME}/storm-watch", json={"on": True})
    assert refused.status_code == 422
    assert "enrol" in refused.json()["fix"]


def test_earnings_are_settled_shares_of_the_newest_version(plant: Plant) -> None:
    none = get(plant, "/earnings")
    assert (none["month"], none["money"], none["through"], none["months"]) == ("2021-02", [], None, [])
    write_statement(plant.ledger)
    net = write_statement(plant.ledger, version=2)
    answer = ask(plant, "GET", "/api/home/sites/bess-0/earnings?month=2021-02").json()
    (money,) = answer["money"]
    assert money["currency"] == "USD"
    assert [(one["date"], one["version"]) for one in money["days"]] == [("2021-02-10", 2)]
    assert round(float(money["total"]) * 1e8) == net // 2
    assert (answer["through"], answer["months"]) == ("2021-02-10", ["2021-02"])
    assert ask(plant, "GET", f"{HOME}/earnings?month=2021-13").status_code == 422
    assert ask(plant, "GET", "/api/home/sites/bess-0/earnings?month=2021-01").json()["money"] == []


def test_sharing_names_the_household_and_counts_the_others(tmp_path: Path) -> None:
    door = Door(tmp_path)
    door.add("mia", "homeowner", sites=("home-0",))
    door.add("tom", "homeowner", sites=("home-1",))
    door.add("ann", "operator")
    secret = _sign_in(door, "mia")
    found = door.ask("GET", f"{HOME}/sharing", session=secret).json()
    readers = {one["party"]: one for one in found["readers"]}
    assert readers["household"]["names"] == ["mia"]
    assert readers["operators"]["people"] == 1
    assert not readers["others"]["sees_live"]
    for path in ("", "/events", "/earnings", "/sharing", "/now"):
        other = door.ask("GET", f"/api/home/sites/home-1{path}", session=secret)
        assert other.status_code == 404, "another's home is not even said to be there"
    for method, path, body in (
        ("PUT", "/reserve", {"reserve_frac": 0.9}),
        ("PUT", "/storm-watch", {"on": False}),
        ("POST", "/events/e-1/skip", None),
        ("DELETE", "/events/e-1/skip", None),
    ):
        other = door.ask(method, f"/api/home/sites/home-1{path}", session=secret, json=body)
        assert other.status_code == 404
    assert door.ask("GET", HOME, session=_sign_in(door, "ann")).status_code == 403


def _sign_in(door: Door, name: str) -> str:
    answer = door.ask("POST", "/api/session", json={"name": name, "password": PASSWORD})
    return answer.cookies["shoal_session"]


def test_use_of_a_home_is_of_whole_hours_and_silent_about_few() -> None:
    records = TELEMETRY.empty(24 * 12)
    records["ts_ns"] = T0_NS + np.arange(len(records)) * 5 * NS_PER_MINUTE
    records["load_w"] = np.repeat(np.arange(24) * 100, 12)
    records["present"] = ALL_PRESENT
    records["present"][:6] = ALL_PRESENT & ~mask_of("load_w")
    hours = hourly_kw(track_of(records))
    assert len(hours) == 24
    assert hours[-1] == 2.3
    assert use_of_hours(hours).usual_kw == pytest.approx(1.15)
    assert use_of_hours(hours[:11]).usual_kw is None
    assert hourly_kw(track_of(records[: 12 + 3])) == [
        0.0,
    ], "a quarter of an hour is no hour"


def test_pay_is_of_what_is_left_and_none_where_nothing_is_paid() -> None:
    spec = CallSpec(targets=(), called_ns=0, price_cents_per_mwh=50_000)
    assert pay_of(spec, 2.0, 0, NS_PER_HOUR) is None, "charging delivers nothing"
    assert pay_of(CallSpec(targets=(), called_ns=0), -2.0, 0, NS_PER_HOUR) is None
    assert month_days("2024-02") == ("2024-02-01", "2024-03-01")
