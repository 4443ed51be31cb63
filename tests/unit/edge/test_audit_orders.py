"""The referee on documents of orders: what they make right, and that it notices everything else."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from shoal.domain.orders import PriceSeries, SiteOrders
from shoal.edge.audit import Breach, Referee
from tests.unit.edge.sites import T0, S, desired, kwh, nameplates, watts, wire
from tests.unit.edge.test_agent_orders import DROOP, LOCAL_W, envelope, event, ns, orders


def referee_of(document: SiteOrders, **limits: Any) -> Referee:
    referee = Referee(nameplates(), **limits)
    assert referee.heard_orders(0, msgspec.json.encode(document), received_ns=T0)
    return referee


def judged(
    referee: Referee,
    start_s: float,
    end_s: float,
    battery_w: int,
    *,
    stored_kwh: float = 8.0,
    load_w: int = -LOCAL_W,
    solar_w: int = 0,
    **values: Any,
) -> Breach:
    codes = referee.observe(
        start_ns=ns(start_s),
        end_ns=ns(end_s),
        battery_w=watts(battery_w),
        load_w=watts(load_w),
        solar_w=watts(solar_w),
        ev_w=watts(0),
        stored_start_kwh=kwh(stored_kwh),
        stored_end_kwh=kwh(stored_kwh),
        **values,
    )
    return Breach(int(codes[0]))


def test_power_of_an_event_is_right_only_while_it_lasts() -> None:
    referee = referee_of(orders(1, event(10, 20)))
    assert judged(referee, 0, 10, LOCAL_W) == Breach(0)
    assert judged(referee, 10, 20, -3_000) == Breach(0)
    assert judged(referee, 10, 20, LOCAL_W) == Breach.LEASE, "not followed"
    assert judged(referee, 9, 10, -3_000) == Breach.LEASE, "before its start"
    assert judged(referee, 20, 21, -3_000) == Breach.LEASE, "after its end"


def test_ramp_explains_what_is_between_for_as_long_as_it_takes() -> None:
    referee = referee_of(orders(1, event(10, 100, ramp_s=20.0)))
    assert [judged(referee, 10, 12, power_w) for power_w in (-500, -1_700, -3_000)] == [Breach(0)] * 3
    assert judged(referee, 10, 12, -400) == judged(referee, 10, 12, -3_100) == Breach.LEASE
    assert judged(referee, 30, 31, -2_900) == Breach.LEASE, "the ramp is over"
    assert judged(referee, 100, 102, -2_900) == Breach(0)
    assert judged(referee, 119, 139, -2_900) == Breach.LEASE, "a second of ramp is not twenty"
    assert judged(referee, 119, 139, -600) == Breach(0)
    assert judged(referee, 120, 121, -600) == Breach.LEASE


def test_place_of_its_own_is_the_devices_choice() -> None:
    referee = referee_of(orders(1, event(10, 100, spread_s=20.0)))
    assert judged(referee, 10, 12, -500) == judged(referee, 29, 30, -3_000) == Breach(0)
    assert judged(referee, 30, 31, -500) == Breach.LEASE
    assert judged(referee, 80, 81, -500) == judged(referee, 99, 100, -3_000) == Breach(0)
    assert judged(referee, 100, 101, -3_000) == Breach.LEASE


def test_cancelled_and_changed_events() -> None:
    referee = referee_of(orders(1, event(0, 100, ramp_s=10.0)))
    referee.heard_orders(
        0, msgspec.json.encode(orders(2, event(0, 100, 1_000, ramp_s=10.0))), received_ns=ns(50)
    )
    assert judged(referee, 50, 51, -2_900) == judged(referee, 59, 60, 1_000) == Breach(0)
    assert judged(referee, 60, 61, -2_900) == Breach.LEASE
    referee.heard_orders(0, msgspec.json.encode(orders(3)), received_ns=ns(70))
    assert judged(referee, 70, 71, 900) == Breach(0)
    assert judged(referee, 80, 81, 900) == Breach.LEASE


def test_cancelled_event_fades_over_the_one_beneath_that_goes_on() -> None:
    over, under = event(0, 300, kind="local", ramp_s=40.0), event(0, 300, 3_500, event_id="under", ramp_s=5.0)
    referee = referee_of(orders(1, over, under))
    assert referee.heard_orders(0, msgspec.json.encode(orders(2, under)), received_ns=ns(100))
    assert judged(referee, 100, 101, LOCAL_W) == judged(referee, 120, 121, 1_500) == Breach(0)
    assert judged(referee, 120, 121, 3_600) == Breach.LEASE, "beyond both"
    assert judged(referee, 140, 141, 3_500) == Breach(0)
    assert judged(referee, 140, 141, 3_000) == Breach.LEASE, "the ramp is over"


def test_event_that_its_owner_has_left_explains_nothing() -> None:
    referee = referee_of(orders(1, event(0, 100, ramp_s=10.0)))
    referee.owner_left(0, "e", now_ns=ns(50))
    assert judged(referee, 50, 51, -3_000) == Breach.LEASE
    assert judged(referee, 50, 51, LOCAL_W) == Breach(0)
    again = msgspec.json.encode(orders(2, event(0, 200, ramp_s=10.0)))
    assert referee.heard_orders(0, again, received_ns=ns(60))
    assert judged(referee, 150, 151, -3_000) == Breach.LEASE, "nor when it is sent again"
    referee.owner_left(0, "e", now_ns=ns(160), back=True)
    assert judged(referee, 170, 171, -3_000) == Breach(0)


def test_charge_and_hold() -> None:
    referee = referee_of(orders(1, event(0, 999, 2_000, kind="charge", soc_frac=0.8, solar_only=True)))
    assert judged(referee, 0, 60, 0) == judged(referee, 0, 60, 700, solar_w=-1_200) == Breach(0)
    assert judged(referee, 0, 60, 2_000) == Breach.LEASE, "from the grid"
    assert judged(referee, 0, 60, LOCAL_W) == Breach.LEASE, "discharging below the level"
    assert judged(referee, 0, 60, LOCAL_W, stored_kwh=12.0) == Breach(0)
    referee = referee_of(orders(1, event(0, 999, 0, kind="hold", soc_frac=0.8)))
    assert judged(referee, 0, 60, 0) == Breach(0)
    assert judged(referee, 0, 60, LOCAL_W) == Breach.LEASE


def test_limits_of_the_connection_point_are_judged() -> None:
    referee = referee_of(
        orders(1, event(0, 999, 5_000), envelopes=(envelope(100, 200, 3_000, 0),)),
        import_limit_w=watts(2_000),
        export_limit_w=watts(0),
    )
    assert judged(referee, 0, 60, 1_500) == Breach(0)
    assert judged(referee, 0, 60, 2_500) == Breach.LEASE | Breach.LIMIT
    assert judged(referee, 100, 160, 2_500) == Breach(0)
    assert judged(referee, 200, 260, 2_500) == Breach.LEASE | Breach.LIMIT, "the envelope has ended"
    assert judged(referee, 200, 260, 0, load_w=4_000) == Breach.LEASE | Breach.LIMIT, "it could have helped"
    assert judged(referee, 200, 260, 0, load_w=4_000, stored_kwh=2.7) == Breach(0), "it could not"


def test_droop_explains_its_own_power_and_no_more() -> None:
    referee = referee_of(orders(1, droop=DROOP))
    low: dict[str, Any] = {"frequency_hz": np.array([49.88])}
    assert judged(referee, 0, 1, LOCAL_W - 1_000, **low) == Breach(0)
    assert judged(referee, 0, 1, LOCAL_W, **low) == Breach.LEASE
    assert judged(referee, 0, 1, LOCAL_W - 1_000, frequency_hz=np.array([50.0])) == Breach.LEASE
    assert judged(referee, 100, 101, LOCAL_W - 1_000, **low) == Breach.LEASE


def test_droop_is_judged_by_what_the_battery_would_really_do() -> None:
    referee = referee_of(orders(1, event(50, 60, -3_000), droop=DROOP))
    full: dict[str, Any] = {"stored_kwh": 13.5, "solar_w": -5_500, "load_w": 500}
    low: dict[str, Any] = {"frequency_hz": np.array([49.0])}
    high: dict[str, Any] = {"frequency_hz": np.array([51.0])}
    assert judged(referee, 0, 60, 0, **full) == judged(referee, 0, 60, -2_000, **full, **low) == Breach(0)
    assert judged(referee, 0, 60, 0, **full, **low) == Breach.LEASE, "it does not answer the trip"
    assert judged(referee, 50, 60, 1_000, stored_kwh=2.7, **high) == Breach(0)
    assert judged(referee, 50, 60, 0, stored_kwh=2.7, **high) == Breach.LEASE
    referee = referee_of(orders(1, event(50, 60, -4_000), droop=DROOP), export_limit_w=watts(1_000))
    assert judged(referee, 50, 60, -500, **high) == judged(referee, 50, 60, -1_500, **low) == Breach(0)
    assert judged(referee, 50, 60, -1_500, **high) == Breach.LEASE


def test_kill_switch_ends_every_entitlement() -> None:
    referee = referee_of(orders(1, event(0, 100, ramp_s=50.0), droop=DROOP))
    referee.heard(0, wire(desired(1, 2_000, 0, 100)), received_ns=T0)
    assert judged(referee, 0, 1, 2_000) == Breach(0)
    assert referee.heard_orders(0, msgspec.json.encode(orders(2, halted=True)), received_ns=ns(10))
    assert judged(referee, 10, 11, 2_000) == judged(referee, 10, 11, -3_000) == Breach.LEASE
    assert judged(referee, 10, 11, LOCAL_W, frequency_hz=np.array([49.0])) == Breach(0)
    assert not referee.heard(0, wire(desired(2, 2_000, 0, 100)), received_ns=ns(20))
    assert referee.heard_orders(0, msgspec.json.encode(orders(3)), received_ns=ns(30))
    assert judged(referee, 30, 31, 2_000) == Breach.LEASE, "no lease of before comes back"
    assert referee.heard(0, wire(desired(2, 2_000, 0, 100)), received_ns=ns(30))


def test_owner_is_judged_for() -> None:
    referee = referee_of(orders(1, event(0, 100)))
    referee.owner_reserve(0, 0.7)
    assert judged(referee, 0, 60, -3_000) == Breach.RESERVE
    assert judged(referee, 0, 60, 0) == Breach(0)
    referee.owner_reserve(0, 0.0)
    assert judged(referee, 0, 60, -3_000) == Breach(0)
    referee.owner_switched(0, off=True, independent=False, now_ns=ns(60))
    assert (judged(referee, 60, 61, -3_000), judged(referee, 60, 61, 0)) == (Breach.LEASE, Breach(0))
    referee.owner_switched(0, off=False, independent=True, now_ns=ns(62))
    assert (judged(referee, 62, 63, -3_000), judged(referee, 62, 63, LOCAL_W)) == (Breach.LEASE, Breach(0))
    assert not referee.heard(0, wire(desired(2, 2_000, 0, 100)), received_ns=ns(70))


def test_plan_against_prices_is_right_while_they_last() -> None:
    series = PriceSeries(start_ns=T0, step_s=50, import_per_kwh=(0.1,), export_per_kwh=(0.1,))
    referee = referee_of(orders(1, prices=series))
    plan: dict[str, Any] = {"plan_w": np.array([900.0]), "plan_by_price": np.array([True])}
    assert judged(referee, 0, 50, 900, **plan) == Breach(0)
    assert judged(referee, 0, 50, LOCAL_W, **plan) == Breach.LEASE
    assert judged(referee, 50, 51, 900, **plan) == Breach.LEASE
    assert judged(referee, 50, 51, LOCAL_W, plan_w=np.array([np.nan])) == Breach(0)


def test_ramp_of_a_lease_begins_from_the_one_before() -> None:
    referee = Referee(nameplates())
    for version, power_w, start_s, end_s, ramp_s in ((1, 2_000, 0, 100, 0.0), (2, 4_000, 50, 80, 10.0)):
        state = msgspec.structs.replace(desired(version, power_w, start_s, end_s), ramp_s=ramp_s)
        assert referee.heard(0, wire(state), received_ns=T0)
    assert judged(referee, 50, 51, 2_000) == judged(referee, 59, 60, 4_000) == Breach(0)
    assert judged(referee, 50, 51, 1_000) == Breach(0)
    assert referee.statistics().unfollowed == 1, "less than both, and not on the way between"
    assert judged(referee, 50, 51, -600) == Breach.LEASE
    assert judged(referee, 80, 81, 3_900) == judged(referee, 89, 90, -500) == Breach(0)
    assert judged(referee, 90, 91, 3_900) == Breach.LEASE


@pytest.mark.parametrize("spoil", ["version", "fence", "payload"])
def test_documents_that_count_for_nothing(spoil: str) -> None:
    referee = referee_of(orders(4, event(0, 100, -1_000), fence=7))
    document = {
        "version": msgspec.json.encode(orders(4, fence=7)),
        "fence": msgspec.json.encode(orders(5, fence=6)),
        "payload": b"[]",
    }
    assert not referee.heard_orders(0, document[spoil], received_ns=T0)
    assert judged(referee, 0, 1, -1_000) == Breach(0)
    assert (referee.statistics().heard, referee.statistics().granted) == (2, 1)


def test_state_carries_documents_and_owners_over_a_restart() -> None:
    referee = referee_of(orders(1, event(0, 500), envelopes=(envelope(0, 500, 9_000, 1_000),), droop=DROOP))
    referee.owner_reserve(0, 0.3)
    again = Referee(nameplates())
    again.restore(referee.state())
    for power_w in (-3_000, -1_500, LOCAL_W, 0):
        for stored_kwh in (8.0, 4.0):
            mine, its = (judged(one, 0, 60, power_w, stored_kwh=stored_kwh) for one in (referee, again))
            assert mine == its
    assert judged(again, 0, 60, -1_500) == Breach(0)
    assert S == 1_000_000_000
