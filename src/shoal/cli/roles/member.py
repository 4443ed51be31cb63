"""How a role takes part in a group that shares work: own, work beside, and on the way out hand everything over."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from typing import Any, Final

from shoal.cli.roles.host import Host
from shoal.fabric.ownership import Ownership

LEAVE_WITHIN_S: Final = 15.0

Work = Coroutine[Any, Any, None]


@contextlib.asynccontextmanager
async def membership(host: Host, *, group: str, units: Collection[str]) -> AsyncIterator[Ownership]:
    """Give a member of the group, on a connection of its own: nothing else must delay its renewals."""
    client = await host.connect()
    try:
        ownership = Ownership(client, group=group, member=socket.gethostname().split(".")[0], units=units)
        host.ops.register("ownership", ownership.statistics)
        yield ownership
    finally:
        await client.close()


async def take_part(
    ownership: Ownership,
    *,
    own: Work,
    work: Callable[[], Work],
    beside: Sequence[Work] = (),
    to_the_end: Sequence[Work] = (),
    leave: Callable[[], None] = lambda: None,
) -> None:
    """Own and work until the work ends or is cancelled; then leave, so that others can go on from the newest state.

    Args:
        ownership: The member.
        own: Takes up and lays down what the member gains and loses.
        work: The work itself.
        beside: Goes on beside it and is cancelled with it.
        to_the_end: Goes on beside it and ends by itself after `leave`.
        leave: Called before the member hands over.
    """
    async with asyncio.TaskGroup() as tasks:
        lasting = [tasks.create_task(one) for one in (ownership.run(), own, *to_the_end)]
        passing = [tasks.create_task(one) for one in beside]
        try:
            await work()
        finally:
            for task in passing:
                task.cancel()
            leave()
            ownership.leave()
            await asyncio.wait(lasting, timeout=LEAVE_WITHIN_S)
            for task in lasting:
                task.cancel()
