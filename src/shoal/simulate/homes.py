"""Many simulated sites in one process: physics, agents and their connections, behind a network with faults.

Every site is a real device to the plant: it signs in over MQTT with its own credential, reports from its own meters, keeps each
sample until the plant calls it durable, and follows leases by the same agent code that runs at an edge. Only the
world around it is simulated. The process keeps books of its own (what was sent, what every battery really did), which the plant
never sees; they are what its figures are judged by.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.clock import Clock, Stage, Tick
from shoal.domain.errors import WireFormatError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.domain.outcome import Rejected
from shoal.domain.telemetry import TELEMETRY
from shoal.edge import agent
from shoal.edge.audit import Referee
from shoal.edge.link import Links
from shoal.edge.outbox import Outbox
from shoal.simulate.network import FaultModel
from shoal.simulate.physics import STANDBY_FRAC_PER_H, HomeWorld

REPORT_S: Final = 60.0
SUBSTEP_NS: Final = 60 * NS_PER_S
PUMP_S: Final = 0.05
PATIENCE_S: Final = 0.002
QUIET_S: Final = 1.0
"""Wall time without anything coming in after which messages are taken for lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HomesStatistics:
    """Counters since the process started."""

    created: int
    released: int
    repeated: int
    late: int
    resent: int
    desired_received: int
    desired_rejected: int
    desired_missed: int
    durable_received: int


