"""A Bytewax dataflow, keyed by device, with a stateful map; its sink keeps the sums of the groups."""

from __future__ import annotations

import struct
from collections.abc import Callable

import bytewax.operators as op  # type: ignore[import-not-found]
from bytewax.dataflow import Dataflow  # type: ignore[import-not-found]
from bytewax.outputs import DynamicSink, StatelessSinkPartition  # type: ignore[import-not-found]
from bytewax.testing import TestingSource, run_main  # type: ignore[import-not-found]

Update = tuple[int, int, int, int, int]
_NOTHING: Update = (0, 0, 0, 0, 0)


class Sums(DynamicSink, StatelessSinkPartition):  # type: ignore[misc]
    """Adds up the changes."""

    def __init__(self, groups: int) -> None:
        self.sums_w = [0] * groups

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Sums:
        """Return the only partition: there is one worker."""
        return self

    def write_batch(self, items: list[tuple[str, tuple[int, int]]]) -> None:
        """Take the changes of a batch."""
        for _, (device, change_w) in items:
            self.sums_w[device % len(self.sums_w)] += change_w


def load(stream: bytes) -> list[Update]:
    """Return the updates as objects of this language."""
    return list(struct.iter_unpack("<IiIqI", stream))


def run(
    updates: list[Update], devices: int, groups: int, begin: Callable[[], None], end: Callable[[], None]
) -> tuple[list[int], None]:
    """Run the flow over all updates."""
    sums = Sums(groups)
    flow = Dataflow("twins")
    came = op.input("updates", flow, TestingSource(updates, batch_size=10_000))
    keyed = op.key_on("device", came, lambda update: str(update[0]))
    op.output("sums", op.stateful_map("twin", keyed, _take), sums)
    begin()
    run_main(flow)
    end()
    return sums.sums_w, None


def _take(newest: Update | None, update: Update) -> tuple[Update, tuple[int, int]]:
    if newest is None:
        newest = _NOTHING
    if update[4] <= newest[4]:
        return newest, (update[0], 0)
    return update, (update[0], update[1] - newest[1])
