"""Several processes that own units, and the story that their log tells."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.fabric.plant import wait_until

Line = dict[str, Any]
PATIENCE_S = 60.0
"""Starting a process takes half a second, or ten on a machine that does much else."""
STEPS_OF_A_COMMIT_IN_FLIGHT = (0, 1)


@dataclass(kw_only=True)
class Owners:
    """Starts and stops processes that own `units` at the engine."""

    url: str
    keys: Path
    log: Path
    units: Sequence[str]
    every_s: float = 0.03
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    stopped: set[int] = field(default_factory=set)

    @classmethod
    @contextmanager
    def at(cls, url: str, keys: Path, log: Path, units: Sequence[str], **more: Any) -> Iterator[Owners]:
        owners = cls(url=url, keys=keys, log=log, units=units, **more)
        log.touch()
        try:
            yield owners
        finally:
            for process in owners.processes:
                process.kill()
                process.wait()

    def start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.integration.fabric.owner"),
                *(self.url, str(self.keys), str(self.log), ",".join(self.units), str(self.every_s)),
            ],
            cwd=Path(__file__).parents[3],
        )
        self.processes.append(process)
        return process

    def alive(self) -> list[subprocess.Popen[bytes]]:
        """Those that run and do not stand still."""
        return [p for p in self.processes if p.poll() is None and p.pid not in self.stopped]

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        os.kill(process.pid, signal.SIGSTOP)
        self.stopped.add(process.pid)

    def resume(self, process: subprocess.Popen[bytes]) -> None:
        os.kill(process.pid, signal.SIGCONT)
        self.stopped.discard(process.pid)

    def lines(self) -> list[Line]:
        return [json.loads(line) for line in self.log.read_bytes().splitlines()]

    def owners_now(self) -> dict[str, int]:
        """Return the process that gained each unit last, unless it said that it released or lost it."""
        owners: dict[str, tuple[int, int]] = {}
        for line in self.lines():
            unit, token = line["unit"], line["token"]
            if line["what"] == "gained" and token > owners.get(unit, (0, 0))[0]:
                owners[unit] = (token, line["pid"])
            elif line["what"] in ("released", "lost") and owners.get(unit, (0, 0))[0] == token:
                del owners[unit]
        return {unit: pid for unit, (_, pid) in owners.items()}

    async def wait_owned(self, *, balanced: bool = False) -> None:
        """Wait until every unit is owned by a process that runs, and by each of them about as many."""

        def owned() -> bool:
            alive = {process.pid for process in self.alive()}
            owners = list(self.owners_now().values())
            counts = [owners.count(pid) for pid in alive]
            return (
                len(owners) == len(self.units)
                and set(owners) <= alive
                and (not balanced or max(counts) - min(counts) <= 1)
            )

        await wait_until(owned, timeout_s=PATIENCE_S)


def check_story(lines: list[Line], units: Sequence[str]) -> int:
    """Assert that nobody committed out of turn and that no commit was lost; return how many owners there were."""
    changes = 0
    for unit in units:
        story = [line for line in lines if line["unit"] == unit]
        gains = sorted((line for line in story if line["what"] == "gained"), key=lambda line: line["token"])
        tokens = [line["token"] for line in gains]
        assert len(set(tokens)) == len(tokens), f"{unit}: a token was given twice"
        assert [line["at_s"] for line in gains] == sorted(line["at_s"] for line in gains)
        changes += len(gains)
        for gain, following in zip(gains, [*gains[1:], None], strict=True):
            commits = [
                line for line in story if line["what"] == "committed" and line["token"] == gain["token"]
            ]
            assert {line["pid"] for line in commits} <= {gain["pid"]}
            counts = [line["count"] for line in commits]
            # one without a line may lie before, when a commit was made and nobody lived to write it down
            assert counts == list(range(gain["count"] + 1, gain["count"] + 1 + len(counts)))
            if following is None:
                continue
            last = counts[-1] if counts else gain["count"]
            assert following["count"] - last in STEPS_OF_A_COMMIT_IN_FLIGHT, f"{unit}: a commit was lost"
            for line in commits:
                assert line["began_s"] < following["at_s"], f"{unit}: a former owner committed"
    return changes


def assert_never_valid_beside_another(lines: list[Line], units: Sequence[str]) -> None:
    """Assert that nobody took its lease for valid once somebody else had gained the unit."""
    for unit in units:
        story = [line for line in lines if line["unit"] == unit]
        for line in story:
            if line["what"] == "committed" and line["valid"]:
                assert not any(
                    other["what"] == "gained"
                    and other["token"] > line["token"]
                    and other["at_s"] < line["began_s"]
                    for other in story
                )


async def pause(seconds: float) -> None:
    """Let the processes go on for a while."""
    await asyncio.sleep(seconds)
