"""`shoal limit`, `shoal program hours` and the routes of limits over a real database: said by the one, seen by the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from shoal.cli import limit, program
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.store.database import migrate, open_database
from shoal.store.registry import Registry
from tests.integration.store.fleets import make_fleet
from tests.unit.api.doors import ask, make_plant

FLEET = make_fleet(6)
GROUP = str(FLEET.groups[-1].group_id)
SITE = str(FLEET.site_ids[0])


class Shell:
    """The commands over one database."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        url = f"sqlite:///{directory / 'registry.db'}"
        migrate(url)
        engine = open_database(url)
        Registry(engine).load_fleet(FLEET, valid_from_ns=0)
        engine.dispose()
        self.app = typer.Typer()
        limit.register(self.app)
        self.app.add_typer(program.app, name="program")

    def run(self, *arguments: str) -> Any:
        return json.loads(self.text(*arguments, "--json"))

    def text(self, *arguments: str) -> str:
        outcome = CliRunner().invoke(self.app, [*arguments, "--set", f"data_dir={self.directory}"])
        if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
            raise outcome.exception
        assert outcome.exit_code == 0, outcome.output
        return outcome.stdout


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_limit_is_set_listed_and_cleared(shell: Shell) -> None:
    assert shell.text("limit", "list") == "there is no limit\n"
    shell.run(
        "limit", "set", GROUP, "--import", "250", "--export", "0", "--reason", "old cable", "--by", "ada"
    )
    shell.run("limit", "set", "--site", SITE, "--export", "5")
    shell.run("limit", "envelope", GROUP, "--import", "300", "--export", "50", "--for", "30")
    held = shell.run("limit", "list")
    assert [(one["kind"], one["import_limit_w"], one["export_limit_w"]) for one in held["limits"]] == [
        ("group", 250_000, 0),
        ("site", None, 5_000),
    ]
    (envelope,) = held["envelopes"]
    assert envelope["end_ns"] - envelope["start_ns"] == 30 * 60 * 10**9
    assert held["state"] is None
    told = shell.text("limit", "list")
    assert "250 kW" in told
    assert "no cycle has looked at them yet" in told
    assert shell.run("limit", "envelope", GROUP, "--withdraw") == {"withdrawn": 1}
    shell.run("limit", "clear", GROUP)
    assert [one["target"] for one in shell.run("limit", "list")["limits"]] == [SITE]


@pytest.mark.parametrize(
    "wrong",
    [
        ("set", "nobody", "--import", "5"),
        ("set", GROUP),
        ("set",),
        ("envelope", GROUP, "--import", "5", "--export", "5", "--for", "5"),
        ("envelope", GROUP, "--import", "5", "--for", "5"),
    ],
)
def test_what_cannot_be_held_is_refused_with_what_to_do(shell: Shell, wrong: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInputError) as refused:
        shell.text("limit", *wrong)
    assert refused.value.fix
    with pytest.raises(UnknownIdError):
        shell.text("limit", "clear", GROUP)


def test_operators_document_is_taken_whole_or_not_at_all(shell: Shell, tmp_path: Path) -> None:
    shell.run("limit", "set", GROUP, "--import", "250")
    good = {
        "group": GROUP,
        "start": "2040-01-01T00:00:00Z",
        "end": "2040-01-01T00:05:00Z",
        "import_kw": 100,
        "export_kw": 20.5,
    }
    over = good | {"start": "2020-01-01T00:00:00Z", "end": "2020-01-01T00:05:00Z"}
    file = tmp_path / "issued.json"
    file.write_text(json.dumps([good, over]))
    (taken,) = shell.run("limit", "feed", str(file))
    assert taken["export_limit_w"] == 20_500
    for wrong in (
        [good, good | {"group": "gone"}],
        [good | {"end": "2040-01-01T00:00:00Z"}],
        [good | {"start": "2040-01-01T00:00:00"}],
        [good | {"import_kw": -1}],
        [good | {"site": SITE}],
        [good | {"issued": "2041-01-01T00:00:00Z"}],
        {"not": "a list"},
    ):
        file.write_text(json.dumps(wrong))
        with pytest.raises(InvalidInputError):
            shell.text("limit", "feed", str(file))
    assert len(shell.run("limit", "list")["envelopes"]) == 1


