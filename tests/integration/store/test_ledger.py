"""The ledger on both databases: every fact once, as it was known, and never another under the same name."""

from __future__ import annotations

import threading

import msgspec
import numpy as np
import pytest
from sqlalchemy import Engine

from shoal.domain.errors import FencedOutError, InvalidInputError, UnknownIdError
from shoal.domain.ids import ResourceId, SiteId
from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.live import WorkflowRun, WorkflowStep
from shoal.market.types import Award, AwardedInterval, Bid, BidReceipt, ClearingPrice, Order
from shoal.store.ledger import Ledger
from shoal.store.records import ControllerState, ForecastRecord, Statement

HOUR = NS_PER_HOUR
VPP = ResourceId("vpp-north")
OTHER = ResourceId("a-feeder")
DAY = "2021-02-10"


@pytest.fixture
def ledger(engine: Engine) -> Ledger:
    return Ledger(engine)


def _price(hour: int, price_per_mwh: float, published_ns: int, point: str = "HB_NORTH") -> ClearingPrice:
    return ClearingPrice(
        settlement_point=point,
        start_ns=hour * HOUR,
        end_ns=(hour + 1) * HOUR,
        price_per_mwh=price_per_mwh,
        published_ns=published_ns,
    )


def _bid(key: str = "vpp-1", *, revision: int = 1, day: str = DAY, resource: ResourceId = VPP) -> Bid:
    order = Order(start_ns=0, end_ns=HOUR, side="sell", quantity_mw=0.1, limit_price_per_mwh=1 / 3)
    return Bid(
        idempotency_key=key,
        resource_id=resource,
        market_id="ercot-da",
        settlement_point="HB_NORTH",
        delivery_date=day,
        revision=revision,
        orders=(order,),
    )


def _receipt(key: str = "vpp-1", status: str = "accepted", received_ns: int = 30) -> BidReceipt:
    values = {"idempotency_key": key, "bid_id": f"m-{key}", "status": status, "received_ns": received_ns}
    return msgspec.convert(values, BidReceipt)


def _award(version: int = 1, *, first_wh: int = -5000, day_no: int = 0, resource: ResourceId = VPP) -> Award:
    first = day_no * 24
    return Award(
        resource_id=resource,
        market_id="ercot-da",
        settlement_point="HB_NORTH",
        delivery_date=f"2021-02-{10 + day_no}",
        bid_id="m-1",
        version=version,
        published_ns=version * 100,
        intervals=tuple(
            AwardedInterval(
                start_ns=(first + hour) * HOUR,
                end_ns=(first + hour + 1) * HOUR,
                energy_wh=first_wh if hour == 0 else hour,
                price_per_mwh=hour / 3,
            )
            for hour in range(24)
        ),
    )


def _statement(version: int = 1, *, net_amount: int = 12_345_678_901, day: str = DAY) -> Statement:
    return Statement(
        resource_id=VPP,
        delivery_date=day,
        version=version,
        known_ns=version * 1000,
        net_amount=net_amount,
        payload=b'{"lines": []}',
    )


# -- prices and forecasts


