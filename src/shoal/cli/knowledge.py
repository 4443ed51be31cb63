"""`shoal knowledge`: what is known of every series, as of any instant, what was set aside, and facts from files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json, read_settings

if TYPE_CHECKING:
    from shoal.domain.contracts import SeriesContract
    from shoal.domain.facts import SeriesId
    from shoal.store.facts import FactStore

app = typer.Typer(
    help="Show what was known when, and load facts.", no_args_is_help=True, rich_markup_mode=None
)

MAX_PRINTED: Final = 1_000
_DAY_NS: Final = 86_400_000_000_000
_NS_PER_S: Final = 1_000_000_000

Series = Annotated[str, typer.Argument(metavar="SERIES", help="Like price/nem/VIC1/dispatch.")]
_INSTANT: Final = "Like 2026-05-04T16:00:00-05:00"


def register(app_: typer.Typer) -> None:
    """Add the command."""
    app_.add_typer(app, name="knowledge")


@app.command()
def series(config: ConfigFile = None, set_: SetValues = None, as_json: AsJson = False) -> None:
    """List the series: how much is known of each, up to when, and whether that keeps its contract."""
    import time

    from shoal.cli.feeds_store import age_text
    from shoal.domain.interval import iso

    store = _store(config, set_)
    contracts, set_aside = store.contracts(), store.quarantined()
    now_ns = time.time_ns()
    found = [
        {
            "series_id": item.series_id,
            "unit": contracts[item.series_id].unit if item.series_id in contracts else "",
            "facts": item.facts,
            "latest_start": None if item.latest_start_ns is None else iso(item.latest_start_ns),
            "latest_known": None if item.latest_known_ns is None else iso(item.latest_known_ns),
            "stale_after_s": None
            if (after_ns := _stale_after_ns(contracts, item.series_id)) is None
            else after_ns / 1e9,
            "stale": item.stale,
            "quarantined": set_aside.get(item.series_id, 0),
        }
        for item in store.freshness(now_ns)
    ]
    if as_json:
        print_json(found)
    elif not found:
        typer.echo("nothing is known yet; `shoal knowledge import` reads a file")
    else:
        head = ("series", "unit", "facts", "last interval", "last news", "may be old", "", "set aside")
        rows = [
            (
                str(item["series_id"]),
                str(item["unit"]) or "-",
                f"{item['facts']:,}",
                str(item["latest_start"] or "-"),
                str(item["latest_known"] or "-"),
                "-"
                if (after_ns := _stale_after_ns(contracts, _id(str(item["series_id"])))) is None
                else age_text(after_ns),
                "stale" if item["stale"] else "",
                f"{item['quarantined']:,}" if item["quarantined"] else "",
            )
            for item in found
        ]
        print_columns([head, *rows])


@app.command()
def show(
    name: Series,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="INSTANT", help=f"{_INSTANT}; else a day before --to.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="INSTANT", help="Else the end of the last interval.")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="INSTANT", help="What was known then; else now.")
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(
            "--history", metavar="INSTANT", help="All that was said of the interval that starts then."
        ),
    ] = None,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Print what was known of a series at an instant, or all that was ever said of one interval."""
    import time

    store = _store(config, set_)
    reach = {item.series_id: item for item in store.freshness(0)}
    if name not in reach:
        from shoal.domain.errors import UnknownIdError

        raise UnknownIdError("series", name)
    columns = _columns(store, name)
    if history is not None:
        rows = _history_rows(store, name, _instant("--history", history), columns)
    else:
        to_ns = (reach[_id(name)].latest_end_ns or 0) if to is None else _instant("--to", to)
        from_ns = to_ns - _DAY_NS if from_ is None else _instant("--from", from_)
        as_of_ns = time.time_ns() if as_of is None else _instant("--as-of", as_of)
        rows = _slice_rows(store, name, (from_ns, to_ns), as_of_ns, columns)
    if as_json:
        print_json(rows)
    elif not rows:
        typer.echo("nothing was known of it")
    else:
        print_columns(
            [tuple(rows[0]), *(tuple(_cell(v) for v in row.values()) for row in rows[:MAX_PRINTED])]
        )
        if len(rows) > MAX_PRINTED:
            typer.echo(f"{len(rows) - MAX_PRINTED:,} more; --json prints all")


