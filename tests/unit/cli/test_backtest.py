"""`shoal backtest`: figures as text, JSON and a page, from files of any column names; bad input told in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import typer

from shoal.cli import backtest
from shoal.cli.backtest_series import read_prices
from shoal.domain.errors import InvalidInputError
from tests.unit.bidding.gate_worlds import hourly
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


def test_json_says_where_the_money_went_to_the_last_unit(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--series", str(file), "--point", "VIC1", "--json")
    told = json.loads(capsys.readouterr().out)
    found = told["attribution"]
    assert found["stages"] == ["perfect", "forecast", "bid", "delivered"]
    assert found["amount_1e8"][0] + sum(found["step_amount_1e8"]) == found["amount_1e8"][-1]
    assert found["amount_1e8"][-1] == round(told["revenue"] * 1e8)
    assert found["amount_1e8"][0] == round(told["revenue_perfect_foresight"] * 1e8)
    by_day = np.array(list(found["days"].values()))
    assert by_day.shape == (12, 4)
    assert by_day.sum(axis=0).tolist() == found["amount_1e8"]
    assert told["decisions_per_s"] > 0


# ── through the cycle ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def texas(tmp_path: Path) -> Path:
    """Sixteen days of a file with a column for each settlement point, over a change of the clock."""
    grid = hourly("ercot", 16)
    table = pa.table(
        {
            "ts_utc": pa.array(grid.start_ns // 1_000_000, pa.timestamp("ms", "UTC")),
            "HB_NORTH": pa.array(grid.price_per_mwh.astype(np.float32)),
            "LZ_WEST": pa.array((grid.price_per_mwh / 2).astype(np.float32)),
        }
    )
    path = tmp_path / "dam.parquet"
    pq.write_table(table, path)
    return path


TEXAS = ("--market", "ercot", "--product", "day-ahead", "--point", "HB_NORTH", "--power-mw", "10")


def test_a_day_ahead_market_is_bid_for_gate_by_gate(
    texas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "report.html"
    span = ("--from", "2022-03-11", "--to", "2022-03-15", "--initial", "0.5")
    run("--series", str(texas), *TEXAS, *span, "--report", str(page), "--json")
    told = json.loads(capsys.readouterr().out)
    assert (told["market"], told["product"], told["strategy"]) == ("ercot", "day-ahead", "day-ahead")
    assert (told["decisions"], told["days"], told["from"]) == (4, 4, "2022-03-11")
    assert sum(told["rungs"].values()) == 4
    for name in ("revenue_backcast", "revenue_top_bottom", "revenue_perfect_foresight", "cycles", "wall_s"):
        assert name in told
    assert 0 < told["gain"] <= told["gain_daily_perfect_foresight"]
    assert told["share_of_daily_perfect_foresight"] == pytest.approx(
        told["gain"] / told["gain_daily_perfect_foresight"]
    )
    found = told["attribution"]
    assert found["product"] == "day-ahead"
    assert np.array(list(found["days"].values())).sum(axis=0).tolist() == found["amount_1e8"]
    text = page.read_text(encoding="utf-8")
    assert "<h1>ercot HB_NORTH day-ahead <span>" in text
    assert "nan" not in re.sub(r"data:image/png;base64,[^\"]+", "", text).lower()


def test_text_says_what_held_and_what_was_lost(texas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("--series", str(texas), *TEXAS, "--from", "2022-03-14")
    out = capsys.readouterr().out
    assert "ercot HB_NORTH day-ahead, 2022-03-14 to" in out
    assert re.search(r"^lost by the forecast [\d,.-]+, won by the bid", out, re.MULTILINE)
    assert "day by day from its own state" in out
    assert "rungs that held: " in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--market", "mars"), "choose one of ercot, ercot-"),
        (("--market", "ercot", "--product", "gas"), "--product.*choose one of day-ahead, real-time"),
        ((*TEXAS, "--strategy", "oracle"), "--strategy.*day-ahead, .*markov"),
        (("--market", "ercot", "--point", "HB_SOUTH"), "name one of the columns: HB_NORTH, LZ_WEST"),
        (("--market", "ercot"), "--point"),
        ((*TEXAS, "--initial", "1.5"), "--initial"),
        ((*TEXAS, "--from", "2030-01-01"), "within 2022-03-01 to 2022-03-17"),
        (("--market", "gb", "--product", "reduction"), "choose one of imbalance"),
        (("--market", "peak"), "target_mw"),
        ((*TEXAS, "--strategy", "imbalance"), "nothing was ever awarded"),
    ],
)
def test_what_does_not_fit_a_market_is_told(texas: Path, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        run("--series", str(texas), *arguments)


def test_events_of_a_programme_are_bid_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = 1_754_179_200_000 + np.array([0, 1, 2, 48, 49, 50]) * 3_600_000  # 17:00 in California
    path = tmp_path / "events.parquet"
    stamps = pa.array(start, pa.timestamp("ms", "UTC"))
    pq.write_table(pa.table({"ts_utc": stamps, "target_mw": [2.0] * 6}), path)
    run("--market", "peak", "--series", str(path), "--power-mw", "4", "--duration-h", "3", "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["revenue"] == pytest.approx(6 * 2.0 * 2_000.0 - 12.0 * 10.0, rel=1e-3)
    assert told["revenue_perfect_foresight"] == pytest.approx(told["revenue"], rel=1e-3)
    assert told["days"] == 3


def test_wall_time_is_read_in_the_markets_zone(tmp_path: Path) -> None:
    """24 rows a day: the hour that is left out has no instant, the one that comes twice has one price for both."""
    hours = np.arange(3 * 24) * 3_600
    spring = np.datetime64("2016-03-26") + hours.astype("timedelta64[s]")
    autumn = np.datetime64("2016-10-29") + hours.astype("timedelta64[s]")
    ts = np.concatenate([spring, autumn]).astype("datetime64[us]")
    table = pa.table({"market": ["DE"] * len(ts), "ts": pa.array(ts), "price": np.arange(len(ts)) * 1.0})
    path = tmp_path / "epf.parquet"
    pq.write_table(table, path)
    read = read_prices(path, "DE", zone=ZoneInfo("Europe/Berlin"))
    step = np.diff(read.start_ns) // (3_600 * 10**9)
    assert sorted(step.tolist())[:-1] == [1] * (len(step) - 1)  # nothing is missing but the summer between
    assert len(read.start_ns) == 3 * 24 - 1 + 3 * 24 + 1
    (twice,) = np.flatnonzero(np.diff(read.price_per_mwh) == 0)
    assert read.price_per_mwh[twice] == 72 + 26
    with pytest.raises(InvalidInputError, match="in UTC"):
        read_prices(path, "DE")


def test_the_page_is_headed_by_the_point_even_where_only_the_file_names_it(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = (
        pq.read_table(file)
        .slice(0, 12 * 48)
        .drop_columns("region")
        .rename_columns(["interval_end_utc", "rrp_aud_mwh"])
    )
    named, page = tmp_path / "nem_vic1_5min.parquet", tmp_path / "page.html"
    pq.write_table(table, named)
    run("--series", str(named), "--strategy", "shape", "--report", str(page))
    assert capsys.readouterr().out.startswith("nem VIC1, 2025-01-01")
    assert "<h1>nem VIC1 <span>" in page.read_text(encoding="utf-8")
    assert read_prices(named, "VIC1").point == "VIC1"
    with pytest.raises(InvalidInputError, match="rrp_aud_mwh"):
        read_prices(named, "SA1")


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
    assert read_prices(path, "HB_NORTH", product="real-time").price_per_mwh.tolist() == [10.0, 20.0]
    assert read_prices(path, "HB_NORTH", product="day-ahead").price_per_mwh.tolist() == [1.0, 2.0, 3.0]
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
