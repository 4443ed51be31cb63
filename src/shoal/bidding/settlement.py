"""The settlement of a delivered day: meters against award at the real price, down to each home's share.

Everything is a whole number: watt-hours from registers, cents per MWh, amounts in 1e-8 currency units; so statements, shares and
the operator's part add up to the last unit. A day may be settled again when late meter readings have come; the newest
version counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from shoal.domain.fleet import Fleet, Resource
from shoal.domain.interval import NS_PER_HOUR
from shoal.market.registry import market
from shoal.market.types import Award
from shoal.settle.energy import boundary_registers, interval_energy
from shoal.settle.statement import (
    Statement,
    day_statement,
    price_cents_per_mwh,
    settle_interval,
    split_revenue,
)
from shoal.store.history import History

MARGIN_NS = 6 * NS_PER_HOUR
"""Samples this far outside the day are read too, to interpolate across gaps at its ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledDay:
    """A statement with its shares.

    Attributes:
        statement: The resource's statement.
        owner_amount: What each of the owners of its N sites with a battery receives, 1e-8 currency units.
        operator_amount: What the operator keeps.
        estimated_intervals: Intervals in which some meter reading was estimated.
    """

    statement: Statement
    owner_amount: NDArray[np.int64]
    operator_amount: int
    estimated_intervals: int


def settle_day(
    *, fleet: Fleet, resource: Resource, award: Award, history: History, bounds_ns: NDArray[np.int64]
) -> SettledDay:
    """Return the settlement of the award from the meters in the history.

    Args:
        fleet: The fleet as registered.
        resource: Whose day it is.
        award: What was awarded, every interval of the day listed.
        history: The telemetry.
        bounds_ns: The intervals' boundaries: B + 1 instants.
    """
    rules = market(resource.market_id)
    rows = fleet.battery_rows_in(resource.group_id)
    samples = history.registers(
        rows, from_ns=int(bounds_ns[0]) - MARGIN_NS, to_ns=int(bounds_ns[-1]) + MARGIN_NS
    )
    local = np.searchsorted(rows, samples["site_no"])
    energy = interval_energy(
        boundary_registers(
            site_row=local.astype(np.int64),
            ts_ns=samples["ts_ns"],
            charge_wh=samples["charge_wh"],
            discharge_wh=samples["discharge_wh"],
            boundary_ns=bounds_ns,
            site_count=len(rows),
        )
    )
    delivered_wh = energy.delivered_wh.sum(axis=0)
    estimated: NDArray[np.bool_] = np.any(energy.estimated, axis=0)
    intervals = [
        settle_interval(
            start_ns=awarded.start_ns,
            end_ns=awarded.end_ns,
            award_wh=awarded.energy_wh,
            delivered_wh=int(delivered_wh[index]),
            price_cents_per_mwh=price_cents_per_mwh(awarded.price_per_mwh),
            deviation_charge_permille=rules.deviation_charge_permille,
            estimated=bool(estimated[index]),
        )
        for index, awarded in enumerate(award.intervals)
    ]
    statement = day_statement(
        resource_id=resource.resource_id,
        delivery_date=award.delivery_date,
        currency=rules.currency,
        intervals=intervals,
    )
    owner_amount, operator_amount = split_revenue(
        statement.net_amount,
        owner_share_permille=round(resource.owner_share_frac * 1_000),
        weight_wh=energy.throughput_wh.sum(axis=1),
    )
    return SettledDay(
        statement=statement,
        owner_amount=owner_amount,
        operator_amount=operator_amount,
        estimated_intervals=int(estimated.sum()),
    )


def bounds_of(market_id: str, delivery_date: str) -> NDArray[np.int64]:
    """Return the boundaries of a day's intervals."""
    intervals = market(market_id).delivery_intervals(date.fromisoformat(delivery_date))
    return np.array([*(i.start_ns for i in intervals), intervals[-1].end_ns], dtype=np.int64)
