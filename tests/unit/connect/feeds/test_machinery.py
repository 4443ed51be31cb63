"""Archives with limits, settled records, copies on disk, what is fresh, when to poll, pace, Parquet."""

from __future__ import annotations

import io
import os
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from shoal.connect.feeds.archive import MAX_MEMBERS, unpacked
from shoal.connect.feeds.cache import DocumentCache, fresh_for_s
from shoal.connect.feeds.feed import FeedError
from shoal.connect.feeds.gather import Gatherer, finite, instant_ns, number, whole
from shoal.connect.feeds.host import HostPace
from shoal.connect.feeds.parquet import write_facts
from shoal.connect.feeds.poll import next_due_ns
from shoal.connect.feeds.state import FeedState, FeedStates, Freshness
from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from tests.unit.connect.feeds.recorded import FEEDS, read, sample, zipped

T_NS = 1_800_000_000 * NS_PER_S
TOLD = FEEDS["nem-dispatch"].description


def test_archive_stops_at_its_limit_whatever_the_header_claims() -> None:
    bomb = zipped(bytes(50_000_000))
    assert len(bomb) < 100_000
    with pytest.raises(FeedError, match="unpacks to more than 1000000 bytes"):
        unpacked("f", bomb, suffix=".csv", max_bytes=1_000_000)


def test_archive_of_too_many_members_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for index in range(MAX_MEMBERS + 1):
            archive.writestr(f"{index}.csv", b"")
    with pytest.raises(FeedError, match=f"at most {MAX_MEMBERS}"):
        unpacked("f", buffer.getvalue(), suffix=".csv")


def test_archive_with_a_flipped_bit_is_refused() -> None:
    content = bytearray(zipped(sample("ercot_dam.csv")))
    content[100] ^= 0x10
    with pytest.raises(FeedError, match="broken or cut off"):
        unpacked("f", bytes(content), suffix=".csv")


def test_archive_gives_members_of_the_suffix_in_any_case_by_name() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("b.CSV", "a.csv", "c.txt"):
            archive.writestr(name, name)
    assert unpacked("f", buffer.getvalue(), suffix=".csv") == [("a.csv", b"a.csv"), ("b.CSV", b"b.CSV")]


@pytest.mark.parametrize("text", ["", "nan", "inf", "1_0", "0x1", "1e999", "1,5", "٣", "--1", "1e9999"])
def test_number_takes_decimal_numbers_only(text: str) -> None:
    assert number(text) is None
    assert number(" -1.5e1 ") == -15.0
    assert whole(text) is None
    assert whole(" 07 ") == 7


def test_finite_and_instant_take_no_lookalikes() -> None:
    assert finite(True) is None and finite("1") is None and finite(10**400) is None and finite(2) == 2.0
    assert instant_ns("2026-03-01T00:00") is None and instant_ns(3) is None
    assert instant_ns("1970-01-01T01:00+01:00") == 0


def gathered(*rows: tuple[int, int, float]) -> Gatherer:
    gatherer = Gatherer(source="s", known_ns=1)
    for index, (start_h, end_h, value) in enumerate(rows):
        gatherer.take(
            "a",
            start_ns=T_NS + start_h * NS_PER_HOUR,
            end_ns=T_NS + end_h * NS_PER_HOUR,
            value=value,
            where=f"row {index}",
        )
    return gatherer


def test_rows_are_sorted_and_one_that_overlaps_is_set_aside() -> None:
    reading = gathered((4, 5, 4.0), (0, 2, 0.0), (1, 2, 1.0), (2, 3, 2.0)).reading()
    (facts,) = reading.facts
    assert facts.value[:, 0].tolist() == [0.0, 2.0, 4.0]
    assert reading.reasons == {"it overlaps the interval before it": 1}
    assert reading.quarantined[0].where == "row 2"
    assert reading.newest_end_ns == T_NS + 5 * NS_PER_HOUR


def test_later_row_of_equal_rank_is_right() -> None:
    reading = gathered((0, 1, 1.0), (0, 1, 2.0), (0, 1, 2.0)).reading()
    assert reading.facts[0].value.tolist() == [[2.0]]
    assert (reading.corrected_total, reading.duplicates_total) == (1, 1)


@pytest.mark.parametrize(
    "row", [(0, 0, 1.0), (1, 0, 1.0), (0, 25, 1.0), (0, 1, float("nan")), (10**7, 10**7 + 1, 1.0)]
)
def test_impossible_row_is_set_aside(row: tuple[int, int, float]) -> None:
    reading = gathered(row, (0, 1, 5.0)).reading()
    assert reading.quarantined_total == 1
    assert reading.facts[0].value.tolist() == [[5.0]]


def test_quarantine_counts_all_and_keeps_the_first() -> None:
    gatherer = Gatherer(source="s", known_ns=1)
    for index in range(1_000):
        gatherer.quarantine(f"row {index}", "f", "x" * 10_000, "bad")
    reading = gatherer.reading()
    assert reading.quarantined_total == 1_000
    assert len(reading.quarantined) == 100
    assert len(reading.quarantined[0].value) == 100


def test_cache_gives_back_what_it_was_given(tmp_path: Path) -> None:
    cache = DocumentCache(tmp_path / "c", max_bytes=10_000)
    assert cache.get("u") is None
    cache.put("u", b"body", etag='"1"', last_modified="then", fresh_until_ns=7)
    copy = cache.get("u")
    assert copy is not None
    assert (copy.body, copy.etag, copy.last_modified, copy.fresh_until_ns) == (b"body", '"1"', "then", 7)
    cache.forget("u")
    assert cache.get("u") is None


