"""`shoal program`: what programs there are and which goes first, who takes part, what owners were promised, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json, read_settings

if TYPE_CHECKING:
    from shoal.domain.ids import SiteId
    from shoal.programs.ability import SiteTerms
    from shoal.store.programs import ProgramStore
    from shoal.store.registry import Registry

app = typer.Typer(
    help="Programs: their order, who takes part, what owners are promised.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

ProgramName: TypeAlias = Annotated[str, typer.Argument(metavar="PROGRAM")]
SiteName: TypeAlias = Annotated[str, typer.Argument(metavar="SITE")]
SiteNames: TypeAlias = Annotated[list[str] | None, typer.Argument(metavar="SITE...")]
InGroup: TypeAlias = Annotated[
    str | None, typer.Option("--group", metavar="GROUP", help="All sites at or below it.")
]
At: TypeAlias = Annotated[
    str | None, typer.Option("--at", metavar="INSTANT", help="Like 2026-05-04T16:00:00-05:00; else now.")
]
Until: TypeAlias = Annotated[
    str | None, typer.Option("--until", metavar="INSTANT", help="When it ends again; else for good.")
]
By: TypeAlias = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Who says so; else who is signed in.")
]


@app.command(name="list")
def list_(
    toml: Annotated[bool, typer.Option("--toml", help="As a book that `shoal program load` reads.")] = False,
    at: At = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """List the programs, the one that goes first on top."""
    from shoal.programs.program import book_toml

    store, _ = _opened(config, set_)
    if toml:
        typer.echo(book_toml(store.book().programs), nl=False)
        return
    terms = store.terms_at(_instant("--at", at))
    shown = [{**_described(program), **_counts(terms, program.id)} for program in terms.book.programs]
    if as_json:
        print_json(shown)
    else:
        heads = ("id", "name", "kind", "pays", "sites", "opted_out_sites")
        print_columns(
            [
                ("PROGRAM", "NAME", "KIND", "PAYS", "SITES", "LEFT"),
                *([str(one[name]) for name in heads] for one in shown),
            ]
        )


@app.command()
def show(
    program: ProgramName,
    at: At = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Show the terms of a program, and how many sites take part."""
    store, _ = _opened(config, set_)
    terms = store.terms_at(_instant("--at", at))
    place = terms.book.position(program)
    shown = {
        "place": place + 1,
        **_described(terms.book.programs[place]),
        **_counts(terms, program),
        "goes_after": list(terms.book.ids[:place]),
    }
    if as_json:
        print_json(shown)
    else:
        print_columns([(name, _text(value)) for name, value in shown.items()])


@app.command()
def load(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A book as `shoal program list --toml` writes it.")
    ],
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Put a book of programs in place of the one on record: their order is their priority."""
    from shoal.domain.errors import InvalidInputError
    from shoal.programs.program import parse_book

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(field="FILE", value=str(file), fix=f"it cannot be read: {error}") from error
    book = parse_book(text)
    store, _ = _opened(config, set_)
    store.save_book(book)
    _tell({"programs": list(book.ids), "version": store.version()}, " > ".join(book.ids), as_json=as_json)


@app.command()
def enrol(
    program: ProgramName,
    sites: SiteNames = None,
    group: InGroup = None,
    at: At = None,
    until: Until = None,
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Let sites take part in a program, by the consent of whoever is named to its present terms."""
    store, registry = _opened(config, set_)
    at_ns, until_ns, now_ns = _instant("--at", at), _end(until), _now_ns()
    named = _named(registry, sites, group, at_ns)
    changed = store.enrol(program, named, at_ns=at_ns, until_ns=until_ns, by=_who(by), said_ns=now_ns)
    _tell_change("in", program, named, changed, at_ns, until_ns, as_json=as_json)