@app.command()
def quarantine(
    name: Annotated[str | None, typer.Argument(metavar="[SERIES]", help="Of this series only.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 50,
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """List what was set aside, the newest first, and why."""
    from shoal.domain.interval import iso

    found = _store(config, set_).quarantine(None if name is None else _id(name), limit=limit)
    rows = [
        {
            "series_id": item.series_id,
            "start": iso(item.start_ns),
            "known": iso(item.known_ns),
            "source": item.source,
            "value": list(item.value),
            "reason": item.reason,
            "detail": item.detail,
        }
        for item in found
    ]
    if as_json:
        print_json(rows)
    elif not rows:
        typer.echo("nothing is set aside")
    else:
        print_columns([tuple(rows[0]), *(tuple(_cell(v) for v in row.values()) for row in rows)])


@app.command()
def compact(config: ConfigFile = None, set_: SetValues = None, as_json: AsJson = False) -> None:
    """Merge small blocks; answers stay as they are, and the plant may run meanwhile."""
    done = _store(config, set_).compact()
    if as_json:
        print_json({"parts": done.parts, "before": done.blocks_before, "after": done.blocks_after})
    else:
        typer.echo(f"{done.parts:,} parts: {done.blocks_before:,} blocks became {done.blocks_after:,}")


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A Parquet file.")],
    values: Annotated[
        list[str], typer.Option("--value", metavar="COLUMN", help="A column of values; may be given again.")
    ],
    name: Annotated[
        str | None, typer.Option("--series", metavar="SERIES", help="Else the column series_id says it.")
    ] = None,
    source: Annotated[str, typer.Option("--source", help="Who said it, without a column source.")] = "file",
    start: Annotated[str | None, typer.Option("--start", metavar="COLUMN", help="Starts.")] = None,
    end: Annotated[str | None, typer.Option("--end", metavar="COLUMN", help="Ends.")] = None,
    step_s: Annotated[
        float | None, typer.Option("--step-s", metavar="S", help="Length of all intervals.")
    ] = None,
    known: Annotated[
        str | None, typer.Option("--known", metavar="COLUMN", help="When each became known.")
    ] = None,
    known_after_s: Annotated[
        float | None,
        typer.Option(
            "--known-after-s", metavar="S", help="Or so long after its interval's start; may be negative."
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", metavar="COLUMN", help="Counts of corrections.")
    ] = None,
    zone: Annotated[str, typer.Option("--zone", help="Of times without one.")] = "UTC",
    config: ConfigFile = None,
    set_: SetValues = None,
    as_json: AsJson = False,
) -> None:
    """Keep the facts of a file; to do so twice changes nothing."""
    from shoal.store.facts_files import FileLayout, read_facts

    layout = FileLayout(
        series=name,
        source=source,
        start=start,
        end=end,
        step_ns=_ns(step_s),
        known=known,
        known_after_ns=_ns(known_after_s),
        revision=revision,
        values=tuple(values),
        zone=zone,
    )
    store = _store(config, set_)
    told: dict[str, int] = dict.fromkeys(("new", "corrected", "late", "repeated", "quarantined"), 0)
    batches = 0
    for batch in read_facts(file, layout):
        done = store.load(batch)
        batches += 1
        for kind in told:
            count = getattr(done, kind)
            told[kind] += count if isinstance(count, int) else len(count)
    if as_json:
        print_json({"file": str(file), "series": batches, **told})
    else:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in told.items())
        typer.echo(f"{file}: {batches} series: {counts}")


def _store(config: Path | None, assignments: list[str] | None) -> FactStore:
    from shoal.cli.roles.host import sqlite_url
    from shoal.store.database import migrate, open_database
    from shoal.store.facts import FactStore

    settings = read_settings(config, assignments)
    url = settings.bidding.database_url or sqlite_url(settings, "registry.db")
    migrate(url)
    return FactStore(open_database(url))


def _stale_after_ns(contracts: Mapping[SeriesId, SeriesContract], series_id: SeriesId) -> int | None:
    contract = contracts.get(series_id)
    return None if contract is None else contract.stale_after_ns


def _columns(store: FactStore, name: str) -> tuple[str, ...]:
    contract = store.contracts().get(_id(name))
    return () if contract is None else tuple(column.name for column in contract.columns)


def _slice_rows(
    store: FactStore, name: str, span_ns: tuple[int, int], as_of_ns: int, columns: tuple[str, ...]
) -> list[dict[str, Any]]:
    from shoal.domain.interval import iso

    known = store.as_of([_id(name)], *span_ns, as_of_ns)[_id(name)]
    columns = columns or _plain_names(known.value.shape[1])
    return [
        {"start": iso(s), "end": iso(e), **_named(columns, v), "known": iso(k), "revision": r}
        for s, e, v, k, r in zip(
            known.start_ns.tolist(),
            known.end_ns.tolist(),
            known.value.tolist(),
            known.known_ns.tolist(),
            known.revision.tolist(),
            strict=True,
        )
    ]


def _history_rows(
    store: FactStore, name: str, start_ns: int, columns: tuple[str, ...]
) -> list[dict[str, Any]]:
    from shoal.domain.interval import iso

    said = store.history(_id(name), start_ns)
    columns = columns or _plain_names(said.value.shape[1])
    return [
        {"known": iso(k), "revision": r, **_named(columns, v), "source": source, "end": iso(e)}
        for k, r, v, source, e in zip(
            said.known_ns.tolist(),
            said.revision.tolist(),
            said.value.tolist(),
            said.source,
            said.end_ns.tolist(),
            strict=True,
        )
    ]


def _plain_names(width: int) -> tuple[str, ...]:
    return ("value",) if width == 1 else tuple(f"value_{number}" for number in range(width))


def _named(columns: tuple[str, ...], values: list[float]) -> dict[str, float | None]:
    """Return values by name; one that is withdrawn is None."""
    return {name: None if value != value else value for name, value in zip(columns, values, strict=True)}


def _cell(value: Any) -> str:
    if value is None:
        return "withdrawn"
    if isinstance(value, list):
        return ", ".join(_cell(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _id(name: str) -> Any:
    from shoal.domain.facts import SeriesId

    return SeriesId(name)


def _ns(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * _NS_PER_S)


def _instant(option: str, text: str) -> int:
    from datetime import datetime

    from shoal.domain.errors import InvalidInputError
    from shoal.domain.interval import to_ns

    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(
            field=option, value=text, fix="write it like 2026-05-04T16:00:00-05:00"
        ) from error
    if moment.tzinfo is None:
        raise InvalidInputError(field=option, value=text, fix="add its distance from UTC, like Z or -05:00")
    return to_ns(moment)
