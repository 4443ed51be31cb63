"""AEMO's reports: the true format, the right instants, the right run, and bad rows alone."""

from __future__ import annotations

from datetime import datetime

import pytest

from shoal.connect.feeds.aemo import MARKET_TIME, archive_url
from shoal.connect.feeds.catalogue import catalogue, places
from shoal.connect.feeds.feed import Ask, FeedError
from shoal.domain.interval import NS_PER_MINUTE, Interval, to_ns
from tests.unit.connect.feeds.recorded import (
    FEEDS,
    KNOWN_NS,
    read,
    reasons,
    sample,
    series,
    starts,
    values,
    zipped,
)


def market(text: str) -> int:
    return to_ns(datetime.fromisoformat(text).replace(tzinfo=MARKET_TIME))


DISPATCH = sample("aemo_dispatchis.csv").decode()


def test_dispatch_gives_prices_services_and_demand_of_every_region() -> None:
    reading = read("nem-dispatch", zipped(DISPATCH.encode()))
    assert values(reading, "price/nem/NSW1/dispatch")[0] == 57.31
    assert values(reading, "price/nem/NSW1/dispatch-raise6sec")[0] == 0.09
    assert values(reading, "price/nem/NSW1/dispatch-raisereg")[0] == 1.0
    assert values(reading, "load/nem/NSW1/actual")[0] == 7116.32
    assert len([f for f in reading.facts if "dispatch" in f.series_id]) == 2 * 11
    assert reading.quarantined_total == 0
    assert all(facts.known_ns == KNOWN_NS and facts.source == "aemo" for facts in reading.facts)


def test_dispatch_labels_intervals_by_their_start_in_utc() -> None:
    reading = read("nem-dispatch", DISPATCH)
    first = series(reading, "price/nem/NSW1/dispatch")
    assert first.start_ns[0] == market("2026-03-01T00:00")
    assert first.end_ns[0] - first.start_ns[0] == 5 * NS_PER_MINUTE


def test_dispatch_says_when_it_was_published() -> None:
    assert read("nem-dispatch", DISPATCH).published_ns == market("2026-03-01T00:00:09")


def row(table: str, region: str) -> str:
    return next(
        line for line in DISPATCH.splitlines() if line.startswith(f"D,DISPATCH,{table}") and region in line
    )


def with_rows(*rows: str, after: str) -> str:
    return DISPATCH.replace(after, "\r\n".join((after, *rows)))


def test_prices_are_of_the_pricing_run_and_demand_is_of_the_physical_run() -> None:
    price, demand = row("PRICE", "NSW1"), row("REGIONSUM", "NSW1")
    text = with_rows(price.replace(",0,57.31,", ",1,999.0,", 1), after=price)
    text = text.replace(demand, "\r\n".join((demand, demand.replace(",0,7116.32,", ",1,7200.0,", 1))))
    reading = read("nem-dispatch", text)
    assert values(reading, "price/nem/NSW1/dispatch")[0] == 57.31
    assert values(reading, "load/nem/NSW1/actual")[0] == 7200.0


def test_repeated_row_counts_once_and_corrected_row_replaces() -> None:
    price = row("PRICE", "NSW1")
    corrected = price.replace(",0,57.31,", ",0,58.5,", 1).replace(
        '"2026/03/01 00:00:02"', '"2026/03/01 00:09:00"'
    )
    reading = read("nem-dispatch", with_rows(price, corrected, after=price))
    assert values(reading, "price/nem/NSW1/dispatch")[0] == 58.5
    assert reading.duplicates_total == 11 + 10  # the whole row again, and its services with the correction
    assert reading.corrected_total == 1


