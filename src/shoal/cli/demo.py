"""`shoal demo`: a whole plant and a simulated world around it, on real prices, in one command.

Every part runs as its own process under one supervisor, as in production; only the homes and the market are simulated.
Time is moved by a conductor: as fast as every stage keeps up, or paced to a chosen speed.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from shoal.cli.plant import START_TIMEOUT_S, free_ports, start_role, write_roles
from shoal.domain.clock import Stage
from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S, Interval

if TYPE_CHECKING:
    from shoal.cli.stories.story import Act, Story
    from shoal.domain.fleet import Fleet
    from shoal.runtime.conductor import Conductor
    from shoal.runtime.settings import Settings
    from shoal.runtime.supervisor import Supervisor

LEAD_STEP_S: Final = 900
STEP_S: Final = 60
MARKER: Final = "demo.json"
_OWN: Final = ("fabric", "history", "twins", "market", "run", "logs")
_OWN_FILES: Final = ("registry.db", "workflows.db")
REGULATION: Final = {"signal": Stage.WORLD, "regulation": Stage.ACT}
"""Who takes part as well when a resource follows a market's signal."""
PARTICIPANTS: Final = {
    "homes": Stage.WORLD,
    "market": Stage.WORLD,
    "telemetry": Stage.MEASURE,
    "history": Stage.MEASURE,
    "bidding": Stage.DECIDE,
    "control": Stage.ACT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is: told after every step."""

    t_ns: int
    done_frac: float
    wall_s: float
    phase: str


@dataclass(kw_only=True)
class Demo:
    """One run.

    Args:
        settings: The plant's settings; `demo` holds the run.
        page: Whether the API and the page run too.
        on_progress: Told after every step, with the supervisor of the processes.
        on_page: Told the page's address when it is up.
        hold: Keep the plant and its page up after the last step until cancelled.
        hurry_s: How much of the run passes as fast as it can, before the pace that is set begins.
        on_report: Told the report as soon as it is made.
        story: What happens in the run beside its markets; it is judged in the report.
        on_act: Told what happens in the story, when it does.
    """

    settings: Settings
    page: bool
    on_progress: Callable[[Progress, Supervisor], None] | None = None
    on_page: Callable[[str], None] | None = None
    on_report: Callable[[dict[str, Any]], None] | None = None
    story: Story | None = None
    on_act: Callable[[str], None] | None = None
    hold: bool = False
    hurry_s: int = 0
    _began_s: float = field(default_factory=time.monotonic)

    async def run(self) -> dict[str, Any]:
        """Run from the lead-in to the last step and return the report.

        Raises:
            UnavailableError: when a process does not come up, or another plant uses the directory.
        """
        from shoal.runtime.lock import InstanceLock

        data_dir = self.settings.data_dir
        with ExitStack() as stack:
            stack.enter_context(InstanceLock(data_dir))
            _clear_previous(data_dir)
            token = secrets.token_urlsafe(24)
            from shoal.cli.roles.homes import register_fleet
            from shoal.runtime.conductor import Conductor

            regulated = bool(self.settings.regulation.resource)
            participants = {**PARTICIPANTS, **(REGULATION if regulated else {})}
            conductor = Conductor(participants=participants, token=token, on_stall=_tell_stall)
            host, port = await conductor.start()
            settings = _resolved(self._fitted(), clock=f"stepped://{host}:{port}", token=token)
            settings_file = data_dir / "run" / "settings.json"
            settings.save(settings_file)
            fleet = await asyncio.to_thread(register_fleet, settings)
            return await self._supervised(settings, settings_file, conductor, fleet)

    def _fitted(self) -> Settings:
        """Return the settings with what the story makes of the fleet put in, but for what a person has set."""
        if self.story is None:
            return self.settings
        from shoal.cli.roles.homes import planned_fleet

        fitted = self.story.fits(planned_fleet(self.settings))
        # a story's own settings count as set by a person, too: only what nobody named is fitted
        missing = {name: value for name, value in fitted.items() if name not in self.settings.sources}
        return self.settings.with_values(missing, "story")

    async def _supervised(
        self, settings: Settings, settings_file: Path, conductor: Conductor, fleet: Fleet
    ) -> dict[str, Any]:
        from shoal.cli.report import Run, make_report
        from shoal.cli.role import PLANT_ROLES, WORLD_ROLES
        from shoal.cli.roles.homes import run_bounds_ns
        from shoal.runtime.supervisor import Supervisor

        data_dir = settings.data_dir
        lead_ns, gate_ns, start_ns, end_ns = run_bounds_ns(settings)
        span = Interval(start_ns=start_ns, end_ns=end_ns)
        script = Script(self.story, settings=settings, fleet=fleet, span=span, on_act=self.on_act)
        roles = [r for r in (*PLANT_ROLES, *WORLD_ROLES) if self.page or r != "api"]
        roles += REGULATION if settings.regulation.resource else ()

        def changed(_: object) -> None:
            write_roles(data_dir, supervisor, time.time_ns() // 1_000_000)

        async with Supervisor(run_dir=data_dir / "run", on_change=changed) as supervisor:
            for role in roles:
                start_role(supervisor, role, data_dir=data_dir, settings_file=settings_file)
            await supervisor.wait_ready(timeout_s=START_TIMEOUT_S)
            if self.on_page and self.page:
                self.on_page(f"http://{settings.api.host}:{settings.api.port}/")
            await conductor.wait_joined()
            await self._move_time(conductor, supervisor, script, lead_ns, gate_ns, start_ns, end_ns)
            report = await asyncio.to_thread(
                make_report,
                Run(
                    fleet=fleet,
                    span=span,
                    settings=settings,
                    wall_s=time.monotonic() - self._began_s,
                    peak_rss_bytes=supervisor.peak_rss_bytes() + _own_peak_rss_bytes(),
                    restarts={s.role: s.restarts for s in supervisor.states()},
                    stage_wall_s=conductor.stage_wall_s,
                ),
                conductor.accounts,
            )
            report |= await asyncio.to_thread(script.judged, report, conductor.accounts)
            if self.on_report:
                self.on_report(report)
            if self.hold:
                await asyncio.Event().wait()
            supervisor.expect_exit()
            await conductor.stop()
        return report

    async def _move_time(
        self,
        conductor: Conductor,
        supervisor: Supervisor,
        script: Script,
        lead_ns: int,
        gate_ns: int,
        start_ns: int,
        end_ns: int,
    ) -> None:
        from shoal.runtime.clock import ScaledClock

        speed = self.settings.demo.speed
        pace: ScaledClock | None = None
        paced_ns = start_ns + self.hurry_s * NS_PER_S
        carried: dict[str, int] = {}
        instants = _instants(lead_ns, gate_ns, start_ns, end_ns, step_s=self.settings.demo.step_s)
        for index, t_ns in enumerate(instants):
            if speed > 0 and t_ns >= paced_ns:
                pace = pace or ScaledClock(origin_ns=t_ns, speed=speed)
                await pace.sleep_until(t_ns)
            await script.play(t_ns)
            next_ns = instants[index + 1] if index + 1 < len(instants) else t_ns + STEP_S * NS_PER_S
            # who acts every minute has a minute before it, however short the steps of others are
            step_s = max((next_ns - t_ns) // NS_PER_S, STEP_S)
            counted = await conductor.step(t_ns, {**carried, "step_s": step_s})
            carried = _on_its_way(counted)
            if self.on_progress:
                phase = "lead-in" if t_ns < start_ns else "run"
                done = max(t_ns - start_ns, 0) / (end_ns - start_ns)
                wall_s = time.monotonic() - self._began_s
                self.on_progress(Progress(t_ns=t_ns, done_frac=done, wall_s=wall_s, phase=phase), supervisor)
        await conductor.step(instants[-1], {**carried, "step_s": STEP_S, "draining": 1, "closing": 1})


class Script:
    """A story on its way through a run: its acts when they are due, and its verdicts at the end."""

    def __init__(
        self,
        story: Story | None,
        *,
        settings: Settings,
        fleet: Fleet,
        span: Interval,
        on_act: Callable[[str], None] | None,
    ) -> None:
        from shoal.cli.stories.story import Scene

        self._story = story
        self._scene = Scene(settings=settings, fleet=fleet, span=span)
        acts = story.acts(self._scene) if story is not None else ()
        self._left: list[Act] = sorted(acts, key=lambda act: act.at_ns)
        self._done: dict[str, Any] = {}
        self._on_act = on_act

    async def play(self, t_ns: int) -> None:
        """Do what is due at an instant."""
        while self._left and self._left[0].at_ns <= t_ns:
            act = self._left.pop(0)
            if self._on_act:
                self._on_act(act.what)
            self._done[act.what] = await asyncio.to_thread(act.do)

    def judged(self, report: dict[str, Any], accounts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Return what the report says of the story: nothing when there was none."""
        from shoal.cli.stories.story import Ending, judged

        if self._story is None:
            return {}
        ending = Ending(scene=self._scene, report=report, accounts=accounts, acts=self._done)
        return {"story": judged(self._story, ending)}


def _on_its_way(counted: Mapping[str, int]) -> dict[str, int]:
    """Return what was sent to sites in a step: messages to one each, and broadcasts to every device."""
    sent = sum(counted.get(f"{name}_sent", 0) for name in ("desired", "durable", "armings"))
    return {"downlink_sent": sent, "broadcasts_sent": counted.get("broadcasts_sent", 0)}


def _instants(lead_ns: int, gate_ns: int, start_ns: int, end_ns: int, *, step_s: int = STEP_S) -> list[int]:
    """Return the instants of a run: coarse steps before it begins, finer around its first gate, then one each `step_s`.

    Raises:
        InvalidInputError: when the steps do not come out at whole minutes.
    """
    if STEP_S % step_s:
        raise InvalidInputError(field="demo.step_s", value=step_s, fix="give a part of a minute, such as 2")
    first = range(lead_ns, gate_ns + 1, LEAD_STEP_S * NS_PER_S)
    coarse = range(gate_ns + NS_PER_HOUR, start_ns, NS_PER_HOUR)
    fine = range(start_ns, end_ns + 1, step_s * NS_PER_S)
    return [*first, *coarse, *fine]


def _resolved(settings: Settings, *, clock: str, token: str) -> Settings:
    """Return the settings of the processes: every port chosen, every secret made."""
    free = iter(free_ports(6))
    listeners = ("client_port", "mqtt_port", "websocket_port", "monitor_port")
    # a demonstration never stands in another plant's way: only a port that somebody chose is kept
    chosen = {
        f"fabric.{name}": settings.value(f"fabric.{name}") if f"fabric.{name}" in settings.sources else 0
        for name in listeners
    }
    return settings.with_values(
        {
            "data_dir": settings.data_dir.absolute(),
            **{name: port or next(free) for name, port in chosen.items()},
            "bidding.market_url": settings.bidding.market_url or f"http://127.0.0.1:{next(free)}",
            "bidding.market_token": settings.bidding.market_token or secrets.token_urlsafe(24),
            "api.port": settings.api.port or next(free),
            # a run that can be stepped is not in a hurry to recover
            "telemetry.checkpoint_every_s": settings.telemetry.checkpoint_every_s
            if "telemetry.checkpoint_every_s" in settings.sources
            else float(NS_PER_HOUR // NS_PER_S),
            "clock.source": clock,
            "clock.token": token,
        },
        "demo",
    )


def _clear_previous(data_dir: Path) -> None:
    """Remove what an earlier demonstration left in the directory; refuse a directory that is not one's.

    Raises:
        InvalidInputError: when the directory holds a plant that no demonstration made.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    left = [name for name in (*_OWN, *_OWN_FILES) if (data_dir / name).exists()]
    if left and not (data_dir / MARKER).exists():
        raise InvalidInputError(
            field="data_dir",
            value=str(data_dir),
            fix=f"it holds a plant's {', '.join(left)}; choose another directory",
        )
    (data_dir / MARKER).write_text(
        '{"what": "data of shoal demo; a new run begins afresh"}\n', encoding="utf-8"
    )
    for name in _OWN:
        shutil.rmtree(data_dir / name, ignore_errors=True)
    for name in _OWN_FILES:
        for path in data_dir.glob(f"{name}*"):
            path.unlink()


def _tell_stall(names: list[str], waited_s: float) -> None:
    import structlog

    structlog.get_logger(__name__).warning("waiting", stages=names, waited_s=round(waited_s))


def _own_peak_rss_bytes() -> int:
    from shoal.runtime.process import peak_rss_bytes

    return peak_rss_bytes(os.getpid())


def run_headless(
    *,
    sites: int,
    from_day: date,
    duration_s: int,
    seed: int,
    data_dir: Path,
    speed: float | None,
    on_progress: Callable[[Progress, Supervisor], None] | None = None,
) -> dict[str, Any]:
    """Run a demonstration without the page and return its report; `speed` None is as fast as possible."""
    from shoal.runtime.settings import load_settings

    settings = load_settings(
        file=None,
        flags={
            "data_dir": str(data_dir),
            "demo.sites": sites,
            "demo.from_day": from_day.isoformat(),
            "demo.duration_s": duration_s,
            "demo.seed": seed,
            "demo.speed": speed or 0.0,
        },
    )
    demo = Demo(settings=settings, page=False, on_progress=on_progress)
    return asyncio.run(interruptible(demo))


async def interruptible(demo: Demo) -> dict[str, Any]:
    """Run until done or told to stop by a signal; stopping ends every process."""
    task = asyncio.ensure_future(demo.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
