"""Keep limits at connection points, operating envelopes, and the hours in which owners keep their sites to themselves."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# As for promises: of rows with the same key, at most one is valid at an instant.
_FOREVER: Final = "9223372036854775807"
_OVERLAPS: Final = (
    "o.site_id = NEW.site_id AND o.kind = NEW.kind AND o.valid_from_ns <> NEW.valid_from_ns "
    f"AND o.valid_from_ns < COALESCE(NEW.valid_until_ns, {_FOREVER}) "
    f"AND NEW.valid_from_ns < COALESCE(o.valid_until_ns, {_FOREVER})"
)


def _limits(table: str, *, nullable: bool) -> tuple[sa.Column[int] | sa.CheckConstraint, ...]:
    return (
        sa.Column("import_limit_w", sa.BigInteger(), nullable=nullable),
        sa.Column("export_limit_w", sa.BigInteger(), nullable=nullable),
        sa.CheckConstraint("kind IN ('site', 'group')", name=op.f(f"ck_{table}_kind")),
        sa.CheckConstraint("import_limit_w >= 0 AND export_limit_w >= 0", name=op.f(f"ck_{table}_limits")),
    )


def _said() -> tuple[sa.Column[str], sa.Column[int]]:
    return (
        sa.Column("said_by", sa.String(length=200), nullable=False),
        sa.Column("said_ns", sa.BigInteger(), nullable=False),
    )


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "connection_limit",
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("target", sa.String(length=64), nullable=False),
        *_limits("connection_limit", nullable=True),
        *_said(),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("kind", "target", name="pk_connection_limit"),
    )
    op.create_table(
        "operating_envelope",
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("target", sa.String(length=64), nullable=False),
        sa.Column("start_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("issued_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("end_ns", sa.BigInteger(), nullable=False),
        *_limits("operating_envelope", nullable=False),
        *_said(),
        sa.CheckConstraint("end_ns > start_ns", name=op.f("ck_operating_envelope_ends_after_start")),
        sa.PrimaryKeyConstraint("kind", "target", "start_ns", "issued_ns", name="pk_operating_envelope"),
    )
    op.create_index("ix_operating_envelope_end_ns", "operating_envelope", ["end_ns"])
    _create_hours()


def _create_hours() -> None:
    op.create_table(
        "owner_hours",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("said", sa.String(length=1_000), nullable=False),
        sa.Column("valid_from_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("valid_until_ns", sa.BigInteger(), nullable=True),
        *_said(),
        sa.CheckConstraint(
            "valid_until_ns IS NULL OR valid_until_ns > valid_from_ns",
            name=op.f("ck_owner_hours_ends_after_start"),
        ),
        sa.CheckConstraint("kind IN ('not_available')", name=op.f("ck_owner_hours_kind")),
        sa.ForeignKeyConstraint(["site_id"], ["site.site_id"], name="fk_owner_hours_site_id"),
        sa.PrimaryKeyConstraint("site_id", "kind", "valid_from_ns", name="pk_owner_hours"),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "sqlite":
        for when in ("insert", "update"):
            op.execute(
                f"CREATE TRIGGER owner_hours_{when}_exclusive AFTER {when} ON owner_hours "
                f"WHEN EXISTS (SELECT 1 FROM owner_hours o WHERE {_OVERLAPS}) "
                "BEGIN SELECT RAISE(ABORT, 'two rows of owner_hours are valid at one instant'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION owner_hours_exclusive() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "PERFORM 1 FROM site WHERE site_id = NEW.site_id FOR NO KEY UPDATE; "
        f"IF EXISTS (SELECT 1 FROM owner_hours o WHERE {_OVERLAPS}) THEN "
        "RAISE EXCEPTION 'two rows of owner_hours are valid at one instant' USING ERRCODE = 'exclusion_violation'; "
        "END IF; RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER owner_hours_exclusive AFTER INSERT OR UPDATE ON owner_hours "
        "FOR EACH ROW EXECUTE FUNCTION owner_hours_exclusive()"
    )


def downgrade() -> None:
    """Drop the tables."""
    for name in ("owner_hours", "operating_envelope", "connection_limit"):
        op.drop_table(name)
    if op.get_bind().dialect.name != "sqlite":
        op.execute("DROP FUNCTION owner_hours_exclusive()")
