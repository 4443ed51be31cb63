"""`shoal desk`: what a trader sees and says: bids and their whole stories, modes, approvals, manual bids, who bids for what.

Whatever is said is kept with who said it and when; nothing is changed afterwards. The plant reads it at its next turn.
"""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from shoal.cli.cycle_stores import By, Stores, open_stores, speaker
from shoal.cli.desk_clock import plant_now_ns
from shoal.cli.desk_money import disputes, money
from shoal.cli.desk_story import bid_line, print_story, story_of
from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json

if TYPE_CHECKING:
    from shoal.store.cycles import MarketBidRecord

app = typer.Typer(help="See bids and have a say in them.", no_args_is_help=True, rich_markup_mode=None)

app.command(short_help="Print where the money of a delivered day went.")(money)
app.command(short_help="List what a market settled otherwise than the plant.")(disputes)

Key: TypeAlias = Annotated[str, typer.Argument(metavar="KEY", help="The idempotency key of a bid.")]
Name: TypeAlias = Annotated[str, typer.Argument(metavar="RESOURCE", help="The resource.")]


class ModeName(StrEnum):
    """How a resource bids."""

    AUTOMATIC = "automatic"
    ADVISORY = "advisory"
    OFF = "off"


def register(app_: typer.Typer) -> None:
    """Add the command."""
    app_.add_typer(app, name="desk")


