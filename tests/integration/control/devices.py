"""Sites with the edge's own agent, each with a connection of its own to the fabric, and what they were told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Literal

import nats
import numpy as np
from nats.aio.client import Client
from nats.aio.msg import Msg

from shoal.domain.errors import WireFormatError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import SiteId
from shoal.domain.outcome import Outcome, Rejected
from shoal.domain.telemetry import TELEMETRY
from shoal.edge.agent import decode_desired, receive
from shoal.edge.agent_columns import AgentColumns
from shoal.edge.agent_orders import decode_orders, receive_orders
from shoal.edge.orders_report import encode_report, report_of
from shoal.edge.signed import ForgedError, Verifier
from shoal.fabric.subjects import downlink_subjects, report_subject
from tests.integration.fabric.plant import Plant


class Devices:
    """The agents of a fleet.

    Attributes:
        columns: Their memory.
        outcomes: What each message came to: row, kind, version, fence of its sender and reason (empty when taken).
    """

    def __init__(self, fleet: Fleet, now_ns: Callable[[], int], verifier: Verifier | None = None) -> None:
        self.fleet = fleet
        self.columns = AgentColumns(fleet.nameplate, site_ids=fleet.site_ids)
        self.outcomes: list[tuple[int, str, int, int, str]] = []
        self._now_ns = now_ns
        self._verifier = verifier
        self._clients: list[Client] = []
        self.away: set[int] = set()
        """Neither hear nor are heard."""
        self.deaf: set[int] = set()

    @contextlib.asynccontextmanager
    async def connected(self, plant: Plant) -> AsyncIterator[Devices]:
        """Let every site be signed in meanwhile."""
        try:
            for row, site in enumerate(self.fleet.site_ids):
                client = await nats.connect(plant.server.url, user=site, password=f"secret-of-{site}")
                self._clients.append(client)
                await client.subscribe(downlink_subjects(site), cb=self._hearing(row))
                await client.flush()
            yield self
        finally:
            for client in self._clients:
                await client.close()
            self._clients.clear()
            await asyncio.sleep(0.01)  # the sockets' own last words

    def _hearing(self, row: int) -> Callable[[Msg], asyncio.Future[None]]:
        async def hear(message: Msg) -> None:
            if row in self.away | self.deaf:
                return
            site = self.fleet.site_ids[row]
            kind: Literal["desired", "orders"] = (
                "orders" if message.subject.endswith(".orders") else "desired"
            )
            version, fence, outcome = self._take(row, kind, message.data)
            self.outcomes.append(
                (row, kind, version, fence, outcome.reason if isinstance(outcome, Rejected) else "")
            )
            report = report_of(
                self.columns, row, kind=kind, version=version, outcome=outcome, now_ns=self._now_ns()
            )
            await self._clients[row].publish(report_subject(SiteId(site)), encode_report(report))

        return hear  # type: ignore[return-value]

    def _take(self, row: int, kind: Literal["desired", "orders"], payload: bytes) -> tuple[int, int, Outcome]:
        now_ns = self._now_ns()
        try:
            if self._verifier is not None:
                payload = self._verifier.open(self.fleet.site_ids[row], kind, payload, now_ns)
            if kind == "desired":
                desired = decode_desired(payload)
                return desired.version, desired.fence, receive(self.columns, row, desired, now_ns)
            orders = decode_orders(payload)
            return orders.version, orders.fence, receive_orders(self.columns, row, orders, now_ns)
        except ForgedError as error:
            return 0, 0, Rejected(reason=error.reason, detail=error.detail)
        except WireFormatError as error:
            return 0, 0, Rejected(reason="malformed", detail=error.detail)

    def taken(self, row: int, kind: str) -> list[tuple[int, int]]:
        """Return version and fence of what a site took, in order."""
        return [
            (version, fence)
            for place, what, version, fence, reason in self.outcomes
            if place == row and what == kind and not reason
        ]

    def latest(self, t_ns: int) -> np.ndarray[tuple[int], np.dtype[np.void]]:
        """Return what the twins would know of them; who is away was not heard from."""
        records = TELEMETRY.empty(len(self.fleet.site_ids))
        records["ts_ns"] = t_ns
        records["soc_frac"] = 0.6
        records["command_version"] = self.columns.latest_version
        records["ts_ns"][sorted(self.away)] = 0
        return records


def all_taken(devices: Devices, rows: Sequence[int], kind: str, count: int) -> bool:
    """Whether each of these sites has taken so many messages of a kind."""
    return all(len(devices.taken(row, kind)) >= count for row in rows)
