"""What an order's sites did while somebody watched it: kept as it was seen, until history has it."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.api.groups.trail import COLUMNS, LiveTrack
from shoal.api.live.aggregates import root_numbers
from shoal.api.plant import Plant
from shoal.domain.ids import GroupId
from shoal.store.order_records import Scope

MOST_ORDERS: Final = 100
MOST_POINTS: Final = 3_600


class OrderTrails:
    """The trails of the orders that were watched last."""

    def __init__(self) -> None:
        self._points: OrderedDict[str, deque[tuple[int, float, float, float, float]]] = OrderedDict()

    def take(
        self, order_id: str, t_ns: int, *, battery_kw: float, low_kw: float, high_kw: float, coverage: float
    ) -> None:
        """Take what was seen at an instant; the same instant again is nothing new."""
        points = self._points.setdefault(order_id, deque(maxlen=MOST_POINTS))
        if points and t_ns < points[-1][0]:
            points.clear()  # another run of the plant began
        if not points or t_ns > points[-1][0]:
            points.append((t_ns, battery_kw, low_kw, high_kw, coverage))
        self._points.move_to_end(order_id)
        while len(self._points) > MOST_ORDERS:
            self._points.popitem(last=False)

    def track(self, order_id: str, from_ns: int, to_ns: int, *, gap_ns: int) -> LiveTrack:
        """Return the newest run of what was seen within `[from_ns, to_ns)` that has no gap longer than `gap_ns`."""
        points = [one for one in self._points.get(order_id, ()) if from_ns <= one[0] < to_ns]
        run = np.array(points, dtype=np.float64).reshape(len(points), 5)
        t_ns = np.array([one[0] for one in points], dtype=np.int64)
        gaps = np.flatnonzero(np.diff(t_ns) > gap_ns)
        first = int(gaps[-1]) + 1 if len(gaps) else 0
        values: NDArray[np.float64] = np.full((len(COLUMNS), len(points) - first), np.nan)
        for at, name in enumerate(("battery_kw", "low_kw", "high_kw", "coverage_kw_frac"), start=1):
            values[COLUMNS.index(name)] = run[first:, at]
        return LiveTrack(t_ns=t_ns[first:], values=values)


def groups_of(scope: Scope, rows: NDArray[np.int64], plant: Plant) -> list[int] | None:
    """Return the numbers of the groups whose batteries are just these sites; None where it is not so."""
    fleet = plant.fleet
    if scope.sites or not len(rows):
        return None
    if scope.fleet:
        numbers = list(root_numbers(fleet))
    else:
        numbers = [
            fleet.group_number[GroupId(one)] for one in scope.groups if GroupId(one) in fleet.group_number
        ]
        if len({(fleet.groups[one].hierarchy_id, fleet.groups[one].level) for one in numbers}) != 1:
            return None  # one of them may be inside another
    batteries = sum(len(fleet.battery_rows_in(fleet.groups[one].group_id)) for one in numbers)
    return numbers if batteries == len(rows) else None


def sums_of(numbers: Sequence[int], from_ns: int, to_ns: int, plant: Plant) -> LiveTrack:
    """Return what groups did together by the plant's own sums, within `[from_ns, to_ns)`."""
    fleet = plant.fleet
    tracks = [plant.model.group_trail.track(number, from_ns, to_ns) for number in numbers]
    rated_kw = np.array(
        [
            float(fleet.nameplate["discharge_limit_kw"][fleet.rows_in(fleet.groups[one].group_id)].sum())
            for one in numbers
        ]
    )
    if not tracks or not rated_kw.sum():
        return LiveTrack(t_ns=np.empty(0, dtype=np.int64), values=np.empty((len(COLUMNS), 0)))
    values = np.full_like(tracks[0].values, np.nan)
    for name in ("battery_kw", "low_kw", "high_kw"):
        at = COLUMNS.index(name)
        values[at] = np.sum([track.values[at] for track in tracks], axis=0)
    at = COLUMNS.index("coverage_kw_frac")
    heard = np.array([np.nan_to_num(track.values[at]) for track in tracks])
    values[at] = rated_kw @ heard / rated_kw.sum()
    return LiveTrack(t_ns=tracks[0].t_ns, values=values)


def after_sums(sums: LiveTrack, seen: LiveTrack) -> LiveTrack:
    """Return what was seen of an order with the plant's sums before it."""
    before = sums.t_ns < seen.t_ns[0] if len(seen.t_ns) else np.ones(len(sums.t_ns), dtype=np.bool_)
    return LiveTrack(
        t_ns=np.concatenate((sums.t_ns[before], seen.t_ns)),
        values=np.concatenate((sums.values[:, before], seen.values), axis=1),
    )
