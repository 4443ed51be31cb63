"""`shoal command` and the routes of commands over a real database: said by the one, seen by the other, all of it kept."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from fastapi import FastAPI
from typer.testing import CliRunner

from shoal.api.commands.door import CommandDoor
from shoal.api.commands.routes import command_routes
from shoal.api.door.access import Gate
from shoal.api.problem import handle_faults
from shoal.cli import command
from shoal.domain.errors import InvalidInputError, ShoalError, UnknownIdError
from shoal.domain.interval import NS_PER_HOUR, iso
from shoal.programs.program import default_book
from shoal.store.database import migrate, open_database
from shoal.store.orders import Orders
from shoal.store.registry import Registry
from tests.integration.store.fleets import make_fleet

FLEET = make_fleet(12)


class Shell:
    """The commands over one database."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.app = typer.Typer()
        command.register(self.app)
        self.app.callback()(lambda: None)

    def run(self, *arguments: str) -> Any:
        return json.loads(self.text(*arguments, "--json"))

    def text(self, *arguments: str) -> str:
        line = ["command", *arguments, "--set", f"data_dir={self.directory}"]
        outcome = CliRunner().invoke(self.app, line)
        if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
            raise outcome.exception
        assert outcome.exit_code == 0, outcome.output
        return outcome.stdout


