"""ERCOT's reports: local hours named by their end, and the two days a year on which the clock changes."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from shoal.connect.feeds.catalogue import catalogue, places
from shoal.connect.feeds.ercot import hour_start
from shoal.connect.feeds.feed import Ask, FeedError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval, to_ns
from tests.unit.connect.feeds.recorded import FEEDS, read, reasons, sample, series, starts, values, zipped

NORTH = "price/ercot/HB_NORTH/day-ahead"
HEAD = "DeliveryDate,HourEnding,SettlementPoint,SettlementPointPrice,DSTFlag\n"


def utc(text: str) -> int:
    return to_ns(datetime.fromisoformat(text).replace(tzinfo=UTC))


def day(date: str, hours: list[tuple[int, str]]) -> str:
    return HEAD + "".join(
        f"{date},{hour:02d}:00,HB_NORTH, {n}.5,{flag}\n" for n, (hour, flag) in enumerate(hours)
    )


def test_day_ahead_keeps_hubs_and_zones_by_the_start_of_their_hours() -> None:
    reading = read("ercot-day-ahead", zipped(sample("ercot_dam.csv"), "cdr.00012331.DAMSPNP4190.csv"))
    assert [str(f.series_id).split("/")[2] for f in reading.facts] == ["HB_BUSAVG", "HB_NORTH", "LZ_HOUSTON"]
    assert starts(reading, NORTH)[0] == utc("2025-08-05T05:00")  # midnight of summer time
    assert len(starts(reading, NORTH)) == 24
    assert values(reading, NORTH)[0] == 21.25


def test_autumn_day_has_25_hours_the_repeated_one_told_apart_by_its_flag() -> None:
    hours = [(1, "N"), (2, "N"), (2, "Y"), *((h, "N") for h in range(3, 25))]
    reading = read("ercot-day-ahead", day("11/02/2025", hours))
    found = starts(reading, NORTH)
    assert found == list(range(utc("2025-11-02T05:00"), utc("2025-11-03T06:00"), NS_PER_HOUR))
    assert values(reading, NORTH)[1:3] == [1.5, 2.5]
    assert reading.quarantined_total == 0


def test_spring_day_has_23_hours_and_the_one_left_out_is_set_aside() -> None:
    hours = [(1, "N"), (2, "N"), *((h, "N") for h in range(4, 25))]
    reading = read("ercot-day-ahead", day("03/09/2025", hours))
    assert starts(reading, NORTH) == list(
        range(utc("2025-03-09T06:00"), utc("2025-03-10T05:00"), NS_PER_HOUR)
    )
    bad = read("ercot-day-ahead", day("03/09/2025", [*hours, (3, "N")]))
    assert starts(bad, NORTH) == starts(reading, NORTH)
    assert reasons(bad) == {"the clock change leaves this hour out": 1}


def test_repeated_hour_without_the_flag_cannot_be_told_apart() -> None:
    text = "DeliveryDate,HourEnding,SettlementPoint,SettlementPointPrice\n" + "".join(
        f"11/02/2025,{hour:02d}:00,HB_NORTH,1.0\n" for hour in (1, 2, 2, 3)
    )
    reading = read("ercot-day-ahead", text)
    assert len(starts(reading, NORTH)) == 2
    assert reasons(reading) == {"the clock repeats this hour, and the file has no DSTFlag": 2}


def test_every_hour_of_twenty_years_follows_the_one_before() -> None:
    for year in range(2015, 2036):
        for month, days in ((3, range(7, 15)), (11, range(1, 8))):
            for number in days:
                date = f"{month:02d}/{number:02d}/{year}"
                found = sorted(
                    s
                    for hour in range(1, 25)
                    for flag in "NY"
                    if isinstance(s := hour_start(date, f"{hour:02d}:00", flag, flagged=True), int)
                )
                assert len(found) in (23, 24, 25)
                assert all(b - a == NS_PER_HOUR for a, b in pairwise(found))


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("13/05/2025,01:00,HB_NORTH,1.0,N", "no hour of a day"),
        ("08/05/2025,25:00,HB_NORTH,1.0,N", "no hour of a day"),
        ("08/05/2025,01:00,HB_NORTH,1.0,Q", "DSTFlag is neither Y nor N"),
        ("08/05/2025,01:00,HB_NORTH,1.0,Y", "DSTFlag is Y, yet the clock does not repeat this hour"),
        ("08/05/2025,01:00,HB_NORTH,--,N", "not a number"),
    ],
)
def test_bad_row_is_set_aside_alone(cells: str, reason: str) -> None:
    reading = read("ercot-day-ahead", sample("ercot_dam.csv").decode() + cells + "\n")
    assert reasons(reading) == {reason: 1}
    assert len(starts(reading, NORTH)) == 24


def test_real_time_gives_quarters_and_one_price_a_zone() -> None:
    reading = read("ercot-real-time", sample("ercot_rtm.csv"))
    facts = series(reading, "price/ercot/LZ_NORTH/real-time")
    assert facts.value.tolist() == [[20.02]]  # the energy-weighted price of the zone is another one
    assert facts.start_ns[0] == utc("2025-07-30T13:30")
    assert facts.end_ns[0] - facts.start_ns[0] == 15 * NS_PER_MINUTE
    bad = read("ercot-real-time", sample("ercot_rtm.csv").decode().replace(",9,3,HB", ",9,5,HB"))
    assert reasons(bad) == {"no quarter of an hour": 1}


def test_ancillary_prices_are_series_of_the_system() -> None:
    reading = read("ercot-ancillary", sample("ercot_as.csv"))
    assert values(reading, "price/ercot/system/day-ahead-regup") == [2.4] * 24
    names = {str(facts.series_id).rpartition("-")[2] for facts in reading.facts}
    assert names == {"ecrs", "nonspin", "regdn", "regup", "rrs"}


@pytest.mark.parametrize(
    "content",
    [b"<html>busy</html>", b"a,b\n1,2\n", b"", zipped(b"x", "a.csv")[:30]],
    ids=["page", "other columns", "nothing", "half an archive"],
)
def test_document_that_is_no_report_is_refused(content: bytes) -> None:
    with pytest.raises(FeedError):
        read("ercot-day-ahead", content)


def test_listing_gives_csv_documents_of_a_span() -> None:
    feed = FEEDS["ercot-day-ahead"]
    span = Interval(start_ns=utc("2025-08-05T05:00"), end_ns=utc("2025-08-06T05:00"))
    (ask,) = feed.asks(span)
    found = feed.follow(sample("ercot_listing.json"), ask=ask, span=span)
    url = "https://www.ercot.com/misdownload/servlets/mirDownload?doclookupId=1131900002"
    assert found == (Ask(url=url, immutable=True),)


@pytest.mark.parametrize("listing", [b"<html>", b"{}", b"[1]", b'{"ListDocsByRptTypeRes": 3}', b"\xff"])
def test_listing_that_is_none_is_refused(listing: bytes) -> None:
    feed = FEEDS["ercot-day-ahead"]
    span = Interval(start_ns=0, end_ns=1)
    with pytest.raises(FeedError):
        feed.follow(listing, ask=feed.asks(span)[0], span=span)


def test_points_can_be_chosen() -> None:
    feed = catalogue(places(["ercot=7RNCHSLR_ALL"]))["ercot-day-ahead"]
    reading = read(feed, sample("ercot_dam.csv"))
    assert [facts.series_id for facts in reading.facts] == ["price/ercot/7RNCHSLR_ALL/day-ahead"]
