"""`shoal shadow score`: what strategies that only watch would have earned beside the live one."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from shoal.cli.cycle_stores import open_stores, parse_instant
from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json

app = typer.Typer(
    help="Compare strategies that only watch with the live one.", no_args_is_help=True, rich_markup_mode=None
)

_INSTANT: Final = "Like 2026-05-04T16:00:00-05:00"
_EVER_NS: Final = 2**62
"""Prices as they stand after every correction, whatever the plant's clock."""


def register(app_: typer.Typer) -> None:
    """Add the command."""
    app_.add_typer(app, name="shadow")


@app.callback()
def root() -> None:
    """Compare strategies that only watch with the live one."""


@app.command()
def score(
    resource: Annotated[str, typer.Option("--resource", metavar="RESOURCE", help="Whose decisions.")],
    from_: Annotated[
        str, typer.Option("--from", metavar="INSTANT", help=f"{_INSTANT}: delivered from then on.")
    ],
    to: Annotated[
        str | None, typer.Option("--to", metavar="INSTANT", help="Delivered until then; else now.")
    ] = None,
    market: Annotated[
        str, typer.Option("--market", metavar="MARKET", help="In which market; else the one it was bid in.")
    ] = "",
    product: Annotated[
        str | None, typer.Option("--product", metavar="PRODUCT", help="Of energy; else the one bid for.")
    ] = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Clear what each strategy decided at the prices that came out, follow it with one storage, and compare."""
    import time

    from shoal.bidding.cycle.shadow_score import BEFORE_NS, score_shadows
    from shoal.domain.errors import InvalidInputError
    from shoal.market.registry import market_module

    from_ns = parse_instant("--from", from_)
    to_ns = time.time_ns() if to is None else parse_instant("--to", to)
    stores = open_stores(config, set_)
    if not market:
        names = stores.cycles.decision_ids(resource, from_ns=from_ns - BEFORE_NS, to_ns=to_ns, shadow=None)
        if not names:
            fix = "nothing was decided for it in the span"
            raise InvalidInputError(field="--resource", value=resource, fix=fix)
        market = stores.cycles.decision(names[-1]).market_id
    found = score_shadows(
        stores.cycles,
        stores.facts,
        market_module(market),
        resource,
        from_ns,
        to_ns,
        as_of_ns=_EVER_NS,
        product=product,
    )
    if as_json:
        print_json(found)
        return
    typer.echo(
        f"{found.resource_id} in {found.market_id}, {found.product}, {found.intervals:,} intervals; perfect foresight "
        f"earns {found.revenue_perfect_foresight:,.2f} {found.currency}, and {found.stock_value_perfect_foresight:,.2f} in store"
    )
    head = ("", "strategy", "revenue", "in store", "of perfect", "cycles", "MWh cut", "decisions")
    rows = [
        (
            "shadow" if one.shadow else "live",
            one.strategy,
            f"{one.revenue:,.2f}",
            f"{one.stock_value:,.2f}",
            _percent(one.share_of_perfect_foresight),
            f"{one.cycles:.2f}",
            f"{one.cut_mwh:,.3f}",
            f"{one.decisions:,} ({', '.join(f'{count} {rung}' for rung, count in one.rungs.items())})",
        )
        for one in found.books
    ]
    print_columns([head, *rows])
    days = [one.day for one in found.books[0].days]
    typer.echo("")
    print_columns(
        [
            ("day", *(one.strategy for one in found.books)),
            *(
                (
                    day,
                    *(
                        f"{one.days[at].revenue:,.2f} ({_percent(one.days[at].share_of_perfect_foresight)})"
                        for one in found.books
                    ),
                )
                for at, day in enumerate(days)
            ),
        ]
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