class Door:
    """The interface, asked without a socket."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def get(self, path: str, *, headers: dict[str, str] | None = None) -> httpx.Response:
        return asyncio.run(self._ask("GET", path, headers, None))

    def post(self, path: str, *, json: Any, headers: dict[str, str] | None = None) -> httpx.Response:
        return asyncio.run(self._ask("POST", path, headers, json))

    async def _ask(self, method: str, path: str, headers: dict[str, str] | None, body: Any) -> httpx.Response:
        transport = httpx.ASGITransport(app=self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, headers=headers, json=body)


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("registered") / "registry.db"
    migrate(f"sqlite:///{file}")
    engine = open_database(f"sqlite:///{file}")
    Registry(engine).load_fleet(FLEET, valid_from_ns=0)
    engine.dispose()
    return file


@pytest.fixture
def shell(tmp_path: Path, registered: Path) -> Shell:
    shutil.copy(registered, tmp_path / "registry.db")
    return Shell(tmp_path)


@pytest.fixture
def door(shell: Shell) -> Iterator[Door]:
    engine = open_database(f"sqlite:///{shell.directory / 'registry.db'}")
    app = FastAPI()
    app.include_router(
        command_routes(
            CommandDoor(
                orders=Orders(engine),
                fleet=FLEET,
                book=default_book(),
                now_ns=time.time_ns,
                may_release=["ann"],
            )
        )
    )
    handle_faults(app)
    app.add_middleware(Gate, token="look", operators={"ann": "a-token", "bob": "b-token"})
    yield Door(app)
    engine.dispose()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_setpoint_is_kept_shown_and_ended(shell: Shell) -> None:
    said = shell.run(
        "send", "--group", "feeder-1", "--discharge", "12.5", "--for", "30", "--by", "ann", "--reason", "test"
    )
    assert said["spec"] == {"type": "setpoint", "power_w": -12_500}
    assert said["end_ns"] - said["start_ns"] == NS_PER_HOUR // 2
    name = said["order_id"]
    assert name in shell.text("list")
    assert "discharge 12.5 kW together" in shell.text("list")
    assert shell.run("cancel", name, "--now", "--by", "bob")["state"] == "aborted"
    assert shell.run("list")["orders"] == []
    assert [one["state"] for one in shell.run("list", "--all")["orders"]] == ["aborted"]
    lines = shell.run("audit", "--about", name)
    assert [(line["by"], line["action"]) for line in lines] == [("bob", "abort"), ("ann", "put")]


def test_event_is_scheduled_changed_and_cancelled(shell: Shell) -> None:
    start_ns = (time.time_ns() // NS_PER_HOUR + 5) * NS_PER_HOUR
    said = shell.run(
        *("schedule", "power", "--start", iso(start_ns), "--for", "60", "--fleet", "--discharge", "20"),
        *("--slope", "2", "--canary", "0.2", "--id", "hot-day", "--by", "ann"),
    )
    assert said["order_id"] == "hot-day"
    assert said["spec"]["group_w"] == -20_000
    assert said["spec"]["ramp_s"] == 900
    assert said["spec"]["spread_s"] > 900
    assert said["canary"]["share_frac"] == 0.2
    later = shell.run("change", "hot-day", "--end", iso(start_ns + 2 * NS_PER_HOUR), "--discharge", "25")
    assert (later["revision"], later["spec"]["group_w"]) == (2, -25_000)
    assert later["end_ns"] == start_ns + 2 * NS_PER_HOUR
    assert "is cancelled" in shell.text("cancel", "hot-day", "--reason", "rain")


def test_kill_switch_is_thrown_and_released(shell: Shell) -> None:
    told = shell.text("kill", "--group", "feeder-1", "--reason", "smoke", "--by", "ann")
    (stop,) = shell.run("list")["stops"]
    assert stop["stop_id"] in told
    assert "STOPPED" in shell.text("list")
    shell.run("release", stop["stop_id"], "--reason", "no fire", "--by", "bob")
    assert shell.run("list")["stops"] == []
    assert shell.run("list", "--all")["stops"][0]["released_by"] == "bob"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["send", "--for", "5"], InvalidInputError),
        (["send", "--for", "5", "--fleet", "--group", "vpp"], InvalidInputError),
        (["send", "--for", "5", "--group", "nowhere"], UnknownIdError),
        (["send", "--for", "5", "--fleet", "--charge", "1", "--discharge", "1"], InvalidInputError),
        (["send", "--for", "5", "--fleet", "--charge", "-1"], InvalidInputError),
        (["send", "--for", "5", "--fleet", "--program", "nonsense"], InvalidInputError),
        (["send", "--for", "99999", "--fleet"], InvalidInputError),
        (
            ["schedule", "power", "--start", "2021-01-01T00:00:00Z", "--for", "5", "--fleet"],
            InvalidInputError,
        ),
        (["change", "nothing"], UnknownIdError),
        (["cancel", "nothing"], UnknownIdError),
        (["kill", "--site", "nobody", "--reason", "x"], UnknownIdError),
        (["kill", "--group", "vpp", "--group", "feeder-1", "--reason", "x"], InvalidInputError),
        (["release", "nothing", "--reason", "x"], UnknownIdError),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_kept(
    shell: Shell, arguments: list[str], error: type[ShoalError]
) -> None:
    with pytest.raises(error):
        shell.text(*arguments)
    assert shell.run("audit") == []


def test_event_without_the_notice_that_its_program_promises_is_refused(shell: Shell) -> None:
    soon = iso(time.time_ns() + NS_PER_HOUR // 2)
    with pytest.raises(InvalidInputError, match="notice"):
        shell.text("schedule", "hold", "--start", soon, "--for", "60", "--fleet", "--soc", "0.5")
    shell.run(
        "schedule", "hold", "--start", soon, "--for", "60", "--fleet", "--soc", "0.5", "--program", "storm"
    )


def test_doors_show_the_same_and_only_operators_act(shell: Shell, door: Door) -> None:
    asked = {"groups": ["feeder-1"], "minutes": 30, "charge_kw": 5.0}
    assert door.post("/api/commands/setpoints", json=asked, headers=bearer("look")).status_code == 403
    assert door.post("/api/commands/setpoints", json=asked).status_code == 401
    made = door.post("/api/commands/setpoints", json=asked, headers=bearer("a-token")).json()
    assert (made["by"], made["spec"]["power_w"]) == ("ann", 5_000)
    assert [one["order_id"] for one in shell.run("list")["orders"]] == [made["order_id"]]
    path = f"/api/commands/orders/{made['order_id']}"
    later_ms = made["end_ms"] + 60_000
    changed = door.post(f"{path}/change", json={"revision": 1, "end_ms": later_ms}, headers=bearer("b-token"))
    assert changed.json()["end_ms"] == later_ms
    again = door.post(f"{path}/change", json={"revision": 1}, headers=bearer("b-token"))
    assert again.status_code == 422
    assert door.get(path, headers=bearer("look")).json()["revision"] == 2
    assert (
        door.post(f"{path}/end", json={"now": True}, headers=bearer("a-token")).json()["state"] == "aborted"
    )
    assert door.get("/api/commands/orders", headers=bearer("look")).json() == []
    assert door.get("/api/commands/orders/nothing", headers=bearer("look")).status_code == 404
    lines = door.get("/api/commands/audit", headers=bearer("look")).json()
    assert [line["action"] for line in lines] == ["abort", "change", "put"]


def test_event_by_the_interface(door: Door) -> None:
    start_ms = (time.time_ns() // NS_PER_HOUR + 5) * 3_600_000
    asked = {
        "fleet": True,
        "kind": "charge",
        "start_ms": start_ms,
        "minutes": 60,
        "charge_kw": 2.0,
        "each": True,
        "soc_frac": 0.9,
        "slope_kw_per_min": 5.0,
        "canary": {"share_frac": 0.1},
    }
    made = door.post("/api/commands/events", json=asked, headers=bearer("a-token")).json()
    assert made["spec"]["battery_w"] == 2_000
    assert made["spec"]["ramp_s"] > 0
    bad = door.post("/api/commands/events", json={**asked, "soc_frac": 2}, headers=bearer("a-token"))
    assert bad.status_code == 422


def test_only_who_is_named_for_it_releases_a_kill_switch(shell: Shell, door: Door) -> None:
    stop = door.post(
        "/api/commands/stops", json={"fleet": True, "reason": "drill"}, headers=bearer("b-token")
    ).json()
    path = f"/api/commands/stops/{stop['stop_id']}/release"
    assert door.post(path, json={"reason": "over"}, headers=bearer("b-token")).status_code == 403
    assert len(door.get("/api/commands/stops", headers=bearer("look")).json()) == 1
    released = door.post(path, json={"reason": "over"}, headers=bearer("a-token")).json()
    assert released["released_by"] == "ann"
    assert door.get("/api/commands/stops", headers=bearer("look")).json() == []
    refused = shell.run("audit", "--refused")
    assert [(line["by"], line["reason"]) for line in refused] == [("bob", "not_authorised")]
