"""A market's regulation signal as a process of the simulated world: made up from the seed, from the run's beginning on."""

from __future__ import annotations

from shoal.cli.roles.homes import run_bounds_ns
from shoal.cli.roles.host import Host
from shoal.cli.signal import say
from shoal.domain.clock import Stage
from shoal.runtime.clock import ConductedClock
from shoal.simulate.signal import synthetic_signal


async def signal(host: Host) -> None:
    """Say every few seconds what is asked of the resource that the settings name, until the clock stops."""
    settings = host.settings
    start_ns, end_ns = 0, 2**63
    if isinstance(host.clock, ConductedClock):
        _, _, start_ns, end_ns = run_bounds_ns(settings)
    client = await host.connect()
    host.ready()
    values = synthetic_signal(settings.demo.seed)
    said: list[tuple[int, float]] = []
    try:
        async for tick in host.clock.ticks(Stage.WORLD, settings.regulation.signal_every_s):
            # the run is over at its end: nobody would live through what was asked then
            if start_ns <= tick.t_ns < end_ns and not tick.replay:
                value_frac = next(values)
                await say(client, settings.regulation.resource, t_ns=tick.t_ns, value_frac=value_frac)
                said.append((tick.t_ns, round(value_frac, 6)))
            host.clock.report({"signals_sent": len(said)})
            if tick.facts.get("closing"):
                host.clock.account({"said": said})
    finally:
        await client.close()
