"""A plant that lives in memory: simulated homes with real agents and a referee, the real controller, a real database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shoal.cli.roles.control import ISSUER, LedgerMemory
from shoal.control.desired_book import DesiredBook
from shoal.control.dispatch import DispatchOptions
from shoal.control.leases import LeaseBook
from shoal.control.order_desk import OrderDesk
from shoal.control.sender import FabricSender
from shoal.control.service import Control
from shoal.control.standing import StandingDesk
from shoal.control.taking_part import TakingPart
from shoal.domain.clock import Tick
from shoal.domain.fleet import NAMEPLATE, Fleet
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_S
from shoal.domain.live import ResourceState
from shoal.domain.telemetry import TELEMETRY, DeviceType
from shoal.domain.twins import FleetView
from shoal.edge import agent
from shoal.edge.agent_orders import decode_orders, receive_orders
from shoal.edge.audit import Referee
from shoal.simulate.fleet import plan_fleet
from shoal.simulate.physics import STANDBY_FRAC_PER_H, HomeWorld
from shoal.simulate.profiles import Profiles
from shoal.store.database import migrate, open_database
from shoal.store.ledger import Ledger
from shoal.store.orders import Orders
from shoal.store.programs import ProgramStore
from shoal.store.registry import Registry
from shoal.store.standing import StandingServices


class Powers(Protocol):
    """What sites use and generate; see `shoal.simulate.profiles.Profiles`."""

    def power_w(
        self, t0_ns: int, t1_ns: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]: ...


class Living:
    """Homes, their agents, and what the plant heard of them last.

    Args:
        fleet: The fleet; its resources are left out, so that no market interferes.
        url: The database.
        start_ns: When it begins.
        step_s: Between two samples, and two cycles.
        powers: What sites use and generate; simulated households when None.
    """

    def __init__(
        self,
        fleet: Fleet,
        url: str,
        *,
        start_ns: int,
        step_s: int,
        powers: Powers | None = None,
        seed: int = 1,
    ) -> None:
        self.fleet = replace(fleet, resources=())
        self.url, self.step_s, self.t_ns = url, step_s, start_ns
        sites = len(fleet.site_ids)
        migrate(url)
        Registry(open_database(url)).load_fleet(self.fleet, valid_from_ns=0)
        profiles: Any = powers or Profiles(fleet, seed)
        self.world = HomeWorld(fleet, profiles, start_ns=start_ns, seed=seed)
        self.agents = agent.AgentColumns(fleet.nameplate, site_ids=fleet.site_ids)
        standby_w = float((fleet.nameplate["energy_capacity_kwh"] * STANDBY_FRAC_PER_H).max() * 1e3)
        self.referee = Referee(fleet.nameplate, standby_w=standby_w)
        self.heard = TELEMETRY.empty(sites)
        self.silent = np.zeros(sites, dtype=np.bool_)
        self.delivers_frac = np.ones(sites)
        self.control = self.new_controller()

    def now_ns(self) -> int:
        """Return the plant's instant."""
        return self.t_ns

    def new_controller(self) -> Control:
        """Return a controller over the same database; the one before is dead."""
        engine = open_database(self.url)
        ledger, fleet = Ledger(engine), self.fleet
        fence = ledger.next_fence(ISSUER)
        memory = LedgerMemory(ledger, resources=(), issuer=ISSUER, fence=fence, now_ns=self.now_ns)
        self.programs = ProgramStore(engine)
        taking_part = TakingPart(self.programs, fleet.nameplate, t_ns=self.t_ns)
        self.services, self.orders, self.ledger = StandingServices(engine), Orders(engine), ledger
        self.standing = StandingDesk(
            fleet,
            self.services,
            memory,
            tenant="plant",
            fresh_s=3.0 * self.step_s,
            step_s=float(self.step_s),
            enrolled=taking_part.enrolled,
            reserve_frac=taking_part.reserve_frac,
        )
        leases = LeaseBook(len(fleet.site_ids))
        desk = OrderDesk(
            fleet,
            self.orders,
            book=DesiredBook(len(fleet.site_ids)),
            leases=leases,
            enrolled=taking_part.enrolled,
            steering=self.standing.setpoints,
        )

        async def view() -> FleetView:
            return FleetView(t_ns=self.t_ns, latest=self.heard.copy())

        async def flush() -> None:
            return None

        async def publish_states(states: list[ResourceState]) -> None:
            return None

        self.control = Control(
            fleet=fleet,
            clock=self,  # type: ignore[arg-type]
            options=DispatchOptions(
                lease_s=600.0, fresh_timeout_s=3.0 * self.step_s, issuer=ISSUER, fence=fence
            ),
            step_s=float(self.step_s),
            view=view,
            memory=memory,
            sender=FabricSender(fleet, publish=self._publish, flush=flush),
            publish_states=publish_states,
            desk=desk,
            leases=leases,
            taking_part=taking_part,
            standing=self.standing,
        )
        return self.control

    def report(self, facts: Mapping[str, int]) -> None:
        """Do nothing: nobody waits for counts."""

    async def _publish(self, subject: str, payload: bytes) -> None:
        _, site, kind = subject.split(".")
        row = self.fleet.row_of[SiteId(site)]
        if kind == "desired":
            self.referee.heard(row, payload, received_ns=self.t_ns)
            agent.receive(self.agents, row, agent.decode_desired(payload), self.t_ns)
        else:
            self.referee.heard_orders(row, payload, received_ns=self.t_ns)
            receive_orders(self.agents, row, decode_orders(payload), self.t_ns)

    def live(self) -> None:
        """Let a step pass, and let those who are not silent report at its end."""
        world, start_ns = self.world, self.t_ns
        end_ns = start_ns + self.step_s * NS_PER_S
        while world.now_ns < end_ns:
            now_ns = world.now_ns
            until_ns = min(end_ns, agent.next_change_ns(self.agents, now_ns))
            load_w, solar_w, ev_w = world.load_w, world.solar_w, world.ev_w
            decision = agent.decide(
                self.agents,
                now_ns=now_ns,
                stored_kwh=world.stored_kwh,
                horizon_s=(until_ns - now_ns) / NS_PER_S,
                load_w=load_w,
                solar_w=solar_w,
                ev_w=ev_w,
            )
            before_kwh = world.stored_kwh.copy()
            asked_w = np.rint(decision.battery_w * self.delivers_frac).astype(np.int64)
            done_w = world.advance(until_ns, asked_w)
            if (self.delivers_frac == 1.0).all():
                self.referee.observe(
                    start_ns=now_ns,
                    end_ns=until_ns,
                    battery_w=done_w,
                    stored_start_kwh=before_kwh,
                    stored_end_kwh=world.stored_kwh,
                    load_w=load_w,
                    solar_w=solar_w,
                    ev_w=ev_w,
                )
            self.following = decision.following_version
        self.t_ns = end_ns
        records = TELEMETRY.empty(len(self.heard))
        world.sample(records)
        records["command_version"] = self.following
        self.heard[~self.silent] = records[~self.silent]

    def run(self, steps: int, each: Callable[[Living], None] | None = None) -> None:
        """Live for some steps, with a cycle of the controller after each."""

        async def body() -> None:
            for _ in range(steps):
                self.live()
                await self.control.cycle(Tick(t_ns=self.t_ns))
                if each is not None:
                    each(self)

        asyncio.run(body())


def feeder_and_farm(homes: int, *, farm_kw: float = 0.0, seed: int = 3) -> Fleet:
    """Return simulated homes without the big battery, and a solar farm of its own without one in the last row."""
    fleet = plan_fleet(homes, seed)
    if not farm_kw:
        return fleet.take(np.arange(homes))
    plate = fleet.nameplate.copy()
    plate[-1] = NAMEPLATE.empty(1)[0]
    plate["charge_efficiency_frac"][-1] = plate["discharge_efficiency_frac"][-1] = 0.95
    plate["solar_limit_kw"][-1] = farm_kw
    kinds = fleet.device_type.copy()
    kinds[-1] = DeviceType.BATTERY  # without a household
    return replace(
        fleet, site_ids=(*fleet.site_ids[:-1], SiteId("farm-1")), nameplate=plate, device_type=kinds
    )
