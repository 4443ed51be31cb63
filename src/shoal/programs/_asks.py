"""A claim taken apart: what it asks in each direction, for how long, of which sites; checked before anything is granted."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_S, Interval
from shoal.programs._ledger import Ask, Direction, whole_ms
from shoal.programs.claims import CapacityClaim, Claim, HoldClaim, PowerClaim, Whole

MOST_SUSTAINED_S: Final = 7 * 86_400
_MOST_ASKED_W: Final = 10**15


def rows_of(claim: Claim, sites: int) -> Whole:
    """Return the rows that a claim names, or all.

    Raises:
        InvalidInputError: when a row does not exist or is named twice.
    """
    if claim.rows is None:
        return np.arange(sites, dtype=np.int64)
    return checked_rows(f"rows of {claim.claim_id}", claim.rows, sites)


def checked_rows(field: str, rows: Whole, sites: int) -> Whole:
    """Return the rows as they are.

    Raises:
        InvalidInputError: when a row does not exist or is named twice.
    """
    if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
        raise InvalidInputError(
            field=field, value=f"{rows.dtype} {rows.shape}", fix="give a list of row numbers"
        )
    if rows.size and (rows.min() < 0 or rows.max() >= sites):
        raise InvalidInputError(
            field=field, value=f"{rows.min()} to {rows.max()}", fix=f"give rows from 0 to {sites - 1}"
        )
    named = np.zeros(sites, dtype=np.bool_)
    named[rows] = True
    if np.count_nonzero(named) != len(rows):
        raise InvalidInputError(field=field, value=f"{len(rows)} rows", fix="name each row once")
    return rows.astype(np.int64, copy=False)


def sustained_ms(field: str, sustain_s: float | None, interval: Interval) -> int:
    """Return for how long power is held, in whole milliseconds, rounded up.

    Raises:
        InvalidInputError: when that is not above 0, or longer than a week.
    """
    if sustain_s is None:
        sustain_s = interval.duration_s
        duration_ns = interval.end_ns - interval.start_ns
    else:
        duration_ns = math.ceil(sustain_s * NS_PER_S) if math.isfinite(sustain_s) else 0
    if not 0 < duration_ns <= MOST_SUSTAINED_S * NS_PER_S:
        raise InvalidInputError(
            field=field, value=sustain_s, fix=f"give seconds above 0, up to {MOST_SUSTAINED_S}"
        )
    return whole_ms(duration_ns)


def asks_of(claim: Claim, sites: int, interval: Interval) -> list[Ask]:
    """Return what a claim asks in each direction; nothing for one that asks for nothing.

    Raises:
        InvalidInputError: when a column is malformed or a number out of its range.
    """
    count = sites if claim.rows is None else len(claim.rows)
    if isinstance(claim, HoldClaim):
        _check_column(claim, "hold_wh", claim.hold_wh, count, least=0)
        _check_column(claim, "charge_w", claim.charge_w, count, least=0)
        asked = [_each("charge", claim.charge_w, sustained_ms("interval", None, interval))]
        return [ask for ask in asked if ask.target_w]
    for_ms = sustained_ms(f"sustain_s of {claim.claim_id}", claim.sustain_s, interval)
    if isinstance(claim, CapacityClaim):
        for name, asked_w in (("up_w", claim.up_w), ("down_w", claim.down_w)):
            _check_number(claim, name, asked_w, least=0)
        both: tuple[tuple[Direction, int], ...] = (("discharge", claim.up_w), ("charge", claim.down_w))
        return [
            Ask(direction=direction, target_w=int(asked_w), each_w=None, for_ms=for_ms, capacity=True)
            for direction, asked_w in both
            if asked_w
        ]
    return _power_asks(claim, count, for_ms)


def _power_asks(claim: PowerClaim, count: int, for_ms: int) -> list[Ask]:
    if claim.each_w is None:
        _check_number(claim, "power_w", claim.power_w, least=-_MOST_ASKED_W)
        direction: Direction = "charge" if claim.power_w > 0 else "discharge"
        power_w = abs(int(claim.power_w))
        one = Ask(direction=direction, target_w=power_w, each_w=None, for_ms=for_ms, capacity=False)
        return [one] if power_w else []
    _check_column(claim, "each_w", claim.each_w, count, least=-_MOST_ASKED_W)
    if claim.power_w:
        raise InvalidInputError(
            field=f"power_w of {claim.claim_id}",
            value=claim.power_w,
            fix="leave it out where each_w is given",
        )
    both = (
        _each("charge", np.maximum(claim.each_w, 0), for_ms),
        _each("discharge", np.maximum(-claim.each_w, 0), for_ms),
    )
    return [ask for ask in both if ask.target_w]


def weight_of(claim: Claim, room_w: Whole) -> NDArray[np.float64]:
    """Return the weight of each site in the split of a sum: the claim's own, else what the site can give.

    Raises:
        InvalidInputError: when a weight is missing, infinite or not above 0.
    """
    given = None if isinstance(claim, HoldClaim) else claim.weight
    if given is None:
        return np.maximum(room_w.astype(np.float64), 1e-9)
    if given.shape != room_w.shape or not bool(np.all(np.isfinite(given) & (given > 0.0))):
        raise InvalidInputError(
            field=f"weight of {claim.claim_id}",
            value=f"{given.shape}",
            fix=f"give {len(room_w)} numbers above 0, one for each row",
        )
    return given.astype(np.float64, copy=False)


def _each(direction: Direction, each_w: Whole, for_ms: int) -> Ask:
    return Ask(direction=direction, target_w=int(each_w.sum()), each_w=each_w, for_ms=for_ms, capacity=False)


def _check_number(claim: Claim, name: str, value: int, *, least: int) -> None:
    if not least <= value <= _MOST_ASKED_W or value != int(value):
        raise InvalidInputError(
            field=f"{name} of {claim.claim_id}",
            value=value,
            fix=f"give whole watts from {least} to {_MOST_ASKED_W}",
        )


def _check_column(claim: Claim, name: str, values: Whole, count: int, *, least: int) -> None:
    field = f"{name} of {claim.claim_id}"
    if values.shape != (count,) or values.dtype != np.int64:
        raise InvalidInputError(
            field=field, value=f"{values.dtype} {values.shape}", fix=f"give {count} whole numbers (int64)"
        )
    low, high = values.min(initial=0), values.max(initial=0)
    if low < least or high > _MOST_ASKED_W:
        raise InvalidInputError(
            field=field, value=f"{low} to {high}", fix=f"give numbers from {least} to {_MOST_ASKED_W}"
        )
