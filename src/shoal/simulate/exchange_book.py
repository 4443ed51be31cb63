"""The book of a simulated market with gates of any kind: arrivals, what stands, awards, its own account, in one SQLite file.

Every arrival is written and synced before it is answered, so that a killed market comes back with exactly what it had
acknowledged. Bids are judged by the market's own rules. The book counts for itself and believes nothing that a
participant says: at every gate it notes what stood.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import Interval
from shoal.market.awards import AwardedQuantity, MarketAward, MarketReceipt, Settlement
from shoal.market.bids import MarketBid
from shoal.market.checks import rejected
from shoal.market.contract import Gate, Market, RejectedBid
from shoal.market.metering import MeterReading, MeterReceipt, MeterReport
from shoal.market.standing import in_force
from shoal.simulate.exchange_answers import busy_answer, lists, refused
from shoal.simulate.exchange_meters import MeterBook, transaction
from shoal.simulate.exchange_settling import SettledDay, Settler, SettlingRules
from shoal.simulate.exchange_tape import Publisher

Arrival: TypeAlias = Literal["accepted", "rejected", "late", "duplicate", "repeated", "conflicting"]
"""What became of one arrival; each arrival is exactly one of these."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS arrivals (
    number INTEGER PRIMARY KEY, received_ns INTEGER NOT NULL, participant TEXT NOT NULL, idempotency_key TEXT NOT NULL,
    resource_id TEXT NOT NULL, delivery_date TEXT NOT NULL, arrival TEXT NOT NULL, reason TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS bids (
    number INTEGER PRIMARY KEY, participant TEXT NOT NULL, idempotency_key TEXT NOT NULL, received_ns INTEGER NOT NULL,
    resource_id TEXT NOT NULL, delivery_date TEXT NOT NULL, revision INTEGER NOT NULL, state TEXT NOT NULL,
    body BLOB NOT NULL, receipt BLOB NOT NULL) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS by_key ON bids (participant, idempotency_key);
CREATE INDEX IF NOT EXISTS by_day ON bids (resource_id, delivery_date, state, revision);
CREATE TABLE IF NOT EXISTS awards (
    resource_id TEXT NOT NULL, delivery_date TEXT NOT NULL, version INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (resource_id, delivery_date, version)) STRICT;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """A resource that may bid.

    Attributes:
        resource_id: Its name.
        settlement_point: Its price location.
        participant: Who answers for it.
        product: The product whose gates it has to meet.
        metering_agent: Who alone may say what it delivered; empty when that is the participant.
    """

    resource_id: str
    settlement_point: str
    participant: str
    product: str
    metering_agent: str = ""


class GateAccount(msgspec.Struct, frozen=True, kw_only=True):
    """What one resource had in the market when one gate closed."""

    resource_id: str
    kind: str
    closes_ns: int
    covers_start_ns: int
    stood: bool
    revision: int = 0


class ExchangeSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The market's own account since `since_ns`; the six kinds of arrival sum to `bids_received`.

    `settled` has the newest version of each resource's day, `settled_amount` their sum in 1e-8 currency units.
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
    refusals: dict[str, int]
    missed: tuple[GateAccount, ...]
    readings_taken: int = 0
    settlements_issued: int = 0
    settled_amount: int = 0
    settled: tuple[SettledDay, ...] = ()


@dataclass(slots=True, kw_only=True)
class _Day:
    """What stands for one resource and day, and the revisions that made it, as (received_ns, bid) in order."""

    accepted: list[tuple[int, MarketBid]]
    whole: MarketBid | None
    bid_id: str


