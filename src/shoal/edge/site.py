"""One site's agent: read, plan, decide, command, remember; again every few seconds, whatever of the rest of the world works.

A step waits for nothing but the driver, and for that not long. Nothing that fails ends the agent: a device that does not answer
turns the mode to off and the battery to nothing, a plan that fails leaves self-consumption, a disk that fails leaves memory.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from shoal.domain.errors import CorruptStateError, InvalidInputError, ShoalError
from shoal.domain.orders import OrderReport
from shoal.domain.outcome import Outcome, Rejected
from shoal.edge.drivers.protocol import Driver, Measurement, Parameters, completed
from shoal.edge.modes import Mode
from shoal.edge.planner import KeptLevels, PlantBattery, SitePlan, SitePlanner
from shoal.edge.planner_forecast import SiteForecast, forecast_state
from shoal.edge.signed import Verifier
from shoal.edge.site_config import Checked
from shoal.edge.site_meter import MeterState, SiteMeter
from shoal.edge.site_mind import Kind, SiteDecision, SiteMind
from shoal.edge.site_state import StateFile
from shoal.edge.store_forward import StoreForward

REVERT_S: Final = 60
"""After so long without a command a device goes back to its own control; decisions are safe to be held for so long."""
_DRIVER_S: Final = 8.0
_SAVE_S: Final = 300.0
_SAVE_SETPOINTS_S: Final = 60.0
_LONGEST_STEP_GAP: Final = 4

_log = structlog.get_logger(__name__)

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteStatistics:
    """What the agent has done since it started.

    Attributes:
        steps: Decisions.
        plans: Plans made.
        samples: Samples made.
        faults: What failed, by a stable word: ``read``, ``write``, ``plan``, ``state``.
        refused: Messages of the plant that were refused.
        plan_ms: How long the last plan took.
    """

    steps: int
    plans: int
    samples: int
    faults: dict[str, int]
    refused: int
    plan_ms: float


class Site:
    """The agent of one site.

    Args:
        checked: Its configuration.
        driver: Its devices.
        store: The samples that wait for the plant.
        state: Where it remembers.
        now_ns: The device's clock.
        monotonic_s: A clock that is never set.
        parameters: What the device says of itself.
    """

    def __init__(
        self,
        checked: Checked,
        driver: Driver,
        *,
        store: StoreForward,
        state: StateFile,
        now_ns: Callable[[], int],
        monotonic_s: Callable[[], float],
        parameters: Parameters | None = None,
    ) -> None:
        config = checked.config
        self.checked = checked
        self.driver = driver
        self.store = store
        self.now_ns = now_ns
        self.monotonic_s = monotonic_s
        self._state = state
        self.battery = _battery(checked, parameters or Parameters())
        limits = config.limits
        self.mind = SiteMind(
            checked.site,
            _nameplate(self.battery, config.battery.reserve_frac),
            import_limit_w=None if limits.import_kw is None else int(limits.import_kw * 1e3),
            export_limit_w=None if limits.export_kw is None else int(limits.export_kw * 1e3),
            verifier=_verifier(checked),
        )
        self.planner = SitePlanner(
            battery=self.battery,
            tariff=checked.tariff,
            zone=checked.zone,
            forecast=SiteForecast(checked.zone),
            import_limit_kw=math.inf if limits.import_kw is None else limits.import_kw,
            export_limit_kw=math.inf if limits.export_kw is None else limits.export_kw,
        )
        self.meter = SiteMeter(longest_gap_s=_LONGEST_STEP_GAP * config.times.tick_s)
        self.plan: SitePlan | None = None
        self.seen: Measurement | None = None
        self.seen_at_s: float | None = None
        self.decision: SiteDecision | None = None
        self._driver_faults: dict[str, str] = {}
        self.on_report: Callable[[OrderReport], None] = lambda report: None
        self._planned_for: tuple[Any, ...] = ()
        self._kept = KeptLevels()
        self._released = False
        self._sampled: tuple[int, float] | None = None
        self._saved_at_s = monotonic_s()
        self._count: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._restore()

    async def step(self) -> SiteDecision:
        """Read, plan, decide, command and remember, once."""
        await self._look()
        now_ns, now_s = self.now_ns(), self.monotonic_s()
        fresh = self.fresh(now_s)
        plan_w = None if fresh is None else self._planned_w(fresh, now_ns)
        decision = self.mind.decide(
            fresh,
            now_ns=now_ns,
            horizon_s=max(REVERT_S, 2.0 * self.checked.config.times.tick_s),
            hold_s=self.checked.config.times.tick_s,
            plan_w=plan_w,
        )
        self.decision = decision
        await self._command(decision)
        self._count["steps"] += 1
        self._sample(now_ns, now_s, decision.following_version)
        if decision.mode.changed:
            _log.info("mode", mode=decision.mode.mode.value, reason=decision.mode.reason)
            self.on_report(self.mind.mode_report(now_ns))
        if now_s - self._saved_at_s >= _SAVE_S:
            self.save()
        return decision

    def fresh(self, now_s: float) -> Measurement | None:
        """Return the last measurement when it is fresh enough to act on."""
        if self.seen_at_s is None or now_s - self.seen_at_s > self.checked.config.times.stale_s:
            return None
        return self.seen

    def hear(self, kind: Kind, frame: bytes) -> OrderReport:
        """Take or refuse what the plant asks.

        A document is on the disk before it is confirmed, and so is a new issuer. A set-point is not: it ends by itself,
        and one every few seconds would wear the disk out; after a power cut it may be taken a second time while its lease
        lasts, which changes nothing.
        """
        fence = self.mind.fence
        report = self.mind.hear(kind, frame, self.now_ns())
        if report.outcome == "refused":
            _log.warning("refused", kind=kind, version=report.version, reason=report.reason)
        elif kind == "orders" or self.monotonic_s() - self._saved_at_s >= _SAVE_SETPOINTS_S:
            self.save()
        if self.mind.fence != fence:
            self.save()
        return report

    def owner(self, ask: Callable[[SiteMind], Outcome | None]) -> Outcome | None:
        """Let the owner change something; it is on the disk at once, and the plant is told."""
        outcome = ask(self.mind)
        if not isinstance(outcome, Rejected):
            self.save()
            self.on_report(self.mind.mode_report(self.now_ns()))
        return outcome

    def save(self) -> None:
        """Remember everything."""
        self._saved_at_s = self.monotonic_s()
        kept = {
            "site": str(self.checked.site),
            "agent": self.mind.state(),
            "forecast": msgspec.to_builtins(self.planner.forecast.state),
            "meter": msgspec.to_builtins(self.meter.state),
        }
        if not self._state.write(kept):
            self._faults["state"] += 1
            _log.warning("state was not kept", why=self._state.fault)

    @property
    def driver_fault(self) -> str:
        """Why the devices do not answer; empty when they do."""
        return next(iter(self._driver_faults.values()), "")

    async def close(self) -> None:
        """Give the battery back, remember everything and end."""
        await self._guarded("write", self.driver.release)
        self.save()
        self.store.close()
        await self._guarded("write", self.driver.close)

    def statistics(self) -> SiteStatistics:
        """Return what was done."""
        return SiteStatistics(
            steps=self._count["steps"],
            plans=self._count["plans"],
            samples=self._count["samples"],
            faults=dict(self._faults),
            refused=self.mind.refused,
            plan_ms=0.0 if self.plan is None else 1e3 * self.plan.took_s,
        )

    async def _look(self) -> None:
        seen = await self._guarded("read", self.driver.read)
        if seen is None:
            return
        seen = _plausible(completed(seen))
        now_s = self.monotonic_s()
        self.seen, self.seen_at_s = seen, now_s
        self.meter.take(seen, int(now_s * 1e9))
        if seen.load_w is not None:
            self.planner.forecast.observe(
                self.now_ns(), load_w=float(seen.load_w), solar_w=float(seen.solar_w or 0)
            )

    def _planned_w(self, seen: Measurement, now_ns: int) -> int | None:
        """Return what the plan asks for now; a new one is made when its first interval is over or what it rests on changed."""
        soc_frac = seen.soc_frac
        if soc_frac is None or not self.battery.capacity_kwh:
            return None
        prices, reserve_frac = self.mind.prices(now_ns), self.mind.reserve_frac
        rests_on = (prices is not None, self.mind.orders_version, reserve_frac)
        plan = self.plan
        # a clock that was set back makes a plan of the future
        if plan is None or not plan.made_ns <= now_ns < plan.start_ns[1] or rests_on != self._planned_for:
            if rests_on != self._planned_for:
                self._kept = KeptLevels()
            try:
                plan = self.planner.plan(
                    now_ns,
                    soc_frac=soc_frac,
                    reserve_frac=reserve_frac,
                    prices=prices,
                    kept=self._kept,
                    ev_w=float(seen.ev_w or 0),
                )
            except InvalidInputError as error:
                self._faults["plan"] += 1
                _log.error("no plan", why=str(error))
                self.plan = None
                return None
            self.plan, self._planned_for = plan, rests_on
            self._count["plans"] += 1
        if seen.load_w is None:
            return None
        usable_kwh = self.battery.capacity_kwh * (soc_frac - reserve_frac)
        net_w = seen.load_w + (seen.ev_w or 0) + (seen.solar_w or 0)
        return plan.power_w(net_w=net_w, usable_kwh=usable_kwh, now_ns=now_ns)

    async def _command(self, decision: SiteDecision) -> None:
        """Say to the battery what was decided; one that is switched off is left to itself."""
        if decision.mode.mode is Mode.OFF and decision.mode.reason == "switched_off":
            if not self._released:
                self._released = await self._guarded("write", self._release) is not None
            return
        self._released = False
        power_w = 0 if decision.mode.mode is Mode.OFF else decision.battery_w
        await self._guarded("write", lambda: self.driver.write(power_w))

    async def _release(self) -> bool:
        await self.driver.release()
        return True

    def _sample(self, now_ns: int, now_s: float, following_version: int) -> None:
        """Make a sample when its time has come: at each multiple of the interval, and not for a clock that was set."""
        sample_s = self.checked.config.times.sample_s
        number = now_ns // int(sample_s * 1e9)
        if self._sampled is None:
            self._sampled = (number, now_s)
        before, at_s = self._sampled
        if number == before or now_s - at_s < sample_s / 2 or not self.meter.has_measured:
            return
        self._sampled = (number, now_s)
        self.store.add(self.meter.sample(now_ns, following_version))
        self._count["samples"] += 1

    async def _guarded(self, what: str, ask: Callable[[], Awaitable[R]]) -> R | None:
        """Ask the driver; whatever goes wrong is counted, told once, and None."""
        try:
            async with asyncio.timeout(_DRIVER_S):
                answer = await ask()
        except (ShoalError, OSError, TimeoutError) as error:
            why = str(error) or "no answer in time"
        except Exception as error:  # noqa: BLE001 - a driver is foreign code: it must not end the agent
            why = f"{type(error).__name__}: {error}"
        else:
            if self._driver_faults.pop(what, ""):
                _log.info("the devices answer again", doing=what)
            return answer
        self._faults[what] += 1
        if why != self._driver_faults.get(what):
            _log.warning("the devices do not answer", doing=what, why=why)
            self._driver_faults[what] = why
        return None

    def _restore(self) -> None:
        """Take over what was remembered; what does not fit is put aside, and the rest is taken."""
        try:
            kept = self._state.read()
        except CorruptStateError as error:
            self._faults["state"] += 1
            _log.error("state is lost", why=str(error))
            return
        if kept is None or kept.get("site") != self.checked.site:
            return
        for name, take in (
            ("agent", self.mind.restore),
            ("forecast", self._restore_forecast),
            ("meter", self._restore_meter),
        ):
            try:
                take(kept.get(name) or {})
            except CorruptStateError as error:
                self._faults["state"] += 1
                _log.error("state is lost", of=name, why=str(error))

    def _restore_forecast(self, kept: dict[str, Any]) -> None:
        self.planner.forecast.state = forecast_state(kept)

    def _restore_meter(self, kept: dict[str, Any]) -> None:
        try:
            state = msgspec.convert(kept, MeterState)
        except msgspec.ValidationError as error:
            raise CorruptStateError("meter state", str(error)) from error
        self.meter = SiteMeter(
            longest_gap_s=_LONGEST_STEP_GAP * self.checked.config.times.tick_s, state=state
        )


def _battery(checked: Checked, parameters: Parameters) -> PlantBattery:
    """Return the battery: as configured, with what the device itself says lower."""
    configured = checked.config.battery

    def lower(limit_kw: float, said_w: int | None) -> float:
        return limit_kw if said_w is None or said_w <= 0 else min(limit_kw, said_w / 1e3)

    return PlantBattery(
        charge_limit_kw=lower(configured.charge_limit_kw, parameters.charge_limit_w),
        discharge_limit_kw=lower(configured.discharge_limit_kw, parameters.discharge_limit_w),
        charge_efficiency_frac=configured.charge_efficiency_frac,
        discharge_efficiency_frac=configured.discharge_efficiency_frac,
        capacity_kwh=lower(configured.capacity_kwh, parameters.energy_capacity_wh),
        wear_per_kwh=configured.wear_per_kwh,
    )


def _nameplate(battery: PlantBattery, reserve_frac: float) -> NDArray[Any]:
    # the columns of the plant's NAMEPLATE that an agent needs; that table itself comes with a compiler
    values = {
        "charge_limit_kw": battery.charge_limit_kw,
        "discharge_limit_kw": battery.discharge_limit_kw,
        "energy_capacity_kwh": battery.capacity_kwh,
        "charge_efficiency_frac": battery.charge_efficiency_frac,
        "discharge_efficiency_frac": battery.discharge_efficiency_frac,
        "reserve_frac": reserve_frac,
    }
    return np.array([tuple(values.values())], dtype=[(name, "<f8") for name in values])


def _verifier(checked: Checked) -> Verifier | None:
    if checked.root_public_key is None:
        _log.warning("commands are not checked: plant.root_public_key is empty")
        return None
    return Verifier(checked.root_public_key, checked.config.plant.tenant)


def _plausible(seen: Measurement) -> Measurement:
    """Return a measurement without a state of charge that no battery has."""
    if seen.soc_frac is None or -0.001 <= seen.soc_frac <= 1.001:
        return seen
    values = {name: getattr(seen, name) for name in Measurement.__slots__}
    return Measurement(**{**values, "soc_frac": None})
