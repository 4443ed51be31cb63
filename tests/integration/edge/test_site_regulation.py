"""A site's agent in regulation over the plant's real engine and sign-in: signed, prompt, measured, and left when told."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import numpy as np
from nacl.signing import SigningKey
from nats.aio.client import Client

from shoal.control.regulation import MarketSignal, RegulationOptions, RegulationService
from shoal.domain.interval import NS_PER_S
from shoal.edge.link import LinkSettings
from shoal.edge.modes import Mode
from shoal.edge.signed import Issuer, make_certificate
from shoal.edge.site_service import SiteService
from shoal.fabric.keys import Role
from shoal.fabric.subjects import signal_subject
from shoal.runtime.clock import SystemClock
from shoal.services.regulation import FollowRules
from shoal.services.regulation_shares import RegulationAbility
from shoal.simulate.site_driver import SimulatedSite, SmoothHousehold
from tests.integration.fabric.plant import Plant
from tests.unit.edge.site_setup import checked

RESOURCE = "vpp-1"
ROOT, ISSUER = SigningKey(bytes(range(32))), SigningKey(bytes(range(1, 33)))
TICK_NS = NS_PER_S // 4
OPTIONS = RegulationOptions(
    offer_w=3_000,
    hold_ns=4 * TICK_NS,
    rules=FollowRules(tick_ns=TICK_NS, silent_ns=20 * TICK_NS, lag_s=0.0, compensation_frac=0.0),
)
TIMEOUT_S = 20.0


def issuer() -> Issuer:
    certificate = make_certificate(
        bytes(ROOT),
        issuer="plant",
        tenant="reef",
        public_key=bytes(ISSUER.verify_key),
        not_before_ns=0,
        not_after_ns=2**62,
        kinds=("regulation", "broadcast"),
    )
    return Issuer(bytes(ISSUER), certificate)


def site_service(folder: Path, plant: Plant) -> SiteService:
    settings = checked(
        folder,
        plant={
            "host": "127.0.0.1",
            "port": plant.server.mqtt_address[1],
            "tls": False,
            "root_public_key": bytes(ROOT.verify_key).hex(),
            "tenant": "reef",
        },
        page={"listen": ""},
        times={"tick_s": 1.0, "stale_s": 30.0},
    )
    driver = SimulatedSite(
        now_ns=time.time_ns,
        capacity_kwh=13.5,
        power_kw=5.0,
        household=SmoothHousehold(load_kw=0.8, solar_kw=0.0),
        soc_frac=0.5,
    )
    return SiteService(
        settings,
        driver,
        secret="secret-of-home-1",
        link_settings=LinkSettings(backoff_base_s=0.05, backoff_cap_s=0.3),
    )


def regulation(client: Client) -> RegulationService:
    ability = RegulationAbility(
        charge_limit_w=np.array([5_000]),
        discharge_limit_w=np.array([5_000]),
        stored_kwh=np.array([6.75]),
        floor_kwh=np.array([2.7]),
        ceiling_kwh=np.array([13.5]),
        charge_efficiency_frac=np.array([0.95]),
        discharge_efficiency_frac=np.array([0.95]),
    )
    return RegulationService(
        client=client,
        clock=SystemClock(),
        resource_id=RESOURCE,
        site_ids=["home-1"],
        ability=ability,
        options=OPTIONS,
        issuer=issuer(),
    )


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[RegulationService, SiteService, Client]]:
    plant = Plant.make(folder)
    await plant.server.start()
    try:
        async with (
            plant.callout(lambda site, secret: secret == f"secret-of-{site}"),
            plant.client(Role.REGULATION) as client,
            plant.client(Role.SIGNAL) as market,
        ):
            service, site = regulation(client), site_service(folder, plant)
            tasks = [asyncio.create_task(site.run())]
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    while site.link is None or not site.link.up:  # noqa: ASYNC110 - told over the wire
                        await asyncio.sleep(0.02)
                tasks.append(asyncio.create_task(service.run()))
                yield service, site, market
            finally:
                site.stop()
                for task in tasks[1:]:
                    task.cancel()
                await asyncio.wait(tasks)
    finally:
        await plant.server.stop()


async def drive(market: Client, value_frac: float, done: Callable[[], bool]) -> None:
    """Send the signal every tick until something holds."""
    async with asyncio.timeout(TIMEOUT_S):
        while not done():
            signal = MarketSignal(t_ns=time.time_ns(), value_frac=value_frac)
            await market.publish(signal_subject(RESOURCE), msgspec.json.encode(signal))
            await asyncio.sleep(TICK_NS / NS_PER_S)


def test_site_follows_signed_regulation_between_its_ticks_and_leaves_when_told(tmp_path: Path) -> None:
    async def body() -> None:
        async with running(tmp_path) as (service, agent, market):
            site = agent.site
            assert site is not None
            regulated = site.mind.regulated

            def base_w() -> int:
                arming = regulated.arming(0, time.time_ns())
                return 0 if arming is None else arming.base_w

            def follows(move_w: float) -> bool:
                decision = site.decision
                assert decision is not None
                leased = decision.mode.mode is Mode.DIRECT
                return leased and abs(decision.battery_w - base_w() - move_w) < 0.05 * OPTIONS.offer_w

            await drive(market, 0.5, lambda: follows(-1_500.0))
            steps = site.statistics().steps
            began_s = time.monotonic()
            await drive(market, -0.5, lambda: follows(1_500.0) and service.statistics().readings >= 3)
            # it acts when a broadcast comes, not at its own tick of a second
            assert site.statistics().steps - steps > 1 + (time.monotonic() - began_s) / 1.0
            # a kill switch: the device stops by itself, and says so
            site.mind.columns.halted[0] = True
            await drive(market, -0.5, lambda: service.statistics().barred == 1 and not follows(1_500.0))
            state = service.statistics().state
            assert state is not None
            await drive(market, -0.5, lambda: listening(service) == 0)
            site.mind.columns.halted[0] = False
            await drive(market, -0.5, lambda: follows(1_500.0) and listening(service) == 1)
            # its owner leaves the program: it is out before the arming ends
            await service.allow(np.array([False]), time.time_ns())
            await drive(
                market, -0.5, lambda: regulated.arming(0, time.time_ns()) is None and not follows(1_500.0)
            )
            assert service.statistics().left == 1
            assert site.mind.refused == 0

    asyncio.run(body())


def listening(service: RegulationService) -> int:
    state = service.statistics().state
    return state.listening_sites if state else 0
