"""Alarms at the door: what stands, what is over, one with its steps; and who may take note of one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal.api.door.access import operators_of
from shoal.api.door.rights import LOCAL_NAME
from shoal.api.plant import Plant
from shoal.domain.alarms import (
    AcknowledgeAlarm,
    AcknowledgeAnswer,
    Alarm,
    AlarmEvent,
    AlarmKind,
    LiveAlarms,
    Severity,
)
from shoal.domain.errors import SettingsError
from shoal.fabric.subjects import LIVE_ALARMS
from tests.unit.api.doors import ask, make_plant
from tests.unit.api.plants import T0_NS

TOKEN = "read-read-read"
OPERATORS = {"ada": "ada-ada-ada-ada", "bob": "bob-bob-bob-bob"}


def make_alarm(number: int = 1, **facts: Any) -> Alarm:
    values: dict[str, Any] = {
        "number": number,
        "kind": AlarmKind.COMMUNICATION_LOSS,
        "severity": Severity.MAJOR,
        "scope": "group",
        "subject": "feeder-1",
        "name": "Feeder-1",
        "hierarchy_id": "grid",
        "sites": 2,
        "of_sites": 2,
        "peak_sites": 2,
        "examples": ["home-0", "home-1"],
        "raised_ns": T0_NS,
        "updated_ns": T0_NS,
    }
    return Alarm(**values | facts)


def over(alarm: Alarm, at_ns: int) -> Alarm:
    return msgspec.structs.replace(alarm, cleared_ns=at_ns, updated_ns=at_ns, sites=0)


class Desk:
    """Stands for the alarm desk: remembers what it was asked and says what it is told to."""

    def __init__(self, **answer: Any) -> None:
        self.asked: list[AcknowledgeAlarm] = []
        self._answer = answer

    async def __call__(self, asked: AcknowledgeAlarm) -> AcknowledgeAnswer:
        self.asked.append(asked)
        if self._answer:
            return AcknowledgeAnswer(**self._answer)
        noted = make_alarm(asked.number, acknowledged_ns=T0_NS, acknowledged_by=asked.by, note=asked.note)
        return AcknowledgeAnswer(alarm=noted)


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    plant = make_plant(tmp_path)
    first = make_alarm(1)
    plant.alarms.record(
        [
            AlarmEvent(t_ns=T0_NS, action="raised", alarm=first),
            AlarmEvent(t_ns=T0_NS + 5, action="cleared", alarm=over(first, T0_NS + 5)),
            AlarmEvent(t_ns=T0_NS, action="raised", alarm=make_alarm(2)),
            AlarmEvent(t_ns=T0_NS + 9, action="cleared", alarm=over(make_alarm(2), T0_NS + 9)),
            AlarmEvent(t_ns=T0_NS, action="raised", alarm=make_alarm(3, severity=Severity.CRITICAL)),
            AlarmEvent(t_ns=T0_NS, action="raised", alarm=make_alarm(4)),
        ]
    )
    return plant


def test_standing_alarms_come_most_urgent_first(plant: Plant) -> None:
    found = ask(plant, "GET", "/api/alarms").json()
    assert [alarm["number"] for alarm in found] == [3, 4]
    assert found[0]["raised_ms"] == T0_NS // 1_000_000
    assert (found[0]["severity"], found[0]["kind"]) == ("critical", "communication_loss")
    assert found[0]["cleared_ms"] is None


def test_history_comes_page_by_page(plant: Plant) -> None:
    first = ask(plant, "GET", "/api/alarms/history", params={"limit": 1}).json()
    assert [alarm["number"] for alarm in first["alarms"]] == [2]
    second = ask(plant, "GET", "/api/alarms/history", params={"limit": 1, "before": first["next"]}).json()
    assert [alarm["number"] for alarm in second["alarms"]] == [1]
    assert second["next"] is None
    assert ask(plant, "GET", "/api/alarms/history", params={"before": "nonsense"}).status_code == 422


def test_one_alarm_comes_with_its_steps(plant: Plant) -> None:
    found = ask(plant, "GET", "/api/alarms/1").json()
    assert [step["action"] for step in found["steps"]] == ["raised", "cleared"]
    assert found["alarm"]["cleared_ms"] is not None
    assert ask(plant, "GET", "/api/alarms/99").status_code == 404
    assert ask(plant, "GET", "/api/alarms/0").status_code == 422


def test_note_goes_to_the_desk_under_the_operators_own_name(plant: Plant) -> None:
    desk = Desk()
    plant = replace(plant, acknowledge=desk)
    answer = ask(
        plant,
        "POST",
        "/api/alarms/3/ack",
        token=TOKEN,
        operators=OPERATORS,
        headers={"Authorization": f"Bearer {OPERATORS['bob']}"},
        json={"note": "crew sent", "by": "somebody else"},
    )
    assert answer.status_code == 200
    assert (answer.json()["acknowledged_by"], answer.json()["note"]) == ("bob", "crew sent")
    assert desk.asked == [AcknowledgeAlarm(number=3, by="bob", note="crew sent")]


@pytest.mark.parametrize(
    ("token", "operators", "headers", "status"),
    [
        (TOKEN, OPERATORS, {}, 401),
        (TOKEN, OPERATORS, {"Authorization": "Bearer wrong"}, 401),
        (TOKEN, OPERATORS, {"Authorization": f"Bearer {TOKEN}"}, 403),
        (TOKEN, {}, {"Authorization": f"Bearer {TOKEN}"}, 403),
        ("", OPERATORS, {}, 403),
        ("", OPERATORS, {"Authorization": f"Bearer {OPERATORS['ada']}"}, 200),
        ("", {}, {}, 200),
        ("", {}, {"Origin": "http://127.0.0.1:8765"}, 200),
        ("", {}, {"Origin": "http://elsewhere.example"}, 403),
        ("", OPERATORS, {"Authorization": f"Bearer {OPERATORS['ada']}", "Origin": "null"}, 403),
    ],
)
def test_only_operators_may_take_note(
    plant: Plant, token: str, operators: dict[str, str], headers: dict[str, str], status: int
) -> None:
    desk = Desk()
    plant = replace(plant, acknowledge=desk)
    answer = ask(
        plant, "POST", "/api/alarms/3/ack", token=token, operators=operators, headers=headers, json={}
    )
    assert answer.status_code == status
    assert len(desk.asked) == (status == 200)


def test_page_is_told_under_which_name_it_may_act(plant: Plant) -> None:
    def session(**options: Any) -> Any:
        return ask(plant, "GET", "/api/session", **options).json()["operator"]

    assert session() == LOCAL_NAME
    assert session(operators=OPERATORS) is None
    reader = {"Authorization": f"Bearer {TOKEN}"}
    assert session(token=TOKEN, operators=OPERATORS, headers=reader) is None
    opened = ask(plant, "GET", "/", token=TOKEN, operators=OPERATORS, params={"token": OPERATORS["ada"]})
    assert opened.status_code == 303
    cookie = {"Cookie": opened.headers["Set-Cookie"].partition(";")[0]}
    assert session(token=TOKEN, operators=OPERATORS, headers=cookie) == "ada"


def test_operators_token_opens_what_the_readers_opens(plant: Plant) -> None:
    headers = {"Authorization": f"Bearer {OPERATORS['ada']}"}
    answer = ask(plant, "GET", "/api/alarms", token=TOKEN, operators=OPERATORS, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("reason", "number", "status"),
    [
        ("not_active", 1, 409),
        ("not_active", 99, 404),
        ("acknowledged", 3, 409),
        ("malformed", 3, 422),
        ("unavailable", 3, 503),
    ],
)
def test_refusals_of_the_desk_are_told(plant: Plant, reason: str, number: int, status: int) -> None:
    plant = replace(plant, acknowledge=Desk(reason=reason, detail="ada has done so already"))
    answer = ask(plant, "POST", f"/api/alarms/{number}/ack", json={})
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_desk_that_does_not_answer_is_unavailable(plant: Plant) -> None:
    assert ask(plant, "POST", "/api/alarms/3/ack", json={}).status_code == 503


def test_live_alarms_come_to_the_page(plant: Plant) -> None:
    assert plant.hub.state().alarms.active == []
    live = LiveAlarms(t_ns=T0_NS, active_count=7, active=[make_alarm(3)])
    plant.hub.take(LIVE_ALARMS, msgspec.json.encode(live))
    delta = plant.model.delta()
    assert delta.set["alarms"].active_count == 7
    assert delta.set["alarms"].active[0].name == "Feeder-1"
    plant.hub.take(LIVE_ALARMS, msgspec.json.encode(live))
    assert "alarms" not in plant.model.delta().set, "nothing new, nothing sent"
    plant.hub.take(LIVE_ALARMS, b"{")
    assert plant.hub.statistics().malformed_total == 1


def test_operators_are_read_from_their_setting() -> None:
    assert operators_of("") == {}
    assert operators_of("ada:a-token, bob:b-token") == {"ada": "a-token", "bob": "b-token"}
    for wrong in ("ada", "ada:", ":x", "ada:x,ada:y", "ada:x,bob:x", "ada:x,"):
        with pytest.raises(SettingsError) as caught:
            operators_of(wrong)
        assert "ada" not in str(caught.value), "a token must not be shown"
