"""Facts: values of a series, the intervals that they are about, and when they became known.

A fact has two times. What it is about is ``[start_ns, end_ns)``; `known_ns` is when the plant had it in hand, so that a
question asked as of an instant can be answered with exactly what was known then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError

SeriesId = NewType("SeriesId", str)
"""A path from the general to the particular: ``price/nem/VIC1/dispatch``."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Facts:
    """What one source said of one series at one time: N intervals with V values each.

    Attributes:
        series_id: The series; its contract names the unit and the V columns of `value`.
        source: Who said it, e.g. ``aemo``.
        known_ns: When the plant knew it.
        revision: The source's own count of corrections, from 0; a higher one replaces a lower one, even when the lower
            one comes later. Sources that do not count give 0: then what is known later replaces.
        start_ns: N starts, strictly ascending.
        end_ns: N ends, each after its start and not after the next start.
        value: N x V numbers. NaN says that the source withdraws the value: known to be absent.

    Raises:
        InvalidInputError: A name is empty, a shape does not fit, or the intervals are out of order.
    """

    series_id: SeriesId
    source: str
    known_ns: int
    revision: int = 0
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    value: NDArray[np.float64]

    def __post_init__(self) -> None:
        for field in ("series_id", "source"):
            if not getattr(self, field):
                raise InvalidInputError(field=field, value="", fix="give it a name")
        if self.revision < 0:
            raise InvalidInputError(field="revision", value=self.revision, fix="count from 0")
        count = len(self.start_ns)
        if self.start_ns.shape != (count,) or self.end_ns.shape != (count,):
            raise InvalidInputError(
                field="end_ns", value=self.end_ns.shape, fix=f"give one end for each of the {count} starts"
            )
        if self.value.ndim != 2 or self.value.shape[0] != count or self.value.shape[1] < 1:
            raise InvalidInputError(
                field="value", value=self.value.shape, fix=f"give {count} rows of at least one value"
            )
        empty = self.end_ns <= self.start_ns
        overlapping = self.end_ns[:-1] > self.start_ns[1:]
        for bad, fix in ((empty, "end it after its start"), (overlapping, "end it by the next start")):
            if bad.any():
                row = int(np.argmax(bad))
                raise InvalidInputError(field=f"end_ns[{row}]", value=int(self.end_ns[row]), fix=fix)
