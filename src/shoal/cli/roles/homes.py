"""The simulated sites as a process: a fleet planned from the seed, signed in over MQTT."""

from __future__ import annotations

import asyncio
import os
import secrets
import ssl
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np

from shoal.cli.roles.host import Host, sqlite_url
from shoal.cli.roles.silenced import FILE as SILENCED
from shoal.cli.roles.silenced import SilencedSites
from shoal.domain.fleet import Fleet
from shoal.domain.ids import ProgramId, SiteId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S, Interval, local_midnight_ns
from shoal.domain.pace import spread_for
from shoal.edge.link import Links, LinkSettings
from shoal.edge.signed import Verifier
from shoal.fabric.command_keys import CommandKeys
from shoal.fabric.keys import Keys
from shoal.market.registry import market
from shoal.programs.program import default_book
from shoal.runtime.clock import ConductedClock
from shoal.runtime.settings import Settings
from shoal.simulate.fleet import devices_of, only_plants, plan_fleet, site_secret
from shoal.simulate.hamlet import HAMLET, annual_kwh, microgrid, with_hamlet
from shoal.simulate.homes import Homes
from shoal.simulate.island import Island
from shoal.simulate.physics import HomeWorld
from shoal.simulate.profiles import Profiles
from shoal.store.credentials import seal
from shoal.store.database import migrate, open_database
from shoal.store.records import Program
from shoal.store.registry import Registry

MASTER_SECRET: Final = "fleet.secret"
PROGRAMS: Final = tuple(
    Program(program_id=ProgramId(name), name=default_book().program(name).name, priority=place)
    for place, name in enumerate(reversed(default_book().ids), 1)
)
"""What every simulated site takes part in; the higher priority goes first."""

BIG_BATTERIES: Final = ("bess-1",)
KEEP_ALIVE_S: Final = 120
HOME_REPORT_STEPS: Final = 2
"""A home samples every minute and reports every second one; a big battery reports each."""

SIGN_IN_RATE_PER_S: Final = 1_000.0
LEAD_HOURS_BEFORE_GATE: Final = 1


def master_secret(settings: Settings) -> bytes:
    """Return the secret from which every simulated device's credential is derived."""
    return Path(settings.data_dir / "keys" / MASTER_SECRET).read_bytes()