def test_cache_stays_below_its_limit_and_lets_the_unused_go(tmp_path: Path) -> None:
    cache = DocumentCache(tmp_path, max_bytes=5_000)
    for index in range(20):
        cache.put(str(index), bytes(1_000))
        assert cache.size_bytes() <= 5_000
    assert cache.get("19") is not None and cache.get("0") is None
    cache.put("large", bytes(6_000))
    assert cache.get("large") is None and cache.get("19") is not None


def test_cache_clears_what_a_killed_process_left(tmp_path: Path) -> None:
    cache = DocumentCache(tmp_path, max_bytes=5_000)
    for name, age_s in ((".part-old", 7_200.0), (".part-new", 10.0)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    cache.put("u", b"body")
    assert sorted(path.name for path in tmp_path.glob(".part-*")) == [".part-new"]


def test_cache_takes_a_damaged_copy_for_none(tmp_path: Path) -> None:
    cache = DocumentCache(tmp_path, max_bytes=10_000)
    cache.put("u", b"body" * 100)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert cache.get("u") is None
    path.write_bytes(b"\xc1 nothing")
    assert cache.get("u") is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0.0),
        ({"Cache-Control": "public, max-age=60, must-revalidate"}, 60.0),
        ({"Cache-Control": "no-cache", "Expires": "Sun, 01 Mar 2026 10:00:00 GMT"}, 0.0),
        ({"Expires": "Sun, 01 Mar 2026 10:00:00 GMT", "Date": "Sun, 01 Mar 2026 09:30:00 GMT"}, 1800.0),
        ({"Expires": "0", "Date": "Sun, 01 Mar 2026 09:30:00 GMT"}, 0.0),
        ({"Cache-Control": "max-age=soon"}, 0.0),
    ],
)
def test_how_long_an_answer_is_fresh(headers: dict[str, str], seconds: float) -> None:
    assert fresh_for_s(headers) == seconds


def test_state_is_kept_in_one_file_a_feed(tmp_path: Path) -> None:
    states = FeedStates(tmp_path / "s")
    assert states.load("a") == FeedState(name="a")
    after = states.load("a").after_round(now_ns=5, newest_end_ns=9, values=3, quarantined=1, error="")
    states.save(after)
    assert states.load("a") == after
    failed = after.after_round(now_ns=6, newest_end_ns=None, values=0, quarantined=0, error="down")
    assert (failed.succeeded_ns, failed.newest_end_ns, failed.errors_in_a_row) == (5, 9, 1)
    (tmp_path / "s" / "a.json").write_text("{")
    assert states.load("a") == FeedState(name="a")


def test_freshness_looks_at_the_newest_interval_and_at_missed_rounds() -> None:
    good = FeedState(name="f", tried_ns=T_NS, succeeded_ns=T_NS, newest_end_ns=T_NS)
    assert FeedState(name="f").freshness(TOLD, T_NS) is Freshness.NEVER
    assert good.freshness(TOLD, T_NS + 890 * NS_PER_S) is Freshness.FRESH
    assert good.freshness(TOLD, T_NS + 910 * NS_PER_S) is Freshness.STALE
    ahead = FeedState(name="f", tried_ns=T_NS, succeeded_ns=T_NS, newest_end_ns=T_NS + 20 * NS_PER_HOUR)
    silent = replace(TOLD, stale_after_s=-3600.0)
    assert ahead.freshness(silent, T_NS) is Freshness.FRESH
    assert ahead.freshness(silent, T_NS + 931 * NS_PER_S) is Freshness.STALE  # three rounds without an answer


def test_rounds_follow_the_cadence_after_success_and_back_off_after_failure() -> None:
    told = replace(TOLD, cadence_s=300.0, delay_s=30.0)
    due_ns = next_due_ns(told, now_ns=T_NS, failures=0, draw=0.0)
    assert due_ns == T_NS + 30 * NS_PER_S
    assert next_due_ns(told, now_ns=due_ns, failures=0, draw=0.0) == due_ns + 300 * NS_PER_S
    assert due_ns <= next_due_ns(told, now_ns=T_NS, failures=0, draw=0.999) <= due_ns + 30 * NS_PER_S
    waits = [
        (next_due_ns(told, now_ns=T_NS, failures=n, draw=0.0) - T_NS) / NS_PER_S for n in (1, 2, 3, 5, 500)
    ]
    assert waits == [15.0, 30.0, 60.0, 150.0, 150.0]


async def _turns(pace: HostPace, count: int) -> None:
    for _ in range(count):
        await pace.wait_turn()


def test_pace_spaces_requests_and_holds_when_it_is_asked_to() -> None:
    import asyncio

    now, waits = [100.0], []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    pace = HostPace(rate_per_s=2.0, now_s=lambda: now[0], sleep=sleep)
    asyncio.run(_turns(pace, 3))
    assert waits == [0.5, 0.5]
    pace.hold(10.0)
    pace.slow_to(0.5)
    asyncio.run(_turns(pace, 2))
    assert waits[2:] == [10.0, 2.0]
    assert pace.waited_s_total == 13.0


def test_facts_are_written_in_the_columns_that_knowledge_imports(tmp_path: Path) -> None:
    reading = read("energy-charts-DE-LU", sample("energy_charts.json"))
    file = tmp_path / "f.parquet"
    assert write_facts(file, reading.facts) == 7
    table = pq.read_table(file)
    assert table.column_names == [
        "series_id",
        "source",
        "known_ns",
        "revision",
        "start_ns",
        "end_ns",
        "value",
    ]
    assert table["series_id"].to_pylist() == ["price/sdac/DE-LU/day-ahead"] * 7
    assert table["value"].to_pylist() == reading.facts[0].value[:, 0].tolist()
    assert write_facts(file, []) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["f.parquet"]
    with pytest.raises(InvalidInputError, match="can be written"):
        write_facts(tmp_path / "nowhere" / "f.parquet", reading.facts)
