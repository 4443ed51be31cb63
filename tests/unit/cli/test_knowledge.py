"""`shoal knowledge`: from a file into the store, and out again as it was known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from shoal.cli import knowledge
from shoal.domain.contracts import SeriesContract, ValueColumn
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_MINUTE
from shoal.store.database import migrate, open_database
from shoal.store.facts import FactStore

PRICE = "price/nem/VIC1/dispatch"
STEP = 5 * NS_PER_MINUTE


def shell() -> typer.Typer:
    app = typer.Typer()
    knowledge.register(app)

    @app.callback()
    def root() -> None: ...

    return app


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'plant.db'}"
    migrate(url)
    column = ValueColumn(name="price_per_mwh", low=-1_000.0, high=17_500.0)
    contract = SeriesContract(
        series_id=SeriesId(PRICE), unit="AUD/MWh", columns=(column,), step_ns=STEP, stale_after_ns=STEP
    )
    FactStore(open_database(url)).declare(contract)
    return url


def run(url: str, *arguments: str) -> Any:
    outcome = CliRunner().invoke(
        shell(), ["knowledge", *arguments, "--set", f"bidding.database_url={url}", "--json"]
    )
    if outcome.exception is not None:
        raise outcome.exception
    return json.loads(outcome.output)


def text(url: str, *arguments: str) -> str:
    outcome = CliRunner().invoke(shell(), ["knowledge", *arguments, "--set", f"bidding.database_url={url}"])
    if outcome.exception is not None:
        raise outcome.exception
    return outcome.output


def load(url: str, tmp_path: Path) -> Any:
    file = tmp_path / "prices.parquet"
    ends = STEP * np.arange(1, 289)
    value = np.arange(288.0)
    value[7] = 99_999.0
    pq.write_table(pa.table({"end": ends, "rrp": value, "seen": ends + 10}), file)
    options = ("--series", PRICE, "--source", "aemo", "--end", "end", "--step-s", "300", "--known", "seen")
    return run(url, "import", str(file), "--value", "rrp", *options)


def test_file_is_imported_once(url: str, tmp_path: Path) -> None:
    counts = {"corrected": 0, "late": 0}
    told = load(url, tmp_path)
    assert told.items() >= {"series": 1, "new": 287, "repeated": 0, "quarantined": 1, **counts}.items()
    told = load(url, tmp_path)
    assert told.items() >= {"new": 0, "repeated": 287, "quarantined": 1, **counts}.items()


def test_show_prints_what_was_known_then(url: str, tmp_path: Path) -> None:
    load(url, tmp_path)
    rows = run(url, "show", PRICE)
    assert len(rows) == 287
    assert rows[0] == {
        "start": "1970-01-01T00:00:00.000Z",
        "end": "1970-01-01T00:05:00.000Z",
        "price_per_mwh": 0.0,
        "known": "1970-01-01T00:05:00.000Z",
        "revision": 0,
    }
    span = ("--from", "1970-01-01T01:00:00Z", "--to", "1970-01-01T02:00:00Z")
    assert len(run(url, "show", PRICE, *span)) == 12
    assert len(run(url, "show", PRICE, *span, "--as-of", "1970-01-01T01:31:00Z")) == 6
    assert run(url, "show", PRICE, "--as-of", "1969-01-01T00:00:00Z") == []
    assert "nothing was known" in text(url, "show", PRICE, "--as-of", "1969-01-01T00:00:00Z")
    assert "price_per_mwh" in text(url, "show", PRICE)


def test_show_prints_the_history_of_an_interval(url: str, tmp_path: Path) -> None:
    load(url, tmp_path)
    (row,) = run(url, "show", PRICE, "--history", "1970-01-01T01:00:00+00:00")
    assert row.items() >= {"price_per_mwh": 12.0, "source": "aemo", "revision": 0}.items()


def test_show_refuses_what_it_cannot_know(url: str) -> None:
    with pytest.raises(UnknownIdError, match="price/none"):
        run(url, "show", "price/none")
    for wrong in ("yesterday", "2024-01-01T00:00:00"):
        with pytest.raises(InvalidInputError, match="--as-of"):
            run(url, "show", PRICE, "--as-of", wrong)


def test_series_says_what_is_stale(url: str, tmp_path: Path) -> None:
    assert run(url, "series")[0].items() >= {"series_id": PRICE, "facts": 0, "stale": True}.items()
    load(url, tmp_path)
    (row,) = run(url, "series")
    assert row.items() >= {"unit": "AUD/MWh", "facts": 287, "stale": True}.items()
    assert row["latest_start"] == "1970-01-01T23:55:00.000Z"
    assert "stale" in text(url, "series")


def test_quarantine_tells_why(url: str, tmp_path: Path) -> None:
    assert "nothing is set aside" in text(url, "quarantine")
    load(url, tmp_path)
    (row,) = run(url, "quarantine", PRICE)
    assert row.items() >= {"reason": "range", "value": [99_999.0], "source": "aemo"}.items()
    assert "price_per_mwh is above 17500" in text(url, "quarantine")


def test_compact_leaves_one_block_a_part(url: str, tmp_path: Path) -> None:
    load(url, tmp_path)
    assert run(url, "compact") == {"parts": 0, "before": 0, "after": 0}
    assert "0 parts" in text(url, "compact")
