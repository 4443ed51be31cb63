"""Weather forecasts: units, which hour a value is about, what is missing, and which forecast is the newer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from shoal.connect.feeds.catalogue import catalogue, places
from shoal.connect.feeds.feed import FeedError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval, to_ns
from tests.unit.connect.feeds.recorded import FEEDS, read, reasons, sample, series, starts, values, zipped

KML = sample("dwd_mosmix.kml").decode()
SPAN = Interval(start_ns=0, end_ns=1)


def utc(text: str) -> int:
    return to_ns(datetime.fromisoformat(text).replace(tzinfo=UTC))


def test_mosmix_gives_celsius_and_watts() -> None:
    reading = read("dwd-mosmix", zipped(KML.encode(), "MOSMIX_L_2026030109_10637.kml"))
    assert values(reading, "weather/dwd/10637/temperature") == [5.0, 6.5, 6.9]
    assert values(reading, "weather/dwd/10637/irradiance") == pytest.approx([100.0, 200.0, 300.0, 250.0])
    assert values(reading, "weather/dwd/10637/cloud-cover") == [50.0, 60.0, 75.0, 100.0]
    assert values(reading, "weather/dwd/10637/wind-speed") == [3.6, 4.1, 4.1, 3.6]
    assert reading.absent_total == 1


def test_mosmix_radiation_is_of_the_hour_before_its_time_step() -> None:
    reading = read("dwd-mosmix", KML)
    assert starts(reading, "weather/dwd/10637/temperature")[0] == utc("2026-03-01T10:00")
    assert starts(reading, "weather/dwd/10637/irradiance")[0] == utc("2026-03-01T09:00")


def test_newer_forecast_has_the_higher_revision() -> None:
    older = read("dwd-mosmix", KML)
    newer = read(
        "dwd-mosmix", KML.replace("T09:00:00.000Z</dwd:IssueTime>", "T15:00:00.000Z</dwd:IssueTime>")
    )
    assert older.published_ns == utc("2026-03-01T09:00")
    assert newer.facts[0].revision == older.facts[0].revision + 6 * 60
    assert newer.facts[0].revision * NS_PER_MINUTE == newer.published_ns


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("279.65", "warm"), "not a number at an instant"),
        (("     279.65", ""), "not one value for each time step"),
        (("T11:00:00.000Z</dwd:TimeStep>", "T61:00:00.000Z</dwd:TimeStep>"), "not a number at an instant"),
        (("<kml:name>10637", "<kml:name>10638"), "a station that was not asked for"),
    ],
)
def test_mosmix_sets_aside_what_is_wrong_and_keeps_the_rest(change: tuple[str, str], reason: str) -> None:
    assert reason in reasons(read("dwd-mosmix", KML.replace(*change)))


@pytest.mark.parametrize(
    "content",
    [
        KML[:1500],
        KML.replace("dwd:IssueTime", "dwd:Time"),
        "<a/>",
        "",
        zipped(KML.encode(), "a.txt").decode("latin-1"),
    ],
)
def test_mosmix_refuses_what_is_no_forecast(content: str) -> None:
    with pytest.raises(FeedError):
        read("dwd-mosmix", content.encode("latin-1"))


def test_stations_can_be_chosen_and_are_checked() -> None:
    feed = catalogue(places(["dwd=P0051"]))["dwd-mosmix"]
    assert [ask.url.rpartition("/")[2] for ask in feed.asks(SPAN)] == ["MOSMIX_L_LATEST_P0051.kmz"]
    with pytest.raises(FeedError, match="MOSMIX number"):
        catalogue(places(["dwd=../etc"]))


def met(change: dict[str, Any] | None = None, *, step: int = 0) -> bytes:
    document = msgspec.json.decode(sample("met_norway.json"))
    document["properties"]["timeseries"][step] |= change or {}
    return msgspec.json.encode(document)


def test_met_norway_holds_a_value_until_the_next_step() -> None:
    facts = series(read("met-norway-berlin", met()), "weather/met-norway/berlin/temperature")
    assert facts.value[:, 0].tolist() == [5.1, 6.0, 6.6, 4.0]
    assert ((facts.end_ns - facts.start_ns) // NS_PER_HOUR).tolist() == [1, 1, 6, 6]
    assert facts.start_ns[0] == utc("2026-03-01T10:00")


def test_met_norway_last_step_lasts_as_long_as_it_says() -> None:
    document = met({"data": {"instant": {"details": {"air_temperature": 2.0}}, "next_6_hours": {}}}, step=4)
    facts = series(read("met-norway-berlin", document), "weather/met-norway/berlin/temperature")
    assert facts.end_ns[-1] == utc("2026-03-02T06:00")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"time": "noon"}, "no instant"),
        ({"data": {}}, "it is missing"),
        ({"data": {"instant": {"details": {"air_temperature": "mild"}}}}, "not a number"),
        ({"data": {"instant": {"details": {"air_temperature": True}}}}, "not a number"),
    ],
)
def test_met_norway_sets_aside_what_is_wrong_and_keeps_the_rest(change: dict[str, Any], reason: str) -> None:
    reading = read("met-norway-berlin", met(change))
    assert reasons(reading) == {reason: 1}
    assert len(starts(reading, "weather/met-norway/berlin/temperature")) == 3


def test_met_norway_refuses_other_units_and_other_documents() -> None:
    fahrenheit = met().replace(b"celsius", b"fahrenheit")
    for content in (
        fahrenheit,
        b"",
        b"<html>",
        b"{}",
        met()[:200],
        met().replace(b"2026-03-01T09:23:41Z", b"today"),
    ):
        with pytest.raises(FeedError):
            read("met-norway-berlin", content)


def test_met_norway_asks_with_four_decimals_for_a_named_place() -> None:
    feed = catalogue(places(["met-norway=perth=-31.952312,115.861309"]))["met-norway-perth"]
    assert feed.asks(SPAN)[0].url.endswith("?lat=-31.9523&lon=115.8613")
    for wrong in ("perth", "perth=99.0,1.0", "a/b=1,1", "perth=1,181"):
        with pytest.raises(FeedError):
            catalogue(places([f"met-norway={wrong}"]))


@pytest.mark.parametrize(
    "text", ["", "nem", "nem=", "mars=1", "nem=ACT1", "energy-charts=XX", "energy-charts=ES"]
)
def test_place_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(FeedError):
        places([text])


def test_every_feed_says_its_terms_and_what_it_gives() -> None:
    for name, feed in FEEDS.items():
        told = feed.description
        assert name == told.name
        assert told.licence.name and told.licence.attribution and told.licence.url.startswith("https://")
        assert told.series and all(note.unit and note.step for note in told.series)
        assert told.url.startswith("https://")
        assert told.cadence_s > 0 and told.rate_per_s <= 2.0
        now_ns = utc("2026-03-01T12:00")
        assert all("oken" not in ask.url for ask in feed.asks(feed.recent(now_ns)))
