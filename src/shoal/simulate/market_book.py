"""The book of the simulated market: what it was sent, what it holds, what it awarded, in one SQLite file.

Every arrival is written and synced before it is answered, so that a killed market comes back with exactly
what it had acknowledged. The book counts for itself (`MarketSummary`) and believes nothing that a participant
says.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, Interval, local_day, to_datetime
from shoal.domain.outcome import Rejected
from shoal.market.rules import DayAheadMarket
from shoal.market.types import Award, Bid, BidReceipt, ClearingPrice
from shoal.simulate.prices import price_span, prices_over, real_prices

Arrival: TypeAlias = Literal["accepted", "rejected", "late", "duplicate", "repeated", "conflicting"]
"""What became of one arrival; each arrival is exactly one of these."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS arrivals (
    number INTEGER PRIMARY KEY, received_ns INTEGER NOT NULL, participant TEXT NOT NULL,
    idempotency_key TEXT NOT NULL, arrival TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS bids (
    number INTEGER PRIMARY KEY, participant TEXT NOT NULL, idempotency_key TEXT NOT NULL,
    resource_id TEXT NOT NULL, delivery_date TEXT NOT NULL, revision INTEGER NOT NULL,
    status TEXT NOT NULL, body BLOB NOT NULL, receipt BLOB NOT NULL,
    UNIQUE (participant, idempotency_key)) STRICT;
CREATE INDEX IF NOT EXISTS standing ON bids (resource_id, delivery_date, status, revision);
CREATE TABLE IF NOT EXISTS awards (
    resource_id TEXT NOT NULL, delivery_date TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (resource_id, delivery_date)) STRICT;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredResource:
    """A resource that may bid: its price location and the participant who answers for it."""

    resource_id: str
    settlement_point: str
    participant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyConflict:
    """The idempotency key is already used for another bid."""

    idempotency_key: str


class _Standing(NamedTuple):
    bid: Bid
    receipt: BidReceipt


class StandingBid(msgspec.Struct, frozen=True, kw_only=True):
    """What one resource had in the market when one gate closed; `bid_id` is empty when it had nothing."""

    delivery_date: str
    gate_ns: int
    resource_id: str
    status: Literal["valid", "missed"]
    bid_id: str = ""
    revision: int = 0
    received_ns: int = 0


class MarketSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The market's own account since `since_ns`.

    ``bids_received`` is the sum of the six kinds of arrival; ``gates`` has one entry a passed gate and
    resource, as do ``gates_valid`` and ``gates_missed`` together.
    """

    market_id: str
    now_ns: int
    since_ns: int
    gates_passed: int
    gates_valid: int
    gates_missed: int
    bids_received: int
    bids_accepted: int
    bids_rejected: int
    bids_late: int
    bids_duplicate: int
    bids_repeated: int
    bids_conflicting: int
    gates: tuple[StandingBid, ...]
    awards: tuple[Award, ...]


class MarketBook:
    """The durable state of one simulated market; used by one thread at a time.

    Args:
        market: Its rules.
        path: The SQLite file; it and its folder are made when missing.
        resources: Who may bid.
        since_ns: From which gate on each resource is expected to bid; kept from the first start on.

    Raises:
        InvalidInputError: when a resource's settlement point has no prices, or the market is not hourly.
    """

    def __init__(
        self,
        market: DayAheadMarket,
        *,
        path: Path,
        resources: Sequence[RegisteredResource],
        since_ns: int,
    ) -> None:
        if market.interval_ns != NS_PER_HOUR:
            raise InvalidInputError(
                field="market", value=market.market_id, fix="simulate a market with hourly intervals"
            )
        for resource in resources:
            real_prices(resource.settlement_point)
        self._market = market
        covered = price_span()
        self._first_day = to_datetime(covered.start_ns, market.zone).date()
        self._last_day = to_datetime(covered.end_ns - 1, market.zone).date()
        self._resources = {resource.resource_id: resource for resource in resources}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)
        self._db.execute("INSERT OR IGNORE INTO meta VALUES ('since_ns', ?)", (since_ns,))
        self.since_ns: Final = int(
            self._db.execute("SELECT value FROM meta WHERE name = 'since_ns'").fetchone()[0]
        )

    def submit(self, bid: Bid, *, participant: str, received_ns: int) -> BidReceipt | KeyConflict:
        """Take or refuse a bid and return the receipt; a repeat gets the receipt of the first time."""
        body = msgspec.json.encode(bid)
        with self._transaction():
            known = self._db.execute(
                "SELECT body, receipt FROM bids WHERE participant = ? AND idempotency_key = ?",
                (participant, bid.idempotency_key),
            ).fetchone()
            if known is not None:
                same = known[0] == body
                self._note(bid, participant, received_ns, "repeated" if same else "conflicting")
                if same:
                    return msgspec.json.decode(known[1], type=BidReceipt)
                return KeyConflict(idempotency_key=bid.idempotency_key)
            arrival, refusal = self._judge(bid, participant, received_ns)
            number = self._note(bid, participant, received_ns, arrival)
            receipt = BidReceipt(
                idempotency_key=bid.idempotency_key,
                bid_id=f"{self._market.market_id}-{number:08d}",
                status="accepted" if refusal is None else "rejected",
                received_ns=received_ns,
                reason="" if refusal is None else refusal.reason,
                detail="" if refusal is None else refusal.detail,
            )
            self._db.execute(
                "INSERT INTO bids VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    number,
                    participant,
                    bid.idempotency_key,
                    bid.resource_id,
                    bid.delivery_date,
                    bid.revision,
                    receipt.status,
                    body,
                    msgspec.json.encode(receipt),
                ),
            )
        return receipt

    def receipt(self, idempotency_key: str, *, participant: str) -> BidReceipt | None:
        """Return what the book holds under the key, None when it never arrived."""
        row = self._db.execute(
            "SELECT receipt FROM bids WHERE participant = ? AND idempotency_key = ?",
            (participant, idempotency_key),
        ).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=BidReceipt)

    def award(self, resource_id: str, delivery_date: date, *, now_ns: int) -> Award | Rejected:
        """Return the award of a resource and day; it is cleared and kept when it is first asked for.

        Returns:
            `Rejected` with reason ``resource_unknown``, ``not_published``, ``no_bid`` or ``no_prices``.
        """
        day = delivery_date.isoformat()
        resource = self._resources.get(resource_id)
        if resource is None:
            return Rejected(reason="resource_unknown", detail=f"{resource_id!r} is not registered here")
        if not self._first_day <= delivery_date <= self._last_day:
            return self._no_prices(day)
        published_ns = self._market.publication_ns(delivery_date)
        if now_ns < published_ns:
            return Rejected(reason="not_published", detail=f"awards of {day} are not out yet")
        row = self._db.execute(
            "SELECT body FROM awards WHERE resource_id = ? AND delivery_date = ?", (resource_id, day)
        ).fetchone()
        if row is not None:
            return msgspec.json.decode(row[0], type=Award)
        standing = self._standing(resource_id, day)
        if standing is None:
            return Rejected(reason="no_bid", detail=f"{resource_id} had no bid in the market for {day}")
        price_per_mwh = self._prices_of_day(resource.settlement_point, delivery_date)
        award = self._market.clear(
            standing.bid, price_per_mwh, bid_id=standing.receipt.bid_id, published_ns=published_ns
        )
        with self._transaction():
            self._db.execute(
                "INSERT INTO awards VALUES (?, ?, ?)", (resource_id, day, msgspec.json.encode(award))
            )
        return award

    def prices(self, settlement_point: str, *, from_ns: int, to_ns: int, now_ns: int) -> list[ClearingPrice]:
        """Return the prices published by now of the intervals that start within ``[from_ns, to_ns)``.

        Raises:
            InvalidInputError: when the settlement point has no prices.
        """
        real_prices(settlement_point)
        covered = price_span()
        first_ns, last_ns = max(from_ns, covered.start_ns), min(to_ns, covered.end_ns)
        if first_ns >= last_ns:
            return []
        start_ns, price_cents = prices_over(settlement_point, Interval(start_ns=first_ns, end_ns=last_ns))
        cents_at = dict(zip(start_ns.tolist(), price_cents.tolist(), strict=True))
        found: list[ClearingPrice] = []
        zone = self._market.zone
        day = to_datetime(first_ns, zone).date()
        while local_day(day, zone).start_ns < last_ns and self._market.publication_ns(day) <= now_ns:
            published_ns = self._market.publication_ns(day)
            found += [
                ClearingPrice(
                    settlement_point=settlement_point,
                    start_ns=interval.start_ns,
                    end_ns=interval.end_ns,
                    price_per_mwh=cents_at[interval.start_ns] / 100,
                    published_ns=published_ns,
                )
                for interval in self._market.delivery_intervals(day)
                if interval.start_ns in cents_at
            ]
            day += timedelta(days=1)
        return found

    def summary(self, *, now_ns: int) -> MarketSummary:
        """Return the market's own account up to now."""
        counts = dict(self._db.execute("SELECT arrival, COUNT(*) FROM arrivals GROUP BY arrival").fetchall())
        gates = tuple(
            self._at_gate(resource_id, day)
            for day in self._gates_passed(now_ns)
            for resource_id in sorted(self._resources)
        )
        awards = (
            self.award(resource_id, date.fromisoformat(day), now_ns=now_ns)
            for resource_id, day in self._db.execute(
                "SELECT DISTINCT resource_id, delivery_date FROM bids WHERE status = 'accepted' "
                "ORDER BY delivery_date, resource_id"
            ).fetchall()
        )
        return MarketSummary(
            market_id=self._market.market_id,
            now_ns=now_ns,
            since_ns=self.since_ns,
            gates_passed=len(self._gates_passed(now_ns)),
            gates_valid=sum(gate.status == "valid" for gate in gates),
            gates_missed=sum(gate.status == "missed" for gate in gates),
            bids_received=sum(counts.values()),
            bids_accepted=counts.get("accepted", 0),
            bids_rejected=counts.get("rejected", 0),
            bids_late=counts.get("late", 0),
            bids_duplicate=counts.get("duplicate", 0),
            bids_repeated=counts.get("repeated", 0),
            bids_conflicting=counts.get("conflicting", 0),
            gates=gates,
            awards=tuple(award for award in awards if isinstance(award, Award)),
        )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _judge(self, bid: Bid, participant: str, received_ns: int) -> tuple[Arrival, Rejected | None]:
        """Return what becomes of a bid that is seen for the first time."""
        resource = self._resources.get(bid.resource_id)
        if resource is None or resource.participant != participant:
            detail = f"resource_id: {bid.resource_id!r} is not registered for {participant!r}"
            return "rejected", Rejected(reason="resource_unknown", detail=detail)
        if bid.settlement_point != resource.settlement_point:
            fix = f"use {resource.settlement_point!r}"
            detail = f"settlement_point: {bid.settlement_point!r} cannot be used; {fix}"
            return "rejected", Rejected(reason="settlement_point", detail=detail)
        # ISO dates compare as text; a text that is no date and passes is left to the market's own rules.
        if bid.delivery_date > self._last_day.isoformat() or bid.delivery_date < self._first_day.isoformat():
            return "rejected", self._no_prices(bid.delivery_date)
        outcome = self._market.validate(bid, received_ns=received_ns)
        if isinstance(outcome, Rejected):
            return "late" if outcome.reason == "gate_closed" else "rejected", outcome
        standing = self._standing(bid.resource_id, bid.delivery_date)
        if standing is not None and bid.revision <= standing.bid.revision:
            held = f"{standing.receipt.bid_id} stands with revision {standing.bid.revision}"
            detail = f"revision: {bid.revision} cannot be used; {held}"
            return "duplicate", Rejected(reason="duplicate_bid", detail=detail)
        return "accepted", None

    def _note(self, bid: Bid, participant: str, received_ns: int, arrival: Arrival) -> int:
        """Write one arrival and return its number."""
        cursor = self._db.execute(
            "INSERT INTO arrivals (received_ns, participant, idempotency_key, arrival) VALUES (?, ?, ?, ?)",
            (received_ns, participant, bid.idempotency_key, arrival),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _standing(self, resource_id: str, day: str) -> _Standing | None:
        """Return the accepted bid with the highest revision."""
        row = self._db.execute(
            "SELECT body, receipt FROM bids WHERE resource_id = ? AND delivery_date = ? "
            "AND status = 'accepted' ORDER BY revision DESC LIMIT 1",
            (resource_id, day),
        ).fetchone()
        if row is None:
            return None
        return _Standing(msgspec.json.decode(row[0], type=Bid), msgspec.json.decode(row[1], type=BidReceipt))

    def _at_gate(self, resource_id: str, day: date) -> StandingBid:
        standing = self._standing(resource_id, day.isoformat())
        gate_ns = self._market.gate_ns(day)
        if standing is None:
            return StandingBid(
                delivery_date=day.isoformat(), gate_ns=gate_ns, resource_id=resource_id, status="missed"
            )
        return StandingBid(
            delivery_date=day.isoformat(),
            gate_ns=gate_ns,
            resource_id=resource_id,
            status="valid",
            bid_id=standing.receipt.bid_id,
            revision=standing.bid.revision,
            received_ns=standing.receipt.received_ns,
        )

    def _gates_passed(self, now_ns: int) -> list[date]:
        """Return the delivery days whose gates lie in ``[since_ns, now_ns]``."""
        day, gate_ns = self._market.next_gate(self.since_ns - 1)
        days: list[date] = []
        while gate_ns <= now_ns:
            days.append(day)
            day, gate_ns = self._market.next_gate(gate_ns)
        return days

    def _no_prices(self, day: str) -> Rejected:
        known = f"{self._first_day.isoformat()} to {self._last_day.isoformat()}"
        return Rejected(reason="no_prices", detail=f"delivery_date: {day!r} cannot be used; use {known}")

    def _prices_of_day(self, settlement_point: str, day: date) -> dict[int, float]:
        start_ns, price_cents = prices_over(settlement_point, local_day(day, self._market.zone))
        return {t: cents / 100 for t, cents in zip(start_ns.tolist(), price_cents.tolist(), strict=True)}
