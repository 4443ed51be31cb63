"""Decisions, bids, awards and settlements of every market, and every step of a bid: who did what, when, knowing what.

A bid is written before it is sent. Its revision is drawn with it, in one transaction, so that two bidders of one resource
cannot make the same one; its state moves only as `shoal.market.awards.SUBMISSION_STEPS` allows, and every move is kept.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Engine, Row, Select, func, select, update

from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.market.awards import (
    SUBMISSION_STEPS,
    MarketAward,
    MarketReceipt,
    Settlement,
    SubmissionState,
)
from shoal.market.bids import MarketBid
from shoal.store.cycle_schema import (
    DECISION,
    MARKET_AWARD,
    MARKET_BID,
    MARKET_BID_STEP,
    MARKET_SETTLEMENT,
)
from shoal.store.database import insert_into, reading, writing

_COMPRESSED: Final = ("situation", "decision", "known_parts")
"""Columns of a decision that are long and repeat themselves."""
_BID: Final = msgspec.json.Decoder(MarketBid)
_RECEIPT: Final = msgspec.json.Decoder(MarketReceipt)
_AWARD: Final = msgspec.json.Decoder(MarketAward)
_SETTLEMENT: Final = msgspec.json.Decoder(Settlement)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """A decision as it is kept; the texts are JSON.

    Attributes:
        decision_id: A function of resource, gate and trigger.
        resource_id: Whose.
        market_id: In which market.
        gate_key: For which gate.
        closes_ns: When the gate closes.
        as_of_ns: The instant of which everything was known.
        strategy: Who decided.
        strategy_version: In which version.
        rung: The rung that held.
        shadow: Whether it was only made to be compared.
        trigger: What brought it about.
        situation: What it was made about.
        questions: What was asked of the facts.
        known_digest: Of the situation and the facts; of the situation alone when nothing could be gathered.
        tried: Every rung that was tried.
        decision: What was decided, byte for byte.
        known_parts: Digests of the facts by series and day, to name what differs; empty when they were not kept.
    """

    decision_id: str
    resource_id: str
    market_id: str
    gate_key: str
    closes_ns: int
    as_of_ns: int
    strategy: str
    strategy_version: str
    rung: str
    shadow: bool
    trigger: str
    situation: str
    questions: str
    known_digest: str
    tried: str
    decision: str
    known_parts: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketBidRecord:
    """A bid and how it stands.

    Attributes:
        bid: As it is sent.
        state: Where its submission is.
        gate_key: For which gate it was made.
        closes_ns: When that gate closes.
        decision_id: The decision behind it.
        author: Who made it by hand; empty for the machine.
        created_ns: When it was written.
        content_digest: Of what is sent.
        receipt: The market's answer, None before.
    """

    bid: MarketBid
    state: SubmissionState
    gate_key: str
    closes_ns: int
    decision_id: str
    author: str
    created_ns: int
    content_digest: str
    receipt: MarketReceipt | None


class BidStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a bid."""

    step_no: int
    at_ns: int
    state: str
    by: str
    said: str


