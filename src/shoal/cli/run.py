"""The commands that run things: `shoal demo`, `shoal up`, `shoal sim homes`, `shoal sim market`, `shoal sim load`."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from shoal.cli.options import AsJson, ConfigFile, SetValues, print_json, read_settings
from shoal.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from shoal.cli.demo import Progress
    from shoal.cli.stories.story import Story
    from shoal.runtime.supervisor import Supervisor

DEFAULT_SPEED: Final = "720"
DEFAULT_DATA_DIR: Final = Path(".shoal/demo")
_SPAN: Final = re.compile(r"^(\d+(?:\.\d+)?)\s*(m|min|h|d)$")
_SECONDS: Final = {"m": 60, "min": 60, "h": 3_600, "d": 86_400}

sim = typer.Typer(help="Run a part of the simulated world against a plant.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="demo", short_help="Run a whole plant on real prices, with its page.")(demo)
    app.command(name="up", short_help="Run the roles of a plant until Ctrl-C.")(up)
    app.add_typer(sim, name="sim")


def seconds(text: str) -> int:
    """Return a span such as ``3d``, ``12h`` or ``90m`` in whole seconds.

    Raises:
        InvalidInputError: when it is none.
    """
    found = _SPAN.match(text.strip())
    if found is None:
        raise InvalidInputError(field="--for", value=text, fix="give a number and m, h or d, e.g. 3d")
    return round(float(found[1]) * _SECONDS[found[2]])


def demo(
    sites: Annotated[int | None, typer.Option("--sites", help="Number of homes.")] = None,
    speed: Annotated[
        str, typer.Option("--speed", help="Plant time per wall time, or 'max'.", metavar="X|max")
    ] = DEFAULT_SPEED,
    from_day: Annotated[
        str | None, typer.Option("--from", help="First day, local to the market.", metavar="DATE")
    ] = None,
    span: Annotated[
        str | None,
        typer.Option(
            "--for", help="How long, e.g. 3d, 12h, 90m. 3d, or what the story takes.", metavar="DURATION"
        ),
    ] = None,
    headless: Annotated[bool, typer.Option("--headless", help="No page; end after the last step.")] = False,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write the report as JSON.", metavar="FILE")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="The same seed gives the same run.")] = None,
    data_dir: Annotated[
        Path, typer.Option("--data-dir", help="Where the plant keeps its data.")
    ] = DEFAULT_DATA_DIR,
    port: Annotated[int | None, typer.Option("--port", help="Port of the page; 0 takes a free one.")] = None,
    scenario: Annotated[
        str | None,
        typer.Option(
            "--scenario", help="A story, judged by checks of its own; 'list' tells them.", metavar="NAME"
        ),
    ] = None,
    config: ConfigFile = None,
    assignments: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Run a whole virtual power plant on real prices: homes, market, bids, dispatch, money.

    With --scenario something happens to it: a storm, an emergency, a utility's peak. The report then holds the story's
    checks, and the exit code is 1 when one of them failed.
    """
    from shoal.cli.stories.catalogue import STORIES, story

    if scenario == "list":
        _print_stories(STORIES, as_json=as_json)
        return
    told = None if scenario is None else story(scenario)
    settings = read_settings(
        config,
        [
            *(f"{name}={value}" for name, value in (told.settings if told else {}).items()),
            *(assignments or ()),
        ],
        demo__sites=sites,
        demo__from_day=from_day,
        demo__duration_s=None if span is None else seconds(span),
        demo__speed=_speed(speed),
        demo__seed=seed,
        data_dir=str(data_dir),
        api__port=port,
    )
    from shoal.cli.demo import Demo, interruptible
    from shoal.runtime.log import configure_logging

    configure_logging(settings.log, role="demo")
    with _Watch(quiet=as_json) as watch:

        def done(result: dict[str, Any]) -> None:
            watch.finish()
            if report is not None:
                import msgspec

                report.parent.mkdir(parents=True, exist_ok=True)
                report.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
            if as_json:
                print_json(result)
            else:
                _print_summary(result, report)
            if not headless:
                watch.say("The run is over; the page stays up until Ctrl-C.")

        if told is not None and not as_json:
            watch.say(f"{told.title}. {told.tells}")
        result = asyncio.run(
            interruptible(
                Demo(
                    settings=settings,
                    page=not headless,
                    hold=not headless,
                    on_progress=watch.step,
                    on_page=lambda url: watch.say(f"The page: {url}"),
                    on_report=done,
                    story=told,
                    on_act=watch.say,
                )
            )
        )
    if not result.get("story", {"passed": True})["passed"]:
        raise typer.Exit(1)


