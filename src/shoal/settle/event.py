"""What an event came to: energy delivered by site and in all, how much of what was asked, and money to the last unit.

Delivered energy is the baseline less the meter, or what the battery's own meter shows, by the program's choice. A site is
counted in the intervals in which it took part: whoever left is paid for what was done until then. Amounts are whole 1e-8
currency units as in `shoal.settle.statement`: whole watt-hours times whole cents per MWh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import Interval
from shoal.settle.baseline import Baseline
from shoal.settle.statement import split_revenue

LineReason: TypeAlias = str
"""Why a line is as it is: ``delivered``, ``left_early``, ``left_before``, ``used_more``, ``partly_metered``, or
``no_baseline`` and ``not_metered``, which pay nothing because nothing can be shown."""

_PERMILLE: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTerms:
    """How a program pays.

    Attributes:
        program: Its name.
        currency: Of amounts.
        price_cents_per_mwh: What the program pays for a delivered MWh.
        owner_share_permille: The owners' part of it.
        owner_loss: Whether a site that used more than its baseline reduces what the others are paid for; False: each
            site counts at least 0, as where a program pays homes one by one.
        most_paid_permille: Of the energy asked for, what is paid at most; 0 for no limit.
    """

    program: str
    currency: str
    price_cents_per_mwh: int
    owner_share_permille: int
    owner_loss: bool = False
    most_paid_permille: int = 0


class EventLine(msgspec.Struct, frozen=True, kw_only=True):
    """One site of an event.

    Attributes:
        site_id: Which.
        baseline_wh: What it would have used in the intervals that count, import positive.
        metered_wh: What it used in them.
        delivered_wh: The difference; negative when it used more.
        counted_wh: What of it weighs in the shares, at least 0.
        interval_count: How many intervals count.
        amount: What the owner receives, 1e-8 currency units.
        reason: See `LineReason`.
        detail: For people.
    """

    site_id: str
    baseline_wh: int
    metered_wh: int
    delivered_wh: int
    counted_wh: int
    interval_count: int
    amount: int
    reason: LineReason
    detail: str = ""


class EventSettlement(msgspec.Struct, frozen=True, kw_only=True):
    """An event settled.

    Attributes:
        event_id: Which.
        program: Of which program.
        start_ns: When it began.
        end_ns: When it ended.
        rule_name: How it was measured: a baseline's name, or ``battery``.
        currency: Of amounts.
        price_cents_per_mwh: What was paid for a MWh.
        target_wh: Energy that was asked for; 0 when none was named.
        delivered_wh: Energy delivered by all sites, as the program counts it.
        paid_wh: Energy that is paid for.
        amount: What is paid in all: owners' amounts and the operator's together.
        operator_amount: What the operator keeps.
        lines: One a site.
    """

    event_id: str
    program: str
    start_ns: int
    end_ns: int
    rule_name: str
    currency: str
    price_cents_per_mwh: int
    target_wh: int
    delivered_wh: int
    paid_wh: int
    amount: int
    operator_amount: int
    lines: tuple[EventLine, ...]

    @property
    def performance_frac(self) -> float:
        """Delivered of asked for; nan when nothing was asked for."""
        return self.delivered_wh / self.target_wh if self.target_wh else float("nan")

    @property
    def balance_error(self) -> int:
        """By how much the money does not add up: 0."""
        return abs(self.amount - self.operator_amount - sum(line.amount for line in self.lines))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """What N sites did in the K intervals of an event.

    Attributes:
        rule_name: How it was measured.
        interval_start_ns: K.
        interval_end_ns: K.
        baseline_wh: N x K.
        metered_wh: N x K.
        known: N x K, whether both are known.
        why_none: N, why nothing is known of a site; empty otherwise.
    """

    rule_name: str
    interval_start_ns: NDArray[np.int64]
    interval_end_ns: NDArray[np.int64]
    baseline_wh: NDArray[np.int64]
    metered_wh: NDArray[np.int64]
    known: NDArray[np.bool_]
    why_none: tuple[str, ...]


def by_baseline(baseline: Baseline, *, step_ns: int) -> Measured:
    """Return an event measured at the connection point against a baseline."""
    return Measured(
        rule_name=baseline.rule_name,
        interval_start_ns=baseline.interval_start_ns,
        interval_end_ns=baseline.interval_start_ns + step_ns,
        baseline_wh=baseline.baseline_wh,
        metered_wh=baseline.metered_wh,
        known=baseline.known,
        why_none=baseline.why_none,
    )


def by_battery(
    *,
    charge_wh: NDArray[np.int64],
    discharge_wh: NDArray[np.int64],
    known: NDArray[np.bool_],
    boundary_ns: NDArray[np.int64],
) -> Measured:
    """Return an event measured at the battery's own meter: what came out less what went in, against doing nothing.

    Args:
        charge_wh: N x (K + 1) registers at the boundaries of the intervals.
        discharge_wh: N x (K + 1), likewise.
        known: N x (K + 1), whether the registers were read there, or close by.
        boundary_ns: K + 1 instants.
    """
    net_wh = np.diff(charge_wh, axis=1) - np.diff(discharge_wh, axis=1)
    both = known[:, :-1] & known[:, 1:]
    some: NDArray[np.bool_] = np.logical_or.reduce(both, axis=1)
    return Measured(
        rule_name="battery",
        interval_start_ns=boundary_ns[:-1],
        interval_end_ns=boundary_ns[1:],
        baseline_wh=np.zeros_like(net_wh),
        metered_wh=np.where(both, net_wh, 0),
        known=both,
        why_none=tuple("" if one else "not_metered" for one in some.tolist()),
    )


def settle_event(
    measured: Measured,
    terms: EventTerms,
    *,
    event_id: str,
    site_ids: Sequence[str],
    event: Interval,
    target_wh: int = 0,
    left_ns: Mapping[str, int] | None = None,
) -> EventSettlement:
    """Return an event's settlement.

    The interval in which an owner leaves counts when something was delivered in it, and not when it would be held
    against the owner. The owners' part is split in proportion to what each delivered, to the last unit.

    Args:
        measured: What was metered.
        terms: How it is paid.
        event_id: Which event.
        site_ids: N sites, in the order of the rows.
        event: When it was.
        target_wh: Energy asked for, at least 0.
        left_ns: When owners left, by site; a site that is not named stayed.

    Raises:
        InvalidInputError: when the sites are not as many as the rows, or the target is negative.
    """
    if len(site_ids) != len(measured.known) or len(set(site_ids)) < len(site_ids):
        raise InvalidInputError(
            field="site_ids", value=len(site_ids), fix=f"name each of {len(measured.known)} sites once"
        )
    if target_wh < 0:
        raise InvalidInputError(
            field="target_wh", value=target_wh, fix="give the energy to deliver, 0 or more"
        )
    left = left_ns or {}
    until_ns = np.array([left.get(site, event.end_ns) for site in site_ids], dtype=np.int64)
    difference_wh = np.where(measured.known, measured.baseline_wh - measured.metered_wh, 0)
    whole = measured.interval_end_ns[None, :] <= until_ns[:, None]
    leaving = ~whole & (measured.interval_start_ns[None, :] < until_ns[:, None])
    took_part = whole | (leaving & (difference_wh > 0))
    counts = measured.known & took_part
    delivered_wh = np.where(counts, difference_wh, 0).sum(axis=1)
    counted_wh = np.maximum(delivered_wh, 0)
    total_wh = max(int(delivered_wh.sum()), 0) if terms.owner_loss else int(counted_wh.sum())
    paid_wh = total_wh
    if terms.most_paid_permille and target_wh:
        paid_wh = min(paid_wh, target_wh * terms.most_paid_permille // _PERMILLE)
    amount = paid_wh * terms.price_cents_per_mwh
    if int(counted_wh.sum()):
        owner_amount, operator_amount = split_revenue(
            amount, owner_share_permille=terms.owner_share_permille, weight_wh=counted_wh
        )
    else:
        owner_amount, operator_amount = np.zeros(len(site_ids), dtype=np.int64), amount
    base = np.where(counts, measured.baseline_wh, 0).sum(axis=1)
    used = np.where(counts, measured.metered_wh, 0).sum(axis=1)
    lines = tuple(
        EventLine(
            site_id=site,
            baseline_wh=int(base[row]),
            metered_wh=int(used[row]),
            delivered_wh=int(delivered_wh[row]),
            counted_wh=int(counted_wh[row]),
            interval_count=int(counts[row].sum()),
            amount=int(owner_amount[row]),
            reason=_reason(measured, row, took_part[row], int(delivered_wh[row]), site in left),
            detail=_detail(measured.why_none[row], int((took_part[row] & ~measured.known[row]).sum())),
        )
        for row, site in enumerate(site_ids)
    )
    return EventSettlement(
        event_id=event_id,
        program=terms.program,
        start_ns=event.start_ns,
        end_ns=event.end_ns,
        rule_name=measured.rule_name,
        currency=terms.currency,
        price_cents_per_mwh=terms.price_cents_per_mwh,
        target_wh=target_wh,
        delivered_wh=int(delivered_wh.sum()) if terms.owner_loss else int(counted_wh.sum()),
        paid_wh=paid_wh,
        amount=amount,
        operator_amount=operator_amount,
        lines=lines,
    )


def _reason(
    measured: Measured, row: int, took_part: NDArray[np.bool_], delivered_wh: int, has_left: bool
) -> Literal[
    "delivered", "left_early", "left_before", "used_more", "partly_metered", "no_baseline", "not_metered"
]:
    if has_left and not took_part.any():
        return "left_before"
    why = measured.why_none[row]
    if why in ("not_metered", "event_not_metered"):
        return "not_metered"
    if why:
        return "no_baseline"
    if delivered_wh < 0:
        return "used_more"
    if has_left:
        return "left_early"
    if np.any(took_part & ~measured.known[row]):
        return "partly_metered"
    return "delivered"


def _detail(why: str, unknown_count: int) -> str:
    if why:
        return why.replace("_", " ")
    return f"{unknown_count} intervals not metered" if unknown_count else ""
