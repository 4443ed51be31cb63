"""Facts in memory: answers as the store gives them, and prices that come out when the calendar says."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from shoal.bidding.backtest_prices import grid_prices
from shoal.bidding.backtest_tape import Tape, published_ns
from shoal.domain.errors import InvalidInputError
from shoal.domain.facts import Facts, SeriesId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, iso
from shoal.market.registry import market_module
from shoal.store.facts_columns import Columns, judge, known_then
from shoal.store.facts_records import FactBatch
from tests.unit.bidding.gate_worlds import ERCOT_FIRST_NS, hourly, shaped

ONE = SeriesId("forecast/price/x/y/day-ahead")


def said(rng: np.random.Generator, known_ns: int) -> Facts:
    start = np.sort(rng.choice(300, size=20, replace=False)).astype(np.int64) * NS_PER_HOUR
    return Facts(
        series_id=ONE,
        source="test",
        known_ns=known_ns,
        revision=int(rng.integers(0, 2)),
        start_ns=start,
        end_ns=start + NS_PER_HOUR,
        value=rng.integers(0, 3, size=(20, 1)).astype(float),
    )


@pytest.mark.parametrize("seed", range(4))
def test_a_tape_answers_as_all_facts_in_one_piece_do(seed: int) -> None:
    """Corrections, repetitions and overlaps: kept in parts it is the same as judged and asked as a whole."""
    rng = np.random.default_rng(seed)
    tape, every = Tape(), Columns.empty(1)
    for number in range(1, 30):
        facts = said(rng, int(rng.integers(0, 50)))
        tape.record(facts)
        batch = FactBatch.of(facts)
        new = Columns(
            start_ns=batch.start_ns,
            end_ns=batch.end_ns,
            known_ns=batch.known_ns,
            revision=batch.revision,
            source_no=np.zeros(20, np.int64),
            record_no=np.full(20, number),
            value=batch.value,
        )
        every = Columns.joined([every, new.take(judge(every, new).kept)]).ordered()
    assert tape.last_record() == 29
    for as_of_ns in (-1, 0, 10, 30, 49):
        for up_to in (None, 12):
            span = (40 * NS_PER_HOUR, 290 * NS_PER_HOUR)
            found = tape.as_of([ONE], *span, as_of_ns, up_to_record=up_to)[ONE]
            wanted = known_then(
                [every], 1, from_ns=span[0], to_ns=span[1], as_of_ns=as_of_ns, up_to_record=up_to
            )
            for name in ("start_ns", "end_ns", "value", "known_ns", "revision"):
                np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


def test_prices_are_shown_from_the_instant_at_which_they_came_out() -> None:
    tape = Tape()
    start = np.arange(48, dtype=np.int64) * NS_PER_HOUR
    known = np.repeat(np.array([5, 7], np.int64), 24)
    tape.load(
        FactBatch(
            series_id=ONE,
            source="test",
            known_ns=known,
            revision=np.zeros(48, np.int64),
            start_ns=start,
            end_ns=start + NS_PER_HOUR,
            value=start.astype(float).reshape(-1, 1),
        )
    )
    counts = [len(tape.as_of([ONE], 0, 2**62, at)[ONE].start_ns) for at in (4, 5, 6, 7, 8)]
    assert counts == [0, 24, 24, 48, 48]
    assert len(tape.as_of([ONE], 0, 2**62, 8, up_to_record=0)[ONE].start_ns) == 0
    assert len(tape.as_of([SeriesId("other")], 0, 2**62, 8)[SeriesId("other")].start_ns) == 0
    with pytest.raises(ValueError, match="read-only"):
        tape.as_of([ONE], 0, 2**62, 8)[ONE].value[0] = 1.0


def test_each_market_publishes_as_its_calendar_says() -> None:
    def of(market_id: str, product: str, t_ns: int, length_ns: int) -> str:
        start = np.array([t_ns], np.int64)
        return iso(int(published_ns(market_module(market_id), product, start, start + length_ns)[0]))

    summer = 1_657_033_200_000_000_000  # 2022-07-05 15:00 UTC
    minute = NS_PER_MINUTE
    assert of("ercot", "day-ahead", summer, NS_PER_HOUR).startswith("2022-07-04T18:30")  # 13:30 in Texas
    winter = summer - 180 * 24 * NS_PER_HOUR
    assert of("ercot", "day-ahead", winter, NS_PER_HOUR).startswith("2022-01-05T19:30")
    assert of("ercot", "real-time", summer, 15 * minute).startswith("2022-07-05T15:15")
    assert of("sdac", "day-ahead", summer, NS_PER_HOUR).startswith("2022-07-04T10:57")
    assert of("nem", "energy", summer, 5 * minute).startswith("2022-07-05T15:00")  # with its own dispatch
    assert of("gb", "imbalance", summer, 30 * minute).startswith("2022-07-05T15:50")


def test_hours_of_a_file_serve_quarters_when_the_whole_hour_is_known() -> None:
    market = market_module("ercot")
    start = ERCOT_FIRST_NS + np.arange(3) * NS_PER_HOUR
    prices = grid_prices(market, "real-time", start, np.array([1.0, 2.0, 3.0]), interval_ns=NS_PER_HOUR)
    assert prices.price_per_mwh.tolist() == [1.0] * 4 + [2.0] * 4 + [3.0] * 4
    assert (prices.known_ns - np.repeat(start, 4) == NS_PER_HOUR).all()
    assert np.diff(prices.start_ns).tolist() == [15 * NS_PER_MINUTE] * 11


def test_a_file_that_does_not_fit_the_market_is_told() -> None:
    market = market_module("ercot")
    start = ERCOT_FIRST_NS + np.arange(8) * 15 * NS_PER_MINUTE
    with pytest.raises(InvalidInputError, match="intervals of 60 min"):
        grid_prices(market, "day-ahead", start, shaped(8, 96), interval_ns=15 * NS_PER_MINUTE)
    hours = ERCOT_FIRST_NS + np.arange(3) * NS_PER_HOUR
    with pytest.raises(InvalidInputError, match="-250 to 5000 on 2022-03-01"):
        grid_prices(market, "day-ahead", hours, np.array([1.0, 6_000.0, 1.0]), interval_ns=NS_PER_HOUR)
    with pytest.raises(InvalidInputError, match="traded from 2014-02-05"):
        old = np.arange(3) * NS_PER_HOUR
        grid_prices(market_module("sdac"), "day-ahead", old, np.ones(3), interval_ns=NS_PER_HOUR)
    with pytest.raises(InvalidInputError, match="each interval once"):
        twice = np.array([0, 0, NS_PER_HOUR]) + ERCOT_FIRST_NS
        grid_prices(market, "day-ahead", twice, np.ones(3), interval_ns=NS_PER_HOUR)


def test_days_are_those_of_the_market() -> None:
    prices = hourly("ercot", 14)
    epoch = date(1970, 1, 1).toordinal()
    counts = dict(zip(*np.unique(prices.day_number, return_counts=True), strict=True))
    assert counts[date(2022, 3, 13).toordinal() - epoch] == 23
