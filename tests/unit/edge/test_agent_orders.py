"""Documents of orders at the agent: events in time, ramps, places, envelopes, droop, the kill switch, the owner's word."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from shoal.domain.desired import DesiredState
from shoal.domain.errors import CorruptStateError, InvalidInputError, WireFormatError
from shoal.domain.orders import DroopArming, Envelope, PriceSeries, ScheduledEvent, SiteOrders
from shoal.domain.outcome import Accepted, Curtailed, Outcome, Rejected
from shoal.edge.agent import AgentColumns, Decision, Mode, decide, next_change_ns, receive
from shoal.edge.agent_columns import EVENT_SLOTS, MOST_ENVELOPES, MOST_EVENTS, EventCode
from shoal.edge.agent_orders import decode_orders, place_frac, receive_orders
from shoal.edge.agent_owner import events_of, opt_in, opt_out, set_independent, set_off, set_reserve
from tests.unit.edge.sites import T0, S, desired, kwh, nameplates, watts

LOCAL_W = -500
"""What the site does by itself in these tests, unless they say otherwise."""


def ns(s: float) -> int:
    return T0 + round(s * S)


def event(start_s: float, end_s: float, battery_w: int = -3_000, **values: Any) -> ScheduledEvent:
    plain: dict[str, Any] = {"event_id": "e", "program": "peak", "kind": "power"}
    return ScheduledEvent(start_ns=ns(start_s), end_ns=ns(end_s), battery_w=battery_w, **{**plain, **values})


def orders(version: int, *events: ScheduledEvent, fence: int = 1, **values: Any) -> SiteOrders:
    return SiteOrders(version=version, issued_ns=T0, issuer="plant", fence=fence, events=events, **values)


def envelope(start_s: float, end_s: float, import_w: int, export_w: int) -> Envelope:
    return Envelope(start_ns=ns(start_s), end_ns=ns(end_s), import_limit_w=import_w, export_limit_w=export_w)


DROOP = DroopArming(
    start_ns=T0,
    end_ns=T0 + 100 * S,
    reference_hz=50.0,
    deadband_hz=0.02,
    full_deviation_hz=0.22,
    up_w=2_000,
    down_w=1_000,
)


def prices(start_s: float = 0, steps: int = 2, **values: Any) -> PriceSeries:
    series: dict[str, Any] = {"import_per_kwh": (0.3,) * steps, "export_per_kwh": (0.1,) * steps}
    return PriceSeries(start_ns=ns(start_s), step_s=50, **{**series, **values})


def at(
    columns: AgentColumns,
    s: float,
    *,
    load_w: int = -LOCAL_W,
    solar_w: int = 0,
    stored_kwh: float = 8.0,
    hold_s: float = 1e-6,
    **values: Any,
) -> Decision:
    sites = len(columns)
    return decide(
        columns,
        now_ns=ns(s),
        load_w=np.full(sites, load_w),
        solar_w=np.full(sites, solar_w),
        ev_w=np.zeros(sites, dtype=np.int64),
        stored_kwh=np.full(sites, stored_kwh),
        horizon_s=60.0,
        hold_s=hold_s,
        **values,
    )


def power(columns: AgentColumns, s: float, **values: Any) -> int:
    return int(at(columns, s, **values).battery_w[0])


def mode(columns: AgentColumns, s: float, **values: Any) -> Mode:
    return Mode(int(at(columns, s, **values).mode[0]))


def reason(outcome: Outcome) -> str:
    assert isinstance(outcome, Rejected), outcome
    return outcome.reason


def with_orders(*events: ScheduledEvent, sites: int = 1, **values: Any) -> AgentColumns:
    columns = AgentColumns(nameplates(sites))
    for row in range(sites):
        assert receive_orders(columns, row, orders(1, *events, **values), T0) == Accepted()
    return columns


def test_event_is_followed_from_its_start_until_its_end() -> None:
    columns = with_orders(event(10, 20))
    assert [power(columns, s) for s in (9.999, 10, 19.999, 20)] == [LOCAL_W, -3_000, -3_000, LOCAL_W]
    decision = at(columns, 15)
    assert (decision.mode[0], decision.event_slot[0], decision.following_version[0]) == (Mode.SCHEDULE, 0, 0)
    assert mode(columns, 20) == Mode.LOCAL


def test_first_event_of_a_document_rules() -> None:
    columns = with_orders(event(10, 30, -1_000, event_id="first"), event(0, 100, -2_000, event_id="second"))
    assert [power(columns, s) for s in (5, 10, 30, 100)] == [-2_000, -1_000, -2_000, LOCAL_W]


def test_precedence_is_off_direct_schedule_price_local() -> None:
    columns = with_orders(event(20, 40), prices=prices(0))
    receive(columns, 0, desired(7, 1_000, 30, 35), T0)
    planned: dict[str, Any] = {"plan_w": np.array([-777.0])}
    seen = [(power(columns, s, **planned), mode(columns, s, **planned)) for s in (10, 25, 32, 40, 100)]
    assert seen == [
        (-777, Mode.PRICE),
        (-3_000, Mode.SCHEDULE),
        (1_000, Mode.DIRECT),
        (-777, Mode.PRICE),
        (-777, Mode.LOCAL),
    ]
    set_off(columns, 0, True)
    assert (power(columns, 32), mode(columns, 32)) == (0, Mode.OFF)
    set_off(columns, 0, False)
    assert (power(columns, 32), mode(columns, 32)) == (1_000, Mode.DIRECT)
    assert mode(columns, 32, stored_kwh=math.nan) == Mode.OFF


def test_plan_against_prices_ends_with_them_and_a_site_without_a_plan_helps_itself() -> None:
    columns = with_orders(prices=prices(0))
    by_price: dict[str, Any] = {"plan_w": np.array([900.0]), "plan_by_price": np.array([True])}
    assert [power(columns, s, **by_price) for s in (0, 99.9, 100)] == [900, 900, LOCAL_W]
    own: dict[str, Any] = {"plan_w": np.array([900.0]), "plan_by_price": np.array([False])}
    assert (power(columns, 0, **own), mode(columns, 0, **own)) == (900, Mode.LOCAL)
    assert power(columns, 0, plan_w=np.array([math.nan])) == LOCAL_W
    assert power(columns, 0, plan_w=np.array([1e300])) == 5_000, "limits come last"


def test_document_refusals_name_their_reason_and_change_nothing() -> None:
    columns = with_orders(event(0, 100, event_id="kept"), fence=3)
    many = [event(10, 20, event_id=f"e{n}") for n in range(MOST_EVENTS + 1)]
    wide = tuple(envelope(0, 100, 1, 1) for _ in range(MOST_ENVELOPES + 1))
    bad = {
        "stale_version": orders(1, fence=3),
        "fenced_out": orders(2, fence=2),
        "too_many_events": orders(2, *many, fence=3),
        "too_many_envelopes": orders(2, fence=3, envelopes=wide),
        "too_many_prices": orders(2, fence=3, prices=prices(steps=5_000)),
        "duplicate_event": orders(2, event(0, 50), event(50, 60), fence=3),
    }
    for expected, document in bad.items():
        assert reason(receive_orders(columns, 0, document, T0)) == expected
    wrong: list[dict[str, Any]] = [
        {"events": (event(20, 10),)},
        {"events": (event(0, 10, event_id=""),)},
        {"events": (event(0, 10, event_id="x" * 65),)},
        {"events": (event(0, 10, event_id="a\x00"),)},
        {"events": (event(0, 10, program="x" * 65),)},
        {"events": (event(0, 10, soc_frac=1.1),)},
        {"events": (event(0, 10, soc_frac=math.nan),)},
        {"events": (event(0, 10, ramp_s=-1.0),)},
        {"events": (event(0, 10, spread_s=math.inf),)},
        {"events": (event(0, 10, -1, kind="charge"),)},
        {"envelopes": (envelope(10, 0, 1, 1), envelope(9, 10, -1, 1))},
        {"droop": msgspec.structs.replace(DROOP, full_deviation_hz=0.01)},
        {"droop": msgspec.structs.replace(DROOP, reference_hz=math.nan)},
        {"droop": msgspec.structs.replace(DROOP, up_w=-1)},
        {"prices": prices(steps=0)},
        {"prices": prices(export_per_kwh=(0.1,))},
        {"prices": prices(export_per_kwh=(0.1, math.inf))},
        {"version": 0},
        {"version": 2**63},
        {"fence": 2**63},
    ]
    for values in wrong:
        document = msgspec.structs.replace(orders(2, fence=3), **values)
        assert reason(receive_orders(columns, 0, document, T0)) == "out_of_range", values
    assert [view.event_id for view in events_of(columns, 0, T0)] == ["kept"]
    assert receive_orders(columns, 0, orders(2, fence=3), T0) == Accepted()


def test_events_that_have_ended_count_for_nothing() -> None:
    columns = AgentColumns(nameplates())
    over = [event(0, 1 + n, event_id=f"over{n}") for n in range(30)]
    assert receive_orders(columns, 0, orders(1, *over, event(50, 60)), ns(40)) == Accepted()
    assert [view.event_id for view in events_of(columns, 0, ns(40))] == ["e"]


def test_event_over_the_nameplate_is_curtailed() -> None:
    columns = AgentColumns(nameplates())
    outcome = receive_orders(columns, 0, orders(1, event(0, 10, -(10**30))), T0)
    assert isinstance(outcome, Curtailed)
    assert (outcome.granted, outcome.reason) == (-5_000.0, "over_nameplate")
    assert power(columns, 0) == -5_000


def test_fence_is_shared_by_setpoints_and_documents() -> None:
    columns = AgentColumns(nameplates())
    assert receive_orders(columns, 0, orders(1, fence=5), T0) == Accepted()
    assert reason(receive(columns, 0, desired(1, 0, 0, 10, fence=4), T0)) == "fenced_out"
    assert receive(columns, 0, desired(1, 0, 0, 10, fence=6), T0) == Accepted()
    assert reason(receive_orders(columns, 0, orders(2, fence=5), T0)) == "fenced_out"
    assert receive_orders(columns, 0, orders(2, fence=6), T0) == Accepted(), "versions are counted apart"


def test_new_document_takes_the_place_of_the_old() -> None:
    columns = with_orders(event(0, 100, -1_000), event(0, 100, -2_000, event_id="other"))
    receive_orders(columns, 0, orders(2, event(0, 50, -1_500)), ns(10))
    assert [power(columns, s) for s in (10, 49, 50)] == [-1_500, -1_500, LOCAL_W], "changed and cut short"
    receive_orders(columns, 0, orders(3, event(0, 200, -1_500)), ns(20))
    assert [power(columns, s) for s in (60, 199, 200)] == [-1_500, -1_500, LOCAL_W], "extended"
    receive_orders(columns, 0, orders(4), ns(30))
    assert power(columns, 30) == LOCAL_W, "cancelled"


def test_ramp_fades_in_over_what_is_beneath_and_out_again() -> None:
    columns = with_orders(event(100, 200, -3_000, ramp_s=40.0))
    seen = [power(columns, s) for s in (99, 100, 110, 120, 140, 199, 200, 210, 220, 240)]
    assert seen == [-500, -500, -1_125, -1_750, -3_000, -3_000, -3_000, -2_375, -1_750, -500]
    assert mode(columns, 210) == Mode.LOCAL
    assert power(columns, 120, load_w=1_500) == -2_250, "half of what it would do now"


def test_ramp_is_followed_on_average_over_the_time_that_a_decision_is_held() -> None:
    columns = with_orders(event(100, 200, -3_000, ramp_s=40.0))
    assert power(columns, 100, hold_s=40.0) == -1_750
    assert power(columns, 120, hold_s=40.0) == -500 - round(2_500 * (0.5 * 0.75 + 0.5))
    assert power(columns, 200, hold_s=400.0) == -500 - round(2_500 * 0.05), "a long tick does not hold on"


def test_cancelled_event_fades() -> None:
    columns = with_orders(event(0, 200, -2_500, ramp_s=40.0))
    receive_orders(columns, 0, orders(2), ns(100))
    assert [power(columns, s) for s in (100, 120, 140)] == [-2_500, -1_500, -500]
    assert (mode(columns, 100), events_of(columns, 0, ns(100))) == (Mode.LOCAL, [])
    receive_orders(columns, 0, orders(3, event(110, 300, -4_500, event_id="new", ramp_s=20.0)), ns(110))
    # A quarter of the old has faded; the new one rises over it.
    assert power(columns, 110) == -2_000
    assert power(columns, 130) == -4_500


def test_event_that_was_hidden_by_another_does_not_come_up_when_both_are_cancelled() -> None:
    over, under = event(0, 200, kind="local", ramp_s=40.0), event(0, 200, 4_000, event_id="under", ramp_s=5.0)
    columns = with_orders(over, under)
    assert power(columns, 100) == LOCAL_W
    receive_orders(columns, 0, orders(2, event(100, 200, 0, event_id="ahead", spread_s=90.0)), ns(100))
    assert power(columns, 100) == LOCAL_W
    receive_orders(columns, 0, orders(3), ns(101))
    assert power(columns, 101, load_w=500) == LOCAL_W + 90, "a share of what fades beneath"


def test_nobody_steps_to_the_event_beneath_when_the_one_above_is_cancelled() -> None:
    over, under = event(0, 300, kind="local", ramp_s=40.0), event(0, 300, 3_500, event_id="under", ramp_s=5.0)
    new = event(90, 400, -4_000, event_id="new")
    for documents in ((under,), (under, new)):
        columns = with_orders(over, under)
        receive_orders(columns, 0, orders(2, *documents), ns(100))
        assert [power(columns, s) for s in (100, 120, 140, 299)] == [LOCAL_W, 1_500, 3_500, 3_500]
        assert [view.event_id for view in events_of(columns, 0, ns(100))] == [
            one.event_id for one in documents
        ]
        assert int(at(columns, 100).event_slot[0]) == 1, "the event in force is named, not what fades over it"
    columns = with_orders(over, under)
    receive_orders(columns, 0, orders(2, new, under), ns(100))
    assert power(columns, 100) == -4_000, "what the new document puts above both"


def test_changed_power_ramps_from_what_it_was() -> None:
    columns = with_orders(event(0, 200, -1_000, ramp_s=40.0))
    receive_orders(columns, 0, orders(2, event(0, 200, -3_000, ramp_s=40.0)), ns(100))
    assert [power(columns, s) for s in (100, 120, 140)] == [-1_000, -2_000, -3_000]
    receive_orders(columns, 0, orders(3, event(0, 300, -3_000, ramp_s=40.0)), ns(120))
    assert [power(columns, s) for s in (120, 130, 140)] == [-2_000, -2_500, -3_000], "an extension goes on"


def test_lease_ramps_from_the_lease_before_and_back_when_it_ends() -> None:
    columns = AgentColumns(nameplates())

    def lease(version: int, battery_w: int, start_s: float, end_s: float) -> DesiredState:
        return msgspec.structs.replace(desired(version, battery_w, start_s, end_s), ramp_s=10.0)

    receive(columns, 0, lease(1, 1_500, 0, 100), T0)
    assert [power(columns, s) for s in (0, 5, 10)] == [-500, 500, 1_500]
    receive(columns, 0, lease(2, 3_500, 40, 60), ns(30))
    assert [power(columns, s) for s in (39, 40, 45, 50, 59)] == [1_500, 1_500, 2_500, 3_500, 3_500]
    assert [power(columns, s) for s in (60, 65, 70)] == [3_500, 1_500, -500]
    receive(columns, 0, lease(3, -500, 65, 90), ns(65))
    assert power(columns, 65) == 1_500, "it begins where the other one was on its way back"
    assert (
        reason(receive(columns, 0, msgspec.structs.replace(desired(9, 0, 0, 99), ramp_s=-1.0), T0))
        == "out_of_range"
    )


def test_places_are_spread_within_the_event_and_drawn_from_the_names() -> None:
    sites = 500
    columns = with_orders(event(100, 400, spread_s=100.0), sites=sites)
    share = [
        float(np.mean(at(columns, s).battery_w == -3_000)) for s in (99, 110, 150, 200, 299, 310, 350, 400)
    ]
    assert share == pytest.approx([0, 0.1, 0.5, 1, 1, 0.9, 0.5, 0], abs=0.07)
    assert (share[0], share[3], share[4], share[7]) == (0, 1, 1, 0)
    assert 0.0 <= place_frac("a", "b") < 1.0
    assert place_frac("home-1", "event-1") == pytest.approx(0.638105182263741)
    assert place_frac("ab", "c") != place_frac("a", "bc")


def test_documents_that_keep_coming_do_not_put_a_place_off() -> None:
    columns = with_orders(event(0, 400, spread_s=100.0), sites=20)
    for version, s in enumerate(range(5, 120, 5), start=2):
        for row in range(20):
            receive_orders(columns, row, orders(version, event(0, 400, spread_s=100.0)), ns(s))
    assert (at(columns, 120).battery_w == -3_000).all()


def test_document_that_takes_the_spread_back_calls_those_who_wait() -> None:
    columns = AgentColumns(nameplates(20))
    for row in range(20):
        receive_orders(columns, row, orders(1, event(0, 400, spread_s=190.0)), T0)
        receive_orders(columns, row, orders(2, event(0, 400)), ns(5))
    assert (at(columns, 5).battery_w == -3_000).all()


def test_late_joiners_come_at_their_own_places() -> None:
    columns = AgentColumns(nameplates(300))
    for row in range(300):
        receive_orders(columns, row, orders(1, event(0, 1_000, spread_s=100.0)), ns(500))
    share = [float(np.mean(at(columns, s).battery_w == -3_000)) for s in (500, 550, 600)]
    assert share == pytest.approx([0, 0.5, 1], abs=0.08)


def test_charge_fills_up_to_its_level_and_holds() -> None:
    columns = with_orders(event(0, 9_999, 2_000, kind="charge", soc_frac=0.8))
    level_kwh = 13.5 * 0.8
    assert power(columns, 0) == 2_000
    assert power(columns, 0, stored_kwh=level_kwh - 0.00951) == 600, "10.01 Wh at 95 % in a minute"
    assert power(columns, 0, stored_kwh=level_kwh) == 0, "it does not cover the load from it"
    assert power(columns, 0, stored_kwh=level_kwh + 0.1) == LOCAL_W, "above it, it does"
    assert power(columns, 0, stored_kwh=level_kwh, solar_w=-2_000) == 1_500, "and takes surplus"


def test_charge_from_solar_takes_nothing_from_the_grid() -> None:
    columns = with_orders(event(0, 9_999, 2_000, kind="charge", soc_frac=0.8, solar_only=True))
    assert power(columns, 0) == 0, "neither charging nor covering the load"
    assert power(columns, 0, solar_w=-1_200) == 700
    assert power(columns, 0, solar_w=-9_000) == 2_000
    assert power(columns, 0, solar_w=-1_200, plan_w=np.array([4_000.0]), stored_kwh=12.0) == 700


def test_hold_and_local() -> None:
    columns = with_orders(event(0, 100, 0, kind="hold", soc_frac=0.5))
    assert power(columns, 0, stored_kwh=13.5 * 0.5) == 0
    assert power(columns, 0, stored_kwh=13.5 * 0.5, solar_w=-2_000) == 1_500
    assert power(columns, 0, stored_kwh=8.0) == LOCAL_W
    columns = with_orders(event(0, 100, 4_000, kind="local"))
    assert power(columns, 0, plan_w=np.array([4_000.0])) == LOCAL_W


def test_owner_leaves_at_once_and_no_document_brings_the_site_back() -> None:
    columns = with_orders(event(0, 100, ramp_s=30.0), event(0, 100, event_id="must", may_opt_out=False))
    assert opt_out(columns, 0, "e", ns(50)) == Accepted()
    assert power(columns, 50) == -3_000, "the other one goes on"
    assert reason(opt_out(columns, 0, "must", ns(50))) == "not_optional"
    assert reason(opt_out(columns, 0, "what", ns(50))) == "unknown_event"
    assert reason(opt_out(columns, 0, "e", ns(100))) == "unknown_event"
    receive_orders(columns, 0, orders(2, event(0, 300, may_opt_out=False)), ns(60))
    assert [power(columns, s) for s in (60, 299)] == [LOCAL_W, LOCAL_W]
    receive_orders(columns, 0, orders(3), ns(70))
    receive_orders(columns, 0, orders(4, event(0, 300)), ns(80))
    assert power(columns, 90) == LOCAL_W, "nor one that calls it again"
    (view,) = events_of(columns, 0, ns(90))
    assert (view.opted_out, view.running, view.kind, view.program) == (True, False, EventCode.POWER, "peak")
    assert opt_in(columns, 0, "e", ns(95)) == Accepted()
    assert power(columns, 95) == -3_000
    assert reason(opt_in(columns, 0, "what", ns(95))) == "unknown_event"


def test_owner_who_left_stays_out_of_what_is_ahead() -> None:
    columns = with_orders(event(100, 200))
    opt_out(columns, 0, "e", T0)
    assert power(columns, 150) == LOCAL_W


def test_owner_raises_the_reserve_in_the_middle_of_an_event() -> None:
    columns = with_orders(event(0, 100))
    assert power(columns, 10) == -3_000
    assert set_reserve(columns, 0, 0.7) == Accepted()
    assert power(columns, 10) == 0
    assert set_reserve(columns, 0, 0.0) == Accepted()
    assert power(columns, 10, stored_kwh=13.5 * 0.2) == 0, "that of the nameplate stays the least"
    for wrong in (-0.1, 1.1, math.nan):
        assert reason(set_reserve(columns, 0, wrong)) == "out_of_range"


def test_kill_switch_leaves_nothing_but_the_site_and_its_limits() -> None:
    columns = with_orders(event(0, 100, ramp_s=30.0), droop=DROOP, prices=prices())
    receive(columns, 0, desired(1, 4_000, 0, 100), T0)
    broken = (event(5, 1), *(event(0, 9, event_id=f"e{n}") for n in range(20)))
    kill = orders(2, *broken, halted=True, envelopes=(envelope(0, 60, 200, 10), envelope(0, 60, -1, 0)))
    assert receive_orders(columns, 0, kill, ns(10)) == Accepted(), "whatever else is in it"
    low: dict[str, Any] = {"frequency_hz": np.array([49.0]), "plan_w": np.array([np.nan])}
    assert (power(columns, 10, **low), mode(columns, 10, **low)) == (LOCAL_W, Mode.LOCAL)
    assert power(columns, 10, load_w=-300) == 290, "the limits stay"
    assert reason(receive(columns, 0, desired(2, 4_000, 0, 100), ns(20))) == "halted"
    assert receive_orders(columns, 0, orders(3), ns(30)) == Accepted()
    assert power(columns, 30) == LOCAL_W, "no lease of before comes back"
    assert receive(columns, 0, desired(2, 4_000, 0, 100), ns(30)) == Accepted()
    assert power(columns, 30) == 4_000


def test_owner_takes_the_site_over() -> None:
    columns = with_orders(event(0, 100), droop=DROOP)
    receive(columns, 0, desired(1, 4_000, 0, 100), T0)
    set_independent(columns, 0, True)
    assert power(columns, 10, frequency_hz=np.array([49.0])) == LOCAL_W
    assert reason(receive(columns, 0, desired(2, 4_000, 0, 100), ns(20))) == "opted_out"
    set_independent(columns, 0, False)
    assert power(columns, 20) == -3_000, "the event still applies, the lease does not"


def test_envelope_takes_the_place_of_the_static_limits_and_ends_to_them() -> None:
    columns = AgentColumns(nameplates(), import_limit_w=watts(2_000), export_limit_w=watts(1_000))
    receive_orders(columns, 0, orders(1, event(0, 300, 5_000), envelopes=(envelope(100, 200, 3_000, 0),)), T0)
    assert [power(columns, s) for s in (99, 100, 199, 200)] == [1_500, 2_500, 2_500, 1_500]
    receive_orders(
        columns, 0, orders(2, event(0, 300, -5_000), envelopes=(envelope(100, 200, 3_000, 0),)), ns(1)
    )
    assert [power(columns, s) for s in (99, 100, 199, 200)] == [-1_500, -500, -500, -1_500]


def test_tightest_of_several_envelopes_holds() -> None:
    both = (envelope(0, 100, 3_000, 9_000), envelope(0, 100, 9_000, 2_000))
    columns = with_orders(event(0, 300, 5_000), envelopes=both)
    assert power(columns, 0) == 2_500
    receive_orders(columns, 0, orders(2, event(0, 300, -5_000), envelopes=both), ns(1))
    assert power(columns, 1) == -2_500


def test_limits_make_the_battery_act_as_far_as_the_reserve_lets_it() -> None:
    columns = AgentColumns(nameplates(), import_limit_w=watts(3_000), export_limit_w=watts(1_000))
    receive(columns, 0, desired(1, 0, 0, 100), T0)
    assert power(columns, 0, load_w=5_000) == -2_000
    assert power(columns, 0, load_w=5_000, stored_kwh=2.7) == 0, "the reserve goes before"
    assert power(columns, 0, load_w=0, solar_w=-4_000) == 3_000
    with pytest.raises(InvalidInputError):
        AgentColumns(nameplates(), import_limit_w=watts(-1))
    with pytest.raises(InvalidInputError):
        AgentColumns(nameplates(2), site_ids=("one",))


def test_droop_is_added_to_what_is_followed() -> None:
    columns = with_orders(event(50, 60, -3_000), droop=DROOP)

    def response(s: float, hz: float) -> int:
        return power(columns, s, frequency_hz=np.array([hz]))

    assert [response(0, hz) for hz in (50.0, 49.98, 49.88, 49.78, 49.0)] == [
        *(LOCAL_W, LOCAL_W, LOCAL_W - 1_000, LOCAL_W - 2_000, LOCAL_W - 2_000)
    ]
    assert [response(0, hz) for hz in (50.12, 51.0, math.nan)] == [0, 500, LOCAL_W]
    assert response(55, 49.88) == -4_000
    assert response(55, 49.0) == -5_000, "the nameplate is the limit"
    assert response(100, 49.0) == LOCAL_W, "it is armed no longer"


def test_droop_changes_what_the_battery_really_does() -> None:
    columns = with_orders(event(50, 60, -3_000), droop=DROOP)
    sunny: dict[str, Any] = {"load_w": 500, "solar_w": -5_500}
    nearly_full: dict[str, Any] = {"stored_kwh": 13.5 - 1e-4, **sunny}
    fits_w = power(columns, 0, **nearly_full)
    assert 0 < fits_w < 10, "five kilowatts are left over, and hardly any fit in"
    low: dict[str, Any] = {"frequency_hz": np.array([49.0])}
    high: dict[str, Any] = {"frequency_hz": np.array([51.0])}
    assert power(columns, 0, **nearly_full, **low) == fits_w - 2_000
    assert power(columns, 0, **nearly_full, **high) == fits_w
    assert power(columns, 55, stored_kwh=2.7, **high) == 1_000, "at its reserve it was not discharging"
    assert power(columns, 55, stored_kwh=2.7, **low) == 0
    columns.export_limit_w[0] = 1_000
    receive_orders(columns, 0, orders(2, event(50, 60, -4_000), droop=DROOP), T0)
    assert power(columns, 55) == -1_500, "the connection point lets no more out"
    assert power(columns, 55, **high) == -500
    assert power(columns, 55, **low) == -1_500, "and neither does it for the frequency"


def test_next_change_knows_every_boundary() -> None:
    columns = with_orders(
        event(10, 50),
        envelopes=(envelope(20, 60, 1, 1),),
        prices=prices(30),
        droop=msgspec.structs.replace(DROOP, start_ns=ns(40), end_ns=ns(70)),
    )
    seconds = [0]
    while (change_ns := next_change_ns(columns, ns(seconds[-1]))) < ns(1e6):
        seconds.append((change_ns - T0) // S)
    assert seconds == [0, 10, 20, 30, 40, 50, 60, 70, 130]


def everything() -> AgentColumns:
    columns = with_orders(
        *(event(10, 500, -1_000 - n, event_id=f"e{n}", ramp_s=60.0, spread_s=30.0) for n in range(3)),
        sites=3,
        envelopes=(envelope(0, 300, 2_000, 900),),
        droop=DROOP,
        prices=prices(),
    )
    receive(columns, 1, msgspec.structs.replace(desired(4, 2_000, 20, 90), ramp_s=20.0), T0)
    opt_out(columns, 2, "e0", ns(1))
    receive_orders(columns, 1, orders(2, event(10, 500, -2_000, event_id="e1")), ns(60))
    receive_orders(columns, 2, orders(2, halted=True), ns(60))
    receive_orders(columns, 2, orders(3, event(10, 500, event_id="e0")), ns(61))
    set_reserve(columns, 0, 0.4)
    return columns


def test_restart_changes_nothing() -> None:
    columns = everything()
    again = AgentColumns(nameplates(3))
    again.restore(columns.state())
    for s in range(61, 700, 13):
        hz = np.array([49.9, 50.1, np.nan])
        mine, its = (at(one, s, frequency_hz=hz, stored_kwh=5.5) for one in (columns, again))
        for name in ("battery_w", "mode", "following_version", "event_slot"):
            assert np.array_equal(getattr(mine, name), getattr(its, name)), (s, name)
    assert next_change_ns(columns, ns(61)) == next_change_ns(again, ns(61))
    assert reason(receive_orders(again, 2, orders(3), ns(70))) == "stale_version"
    assert reason(receive_orders(again, 2, orders(4, fence=0), ns(70))) == "fenced_out"
    assert power(again, 70) != 0


def test_state_of_other_slots_than_fit_is_refused() -> None:
    good = everything().state()
    columns = AgentColumns(nameplates(3))
    for bad in (
        {**good, "events": np.zeros((EVENT_SLOTS + 1, 3), dtype=good["events"].dtype)},
        {**good, "event_id": good["event_id"][:1]},
        {**good, "droop": good["droop"][:2]},
        {**good, "halted": good["halted"].astype(np.int64)},
        {name: column for name, column in good.items() if name != "left"},
    ):
        with pytest.raises(CorruptStateError):
            columns.restore(bad)
    assert len(columns.events) == 0


def test_clock_that_is_set_back_does_not_bring_back_what_has_ended() -> None:
    columns = with_orders(event(0, 50, ramp_s=10.0), envelopes=(envelope(0, 50, 100, 0),), droop=DROOP)
    receive(columns, 0, desired(1, 1_000, 0, 90), T0)
    receive(columns, 0, desired(2, 2_000, 20, 40), T0)
    columns.forget_ended(ns(30))
    assert (power(columns, 30, load_w=0), mode(columns, 30)) == (100, Mode.DIRECT), (
        "the envelope holds, the lease too"
    )
    columns.forget_ended(ns(200))
    low: dict[str, Any] = {"frequency_hz": np.array([49.0])}
    for s in (0, 25, 30, 45):
        assert (power(columns, s, **low), mode(columns, s, **low)) == (LOCAL_W, Mode.LOCAL)


def test_forgetting_keeps_what_still_applies() -> None:
    columns, other = everything(), everything()
    for s in range(61, 700, 13):
        columns.forget_ended(ns(s))
        assert np.array_equal(at(columns, s).battery_w, at(other, s).battery_w), s


def test_documents_are_decoded_or_refused() -> None:
    document = orders(1, event(0, 10))
    assert decode_orders(msgspec.json.encode(document)) == document
    for payload in (b"", b"{}", b"\xff", b"[" * 100_000, msgspec.json.encode(document)[:-2]):
        with pytest.raises(WireFormatError) as caught:
            decode_orders(payload)
        assert caught.value.reason == "orders"


def test_unknown_energy_holds_still_in_every_event() -> None:
    for kind in ("power", "charge", "hold", "local"):
        columns = with_orders(event(0, 100, 3_000, kind=kind, soc_frac=0.5))
        assert power(columns, 1, stored_kwh=math.nan) == 0
    assert kwh(1.0)[0] == 1.0
