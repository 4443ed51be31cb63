"""Many simulated sites in one process: physics, agents and their connections, behind a network with faults.

Every site is a real device to the plant: it signs in over MQTT with its own credential or speaks through its gateway,
reports what it measures from its own meters, keeps each sample until the plant calls it durable, follows leases and orders
by the same agent code that runs at an edge, and says what it does with them. Only the world around it is simulated. The
process keeps books of its own (what was sent, what every battery really did), which the plant never sees; they are what its
figures are judged by.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.clock import Clock, Stage, Tick
from shoal.domain.errors import WireFormatError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.domain.outcome import Accepted, Outcome, Rejected
from shoal.domain.telemetry import TELEMETRY
from shoal.edge import agent
from shoal.edge.agent_orders import decode_orders, receive_orders
from shoal.edge.audit import Referee
from shoal.edge.downlink import Message
from shoal.edge.link import Links
from shoal.edge.orders_report import encode_report, report_of
from shoal.edge.signed import ForgedError, Verifier
from shoal.simulate.books import Books
from shoal.simulate.network import FaultModel
from shoal.simulate.owners import OwnerAct, Owners
from shoal.simulate.physics import STANDBY_FRAC_PER_H, HomeWorld
from shoal.simulate.regulated_homes import RegulatedHomes
from shoal.simulate.reports import SAMPLE_NS, Reports

REPORT_S: Final = 60.0
SUBSTEP_NS: Final = 60 * NS_PER_S
PUMP_S: Final = 0.05
CATCH_UP_NS: Final = NS_PER_S // 10
"""What comes between two samples is acted on at an instant at most so far in the past."""
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
    orders_received: int
    orders_rejected: int
    forged: int
    answered: int
    durable_received: int
    asked_again: int
    slowed: int
    hellos: int
    versions_refused: int


class Homes:
    """The sites of a fleet.

    Args:
        fleet: The fleet as planned; the process hosts every site of it.
        world: Its physics.
        faults: The network between the sites and the fabric.
        links: Their connections, one for each device of `devices_of`.
        clock: The world's clock.
        report_steps: For each site, how many minutes of samples go into one report.
        rng_seed: Seed of what each device draws for itself.
        verifier: Opens signed commands, and then no other ones are taken; None to take them plain.
        frequency_hz: The grid's frequency at an instant, as every site measures it; None where nobody does.
        owner_acts: What owners do by themselves, and when.
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
        rng_seed: int = 0,
        verifier: Verifier | None = None,
        frequency_hz: Callable[[int], float] | None = None,
        owner_acts: Sequence[OwnerAct] = (),
    ) -> None:
        sites = len(fleet.site_ids)
        self._site_ids = fleet.site_ids
        self._verifier = verifier
        self._world = world
        self._faults = faults
        self._links = links
        self._clock = clock
        self._agents = agent.AgentColumns(fleet.nameplate, site_ids=fleet.site_ids)
        self._mode = np.zeros(sites, dtype=np.uint8)
        self._reports = Reports(
            fleet=fleet,
            faults=faults,
            links=links,
            report_steps=report_steps,
            jitter=jitter,
            rng_seed=rng_seed,
        )
        standby_w = float((fleet.nameplate["energy_capacity_kwh"] * STANDBY_FRAC_PER_H).max() * 1e3)
        self._referee = Referee(fleet.nameplate, standby_w=standby_w)
        self._owners = Owners(owner_acts, self._agents, self._referee)
        self._frequency_hz = frequency_hz
        self._books = Books(fleet, world)
        self._records = TELEMETRY.empty(sites)
        self._jitter = jitter
        self._regulation = RegulatedHomes(
            agents=self._agents,
            site_ids=fleet.site_ids,
            world=world,
            referee=self._referee,
            reports=self._reports,
            links=links,
            catch_up=self._catch_up,
            verifier=verifier,
        )
        self._sampled_ns = world.now_ns
        self._span_ns = 0
        self._count: Counter[str] = Counter()
        self._received = 0
        self._expected = 0

    async def connect(self, *, max_rate_per_s: float) -> None:
        """Sign every site in; returns when all are up."""
        self._links.connect_all(max_rate_per_s)
        while not self._links.up.all():
            self._pump()
            await asyncio.sleep(0.002)
        self._pump()

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
                    self._reports.release_held(self._clock.now_ns())
        finally:
            loop.remove_reader(self._links.fileno())

    async def _act(self, tick: Tick) -> None:
        self._expected += tick.facts.get("downlink_sent", 0)
        await self._wait_for_downlink()
        if tick.facts.get("draining"):
            self._faults.clear()
            self._reports.draining = True
        if tick.t_ns > self._sampled_ns and not tick.replay:
            self._span_ns, self._sampled_ns = tick.t_ns - self._sampled_ns, tick.t_ns
            self._live_until(tick.t_ns)
            self._world.sample(self._records)
            self._reports.outbox.add(self._records)
            self._count["created"] += len(self._records)
        if tick.t_ns % NS_PER_HOUR == 0:
            self._books.read_meters(tick.t_ns)
        self._reports.online = self._faults.online(tick.t_ns)
        self._reports.resend()
        self._reports.report(tick.t_ns, span_ns=self._span_ns)
        await self._wait_for_uplink()
        self._clock.report({"samples_released": self._reports.released})
        if tick.facts.get("closing"):
            self._clock.account(self._account())

    def _catch_up(self) -> None:
        """Bring the world to the present, never beyond a sample that is due, where nobody conducts the clock."""
        if self._jitter:
            due_ns = (self._sampled_ns // SAMPLE_NS + 1) * SAMPLE_NS
            until_ns = min(self._clock.now_ns(), due_ns)
            if until_ns - self._world.now_ns >= CATCH_UP_NS:
                self._live_until(until_ns)

    def _live_until(self, t_ns: int) -> None:
        """Let agents decide and the world go on, never across the start or end of a lease."""
        world = self._world
        while world.now_ns < t_ns:
            now_ns = world.now_ns
            for row in self._owners.act(now_ns):
                self._say(row, "orders", int(self._agents.orders_version[row]), Accepted(), reason="owner")
            until_ns = min(t_ns, now_ns + SUBSTEP_NS, agent.next_change_ns(self._agents, now_ns))
            until_ns = self._owners.next_ns(until_ns)
            hz = None
            if self._frequency_hz is not None:
                hz = np.full(len(self._records), self._frequency_hz(now_ns))
            load_w, solar_w, ev_w = world.load_w, world.solar_w, world.ev_w
            decision = agent.decide(
                self._agents,
                now_ns=now_ns,
                stored_kwh=world.stored_kwh,
                horizon_s=(until_ns - now_ns) / NS_PER_S,
                load_w=load_w,
                solar_w=solar_w,
                ev_w=ev_w,
                frequency_hz=hz,
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
                frequency_hz=hz,
            )
            self._regulation.lived(done_w, until_ns - now_ns)
            self._records["command_version"] = decision.following_version
            self._mode = decision.mode

    def _pump(self, wait_s: float = 0.0) -> None:
        """Take in what has come, and let sites that were cut off say again what may have been lost."""
        for message in self._links.poll(wait_s):
            if message.kind in ("desired", "orders", "durable"):
                self._received += 1
                self._take_for_site(message)
            elif message.kind in ("regulation", "broadcast"):
                self._regulation.take(message)
            elif message.kind == "pace":
                now_ns = self._clock.now_ns() if self._jitter else self._world.now_ns
                self._reports.take_pace(message, now_ns)
            else:
                self._reports.take_schema(message)
        self._reports.came_up(self._links.went_up())
        self._reports.resend()

    def _take_for_site(self, message: Message) -> None:
        row = self._reports.row_of(message)
        if row < 0 or not self._reports.online[row]:
            return  # the network between the plant and this site is down
        if message.kind == "durable":
            self._reports.take_durable(row, message.payload)
        else:
            self._take_command(row, message)

    def _take_command(self, row: int, message: Message) -> None:
        """Let a site take or refuse a set-point or a document, and say which."""
        kind: Literal["desired", "orders"] = "desired" if message.kind == "desired" else "orders"
        now_ns = self._world.now_ns
        self._count[f"{kind}_received"] += 1
        version, outcome = self._outcome(row, kind, message.payload, now_ns)
        self._count[f"{kind}_rejected"] += isinstance(outcome, Rejected)
        self._say(row, kind, version, outcome)

    def _say(
        self,
        row: int,
        kind: Literal["desired", "orders"],
        version: int,
        outcome: Outcome,
        *,
        reason: str = "",
    ) -> None:
        """Let a site say what it does with what it was sent."""
        if not self._reports.online[row]:
            return
        report = report_of(
            self._agents,
            row,
            kind=kind,
            version=version,
            outcome=outcome,
            now_ns=self._world.now_ns,
            mode=agent.MODE_NAMES[agent.Mode(int(self._mode[row]))],
            reason=reason,
        )
        device, unit = self._reports.address_of(row)
        self._count["answered"] += self._links.publish_answer(device, encode_report(report), unit=unit)

    def _outcome(
        self, row: int, kind: Literal["desired", "orders"], payload: bytes, now_ns: int
    ) -> tuple[int, Outcome]:
        """Return the version of a command, 0 when it cannot be read, and what the agent makes of it."""
        try:
            if self._verifier is not None:
                payload = self._verifier.open(self._site_ids[row], kind, payload, now_ns)
            if kind == "desired":
                self._referee.heard(row, payload, received_ns=now_ns)
                desired = agent.decode_desired(payload)
                return desired.version, agent.receive(self._agents, row, desired, now_ns)
            self._referee.heard_orders(row, payload, received_ns=now_ns)
            orders = decode_orders(payload)
            return orders.version, receive_orders(self._agents, row, orders, now_ns)
        except ForgedError as error:
            self._count["forged"] += 1
            return 0, Rejected(reason=error.reason, detail=error.detail)
        except WireFormatError as error:
            return 0, Rejected(reason=error.reason, detail=error.detail)

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

    def _account(self) -> dict[str, Any]:
        audit = self._referee.statistics()
        return {
            "created": self._count["created"],
            "released": self._reports.released,
            "lost_by_overflow": int(self._reports.outbox.lost_by_overflow.sum()),
            **self._books.account(),
            "lease_violations": audit.lease_violations,
            "reserve_violations": audit.reserve_violations,
            "limit_violations": audit.limit_violations,
            "examples": [str(example) for example in self._referee.examples],
            "audit": msgspec.to_builtins(audit),
            "statistics": msgspec.to_builtins(self.statistics()),
        }

    def regulation(self) -> dict[str, int]:
        """Return what came of regulation, by name."""
        return self._regulation.statistics()

    def statistics(self) -> HomesStatistics:
        """Return the counters."""
        return HomesStatistics(
            created=self._count["created"],
            released=self._reports.released,
            repeated=self._reports.count["repeated"],
            late=self._reports.count["late"],
            resent=self._reports.count["resent"],
            desired_received=self._count["desired_received"],
            desired_rejected=self._count["desired_rejected"],
            desired_missed=self._count["desired_missed"],
            orders_received=self._count["orders_received"],
            orders_rejected=self._count["orders_rejected"],
            forged=self._count["forged"],
            answered=self._count["answered"],
            durable_received=self._reports.count["durable_received"],
            asked_again=self._reports.count["asked_again"],
            slowed=self._reports.slowed(self._world.now_ns),
            hellos=self._reports.count["hellos"],
            versions_refused=self._reports.versions_refused,
        )