class Homes:
    """The sites of a fleet.

    Args:
        fleet: The fleet as planned; the process hosts every site of it.
        world: Its physics.
        faults: The network between the sites and the fabric.
        links: Their connections.
        clock: The world's clock.
        report_steps: For each site, how many minutes of samples go into one report.
        jitter: Whether reports really leave at their own places within a minute; on a conducted clock, where a
            minute is an instant, they only leave in that order.
    """

    def __init__(
        self,
        *,
        fleet: Fleet,
        world: HomeWorld,
        faults: FaultModel,
        links: Links,
        clock: Clock,
        report_steps: NDArray[np.int64],
        jitter: bool = False,
    ) -> None:
        sites = len(fleet.site_ids)
        self._fleet = fleet
        self._world = world
        self._faults = faults
        self._links = links
        self._clock = clock
        self._agents = agent.AgentColumns(fleet.nameplate)
        self._outbox = Outbox(sites)
        standby_w = float((fleet.nameplate["energy_capacity_kwh"] * STANDBY_FRAC_PER_H).max() * 1e3)
        self._referee = Referee(fleet.nameplate, standby_w=standby_w)
        self._initial_kwh = world.stored_kwh.copy()
        self._records = TELEMETRY.empty(sites)
        self._sent_seq = np.zeros(sites, dtype=np.int64)
        self._released = 0
        self._held: list[tuple[int, int, int, bytes]] = []
        self._cut_off: set[int] = set()
        self._report_steps = report_steps
        self._jitter = jitter
        self._report_phase = np.arange(sites) % np.maximum(report_steps, 1)
        self._span_ns = 0
        self._draining = False
        self._count: Counter[str] = Counter()
        self._received = 0
        self._expected = 0
        self._online = np.ones(sites, dtype=np.bool_)
        self._rows_of = {r.resource_id: fleet.rows_in(r.group_id) for r in fleet.resources}
        self._meters: dict[str, list[tuple[int, int, int]]] = {resource: [] for resource in self._rows_of}

    async def connect(self, *, max_rate_per_s: float) -> None:
        """Sign every site in; returns when all are up."""
        self._links.connect_all(max_rate_per_s)
        while not self._links.up.all():
            self._pump()
            await asyncio.sleep(0.002)
        self._links.went_up()

    async def follow(self) -> None:
        """Act on the clock's ticks until it stops; connections are kept alive meanwhile."""
        pump = asyncio.create_task(self._keep_pumping())
        try:
            async for tick in self._clock.ticks(Stage.WORLD, REPORT_S):
                await self._act(tick)
        finally:
            pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pump
            self._links.close()

    async def _keep_pumping(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._links.fileno(), self._pump)
        try:
            while True:
                await asyncio.sleep(PUMP_S)
                self._pump()
                if self._jitter:
                    self._release_held(self._clock.now_ns())
        finally:
            loop.remove_reader(self._links.fileno())

    async def _act(self, tick: Tick) -> None:
        self._expected += tick.facts.get("downlink_sent", 0)
        await self._wait_for_downlink()
        if tick.facts.get("draining"):
            self._faults.clear()
            self._draining = True
        if tick.t_ns > self._world.now_ns and not tick.replay:
            self._span_ns = tick.t_ns - self._world.now_ns
            self._live_until(tick.t_ns)
            self._world.sample(self._records)
            self._outbox.add(self._records)
            self._count["created"] += len(self._records)
        if tick.t_ns % NS_PER_HOUR == 0:
            self._read_meters(tick.t_ns)
        self._online = self._faults.online(tick.t_ns)
        self._resend()
        self._report(tick.t_ns)
        await self._wait_for_uplink()
        self._clock.report({"samples_released": self._released})
        if tick.facts.get("closing"):
            self._clock.account(self._account())

    def _live_until(self, t_ns: int) -> None:
        """Let agents decide and the world go on, never across the start or end of a lease."""
        world = self._world
        while world.now_ns < t_ns:
            now_ns = world.now_ns
            until_ns = min(t_ns, now_ns + SUBSTEP_NS, agent.next_change_ns(self._agents, now_ns))
            load_w, solar_w, ev_w = world.load_w, world.solar_w, world.ev_w
            decision = agent.decide(
                self._agents,
                now_ns=now_ns,
                stored_kwh=world.stored_kwh,
                horizon_s=(until_ns - now_ns) / NS_PER_S,
                load_w=load_w,
                solar_w=solar_w,
                ev_w=ev_w,
            )
            before_kwh = world.stored_kwh.copy()
            done_w = world.advance(until_ns, decision.battery_w)
            self._referee.observe(
                start_ns=now_ns,
                end_ns=until_ns,
                battery_w=done_w,
                stored_start_kwh=before_kwh,
                stored_end_kwh=world.stored_kwh,
                load_w=load_w,
                solar_w=solar_w,
                ev_w=ev_w,
            )
            self._records["command_version"] = decision.following_version

    def _report(self, t_ns: int) -> None:
        """Send what is due: from each site that is online everything that it has not said yet, oldest first."""
        self._release_held(t_ns)
        last = self._outbox.last_seq
        waiting = last - self._sent_seq
        speaks = self._online & (self._due(t_ns) | (waiting > self._report_steps))
        late_ns = self._faults.late_by_ns(t_ns)
        repeated = self._faults.duplicated(t_ns)
        rows: list[int] = []
        messages: list[bytes] = []
        offset_s = self._faults.send_offset_s(t_ns)
        for row, message in sorted(self._newest(speaks, waiting), key=lambda said: offset_s[said[0]]):
            self._count["late"] += bool(late_ns[row] > 0)
            if late_ns[row] > 0 or self._jitter:
                due_ns = t_ns + int(late_ns[row]) + (int(offset_s[row] * NS_PER_S) if self._jitter else 0)
                self._held.append((due_ns, row, int(waiting[row]), message))
                if self._jitter and repeated[row]:
                    self._held.append((due_ns, row, 0, message))
                    self._count["repeated"] += 1
                continue
            rows.append(row)
            messages.append(message)
            self._released += int(waiting[row])
            if repeated[row]:
                rows.append(row)
                messages.append(message)
                self._count["repeated"] += 1
        for row in np.flatnonzero(speaks & (waiting > self._report_steps)).tolist():
            backlog = self._outbox.messages_since(row, int(self._sent_seq[row]))
            rows.extend([row] * len(backlog))
            messages.extend(backlog)
            self._released += int(waiting[row])
        self._sent_seq[speaks] = last[speaks]
        if rows:
            self._links.publish_many(np.array(rows, dtype=np.int64), messages)

    def _due(self, t_ns: int) -> NDArray[np.bool_]:
        """Return who reports now: each site has its own place in the reporting interval."""
        step = t_ns // SUBSTEP_NS
        due: NDArray[np.bool_] = (step + self._report_phase) % self._report_steps == 0
        return due | self._draining | (self._span_ns > SUBSTEP_NS)

    def _newest(self, speaks: NDArray[np.bool_], waiting: NDArray[np.int64]) -> Iterator[tuple[int, bytes]]:
        """Yield the message of each site that has said everything before its present interval."""
        for count in range(1, int(self._report_steps.max()) + 1):
            rows = np.flatnonzero(speaks & (waiting == count) & (count <= self._report_steps))
            if len(rows):
                yield from zip(rows.tolist(), self._outbox.encode_latest(rows, count), strict=True)

    def _release_held(self, t_ns: int) -> None:
        if not self._held:
            return
        still: list[tuple[int, int, int, bytes]] = []
        for due_ns, row, samples, message in self._held:
            if self._online[row] and (due_ns <= t_ns or self._draining):
                self._links.publish(row, message)
                self._released += samples
            else:
                still.append((due_ns, row, samples, message))
        self._held = still

    def _pump(self, wait_s: float = 0.0) -> None:
        """Take in what has come, and let sites that were cut off say again what may have been lost."""
        for row, kind, payload in self._links.poll(wait_s):
            self._received += 1
            if not self._online[row]:
                continue  # the network between the plant and this site is down
            if kind == "desired":
                self._take_desired(row, payload)
            else:
                self._take_durable(row, payload)
        self._cut_off.update(self._links.went_up().tolist())
        self._resend()

    def _take_desired(self, row: int, payload: bytes) -> None:
        self._count["desired_received"] += 1
        now_ns = self._world.now_ns
        self._referee.heard(row, payload, received_ns=now_ns)
        try:
            outcome = agent.receive(self._agents, row, agent.decode_desired(payload), now_ns)
        except WireFormatError:
            self._count["desired_rejected"] += 1
            return
        self._count["desired_rejected"] += isinstance(outcome, Rejected)

    def _take_durable(self, row: int, payload: bytes) -> None:
        self._count["durable_received"] += 1
        with contextlib.suppress(WireFormatError):
            self._outbox.durable(row, agent.decode_durable(payload))

    def _resend(self) -> None:
        """After a broken connection: everything that was sent and is not yet known to be durable, once more."""
        dropped = {row for row in self._cut_off if self._online[row]}
        if not dropped:
            return
        self._cut_off -= dropped
        kept: list[tuple[int, int, int, bytes]] = []
        for due_ns, row, samples, message in self._held:
            if row in dropped:
                self._released += samples  # goes out with the rest below
            else:
                kept.append((due_ns, row, samples, message))
        self._held = kept
        for row in sorted(dropped):
            first = int(self._outbox.oldest_seq[row]) - 1
            count = int(self._sent_seq[row]) - first
            if count <= 0:
                continue
            for message in self._outbox.messages_since(row, first, max_records=count):
                self._links.publish(row, message)
            self._count["resent"] += count

    async def _wait_for_downlink(self) -> None:
        """Wait until what the plant has sent since the last tick is here, or taken for lost."""
        loop = asyncio.get_running_loop()
        seen, since = self._received, loop.time()
        while self._received < self._expected:
            self._pump(PATIENCE_S)
            if self._received != seen:
                seen, since = self._received, loop.time()
            elif loop.time() - since > QUIET_S:
                self._count["desired_missed"] += self._expected - self._received
                self._expected = self._received
                break
            else:
                await asyncio.sleep(0)

    async def _wait_for_uplink(self) -> None:
        """Wait until every connection is up and has taken what was sent."""
        while not self._links.up.all() or self._links.statistics().unsent_bytes:
            self._pump()
            await asyncio.sleep(0.002)
        self._pump()

    def _read_meters(self, t_ns: int) -> None:
        net_wh = self._world.charge_wh - self._world.discharge_wh
        plate = self._fleet.nameplate
        usable_kwh = np.maximum(
            self._world.stored_kwh - plate["reserve_frac"] * plate["energy_capacity_kwh"], 0.0
        )
        for resource, rows in self._rows_of.items():
            readings = self._meters[resource]
            if not readings or readings[-1][0] != t_ns:
                readings.append((t_ns, int(net_wh[rows].sum()), round(float(usable_kwh[rows].sum()) * 1e3)))

    def _account(self) -> dict[str, Any]:
        world = self._world
        residual_wh = (world.import_wh - world.export_wh) - (
            world.load_wh + world.ev_wh - world.solar_wh + world.charge_wh - world.discharge_wh
        )
        moved_wh = world.import_wh + world.export_wh + world.charge_wh + world.discharge_wh
        audit = self._referee.statistics()
        return {
            "created": self._count["created"],
            "released": self._released,
            "lost_by_overflow": int(self._outbox.lost_by_overflow.sum()),
            "meters": self._meters,
            "residual_wh": int(np.abs(residual_wh).sum()),
            "moved_wh": int(moved_wh.sum()),
            "stored_balance_error_kwh": self._stored_balance_error_kwh(),
            "lease_violations": audit.lease_violations,
            "reserve_violations": audit.reserve_violations,
            "limit_violations": audit.limit_violations,
            "examples": [str(example) for example in self._referee.examples],
            "audit": msgspec.to_builtins(audit),
            "statistics": msgspec.to_builtins(self.statistics()),
        }

    def _stored_balance_error_kwh(self) -> float:
        """Return how far storage is from what the terminals' meters explain, beyond their rounding."""
        plate = self._fleet.nameplate
        explained = (
            self._world.charge_wh / 1e3 * plate["charge_efficiency_frac"]
            - self._world.discharge_wh / 1e3 / plate["discharge_efficiency_frac"]
            - self._world.standby_kwh
        )
        drift: NDArray[np.float64] = self._world.stored_kwh - self._initial_kwh - explained
        return float(np.maximum(np.abs(drift) - 2.5e-3, 0.0).sum())

    def statistics(self) -> HomesStatistics:
        """Return the counters."""
        return HomesStatistics(
            created=self._count["created"],
            released=self._released,
            repeated=self._count["repeated"],
            late=self._count["late"],
            resent=self._count["resent"],
            desired_received=self._count["desired_received"],
            desired_rejected=self._count["desired_rejected"],
            desired_missed=self._count["desired_missed"],
            durable_received=self._count["durable_received"],
        )
