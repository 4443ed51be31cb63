"""The shipped data files: what the page of sources says about them, and the prices read from them."""

from __future__ import annotations

import hashlib
import re
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, Interval, local_day
from shoal.market.ercot import ERCOT_DAY_AHEAD
from shoal.simulate.prices import price_span, prices_over, real_prices, settlement_points

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT / "src" / "shoal" / "simulate" / "data"


@pytest.mark.parametrize(
    ("name", "limit_bytes", "licence"),
    [
        ("ercot_dam_spp_2021_2022", 700_000, "CC-BY-4.0"),
        ("profiles_15min", 1_200_000, "ODbL-1.0"),
    ],
)
def test_data_file_is_small_attributed_and_as_recorded(name: str, limit_bytes: int, licence: str) -> None:
    content = (DATA / f"{name}.parquet").read_bytes()
    assert len(content) < limit_bytes
    page = (ROOT / "data" / "SOURCES.md").read_text(encoding="utf-8")
    section = page[page.index(f"## {name}.parquet") :].split("\n## ", 1)[0]
    recorded = re.findall(r"^- sha256: `([0-9a-f]{64})`$", section, re.MULTILINE)
    assert recorded == [hashlib.sha256(content).hexdigest()]
    assert f"Licence: {licence}" in section
    assert licence in (DATA / f"{name}.LICENSE.txt").read_text(encoding="utf-8")


def test_profiles_file_is_a_complete_leap_year_within_its_peak() -> None:
    table = pq.read_table(DATA / "profiles_15min.parquet")
    assert (table.num_rows, table.num_columns) == (366 * 96, 19)
    for name in table.column_names:
        values = table.column(name).to_numpy()
        assert values.dtype == np.int16
        assert values.min() >= 0
        assert 0 < values.max() <= 32_000


def test_prices_are_whole_cents_and_hourly_without_gaps() -> None:
    start_ns, price_cents = real_prices("HB_NORTH")
    assert start_ns.dtype == price_cents.dtype == np.int64
    assert set(np.diff(start_ns).tolist()) == {NS_PER_HOUR}
    assert len(start_ns) == 730 * 24
    assert len(settlement_points()) == 15
    first = local_day(date(2021, 1, 1), ERCOT_DAY_AHEAD.zone).start_ns
    assert price_span() == Interval(
        start_ns=first, end_ns=local_day(date(2022, 12, 31), ERCOT_DAY_AHEAD.zone).end_ns
    )


def test_prices_know_the_winter_storm() -> None:
    storm = local_day(date(2021, 2, 17), ERCOT_DAY_AHEAD.zone)
    _, price_cents = prices_over("HB_NORTH", storm)
    assert len(price_cents) == 24
    assert price_cents.max() == 899_899
    _, mild = prices_over("HB_NORTH", local_day(date(2021, 4, 17), ERCOT_DAY_AHEAD.zone))
    assert mild.max() < 20_000


def test_prices_refuse_an_unknown_point_and_name_the_known_ones() -> None:
    with pytest.raises(InvalidInputError, match=r"HB_NORTH.*LZ_WEST"):
        real_prices("HB_NOWHERE")
    with pytest.raises(InvalidInputError):
        real_prices("start_ns")


def test_prices_refuse_a_span_outside() -> None:
    covered = price_span()
    beyond = Interval(start_ns=covered.end_ns - NS_PER_HOUR, end_ns=covered.end_ns + 1)
    with pytest.raises(InvalidInputError, match="2023-01-01T06:00"):
        prices_over("HB_NORTH", beyond)


def test_prices_cannot_be_changed_by_a_reader() -> None:
    _, price_cents = real_prices("HB_NORTH")
    with pytest.raises(ValueError, match="read-only"):
        price_cents[0] = 0
