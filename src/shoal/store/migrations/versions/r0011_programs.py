"""Programs with their terms, enrolments with the consent they rest on, opt-outs, and what owners were promised."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_LOCAL: Final = ("tariff", "self-consumption")

# As for memberships: of rows with the same key, at most one is valid at an instant.
_FOREVER: Final = "9223372036854775807"
_SQLITE: Final = """
CREATE TRIGGER {table}_{when}_exclusive AFTER {when} ON {table}
WHEN EXISTS (SELECT 1 FROM {table} o WHERE {overlaps})
BEGIN SELECT RAISE(ABORT, 'two rows of {table} are valid at one instant'); END
"""
_POSTGRESQL: Final = """
CREATE FUNCTION {table}_exclusive() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM site WHERE site_id = NEW.site_id FOR NO KEY UPDATE;
    IF EXISTS (SELECT 1 FROM {table} o WHERE {overlaps}) THEN
        RAISE EXCEPTION 'two rows of {table} are valid at one instant' USING ERRCODE = 'exclusion_violation';
    END IF;
    RETURN NULL;
END $$
"""
_POSTGRESQL_TRIGGER: Final = """
CREATE TRIGGER {table}_exclusive AFTER INSERT OR UPDATE ON {table}
FOR EACH ROW EXECUTE FUNCTION {table}_exclusive()
"""


def _forbid_overlaps(table: str, scope: str) -> None:
    overlaps = (
        f"o.site_id = NEW.site_id AND o.{scope} = NEW.{scope} AND o.valid_from_ns <> NEW.valid_from_ns "
        f"AND o.valid_from_ns < COALESCE(NEW.valid_until_ns, {_FOREVER}) "
        f"AND NEW.valid_from_ns < COALESCE(o.valid_until_ns, {_FOREVER})"
    )
    if _is_sqlite():
        for when in ("insert", "update"):
            op.execute(_SQLITE.format(table=table, overlaps=overlaps, when=when))
        return
    op.execute(_POSTGRESQL.format(table=table, overlaps=overlaps))
    op.execute(_POSTGRESQL_TRIGGER.format(table=table))


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _effective(table: str) -> tuple[sa.Column[int], sa.Column[int], sa.CheckConstraint]:
    return (
        sa.Column("valid_from_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("valid_until_ns", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "valid_until_ns IS NULL OR valid_until_ns > valid_from_ns",
            name=op.f(f"ck_{table}_ends_after_start"),
        ),
    )


def _said() -> tuple[sa.Column[str], sa.Column[int]]:
    return (
        sa.Column("said_by", sa.String(length=200), nullable=False),
        sa.Column("said_ns", sa.BigInteger(), nullable=False),
    )


def _add_consent() -> None:
    """Add the columns; on SQLite the table is made anew as one tree by its key, which is read in half the time."""
    consent = (
        sa.Column("consented_by", sa.String(length=200), nullable=False, server_default=""),
        sa.Column("consented_ns", sa.BigInteger(), nullable=True),
        sa.Column("terms", sa.String(length=64), nullable=False, server_default=""),
        sa.Column("withdrawn_by", sa.String(length=200), nullable=False, server_default=""),
        sa.Column("withdrawn_ns", sa.BigInteger(), nullable=True),
    )
    if not _is_sqlite():
        for column in consent:
            op.add_column("enrolment", column)
        return
    op.rename_table("enrolment", "enrolment_before")
    _create_enrolment(*consent, sqlite_with_rowid=False)
    _move_enrolments()


def _create_enrolment(*consent: sa.Column[str] | sa.Column[int], sqlite_with_rowid: bool) -> None:
    op.create_table(
        "enrolment",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("program_id", sa.String(length=64), nullable=False),
        *_effective("enrolment"),
        *consent,
        sa.ForeignKeyConstraint(["site_id"], ["site.site_id"], name="fk_enrolment_site_id"),
        sa.ForeignKeyConstraint(["program_id"], ["program.program_id"], name="fk_enrolment_program_id"),
        sa.PrimaryKeyConstraint("site_id", "program_id", "valid_from_ns", name="pk_enrolment"),
        sqlite_with_rowid=sqlite_with_rowid,
    )


def _move_enrolments() -> None:
    kept = "site_id, program_id, valid_from_ns, valid_until_ns"
    op.execute(f"INSERT INTO enrolment ({kept}) SELECT {kept} FROM enrolment_before")
    op.drop_table("enrolment_before")
    _forbid_overlaps("enrolment", "program_id")


def upgrade() -> None:
    """Add the columns and create the tables; programs that only concern the site itself are known by their names."""
    for column in (
        sa.Column("kind", sa.String(length=16), nullable=False, server_default="power"),
        sa.Column("reserve", sa.String(length=16), nullable=False, server_default="keep"),
        sa.Column("exclusive", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("beside_exclusive", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("may_opt_out", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("minimum_notice_s", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("pays", sa.String(length=16), nullable=False, server_default="nothing"),
        sa.Column("terms", sa.String(length=64), nullable=False, server_default=""),
    ):
        op.add_column("program", column)
    program = sa.table("program", sa.column("program_id"), sa.column("kind"), sa.column("beside_exclusive"))
    op.execute(program.update().where(program.c.program_id.in_(_LOCAL)).values(kind="local"))
    op.execute(program.update().where(program.c.program_id == _LOCAL[-1]).values(beside_exclusive=1))
    _add_consent()
    op.create_table(
        "opt_out",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("program_id", sa.String(length=64), nullable=False),
        *_effective("opt_out"),
        *_said(),
        sa.ForeignKeyConstraint(["site_id"], ["site.site_id"], name="fk_opt_out_site_id"),
        sa.ForeignKeyConstraint(["program_id"], ["program.program_id"], name="fk_opt_out_program_id"),
        sa.PrimaryKeyConstraint("site_id", "program_id", "valid_from_ns", name="pk_opt_out"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "owner_promise",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("amount", sa.Double(), nullable=False),
        *_effective("owner_promise"),
        *_said(),
        sa.CheckConstraint(
            "kind IN ('reserve_frac', 'cycle_wh_per_day')", name=op.f("ck_owner_promise_kind")
        ),
        sa.CheckConstraint("amount >= 0", name=op.f("ck_owner_promise_amount")),
        sa.ForeignKeyConstraint(["site_id"], ["site.site_id"], name="fk_owner_promise_site_id"),
        sa.PrimaryKeyConstraint("site_id", "kind", "valid_from_ns", name="pk_owner_promise"),
        sqlite_with_rowid=False,
    )
    _forbid_overlaps("opt_out", "program_id")
    _forbid_overlaps("owner_promise", "kind")


def downgrade() -> None:
    """Drop the tables and the columns."""
    for table in ("owner_promise", "opt_out"):
        op.drop_table(table)
        if not _is_sqlite():
            op.execute(f"DROP FUNCTION {table}_exclusive()")
    if _is_sqlite():
        op.rename_table("enrolment", "enrolment_before")
        _create_enrolment(sqlite_with_rowid=True)
        _move_enrolments()
    else:
        for name in ("withdrawn_ns", "withdrawn_by", "terms", "consented_ns", "consented_by"):
            op.drop_column("enrolment", name)
    for name in (
        *("terms", "pays", "minimum_notice_s", "may_opt_out"),
        *("beside_exclusive", "exclusive", "reserve", "kind"),
    ):
        op.drop_column("program", name)
