"""The control role: awards from the ledger, twins by asking, desired states to the sites."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from shoal.bidding.awarded import Awarded
from shoal.cli.roles.host import Host
from shoal.cli.roles.twins import ask_twins
from shoal.control.dispatch import DispatchOptions
from shoal.control.service import Control
from shoal.domain.errors import UnknownIdError
from shoal.domain.fleet import Resource
from shoal.domain.ids import ResourceId, SiteId
from shoal.domain.live import ResourceState
from shoal.fabric.fleet_feed import FleetFeed
from shoal.fabric.subjects import LIVE_RESOURCES, desired_subject, downlink_name
from shoal.market.registry import market_module
from shoal.store.database import open_database
from shoal.store.ledger import Ledger

ISSUER: Final = "control"


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

    def save_state(self, key: str, state: dict[str, Any]) -> None:
        """Keep a controller's state."""
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


async def control(host: Host) -> None:
    """Run the controllers of every resource."""
    settings = host.settings
    client = await host.connect()
    feed = FleetFeed(client)
    published = await host.published_fleet(feed)
    fleet = published.fleet
    ledger = Ledger(open_database(host.ledger_url()))
    fence = ledger.next_fence(ISSUER)

    async def send(site: str, message: bytes) -> None:
        name = downlink_name(fleet, fleet.row_of[SiteId(site)])
        await client.publish(desired_subject(name), message)

    async def publish_states(states: list[ResourceState]) -> None:
        await client.publish(LIVE_RESOURCES, msgspec.json.encode(states))

    service = Control(
        fleet=fleet,
        clock=host.clock,
        options=DispatchOptions(
            lease_s=settings.control.lease_s,
            fresh_timeout_s=settings.telemetry.fresh_timeout_s,
            issuer=ISSUER,
            fence=fence,
        ),
        step_s=settings.control.step_s,
        view=lambda: ask_twins(client, shards=settings.telemetry.shards, sites=len(fleet.site_ids)),
        memory=LedgerMemory(
            ledger, resources=fleet.resources, issuer=ISSUER, fence=fence, now_ns=host.clock.now_ns
        ),
        send=send,
        flush=client.flush,
        publish_states=publish_states,
    )
    host.ops.register("dispatch", service.statistics)
    host.ready()
    watching = asyncio.create_task(host.end_on_change(feed, published))
    try:
        await service.follow()
    finally:
        watching.cancel()
        await client.close()
