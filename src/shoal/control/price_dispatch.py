"""The fleet optimum over NATS: one broadcast of prices a round goes down, and only sums by group come up.

Whoever holds homes (a worker, a gateway, a site's own agent) serves them; whoever searches calls the roll, asks, waits until all
have answered or the round's time is over, and ignores what comes later. Both sides keep no state between searches.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from math import inf

import numpy as np
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from numpy.typing import NDArray

from shoal.control import price_dispatch_wire as wire
from shoal.domain.errors import InvalidInputError, ShoalError, UnavailableError, WireFormatError
from shoal.fabric.connection import translated
from shoal.optimise.fleet_optimum import Answer, Ask, FleetPlan, FleetSearch
from shoal.optimise.fleet_optimum_parts import LocalHomes, Part, PartLedger
from shoal.optimise.home_batch import GroupSums, HomeBatch, Mixing

_log = structlog.get_logger(__name__)

OnKeep = Callable[[Ask], None]
"""Called with the prices and shares that homes are to follow; must not block."""


def prices_subject(fleet: str) -> str:
    """Return the subject on which a fleet's prices go down.

    Raises:
        InvalidInputError: the name is no single word of a subject.
    """
    if not fleet or any(letter in fleet for letter in " .*>\t\r\n"):
        raise InvalidInputError(field="fleet", value=fleet, fix="give a name without spaces, dots, * and >")
    return f"homes.{fleet}.prices"


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchStatistics:
    """What a search moved.

    Attributes:
        parts: Parts that answered the roll.
        rounds: Asks sent, those to a sample and those that try a result too.
        down_bytes: Payload that went down; each once, whoever listens.
        up_bytes: Payload that came up, from all parts.
        silent: Answers that did not come in time, over all rounds.
        late: Answers that came for a round that was over.
        refused: Messages that could not be read.
        silent_sites: Some of the homes that did not answer the last round, where their part tells them apart.
    """

    parts: int
    rounds: int
    down_bytes: int
    up_bytes: int
    silent: int
    late: int
    refused: int
    silent_sites: tuple[str, ...] = ()


class PriceDispatch:
    """Searches for the prices of a fleet whose homes are behind a network.

    Args:
        client: A connection that may publish the fleet's prices.
        fleet: The fleet's name.
        feeder_of: The feeder of each group, shape (G,).
        steps: How many intervals a search looks ahead.
        round_timeout_s: How long a round waits for those who have not answered, in seconds.
        roll_timeout_s: How long the roll call waits, in seconds.
        start_ns: When the first interval begins, for parts that ask homes of their own.
        step_s: Length of each interval, likewise.
    """

    def __init__(
        self,
        client: Client,
        *,
        fleet: str,
        feeder_of: NDArray[np.int64],
        steps: int,
        round_timeout_s: float = 2.0,
        roll_timeout_s: float = 1.0,
        start_ns: int = 0,
        step_s: int = 0,
    ) -> None:
        self._client, self._subject = client, prices_subject(fleet)
        self._start_ns, self._step_s = start_ns, step_s
        self._feeder_of, self._steps = feeder_of, steps
        self._round_timeout_s, self._roll_timeout_s = round_timeout_s, roll_timeout_s
        self._parts: dict[str, Part] = {}
        self._search = ""
        self._number = -1
        self._answers: dict[str, GroupSums] = {}
        self._present: dict[str, Part] = {}
        self._local: dict[str, Callable[[Ask], GroupSums]] = {}
        self._rolled = False
        self._ledger: PartLedger | None = None
        self._counted: dict[str, tuple[int, int]] = {}
        """By part, how many homes answered the last round, and how many any of the search; only where a part says so."""
        self._silent_sites: dict[str, tuple[str, ...]] = {}
        self._came = asyncio.Event()
        self._rounds = self._down_bytes = self._up_bytes = self._silent = self._late = self._refused = 0

    @property
    def parts(self) -> dict[str, Part]:
        """The parts of the last roll call by name."""
        return dict(self._parts)

    @property
    def homes_count(self) -> int:
        """How many homes the last roll call found."""
        return int(sum(part.homes_count.sum() for part in self._parts.values()))

    def statistics(self) -> DispatchStatistics:
        """Return what was moved since this was made."""
        return DispatchStatistics(
            parts=len(self._parts),
            rounds=self._rounds,
            down_bytes=self._down_bytes,
            up_bytes=self._up_bytes,
            silent=self._silent,
            late=self._late,
            refused=self._refused,
            silent_sites=tuple(name for part in self._silent_sites.values() for name in part),
        )

    async def call_roll(self, *, expected: int | None = None) -> dict[str, Part]:
        """Ask who is there; parts of an earlier roll that do not answer stay, as silent ones.

        Args:
            expected: How many parts are known to be there: the call ends early when they have answered.

        Raises:
            UnavailableError: the connection is gone.
        """
        self._search, self._number, self._present = secrets.token_hex(8), -1, {}
        self._rolled = True
        call = wire.Call(
            search=self._search,
            groups=self._feeder_of.size,
            steps=self._steps,
            start_ns=self._start_ns,
            step_s=self._step_s,
            wait_s=self._roll_timeout_s,
        )
        async with self._listening() as inbox:
            await self._send(wire.encode(call), inbox)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._roll_timeout_s):
                    while expected is None or len(self._present) < expected:
                        self._came.clear()
                        await self._came.wait()
        self._parts.update(self._present)
        return self.parts

    def add_local(self, name: str, part: Part, sums: Callable[[Ask], GroupSums]) -> None:
        """Let homes of this process take part: `sums` answers an ask, in a thread; call it before `solve`."""
        self._parts[name] = part
        self._local[name] = sums

    async def solve(self, search: FleetSearch, *, within_s: float = inf) -> FleetPlan:
        """Drive a search to its end and return its plan.

        Args:
            search: The search.
            within_s: After so long it is ended as it stands; the gap says what is left.

        Raises:
            UnavailableError: the connection is gone, or no part has answered any roll call.
        """
        if not self._parts:
            raise UnavailableError("the fleet", "nobody has answered a roll call")
        self._ledger = PartLedger(self._parts, self._feeder_of)
        if not self._rolled:
            self._search = secrets.token_hex(8)
        self._rolled = False
        self._counted.clear()
        ends_s = time.monotonic() + within_s
        async with self._listening() as inbox:
            while (ask := search.ask) is not None:
                answer = await self._answered(ask, inbox)
                await asyncio.to_thread(search.tell, answer)
                if time.monotonic() >= ends_s and ask.sample_frac >= 1.0:
                    break
        return search.plan()

    async def try_out(self, ask: Ask) -> Answer:
        """Return what the homes would do under a mixture, after a search; its number must be one that the search had not.

        Raises:
            UnavailableError: the connection is gone, or nothing was searched for.
        """
        async with self._listening() as inbox:
            return await self._answered(ask, inbox)

    async def _answered(self, ask: Ask, inbox: str) -> Answer:
        ledger = self._ledger
        if ledger is None:
            raise UnavailableError("the fleet", "nothing was searched for")
        down = wire.down_of(
            self._search,
            ask,
            start_ns=self._start_ns,
            step_s=self._step_s,
            wait_s=self._round_timeout_s,
        )
        remote = self._round(down, inbox, expected=self._parts.keys() - self._local.keys())
        here = asyncio.gather(*(asyncio.to_thread(sums, ask) for sums in self._local.values()))
        answers, local = await asyncio.gather(remote, here)
        answers |= dict(zip(self._local, local, strict=True))
        if not answers and not ledger.started:
            raise UnavailableError("the fleet", "no part answers")
        return self._by_homes(await asyncio.to_thread(ledger.combine, ask, answers), answers)

    def _by_homes(self, answer: Answer, answers: Mapping[str, GroupSums]) -> Answer:
        """Return the answer with shares of homes where parts tell their homes apart."""
        whole = max(self.homes_count, 1)
        answered_frac, heard_frac = answer.answered_frac, answer.heard_frac
        for part, (answered, heard) in self._counted.items():
            homes = int(self._parts[part].homes_count.sum())
            answered_frac += (answered - homes) / whole if part in answers else 0.0
            heard_frac += (heard - homes) / whole
        return replace(answer, answered_frac=max(answered_frac, 0.0), heard_frac=max(heard_frac, 0.0))

    async def keep(self, plan: FleetPlan, *, how: Mixing = "choose") -> dict[str, GroupSums]:
        """Tell all homes to follow a plan; return what the parts that confirm it will do.

        Raises:
            UnavailableError: the connection is gone.
        """
        ask = Ask(number=0, prices_per_kwh=plan.prices_per_kwh, weights=plan.weights, how=how)
        self._search = secrets.token_hex(8)
        async with self._listening() as inbox:
            return await self._round(
                wire.down_of(self._search, ask, keep=True), inbox, expected=set(self._parts)
            )

    async def _round(self, message: wire.Down, inbox: str, *, expected: set[str]) -> dict[str, GroupSums]:
        self._number, self._answers = message.number, {}
        self._rounds += 1
        await self._send(wire.encode(message), inbox)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._round_timeout_s):
                while expected - self._answers.keys():
                    self._came.clear()
                    await self._came.wait()
        answers, self._number = dict(self._answers), -1
        self._silent += len(expected - answers.keys())
        return answers

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[str]:
        inbox = self._client.new_inbox()
        with translated("the fabric"):
            subscription = await self._client.subscribe(inbox, cb=self._take)
        try:
            yield inbox
        finally:
            with contextlib.suppress(UnavailableError), translated("the fabric"):
                await subscription.unsubscribe()

    async def _send(self, payload: bytes, inbox: str) -> None:
        if len(payload) > self._client.max_payload:
            raise InvalidInputError(
                field="prices",
                value=f"{len(payload)} bytes",
                fix=f"stay below the server's {self._client.max_payload}: fewer feeders or groups a search",
            )
        self._down_bytes += len(payload)
        with translated("the fabric"):
            await self._client.publish(self._subject, payload, reply=inbox)

    async def _take(self, message: Msg) -> None:
        self._up_bytes += len(message.data)
        try:
            said = wire.decode_up(message.data)
            if said.search != self._search:
                self._late += 1
            elif isinstance(said, wire.Present):
                self._present[said.part] = wire.part_of(said, self._feeder_of.size, self._steps)
            elif said.number != self._number or said.part not in self._parts:
                self._late += 1
            else:
                self._answers[said.part] = wire.sums_of(said, self._feeder_of.size, self._steps)
                if said.answered >= 0:
                    self._counted[said.part] = (said.answered, said.heard)
                    self._silent_sites[said.part] = said.silent
        except WireFormatError as error:
            self._refused += 1
            _log.warning("answer refused", reason=error.reason, detail=error.detail)
        self._came.set()


async def serve_homes(
    client: Client,
    batch: HomeBatch,
    *,
    fleet: str,
    part: str,
    on_keep: OnKeep | None = None,
    ready: asyncio.Event | None = None,
) -> None:
    """Answer for homes until cancelled; of several asks that wait, only the newest is answered.

    Args:
        client: A connection that may hear the fleet's prices and answer them.
        batch: The homes.
        fleet: The fleet's name.
        part: A name for these homes, of their own among the fleet's.
        on_keep: Told what homes are to follow.
        ready: Set when asks are heard.

    Raises:
        UnavailableError: the connection is gone.
    """
    homes, whole = LocalHomes(batch), Part.of(batch)

    async def answer(payload: bytes) -> bytes:
        return await _answer(homes, whole, part, payload, on_keep)

    await answer_newest(client, fleet, answer, ready=ready)


async def answer_newest(
    client: Client,
    fleet: str,
    answer: Callable[[bytes], Awaitable[bytes | None]],
    *,
    ready: asyncio.Event | None = None,
) -> None:
    """Answer a fleet's asks until cancelled; of several that wait, only the newest.

    Args:
        client: A connection that may hear the fleet's prices and answer them.
        fleet: The fleet's name.
        answer: Makes the answer; None for none. A `ShoalError` that it raises is logged, and that ask left out.
        ready: Set when asks are heard.

    Raises:
        UnavailableError: the connection is gone.
    """
    waiting: list[Msg] = []
    came = asyncio.Event()

    async def take(message: Msg) -> None:
        waiting.append(message)
        came.set()

    with translated("the fabric"):
        subscription = await client.subscribe(prices_subject(fleet), cb=take)
        await client.flush()
    if ready is not None:
        ready.set()
    try:
        while True:
            await came.wait()
            came.clear()
            messages = [message for message in waiting if message.reply]
            waiting.clear()
            if not messages:
                continue
            try:
                payload = await answer(messages[-1].data)
            except ShoalError as error:
                _log.warning("ask refused", fleet=fleet, why=str(error))
                continue
            if payload is not None:
                with translated("the fabric"):
                    await client.publish(messages[-1].reply, payload)
    finally:
        with contextlib.suppress(UnavailableError), translated("the fabric"):
            await subscription.unsubscribe()


async def _answer(homes: LocalHomes, whole: Part, part: str, payload: bytes, on_keep: OnKeep | None) -> bytes:
    said = wire.decode_down(payload)
    if isinstance(said, wire.Call):
        return wire.encode(wire.present_of(said.search, part, whole))
    ask = wire.ask_of(said)
    if said.keep and on_keep is not None:
        on_keep(ask)
    sums = await asyncio.to_thread(homes.sums, ask)
    return wire.encode(wire.up_of(said, part, sums))
