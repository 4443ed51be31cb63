"""Money, exact to the last unit: every amount is a whole number of 1e-8 currency units.

Energy in Wh times a price in cents per MWh is 1e-6 MWh x 1e-2 currency: the product of two integers is the
amount, and nothing is rounded before it is shown. Amounts are what the participant receives; a charge is what
it pays, never negative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError

AMOUNT_PER_CURRENCY: Final = 10**8
_AMOUNT_DIGITS: Final = 8
_PERMILLE: Final = 1_000


class SettledInterval(msgspec.Struct, frozen=True, kw_only=True):
    """Energy and money of one interval, amounts in 1e-8 currency units.

    Attributes:
        start_ns: When it begins.
        end_ns: When it ends, exclusive.
        award_wh: Energy awarded, bought positive, sold negative.
        delivered_wh: Energy metered, charging positive, discharging negative.
        price_cents_per_mwh: The price that settles both.
        award_amount: Received for the award; negative when paid.
        imbalance_amount: Received for the deviation from the award at the same price; negative when paid.
        deviation_charge: Paid on top for having deviated, never negative.
        estimated: Whether the delivered energy rests on an estimated meter reading.
    """

    start_ns: int
    end_ns: int
    award_wh: int
    delivered_wh: int
    price_cents_per_mwh: int
    award_amount: int
    imbalance_amount: int
    deviation_charge: int
    estimated: bool = False

    @property
    def net_amount(self) -> int:
        """What the participant receives in all."""
        return self.award_amount + self.imbalance_amount - self.deviation_charge


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """The settlement of one resource and delivery day: the intervals and their sums."""

    resource_id: str
    delivery_date: str
    currency: str
    intervals: tuple[SettledInterval, ...]
    award_wh: int
    delivered_wh: int
    award_amount: int
    imbalance_amount: int
    deviation_charge: int
    net_amount: int


def price_cents_per_mwh(price_per_mwh: float) -> int:
    """Return a price in whole cents per MWh, the nearest when it has finer digits.

    Raises:
        InvalidInputError: when it is not finite.
    """
    if not math.isfinite(price_per_mwh):
        raise InvalidInputError(field="price_per_mwh", value=price_per_mwh, fix="give a finite price")
    return round(price_per_mwh * 100)


def settle_interval(
    *,
    start_ns: int,
    end_ns: int,
    award_wh: int,
    delivered_wh: int,
    price_cents_per_mwh: int,
    deviation_charge_permille: int,
    estimated: bool = False,
) -> SettledInterval:
    """Return the settlement of one interval.

    Award and deviation settle at one price, ``-energy x price``: sold energy at a positive price is income.
    The charge is ``|deviation| x |price| x permille / 1000``, rounded up, that is against the participant.

    Raises:
        InvalidInputError: when the charge is outside 0 to 1000 permille.
    """
    if not 0 <= deviation_charge_permille <= _PERMILLE:
        raise InvalidInputError(
            field="deviation_charge_permille", value=deviation_charge_permille, fix="stay within 0 to 1000"
        )
    deviation_wh = delivered_wh - award_wh
    charge_in_thousandths = abs(deviation_wh * price_cents_per_mwh) * deviation_charge_permille
    return SettledInterval(
        start_ns=start_ns,
        end_ns=end_ns,
        award_wh=award_wh,
        delivered_wh=delivered_wh,
        price_cents_per_mwh=price_cents_per_mwh,
        award_amount=-award_wh * price_cents_per_mwh,
        imbalance_amount=-deviation_wh * price_cents_per_mwh,
        deviation_charge=-(-charge_in_thousandths // _PERMILLE),
        estimated=estimated,
    )


def day_statement(
    *, resource_id: str, delivery_date: str, currency: str, intervals: Sequence[SettledInterval]
) -> Statement:
    """Return the statement of a day with its sums.

    Raises:
        InvalidInputError: when intervals overlap or are out of order, since one would then be paid twice.
    """
    for earlier, later in pairwise(intervals):
        if later.start_ns < earlier.end_ns:
            raise InvalidInputError(
                field="intervals", value=(earlier.start_ns, later.start_ns), fix="ascend without overlap"
            )
    return Statement(
        resource_id=resource_id,
        delivery_date=delivery_date,
        currency=currency,
        intervals=tuple(intervals),
        award_wh=sum(interval.award_wh for interval in intervals),
        delivered_wh=sum(interval.delivered_wh for interval in intervals),
        award_amount=sum(interval.award_amount for interval in intervals),
        imbalance_amount=sum(interval.imbalance_amount for interval in intervals),
        deviation_charge=sum(interval.deviation_charge for interval in intervals),
        net_amount=sum(interval.net_amount for interval in intervals),
    )


def share_among_sites(amount: int, weight_wh: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the amount split over N sites in proportion to their weights, summing to it exactly.

    Largest remainders (Hamilton): each site gets its share rounded towards zero, and the units left over go
    one each to the largest remainders, the lower row first in a tie. Weights that are all zero split equally.

    Raises:
        InvalidInputError: when there is no site, a weight is negative, or the amount is beyond 64 bits.
    """
    if len(weight_wh) == 0 or int(weight_wh.min()) < 0:
        raise InvalidInputError(
            field="weight_wh", value=len(weight_wh), fix="give one weight a site, none negative"
        )
    if abs(amount) > np.iinfo(np.int64).max:
        raise InvalidInputError(field="amount", value=amount, fix="stay within 64 bits")
    size = abs(amount)
    split = _fast_split(size, weight_wh)
    if split is None:
        split = _split(size, weight_wh.tolist())
    return -split if amount < 0 else split


