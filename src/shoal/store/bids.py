"""Bids and awards: what was said to a market, what it answered, and what it awarded.

A bid is written before it is sent, under its idempotency key. Its status only moves forward: an answer from the
market is final, and ``unknown`` (sent, no answer) waits for one.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Engine, select, update

from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.ids import ResourceId
from shoal.market.types import Award, Bid, BidReceipt
from shoal.store.database import insert_into, reading, writing
from shoal.store.records import BidRecord
from shoal.store.schema import AWARD, BID

_FINAL: Final = ("accepted", "rejected")
_BIDS: Final = msgspec.json.Decoder(Bid)
_RECEIPTS: Final = msgspec.json.Decoder(BidReceipt)
_AWARDS: Final = msgspec.json.Decoder(Award)


class Bids:
    """Bids and awards in a migrated database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record_bid(self, bid: Bid, *, rung: str, rung_reason: str, created_ns: int) -> None:
        """Keep a bid that is about to be sent, as ``building``; the same bid again changes nothing.

        Raises:
            InvalidInputError: when the key already names a different bid, or the resource already has this
                revision for the day.
        """
        values = {
            "idempotency_key": bid.idempotency_key,
            "resource_id": bid.resource_id,
            "delivery_date": bid.delivery_date,
            "revision": bid.revision,
            "bid": _text(bid),
            "status": "building",
            "rung": rung,
            "rung_reason": rung_reason,
            "created_ns": created_ns,
        }
        with writing(self._engine) as connection:
            key = [BID.c.idempotency_key]
            insert = insert_into(connection, BID).values(values).on_conflict_do_nothing(index_elements=key)
            connection.execute(insert)
            kept = _one(connection, bid.idempotency_key)
        if kept.bid != bid:
            raise InvalidInputError(
                field="idempotency_key", value=bid.idempotency_key, fix="give a different bid its own key"
            )

    def mark_bid(self, idempotency_key: str, status: Literal["submitted", "unknown"], *, at_ns: int) -> bool:
        """Say that a bid was sent, or that no answer came; the first sending gives `submitted_ns`.

        Returns:
            False when the market's answer is already there, which stays.

        Raises:
            UnknownIdError: when no bid has the key.
        """
        with writing(self._engine, lock="bids") as connection:
            kept = _one(connection, idempotency_key)
            if kept.status in _FINAL:
                return False
            first_ns = at_ns if kept.submitted_ns is None else kept.submitted_ns
            change = update(BID).where(BID.c.idempotency_key == idempotency_key)
            connection.execute(change.values(status=status, submitted_ns=first_ns))
        return True

    def record_receipt(self, receipt: BidReceipt) -> None:
        """Keep the market's answer; the same answer again changes nothing.

        Raises:
            UnknownIdError: when no bid has the key.
            InvalidInputError: when the market has answered otherwise before.
        """
        with writing(self._engine, lock="bids") as connection:
            kept = _one(connection, receipt.idempotency_key)
            if kept.receipt is not None:
                if (kept.receipt.status, kept.receipt.bid_id) != (receipt.status, receipt.bid_id):
                    raise InvalidInputError(
                        field=f"receipt of {receipt.idempotency_key}",
                        value=f"{receipt.status} {receipt.bid_id}",
                        fix=f"ask the market: it had said {kept.receipt.status} {kept.receipt.bid_id}",
                    )
                return
            connection.execute(
                update(BID)
                .where(BID.c.idempotency_key == receipt.idempotency_key)
                .values(status=receipt.status, receipt=_text(receipt), received_ns=receipt.received_ns)
            )

    def bid(self, idempotency_key: str) -> BidRecord:
        """Return a bid by its key.

        Raises:
            UnknownIdError: when no bid has the key.
        """
        with reading(self._engine) as connection:
            return _one(connection, idempotency_key)

    def bids(
        self, *, delivery_date: str | None = None, resource_id: ResourceId | None = None
    ) -> list[BidRecord]:
        """Return the bids of a day, of a resource, of both or all, by day, resource and revision."""
        query = select(BID).order_by(BID.c.delivery_date, BID.c.resource_id, BID.c.revision)
        if delivery_date is not None:
            query = query.where(BID.c.delivery_date == delivery_date)
        if resource_id is not None:
            query = query.where(BID.c.resource_id == resource_id)
        with reading(self._engine) as connection:
            return [_record(row) for row in connection.execute(query)]

    def latest_accepted(self, resource_id: ResourceId, *, as_of_ns: int | None = None) -> BidRecord | None:
        """Return the accepted bid of the latest day and revision, as known at an instant or now."""
        query = (
            select(BID)
            .where(BID.c.resource_id == resource_id, BID.c.status == "accepted")
            .order_by(BID.c.delivery_date.desc(), BID.c.revision.desc())
            .limit(1)
        )
        if as_of_ns is not None:
            query = query.where(BID.c.received_ns <= as_of_ns)
        with reading(self._engine) as connection:
            row = connection.execute(query).first()
        return None if row is None else _record(row)

    def record_award(self, award: Award) -> None:
        """Keep an award; the same version again changes nothing, a later one replaces it in what is read.

        Raises:
            InvalidInputError: when the award lists no interval, or the version was kept with other content.
        """
        if not award.intervals:
            raise InvalidInputError(field="award.intervals", value=(), fix="list every interval of the day")
        values = {
            "resource_id": award.resource_id,
            "delivery_date": award.delivery_date,
            "version": award.version,
            "start_ns": min(item.start_ns for item in award.intervals),
            "end_ns": max(item.end_ns for item in award.intervals),
            "published_ns": award.published_ns,
            "award": _text(award),
        }
        same = [AWARD.c[name] == values[name] for name in ("resource_id", "delivery_date", "version")]
        with writing(self._engine) as connection:
            connection.execute(insert_into(connection, AWARD).values(values).on_conflict_do_nothing())
            kept = connection.execute(select(AWARD.c.award).where(*same)).scalar_one()
        if _AWARDS.decode(kept) != award:
            raise InvalidInputError(
                field="award.version", value=award.version, fix="give a corrected award a higher version"
            )

    def awards(
        self, resource_id: ResourceId, from_ns: int, to_ns: int, *, as_of_ns: int | None = None
    ) -> list[Award]:
        """Return the awards that overlap `[from_ns, to_ns)`, by day: the latest version of each.

        Args:
            resource_id: Whose.
            from_ns: Begin of the span.
            to_ns: Its end, exclusive.
            as_of_ns: See only what was published at or before this instant.
        """
        known: list[ColumnElement[bool]] = [] if as_of_ns is None else [AWARD.c.published_ns <= as_of_ns]
        query = (
            select(AWARD.c.delivery_date, AWARD.c.award)
            .where(
                AWARD.c.resource_id == resource_id,
                AWARD.c.start_ns < to_ns,
                AWARD.c.end_ns > from_ns,
                *known,
            )
            .order_by(AWARD.c.start_ns, AWARD.c.version)
        )
        with reading(self._engine) as connection:
            latest = {row.delivery_date: row.award for row in connection.execute(query)}
        return [_AWARDS.decode(text) for text in latest.values()]

    def award_energy(
        self, resource_id: ResourceId, t0_ns: int, t1_ns: int, *, as_of_ns: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Return the awarded intervals that overlap `[t0_ns, t1_ns)`, as columns sorted by start.

        Returns:
            Starts and ends in ns, energy of the whole interval in Wh (bought positive, sold negative), and
            currency per MWh.
        """
        found = sorted(
            (item.start_ns, item.end_ns, item.energy_wh, item.price_per_mwh)
            for award in self.awards(resource_id, t0_ns, t1_ns, as_of_ns=as_of_ns)
            for item in award.intervals
            if item.start_ns < t1_ns and item.end_ns > t0_ns
        )
        starts, ends, energy, price = zip(*found, strict=True) if found else ((), (), (), ())
        return (
            np.array(starts, dtype=np.int64),
            np.array(ends, dtype=np.int64),
            np.array(energy, dtype=np.int64),
            np.array(price, dtype=np.float64),
        )


def _text(item: msgspec.Struct) -> str:
    return msgspec.json.encode(item).decode()


def _one(connection: Connection, idempotency_key: str) -> BidRecord:
    row = connection.execute(select(BID).where(BID.c.idempotency_key == idempotency_key)).first()
    if row is None:
        raise UnknownIdError("bid", idempotency_key)
    return _record(row)


def _record(row: Any) -> BidRecord:
    return BidRecord(
        bid=_BIDS.decode(row.bid),
        status=row.status,
        rung=row.rung,
        rung_reason=row.rung_reason,
        created_ns=row.created_ns,
        submitted_ns=row.submitted_ns,
        receipt=None if row.receipt is None else _RECEIPTS.decode(row.receipt),
    )
