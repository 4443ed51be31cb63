"""`shoal feeds`: the list, one fetch to a file or to the store, what is fresh, and clear faults."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner, Result

from shoal.cli import feeds as command
from shoal.domain.errors import InvalidInputError, ShoalError
from shoal.domain.facts import SeriesId
from shoal.store.database import open_database
from shoal.store.facts import FactStore
from tests.integration.connect.feeds.server import Provider, Reply
from tests.unit.connect.feeds.recorded import FEEDS, sample

HOST = "https://api.energy-charts.info"
DE = "price/sdac/DE-LU/day-ahead"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("SHOAL_CONFIG", "SHOAL_ENTSOE_TOKEN", "SHOAL_FEEDS_CONTACT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


def shoal(*arguments: str) -> Result:
    app = typer.Typer()
    command.register(app)

    @app.command()
    def other() -> None:
        """Stand beside it, so that names are kept."""

    return CliRunner().invoke(app, list(arguments))


def told_json(result: Result) -> Any:
    return msgspec.json.decode(result.stdout)


def test_list_names_every_feed_with_terms_and_what_it_needs() -> None:
    result = shoal("feeds")
    assert result.exit_code == 0, result.output
    for name in FEEDS:
        assert name in result.stdout
    assert "Contains BMRS data © Elexon Limited" in result.stdout
    assert "{year}" not in result.stdout
    assert "entsoe-price needs SHOAL_ENTSOE_TOKEN" in result.stdout
    assert "met-norway-berlin needs SHOAL_FEEDS_CONTACT" in result.stdout


def test_list_as_json_says_state_series_and_cadence() -> None:
    rows = {row["name"]: row for row in told_json(shoal("feeds", "--json", "--place", "nem=VIC1"))}
    assert rows.keys() == FEEDS.keys()
    row = rows["nem-dispatch"]
    assert (row["state"], row["cadence_s"], row["newest"]) == ("never", 300.0, None)
    assert row["series"][0] == {"pattern": "price/nem/{region}/dispatch", "unit": "AUD/MWh", "step": "5 min"}


def test_fetch_writes_a_file_and_the_list_then_knows(told: Provider) -> None:
    told.says("/price", Reply(body=sample("energy_charts.json")))
    arguments = ("fetch", "energy-charts-DE-LU", "--mirror", f"{HOST}={told.url}", "--out", "out.parquet")
    result = shoal("feeds", *arguments)
    assert result.exit_code == 0, result.output
    assert "7 values of 1 series, 2026-02-16T23:00:00.000Z to 2026-02-17T01:00:00.000Z" in result.stdout
    assert pq.read_table("out.parquet")["series_id"].to_pylist() == [DE] * 7
    rows = {row["name"]: row for row in told_json(shoal("feeds", "--json"))}
    row = rows["energy-charts-DE-LU"]
    assert (row["newest"], row["values"], row["state"]) == ("2026-02-17T01:00:00.000Z", 7, "stale")


def test_fetch_of_a_span_keeps_that_span(told: Provider) -> None:
    told.says("/price", Reply(body=sample("energy_charts.json")))
    span = ("--from", "2026-02-16T23:15Z", "--to", "2026-02-16T23:45Z")
    result = shoal(
        "feeds",
        "fetch",
        "energy-charts-DE-LU",
        "--mirror",
        f"{HOST}={told.url}",
        *span,
        "--out",
        "o.parquet",
        "--json",
    )
    found = told_json(result)
    assert (found["values"], found["first"], found["end"]) == (
        2,
        "2026-02-16T23:15:00.000Z",
        "2026-02-16T23:45:00.000Z",
    )
    assert told.seen[0].query == "bzn=DE-LU&start=2026-02-15&end=2026-02-17"


def test_fetch_keeps_facts_in_the_store_and_twice_changes_nothing(told: Provider) -> None:
    told.says("/price", Reply(body=sample("energy_charts.json")))
    for _ in range(2):
        result = shoal("feeds", "fetch", "energy-charts-DE-LU", "--mirror", f"{HOST}={told.url}")
        assert result.exit_code == 0, result.output
    store = FactStore(open_database("sqlite:///.shoal/registry.db"))
    (entry,) = store.freshness(0)
    assert (entry.series_id, entry.facts) == (DE, 7)


def test_fetch_as_published_takes_the_source_at_its_word(
    told: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_FEEDS_CONTACT", "ops@plant.example")
    told.says("/weatherapi/locationforecast/2.0/compact", Reply(body=sample("met_norway.json")))
    mirror = ("--mirror", f"https://api.met.no={told.url}")
    for flags, published in (((), False), (("--as-published",), True)):
        result = shoal("feeds", "fetch", "met-norway-berlin", *mirror, "--out", "o.parquet", *flags)
        assert result.exit_code == 0, result.output
        known = set(pq.read_table("o.parquet")["known_ns"].to_pylist())
        assert (known == {1772357021000000000}) is published  # 2026-03-01T09:23:41Z


def test_fetch_that_fails_leaves_with_1_says_why_and_notes_it(told: Provider) -> None:
    told.says("/price", Reply(body=b'{"unix_seconds": [1], "price": []}'))
    result = shoal(
        "feeds", "fetch", "energy-charts-DE-LU", "--mirror", f"{HOST}={told.url}", "--out", "o.parquet"
    )
    assert result.exit_code == 1
    assert "one price for each of unix_seconds" in result.stderr
    listed = shoal("feeds")
    assert "energy-charts-DE-LU: feed energy-charts-DE-LU: price" in listed.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fetch", "nothing"), "give one of nem-dispatch"),
        (("fetch", "nem-dispatch", "--mirror", "there"), "give two addresses"),
        (("fetch", "nem-dispatch", "--from", "yesterday"), "give a time such as"),
        (("fetch", "nem-dispatch", "--from", "2026-01-02", "--to", "2026-01-01"), "end after the start"),
        (("--place", "moon=1"), "begin it with one of"),
    ],
)
def test_wrong_input_is_one_clear_fault(arguments: tuple[str, ...], message: str) -> None:
    result = shoal("feeds", *arguments)
    assert isinstance(result.exception, InvalidInputError)
    assert message in str(result.exception)


def test_poll_fills_the_store_until_it_is_interrupted(told: Provider, tmp_path: Path) -> None:
    told.says("/price", Reply(body=sample("energy_charts.json")))
    program = "import typer; from shoal.cli import feeds; app = typer.Typer(); feeds.register(app); app()"
    running = subprocess.Popen(
        [
            *(sys.executable, "-c", program, "feeds", "poll", "--feed", "energy-charts-DE-LU"),
            *("--mirror", f"{HOST}={told.url}"),
        ],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        state = tmp_path / ".shoal" / "feeds" / "state" / "energy-charts-DE-LU.json"
        deadline = time.monotonic() + 30.0
        while not state.exists():
            assert running.poll() is None and time.monotonic() < deadline, running.stderr
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=20.0)
    finally:
        running.kill()
    assert "Traceback" not in errors
    (entry,) = FactStore(open_database(f"sqlite:///{tmp_path / '.shoal' / 'registry.db'}")).freshness(0)
    assert (entry.series_id, entry.facts) == (DE, 7)


def test_missing_key_is_a_clear_fault_and_not_a_traceback() -> None:
    result = shoal("feeds", "fetch", "entsoe-price", "--out", "o.parquet")
    assert result.exit_code == 1
    assert "SHOAL_ENTSOE_TOKEN" in result.stderr
    assert not isinstance(result.exception, ShoalError)


def test_contract_that_is_broken_is_said_and_the_list_shows_freshness_against_contracts(
    told: Provider,
) -> None:
    told.says("/price", Reply(body=sample("energy_charts.json").replace(b"73.24", b"0.07324")))
    result = shoal("feeds", "fetch", "energy-charts-DE-LU", "--mirror", f"{HOST}={told.url}")
    assert result.exit_code == 0, result.output
    assert "6 values of 1 series" in result.stdout
    assert "1 set aside, contract: resolution" in result.stdout
    rows = {row["name"]: row for row in told_json(shoal("feeds", "--json"))}
    (known,) = rows["energy-charts-DE-LU"]["known"]
    assert (known["series_id"], known["facts"], known["quarantined"], known["stale"]) == (DE, 6, 1, False)
    assert known["stale_after_s"] == 27 * 3600.0
    assert rows["nem-dispatch"]["known"] == []
    text = shoal("feeds").stdout
    assert "1 fresh" in text and f"{DE}: 1 intervals set aside" in text


def test_list_says_which_series_are_stale(told: Provider) -> None:
    told.says("/price", Reply(body=sample("energy_charts.json")))
    assert shoal("feeds", "fetch", "energy-charts-DE-LU", "--mirror", f"{HOST}={told.url}").exit_code == 0
    store = FactStore(open_database("sqlite:///.shoal/registry.db"))
    contract = store.contracts()[SeriesId(DE)]
    store.declare(msgspec.structs.replace(contract, stale_after_ns=1))
    text = shoal("feeds").stdout
    assert "1 stale" in text and f"{DE} is stale: the last news is" in text
