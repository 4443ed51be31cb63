"""Canary trials under way: which sites try an order, what their meters said when it began, and what they show since."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.control.canary import CanaryVerdict, judge_canaries, pick_canaries
from shoal.domain.fleet import Fleet
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.store.order_records import CanarySpec, Order, Trial

SETTLE_FRAC: Final = 0.25
"""After this part of the watch the meters are read for the first time: until then ramps and reports take their time."""


class Watch:
    """The meters of one trial.

    Args:
        trial: Who tries it.
        spec: The criterion.
        begins_ns: When what is asked begins.
        rows: The rows of its sites.
    """

    def __init__(self, trial: Trial, spec: CanarySpec, *, begins_ns: int, rows: NDArray[np.int64]) -> None:
        self.trial = trial
        self.spec = spec
        self.rows = rows
        self._since_ns = max(begins_ns, trial.began_ns)
        self._first_ns = np.zeros(len(rows), dtype=np.int64)
        self._first_wh = np.zeros(len(rows), dtype=np.int64)

    def look(self, t_ns: int, latest: NDArray[Any], asked_w: NDArray[np.int64]) -> CanaryVerdict:
        """Return what the trial says now.

        Args:
            t_ns: The instant.
            latest: Latest records of the fleet.
            asked_w: What is asked of each of its sites.
        """
        mine = latest[self.rows]
        meter_wh = mine["charge_wh"] - mine["discharge_wh"]
        settled_ns = self._since_ns + int(self.spec.watch_s * SETTLE_FRAC * NS_PER_S)
        first = (self._first_ns == 0) & (mine["ts_ns"] >= settled_ns)
        self._first_ns[first] = mine["ts_ns"][first]
        self._first_wh[first] = meter_wh[first]
        span_ns = mine["ts_ns"] - self._first_ns
        metered = (self._first_ns > 0) & (span_ns > 0)
        measured_w = np.where(
            metered, (meter_wh - self._first_wh) * NS_PER_HOUR / np.maximum(span_ns, 1), 0.0
        )
        return judge_canaries(
            self.spec,
            asked_w=asked_w,
            measured_w=measured_w,
            metered=metered,
            watched_s=(t_ns - self._since_ns) / NS_PER_S,
        )


def begin_trial(order: Order, rows: NDArray[np.int64], fleet: Fleet, t_ns: int) -> Trial:
    """Return a new trial of an order: a share of its sites, even over the groups that they hang from."""
    assert order.canary is not None
    strata = np.zeros(len(rows), dtype=np.int64)
    if fleet.leaf_group:
        finest = max(fleet.leaf_group.values(), key=lambda leaves: len(np.unique(leaves)))
        strata = finest[rows].astype(np.int64)
    salt = sum(order.order_id.encode())
    tried = pick_canaries(rows, strata, share_frac=order.canary.share_frac, salt=salt)
    sites = tuple(str(fleet.site_ids[row]) for row in tried.tolist())
    return Trial(order_id=order.order_id, sites=sites, began_ns=t_ns)


def rows_of_trial(trial: Trial, fleet: Fleet) -> NDArray[np.int64]:
    """Return the rows of its sites, ascending; those that are gone are left out."""
    rows = [fleet.row_of[SiteId(site)] for site in trial.sites if SiteId(site) in fleet.row_of]
    return np.array(sorted(rows), dtype=np.int64)