def test_prices_are_what_was_known_then(ledger: Ledger) -> None:
    ledger.record_prices([_price(1, 20.5, 100), _price(0, 10.25, 100), _price(2, 9000.0, 100)])
    ledger.record_prices([_price(1, 21.75, 200), _price(1, 22.0, 300), _price(0, 1.0, 100, "HB_WEST")])

    def known(as_of_ns: int, from_ns: int = 0, to_ns: int = 3 * HOUR) -> list[tuple[int, float]]:
        starts, prices = ledger.prices("HB_NORTH", from_ns, to_ns, as_of_ns)
        assert starts.dtype == np.dtype(np.int64)
        assert prices.dtype == np.dtype(np.float64)
        return list(zip((starts // HOUR).tolist(), prices.tolist(), strict=True))

    assert known(99) == []
    assert known(100) == known(199) == [(0, 10.25), (1, 20.5), (2, 9000.0)]
    assert known(200) == [(0, 10.25), (1, 21.75), (2, 9000.0)]
    assert known(10_000) == [(0, 10.25), (1, 22.0), (2, 9000.0)]
    assert known(10_000, HOUR, 2 * HOUR) == [(1, 22.0)]
    assert known(10_000, HOUR + 1, 2 * HOUR) == []


def test_an_earlier_revision_that_is_recorded_late_does_not_win(ledger: Ledger) -> None:
    ledger.record_prices([_price(0, 22.0, 300)])
    ledger.record_prices([_price(0, 20.0, 100)])

    assert ledger.prices("HB_NORTH", 0, HOUR, 300)[1].tolist() == [22.0]
    assert ledger.prices("HB_NORTH", 0, HOUR, 299)[1].tolist() == [20.0]


def test_prices_recorded_twice_are_kept_once(ledger: Ledger) -> None:
    prices = [_price(hour, hour / 7, 100) for hour in range(50)]
    assert ledger.record_prices(prices) == 50
    assert ledger.record_prices([*prices, _price(50, 1.0, 100)]) == 1
    assert ledger.record_prices([]) == 0
    assert ledger.prices("HB_NORTH", 0, 100 * HOUR, 100)[1].tolist() == [
        *(hour / 7 for hour in range(50)),
        1.0,
    ]


def test_another_price_with_the_same_time_of_publication_is_refused(ledger: Ledger) -> None:
    ledger.record_prices([_price(0, 10.0, 100)])
    with pytest.raises(InvalidInputError, match="revision"):
        ledger.record_prices([_price(1, 5.0, 100), _price(0, 11.0, 100)])
    assert ledger.prices("HB_NORTH", 0, 9 * HOUR, 100)[1].tolist() == [10.0]


def test_prices_of_different_sources_are_kept_apart(ledger: Ledger) -> None:
    ledger.record_prices([_price(0, 10.0, 100)])
    ledger.record_prices([_price(0, 11.0, 100)], source="real-time")
    assert ledger.prices("HB_NORTH", 0, HOUR, 100)[1].tolist() == [10.0]
    assert ledger.prices("HB_NORTH", 0, HOUR, 100, source="real-time")[1].tolist() == [11.0]


def test_latest_forecast_is_what_was_issued_by_then(ledger: Ledger) -> None:
    def issue(workflow: str, issued_ns: int, day: str, payload: bytes = b"[1]") -> ForecastRecord:
        return ForecastRecord(
            workflow_id=workflow,
            resource_id=VPP,
            settlement_point="HB_NORTH",
            delivery_date=day,
            issued_ns=issued_ns,
            model="lear",
            payload=payload,
        )

    first, second = issue("w1", 100, DAY, b'{"q": "\xc3\xa9\\u0000"}'), issue("w2", 200, "2021-02-11")
    for item in (second, first, first):
        ledger.record_forecast(item)
    ledger.record_forecast(issue("w1", 150, DAY, b"another"))

    assert ledger.latest_forecast("HB_NORTH", 99) is None
    assert ledger.latest_forecast("HB_NORTH", 199) == first
    assert ledger.latest_forecast("HB_NORTH", 200) == second
    assert ledger.latest_forecast("HB_NORTH", 200, delivery_date=DAY) == first
    assert ledger.latest_forecast("HB_WEST", 200) is None


# -- bids


def test_bid_goes_from_building_to_accepted(ledger: Ledger) -> None:
    ledger.record_bid(_bid(), rung="fresh", rung_reason="", created_ns=10)
    built = ledger.bid("vpp-1")
    assert (built.bid, built.status, built.submitted_ns, built.receipt) == (_bid(), "building", None, None)

    assert ledger.mark_bid("vpp-1", "submitted", at_ns=20)
    assert ledger.mark_bid("vpp-1", "unknown", at_ns=25)
    sent = ledger.bid("vpp-1")
    assert (sent.status, sent.submitted_ns) == ("unknown", 20)

    ledger.record_receipt(_receipt())
    ledger.record_receipt(_receipt(received_ns=99))
    answered = ledger.bid("vpp-1")
    assert (answered.status, answered.receipt) == ("accepted", _receipt())
    assert not ledger.mark_bid("vpp-1", "unknown", at_ns=40)
    assert ledger.bid("vpp-1") == answered


def test_bid_recorded_again_keeps_its_status(ledger: Ledger) -> None:
    for created_ns in (10, 11):
        ledger.record_bid(_bid(), rung="fresh", rung_reason="why", created_ns=created_ns)
        ledger.mark_bid("vpp-1", "submitted", at_ns=20)
    assert [(item.created_ns, item.status) for item in ledger.bids()] == [(10, "submitted")]


def test_another_bid_under_the_same_name_is_refused(ledger: Ledger) -> None:
    ledger.record_bid(_bid(), rung="fresh", rung_reason="", created_ns=10)
    for other in (_bid(revision=2), _bid("vpp-2")):
        with pytest.raises(InvalidInputError):
            ledger.record_bid(other, rung="fresh", rung_reason="", created_ns=10)
    assert [item.bid for item in ledger.bids()] == [_bid()]


def test_receipt_that_contradicts_an_earlier_one_is_refused(ledger: Ledger) -> None:
    ledger.record_bid(_bid(), rung="fresh", rung_reason="", created_ns=10)
    ledger.record_receipt(_receipt())
    with pytest.raises(InvalidInputError, match="accepted m-vpp-1"):
        ledger.record_receipt(_receipt(status="rejected"))
    assert ledger.bid("vpp-1").status == "accepted"


def test_unknown_bid_is_said_to_be_unknown(ledger: Ledger) -> None:
    with pytest.raises(UnknownIdError):
        ledger.bid("nothing")
    with pytest.raises(UnknownIdError):
        ledger.mark_bid("nothing", "submitted", at_ns=1)
    with pytest.raises(UnknownIdError):
        ledger.record_receipt(_receipt("nothing"))


def test_bids_come_by_day_resource_and_revision(ledger: Ledger) -> None:
    for key, revision, day, resource in (
        ("k4", 1, "2021-02-11", OTHER),
        ("k3", 2, DAY, VPP),
        ("k2", 1, DAY, VPP),
        ("k1", 1, DAY, OTHER),
    ):
        bid = _bid(key, revision=revision, day=day, resource=resource)
        ledger.record_bid(bid, rung="fresh", rung_reason="", created_ns=10)

    def keys(**which: str) -> list[str]:
        found = ledger.bids(
            delivery_date=which.get("day"),
            resource_id=ResourceId(which["resource"]) if "resource" in which else None,
        )
        return [item.bid.idempotency_key for item in found]

    assert keys() == ["k1", "k2", "k3", "k4"]
    assert keys(day=DAY) == ["k1", "k2", "k3"]
    assert keys(resource=OTHER) == ["k1", "k4"]
    assert keys(day=DAY, resource=VPP) == ["k2", "k3"]


def test_latest_accepted_is_the_last_day_and_revision_that_was_accepted(ledger: Ledger) -> None:
    assert ledger.latest_accepted(VPP) is None
    for key, revision, day, status, received_ns in (
        ("k1", 1, DAY, "accepted", 10),
        ("k2", 2, DAY, "accepted", 20),
        ("k3", 3, DAY, "rejected", 30),
        ("k4", 1, "2021-02-09", "accepted", 40),
    ):
        ledger.record_bid(_bid(key, revision=revision, day=day), rung="fresh", rung_reason="", created_ns=1)
        ledger.record_receipt(_receipt(key, status, received_ns))
    ledger.record_bid(_bid("k5", day="2021-02-12"), rung="fresh", rung_reason="", created_ns=1)

    def latest(as_of_ns: int | None = None) -> str | None:
        found = ledger.latest_accepted(VPP, as_of_ns=as_of_ns)
        return None if found is None else found.bid.idempotency_key

    assert (latest(), latest(19), latest(9)) == ("k2", "k1", None)
    assert ledger.latest_accepted(OTHER) is None


# -- awards


def test_award_is_read_in_its_latest_version(ledger: Ledger) -> None:
    for award in (_award(2, first_wh=-7000), _award(1), _award(1), _award(day_no=1), _award(resource=OTHER)):
        ledger.record_award(award)

    assert ledger.awards(VPP, 0, 24 * HOUR) == [_award(2, first_wh=-7000)]
    assert ledger.awards(VPP, 0, 24 * HOUR + 1) == [_award(2, first_wh=-7000), _award(day_no=1)]
    assert ledger.awards(VPP, 0, 24 * HOUR, as_of_ns=199) == [_award(1)]
    assert ledger.awards(VPP, 0, 24 * HOUR, as_of_ns=99) == []
    assert ledger.awards(VPP, 48 * HOUR, 72 * HOUR) == []


def test_award_energy_is_columns_of_the_overlapping_intervals(ledger: Ledger) -> None:
    ledger.record_award(_award(day_no=1))
    ledger.record_award(_award())

    starts, ends, energy_wh, price = ledger.award_energy(VPP, 23 * HOUR + 1, 26 * HOUR)

    assert (starts // HOUR).tolist() == [23, 24, 25]
    assert (ends // HOUR).tolist() == [24, 25, 26]
    assert energy_wh.tolist() == [23, -5000, 1]
    assert price.tolist() == [23 / 3, 0.0, 1 / 3]
    nothing = ledger.award_energy(OTHER, 0, HOUR)
    assert [(len(column), column.dtype.kind) for column in nothing] == [
        (0, "i"),
        (0, "i"),
        (0, "i"),
        (0, "f"),
    ]


def test_another_award_with_the_same_version_is_refused(ledger: Ledger) -> None:
    ledger.record_award(_award())
    with pytest.raises(InvalidInputError, match="higher version"):
        ledger.record_award(_award(first_wh=1))
    with pytest.raises(InvalidInputError, match="intervals"):
        ledger.record_award(msgspec.structs.replace(_award(), version=2, intervals=()))
    assert ledger.awards(VPP, 0, HOUR) == [_award()]


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
