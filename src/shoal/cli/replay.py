"""`shoal replay`: past decisions made again from what was known then, one of them or all of a span."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from shoal.cli.cycle_stores import load_strategies, open_stores, parse_instant
from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json

if TYPE_CHECKING:
    from shoal.bidding.cycle.replay import Replayed

_INSTANT: Final = "Like 2026-05-04T16:00:00-05:00"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(short_help="Decide a past bid again and compare.")(replay)


def replay(
    bid: Annotated[
        str | None, typer.Argument(metavar="[BID]", help="The key of a bid, or the id of a decision.")
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="INSTANT", help=f"{_INSTANT}: all whose gates close from then on."),
    ] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="INSTANT", help="Until then; else now.")] = None,
    resource: Annotated[
        str | None, typer.Option("--resource", metavar="RESOURCE", help="Only of this one.")
    ] = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Decide a past bid again from what was known then, and say whether every byte is the same.

    Leaves with 1 when something differs or cannot be decided again here.
    """
    if (bid is None) == (from_ is None):
        raise typer.BadParameter("name a bid, or give a span with --from")
    if bid is None:
        _audit(from_ or "", to, resource, config, set_, as_json=as_json)
    else:
        _one(bid, config, set_, as_json=as_json)


def _one(name: str, config: Path | None, set_: list[str] | None, *, as_json: bool) -> None:
    from shoal.bidding.cycle.replay import replay as decide_again

    load_strategies()
    stores = open_stores(config, set_)
    found = decide_again(stores.cycles, stores.facts, name)
    if as_json:
        print_json(found)
    else:
        _print(found)
    if found.verdict != "same":
        raise typer.Exit(1)


def _audit(
    from_: str,
    to: str | None,
    resource: str | None,
    config: Path | None,
    set_: list[str] | None,
    *,
    as_json: bool,
) -> None:
    import time

    from shoal.bidding.cycle.replay import replay_all

    load_strategies()
    from_ns = parse_instant("--from", from_)
    to_ns = time.time_ns() if to is None else parse_instant("--to", to)
    stores = open_stores(config, set_)
    audit = replay_all(stores.cycles, stores.facts, from_ns=from_ns, to_ns=to_ns, resource_id=resource)
    if as_json:
        print_json(audit)
    else:
        for one in audit.not_the_same:
            _print(one)
        typer.echo(
            f"{audit.decisions:,} decisions: {audit.same:,} the same, {audit.different:,} different, "
            f"{audit.refused:,} that cannot be decided again here"
        )
    if audit.same != audit.decisions:
        raise typer.Exit(1)


def _print(found: Replayed) -> None:
    from shoal.domain.interval import iso

    who = f"{found.strategy} {found.strategy_version} on rung {found.rung}"
    about = f"{found.decision_id}, decided by {who} as of {iso(found.as_of_ns)}"
    if found.verdict == "same":
        typer.echo(f"same: {about}")
        return
    if found.verdict == "refused":
        typer.echo(f"refused: {about}\n  {found.reason}")
        return
    typer.echo(f"different: {about}")
    print_columns(
        [(f"  {one.what}", one.where, f"{one.recorded} -> {one.replayed}") for one in found.differences]
    )
