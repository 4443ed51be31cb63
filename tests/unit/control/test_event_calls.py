"""Calls of events: what can be called, and who is on record as having left."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shoal.control.event_calls import call_of, check_call, event_order, left_of, make_call
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval
from shoal.programs.program import default_book
from shoal.store.order_records import AuditEntry, Order, Scope, SetPointSpec
from tests.integration.store.fleets import make_fleet

FLEET = make_fleet(8)
NOW_NS = 1_700_000_000 * 1_000_000_000 // NS_PER_HOUR * NS_PER_HOUR
WINDOW = Interval(start_ns=NOW_NS + 2 * NS_PER_HOUR, end_ns=NOW_NS + 4 * NS_PER_HOUR)


def call(**changes: Any) -> Order:
    given: dict[str, Any] = {
        "event_id": "e-1",
        "program": "emergency",
        "targets": [("feeder-1", 3.5), ("feeder-2", 2.0)],
        "window": WINDOW,
        "by": "ann",
        "now_ns": NOW_NS,
    }
    return make_call(**(given | changes))


def test_call_names_each_groups_batteries() -> None:
    order = call()
    check_call(order, FLEET, default_book(), now_ns=NOW_NS)
    made = call_of(order, FLEET)
    assert [(group.group_id, group.target_w, group.rows) for group in made.groups] == [
        ("feeder-1", 3_500, (0, 2, 4, 6)),
        ("feeder-2", 2_000, (1, 3, 5, 7)),
    ]
    assert (made.called_ns, made.window) == (NOW_NS, WINDOW)


def test_site_below_two_groups_counts_in_the_first() -> None:
    made = call_of(call(targets=[("feeder-2", 1.0), ("vpp", 5.0)]), FLEET)
    assert [group.rows for group in made.groups] == [(1, 3, 5, 7), (0, 2, 4, 6)]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"program": "storm"}, "program"),
        ({"program": "nothing"}, "program"),
        ({"program": "peak", "now_ns": WINDOW.start_ns - 59 * NS_PER_MINUTE}, "start"),
        ({"now_ns": WINDOW.start_ns + NS_PER_MINUTE}, "start"),
        ({"now_ns": WINDOW.end_ns}, "start"),
        ({"owner_share_permille": 1_001}, "pay"),
        (
            {"window": Interval(start_ns=WINDOW.start_ns + NS_PER_MINUTE, end_ns=WINDOW.end_ns)},
            "window",
        ),
    ],
)
def test_call_that_cannot_be_carried_out_is_refused(changes: dict[str, Any], field: str) -> None:
    order = call(**changes)
    with pytest.raises(InvalidInputError) as refused:
        check_call(order, FLEET, default_book(), now_ns=order.at_ns)
    assert refused.value.field == field


def test_call_of_a_group_that_is_not_there_is_refused() -> None:
    with pytest.raises(UnknownIdError):
        check_call(call(targets=[("nowhere", 1.0)]), FLEET, default_book(), now_ns=NOW_NS)


@pytest.mark.parametrize("power_kw", [0.0, -1.0, float("nan"), 1e9])
def test_target_is_a_power(power_kw: float) -> None:
    with pytest.raises(InvalidInputError):
        call(targets=[("feeder-1", power_kw)])


def test_measure_is_the_battery_or_a_baseline() -> None:
    call(measure="caiso-10-in-10")
    with pytest.raises(InvalidInputError):
        call(measure="guess")


def test_only_a_call_is_found_by_its_name() -> None:
    order = call()
    other = msgspec.structs.replace(order, spec=SetPointSpec(power_w=1), scope=Scope(fleet=True))
    assert event_order([order], "e-1") is order
    with pytest.raises(UnknownIdError):
        event_order([other], "e-1")


def test_who_left_twice_left_when_it_was_first_and_who_came_back_did_not_leave() -> None:
    said = [(3, "leave", "a"), (1, "leave", "a"), (2, "leave", "b"), (4, "return", "b"), (5, "put", "c")]
    lines = [
        AuditEntry(at_ns=10 * number, by="control", action=action, subject="e-1", detail=site, number=number)
        for number, action, site in said
    ]
    assert left_of(lines) == {"a": 10}
