"""A process that owns units and counts in their registers: `python -m tests.integration.fabric.owner <arguments>`.

Each step is one line of JSON in a file, written whole before the next begins, with a clock that all processes share:
so a test can tell afterwards who could commit what, and when, even of a process that was killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoal.domain.errors import FencedOutError, UnavailableError
from shoal.fabric.connection import connect
from shoal.fabric.keys import Keys, Role
from shoal.fabric.ownership import Gained, Lost, Ownership, Recalled
from shoal.fabric.subjects import LIVE_GROUP
from shoal.fabric.tenure import Tenure


@dataclass(kw_only=True)
class Owner:
    """Counts up in the state of every unit that it owns."""

    ownership: Ownership
    log: int
    every_s: float

    def tell(self, what: str, tenure: Tenure, **facts: Any) -> None:
        line = {"what": what, "unit": tenure.unit, "token": tenure.token, "pid": os.getpid(), **facts}
        os.write(self.log, json.dumps({"at_s": time.monotonic(), **line}).encode() + b"\n")

    async def work(self) -> None:
        working: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as tasks:
            async for event in self.ownership.events():
                tenure = event.tenure
                match event:
                    case Gained():
                        self.tell("gained", tenure, count=int(tenure.state or b"0"))
                        working[tenure.unit] = tasks.create_task(self.count(tenure))
                    case Recalled():
                        working.pop(tenure.unit).cancel()
                        tasks.create_task(self.hand_over(tenure))
                    case Lost():
                        self.tell("lost", tenure)
                        if tenure.unit in working:
                            working.pop(tenure.unit).cancel()
            for task in working.values():
                task.cancel()

    async def count(self, tenure: Tenure) -> None:
        while True:
            count = int(tenure.state or b"0") + 1
            began_s, was_valid = time.monotonic(), tenure.valid()
            try:
                await tenure.commit(str(count).encode())
            except FencedOutError:
                self.tell("refused", tenure, began_s=began_s)
                return
            except UnavailableError:
                continue
            self.tell("committed", tenure, count=count, began_s=began_s, valid=was_valid)
            await asyncio.sleep(self.every_s)

    async def hand_over(self, tenure: Tenure) -> None:
        try:
            await tenure.release()
        except (FencedOutError, UnavailableError):
            return
        self.tell("released", tenure, count=int(tenure.state or b"0"))


async def main(url: str, keys: str, log: str, units: str, every_s: str) -> None:
    seed = Keys.create_or_load(Path(keys)).seed(Role.TELEMETRY)
    client = await connect(url, seed=seed, name="owner", timeout_s=30.0)
    ownership = Ownership(client, group=LIVE_GROUP, member=f"owner-{os.getpid()}", units=units.split(","))
    owner = Owner(
        ownership=ownership,
        log=os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        every_s=float(every_s),
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ownership.leave)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ownership.run())
        tasks.create_task(owner.work())
    await client.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
