"""The simulated market settles: on its calendar, on days of clock change, and again when something was corrected."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

import msgspec
import pytest

from shoal.domain.interval import NS_PER_HOUR, to_datetime, to_ns
from shoal.market.contract import Market, RejectedBid
from shoal.market.metering import MeterReading, MeterReceipt, MeterReport, to_report
from shoal.market.registry import MODULES, market_module
from shoal.market.settlement import amounts_by_interval, run_due_ns, settlement_intervals
from shoal.simulate.exchange_book import ExchangeBook
from shoal.simulate.exchange_settling import SettlingRules
from shoal.simulate.exchange_tape import Corrections, Publisher
from tests.integration.simulate.settling_days import (
    CLOCK_DAYS,
    DAY_NS,
    SettlingDay,
    open_day,
    participant,
)
from tests.integration.simulate.settling_names import RESOURCE

each_market = pytest.mark.parametrize("market", MODULES, ids=lambda market: market.rules.market_id)
SOON = {"initial": 3_600.0, "preliminary": 3_600.0, "II": 3_600.0}


def send(one: SettlingDay, readings: tuple[MeterReading, ...], received_ns: int) -> MeterReceipt:
    report = MeterReport(resource_id=RESOURCE, readings=readings)
    taken = one.book.take_meters(report, participant="shoal", received_ns=received_ns)
    assert isinstance(taken, MeterReceipt), taken
    return taken


@each_market
@pytest.mark.parametrize("which", [0, 1], ids=["spring", "autumn"])
def test_a_day_of_clock_change_is_settled_to_the_unit(market: Market, which: int, tmp_path: Path) -> None:
    day = CLOCK_DAYS[market.rules.market_id][which]
    one = open_day(market, day, tmp_path, settling=SettlingRules(after_s=SOON))
    send(one, to_report([], one.meters), one.end_ns)
    assert one.book.settlements(RESOURCE, day.isoformat(), now_ns=one.end_ns + NS_PER_HOUR - 1) == []
    (first,) = one.book.settlements(RESOURCE, day.isoformat(), now_ns=one.end_ns + NS_PER_HOUR)
    award = one.book.awards(RESOURCE, day.isoformat(), now_ns=one.end_ns)[-1]
    prices = {
        tape.product: dict(zip(tape.start_ns.tolist(), tape.price_per_mwh.tolist(), strict=True))
        for tape in one.tapes
    }
    meant = market.settle(award, one.meters, prices, run=first.run, issued_ns=first.issued_ns)
    assert first == meant and first.lines
    assert (
        first.amount
        == sum(line.amount for line in first.lines)
        == sum(amounts_by_interval(first.lines).values())
    )
    assert all(one.end_ns - DAY_NS - NS_PER_HOUR <= line.start_ns < one.end_ns for line in first.lines)
    if market.rules.imbalance_price:
        kinds = [line for line in first.lines if line.kind == "imbalance"]
        hours = {"spring": 23, "autumn": 25}[("spring", "autumn")[which]]
        assert len(kinds) == hours * NS_PER_HOUR // market.rules.settlement_ns
    one.book.close()


@each_market
def test_late_meters_and_their_corrections_change_exactly_their_intervals(
    market: Market, tmp_path: Path
) -> None:
    day = CLOCK_DAYS[market.rules.market_id][1]
    one = open_day(market, day, tmp_path, settling=SettlingRules(after_s=SOON))
    # `peak` settles hours with a commitment alone: they are among the first four
    late = one.meters[1:3]
    send(one, to_report([], tuple(m for m in one.meters if m not in late)), one.end_ns)
    now_ns = one.end_ns + NS_PER_HOUR
    (first,) = one.book.settlements(RESOURCE, day.isoformat(), now_ns=now_ns)
    assert {line.start_ns for line in first.lines if line.estimated} <= {m.start_ns for m in late}
    assert (
        send(one, to_report(one.book.meters(RESOURCE, day.isoformat()), one.meters), now_ns).taken_count == 2
    )
    versions = one.book.settlements(RESOURCE, day.isoformat(), now_ns=now_ns + 1)
    expected = {m.start_ns for m in late}
    if len(versions) == 2:
        assert {at.start_ns for at in versions[-1].changed} <= expected
    if market.rules.imbalance_price or market.rules.market_id == "nem":
        assert {at.start_ns for at in versions[-1].changed} == expected
    mended = [msgspec.structs.replace(m, delivered_wh=m.delivered_wh - 7) for m in one.meters[:1]]
    report = to_report(one.book.meters(RESOURCE, day.isoformat()), mended)
    assert [reading.revision for reading in report] == [1]
    send(one, report, now_ns + 2)
    again = one.book.settlements(RESOURCE, day.isoformat(), now_ns=now_ns + 2)
    assert [v.version for v in again] == list(range(1, len(again) + 1))
    for before, after in pairwise(again):
        old, new = amounts_by_interval(before.lines), amounts_by_interval(after.lines)
        assert {at for at in old.keys() | new.keys() if old.get(at) != new.get(at)} <= set(after.changed)
    assert (
        one.book.settlements(RESOURCE, day.isoformat(), now_ns=now_ns + 3) == again
    )  # nothing new, no version
    one.book.close()


def test_corrected_prices_and_awards_are_settled_again(tmp_path: Path) -> None:
    market = market_module("sdac")
    day = date(2025, 10, 26)
    corrections = Corrections(
        share_frac=0.3, after_s=40 * 3_600.0, award_share_frac=1.0, award_after_s=80 * 3_600.0, seed=3
    )
    one = open_day(
        market, day, tmp_path, seed=5, corrections=corrections, settling=SettlingRules(after_s=SOON)
    )
    send(one, to_report([], one.meters), one.end_ns)
    at_ns = [one.end_ns + hours * NS_PER_HOUR for hours in (1, 42, 64)]
    for now_ns in at_ns:
        versions = one.book.settlements(RESOURCE, day.isoformat(), now_ns=now_ns)
    assert [(v.version, v.issued_ns) for v in versions] == [(1, at_ns[0]), (2, at_ns[1]), (3, at_ns[2])]
    first, priced, awarded = versions
    by_price = {line.start_ns for line in priced.lines if line not in first.lines}
    assert {at.start_ns for at in priced.changed} == by_price and by_price
    assert {line.kind for line in awarded.lines if line not in priced.lines} == {"award", "imbalance"}
    one.book.close()


def test_runs_come_when_the_calendar_says_whoever_asks_when(tmp_path: Path) -> None:
    market = market_module("gb")
    day = date(2025, 3, 28)  # a Friday
    due = {run.run: run_due_ns(market.rules, run, day) for run in market.rules.runs}
    local = {run: to_datetime(at, ZoneInfo("Europe/London")) for run, at in due.items()}
    assert local["II"].date() == date(2025, 4, 4) and local["II"].hour == 18
    assert local["SF"].date() == date(2025, 4, 21)  # sixteen working days, public holidays not counted
    assert list(due.values()) == sorted(due.values())
    early, late = open_day(market, day, tmp_path / "a"), open_day(market, day, tmp_path / "b")
    for one in (early, late):
        send(one, to_report([], one.meters), one.end_ns)
    asked = [early.book.settlements(RESOURCE, day.isoformat(), now_ns=at) for at in due.values()][-1]
    at_once = late.book.settlements(RESOURCE, day.isoformat(), now_ns=max(due.values()))
    assert asked == at_once
    assert [(v.run, v.issued_ns) for v in asked] == list(due.items())
    assert all(v.changed == () for v in asked[1:])
    early.book.close()
    late.book.close()


@pytest.mark.parametrize("hours", [23, 25])
def test_a_run_is_never_due_before_the_day_is_over(hours: int) -> None:
    for market in MODULES:
        day = CLOCK_DAYS[market.rules.market_id][0 if hours == 23 else 1]
        end_ns = settlement_intervals(market.rules, day)[-1].end_ns
        assert all(run_due_ns(market.rules, run, day) >= end_ns for run in market.rules.runs)


def test_a_version_survives_the_market(tmp_path: Path) -> None:
    market = market_module("nem")
    day = date(2025, 3, 3)
    one = open_day(market, day, tmp_path, settling=SettlingRules(after_s=SOON))
    send(one, to_report([], one.meters), one.end_ns)
    now_ns = one.end_ns + NS_PER_HOUR
    versions = one.book.settlements(RESOURCE, day.isoformat(), now_ns=now_ns)
    account = one.book.summary(now_ns=now_ns)
    assert account.settled_amount == versions[-1].amount == account.settled[0].amount
    assert (account.readings_taken, account.settlements_issued) == (288, 1)
    one.book.close()
    again = ExchangeBook(
        market,
        path=tmp_path / "book.db",
        resources=[participant(market)],
        publisher=Publisher(one.tapes, Corrections()),
        since_ns=one.end_ns - DAY_NS,
        settling=SettlingRules(after_s=SOON),
    )
    assert again.settlements(RESOURCE, day.isoformat(), now_ns=now_ns) == versions
    assert again.meters(RESOURCE, day.isoformat()) == list(to_report([], one.meters))
    again.close()


def test_readings_that_cannot_be_are_refused_whole(tmp_path: Path) -> None:
    market = market_module("sdac")
    day = date(2025, 10, 26)
    one = open_day(market, day, tmp_path, metering_agent="meter-house")
    good, *more = to_report([], one.meters[:3])
    now_ns = one.end_ns

    def refused(*readings: MeterReading, who: str = "meter-house", at_ns: int = now_ns) -> str:
        report = MeterReport(resource_id=RESOURCE, readings=readings)
        said = one.book.take_meters(report, participant=who, received_ns=at_ns)
        assert isinstance(said, RejectedBid) and said.fix
        return said.reason

    assert refused(good, who="shoal") == "not_the_meter"
    assert refused(good, who="somebody") == "resource_unknown"
    assert refused(good, at_ns=good.end_ns - 1) == "not_over"
    assert refused(good, good) == "interval_twice"
    assert refused(more[0], msgspec.structs.replace(good, start_ns=good.start_ns + 1)) == "interval_unknown"
    assert refused(msgspec.structs.replace(good, start_ns=2**63)) == "interval_unknown"
    assert refused(msgspec.structs.replace(good, revision=-1)) == "reading"
    assert one.book.meters(RESOURCE, day.isoformat()) == []  # not even those that were sound
    report = MeterReport(resource_id=RESOURCE, readings=(good, *more))
    taken = one.book.take_meters(report, participant="meter-house", received_ns=now_ns)
    assert taken == MeterReceipt(taken_count=3, repeated_count=0, older_count=0)
    assert refused(msgspec.structs.replace(good, delivered_wh=1)) == "revision"
    newer = msgspec.structs.replace(good, delivered_wh=1, revision=2)
    for readings, expected in (
        ((newer,), MeterReceipt(taken_count=1, repeated_count=0, older_count=0)),
        ((good, *more), MeterReceipt(taken_count=0, repeated_count=3, older_count=0)),
        (
            (msgspec.structs.replace(good, delivered_wh=9, revision=1),),
            MeterReceipt(taken_count=0, repeated_count=0, older_count=1),
        ),
    ):
        report = MeterReport(resource_id=RESOURCE, readings=readings)
        assert one.book.take_meters(report, participant="meter-house", received_ns=now_ns) == expected
    assert one.book.meters(RESOURCE, day.isoformat())[0] == newer
    one.book.close()


def test_a_notified_position_is_awarded_when_its_gate_closes(tmp_path: Path) -> None:
    market = market_module("gb")
    day = date(2025, 10, 26)
    one = open_day(market, day, tmp_path)
    first = market.delivery_intervals("imbalance", day)[0]
    closes_ns = market.closes_ns("imbalance", first)
    assert one.book.awards(RESOURCE, day.isoformat(), now_ns=closes_ns - 1) == []
    (award,) = one.book.awards(RESOURCE, day.isoformat(), now_ns=closes_ns)
    assert [quantity.start_ns for quantity in award.quantities] == [first.start_ns]
    assert to_ns(datetime(2025, 10, 25, 23, tzinfo=UTC)) == first.start_ns
    one.book.close()


def test_random_corrections_never_change_what_they_do_not_name(tmp_path: Path) -> None:
    for number, market in enumerate(MODULES):
        random = Random(number)
        day = CLOCK_DAYS[market.rules.market_id][number % 2]
        one = open_day(market, day, tmp_path / str(number), seed=number, settling=SettlingRules(after_s=SOON))
        send(one, to_report([], one.meters), one.end_ns)
        now_ns = one.end_ns + NS_PER_HOUR
        for _ in range(2):
            one.book.settlements(RESOURCE, day.isoformat(), now_ns=now_ns)
            now_ns += 1
            wrong = random.sample(one.meters[:8], 2)
            mended = [msgspec.structs.replace(m, delivered_wh=random.randint(-50_000, 0)) for m in wrong]
            held = one.book.meters(RESOURCE, day.isoformat())
            send(one, to_report(held, mended), now_ns)
        versions = one.book.settlements(RESOURCE, day.isoformat(), now_ns=now_ns)
        assert len(versions) > 1
        for before, after in pairwise(versions):
            kept = [line for line in before.lines if not _named(line.start_ns, line.end_ns, after.changed)]
            assert [
                line for line in after.lines if not _named(line.start_ns, line.end_ns, after.changed)
            ] == kept
            assert after.amount - before.amount == sum(
                line.amount for line in after.lines if _named(line.start_ns, line.end_ns, after.changed)
            ) - sum(line.amount for line in before.lines if _named(line.start_ns, line.end_ns, after.changed))
        one.book.close()


def _named(start_ns: int, end_ns: int, changed: object) -> bool:
    return any((at.start_ns, at.end_ns) == (start_ns, end_ns) for at in changed)  # type: ignore[attr-defined]