class Cycles:
    """The market cycle in a migrated database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def engine(self) -> Engine:
        """The database."""
        return self._engine

    # ── decisions ───────────────────────────────────────────────────────────────────────────────────────────

    def record_decision(self, record: DecisionRecord) -> None:
        """Keep a decision; the first of a name stays."""
        values = {name: getattr(record, name) for name in DecisionRecord.__dataclass_fields__}
        values |= {name: zlib.compress(values[name].encode()) for name in _COMPRESSED}
        with writing(self._engine) as connection:
            connection.execute(insert_into(connection, DECISION).values(values).on_conflict_do_nothing())

    def decision(self, decision_id: str) -> DecisionRecord:
        """Return a decision.

        Raises:
            UnknownIdError: when there is none of that name.
        """
        with reading(self._engine) as connection:
            row = connection.execute(select(DECISION).where(DECISION.c.decision_id == decision_id)).first()
        if row is None:
            raise UnknownIdError("decision", decision_id)
        return _decision_record(row)

    def tried(self, decision_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Return the rung that held and the JSON of all that were tried, by decision: what people see of many at once."""
        query = select(DECISION.c.decision_id, DECISION.c.rung, DECISION.c.tried).where(
            DECISION.c.decision_id.in_(list(decision_ids))
        )
        with reading(self._engine) as connection:
            return {row.decision_id: (row.rung, row.tried) for row in connection.execute(query)}

    def decisions(
        self, resource_id: str, *, from_ns: int, to_ns: int, shadow: bool | None = False
    ) -> list[DecisionRecord]:
        """Return the decisions for gates that close in ``[from_ns, to_ns)``, by gate; shadow ones, or both when None."""
        query = _for_gates(select(DECISION), resource_id, from_ns=from_ns, to_ns=to_ns, shadow=shadow)
        with reading(self._engine) as connection:
            return [_decision_record(row) for row in connection.execute(query)]

    def decision_ids(
        self, resource_id: str | None = None, *, from_ns: int, to_ns: int, shadow: bool | None = False
    ) -> list[str]:
        """Return the names of what `decisions` returns, of one resource or of all: a decision itself may be large."""
        query = select(DECISION.c.decision_id)
        query = _for_gates(query, resource_id, from_ns=from_ns, to_ns=to_ns, shadow=shadow)
        with reading(self._engine) as connection:
            return list(connection.execute(query).scalars())

    def resources(self) -> list[str]:
        """Return every resource for which something was decided or bid."""
        decided = select(DECISION.c.resource_id)
        query = decided.union(select(MARKET_BID.c.resource_id)).order_by("resource_id")
        with reading(self._engine) as connection:
            return list(connection.execute(query).scalars())

    # ── bids ────────────────────────────────────────────────────────────────────────────────────────────────

    def draft_bid(
        self,
        make: Callable[[int], MarketBid],
        *,
        resource_id: str,
        market_id: str,
        delivery_date: str,
        idempotency_key: str,
        gate_key: str,
        closes_ns: int,
        decision_id: str,
        author: str,
        created_ns: int,
        digest: Callable[[MarketBid], str],
        by: str,
    ) -> MarketBidRecord:
        """Write a bid that is about to be sent, under the next revision of its day; the same key again gives what is there.

        Args:
            make: Makes the bid, given its revision.
            resource_id: Whose.
            market_id: In which market.
            delivery_date: The market's day.
            idempotency_key: Its key.
            gate_key: For which gate.
            closes_ns: When that gate closes.
            decision_id: The decision behind it.
            author: Who made it by hand; empty for the machine.
            created_ns: Now.
            digest: Of what is sent.
            by: Who writes it.
        """
        with writing(self._engine, lock=f"bids {resource_id} {market_id}") as connection:
            kept = _bid_row(connection, idempotency_key)
            if kept is not None:
                return _bid_record(kept)
            newest = connection.execute(
                select(func.max(MARKET_BID.c.revision)).where(
                    MARKET_BID.c.resource_id == resource_id,
                    MARKET_BID.c.market_id == market_id,
                    MARKET_BID.c.delivery_date == delivery_date,
                )
            ).scalar()
            bid = make((newest or 0) + 1)
            connection.execute(
                insert_into(connection, MARKET_BID).values(
                    idempotency_key=idempotency_key,
                    resource_id=resource_id,
                    market_id=market_id,
                    delivery_date=delivery_date,
                    revision=bid.revision,
                    gate_key=gate_key,
                    closes_ns=closes_ns,
                    decision_id=decision_id,
                    author=author,
                    created_ns=created_ns,
                    state="draft",
                    content_digest=digest(bid),
                    bid=msgspec.json.encode(bid).decode(),
                )
            )
            _add_step(
                connection, idempotency_key, "draft", at_ns=created_ns, by=by, said=f"revision {bid.revision}"
            )
            made = _bid_row(connection, idempotency_key)
        assert made is not None
        return _bid_record(made)

    def change_draft(
        self,
        idempotency_key: str,
        change: Callable[[MarketBid, int], MarketBid],
        *,
        digest: Callable[[MarketBid], str],
        at_ns: int,
        by: str,
        said: str,
    ) -> MarketBidRecord:
        """Change a bid as long as it is a draft, and keep that it was; return it as it is then.

        Args:
            idempotency_key: Its key.
            change: Makes the bid that it becomes, given what it is and the next revision of its day.
            digest: Of what is sent.
            at_ns: Now.
            by: Who changes it.
            said: Why.

        Raises:
            UnknownIdError: when there is no such bid.
        """
        found = self.bid(idempotency_key)
        if found is None:
            raise UnknownIdError("bid", idempotency_key)
        of_day = (
            (MARKET_BID.c.resource_id == found.bid.resource_id)
            & (MARKET_BID.c.market_id == found.bid.market_id)
            & (MARKET_BID.c.delivery_date == found.bid.delivery_date)
        )
        lock = f"bids {found.bid.resource_id} {found.bid.market_id}"
        with writing(self._engine, lock=lock) as connection:
            row = _bid_row(connection, idempotency_key)
            assert row is not None
            held = _bid_record(row)
            newest = connection.execute(select(func.max(MARKET_BID.c.revision)).where(of_day)).scalar_one()
            bid = change(held.bid, newest + 1)
            own = (MARKET_BID.c.idempotency_key == idempotency_key) & (MARKET_BID.c.state == "draft")
            values = {
                "revision": bid.revision,
                "content_digest": digest(bid),
                "bid": msgspec.json.encode(bid).decode(),
            }
            if not connection.execute(update(MARKET_BID).where(own).values(values)).rowcount:
                return held
            _add_step(connection, idempotency_key, "draft", at_ns=at_ns, by=by, said=said)
            changed = _bid_row(connection, idempotency_key)
        assert changed is not None
        return _bid_record(changed)

    def move_bid(
        self,
        idempotency_key: str,
        state: SubmissionState,
        *,
        at_ns: int,
        by: str,
        said: str = "",
        receipt: MarketReceipt | None = None,
    ) -> MarketBidRecord:
        """Move a bid to a state; to the one that it is in already changes nothing.

        Of the accepted bids of a day the one with the highest revision supersedes the others, whichever answer comes last.

        Raises:
            UnknownIdError: when there is no such bid.
            InvalidInputError: when its state cannot go there.
        """
        with writing(self._engine, lock=f"bid {idempotency_key}") as connection:
            row = _bid_row(connection, idempotency_key)
            if row is None:
                raise UnknownIdError("bid", idempotency_key)
            if row.state == state:
                return _bid_record(row)
            _check_step(row.state, state)
            values: dict[str, Any] = {"state": state}
            if receipt is not None:
                values["receipt"] = msgspec.json.encode(receipt).decode()
            own = MARKET_BID.c.idempotency_key == idempotency_key
            connection.execute(update(MARKET_BID).where(own).values(values))
            _add_step(connection, idempotency_key, state, at_ns=at_ns, by=by, said=said)
            if state == "accepted":
                _supersede(connection, row, at_ns=at_ns, by=by)
            moved = _bid_row(connection, idempotency_key)
        assert moved is not None
        return _bid_record(moved)

    def begin_sending(self, idempotency_key: str, *, at_ns: int, by: str) -> bool:
        """Move a draft to ``submitted``; return whether it was one: only who gets True may send it."""
        with writing(self._engine, lock=f"bid {idempotency_key}") as connection:
            own = (MARKET_BID.c.idempotency_key == idempotency_key) & (MARKET_BID.c.state == "draft")
            if not connection.execute(update(MARKET_BID).where(own).values(state="submitted")).rowcount:
                return False
            _add_step(connection, idempotency_key, "submitted", at_ns=at_ns, by=by, said="")
        return True

    def note_bid(self, idempotency_key: str, *, at_ns: int, by: str, said: str) -> bool:
        """Write a step that moves a bid nowhere, such as a corrected award; return whether it was not there yet.

        Raises:
            UnknownIdError: when there is no such bid.
        """
        with writing(self._engine, lock=f"bid {idempotency_key}") as connection:
            row = _bid_row(connection, idempotency_key)
            if row is None:
                raise UnknownIdError("bid", idempotency_key)
            same = (MARKET_BID_STEP.c.idempotency_key == idempotency_key) & (MARKET_BID_STEP.c.said == said)
            if connection.execute(select(MARKET_BID_STEP.c.step_no).where(same)).first() is not None:
                return False
            _add_step(connection, idempotency_key, row.state, at_ns=at_ns, by=by, said=said)
        return True

    def bid(self, idempotency_key: str) -> MarketBidRecord | None:
        """Return a bid, None when there is none under the key."""
        with reading(self._engine) as connection:
            row = _bid_row(connection, idempotency_key)
        return None if row is None else _bid_record(row)

    def bids(
        self,
        *,
        resource_id: str | None = None,
        market_id: str | None = None,
        delivery_date: str | None = None,
        gate_key: str | None = None,
        states: Sequence[str] = (),
    ) -> list[MarketBidRecord]:
        """Return the bids that match, by resource, day and revision."""
        query = select(MARKET_BID).order_by(
            MARKET_BID.c.resource_id,
            MARKET_BID.c.market_id,
            MARKET_BID.c.delivery_date,
            MARKET_BID.c.revision,
        )
        wanted = {
            "resource_id": resource_id,
            "market_id": market_id,
            "delivery_date": delivery_date,
            "gate_key": gate_key,
        }
        for name, value in wanted.items():
            if value is not None:
                query = query.where(MARKET_BID.c[name] == value)
        if states:
            query = query.where(MARKET_BID.c.state.in_(states))
        with reading(self._engine) as connection:
            return [_bid_record(row) for row in connection.execute(query)]

    def highest_revision(
        self, resource_id: str, market_id: str, delivery_date: str, *, states: Sequence[str]
    ) -> int:
        """Return the highest revision of a day among bids in some states; 0 when there is none."""
        query = select(func.max(MARKET_BID.c.revision)).where(
            MARKET_BID.c.resource_id == resource_id,
            MARKET_BID.c.market_id == market_id,
            MARKET_BID.c.delivery_date == delivery_date,
            MARKET_BID.c.state.in_(states),
        )
        with reading(self._engine) as connection:
            return int(connection.execute(query).scalar() or 0)

    def steps(self, idempotency_key: str) -> list[BidStep]:
        """Return every step of a bid, in order."""
        query = (
            select(MARKET_BID_STEP)
            .where(MARKET_BID_STEP.c.idempotency_key == idempotency_key)
            .order_by(MARKET_BID_STEP.c.step_no)
        )
        names = BidStep.__struct_fields__
        with reading(self._engine) as connection:
            return [
                BidStep(**{name: getattr(row, name) for name in names}) for row in connection.execute(query)
            ]

    # ── awards and settlements ──────────────────────────────────────────────────────────────────────────────

    def record_award(self, award: MarketAward, *, known_ns: int) -> bool:
        """Keep a version of an award; return whether it is new.

        Raises:
            InvalidInputError: when that version is kept with another content.
        """
        own = {
            name: getattr(award, name) for name in ("resource_id", "market_id", "delivery_date", "version")
        }
        content = msgspec.json.encode(award).decode()
        return self._keep(MARKET_AWARD, own, {"known_ns": known_ns, "award": content}, "award")

    def awards(self, resource_id: str, market_id: str, delivery_date: str) -> list[MarketAward]:
        """Return every version of an award, the newest last."""
        found = self._versions(MARKET_AWARD, resource_id, market_id, delivery_date)
        return [_AWARD.decode(row.award) for row in found]

    def awards_between(
        self, resource_id: str, market_id: str, *, first_day: str, last_day: str
    ) -> list[MarketAward]:
        """Return every version of the awards of some days, the first and the last included, by day and version."""
        query = (
            select(MARKET_AWARD.c.award)
            .where(
                MARKET_AWARD.c.resource_id == resource_id,
                MARKET_AWARD.c.market_id == market_id,
                MARKET_AWARD.c.delivery_date >= first_day,
                MARKET_AWARD.c.delivery_date <= last_day,
            )
            .order_by(MARKET_AWARD.c.delivery_date, MARKET_AWARD.c.version)
        )
        with reading(self._engine) as connection:
            return [_AWARD.decode(text) for text in connection.execute(query).scalars()]

    def record_settlement(self, settlement: Settlement, *, known_ns: int) -> bool:
        """Keep a version of a settlement; return whether it is new.

        Raises:
            InvalidInputError: when that version is kept with another content.
        """
        own = {
            name: getattr(settlement, name)
            for name in ("resource_id", "market_id", "delivery_date", "version")
        }
        content = {
            "known_ns": known_ns,
            "amount": settlement.amount,
            "settlement": msgspec.json.encode(settlement).decode(),
        }
        return self._keep(MARKET_SETTLEMENT, own, content, "settlement")

    def settlements(self, resource_id: str, market_id: str, delivery_date: str) -> list[Settlement]:
        """Return every version of a settlement, the newest last."""
        found = self._versions(MARKET_SETTLEMENT, resource_id, market_id, delivery_date)
        return [_SETTLEMENT.decode(row.settlement) for row in found]

    def _keep(self, table: Any, own: dict[str, Any], content: dict[str, Any], column: str) -> bool:
        with writing(self._engine) as connection:
            insert = insert_into(connection, table).values({**own, **content}).on_conflict_do_nothing()
            if connection.execute(insert).rowcount:
                return True
            same = [table.c[name] == value for name, value in own.items()]
            kept = connection.execute(select(table.c[column]).where(*same)).scalar_one()
        if kept != content[column]:
            raise InvalidInputError(
                field=f"{column} of {own['resource_id']} for {own['delivery_date']}",
                value=f"version {own['version']}",
                fix="give another content a version of its own",
            )
        return False

    def _versions(self, table: Any, resource_id: str, market_id: str, delivery_date: str) -> list[Row[Any]]:
        query = (
            select(table)
            .where(
                table.c.resource_id == resource_id,
                table.c.market_id == market_id,
                table.c.delivery_date == delivery_date,
            )
            .order_by(table.c.version)
        )
        with reading(self._engine) as connection:
            return list(connection.execute(query))


