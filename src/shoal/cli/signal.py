"""`shoal sim regulation`: a market that says every few seconds what it asks of a resource."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec
from nats.aio.client import Client

from shoal.cli.roles.host import fabric_url, trust
from shoal.control.regulation import MarketSignal
from shoal.domain.clock import Stage
from shoal.domain.interval import NS_PER_S
from shoal.fabric.connection import connect
from shoal.fabric.keys import Keys, Role
from shoal.fabric.subjects import signal_subject
from shoal.runtime.clock import open_clock
from shoal.runtime.settings import Settings


def send_signal(settings: Settings, values_frac: Iterator[float], *, duration_s: float) -> int:
    """Send the signal of the resource that the settings name, for some plant time; return how many were sent.

    Raises:
        UnavailableError: when the fabric cannot be reached.
    """
    return asyncio.run(_send(settings, values_frac, duration_s=duration_s))


async def _send(settings: Settings, values_frac: Iterator[float], *, duration_s: float) -> int:
    clock = open_clock(settings.clock.source, token=settings.clock.token, name="signal")
    keys = Keys.create_or_load(settings.data_dir / "keys")
    client = await connect(
        fabric_url(settings), seed=keys.seed(Role.SIGNAL), name="signal", tls=trust(settings)
    )
    sent = 0
    until_ns = clock.now_ns() + int(duration_s * NS_PER_S)
    try:
        async for tick in clock.ticks(Stage.WORLD, settings.regulation.signal_every_s):
            if tick.t_ns >= until_ns:
                break
            resource_id = settings.regulation.resource
            await say(client, resource_id, t_ns=clock.now_ns(), value_frac=next(values_frac))
            sent += 1
    finally:
        await client.close()
    return sent


async def say(client: Client, resource_id: str, *, t_ns: int, value_frac: float) -> None:
    """Say what is asked of a resource now, -1 to 1 of its capability, above 0 for more output."""
    signal = MarketSignal(t_ns=t_ns, value_frac=value_frac)
    await client.publish(signal_subject(resource_id), msgspec.json.encode(signal))
    await client.flush()
