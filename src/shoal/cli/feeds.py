"""`shoal feeds`: what the public feeds give and how fresh they are; fetch one once, or poll them all.

Facts go to the knowledge store, or to a Parquet file. Keys of providers and the contact that some ask for come from the
environment, see the list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json, read_settings

if TYPE_CHECKING:
    from shoal.connect.feeds.collect import Document
    from shoal.connect.feeds.feed import Feed
    from shoal.connect.feeds.fetch import Fetcher
    from shoal.connect.feeds.state import FeedState, FeedStates
    from shoal.domain.facts import Facts
    from shoal.domain.interval import Interval
    from shoal.runtime.settings import Settings
    from shoal.store.facts import FactStore

app = typer.Typer(
    help="Public feeds of markets and weather: what they give, what is fresh.",
    invoke_without_command=True,
    rich_markup_mode=None,
)

_CACHE_BYTES: Final = 1 << 30
_SHOWN_ERRORS: Final = 5
PlaceTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--place", metavar="PROVIDER=PLACE", help="E.g. nem=VIC1, entsoe=FR, dwd=10637; may be given again."
    ),
]
Mirrors = Annotated[
    list[str] | None,
    typer.Option("--mirror", metavar="URL=URL", help="Fetch what begins with the first from the second."),
]


def register(app_: typer.Typer) -> None:
    """Add the command."""
    app_.add_typer(app, name="feeds")


@app.callback()
def overview(
    context: typer.Context,
    place: PlaceTexts = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
    set_: SetValues = None,
) -> None:
    """List every feed: what it gives, on which terms, how often, and whether what there is of it is fresh."""
    if context.invoked_subcommand is not None:
        return
    import time

    from shoal.connect.feeds.catalogue import catalogue, places

    feeds = catalogue(places(place or ()))
    states = _states(read_settings(config, set_))
    rows = [_row(feed, states.load(name), time.time_ns()) for name, feed in feeds.items()]
    if as_json:
        print_json(rows)
        return
    head = ("feed", "", "newest interval", "last fetched", "every", "gives")
    print_columns([head, *(_columns(row) for row in rows)])
    failed = [row for row in rows if row["last_error"]]
    for row in failed:
        typer.echo(f"{row['name']}: {row['last_error']}")
    typer.echo("")
    for licence, attribution, url in sorted(
        {(r["licence"], r["attribution"], r["licence_url"]) for r in rows}
    ):
        typer.echo(f'"{attribution}": {licence}\n  {url}')
    for row in rows:
        if row["needs"]:
            typer.echo(f"{row['name']} needs {row['needs']}")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="FEED", help="Its name in the list.")],
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="First interval, e.g. 2026-03-01T00:00Z.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="TIME", help="End, exclusive.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.parquet", help="Write there, not to the store.")
    ] = None,
    as_published: Annotated[
        bool,
        typer.Option(
            "--as-published",
            help="Take facts as known since the source published them, where it says when; for back-tests on the past.",
        ),
    ] = False,
    place: PlaceTexts = None,
    mirror: Mirrors = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
    set_: SetValues = None,
) -> None:
    """Fetch a feed once and keep its facts; leave with 1 when some of it failed."""
    import asyncio
    import time

    feed = _feed(name, place)
    settings = read_settings(config, set_)
    states = _states(settings)
    span = _span(feed, from_, to, time.time_ns())
    given = span if from_ or to else None

    async def collected() -> list[Document]:
        from shoal.connect.feeds.collect import documents

        async with _fetcher(settings, mirror) as fetcher:
            return [d async for d in documents(feed, fetcher, span, now_ns=time.time_ns)]

    found = asyncio.run(collected())
    facts = _facts(found, given, as_published=as_published)
    values = _keep(settings, facts, out)
    told = _told(name, found, facts, values)
    errors = told["errors"]
    state = states.load(name).after_round(
        now_ns=time.time_ns(),
        newest_end_ns=max((int(item.end_ns[-1]) for item in facts), default=None),
        values=values,
        quarantined=told["quarantined"],
        error=errors[-1] if errors else "",
    )
    with suppress(OSError):  # a read-only folder costs the note, not the facts
        states.save(state)
    if as_json:
        print_json(told)
    else:
        _print_told(told, out)
    if errors:
        raise typer.Exit(1)


@app.command()
def poll(
    feed: Annotated[
        list[str] | None,
        typer.Option("--feed", metavar="FEED", help="Only this one; may be given again. Else all that can."),
    ] = None,
    place: PlaceTexts = None,
    mirror: Mirrors = None,
    config: ConfigFile = None,
    set_: SetValues = None,
) -> None:
    """Poll feeds into the knowledge store until interrupted, each at its own cadence."""
    import asyncio
    import os

    from shoal.connect.feeds.catalogue import catalogue, places
    from shoal.connect.feeds.poll import FeedPoller
    from shoal.runtime.clock import SystemClock
    from shoal.runtime.log import configure_logging

    settings = read_settings(config, set_)
    configure_logging(settings.log, role="feeds")
    feeds = catalogue(places(place or ()))
    wanted = [_feed(name, place) for name in feed] if feed else list(feeds.values())
    for item in list(wanted):
        if not feed and (needs := _missing(item, os.environ)):
            typer.echo(f"{item.description.name} is left out; it needs {needs}", err=True)
            wanted.remove(item)
    store = _store(settings)

    async def keep(facts: Sequence[Facts]) -> None:
        await asyncio.to_thread(store.record_all, facts)

    async def run() -> None:
        async with _fetcher(settings, mirror) as fetcher:
            poller = FeedPoller(
                wanted, fetcher=fetcher, sink=keep, clock=SystemClock(), states=_states(settings)
            )
            await poller.run()

    asyncio.run(run())


def _feed(name: str, place: list[str] | None) -> Feed:
    from shoal.connect.feeds.catalogue import catalogue, places
    from shoal.domain.errors import InvalidInputError

    feeds = catalogue(places(place or ()))
    if name not in feeds:
        raise InvalidInputError(field="feed", value=name, fix=f"give one of {', '.join(feeds)}")
    return feeds[name]


def _span(feed: Feed, from_: str | None, to: str | None, now_ns: int) -> Interval:
    from shoal.cli.history import instant_ns
    from shoal.domain.interval import Interval

    recent = feed.recent(now_ns)
    return Interval(
        start_ns=instant_ns("--from", from_) if from_ else recent.start_ns,
        end_ns=instant_ns("--to", to) if to else max(recent.end_ns, now_ns),
    )


def _facts(found: Sequence[Document], span: Interval | None, *, as_published: bool) -> list[Facts]:
    """Return the facts of documents: clipped to a span if one is given, known since they were published if asked."""
    from dataclasses import replace

    facts: list[Facts] = []
    for document in found:
        reading = document.reading
        for item in reading.facts if reading else ():
            if as_published and reading is not None and reading.published_ns is not None:
                item = replace(item, known_ns=min(reading.published_ns, item.known_ns))
            if span is not None:
                kept = (item.start_ns >= span.start_ns) & (item.start_ns < span.end_ns)
                if not kept.any():
                    continue
                item = replace(
                    item, start_ns=item.start_ns[kept], end_ns=item.end_ns[kept], value=item.value[kept]
                )
            facts.append(item)
    return facts


def _keep(settings: Settings, facts: Sequence[Facts], out: Path | None) -> int:
    if out is not None:
        from shoal.connect.feeds.parquet import write_facts

        return write_facts(out, facts)
    if facts:
        _store(settings).record_all(facts)
    return sum(item.value.size for item in facts)


def _told(name: str, found: Sequence[Document], facts: Sequence[Facts], values: int) -> dict[str, Any]:
    from shoal.domain.interval import iso

    readings = [document.reading for document in found if document.reading is not None]
    counts: dict[str, int] = {}
    for document in found:
        key = "failed" if document.outcome is None else document.outcome.value
        counts[key] = counts.get(key, 0) + 1
    return {
        "feed": name,
        "documents": counts,
        "series": sorted({str(item.series_id) for item in facts}),
        "values": values,
        "first": iso(min(int(item.start_ns[0]) for item in facts)) if facts else None,
        "end": iso(max(int(item.end_ns[-1]) for item in facts)) if facts else None,
        "absent": sum(item.absent_total for item in readings),
        "duplicates": sum(item.duplicates_total for item in readings),
        "corrected": sum(item.corrected_total for item in readings),
        "quarantined": sum(item.quarantined_total for item in readings),
        "set_aside": [
            f"{item.where}, {item.field}: {item.value!r}: {item.reason}"
            for reading in readings
            for item in reading.quarantined[:_SHOWN_ERRORS]
        ],
        "errors": [str(document.error) for document in found if document.error is not None],
    }


def _print_told(told: dict[str, Any], out: Path | None) -> None:
    documents = ", ".join(f"{count} {kind}" for kind, count in told["documents"].items()) or "none"
    where = "the knowledge store" if out is None else str(out)
    typer.echo(f"{told['feed']}: documents: {documents}")
    if told["values"]:
        typer.echo(
            f"{told['values']:,} values of {len(told['series'])} series, {told['first']} to {told['end']}, to {where}"
        )
    else:
        typer.echo("no values: the provider has none of this span, or not yet")
    for kind in ("absent", "duplicates", "corrected", "quarantined"):
        if told[kind]:
            typer.echo(f"{told[kind]:,} {kind}")
    for line in told["set_aside"][:_SHOWN_ERRORS]:
        typer.echo(f"  set aside: {line}")
    for line in told["errors"][:_SHOWN_ERRORS]:
        typer.echo(f"shoal: {line}", err=True)


def _row(feed: Feed, state: FeedState, now_ns: int) -> dict[str, Any]:
    import os

    from shoal.domain.interval import iso, to_datetime

    told = feed.description
    year = to_datetime(now_ns).year
    return {
        "name": told.name,
        "about": told.about,
        "state": state.freshness(told, now_ns).value,
        "newest": iso(state.newest_end_ns) if state.newest_end_ns else None,
        "fetched": iso(state.tried_ns) if state.tried_ns else None,
        "last_error": state.last_error,
        "errors_in_a_row": state.errors_in_a_row,
        "values": state.values_total,
        "quarantined": state.quarantined_total,
        "cadence_s": told.cadence_s,
        "delay_s": told.delay_s,
        "series": [{"pattern": note.pattern, "unit": note.unit, "step": note.step} for note in told.series],
        "url": told.url,
        "licence": told.licence.name,
        "licence_url": told.licence.url,
        "attribution": told.licence.attribution.replace("{year}", str(year)),
        "needs": _missing(feed, os.environ),
    }


def _columns(row: dict[str, Any]) -> tuple[str, ...]:
    minutes = row["cadence_s"] / 60.0
    every = f"{minutes:g} min" if minutes < 120 else f"{minutes / 60:g} h"
    by_stem: dict[str, list[str]] = {}
    for note in row["series"]:
        stem, _, leaf = note["pattern"].rpartition("/")
        by_stem.setdefault(stem, []).append(leaf)
    gives = ", ".join(
        f"{stem}/{leaves[0]}" if len(leaves) == 1 else f"{stem}/({', '.join(leaves)})"
        for stem, leaves in by_stem.items()
    )
    return row["name"], row["state"], row["newest"] or "-", row["fetched"] or "-", every, gives


def _missing(feed: Feed, environment: Mapping[str, str]) -> str:
    """Return which environment variable a feed still needs, and how to get it; empty when none."""
    from shoal.connect.feeds.fetch import CONTACT_VARIABLE

    told = feed.description
    if told.secret is not None and not environment.get(told.secret.variable):
        return f"{told.secret.variable}: {told.secret.source}"
    if told.needs_contact and not environment.get(CONTACT_VARIABLE):
        return f"{CONTACT_VARIABLE}: a mail or web address that tells the provider who asks"
    return ""


def _states(settings: Settings) -> FeedStates:
    from shoal.connect.feeds.state import FeedStates

    return FeedStates(settings.data_dir / "feeds" / "state")


def _fetcher(settings: Settings, mirror: list[str] | None) -> Fetcher:
    import os
    import time

    from shoal.connect.feeds.cache import DocumentCache
    from shoal.connect.feeds.entsoe import SECRET
    from shoal.connect.feeds.fetch import CONTACT_VARIABLE, Fetcher
    from shoal.domain.errors import InvalidInputError

    mirrors: dict[str, str] = {}
    for text in mirror or ():
        begin, equals, other = text.partition("=")
        if not equals or not begin.startswith("http") or not other.startswith("http"):
            raise InvalidInputError(
                field="--mirror", value=text, fix="give two addresses with '=' between them"
            )
        mirrors[begin] = other
    return Fetcher(
        cache=DocumentCache(settings.data_dir / "feeds" / "cache", max_bytes=_CACHE_BYTES),
        now_ns=time.time_ns,
        contact=os.environ.get(CONTACT_VARIABLE, ""),
        use_proxy=True,
        secrets={SECRET.variable: os.environ.get(SECRET.variable, "")},
        mirrors=mirrors,
    )


def _store(settings: Settings) -> FactStore:
    from shoal.cli.roles.host import sqlite_url
    from shoal.store.database import migrate, open_database
    from shoal.store.facts import FactStore

    url = settings.bidding.database_url or sqlite_url(settings, "registry.db")
    migrate(url)
    return FactStore(open_database(url))
