"""The adder: asks each home of its fleet for a round of prices, waits for their answers, and says nothing but sums.

It alone hears what single homes would do, and keeps it no longer than the search lasts. Who searches hears sums by group,
how many answered, and the names of some who did not.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from numpy.typing import NDArray

from shoal.control import price_dispatch_wire as wire
from shoal.control.price_dispatch import answer_newest
from shoal.control.price_groups import PriceGroups, most_weighted
from shoal.control.price_sums import HomeSums
from shoal.domain.errors import UnavailableError, WireFormatError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.edge import price_round
from shoal.edge.price_round import PriceAnswer, PriceAsk
from shoal.edge.signed import Issuer
from shoal.fabric.connection import translated
from shoal.fabric.subjects import (
    ANSWER_ALL,
    ANSWER_BEHIND_ALL,
    downlink_name,
    downlink_name_of_answer_subject,
)
from shoal.fabric.subjects import prices_subject as home_subject
from shoal.optimise.fleet_optimum_parts import Part

PART: Final = "homes"
MOST_NAMES: Final = 100
"""So many of those who did not answer are named."""
_HOMES_WAIT: Final = 0.85
"""Share of a round's time that homes have; the rest is for adding up and for the way."""
_MISSES: Final = 2
"""Who has not answered so often in a row is not waited for any more in this search."""
_FORGOTTEN_NS: Final = 24 * NS_PER_HOUR
_CLOCKS_S: Final = 60.0
"""So far may a home's clock be ahead."""
_IN_A_THREAD: Final = 2_000

Rows = NDArray[np.int64]
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Home:
    """What is remembered of a home from search to search: that it answers, and how far it reaches."""

    least_kwh: NDArray[np.float64]
    most_kwh: NDArray[np.float64]
    alone: bool


@dataclass(slots=True)
class _Search:
    name: str
    call: wire.Call
    groups: PriceGroups
    rows: Rows
    sums: HomeSums
    misses: Rows


@dataclass(slots=True)
class _Open:
    """A question that is out."""

    search: str
    number: int
    steps: int
    place_of: dict[int, int]
    wanted: set[int]
    answers: dict[int, PriceAnswer] = field(default_factory=dict)


class PriceAdder:
    """Answers the rounds of a fleet's search for the homes that answer themselves.

    Args:
        client: A connection as `Role.ADDER`.
        fleet: The sites.
        name: The fleet's name in the search.
        groups: Who takes part now, asked at each roll call.
        now_ns: The plant's clock.
        issuer: Signs questions; None sends them plain.
        least_homes: How many homes hide each other in a sum.
        known: Rows of sites that have answered before this process began.
    """

    def __init__(
        self,
        client: Client,
        *,
        fleet: Fleet,
        name: str,
        groups: Callable[[], PriceGroups],
        now_ns: Callable[[], int],
        issuer: Issuer | None = None,
        least_homes: int = 5,
        known: Collection[int] = (),
    ) -> None:
        self._client, self._fleet, self._name, self._groups = client, fleet, name, groups
        self._now_ns, self._issuer, self._least_homes = now_ns, issuer, least_homes
        self._names = [str(downlink_name(fleet, row)) for row in range(len(fleet.site_ids))]
        self._row_of = {one: row for row, one in enumerate(self._names)}
        self._homes: dict[int, _Home | None] = dict.fromkeys(known)
        self._heard_ns: dict[int, int] = {}
        self._search: _Search | None = None
        self._open: _Open | None = None
        self._came = asyncio.Event()
        self.count: Counter[str] = Counter()
        """``asked``, ``answered``, ``late``, ``refused``; ``down_bytes`` and ``up_bytes`` between homes and here."""

    @property
    def members(self) -> Rows:
        """The rows of the sites that have answered a roll call within a day."""
        return np.array(sorted(self._homes), dtype=np.int64)

    async def serve(self, ready: asyncio.Event | None = None) -> None:
        """Answer rounds until cancelled; of several that wait only the newest.

        Raises:
            UnavailableError: the connection is gone.
        """
        with translated("the fabric"):
            subscriptions = [
                await self._client.subscribe(subject, cb=self._hear)
                for subject in (ANSWER_ALL, ANSWER_BEHIND_ALL)
            ]
        try:
            # its flush covers the subscriptions above too: they came before on the same connection
            await answer_newest(self._client, self._name, self._answer, ready=ready)
        finally:
            for subscription in subscriptions:
                with contextlib.suppress(UnavailableError), translated("the fabric"):
                    await subscription.unsubscribe()

    async def _answer(self, payload: bytes) -> bytes | None:
        said = wire.decode_down(payload)
        if isinstance(said, wire.Call):
            return await self._call_roll(said)
        if said.keep or self._search is None or said.search != self._search.name:
            self.count["refused"] += 1
            return None
        return await self._round(self._search, said)

    async def _call_roll(self, call: wire.Call) -> bytes | None:
        """Ask who is there; the search that follows speaks of these and of those who were there before."""
        if not call.step_s:
            return None
        groups = self._groups()
        able = np.flatnonzero(groups.feeder_of_row >= 0)
        ask = self._ask_of(call.search, price_round.ROLL, call, call.steps, [], [])
        answers = await self._ask_homes(ask, able, [ask] * len(able), set(able.tolist()), call.wait_s)
        for row, answer in answers.items():
            self._homes[row] = _Home(
                least_kwh=np.array(price_round.numbers(answer.least, call.steps)),
                most_kwh=np.array(price_round.numbers(answer.most, call.steps)),
                alone=answer.alone,
            )
        self._forget(answers)
        rows = np.array([row for row in able.tolist() if row in self._homes], dtype=np.int64)
        least, most, alone = self._reach(rows, call.steps)
        group_of = groups.group_of(rows, answering=True)
        sums = HomeSums(
            group_of=group_of,
            groups=groups.groups,
            least_kwh=least,
            most_kwh=most,
            alone=alone,
            least_homes=self._least_homes,
        )
        misses = np.array([0 if row in answers else _MISSES for row in rows.tolist()], dtype=np.int64)
        self._search = _Search(
            name=call.search, call=call, groups=groups, rows=rows, sums=sums, misses=misses
        )
        part = Part(
            homes_count=np.bincount(group_of, minlength=groups.groups),
            least_kwh=_by_group(least, group_of, groups.groups),
            most_kwh=_by_group(most, group_of, groups.groups),
        )
        return wire.encode(wire.present_of(call.search, PART, part))

    def _forget(self, answered: Collection[int]) -> None:
        """Expect no longer who has not answered for so long: it is answered for, or left out."""
        now_ns = self._now_ns()
        self._heard_ns |= dict.fromkeys(answered, now_ns)
        for row in list(self._homes):
            if now_ns - self._heard_ns.setdefault(row, now_ns) > _FORGOTTEN_NS:
                del self._homes[row], self._heard_ns[row]

    def _reach(
        self, rows: Rows, steps: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Return how far each home reaches: by its own last word, else as the mean of the others."""
        homes = [self._homes[row] for row in rows.tolist()]
        told = [home for home in homes if home is not None and home.least_kwh.size == steps]
        least = np.mean([home.least_kwh for home in told], axis=0) if told else np.zeros(steps)
        most = np.mean([home.most_kwh for home in told], axis=0) if told else np.zeros(steps)
        fits = [home is not None and home.least_kwh.size == steps for home in homes]
        return (
            np.array([home.least_kwh if fit and home else least for home, fit in zip(homes, fits, strict=True)])
            .reshape(len(homes), steps),
            np.array([home.most_kwh if fit and home else most for home, fit in zip(homes, fits, strict=True)])
            .reshape(len(homes), steps),
            np.array([home is not None and home.alone for home in homes], dtype=np.bool_),
        )  # fmt: skip

    async def _round(self, search: _Search, said: wire.Down) -> bytes | None:
        ask = wire.ask_of(said)
        groups = search.groups
        shapes = (len(groups.feeders), search.call.steps)
        if ask.prices_per_kwh.shape[1:] != shapes or len(ask.weights) != groups.groups:
            raise WireFormatError("shape", f"{ask.prices_per_kwh.shape[1:]} prices, not {shapes}")
        rows = search.rows
        group_of = groups.group_of(rows, answering=True)
        feeder = groups.feeder_of[group_of]
        packed: dict[int, PriceAsk] = {}
        for group in np.unique(group_of).tolist():
            among = ask.prices_per_kwh[:, groups.feeder_of[group]]
            prices, shares = most_weighted(among, ask.weights[group], price_round.most_rows(shapes[1]))
            packed[group] = self._ask_of(said.search, said.number, said, search.call.steps, prices, shares)
        asks = [packed[group] for group in group_of.tolist()]
        wanted = set(rows[search.misses < _MISSES].tolist())
        first = next(iter(packed.values()), None)
        answers = {} if first is None else await self._ask_homes(first, rows, asks, wanted, said.wait_s)
        place_of = {row: place for place, row in enumerate(rows.tolist())}
        by_place = {place_of[row]: answer for row, answer in answers.items()}
        came = np.zeros(len(rows), dtype=np.bool_)
        came[list(by_place)] = True
        search.misses = np.where(came, 0, search.misses + 1)
        mixed = len(ask.prices_per_kwh) > 1
        asked = ask.prices_per_kwh[0][feeder]
        added = await asyncio.to_thread(search.sums.add, asked, by_place, mixed=mixed)
        if added is None:
            return None
        silent = tuple(str(self._fleet.site_ids[row]) for row in rows[added.silent[:MOST_NAMES]])
        return wire.encode(
            wire.up_of(
                said,
                PART,
                added.sums,
                answered=added.answered_count,
                heard=added.heard_count,
                silent=silent,
            )
        )

    def _ask_of(
        self,
        search: str,
        number: int,
        times: wire.Call | wire.Down,
        steps: int,
        rows: list[list[float]],
        shares: list[float],
    ) -> PriceAsk:
        return PriceAsk(
            search=search,
            number=number,
            start_ns=times.start_ns,
            step_s=times.step_s,
            steps=steps,
            until_ns=self._now_ns() + int((times.wait_s + _CLOCKS_S) * NS_PER_S),
            prices=price_round.column([price for row in rows for price in row]),
            shares=tuple(shares) if len(rows) > 1 else (),
        )

    async def _ask_homes(
        self, first: PriceAsk, rows: Rows, asks: Sequence[PriceAsk], wanted: set[int], wait_s: float
    ) -> dict[int, PriceAnswer]:
        """Ask homes and return what came, when all of the wanted ones have answered or the time is over."""
        places = {row: place for place, row in enumerate(rows.tolist())}
        out = self._open = _Open(
            search=first.search, number=first.number, steps=first.steps, place_of=places, wanted=wanted
        )
        frames = await self._frames(rows, asks)
        with translated("the fabric"):
            for row, frame in zip(rows.tolist(), frames, strict=True):
                await self._client.publish(home_subject(self._names[row]), frame)
                self.count["down_bytes"] += len(frame)
            await self._client.flush()
        self.count["asked"] += len(rows)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HOMES_WAIT * wait_s):
                while out.wanted - out.answers.keys():
                    self._came.clear()
                    await self._came.wait()
        self._open = None
        return out.answers

    async def _frames(self, rows: Rows, asks: Sequence[PriceAsk]) -> list[bytes]:
        encoded: dict[int, bytes] = {}
        for ask in asks:
            if id(ask) not in encoded:
                encoded[id(ask)] = price_round.encode(ask)
        payloads = [encoded[id(ask)] for ask in asks]
        if self._issuer is None:
            return payloads
        sites = self._fleet.site_ids
        batch = [(str(sites[row]), "prices", payload) for row, payload in zip(rows, payloads, strict=True)]
        if len(batch) < _IN_A_THREAD:
            return self._issuer.sign_batch(batch)
        return await asyncio.to_thread(self._issuer.sign_batch, batch)

    async def _hear(self, message: Msg) -> None:
        out = self._open
        self.count["up_bytes"] += len(message.data)
        try:
            row = self._row_of.get(str(downlink_name_of_answer_subject(message.subject)), -1)
            if out is None or row not in out.place_of:
                self.count["late" if out is None else "refused"] += 1
                return
            answer = price_round.decode_answer(message.data, out.steps)
        except WireFormatError as error:
            self.count["refused"] += 1
            _log.warning("answer refused", subject=message.subject, why=str(error))
            return
        if (answer.search, answer.number) != (out.search, out.number):
            self.count["late"] += 1
            return
        out.answers.setdefault(row, answer)
        self.count["answered"] += 1
        if len(out.answers) >= len(out.wanted) and out.wanted <= out.answers.keys():
            self._came.set()


def _by_group(values: NDArray[np.float64], group_of: Rows, groups: int) -> NDArray[np.float64]:
    sums = np.zeros((groups, values.shape[1]))
    np.add.at(sums, group_of, values)
    return sums
