"""How Alembic reaches the database: on the connection that `migrate` hands over, inside its transaction.

Whoever drafts a new revision gives a URL of a database to compare with: ``alembic -x url=... revision``.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from shoal.store import (
    cycle_schema,
    limit_schema,
    model_schema,
    order_schema,
    parameter_schema,
    proposal_schema,
    shelf_schema,
    standing_schema,
    user_schema,
)
from shoal.store.database import open_database
from shoal.store.schema import METADATA

TABLES = (
    cycle_schema.DECISION,
    limit_schema.CONNECTION_LIMIT,
    model_schema.MODEL,
    order_schema.FLEET_ORDER,
    parameter_schema.DEVICE_PARAMETERS,
    proposal_schema.PROPOSAL,
    shelf_schema.ALARM_SHELF,
    standing_schema.STANDING_SERVICE,
    user_schema.PAGE_USER,
)
"""Imported, so that the metadata know of them."""


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=METADATA,
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