def _for_gates(
    query: Select[Any], resource_id: str | None, *, from_ns: int, to_ns: int, shadow: bool | None
) -> Select[Any]:
    query = query.where(DECISION.c.closes_ns >= from_ns, DECISION.c.closes_ns < to_ns)
    query = query.order_by(DECISION.c.closes_ns, DECISION.c.as_of_ns, DECISION.c.decision_id)
    if resource_id is not None:
        query = query.where(DECISION.c.resource_id == resource_id)
    return query if shadow is None else query.where(DECISION.c.shadow == shadow)


def _decision_record(row: Row[Any]) -> DecisionRecord:
    values = dict(row._asdict())
    values |= {name: zlib.decompress(values[name]).decode() for name in _COMPRESSED}
    return DecisionRecord(**values)


def _bid_row(connection: Connection, idempotency_key: str) -> Row[Any] | None:
    return connection.execute(
        select(MARKET_BID).where(MARKET_BID.c.idempotency_key == idempotency_key)
    ).first()


def _bid_record(row: Row[Any]) -> MarketBidRecord:
    return MarketBidRecord(
        bid=_BID.decode(row.bid),
        state=row.state,
        gate_key=row.gate_key,
        closes_ns=row.closes_ns,
        decision_id=row.decision_id,
        author=row.author,
        created_ns=row.created_ns,
        content_digest=row.content_digest,
        receipt=None if row.receipt is None else _RECEIPT.decode(row.receipt),
    )


