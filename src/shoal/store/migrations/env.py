"""How Alembic reaches the database: on the connection that `migrate` hands over, inside its transaction.

Whoever drafts a new revision gives a URL of a database to compare with: ``alembic -x url=... revision``.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from shoal.store.cycle_schema import MARKET_BID
from shoal.store.database import open_database


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=MARKET_BID.metadata,
        # SQLite cannot alter a constraint in place; later revisions rebuild the table.
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


_given = context.config.attributes.get("connection")
if isinstance(_given, Connection):
    _run(_given)
else:
    _engine = open_database(context.get_x_argument(as_dictionary=True)["url"])
    with _engine.begin() as _connection:
        _run(_connection)
    _engine.dispose()