def test_owner_is_promised_hours(shell: Shell) -> None:
    assert shell.run("program", "hours", SITE) == []
    done = shell.run(
        "program", "hours", SITE, "--keep", "Mon-Fri 17-20", "--zone", "America/Chicago", "--by", "owner"
    )
    assert done["changed"] == 1
    for name in ("market", "self-consumption"):
        shell.run("program", "enrol", name, SITE)
    (kept,) = shell.run("program", "hours", SITE, "--at", "2030-01-07T23:30:00Z")
    assert (kept["hours"], kept["zone"], kept["away"]) == ("mon-fri 17:00-20:00", "America/Chicago", True)
    told = shell.run("program", "explain", SITE, "--at", "2030-01-07T23:30:00Z", "--soc", "0.6")
    reasons = {one["program"]: one["reasons"] for one in told["programs"]}
    assert reasons["market"] == ["hours"]
    assert "hours" not in reasons["self-consumption"]
    with pytest.raises(InvalidInputError, match="whose clock"):
        shell.text("program", "hours", SITE, "--keep", "17-20")
    shell.run("program", "hours", SITE, "--keep", "none")
    assert shell.run("program", "hours", SITE) == []


def test_interface_sets_limits_takes_envelopes_and_keeps_hours(tmp_path: Path) -> None:
    plant = make_plant(tmp_path)
    group, site = str(plant.fleet.groups[0].group_id), str(plant.fleet.site_ids[0])
    body = {"groups": [group], "import_limit_w": 9_000, "reason": "cable"}
    assert ask(plant, "PUT", "/api/limits", json=body).status_code == 200
    issued = {"group": group, "start": "2021-02-10T00:00:00Z", "end": "2021-02-20T00:00:00Z"}
    answer = ask(plant, "POST", "/api/limits/envelopes", json=[issued | {"import_kw": 5, "export_kw": 1}])
    assert answer.status_code == 200, answer.text
    seen = ask(plant, "GET", "/api/limits").json()
    assert seen["limits"][0]["import_limit_w"] == 9_000
    assert seen["envelopes"][0]["export_limit_w"] == 1_000
    assert seen["now"] is None
    assert ask(plant, "DELETE", f"/api/limits/group/{group}/envelopes").status_code == 204
    assert ask(plant, "DELETE", f"/api/limits/group/{group}").status_code == 204
    assert ask(plant, "DELETE", f"/api/limits/group/{group}").status_code == 404
    for wrong in ({"groups": ["gone"], "import_limit_w": 1}, {"groups": [group]}, {"import_limit_w": 1}):
        assert ask(plant, "PUT", "/api/limits", json=wrong).status_code == 422
    hours = {"hours": "00:00-24:00", "zone": "UTC"}
    kept = ask(plant, "PUT", f"/api/sites/{site}/hours", json=hours).json()
    assert kept["away"]
    assert ask(plant, "PUT", f"/api/sites/{site}/hours", json=hours | {"zone": "Mars"}).status_code == 422
    assert ask(plant, "DELETE", f"/api/sites/{site}/hours").status_code == 204
    assert not ask(plant, "GET", f"/api/sites/{site}/hours").json()["away"]


def test_limit_that_is_no_number_is_refused(shell: Shell) -> None:
    with pytest.raises(InvalidInputError, match="kW"):
        shell.text("limit", "set", GROUP, "--import", "inf")


@pytest.mark.parametrize("minutes", ["inf", "1e9"])
def test_envelope_for_no_time_that_ends_is_refused(shell: Shell, minutes: str) -> None:
    shell.run("limit", "set", GROUP, "--import", "250")
    with pytest.raises(InvalidInputError, match="minutes"):
        shell.text("limit", "envelope", GROUP, "--import", "1", "--export", "1", "--for", minutes)
