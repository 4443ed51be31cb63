"""Contracts of the feeds' series: every series has one, recorded samples keep it, and a broken sample of each feed does not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from shoal.connect.feeds.contracts import TABLE, contract_of
from shoal.connect.feeds.weather_dwd import DwdFeed
from shoal.domain.contracts import Breach, check
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_S
from shoal.market.registry import market_module
from shoal.market.series import price_series
from tests.unit.connect.feeds.recorded import FEEDS, SAMPLE_OF, read, sample

FOLDED = {pattern: pattern.replace("{", "").replace("}", "") for pattern in (row.pattern for row in TABLE)}
"""A series of each row, with the names of its varying parts in their places."""


@dataclass(frozen=True, kw_only=True)
class Broken:
    """What is changed in a sample, of which series, and what it then breaks; every change keeps the format."""

    feed: str
    old: bytes
    new: bytes
    series: str
    reason: Breach


BROKEN = (
    Broken(
        feed="nem-dispatch",
        old=b"20260228241,0,57.31,",
        new=b"20260228241,0,57310.0,",
        series="price/nem/NSW1/dispatch",
        reason="range",
    ),
    Broken(
        feed="nem-trading",
        old=b"NSW1,1,57.31",
        new=b"NSW1,1,-5731",
        series="price/nem/NSW1/trading",
        reason="range",
    ),
    Broken(
        feed="nem-p5min", old=b"NSW1,92.3,", new=b"NSW1,99999,", series="price/nem/NSW1/p5min", reason="range"
    ),
    Broken(
        feed="nem-predispatch",
        old=b"01,0,56.06",
        new=b"01,0,1e6",
        series="price/nem/VIC1/predispatch",
        reason="range",
    ),
    Broken(
        feed="nem-archive-price",
        old=b"20260228241,0,57.31,",
        new=b"20260228241,0,-9999,",
        series="price/nem/NSW1/dispatch",
        reason="range",
    ),
    Broken(
        feed="nem-archive-load",
        old=b"NSW1,20260228241,0,7116.32,",
        new=b"NSW1,20260228241,0,7116320,",  # kW
        series="load/nem/NSW1/actual",
        reason="range",
    ),
    Broken(
        feed="ercot-day-ahead",
        old=b"HB_NORTH, 21.25",
        new=b"HB_NORTH, 0.02125",  # USD/kWh
        series="price/ercot/HB_NORTH/day-ahead",
        reason="resolution",
    ),
    Broken(
        feed="ercot-real-time",
        old=b"HB_NORTH,HU,19.31",
        new=b"HB_NORTH,HU,-9999",
        series="price/ercot/HB_NORTH/real-time",
        reason="range",
    ),
    Broken(
        feed="ercot-ancillary",
        old=b"01:00,ECRS,0.07",
        new=b"01:00,ECRS,-0.07",
        series="price/ercot/system/day-ahead-ecrs",
        reason="range",
    ),
    Broken(
        feed="energy-charts-DE-LU",
        old=b"73.24",
        new=b"0.07324",  # EUR/kWh
        series="price/sdac/DE-LU/day-ahead",
        reason="resolution",
    ),
    Broken(
        feed="entsoe-price",
        old=b">73.24<",
        new=b">-9999.00<",
        series="price/sdac/DE-LU/day-ahead",
        reason="range",
    ),
    Broken(
        feed="entsoe-load-actual",
        old=b">54321<",
        new=b">54321000<",  # kW
        series="load/sdac/DE-LU/actual",
        reason="range",
    ),
    Broken(
        feed="dwd-mosmix",
        old=b" 278.15 ",
        new=b"   5.15 ",  # degrees Celsius where Kelvin should be
        series="weather/dwd/10637/temperature",
        reason="range",
    ),
    Broken(
        feed="met-norway-berlin",
        old=b'"relative_humidity": 44.2',
        new=b'"relative_humidity": 442',
        series="weather/met-norway/berlin/humidity",
        reason="range",
    ),
    Broken(
        feed="elexon-system-price",
        old=b": 96.79",
        new=b": 99999.0",
        series="price/gb/system/imbalance",
        reason="range",
    ),
)


def breaches(feed: str, content: bytes) -> dict[str, set[Breach]]:
    """Return what breaks the contracts of a document, by series."""
    found: dict[str, set[Breach]] = {}
    for facts in read(feed, content).facts:
        contract = contract_of(facts.series_id)
        assert contract is not None, facts.series_id
        for item in check(facts, contract)[1]:
            found.setdefault(facts.series_id, set()).add(item.reason)
    return found


def test_no_series_is_one_of_two_rows() -> None:
    for pattern, name in FOLDED.items():
        assert [one.pattern for one in TABLE if one.takes(name)] == [pattern]


def test_every_series_of_every_feed_has_a_contract_in_the_unit_that_the_feed_says() -> None:
    for feed in FEEDS.values():
        for note in feed.description.series:
            contract = contract_of(SeriesId(note.pattern.replace("{", "").replace("}", "")))
            assert contract is not None, note.pattern
            assert contract.unit == note.unit, note.pattern
            assert contract.stale_after_ns is not None
            # a source that comes at its cadence is never stale
            assert contract.stale_after_ns > feed.description.cadence_s * NS_PER_S or "archive" in (
                feed.description.name
            )


@pytest.mark.parametrize("feed", sorted(SAMPLE_OF))
def test_recorded_sample_keeps_the_contracts(feed: str) -> None:
    assert breaches(feed, sample(SAMPLE_OF[feed])) == {}


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.feed)
def test_broken_sample_breaks_the_contract_of_that_series_alone(case: Broken) -> None:
    whole = sample(SAMPLE_OF[case.feed])
    assert whole.count(case.old) >= 1
    assert breaches(case.feed, whole.replace(case.old, case.new)) == {case.series: {case.reason}}


def test_each_feed_has_a_broken_sample() -> None:
    silent = {"entsoe-load-forecast"}  # the recorded one says nothing; its parser is that of the actual load
    assert {case.feed for case in BROKEN} == FEEDS.keys() - silent


def test_interval_of_another_length_or_off_the_clock_is_set_aside() -> None:
    for facts in read("nem-dispatch", sample(SAMPLE_OF["nem-dispatch"])).facts:
        contract = contract_of(facts.series_id)
        longer = replace(facts, end_ns=facts.start_ns + 299 * NS_PER_S)
        assert {item.reason for item in check(longer, contract)[1]} == {"step"}
        later = replace(facts, start_ns=facts.start_ns + NS_PER_S, end_ns=facts.end_ns + NS_PER_S)
        assert {item.reason for item in check(later, contract)[1]} == {"phase"}


def test_series_that_no_feed_gives_has_no_contract() -> None:
    assert contract_of(SeriesId("load/homes/north")) is None
    assert contract_of(SeriesId("price/nem/VIC1/dispatch/more")) is None
    assert contract_of(SeriesId("price/nem//dispatch")) is None


@pytest.mark.parametrize("market_id", ["nem", "ercot", "sdac"])
def test_whatever_a_markets_rules_allow_is_within_the_contract(market_id: str) -> None:
    market = market_module(market_id)
    for product in market.products():
        contract = contract_of(price_series(market_id, "VIC1", product.product_id))
        if contract is None:
            continue
        (column,) = contract.columns
        for limits in product.limits:
            assert column.low is not None and column.low <= limits.floor_per_mwh
            assert column.high is not None and limits.cap_per_mwh <= column.high
        if column.tick_size is not None:
            assert column.tick_size == product.price_tick_per_mwh


def test_stations_of_any_name_are_taken() -> None:
    for note in DwdFeed(("K1174",)).description.series:
        assert contract_of(SeriesId(note.pattern.format(station="K1174"))) is not None
