"""What comes of settlements: how each version compares with its shadow, and what each home receives of it.

Nothing is changed: a check whose outcome differs from the one before is kept beside it, the shares of a version are written
once. What a version shares by an older key is read from the version that brought the key.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, Row, and_, func, select

from shoal.domain.interval import Interval
from shoal.market.awards import MarketAward
from shoal.market.shadow import Checked
from shoal.settle.shares import Shares, SharingKey
from shoal.store.cycle_schema import MARKET_AWARD, MARKET_SETTLEMENT, SETTLEMENT_CHECK, SETTLEMENT_SHARE
from shoal.store.database import insert_into, reading, writing

_CHECKED: Final = msgspec.json.Decoder(Checked)
_AWARD: Final = msgspec.json.Decoder(MarketAward)


class CheckRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A check of one version, and when it was made."""

    resource_id: str
    market_id: str
    delivery_date: str
    known_ns: int
    checked: Checked


class Settlings:
    """Checks and shares in a migrated database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def delivery_dates(self, resource_id: str, market_id: str, *, from_date: str) -> list[str]:
        """Return the days from `from_date` on of which something is awarded or settled, in order."""
        parts = [
            select(table.c.delivery_date).where(
                table.c.resource_id == resource_id,
                table.c.market_id == market_id,
                table.c.delivery_date >= from_date,
            )
            for table in (MARKET_AWARD, MARKET_SETTLEMENT)
        ]
        with reading(self._engine) as connection:
            return sorted(connection.execute(parts[0].union(parts[1])).scalars())

    def newest_award(self, resource_id: str, market_id: str, delivery_date: str) -> MarketAward | None:
        """Return the newest version of an award, None without one."""
        query = (
            select(MARKET_AWARD.c.award)
            .where(*_same(MARKET_AWARD, resource_id, market_id, delivery_date))
            .order_by(MARKET_AWARD.c.version.desc())
            .limit(1)
        )
        with reading(self._engine) as connection:
            found = connection.execute(query).scalar()
        return None if found is None else _AWARD.decode(found)

    # ── checks ──────────────────────────────────────────────────────────────────────────────────────────────

    def record_check(
        self, resource_id: str, market_id: str, delivery_date: str, checked: Checked, *, known_ns: int
    ) -> bool:
        """Keep a check unless the last one of its version came to the same; return whether it was kept."""
        content = msgspec.json.encode(checked).decode()
        table = SETTLEMENT_CHECK
        same = [
            *_same(table, resource_id, market_id, delivery_date),
            table.c.version == checked.version,
        ]
        with writing(self._engine, lock=f"settle {resource_id} {market_id}") as connection:
            last = connection.execute(
                select(table.c.check_no, table.c.checked)
                .where(*same)
                .order_by(table.c.check_no.desc())
                .limit(1)
            ).first()
            if last is not None and last.checked == content:
                return False
            connection.execute(
                insert_into(connection, table).values(
                    resource_id=resource_id,
                    market_id=market_id,
                    delivery_date=delivery_date,
                    version=checked.version,
                    check_no=0 if last is None else last.check_no + 1,
                    known_ns=known_ns,
                    disputes=len(checked.disputes),
                    unchecked=len(checked.unchecked),
                    checked=content,
                )
            )
        return True

    def checks(self, resource_id: str, market_id: str, delivery_date: str) -> list[CheckRecord]:
        """Return every check of a day, by version, then in the order in which they were made."""
        table = SETTLEMENT_CHECK
        query = (
            select(table)
            .where(*_same(table, resource_id, market_id, delivery_date))
            .order_by(table.c.version, table.c.check_no)
        )
        with reading(self._engine) as connection:
            return [_check_record(row) for row in connection.execute(query)]

    def open_disputes(self, resource_id: str | None = None) -> list[CheckRecord]:
        """Return the last check of the newest settlement of each day in which something differs, by resource and day."""
        table = SETTLEMENT_CHECK
        keys = [table.c[name] for name in ("resource_id", "market_id", "delivery_date")]
        newest = select(*keys, func.max(table.c.version).label("newest")).group_by(*keys).subquery()
        last = (
            select(*keys, table.c.version, func.max(table.c.check_no).label("last"))
            .group_by(*keys, table.c.version)
            .subquery()
        )
        query = (
            select(table)
            .join(
                newest,
                and_(
                    *(column == newest.c[column.name] for column in keys), table.c.version == newest.c.newest
                ),
            )
            .join(
                last,
                and_(
                    *(column == last.c[column.name] for column in keys),
                    table.c.version == last.c.version,
                    table.c.check_no == last.c.last,
                ),
            )
            .where(table.c.disputes > 0)
            .order_by(*keys)
        )
        if resource_id is not None:
            query = query.where(table.c.resource_id == resource_id)
        with reading(self._engine) as connection:
            return [_check_record(row) for row in connection.execute(query)]

    # ── shares ──────────────────────────────────────────────────────────────────────────────────────────────

    def record_shares(self, resource_id: str, market_id: str, delivery_date: str, shares: Shares) -> bool:
        """Keep the shares of a version; the first that are kept stay. Return whether these were."""
        key = shares.keys.get(shares.version)
        key_of = [(at.start_ns, at.end_ns, number) for at, number in sorted(shares.key_of.items())]
        values = {
            "resource_id": resource_id,
            "market_id": market_id,
            "delivery_date": delivery_date,
            "version": shares.version,
            "operator_amount": shares.operator_amount,
            "owner_share_permille": 0 if key is None else key.owner_share_permille,
            "key_sites": _packed_names(() if key is None else key.site_ids),
            "key_weight_wh": _packed(np.zeros(0, dtype=np.int64) if key is None else key.weight_wh),
            "key_of": _packed(np.array(key_of, dtype=np.int64).reshape(-1, 3)),
            "sites": _packed_names(shares.site_ids),
            "owner_amount": _packed(shares.owner_amount),
        }
        with writing(self._engine) as connection:
            insert = insert_into(connection, SETTLEMENT_SHARE).values(values).on_conflict_do_nothing()
            return bool(connection.execute(insert).rowcount)

    def shares(
        self, resource_id: str, market_id: str, delivery_date: str, *, version: int | None = None
    ) -> Shares | None:
        """Return the shares of a version, of the newest when None; None when there are none."""
        table = SETTLEMENT_SHARE
        query = select(table).where(*_same(table, resource_id, market_id, delivery_date))
        if version is not None:
            query = query.where(table.c.version <= version)
        with reading(self._engine) as connection:
            rows = {row.version: row for row in connection.execute(query.order_by(table.c.version))}
        if not rows or (version is not None and version not in rows):
            return None
        row = rows[max(rows)]
        key_of = _unpacked(row.key_of).reshape(-1, 3).tolist()
        return Shares(
            version=row.version,
            keys={number: _key(rows[number]) for number in sorted({one[2] for one in key_of})},
            key_of={
                Interval(start_ns=start_ns, end_ns=end_ns): number for start_ns, end_ns, number in key_of
            },
            site_ids=_unpacked_names(row.sites),
            owner_amount=_unpacked(row.owner_amount),
            operator_amount=row.operator_amount,
        )


def _same(table: Any, resource_id: str, market_id: str, delivery_date: str) -> list[Any]:
    wanted = {"resource_id": resource_id, "market_id": market_id, "delivery_date": delivery_date}
    return [table.c[name] == value for name, value in wanted.items()]


def _check_record(row: Row[Any]) -> CheckRecord:
    return CheckRecord(
        resource_id=row.resource_id,
        market_id=row.market_id,
        delivery_date=row.delivery_date,
        known_ns=row.known_ns,
        checked=_CHECKED.decode(row.checked),
    )


def _key(row: Row[Any]) -> SharingKey:
    return SharingKey(
        site_ids=_unpacked_names(row.key_sites),
        weight_wh=_unpacked(row.key_weight_wh),
        owner_share_permille=row.owner_share_permille,
    )


def _packed(numbers: NDArray[np.int64]) -> bytes:
    return zlib.compress(np.ascontiguousarray(numbers, dtype="<i8").tobytes())


def _unpacked(content: bytes) -> NDArray[np.int64]:
    return np.frombuffer(zlib.decompress(content), dtype="<i8").astype(np.int64)


def _packed_names(names: Sequence[str]) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(names))


def _unpacked_names(content: bytes) -> tuple[str, ...]:
    return msgspec.msgpack.decode(zlib.decompress(content), type=tuple[str, ...])
