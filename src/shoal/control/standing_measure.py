"""What a standing service sees: a feeder or a farm by its meters, how much of it was heard from, and whose batteries serve.

Sites that are silent are reckoned with as those that speak, by how much each usually moves, and only as long as few of them
are. Beyond that the sum is not known, and is said to be unknown rather than too small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId, SiteId
from shoal.domain.interval import NS_PER_HOUR
from shoal.store.standing import StandingService

Rows = NDArray[np.int64]
_USUAL_NS: Final = 24 * NS_PER_HOUR
_ROOM_H: Final = 0.25
"""A battery counts with the power that it can hold for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is held, at an instant.

    Attributes:
        without_kw: Without the batteries that serve, import positive; of a farm what it generates, negative. None when too
            few are heard from.
        with_kw: With them.
        coverage_frac: Share of what is measured that was heard from lately; of a farm by rating.
        oldest_age_s: Age of the oldest record that counts; -1 without any.
    """

    without_kw: float | None
    with_kw: float | None
    coverage_frac: float
    oldest_age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """The batteries that serve now, seen as one, above what their owners keep.

    Attributes:
        sites: How many.
        battery_kw: What they do, charging positive.
        charge_kw: Most that they can charge for a quarter of an hour.
        discharge_kw: Most that they can discharge for as long.
        rated_charge_kw: Most that they could charge if there was room.
        rated_discharge_kw: Most that they could discharge if enough was stored.
        stored_kwh: What is stored.
        capacity_kwh: What they hold when full.
        charge_efficiency_frac: Mean, by capacity.
        discharge_efficiency_frac: Likewise.
    """

    sites: int
    battery_kw: float
    charge_kw: float
    discharge_kw: float
    rated_charge_kw: float
    rated_discharge_kw: float
    stored_kwh: float
    capacity_kwh: float
    charge_efficiency_frac: float
    discharge_efficiency_frac: float


class Sight:
    """What one service measures.

    Args:
        service: The service.
        fleet: The fleet.
        fresh_ns: Who was silent for longer is not known.
    """

    def __init__(self, service: StandingService, fleet: Fleet, *, fresh_ns: int) -> None:
        self._service = service
        self._fresh_ns = fresh_ns
        self._farm = service.kind == "smoothing"
        self._weight: NDArray[np.float64] | None = None
        if service.meter:
            row = fleet.row_of.get(SiteId(service.meter))
            rows = np.array([] if row is None else [row], dtype=np.int64)
        else:
            group = GroupId(service.measured_group or service.group)
            rows = fleet.rows_in(group) if group in fleet.group_number else np.empty(0, dtype=np.int64)
        if self._farm and not service.meter:
            rated_kw = fleet.nameplate["solar_limit_kw"][rows].astype(np.float64)
            rows, self._weight = rows[rated_kw > 0], rated_kw[rated_kw > 0]
        self.rows: Rows = rows
        self._size_w = np.full(len(rows), np.nan)
        self._looked_ns = 0

    def look(self, t_ns: int, latest: NDArray[Any], serving: Rows) -> Measured:
        """Return what is measured at an instant, with and without the batteries of some rows.

        Args:
            t_ns: The instant.
            latest: Latest records of the fleet.
            serving: Whose batteries are left out of `Measured.without_kw`.
        """
        here = latest[self.rows]
        fresh = _fresh(here, t_ns, self._fresh_ns)
        weight = np.ones(len(here)) if self._weight is None else self._weight
        coverage = float(weight[fresh].sum() / weight.sum()) if len(here) else 0.0
        oldest_s = float((t_ns - here["ts_ns"][fresh]).max(initial=0)) / 1e9 if fresh.any() else -1.0
        served_kw = served_battery_kw(latest, serving, t_ns, self._fresh_ns)
        if not fresh.any() or coverage < self._service.least_coverage_frac:
            return Measured(
                without_kw=None, with_kw=None, coverage_frac=coverage, oldest_age_s=max(oldest_s, -1.0)
            )
        others_w = here["solar_w"].astype(np.float64)
        if not self._farm or self._service.meter:
            others_w += here["load_w"]
            others_w += here["ev_w"]
        self._learn(t_ns, others_w, fresh)
        silent_w = self._silent_w(others_w, fresh, weight)
        total_kw = (float(others_w[fresh].sum()) + silent_w) / 1e3
        if self._farm:
            without_kw, with_kw = total_kw, total_kw + served_kw
        elif self._service.meter:  # the meter has all of it, the batteries too
            with_kw = total_kw + float(here["battery_w"].sum()) / 1e3
            without_kw = with_kw - served_kw
        else:
            with_kw = total_kw + float(here["battery_w"][fresh].sum()) / 1e3
            without_kw = with_kw - served_battery_kw(
                latest, np.intersect1d(serving, self.rows), t_ns, self._fresh_ns
            )
        return Measured(without_kw=without_kw, with_kw=with_kw, coverage_frac=coverage, oldest_age_s=oldest_s)

    def _learn(self, t_ns: int, others_w: NDArray[np.float64], fresh: NDArray[np.bool_]) -> None:
        """Learn how much each site moves, either way."""
        passed = max(t_ns - self._looked_ns, 0)
        self._looked_ns = t_ns
        moved_w = np.abs(others_w)
        newest = fresh & np.isnan(self._size_w)
        self._size_w[newest] = moved_w[newest]
        share = 1.0 - np.exp(-passed / _USUAL_NS)
        self._size_w[fresh] += share * (moved_w[fresh] - self._size_w[fresh])

    def _silent_w(
        self, others_w: NDArray[np.float64], fresh: NDArray[np.bool_], weight: NDArray[np.float64]
    ) -> float:
        """Return what those who are silent are reckoned with."""
        if fresh.all():
            return 0.0
        silent = ~fresh
        if self._farm:  # the sun shines on all of it
            return float(others_w[fresh].sum() / weight[fresh].sum() * weight[silent].sum())
        size_w = np.nan_to_num(self._size_w, nan=float(np.abs(others_w[fresh]).mean()))
        spoke_w = float(size_w[fresh].sum())
        ratio = float(others_w[fresh].sum()) / spoke_w if spoke_w > 0.0 else 0.0
        return float(size_w[silent].sum()) * ratio


def served_battery_kw(latest: NDArray[Any], rows: Rows, t_ns: int, fresh_ns: int) -> float:
    """Return what the batteries of some rows do, of those that were heard from lately."""
    here = latest[rows]
    return float(here["battery_w"][_fresh(here, t_ns, fresh_ns)].sum()) / 1e3


def serving_of(
    rows: Rows,
    nameplate: NDArray[Any],
    latest: NDArray[Any],
    *,
    t_ns: int,
    fresh_ns: int,
    reserve_frac: NDArray[np.float64],
) -> Serving:
    """Return the batteries of some rows seen as one; who is silent, or does not say how full it is, gives nothing.

    Args:
        rows: Whose batteries.
        nameplate: Of the fleet.
        latest: Latest records of the fleet.
        t_ns: The instant.
        fresh_ns: Who was silent for longer is not known.
        reserve_frac: What owners keep, of the fleet.
    """
    soc = latest["soc_frac"][rows].astype(np.float64)
    rows = rows[_fresh(latest[rows], t_ns, fresh_ns) & np.isfinite(soc)]
    plate, here = nameplate[rows], latest[rows]
    full_kwh = plate["energy_capacity_kwh"].astype(np.float64)
    kept_kwh = reserve_frac[rows] * full_kwh
    stored = np.clip(here["soc_frac"].astype(np.float64) * full_kwh - kept_kwh, 0.0, full_kwh - kept_kwh)
    room = full_kwh - kept_kwh - stored
    charge_frac = plate["charge_efficiency_frac"].astype(np.float64)
    discharge_frac = plate["discharge_efficiency_frac"].astype(np.float64)
    weight = full_kwh / max(float(full_kwh.sum()), 1e-9)
    return Serving(
        sites=len(rows),
        battery_kw=float(here["battery_w"].sum()) / 1e3,
        charge_kw=float(np.minimum(plate["charge_limit_kw"], room / charge_frac / _ROOM_H).sum()),
        discharge_kw=float(np.minimum(plate["discharge_limit_kw"], stored * discharge_frac / _ROOM_H).sum()),
        rated_charge_kw=float(plate["charge_limit_kw"].sum()),
        rated_discharge_kw=float(plate["discharge_limit_kw"].sum()),
        stored_kwh=float(stored.sum()),
        capacity_kwh=float((full_kwh - kept_kwh).sum()),
        charge_efficiency_frac=float((charge_frac * weight).sum()) if len(rows) else 1.0,
        discharge_efficiency_frac=float((discharge_frac * weight).sum()) if len(rows) else 1.0,
    )


def _fresh(here: NDArray[Any], t_ns: int, fresh_ns: int) -> NDArray[np.bool_]:
    fresh: NDArray[np.bool_] = (here["ts_ns"] > 0) & (t_ns - here["ts_ns"] <= fresh_ns)
    return fresh
