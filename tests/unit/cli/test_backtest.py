"""`shoal backtest`: figures as text, JSON and a page, from files of any column names; bad input told in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import typer

from shoal.cli import backtest
from shoal.cli.backtest_series import read_prices
from shoal.domain.errors import InvalidInputError
from tests.unit.bidding.market_prices import FIRST_NS, HALF_HOURS, prices

STEP_NS = HALF_HOURS.interval_ns


def command() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    backtest.register(app)
    return app


def run(*arguments: str) -> None:
    command()(["backtest", *arguments], standalone_mode=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Twelve days labelled by their ends, of two regions."""
    price = prices(12)
    end = (FIRST_NS + (np.arange(len(price)) + 1) * STEP_NS) // 1_000_000
    stamps = pa.array(np.tile(end, 2), pa.timestamp("ms", "UTC"))
    table = pa.table(
        {
            "region": pa.array(["VIC1"] * len(price) + ["SA1"] * len(price)).dictionary_encode(),
            "interval_end_utc": stamps,
            "rrp": pa.array(np.concatenate([price, price / 2.0]).astype(np.float32)),
        }
    )
    path = tmp_path / "prices.parquet"
    pq.write_table(table, path)
    return path


def test_json_holds_every_figure(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("--series", str(file), "--point", "VIC1", "--duration-h", "2", "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["decisions"] == 12 * 48
    assert told["share_of_perfect_foresight"] == pytest.approx(
        told["revenue"] / told["revenue_perfect_foresight"]
    )
    for name in ("shape", "backcast", "backcast_week", "top_bottom"):
        assert 0 < told[f"revenue_{name}"] < told["revenue_perfect_foresight"]
    assert (told["from"], told["last_day"], told["days"]) == ("2025-01-01", "2025-01-12", 12)
    assert len(told["richest_days"]) == 4
    assert told["cycles"] > 5
    assert told["wall_s"] > 0


def test_a_span_is_bid_for_with_what_lies_before_it_known(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    span = ("--from", "2025-01-08", "--to", "2025-01-10")
    run("--series", str(file), "--point", "VIC1", "--strategy", "shape", "--json", *span)
    told = json.loads(capsys.readouterr().out)
    assert (told["from"], told["last_day"], told["decisions"]) == ("2025-01-08", "2025-01-09", 96)
    assert told["cycles"] > 1


def test_hindsight_as_a_strategy_is_all_there_is(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("--series", str(file), "--point", "SA1", "--strategy", "perfect")
    out = capsys.readouterr().out
    assert re.search(r"^perfect +[\d,.]+ +100\.0 %", out, re.MULTILINE)
    assert "576 decisions" in out


def test_the_page_asks_for_nothing_outside_and_shows_every_day(file: Path, tmp_path: Path) -> None:
    page = tmp_path / "out" / "report.html"
    run("--series", str(file), "--point", "VIC1", "--report", str(page), "--json")
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "http" not in text
    assert "@import" not in text
    for day in range(1, 13):
        assert f"2025-01-{day:02d}" in text
    for title in ("Value by day", "Stored energy and price", "Where the value went", "Worst days"):
        assert f"<h2>{title}</h2>" in text
    assert text.count("<svg") == text.count('role="img"') >= 7
    assert "prefers-color-scheme: dark" in text
    assert "nan" not in re.sub(r"data:image/png;base64,[^\"]+", "", text).lower()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--point", "MARS"), "choose one of SA1, VIC1"),
        (("--point", "VIC1", "--round-trip", "1.5"), "--round-trip"),
        (("--point", "VIC1", "--from", "2026-01-01"), "--from"),
        (("--point", "VIC1", "--to", "soon"), "YYYY-MM-DD"),
    ],
)
def test_bad_input_is_told(file: Path, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        run("--series", str(file), *arguments)


def test_a_column_of_its_own_names_a_point(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    table = pa.table(
        {
            "ts_utc": ["2025-01-01T01:00:00Z", "2025-01-01T00:00:00Z", "2025-01-01T02:00:00Z"],
            "hb_north_rt_spp": [20.0, 10.0, None],
            "hb_north_dam_spp": [2.0, 1.0, 3.0],
        }
    )
    pyarrow.csv.write_csv(table, path)
    read = read_prices(path, "HB_NORTH_RT")
    assert read.price_per_mwh.tolist() == [10.0, 20.0]
    assert read.interval_ns == 3_600 * 10**9
    assert read.start_ns[0] == 1_735_689_600 * 10**9
    with pytest.raises(InvalidInputError, match="hb_north_dam_spp"):
        read_prices(path, "HB_NORTH")
    with pytest.raises(InvalidInputError, match="--point"):
        read_prices(path, None)


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="exists"):
        read_prices(tmp_path / "none.parquet", None)
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"not parquet")
    with pytest.raises(InvalidInputError, match="Parquet"):
        read_prices(broken, None)
    pq.write_table(pa.table({"a": [1.0]}), broken)
    with pytest.raises(InvalidInputError, match="instants"):
        read_prices(broken, None)
