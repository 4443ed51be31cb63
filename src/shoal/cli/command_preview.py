"""The dry run of `shoal command`: it asks the running plant how its sites stand, and prints what an order would come to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import typer

from shoal.cli.options import print_columns

if TYPE_CHECKING:
    from shoal.control.dry_run import Preview
    from shoal.domain.fleet import Fleet
    from shoal.domain.live import Aggregates
    from shoal.domain.twins import FleetView
    from shoal.runtime.settings import Settings
    from shoal.store.order_records import Order
    from shoal.store.orders import Orders

PATIENCE_S: Final = 5.0


def preview_now(settings: Settings, orders: Orders, fleet: Fleet, order: Order, *, now_ns: int) -> Preview:
    """Return what an order would come to if it began now.

    Raises:
        UnavailableError: when the plant does not run, or does not answer.
    """
    from shoal.cli.roles.host import sqlite_url
    from shoal.cli.roles.sharing import KeptStates, day_meters, grid_limits
    from shoal.control.dry_run import each_of, preview, silent_of
    from shoal.control.kill import halted_rows
    from shoal.control.schedule import rows_of_order
    from shoal.control.taking_part import TakingPart
    from shoal.store.database import open_database
    from shoal.store.ledger import Ledger
    from shoal.store.programs import ProgramStore

    view, aggregates = asyncio.run(_ask(settings, len(fleet.site_ids)))
    t_ns = max(now_ns, view.t_ns)
    registry_url = settings.registry.database_url or sqlite_url(settings, "registry.db")
    engine = open_database(settings.bidding.database_url or sqlite_url(settings, "registry.db"))
    day = day_meters(fleet, KeptStates(Ledger(engine)))
    programs = ProgramStore(open_database(registry_url))
    taking_part = TakingPart(programs, fleet.nameplate, t_ns=t_ns, day=day)
    grid = grid_limits(settings, fleet, engine)
    grid.refresh(t_ns)
    rows = rows_of_order(order, fleet, taking_part.enrolled)
    return preview(
        order,
        t_ns=t_ns,
        fleet=fleet,
        rows=rows,
        each_w=each_of(order, rows, fleet),
        latest=view.latest,
        halted=halted_rows(orders.stops(), fleet),
        book=taking_part.book,
        ability=taking_part.ability,
        grid=grid,
        fresh_timeout_s=settings.telemetry.fresh_timeout_s,
        silent_kw=None if aggregates is None else silent_of(aggregates, fleet, order.scope),
    )


async def _ask(settings: Settings, sites: int) -> tuple[FleetView, Aggregates | None]:
    """Return the latest record of every site, and the newest aggregates if any come."""
    import contextlib
    import ssl

    import msgspec
    from nats.aio.msg import Msg

    from shoal.cli.roles.twins import ask_twins
    from shoal.domain.live import Aggregates
    from shoal.fabric.connection import connect
    from shoal.fabric.keys import Keys, Role
    from shoal.fabric.subjects import LIVE_AGGREGATES

    fabric = settings.fabric
    ca = fabric.tls_ca or fabric.tls_cert
    url = fabric.url or f"{'tls' if fabric.tls_cert else 'nats'}://{fabric.host}:{fabric.client_port}"
    client = await connect(
        url,
        seed=Keys.create_or_load(settings.data_dir / "keys").seed(Role.CONTROL),
        name="dry-run",
        tls=ssl.create_default_context(cafile=ca) if ca else None,
        timeout_s=PATIENCE_S,
    )
    heard: asyncio.Queue[Aggregates] = asyncio.Queue()

    async def hear(message: Msg) -> None:
        heard.put_nowait(msgspec.json.decode(message.data, type=Aggregates))

    try:
        await client.subscribe(LIVE_AGGREGATES, cb=hear)
        view = await ask_twins(client, shards=settings.telemetry.shards, sites=sites, patience_s=PATIENCE_S)
        newest = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                newest = await heard.get()
        return view, newest
    finally:
        await client.close()


def print_preview(seen: Preview) -> None:
    """Print what an order would come to, for people."""
    typer.echo(
        f"{seen.sites:,} sites: {seen.fresh_sites:,} fresh, {seen.silent_sites:,} silent, {seen.halted_sites:,} stopped"
    )
    typer.echo(f"asked     {_signed(seen.asked_kw)}")
    typer.echo(
        f"expected  {_signed(seen.expected_kw)}, between {_signed(seen.low_kw)} and {_signed(seen.high_kw)} nine times of ten"
    )
    typer.echo(f"to the end {_signed(seen.sustained_kw)}, {abs(seen.energy_kwh):,.1f} kWh")
    if seen.binding:
        print_columns(
            [(one.limit, f"{one.sites:,} sites", f"{one.power_w / 1e3:,.1f} kW") for one in seen.binding]
        )
    for loss in seen.losses:
        typer.echo(loss.told)


def _signed(power_kw: float) -> str:
    if round(power_kw, 1) == 0:
        return "0 kW"
    return f"{'charging' if power_kw > 0 else 'discharging'} {abs(power_kw):,.1f} kW"