class ExchangeBook:
    """The durable state of one simulated market; used by one thread at a time.

    Args:
        market: Its rules.
        path: The SQLite file; it and its folder are made when missing.
        resources: Who may bid.
        publisher: Its prices.
        since_ns: From which gate on each resource is expected to bid; kept from the first start on.
        settling: When runs of the settlement are issued; as the market's calendar says when None.
    """

    def __init__(
        self,
        market: Market,
        *,
        path: Path,
        resources: Sequence[Participant],
        publisher: Publisher,
        since_ns: int,
        settling: SettlingRules | None = None,
    ) -> None:
        self._market = market
        self._publisher = publisher
        self._resources = {one.resource_id: one for one in resources}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)
        self._db.execute("INSERT OR IGNORE INTO meta VALUES ('since_ns', ?)", (since_ns,))
        kept = self._db.execute("SELECT value FROM meta WHERE name = 'since_ns'").fetchone()
        self.since_ns: Final = int(kept[0])
        self._days: dict[tuple[str, str], _Day] = {}
        self._meters = MeterBook(self._db, market)
        self._settler = Settler(
            market,
            self._db,
            publisher=publisher,
            meters=self._meters,
            award_at=self._award_at,
            rules=settling or SettlingRules(),
        )

    # ── bids ────────────────────────────────────────────────────────────────────────────────────────────────

    def submit(
        self, bid: MarketBid, *, participant: str, received_ns: int, busy: bool = False
    ) -> MarketReceipt:
        """Take or refuse a bid and return the receipt.

        A repeat is answered with the receipt of the first time. Where the market recognises keys that is all; where it does
        not, the repeat counts as a duplicate: whoever sent it should have read back.

        Args:
            bid: The bid.
            participant: Who sent it.
            received_ns: When the whole of it had arrived.
            busy: Whether the market refuses it for reasons of its own.
        """
        body = msgspec.json.encode(bid)
        with transaction(self._db):
            known = self._db.execute(
                "SELECT body, receipt FROM bids WHERE participant = ? AND idempotency_key = ?",
                (participant, bid.idempotency_key),
            ).fetchone()
            if known is not None:
                receipt = msgspec.json.decode(known[1], type=MarketReceipt)
                if known[0] != body:
                    self._note(bid, participant, received_ns, "conflicting", "key_conflict")
                    return refused(
                        bid,
                        received_ns,
                        "key_conflict",
                        "idempotency_key",
                        bid.idempotency_key,
                        "take a new key",
                    )
                idempotent = self._market.rules.submission.idempotent
                self._note(bid, participant, received_ns, "repeated" if idempotent else "duplicate", "")
                return receipt
            arrival, refusal = (
                ("rejected", busy_answer(bid, received_ns))
                if busy
                else self._judge(bid, participant, received_ns)
            )
            number = self._note(
                bid, participant, received_ns, arrival, "" if refusal is None else refusal.reason
            )
            receipt = refusal or MarketReceipt(
                idempotency_key=bid.idempotency_key,
                bid_id=f"{self._market.rules.market_id}-{number:08d}",
                state="accepted",
                received_ns=received_ns,
            )
            self._db.execute(
                "INSERT INTO bids VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    number,
                    participant,
                    bid.idempotency_key,
                    received_ns,
                    bid.resource_id,
                    bid.delivery_date,
                    bid.revision,
                    receipt.state,
                    body,
                    msgspec.json.encode(receipt),
                ),
            )
        if receipt.state == "accepted":
            self._days.pop((bid.resource_id, bid.delivery_date), None)
        return receipt

    def receipt(self, idempotency_key: str, *, participant: str) -> MarketReceipt | None:
        """Return what the book holds under the key, None when it never arrived."""
        row = self._db.execute(
            "SELECT receipt FROM bids WHERE participant = ? AND idempotency_key = ?",
            (participant, idempotency_key),
        ).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=MarketReceipt)

    def standing(self, resource_id: str, delivery_date: str) -> MarketBid | None:
        """Return the whole bid that stands."""
        return self._day(resource_id, delivery_date).whole

    # ── awards ──────────────────────────────────────────────────────────────────────────────────────────────

    def awards(self, resource_id: str, delivery_date: str, *, now_ns: int) -> list[MarketAward]:
        """Return every version of the award so far, the newest last.

        There is a new version whenever more is awarded, or a corrected price awards something else.
        """
        kept = [
            msgspec.json.decode(row[0], type=MarketAward)
            for row in self._db.execute(
                "SELECT body FROM awards WHERE resource_id = ? AND delivery_date = ? ORDER BY version",
                (resource_id, delivery_date),
            )
        ]
        quantities = self._awarded(resource_id, delivery_date, now_ns=now_ns)
        if quantities is None or (kept and kept[-1].quantities == quantities) or not (quantities or kept):
            return kept
        day = self._day(resource_id, delivery_date)
        assert day.whole is not None
        award = MarketAward(
            resource_id=resource_id,
            market_id=self._market.rules.market_id,
            settlement_point=day.whole.settlement_point,
            delivery_date=delivery_date,
            bid_id=day.bid_id,
            version=len(kept) + 1,
            published_ns=now_ns,
            quantities=quantities,
        )
        with transaction(self._db):
            self._db.execute(
                "INSERT INTO awards VALUES (?, ?, ?, ?)",
                (resource_id, delivery_date, award.version, msgspec.json.encode(award)),
            )
        return [*kept, award]

    def _awarded(
        self, resource_id: str, delivery_date: str, *, now_ns: int
    ) -> tuple[AwardedQuantity, ...] | None:
        """Return what the bid that stands is awarded at the prices published so far; None without a bid."""
        whole = self._day(resource_id, delivery_date).whole
        if whole is None:
            return None
        day = date.fromisoformat(delivery_date)
        prices: dict[str, dict[int, float]] = {}
        for product in self._publisher.products(whole.settlement_point):
            if any(product == one.product_id for one in self._market.products(day)):
                bounds = self._market.bounds_ns(product, day)
                prices[product] = self._publisher.at(
                    product,
                    whole.settlement_point,
                    from_ns=int(bounds[0]),
                    to_ns=int(bounds[-1]),
                    now_ns=now_ns,
                )
        cleared = self._market.clear(whole, prices, bid_id="", published_ns=now_ns).quantities
        return self._corrected(resource_id, whole.settlement_point, cleared, now_ns=now_ns)

    def _corrected(
        self, resource_id: str, point: str, cleared: Sequence[AwardedQuantity], *, now_ns: int
    ) -> tuple[AwardedQuantity, ...]:
        """Return what is out of an award by now, its corrections included."""
        found = []
        for product in dict.fromkeys(one.product for one in cleared):
            rows = [one for one in cleared if one.product == product]
            left = self._publisher.award_left_frac(resource_id, product, [one.start_ns for one in rows])
            notified = self._market.product(product).settled_by == "notified"
            for one, left_frac in zip(rows, left, strict=True):
                out_ns = None if notified else self._publisher.first_ns(product, point, one.start_ns)
                if out_ns is None:  # what is not awarded by its price is when its gate closes
                    covers = Interval(start_ns=one.start_ns, end_ns=one.end_ns)
                    out_ns = self._market.closes_ns(product, covers)
                if out_ns > now_ns:
                    continue
                over = left_frac < 1.0 and out_ns + self._publisher.award_after_ns <= now_ns
                found.append(
                    msgspec.structs.replace(one, power_w=int(one.power_w * left_frac)) if over else one
                )
        return tuple(found)

    def _award_at(self, resource_id: str, delivery_date: str, at_ns: int) -> MarketAward | None:
        """Return the award as it was at an instant; None when nothing was bid and nothing metered."""
        quantities = self._awarded(resource_id, delivery_date, now_ns=at_ns)
        if quantities is None and not self._meters.has(resource_id, delivery_date):
            return None
        return MarketAward(
            resource_id=resource_id,
            market_id=self._market.rules.market_id,
            settlement_point=self._resources[resource_id].settlement_point,
            delivery_date=delivery_date,
            bid_id=self._day(resource_id, delivery_date).bid_id,
            version=1,
            published_ns=at_ns,
            quantities=quantities or (),
        )

    # ── meters and settlement ───────────────────────────────────────────────────────────────────────────────

    def take_meters(
        self, report: MeterReport, *, participant: str, received_ns: int
    ) -> MeterReceipt | RejectedBid:
        """Take readings, or say why not."""
        resource = self._resources.get(report.resource_id)
        if resource is None or participant not in {resource.participant, resource.metering_agent}:
            fix = f"register it for {participant!r}"
            return rejected("resource_unknown", "resource_id", report.resource_id, fix)
        if resource.metering_agent and participant != resource.metering_agent:
            fix = f"{resource.metering_agent!r} reads its meters"
            return rejected("not_the_meter", "resource_id", report.resource_id, fix)
        return self._meters.take(report, received_ns=received_ns)

    def meters(self, resource_id: str, delivery_date: str) -> list[MeterReading]:
        """Return the readings of a day that count, in order."""
        return self._meters.readings(resource_id, delivery_date)

    def settlements(self, resource_id: str, delivery_date: str, *, now_ns: int) -> list[Settlement]:
        """Return every version of a day's settlement so far, the newest last; what is due is issued."""
        if resource_id not in self._resources:
            return []
        return self._settler.versions(resource_id, delivery_date, now_ns=now_ns)

    # ── account ─────────────────────────────────────────────────────────────────────────────────────────────

    def summary(self, *, now_ns: int) -> ExchangeSummary:
        """Return the market's own account up to now."""
        counts = dict(self._db.execute("SELECT arrival, COUNT(*) FROM arrivals GROUP BY arrival").fetchall())
        refusals = dict(
            self._db.execute(
                "SELECT reason, COUNT(*) FROM arrivals WHERE reason <> '' GROUP BY reason"
            ).fetchall()
        )
        gates = [
            self._at_gate(resource, gate, day)
            for resource in self._resources.values()
            for day, gate in self._gates_passed(resource, now_ns)
        ]
        missed = tuple(gate for gate in gates if not gate.stood)
        settled = self._settled(now_ns)
        return ExchangeSummary(
            market_id=self._market.rules.market_id,
            now_ns=now_ns,
            since_ns=self.since_ns,
            gates_passed=len(gates),
            gates_valid=len(gates) - len(missed),
            gates_missed=len(missed),
            bids_received=sum(counts.values()),
            bids_accepted=counts.get("accepted", 0),
            bids_rejected=counts.get("rejected", 0),
            bids_late=counts.get("late", 0),
            bids_duplicate=counts.get("duplicate", 0),
            bids_repeated=counts.get("repeated", 0),
            bids_conflicting=counts.get("conflicting", 0),
            refusals=refusals,
            missed=missed,
            readings_taken=self._meters.taken(),
            settlements_issued=sum(one.version for one in settled),
            settled_amount=sum(one.amount for one in settled),
            settled=settled,
        )

    def _settled(self, now_ns: int) -> tuple[SettledDay, ...]:
        """Return the newest settlement of each resource's day that has one."""
        known = self._db.execute(
            "SELECT resource_id, delivery_date FROM bids WHERE state = 'accepted' "
            "UNION SELECT resource_id, delivery_date FROM readings ORDER BY 1, 2"
        ).fetchall()
        found = []
        for resource_id, day in known:
            versions = self.settlements(resource_id, day, now_ns=now_ns)
            if versions:
                found.append(SettledDay.of(versions[-1]))
        return tuple(found)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _gates_passed(self, resource: Participant, now_ns: int) -> Iterator[tuple[str, Gate]]:
        """Yield the gates that closed since the start; of a day whose daily gate was before it, none."""
        day = self._market.delivery_date(self.since_ns)
        last = self._market.delivery_date(now_ns) + timedelta(days=2)
        while day <= last:
            gates = self._market.gates(resource.product, day)
            daily = [gate for gate in gates if gate.kind != "interval"]
            if all(gate.closes_ns >= self.since_ns for gate in daily):
                for gate in gates:
                    if self.since_ns <= gate.closes_ns <= now_ns:
                        yield day.isoformat(), gate
            day += timedelta(days=1)

    def _at_gate(self, resource: Participant, gate: Gate, day: str) -> GateAccount:
        """Return what stood when a gate closed: what had been accepted before it."""
        before = [
            bid for at_ns, bid in self._day(resource.resource_id, day).accepted if at_ns < gate.closes_ns
        ]
        stood = any(
            gate.kind != "interval" or any(lists(offer, gate.covers) for offer in bid.offers)
            for bid in before
        )
        return GateAccount(
            resource_id=resource.resource_id,
            kind=gate.kind,
            closes_ns=gate.closes_ns,
            covers_start_ns=gate.covers.start_ns,
            stood=stood,
            revision=before[-1].revision if before else 0,
        )

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────

    def _day(self, resource_id: str, delivery_date: str) -> _Day:
        key = (resource_id, delivery_date)
        if key not in self._days:
            day = _Day(accepted=[], whole=None, bid_id="")
            for received_ns, body, receipt in self._db.execute(
                "SELECT received_ns, body, receipt FROM bids WHERE resource_id = ? AND delivery_date = ? "
                "AND state = 'accepted' ORDER BY revision",
                key,
            ):
                bid = msgspec.json.decode(body, type=MarketBid)
                day.accepted.append((received_ns, bid))
                day.whole = in_force(day.whole, bid)
                day.bid_id = msgspec.json.decode(receipt, type=MarketReceipt).bid_id
            self._days[key] = day
        return self._days[key]

    def _judge(
        self, bid: MarketBid, participant: str, received_ns: int
    ) -> tuple[Arrival, MarketReceipt | None]:
        """Return what becomes of a bid that is seen for the first time."""
        resource = self._resources.get(bid.resource_id)
        if resource is None or resource.participant != participant:
            fix = f"register it for {participant!r}"
            return "rejected", refused(
                bid, received_ns, "resource_unknown", "resource_id", bid.resource_id, fix
            )
        if bid.settlement_point != resource.settlement_point:
            fix = f"use {resource.settlement_point!r}"
            return "rejected", refused(
                bid, received_ns, "settlement_point", "settlement_point", bid.settlement_point, fix
            )
        standing = self._day(bid.resource_id, bid.delivery_date).whole
        if standing is not None and bid.revision <= standing.revision:
            fix = f"revision {standing.revision} stands; give a higher one"
            return "duplicate", refused(bid, received_ns, "duplicate_bid", "revision", str(bid.revision), fix)
        try:
            outcome = self._market.validate(bid, received_ns=received_ns, standing=standing)
        except InvalidInputError as error:
            return "rejected", refused(
                bid, received_ns, "malformed", error.field, str(error.value), error.fix
            )
        if isinstance(outcome, RejectedBid):
            arrival: Arrival = "late" if outcome.reason == "gate_closed" else "rejected"
            return arrival, refused(
                bid, received_ns, outcome.reason, outcome.field, outcome.value, outcome.fix
            )
        return "accepted", None

    def _note(self, bid: MarketBid, participant: str, received_ns: int, arrival: Arrival, reason: str) -> int:
        """Write one arrival and return its number."""
        cursor = self._db.execute(
            "INSERT INTO arrivals (received_ns, participant, idempotency_key, resource_id, delivery_date, arrival, reason) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                received_ns,
                participant,
                bid.idempotency_key,
                bid.resource_id,
                bid.delivery_date,
                arrival,
                reason,
            ),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid
