"""Move prices to the facts: one store, one way to ask, the same answers."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import groupby

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_PART_NS = 3_600_000_000_000 * 288
"""How much time a part of these series covers: the prices that were kept so far are of hours."""
_MOST_IN_BLOCK = 4_096
_HEAD = struct.Struct("<2sBBIIH2x")
_SHAPE = struct.Struct("<BIH")
_RECORD = struct.Struct("<qqqqqqd")


def upgrade() -> None:
    """Write each price as a fact of the series ``price/SOURCE/SETTLEMENT_POINT``, and drop the table."""
    connection = op.get_bind()
    if connection.execute(sa.text("SELECT 1 FROM price LIMIT 1")).first() is not None:
        _move(connection)
    op.drop_table("price")


def downgrade() -> None:
    """Create the table, and write the facts of its series back."""
    from shoal.store.facts_columns import Columns
    from shoal.store.facts_pack import unpack

    op.create_table(
        "price",
        sa.Column("settlement_point", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=200), nullable=False),
        sa.Column("start_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("known_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("end_ns", sa.BigInteger(), nullable=False),
        sa.Column("price_per_mwh", sa.Double(), nullable=False),
        sa.CheckConstraint("end_ns > start_ns", name="ck_price_ends_after_start"),
        sa.PrimaryKeyConstraint("settlement_point", "source", "start_ns", "known_ns", name="pk_price"),
    )
    connection = op.get_bind()
    insert = sa.text("INSERT INTO price VALUES (:point, :source, :start, :known, :end, :price)")
    for number, name in connection.execute(sa.text("SELECT series_no, series_id FROM fact_series")).all():
        words = name.split("/")
        if len(words) != 3 or words[0] != "price":
            continue
        blocks = sa.text("SELECT payload FROM fact_block WHERE series_no = :number")
        payloads = [bytes(row[0]) for row in connection.execute(blocks, {"number": number})]
        parts = [part.take(slice(None)) for part in unpack(payloads, where=name)]
        every = Columns.joined(parts).ordered() if parts else Columns.empty(1)
        columns = (every.start_ns, every.known_ns, every.end_ns, every.value[:, 0])
        rows = [
            {"point": words[2], "source": words[1], "start": s, "known": k, "end": e, "price": v}
            for s, k, e, v in zip(*(column.tolist() for column in columns), strict=True)
        ]
        if rows:
            connection.execute(insert, rows)
        for table in ("fact_quarantine", "fact_block", "fact_series"):
            statement = sa.text(f"DELETE FROM {table} WHERE series_no = :number")
            connection.execute(statement, {"number": number})


def _move(connection: sa.Connection) -> None:
    record = 1 + (connection.execute(sa.text("SELECT max(last_record) FROM fact_series")).scalar() or 0)
    query = sa.text(
        "SELECT settlement_point, source, start_ns, known_ns, end_ns, price_per_mwh FROM price "
        "ORDER BY settlement_point, source, start_ns, known_ns"
    )
    rows = connection.execute(query).all()
    for (point, source), prices in groupby(rows, key=lambda row: (row[0], row[1])):
        numbers = sa.text("SELECT coalesce(max(series_no), -1) FROM fact_series")
        number = 1 + int(connection.execute(numbers).scalar_one())
        source_no = _number_of_source(connection, source)
        facts = [
            (start, end, known, 0, source_no, record, value) for _, _, start, known, end, value in prices
        ]
        last = max(facts)
        connection.execute(
            sa.text(
                "INSERT INTO fact_series (series_no, series_id, contract, width, span_ns, facts, latest_start_ns, "
                "latest_end_ns, latest_known_ns, last_record) "
                "VALUES (:number, :name, NULL, 1, :span, :facts, :start, :end, :known, :record)"
            ),
            {
                "number": number,
                "name": f"price/{source}/{point}",
                "span": _PART_NS,
                "facts": len(facts),
                "start": last[0],
                "end": last[1],
                "known": max(fact[2] for fact in facts),
                "record": record,
            },
        )
        for part_no, block_no, block in _blocks(facts):
            connection.execute(
                sa.text(
                    "INSERT INTO fact_block (series_no, part_no, block_no, facts, first_start_ns, last_start_ns, "
                    "first_known_ns, first_record, payload) "
                    "VALUES (:number, :part, :block, :facts, :first, :last, :known, :record, :payload)"
                ),
                {
                    "number": number,
                    "part": part_no,
                    "block": block_no,
                    "facts": len(block),
                    "first": block[0][0],
                    "last": block[-1][0],
                    "known": min(fact[2] for fact in block),
                    "record": record,
                    "payload": _payload(block),
                },
            )


Fact = tuple[int, int, int, int, int, int, float]


def _blocks(facts: list[Fact]) -> Iterator[tuple[int, int, list[Fact]]]:
    for part_no, some in groupby(facts, key=lambda fact: fact[0] // _PART_NS):
        part = list(some)
        for block_no, begin in enumerate(range(0, len(part), _MOST_IN_BLOCK)):
            yield part_no, block_no, part[begin : begin + _MOST_IN_BLOCK]


def _payload(block: list[Fact]) -> bytes:
    """Return plain records, which the fact store packs when it merges them."""
    body = b"".join(_RECORD.pack(*fact) for fact in block)
    checksum = zlib.crc32(body, zlib.crc32(_SHAPE.pack(0, len(block), 1)))
    return _HEAD.pack(b"SF", 1, 0, checksum, len(block), 1) + body


def _number_of_source(connection: sa.Connection, source: str) -> int:
    named = {"name": source}
    found = connection.execute(
        sa.text("SELECT source_no FROM fact_source WHERE name = :name"), named
    ).scalar()
    if found is not None:
        return int(found)
    number = 1 + int(
        connection.execute(sa.text("SELECT coalesce(max(source_no), -1) FROM fact_source")).scalar_one()
    )
    connection.execute(
        sa.text("INSERT INTO fact_source (source_no, name) VALUES (:number, :name)"),
        {"number": number, **named},
    )
    return number
