"""A load generator: as many samples as a plant can take, from real connections with identities of their own.

It is open-loop: every message has an instant at which it is meant to be sent, and being late counts, so a plant that
stalls cannot make its own latency look good. Only `send_within` waits for the plant, to find what it can sustain.
"""

from __future__ import annotations

import math
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError, UnavailableError
from shoal.domain.interval import NS_PER_S
from shoal.simulate._load_kernel import stamp
from shoal.simulate._load_sockets import Minder, close_all, open_connections, round_trip
from shoal.simulate.load_fleet import LoadPlan, prepare

_TICK_S: Final = 0.001
_MIND_EVERY_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStatistics:
    """What was sent so far.

    Attributes:
        connections: Open connections.
        messages: Messages handed to the sockets.
        samples: Samples in them.
        bytes: Their size with frames.
        latest_s: The most by which a message was sent later than meant, in seconds.
        cpu_s: Processor time that sending took, in seconds.
    """

    connections: int
    messages: int
    samples: int
    bytes: int
    latest_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class _Phase:
    """A stretch of one pace: message `first` is meant for `start_ns`, each following one `step_ns` later."""

    first: int
    start_ns: int
    step_ns: float


class Load:
    """The connections of a plan and what goes through them. Use it as a context manager, from one thread.

    Args:
        plan: Who sends what.
        host: Where the fabric listens.
        port: Its port for the plan's transport.
        secret_of: The secret of a device by name.
        tls: How to check the server; None for plain text.
    """

    def __init__(
        self,
        plan: LoadPlan,
        *,
        host: str,
        port: int,
        secret_of: Callable[[str], str],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.plan = plan
        self._rings, self._places = prepare(plan)
        self._phases: list[_Phase] = []
        self._sent = 0
        self._latest_ns = 0
        self._cpu_s = 0.0
        self._stop = threading.Event()
        self._connections = open_connections(
            host, port, plan.devices, secret_of, transport=plan.transport, tls=tls
        )
        self._minder = Minder(self._connections, plan.transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def messages(self) -> int:
        """How many messages were sent; another thread may ask."""
        return self._sent

    def send(self, rate_per_s: float, duration_s: float) -> None:
        """Send `rate_per_s` samples a second for a while, evenly spread.

        Raises:
            InvalidInputError: when the rate is not positive.
            UnavailableError: when a connection ends.
        """
        if not rate_per_s > 0:
            raise InvalidInputError(field="rate_per_s", value=rate_per_s, fix="give a positive rate")
        step_ns = NS_PER_S * self.plan.samples_per_message / rate_per_s
        total = int(duration_s * NS_PER_S / step_ns)
        began_s = time.monotonic()
        self._begin(step_ns)

        def due() -> int:
            return min(total, int((time.monotonic() - began_s) * NS_PER_S / step_ns))

        self._send_due(due, total=total)

    def send_within(self, visible: Callable[[], int], window: int, duration_s: float) -> None:
        """Send for a while as fast as goes with at most `window` messages that are not visible yet.

        Args:
            visible: How many messages are, of all that were sent; asked about every millisecond.
            window: The most that may be under way.
            duration_s: How long.

        Raises:
            UnavailableError: when a connection ends.
        """
        first = self._sent
        until_s = time.monotonic() + duration_s
        self._begin(0.0)
        self._send_due(lambda: visible() + window - first, until_s=until_s)

    def wait_read(self) -> None:
        """Return when the server has read everything that was sent.

        Raises:
            UnavailableError: when it reports an error, or a connection ended.
        """
        round_trip(self._connections, self.plan.transport)

    def stop(self) -> None:
        """End the sending early; another thread may call it."""
        self._stop.set()

    def meant_ns(self, message: int) -> int:
        """Return when a message was meant to be sent, UTC; another thread may ask. 0 when it was sent unpaced."""
        for phase in reversed(self._phases):
            if message >= phase.first:
                return int(phase.start_ns + (message - phase.first) * phase.step_ns) if phase.step_ns else 0
        return 0

    def last_seq(self) -> NDArray[np.int64]:
        """Return the number of the last sample sent of each site."""
        return self.plan.last_seq(self._sent)

    def statistics(self) -> LoadStatistics:
        """Return what was sent so far."""
        return LoadStatistics(
            connections=len(self._connections),
            messages=self._sent,
            samples=self._sent * self.plan.samples_per_message,
            bytes=self._sent * self._places.message_bytes,
            latest_s=self._latest_ns / NS_PER_S,
            cpu_s=self._cpu_s,
        )

    def close(self) -> None:
        """Close every connection."""
        self._minder.close()
        close_all(self._connections)
        self._connections = []

    def _begin(self, step_ns: float) -> None:
        self._stop.clear()
        self._phases.append(_Phase(self._sent, time.time_ns(), step_ns))

    def _send_due(
        self, due: Callable[[], int], *, total: int | None = None, until_s: float = math.inf
    ) -> None:
        """Send until there are `total` messages or the time is over, a whole burst whenever so many are `due`."""
        phase, burst = self._phases[-1], self.plan.at_once
        cpu_s = time.thread_time()
        next_mind_s = 0.0
        try:
            while (now_s := time.monotonic()) < until_s and not self._stop.is_set():
                done = self._sent - phase.first
                if total is not None and done >= total:
                    break
                if now_s >= next_mind_s:
                    self._minder.mind()
                    next_mind_s = now_s + _MIND_EVERY_S
                ready = due() - done
                least = burst if total is None else min(burst, total - done)
                if ready >= least:
                    self._send_some(ready - ready % least, phase)
                else:
                    time.sleep(_TICK_S)
        except OSError as error:
            raise UnavailableError("the fabric", str(error) or type(error).__name__) from error
        finally:
            self._cpu_s += time.thread_time() - cpu_s

    def _send_some(self, count: int, phase: _Phase) -> None:
        """Send `count` messages; a burst is cut where a connection's messages begin again."""
        plan, places = self.plan, self._places
        burst, ring, size = plan.at_once, plan.ring, places.message_bytes
        connections, rings = self._connections, self._rings
        seq_step = 0 if plan.gateways else 1
        per_round = 1 if plan.gateways else plan.samples_per_message
        first_phase, start_ns, step_ns = phase.first, phase.start_ns, phase.step_ns
        sent = self._sent
        end = sent + count
        while sent < end:
            block, inside = divmod(sent, burst)
            turn, number = divmod(block, len(connections))
            rounds, place = divmod(turn * burst + inside, ring)
            some = min(burst - inside, ring - place, end - sent)
            meant_ns = start_ns + int((sent - first_phase) * step_ns) if step_ns else time.time_ns()
            seq = plan.first_seq + rounds * per_round
            stamp(rings[number], places, place, some, seq, seq_step, meant_ns, step_ns)
            connections[number].sendall(rings[number][place * size : (place + some) * size])
            sent += some
            self._sent = sent
        if step_ns:
            late_ns = time.time_ns() - (start_ns + int((sent - first_phase) * step_ns))
            self._latest_ns = max(self._latest_ns, late_ns)
