"""The commanded devices of the benchmark: real sessions, signatures checked, the edge's own agent, an answer to each message.

It is a process of its own, so that what many devices need does not slow the plant. It is told what to do on its standard
input, a line of JSON each, and answers on its standard output. Messages may be lost in both directions, drawn from a seed.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import sys
import time
from collections import Counter
from typing import Any, Final, Literal

import msgspec
import numpy as np

from shoal.domain.errors import WireFormatError
from shoal.domain.fleet import NAMEPLATE
from shoal.domain.ids import SiteId
from shoal.domain.outcome import Outcome, Rejected
from shoal.edge.agent import decode_desired, receive
from shoal.edge.agent_columns import AgentColumns
from shoal.edge.agent_orders import decode_orders, receive_orders
from shoal.edge.downlink import Message
from shoal.edge.link import Links, LinkSettings
from shoal.edge.orders_report import encode_report, report_of
from shoal.edge.signed import ForgedError, Verifier

FIRST: Final = -10
CHARGE_KW: Final = 5.0
ENERGY_KWH: Final = 13.5
_SIGN_IN_RATE_PER_S: Final = 1_500.0
_KEEP_ALIVE_S: Final = 120
_POLL_S: Final = 0.02
_UP_TIMEOUT_S: Final = 180.0


class DevicesPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the process is told first."""

    host: str
    port: int
    sites: list[str]
    secrets: list[str]
    root_public: bytes
    tenant: str
    loss_frac: float = 0.0
    seed: int = 1


class DevicesSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What the devices say of themselves.

    Attributes:
        up: Signed in.
        received: Messages that came in and were not lost.
        taken: Set-points taken.
        twice: Versions taken a second time, or after a later one; never.
        refused: Refusals by reason.
        lost_down: Messages to devices that the network lost.
        lost_up: Answers that it lost.
        version: The newest version that each device has taken.
        battery_w: What each was told by it.
    """

    up: int
    received: int
    taken: int
    twice: int
    refused: dict[str, int]
    lost_down: int
    lost_up: int
    version: list[int]
    battery_w: list[int]


def nameplate_of(sites: int) -> Any:
    """Return the nameplates of the devices: equal home batteries."""
    plate = NAMEPLATE.empty(sites)
    plate["charge_limit_kw"] = plate["discharge_limit_kw"] = CHARGE_KW
    plate["energy_capacity_kwh"] = ENERGY_KWH
    return plate


class Devices:
    """Sessions and agents of many devices."""

    def __init__(self, plan: DevicesPlan) -> None:
        names = [SiteId(site) for site in plan.sites]
        self._names = names
        self._columns = AgentColumns(nameplate_of(len(names)), site_ids=tuple(names))
        self._verifier = Verifier(plan.root_public, plan.tenant)
        self._random = np.random.default_rng(plan.seed)
        self._loss_frac = plan.loss_frac
        self._refused: Counter[str] = Counter()
        self._received = self._took = self._twice = self._lost_down = self._lost_up = 0
        self._taken = [0] * len(names)
        self._told_w = [0] * len(names)
        self._links = Links(
            plan.host,
            plan.port,
            names,
            plan.secrets,
            tls=None,
            keep_alive_s=_KEEP_ALIVE_S,
            rng_seed=plan.seed,
            settings=LinkSettings(backoff_base_s=1.0, backoff_cap_s=8.0),
        )

    def sign_in(self) -> None:
        """Sign every device in; returns when all are, or after three minutes."""
        self._links.connect_all(_SIGN_IN_RATE_PER_S)
        until_s = time.monotonic() + _UP_TIMEOUT_S
        while not self._links.up.all() and time.monotonic() < until_s:
            self.attend()

    def attend(self) -> None:
        """Do what has come."""
        for message in self._links.poll(_POLL_S):
            if message.kind in ("desired", "orders"):
                self._take(message)

    def _is_lost(self) -> bool:
        return self._loss_frac > 0 and float(self._random.random()) < self._loss_frac

    def _take(self, message: Message) -> None:
        if self._is_lost():
            self._lost_down += 1
            return
        self._received += 1
        now_ns = time.time_ns()
        kind: Literal["desired", "orders"] = "desired" if message.kind == "desired" else "orders"
        version, outcome = self._outcome(message.row, kind, message.payload, now_ns)
        if isinstance(outcome, Rejected):
            self._refused[outcome.reason] += 1
        elif kind == "desired":
            self._took += 1
            self._twice += version <= self._taken[message.row]
            self._taken[message.row] = version
        report = report_of(
            self._columns, message.row, kind=kind, version=version, outcome=outcome, now_ns=now_ns
        )
        if self._is_lost():
            self._lost_up += 1
            return
        self._links.publish_answer(message.row, encode_report(report))

    def _outcome(
        self, row: int, kind: Literal["desired", "orders"], frame: bytes, now_ns: int
    ) -> tuple[int, Outcome]:
        try:
            payload = self._verifier.open(self._names[row], kind, frame, now_ns)
            if kind == "desired":
                desired = decode_desired(payload)
                self._told_w[row] = desired.battery_w
                return desired.version, receive(self._columns, row, desired, now_ns)
            orders = decode_orders(payload)
            return orders.version, receive_orders(self._columns, row, orders, now_ns)
        except ForgedError as error:
            return 0, Rejected(reason=error.reason, detail=error.detail)
        except WireFormatError as error:
            return 0, Rejected(reason="malformed", detail=error.detail)

    def seen(self) -> DevicesSeen:
        """Return what became of what they were sent."""
        return DevicesSeen(
            up=int(self._links.up.sum()),
            received=self._received,
            taken=self._took,
            twice=self._twice,
            refused=dict(self._refused),
            lost_down=self._lost_down,
            lost_up=self._lost_up,
            version=self._columns.latest_version.tolist(),
            battery_w=self._told_w,
        )

    def close(self) -> None:
        """Close every session."""
        self._links.close()


def main() -> None:
    """Run the devices until the standard input ends."""
    with contextlib.suppress(OSError):
        # In the field each has a processor of its own: what they do is not to wait for the plant's work, nor slow it.
        os.setpriority(os.PRIO_PROCESS, 0, FIRST)
    devices = Devices(msgspec.json.decode(sys.stdin.buffer.readline(), type=DevicesPlan))
    asked = selectors.DefaultSelector()
    asked.register(sys.stdin.fileno(), selectors.EVENT_READ)
    try:
        devices.sign_in()
        # no device of the field walks through ten thousand others
        gc.freeze()
        gc.set_threshold(50_000)
        _say(devices)
        while True:
            devices.attend()
            if asked.select(0):
                if not os.read(sys.stdin.fileno(), 4_096):
                    return
                _say(devices)
    finally:
        devices.close()


def _say(devices: Devices) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(devices.seen()) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
