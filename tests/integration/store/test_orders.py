"""Orders, kill switches, trials and their audit, on both databases."""

from __future__ import annotations

import msgspec
import pytest
from sqlalchemy import Engine

from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.store.order_records import (
    AuditEntry,
    CanarySpec,
    EventSpec,
    Order,
    Scope,
    SetPointSpec,
    Stop,
    Trial,
)
from shoal.store.orders import Orders
from shoal.store.runs import Runs

EVENT = Order(
    order_id="peak-1",
    program="peak",
    scope=Scope(groups=("feeder-1",)),
    start_ns=1_000,
    end_ns=2_000,
    spec=EventSpec(kind="power", battery_w=-2_000, ramp_s=60.0),
    by="ann",
    at_ns=500,
    reason="hot day",
)
STOP = Stop(stop_id="stop-1", kind="group", target="feeder-1", since_ns=600, by="ann", reason="smoke")


@pytest.fixture
def orders(tables: Engine) -> Orders:
    return Orders(tables)


def test_order_is_kept_changed_and_cancelled_with_a_line_each(orders: Orders) -> None:
    assert orders.newest() == 0
    orders.put(EVENT)
    longer = msgspec.structs.replace(EVENT, revision=2, end_ns=3_000, by="bob", at_ns=510, reason="longer")
    orders.put(longer)
    assert orders.order("peak-1") == longer
    assert orders.orders(after_ns=2_500) == [longer]
    assert orders.orders(after_ns=3_000) == []
    ended = orders.end("peak-1", "cancelled", by="cy", at_ns=520, reason="rain")
    assert (ended.revision, ended.state, ended.by) == (3, "cancelled", "cy")
    assert orders.orders(after_ns=0) == []
    assert orders.orders(after_ns=0, states=["cancelled"]) == [ended]
    lines = orders.audit(10)
    assert [(line.action, line.by, line.subject, line.reason) for line in lines] == [
        ("cancel", "cy", "peak-1", "rain"),
        ("change", "bob", "peak-1", "longer"),
        ("put", "ann", "peak-1", "hot day"),
    ]
    assert orders.newest() == lines[0].number
    with pytest.raises(InvalidInputError, match="is cancelled"):
        orders.end("peak-1", "aborted", by="cy", at_ns=530, reason="")


def test_two_people_cannot_overwrite_each_other(orders: Orders) -> None:
    orders.put(EVENT)
    orders.put(msgspec.structs.replace(EVENT, revision=2, reason="mine"))
    with pytest.raises(InvalidInputError, match="read it again"):
        orders.put(msgspec.structs.replace(EVENT, revision=2, reason="mine too"))
    with pytest.raises(InvalidInputError, match="taken"):
        orders.put(EVENT)
    assert orders.order("peak-1").reason == "mine"


@pytest.mark.parametrize(
    "changes",
    [
        {"order_id": "a b"},
        {"order_id": "x" * 61},
        {"program": ""},
        {"end_ns": 1_000},
        {"scope": Scope()},
        {"scope": Scope(fleet=True, groups=("g",))},
        {"spec": EventSpec(kind="charge", soc_frac=1.5)},
        {"spec": EventSpec(kind="power", ramp_s=-1.0)},
        {"canary": CanarySpec(share_frac=1.0)},
        {"canary": CanarySpec(watch_s=float("inf"))},
        {"canary": CanarySpec(error_frac=float("inf"))},
    ],
)
def test_order_that_cannot_be_carried_out_is_refused(orders: Orders, changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        orders.put(msgspec.structs.replace(EVENT, **changes))
    assert orders.newest() == 0


def test_unknown_names_are_told(orders: Orders) -> None:
    with pytest.raises(UnknownIdError):
        orders.order("nothing")
    with pytest.raises(UnknownIdError):
        orders.release("nothing", by="ann", at_ns=1, reason="fine")


def test_kill_switch_holds_until_somebody_who_may_releases_it(orders: Orders) -> None:
    assert orders.stop(STOP) == STOP
    again = msgspec.structs.replace(STOP, stop_id="stop-2", by="bob")
    assert orders.stop(again) == STOP, "one for each target"
    assert orders.stops() == [STOP]
    with pytest.raises(InvalidInputError, match="safe"):
        orders.release("stop-1", by="ann", at_ns=700, reason=" ")
    with pytest.raises(InvalidInputError, match="may release"):
        orders.release("stop-1", by="eve", at_ns=700, reason="let go", authorised={"ann"})
    assert orders.stops() == [STOP]
    released = orders.release("stop-1", by="ann", at_ns=800, reason="no fire", authorised={"ann"})
    assert (released.released_ns, released.released_by) == (800, "ann")
    assert orders.stops() == []
    assert orders.stops(released=True) == [released]
    with pytest.raises(InvalidInputError, match="released it before"):
        orders.release("stop-1", by="ann", at_ns=900, reason="again")
    assert [(line.action, line.outcome, line.by) for line in orders.audit(10)] == [
        ("release", "done", "ann"),
        ("release", "refused", "eve"),
        ("kill", "done", "ann"),
    ]


def test_kill_switch_must_name_its_target(orders: Orders) -> None:
    with pytest.raises(InvalidInputError):
        orders.stop(msgspec.structs.replace(STOP, kind="fleet"))
    with pytest.raises(InvalidInputError):
        orders.stop(msgspec.structs.replace(STOP, target=""))


def test_trial_that_was_decided_stays_so(orders: Orders) -> None:
    trial = Trial(order_id="peak-1", sites=("a", "b"), began_ns=10)
    orders.keep_trial(trial)
    failed = msgspec.structs.replace(trial, state="failed", decided_ns=20, reason="half respond")
    orders.keep_trial(failed)
    orders.keep_trial(msgspec.structs.replace(trial, state="passed", decided_ns=30))
    assert orders.trials() == {"peak-1": failed}
    assert [line.reason for line in orders.audit(10)] == ["half respond", ""]


def test_audit_is_paged_and_filtered(orders: Orders) -> None:
    orders.put(msgspec.structs.replace(EVENT, order_id="o2", spec=SetPointSpec(power_w=-5)))
    newest = orders.newest()
    orders.note(
        [
            AuditEntry(
                at_ns=number,
                by=f"home-{number}",
                action="report",
                subject=f"home-{number}",
                outcome="refused",
                reason="forged",
            )
            for number in range(5)
        ]
    )
    orders.note([])
    assert orders.newest() == newest, "what devices say is nothing for the controller to read again"
    page = orders.audit(3)
    assert [line.by for line in page] == ["home-4", "home-3", "home-2"]
    assert [line.by for line in orders.audit(9, before=page[-1].number)] == ["home-1", "home-0", "ann"]
    assert [line.by for line in orders.audit(9, subject="home-2")] == ["home-2"]
    assert len(orders.audit(9, refused_only=True)) == 5


def test_fence_is_the_newest_that_was_drawn(orders: Orders, tables: Engine) -> None:
    assert orders.fence("control") == 0
    for token in (1, 2):
        assert Runs(tables).next_fence("control") == token
        assert orders.fence("control") == token
