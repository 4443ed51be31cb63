"""The control role: awards from the ledger, orders from their store, twins by asking, commands to the sites."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import msgspec
import structlog

from shoal.bidding.awarded import Ahead, Awarded
from shoal.cli.roles.home_words import HomeWords
from shoal.cli.roles.host import Host
from shoal.cli.roles.sharing import burden_of, day_meters, event_caps, following, grid_limits, within
from shoal.cli.roles.signing import signer_of
from shoal.cli.roles.twins import ask_twins
from shoal.control.desired_book import DesiredBook
from shoal.control.dispatch import DispatchOptions
from shoal.control.doing import ControlNow
from shoal.control.event_desk import EventDesk
from shoal.control.leases import LeaseBook
from shoal.control.order_desk import OrderDesk
from shoal.control.owner_skips import OwnerSkips
from shoal.control.parameter_intake import ParameterIntake
from shoal.control.schedule import everybody
from shoal.control.sender import FabricSender
from shoal.control.service import BEAT, Control
from shoal.control.standing import StandingDesk
from shoal.control.taking_part import TakingPart
from shoal.domain.errors import UnknownIdError
from shoal.domain.fleet import Fleet, Resource
from shoal.domain.ids import ResourceId
from shoal.domain.live import ResourceState
from shoal.edge.parameters_report import is_parameters
from shoal.fabric.bulk_link import BulkLink, Take
from shoal.fabric.fleet_feed import FleetFeed
from shoal.fabric.subjects import (
    ASK_HOMES,
    LIVE_CONTROL,
    LIVE_RESOURCES,
    REPORT_ALL,
    REPORT_BEHIND_ALL,
    downlink_name,
    report_subject,
)
from shoal.market.registry import market_module
from shoal.runtime.clock import ConductedClock
from shoal.store.database import migrate, open_database
from shoal.store.device_parameters import DeviceParameterStore
from shoal.store.event_skips import EventSkips
from shoal.store.ledger import Ledger
from shoal.store.orders import Orders
from shoal.store.programs import ProgramStore
from shoal.store.standing import StandingServices
from shoal.store.weather_alerts import WeatherAlertLog

ISSUER: Final = "control"
FIRST: Final = -10
"""Niceness: a set-point does not wait for telemetry that can wait."""
LOOK_S: Final = 1.0
"""Between two looks for new orders, of wall time: a kill switch does not wait for the next cycle."""
FENCE_EVERY: Final = 5
"""Every so many looks it is asked whether another controller has taken over."""
CONNECT_TIMEOUT_S: Final = 30.0
BEATS_MISSED: Final = 5
"""A controller that stood down takes over again when the other's sign of life is this many cycles old."""

_log = structlog.get_logger(__name__)


