"""Follows the journal with a pykka actor for each gateway, which holds its sites; they share the sum under a lock.

An actor is a thread, and a machine does not have one for each of 100,000 sites.
"""

from __future__ import annotations

import asyncio
import threading

import pykka  # type: ignore[import-not-found]
from journal import Job, Totals, Update, decode, open_journal  # type: ignore[import-not-found]

_NOTHING: Update = (0, 0, 0, 0, 0, 0, 0, 0)


class Gateway(pykka.ThreadingActor):  # type: ignore[misc]
    """Holds the newest sample of each site of one gateway."""

    def __init__(self, totals: Totals, lock: threading.Lock) -> None:
        super().__init__()
        self.totals, self.lock = totals, lock
        self.newest: dict[int, Update] = {}

    def on_receive(self, message: list[Update]) -> None:
        """Take the samples of one message."""
        newest = self.newest
        change_w = 0
        for update in message:
            before = newest.get(update[0], _NOTHING)
            if update[1] > before[1]:
                change_w += update[3] + update[4] + update[5] - before[3] - before[4] - before[5]
                newest[update[0]] = update
        with self.lock:
            self.totals.sum_w += change_w
            self.totals.samples += len(message)


def follow(job: Job) -> None:
    """Tell the samples of every message to its gateway's actor."""
    asyncio.run(_follow(job))
    pykka.ActorRegistry.stop_all()


async def _follow(job: Job) -> None:
    totals, lock = Totals(), threading.Lock()
    actors = {row: Gateway.start(totals, lock) for row in job.first_row.values()}
    journal = await open_journal(job)
    shown = asyncio.create_task(totals.keep_shown())
    async for messages in journal.batches():
        for message in messages:
            row = job.first_row[message.subject.rpartition(".")[2]]
            actors[row].tell(decode(job, message))
    shown.cancel()
    await journal.close()
