"""What all peers that follow the journal share: fetching batches of messages with nats-py, decoding them, showing the sum.

The messages' bytes are as the plant documents them. Decoded is what a twin holds of a sample but for the registers of
energy, which a peer passes over.
"""

from __future__ import annotations

import asyncio
import gc
import struct
import sys
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import nats
import numpy as np
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from numpy.typing import NDArray

Update = tuple[int, int, int, int, int, int, int, int]
"""Row of the site, seq, time in ms, battery, solar and load in W, state of charge in 1/10,000, command version."""

HEADER = struct.Struct("<2sBBHHIqI")
RECORD = struct.Struct("<HHIiiiiHI20x")
RECORDS = np.dtype(
    {
        "names": ["unit", "seq", "dt_ms", "battery_w", "solar_w", "load_w", "soc", "command_version"],
        "formats": ["<u2", "<u4", "<i4", "<i4", "<i4", "<i4", "<u2", "<u4"],
        "offsets": [0, 4, 8, 12, 16, 20, 24, 26],
        "itemsize": RECORD.size,
    }
)
COLUMNS = 0b11_1111_0111
"""Mask of a home: everything but the charger."""
SHOW_EVERY_S = 0.02
AT_ONCE = 1_000
"""Samples after which whoever only hands them on lets the others run."""
_FETCH_WAIT_S = 0.02
_COLLECT = (100_000, 50, 1_000)


@dataclass(kw_only=True)
class Job:
    """What is to be followed.

    Attributes:
        url: Of the engine.
        seed: Secret of the identity that may read.
        inbox: Prefix of the subjects on which it may be answered.
        stream: Name of the journal's stream.
        batch: Messages to fetch at once.
        sites: How many there are.
        first_row: Of each gateway, the row of its first site; the others follow.
        stopped: Set when there is nothing more to do.
    """

    url: str
    seed: str
    inbox: str
    stream: str
    batch: int
    sites: int
    first_row: dict[str, int]
    stopped: threading.Event


@dataclass(slots=True)
class Totals:
    """What is visible: the samples taken, and the sum of the sites' newest power."""

    samples: int = 0
    sum_w: int = 0

    def show(self) -> None:
        """Write it out."""
        sys.stdout.write(f"shown {self.samples} {self.sum_w} {time.monotonic_ns()}\n")
        sys.stdout.flush()

    async def keep_shown(self) -> None:
        """Write it out for ever, about every `SHOW_EVERY_S`."""
        while True:
            self.show()
            await asyncio.sleep(SHOW_EVERY_S)


class Journal:
    """A pull consumer of what is stored from now on; make one with `open_journal`."""

    def __init__(self, job: Job, client: Any, subscription: Any) -> None:
        self._job = job
        self._client = client
        self._subscription = subscription

    async def fetch(self) -> list[Any]:
        """Return messages; none when there are none for a moment."""
        try:
            messages: list[Any] = await self._subscription.fetch(self._job.batch, timeout=_FETCH_WAIT_S)
        except TimeoutError:
            return []
        return messages

    async def batches(self) -> AsyncIterator[list[Any]]:
        """Return messages until the job is stopped."""
        while not self._job.stopped.is_set():
            if messages := await self.fetch():
                yield messages

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()


async def open_journal(job: Job) -> Journal:
    """Connect, and make the consumer; the collector is told to look seldom, and not at what is there already."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT)
    client = await nats.connect(job.url, nkeys_seed_str=job.seed, inbox_prefix=job.inbox.encode())
    stream = client.jetstream()
    name = f"peer-{time.time_ns()}"
    consumer = ConsumerConfig(
        name=name, deliver_policy=DeliverPolicy.NEW, ack_policy=AckPolicy.NONE, mem_storage=True
    )
    await stream.add_consumer(job.stream, consumer)
    return Journal(job, client, await stream.pull_subscribe_bind(consumer=name, stream=job.stream))


def decode(job: Job, message: Any) -> list[Update]:
    """Return the samples of one message as objects of this language."""
    payload = message.data
    magic, version, _, count, size, mask, base_ms, _ = HEADER.unpack_from(payload)
    if (magic, version, size, mask) != (b"SH", 2, RECORD.size, COLUMNS):
        raise ValueError(f"this is no message of homes: {payload[: HEADER.size]!r}")
    row = job.first_row[message.subject.rpartition(".")[2]] - 1
    records = RECORD.iter_unpack(memoryview(payload)[HEADER.size : HEADER.size + count * size])
    return [
        (row + unit, seq, base_ms + dt_ms, battery_w, solar_w, load_w, soc, command)
        for unit, _, seq, dt_ms, battery_w, solar_w, load_w, soc, command in records
    ]


def decode_all(job: Job, messages: list[Any]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return the rows and the records of many messages of the same length."""
    size = len(messages[0].data)
    sent = np.frombuffer(b"".join([message.data for message in messages]), dtype=np.uint8)
    sent = sent.reshape(len(messages), size)
    magic, version, flags, count, width, mask, _, _ = HEADER.unpack_from(messages[0].data)
    begins = np.frombuffer(HEADER.pack(magic, version, flags, count, width, mask, 0, 0)[:12], dtype=np.uint8)
    if (magic, version, width, mask) != (b"SH", 2, RECORD.size, COLUMNS) or (sent[:, :12] != begins).any():
        raise ValueError("these are no messages of homes")
    records = np.ascontiguousarray(sent[:, HEADER.size :]).view(RECORDS).reshape(-1)
    first = np.array([job.first_row[message.subject.rpartition(".")[2]] for message in messages])
    return np.repeat(first, count) + records["unit"].astype(np.int64) - 1, records
