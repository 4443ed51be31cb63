"""`shoal doctor`: looks at what the plant needs of the machine and says how to mend what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json, read_settings

if TYPE_CHECKING:
    from shoal.cli.checks import Check


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="doctor", short_help="Check whether this machine can run a plant.")(doctor)


def doctor(config: ConfigFile = None, set_: SetValues = None, as_json: AsJson = False) -> None:
    """Check whether this machine can run the plant; leaves with 1 when it cannot."""
    from shoal.cli.checks import run_checks

    checks = run_checks(read_settings(config, set_))
    failed = any(check.status == "fail" for check in checks)
    if as_json:
        print_json({"ok": not failed, "checks": checks})
    else:
        print_columns([(check.status, check.name, _words(check)) for check in checks])
    if failed:
        raise typer.Exit(1)


def _words(check: Check) -> str:
    return f"{check.found}; {check.mend}" if check.mend else check.found
