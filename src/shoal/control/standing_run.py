"""One cycle of a standing service: what its batteries are to do together now, from what is measured, stored and expected.

A peak is shaved and prepared for by `shoal.services.peak_shaving` on a load that is learned; generation is smoothed by
`shoal.services.smoothing`. When what is measured is no longer known, a service goes on for a while with what it knew, never
charging by it, and then lets go: a smoothed farm over the ramp that it is held to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

import numpy as np

from shoal.control.dispatch import RESPLIT_FRAC, RESPLIT_MIN_W
from shoal.control.standing_measure import Measured, Serving
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S, to_datetime
from shoal.services.load_profile import LoadProfile, Place
from shoal.services.peak_shaving import ShavingBattery, shave_step
from shoal.services.smoothing import SmoothingBattery, SmoothingRules, smooth_step
from shoal.store.standing import StandingService

AHEAD_NS: Final = 24 * NS_PER_HOUR
STEP_NS: Final = 5 * NS_PER_MINUTE
LET_GO_NS: Final = 30 * NS_PER_MINUTE
"""Batteries that nothing is asked of any more are let go after so long, so that they do not come and go."""
SPARE_FRAC: Final = 0.1
"""Of the usable energy must be stored beyond what is needed before they are let go."""
SOON_NS: Final = 4 * NS_PER_HOUR
NEAR_FRAC: Final = 0.8
"""Of the level: from here on a peak is near, whatever is expected."""
LEAST_FRAC: Final = 0.002
"""Of the batteries' power: less is nothing."""
_MOST_TRIM: Final = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """What a cycle rests on.

    Attributes:
        t_ns: The instant.
        since_s: Time since the cycle before.
        measured: What is held.
        serving: The batteries.
        counts: Whether the limit counts now.
    """

    t_ns: int
    since_s: float
    measured: Measured
    serving: Serving
    counts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the batteries are to do together.

    Attributes:
        power_kw: Charging positive; None lets them go.
        why: A stable word: ``shaving``, ``charging``, ``holding``, ``smoothing``, ``free``, ``blind``, ``fading``, ``empty``.
        level_kw: What is held below, or the power that is to leave a farm; None when nothing is.
        can_hold: Whether the limit can be held by what is expected.
        needed_kwh: What must be stored for that.
        spare_kwh: What is stored beyond it.
    """

    power_kw: float | None
    why: str
    level_kw: float | None = None
    can_hold: bool = True
    needed_kwh: float = 0.0
    spare_kwh: float = 0.0


FREE: Final = Wish(power_kw=None, why="free")


class Runner(Protocol):
    """One kind of service."""

    def step(self, now: Now) -> Wish:
        """Return what the batteries are to do now."""
        ...

    def told(self, power_kw: float) -> None:
        """Take what they were really asked for."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what a successor needs."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned.

        Raises:
            CorruptStateError: when it is not that.
        """
        ...


def runner_of(service: StandingService, *, highest_kw: float) -> Runner:
    """Return what runs a service; `highest_kw` is what its generators are rated for."""
    if service.kind == "peak_shaving":
        return PeakRunner(service)
    return SmoothingRunner(service, highest_kw=service.highest_kw or highest_kw)


class PeakRunner:
    """Holds a feeder below its target.

    Args:
        service: What is asked.
    """

    def __init__(self, service: StandingService) -> None:
        self._service = service
        self._zone = ZoneInfo(service.zone)
        self.profile = LoadProfile(self._place_of)
        self._known_ns = 0
        self._acted_ns = 0
        self._serves = False
        self._last_kw = 0.0
        self._asked_kw = 0.0
        self._before_kw = 0.0
        self._trim = 1.0

    def step(self, now: Now) -> Wish:
        """Return what the batteries are to do now."""
        load_kw, serving = now.measured.without_kw, now.serving
        if load_kw is None:
            return self._blind(now)
        self.profile.observe(now.t_ns - round(now.since_s * NS_PER_S), now.t_ns, load_kw)
        self._known_ns = now.t_ns
        if not serving.sites or serving.capacity_kwh <= 0.0:
            self._last_kw = 0.0
            return Wish(power_kw=None, why="empty", can_hold=False)
        self._learn_trim(serving.battery_kw)
        level_kw = self._service.target_kw * (1.0 - self._service.margin_frac)
        steps = AHEAD_NS // STEP_NS
        ahead = self.profile.expect(now.t_ns, step_ns=STEP_NS, steps=steps, load_kw=load_kw)
        begins_ns = now.t_ns + STEP_NS * np.arange(1, steps + 1)
        counts = np.array([self._service.counts_at(int(t_ns)) for t_ns in begins_ns])
        if not (now.counts or counts.any()):
            return self._let_go(now, FREE)
        # where the target does not count nothing is taken off, and charging stays below it all the same
        likely = np.where(counts, ahead.likely_kw, np.minimum(ahead.likely_kw, level_kw))
        high = np.where(counts, ahead.high_kw, np.minimum(ahead.high_kw, level_kw))
        # what the batteries are too weak for needs no energy of theirs
        high = np.minimum(high, level_kw + serving.rated_discharge_kw)
        soon = counts[: SOON_NS // STEP_NS]
        known = ahead.known[: len(soon)][soon]
        is_near = now.counts and load_kw > NEAR_FRAC * level_kw
        is_near |= bool((high[: len(soon)] > level_kw).any())
        # what no forecast shows is kept for where a peak is near, or nobody can know that it is not
        keep_frac = max(self._service.keep_frac * is_near, float((~known).mean()) if len(known) else 0.0)
        battery = ShavingBattery(
            charge_limit_kw=serving.rated_charge_kw,
            discharge_limit_kw=serving.rated_discharge_kw,
            energy_capacity_kwh=serving.capacity_kwh,
            charge_efficiency_frac=serving.charge_efficiency_frac,
            discharge_efficiency_frac=serving.discharge_efficiency_frac,
        )
        done = shave_step(
            load_kw=load_kw if now.counts else min(load_kw, level_kw),
            forecast_kw=high,
            likely_kw=likely,
            stored_kwh=serving.stored_kwh,
            target_kw=level_kw,
            step_h=STEP_NS / NS_PER_HOUR,
            battery=battery,
            keep_kwh=keep_frac * serving.capacity_kwh,
        )
        least_kw = LEAST_FRAC * max(serving.rated_charge_kw, serving.rated_discharge_kw, 1.0)
        power_kw = min(max(done.battery_kw, -serving.discharge_kw), serving.charge_kw)
        power_kw = power_kw if abs(power_kw) >= least_kw else 0.0
        wish = Wish(
            power_kw=power_kw * (self._trim if power_kw < 0.0 else 1.0),
            why="shaving" if power_kw < 0.0 else "charging" if power_kw > 0.0 else "holding",
            level_kw=done.held_kw,
            can_hold=done.can_hold,
            needed_kwh=min(done.needed_kwh, serving.capacity_kwh),
            spare_kwh=done.spare_kwh,
        )
        # what homes take off by themselves while they are free may be enough
        by_itself = not self._serves and power_kw < 0.0 and (now.measured.with_kw or 0.0) <= level_kw
        wanted_kwh = max(done.needed_kwh, keep_frac * serving.capacity_kwh)
        if (power_kw != 0.0 and not by_itself) or done.spare_kwh <= 0.0 < wanted_kwh:
            self._serves, self._acted_ns = True, now.t_ns
        elif done.spare_kwh >= SPARE_FRAC * serving.capacity_kwh or wanted_kwh == 0.0 or not self._serves:
            return self._let_go(now, wish)
        self._last_kw = wish.power_kw or 0.0
        return wish

    def told(self, power_kw: float) -> None:
        """Take what they were really asked for."""
        self._before_kw, self._asked_kw = self._asked_kw, power_kw

    def state(self) -> dict[str, Any]:
        """Return what a successor needs."""
        return {
            "profile": self.profile.state(),
            "known_ns": self._known_ns,
            "acted_ns": self._acted_ns,
            "serves": self._serves,
            "last_kw": self._last_kw,
            "trim": self._trim,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned."""
        self.profile.restore(state["profile"])
        self._known_ns, self._acted_ns = int(state["known_ns"]), int(state["acted_ns"])
        self._last_kw, self._trim = float(state["last_kw"]), float(state["trim"])
        self._serves = bool(state["serves"])

    def _let_go(self, now: Now, wish: Wish) -> Wish:
        """Hold batteries of which nothing is needed for a while longer, then let them go."""
        self._last_kw = 0.0
        self._serves = self._serves and now.t_ns - self._acted_ns < LET_GO_NS
        if self._serves:
            return replace(wish, power_kw=0.0, why="holding")
        return replace(wish, power_kw=None, why="free")

    def _blind(self, now: Now) -> Wish:
        """Go on discharging as before for a while; charging by a load that is not known could make the peak."""
        if now.t_ns - self._known_ns <= int(self._service.bridge_s * NS_PER_S) and self._last_kw < 0.0:
            return Wish(power_kw=self._last_kw, why="blind", can_hold=False)
        self._last_kw = 0.0
        return Wish(power_kw=None, why="blind", can_hold=False)

    def _learn_trim(self, battery_kw: float) -> None:
        """Learn how much of what is steadily asked for is given, so that what is missing is asked for on top."""
        asked_kw = self._asked_kw
        steady = asked_kw < 0.0 and abs(asked_kw - self._before_kw) <= 0.1 * abs(asked_kw)
        if steady and battery_kw < 0.0:
            self._trim += 0.2 * (min(max(asked_kw / battery_kw, 1.0), _MOST_TRIM) - self._trim)

    def _place_of(self, t_ns: int) -> Place:
        local = to_datetime(t_ns, self._zone)
        return int(local.weekday() >= 5), (local.hour * 60 + local.minute) // 15


