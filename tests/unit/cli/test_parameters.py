"""`shoal parameters` as an operator meets it: assume, hear devices, see the drift."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from shoal.cli import parameters
from shoal.cli.roles.host import sqlite_url
from shoal.domain.errors import InvalidInputError
from shoal.runtime.settings import load_settings
from shoal.store.database import migrate, open_database
from shoal.store.registry import Registry
from tests.integration.store.fleets import make_fleet

FLEET = make_fleet()
RESOURCE, FIRST = str(FLEET.resources[0].resource_id), str(FLEET.site_ids[0])
AT = ("--at", "2019-07-10T00:00:00Z")


@pytest.fixture
def shoal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(tmp_path)
    url = sqlite_url(load_settings(), "registry.db")
    migrate(url)
    engine = open_database(url)
    Registry(engine).load_fleet(FLEET, valid_from_ns=0)
    engine.dispose()
    command = typer.main.get_command(parameters.app)

    def run(*arguments: object, as_json: bool = True) -> Any:
        """Return what `shoal parameters ...` prints."""
        command.main([*map(str, arguments), *(["--json"] if as_json else [])], standalone_mode=False)
        printed = capsys.readouterr().out
        return json.loads(printed) if as_json else printed

    return run


def test_drift_of_a_firmware_update_is_seen(shoal: Any) -> None:
    assert "nothing is assumed" in shoal("drift", as_json=False)
    Path("assumed.json").write_text(json.dumps({FIRST: {"capacity_w": 5_000, "droop_frac": 0.017}}))
    told = shoal("assume", RESOURCE, "raise6sec", "assumed.json", "--by", "ada")
    assert (told["sites"], told["capacity_w"]) == (1, 5_000)
    Path("said.json").write_text(json.dumps({"site_id": FIRST, "droop_frac": 0.017}))
    assert shoal("report", "said.json", *AT) == {"reports": 1, "newer": 1}
    assert shoal("report", "said.json", *AT)["newer"] == 0
    (line,) = shoal("drift", *AT)
    assert (line["backed_w"], line["severity"]) == (5_000, "")
    Path("said.json").write_text(json.dumps([{"site_id": FIRST, "droop_frac": 0.037}]))
    shoal("report", "said.json", "--at", "2019-07-10T00:01:00Z")
    (line,) = shoal("drift", "--at", "2019-07-10T00:02:00Z")
    assert (line["backed_w"], line["withheld_w"], line["severity"]) == (0, 5_000, "critical")
    shown = shoal("drift", "--at", "2019-07-10T00:02:00Z", as_json=False)
    assert "droop of 1.70% is assumed, droop of 3.70% is reported" in shown
    shoal("assume", RESOURCE, "raise6sec")
    assert shoal("drift") == []


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[1]",
        '{"site_id": "site-00000", "drop_frac": 0.1}',
        '{"site_id": "site-00000", "droop_frac": "a"}',
        "{}",
    ],
)
def test_file_that_cannot_be_read_is_refused(shoal: Any, content: str) -> None:
    Path("said.json").write_text(content)
    with pytest.raises(InvalidInputError):
        shoal("report", "said.json")
