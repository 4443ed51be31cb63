"""An emergency from notice to return: stretches, splits, owners who leave, silence, what was missed, what is expected."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shoal.control.desired_book import Entry, place_of
from shoal.control.emergency import (
    Called,
    CameBack,
    Cancelled,
    EventPolicy,
    EventState,
    EventStep,
    OptedOut,
    event_claim,
    step_event,
)
from shoal.control.emergency_plan import EventCall, GroupTarget, Response, SitesNow, split_target
from shoal.control.peak import PEAK_POLICY, find_peaks, peak_call
from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S, Interval
from shoal.domain.orders import ScheduledEvent

START_NS = 20 * NS_PER_HOUR
POLICY = EventPolicy()


def sites(count: int = 4, **columns: Any) -> SitesNow:
    plain = SitesNow(
        energy_wh=np.full(count, 8_000.0),
        reserve_wh=np.full(count, 2_000.0),
        capacity_wh=np.full(count, 10_000.0),
        discharge_w=np.full(count, 5_000),
        charge_w=np.full(count, 5_000),
        discharge_efficiency_frac=np.ones(count),
        metered_wh=np.zeros(count, dtype=np.int64),
        known=np.ones(count, dtype=np.bool_),
        available=np.ones(count, dtype=np.bool_),
        solar_wh=np.zeros(count),
        solar_low_wh=np.zeros(count),
        most_export_w=np.full(count, 5_000),
    )
    return replace(plain, **columns)


def call(target_w: int = 4_000, rows: tuple[int, ...] = (0, 1, 2, 3), hours: int = 2) -> EventCall:
    return EventCall(
        event_id="emergency-1",
        program="emergency",
        called_ns=START_NS - 6 * NS_PER_HOUR,
        window=Interval(start_ns=START_NS, end_ns=START_NS + hours * NS_PER_HOUR),
        groups=(GroupTarget(group_id="feeder", target_w=target_w, rows=rows),),
    )


def entry(step: EventStep, kind: str) -> Entry:
    key = {"power": "emergency-1", "local": "emergency-1-return"}[kind]
    found = [one for one in step.entries if one.key == key]
    assert isinstance(found[0].item, ScheduledEvent)
    assert found[0].item.kind == kind
    assert len(found) == 1
    return found[0]


def powers(step: EventStep) -> dict[int, int]:
    power = entry(step, "power")
    assert power.battery_w is not None
    return dict(zip(power.rows.tolist(), power.battery_w.tolist(), strict=True))


def test_an_event_is_charge_then_hold_then_power_then_own_use_without_a_gap() -> None:
    _, step = step_event(
        EventState(), [Called(call=call())], t_ns=START_NS - 6 * NS_PER_HOUR, sites=sites(), policy=POLICY
    )
    assert step.phase == "charge"
    events = [one.item for one in step.entries]
    assert all(isinstance(event, ScheduledEvent) for event in events)
    told = [event for event in events if isinstance(event, ScheduledEvent)]
    power, charge, hold, own = sorted(told, key=place_of)
    assert [event.kind for event in (power, charge, hold, own)] == ["power", "charge", "charge", "local"]
    assert charge.start_ns == hold.start_ns == START_NS - 6 * NS_PER_HOUR
    assert charge.end_ns < power.start_ns < START_NS
    assert hold.end_ns == START_NS + int(POLICY.prepare_s * NS_PER_S), (
        "holding lies beneath until all deliver"
    )
    assert own.start_ns == START_NS < power.end_ns, "own use lies beneath delivery"
    assert all(event.ramp_s > 0 and event.spread_s > 0 for event in told), "nobody steps at any seam"
    assert charge.solar_only
    assert step.entries[1].battery_w is not None
    assert step.entries[2].battery_w is not None
    assert step.entries[1].battery_w.tolist() == [5_000] * 4
    assert step.entries[2].battery_w.tolist() == [0] * 4, "before the event nothing goes in or out"
    # all sites are up when it begins, whatever their place and ramp
    assert power.start_ns + int((POLICY.ramp_s + POLICY.spread_s) * NS_PER_S) == START_NS
    assert power.event_id == "emergency-1"
    assert sum(powers(step).values()) == -4_000
    assert step.charged == Interval(start_ns=START_NS - 6 * NS_PER_HOUR, end_ns=power.start_ns)


def test_the_same_step_twice_says_the_same() -> None:
    state, first = step_event(
        EventState(), [Called(call=call(3_333))], t_ns=START_NS - NS_PER_HOUR, sites=sites(), policy=POLICY
    )
    again, second = step_event(state, [], t_ns=START_NS - NS_PER_HOUR, sites=sites(), policy=POLICY)
    assert powers(first) == powers(second)
    assert again.asked_w.tolist() == state.asked_w.tolist()


def test_the_owner_who_leaves_is_replaced_at_once_and_told_no_more() -> None:
    state, _ = step_event(EventState(), [Called(call=call())], t_ns=START_NS, sites=sites(), policy=POLICY)
    t_ns = START_NS + NS_PER_MINUTE
    delivered = sites(metered_wh=np.full(4, -17))
    state, step = step_event(state, [OptedOut(row=1, t_ns=t_ns)], t_ns=t_ns, sites=delivered, policy=POLICY)
    assert set(powers(step)) == {0, 2, 3}
    assert sum(powers(step).values()) == pytest.approx(-4_000, abs=250)
    assert all(1 not in one.rows for one in step.entries)
    assert state.left_ns == {1: t_ns}
    assert step.expected is not None
    assert step.expected.reasons == {"asked": 3, "opted_out": 1}
    _, step = step_event(state, [CameBack(row=1)], t_ns=t_ns + 1, sites=delivered, policy=POLICY)
    assert 1 in entry(step, "local").rows


def test_a_reserve_raised_in_the_middle_is_kept() -> None:
    state, _ = step_event(
        EventState(), [Called(call=call(8_000))], t_ns=START_NS, sites=sites(), policy=POLICY
    )
    t_ns = START_NS + NS_PER_HOUR
    middle = sites(
        energy_wh=np.full(4, 6_000.0),
        reserve_wh=np.array([6_000.0, 2_000.0, 2_000.0, 2_000.0]),
        metered_wh=np.full(4, -2_000),
    )
    _, step = step_event(state, [], t_ns=t_ns, sites=middle, policy=POLICY)
    assert 0 not in powers(step)
    assert sum(powers(step).values()) == -8_000


def test_a_silent_site_is_not_counted_on_and_not_called_off() -> None:
    state, _ = step_event(EventState(), [Called(call=call())], t_ns=START_NS, sites=sites(), policy=POLICY)
    silent = sites(known=np.array([False, True, True, True]))
    state, step = step_event(state, [], t_ns=START_NS + 1, sites=silent, policy=POLICY)
    assert powers(step)[0] == -1_000
    assert sum(power for row, power in powers(step).items() if row) == -4_000
    assert step.expected is not None
    assert step.expected.asked_w == 4_000
    assert step.expected.reasons == {"asked": 3, "silent": 1}


def test_what_was_missed_is_made_good_within_the_interval_but_not_in_its_last_moments() -> None:
    state, _ = step_event(EventState(), [Called(call=call())], t_ns=START_NS, sites=sites(), policy=POLICY)
    third_ns = START_NS + 5 * NS_PER_MINUTE
    # after a third of the quarter hour half of what should have come is there
    short = sites(metered_wh=np.full(4, -42))
    _, step = step_event(state, [], t_ns=third_ns, sites=short, policy=POLICY)
    assert sum(powers(step).values()) == pytest.approx(-4_992, abs=10)
    assert step.delivered_wh == 168
    last_ns = START_NS + 14 * NS_PER_MINUTE
    _, step = step_event(state, [], t_ns=last_ns, sites=short, policy=POLICY)
    assert sum(powers(step).values()) == -4_000
    over = sites(metered_wh=np.full(4, -300))
    _, step = step_event(state, [], t_ns=third_ns, sites=over, policy=POLICY)
    assert not [
        one for one in step.entries if isinstance(one.item, ScheduledEvent) and one.item.kind == "power"
    ]


def test_nobody_is_asked_beyond_what_it_can_hold_and_the_rest_is_said_to_be_missing() -> None:
    _, step = step_event(
        EventState(), [Called(call=call(50_000))], t_ns=START_NS, sites=sites(), policy=POLICY
    )
    assert powers(step) == dict.fromkeys(range(4), -3_000)
    assert step.expected is not None
    assert step.expected.missing_w == 38_000
    assert step.expected.low_w < step.expected.expected_w < step.expected.high_w <= 12_000


def test_solar_power_that_may_not_come_widens_what_is_expected() -> None:
    t_ns = START_NS - 6 * NS_PER_HOUR
    empty: dict[str, Any] = {"energy_wh": np.full(4, 2_000.0), "solar_wh": np.full(4, 4_000.0)}
    _, sure = step_event(
        EventState(),
        [Called(call=call(8_000))],
        t_ns=t_ns,
        sites=sites(**empty, solar_low_wh=np.full(4, 4_000.0)),
        policy=POLICY,
    )
    _, cloudy = step_event(
        EventState(),
        [Called(call=call(8_000))],
        t_ns=t_ns,
        sites=sites(**empty, solar_low_wh=np.full(4, 1_000.0)),
        policy=POLICY,
    )
    assert sure.expected is not None
    assert cloudy.expected is not None
    assert sum(powers(sure).values()) == sum(powers(cloudy).values()) == -8_000
    assert cloudy.expected.low_w < sure.expected.low_w - 4_000


def test_change_extension_and_cancelling() -> None:
    state, _ = step_event(EventState(), [Called(call=call())], t_ns=START_NS, sites=sites(), policy=POLICY)
    longer = call(hours=4)
    state, step = step_event(state, [Called(call=longer)], t_ns=START_NS + 1, sites=sites(), policy=POLICY)
    spread_ns = int(POLICY.spread_s * NS_PER_S)
    assert entry(step, "power").end_ns == START_NS + 4 * NS_PER_HOUR + spread_ns
    assert entry(step, "power").key == "emergency-1"
    state, step = step_event(state, [Cancelled()], t_ns=START_NS + 2, sites=sites(), policy=POLICY)
    assert (step.phase, step.entries) == ("cancelled", ())
    _, step = step_event(state, [], t_ns=START_NS + 3, sites=sites(), policy=POLICY)
    assert step.entries == ()


def test_afterwards_sites_use_their_own_sun_and_then_nothing_is_left() -> None:
    state, _ = step_event(EventState(), [Called(call=call())], t_ns=START_NS, sites=sites(), policy=POLICY)
    end_ns = START_NS + 2 * NS_PER_HOUR
    state, step = step_event(state, [], t_ns=end_ns, sites=sites(), policy=POLICY)
    assert step.phase == "return"
    local = entry(step, "local").item
    assert isinstance(local, ScheduledEvent)
    assert local.spread_s > 0
    at_ns = end_ns + int(POLICY.return_s * NS_PER_S)
    _, step = step_event(state, [], t_ns=at_ns, sites=sites(), policy=POLICY)
    assert step.phase == "return", "each ends at a place of its own, and none before"
    at_ns += int(POLICY.prepare_s * NS_PER_S)
    _, step = step_event(state, [], t_ns=at_ns, sites=sites(), policy=POLICY)
    assert (step.phase, step.entries) == ("over", ())


def test_what_an_event_claims_is_what_it_asks_for() -> None:
    state, step = step_event(EventState(), [Called(call=call())], t_ns=START_NS, sites=sites(), policy=POLICY)
    claim = event_claim(state)
    assert claim is not None
    assert claim.rows is not None
    assert claim.each_w is not None
    assert dict(zip(claim.rows.tolist(), claim.each_w.tolist(), strict=True)) == powers(step)
    state, _ = step_event(state, [Cancelled()], t_ns=START_NS + 1, sites=sites(), policy=POLICY)
    assert event_claim(state) is None


def test_a_successor_goes_on_where_it_was() -> None:
    state, _ = step_event(EventState(), [Called(call=call())], t_ns=START_NS, sites=sites(), policy=POLICY)
    taken_over = EventState.restored(call(), state.kept())
    half = sites(metered_wh=np.full(4, -42))
    one = step_event(state, [], t_ns=START_NS + 5 * NS_PER_MINUTE, sites=half, policy=POLICY)[1]
    other = step_event(taken_over, [], t_ns=START_NS + 5 * NS_PER_MINUTE, sites=half, policy=POLICY)[1]
    assert powers(one) == powers(other)


def test_sites_kept_for_something_that_goes_first_are_left_alone() -> None:
    storm = sites(available=np.array([True, False, True, True]))
    _, step = step_event(EventState(), [Called(call=call())], t_ns=START_NS, sites=storm, policy=POLICY)
    assert all(1 not in one.rows for one in step.entries)
    assert step.expected is not None
    assert step.expected.reasons["kept_for_others"] == 1


def test_homes_that_may_not_feed_in_shave_their_own_load() -> None:
    homes = sites(most_export_w=np.array([700, 800, 900, 0]))
    asked_w, missing_w = split_target(4_000, np.arange(4), homes, span_ns=2 * NS_PER_HOUR)
    assert asked_w.tolist() == [700, 800, 900, 0]
    assert missing_w == 1_600


def test_peaks_are_found_joined_and_called_in_time() -> None:
    load = np.array([50.0, 80, 120, 110, 90, 130, 60, 60, 60, 140, 50])
    found = find_peaks(load, start_ns=0, step_ns=NS_PER_HOUR, limit_kw=100.0)
    assert found == [
        (Interval(start_ns=2 * NS_PER_HOUR, end_ns=6 * NS_PER_HOUR), 30_000),
        (Interval(start_ns=9 * NS_PER_HOUR, end_ns=10 * NS_PER_HOUR), 40_000),
    ]
    assert find_peaks(load, start_ns=0, step_ns=NS_PER_HOUR, limit_kw=500.0) == []
    arguments: dict[str, Any] = {
        "event_id": "peak-1",
        "group_id": "feeder",
        "rows": np.arange(3),
        "window": found[0][0],
        "target_w": found[0][1],
        "notice_s": 3_600.0,
    }
    made = peak_call(**arguments, now_ns=0)
    assert made.program == "peak"
    _, step = step_event(
        EventState(), [Called(call=made)], t_ns=0, sites=sites(3), policy=PEAK_POLICY, response=Response()
    )
    assert step.phase == "charge"
    with pytest.raises(InvalidInputError, match="60 minutes"):
        peak_call(**arguments, now_ns=found[0][0].start_ns - NS_PER_HOUR + 1)


def test_calls_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="one group only"):
        replace(call(), groups=(*call().groups, GroupTarget(group_id="b", target_w=1, rows=(3,))))
    with pytest.raises(InvalidInputError, match="before it begins"):
        replace(call(), called_ns=START_NS + 1)
    with pytest.raises(InvalidInputError, match="never negative"):
        call(-5)