@app.command()
def withdraw(
    program: ProgramName,
    sites: SiteNames = None,
    group: InGroup = None,
    at: At = None,
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Withdraw the consent of sites: they take part no more, and what was planned falls away."""
    store, registry = _opened(config, set_)
    at_ns = _instant("--at", at)
    named = _named(registry, sites, group, at_ns)
    changed = store.withdraw(program, named, at_ns=at_ns, by=_who(by), said_ns=_now_ns())
    _tell_change("out of", program, named, changed, at_ns, None, as_json=as_json)


@app.command(name="opt-out")
def opt_out(
    program: ProgramName,
    sites: SiteNames = None,
    group: InGroup = None,
    at: At = None,
    until: Until = None,
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Let sites leave a program for a while and stay enrolled."""
    store, registry = _opened(config, set_)
    at_ns, until_ns = _instant("--at", at), _end(until)
    named = _named(registry, sites, group, at_ns)
    changed = store.opt_out(program, named, at_ns=at_ns, until_ns=until_ns, by=_who(by), said_ns=_now_ns())
    _tell_change("opted out of", program, named, changed, at_ns, until_ns, as_json=as_json)


@app.command(name="opt-in")
def opt_in(
    program: ProgramName,
    sites: SiteNames = None,
    group: InGroup = None,
    at: At = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Let sites that have left a program come back."""
    store, registry = _opened(config, set_)
    at_ns = _instant("--at", at)
    named = _named(registry, sites, group, at_ns)
    changed = store.opt_in(program, named, at_ns=at_ns)
    _tell_change("back in", program, named, changed, at_ns, None, as_json=as_json)


@app.command()
def promise(
    sites: SiteNames = None,
    reserve: Annotated[
        str | None,
        typer.Option("--reserve", metavar="SHARE", help="State of charge to keep, 0 to 1, or 'none'."),
    ] = None,
    cycles: Annotated[
        str | None, typer.Option("--cycles", metavar="KWH", help="Most to discharge in a day, or 'none'.")
    ] = None,
    group: InGroup = None,
    at: At = None,
    until: Until = None,
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Promise owners a reserve or a cycle budget, or show what was promised when neither is given."""
    from shoal.domain.errors import InvalidInputError

    store, registry = _opened(config, set_)
    at_ns, until_ns = _instant("--at", at), _end(until)
    named = _named(registry, sites, group, at_ns)
    if reserve is None and cycles is None:
        if until is not None:
            raise InvalidInputError(field="--until", value=until, fix="give --reserve or --cycles with it")
        _show_promises(store, named, at_ns, as_json=as_json)
        return
    changed = 0
    said: dict[str, Any] = {"at_ns": at_ns, "until_ns": until_ns, "by": _who(by), "said_ns": _now_ns()}
    if reserve is not None:
        changed += store.promise("reserve_frac", named, _amount("--reserve", reserve), **said)
    if cycles is not None:
        budget_kwh = _amount("--cycles", cycles)
        budget_wh = None if budget_kwh is None else round(budget_kwh * 1e3)
        changed += store.promise("cycle_wh_per_day", named, budget_wh, **said)
    told = {"sites": len(named), "changed": changed, **_span(at_ns, until_ns)}
    _tell(told, f"{_count(len(named), 'site')}, {_count(changed, 'promise')} changed", as_json=as_json)


@app.command(short_help="Promise owners hours of their own.")
def hours(
    sites: SiteNames = None,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep", metavar="HOURS", help="Like 'mon-fri 17:00-20:00; sun 00:00-24:00', or 'none'."
        ),
    ] = None,
    zone: Annotated[
        str | None, typer.Option("--zone", metavar="ZONE", help="Whose clock, such as America/Chicago.")
    ] = None,
    group: InGroup = None,
    at: At = None,
    until: Until = None,
    by: By = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Promise owners hours in which no program uses their sites, or show what was promised without --keep."""
    from shoal.domain.errors import InvalidInputError
    from shoal.programs.hours import parse_hours

    store, registry = _opened(config, set_)
    at_ns, until_ns = _instant("--at", at), _end(until)
    named = _named(registry, sites, group, at_ns)
    if keep is None:
        _show_hours(store, named, at_ns, as_json=as_json)
        return
    if keep != "none" and zone is None:
        raise InvalidInputError(field="--zone", value="none", fix="say whose clock, such as America/Chicago")
    wanted = None if keep == "none" else parse_hours(keep, zone=zone or "")
    changed = store.keep_hours(named, wanted, at_ns=at_ns, until_ns=until_ns, by=_who(by), said_ns=_now_ns())
    told = {"sites": len(named), "changed": changed, **_span(at_ns, until_ns)}
    _tell(told, f"{_count(len(named), 'site')}, hours of {changed} changed", as_json=as_json)


@app.command()
def explain(
    site: SiteName,
    soc: Annotated[
        float | None, typer.Option("--soc", min=0.0, max=1.0, help="State of charge to reckon with.")
    ] = None,
    hours: Annotated[float, typer.Option("--hours", min=0.01, max=24.0, help="For how long.")] = 1.0,
    at: At = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Tell what each program could have of a site if none above it wanted anything, and what stands in the way."""
    from shoal.cli.program_explain import explained
    from shoal.domain.ids import SiteId

    store, registry = _opened(config, set_)
    told = explained(store, registry, SiteId(site), t_ns=_instant("--at", at), soc_frac=soc, duration_h=hours)
    if as_json:
        print_json(told)
        return
    typer.echo(str(told["about"]))
    print_columns([(one["program"], _text(one["sentence"])) for one in told["programs"]])


def _opened(config: Path | None, set_: list[str] | None) -> tuple[ProgramStore, Registry]:
    from shoal.cli.roles.host import sqlite_url
    from shoal.store.database import migrate, open_database
    from shoal.store.programs import ProgramStore
    from shoal.store.registry import Registry

    settings = read_settings(config, set_)
    url = settings.registry.database_url or sqlite_url(settings, "registry.db")
    migrate(url)
    engine = open_database(url)
    return ProgramStore(engine), Registry(engine)


def _named(registry: Registry, sites: list[str] | None, group: str | None, at_ns: int) -> list[SiteId]:
    from shoal.domain.errors import InvalidInputError, UnknownIdError
    from shoal.domain.ids import GroupId, SiteId

    named = list(dict.fromkeys(SiteId(site) for site in sites or ()))
    if group is not None:
        fleet = registry.fleet_at(at_ns)
        if group not in fleet.group_number:
            raise UnknownIdError("group", group)
        inside = (fleet.site_ids[row] for row in fleet.rows_in(GroupId(group)).tolist())
        named = list(dict.fromkeys((*named, *inside)))
    if not named:
        raise InvalidInputError(field="SITE", value="none", fix="name sites, or a --group that has some")
    return named


def _instant(option: str, text: str | None) -> int:
    from shoal.cli.cycle_stores import parse_instant

    return _now_ns() if text is None else parse_instant(option, text)


def _end(text: str | None) -> int | None:
    return None if text is None else _instant("--until", text)


def _now_ns() -> int:
    import time

    return time.time_ns()


def _who(by: str | None) -> str:
    import getpass

    return getpass.getuser() if by is None else by


def _amount(option: str, text: str) -> float | None:
    from shoal.domain.errors import InvalidInputError

    if text == "none":
        return None
    try:
        return float(text)
    except ValueError as error:
        raise InvalidInputError(field=option, value=text, fix="give a number, or 'none'") from error


def _described(program: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(program)


def _counts(terms: SiteTerms, program_id: str) -> dict[str, int]:
    import numpy as np

    bit = np.uint64(1 << terms.book.position(program_id))
    takes_part = (terms.enrolled_bits & bit) != 0
    return {
        "sites": int(np.count_nonzero(takes_part)),
        "opted_out_sites": int(np.count_nonzero(takes_part & ((terms.opted_out_bits & bit) != 0))),
    }


def _show_promises(store: ProgramStore, sites: list[SiteId], at_ns: int, *, as_json: bool) -> None:
    from dataclasses import asdict

    found = [one for site in sites for one in store.promises(site, at_ns=at_ns)]
    if as_json:
        print_json([{**asdict(one), **_span(one.start_ns, one.end_ns)} for one in found])
        return
    for one in found:
        span = _span(one.start_ns, one.end_ns)
        typer.echo(
            f"{one.site_id}  {one.kind} {one.amount:g}  from {span['from']} to {span['until'] or 'ever'}  by {one.said_by}"
        )
    if not found:
        typer.echo("nothing was promised beyond the reserve of the nameplate")


def _show_hours(store: ProgramStore, sites: list[SiteId], at_ns: int, *, as_json: bool) -> None:
    found = [one for site in sites for one in store.hours(site, at_ns=at_ns)]
    shown = [
        {
            "site_id": one.site_id,
            "hours": one.hours.text(),
            "zone": one.hours.zone,
            "away": one.hours.away_at(at_ns),
            "said_by": one.said_by,
            **_span(one.start_ns, one.end_ns),
        }
        for one in found
    ]
    if as_json:
        print_json(shown)
        return
    for one in shown:
        now = ", now" if one["away"] else ""
        typer.echo(f"{one['site_id']}  {one['hours']} ({one['zone']}){now}  by {one['said_by']}")
    if not shown:
        typer.echo("no hours are kept")


def _span(at_ns: int, until_ns: int | None) -> dict[str, str | None]:
    from shoal.domain.interval import iso

    return {"from": iso(at_ns), "until": None if until_ns is None else iso(until_ns)}


def _tell_change(
    what: str,
    program: str,
    sites: list[SiteId],
    changed: int,
    at_ns: int,
    until_ns: int | None,
    *,
    as_json: bool,
) -> None:
    span = _span(at_ns, until_ns)
    told = {"program": program, "sites": len(sites), "changed": changed, **span}
    ends = "" if until_ns is None else f" until {span['until']}"
    text = f"{program}: {_count(len(sites), 'site')} {what} it from {span['from']}{ends}; {changed} changed"
    _tell(told, text, as_json=as_json)


def _tell(content: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(content)
    else:
        typer.echo(text)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return "-" if value in ("", None) else str(value)