class LedgerMemory:
    """Awards and controller states in the ledger.

    Args:
        ledger: Where they are.
        resources: The resources of the fleet.
        issuer: Whose states.
        fence: The token of this controller.
        now_ns: The plant's clock.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        resources: Sequence[Resource],
        issuer: str,
        fence: int,
        now_ns: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._awarded = Awarded(cycles=ledger, market=market_module)
        self._resources = {str(resource.resource_id): resource for resource in resources}
        self._issuer = issuer
        self._fence = fence
        self._now_ns = now_ns

    def award_at(self, resource_id: str, t_ns: int) -> tuple[int, int, int] | None:
        """Return (start_ns, end_ns, energy_wh) of the awarded interval under way, or None."""
        try:
            found = self._awarded.at(self._resources[resource_id], t_ns)
        except UnknownIdError:
            return None  # nobody bids in a market that is not known
        return None if found is None else (found.start_ns, found.end_ns, found.energy_wh)

    def ahead(self, resource_id: str, t_ns: int) -> tuple[int, int, int, int]:
        """Return the most still to be taken and given in any interval, in W, and what in all of them, in Wh; all >= 0."""
        try:
            ahead = self._awarded.ahead(self._resources[resource_id], t_ns)
        except UnknownIdError:
            ahead = Ahead()
        return ahead.most_charge_w, ahead.most_discharge_w, ahead.charge_wh, ahead.discharge_wh

    def save_state(self, key: str, state: dict[str, Any]) -> None:
        """Keep a controller's state.

        Raises:
            FencedOutError: when another controller has taken over.
        """
        self._ledger.save_state(
            ResourceId(key),
            msgspec.json.encode(state),
            issuer=self._issuer,
            fence=self._fence,
            saved_ns=self._now_ns(),
        )

    def load_state(self, key: str) -> dict[str, Any] | None:
        """Return the state kept, or None."""
        kept = self._ledger.load_state(ResourceId(key))
        return None if kept is None else msgspec.json.decode(kept.state, type=dict[str, Any])


def reports_to(
    fleet: Fleet,
    desk: OrderDesk,
    now_ns: Callable[[], int],
    events: EventDesk | None = None,
    parameters: ParameterIntake | None = None,
) -> Take:
    """Return what lets the desks hear what devices say of what they were sent, and are set to; others are passed over."""
    row_of = {report_subject(downlink_name(fleet, row)).encode(): row for row in range(len(fleet.site_ids))}

    def take(subjects: list[bytes], payloads: list[bytes]) -> None:
        rows = [row_of.get(subject, -1) for subject in subjects]
        if -1 in rows:
            known = [place for place, row in enumerate(rows) if row >= 0]
            rows, payloads = [rows[place] for place in known], [payloads[place] for place in known]
        if any(map(is_parameters, payloads)):
            rows, payloads = take_parameters(fleet, rows, payloads, now_ns(), parameters)
        for row, report in desk.take_reports(rows, payloads, now_ns()):
            if events is not None:
                events.heard(row, report)

    return take


def take_parameters(
    fleet: Fleet, rows: list[int], payloads: list[bytes], t_ns: int, parameters: ParameterIntake | None
) -> tuple[list[int], list[bytes]]:
    """Take the reports of parameters among others, and return the others."""
    left: list[tuple[int, bytes]] = []
    for row, payload in zip(rows, payloads, strict=True):
        if not is_parameters(payload):
            left.append((row, payload))
        elif parameters is not None:
            parameters.take(str(fleet.site_ids[row]), payload, t_ns)
    return [row for row, _ in left], [payload for _, payload in left]


@contextlib.asynccontextmanager
async def commands_link(
    url: str, *, seed: str, name: str, take: Take, tls: ssl.SSLContext | None = None
) -> AsyncIterator[BulkLink]:
    """Hold the connection of commands and reports, apart from what else the role does: no bulk waits for another.

    Raises:
        UnavailableError: when the fabric cannot be reached.
    """
    link = BulkLink(url, seed=seed, name=name, subjects=(REPORT_ALL, REPORT_BEHIND_ALL), take=take, tls=tls)
    task = asyncio.create_task(link.follow())
    try:
        await link.wait_connected(CONNECT_TIMEOUT_S)
        yield link
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def go_first(niceness: int = FIRST) -> None:
    """Let the calling thread come before others, where threads have a priority of their own and this one may choose."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)