@app.command()
def bids(
    resource: Annotated[
        str | None, typer.Option("--resource", metavar="RESOURCE", help="Only of this one.")
    ] = None,
    day: Annotated[
        str | None, typer.Option("--day", metavar="YYYY-MM-DD", help="Only for this delivery day.")
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option("--state", help="Only in this state; may be given again.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 50,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """List bids, the latest gate first: waiting for a person are those in state draft."""
    from shoal.domain.errors import InvalidInputError
    from shoal.market.awards import SUBMISSION_STEPS

    for one in state or ():
        if one not in SUBMISSION_STEPS:
            raise InvalidInputError(
                field="--state", value=one, fix=f"choose one of {', '.join(SUBMISSION_STEPS)}"
            )
    stores = open_stores(config, set_)
    found = stores.cycles.bids(resource_id=resource, delivery_date=day, states=state or ())
    found.sort(key=lambda one: (one.closes_ns, one.created_ns), reverse=True)
    lines = [bid_line(one) for one in found[:limit]]
    if as_json:
        print_json(lines)
    elif not lines:
        typer.echo("there is no such bid")
    else:
        print_columns([tuple(lines[0]), *(tuple(str(value) for value in line.values()) for line in lines)])
        if len(found) > limit:
            typer.echo(f"{len(found) - limit:,} more; --limit shows them")


@app.command(short_help="Print the whole story of a bid.")
def show(
    key: Key,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Print what was known, what was tried and decided and why, every step, the receipt and the award of a bid."""
    stores = open_stores(config, set_)
    story = story_of(stores, key)
    if as_json:
        print_json(story)
    else:
        print_story(story)


@app.command(short_help="Set or print how a resource bids.")
def mode(
    resource: Name,
    to: Annotated[
        ModeName | None,
        typer.Argument(metavar="[automatic|advisory|off]", help="Else the mode is printed."),
    ] = None,
    four_eyes: Annotated[
        bool | None,
        typer.Option("--four-eyes/--no-four-eyes", help="Whether two people are wanted; else as before."),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "",
    new: Annotated[
        bool, typer.Option("--new", help="The resource has never bid yet; else that is taken for a slip.")
    ] = False,
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Set how a resource bids, or print it.

    automatic: bids of the machine go by themselves. advisory: a person approves each. off: nothing goes, what stands in the
    market stays.
    """
    from shoal.bidding.desk_views import mode_of
    from shoal.bidding.desk_words import set_mode

    stores = open_stores(config, set_)
    _check_resource(stores, resource, new=new)
    if to is None and four_eyes is None:
        held = mode_of(stores.consents, resource)
    else:
        held = set_mode(
            stores.consents,
            resource,
            mode=None if to is None else to.value,
            four_eyes=four_eyes,
            by=speaker(by),
            at_ns=plant_now_ns(stores, config, set_),
            reason=reason,
        )
    if as_json:
        print_json(held)
        return
    who = f", set by {held.by}" if held.by else ", as nobody has said otherwise"
    why = f": {held.reason}" if held.reason else ""
    typer.echo(f"{resource} is {held.mode}{' with four eyes' if held.four_eyes else ''}{who}{why}")


@app.command(short_help="Let a bid go.")
def approve(
    key: Key,
    reason: Annotated[str, typer.Option("--reason", help="What there is to say about it.")] = "",
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Let a bid go; what is approved is its content as it is now."""
    stores = open_stores(config, set_)
    now_ns = plant_now_ns(stores, config, set_)
    _say_of_bid(stores, key, approved=True, reason=reason, by=by, now_ns=now_ns, as_json=as_json)


@app.command(short_help="Hold a bid back.")
def refuse(
    key: Key,
    reason: Annotated[str, typer.Option("--reason", help="Why.")],
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Hold a bid back; the plant withdraws it at its next turn."""
    stores = open_stores(config, set_)
    now_ns = plant_now_ns(stores, config, set_)
    _say_of_bid(stores, key, approved=False, reason=reason, by=by, now_ns=now_ns, as_json=as_json)


@app.command(short_help="Offer something by hand.")
def manual(
    resource: Name,
    file: Annotated[
        Path,
        typer.Option(
            "--file",
            metavar="FILE",
            help="JSON: market_id, delivery_date, offers; settlement_point, fixed and category where needed.",
        ),
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why.")],
    new: Annotated[
        bool, typer.Option("--new", help="The resource has never bid yet; else that is taken for a slip.")
    ] = False,
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Offer something by hand: it is sent as it is, and everything else is planned around it."""
    from shoal.bidding.cycle.manual import read_manual
    from shoal.bidding.desk_words import checked_manual, keep_manual
    from shoal.market.registry import market_module

    stores = open_stores(config, set_)
    _check_resource(stores, resource, new=new)
    written = read_manual(_content(file), name=str(file))
    market = market_module(written.market_id)
    others = stores.cycles.bids(resource_id=resource, market_id=written.market_id)
    made, _ = checked_manual(
        stores.cycles,
        written,
        market,
        resource_id=resource,
        settlement_point=_settlement_point(written.settlement_point, others, resource),
        by=speaker(by),
        at_ns=plant_now_ns(stores, config, set_),
        reason=reason,
    )
    keep_manual(stores.consents, made)
    if as_json:
        print_json(made)
    else:
        typer.echo(f"{made.manual_id} is kept; `shoal desk withdraw {made.manual_id}` takes it back")


@app.command(short_help="Take a manual bid back.")
def withdraw(
    manual_id: Annotated[str, typer.Argument(metavar="MANUAL_ID", help="As `shoal desk manual` named it.")],
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "",
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Take a manual bid back: what comes next is planned without it; what stands in the market stays until then."""
    from shoal.bidding.desk_views import manual_word
    from shoal.bidding.desk_words import take_back

    stores = open_stores(config, set_)
    found = manual_word(stores.consents, manual_id)
    taken = take_back(
        stores.consents,
        manual_id,
        by=speaker(by),
        at_ns=plant_now_ns(stores, config, set_),
        reason=reason,
    )
    if as_json:
        print_json(taken)
    else:
        typer.echo(f"{manual_id} of {found.by} is taken back")


@app.command(short_help="List who bids for what.")
def slots(
    look_s: Annotated[
        float, typer.Option("--look-s", min=0.0, max=60.0, help="How long to watch whether they live.")
    ] = 1.5,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """List which process bids for which resource, and whether it was seen to live."""
    stores = open_stores(config, set_)
    before = stores.slots.held()
    time.sleep(look_s)
    now = stores.slots.held()
    rows = [
        {
            "resource_id": slot,
            "holder": held.holder,
            "beat": held.beat,
            "lives": before.get(slot) != held if look_s else None,
        }
        for slot, held in sorted(now.items())
    ]
    if as_json:
        print_json(rows)
    elif not rows:
        typer.echo("nobody bids for anything")
    else:
        told = {True: "lives", False: f"no beat within {look_s:g} s", None: ""}
        print_columns(
            [(str(row["resource_id"]), str(row["holder"]), told[row["lives"]]) for row in rows]  # type: ignore[index]
        )


# ── what the commands share ─────────────────────────────────────────────────────────────────────────────────


def _check_resource(stores: Stores, resource: str, *, new: bool) -> None:
    """Refuse a name that nothing is known of: a slip would be kept, and change nothing."""
    from shoal.domain.errors import InvalidInputError

    known = {*stores.cycles.resources(), *stores.slots.held(), *stores.consents.subjects("mode")}
    if resource not in known and not new:
        names = ", ".join(sorted(known)) or "none"
        fix = f"known are: {names}; --new if it has never bid yet"
        raise InvalidInputError(field="resource", value=resource, fix=fix)


def _say_of_bid(
    stores: Stores,
    key: str,
    *,
    approved: bool,
    reason: str,
    by: str | None,
    now_ns: int,
    as_json: bool,
) -> None:
    import msgspec

    from shoal.bidding.desk_words import bid_to_judge, say_of_bid
    from shoal.domain.outcome import Rejected

    said, verdict = say_of_bid(
        stores.consents,
        bid_to_judge(stores.cycles, key),
        approved=approved,
        by=speaker(by),
        at_ns=now_ns,
        reason=reason,
    )
    held = verdict.detail if isinstance(verdict, Rejected) else ""
    if as_json:
        print_json({**msgspec.to_builtins(said), "may_go": not held, "detail": held})
    elif held:
        typer.echo(f"{key} does not go: {held}")
    else:
        typer.echo(f"{key} may go")


def _content(file: Path) -> bytes:
    from shoal.domain.errors import InvalidInputError

    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInputError(field="--file", value=str(file), fix=error.strerror or str(error)) from error


def _settlement_point(given: str, others: list[MarketBidRecord], resource: str) -> str:
    from shoal.domain.errors import InvalidInputError

    if given:
        return given
    if not others:
        fix = f"say where it is priced: {resource} has no bid yet to take that from"
        raise InvalidInputError(field="settlement_point", value="", fix=fix)
    return max(others, key=lambda one: one.created_ns).bid.settlement_point