def test_older_row_after_a_newer_one_changes_nothing() -> None:
    price = row("PRICE", "NSW1")
    older = price.replace(",0,57.31,", ",0,1.0,", 1).replace('"2026/03/01 00:00:02"', '"2026/02/28 23:00:00"')
    assert values(read("nem-dispatch", with_rows(older, after=price)), "price/nem/NSW1/dispatch")[0] == 57.31


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (("57.31", "n/a"), "not a number"),
        (("57.31", "1e999"), "not a number"),
        (("57.31", "1_000"), "not a number"),
        (("2026/03/01 00:05:00", "2026/02/30 00:05:00"), "not an instant"),
        (("2026/03/01 00:05:00", "9999/03/01 00:05:00"), "no such interval"),
    ],
)
def test_bad_row_is_set_aside_alone(bad: tuple[str, str], reason: str) -> None:
    good = read("nem-dispatch", DISPATCH)
    price = row("PRICE", "SA1")
    broken = row("PRICE", "NSW1").replace(*bad, 1)
    reading = read("nem-dispatch", DISPATCH.replace(row("PRICE", "NSW1"), broken))
    assert reason in reasons(reading)
    assert price in DISPATCH
    assert values(reading, "price/nem/SA1/dispatch") == values(good, "price/nem/SA1/dispatch")
    assert len(values(reading, "price/nem/NSW1/dispatch")) == len(values(good, "price/nem/NSW1/dispatch")) - 1
    assert reading.quarantined[0].where == "line 5"


def test_columns_are_found_by_name_whatever_their_order() -> None:
    text = (
        "C,NEMP.WORLD,TRADINGIS,AEMO,PUBLIC,2026/03/01,00:00:12,1,TRADINGIS,1\r\n"
        "I,TRADING,PRICE,9,NEWCOLUMN,RRP,REGIONID,SETTLEMENTDATE\r\n"
        'D,TRADING,PRICE,9,"a, comma",-8.51,SA1,"2026/03/01 00:05:00"\r\n'
        'C,"END OF REPORT",4\r\n'
    )
    reading = read("nem-trading", text)
    assert values(reading, "price/nem/SA1/trading") == [-8.51]
    assert reading.quarantined_total == 0


@pytest.mark.parametrize(("end", "minutes"), [("2021/10/01 00:00:00", 30), ("2021/10/01 00:05:00", 5)])
def test_trading_intervals_became_five_minutes_in_october_2021(end: str, minutes: int) -> None:
    text = sample("aemo_tradingis.csv").decode().replace("2026/03/01 00:05:00", end)
    facts = series(read("nem-trading", text), "price/nem/NSW1/trading")
    assert facts.end_ns[0] - facts.start_ns[0] == minutes * NS_PER_MINUTE


def test_forecasts_carry_their_run_as_the_revision() -> None:
    near = series(read("nem-p5min", sample("aemo_p5min.csv")), "price/nem/VIC1/p5min")
    assert near.revision == market("2026-03-01T00:20") // (5 * NS_PER_MINUTE)
    assert len(near.start_ns) == 12
    far = series(read("nem-predispatch", sample("aemo_predispatchis.csv")), "price/nem/VIC1/predispatch")
    assert far.revision == 2026022841
    assert far.value[:, 0].tolist() == [56.06, 57.06, 58.06, 59.06]
    assert far.end_ns[0] - far.start_ns[0] == 30 * NS_PER_MINUTE


def test_archive_reads_the_same_table_without_quotes() -> None:
    archived = read("nem-archive-price", zipped(sample("aemo_archive_dispatchprice.csv")))
    live = read("nem-dispatch", DISPATCH)
    name = "price/nem/NSW1/dispatch"
    count = len(starts(live, name))
    assert values(archived, name)[:count] == values(live, name)
    assert starts(archived, name)[:count] == starts(live, name)


def test_report_without_its_end_is_cut_off() -> None:
    lines = DISPATCH.splitlines()
    with pytest.raises(FeedError, match="cut off"):
        read("nem-dispatch", "\r\n".join(lines[:-1]))


