"""From silent sites to the page and back: the desk on a real fabric, the interface, and the command that takes note."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from nats.aio.msg import Msg

from shoal.api.app import create_app
from shoal.api.serve import bind, serve
from shoal.cli.interface import TOKEN_VARIABLE
from shoal.cli.main import run
from shoal.cli.roles.alarms import acknowledge_alarm
from shoal.domain.ids import GroupId
from shoal.domain.interval import NS_PER_S
from shoal.fabric.connection import connect
from shoal.fabric.keys import Role
from shoal.fabric.subjects import ASK_ALARMS, LIVE_ALARMS
from shoal.telemetry.alarms import AlarmDesk
from shoal.twin.conditions import Condition
from tests.integration.api.running import TIMEOUT_S, make_fabric
from tests.unit.api.doors import make_page, make_plant

OPERATORS = {"ada": "ada-ada-ada-ada"}


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[AlarmDesk, str]]:
    """A desk that answers on the fabric, and the address of the interface."""
    fabric, keys = make_fabric(folder)
    async with fabric, asyncio.timeout(3 * TIMEOUT_S):
        telemetry = await connect(fabric.url, seed=keys.seed(Role.TELEMETRY), name="telemetry")
        api = await connect(fabric.url, seed=keys.seed(Role.API), name="api")

        plant = make_plant(folder, acknowledge=partial(acknowledge_alarm, api))
        desk = AlarmDesk(
            fleet=plant.fleet,
            log=plant.alarms,
            publish=telemetry.publish,
            live_subject=LIVE_ALARMS,
            now_ns=lambda: 300 * NS_PER_S,
        )

        async def answer(message: Msg) -> None:
            await message.respond(await desk.answer(message.data))

        await telemetry.subscribe(ASK_ALARMS, cb=answer)
        await telemetry.flush()
        await plant.hub.subscribe(api)
        listening = bind("127.0.0.1", 0)
        app = create_app(plant, operators=OPERATORS, page=make_page(folder / "page"))
        work = [asyncio.create_task(one) for one in (plant.hub.run(), serve(app, listening), desk.keep())]
        try:
            yield desk, f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            for task in work:
                task.cancel()
            await asyncio.wait(work)
            await telemetry.close()
            await api.close()


async def shoal(*arguments: str) -> int:
    """Run a command of the command line in a thread and return its exit code."""

    def command_line() -> int:
        with pytest.raises(SystemExit) as ended:
            run(arguments)
        return int(ended.value.code or 0)

    return await asyncio.to_thread(command_line)


def test_alarm_goes_from_silent_sites_to_a_persons_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as (desk, url):
            rows = desk.fleet.rows_in(GroupId("feeder-1"))
            desk.see(rows, np.full(len(rows), Condition.SILENT, dtype=np.uint16))
            for tick in range(4):
                await desk.tick(60 * tick * NS_PER_S)
            found = await listed(url, capsys, alarms=2)
            assert {alarm["subject"] for alarm in found} == {"home-0", "home-1"}
            number = str(found[0]["number"])

            monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
            assert await shoal("alarms", "ack", number, "--url", url) == 2
            assert "operator" in capsys.readouterr().err
            monkeypatch.setenv(TOKEN_VARIABLE, OPERATORS["ada"])
            assert await shoal("alarms", "ack", number, "--url", url, "--note", "crew sent") == 0
            assert "acknowledged by ada" in capsys.readouterr().out
            assert await shoal("alarms", "show", number, "--url", url) == 0
            assert "ada: crew sent" in capsys.readouterr().out
            (noted,) = [a for a in await listed(url, capsys, alarms=2) if a["acknowledged_by"]]
            assert str(noted["number"]) == number
            assert await shoal("alarms", "ack", "99", "--url", url) == 2

            desk.see(rows, np.zeros(len(rows), dtype=np.uint16))
            for tick in range(10, 15):
                await desk.tick(60 * tick * NS_PER_S)
            await listed(url, capsys, alarms=0)
            assert await shoal("alarms", "list", "--history", "--url", url) == 0
            assert len(capsys.readouterr().out.splitlines()) == 2

    asyncio.run(scenario())


async def listed(url: str, capsys: pytest.CaptureFixture[str], *, alarms: int) -> list[dict[str, object]]:
    """Return what the command lists, once there are so many."""
    found: list[dict[str, object]] = []
    async with asyncio.timeout(TIMEOUT_S):
        for wait_s in itertools.repeat(0.05):
            capsys.readouterr()
            assert await shoal("alarms", "list", "--json", "--url", url) == 0
            found = json.loads(capsys.readouterr().out)
            if len(found) == alarms:
                break
            await asyncio.sleep(wait_s)
    return found