def register_fleet(settings: Settings) -> Fleet:
    """Fill the registry with the planned fleet and its credentials, and return the fleet."""
    Keys.create_or_load(settings.data_dir / "keys")
    secret_file = settings.data_dir / "keys" / MASTER_SECRET
    if not secret_file.exists():
        descriptor = os.open(secret_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
    master = secret_file.read_bytes()
    url = settings.registry.database_url or sqlite_url(settings, "registry.db")
    migrate(url)
    registry = Registry(open_database(url))
    fleet = planned_fleet(settings)
    registry.load_fleet(fleet, valid_from_ns=0, programs=PROGRAMS)
    devices = devices_of(fleet).names
    sealed = [
        seal(site_secret(master, device), created_ns=0, random_bytes=secrets.token_bytes)
        for device in devices
    ]
    registry.set_credential(devices, sealed)
    return fleet


def planned_fleet(settings: Settings) -> Fleet:
    """Return the fleet that the settings describe."""
    demo = settings.demo
    fleet = plan_fleet(
        demo.sites,
        demo.seed,
        ev_sites_frac=demo.ev_sites_frac,
        meter_sites_frac=demo.meter_sites_frac,
        gateway_frac=demo.gateway_frac,
    )
    fleet = only_plants(fleet, demo.plants)
    return with_hamlet(fleet) if demo.island_s else fleet


def run_bounds_ns(settings: Settings) -> tuple[int, int, int, int]:
    """Return when the lead-in begins, its gate (for the run's first day), when the run begins, and when it ends."""
    rules = market("ercot-da")
    day = date.fromisoformat(settings.demo.from_day)
    start_ns = local_midnight_ns(day, rules.zone)
    gate_ns = rules.gate_ns(day)
    lead_ns = gate_ns - LEAD_HOURS_BEFORE_GATE * NS_PER_HOUR
    return lead_ns, gate_ns, start_ns, start_ns + settings.demo.duration_s * NS_PER_S


def cut_of(settings: Settings) -> Interval | None:
    """Return when the run's sites are cut off from the plant; None when they are not."""
    demo = settings.demo
    if demo.cut_s == 0:
        return None
    start_ns = run_bounds_ns(settings)[2] + int(demo.cut_after_s * NS_PER_S)
    return Interval(start_ns=start_ns, end_ns=start_ns + int(demo.cut_s * NS_PER_S))


def island_of(settings: Settings, fleet: Fleet, profiles: Profiles) -> Island | None:
    """Return the site of the run that loses the grid, None when there is none."""
    demo = settings.demo
    if demo.island_s == 0:
        return None
    start_ns = run_bounds_ns(settings)[2] + int(demo.island_after_s * NS_PER_S)
    span = Interval(start_ns=start_ns, end_ns=start_ns + int(demo.island_s * NS_PER_S))
    return Island(row=fleet.site_ids.index(HAMLET), span=span, site=microgrid(), profiles=profiles)


def verifier_of(settings: Settings) -> Verifier | None:
    """Return what opens signed commands, by the root key that the sites were given; None in a plant that does not sign.

    The first process of a plant that needs the keys makes them; on another machine put `command_root.pub` there first.
    """
    if not settings.control.sign:
        return None
    keys = CommandKeys.create_or_load(settings.data_dir / "keys")
    return Verifier(keys.root_public, settings.control.tenant)


async def homes(host: Host) -> None:
    """Run every simulated site of the fleet."""
    settings = host.settings
    conducted = isinstance(host.clock, ConductedClock)
    if conducted:
        fleet = planned_fleet(settings)
        begin_ns = run_bounds_ns(settings)[0] - NS_PER_HOUR
    else:
        fleet = await asyncio.to_thread(register_fleet, settings)
        begin_ns = host.clock.now_ns() // NS_PER_MINUTE * NS_PER_MINUTE - NS_PER_MINUTE
    secret = master_secret(settings)
    tls = ssl.create_default_context(cafile=settings.fabric.tls_cert) if settings.fabric.tls_cert else None
    devices = devices_of(fleet)
    # a conductor waits for everybody, so nobody takes their time
    spread_s = 0.0 if conducted else spread_for(len(devices.names), settings.fabric.sign_ins_per_s)
    links = Links(
        settings.fabric.host,
        settings.fabric.mqtt_port,
        devices.names,
        [site_secret(secret, device) for device in devices.names],
        tls=tls,
        keep_alive_s=KEEP_ALIVE_S,
        rng_seed=settings.demo.seed,
        settings=LinkSettings(backoff_base_s=0.2, backoff_cap_s=2.0, spread_s=spread_s),
        gateways=devices.gateways,
    )
    profiles = Profiles(fleet, settings.demo.seed, annual_kwh=annual_kwh(fleet))
    island = island_of(settings, fleet, profiles) if conducted else None
    world = HomeWorld(fleet, profiles, start_ns=begin_ns, seed=settings.demo.seed, alone=island)
    service = Homes(
        fleet=fleet,
        world=world,
        faults=SilencedSites(
            fleet.site_ids,
            settings.demo.seed,
            file=settings.data_dir / "run" / SILENCED,
            drop_out_frac=settings.demo.drop_out_frac,
            drop_out_mean_s=settings.demo.drop_out_mean_s,
            loss_frac=settings.demo.loss_frac,
            latency_s=settings.demo.latency_s,
            never_offline={SiteId(name) for name in BIG_BATTERIES},
            cuts=[cut] if conducted and (cut := cut_of(settings)) is not None else (),
        ),
        links=links,
        clock=host.clock,
        report_steps=np.array([1 if site in BIG_BATTERIES else HOME_REPORT_STEPS for site in fleet.site_ids]),
        jitter=not conducted,
        rng_seed=settings.demo.seed,
        verifier=verifier_of(settings),
        step_s=settings.demo.step_s,
        island=island,
    )
    host.ops.register("homes", service.statistics)
    host.ops.register("regulated", lambda: {"messages_total": service.regulation()})
    host.ops.register("priced", lambda: {"messages_total": service.priced()})
    host.ops.register("links", links.statistics)
    await service.connect(max_rate_per_s=min(SIGN_IN_RATE_PER_S, settings.fabric.sign_ins_per_s))
    host.ready()
    await service.follow()
