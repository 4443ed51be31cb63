"""The ledger on both databases: every fact once, as it was known, and never another under the same name."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from sqlalchemy import Engine

from shoal.domain.errors import FencedOutError, InvalidInputError, UnknownIdError
from shoal.domain.ids import ResourceId, SiteId
from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.live import WorkflowRun, WorkflowStep
from shoal.store.ledger import Ledger
from shoal.store.records import ControllerState, Statement

HOUR = NS_PER_HOUR
VPP = ResourceId("vpp-north")
OTHER = ResourceId("a-feeder")
DAY = "2021-02-10"


@pytest.fixture
def ledger(engine: Engine) -> Ledger:
    return Ledger(engine)


def _statement(version: int = 1, *, net_amount: int = 12_345_678_901, day: str = DAY) -> Statement:
    return Statement(
        resource_id=VPP,
        delivery_date=day,
        version=version,
        known_ns=version * 1000,
        net_amount=net_amount,
        payload=b'{"lines": []}',
    )


# -- money


def test_statement_and_shares_are_read_in_their_latest_version(ledger: Ledger) -> None:
    sites = [SiteId("site-b"), SiteId("site-a")]
    ledger.record_statement(_statement(), site_ids=sites, amounts=np.array([7, -3]))
    ledger.record_statement(_statement(2, net_amount=-5), site_ids=sites[:1], amounts=np.array([2**60]))

    assert ledger.statement(VPP, DAY) == _statement(2, net_amount=-5)
    assert ledger.statement(VPP, DAY, as_of_ns=1999) == _statement()
    assert ledger.statement(VPP, "2021-02-11") is None
    ids, amounts = ledger.site_shares(VPP, DAY)
    assert ids == (SiteId("site-b"),)
    assert amounts.tolist() == [2**60]
    assert amounts.dtype == np.dtype(np.int64)
    assert ledger.site_shares(VPP, "2021-02-11")[0] == ()


def test_statement_recorded_again_changes_nothing(ledger: Ledger) -> None:
    sites = [SiteId(f"site-{number}") for number in range(30)]
    amounts = np.arange(30) * 10**12
    for _ in range(2):
        ledger.record_statement(_statement(), site_ids=sites, amounts=amounts)

    ids, kept = ledger.site_shares(VPP, DAY)
    assert list(ids) == sorted(sites)
    assert dict(zip(ids, kept.tolist(), strict=True)) == dict(zip(sites, amounts.tolist(), strict=True))
    assert ledger.statements(VPP) == [_statement()]


def test_another_statement_with_the_same_version_is_refused(ledger: Ledger) -> None:
    site = [SiteId("site-a")]
    ledger.record_statement(_statement(), site_ids=site, amounts=np.array([7]))
    with pytest.raises(InvalidInputError, match="higher version"):
        ledger.record_statement(_statement(net_amount=1), site_ids=site, amounts=np.array([7]))
    with pytest.raises(InvalidInputError, match="higher version"):
        ledger.record_statement(_statement(), site_ids=site, amounts=np.array([8]))
    with pytest.raises(InvalidInputError, match="amounts"):
        ledger.record_statement(_statement(2), site_ids=site)
    assert ledger.total_by_resource() == {VPP: 12_345_678_901}


def test_total_by_resource_counts_the_latest_version_of_each_day(ledger: Ledger) -> None:
    assert ledger.total_by_resource() == {}
    for statement in (
        _statement(),
        _statement(2, net_amount=2**55),
        _statement(day="2021-02-11", net_amount=-1),
    ):
        ledger.record_statement(statement)
    assert ledger.total_by_resource() == {VPP: 2**55 - 1}
    assert [item.version for item in ledger.statements(VPP)] == [2, 1]


# -- restarts


def test_next_fence_never_gives_a_token_twice(ledger: Ledger) -> None:
    assert [ledger.next_fence("control"), ledger.next_fence("control"), ledger.next_fence("bidding")] == [
        1,
        2,
        1,
    ]
    drawn: list[int] = []

    def draw() -> None:
        for _ in range(10):
            drawn.append(ledger.next_fence("control"))

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(drawn) == list(range(3, 43))


def test_state_is_saved_only_under_the_newest_token(ledger: Ledger) -> None:
    assert ledger.load_state(VPP) is None
    with pytest.raises(UnknownIdError):
        ledger.save_state(VPP, b"{}", issuer="control", fence=1, saved_ns=10)
    old = ledger.next_fence("control")
    ledger.save_state(VPP, b"old", issuer="control", fence=old, saved_ns=10)
    new = ledger.next_fence("control")

    with pytest.raises(FencedOutError) as caught:
        ledger.save_state(VPP, b"late", issuer="control", fence=old, saved_ns=11)
    assert (caught.value.held, caught.value.newest) == (old, new)
    assert ledger.load_state(VPP) == ControllerState(issuer="control", fence=old, saved_ns=10, state=b"old")

    ledger.save_state(VPP, b"new", issuer="control", fence=new, saved_ns=12)
    assert ledger.load_state(VPP) == ControllerState(issuer="control", fence=new, saved_ns=12, state=b"new")
    assert ledger.load_state(OTHER) is None


def test_run_is_kept_as_it_was_last(ledger: Ledger) -> None:
    def run(number: int, finished_ns: int | None, steps: list[WorkflowStep]) -> WorkflowRun:
        return WorkflowRun(
            workflow_id=f"bid-{number}",
            kind="bid",
            resource_id=VPP if number < 5 else OTHER,
            delivery_date=DAY,
            gate_ns=100,
            started_ns=number,
            finished_ns=finished_ns,
            status="running" if finished_ns is None else "done",
            rung="fresh",
            rung_reason="",
            steps=steps,
        )

    step = WorkflowStep(name="forecast", took_s=0.1, outcome="ok")
    for number in (3, 1, 5, 2):
        ledger.record_run(run(number, None, []))
    ledger.record_run(run(2, 50, [step]))

    assert [item.workflow_id for item in ledger.runs(3)] == ["bid-5", "bid-3", "bid-2"]
    assert ledger.runs(2, resource_id=VPP) == [run(3, None, []), run(2, 50, [step])]
    assert ledger.run("bid-2") == run(2, 50, [step])
    assert ledger.run("bid-9") is None
