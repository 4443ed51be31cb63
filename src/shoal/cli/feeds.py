"""`shoal feeds`: what the public feeds give and how fresh they are; fetch one once, or poll them all.

Facts go to the knowledge store, or to a Parquet file. Keys of providers and the contact that some ask for come from the
environment, see the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json, read_settings

if TYPE_CHECKING:
    from shoal.cli.feeds_store import KnownSeries
    from shoal.connect.feeds.collect import Document
    from shoal.connect.feeds.feed import Feed
    from shoal.connect.feeds.state import FeedState
    from shoal.domain.facts import Facts
    from shoal.domain.interval import Interval
    from shoal.runtime.settings import Settings
    from shoal.store.facts import FactStore

app = typer.Typer(
    help="Public feeds of markets and weather: what they give, what is fresh.",
    invoke_without_command=True,
    rich_markup_mode=None,
)

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

    from shoal.cli.feeds_setup import feed_states, feeds_for, missing, secrets_of

    settings = read_settings(config, set_)
    states, secrets, now_ns = feed_states(settings), secrets_of(settings), time.time_ns()
    known = _known(settings, now_ns)
    rows = [
        _row(feed, states.load(name), known, missing(feed, secrets), now_ns)
        for name, feed in feeds_for(settings, place or ()).items()
    ]
    if as_json:
        print_json(rows)
        return
    head = ("feed", "", "newest interval", "last fetched", "every", "series", "gives")
    print_columns([head, *(_columns(row) for row in rows)])
    for row in rows:
        if row["last_error"]:
            typer.echo(f"{row['name']}: {row['last_error']}")
    _print_series(known, now_ns)
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

    from shoal.cli.feeds_setup import feed_states, open_fetcher

    settings = read_settings(config, set_)
    feed = _feed(settings, name, place)
    states = feed_states(settings)
    span = _span(feed, from_, to, time.time_ns())
    given = span if from_ or to else None

    async def collected() -> list[Document]:
        from shoal.connect.feeds.collect import documents

        async with open_fetcher(settings, mirror or (), now_ns=time.time_ns) as fetcher:
            return [d async for d in documents(feed, fetcher, span, now_ns=time.time_ns)]

    found = asyncio.run(collected())
    facts = _facts(found, given, as_published=as_published)
    values, broken = _keep(settings, facts, out)
    told = _told(name, found, facts, values, broken)
    errors = told["errors"]
    state = states.load(name).after_round(
        now_ns=time.time_ns(),
        newest_end_ns=max((int(item.end_ns[-1]) for item in facts), default=None),
        values=values,
        quarantined=told["quarantined"] + sum(broken.values()),
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
    import time

    from shoal.cli.feeds_setup import feed_states, feeds_for, missing, open_fetcher, secrets_of
    from shoal.cli.feeds_store import FeedFacts
    from shoal.connect.feeds.poll import FeedPoller
    from shoal.runtime.clock import SystemClock
    from shoal.runtime.log import configure_logging

    settings = read_settings(config, set_)
    configure_logging(settings.log, role="feeds")
    feeds, secrets = feeds_for(settings, place or ()), secrets_of(settings)
    wanted = [_feed(settings, name, place) for name in feed] if feed else list(feeds.values())
    for item in list(wanted):
        if not feed and (needs := missing(item, secrets)):
            typer.echo(f"{item.description.name} is left out; it needs {needs}", err=True)
            wanted.remove(item)
    facts = FeedFacts(_store(settings))

    async def keep(some: Sequence[Facts]) -> dict[str, int]:
        return await asyncio.to_thread(facts.keep, some)

    async def run() -> None:
        async with open_fetcher(settings, mirror or (), now_ns=time.time_ns) as fetcher:
            poller = FeedPoller(
                wanted, fetcher=fetcher, sink=keep, clock=SystemClock(), states=feed_states(settings)
            )
            await poller.run()

    asyncio.run(run())


def _feed(settings: Settings, name: str, place: list[str] | None) -> Feed:
    from shoal.cli.feeds_setup import feeds_for
    from shoal.domain.errors import InvalidInputError

    feeds = feeds_for(settings, place or ())
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


def _keep(settings: Settings, facts: Sequence[Facts], out: Path | None) -> tuple[int, dict[str, int]]:
    """Return how many values were kept, and how many intervals broke their contract, by reason."""
    if out is not None:
        from shoal.connect.feeds.parquet import write_facts

        return write_facts(out, facts), {}
    if not facts:
        return 0, {}
    from shoal.cli.feeds_store import FeedFacts

    broken = FeedFacts(_store(settings)).keep(facts)
    return sum(item.value.size for item in facts) - broken.total(), broken


def _told(
    name: str, found: Sequence[Document], facts: Sequence[Facts], values: int, broken: dict[str, int]
) -> dict[str, Any]:
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
        "broken": broken,
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
    for reason, count in told["broken"].items():
        typer.echo(f"{count:,} set aside, {reason}; see `shoal knowledge quarantine`")
    for line in told["set_aside"][:_SHOWN_ERRORS]:
        typer.echo(f"  set aside: {line}")
    for line in told["errors"][:_SHOWN_ERRORS]:
        typer.echo(f"shoal: {line}", err=True)


def _known(settings: Settings, now_ns: int) -> list[KnownSeries]:
    """Return what the knowledge store has of every series; nothing while there is no store."""
    if not settings.bidding.database_url and not (settings.data_dir / "registry.db").exists():
        return []
    from shoal.cli.feeds_store import known_series

    return known_series(_store(settings), now_ns)


def _print_series(known: Sequence[KnownSeries], now_ns: int) -> None:
    """Say which series break their contract: what is stale, and what was set aside."""
    from shoal.cli.feeds_store import age_text

    for item in known:
        if item.stale and item.stale_after_ns is not None:
            news = "nothing yet"
            if item.latest_known_ns is not None:
                news = f"the last news is {age_text(now_ns - item.latest_known_ns)} old"
            typer.echo(f"{item.series_id} is stale: {news}, {age_text(item.stale_after_ns)} are allowed")
        if item.quarantined:
            typer.echo(
                f"{item.series_id}: {item.quarantined:,} intervals set aside; see `shoal knowledge quarantine "
                f"{item.series_id}`"
            )


def _row(
    feed: Feed, state: FeedState, known: Sequence[KnownSeries], needs: str, now_ns: int
) -> dict[str, Any]:
    from shoal.connect.feeds.contracts import matches
    from shoal.domain.interval import iso, to_datetime

    told = feed.description
    own = [item for item in known if any(matches(note.pattern, item.series_id) for note in told.series)]
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
        "needs": needs,
        "known": [
            {
                "series_id": item.series_id,
                "facts": item.facts,
                "latest_end": None if item.latest_end_ns is None else iso(item.latest_end_ns),
                "latest_known": None if item.latest_known_ns is None else iso(item.latest_known_ns),
                "stale_after_s": None if item.stale_after_ns is None else item.stale_after_ns / 1e9,
                "stale": item.stale,
                "quarantined": item.quarantined,
            }
            for item in own
        ],
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
    stale = sum(item["stale"] for item in row["known"])
    counts = ((len(row["known"]) - stale, "fresh"), (stale, "stale"))
    series = ", ".join(f"{count} {word}" for count, word in counts if count) or "-"
    return row["name"], row["state"], row["newest"] or "-", row["fetched"] or "-", every, series, gives


def _store(settings: Settings) -> FactStore:
    from shoal.cli.feeds_setup import facts_url
    from shoal.store.database import migrate, open_database
    from shoal.store.facts import FactStore

    migrate(facts_url(settings))
    return FactStore(open_database(facts_url(settings)))
