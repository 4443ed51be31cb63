"""A pykka actor for each device; they share the sums under a lock, which costs less than an actor for each group."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable

import pykka  # type: ignore[import-not-found]

Update = tuple[int, int, int, int, int]


class Device(pykka.ThreadingActor):  # type: ignore[misc]
    """Holds the newest update of one device."""

    def __init__(self, sums_w: list[int], lock: threading.Lock) -> None:
        super().__init__()
        self.sums_w, self.lock = sums_w, lock
        self.newest: Update = (0, 0, 0, 0, 0)

    def on_receive(self, message: Update | None) -> None:
        """Take an update; None asks whether all before it were taken."""
        if message is not None and message[4] > self.newest[4]:
            with self.lock:
                self.sums_w[message[0] % len(self.sums_w)] += message[1] - self.newest[1]
            self.newest = message


def load(stream: bytes) -> list[Update]:
    """Return the updates as objects of this language."""
    return list(struct.iter_unpack("<IiIqI", stream))


def run(
    updates: list[Update], devices: int, groups: int, begin: Callable[[], None], end: Callable[[], None]
) -> tuple[list[int], None]:
    """Tell every update to its actor, then ask each whether it is done."""
    sums_w, lock = [0] * groups, threading.Lock()
    threading.stack_size(256 * 1_024)
    actors = [Device.start(sums_w, lock) for _ in range(devices)]
    begin()
    for update in updates:
        actors[update[0]].tell(update)
    for answer in [actor.ask(None, block=False) for actor in actors]:
        answer.get()
    end()
    pykka.ActorRegistry.stop_all()
    return sums_w, None
