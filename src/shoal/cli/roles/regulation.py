"""The regulation role: a market's signal in, one broadcast a tick to the homes of a resource, and who may follow it.

What a tick needs is in memory; the registry, the kill switches and the twins are looked at beside it, and what cannot be
read leaves everything as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import numpy as np
import structlog
from nats.aio.client import Client
from numpy.typing import NDArray

from shoal.cli.roles.control import go_first
from shoal.cli.roles.host import Host
from shoal.cli.roles.signing import signer_of
from shoal.cli.roles.twins import ask_twins
from shoal.control.regulation import RegulationOptions, RegulationService
from shoal.control.regulation_sites import may_follow, regulation_ability, rows_of_resource
from shoal.control.schedule import everybody
from shoal.control.taking_part import TakingPart
from shoal.domain.errors import SettingsError, UnavailableError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S
from shoal.fabric.fleet_feed import FleetFeed
from shoal.fabric.subjects import downlink_name
from shoal.runtime.clock import ConductedClock
from shoal.services.regulation import FollowRules
from shoal.services.regulation_shares import RegulationAbility
from shoal.store.database import migrate, open_database
from shoal.store.orders import Orders
from shoal.store.programs import ProgramStore

LOOK_S: Final = 1.0
"""Between two looks at kill switches and opt-outs, of wall time."""
RENEW_EVERY: Final = 60
"""Every so many looks the twins are asked again."""
RENEW_SHORT_EVERY: Final = 5
"""The same while something is missing of the offer."""
LAG_S: Final = 0.5

_log = structlog.get_logger(__name__)


class Members:
    """Who takes part, and what they can do, as the databases and the twins have it.

    Args:
        host: The role's process.
        fleet: The fleet.
        client: A connection with the right to ask the twins.
    """

    def __init__(self, host: Host, fleet: Fleet, client: Client) -> None:
        self._host, self._fleet, self._client = host, fleet, client
        self.rows = rows_of_resource(fleet, host.settings.regulation.resource)
        migrate(host.ledger_url())
        self._orders = Orders(open_database(host.ledger_url()))
        self._newest = -1
        self._taking_part: TakingPart | None = None
        registry = host.registry()
        if registry is not None:
            self._taking_part = TakingPart(ProgramStore(registry), fleet.nameplate, t_ns=self._now_ns())
        else:
            _log.warning("enrolments are not known here; set registry.database_url")

    def may(self) -> NDArray[np.bool_] | None:
        """Return who may follow, None when nothing has changed since it was last asked. Blocks.

        Raises:
            UnavailableError: when the store of orders cannot be reached.
        """
        newest = self._orders.newest()
        changed = self._taking_part is not None and self._taking_part.refresh(self._now_ns())
        if newest == self._newest and not changed:
            return None
        enrolled = everybody if self._taking_part is None else self._taking_part.enrolled
        may = may_follow(self._fleet, self.rows, enrolled=enrolled, stops=self._orders.stops())
        self._newest = newest
        return may

    async def ability(self) -> RegulationAbility:
        """Return what the sites can do.

        Raises:
            UnavailableError: when the twins do not answer.
        """
        settings, plate = self._host.settings, self._fleet.nameplate
        view = await ask_twins(self._client, shards=settings.telemetry.shards, sites=len(plate))
        plain = plate["reserve_frac"].astype(np.float64)
        reserve_frac = plain if self._taking_part is None else self._taking_part.reserve_frac()
        return regulation_ability(
            plate[self.rows],
            view.latest[self.rows],
            t_ns=self._now_ns(),
            fresh_ns=int(settings.telemetry.fresh_timeout_s * NS_PER_S),
            reserve_frac=reserve_frac[self.rows],
        )

    def _now_ns(self) -> int:
        return self._host.clock.now_ns()


async def regulation(host: Host) -> None:
    """Follow the signal of the resource that the settings name until the clock stops.

    Raises:
        SettingsError: when they name none, or one that the fleet does not have.
    """
    settings = host.settings
    if not settings.regulation.resource:
        raise SettingsError(field="regulation.resource", value="", fix="name a resource")
    conducted = isinstance(host.clock, ConductedClock)
    go_first()
    client = await host.connect()
    feed = FleetFeed(client)
    published = await host.published_fleet(feed)
    fleet = published.fleet
    members = await asyncio.to_thread(Members, host, fleet, client)
    host.not_ready = "the twins do not answer"

    async def each_minute(t_ns: int) -> None:
        await _look(service, members, host)
        every_ns = (RENEW_SHORT_EVERY if any(service.missing_w()) else RENEW_EVERY) * NS_PER_MINUTE
        if t_ns % every_ns == 0:
            service.renew(await members.ability(), t_ns)

    service = RegulationService(
        client=client,
        clock=host.clock,
        resource_id=settings.regulation.resource,
        site_ids=[str(fleet.site_ids[row]) for row in members.rows],
        names=[str(downlink_name(fleet, int(row))) for row in members.rows],
        ability=await members.ability(),
        options=options_of(host),
        issuer=await asyncio.to_thread(signer_of, host, "regulation"),
        conducted=conducted,
        each_minute=each_minute,
    )
    await _look(service, members, host)
    host.ops.register("regulation", lambda: metrics_of(service))
    host.ready(sites=len(members.rows))
    tasks = [asyncio.create_task(host.end_on_change(feed, published))]
    if not conducted:
        tasks.append(asyncio.create_task(_keep_looking(service, members, host)))
    try:
        await service.run()
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)
        await client.close()


def options_of(host: Host) -> RegulationOptions:
    """Return what is offered and how it is followed, by the settings."""
    given = host.settings.regulation
    tick_ns = int(given.signal_every_s * NS_PER_S)
    return RegulationOptions(
        offer_w=int(given.offer_kw * 1e3),
        margin_frac=given.margin_frac,
        target_frac=given.energy_target_frac,
        hold_ns=5 * tick_ns,
        rules=FollowRules(tick_ns=tick_ns, silent_ns=7 * tick_ns, lag_s=LAG_S),
    )


def metrics_of(service: RegulationService) -> dict[str, float]:
    """Return the counters, and how the follower stands."""
    told = service.statistics()
    up_w, down_w = service.missing_w()
    found = {
        name: float(getattr(told, name))
        for name in ("signals", "refused", "broadcasts", "armings", "readings", "silences", "left", "barred")
    }
    found |= {"missing_up_w": float(up_w), "missing_down_w": float(down_w)}
    if told.state is not None:
        names = ("listening_sites", "up_w", "down_w", "unmet_w", "gain_frac", "lag_s", "blind")
        found |= {name: float(getattr(told.state, name)) for name in names}
    return found


async def _keep_looking(service: RegulationService, members: Members, host: Host) -> None:
    looks, told = 0, False
    while True:
        await asyncio.sleep(LOOK_S)
        looks += 1
        try:
            await _look(service, members, host)
            if looks % (RENEW_SHORT_EVERY if told else RENEW_EVERY) == 0:
                service.renew(await members.ability(), host.clock.now_ns())
        except UnavailableError as error:
            _log.warning("who may follow is not known anew", why=str(error))
        except Exception:  # noqa: BLE001 - the supervisor of the look: the next one must come
            _log.exception("looking for who may follow failed")
        missing_w = service.missing_w()
        if any(missing_w) != told:
            told = any(missing_w)
            _log.log(30 if told else 20, "offer", missing_up_w=missing_w[0], missing_down_w=missing_w[1])


async def _look(service: RegulationService, members: Members, host: Host) -> None:
    may = await asyncio.to_thread(members.may)
    if may is not None:
        await service.allow(may, host.clock.now_ns())