def test_report_with_a_wrong_count_of_lines_is_read_and_noted() -> None:
    lines = DISPATCH.splitlines()
    reading = read("nem-dispatch", "\r\n".join([*lines[:6], *lines[7:]]))
    assert reasons(reading) == {"the report has not as many lines as it says": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html><body>Service Unavailable</body></html>", "web page"),
        (zipped(DISPATCH.encode())[:-40], "broken or cut off"),
        (zipped(b"nothing", "README.TXT"), "no file .csv"),
        (b"", "cut off"),
        (b"X,1,2\r\n", "begins with C, I or D"),
        (b'C,a\r\nC,"END OF REPORT",2\r\n', "none of them is in the file"),
        (b'C,a\r\nI,DISPATCH,PRICE,5,REGIONID,RRP\r\nC,"END OF REPORT",3\r\n', "the column is missing"),
    ],
)
def test_document_that_is_no_report_is_refused_with_feed_field_and_fix(content: bytes, message: str) -> None:
    with pytest.raises(FeedError, match=message) as caught:
        read("nem-dispatch", content)
    assert caught.value.feed == "nem-dispatch"
    assert caught.value.field.startswith("feed nem-dispatch: ")
    assert caught.value.fix


def test_listing_gives_the_files_of_a_span_oldest_first() -> None:
    feed = FEEDS["nem-dispatch"]
    (ask,) = feed.asks(Interval(start_ns=0, end_ns=1))
    span = Interval(start_ns=market("2026-03-01T00:00"), end_ns=market("2026-03-01T00:05"))
    found = feed.follow(sample("nemweb_listing.html"), ask=ask, span=span)
    base = "https://nemweb.com.au/Reports/CURRENT/DispatchIS_Reports/"
    assert found == (
        Ask(url=base + "PUBLIC_DISPATCHIS_202603010005_0000000507000001.zip", immutable=True),
        Ask(url=base + "PUBLIC_DISPATCHIS_202603010010_0000000507000405.zip", immutable=True),
    )


def test_listing_of_forecasts_gives_the_newest_run_only() -> None:
    feed = FEEDS["nem-p5min"]
    (ask,) = feed.asks(Interval(start_ns=0, end_ns=1))
    text = sample("nemweb_listing.html").decode().replace("DISPATCHIS", "P5MIN").replace("DispatchIS", "P5")
    span = Interval(start_ns=market("2026-02-01T00:00"), end_ns=market("2026-03-01T00:05"))
    (found,) = feed.follow(text.encode(), ask=ask, span=span)
    assert found.url.endswith("PUBLIC_P5MIN_202603010010_0000000507000405.zip")


@pytest.mark.parametrize(
    "base", ["//elsewhere.example", "http://elsewhere.example", "file://", "http://nemweb.com.au"]
)
def test_listing_leads_to_its_own_host_only(base: str) -> None:
    feed = FEEDS["nem-dispatch"]
    span = Interval(start_ns=market("2026-03-01T00:00"), end_ns=market("2026-03-01T00:05"))
    page = sample("nemweb_listing.html").replace(b'HREF="/', f'HREF="{base}/'.encode())
    assert feed.follow(page, ask=feed.asks(span)[0], span=span) == ()


def test_listing_without_files_of_the_report_is_refused() -> None:
    feed = FEEDS["nem-dispatch"]
    (ask,) = feed.asks(Interval(start_ns=0, end_ns=1))
    with pytest.raises(FeedError, match="whether the folder has moved"):
        feed.follow(b"<html>moved</html>", ask=ask, span=Interval(start_ns=0, end_ns=1))


def test_archive_asks_for_every_month_of_market_time_under_its_name_of_then() -> None:
    span = Interval(start_ns=market("2024-07-31T23:00"), end_ns=market("2024-08-01T01:00"))
    urls = [ask.url for ask in FEEDS["nem-archive-price"].asks(span)]
    assert urls == [archive_url("DISPATCHPRICE", 2024, 7), archive_url("DISPATCHPRICE", 2024, 8)]
    assert urls[0].endswith("/PUBLIC_DVD_DISPATCHPRICE_202407010000.zip")
    assert urls[1].endswith("/PUBLIC_ARCHIVE%23DISPATCHPRICE%23FILE01%23202408010000.zip")


def test_regions_can_be_chosen() -> None:
    feed = catalogue(places(["nem=SA1"]))["nem-dispatch"]
    assert {facts.series_id.split("/")[2] for facts in read(feed, DISPATCH).facts} == {"SA1"}
