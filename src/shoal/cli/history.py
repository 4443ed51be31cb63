"""`shoal history`: ask history in SQL, write answers to files, see what there is, put it in shape.

It works on the files alone: the plant need not run, and when it does, neither notices the other.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from shoal.cli.history_energy import energy
from shoal.cli.history_learn import learn
from shoal.cli.options import AsJson, ConfigFile, SetValues, print_columns, print_json, read_settings
from shoal.domain.errors import InvalidInputError, UnavailableError

if TYPE_CHECKING:
    from shoal.runtime.settings import Settings
    from shoal.store.history import History

app = typer.Typer(
    help="Ask history, export it, see what there is, put it in shape.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

app.command(short_help="Learn how silent sites behave.")(learn)
app.command(short_help="Say how much energy the groups of a hierarchy moved.")(energy)

MAX_PRINTED: Final = 1_000
_TIERS: Final = ("telemetry", "rollup_5min", "rollup_1h")
From = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="Leave out the hours before, e.g. 2021-02-10T06.")
]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Leave out the hours from there on.")]
OutFile = Annotated[Path | None, typer.Option("--parquet", metavar="FILE", help="Write a Parquet file.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
Timeout = Annotated[float | None, typer.Option("--timeout", metavar="SECONDS", help="How long it may take.")]


@app.command()
def query(
    sql: Annotated[
        str, typer.Argument(metavar="SELECT", help="One SELECT on telemetry, rollup_5min, rollup_1h, sites.")
    ],
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    parquet: OutFile = None,
    from_: From = None,
    to: To = None,
    timeout: Timeout = None,
    config: ConfigFile = None,
    set_: SetValues = None,
) -> None:
    """Answer one SELECT."""
    settings = read_settings(config, set_, history__query_timeout_s=timeout)
    span_ns = _span(from_, to)
    history = _open(settings)
    try:
        if parquet is not None:
            rows = _write_parquet(history, sql, parquet, span_ns)
            typer.echo(f"{parquet}: {rows} rows")
        elif as_csv:
            _print_csv(history, sql, span_ns)
        else:
            _print(history.query(sql, span_ns=span_ns), as_json=as_json)
    finally:
        history.close()


@app.command()
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write; .csv or .parquet.")],
    tier: Annotated[str, typer.Option("--tier", help="telemetry, rollup_5min or rollup_1h.")] = "telemetry",
    site: Annotated[
        list[str] | None, typer.Option("--site", metavar="NAME", help="Only of this site.")
    ] = None,
    from_: From = None,
    to: To = None,
    config: ConfigFile = None,
    set_: SetValues = None,
) -> None:
    """Write samples or roll-ups to a file, with the names of sites, of any size."""
    if tier not in _TIERS:
        raise InvalidInputError(field="--tier", value=tier, fix=f"one of {', '.join(_TIERS)}")
    if file.suffix not in (".csv", ".parquet"):
        raise InvalidInputError(field="FILE", value=str(file), fix="let its name end in .csv or .parquet")
    settings = read_settings(config, set_, history__query_timeout_s=3_600)
    time = "ts_ns" if tier == "telemetry" else "start_ns"
    span_ns = _span(from_, to)
    where = [f"{time} >= {span_ns[0]} AND {time} < {span_ns[1]}"] if span_ns else []
    if site:
        quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in site)
        where.append(f"site_id IN ({quoted})")
    sql = f"SELECT site_id, {tier}.* FROM {tier} LEFT JOIN sites USING (site_no)"
    sql += f" WHERE {' AND '.join(where)}" if where else ""
    history = _open(settings)
    try:
        write = _write_parquet if file.suffix == ".parquet" else _write_csv
        typer.echo(f"{file}: {write(history, sql, file, span_ns)} rows")
    finally:
        history.close()


@app.command()
def status(as_json: AsJson = False, config: ConfigFile = None, set_: SetValues = None) -> None:
    """Say what there is: tiers, sizes, and up to which position of the journal it was written."""
    import msgspec

    from shoal.cli.history_store import history_folder, open_history

    settings = read_settings(config, set_)
    history = open_history(settings)
    found = history.status()
    history.close()
    if as_json:
        print_json({"address": history_folder(settings).address, **msgspec.to_builtins(found)})
        return
    rows = [("tier", "files", "MB", "from", "to")]
    for tier, held in found.tiers.items():
        megabytes = f"{held.bytes / 1e6:.1f}"
        rows.append((tier, str(held.files), megabytes, held.first or "-", held.last or "-"))
    print_columns(rows)
    typer.echo(f"parts to be merged: {found.parts}")
    for unit, position in found.positions.items():
        typer.echo(f"{unit}: written up to position {position} of its journal")


@app.command()
def compact(
    retain: Annotated[bool, typer.Option("--retain", help="Remove what is past its time, too.")] = False,
    grace: Annotated[
        float, typer.Option("--grace", metavar="SECONDS", help="How long replaced files stay for readers.")
    ] = 600.0,
    as_json: AsJson = False,
    config: ConfigFile = None,
    set_: SetValues = None,
) -> None:
    """Merge and roll up whatever can be, at once; safe beside a running plant."""
    import time

    import msgspec

    from shoal.cli.history_store import history_folder, history_keeper

    settings = read_settings(config, set_)
    keeper = history_keeper(settings, history_folder(settings), grace_s=grace)
    done = keeper.run(time.time_ns(), everything=True, retain=retain)
    if as_json:
        print_json(msgspec.to_builtins(done))
        return
    print_columns([(name.replace("_", " "), str(n)) for name, n in msgspec.to_builtins(done).items()])


def _open(settings: Settings) -> History:
    """Open history, with the names of sites when there is a registry."""
    from shoal.cli.history_store import open_history

    return open_history(settings, _site_ids(settings))


def _site_ids(settings: Settings) -> list[str]:
    import time

    from shoal.store.database import open_database
    from shoal.store.registry import Registry

    file = settings.data_dir / "registry.db"
    if not settings.registry.database_url and not file.exists():
        return []
    url = settings.registry.database_url or f"sqlite:///{file.absolute()}"
    fleet = Registry(open_database(url)).fleet_at(time.time_ns())
    return [] if fleet is None else list(fleet.site_ids)


def _span(from_: str | None, to: str | None) -> tuple[int, int] | None:
    if from_ is None and to is None:
        return None
    return (instant_ns("--from", from_) if from_ else 0), (instant_ns("--to", to) if to else 2**62)


def instant_ns(option: str, text: str) -> int:
    """Return the instant that an option gives, UTC where it names no zone.

    Raises:
        InvalidInputError: when it is none.
    """
    from shoal.domain.interval import to_ns

    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(
            field=option, value=text, fix="give a time such as 2021-02-10T06:00Z"
        ) from error
    return to_ns(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _print(table: Any, *, as_json: bool) -> None:
    if as_json:
        print_json({"columns": {f.name: str(f.type) for f in table.schema}, "rows": table.to_pylist()})
        return
    shown = table.slice(0, MAX_PRINTED)
    rows = [tuple("" if v is None else str(v) for v in row.values()) for row in shown.to_pylist()]
    print_columns([tuple(table.schema.names), *rows])
    if len(table) > MAX_PRINTED:
        typer.echo(
            f"... and {len(table) - MAX_PRINTED} rows more; --csv or --parquet FILE gives them all", err=True
        )


def _print_csv(history: History, sql: str, span_ns: tuple[int, int] | None) -> None:
    import sys

    _stream_csv(history, sql, sys.stdout.buffer, span_ns)


def _write_csv(history: History, sql: str, file: Path, span_ns: tuple[int, int] | None) -> int:
    with _opened(file) as sink:
        return _stream_csv(history, sql, sink, span_ns)


def _stream_csv(history: History, sql: str, sink: Any, span_ns: tuple[int, int] | None) -> int:
    from pyarrow import csv

    rows = 0
    with history.stream(sql, span_ns=span_ns) as reader, csv.CSVWriter(sink, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
            rows += len(batch)
    return rows


def _write_parquet(history: History, sql: str, file: Path, span_ns: tuple[int, int] | None) -> int:
    import pyarrow.parquet as pq

    rows = 0
    with (
        history.stream(sql, span_ns=span_ns) as reader,
        _opened(file) as sink,
        pq.ParquetWriter(sink, reader.schema, compression="zstd") as writer,
    ):
        for batch in reader:
            writer.write_batch(batch)
            rows += len(batch)
    return rows


def _opened(file: Path) -> Any:
    try:
        return file.open("wb")
    except OSError as error:
        raise UnavailableError(str(file), error.strerror or str(error)) from error
