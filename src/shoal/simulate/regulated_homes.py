"""Regulation at simulated homes: the same code that follows it at an edge, with the meters of the simulated world.

A broadcast comes between two samples, so the world is brought up to the present before it is acted on. What each meter
says is the mean since it last spoke, from the energy that its battery has really moved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
from shoal.simulate.physics import HomeWorld
from shoal.simulate.reports import Reports


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
        verifier: Opens signed messages; None to take them plain.
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
        verifier: Verifier | None,
    ) -> None:
        self._regulated = Regulated(agents, site_ids, verifier)
        self._world, self._referee, self._reports, self._links = world, referee, reports, links
        self._catch_up = catch_up
        self._moved_ws = np.zeros(len(site_ids))
        self._said_ws = np.zeros(len(site_ids))
        self._said_ns = np.zeros(len(site_ids), dtype=np.int64)

    def take(self, message: Message) -> None:
        """Take an arming of a site, or a broadcast that all sites of a device hear."""
        online = self._reports.online
        if message.kind == "regulation":
            row = self._reports.row_of(message)
            if row >= 0 and online[row]:
                self._regulated.take_arming(row, message.payload, self._world.now_ns)
            return
        rows = [row for row in self._reports.rows_of_device(message.row).tolist() if online[row]]
        if not any(self._regulated.arming(row, self._world.now_ns) for row in rows):
            return
        self._catch_up()
        for row in rows:
            self._follow(row, message)

    def lived(self, done_w: NDArray[np.int64], span_ns: int) -> None:
        """Note what the batteries have done for a while."""
        self._moved_ws += done_w * (span_ns / NS_PER_S)

    def statistics(self) -> dict[str, int]:
        """Return what came: ``armed``, ``followed``, and refusals by reason."""
        return dict(self._regulated.count)

    def _follow(self, row: int, message: Message) -> None:
        now_ns = self._world.now_ns
        self._say(row, now_ns)
        desired = self._regulated.take_signal(row, message.name, message.payload, now_ns)
        if desired is not None:
            self._referee.heard(row, msgspec.json.encode(desired), received_ns=now_ns)

    def _say(self, row: int, now_ns: int) -> None:
        """Say what the meter has shown since it last spoke."""
        start_ns = int(self._said_ns[row])
        if start_ns == now_ns:
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
        if reading is not None:
            device, unit = self._reports.address_of(row)
            self._links.publish_answer(device, reading, unit=unit, kind="reading")
