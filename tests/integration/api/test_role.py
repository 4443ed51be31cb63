"""The API role as a process runs it: composed from settings, ready on its port, ending in order."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from shoal.cli.roles.api import api, live_model
from shoal.cli.roles.host import Host
from shoal.cli.roles.telemetry import telemetry
from shoal.domain.errors import SettingsError
from shoal.runtime.child import READY_FILE_VARIABLE
from shoal.runtime.clock import SystemClock
from shoal.runtime.ops import OpsServer
from shoal.runtime.settings import Settings
from tests.integration.api.running import TIMEOUT_S, make_fabric, publish_fleet
from tests.unit.api.doors import database
from tests.unit.api.plants import make_fleet


def make_host(folder: Path, role: str = "api", /, **values: object) -> Host:
    settings = Settings().with_values({"data_dir": str(folder), "api.port": 0, **values}, "the test")
    ops = OpsServer(role=role, ready=lambda: "")
    return Host(role=role, settings=settings, clock=SystemClock(), ops=ops)


async def port_of(ready_file: Path, task: asyncio.Task[None]) -> int:
    async with asyncio.timeout(TIMEOUT_S):
        while not ready_file.exists():
            if task.done():
                task.result()
            await asyncio.sleep(0.01)
    return int(json.loads(ready_file.read_text())["port"])


def test_role_serves_until_it_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready_file = tmp_path / "ready.json"
    monkeypatch.setenv(READY_FILE_VARIABLE, str(ready_file))
    (tmp_path / "registry.db").write_bytes(database())
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "roles.json").write_text('[{"role": "control", "status": "ready", "restarts": 3}]')

    async def scenario() -> None:
        fabric, keys = make_fabric(tmp_path)
        async with fabric, asyncio.timeout(3 * TIMEOUT_S):
            await publish_fleet(fabric, keys, make_fleet())
            host = make_host(tmp_path, **{"fabric.url": fabric.url})
            role = asyncio.create_task(api(host))
            port = await port_of(ready_file, role)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as caller:
                assert (await caller.get("/api/sites")).json()["total"] == 3
                metrics = (await caller.get("/metrics")).text
                assert "shoal_api_live_clients 0.0" in metrics
            async with connect(f"ws://127.0.0.1:{port}/api/live") as live:
                snapshot = json.loads(await live.recv())
                assert snapshot["state"]["speed"] == 1.0
                health = snapshot["state"]["health"]
                while not health:
                    health = json.loads(await live.recv())["set"].get("health", [])
                assert health == [{"role": "control", "status": "up", "restarts": 3, "since_ms": None}]
                role.cancel()
                with pytest.raises(ConnectionClosed):
                    while True:
                        await live.recv()
            with pytest.raises(asyncio.CancelledError):
                await role
            with pytest.raises(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                pass

    asyncio.run(scenario())


def test_a_site_is_answered_by_the_shard_that_owns_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both roles run as they do in a plant; when the twins' role ends, its sites cannot be asked any more."""
    ready_file = tmp_path / "ready.json"
    monkeypatch.setenv(READY_FILE_VARIABLE, str(ready_file))
    (tmp_path / "registry.db").write_bytes(database())

    async def scenario() -> None:
        fabric, keys = make_fabric(tmp_path)
        async with fabric, asyncio.timeout(4 * TIMEOUT_S):
            await publish_fleet(fabric, keys, make_fleet(), shards=2)
            values = {"fabric.url": fabric.url, "telemetry.shards": 2, "telemetry.checkpoint_every_s": 0.5}
            serving = asyncio.create_task(api(make_host(tmp_path, **values)))
            port = await port_of(ready_file, serving)
            twins = asyncio.create_task(telemetry(make_host(tmp_path, "telemetry", **values)))
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT_S) as caller:
                owned = await until_owned(caller, twins, shards=2)
                assert [unit["unit"] for unit in owned] == ["shard_0", "shard_1", "aggregate"]
                assert len({unit["owner"] for unit in owned}) == 1
                assert (owned[0]["journal_end"], owned[0]["behind"]) == (0, 0)
                shown = (await caller.get("/api/sites/home-0")).json()
                assert (shown["grade"], shown["heard_ms"], shown["token"]) == ("unknown", None, 1)
                found = (await caller.get("/api/twins", params={"state": "silent"})).json()
                assert [twin["site_id"] for twin in found["twins"]] == ["home-0", "home-1", "bess-0"]
                groups: dict[str, Any] = {"as_of_ms": None}
                while groups["as_of_ms"] is None:
                    groups = (await caller.get("/api/groups")).json()
                    await asyncio.sleep(0.05)
                assert [group["unknown"] for group in groups["groups"]] == [2, 1, 2]
                twins.cancel()
                await asyncio.wait([twins])
                gone = await caller.get("/api/sites/home-0")
                assert gone.status_code == 503
                assert "does not answer" in gone.json()["detail"]
                assert not any(
                    unit["owner"] and unit["alive"] for unit in (await caller.get("/api/owners")).json()
                )
            serving.cancel()
            await asyncio.wait([serving])

    asyncio.run(scenario())


async def until_owned(
    caller: httpx.AsyncClient, twins: asyncio.Task[None], *, shards: int
) -> list[dict[str, Any]]:
    """Wait until every unit has a live owner, and its state was kept once."""
    while True:
        if twins.done():
            twins.result()
        answer = await caller.get("/api/owners")
        owned: list[dict[str, Any]] = answer.json() if answer.status_code == 200 else []
        if len(owned) == shards + 1 and all(unit["alive"] for unit in owned):
            return owned
        await asyncio.sleep(0.05)


def test_role_refuses_to_listen_beyond_loopback_without_a_token(tmp_path: Path) -> None:
    host = make_host(tmp_path, **{"api.host": "0.0.0.0"})
    with pytest.raises(SettingsError, match=r"api\.token"):
        asyncio.run(api(host))


def test_run_of_recorded_days_has_its_span_and_speed(tmp_path: Path) -> None:
    values = {"demo.from_day": "2021-02-10", "demo.duration_s": 86_400, "demo.speed": 0}
    settings = Settings().with_values(values, "the test")
    shown = live_model(settings, make_fleet(), conducted=True).snapshot()
    assert shown.run is not None
    assert shown.run.from_ms == 1_612_936_800_000  # midnight in Texas
    assert shown.run.to_ms - shown.run.from_ms == 86_400_000
    assert shown.speed is None
    live = live_model(settings, make_fleet(), conducted=False).snapshot()
    assert (live.run, live.speed) == (None, 1.0)
