"""Opening and migrating: the schema equals its declaration, and processes may migrate at once."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from shoal.domain.errors import CorruptStateError, InvalidInputError, SettingsError, UnavailableError
from shoal.store.database import migrate, open_database, reading, writing
from shoal.store.schema import FENCE, METADATA


def _tables(url: str) -> set[str]:
    engine = open_database(url)
    with reading(engine) as connection:
        names = set(inspect(connection).get_table_names())
    engine.dispose()
    return names


def test_migrations_agree_with_the_schema(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


def test_migrate_twice_changes_nothing(database_url: str) -> None:
    before = _tables(database_url)

    migrate(database_url)

    assert _tables(database_url) == before == {*METADATA.tables, "alembic_version"}


def test_migrate_by_two_processes_at_once(empty_url: str) -> None:
    # Each process says that it is ready and waits for a line, so that both begin together.
    program = "import sys; from shoal.store.database import migrate; print(flush=True); input(); migrate(sys.argv[1])"
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program, empty_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=60)[1] for process in processes]

    assert [process.returncode for process in processes] == [0, 0], errors
    assert _tables(empty_url) == {*METADATA.tables, "alembic_version"}


def test_writing_is_undone_by_an_exception(engine: Engine) -> None:
    class OnPurposeError(Exception):
        pass

    with pytest.raises(OnPurposeError), writing(engine) as connection:
        connection.execute(FENCE.insert().values(issuer="control", token=1))
        raise OnPurposeError

    with reading(engine) as connection:
        assert connection.execute(FENCE.select()).all() == []


def test_reading_sees_one_snapshot_while_another_writes(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(FENCE.insert().values(issuer="control", token=1))

    with reading(engine) as connection:
        before = connection.execute(FENCE.select()).all()
        with writing(engine) as writer:
            writer.execute(FENCE.update().values(token=2))
        assert connection.execute(FENCE.select()).all() == before
    with reading(engine) as connection:
        assert connection.execute(FENCE.select()).one().token == 2


def test_reading_refuses_to_write_on_postgresql(engine: Engine) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite has no read-only transactions")
    with pytest.raises(Exception, match="read-only"), reading(engine) as connection:
        connection.execute(FENCE.insert().values(issuer="control", token=1))


def test_writers_with_the_same_lock_go_one_after_another(engine: Engine) -> None:
    """A counter that is read and written back loses no step."""
    with writing(engine) as connection:
        connection.execute(FENCE.insert().values(issuer="control", token=0))

    def count() -> None:
        for _ in range(10):
            with writing(engine, lock="test") as connection:
                token = connection.execute(FENCE.select()).one().token
                connection.execute(FENCE.update().values(token=token + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)

    with reading(engine) as connection:
        assert connection.execute(FENCE.select()).one().token == 40


def test_broken_constraint_is_invalid_input(engine: Engine) -> None:
    with pytest.raises(InvalidInputError), writing(engine) as connection:
        connection.execute(FENCE.insert(), [{"issuer": "control", "token": n} for n in (1, 2)])


def test_sqlite_is_set_to_survive_a_loss_of_power(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'folder' / 'plant.db'}")
    names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    with reading(engine) as connection:
        found = [connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in names]
    engine.dispose()

    assert found == ["wal", 2, 1, 30_000]


def test_open_database_refuses_what_it_cannot_use() -> None:
    for url in ("sqlite://", "sqlite:///:memory:", "mysql://u:secret@host/db", "plant.db"):
        with pytest.raises(SettingsError) as caught:
            open_database(url)
        assert "secret" not in str(caught.value)


def test_database_out_of_reach_is_unavailable_and_hides_the_password(tmp_path: Path) -> None:
    # A folder in place of the socket: nobody listens there.
    url = f"postgresql://shoal:secret@/plant?host={tmp_path}"
    with pytest.raises(UnavailableError) as caught:
        migrate(url)
    assert "secret" not in str(caught.value)


def test_damaged_file_is_corrupt_state(tmp_path: Path) -> None:
    path = tmp_path / "plant.db"
    path.write_bytes(b"this is not a database" * 1000)
    with pytest.raises(CorruptStateError, match=r"plant\.db"):
        migrate(f"sqlite:///{path}")
