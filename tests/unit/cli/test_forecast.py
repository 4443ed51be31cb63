"""`shoal forecast score` on a small file: what it prints, what it refuses, and that plans are paid at real prices."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner

from shoal.cli.forecast import register
from shoal.cli.forecast_days import battery_of, read_market, share_of_foresight
from shoal.domain.errors import InvalidInputError

DAYS = 48
FIRST = datetime(2020, 1, 1)  # noqa: DTZ001  (the file has local time without a zone)


def write(folder: Path, price: NDArray[np.float64], *, skip: int | None = None) -> tuple[Path, Path]:
    """Write prices with two forecasts, and a file of a peer that is always 1 off."""
    hours = [FIRST + timedelta(hours=hour) for hour in range(len(price))]
    rng = np.random.default_rng(1)
    columns = {
        "market": ["XX"] * len(price),
        "ts": pa.array(hours, pa.timestamp("us")),
        "price": price,
        "exog1": price + rng.normal(0.0, 2.0, len(price)),
        "exog2": rng.normal(size=len(price)),
    }
    table = pa.table(columns)
    if skip is not None:
        table = pa.concat_tables([table.slice(0, skip), table.slice(skip + 1)])
    prices, peers = folder / "prices.parquet", folder / "peers.parquet"
    pq.write_table(table, prices)
    pq.write_table(pa.table({name: columns[name] for name in ("market", "ts")} | {"off": price + 1.0}), peers)
    return prices, peers


def made_up() -> NDArray[np.float64]:
    hour = np.arange(DAYS * 24)
    noise = np.random.default_rng(2).normal(0.0, 3.0, len(hour))
    return np.asarray(40.0 + 15.0 * np.sin((hour % 24 - 12) / 24.0 * 2.0 * np.pi) + noise)


def run(*arguments: str) -> str:
    app = typer.Typer()
    register(app)
    result = CliRunner().invoke(app, ["forecast", "score", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_score_prints_every_score_beside_naive_and_peer(tmp_path: Path) -> None:
    prices, peers = write(tmp_path, made_up())
    arguments = ["--market", "XX", "--data", str(prices), "--peers", str(peers)]
    text = run(*arguments, "--from", "2020-02-14", "--to", "2020-02-16", "--warm-up-days", "2", "--json")
    told = json.loads(text)
    assert told["days"] == 3
    own, expectation, naive, peer = told["scores"]
    assert [row["forecast"] for row in (naive, peer)] == ["naive (a week before)", "off"]
    assert peer["mae"] == pytest.approx(1.0)
    assert naive["rmae"] == pytest.approx(1.0)
    assert own["mae"] < naive["mae"]
    assert 0.0 <= own["coverage_50"] <= own["coverage_90"] <= 1.0
    assert own["crps"] > 0.0
    assert own["revenue_share"] <= 1.0
    assert expectation["mae"] > 0.0
    assert told["train_s_per_day"] > 0.0


def test_naive_and_peer_are_of_the_same_days(tmp_path: Path) -> None:
    prices, peers = write(
        tmp_path, np.repeat(np.arange(DAYS, dtype=np.float64), 24) + np.tile(np.arange(24.0), DAYS)
    )
    arguments = ["--market", "XX", "--data", str(prices), "--peers", str(peers), "--warm-up-days", "0"]
    told = json.loads(run(*arguments, "--from", "2020-02-16", "--to", "2020-02-17", "--json"))
    naive, peer = told["scores"][2:]
    assert naive["mae"] == pytest.approx(7.0)
    assert peer["mae"] == pytest.approx(1.0)
    assert peer["revenue_share"] == pytest.approx(1.0)


def test_score_prints_a_table_for_people(tmp_path: Path) -> None:
    prices, _ = write(tmp_path, made_up())
    arguments = ["--market", "XX", "--data", str(prices), "--warm-up-days", "0"]
    lines = run(*arguments, "--from", "2020-02-17", "--to", "2020-02-17").splitlines()
    assert lines[0].startswith("XX, 1 days")
    assert [line.split("  ")[0] for line in lines[2:]] == [
        "shoal",
        "shoal, expectation",
        "naive (a week before)",
    ]


def test_plans_are_paid_at_real_prices() -> None:
    real = np.array([[50.0] * 8 + [10.0] * 8 + [50.0] * 8])
    wrong = 60.0 - real
    battery = battery_of(2.0, 1.0, 0.0)
    assert share_of_foresight(real, real, battery) == pytest.approx(1.0)
    assert share_of_foresight(real, wrong, battery) == pytest.approx(-1.0)
    assert share_of_foresight(real, np.full((1, 24), 30.0), battery) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--market", "YY"], "the file has XX"),
        (["--market", "XX", "--from", "yesterday"], "2018-12-24"),
        (["--market", "XX", "--from", "2020-01-10"], "before them"),
        (["--market", "XX", "--to", "2021-01-10"], "lie in the file"),
    ],
)
def test_what_cannot_be_scored_is_refused(tmp_path: Path, arguments: list[str], text: str) -> None:
    prices, _ = write(tmp_path, made_up())
    with pytest.raises(InvalidInputError, match=text):
        run("--data", str(prices), *arguments)


def test_files_with_gaps_or_nowhere_are_refused(tmp_path: Path) -> None:
    prices, _ = write(tmp_path, made_up(), skip=100)
    with pytest.raises(InvalidInputError, match="without a gap"):
        read_market(prices, "XX")
    with pytest.raises(InvalidInputError, match="Parquet"):
        read_market(tmp_path / "none.parquet", "XX")
