"""The reducer: what the news makes of the page's state, and that deltas bring a client to the same place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from shoal.api.live import state
from shoal.api.live.model import LiveModel
from shoal.api.live.state import LiveState, to_ms
from shoal.api.live.views import Books, DeliveryHour, ResourceTotals
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval
from tests.unit.api.plants import (
    BESS,
    HOMES,
    T0_NS,
    aggregates,
    make_fleet,
    quarantine,
    resource_state,
    run_record,
)


def make_model(**options: Any) -> LiveModel:
    return LiveModel(fleet=make_fleet(), **options)


def bid(resource_id: str, *, status: state.BidStatus = "accepted", day: str = "2021-02-12") -> state.Bid:
    return state.Bid(
        resource_id=resource_id,
        delivery_date=day,
        status=status,
        rung="fresh",
        rung_reason="",
        gate_ms=0,
        submitted_ms=None,
        orders=[],
        award=None,
    )


def books(**parts: Any) -> Books:
    money = state.Money(currency="USD", revenue=12.5, perfect_foresight=None, by_day=[])
    return Books(**{"money": money, **parts})


def test_model_before_any_news_shows_what_is_absent_as_absent() -> None:
    shown = make_model().snapshot()
    assert (shown.fleet, shown.next_gate, shown.run, shown.money.revenue) == (None, None, None, None)
    assert (shown.resources, shown.groups, shown.fleet_series.t_ms) == ([], [], [])
    assert shown.zone == "America/Chicago"
    assert make_model().delta().empty


def test_fleet_is_the_sum_over_the_roots_of_the_grid_alone() -> None:
    model = make_model()
    assert model.on_aggregates(aggregates(bess_kw=50.0))
    fleet = model.snapshot().fleet
    assert fleet is not None
    assert (fleet.sites, fleet.fresh, fleet.stale) == (3, 2, 1)
    assert (fleet.battery_kw, fleet.battery_low_kw, fleet.battery_high_kw) == (48.0, 41.0, 55.0)
    assert (fleet.solar_kw, fleet.grid_kw) == (-3.0, 46.5)
    assert fleet.coverage_kw_frac == pytest.approx(10_005 / 10_012)
    assert fleet.coverage_count_frac == pytest.approx(2 / 3)
    assert fleet.soc_frac == pytest.approx(10_005 / 20_010)
    assert fleet.oldest_age_s == 120.0


def test_a_site_that_was_never_heard_has_no_age() -> None:
    model = make_model()
    never_s = T0_NS / 1e9
    model.on_aggregates(aggregates(oldest_age_s=[never_s, never_s, -1.0, 2.0, 120.0]))
    shown = model.snapshot()
    assert shown.fleet is not None
    assert shown.fleet.oldest_age_s is None
    assert [group.oldest_age_s for group in model.groups(range(5))] == [None, None, None, 2.0, 120.0]


def test_aggregates_of_another_fleet_are_refused() -> None:
    model = make_model()
    assert not model.on_aggregates(aggregates(sites=[1, 2]))
    assert model.snapshot().fleet is None


def test_state_has_the_roots_alone_and_any_group_can_be_had() -> None:
    model = make_model()
    assert (model.groups([0]), model.groups_as_of_ms) == ([], None)
    model.on_aggregates(aggregates(suspect=[0, 1, 0, 0, 0]))
    roots = model.snapshot().groups
    assert [(group.group_id, group.children) for group in roots] == [
        ("homes", 1),
        ("storage", 1),
        ("texas", 0),
    ]
    (feeder,) = model.groups([1])
    assert (feeder.group_id, feeder.parent_id, feeder.level) == ("feeder-1", "homes", 1)
    assert (feeder.sites, feeder.fresh, feeder.stale, feeder.unknown, feeder.suspect) == (2, 1, 1, 0, 1)
    assert (feeder.expected_kw, feeder.low_kw, feeder.high_kw) == (-3.0, -9.0, 5.0)
    assert (feeder.grid_expected_kw, feeder.grid_low_kw, feeder.grid_high_kw) == (-4.5, -12.0, 4.0)
    assert (feeder.firm_charge_kw, feeder.firm_discharge_kw) == (1.0, 0.0)
    assert feeder.coverage_kw_frac == pytest.approx(5 / 12)
    assert feeder.coverage_count_frac == 0.5
    assert feeder.soc_frac == pytest.approx(0.4)


def test_fleet_has_what_is_expected_of_silent_sites_and_what_can_be_committed() -> None:
    model = make_model()
    model.on_aggregates(aggregates(bess_kw=50.0, suspect=[1, 1, 0, 0, 1]))
    fleet = model.snapshot().fleet
    assert fleet is not None
    assert (fleet.battery_kw, fleet.battery_expected_kw, fleet.suspect) == (48.0, 47.0, 1)
    assert (fleet.grid_low_kw, fleet.grid_expected_kw, fleet.grid_high_kw) == (38.0, 45.5, 54.0)
    assert (fleet.firm_charge_kw, fleet.firm_discharge_kw) == (9_951.0, 10_050.0)


def test_coverage_by_capacity_is_absent_where_there_is_no_battery() -> None:
    model = make_model()
    model.on_aggregates(aggregates(capacity_kw=[0.0] * 5, fresh_kw=[0.0] * 5))
    fleet = model.snapshot().fleet
    assert fleet is not None
    assert fleet.coverage_kw_frac is None
    assert fleet.coverage_count_frac == pytest.approx(2 / 3)


def test_twins_say_how_they_keep_up() -> None:
    model = make_model()
    assert model.snapshot().twins is None
    news = msgspec.structs.replace(aggregates(), applied=9, lag=4, shards=3, live_shards=2)
    model.on_aggregates(news)
    assert model.delta().set["twins"] == state.TwinsNow(applied=9, lag=4, shards=3, live_shards=2)


def test_alerts_end_by_themselves() -> None:
    model = make_model()
    model.on_time(T0_NS)
    ends_ms = to_ms(T0_NS + NS_PER_HOUR)
    alert = state.AlertNow(
        key="k", event="Frost", severity="minor", from_ms=None, until_ms=ends_ms,
        sites=1, charge_kw=1.0, discharge_kw=1.0, capacity_kwh=1.0,
    )  # fmt: skip
    model.on_alerts([alert])
    assert model.delta().set["alerts"] == [alert]
    model.on_time(T0_NS + NS_PER_HOUR - 1)
    assert "alerts" not in model.delta().set
    model.on_time(T0_NS + NS_PER_HOUR)
    assert model.delta().set["alerts"] == []


def test_series_is_appended_in_deltas() -> None:
    model = make_model()
    for minute in range(5):
        model.on_aggregates(aggregates(T0_NS + minute * NS_PER_MINUTE))
    delta = model.delta()
    wanted = [to_ms(T0_NS + minute * NS_PER_MINUTE) for minute in range(5)]
    assert delta.append["fleet_series"].t_ms == wanted
    assert model.snapshot().fleet_series.t_ms == wanted
    model.on_aggregates(aggregates(T0_NS + 4 * NS_PER_MINUTE))
    assert "fleet_series" not in model.delta().append


def test_time_that_goes_back_begins_another_run() -> None:
    model = make_model()
    model.on_aggregates(aggregates(T0_NS))
    model.on_resources([resource_state()])
    model.on_run(run_record())
    model.delta()
    model.on_aggregates(aggregates(T0_NS - NS_PER_HOUR))
    delta = model.delta()
    assert delta.set["fleet_series"].t_ms == [to_ms(T0_NS - NS_PER_HOUR)]
    assert delta.set["now_ms"] == to_ms(T0_NS - NS_PER_HOUR)
    assert (delta.set["resources"], delta.set["runs"], delta.append) == ([], [], {})


def test_resource_shows_its_hour_and_what_the_ledger_says_of_it() -> None:
    model = make_model()
    model.on_resources([resource_state(T0_NS + NS_PER_MINUTE)])
    totals = ResourceTotals(revenue=99.5, award_total_mwh=40.0, delivered_total_mwh=38.0)
    model.on_ledger(books(totals={BESS: totals}))
    (shown,) = model.snapshot().resources
    assert (shown.resource_id, shown.name, shown.settlement_point) == (BESS, "Bess", "HB_NORTH")
    assert (shown.award_mwh, shown.delivered_mwh, shown.shortfall_kw) == (-5.0, -1.0, 100.0)
    assert (shown.hour_start_ms, shown.hour_end_ms) == (to_ms(T0_NS), to_ms(T0_NS + NS_PER_HOUR))
    assert (shown.revenue, shown.delivered_share, shown.soc_frac) == (99.5, 0.95, 0.75)


def test_delivery_prefers_what_is_settled_and_keeps_what_was_seen() -> None:
    model = make_model()
    hour_ms = NS_PER_HOUR // state.MS_PER_NS
    start_ms = to_ms(T0_NS)
    for hour in (0, 1):
        model.on_resources([resource_state(T0_NS + hour * NS_PER_HOUR, delivered_wh=-2_000_000 * (hour + 1))])
    rows = (
        DeliveryHour(start_ms=start_ms, award_mwh=-5.0, delivered_mwh=-4.5),
        DeliveryHour(start_ms=start_ms + hour_ms, award_mwh=-5.0, delivered_mwh=None),
        DeliveryHour(start_ms=start_ms + 2 * hour_ms, award_mwh=3.0, delivered_mwh=None),
    )
    model.on_ledger(books(delivery={BESS: rows}))
    (shown,) = model.snapshot().delivery
    assert shown.start_ms == [start_ms + hour * hour_ms for hour in range(3)]
    assert shown.delivered_mwh == [-4.5, -4.0, None]
    assert shown.award_mwh == [-5.0, -5.0, 3.0]


def test_next_gate_is_the_first_to_come_with_the_bids_that_stand() -> None:
    model = make_model()
    model.on_time(T0_NS)  # the very instant of a gate: the next one is a day away
    model.on_ledger(books(bids=(bid(BESS), bid(HOMES, status="unknown"), bid(HOMES, day="2021-02-11"))))
    gate = model.snapshot().next_gate
    assert gate is not None
    assert (gate.delivery_date, gate.market_id) == ("2021-02-12", "ercot-da")
    assert gate.gate_ms == to_ms(T0_NS + 24 * NS_PER_HOUR)
    assert gate.resources_ready == [BESS]


@pytest.mark.parametrize(
    ("market_id", "zone", "currency"), [("nem", "Australia/Brisbane", "AUD"), ("gb", "Europe/London", "GBP")]
)
def test_plant_in_any_market_has_its_zone_its_money_and_its_next_gate(
    market_id: str, zone: str, currency: str
) -> None:
    fleet = make_fleet()
    there = replace(fleet, resources=tuple(replace(one, market_id=market_id) for one in fleet.resources))
    model = LiveModel(fleet=there)
    model.on_time(T0_NS)
    shown = model.snapshot()
    assert (shown.zone, shown.money.currency) == (zone, currency)
    assert shown.next_gate is not None
    assert shown.next_gate.market_id == market_id
    assert shown.next_gate.gate_ms > to_ms(T0_NS)


def test_run_of_recorded_days_says_how_much_is_done() -> None:
    span = Interval(start_ns=T0_NS, end_ns=T0_NS + 4 * NS_PER_HOUR)
    model = make_model(run=span, speed=None)
    model.on_aggregates(aggregates(T0_NS + NS_PER_HOUR))
    shown = model.snapshot()
    assert shown.run == state.Run(from_ms=to_ms(span.start_ns), to_ms=to_ms(span.end_ns), done_frac=0.25)
    assert shown.speed is None


def test_an_older_word_about_a_run_does_not_replace_a_newer_one() -> None:
    model = make_model()
    model.on_run(run_record(finished=True))
    model.on_ledger(books(runs=make_model_runs(finished=False)))
    assert [run.status for run in model.snapshot().runs] == ["accepted"]


def make_model_runs(*, finished: bool) -> tuple[state.WorkflowRun, ...]:
    model = make_model()
    model.on_run(run_record(finished=finished))
    return tuple(model.snapshot().runs)


def test_runs_are_bounded_and_newest_first() -> None:
    model = make_model()
    for number in range(60):
        model.on_run(run_record(f"bid-{number}", started_ns=T0_NS + number * NS_PER_MINUTE))
    runs = model.snapshot().runs
    assert (len(runs), runs[0].workflow_id, runs[-1].workflow_id) == (50, "bid-59", "bid-10")


def test_quarantine_shows_the_newest_example_first() -> None:
    model = make_model()
    model.on_quarantine(quarantine())
    shown = model.snapshot().quarantine
    assert shown.total == 2
    assert shown.recent[0].arrival_ms > shown.recent[1].arrival_ms


def test_quarantine_of_processes_that_speak_by_turns_does_not_jump() -> None:
    model = make_model()
    model.on_quarantine(msgspec.structs.replace(quarantine(total=3), member="one"))
    model.on_quarantine(msgspec.structs.replace(quarantine(total=4), member="other"))
    assert model.snapshot().quarantine.total == 7
    model.delta()
    model.on_quarantine(msgspec.structs.replace(quarantine(total=3), member="one"))
    assert model.delta().empty
    assert model.snapshot().quarantine.total == 7


def test_delta_holds_only_what_is_different() -> None:
    model = make_model()
    model.on_aggregates(aggregates())
    model.on_quarantine(quarantine())
    model.delta()
    model.on_quarantine(quarantine())
    assert model.delta().empty
    model.on_quarantine(quarantine(total=3))
    assert model.delta().set.keys() == {"quarantine"}


def test_snapshot_and_deltas_lead_to_the_present_state() -> None:
    model = make_model()
    model.on_aggregates(aggregates())
    model.delta()
    held: dict[str, Any] = msgspec.to_builtins(model.snapshot())
    for step in range(1, 6):
        model.on_aggregates(aggregates(T0_NS + step * NS_PER_MINUTE, bess_kw=50.0 * step))
        model.on_resources([resource_state(T0_NS + step * NS_PER_MINUTE)])
        if step == 3:
            model.on_run(run_record())
            model.on_ledger(books(bids=(bid(BESS),)))
        if step == 4:
            model.on_health([state.RoleHealth(role="api", status="up", restarts=0, since_ms=None)])
            continue  # two steps in one delta
        delta = msgspec.to_builtins(model.delta())
        held.update(delta["set"])
        for name, column in delta["append"].get("fleet_series", {}).items():
            held["fleet_series"][name] += column
    assert msgspec.convert(held, LiveState) == model.snapshot()
