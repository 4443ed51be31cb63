"""How a simulated market settles: its runs when they are due, and a further version whenever something was corrected.

A run is made from what had come out and come in when it was due, whenever somebody asks for it. Between runs, and after
the last, a corrected price, award or reading gives another version of the run in force; `changed` names what differs. Each
version is written before it is shown, and never changes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final

import msgspec

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_S
from shoal.market.awards import MarketAward, Settlement
from shoal.market.calendar import parsed_date
from shoal.market.contract import Market, SettlementRunRule
from shoal.market.metering import complete
from shoal.market.settlement import run_due_ns, settlement_intervals
from shoal.simulate.exchange_meters import MeterBook, transaction
from shoal.simulate.exchange_tape import Publisher

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS settlements (
    resource_id TEXT NOT NULL, delivery_date TEXT NOT NULL, version INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (resource_id, delivery_date, version)) STRICT;
"""
_VERSION: Final = msgspec.json.Decoder(Settlement)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlingRules:
    """When runs are issued.

    Attributes:
        after_s: Seconds of the market's time from the end of the delivery day, by run; runs that are not listed come as
            the market's calendar says.
    """

    after_s: Mapping[str, float] = field(default_factory=dict)


class SettledDay(msgspec.Struct, frozen=True, kw_only=True):
    """The newest settlement of one resource's day; amounts in 1e-8 currency units."""

    resource_id: str
    delivery_date: str
    run: str
    version: int
    issued_ns: int
    currency: str
    amount: int

    @classmethod
    def of(cls, settlement: Settlement) -> SettledDay:
        """Return the account of a settlement."""
        return cls(**{name: getattr(settlement, name) for name in cls.__struct_fields__})


class Settler:
    """Settles resources' days.

    Args:
        market: Its rules.
        db: The book's file.
        publisher: Prices.
        meters: Readings.
        award_at: Returns the award of a resource's day as it was at an instant; None when there is nothing to settle.
        rules: When runs are issued.
    """

    def __init__(
        self,
        market: Market,
        db: sqlite3.Connection,
        *,
        publisher: Publisher,
        meters: MeterBook,
        award_at: Callable[[str, str, int], MarketAward | None],
        rules: SettlingRules,
    ) -> None:
        self._market = market
        self._db = db
        self._publisher = publisher
        self._meters = meters
        self._award_at = award_at
        self._rules = rules
        self._db.executescript(_SCHEMA)

    def versions(self, resource_id: str, delivery_date: str, *, now_ns: int) -> list[Settlement]:
        """Return every version of a day's settlement, the newest last, after issuing what is due."""
        day = parsed_date(delivery_date)
        if day is None:
            return []
        due = [(run, self._due_ns(run, day)) for run in self._market.rules.runs]
        if min(due_ns for _, due_ns in due) > now_ns:
            return []
        kept = [
            _VERSION.decode(row[0])
            for row in self._db.execute(
                "SELECT body FROM settlements WHERE resource_id = ? AND delivery_date = ? ORDER BY version",
                (resource_id, delivery_date),
            )
        ]
        issued = {one.run for one in kept}
        for run, due_ns in due:
            if due_ns > now_ns or run.run in issued:
                continue
            made = self._made(resource_id, day, run.run, kept, due_ns) or self._made(
                resource_id, day, run.run, kept, now_ns
            )
            if made is None:
                return kept  # a price is not out: this run and all after it wait
            kept.append(self._issue(made))
        again = self._made(resource_id, day, kept[-1].run, kept, now_ns) if kept else None
        if again is not None and again.changed:
            kept.append(self._issue(again))
        return kept

    def _due_ns(self, run: SettlementRunRule, day: date) -> int:
        after_s = self._rules.after_s.get(run.run)
        if after_s is None:
            return run_due_ns(self._market.rules, run, day)
        return settlement_intervals(self._market.rules, day)[-1].end_ns + int(after_s * NS_PER_S)

    def _made(
        self, resource_id: str, day: date, run: str, kept: list[Settlement], at_ns: int
    ) -> Settlement | None:
        """Return the next version as of an instant; None when there is nothing to settle, or a price is not out."""
        award = self._award_at(resource_id, day.isoformat(), at_ns)
        if award is None:
            return None
        rules = self._market.rules
        intervals = settlement_intervals(rules, day)
        held = self._meters.readings(resource_id, day.isoformat(), at_ns=at_ns)
        prices = {
            product: self._publisher.at(
                product,
                award.settlement_point,
                from_ns=intervals[0].start_ns,
                to_ns=intervals[-1].end_ns,
                now_ns=at_ns,
            )
            for product in self._publisher.products(award.settlement_point)
        }
        try:
            return self._market.settle(
                award,
                complete(intervals, (one.delivered for one in held)),
                prices,
                run=run,
                issued_ns=max([at_ns, *(one.issued_ns for one in kept[-1:])]),
                previous=kept[-1] if kept else None,
            )
        except InvalidInputError:
            return None

    def _issue(self, made: Settlement) -> Settlement:
        with transaction(self._db):
            self._db.execute(
                "INSERT INTO settlements VALUES (?, ?, ?, ?)",
                (made.resource_id, made.delivery_date, made.version, msgspec.json.encode(made)),
            )
        return made
