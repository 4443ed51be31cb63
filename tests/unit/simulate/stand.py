"""Simulated homes on connections in memory: their wires, their network and their clock, all by hand."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.clock import Stage, Tick
from shoal.domain.desired import DesiredState, DurableUpTo
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_MINUTE, local_midnight_ns
from shoal.domain.orders import OrderReport, SiteOrders
from shoal.domain.wire import decode
from shoal.edge.downlink import Message
from shoal.edge.link import LinkStatistics
from shoal.edge.parameters_report import ParametersReport, decode_parameters, is_parameters
from shoal.edge.signed import Verifier
from shoal.services.regulation_device import RegulationReading
from shoal.simulate.fleet import devices_of, plan_fleet
from shoal.simulate.homes import REPORT_S, Homes
from shoal.simulate.network import FaultModel
from shoal.simulate.owners import OwnerAct
from shoal.simulate.physics import HomeWorld
from shoal.simulate.profiles import ZONE, Profiles
from tests.unit.bidding.plans import DAY

FLEET = plan_fleet(6, 1)
SITES = len(FLEET.site_ids)
START_NS = local_midnight_ns(DAY, ZONE)
Minute = tuple[int, dict[str, int]]


class Wires:
    """The links' interface without a network: messages are lists."""

    def __init__(self, devices: int = SITES) -> None:
        self.up = np.zeros(devices, dtype=np.bool_)
        self.sent: list[tuple[int, bytes]] = []
        self.lost: list[tuple[int, bytes]] = []
        self.inbox: list[Message] = []
        self.hellos: list[int] = []
        self.answers: list[tuple[int, int, OrderReport]] = []
        self.parameters: list[tuple[int, int, ParametersReport]] = []
        self.readings: list[tuple[int, int, RegulationReading]] = []
        self.spread_s = 0.0
        self.closed = False
        self._newly: set[int] = set()
        self._pipe = os.pipe()

    def connect_all(self, max_rate_per_s: float) -> None:
        assert max_rate_per_s > 0
        self.raise_up(range(len(self.up)))

    def raise_up(self, rows: Any) -> None:
        self.up[list(rows)] = True
        self._newly.update(rows)

    def cut(self, rows: list[int], lose: int = 0) -> None:
        """Break connections; the last `lose` messages sent were still in a buffer."""
        self.up[rows] = False
        for _ in range(lose):
            self.lost.append(self.sent.pop())

    def publish(self, row: int, payload: bytes) -> bool:
        if self.up[row]:
            self.sent.append((row, payload))
        return bool(self.up[row])

    def publish_many(self, rows: NDArray[np.int64], payloads: list[bytes]) -> int:
        return sum(self.publish(row, payload) for row, payload in zip(rows.tolist(), payloads, strict=True))

    def publish_hello(self, row: int, payload: bytes) -> bool:
        assert payload == b'{"versions":[2,1]}'
        self.hellos.append(row)
        return True

    def publish_answer(self, row: int, payload: bytes, *, unit: int = 0, kind: str = "report") -> bool:
        if kind == "reading":
            self.readings.append((row, unit, msgspec.json.decode(payload, type=RegulationReading)))
            return True
        if is_parameters(payload):
            self.parameters.append((row, unit, decode_parameters(payload)))
            return True
        self.answers.append((row, unit, msgspec.json.decode(payload, type=OrderReport)))
        return True

    def poll(self, timeout_s: float = 0.0) -> list[Message]:
        found, self.inbox = self.inbox, []
        return found

    def went_up(self) -> NDArray[np.int64]:
        rows = np.array(sorted(row for row in self._newly if self.up[row]), dtype=np.int64)
        self._newly.clear()
        return rows

    def statistics(self) -> LinkStatistics:
        names = LinkStatistics.__dataclass_fields__
        return LinkStatistics(**{**dict.fromkeys(names, 0), "refused_by_code": {}, "dropped_by_reason": {}})  # type: ignore[arg-type]

    def fileno(self) -> int:
        return self._pipe[0]

    def close(self) -> None:
        self.closed = True

    def release(self) -> None:
        for end in self._pipe:
            os.close(end)

    def samples(self) -> dict[int, list[int]]:
        """Return the numbers that arrived from each site, in the order of arrival."""
        found: dict[int, list[int]] = {row: [] for row in range(SITES)}
        for row, payload in self.sent:
            found[row] += decode(payload)[0]["seq"].tolist()
        return found


