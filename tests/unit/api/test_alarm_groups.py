"""Alarms by cause at the door: what is behind them, what they cost, a note on all of them, and the shelf."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal.api.alarms.answers import AlarmGroups, AlarmsAside
from shoal.api.alarms.causes import AlarmCauses
from shoal.api.alarms.routes_causes import alarm_groups_feed
from shoal.api.live.feeds import FeedSaid
from shoal.api.plant import Plant
from shoal.domain.alarms import AcknowledgeAlarm, AcknowledgeAnswer, Alarm, AlarmEvent, AlarmKind, Severity
from shoal.domain.errors import UnavailableError, UnknownIdError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from tests.unit.api.doors import DAY_DATE, MARKET, ask, make_plant, write_day
from tests.unit.api.plants import T0_NS
from tests.unit.api.test_alarms import OPERATORS, TOKEN, make_alarm

AS_ADA: dict[str, Any] = {
    "token": TOKEN,
    "operators": OPERATORS,
    "headers": {"Authorization": "Bearer ada-ada-ada-ada"},
}
AS_READER: dict[str, Any] = AS_ADA | {"headers": {"Authorization": f"Bearer {TOKEN}"}}
MS = 1_000_000
SEEN_MS = T0_NS // MS


def raise_alarms(plant: Plant, alarms: Sequence[Alarm]) -> None:
    plant.alarms.record([AlarmEvent(t_ns=one.updated_ns, action="raised", alarm=one) for one in alarms])


def site_alarm(number: int, site: str, **facts: Any) -> Alarm:
    return make_alarm(
        number,
        **{
            "scope": "site",
            "subject": site,
            "name": site,
            "hierarchy_id": "",
            "sites": 1,
            "of_sites": 1,
            "peak_sites": 1,
            "examples": [site],
            **facts,
        },
    )


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    plant = make_plant(tmp_path)
    raise_alarms(
        plant,
        [
            make_alarm(1, raised_ns=T0_NS - NS_PER_MINUTE),
            site_alarm(2, "bess-0", severity=Severity.CRITICAL),
            make_alarm(
                3,
                kind=AlarmKind.HISTORY_LAG,
                scope="part",
                subject="history",
                name="history",
                sites=0,
                of_sites=0,
                peak_sites=0,
                value=1_000.0,
                detail="s",
                severity=Severity.WARNING,
                examples=[],
                hierarchy_id="",
            ),
        ],
    )
    return plant


async def aside(causes: AlarmCauses) -> AlarmsAside:
    said = (await alarm_groups_feed(causes).read("aside")).value
    assert isinstance(said, AlarmsAside)
    return said


def many_alarms(count: int) -> list[Alarm]:
    kinds = [kind for kind in AlarmKind if kind is not AlarmKind.COVERAGE_LOW]
    return [
        site_alarm(100 + at, ("home-0", "home-1", "bess-0", f"far-{at}")[at % 4], kind=kinds[at % len(kinds)])
        for at in range(count)
    ]


def test_ten_thousand_alarms_are_few_groups_and_few_bytes(plant: Plant) -> None:
    raise_alarms(plant, many_alarms(10_000 - 3))
    causes = AlarmCauses(plant)
    said = causes.groups()
    assert (said.alarms, sum(one.count for one in said.groups)) == (10_000, 10_000)
    assert 2 <= len(said.groups) <= 10
    assert len(msgspec.json.encode(said)) < 32_000
    away = asyncio.run(aside(causes))
    assert sum(away.standing.values()) == 10_000
    causes.shelf.shelve(plant.alarms.active(), minutes=30, reason="a storm", by="ada", now_ns=plant.now_ns())
    away = asyncio.run(aside(causes))
    assert (away.aside_count, away.standing) == (10_000, {})
    assert len(msgspec.json.encode(away)) < 16_000


def test_alarms_are_read_again_only_when_they_have_changed(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    causes, reads, active = AlarmCauses(plant), list[int](), plant.alarms.active

    def counted() -> list[Alarm]:
        reads.append(1)
        return active()

    monkeypatch.setattr(plant.alarms, "active", counted)
    for _ in range(3):
        causes.groups()
        causes.aside()
    assert len(reads) == 1
    first = causes.read().alarms[0]
    noted = msgspec.structs.replace(first, acknowledged_ns=first.updated_ns, acknowledged_by="ada")
    plant.alarms.record([AlarmEvent(t_ns=first.updated_ns, action="acknowledged", alarm=noted, by="ada")])
    # at the very instant of its former step, which changes no time that is kept
    assert sum(one.open_count for one in causes.groups().groups) == 2
    over = msgspec.structs.replace(noted, cleared_ns=T0_NS, updated_ns=T0_NS)
    plant.alarms.record([AlarmEvent(t_ns=T0_NS, action="cleared", alarm=over)])
    assert (causes.groups().alarms, sum(causes.aside().standing.values()), len(reads)) == (2, 2, 3)


def groups(plant: Plant) -> dict[str, dict[str, Any]]:
    found = ask(plant, "GET", "/api/alarms/groups")
    assert found.status_code == 200, found.text
    return {one["cause"]: one for one in found.json()["groups"]}


def test_groups_say_cause_extent_and_power(plant: Plant) -> None:
    found = groups(plant)
    assert list(found) == ["kind:communication_loss", "group:feeder-1", "part:history_lag"]
    feeder = found["group:feeder-1"]
    assert (feeder["kind"], feeder["path"], feeder["sites"], feeder["count"]) == (
        "group",
        ["Homes", "Feeder-1"],
        2,
        1,
    )
    assert (feeder["low_kw"], feeder["lost_kw"], feeder["high_kw"]) == (12.0, 12.0, 12.0)
    assert feeder["oldest_age_s"] == 60.0
    assert [(one["kind"], one["id"]) for one in feeder["evidence"]] == [
        ("group", "feeder-1"),
        ("site", "home-0"),
        ("site", "home-1"),
    ]
    assert found["part:history_lag"]["lost_kw"] is None
    assert found["part:history_lag"]["evidence"] == [{"kind": "system", "id": "", "label": ""}]
    assert found["kind:communication_loss"]["name"] == "bess-0"


def test_money_is_told_where_an_award_is_under_way(plant: Plant) -> None:
    assert all(not one["money"] for one in groups(plant).values())
    write_day(plant)
    sold_hour = MARKET.delivery_intervals(DAY_DATE)[18]  # ten megawatts, as much as the battery can
    plant = replace(plant, now_ns=lambda: sold_hour.start_ns + NS_PER_HOUR // 2)
    (money,) = groups(plant)["kind:communication_loss"]["money"]
    assert (money["resource_id"], money["currency"], money["sold_kw"]) == ("bess", "USD", 10_000.0)
    assert (money["low_per_h"], money["expected_per_h"], money["high_per_h"]) == (
        "480.00",
        "480.00",
        "480.00",
    )
    assert money["until_ms"] == sold_hour.end_ns // MS
    assert groups(plant)["group:feeder-1"]["money"] == []


def test_feed_says_what_stands_without_what_is_put_aside(plant: Plant) -> None:
    causes = AlarmCauses(plant)
    before = asyncio.run(aside(causes))
    assert (before.standing, before.aside_count, before.aside) == (
        {"critical": 1, "major": 1, "warning": 1},
        0,
        [],
    )
    put = {"minutes": 30, "reason": "works on the line"}
    assert ask(plant, "POST", "/api/alarms/2/shelve", json=put, **AS_ADA).status_code == 200
    after = asyncio.run(aside(causes))
    assert (after.standing, after.aside_count, after.aside) == ({"major": 1, "warning": 1}, 1, [2])
    assert ask(plant, "DELETE", "/api/alarms/2/shelve", **AS_ADA).status_code == 200
    assert asyncio.run(aside(causes)).aside_count == 0


def test_members_come_page_by_page(plant: Plant) -> None:
    raise_alarms(plant, [site_alarm(number, "home-0") for number in range(10, 15)])
    cause = {"cause": "group:feeder-1"}
    page = ask(plant, "GET", "/api/alarms/groups/members", params=cause | {"offset": 2, "limit": 2}).json()
    assert (page["total"], len(page["alarms"])) == (6, 2)
    assert page["alarms"][0]["shelved"] is None
    assert ask(plant, "GET", "/api/alarms/groups/members", params={"cause": "group:x"}).json()["alarms"] == []


class Desk:
    """Takes notes as the alarm desk does, into the same database; says no to some, or is away."""

    def __init__(self, plant: Plant, *, refuses: int = 0, away_after: int = 10**9) -> None:
        self._plant, self._refuses, self._away_after = plant, refuses, away_after
        self.asked: list[AcknowledgeAlarm] = []

    async def __call__(self, asked: AcknowledgeAlarm) -> AcknowledgeAnswer:
        self.asked.append(asked)
        if len(self.asked) > self._away_after:
            raise UnavailableError("the alarm desk", "it does not answer")
        if asked.number == self._refuses:
            return AcknowledgeAnswer(reason="acknowledged", detail="bob has already")
        found = self._plant.alarms.alarm(asked.number)
        assert found is not None
        noted = msgspec.structs.replace(
            found[0],
            acknowledged_ns=T0_NS + 5,
            acknowledged_by=asked.by,
            note=asked.note,
            updated_ns=T0_NS + 5,
        )
        self._plant.alarms.record(
            [AlarmEvent(t_ns=T0_NS + 5, action="acknowledged", alarm=noted, by=asked.by)]
        )
        return AcknowledgeAnswer(alarm=noted)


def acknowledge(plant: Plant, **how: Any) -> Any:
    body = {"cause": "group:feeder-1", "note": "crew sent", "as_of_ms": SEEN_MS}
    return ask(plant, "POST", "/api/alarms/groups/ack", json=body, **(AS_ADA | how))


def test_note_on_a_group_reaches_each_alarm_that_was_seen(plant: Plant) -> None:
    later = {"raised_ns": T0_NS + NS_PER_MINUTE, "updated_ns": T0_NS + NS_PER_MINUTE}
    raise_alarms(
        plant, [site_alarm(10, "home-0"), site_alarm(11, "home-1"), site_alarm(12, "home-1", **later)]
    )
    desk = Desk(plant, refuses=11)
    plant = replace(plant, acknowledge=desk)
    said = acknowledge(plant).json()
    assert (said["done"], said["left"]) == (2, 0)
    assert said["refused"] == [{"number": 11, "why": "bob has already"}]
    assert {(one.number, one.by, one.note) for one in desk.asked} == {
        (number, "ada", "crew sent") for number in (1, 10, 11)
    }
    group = groups(plant)["group:feeder-1"]
    assert (group["open_count"], group["acknowledged"]) == (2, False)


def test_desk_that_is_away_is_said_and_nothing_is_lost(plant: Plant) -> None:
    raise_alarms(plant, [site_alarm(number, "home-0") for number in range(10, 40)])
    gone = acknowledge(replace(plant, acknowledge=Desk(plant, away_after=0)))
    assert gone.status_code == 503
    partly = acknowledge(replace(plant, acknowledge=Desk(plant, away_after=12))).json()
    assert (partly["done"], partly["left"]) == (12, 15)
    whole = acknowledge(replace(plant, acknowledge=Desk(plant))).json()
    assert (whole["done"], whole["left"], whole["refused"]) == (19, 0, [])


def test_many_alarms_are_noted_by_portions(plant: Plant) -> None:
    raise_alarms(plant, [site_alarm(number, "home-0") for number in range(10, 530)])
    plant = replace(plant, acknowledge=Desk(plant))
    first = acknowledge(plant).json()
    assert (first["done"], first["left"]) == (500, 21)
    assert acknowledge(plant).json()["done"] == 21


def test_acts_on_alarms_take_an_operator(plant: Plant) -> None:
    assert acknowledge(plant, headers=AS_READER["headers"]).status_code == 403
    body = {"cause": "group:feeder-1", "minutes": 5, "reason": "x", "as_of_ms": SEEN_MS}
    for method, path in (
        ("POST", "/api/alarms/groups/shelve"),
        ("POST", "/api/alarms/groups/return"),
        ("POST", "/api/alarms/1/shelve"),
    ):
        assert ask(plant, method, path, json=body, **AS_READER).status_code == 403
    assert ask(plant, "DELETE", "/api/alarms/1/shelve", **AS_READER).status_code == 403
    assert ask(plant, "GET", "/api/alarms/groups", **AS_READER).status_code == 200


def shelve(plant: Plant, minutes: int = 30, **facts: Any) -> Any:
    body = {"cause": "group:feeder-1", "minutes": minutes, "reason": "crew sent", "as_of_ms": SEEN_MS} | facts
    return ask(plant, "POST", "/api/alarms/groups/shelve", json=body, **AS_ADA)


def test_shelved_group_goes_last_and_comes_back_by_itself(plant: Plant) -> None:
    assert shelve(plant).json()["done"] == 1
    found = groups(plant)
    assert list(found)[-1] == "group:feeder-1"
    assert found["group:feeder-1"]["shelved_until_ms"] == SEEN_MS + 30 * 60_000
    over = groups(replace(plant, now_ns=lambda: T0_NS + 30 * NS_PER_MINUTE))["group:feeder-1"]
    assert (over["shelved_until_ms"], over["shelved_count"]) == (None, 0)


def test_shelved_group_comes_back_when_it_gets_worse(plant: Plant) -> None:
    shelve(plant)
    worse = make_alarm(1, severity=Severity.CRITICAL, updated_ns=T0_NS + 1)
    plant.alarms.record([AlarmEvent(t_ns=T0_NS + 1, action="updated", alarm=worse)])
    assert groups(plant)["group:feeder-1"]["shelved_until_ms"] is None
    shelf = ask(plant, "GET", "/api/alarms/1/shelf").json()
    assert (shelf["shelved"]["ended"], shelf["shelved"]["by"]) == ("worse", "ada")


def test_new_alarm_of_a_shelved_group_is_seen(plant: Plant) -> None:
    shelve(plant)
    raise_alarms(plant, [site_alarm(10, "home-0", severity=Severity.NOTICE)])
    group = groups(plant)["group:feeder-1"]
    assert (group["shelved_until_ms"], group["shelved_count"], group["count"]) == (None, 1, 2)
    assert group["severity"] == "notice"  # of what is not put aside


def test_shelf_is_taken_back_by_hand_and_told_in_order(plant: Plant) -> None:
    shelve(plant)
    body = {"cause": "group:feeder-1"}
    assert ask(plant, "POST", "/api/alarms/groups/return", json=body, **AS_ADA).json()["done"] == 1
    once = ask(plant, "POST", "/api/alarms/1/shelve", json={"minutes": 5, "reason": "again"}, **AS_ADA).json()
    assert once["shelved"]["ended"] is None
    back = ask(plant, "DELETE", "/api/alarms/1/shelve", **AS_ADA).json()
    assert [one["action"] for one in back["steps"]] == ["shelved", "returned", "shelved", "returned"]
    assert back["shelved"]["ended"] == "returned"


def test_shelf_refuses_what_cannot_be(plant: Plant) -> None:
    assert shelve(plant, minutes=0).status_code == 422
    assert shelve(plant, minutes=24 * 60 + 1).status_code == 422
    assert shelve(plant, reason=" ").status_code == 422
    assert shelve(plant, cause="group:nobody").status_code == 404
    assert ask(plant, "GET", "/api/alarms/99/shelf").status_code == 404
    aside = {"minutes": 5, "reason": "x"}
    assert ask(plant, "POST", "/api/alarms/99/shelve", json=aside, **AS_ADA).status_code == 404


def test_feed_says_what_the_route_says(plant: Plant) -> None:
    feed = alarm_groups_feed(AlarmCauses(plant))

    async def read(key: str) -> FeedSaid:
        return await feed.read(key)

    said = asyncio.run(read("groups"))
    assert isinstance(said.value, AlarmGroups)
    assert msgspec.to_builtins(said.value) == ask(plant, "GET", "/api/alarms/groups").json()
    with pytest.raises(UnknownIdError):
        asyncio.run(read("others"))


def test_calm_plant_has_no_group(tmp_path: Path) -> None:
    assert groups(make_plant(tmp_path)) == {}
