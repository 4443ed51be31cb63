"""`shoal program` as an operator meets it: the order, consent, leaving, promises, and why a site gives nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from shoal.cli import program
from shoal.cli.roles.host import sqlite_url
from shoal.domain.errors import ShoalError
from shoal.runtime.settings import load_settings
from shoal.store.database import migrate, open_database
from shoal.store.registry import Registry
from tests.integration.store.fleets import make_fleet

FIRST = "site-00000"


@pytest.fixture
def shoal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(tmp_path)
    url = sqlite_url(load_settings(), "registry.db")
    migrate(url)
    engine = open_database(url)
    Registry(engine).load_fleet(make_fleet(), valid_from_ns=0)
    engine.dispose()
    command = typer.main.get_command(program.app)

    def run(*arguments: object, as_json: bool = True) -> Any:
        """Return what `shoal program ...` prints."""
        command.main([*map(str, arguments), *(["--json"] if as_json else [])], standalone_mode=False)
        printed = capsys.readouterr().out
        return json.loads(printed) if as_json else printed

    return run


def test_order_is_data(shoal: Any) -> None:
    assert [one["id"] for one in shoal("list")][:3] == ["storm", "emergency", "contingency"]
    book = shoal("list", "--toml", as_json=False)
    first, second, *rest = book.split("\n\n")
    Path("book.toml").write_text("\n\n".join([second, first, *rest]))
    assert shoal("load", "book.toml")["programs"][:3] == ["emergency", "storm", "contingency"]
    assert shoal("show", "storm")["goes_after"] == ["emergency"]


def test_group_is_enrolled_and_one_site_leaves(shoal: Any) -> None:
    enrolled = shoal("enrol", "market", "--group", "feeder-1", "--by", "ada")
    assert (enrolled["sites"], enrolled["changed"]) == (6, 6)
    assert shoal("opt-out", "market", FIRST, "--by", "ada")["changed"] == 1
    (market,) = [one for one in shoal("list") if one["id"] == "market"]
    assert (market["sites"], market["opted_out_sites"]) == (6, 1)
    assert shoal("opt-in", "market", FIRST)["changed"] == 1
    assert shoal("withdraw", "market", FIRST)["changed"] == 1
    assert shoal("show", "market")["sites"] == 5


def test_promises_are_made_and_shown(shoal: Any) -> None:
    at = ("--at", "2026-05-04T00:00:00Z")
    shoal("promise", FIRST, "--reserve", "0.5", "--cycles", "4", "--by", "ada", *at)
    assert {one["kind"]: one["amount"] for one in shoal("promise", FIRST, *at)} == {
        "reserve_frac": 0.5,
        "cycle_wh_per_day": 4_000.0,
    }
    shoal("promise", FIRST, "--cycles", "none", *at)
    assert [one["kind"] for one in shoal("promise", FIRST, *at)] == ["reserve_frac"]


def test_site_is_explained_by_what_is_on_record(shoal: Any) -> None:
    shoal("enrol", "market", FIRST)
    shoal("enrol", "storm", FIRST)
    shoal("enrol", "regulation", FIRST)
    shoal("opt-out", "regulation", FIRST)
    shoal("promise", FIRST, "--reserve", "0.5")
    told = {one["program"]: one for one in shoal("explain", FIRST, "--soc", "0.6")["programs"]}
    # a tenth of 13.5 kWh is above the reserve, less the losses on its way out
    assert told["market"]["discharge_w"] == pytest.approx(0.1 * 13_500 * 0.95, abs=2)
    assert "reserve" in told["market"]["reasons"]
    assert told["storm"]["held_wh"] == told["market"]["discharge_w"]
    assert told["regulation"]["reasons"] == ["opted_out"]
    assert told["peak"]["reasons"] == ["not_enrolled"]
    assert "the owner has left the program" in told["regulation"]["sentence"]
    full = {one["program"]: one for one in shoal("explain", FIRST)["programs"]}
    assert full["market"]["discharge_w"] > told["market"]["discharge_w"]
    assert "keeps 50% in reserve" in shoal("explain", FIRST, as_json=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "nothing"), "name one of: storm"),
        (("enrol", "nothing", FIRST), "program 'nothing' is not registered"),
        (("enrol", "market"), "name sites, or a --group"),
        (("enrol", "market", "nobody"), "site 'nobody' is not registered"),
        (("enrol", "market", "--group", "nowhere"), "group 'nowhere' is not registered"),
        (("promise", FIRST, "--reserve", "much"), "give a number, or 'none'"),
        (("promise", FIRST, "--reserve", "2"), "give a number from 0 to 1"),
        (("promise", FIRST, "--until", "2026-05-04T00:00:00Z"), "give --reserve or --cycles with it"),
        (("load", "missing.toml"), "it cannot be read"),
        (("explain", "nobody"), "site 'nobody' is not registered"),
    ],
)
def test_wrong_word_says_what_to_do(shoal: Any, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(ShoalError, match=said):
        shoal(*arguments)