def _speed(text: str) -> float:
    if text == "max":
        return 0.0
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise InvalidInputError(field="--speed", value=text, fix="give a positive number, or 'max'")
    return value


def up(
    roles: Annotated[
        str, typer.Option("--roles", help="Roles to run here, comma-separated, or 'all'.", metavar="LIST")
    ] = "all",
    shards: Annotated[
        str | None,
        typer.Option(
            "--shards", help="Shards that may be owned here, such as 0-31; all without it.", metavar="RANGES"
        ),
    ] = None,
    processes: Annotated[
        int | None, typer.Option("--processes", help="How many processes share the telemetry role here.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Where the plant keeps its data.")
    ] = None,
    config: ConfigFile = None,
    assignments: SetValues = None,
) -> None:
    """Run roles of a plant under supervision until Ctrl-C.

    Roles are fabric, telemetry, history, control, regulation, prices, bidding, feeds and api.

    Several machines, or several times on one, share the telemetry and the history of one plant: each part has one owner
    at a time, and another takes over when it is gone. They need the same keys and settings, and fabric.url.
    """
    from shoal.cli.plant import run_roles
    from shoal.cli.role import OPTIONAL_ROLES, PLANT_ROLES
    from shoal.runtime.log import configure_logging

    chosen = (
        list(PLANT_ROLES) if roles == "all" else [name.strip() for name in roles.split(",") if name.strip()]
    )
    for name in chosen:
        if name not in (*PLANT_ROLES, *OPTIONAL_ROLES):
            known = ", ".join((*PLANT_ROLES, *OPTIONAL_ROLES))
            raise InvalidInputError(field="--roles", value=name, fix=f"choose among {known}, or all")
    settings = read_settings(
        config,
        assignments,
        data_dir=None if data_dir is None else str(data_dir),
        telemetry__own=shards,
        telemetry__processes=processes,
    )
    if roles == "all" and settings.feeds.names:
        chosen.append("feeds")
    if roles == "all" and settings.regulation.resource:
        chosen.append("regulation")
    if roles == "all" and settings.prices.fleet:
        chosen.append("prices")
    configure_logging(settings.log, role="up")
    asyncio.run(run_roles(settings, chosen))


@sim.command(name="homes", short_help="Register a simulated fleet and run its homes.")
def sim_homes(
    sites: Annotated[int | None, typer.Option("--sites", help="Number of homes.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="The same seed gives the same homes.")] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="The plant's data directory.")] = None,
    config: ConfigFile = None,
    assignments: SetValues = None,
) -> None:
    """Register a simulated fleet with a plant and run its homes against it until Ctrl-C."""
    _simulate("homes", config, assignments, sites=sites, seed=seed, data_dir=data_dir)


@sim.command(name="market", short_help="Run the simulated day-ahead market.")
def sim_market(
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="The plant's data directory.")] = None,
    config: ConfigFile = None,
    assignments: SetValues = None,
) -> None:
    """Run the simulated day-ahead market on real prices until Ctrl-C."""
    _simulate("market", config, assignments, sites=None, seed=None, data_dir=data_dir)


@sim.command(name="regulation", short_help="Send a regulation signal to a plant.")
def sim_regulation(
    resource: Annotated[str | None, typer.Option("--resource", help="Whose signal.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Parquet with a recorded signal; made up without it.")
    ] = None,
    column: Annotated[str, typer.Option("--column", help="Its column.")] = "value",
    seed: Annotated[int, typer.Option("--seed", help="The same seed makes up the same signal.")] = 1,
    span: Annotated[str, typer.Option("--for", help="How long, e.g. 10m, 2h.", metavar="DURATION")] = "30m",
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="The plant's data directory.")] = None,
    config: ConfigFile = None,
    assignments: SetValues = None,
) -> None:
    """Send a market's regulation signal to a plant, as an adapter of a market would."""
    from shoal.cli.signal import send_signal
    from shoal.runtime.log import configure_logging
    from shoal.simulate.signal import recorded_signal, synthetic_signal

    settings = read_settings(
        config,
        assignments,
        data_dir=None if data_dir is None else str(data_dir),
        regulation__resource=resource,
    )
    if not settings.regulation.resource:
        raise InvalidInputError(field="--resource", value="", fix="name a resource, such as vpp-1")
    configure_logging(settings.log, role="sim-regulation")
    values = synthetic_signal(seed) if file is None else recorded_signal(file, column)
    typer.echo(f"{send_signal(settings, values, duration_s=seconds(span)):,} signals sent")


