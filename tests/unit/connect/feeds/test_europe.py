"""ENTSO-E, its open mirror, and Elexon: gaps, auctions, clock changes, units, refusals."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from shoal.connect.feeds.catalogue import catalogue, places
from shoal.connect.feeds.elexon import period_start_ns
from shoal.connect.feeds.feed import FeedError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval, to_ns
from tests.unit.connect.feeds.recorded import FEEDS, read, reasons, sample, series, starts, values

DE = "price/sdac/DE-LU/day-ahead"
A44 = sample("entsoe_a44.xml").decode()
QUARTER_NS = 15 * NS_PER_MINUTE


def utc(text: str) -> int:
    return to_ns(datetime.fromisoformat(text).replace(tzinfo=UTC))


def test_left_out_positions_of_curve_a03_repeat_the_price_before() -> None:
    reading = read("entsoe-price", A44)
    found = values(reading, DE)
    assert len(found) == 96
    assert found[:5] == [73.24, 69.79, 65.84, 65.05, 64.0]
    assert found[5:8] == [64.0] * 3
    assert found[8:11] == [60.5] * 3
    assert found[11:95] == [-1.25] * 84
    assert found[95] == 80.0
    assert starts(reading, DE) == [utc("2026-02-16T23:00") + n * QUARTER_NS for n in range(96)]
    assert series(reading, DE).revision == 1


def test_left_out_positions_of_curve_a01_are_not_known() -> None:
    reading = read("entsoe-load-actual", sample("entsoe_a65.xml"))
    assert values(reading, "load/sdac/DE-LU/actual") == [54321.0, 54011.5, 53210.0]
    assert starts(reading, "load/sdac/DE-LU/actual")[2] == utc("2026-02-16T23:45")
    assert reading.absent_total == 3


def test_auction_that_couples_the_markets_is_read_and_no_other() -> None:
    assert 999.0 not in values(read("entsoe-price", A44), DE)
    position = "classificationSequence_AttributeInstanceComponent.position"
    unnumbered = A44.replace(f"<{position}>1</{position}>", "")
    assert values(read("entsoe-price", unnumbered), DE)[0] == 73.24
    intraday = A44.replace("<contract_MarketAgreement.type>A01", "<contract_MarketAgreement.type>A07")
    assert not read("entsoe-price", intraday).facts


@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [("2026-03-28T23:00Z", "2026-03-29T22:00Z", 23), ("2026-10-24T22:00Z", "2026-10-25T23:00Z", 25)],
)
def test_days_of_clock_changes_have_as_many_hours_as_they_have(start: str, end: str, hours: int) -> None:
    text = A44.replace("2026-02-16T23:00Z", start).replace("2026-02-17T23:00Z", end)
    assert len(values(read("entsoe-price", text), DE)) == 4 * hours


def test_hourly_documents_of_the_past_are_read() -> None:
    text = A44.replace("PT15M", "PT60M").replace("<position>96<", "<position>24<")
    facts = series(read("entsoe-price", text), DE)
    assert len(facts.start_ns) == 24
    assert facts.end_ns[0] - facts.start_ns[0] == NS_PER_HOUR


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("<price.amount>65.84", "<price.amount>NaN"), "not a number"),
        (("<position>96<", "<position>97<"), "outside its period"),
        (("<position>3<", "<position>2<"), "the position comes twice"),
        (("<resolution>PT15M", "<resolution>PT7M"), "it does not divide the period"),
        (("EUR</currency", "PLN</currency"), "not in EUR"),
        (("10Y1001A1001A82H", "10YFR-RTE------C"), "a zone that was not asked for"),
        (("<curveType>A03", "<curveType>A05"), "neither A01 nor A03"),
        (("<start>2026-02-16T23:00Z", "<start>2026-02-16T23:00+01:00"), "no interval in UTC"),
    ],
)
def test_bad_part_of_a_document_is_set_aside_alone(change: tuple[str, str], reason: str) -> None:
    reading = read("entsoe-price", A44.replace(*change))
    assert reason in reasons(reading)


def test_price_that_is_set_aside_is_not_filled_from_the_one_before() -> None:
    reading = read("entsoe-price", A44.replace("<price.amount>64.0<", "<price.amount>?<"))
    assert len(values(reading, DE)) == 96 - 4  # positions 5 to 8: the one set aside and those that repeat it
    assert reading.absent_total == 4


def test_nothing_there_yet_is_no_error_and_a_refusal_is_one() -> None:
    nothing = sample("entsoe_nothing.xml").decode()
    assert read("entsoe-price", nothing).facts == ()
    refused = nothing.replace("No matching data found", "Invalid query attributes or parameters")
    with pytest.raises(FeedError, match="Invalid query attributes"):
        read("entsoe-price", refused)


@pytest.mark.parametrize(
    "content",
    [
        A44[:900],
        "<html><body>Bad gateway</body></html>",
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        '<?xml version="1.0" encoding="utf-7"?><a/>',
        "<a/>",
        "",
        A44.replace("<type>A44", "<type>A65"),
    ],
)
def test_document_that_is_none_of_these_is_refused(content: str) -> None:
    with pytest.raises(FeedError):
        read("entsoe-price", content)


def test_requests_name_zone_and_span_and_no_secret() -> None:
    feed = catalogue(places(["entsoe=FR", "entsoe=BE"]))["entsoe-price"]
    span = Interval(start_ns=utc("2026-02-16T23:00"), end_ns=utc("2026-02-17T23:00"))
    france, belgium = (ask.url for ask in feed.asks(span))
    assert "in_Domain=10YFR-RTE------C&out_Domain=10YFR-RTE------C" in france
    assert "10YBE----------2" in belgium
    assert france.endswith("periodStart=202602162300&periodEnd=202602172300")
    assert "oken" not in france
    two_years = Interval(start_ns=utc("2024-01-01T00:00"), end_ns=utc("2026-01-01T00:00"))
    assert len(feed.asks(two_years)) == 2 * 3
    with pytest.raises(FeedError, match="give one of"):
        catalogue(places(["entsoe=ATLANTIS"]))


def charts(**changed: Any) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(sample("energy_charts.json")) | changed)


def test_mirror_leaves_out_what_is_null() -> None:
    reading = read("energy-charts-DE-LU", sample("energy_charts.json"))
    assert values(reading, DE) == [73.24, 69.79, 65.84, 65.05, 64.0, 64.0, -1.25]
    assert starts(reading, DE)[4] == utc("2026-02-17T00:15")
    assert (series(reading, DE).end_ns - series(reading, DE).start_ns == QUARTER_NS).all()
    assert reading.absent_total == 1
    assert series(reading, DE).source == "energy-charts"


def test_mirror_tells_hours_before_october_2025_from_quarters_after() -> None:
    change = int(datetime(2025, 9, 30, 22, tzinfo=UTC).timestamp())
    seconds = [change - 7200, change - 3600, change, change + 900, change + 1800]
    facts = series(read("energy-charts-DE-LU", charts(unix_seconds=seconds, price=[1, 2, 3, 4, 5])), DE)
    assert (facts.end_ns - facts.start_ns).tolist() == [NS_PER_HOUR] * 2 + [QUARTER_NS] * 3


def test_mirror_never_stretches_a_price_over_a_missing_one() -> None:
    reading = read(
        "energy-charts-DE-LU", charts(unix_seconds=[1771282800, 1771283700, 1771286400], price=[1, 2, 3])
    )
    assert (series(reading, DE).end_ns - series(reading, DE).start_ns == QUARTER_NS).all()


def test_mirror_sets_aside_a_price_of_unknown_length() -> None:
    reading = read("energy-charts-DE-LU", charts(unix_seconds=[1771282800], price=[1.0]))
    assert reasons(reading) == {"how long it lasts cannot be told": 1}


@pytest.mark.parametrize(
    "content",
    [
        charts(unit="CHF / MWh"),
        charts(price=[1.0]),
        charts(price="none"),
        b"",
        b"<!doctype html>",
        b"[" * 100_000,
        sample("energy_charts.json")[:100],
    ],
)
def test_mirror_refuses_what_is_no_answer(content: bytes) -> None:
    with pytest.raises(FeedError):
        read("energy-charts-DE-LU", content)


PRICE, VOLUME = "price/gb/system/imbalance", "imbalance/gb/system/volume"


def elexon(*records: dict[str, Any]) -> bytes:
    base = msgspec.json.decode(sample("elexon_system_prices.json"))["data"][0]
    return msgspec.json.encode({"data": [base | record for record in records]})


def test_system_prices_of_a_summer_day_begin_at_23_utc() -> None:
    reading = read("elexon-system-price", sample("elexon_system_prices.json"))
    assert values(reading, PRICE) == [96.79, 93.33, 9.56]
    assert values(reading, VOLUME)[2] == -1467.4127825220955
    assert starts(reading, PRICE)[0] == utc("2026-05-05T23:00")


@pytest.mark.parametrize(
    ("day", "periods"), [("2026-03-29", 46), ("2026-10-25", 50), ("2026-01-01", 48), ("2026-07-01", 48)]
)
def test_settlement_days_have_46_48_or_50_periods(day: str, periods: int) -> None:
    records = [
        {
            "settlementDate": day,
            "settlementPeriod": n,
            "startTime": None,
            "systemSellPrice": n,
            "systemBuyPrice": n,
        }
        for n in range(1, 52)
    ]
    reading = read("elexon-system-price", elexon(*records))
    found = starts(reading, PRICE)
    assert values(reading, PRICE) == [float(n) for n in range(1, periods + 1)]
    assert all(b - a == 30 * NS_PER_MINUTE for a, b in pairwise(found))
    assert reasons(reading) == {"the day has no such period": 51 - periods}


def test_settlement_days_of_twenty_years_follow_each_other() -> None:
    day, end_ns = date(2015, 1, 1), None
    while day.year < 2036:
        first = period_start_ns(str(day), 1)
        assert first is not None and (end_ns is None or first == end_ns)
        last = max(n for n in (46, 48, 50) if period_start_ns(str(day), n) is not None)
        final = period_start_ns(str(day), last)
        assert final is not None
        end_ns = final + 30 * NS_PER_MINUTE
        day += timedelta(days=1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"startTime": "2026-05-05T22:30:00Z"}, "it is not when the settlement period begins"),
        ({"settlementPeriod": "1"}, "the day has no such period"),
        ({"settlementDate": "2026-02-30"}, "the day has no such period"),
        ({"systemSellPrice": "dear", "systemBuyPrice": "dear"}, "not a number"),
        ({"systemSellPrice": 1.0, "systemBuyPrice": 2.0}, "two prices where there is one since 2015"),
    ],
)
def test_bad_record_is_set_aside_alone(change: dict[str, Any], reason: str) -> None:
    good = {"settlementPeriod": 2, "startTime": "2026-05-05T23:30:00Z"}
    reading = read("elexon-system-price", elexon(change, good))
    assert reasons(reading) == {reason: 1}
    assert starts(reading, PRICE) == [utc("2026-05-05T23:30")]


def test_record_made_last_counts_whatever_the_order() -> None:
    late = {"createdDateTime": "2026-06-01T00:00:00Z", "systemSellPrice": 5.0, "systemBuyPrice": 5.0}
    orders: list[tuple[dict[str, Any], ...]] = [({}, late), (late, {})]
    for records in orders:
        reading = read("elexon-system-price", elexon(*records))
        assert values(reading, PRICE) == [5.0]
        assert reading.corrected_total == 1


def test_value_that_is_null_is_absent() -> None:
    reading = read("elexon-system-price", elexon({"systemSellPrice": None, "systemBuyPrice": None}))
    assert [f.series_id for f in reading.facts] == [VOLUME]
    assert reading.absent_total == 1


def test_requests_are_one_a_settlement_day_of_london() -> None:
    span = Interval(start_ns=utc("2026-05-05T23:00"), end_ns=utc("2026-05-07T23:00"))
    days = [ask.url.split("/")[-1] for ask in FEEDS["elexon-system-price"].asks(span)]
    assert days == ["2026-05-06?format=json", "2026-05-07?format=json"]
    with pytest.raises(FeedError, match="at most 400"):
        FEEDS["elexon-system-price"].asks(Interval(start_ns=0, end_ns=utc("2026-05-05T23:00")))