class SmoothingRunner:
    """Holds a farm and its batteries to a ramp.

    Args:
        service: What is asked.
        highest_kw: Most that the generators can give.
    """

    def __init__(self, service: StandingService, *, highest_kw: float) -> None:
        self._service = service
        self._rules = SmoothingRules(
            ramp_kw_per_min=service.ramp_kw_per_min, highest_kw=max(highest_kw, 1e-3)
        )
        self._known_ns = 0
        self._generation_kw = 0.0
        self._output_kw: float | None = None
        self._power_kw: float | None = None

    def step(self, now: Now) -> Wish:
        """Return what the batteries are to do now."""
        serving = now.serving
        known = now.measured.without_kw is not None
        if now.measured.without_kw is not None:
            # a long silence is no ramp: it begins again from what is there
            if now.t_ns - self._known_ns > 2 * max(int(self._service.bridge_s * NS_PER_S), NS_PER_MINUTE):
                self._output_kw = None
            self._generation_kw, self._known_ns = -now.measured.without_kw, now.t_ns
        bridges = now.t_ns - self._known_ns <= int(self._service.bridge_s * NS_PER_S)
        if not (now.counts and bridges and serving.sites and serving.capacity_kwh > 0.0):
            return self._fade(now, known=known)
        output_kw = self._output_kw
        if output_kw is None:
            output_kw = self._generation_kw - serving.battery_kw
        done = smooth_step(
            generation_kw=self._generation_kw,
            output_before_kw=output_kw,
            stored_kwh=serving.stored_kwh,
            step_s=now.since_s,
            battery=SmoothingBattery(
                charge_limit_kw=serving.charge_kw,
                discharge_limit_kw=serving.discharge_kw,
                energy_capacity_kwh=serving.capacity_kwh,
                charge_efficiency_frac=serving.charge_efficiency_frac,
                discharge_efficiency_frac=serving.discharge_efficiency_frac,
            ),
            rules=self._rules,
        )
        self._power_kw, self._output_kw = done.battery_kw, done.output_kw
        return Wish(
            power_kw=done.battery_kw,
            why="smoothing" if known else "blind",
            level_kw=done.output_kw,
            can_hold=done.beyond_kw == 0.0,
        )

    def told(self, power_kw: float) -> None:
        """Take what they were really asked for: where that is something else, the next step goes on from there.

        A split that is a little off is kept; a plan of small steps must not stand still for it.
        """
        if self._power_kw is None:
            return
        margin_kw = max(RESPLIT_MIN_W / 1e3, RESPLIT_FRAC * abs(self._power_kw)) * 1.1
        if abs(power_kw - self._power_kw) > margin_kw:
            self._power_kw = power_kw
            self._output_kw = None if self._output_kw is None else self._generation_kw - power_kw

    def state(self) -> dict[str, Any]:
        """Return what a successor needs."""
        return {
            "known_ns": self._known_ns,
            "generation_kw": self._generation_kw,
            "output_kw": self._output_kw,
            "power_kw": self._power_kw,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned."""
        self._known_ns, self._generation_kw = int(state["known_ns"]), float(state["generation_kw"])
        self._output_kw, self._power_kw = (
            None if state[name] is None else float(state[name]) for name in ("output_kw", "power_kw")
        )

    def _fade(self, now: Now, *, known: bool) -> Wish:
        """Go back to nothing over the ramp that the farm is held to, then let the batteries go."""
        before_kw = self._power_kw or 0.0
        most_kw = self._service.ramp_kw_per_min * now.since_s / 60.0
        self._output_kw = None
        if abs(before_kw) <= most_kw or not now.serving.sites:
            self._power_kw = None
            return Wish(power_kw=None, why="free" if known else "blind", can_hold=known)
        self._power_kw = before_kw - most_kw if before_kw > 0.0 else before_kw + most_kw
        return Wish(power_kw=self._power_kw, why="fading", can_hold=known)
