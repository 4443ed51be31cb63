"""The conductor of a stepped run: tells every stage the instant, in order, and waits until each is done.

Within one step the stages act one after the other (world, measure, decide, act, observe); what one stage counted
is told to the next. A participant that dies is waited for: when it joins again it is given the step that it owes.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from shoal.domain.clock import Stage
from shoal.domain.interval import NS_PER_S

_MAX_LINE_BYTES: Final = 16 << 20


class Conductor:
    """Moves time for a fixed set of participants.

    Args:
        participants: Stage by name; every one is waited for at every step.
        token: The run's secret; a participant without it is refused.
        on_stall: Called with the names waited for, once for each `stall_s` of wall time without an answer.
        stall_s: How long a stage may take before `on_stall` hears of it.
    """

    def __init__(
        self,
        *,
        participants: Mapping[str, Stage],
        token: str,
        on_stall: Callable[[list[str], float], None] | None = None,
        stall_s: float = 30.0,
    ) -> None:
        self._participants = dict(participants)
        self._token = token
        self._on_stall = on_stall
        self._stall_s = stall_s
        self._writers: dict[str, asyncio.StreamWriter] = {}
        self._every_ns: dict[str, int] = {}
        self._owed: dict[str, bytes] = {}
        self._steps: list[tuple[int, int]] = []
        self._told: dict[str, int] = {}
        self._answers: dict[str, dict[str, Any]] = {}
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self.accounts: dict[str, dict[str, Any]] = {}
        self.stage_wall_s: dict[str, float] = {}

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> tuple[str, int]:
        """Listen and return the address."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=_MAX_LINE_BYTES)
        bound = self._server.sockets[0].getsockname()
        return str(bound[0]), int(bound[1])

    async def wait_joined(self) -> None:
        """Return when every participant is connected."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._writers.keys() >= self._participants.keys())

    def missing(self) -> list[str]:
        """Return the participants that are not connected."""
        return sorted(self._participants.keys() - self._writers.keys())

    async def step(self, t_ns: int, facts: Mapping[str, int]) -> dict[str, int]:
        """Let every stage act on the instant; return `facts` with what was counted on the way.

        Who asked for ticks at longer periods acts only at multiples of them, and when the run is closed.
        """
        counted = dict(facts)
        self._steps.append((time.time_ns(), t_ns))
        for stage in Stage:
            names = [
                name
                for name, at in self._participants.items()
                if at == stage and ("closing" in facts or t_ns % self._every_ns.get(name, 1) == 0)
            ]
            if names:
                await self._one_stage(stage, names, t_ns, counted)
        return counted

    async def _one_stage(self, stage: Stage, names: list[str], t_ns: int, counted: dict[str, int]) -> None:
        started = time.monotonic()
        self._answers = {}
        for name in names:
            # every step since the participant's last tick: it tells from them when in the run a message came
            steps = self._steps[self._told.get(name, 0) :]
            self._told[name] = len(self._steps)
            self._owed[name] = msgspec.json.encode(
                {"op": "tick", "t_ns": t_ns, "steps": steps, "facts": counted, "replay": False}
            )
            self._send(name, self._owed[name])
        while self._owed:
            try:
                async with asyncio.timeout(self._stall_s), self._changed:
                    await self._changed.wait_for(lambda: not self._owed)
            except TimeoutError:
                if self._on_stall:
                    self._on_stall(sorted(self._owed), time.monotonic() - started)
        key = stage.name.lower()
        self.stage_wall_s[key] = self.stage_wall_s.get(key, 0.0) + time.monotonic() - started
        for name in sorted(self._answers):
            answer = self._answers[name]
            counted.update(answer["facts"])
            if answer["account"]:
                self.accounts.setdefault(name, {}).update(answer["account"])

    def _send(self, name: str, line: bytes) -> None:
        writer = self._writers.get(name)
        if writer is not None and not writer.is_closing():
            writer.write(line + b"\n")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = ""
        try:
            hello = msgspec.json.decode(await reader.readline())
            name = str(hello["name"])
            told, expected = str(hello["token"]).encode(), self._token.encode()
            if not hmac.compare_digest(told, expected) or name not in self._participants:
                return
            async with self._changed:
                self._writers[name] = writer
                self._every_ns[name] = max(int(float(hello["every_s"]) * NS_PER_S), 1)
                owed = self._owed.get(name)
                if self._steps:
                    self._send(name, msgspec.json.encode({"op": "past", "steps": self._steps}))
                    self._told[name] = len(self._steps)
                if owed is not None:
                    self._send(name, owed.replace(b'"replay":false', b'"replay":true'))
                self._changed.notify_all()
            while line := await reader.readline():
                answer = msgspec.json.decode(line)
                async with self._changed:
                    owed = self._owed.get(name)
                    if owed is not None and msgspec.json.decode(owed)["t_ns"] == answer["t_ns"]:
                        del self._owed[name]
                        self._answers[name] = answer
                    self._changed.notify_all()
        except (ConnectionError, msgspec.DecodeError, KeyError, TypeError, ValueError):
            pass
        finally:
            if self._writers.get(name) is writer:
                del self._writers[name]
            writer.close()

    async def stop(self) -> None:
        """Tell every participant to stop and close the door."""
        for name in self._participants:
            self._send(name, msgspec.json.encode({"op": "stop"}))
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers.values()):
                writer.close()
            await self._server.wait_closed()
