"""Tests that ask for `database_url` or `engine` run on SQLite and on PostgreSQL, each in its own database.

The schema is migrated once a session; a test gets a copy. Tests that leave the schema as it is ask for `tables` instead:
on PostgreSQL they share one database, emptied before each. The server goes away at the end, and its databases with it.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine

from shoal.store.database import migrate, open_database, writing
from shoal.store.schema import METADATA


def _new_database(server: str, template: str = "template1") -> str:
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    return server.rsplit("/", 1)[0] + f"/{name}"


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> str:
    """Return the name of a migrated PostgreSQL database that nobody is connected to."""
    url = _new_database(postgres_url)
    migrate(url)
    return url.rsplit("/", 1)[1]


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a migrated SQLite file that nobody has open."""
    path = tmp_path_factory.mktemp("template") / "plant.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'plant.db'}"
    return _new_database(request.getfixturevalue("postgres_url"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a migrated database."""
    if request.param == "sqlite":
        copy = shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "plant.db")
        return f"sqlite:///{copy}"
    template: str = request.getfixturevalue("postgres_template")
    return _new_database(request.getfixturevalue("postgres_url"), template)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Yield an engine on a migrated database."""
    engine = open_database(database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def postgres_shared(postgres_url: str, postgres_template: str) -> str:
    """Return the URL of a migrated PostgreSQL database that tests use one after the other."""
    return _new_database(postgres_url, postgres_template)


@pytest.fixture(params=["sqlite", "postgresql"])
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Yield an engine on a migrated database whose tables are empty."""
    if request.param == "sqlite":
        copy = shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "plant.db")
        engine = open_database(f"sqlite:///{copy}")
    else:
        engine = open_database(request.getfixturevalue("postgres_shared"))
        with writing(engine) as connection:
            for table in reversed(METADATA.sorted_tables):
                connection.execute(table.delete())
    yield engine
    engine.dispose()
