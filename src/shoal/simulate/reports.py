"""The way up of many simulated sites: what each has to say, when it does, and what it says again.

Samples wait in the outbox until the plant calls them durable. A report leaves at the site's own place in time, later by
the network's faults or at the pace that the plant has asked for; a gateway says at once what its sites have to say.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import WireFormatError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_S
from shoal.domain.pace import decode_pace
from shoal.edge import agent
from shoal.edge.downlink import Message
from shoal.edge.link import Links
from shoal.edge.negotiation import Negotiation
from shoal.edge.outbox import Outbox
from shoal.edge.pacing import Pacing
from shoal.simulate.fleet import devices_of, present_of
from shoal.simulate.network import FaultModel

SAMPLE_NS: Final = 60 * NS_PER_S
"""A site takes a sample a minute."""
RESEND_SPREAD_S: Final = 5.0
"""Wall time over which devices say again what may be lost, on a clock that does not wait for them."""


class _Saying(NamedTuple):
    """A message that is due: the site that it counts for in the network's faults, its samples, the message."""

    row: int
    samples: int
    message: bytes


class Reports:
    """What the sites of a fleet say.

    Attributes:
        outbox: Their samples.
        online: Whether the network lets each through (N); set by the owner.
        draining: Whether everything is to be said now.
        released: Samples said so far, each once.
        count: Counters by name.
    """

    def __init__(
        self,
        *,
        fleet: Fleet,
        faults: FaultModel,
        links: Links,
        report_steps: NDArray[np.int64],
        jitter: bool,
        rng_seed: int,
    ) -> None:
        sites = len(fleet.site_ids)
        devices = devices_of(fleet)
        self._device_of = devices.device_of
        # a word for everybody comes once to each device: its sites are looked up, not searched for among all
        self._by_device = np.argsort(self._device_of, kind="stable")
        self._first_of = np.searchsorted(
            self._device_of, np.arange(len(devices.names) + 1), sorter=self._by_device
        )
        self._behind = fleet.gateway_of >= 0
        self._unit = np.where(self._behind, fleet.gateway_unit, 0)
        pairs = zip(self._device_of.tolist(), self._unit.tolist(), strict=True)
        self._row_of = {pair: row for row, pair in enumerate(pairs)}
        self._faults = faults
        self._links = links
        self._pacing = Pacing(sites, rng_seed)
        self._negotiation = Negotiation(len(devices.names))
        self._rng = np.random.default_rng(rng_seed)
        self._sent_seq = np.zeros(sites, dtype=np.int64)
        self._held: list[tuple[int, int, int, bytes]] = []
        self._again: dict[int, float] = {}
        self._report_steps = report_steps
        self._jitter = jitter
        # a gateway's sites report together
        place = np.where(self._behind, self._device_of, np.arange(sites))
        self._report_phase = place % np.maximum(report_steps, 1)
        self.outbox = Outbox(sites, present=present_of(fleet))
        self.online = np.ones(sites, dtype=np.bool_)
        self.draining = False
        self.released = 0
        self.count: Counter[str] = Counter()

    def row_of(self, message: Message) -> int:
        """Return the site that a message is for, -1 when there is none."""
        return self._row_of.get((message.row, message.unit), -1)

    def address_of(self, row: int) -> tuple[int, int]:
        """Return the device that speaks for a site, and the site's number behind it; 0 for the device itself."""
        return int(self._device_of[row]), int(self._unit[row])

    def rows_of_device(self, device: int) -> NDArray[np.int64]:
        """Return the sites that a device speaks for."""
        return self._by_device[self._first_of[device] : self._first_of[device + 1]]

    def slowed(self, now_ns: int) -> int:
        """Return how many sites follow the plant's pace now."""
        return self._pacing.slowed(now_ns)

    @property
    def versions_refused(self) -> int:
        """How often the plant has refused every version that a device can send."""
        return self._negotiation.refused

    def came_up(self, devices: NDArray[np.int64]) -> None:
        """Let devices that came up say hello, if they have not, and again what may have been lost."""
        if not len(devices):
            return
        self._say_again(np.flatnonzero(np.isin(self._device_of, devices)))
        for device in self._negotiation.to_say(devices).tolist():
            if self._links.publish_hello(device, self._negotiation.hello):
                self._negotiation.said(device)
                self.count["hellos"] += 1

    def report(self, t_ns: int, *, span_ns: int) -> None:
        """Send what is due: from each site that is online everything that it has not said yet, oldest first."""
        self.release_held(t_ns)
        last = self.outbox.last_seq
        waiting = last - self._sent_seq
        speaks = self.online & (self._due(t_ns, span_ns) | (waiting > self._report_steps)) & (waiting > 0)
        if not self.draining:
            speaks &= self._pacing.may_report(t_ns)
        self._pacing.reported(np.flatnonzero(speaks), t_ns)
        late_ns = self._faults.late_by_ns(t_ns)
        repeated = self._faults.duplicated(t_ns)
        rows: list[int] = []
        messages: list[bytes] = []
        offset_s = self._faults.send_offset_s(t_ns)
        alone = speaks & ~self._behind
        due = [*self._newest(alone, waiting), *self._together(speaks & self._behind, waiting)]
        for row, samples, message in sorted(due, key=lambda said: offset_s[said.row]):
            self.count["late"] += bool(late_ns[row] > 0)
            if late_ns[row] > 0 or self._jitter:
                due_ns = t_ns + int(late_ns[row]) + (int(offset_s[row] * NS_PER_S) if self._jitter else 0)
                self._held.append((due_ns, row, samples, message))
                if self._jitter and repeated[row]:
                    self._held.append((due_ns, row, 0, message))
                    self.count["repeated"] += 1
                continue
            rows.append(row)
            messages.append(message)
            self.released += samples
            if repeated[row]:
                rows.append(row)
                messages.append(message)
                self.count["repeated"] += 1
        for row in np.flatnonzero(alone & (waiting > self._report_steps)).tolist():
            backlog = self.outbox.messages_since(row, int(self._sent_seq[row]))
            rows.extend([row] * len(backlog))
            messages.extend(backlog)
            self.released += int(waiting[row])
        self._sent_seq[speaks] = last[speaks]
        if rows:
            self._links.publish_many(self._device_of[rows], messages)

    def _due(self, t_ns: int, span_ns: int) -> NDArray[np.bool_]:
        """Return who reports now: each site has its own place in the reporting interval."""
        step = t_ns // SAMPLE_NS
        due: NDArray[np.bool_] = (step + self._report_phase) % self._report_steps == 0
        return due | self.draining | (span_ns > SAMPLE_NS)

    def _newest(self, speaks: NDArray[np.bool_], waiting: NDArray[np.int64]) -> Iterator[_Saying]:
        """Yield the message of each site that has said everything before its present interval."""
        for count in range(1, int(self._report_steps.max()) + 1):
            rows = np.flatnonzero(speaks & (waiting == count) & (count <= self._report_steps))
            if len(rows):
                for row, message in zip(rows.tolist(), self.outbox.encode_latest(rows, count), strict=True):
                    yield _Saying(row, count, message)

    def _together(self, speaks: NDArray[np.bool_], waiting: NDArray[np.int64]) -> Iterator[_Saying]:
        """Yield what each gateway says for those of its sites that speak; it fares in the network as the first of them."""
        rows = np.flatnonzero(speaks)
        for device in np.unique(self._device_of[rows]).tolist():
            mine = rows[self._device_of[rows] == device]
            samples = int(waiting[mine].sum())
            for message in self.outbox.encode_units(mine, self._unit[mine], self._sent_seq[mine]):
                yield _Saying(int(mine[0]), samples, message)
                samples = 0

    def release_held(self, t_ns: int) -> None:
        """Send what was held up and is due, of sites that are online."""
        if not self._held:
            return
        still: list[tuple[int, int, int, bytes]] = []
        for due_ns, row, samples, message in self._held:
            if self.online[row] and (due_ns <= t_ns or self.draining):
                self._links.publish(int(self._device_of[row]), message)
                self.released += samples
            else:
                still.append((due_ns, row, samples, message))
        self._held = still

    def take_durable(self, row: int, payload: bytes) -> None:
        """Forget what is safe, and say again what the plant misses."""
        self.count["durable_received"] += 1
        with contextlib.suppress(WireFormatError):
            durable = agent.decode_durable(payload)
            self.outbox.durable(row, durable.seq)
            if durable.resend:
                self.count["asked_again"] += 1
                self._say_again(np.array([row]))

    def take_pace(self, message: Message, now_ns: int) -> None:
        """Let the sites of a device follow the plant's pace."""
        with contextlib.suppress(WireFormatError):
            pace = decode_pace(message.payload)
            rows = self.rows_of_device(message.row)
            self._pacing.hear(rows[self.online[rows]], pace, now_ns)
            if pace.spread_s:
                self._links.spread_s = pace.spread_s

    def take_schema(self, message: Message) -> None:
        """Speak the version that the plant takes."""
        version = self._negotiation.heard(message.row, message.payload)
        row = self._row_of.get((message.row, 0), -1)
        if version is None or row < 0:
            return  # a gateway speaks the newest version or not at all
        if self.outbox.speak(row, version):
            self._say_again(np.array([row]))  # what was sent in the other version was not taken

    def _say_again(self, rows: NDArray[np.int64]) -> None:
        """Let sites say again what is not known to be durable; on a clock that does not wait, not all at once."""
        now_s = asyncio.get_running_loop().time()
        spread_s = max(RESEND_SPREAD_S, self._links.spread_s) if self._jitter else 0.0
        for row, wait_s in zip(rows.tolist(), self._rng.uniform(0.0, spread_s, len(rows)), strict=True):
            self._again.setdefault(row, now_s + float(wait_s))

    def resend(self) -> None:
        """After a broken connection, or when asked: what was sent and is not yet known to be durable, once more."""
        if not self._again:
            return
        now_s = asyncio.get_running_loop().time()
        dropped = {row for row, due_s in self._again.items() if due_s <= now_s and self.online[row]}
        if not dropped:
            return
        for row in dropped:
            del self._again[row]
        kept: list[tuple[int, int, int, bytes]] = []
        for due_ns, row, samples, message in self._held:
            if row in dropped and not self._behind[row]:
                self.released += samples  # goes out with the rest below
            else:
                kept.append((due_ns, row, samples, message))
        self._held = kept
        for row in sorted(dropped):
            first = int(self.outbox.oldest_seq[row]) - 1
            count = int(self._sent_seq[row]) - first
            if count <= 0:
                continue
            for message in self._said_since(row, first, count):
                self._links.publish(int(self._device_of[row]), message)
            self.count["resent"] += count

    def _said_since(self, row: int, first: int, count: int) -> list[bytes]:
        if not self._behind[row]:
            return self.outbox.messages_since(row, first, max_records=count)
        one = np.array([row])
        return self.outbox.encode_units(one, self._unit[one], np.array([first]))