def _fast_split(size: int, weight_wh: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return what `_split` returns, None where products could outgrow 64 bits.

    With ``size = whole x total + rest`` a share is ``whole x weight + rest x weight / total``: both parts are small.
    """
    weight_wh = weight_wh.astype(np.int64, copy=False)
    most_wh = int(weight_wh.max())
    if most_wh == 0:
        weight_wh, most_wh = np.ones_like(weight_wh), 1
    if most_wh * len(weight_wh) > np.iinfo(np.int64).max:
        return None
    total = int(weight_wh.sum())
    whole, rest = divmod(size, total)
    if rest * most_wh > np.iinfo(np.int64).max:
        return None
    split, remainder = np.divmod(rest * weight_wh, total)
    split += whole * weight_wh
    left = size - int(split.sum())
    split[np.argsort(-remainder, kind="stable")[:left]] += 1
    return split


def _split(size: int, weights: list[int]) -> NDArray[np.int64]:
    """Return a split by largest remainders in Python's integers, which an amount times a weight does not outgrow."""
    total = sum(weights)
    if total == 0:
        weights, total = [1] * len(weights), len(weights)
    shares = [size * weight // total for weight in weights]
    remainder = [size * weight % total for weight in weights]
    left = size - sum(shares)
    for row in sorted(range(len(shares)), key=lambda row: (-remainder[row], row))[:left]:
        shares[row] += 1
    return np.array(shares, dtype=np.int64)


def split_revenue(
    net_amount: int, *, owner_share_permille: int, weight_wh: NDArray[np.int64]
) -> tuple[NDArray[np.int64], int]:
    """Return what each of N sites' owners receives and what the operator keeps.

    The parts sum to `net_amount` exactly.     The owners' part is rounded towards zero, the rest is the
    operator's. A loss is shared like a gain.

    Raises:
        InvalidInputError: when the share is outside 0 to 1000 permille, or see `share_among_sites`.
    """
    if not 0 <= owner_share_permille <= _PERMILLE:
        raise InvalidInputError(
            field="owner_share_permille", value=owner_share_permille, fix="stay within 0 to 1000"
        )
    size = abs(net_amount) * owner_share_permille // _PERMILLE
    owners_amount = -size if net_amount < 0 else size
    return share_among_sites(owners_amount, weight_wh), net_amount - owners_amount


def balance_error(statement: Statement, owner_amount: NDArray[np.int64], operator_amount: int) -> int:
    """Return by how much the money does not add up, at least 0; 0 exactly when it does.

    Two differences are added: the intervals against the statement's total, and the total against its shares.
    """
    from_intervals = sum(interval.net_amount for interval in statement.intervals)
    shared = sum(int(amount) for amount in owner_amount) + operator_amount
    return abs(from_intervals - statement.net_amount) + abs(statement.net_amount - shared)


def format_amount(amount: int, *, digits: int = 2) -> str:
    """Return an amount as a decimal string of currency, halves rounded to even: ``-12.34``.

    >>> format_amount(-123_450_000_00)
    '-123.45'

    Raises:
        InvalidInputError: when `digits` is outside 0 to 8.
    """
    if not 0 <= digits <= _AMOUNT_DIGITS:
        raise InvalidInputError(field="digits", value=digits, fix="stay within 0 to 8")
    unit = 10 ** (_AMOUNT_DIGITS - digits)
    whole, rest = divmod(abs(amount), unit)
    if 2 * rest > unit or (2 * rest == unit and whole % 2 == 1):
        whole += 1
    currency, fraction = divmod(whole, 10**digits)
    sign = "-" if amount < 0 and whole > 0 else ""
    return f"{sign}{currency}.{fraction:0{digits}d}" if digits else f"{sign}{currency}"
