"""What events and storms need to know of the sites at an instant, from the latest records and what is installed.

A record is as old as it is: energy and meter go on with the power that was last shown, so a decision in between two samples
does not take what happened since for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoal.control.emergency_plan import SitesNow, Whole
from shoal.control.storm import StormSites
from shoal.domain.interval import NS_PER_HOUR


def sites_now(
    nameplate: NDArray[Any],
    latest: NDArray[Any],
    *,
    t_ns: int,
    fresh_ns: int,
    reserve_frac: NDArray[np.float64],
    available: NDArray[np.bool_],
    cycle_left_wh: Whole | None = None,
) -> SitesNow:
    """Return what N sites can do in an event.

    No sun is expected that has not come: what charging from it brings is counted when it is in the battery.

    Args:
        nameplate: Records of `shoal.domain.fleet.NAMEPLATE`.
        latest: Latest records of `shoal.domain.telemetry.TELEMETRY`; `ts_ns` is 0 where there is none.
        t_ns: The instant.
        fresh_ns: Who was silent for longer is not known.
        reserve_frac: What owners keep.
        available: Whether each may be used.
        cycle_left_wh: What may still be discharged today; None for no limit.
    """
    known, energy_wh, since_wh = _moved_on(nameplate, latest, t_ns, fresh_ns)
    capacity_wh = nameplate["energy_capacity_kwh"] * 1e3
    efficiency = nameplate["discharge_efficiency_frac"].astype(np.float64)
    reserve_wh = reserve_frac * capacity_wh
    if cycle_left_wh is not None:
        reserve_wh = np.maximum(reserve_wh, energy_wh - cycle_left_wh / efficiency)
    zeros = np.zeros(len(nameplate))
    discharge_w = _whole(nameplate["discharge_limit_kw"] * 1e3)
    return SitesNow(
        energy_wh=energy_wh,
        reserve_wh=reserve_wh,
        capacity_wh=capacity_wh,
        discharge_w=discharge_w,
        charge_w=_whole(nameplate["charge_limit_kw"] * 1e3),
        discharge_efficiency_frac=efficiency,
        metered_wh=latest["charge_wh"] - latest["discharge_wh"] + np.rint(since_wh).astype(np.int64),
        known=known,
        available=available,
        solar_wh=zeros,
        solar_low_wh=zeros,
        most_export_w=discharge_w,
    )


def own_load_w(latest: NDArray[Any]) -> Whole:
    """Return what a battery can take off each site's meter without feeding in, never negative."""
    others_w = latest["load_w"].astype(np.int64) + latest["solar_w"] + latest["ev_w"]
    load_w: Whole = np.maximum(others_w, 0)
    return load_w


def storm_sites(
    site_ids: Sequence[str],
    nameplate: NDArray[Any],
    latest: NDArray[Any],
    *,
    t_ns: int,
    fresh_ns: int,
    reserve_frac: NDArray[np.float64],
    mode: Sequence[str],
) -> StormSites:
    """Return what N sites are to a storm; see `sites_now`."""
    _, energy_wh, _ = _moved_on(nameplate, latest, t_ns, fresh_ns)
    return StormSites(
        site_ids=site_ids,
        reserve_frac=reserve_frac,
        mode=mode,
        charge_w=_whole(nameplate["charge_limit_kw"] * 1e3),
        capacity_wh=nameplate["energy_capacity_kwh"] * 1e3,
        energy_wh=energy_wh,
    )


def _moved_on(
    nameplate: NDArray[Any], latest: NDArray[Any], t_ns: int, fresh_ns: int
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Return who is known, the energy in each battery, and what its terminals took in since its record."""
    capacity_wh = nameplate["energy_capacity_kwh"] * 1e3
    soc = latest["soc_frac"].astype(np.float64)
    age_ns = t_ns - latest["ts_ns"]
    known = (latest["ts_ns"] > 0) & (age_ns <= fresh_ns) & np.isfinite(soc) & (capacity_wh > 0)
    since_wh = np.where(known, latest["battery_w"] * (np.maximum(age_ns, 0) / NS_PER_HOUR), 0.0)
    stored_wh = np.where(
        since_wh > 0,
        since_wh * nameplate["charge_efficiency_frac"],
        since_wh / nameplate["discharge_efficiency_frac"],
    )
    energy_wh = np.clip(np.where(known, soc, 0.0) * capacity_wh + stored_wh, 0.0, capacity_wh)
    return known, energy_wh, since_wh


def _whole(power_w: NDArray[np.float64]) -> Whole:
    return np.floor(power_w + 1e-6).astype(np.int64)
