"""Delivery by the meters: who was asked, who delivered, and who says yes and does nothing.

A device's word that it follows a set-point is never counted; the change of its energy registers is. Who follows by its own
word and delivers less than half for several samples in a row is no longer counted on, so that the others are asked for its
share; after a while it is tried again, each time after a longer one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_HOUR, NS_PER_S

DELIVERS_FRAC: Final = 0.5
FEWEST_ASKED_W: Final = 500
"""Below it, whole watt-hours say too little within minutes."""
SETTLE_NS: Final = 45 * NS_PER_S
"""After a new set-point: until a device has heard it and its meter shows it."""
MISSES: Final = 3
"""So many samples in a row."""
REST_NS: Final = 900 * NS_PER_S
MOST_REST_NS: Final = 4 * NS_PER_HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What a group's sites have delivered in an interval, by their meters; load-positive.

    Attributes:
        asked_wh: What was asked of them, N.
        delivered_wh: What their registers say, N.
        responding: Whether each is counted on, N.
    """

    asked_wh: NDArray[np.int64]
    delivered_wh: NDArray[np.int64]
    responding: NDArray[np.bool_]

    @property
    def shortfall_wh(self) -> int:
        """What is missing of the sum, with the sign of what was asked."""
        return int(self.asked_wh.sum() - self.delivered_wh.sum())


class Responders:
    """Which of N sites are counted on.

    Attributes:
        rested_until_ns: Until when a site that does not respond is not asked (N); 0 for one that is counted on.
        times: How often in a row it was found so (N).
    """

    def __init__(self, sites: int) -> None:
        self.rested_until_ns = np.zeros(sites, dtype=np.int64)
        self.times = np.zeros(sites, dtype=np.int64)
        self._misses = np.zeros(sites, dtype=np.int64)
        self._seen_ns = np.zeros(sites, dtype=np.int64)
        self._meter_wh = np.zeros(sites, dtype=np.int64)
        self.measured_w = np.zeros(sites, dtype=np.float64)

    def counted_on(self, t_ns: int) -> NDArray[np.bool_]:
        """Return who is asked (N): those that respond, and those whose rest is over."""
        counted: NDArray[np.bool_] = self.rested_until_ns <= t_ns
        return counted

    def observe(
        self,
        *,
        t_ns: int,
        latest: NDArray[Any],
        asked_w: NDArray[np.int64],
        asked_since_ns: NDArray[np.int64],
        following: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        """Take in the latest samples; return the positions of the sites that were found not to respond.

        Args:
            t_ns: The instant.
            latest: Latest records (N).
            asked_w: What each is asked for at least (N).
            asked_since_ns: Since when it is that (N).
            following: Whether it says that it follows (N).
        """
        meter_wh = latest["charge_wh"] - latest["discharge_wh"]
        new = latest["ts_ns"] > self._seen_ns
        span_ns = latest["ts_ns"] - self._seen_ns
        known = new & (self._seen_ns > 0)
        self.measured_w[known] = (meter_wh - self._meter_wh)[known] * NS_PER_HOUR / span_ns[known]
        # a sample is judged when all of its span lies after the set-point was told
        judged = known & following & (self._seen_ns >= asked_since_ns + SETTLE_NS)
        judged &= np.abs(asked_w) >= FEWEST_ASKED_W
        # half of what was asked, less what the registers' whole watt-hours may hide
        hidden_w = np.where(known, NS_PER_HOUR / np.maximum(span_ns, 1), 0.0)
        delivers = self.measured_w * np.sign(asked_w) >= DELIVERS_FRAC * np.abs(asked_w) - hidden_w
        self._misses[judged & ~delivers] += 1
        well = judged & delivers
        self._misses[well] = 0
        self.times[well] = 0
        self.rested_until_ns[well] = 0
        self._seen_ns[new] = latest["ts_ns"][new]
        self._meter_wh[new] = meter_wh[new]
        found: NDArray[np.int64] = np.flatnonzero(self._misses >= MISSES)
        if len(found):
            rest_ns = np.minimum(REST_NS << np.minimum(self.times[found], 8), MOST_REST_NS)
            self.rested_until_ns[found] = t_ns + rest_ns
            self.times[found] += 1
            self._misses[found] = 0
        return found
