"""From a promise to set-points: the pure cycle of one dispatch, once a minute.

The target is the promised energy that is still missing, spread over what is left of the interval, by the meters and not
by what was asked for. So a shortfall of one minute or of one home is carried by the others in the next. Homes that are
silent get nothing to do; what they still do under their lease shows up in their meters later. A site that serves another
dispatch or an event for a while counts for this one neither in what is asked nor in what was delivered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.control.grid_room import GridRoom
from shoal.control.leases import RELEASE_RAMP_S, LeaseBook
from shoal.control.rebound import gentle, spread_ends_ns
from shoal.control.verify import Responders
from shoal.domain.desired import DesiredState
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S, Interval
from shoal.domain.live import ResourceState
from shoal.optimise.allocation import battery_limits, split_setpoint_w
from shoal.optimise.splittable import splittable_kw

RESPLIT_FRAC: Final = 0.005
"""The split is kept while it meets the target to within this share."""

RESPLIT_MIN_W: Final = 500
RESPLIT_LIMITED_W: Final = 50
"""The least of that where groups hold something back: what is there is to be used."""

RESTING_LEASES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class AwardNow:
    """The interval under way and its energy, load-positive, and what is to come, which has to stay possible.

    Attributes:
        interval: The interval.
        energy_wh: What was promised in it; 0 when nothing was.
        most_charge_w: The most that is to be taken in any interval to come, as far as it is known, >= 0.
        most_discharge_w: The most that is to be given, >= 0.
        charge_wh: What is to be taken in all of them, this one included, >= 0; what the interval asks for is known anyway.
        discharge_wh: What is to be given in all of them, >= 0.
    """

    interval: Interval
    energy_wh: int
    most_charge_w: int = 0
    most_discharge_w: int = 0
    charge_wh: int = 0
    discharge_wh: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchOptions:
    """Settings of the cycle.

    Attributes:
        lease_s: How long a set-point holds without being renewed.
        fresh_timeout_s: Who was silent for longer gets nothing to do.
        issuer: Who sends.
        fence: Its token.
        slope_kw_per_min: How fast the sum of a dispatch may change; a step that is larger becomes a ramp of each site.
        slope_frac_per_min: The same as a share of the rated power of its sites; a single site may always step.
        stagger_frac: Leases end spread over this share of their length, so that sites which lose the plant do not all
            step at once.
    """

    lease_s: float
    fresh_timeout_s: float
    issuer: str
    fence: int
    slope_kw_per_min: float = math.inf
    slope_frac_per_min: float = math.inf
    stagger_frac: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one cycle decided.

    Attributes:
        state: The dispatch in the present interval.
        commands: Fleet row and desired state for each site that is to hear something.
    """

    state: ResourceState
    commands: list[tuple[int, DesiredState]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Target:
    """What is wanted of a dispatch now.

    Attributes:
        award: The interval under way.
        target_w: Power of all sites together from now on, load-positive.
        delivered_wh: What was delivered since the interval began.
        fresh: Which of its sites were heard from lately.
        able: Which of them can be asked: fresh, this dispatch's own, and counted on.
        begins: Whether the interval is new to this controller.
    """

    award: AwardNow
    target_w: int
    delivered_wh: int
    fresh: NDArray[np.bool_]
    able: NDArray[np.bool_]
    begins: bool = False


class Dispatcher:
    """The controller of one dispatch: a resource's award, or a set-point that was ordered.

    Its memory is what it asked of each site and the meters at the interval's start.

    Args:
        resource_id: For whom.
        rows: Fleet rows of its sites.
        nameplate: Their nameplates (records of `NAMEPLATE`).
        options: Settings.
        leases: Leases of the whole fleet; of its own sites alone when None.
        number: Names it in `leases`.
        program: Whose it is.
    """

    def __init__(
        self,
        *,
        resource_id: str,
        rows: NDArray[np.int64],
        nameplate: NDArray[Any],
        options: DispatchOptions,
        leases: LeaseBook | None = None,
        number: int = 0,
        program: str = "",
    ) -> None:
        self.resource_id = resource_id
        self.rows = rows
        self.program = program
        self.number = number
        self.plate = nameplate
        self._options = options
        self._leases = leases or LeaseBook(int(rows.max(initial=-1)) + 1)
        sites = len(rows)
        self.responders = Responders(sites)
        self._start_ns = -1
        self._meter_wh = np.zeros(sites, dtype=np.int64)
        self._last_wh = np.zeros(sites, dtype=np.int64)
        self._was_seen = np.zeros(sites, dtype=np.bool_)
        self._metered = np.zeros(sites, dtype=np.bool_)

    @property
    def claim_id(self) -> str:
        """Under which name it claims power."""
        return f"dispatch:{self.resource_id}"

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

    def succeed(self, former: Dispatcher) -> None:
        """Take over from one that had other sites: those of both go on, new ones count from their first record on."""
        self._start_ns = former._start_ns
        both, here, there = np.intersect1d(self.rows, former.rows, assume_unique=True, return_indices=True)
        if len(both):
            for name in ("_meter_wh", "_last_wh", "_metered", "_was_seen"):
                getattr(self, name)[here] = getattr(former, name)[there]

    def begins_interval(self, award: AwardNow) -> bool:
        """Whether the award's interval is new to this controller."""
        return award.interval.start_ns != self._start_ns

    def step(self, *, t_ns: int, step_ns: int, latest: NDArray[Any], award: AwardNow) -> Decision:
        """Decide what every site shall do from now on, with the batteries' own limits alone.

        Args:
            t_ns: The instant.
            step_ns: Time until the next cycle.
            latest: Latest records of the dispatch's sites.
            award: The interval under way.
        """
        target = self.aim(t_ns=t_ns, step_ns=step_ns, latest=latest, award=award)
        lower_w, upper_w = self._battery_limits(latest[target.able], target.able, step_ns)
        power_w = np.zeros(len(self.rows), dtype=np.int64)
        if target.target_w and target.able.any():
            power_w[target.able] = self.split_w(
                target,
                latest["soc_frac"][target.able],
                lower_w=lower_w,
                upper_w=upper_w,
                places=np.flatnonzero(target.able),
            )
        return self.command(target, power_w, t_ns=t_ns, step_ns=step_ns, latest=latest)

    def aim(
        self,
        *,
        t_ns: int,
        step_ns: int,
        latest: NDArray[Any],
        award: AwardNow,
        held: NDArray[np.bool_] | None = None,
    ) -> Target:
        """Return what is wanted of the dispatch now, by its sites' meters.

        Args:
            t_ns: The instant.
            step_ns: Time until the next cycle.
            latest: Latest records of its sites.
            award: The interval under way.
            held: Which of its sites serve somebody else now, or nobody.
        """
        own = np.ones(len(self.rows), dtype=np.bool_) if held is None else ~held
        seen = latest["ts_ns"] > 0
        fresh = seen & (t_ns - latest["ts_ns"] <= int(self._options.fresh_timeout_s * NS_PER_S))
        meter_wh = latest["charge_wh"] - latest["discharge_wh"]
        begins = self.begins_interval(award)
        if begins:
            self._start_ns = award.interval.start_ns
            # what a sample from before the start leaves out up to the start belongs to the interval before
            before_h = np.where(fresh, np.maximum(self._start_ns - latest["ts_ns"], 0), 0) / NS_PER_HOUR
            self._meter_wh = meter_wh + np.rint(latest["battery_w"] * before_h).astype(np.int64)
            self._metered = seen.copy()
        # a site that had not yet been seen at the interval's start counts from its first record on
        first = seen & ~self._metered
        self._meter_wh[first] = meter_wh[first]
        self._metered |= seen
        # what a site does for somebody else is none of this dispatch's
        others = ~own & self._was_seen
        self._meter_wh[others] += (meter_wh - self._last_wh)[others]
        self._last_wh, self._was_seen = meter_wh, seen
        # what a fresh site has done since its latest sample is reckoned from the power that it last showed
        age_h = np.where(fresh & own, t_ns - latest["ts_ns"], 0) / NS_PER_HOUR
        reckoned_wh = float((latest["battery_w"] * age_h).sum())
        delivered_wh = int((meter_wh - self._meter_wh).sum()) + round(reckoned_wh)
        left_ns = max(award.interval.end_ns - t_ns, step_ns)
        missing_wh = award.energy_wh - delivered_wh
        target_w = round(missing_wh * NS_PER_HOUR / left_ns) if award.energy_wh != 0 else 0
        if award.energy_wh != 0 and (target_w > 0) != (award.energy_wh > 0):
            target_w = 0  # enough was delivered: never turn round to take it back
        self.responders.observe(
            t_ns=t_ns,
            latest=latest,
            asked_w=self._leases.least_w[self.rows],
            asked_since_ns=self._leases.since_ns[self.rows],
            following=self._is_own() & (latest["command_version"] == self._leases.version[self.rows]),
        )
        return Target(
            award=award,
            target_w=target_w,
            delivered_wh=delivered_wh,
            fresh=fresh,
            able=fresh & own & self.responders.counted_on(t_ns),
            begins=begins,
        )

    def split_w(
        self,
        target: Target,
        soc_frac: NDArray[Any],
        *,
        lower_w: NDArray[np.int64],
        upper_w: NDArray[np.int64],
        places: NDArray[np.int64],
        room: GridRoom | None = None,
        fairness: NDArray[np.float64] | None = None,
        kept_wh: NDArray[np.int64] | None = None,
    ) -> NDArray[np.int64]:
        """Return the power of each of M sites, within its limits, that adds up to the target as far as it can.

        Args:
            target: What is wanted.
            soc_frac: State of charge of each (M).
            lower_w: Lowest power of each (M).
            upper_w: Highest power of each (M).
            places: Their positions among the dispatch's sites (M).
            room: What groups above the sites can carry; they carry anything when None.
            fairness: How much of a discharge each site is to carry for each kWh that it holds, relative to the others
                (M); the same when None.
            kept_wh: What of its stored energy each keeps for its owner, as it would come out (M); the nameplate's reserve
                when None.
        """
        # nobody turns against the dispatch's direction
        lower_w, upper_w = (
            (lower_w, np.minimum(upper_w, 0)) if target.target_w < 0 else (np.maximum(lower_w, 0), upper_w)
        )
        told_w = self._leases.asked_w[self.rows[places]]
        kept = np.clip(np.where(self._is_own()[places], told_w, 0), lower_w, upper_w)
        near_w = max(RESPLIT_MIN_W, abs(target.target_w) * RESPLIT_FRAC)
        rows = self.rows[places]
        kept_fits = room is None or room.fits(rows, kept)
        if kept_fits and abs(int(kept.sum()) - target.target_w) <= near_w:
            return kept
        capacity_kwh = self.plate["energy_capacity_kwh"][places]
        energy_kwh = soc_frac.astype(np.float64) * capacity_kwh
        # who gave most lately carries less of a discharge; charging evens out by itself, for they are the fuller ones
        fair = capacity_kwh if fairness is None or target.target_w > 0 else capacity_kwh * fairness
        weight = np.maximum(fair, 1e-9)
        award, plate = target.award, self.plate[places]
        reserve_kwh = plate["reserve_frac"] * capacity_kwh
        if kept_wh is not None:
            reserve_kwh = kept_wh / 1e3 / plate["discharge_efficiency_frac"]
        still_wh = award.charge_wh if target.target_w > 0 else award.discharge_wh
        preferred_w = 1e3 * splittable_kw(
            target.target_w / 1e3,
            most_charge_kw=award.most_charge_w / 1e3,
            most_discharge_kw=award.most_discharge_w / 1e3,
            energy_kwh=energy_kwh,
            energy_capacity_kwh=capacity_kwh,
            reserve_kwh=reserve_kwh,
            charge_limit_kw=plate["charge_limit_kw"],
            discharge_limit_kw=plate["discharge_limit_kw"],
            charge_efficiency_frac=plate["charge_efficiency_frac"],
            discharge_efficiency_frac=plate["discharge_efficiency_frac"],
            fairness=None if target.target_w > 0 else fairness,
            still_kwh=max(still_wh, abs(award.energy_wh)) / 1e3,
        )
        split_w = split_setpoint_w(
            target.target_w, lower_w=lower_w, upper_w=upper_w, weight=weight, preferred_w=preferred_w
        ).power_w
        if room is None or room.fits(rows, split_w):
            return split_w
        within_w = room.split(
            self.claim_id,
            target.target_w,
            rows=rows,
            lower_w=lower_w,
            upper_w=upper_w,
            weight=weight,
            preferred_w=preferred_w,
        )
        # what was told does as well: nobody need be told anew
        same_w = max(RESPLIT_LIMITED_W, abs(int(within_w.sum())) * RESPLIT_FRAC)
        return kept if kept_fits and abs(int(kept.sum()) - int(within_w.sum())) <= same_w else within_w

    def command(
        self,
        target: Target,
        power_w: NDArray[np.int64],
        *,
        t_ns: int,
        step_ns: int,
        latest: NDArray[Any],
        held: NDArray[np.bool_] | None = None,
        until_ns: NDArray[np.int64] | None = None,
    ) -> Decision:
        """Return who is to be told what, and how the dispatch stands.

        Args:
            target: What was wanted.
            power_w: What each site is to do (N).
            t_ns: The instant.
            step_ns: Time until the next cycle.
            latest: Latest records of its sites.
            held: Which of its sites serve somebody else now, or nobody.
            until_ns: No lease is to reach beyond this (N).
        """
        own = np.ones(len(self.rows), dtype=np.bool_) if held is None else ~held
        commands = self._commands(t_ns, step_ns, power_w, latest, target.fresh & own, until_ns)
        fresh, award = target.fresh, target.award
        kept = abs(int(power_w.sum()) - target.target_w) <= max(
            RESPLIT_MIN_W, abs(target.target_w) * RESPLIT_FRAC
        )
        unmet_w = 0 if kept and power_w.any() else target.target_w - int(power_w.sum())
        capacity_kw = np.maximum(self.plate["charge_limit_kw"], self.plate["discharge_limit_kw"])
        energy_kwh = latest["soc_frac"].astype(np.float64) * self.plate["energy_capacity_kwh"]
        state = ResourceState(
            t_ns=t_ns,
            resource_id=self.resource_id,
            start_ns=award.interval.start_ns,
            end_ns=award.interval.end_ns,
            award_wh=award.energy_wh,
            delivered_wh=target.delivered_wh,
            target_kw=target.target_w / 1e3,
            measured_kw=float(latest["battery_w"][fresh].sum()) / 1e3,
            shortfall_kw=unmet_w / 1e3,
            sites=len(self.rows),
            fresh_sites=int(fresh.sum()),
            commanded=len(commands),
            energy_kwh=float(energy_kwh[fresh].sum()),
            energy_capacity_kwh=float(self.plate["energy_capacity_kwh"][fresh].sum()),
            coverage_kw_frac=float(capacity_kw[fresh].sum() / max(capacity_kw.sum(), 1e-9)),
        )
        return Decision(state=state, commands=commands)

    def take_back(
        self, places: NDArray[np.int64], t_ns: int, *, at_once: bool = False
    ) -> list[tuple[int, DesiredState]]:
        """Return short leases in place of those that some of its sites still have, and give the sites up.

        Args:
            places: Positions among the dispatch's sites.
            t_ns: The instant.
            at_once: Let them rest meanwhile, rather than go on as they were told.
        """
        rows = self.rows[places]
        own = rows[self._leases.owner[rows] == self.number]
        taken = self._leases.take_back(own, t_ns, at_once=at_once)
        return self._desired(taken, t_ns, 0.0 if at_once else RELEASE_RAMP_S)

    def repeat(self, rows: NDArray[np.int64], t_ns: int) -> list[tuple[int, DesiredState]]:
        """Return once more what some rows were told, under a later version; those of others are left out."""
        own = rows[self._leases.owner[rows] == self.number]
        self._leases.tell_again(own, t_ns)
        return self._desired(own, t_ns)

    def _is_own(self) -> NDArray[np.bool_]:
        own: NDArray[np.bool_] = self._leases.owner[self.rows] == self.number
        return own

    def _battery_limits(
        self, latest: NDArray[Any], able: NDArray[np.bool_], step_ns: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        plate = self.plate[able]
        capacity_kwh = plate["energy_capacity_kwh"]
        lower_kw, upper_kw = battery_limits(
            energy_kwh=latest["soc_frac"].astype(np.float64) * capacity_kwh,
            energy_capacity_kwh=capacity_kwh,
            reserve_kwh=plate["reserve_frac"] * capacity_kwh,
            charge_limit_kw=plate["charge_limit_kw"],
            discharge_limit_kw=plate["discharge_limit_kw"],
            charge_efficiency_frac=plate["charge_efficiency_frac"],
            discharge_efficiency_frac=plate["discharge_efficiency_frac"],
            duration_h=step_ns / NS_PER_HOUR,
        )
        return np.ceil(lower_kw * 1e3).astype(np.int64), np.floor(upper_kw * 1e3).astype(np.int64)

    def _commands(
        self,
        t_ns: int,
        step_ns: int,
        wanted_w: NDArray[np.int64],
        latest: NDArray[Any],
        tellable: NDArray[np.bool_],
        until_ns: NDArray[np.int64] | None,
    ) -> list[tuple[int, DesiredState]]:
        lease_ns = max(int(self._options.lease_s * NS_PER_S), 3 * step_ns)
        # standing still is asked for longer at a time: nothing can go wrong while a battery rests
        length_ns = np.where(wanted_w == 0, RESTING_LEASES * lease_ns, lease_ns)
        if until_ns is not None:
            length_ns = np.minimum(length_ns, until_ns - t_ns)
        due = self._leases.due(
            self.rows, t_ns, owner=self.number, wanted_w=wanted_w, length_ns=length_ns, latest=latest
        )
        told = np.flatnonzero(tellable & due & (length_ns > 0))
        rows = self.rows[told]
        stagger_ns = (length_ns[told] * self._options.stagger_frac).astype(np.int64)
        end_ns = spread_ends_ns(t_ns + length_ns[told], rows, stagger_ns)
        # what they do now, as far as it is known, and what they are to do
        step_w = int((wanted_w[told] - latest["battery_w"][told]).sum())
        ramp_s = gentle(step_w / 1e3, limit_kw_per_min=self._slope_kw_per_min()).ramp_s
        self._leases.tell(rows, t_ns, owner=self.number, wanted_w=wanted_w[told], end_ns=end_ns)
        return self._desired(rows, t_ns, ramp_s)

    def _slope_kw_per_min(self) -> float:
        """Return how fast the sum of the sites may change."""
        if len(self.rows) < 2:
            return self._options.slope_kw_per_min
        rated_kw = float(np.maximum(self.plate["charge_limit_kw"], self.plate["discharge_limit_kw"]).sum())
        own = self._options.slope_frac_per_min * rated_kw if rated_kw else math.inf
        return min(self._options.slope_kw_per_min, own)

    def _desired(
        self, rows: NDArray[np.int64], t_ns: int, ramp_s: float = 0.0
    ) -> list[tuple[int, DesiredState]]:
        return desired_of(
            self._leases,
            rows,
            t_ns,
            self._options,
            resource_id=self.resource_id,
            program=self.program,
            ramp_s=ramp_s,
        )


def desired_of(
    leases: LeaseBook,
    rows: NDArray[np.int64],
    t_ns: int,
    options: DispatchOptions,
    *,
    resource_id: str = "",
    program: str = "",
    ramp_s: float = 0.0,
) -> list[tuple[int, DesiredState]]:
    """Return what some rows were told last, as messages that leave now."""
    return [
        (
            row,
            DesiredState(
                version=version,
                battery_w=battery_w,
                start_ns=t_ns,
                end_ns=end_ns,
                issuer=options.issuer,
                fence=options.fence,
                resource_id=resource_id,
                program=program,
                ramp_s=ramp_s,
            ),
        )
        for row, version, battery_w, end_ns in zip(
            rows.tolist(),
            leases.version[rows].tolist(),
            leases.asked_w[rows].tolist(),
            leases.end_ns[rows].tolist(),
            strict=True,
        )
    ]
