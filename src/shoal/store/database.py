"""Opening, migrating and using the database: SQLite in one file by default, PostgreSQL by URL.

All reads go through `reading` (one consistent snapshot), all writes through `writing` (one transaction;
SQLite has one writer at a time). These two also translate the library's errors, so that no caller needs to
know which database is behind.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, Select, Table, create_engine, event, exc, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url

from shoal.domain.errors import (
    CorruptStateError,
    InvalidInputError,
    SettingsError,
    ShoalError,
    UnavailableError,
)

BUSY_TIMEOUT_S: Final = 30.0
_WRITES: Final = "shoal_writes"
_OPTIONS: Final = {"preserve_rowcount": True}
"""Else an INSERT that found a conflict looks on PostgreSQL (-1) like one that did not."""
MIGRATIONS: Final = Path(__file__).parent / "migrations"

Insert = sqlite.Insert | postgresql.Insert


def open_database(url: str) -> Engine:
    """Return an engine for a database URL, e.g. ``sqlite:///plant.db`` or ``postgresql://user@host/plant``.

    A committed SQLite transaction survives a loss of power (WAL with a full sync).

    Raises:
        SettingsError: when the URL names no file and no PostgreSQL, or PostgreSQL's driver is missing.
    """
    target = _checked_url(url)
    if target.get_backend_name() == "postgresql":
        return create_engine(target, pool_pre_ping=True, execution_options=_OPTIONS)
    Path(str(target.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        target,
        connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},
        execution_options=_OPTIONS,
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _checked_url(url: str) -> URL:
    try:
        target = make_url(url)
    except exc.ArgumentError as error:
        raise SettingsError(
            field="database url", value=url, fix="write it like sqlite:///plant.db"
        ) from error
    shown = target.render_as_string(hide_password=True)
    if target.drivername in {"postgresql", "postgres", "postgresql+psycopg"}:
        if find_spec("psycopg") is None:
            raise SettingsError(
                field="database url", value=shown, fix="install shoal[postgres] for PostgreSQL"
            )
        return target.set(drivername="postgresql+psycopg")
    if target.drivername not in {"sqlite", "sqlite+pysqlite"}:
        raise SettingsError(field="database url", value=shown, fix="use sqlite:///<file> or postgresql://...")
    if target.database in {None, "", ":memory:"}:
        raise SettingsError(
            field="database url", value=shown, fix="name a file, so that processes can share it"
        )
    return target


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver's own transaction control begins too late for a consistent read: `_begin_sqlite` does it.
    connection.isolation_level = None
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            # Changing the mode ignores the busy timeout; another process is likely doing the same.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the write lock at once: a read that is upgraded later fails instead of waiting.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Yield a connection that sees one consistent snapshot and changes nothing.

    Raises:
        UnavailableError: when the database cannot be reached or is locked for too long.
        CorruptStateError: when its file is damaged.
    """
    view = engine
    if engine.dialect.name == "postgresql":
        view = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with _translated(engine), view.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine, *, lock: str | None = None) -> Iterator[Connection]:
    """Yield a connection inside a transaction that is committed at the end, or undone by an exception.

    Args:
        engine: The database.
        lock: Name of a lock held until the commit, for writers that read first and then decide.

    Raises:
        InvalidInputError: when a row breaks a constraint.
        UnavailableError: when the database cannot be reached or is locked for too long.
        CorruptStateError: when its file is damaged.
    """
    with _translated(engine), engine.execution_options(**{_WRITES: True}).begin() as connection:
        if lock is not None and engine.dialect.name == "postgresql":
            connection.execute(
                text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": f"shoal {lock}"}
            )
        yield connection


@contextmanager
def _translated(engine: Engine) -> Iterator[None]:
    # Both layers are caught: bulk paths and connection set-up speak to the driver itself.
    driver = engine.dialect.loaded_dbapi
    shown = engine.url.render_as_string(hide_password=True)
    try:
        yield
    except ShoalError:
        raise
    except (exc.IntegrityError, driver.IntegrityError, exc.DataError, driver.DataError) as error:
        raise InvalidInputError(
            field="row", value=_first_line(error), fix="give a row that the database's rules allow"
        ) from error
    except (exc.OperationalError, driver.OperationalError, exc.TimeoutError) as error:
        raise UnavailableError(f"database {shown}", _first_line(error)) from error
    except (exc.DatabaseError, driver.DatabaseError) as error:
        if engine.dialect.name == "sqlite" and ("not a database" in str(error) or "malformed" in str(error)):
            raise CorruptStateError(shown, _first_line(error)) from error
        raise


def _first_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, exc.DBAPIError) and error.orig is not None else error
    return (str(cause).splitlines() or [type(cause).__name__])[0]


def migrate(url: str) -> None:
    """Bring the database's schema to the newest revision; safe when several processes do so at once.

    Raises:
        SettingsError: see `open_database`.
        UnavailableError: when the database cannot be reached.
    """
    engine = open_database(url)
    try:
        with writing(engine, lock="migrate") as connection:
            command.upgrade(alembic_config(connection), "head")
    finally:
        engine.dispose()


def alembic_config(connection: Connection) -> Config:
    """Return the settings of Alembic for this package, bound to an open connection."""
    config = Config()
    # A percent sign in a path would be read as an interpolation.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def insert_into(connection: Connection, table: Table) -> Insert:
    """Return an INSERT of the database's own dialect, which can say ``ON CONFLICT``."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def bulk_insert(
    connection: Connection,
    table: Table,
    columns: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
    *,
    batch: int,
) -> None:
    """Insert many rows as fast as the database takes them: by COPY or one prepared statement.

    Args:
        connection: Inside `writing`.
        table: Where to.
        columns: The names of the columns, in the order of each row.
        rows: Python values, not numpy scalars.
        batch: Rows a statement on SQLite; bounds the memory used.
    """
    if not rows:
        return
    quote = connection.dialect.identifier_preparer.quote
    target = f"{quote(table.name)} ({', '.join(quote(name) for name in columns)})"
    if connection.dialect.name == "postgresql":
        raw = connection.connection.driver_connection
        assert raw is not None
        with raw.cursor() as cursor, cursor.copy(f"COPY {target} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        return
    statement = f"INSERT INTO {target} VALUES ({', '.join('?' * len(columns))})"
    pending = iter(rows)
    while part := list(islice(pending, batch)):
        connection.exec_driver_sql(statement, part)


def column_parts(connection: Connection, query: Select[Any], *, batch: int = 500) -> Iterator[list[Any]]:
    """Yield the result of a query part by part, each as a list of columns.

    The driver's own rows are taken, and few at a time, so that the garbage collector finds nothing to look at:
    for 100,000 rows that takes a third of the time. No type of the schema needs converting.
    """
    result = connection.execute(query)
    cursor = result.cursor
    assert cursor is not None
    while part := cursor.fetchmany(batch):
        yield list(zip(*part, strict=True))
    result.close()
