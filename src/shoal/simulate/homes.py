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
from functools import partial
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
from shoal.edge.charger import most_charge_w
from shoal.edge.downlink import Message
from shoal.edge.link import Links
from shoal.edge.orders_report import encode_report, report_of
from shoal.edge.signed import ForgedError, Verifier, payload_of
from shoal.simulate.books import Books
from shoal.simulate.chargers import WaitingCars
from shoal.simulate.home_parameters import HomeParameters
from shoal.simulate.island import Island
from shoal.simulate.islanding import Islanding
from shoal.simulate.network import FaultModel
from shoal.simulate.owners import OwnerAct, Owners
from shoal.simulate.physics import STANDBY_FRAC_PER_H, HomeWorld
from shoal.simulate.priced_homes import PricedHomes
from shoal.simulate.regulated_homes import RegulatedHomes
from shoal.simulate.reports import SAMPLE_NS, Reports

REPORT_S: Final = 60.0
SUBSTEP_NS: Final = 60 * NS_PER_S
PUMP_S: Final = 0.05
CATCH_UP_NS: Final = NS_PER_S // 10
"""What comes between two samples is acted on at an instant at most so far in the past."""
READ_EVERY_NS: Final = 4 * NS_PER_S
"""On a conducted clock a home in regulation says so often what its meter shows: at every second broadcast."""
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
        verifier: Opens signed commands, and then no other ones are taken; None to take all, unchecked.
        frequency_hz: The grid's frequency at an instant, as every site measures it; None where nobody does.
        owner_acts: What owners do by themselves, and when.
        island: The site that loses the grid, and when; None for none.
        step_s: How often they act on a conducted clock; they sample every minute all the same.
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
        step_s: float = REPORT_S,
        island: Island | None = None,
    ) -> None:
        sites = len(fleet.site_ids)
        self._site_ids = fleet.site_ids
        self._verifier = verifier
        self._world = world
        self._faults = faults
        self._links = links
        self._clock = clock
        self._agents = agent.AgentColumns(fleet.nameplate, site_ids=fleet.site_ids)
        self._parameters = HomeParameters(self._agents)
        self._cars = WaitingCars(np.floor(fleet.nameplate["ev_limit_kw"] * 1e3).astype(np.int64))
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
        self._step_s = step_s
        self._devices = len(links.up)
        self._island = None if island is None else Islanding(island, self._agents, self._referee)
        self._regulation = RegulatedHomes(
            agents=self._agents,
            site_ids=fleet.site_ids,
            world=world,
            referee=self._referee,
            reports=self._reports,
            links=links,
            catch_up=self._catch_up,
            faults=faults,
            verifier=verifier,
            read_every_ns=0 if jitter else READ_EVERY_NS,
        )
        self._priced = PricedHomes(self._agents, fleet.nameplate, world.profiles)
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
            async for tick in self._clock.ticks(Stage.WORLD, self._step_s):
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
        # one broadcast comes to every device
        self._expected += tick.facts.get("broadcasts_sent", 0) * self._devices
        await self._wait_for_downlink()
        if tick.facts.get("draining"):
            self._faults.clear()
            self._reports.draining = True
        before_ns = self._world.now_ns
        if tick.t_ns > before_ns and not tick.replay:
            self._live_until(tick.t_ns)
            if self._step_s < REPORT_S:
                self._regulation.note(before_ns, tick.t_ns)
        if tick.t_ns % SAMPLE_NS:
            await self._wait_for_uplink()
            self._clock.report({"readings_sent": self._regulation.readings_sent})
            return
        if tick.t_ns > self._sampled_ns and not tick.replay:
            self._span_ns, self._sampled_ns = tick.t_ns - self._sampled_ns, tick.t_ns
            self._world.sample(self._records)
            self._reports.outbox.add(self._records)
            self._count["created"] += len(self._records)
        if tick.t_ns % NS_PER_HOUR == 0:
            self._books.read_meters(tick.t_ns)
        self._reports.online = self._faults.online(tick.t_ns)
        self._reports.resend()
        self._reports.report(tick.t_ns, span_ns=self._span_ns)
        await self._wait_for_uplink()
        self._clock.report(
            {"samples_released": self._reports.released, "readings_sent": self._regulation.readings_sent}
        )
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
            self._regulation.deliver(now_ns)
            until_ns = min(t_ns, now_ns + SUBSTEP_NS, agent.next_change_ns(self._agents, now_ns))
            until_ns = self._regulation.next_ns(self._owners.next_ns(until_ns))
            if self._island is not None:
                until_ns = self._island.next_ns(now_ns, until_ns)
                self._say_of_grid(self._island, now_ns)
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
                plan_w=self._priced.plan_w(now_ns, world.stored_kwh),
            )
            before_kwh = world.stored_kwh.copy()
            most_w = most_charge_w(
                self._agents, now_ns, others_w=load_w + solar_w, battery_w=decision.battery_w
            )
            charging = partial(self._cars.drawn_w, most_w=most_w, now_ns=now_ns, until_ns=until_ns)
            done_w = world.advance(until_ns, decision.battery_w, charging=charging)
            if self._island is not None:
                # a battery that makes the grid does not follow what was: it carries what is
                load_w, solar_w, ev_w = self._island.seen(world, now_ns, load_w, solar_w, ev_w)
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

    def _say_of_grid(self, island: Islanding, now_ns: int) -> None:
        """Let the site that has lost the grid, or has it again, say so at once, and again as long as that is so."""
        reason = island.step(now_ns, online=self._reports.online)
        if reason:
            row = island.row
            self._say(row, "orders", int(self._agents.orders_version[row]), Accepted(), reason=reason)

    def _pump(self, wait_s: float = 0.0) -> None:
        """Take in what has come, and let sites that were cut off say again what may have been lost."""
        for message in self._links.poll(wait_s):
            if message.kind in ("desired", "orders", "durable"):
                self._received += 1
                self._take_for_site(message)
            elif message.kind in ("regulation", "broadcast"):
                self._received += 1
                self._regulation.take(message)
            elif message.kind == "prices":
                self._take_question(message)
            elif message.kind == "pace":
                now_ns = self._clock.now_ns() if self._jitter else self._world.now_ns
                self._reports.take_pace(message, now_ns)
            else:
                self._reports.take_schema(message)
        for row, payload in self._priced.answers(self._world.stored_kwh):
            device, unit = self._reports.address_of(row)
            self._links.publish_answer(device, payload, unit=unit, kind="answer")
        self._reports.came_up(self._links.went_up())
        self._reports.resend()

    def _take_question(self, message: Message) -> None:
        """Let a site hear what it is asked of the search for prices."""
        row = self._reports.row_of(message)
        if row < 0 or not self._reports.online[row]:
            return
        try:
            payload = self._opened(row, "prices", message.payload, self._world.now_ns)
        except ForgedError:
            self._count["forged"] += 1
            return
        self._priced.hear(row, payload, self._world.now_ns)

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
        if kind == "orders" and not isinstance(outcome, Rejected):
            self._say_parameters(row)

    def _say_parameters(self, row: int) -> None:
        """Let a site say what it is set to, when a document has changed that."""
        said = self._parameters.changed(row, self._world.now_ns) if self._reports.online[row] else None
        if said is not None:
            device, unit = self._reports.address_of(row)
            self._links.publish_answer(device, said, unit=unit)

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
        if self._island is not None:
            report = self._island.with_reason(row, report)
        device, unit = self._reports.address_of(row)
        self._count["answered"] += self._links.publish_answer(device, encode_report(report), unit=unit)

    def _outcome(
        self, row: int, kind: Literal["desired", "orders"], payload: bytes, now_ns: int
    ) -> tuple[int, Outcome]:
        """Return the version of a command, 0 when it cannot be read, and what the agent makes of it."""
        try:
            payload = self._opened(row, kind, payload, now_ns)
            if kind == "desired":
                self._referee.heard(row, payload, received_ns=now_ns)
                desired = agent.decode_desired(payload)
                outcome = agent.receive(self._agents, row, desired, now_ns)
                if not isinstance(outcome, Rejected):
                    self._regulation.commanded(row)
                return desired.version, outcome
            self._referee.heard_orders(row, payload, received_ns=now_ns)
            orders = decode_orders(payload)
            taken = receive_orders(self._agents, row, orders, now_ns)
            if not isinstance(taken, Rejected):
                self._priced.take(row, None if orders.halted else orders.prices)
            return orders.version, taken
        except ForgedError as error:
            self._count["forged"] += 1
            return 0, Rejected(reason=error.reason, detail=error.detail)
        except WireFormatError as error:
            return 0, Rejected(reason=error.reason, detail=error.detail)

    def _opened(self, row: int, kind: str, frame: bytes, now_ns: int) -> bytes:
        if self._verifier is None:
            return payload_of(frame)
        return self._verifier.open(self._site_ids[row], kind, frame, now_ns)

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
            **self._cars.account(),
            "lease_violations": audit.lease_violations,
            "reserve_violations": audit.reserve_violations,
            "limit_violations": audit.limit_violations,
            "examples": [str(example) for example in self._referee.examples],
            "audit": msgspec.to_builtins(audit),
            "statistics": msgspec.to_builtins(self.statistics()),
            "regulation": self._regulation.account(),
            "island": None if self._island is None else self._island.account(),
        }

    def priced(self) -> dict[str, int]:
        """Return what came of questions about prices, by name."""
        return dict(self._priced.count)

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
