"""`shoal prices`: how the last search for the prices of the fleet ended, and how old it is."""

from __future__ import annotations

import time

import typer

from shoal.cli.options import AsJson, ConfigFile, SetValues, print_json, read_settings
from shoal.domain.errors import SettingsError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="prices", short_help="How the last search for prices ended.")(prices)


def prices(config: ConfigFile = None, set_: SetValues = None, as_json: AsJson = False) -> None:
    """Print gap, rounds, who was silent, and how old the prices are that homes follow."""
    import msgspec

    from shoal.cli.roles.host import sqlite_url
    from shoal.cli.roles.prices import load_state, state_key, told_of
    from shoal.store.database import migrate, open_database
    from shoal.store.ledger import Ledger

    settings = read_settings(config, set_)
    if not settings.prices.fleet:
        raise SettingsError(field="prices.fleet", value="", fix="name the search")
    url = settings.bidding.database_url or sqlite_url(settings, "registry.db")
    migrate(url)
    state = load_state(Ledger(open_database(url)), state_key(settings.prices.fleet))
    if as_json:
        print_json(None if state is None else msgspec.to_builtins(state.status))
    elif state is None or not (state.status.at_ns or state.status.failed):
        typer.echo("nothing was searched for yet")
    else:
        told = told_of(state.status, time.time_ns())
        told |= {"silent": ", ".join(state.status.silent_sites) or "nobody"}
        typer.echo("\n".join(f"{name:<12} {value}" for name, value in told.items()))