@sim.command(name="load", short_help="Load a plant with the telemetry of a synthetic fleet.")
def sim_load(
    sites: Annotated[int, typer.Option("--sites", help="Number of sites, at least.")] = 10_000,
    rate: Annotated[float, typer.Option("--rate", help="Samples a second, all sites together.")] = 10_000.0,
    samples: Annotated[int, typer.Option("--samples", help="Samples in a message.")] = 1,
    gateways: Annotated[
        int, typer.Option("--gateways", help="Connections for all sites; 0 gives each site its own.")
    ] = 64,
    transport: Annotated[str, typer.Option("--transport", help="nats or mqtt.")] = "nats",
    span: Annotated[str, typer.Option("--for", help="How long, e.g. 10m, 2h.", metavar="DURATION")] = "1m",
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="The plant's data directory.")] = None,
    config: ConfigFile = None,
    assignments: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Register a synthetic fleet with a plant and load it with telemetry at a fixed pace."""
    from dataclasses import asdict

    from shoal.cli.load import run_load
    from shoal.runtime.log import configure_logging
    from shoal.simulate.load_fleet import Transport

    if transport not in set(Transport):
        raise InvalidInputError(field="--transport", value=transport, fix="give nats or mqtt")
    settings = read_settings(config, assignments, data_dir=None if data_dir is None else str(data_dir))
    configure_logging(settings.log, role="sim-load")
    shape = {
        "sites": sites,
        "samples_per_message": samples,
        "gateways": min(gateways, sites),
        "transport": Transport(transport),
        "probes": 0,
    }
    sent = asdict(run_load(settings, shape, rate_per_s=rate, duration_s=seconds(span)))
    if as_json:
        print_json(sent)
    else:
        typer.echo(", ".join(f"{name} {value:,.6g}" for name, value in sent.items()))


def _simulate(
    role: str,
    config: Path | None,
    assignments: list[str] | None,
    *,
    sites: int | None,
    seed: int | None,
    data_dir: Path | None,
) -> None:
    from shoal.cli.plant import run_roles
    from shoal.runtime.log import configure_logging

    settings = read_settings(
        config,
        assignments,
        demo__sites=sites,
        demo__seed=seed,
        data_dir=None if data_dir is None else str(data_dir),
    )
    configure_logging(settings.log, role=f"sim-{role}")
    asyncio.run(run_roles(settings, [role]))


def _print_stories(stories: Sequence[Story], *, as_json: bool) -> None:
    if as_json:
        print_json([{"name": one.name, "title": one.title, "tells": one.tells} for one in stories])
        return
    for one in stories:
        typer.echo(f"{one.name:<12} {one.title}. {one.tells}")


def _print_summary(result: dict[str, Any], report: Path | None) -> None:
    share = result["delivered_share"]
    lines = [
        f"{result['sites']} sites, {result['sim_hours']:g} h in {result['wall_s']:.1f} s",
        f"samples sent {result['samples_sent']}, lost {result['samples_lost']}, repeated {result['duplicates_dropped']}",
        f"gates {result['gates_total']}, missed {result['gates_missed']}, rungs {result['rungs']}",
        f"awarded {result['award_mwh']:.1f} MWh, delivered {'-' if share is None else f'{100 * share:.2f} %'}",
        f"earned {result['revenue']:,.2f} {result['currency']} of {result['revenue_perfect_foresight']:,.2f} possible",
        f"violations: lease {result['lease_violations']}, reserve {result['reserve_violations']}",
        f"errors: energy {result['energy_balance_error_kwh']:g} kWh, money {result['money_balance_error']:g}",
    ]
    if "story" in result:
        checks = result["story"]["checks"]
        lines += [
            f"{'ok    ' if c['passed'] else 'FAILED'} {c['name']}: {c['found']}, wanted {c['wanted']}"
            for c in checks
        ]
    if report is not None:
        lines.append(f"report: {report}")
    for line in lines:
        typer.echo(line)


class _Watch:
    """Progress for people: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Bar | None = None
        self._task: Any = None
        self._told_s = 0.0

    def __enter__(self) -> _Watch:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task("starting", total=1.0)
        elif not self._quiet:
            typer.echo("starting the plant", err=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def say(self, text: str) -> None:
        if not self._quiet:
            (self._bar.console.print if self._bar is not None else lambda t: typer.echo(t, err=True))(text)

    def step(self, progress: Progress, _supervisor: Supervisor) -> None:
        from shoal.domain.interval import iso

        text = f"{iso(progress.t_ns)[:16]} {progress.phase}"
        if self._bar is not None:
            self._bar.update(self._task, completed=progress.done_frac, description=text)
        elif not self._quiet and time.monotonic() - self._told_s > 10:
            self._told_s = time.monotonic()
            typer.echo(f"{text} {100 * progress.done_frac:.0f} %", err=True)
