"""Limits that change with time: an operating envelope holds until it ends, and then the safe static limit does again.

An envelope may allow more than the static limit, never for longer than it says and only while it is not stale: without
one in force the limit is the static one, which always exists. So a network operator that falls silent makes limits
tighter or leaves them, and never makes them vanish.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise._inputs import whole_column

Whole = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Limits:
    """Limits of sites or groups in one stretch of time, load-positive at the connection point.

    Attributes:
        lower_w: Least that may flow, minus the export limit, shape (N,).
        upper_w: Most that may flow, the import limit, shape (N,).
        static_mask: Where the static limit holds for at least a part of the stretch, shape (N,).
    """

    lower_w: Whole
    upper_w: Whole
    static_mask: NDArray[np.bool_]


class Envelopes:
    """Static limits of N sites or groups, and envelopes for some of them.

    Args:
        static_lower_w: Least that may flow when no envelope is in force, shape (N,).
        static_upper_w: Most that may flow then, shape (N,).
        row: Whose limits each envelope is, shape (E,).
        start_ns: When it begins, shape (E,).
        end_ns: When it ends, exclusive, shape (E,).
        issued_ns: When it was issued; of several in force the newest holds, of equally new ones the tightest, shape (E,).
        lower_w: Least that may flow, shape (E,).
        upper_w: Most that may flow, shape (E,).

    Raises:
        InvalidInputError: An array is malformed, a row does not exist, or a lower limit is above its upper one.
    """

    def __init__(
        self,
        *,
        static_lower_w: ArrayLike,
        static_upper_w: ArrayLike,
        row: ArrayLike = (),
        start_ns: ArrayLike = (),
        end_ns: ArrayLike = (),
        issued_ns: ArrayLike = (),
        lower_w: ArrayLike = (),
        upper_w: ArrayLike = (),
    ) -> None:
        self._static_lower = whole_column("static_lower_w", static_lower_w)
        self._static_upper = whole_column("static_upper_w", static_upper_w, length=self._static_lower.size)
        self._row = whole_column("row", row)
        count = self._row.size
        self._start = whole_column("start_ns", start_ns, length=count)
        self._end = whole_column("end_ns", end_ns, length=count)
        self._issued = whole_column("issued_ns", issued_ns, length=count)
        self._lower = whole_column("lower_w", lower_w, length=count)
        self._upper = whole_column("upper_w", upper_w, length=count)
        strange = (self._row < 0) | (self._row >= self._static_lower.size)
        if strange.any():
            at = int(np.argmax(strange))
            raise InvalidInputError(
                field=f"row[{at}]",
                value=int(self._row[at]),
                fix=f"give one of {self._static_lower.size} rows",
            )
        _check_order("static_lower_w", self._static_lower, self._static_upper)
        _check_order("lower_w", self._lower, self._upper)

    def limits_at(
        self, t_ns: int, *, until_ns: int | None = None, stale_after_ns: int | None = None
    ) -> Limits:
        """Return the limits at an instant, or the tightest of a stretch of time.

        What is asked of a site for a while has to respect what holds at any moment of it: an envelope that ends within
        the stretch counts with the static limit that follows.

        Args:
            t_ns: The instant, or the beginning of the stretch.
            until_ns: Its end, exclusive; None for the instant alone.
            stale_after_ns: An envelope that was issued longer than this before `t_ns` is not believed any more; None
                believes each to its end.

        Raises:
            InvalidInputError: `until_ns` is not after `t_ns`.
        """
        if until_ns is not None and until_ns <= t_ns:
            raise InvalidInputError(field="until_ns", value=until_ns, fix=f"give more than {t_ns}")
        believed = np.ones(self._row.size, dtype=np.bool_)
        if stale_after_ns is not None:
            believed = self._issued >= t_ns - stale_after_ns
        moments = [np.array([t_ns], dtype=np.int64)]
        if until_ns is not None:
            changes = np.concatenate([self._start[believed], self._end[believed]])
            moments.append(np.unique(changes[(changes > t_ns) & (changes < until_ns)]))
        lower = np.full(self._static_lower.size, np.iinfo(np.int64).min)
        upper = np.full(self._static_lower.size, np.iinfo(np.int64).max)
        static = np.zeros(self._static_lower.size, dtype=np.bool_)
        for moment in np.concatenate(moments):
            low, high, plain = self._at(int(moment), believed)
            lower, upper, static = np.maximum(lower, low), np.minimum(upper, high), static | plain
        # limits of different moments may exclude each other: then the middle between them misses both least
        crossed = lower > upper
        middle = upper[crossed] + (lower[crossed] - upper[crossed]) // 2
        lower[crossed] = upper[crossed] = middle
        return Limits(lower_w=lower, upper_w=upper, static_mask=static)

    def _at(self, t_ns: int, believed: NDArray[np.bool_]) -> tuple[Whole, Whole, NDArray[np.bool_]]:
        lower, upper = self._static_lower.copy(), self._static_upper.copy()
        static = np.ones(lower.size, dtype=np.bool_)
        at = np.flatnonzero(believed & (self._start <= t_ns) & (t_ns < self._end))
        if at.size == 0:
            return lower, upper, static
        newest = np.full(lower.size, np.iinfo(np.int64).min)
        np.maximum.at(newest, self._row[at], self._issued[at])
        at = at[self._issued[at] == newest[self._row[at]]]
        rows = self._row[at]
        lower[rows], upper[rows] = np.iinfo(np.int64).min, np.iinfo(np.int64).max
        np.maximum.at(lower, rows, self._lower[at])
        np.minimum.at(upper, rows, self._upper[at])
        static[rows] = False
        both = lower[rows] > upper[rows]  # equally new and contradictory: believe neither
        lower[rows[both]], upper[rows[both]] = self._static_lower[rows[both]], self._static_upper[rows[both]]
        static[rows[both]] = True
        return lower, upper, static


def _check_order(field: str, lower: Whole, upper: Whole) -> None:
    crossed = lower > upper
    if crossed.any():
        row = int(np.argmax(crossed))
        raise InvalidInputError(
            field=f"{field}[{row}]", value=int(lower[row]), fix=f"give at most {upper[row]}"
        )
