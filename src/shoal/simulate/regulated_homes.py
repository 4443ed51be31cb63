"""Regulation at simulated homes: the same code that follows it at an edge, with the meters of the simulated world.

A broadcast comes between two samples, so the world is brought up to the present before it is acted on. What each meter
says is the mean since it last spoke, from the energy that its battery has really moved. The network may lose messages or
bring them late; what all who are armed have done beyond their base is noted by step, for who judges how they followed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_S
from shoal.edge.agent_columns import AgentColumns
from shoal.edge.audit import Referee
from shoal.edge.downlink import Message
from shoal.edge.link import Links
from shoal.edge.regulated import Regulated
from shoal.edge.signed import Verifier
from shoal.simulate.network import FaultModel
from shoal.simulate.physics import HomeWorld
from shoal.simulate.reports import Reports

LATENCY_GRID_NS: Final = NS_PER_S // 2
"""Late broadcasts come at multiples of this after they were sent, later rather than earlier: few instants to act at."""


class RegulatedHomes:
    """The part of N simulated sites in regulation.

    Args:
        agents: Their agents.
        site_ids: Their names.
        world: Their physics.
        referee: Hears what each broadcast entitles the plant to.
        reports: Says which sites a message is for, and who is online.
        links: Their connections.
        catch_up: Brings the world to the present, where its clock runs by itself.
        faults: What the network does to broadcasts, armings and readings.
        verifier: Opens signed messages; None to take them plain.
        read_every_ns: A home says what its meter shows once in so long, half of them in either half of it; 0 for at each
            broadcast.
    """

    def __init__(
        self,
        *,
        agents: AgentColumns,
        site_ids: Sequence[str],
        world: HomeWorld,
        referee: Referee,
        reports: Reports,
        links: Links,
        catch_up: Callable[[], None],
        faults: FaultModel,
        verifier: Verifier | None,
        read_every_ns: int = 0,
    ) -> None:
        self._regulated = Regulated(agents, site_ids, verifier)
        self._world, self._referee, self._reports, self._links = world, referee, reports, links
        self._catch_up = catch_up
        self._moved_ws = np.zeros(len(site_ids))
        self._said_ws = np.zeros(len(site_ids))
        self._said_ns = np.zeros(len(site_ids), dtype=np.int64)
        self._faults, self._read_every_ns = faults, read_every_ns
        self._drawn: tuple[int, NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]] | None = None
        self._late: dict[int, list[tuple[int, Message]]] = {}
        self._base_w = np.zeros(len(site_ids), dtype=np.int64)
        self._share_w = np.zeros((2, len(site_ids)), dtype=np.int64)
        self._is_armed = np.zeros(len(site_ids), dtype=np.bool_)
        self._followed = np.zeros(len(site_ids), dtype=np.int64)
        self._commanded = np.zeros(len(site_ids), dtype=np.int64)
        self._beyond_ws = 0.0
        self._noted: list[tuple[int, ...]] = []
        self.readings_sent = 0

    def take(self, message: Message) -> None:
        """Take an arming of a site, or a broadcast that all sites of a device hear, unless the network loses it."""
        online = self._reports.online
        lost, _, latency_ns = self._draws()
        if message.kind == "regulation":
            row = self._reports.row_of(message)
            if row >= 0 and online[row] and not lost[row]:
                self._regulated.take_arming(row, message.payload, self._world.now_ns)
            return
        now_ns = self._world.now_ns
        rows = [row for row in self._reports.rows_of_device(message.row).tolist() if online[row]]
        if not any(self._regulated.arming(row, now_ns) for row in rows):
            return
        self._catch_up()
        for row in rows:
            if lost[row]:
                continue
            if wait_ns := int(latency_ns[row]):
                due_ns = now_ns - (-wait_ns // LATENCY_GRID_NS) * LATENCY_GRID_NS
                self._late.setdefault(due_ns, []).append((row, message))
            else:
                self._follow(row, message)

    def next_ns(self, default_ns: int) -> int:
        """Return when the next late broadcast comes, `default_ns` when none does before."""
        return min([default_ns, *self._late])

    def deliver(self, now_ns: int) -> None:
        """Let broadcasts come that are due."""
        while self._late and min(self._late) <= now_ns:
            for row, message in self._late.pop(min(self._late)):
                if self._reports.online[row]:
                    self._follow(row, message)

    def lived(self, done_w: NDArray[np.int64], span_ns: int) -> None:
        """Note what the batteries have done for a while."""
        span_s = span_ns / NS_PER_S
        self._moved_ws += done_w * span_s
        if self._is_armed.any():
            self._beyond_ws += float((done_w - self._base_w)[self._is_armed].sum()) * span_s

    def note(self, start_ns: int, end_ns: int) -> None:
        """Note what all who are armed have done beyond their base in a step, and who is armed for the next."""
        if self._is_armed.any():
            mean_w = round(self._beyond_ws * NS_PER_S / (end_ns - start_ns))
            up_w, down_w = self._share_w.sum(axis=1).tolist()
            self._noted.append((start_ns, mean_w, int(self._is_armed.sum()), up_w, down_w))
        self._beyond_ws = 0.0
        for row in range(len(self._base_w)):
            arming = self._regulated.arming(row, end_ns)
            self._is_armed[row] = arming is not None
            self._base_w[row] = 0 if arming is None else arming.base_w
            self._share_w[:, row] = (0, 0) if arming is None else (arming.up_w, arming.down_w)

    def commanded(self, row: int) -> None:
        """Note that a site took a set-point of somebody else."""
        self._commanded[row] += self._regulated.arming(row, self._world.now_ns) is not None

    def account(self) -> dict[str, Any]:
        """Return what was noted, by step (start, mean power beyond the base, sites armed, for how much each way) and by site."""
        return {
            "steps": self._noted,
            "followed": self._followed.tolist(),
            "commanded_while_armed": self._commanded.tolist(),
            "counts": self.statistics(),
        }

    def _draws(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
        """Return what the network does to messages of this instant: lost on their way down, up, and late by how much."""
        now_ns = self._world.now_ns
        if self._drawn is None or self._drawn[0] != now_ns:
            faults = self._faults
            up = faults.lost(now_ns, up=True)
            self._drawn = now_ns, faults.lost(now_ns), up, faults.latency_ns(now_ns)
        return self._drawn[1:]

    def statistics(self) -> dict[str, int]:
        """Return what came: ``armed``, ``followed``, and refusals by reason."""
        return dict(self._regulated.count)

    def _follow(self, row: int, message: Message) -> None:
        now_ns = self._world.now_ns
        self._say(row, now_ns)
        desired = self._regulated.take_signal(row, message.name, message.payload, now_ns)
        if desired is not None:
            self._followed[row] += 1
            self._referee.heard(row, msgspec.json.encode(desired), received_ns=now_ns)

    def _say(self, row: int, now_ns: int) -> None:
        """Say what the meter has shown since it last spoke."""
        start_ns = int(self._said_ns[row])
        if start_ns == now_ns:
            return
        every_ns = self._read_every_ns
        if every_ns and start_ns:
            half_ns = row % 2 * every_ns // 2
            if (start_ns + half_ns) // every_ns == (now_ns + half_ns) // every_ns:
                return
        moved_ws = self._moved_ws[row] - self._said_ws[row]
        self._said_ns[row], self._said_ws[row] = now_ns, self._moved_ws[row]
        if not start_ns:
            return  # since when is not known yet
        reading = self._regulated.reading(
            row,
            start_ns=start_ns,
            end_ns=now_ns,
            mean_w=float(moved_ws * NS_PER_S / (now_ns - start_ns)),
            stored_kwh=float(self._world.stored_kwh[row]),
        )
        if reading is not None and not self._draws()[1][row]:
            self.readings_sent += 1
            device, unit = self._reports.address_of(row)
            self._links.publish_answer(device, reading, unit=unit, kind="reading")
