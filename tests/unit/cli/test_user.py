"""`shoal user` as an administrator meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from shoal.cli import user
from shoal.cli.roles.host import sqlite_url
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.runtime.settings import load_settings
from shoal.store.database import migrate, open_database
from shoal.store.registry import Registry
from shoal.store.users import Users
from tests.integration.store.fleets import make_fleet

PASSWORD = "four plain words here"


@pytest.fixture
def shoal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    url = sqlite_url(load_settings(), "registry.db")
    migrate(url)
    engine = open_database(url)
    Registry(engine).load_fleet(make_fleet(), valid_from_ns=0)
    engine.dispose()
    runner = CliRunner()

    def run(*arguments: str, typed: str = f"{PASSWORD}\n") -> Any:
        """Return what `shoal user ...` prints as JSON; raises what it raises."""
        result = runner.invoke(user.app, [*arguments, "--json"], input=typed)
        if result.exception is not None:
            raise result.exception
        return json.loads(result.stdout)

    return run


def test_user_comes_changes_and_goes(shoal: Callable[..., Any], tmp_path: Path) -> None:
    added = shoal("add", "Ada", "--role", "operator", "--role", "viewer", "--password-stdin", "--by", "root")
    assert (added["name"], added["roles"], added["made_by"]) == ("ada", ["viewer", "operator"], "root")
    users = Users(open_database(sqlite_url(load_settings(), "registry.db")))
    assert users.verify("ada", PASSWORD) is not None
    assert users.verify("ada", "something else") is None
    shoal("password", "ada", "--password-stdin", typed="another four plain words\n")
    assert users.verify("ada", PASSWORD) is None
    assert users.verify("ADA", "another four plain words") is not None
    assert shoal("role", "ada", "--role", "admin")["roles"] == ["admin"]
    assert [one["name"] for one in shoal("list")] == ["ada"]
    shoal("remove", "ada")
    assert shoal("list") == []
    assert [step.action for step in users.steps(10)] == ["removed", "changed", "password", "added"]
    assert "four plain words" not in (tmp_path / ".shoal" / "registry.db").read_bytes().decode("latin-1")


def test_homeowner_has_sites_of_the_fleet(shoal: Callable[..., Any]) -> None:
    assert shoal("add", "mia", "--site", "site-00000", "--password-stdin")["roles"] == ["homeowner"]
    with pytest.raises(UnknownIdError):
        shoal("add", "max", "--site", "nowhere", "--password-stdin")
    assert shoal("role", "mia", "--role", "viewer")["sites"] == []


@pytest.mark.parametrize(
    ("arguments", "typed"),
    [
        (("add", "ada", "--role", "king", "--password-stdin"), PASSWORD),
        (("add", "ada smith", "--password-stdin"), PASSWORD),
        (("add", "ada", "--password-stdin"), "short"),
        (("add", "ada", "--role", "homeowner", "--password-stdin"), PASSWORD),
    ],
)
def test_what_cannot_be_is_refused(shoal: Callable[..., Any], arguments: tuple[str, ...], typed: str) -> None:
    with pytest.raises(InvalidInputError):
        shoal(*arguments, typed=f"{typed}\n")
    assert shoal("list") == []


def test_nobody_is_added_twice_or_changed_who_is_not_there(shoal: Callable[..., Any]) -> None:
    shoal("add", "ada", "--password-stdin")
    with pytest.raises(InvalidInputError):
        shoal("add", "ADA", "--password-stdin")
    for command in (
        ("remove", "eve"),
        ("role", "eve", "--role", "viewer"),
        ("password", "eve", "--password-stdin"),
    ):
        with pytest.raises(UnknownIdError):
            shoal(*command)
