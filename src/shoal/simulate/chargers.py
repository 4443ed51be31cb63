"""Cars that can wait: what each has missed because it was asked to, and by when that is made up for.

Profiles say what cars draw when nobody asks for anything. What a limit holds back is owed to the car: its owner was promised
to have it a fixed time after the car first began to wait. The books of it are the simulation's own; the plant never sees them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.edge.charger import charge_w

PROMISED_NS: Final = 6 * NS_PER_HOUR
"""A car that waits has what it missed after so long at the latest."""
_NEVER_NS: Final = int(np.iinfo(np.int64).max)
_ROUNDING_WH: Final = 1.0


class WaitingCars:
    """The cars of N sites.

    Args:
        limit_w: What each charger can do; 0 for none.

    Attributes:
        missing_wh: What each car has missed (N).
        deadline_ns: By when it is to have it (N).
        deferred_wh: What was ever held back, all together.
        late_wh: What was still missing at a deadline: a broken promise.
        forced_wh: What was drawn beyond a limit, because a car could not wait any longer.
    """

    def __init__(self, limit_w: NDArray[np.int64]) -> None:
        self.limit_w = limit_w
        self.missing_wh = np.zeros(len(limit_w))
        self.deadline_ns = np.full(len(limit_w), _NEVER_NS, dtype=np.int64)
        self.deferred_wh = self.late_wh = self.forced_wh = 0.0

    def drawn_w(
        self, wanted_w: NDArray[np.int64], most_w: NDArray[np.int64] | None, *, now_ns: int, until_ns: int
    ) -> NDArray[np.int64]:
        """Return what the cars draw over a span, and note what they miss or get back.

        Args:
            wanted_w: What they would draw (N).
            most_w: What they may draw (N); None for no limit.
            now_ns: When the span begins.
            until_ns: When it ends.
        """
        if most_w is None and not self.missing_wh.any():
            return wanted_w
        hold_s = (until_ns - now_ns) / NS_PER_S
        drawn_w = charge_w(
            wanted_w=wanted_w,
            most_w=most_w,
            limit_w=self.limit_w,
            missing_wh=self.missing_wh,
            deadline_ns=self.deadline_ns,
            now_ns=now_ns,
            hold_s=hold_s,
        )
        hours = hold_s / 3_600.0
        if most_w is not None:
            self.forced_wh += float(np.maximum(drawn_w - most_w, 0).sum()) * hours
        before_wh = self.missing_wh
        self.missing_wh = before_wh + (wanted_w - drawn_w) * hours
        self.deferred_wh += float(np.maximum(self.missing_wh - before_wh, 0.0).sum())
        begins = (self.missing_wh > _ROUNDING_WH) & (self.deadline_ns == _NEVER_NS)
        self.deadline_ns[begins] = now_ns + PROMISED_NS
        over = self.deadline_ns <= until_ns
        self.late_wh += float(self.missing_wh[over & (self.missing_wh > _ROUNDING_WH)].sum())
        even = self.missing_wh <= _ROUNDING_WH
        self.deadline_ns[even | over] = _NEVER_NS
        return drawn_w

    def account(self) -> dict[str, float]:
        """Return the books, in kWh."""
        return {
            "ev_deferred_kwh": round(self.deferred_wh / 1e3, 3),
            "ev_late_kwh": round(self.late_wh / 1e3, 3),
            "ev_forced_kwh": round(self.forced_wh / 1e3, 3),
        }
