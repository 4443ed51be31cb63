"""The settlement of a delivered day: meters against award at the real price, down to each home's share.

Everything is a whole number: watt-hours from registers, cents per MWh, amounts in 1e-8 currency units; so statements, shares and
the operator's part add up to the last unit. A site counts from the instant at which it joins the resource's group until it
leaves. Samples under suspicion do not count. A day may be settled again when late readings have come; the newest version counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from shoal.bidding.group_meters import meter_group
from shoal.domain.fleet import Fleet, Resource
from shoal.market.registry import market
from shoal.market.types import Award
from shoal.settle.statement import (
    Statement,
    day_statement,
    price_cents_per_mwh,
    settle_interval,
    split_revenue,
)
from shoal.store.group_energy import Memberships
from shoal.store.history import History


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledDay:
    """A statement with its shares.

    Attributes:
        statement: The resource's statement.
        rows: Fleet rows of the N sites with a battery that were in its group for some of the day, ascending.
        owner_amount: What each of their owners receives, 1e-8 currency units.
        operator_amount: What the operator keeps.
        estimated_intervals: Intervals in which some meter reading was estimated.
    """

    statement: Statement
    rows: NDArray[np.int64]
    owner_amount: NDArray[np.int64]
    operator_amount: int
    estimated_intervals: int


def settle_day(
    *,
    fleet: Fleet,
    resource: Resource,
    award: Award,
    history: History,
    bounds_ns: NDArray[np.int64],
    memberships: Memberships | None = None,
) -> SettledDay:
    """Return the settlement of the award from the meters in the history.

    Args:
        fleet: The fleet as registered.
        resource: Whose day it is.
        award: What was awarded, every interval of the day listed.
        history: The telemetry.
        bounds_ns: The intervals' boundaries: B + 1 instants.
        memberships: Who was in the group when; those who are in it now were all day when None.

    Raises:
        UnavailableError: when history or the memberships cannot be read.
    """
    rules = market(resource.market_id)
    metered = meter_group(
        fleet, resource.group_id, bounds_ns=bounds_ns, history=history, memberships=memberships
    )
    rows = metered.rows
    intervals = [
        settle_interval(
            start_ns=awarded.start_ns,
            end_ns=awarded.end_ns,
            award_wh=awarded.energy_wh,
            delivered_wh=int(metered.delivered_wh[index]),
            price_cents_per_mwh=price_cents_per_mwh(awarded.price_per_mwh),
            deviation_charge_permille=rules.deviation_charge_permille,
            estimated=bool(metered.estimated[index]),
        )
        for index, awarded in enumerate(award.intervals)
    ]
    statement = day_statement(
        resource_id=resource.resource_id,
        delivery_date=award.delivery_date,
        currency=rules.currency,
        intervals=intervals,
    )
    owner_amount, operator_amount = np.zeros(0, dtype=np.int64), statement.net_amount
    if len(rows):
        owner_amount, operator_amount = split_revenue(
            statement.net_amount,
            owner_share_permille=round(resource.owner_share_frac * 1_000),
            weight_wh=metered.throughput_wh,
        )
    return SettledDay(
        statement=statement,
        rows=rows,
        owner_amount=owner_amount,
        operator_amount=operator_amount,
        estimated_intervals=int(metered.estimated.sum()),
    )


def bounds_of(market_id: str, delivery_date: str) -> NDArray[np.int64]:
    """Return the boundaries of a day's intervals."""
    intervals = market(market_id).delivery_intervals(date.fromisoformat(delivery_date))
    return np.array([*(i.start_ns for i in intervals), intervals[-1].end_ns], dtype=np.int64)
