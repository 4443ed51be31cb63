"""What the processes of the bidding benchmark agree on, handed to each as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.optimise.storage import Storage
from shoal.runtime.clock import ScaledClock
from shoal.simulate import draws
from shoal.simulate.exchange_tape import Tape

RESOURCE: Final = "battery-100"
POINT: Final = "VIC1"
PARTICIPANT: Final = "shoal"
FIVE_NS: Final = 5 * NS_PER_MINUTE
HISTORY_DAYS: Final = 40
STORAGE: Final = Storage(
    charge_limit_kw=100_000.0,
    discharge_limit_kw=100_000.0,
    charge_efficiency_frac=0.92,
    discharge_efficiency_frac=0.92,
    energy_capacity_kwh=200_000.0,
    initial_energy_kwh=100_000.0,
    throughput_cost_per_mwh=10.0,
)
LATE_FRAC: Final = 0.05
LATE_MOST_S: Final = 1_200.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One run.

    Attributes:
        folder: Where everything lies.
        port: Of the market.
        token: Of the participant.
        database_url: Bids, facts and slots.
        workflows_url: The workflow engine's own.
        origin_ns: What the clock shows at `since_ns` of the machine.
        since_ns: The start, on the machine's clock.
        speed: Plant seconds in a second.
        days: Days of prices from the origin on.
        lead_s: How long before a gate a bid is made, in plant seconds.
        seed: Of everything that is drawn.
        hostile: Whether anything goes wrong on purpose.
    """

    folder: str
    port: int
    token: str
    database_url: str
    workflows_url: str
    origin_ns: int
    since_ns: int
    speed: float
    days: int
    lead_s: float
    seed: int
    hostile: bool

    def clock(self) -> ScaledClock:
        """Return the clock that all processes share."""
        return ScaledClock(origin_ns=self.origin_ns, speed=self.speed, since_ns=self.since_ns)


def read_plan(path: Path) -> Plan:
    """Return the plan in a file."""
    return msgspec.json.decode(path.read_bytes(), type=Plan)


def origin_ns(*, gate_ns: int) -> int:
    """Return where a run begins so that it has some hours until its first gate."""
    return gate_ns - 4 * NS_PER_HOUR


def price_tape(plan: Plan) -> Tape:
    """Return five-minute prices with a daily shape, noise, negative middays and spikes; some come out late.

    The prices only have to be of the right kind: what is counted here are gates, not money.
    """
    first_ns = to_ns_floor(plan.origin_ns) - HISTORY_DAYS * 24 * NS_PER_HOUR
    count = (HISTORY_DAYS + plan.days) * 24 * NS_PER_HOUR // FIVE_NS
    start_ns = first_ns + np.arange(count, dtype=np.int64) * FIVE_NS
    key = draws.keys([f"price/{t}" for t in start_ns.tolist()], plan.seed, "bidding benchmark")
    hour = (start_ns / NS_PER_HOUR + 10.0) % 24.0
    shape = (
        70.0 - 60.0 * np.exp(-(((hour - 12.5) / 3.0) ** 2)) + 120.0 * np.exp(-(((hour - 18.5) / 1.6) ** 2))
    )
    price = shape + 30.0 * (draws.uniform(key, 0) - 0.5)
    price[draws.uniform(key, 1) < 0.002] = 9_000.0
    late = draws.uniform(key, 2) < (LATE_FRAC if plan.hostile else 0.0)
    delay_ns = np.where(late, draws.uniform(key, 3) * LATE_MOST_S * NS_PER_S, 0.0).astype(np.int64)
    return Tape(
        product="energy",
        settlement_point=POINT,
        start_ns=start_ns,
        end_ns=start_ns + FIVE_NS,
        price_per_mwh=np.round(price, 2),
        published_ns=start_ns + delay_ns,
    )


def to_ns_floor(t_ns: int) -> int:
    """Return the start of the five minutes in which an instant lies."""
    return t_ns // FIVE_NS * FIVE_NS