async def control(host: Host) -> None:
    """Run the controllers of every resource and order."""
    go_first()
    settings = host.settings
    conducted = isinstance(host.clock, ConductedClock)
    client = await host.connect()
    feed = FleetFeed(client)
    published = await host.published_fleet(feed)
    fleet = published.fleet
    url = host.ledger_url()
    await asyncio.to_thread(migrate, url)
    engine = open_database(url)
    ledger, orders = Ledger(engine), Orders(engine)
    fence = ledger.next_fence(ISSUER)
    leases = LeaseBook(len(fleet.site_ids))
    memory = LedgerMemory(
        ledger, resources=fleet.resources, issuer=ISSUER, fence=fence, now_ns=host.clock.now_ns
    )
    taking_part = await asyncio.to_thread(_taking_part, host, fleet, memory)
    skips = OwnerSkips(
        fleet,
        EventSkips(engine),
        orders,
        enrolled=everybody if taking_part is None else taking_part.enrolled,
    )
    events = EventDesk(
        fleet,
        orders,
        memory,
        fresh_s=settings.telemetry.fresh_timeout_s,
        alerts=None if taking_part is None else WeatherAlertLog(engine),
        owners=taking_part,
        sit_out=skips.since_ns,
    )
    standing = StandingDesk(
        fleet,
        StandingServices(engine),
        memory,
        tenant=settings.control.tenant,
        fresh_s=settings.telemetry.fresh_timeout_s,
        step_s=settings.control.step_s,
        enrolled=everybody if taking_part is None else taking_part.enrolled,
        reserve_frac=None if taking_part is None else taking_part.reserve_frac,
    )
    grid = grid_limits(settings, fleet, engine)
    caps = event_caps(fleet, grid, leases, taking_part)
    desk = OrderDesk(
        fleet,
        orders,
        book=DesiredBook(len(fleet.site_ids)),
        leases=leases,
        enrolled=everybody if taking_part is None else taking_part.enrolled,
        sources=(events.entries, grid.entries),
        steering=standing.setpoints,
        within=within(taking_part, caps, skips),
        sit_out=skips.rows,
    )
    registry = await asyncio.to_thread(host.registry)
    parameters = None if registry is None else ParameterIntake(DeviceParameterStore(registry))
    stack = contextlib.AsyncExitStack()
    link = await stack.enter_async_context(
        commands_link(
            host.fabric_url(),
            seed=host.keys().seed(host.role),
            name=f"{host.role}-commands",
            take=reports_to(fleet, desk, host.clock.now_ns, events, parameters),
            tls=host.tls(),
        )
    )
    sender = FabricSender(
        fleet,
        publish=client.publish,
        flush=link.flush,
        issuer=signer_of(host, ISSUER),
        publish_many=link.publish_many,
    )

    async def publish_states(states: list[ResourceState]) -> None:
        await client.publish(LIVE_RESOURCES, msgspec.json.encode(states))

    async def publish_now(now: ControlNow) -> None:
        await client.publish(LIVE_CONTROL, msgspec.msgpack.encode(now))

    service = Control(
        fleet=fleet,
        clock=host.clock,
        options=DispatchOptions(
            lease_s=settings.control.lease_s,
            fresh_timeout_s=settings.telemetry.fresh_timeout_s,
            issuer=ISSUER,
            fence=fence,
            slope_kw_per_min=settings.control.slope_kw_per_min or math.inf,
            slope_frac_per_min=settings.control.slope_frac_per_min or math.inf,
            stagger_frac=settings.control.stagger_frac,
        ),
        step_s=settings.control.step_s,
        view=lambda: ask_twins(client, shards=settings.telemetry.shards, sites=len(fleet.site_ids)),
        memory=memory,
        sender=sender,
        publish_states=publish_states,
        publish_now=publish_now,
        desk=desk,
        leases=leases,
        taking_part=taking_part,
        skips=skips,
        events=events,
        standing=standing,
        grid=grid,
        caps=caps,
        burden=burden_of(settings, fleet, memory),
        also=following(host, fleet, everybody if taking_part is None else taking_part.enrolled),
        beat=not conducted,
    )
    host.ops.register("dispatch", service.statistics)
    host.ops.register("events", events.statistics)
    host.ops.register("standing", standing.statistics)
    host.ops.register("orders", desk.statistics)
    host.ops.register("sender", sender.statistics)
    host.ops.register("commands_link", link.statistics)
    host.ready()
    words = HomeWords(fleet, desk.book, look=service.prompt, now_ns=host.clock.now_ns)
    await client.subscribe(ASK_HOMES, cb=words.take)
    tasks = [asyncio.create_task(host.end_on_change(feed, published)), asyncio.create_task(words.run())]
    if parameters is not None:
        host.ops.register("parameters", parameters.statistics)
        tasks.append(asyncio.create_task(parameters.run()))
    if not conducted:
        tasks.append(asyncio.create_task(_look_between(host, service, desk, orders, ledger, fence)))
    try:
        await service.follow()
    finally:
        for task in tasks:
            task.cancel()
        await stack.aclose()
        await client.close()


async def _look_between(
    host: Host, service: Control, desk: OrderDesk, orders: Orders, ledger: Ledger, fence: int
) -> None:
    """Carry out between cycles what cannot wait, and stand down for a newer controller until it looks dead."""
    looks = 0
    while not service.stood_down:
        await asyncio.sleep(LOOK_S)
        looks += 1
        try:
            if desk.fenced_out or looks % FENCE_EVERY == 0:
                desk.fenced_out = False
                newest = await asyncio.to_thread(orders.fence, ISSUER)
                if newest > fence:
                    service.stand_down(f"token {fence} was replaced by {newest}")
            await service.prompt()
        except Exception:  # noqa: BLE001 - the supervisor of the look: the next one must come
            _log.exception("looking for orders failed")
    host.not_ready = f"another controller commands: {service.stood_down}"
    seen: object = None
    since_s = time.monotonic()
    patience_s = BEATS_MISSED * host.settings.control.step_s
    while time.monotonic() - since_s < patience_s:
        await asyncio.sleep(min(LOOK_S * FENCE_EVERY, patience_s / 2))
        kept = await asyncio.to_thread(ledger.load_state, ResourceId(BEAT))
        beat = None if kept is None else (kept.fence, kept.saved_ns)
        if beat != seen:
            seen, since_s = beat, time.monotonic()
    _log.warning("the other controller gives no sign of life: taking over", patience_s=patience_s)
    host.end()


def _taking_part(host: Host, fleet: Fleet, memory: LedgerMemory) -> TakingPart | None:
    """Return who takes part in what, None where the registry is on another machine and its URL is not set."""
    registry = host.registry()
    if registry is None:
        _log.warning("enrolments are not known here; set registry.database_url")
        return None
    now_ns = host.clock.now_ns() or time.time_ns()
    day = day_meters(fleet, memory)
    return TakingPart(ProgramStore(registry), fleet.nameplate, t_ns=now_ns, day=day)
