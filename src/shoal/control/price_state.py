"""What the search for prices is told, what it tells, and what it leaves to who goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec
import numpy as np

from shoal.control.price_columns import AssumedTariff
from shoal.domain.interval import NS_PER_S
from shoal.optimise._fleet_pool import FleetMemory
from shoal.optimise.fleet_optimum import memory_of_duals


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceOptions:
    """How a fleet's prices are searched for.

    Attributes:
        fleet: Its name.
        program: For which program homes follow.
        limits_kw: By group, the most net import and the most net export.
        step_s: Length of an interval.
        steps: How many a search looks ahead.
        round_timeout_s: How long a round waits for those who have not answered.
        within_s: After so long a search ends as it stands.
        gap_frac: The certified gap at which it ends earlier.
        excess_per_kwh: What a kWh beyond a limit costs.
        imbalance_per_kwh: What a kWh away from an award costs.
        tariff: What homes that are answered for are taken to pay.
        fresh_s: How old a twin may be.
    """

    fleet: str
    program: str
    limits_kw: Mapping[str, tuple[float, float]]
    step_s: int
    steps: int
    round_timeout_s: float
    within_s: float
    gap_frac: float
    excess_per_kwh: float
    imbalance_per_kwh: float
    tariff: AssumedTariff
    fresh_s: float


class PriceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How the prices stand, as it is kept and shown.

    Attributes:
        at_ns: When the search ended.
        start_ns: From when its prices hold.
        end_ns: Until when.
        cost: What the homes' own answers to what they were sent cost, in currency.
        lower_bound: What no dispatch costs less.
        gap_frac: The certified gap of what was sent.
        rounds: Rounds of the search.
        trials: Rounds in which the result was tried out.
        took_s: Wall time.
        homes: Homes in the search.
        agents: Those of them that answer for themselves.
        answered_frac: The share whose own answer is in the result.
        heard_frac: The share that answered the search at all.
        silent_sites: Some of those that did not.
        excess_kwh: What is beyond the feeders' limits even so.
        down_bytes: What went down, to homes too.
        up_bytes: What came up, from homes too.
        orders: Orders that stand.
        sites: Sites that they mean.
        stopped: Orders that somebody has cancelled.
        failed: Why the last turn found nothing; empty when it did.
        failures: Turns in a row that found nothing.
    """

    at_ns: int = 0
    start_ns: int = 0
    end_ns: int = 0
    cost: float = 0.0
    lower_bound: float = 0.0
    gap_frac: float = 0.0
    rounds: int = 0
    trials: int = 0
    took_s: float = 0.0
    homes: int = 0
    agents: int = 0
    answered_frac: float = 0.0
    heard_frac: float = 0.0
    silent_sites: tuple[str, ...] = ()
    excess_kwh: float = 0.0
    down_bytes: int = 0
    up_bytes: int = 0
    orders: int = 0
    sites: int = 0
    stopped: tuple[str, ...] = ()
    failed: str = ""
    failures: int = 0


class PriceState(msgspec.Struct, frozen=True, kw_only=True):
    """What a successor goes on with; columns are lists."""

    status: PriceStatus
    feeders: tuple[str, ...] = ()
    start_ns: int = 0
    step_s: int = 0
    commitment: tuple[float, ...] = ()
    imports: tuple[tuple[float, ...], ...] = ()
    exports: tuple[tuple[float, ...], ...] = ()
    known: tuple[str, ...] = ()


class Memory(Protocol):
    """Where the state survives."""

    def save(self, state: PriceState) -> None:
        """Keep the state.

        Raises:
            FencedOutError: when somebody else searches now.
        """
        ...


def memory_at(
    state: PriceState, *, start_ns: int, feeders: tuple[str, ...], steps: int
) -> FleetMemory | None:
    """Return the duals of a state as they are from an instant on; None when they speak of other feeders or times."""
    if not state.step_s or state.feeders != feeders or len(state.commitment) != steps:
        return None
    later = (start_ns - state.start_ns) // (state.step_s * NS_PER_S)
    if not 0 <= later < steps:
        return None
    duals = (state.commitment, state.imports, state.exports)
    found = memory_of_duals(*(np.array(one, np.float64) for one in duals))
    return found.later(later) if later else found