def _check_step(held: SubmissionState, state: SubmissionState) -> None:
    if state not in SUBMISSION_STEPS[held]:
        allowed = ", ".join(SUBMISSION_STEPS[held]) or "nowhere"
        raise InvalidInputError(field="state", value=state, fix=f"from {held!r} a bid can go to: {allowed}")


def _add_step(connection: Connection, key: str, state: str, *, at_ns: int, by: str, said: str) -> None:
    count = select(func.count()).where(MARKET_BID_STEP.c.idempotency_key == key)
    step_no = connection.execute(count).scalar_one()
    connection.execute(
        insert_into(connection, MARKET_BID_STEP).values(
            idempotency_key=key, step_no=step_no, at_ns=at_ns, state=state, by=by, said=said
        )
    )


def _supersede(connection: Connection, row: Row[Any], *, at_ns: int, by: str) -> None:
    """Leave only the highest accepted revision of a day accepted, in whatever order the answers came."""
    accepted = connection.execute(
        select(MARKET_BID.c.idempotency_key, MARKET_BID.c.revision)
        .where(
            MARKET_BID.c.resource_id == row.resource_id,
            MARKET_BID.c.market_id == row.market_id,
            MARKET_BID.c.delivery_date == row.delivery_date,
            MARKET_BID.c.state == "accepted",
        )
        .order_by(MARKET_BID.c.revision)
    ).all()
    for older in accepted[:-1]:
        key = older.idempotency_key
        connection.execute(
            update(MARKET_BID).where(MARKET_BID.c.idempotency_key == key).values(state="superseded")
        )
        said = f"by revision {accepted[-1].revision}"
        _add_step(connection, key, "superseded", at_ns=at_ns, by=by, said=said)
