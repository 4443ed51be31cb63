"""Follows the journal with a channel of frequenz-channels and a task for each site."""

from __future__ import annotations

import asyncio
from typing import Any

from frequenz.channels import Broadcast  # type: ignore[import-not-found]
from journal import AT_ONCE, Job, Totals, Update, decode, open_journal  # type: ignore[import-not-found]


def follow(job: Job) -> None:
    """Send every sample over its site's channel."""
    asyncio.run(_follow(job))


async def _follow(job: Job) -> None:
    totals = Totals()
    channels = [Broadcast(name=str(number)) for number in range(job.sites)]
    senders = [channel.new_sender() for channel in channels]
    # a full receiver drops its oldest message: there is room for all that come between two yields of the loop below
    receivers = [channel.new_receiver(limit=2 * AT_ONCE) for channel in channels]
    tasks = [asyncio.create_task(_site(receiver, totals)) for receiver in receivers]
    await asyncio.sleep(0)
    journal = await open_journal(job)
    tasks.append(asyncio.create_task(totals.keep_shown()))
    handed = 0
    async for messages in journal.batches():
        for message in messages:
            for update in decode(job, message):
                await senders[update[0]].send(update)
                handed += 1
            if handed >= AT_ONCE:
                handed = 0
                await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await journal.close()


async def _site(receiver: Any, totals: Totals) -> None:
    newest: Update = (0, 0, 0, 0, 0, 0, 0, 0)
    async for update in receiver:
        if update[1] > newest[1]:
            totals.sum_w += update[3] + update[4] + update[5] - newest[3] - newest[4] - newest[5]
            newest = update
        totals.samples += 1