class Script:
    """A clock that ticks as it is told; before each tick the test may act, and says how many messages are coming."""

    def __init__(self, before: Callable[[int], int]) -> None:
        self.minutes: list[Minute] = []
        self.replays: set[int] = set()
        self.reports: list[dict[str, int]] = []
        self.accounts: dict[str, Any] = {}
        self._before = before

    def at(self, machine_ns: Any) -> Any:
        return machine_ns, machine_ns

    def now_ns(self) -> int:
        raise AssertionError("a tick says what time it is")

    async def ticks(self, stage: Stage, every_s: float) -> AsyncIterator[Tick]:
        assert (stage, every_s) == (Stage.WORLD, REPORT_S)
        for minute, facts in self.minutes:
            known = {"downlink_sent": self._before(minute), **facts}
            yield Tick(t_ns=START_NS + minute * NS_PER_MINUTE, facts=known, replay=minute in self.replays)

    def report(self, facts: Mapping[str, int]) -> None:
        self.reports.append(dict(facts))

    def account(self, account: Mapping[str, Any]) -> None:
        self.accounts.update(account)


class Network(FaultModel):
    """A network whose faults the test sets by hand, by minute."""

    def __init__(self, fleet: Fleet = FLEET) -> None:
        super().__init__(fleet.site_ids, 1, drop_out_frac=0.0, late_frac=0.0, duplicate_frac=0.0)
        self.sites = len(fleet.site_ids)
        self.offline: dict[int, list[int]] = {}
        self.late: dict[tuple[int, int], int] = {}
        self.twice: set[tuple[int, int]] = set()
        self.cleared = False

    @staticmethod
    def _minute(t_ns: int) -> int:
        return (t_ns - START_NS) // NS_PER_MINUTE

    def online(self, t_ns: int) -> NDArray[np.bool_]:
        online = np.ones(self.sites, dtype=np.bool_)
        if not self.cleared:
            online[self.offline.get(self._minute(t_ns), [])] = False
        return online

    def late_by_ns(self, t_ns: int) -> NDArray[np.int64]:
        by = [0 if self.cleared else self.late.get((self._minute(t_ns), row), 0) for row in range(self.sites)]
        return np.array(by, dtype=np.int64) * NS_PER_MINUTE

    def duplicated(self, t_ns: int) -> NDArray[np.bool_]:
        return np.array([(self._minute(t_ns), row) in self.twice for row in range(self.sites)])

    def clear(self) -> None:
        self.cleared = True


class Stand:
    """Homes, their wires and their clock."""

    def __init__(
        self,
        report_steps: int = 1,
        fleet: Fleet = FLEET,
        verifier: Verifier | None = None,
        frequency_hz: Callable[[int], float] | None = None,
        owner_acts: Sequence[OwnerAct] = (),
    ) -> None:
        self.wires = Wires(len(devices_of(fleet).names))
        self.network = Network(fleet)
        self.acts: dict[int, Callable[[], None]] = {}
        self.clock = Script(self._before)
        self.world = HomeWorld(fleet, Profiles(fleet, 1), start_ns=START_NS, seed=1)
        self.homes = Homes(
            fleet=fleet,
            world=self.world,
            faults=self.network,
            links=self.wires,  # type: ignore[arg-type]
            clock=self.clock,
            report_steps=np.full(len(fleet.site_ids), report_steps),
            verifier=verifier,
            frequency_hz=frequency_hz,
            owner_acts=owner_acts,
        )

    def _before(self, minute: int) -> int:
        self.acts.get(minute, lambda: None)()
        return len(self.wires.inbox)

    def run(self, minutes: list[Minute] | int) -> None:
        """Live through the ticks of the minutes given, or the first so many."""
        self.clock.minutes = (
            [(minute, {}) for minute in range(1, minutes + 1)] if isinstance(minutes, int) else minutes
        )

        async def live() -> None:
            async with asyncio.timeout(20):
                await self.homes.connect(max_rate_per_s=1_000.0)
                await self.homes.follow()

        asyncio.run(live())
        assert self.wires.closed

    def released(self) -> list[int]:
        return [report["samples_released"] for report in self.clock.reports]

    def tell(self, row: int, desired: DesiredState) -> None:
        self.wires.inbox.append(Message(row, "desired", msgspec.json.encode(desired)))

    def order(self, row: int, orders: SiteOrders) -> None:
        self.wires.inbox.append(Message(row, "orders", msgspec.json.encode(orders)))

    def durable(self, row: int, seq: int, *, resend: bool = False) -> None:
        self.wires.inbox.append(
            Message(row, "durable", msgspec.json.encode(DurableUpTo(seq=seq, resend=resend)))
        )


def lease(minute: int, battery_w: int, *, version: int = 1, minutes: int = 15) -> DesiredState:
    start_ns = START_NS + minute * NS_PER_MINUTE
    return DesiredState(
        version=version,
        battery_w=battery_w,
        start_ns=start_ns,
        end_ns=start_ns + minutes * NS_PER_MINUTE,
        issuer="control",
        fence=1,
    )
