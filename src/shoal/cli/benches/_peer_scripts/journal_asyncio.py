"""Follows the journal with a bounded queue and a task for each site, on the standard library's event loop."""

from __future__ import annotations

import asyncio

from journal import AT_ONCE, Job, Totals, Update, decode, open_journal  # type: ignore[import-not-found]


def follow(job: Job) -> None:
    """Feed every sample to its site."""
    asyncio.run(_follow(job))


async def _follow(job: Job) -> None:
    totals = Totals()
    queues: list[asyncio.Queue[Update]] = [asyncio.Queue(maxsize=16) for _ in range(job.sites)]
    tasks = [asyncio.create_task(_site(queue, totals)) for queue in queues]
    await asyncio.sleep(0)
    journal = await open_journal(job)
    tasks.append(asyncio.create_task(totals.keep_shown()))
    handed = 0
    async for messages in journal.batches():
        for message in messages:
            for update in decode(job, message):
                await queues[update[0]].put(update)
                handed += 1
            if handed >= AT_ONCE:
                handed = 0
                await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await journal.close()


async def _site(queue: asyncio.Queue[Update], totals: Totals) -> None:
    newest: Update = (0, 0, 0, 0, 0, 0, 0, 0)
    while True:
        update = await queue.get()
        if update[1] > newest[1]:
            totals.sum_w += update[3] + update[4] + update[5] - newest[3] - newest[4] - newest[5]
            newest = update
        totals.samples += 1
