"""The command `shoal`: registers the commands and turns every foreseen fault into one clear line.

A `ShoalError` ends the program with code 2 and its text on standard error, as JSON when ``--json`` was asked
for. A traceback is seen for a bug only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

import shoal
from shoal.cli import (
    alarms,
    backtest,
    baseline,
    bench,
    command,
    command_charging,
    config,
    desk,
    doctor,
    event,
    feeds,
    fleet,
    forecast,
    forecast_study,
    history,
    knowledge,
    limit,
    microgrid,
    parameters,
    prices,
    program,
    replay,
    service,
    shadow,
    twin,
    user,
)
from shoal.cli import run as running
from shoal.domain.errors import InvalidInputError, ShoalError

app = typer.Typer(
    name="shoal",
    help="Shoal, an open virtual power plant.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
running.register(app)
prices.register(app)
doctor.register(app)
bench.register(app)
feeds.register(app)
knowledge.register(app)
forecast.register(app)
forecast_study.add_to(forecast.app)
backtest.register(app)
desk.register(app)
command_charging.register(command.app)
command.register(app)
limit.register(app)
replay.register(app)
shadow.register(app)
app.add_typer(config.app, name="config")
app.add_typer(program.app, name="program")
app.add_typer(parameters.app, name="parameters")
app.add_typer(baseline.app, name="baseline")
app.add_typer(event.app, name="event")
app.add_typer(service.app, name="service")
microgrid.register(running.sim)
app.add_typer(fleet.app, name="fleet")
app.add_typer(twin.app, name="twin")
app.add_typer(alarms.app, name="alarms")
app.add_typer(history.app, name="history")
app.add_typer(user.app, name="user")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"shoal {shoal.__version__}")
        raise typer.Exit


@app.command(
    name="edge",
    short_help="Run the agent of one site.",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def edge(context: typer.Context) -> None:
    """Run the agent of one site; `shoal edge --help` tells more."""
    from shoal.cli.edge import main

    raise typer.Exit(main(context.args))


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Shoal, an open virtual power plant."""


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code: 0 well, 1 a check failed, 2 a fault, 130 interrupted.

    Args:
        arguments: What follows the program's name; the process's own when None.
    """
    if arguments is None:
        try:
            run(sys.argv[1:])
        except SystemExit as leaving:
            leave(leaving)
    given = list(arguments or ())
    as_json = "--json" in given
    try:
        sys.exit(app(given, prog_name="shoal", standalone_mode=not as_json))
    except ShoalError as error:
        _tell(error, str(error), as_json=as_json)
        sys.exit(2)
    except TyperException as error:  # wrong usage; without --json typer has told it already
        _tell(error, error.format_message(), as_json=as_json)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)


def leave(leaving: SystemExit) -> NoReturn:
    """End the process at once: everything is closed, and taking compiled code apart would take a second or two.

    Raises:
        SystemExit: as it is given when its code is a message.
    """
    if not isinstance(leaving.code, int | None):
        raise leaving
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(leaving.code or 0)


def _tell(error: Exception, detail: str, *, as_json: bool) -> None:
    if not as_json:
        typer.echo(f"shoal: {detail}", err=True)
        return
    import msgspec

    name = type(error).__name__ if isinstance(error, ShoalError) else "UsageError"
    content: dict[str, object] = {"error": name, "detail": detail}
    if isinstance(error, InvalidInputError):
        content |= {"field": error.field, "value": str(error.value), "fix": error.fix}
    typer.echo(msgspec.json.encode(content).decode(), err=True)


if __name__ == "__main__":
    run()
