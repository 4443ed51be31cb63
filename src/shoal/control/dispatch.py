"""From award to set-points: the pure cycle of one resource, once a minute.

The resource's target is the awarded energy that is still missing, spread over what is left of the interval, by the
meters and not by what was asked for. So a shortfall of one minute or of one home is carried by the others in the next.
Homes that are silent get nothing to do; what they still do under their lease shows up in their meters later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.desired import DesiredState
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S, Interval
from shoal.domain.live import ResourceState
from shoal.optimise.allocation import battery_limits, split_setpoint_w

VERSION_EPOCH_NS: Final = 1_577_836_800 * NS_PER_S
"""2020-01-01: versions are seconds since then, so they grow across restarts of the controller."""

BALANCING_TIME_H: Final = 4.0
"""States of charge of a resource's sites are drawn together with this time constant."""

RESPLIT_FRAC: Final = 0.005
"""The split is kept while it meets the target to within this share."""

RESPLIT_MIN_W: Final = 500

RESTING_LEASES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class AwardNow:
    """The market interval under way and its energy, load-positive; 0 when nothing was awarded."""

    interval: Interval
    energy_wh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchOptions:
    """Settings of the cycle."""

    lease_s: float
    fresh_timeout_s: float
    issuer: str
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one cycle decided.

    Attributes:
        state: The resource in the present interval.
        commands: Fleet row and desired state for each site that is to hear something.
    """

    state: ResourceState
    commands: list[tuple[int, DesiredState]]


class Dispatcher:
    """The controller of one resource; its memory is what it asked of each site and the meters at the interval's start.

    Args:
        resource_id: For whom.
        rows: Fleet rows of its sites.
        nameplate: Their nameplates (records of `NAMEPLATE`).
        options: Settings.
    """

    def __init__(
        self, *, resource_id: str, rows: NDArray[np.int64], nameplate: NDArray[Any], options: DispatchOptions
    ) -> None:
        self.resource_id = resource_id
        self.rows = rows
        self._plate = nameplate
        self._options = options
        sites = len(rows)
        self._asked_w = np.zeros(sites, dtype=np.int64)
        self._version = np.zeros(sites, dtype=np.int64)
        self._lease_end_ns = np.zeros(sites, dtype=np.int64)
        self._sent_ns = np.zeros(sites, dtype=np.int64)
        self._start_ns = -1
        self._meter_wh = np.zeros(sites, dtype=np.int64)
        self._metered = np.zeros(sites, dtype=np.bool_)

    def state(self) -> dict[str, Any]:
        """Return what a successor needs to go on within the interval."""
        return {
            "start_ns": self._start_ns,
            "meter_wh": self._meter_wh.tolist(),
            "metered": self._metered.tolist(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over from a predecessor; ignored when it served another number of sites."""
        if len(state["meter_wh"]) == len(self.rows):
            self._start_ns = int(state["start_ns"])
            self._meter_wh = np.array(state["meter_wh"], dtype=np.int64)
            self._metered = np.array(state["metered"], dtype=np.bool_)

    def begins_interval(self, award: AwardNow) -> bool:
        """Whether the award's interval is new to this controller."""
        return award.interval.start_ns != self._start_ns

    def step(self, *, t_ns: int, step_ns: int, latest: NDArray[Any], award: AwardNow) -> Decision:
        """Decide what every site shall do from now on.

        Args:
            t_ns: The instant.
            step_ns: Time until the next cycle.
            latest: Latest records of the resource's sites.
            award: The interval under way.
        """
        seen = latest["ts_ns"] > 0
        fresh = seen & (t_ns - latest["ts_ns"] <= int(self._options.fresh_timeout_s * NS_PER_S))
        meter_wh = latest["charge_wh"] - latest["discharge_wh"]
        if self.begins_interval(award):
            self._start_ns = award.interval.start_ns
            # what a sample from before the start leaves out up to the start belongs to the interval before
            before_h = np.where(fresh, np.maximum(self._start_ns - latest["ts_ns"], 0), 0) / NS_PER_HOUR
            self._meter_wh = meter_wh + np.rint(latest["battery_w"] * before_h).astype(np.int64)
            self._metered = seen.copy()
        # a site that had not yet been seen at the interval's start counts from its first record on
        first = seen & ~self._metered
        self._meter_wh[first] = meter_wh[first]
        self._metered |= seen
        # what a fresh site has done since its latest sample is reckoned from the power that it last showed
        age_h = np.where(fresh, t_ns - latest["ts_ns"], 0) / NS_PER_HOUR
        reckoned_wh = float((latest["battery_w"] * age_h).sum())
        delivered_wh = int((meter_wh - self._meter_wh).sum()) + round(reckoned_wh)
        left_ns = max(award.interval.end_ns - t_ns, step_ns)
        missing_wh = award.energy_wh - delivered_wh
        target_w = round(missing_wh * NS_PER_HOUR / left_ns) if award.energy_wh != 0 else 0
        if award.energy_wh != 0 and (target_w > 0) != (award.energy_wh > 0):
            target_w = 0  # enough was delivered: never turn round to take it back
        asked_w, unmet_w = self._split(target_w, latest, fresh, step_ns)
        commands = self._commands(t_ns, step_ns, asked_w, latest, fresh)
        capacity_kw = np.maximum(self._plate["charge_limit_kw"], self._plate["discharge_limit_kw"])
        energy_kwh = latest["soc_frac"].astype(np.float64) * self._plate["energy_capacity_kwh"]
        state = ResourceState(
            t_ns=t_ns,
            resource_id=self.resource_id,
            start_ns=award.interval.start_ns,
            end_ns=award.interval.end_ns,
            award_wh=award.energy_wh,
            delivered_wh=delivered_wh,
            target_kw=target_w / 1e3,
            measured_kw=float(latest["battery_w"][fresh].sum()) / 1e3,
            shortfall_kw=unmet_w / 1e3,
            sites=len(self.rows),
            fresh_sites=int(fresh.sum()),
            commanded=len(commands),
            energy_kwh=float(energy_kwh[fresh].sum()),
            energy_capacity_kwh=float(self._plate["energy_capacity_kwh"][fresh].sum()),
            coverage_kw_frac=float(capacity_kw[fresh].sum() / max(capacity_kw.sum(), 1e-9)),
        )
        return Decision(state=state, commands=commands)

    def _split(
        self, target_w: int, latest: NDArray[Any], fresh: NDArray[np.bool_], step_ns: int
    ) -> tuple[NDArray[np.int64], int]:
        asked_w = np.zeros(len(self.rows), dtype=np.int64)
        if target_w == 0 or not fresh.any():
            return asked_w, target_w
        plate = self._plate[fresh]
        capacity_kwh = plate["energy_capacity_kwh"]
        energy_kwh = latest["soc_frac"][fresh].astype(np.float64) * capacity_kwh
        lower_kw, upper_kw = battery_limits(
            energy_kwh=energy_kwh,
            energy_capacity_kwh=capacity_kwh,
            reserve_kwh=plate["reserve_frac"] * capacity_kwh,
            charge_limit_kw=plate["charge_limit_kw"],
            discharge_limit_kw=plate["discharge_limit_kw"],
            charge_efficiency_frac=plate["charge_efficiency_frac"],
            discharge_efficiency_frac=plate["discharge_efficiency_frac"],
            duration_h=step_ns / NS_PER_HOUR,
        )
        lower_w = np.ceil(lower_kw * 1e3).astype(np.int64)
        upper_w = np.floor(upper_kw * 1e3).astype(np.int64)
        # nobody turns against the resource's direction
        lower_w, upper_w = (
            (lower_w, np.minimum(upper_w, 0)) if target_w < 0 else (np.maximum(lower_w, 0), upper_w)
        )
        kept = np.clip(self._asked_w[fresh], lower_w, upper_w)
        if abs(int(kept.sum()) - target_w) <= max(RESPLIT_MIN_W, abs(target_w) * RESPLIT_FRAC):
            asked_w[fresh] = kept
            return asked_w, 0
        mean_frac = float(energy_kwh.sum() / max(capacity_kwh.sum(), 1e-9))
        surplus_kwh = energy_kwh - mean_frac * capacity_kwh
        share_w = target_w * capacity_kwh / max(float(capacity_kwh.sum()), 1e-9)
        preferred_w = share_w - surplus_kwh / BALANCING_TIME_H * 1e3
        allocation = split_setpoint_w(
            target_w,
            lower_w=lower_w,
            upper_w=upper_w,
            weight=np.maximum(capacity_kwh, 1e-9),
            preferred_w=preferred_w,
        )
        asked_w[fresh] = allocation.power_w
        return asked_w, int(allocation.unmet_w)

    def _commands(
        self,
        t_ns: int,
        step_ns: int,
        asked_w: NDArray[np.int64],
        latest: NDArray[Any],
        fresh: NDArray[np.bool_],
    ) -> list[tuple[int, DesiredState]]:
        lease_ns = max(int(self._options.lease_s * NS_PER_S), 3 * step_ns)
        # standing still is asked for longer at a time: nothing can go wrong while a battery rests
        length_ns = np.where(asked_w == 0, RESTING_LEASES * lease_ns, lease_ns)
        changed = asked_w != self._asked_w
        ending = self._lease_end_ns - t_ns < length_ns // 2
        # heard nothing of it although the site has spoken since: say it again
        unheard = (latest["command_version"] != self._version) & (latest["ts_ns"] > self._sent_ns)
        speak = fresh & (changed | ending | unheard)
        # a silent site may still be following what it was told last: that is what a new word must differ from
        self._asked_w = np.where(fresh, asked_w, self._asked_w)
        version = (t_ns - VERSION_EPOCH_NS) // NS_PER_S
        self._version[speak] = version
        self._lease_end_ns[speak] = t_ns + length_ns[speak]
        self._sent_ns[speak] = t_ns
        return [
            (
                int(self.rows[index]),
                DesiredState(
                    version=int(version),
                    battery_w=int(self._asked_w[index]),
                    start_ns=t_ns,
                    end_ns=int(self._lease_end_ns[index]),
                    issuer=self._options.issuer,
                    fence=self._options.fence,
                    resource_id=self.resource_id,
                ),
            )
            for index in np.flatnonzero(speak)
        ]
