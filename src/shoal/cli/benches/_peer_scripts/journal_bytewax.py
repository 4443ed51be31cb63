"""Follows the journal with a Bytewax dataflow, keyed by site, with a stateful map; its sink keeps the sum."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import bytewax.operators as op  # type: ignore[import-not-found]
from bytewax.dataflow import Dataflow  # type: ignore[import-not-found]
from bytewax.inputs import DynamicSource, StatelessSourcePartition  # type: ignore[import-not-found]
from bytewax.outputs import DynamicSink, StatelessSinkPartition  # type: ignore[import-not-found]
from bytewax.testing import run_main  # type: ignore[import-not-found]
from journal import SHOW_EVERY_S, Job, Totals, Update, decode, open_journal  # type: ignore[import-not-found]

_EPOCH = timedelta(hours=1)
"""At the end of an epoch the state of every key is looked through, for a recovery that there is not here."""
_NOTHING: Update = (0, 0, 0, 0, 0, 0, 0, 0)
_AT_ONCE = 2_000
"""Samples that enter the flow at once: the sum is to be shown between them."""


class Samples(DynamicSource, StatelessSourcePartition):  # type: ignore[misc]
    """The samples of the journal, each with the key of its site."""

    def __init__(self, job: Job, sums: Sums) -> None:
        self.job, self.sums = job, sums
        self.loop = asyncio.new_event_loop()
        self.journal = self.loop.run_until_complete(open_journal(job))
        self.messages: list[Any] = []

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Samples:
        """Return the only partition: there is one worker."""
        return self

    def next_batch(self) -> list[tuple[str, Update]]:
        """Return some samples; none when there are none for a moment."""
        self.sums.show_when_due()
        if self.job.stopped.is_set():
            raise StopIteration
        if not self.messages:
            self.messages = self.loop.run_until_complete(self.journal.fetch())
            self.messages.reverse()
        some: list[tuple[str, Update]] = []
        while self.messages and len(some) < _AT_ONCE:
            some += [(str(update[0]), update) for update in decode(self.job, self.messages.pop())]
        return some

    def close(self) -> None:
        """Close the connection."""
        self.loop.run_until_complete(self.journal.close())
        self.loop.close()


class Sums(DynamicSink, StatelessSinkPartition):  # type: ignore[misc]
    """Adds up the changes."""

    def __init__(self) -> None:
        self.totals = Totals()
        self.shown_s = 0.0

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Sums:
        """Return the only partition: there is one worker."""
        return self

    def write_batch(self, items: list[tuple[str, int]]) -> None:
        """Take the changes of a batch."""
        self.totals.sum_w += sum(change_w for _, change_w in items)
        self.totals.samples += len(items)
        self.show_when_due()

    def show_when_due(self) -> None:
        """Show the sum, unless that was done just now."""
        now_s = time.monotonic()
        if now_s - self.shown_s >= SHOW_EVERY_S:
            self.shown_s = now_s
            self.totals.show()


def follow(job: Job) -> None:
    """Run the flow over all samples."""
    sums = Sums()
    flow = Dataflow("twins")
    came = op.input("samples", flow, Samples(job, sums))
    op.output("sums", op.stateful_map("twin", came, _take), sums)
    run_main(flow, epoch_interval=_EPOCH)


def _take(newest: Update | None, update: Update) -> tuple[Update, int]:
    if newest is None:
        newest = _NOTHING
    if update[1] <= newest[1]:
        return newest, 0
    return update, update[3] + update[4] + update[5] - newest[3] - newest[4] - newest[5]
