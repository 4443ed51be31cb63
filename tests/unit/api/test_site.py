"""One site at the door: what it does now, history with its silences, orders against response, its device, what happened."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoal.api.live.feeds import FeedSaid
from shoal.api.plant import Plant
from shoal.api.site.answers import SiteNow
from shoal.api.site.feed import SiteDesk, site_feed
from shoal.api.site.history import site_history, step_ns_of, tier_of, track_of
from shoal.domain.errors import UnavailableError, UnknownIdError
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.domain.telemetry import ALL_PRESENT, TELEMETRY, Flag, mask_of
from shoal.services.drift import AssumedParameters, DeviceParameters
from shoal.store.device_parameters import DeviceParameterStore
from shoal.store.order_records import AuditEntry, EventSpec, Order, Scope, SetPointSpec, Stop
from shoal.store.orders import Orders
from shoal.store.registry import Registry
from tests.unit.api.doors import ask, make_plant, make_records, write_statement
from tests.unit.api.plants import T0_NS
from tests.unit.store.history_cases import write_history

T0_MS = T0_NS // 1_000_000
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
HOME = SiteId("home-0")


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return make_plant(tmp_path, records=make_records())


def get(plant: Plant, path: str, **request: Any) -> Any:
    answer = ask(plant, "GET", path, **request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def write_track(folder: Path, minutes: list[int], *, site_no: int = 0, **columns: Any) -> None:
    """Write a sample at each of some minutes before the present."""
    records = TELEMETRY.empty(len(minutes))
    records["ts_ns"] = T0_NS - np.array(minutes) * NS_PER_MINUTE
    records["seq"] = np.arange(len(minutes)) + 1
    records["battery_w"] = -1_500
    records["load_w"] = 500
    records["solar_w"] = -1_000
    records["soc_frac"] = 0.5
    records["present"] = ALL_PRESENT & ~mask_of("ev_w")
    for name, value in columns.items():
        records[name] = value
    write_history(folder / "history", records, np.full(len(minutes), site_no), records["ts_ns"])


def event(order_id: str, **changes: Any) -> Order:
    """Return an order of an hour that has begun half an hour ago."""
    values: dict[str, Any] = {
        "order_id": order_id,
        "program": "emergency",
        "scope": Scope(groups=("feeder-1",)),
        "start_ns": T0_NS - 30 * NS_PER_MINUTE,
        "end_ns": T0_NS + 30 * NS_PER_MINUTE,
        "spec": EventSpec(kind="power", battery_w=-2_000),
        "by": "ada",
        "at_ns": T0_NS - NS_PER_HOUR,
        "reason": "peak",
    }
    return Order(**{**values, **changes})


def left(site: str, ago_ns: int) -> AuditEntry:
    """Return the line of an owner who left the event."""
    return AuditEntry(
        at_ns=T0_NS - ago_ns, by="control", action="leave", subject="peak-1", reason="owner", detail=site
    )


# -- history


def history(plant: Plant, site: str = "home-0", **query: Any) -> Any:
    span = {"from_ms": T0_MS - HOUR_MS, "to_ms": T0_MS + 1, **query}
    return get(plant, f"/api/sites/{site}/history", params=span)


def test_history_goes_on_to_the_twins_newest_sample_without_a_seam(plant: Plant, tmp_path: Path) -> None:
    write_track(tmp_path, list(range(59, 0, -1)))
    shown = history(plant)
    assert len(shown["t_ms"]) == 60
    assert shown["seam_ms"] == T0_MS - MINUTE_MS
    assert shown["t_ms"][-1] == T0_MS - 5_000, "the twin's newest sample, which history does not have yet"
    assert not any(shown["gap"])
    assert shown["silences"] == []
    assert (shown["battery_kw"][0], shown["battery_kw"][-1]) == (-1.5, -2.0)
    assert shown["grid_kw"][0] == pytest.approx(-2.0)
    assert set(shown["ev_kw"]) == {None}, "what is not measured is absent, not zero"


def test_silence_is_a_gap_and_has_its_times(plant: Plant, tmp_path: Path) -> None:
    write_track(tmp_path, [*range(59, 39, -1), *range(9, 0, -1)])
    shown = history(plant)
    assert shown["gap_after_s"] == 180.0
    at = shown["gap"].index(True)
    assert (shown["t_ms"][at - 1], shown["t_ms"][at]) == (T0_MS - 40 * MINUTE_MS, T0_MS - 9 * MINUTE_MS)
    assert sum(shown["gap"]) == 1
    assert shown["silences"] == [{"from_ms": T0_MS - 40 * MINUTE_MS, "to_ms": T0_MS - 9 * MINUTE_MS}]


def test_history_that_is_behind_is_no_silence(plant: Plant, tmp_path: Path) -> None:
    write_track(tmp_path, list(range(59, 19, -1)))
    shown = history(plant)
    assert shown["gap"] == [False] * 40 + [True]
    assert (shown["silences"], shown["gap_after_s"]) == ([], 180.0)


def test_a_window_that_ends_before_the_newest_sample_ends_in_no_silence(plant: Plant, tmp_path: Path) -> None:
    write_track(tmp_path, list(range(59, 19, -1)))
    shown = history(plant, to_ms=T0_MS - 6_000)
    assert (len(shown["t_ms"]), shown["silences"]) == (40, [])


def test_means_never_reach_over_a_silence(plant: Plant, tmp_path: Path) -> None:
    write_track(tmp_path, [59, 58, 30, 29])
    shown = history(plant, points=10)
    assert shown["step_s"] == 600.0
    assert [t - T0_MS for t in shown["t_ms"]] == [-58.5 * MINUTE_MS, -29.5 * MINUTE_MS, -5_000]
    assert shown["gap"] == [False, True, True]


def test_suspect_samples_are_counted_and_left_out(plant: Plant, tmp_path: Path) -> None:
    write_track(tmp_path, [3, 2, 1], flags=[0, int(Flag.STUCK), 0], battery_w=[-1_000, -9_000, -1_000])
    shown = history(plant)
    assert (shown["samples"], shown["suspect_samples"]) == (4, 1)
    assert -9.0 not in shown["battery_kw"]


def test_history_of_a_silent_site_says_since_when(plant: Plant, tmp_path: Path) -> None:
    write_track(tmp_path, [50, 49], site_no=2)
    shown = history(plant, "bess-0")
    assert shown["silences"][-1] == {"from_ms": T0_MS - 49 * MINUTE_MS, "to_ms": T0_MS}
    nothing = history(plant, "home-1", from_ms=T0_MS - 3 * HOUR_MS, to_ms=T0_MS - 2 * HOUR_MS)
    assert nothing["t_ms"] == []
    assert nothing["silences"] == [{"from_ms": T0_MS - 3 * HOUR_MS, "to_ms": T0_MS - 2 * HOUR_MS}]


def test_history_is_told_also_while_nobody_owns_the_shard(tmp_path: Path) -> None:
    plant = make_plant(tmp_path)
    write_track(tmp_path, [3, 2, 1])
    shown = history(plant)
    assert (len(shown["t_ms"]), shown["seam_ms"]) == (3, T0_MS - MINUTE_MS)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/api/sites/nobody/history?from_ms={T0_MS - 1}&to_ms={T0_MS}", 404),
        (f"/api/sites/home-0/history?from_ms={T0_MS}&to_ms={T0_MS}", 422),
        ("/api/sites/home-0/history?from_ms=0&to_ms=99999999999", 422),
        ("/api/sites/nobody/device", 404),
        ("/api/sites/nobody/events", 404),
        (f"/api/sites/nobody/commands?from_ms={T0_MS - 1}&to_ms={T0_MS}", 404),
    ],
)
def test_what_cannot_be_answered_is_refused(plant: Plant, path: str, status: int) -> None:
    assert ask(plant, "GET", path).status_code == status


def test_long_spans_come_from_roll_ups() -> None:
    assert [tier_of(hours * NS_PER_HOUR) for hours in (48, 49, 24 * 14, 24 * 15)] == [
        "samples",
        "5min",
        "5min",
        "1h",
    ]
    assert step_ns_of(48 * NS_PER_HOUR, 600, "samples") == 300 * NS_PER_S
    assert step_ns_of(NS_PER_HOUR, 4_000, "5min") == 300 * NS_PER_S


def test_roll_ups_touch_each_other_and_a_missing_one_is_a_gap() -> None:
    records = TELEMETRY.empty(3)
    records["ts_ns"] = np.array([0, 5, 20]) * NS_PER_MINUTE
    records["present"] = mask_of("battery_w")
    track = track_of(records)
    object.__setattr__(track, "last_ns", track.first_ns + 5 * NS_PER_MINUTE)
    shown = site_history(
        "home-0",
        track,
        from_ns=0,
        to_ns=30 * NS_PER_MINUTE,
        now_ns=30 * NS_PER_MINUTE,
        tier="5min",
        step_ns=5 * NS_PER_MINUTE,
        fresh_ns=60 * NS_PER_S,
        written=3,
    )
    assert (shown.gap, shown.silences[0].from_ms) == ([False, False, True], 10 * MINUTE_MS)
    assert (shown.following, shown.soc_frac) == ([None] * 3, [None] * 3)


# -- what is asked, and what it did


def test_orders_are_shown_against_what_the_battery_did(plant: Plant, tmp_path: Path) -> None:
    orders = Orders(plant.database)
    orders.put(event("peak-1"))
    orders.put(event("others", scope=Scope(groups=("storage",))))
    write_track(tmp_path, list(range(59, 0, -1)), command_version=[0] * 29 + [7] * 30)
    shown = get(plant, "/api/sites/home-0/commands", params={"from_ms": T0_MS - HOUR_MS, "to_ms": T0_MS + 1})
    (one,) = shown["orders"]
    assert (one["order"]["order_id"], one["order"]["site_kw"], one["order"]["kind"]) == (
        "peak-1",
        -2.0,
        "power",
    )
    assert one["measured_kw"] == pytest.approx(-1.5, abs=0.05)
    assert (one["heard_frac"], one["followed_frac"]) == (1.0, pytest.approx(30 / 31, abs=0.01))
    asked = dict(zip(shown["t_ms"], shown["commanded_kw"], strict=True))
    assert asked[T0_MS - 31 * MINUTE_MS] is None
    assert asked[T0_MS - 30 * MINUTE_MS] == -2.0


def test_a_part_that_the_controller_decides_is_not_made_up(plant: Plant) -> None:
    orders = Orders(plant.database)
    orders.put(event("send-1", spec=SetPointSpec(power_w=-9_000)))
    (asked,) = SiteDesk(plant).orders.now(0, T0_NS)
    assert (asked.kind, asked.site_kw, asked.all_kw) == ("setpoint", None, -9.0)


def test_a_power_that_is_split_gives_each_its_own_part(plant: Plant) -> None:
    Orders(plant.database).put(event("split-1", spec=EventSpec(kind="power", group_w=-6_000)))
    desk = SiteDesk(plant)
    assert [desk.orders.now(row, T0_NS)[0].site_kw for row in (0, 1)] == [-2.5, -3.5]
    assert desk.orders.now(2, T0_NS) == []


def test_an_order_that_was_called_off_ends_then(plant: Plant) -> None:
    orders = Orders(plant.database)
    orders.put(event("peak-1"))
    orders.end("peak-1", "aborted", by="ben", at_ns=T0_NS - 10 * NS_PER_MINUTE, reason="wrong feeder")
    desk = SiteDesk(plant)
    assert desk.orders.now(0, T0_NS) == []
    (asked,) = desk.orders.between(0, T0_NS - NS_PER_HOUR, T0_NS, now_ns=T0_NS)
    assert (asked.state, asked.until_ms) == ("aborted", T0_MS - 10 * MINUTE_MS)


def test_an_owner_who_has_left_the_program_is_not_asked(plant: Plant) -> None:
    Orders(plant.database).put(event("peak-1", program="peak"))
    desk = SiteDesk(plant)
    book = plant.programs.book()
    program = next(one.id for one in book.programs if one.may_opt_out and not one.exclusive)
    Orders(plant.database).put(event("peak-2", program=program))
    assert {one.order_id for one in desk.orders.now(0, T0_NS)} == {"peak-1", "peak-2"}
    plant.programs.enrol(program, [HOME], at_ns=0, by="ada", said_ns=0)
    plant.programs.opt_out(program, [HOME], at_ns=T0_NS - 1, by="owner", said_ns=T0_NS - 1)
    assert {one.order_id for one in desk.orders.now(0, T0_NS)} == {"peak-1"}
    assert {one.order_id for one in desk.orders.now(1, T0_NS)} == {"peak-1"}, "somebody else takes part now"


# -- live


async def read_feed(plant: Plant, site: str) -> FeedSaid:
    return await site_feed(plant).read(site)


def now_of(plant: Plant, site: str = "home-0") -> SiteNow:
    said = asyncio.run(read_feed(plant, site))
    assert isinstance(said.value, SiteNow)
    assert said.as_of_ms == said.value.as_of_ms
    return said.value


def test_feed_says_what_is_asked_and_what_the_device_follows(tmp_path: Path) -> None:
    records = make_records()
    records["command_version"][0] = 9
    records["load_w"][0], records["solar_w"][0] = 700, -200
    plant = make_plant(tmp_path, records=records)
    Orders(plant.database).put(event("peak-1"))
    plant.programs.promise("reserve_frac", [HOME], 0.4, at_ns=0, by="owner", said_ns=0)
    Orders(plant.database).note(
        [
            AuditEntry(
                at_ns=T0_NS - NS_PER_HOUR,
                by=HOME,
                action="report",
                subject=HOME,
                outcome="refused",
                reason="expired",
                detail="desired version 8",
            )
        ]
    )
    now = now_of(plant)
    assert (now.grade, now.age_s) == ("fresh", 5.0)
    assert now.grid_kw == pytest.approx(-1.5)
    assert [one.order_id for one in now.asked] == ["peak-1"]
    assert (now.reserve_frac, now.stop) == (0.4, None)
    assert (now.reported.following, now.reported.refused) == (9, "expired desired version 8")
    never = now_of(plant, "bess-0")
    assert (never.heard_ms, never.age_s, never.reported.following, never.grid_kw) == (None, None, None, None)


def test_feed_says_that_a_kill_switch_holds(plant: Plant) -> None:
    Orders(plant.database).stop(
        Stop(stop_id="halt-1", kind="group", target="homes", since_ns=T0_NS - 1, by="ada", reason="smoke")
    )
    stop = now_of(plant).stop
    assert stop is not None
    assert (stop.stop_id, stop.kind, stop.reason) == ("halt-1", "group", "smoke")
    assert now_of(plant, "bess-0").stop is None


def test_feed_of_nobody_and_of_nobodys_shard_is_a_fault(tmp_path: Path) -> None:
    plant = make_plant(tmp_path)
    with pytest.raises(UnknownIdError):
        asyncio.run(read_feed(plant, "nobody"))
    with pytest.raises(UnavailableError):
        asyncio.run(read_feed(plant, "home-0"))


# -- device and events


def test_device_shows_what_has_drifted_and_what_that_costs(plant: Plant) -> None:
    Registry(plant.registry).issue_credential(HOME, at_ns=T0_NS - NS_PER_HOUR)
    store = DeviceParameterStore(plant.registry)
    assumed = AssumedParameters(service="fcr", capacity_w=4_000, droop_frac=0.01, response_s=2.0)
    store.assume("homes", "fcr", {HOME: assumed}, by="ada", at_ns=0)
    store.report(
        [DeviceParameters(site_id=HOME, t_ns=T0_NS - 1, droop_frac=0.03, response_s=1.0, firmware="2.1")]
    )
    shown = get(plant, "/api/sites/home-0/device")
    assert (shown["enrolled_ms"], shown["revoked_ms"]) == (T0_MS - HOUR_MS, None)
    assert (shown["firmware"], shown["reported_ms"], shown["withheld_kw"]) == ("2.1", T0_MS - 1, 4.0)
    by_name = {one["name"]: one for one in shown["parameters"]}
    assert (by_name["droop"]["assumed"], by_name["droop"]["reported"]) == ("1.00%", "3.00%")
    assert {name for name, one in by_name.items() if one["drifted"]} == {"droop"}
    other = get(plant, "/api/sites/home-1/device")
    assert (other["enrolled_ms"], other["parameters"], other["alarms"]) == (None, [], [])


def test_events_tell_what_happened_the_newest_first(plant: Plant) -> None:
    orders = Orders(plant.database)
    orders.put(event("peak-1"))
    orders.note(
        [
            left("home-0", 5),
            left("home-1", 4),
        ]
    )
    program = plant.programs.book().programs[-1].id
    plant.programs.enrol(program, [HOME], at_ns=T0_NS - NS_PER_HOUR, by="owner", said_ns=0)
    shown = get(plant, "/api/sites/home-0/events")
    assert [one["what"] for one in shown["events"]] == ["left", "asked", "joined"]
    assert not shown["truncated"]
    first = get(plant, "/api/sites/home-0/events", params={"limit": 1})
    assert ([one["what"] for one in first["events"]], first["truncated"]) == (["left"], True)


def test_events_have_what_the_owner_was_paid_to_the_last_digit(plant: Plant) -> None:
    net = write_statement(plant.ledger)
    (paid,) = get(plant, "/api/sites/bess-0/events")["events"]
    assert (paid["what"], paid["subject"], paid["currency"]) == ("paid", "2021-02-10", "USD")
    assert round(float(paid["amount"]) * 1e8) == net // 2
    assert get(plant, "/api/sites/home-0/events")["events"] == []
