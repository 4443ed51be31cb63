"""The settlement of delivered days as people look at it: award, meters, every version with its check, and the way of the money.

A day is settled by its market where that issued a settlement, else by the plant's own statement, which is read as a settlement
of the same form; before either there are the award and the meters. Everything is whole: Wh, cents per MWh, 1e-8 currency units.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from typing import Final, Literal, TypeAlias

import msgspec

from shoal.bidding.awarded import energy_award
from shoal.bidding.cycle.ports import FactReader
from shoal.bidding.settling_money import day_records
from shoal.bidding.settling_ports import delivered_as_of
from shoal.bidding.settling_stages import WEAR, DayMoney, attribute_day, lead_product
from shoal.domain.errors import InvalidInputError
from shoal.domain.ids import ResourceId
from shoal.domain.interval import Interval
from shoal.market.awards import Delivered, LineKind, MarketAward, Settlement, SettlementLine
from shoal.market.contract import Market
from shoal.market.settlement import changed_intervals, settlement_intervals
from shoal.market.shadow import Checked
from shoal.settle.statement import Statement
from shoal.settle.waterfall import Waterfall, waterfall
from shoal.store.ledger import Ledger
from shoal.store.settlings import Settlings

SettledBy: TypeAlias = Literal["market", "plant", "nobody"]

OWN_RUN: Final = "own statement"
"""The name of the plant's own settlement among the runs of a market."""
_STATEMENT: Final = msgspec.json.Decoder(Statement)
_PRICED_BY: Final[tuple[LineKind, ...]] = ("energy", "imbalance", "award")
"""Lines whose price stands for an interval's, the best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledVersion:
    """One version of a day's settlement, and the last check of it; None when it was not checked."""

    settlement: Settlement
    checked: Checked | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DayBook:
    """What is on record of a delivered day.

    Attributes:
        market: The market.
        resource_id: Whose day.
        day: The delivery day.
        award: The newest award; None when nothing was awarded.
        delivered: What its own meters say; empty when they say nothing yet.
        settled_by: Who settled it.
        versions: Every version of the settlement, the newest last.
    """

    market: Market
    resource_id: str
    day: date
    award: MarketAward | None
    delivered: tuple[Delivered, ...]
    settled_by: SettledBy
    versions: tuple[SettledVersion, ...]

    @property
    def newest(self) -> SettledVersion | None:
        """Return the newest version, None before the first."""
        return self.versions[-1] if self.versions else None


@dataclass(frozen=True, slots=True, kw_only=True)
class DayInterval:
    """A settlement interval of a day.

    Attributes:
        at: The interval.
        award_wh: Energy awarded, bought positive; None without an award.
        delivered_wh: Energy metered, charging positive; None when nothing was read.
        price_cents_per_mwh: At which metered energy or its deviation is settled; None where nothing is.
        amount: What is received in all, negative when paid; None before a settlement.
        estimated: Whether a reading was estimated.
    """

    at: Interval
    award_wh: int | None
    delivered_wh: int | None
    price_cents_per_mwh: int | None
    amount: int | None
    estimated: bool


class SettledDays:
    """Reads the settlement of days; its calls block.

    Args:
        ledger: Awards, settlements of markets, statements of the plant.
        settlings: Checks and shares.
        facts: Meters and prices.
    """

    def __init__(self, ledger: Ledger, settlings: Settlings, facts: FactReader) -> None:
        self._ledger = ledger
        self._settlings = settlings
        self._facts = facts

    def dates(self, resource_id: str, market: Market, *, first: date, last: date) -> list[date]:
        """Return the days from the first to the last of which something is awarded or settled, in order."""
        market_id = market.rules.market_id
        known = set(self._settlings.delivery_dates(resource_id, market_id, from_date=first.isoformat())) | {
            one.delivery_date for one in self._ledger.statements(ResourceId(resource_id))
        }
        return sorted(day for day in map(date.fromisoformat, known) if first <= day <= last)

    def book(self, resource_id: str, market: Market, day: date, *, as_of_ns: int) -> DayBook:
        """Return what is on record of a day."""
        place = (resource_id, market.rules.market_id, day.isoformat())
        award = self._settlings.newest_award(*place)
        checks = {one.checked.version: one.checked for one in self._settlings.checks(*place)}
        found = [
            SettledVersion(settlement=one, checked=checks.get(one.version))
            for one in self._ledger.settlements(*place)
        ]
        settled_by: SettledBy = "market" if found else "nobody"
        if not found:
            found = [
                SettledVersion(settlement=one, checked=None)
                for one in self._own(resource_id, market, day, award)
            ]
            settled_by = "plant" if found else "nobody"
        return DayBook(
            market=market,
            resource_id=resource_id,
            day=day,
            award=award,
            delivered=delivered_as_of(self._facts, *place[:2], market, day, as_of_ns=as_of_ns),
            settled_by=settled_by,
            versions=tuple(found),
        )

    def shares(self, book: DayBook) -> tuple[dict[str, int], int] | None:
        """Return what each home receives of the newest version, and what the operator keeps; None before that is settled."""
        if book.newest is None:
            return None
        settlement = book.newest.settlement
        if book.settled_by == "plant":
            sites, amounts = self._ledger.site_shares(ResourceId(book.resource_id), settlement.delivery_date)
            owners = dict(zip(map(str, sites), amounts.tolist(), strict=True))
            return owners, settlement.amount - sum(owners.values())
        kept = self._settlings.shares(
            book.resource_id, settlement.market_id, settlement.delivery_date, version=settlement.version
        )
        if kept is None:
            return None
        return dict(zip(kept.site_ids, kept.owner_amount.tolist(), strict=True)), kept.operator_amount

    def money(self, book: DayBook, *, as_of_ns: int) -> DayMoney:
        """Return where the money of a day went, stage by stage; it ends with what was settled.

        Raises:
            InvalidInputError: when it cannot be told yet, see `attribute_day`.
        """
        try:
            records = day_records(
                self._ledger,
                self._facts,
                self._settlings,
                book.market,
                book.resource_id,
                book.day,
                as_of_ns=as_of_ns,
            )
        except msgspec.MsgspecError as error:
            fix = "choose a day whose decisions were kept by this release"
            raise InvalidInputError(field="day", value=book.day.isoformat(), fix=fix) from error
        newest = None if book.newest is None else book.newest.settlement
        return attribute_day(replace(records, settlement=newest))

    def _own(
        self, resource_id: str, market: Market, day: date, award: MarketAward | None
    ) -> list[Settlement]:
        """Return every version of the plant's own statement as a settlement."""
        kept = self._ledger.statement(ResourceId(resource_id), day.isoformat())
        every = []
        while kept is not None:
            every.append(kept)
            earlier = self._ledger.statement(
                ResourceId(resource_id), day.isoformat(), as_of_ns=kept.known_ns - 1
            )
            kept = earlier
        if not every:
            return []
        product = lead_product(market, day, award)
        found: list[Settlement] = []
        for one in reversed(every):
            lines = _statement_lines(_STATEMENT.decode(one.payload), product)
            found.append(
                Settlement(
                    resource_id=resource_id,
                    market_id=market.rules.market_id,
                    delivery_date=day.isoformat(),
                    run=OWN_RUN,
                    version=one.version,
                    issued_ns=one.known_ns,
                    currency=market.rules.currency,
                    lines=lines,
                    changed=changed_intervals(found[-1].lines if found else (), lines),
                    amount=sum(line.amount for line in lines),
                )
            )
        return found


def day_intervals(book: DayBook) -> list[DayInterval]:
    """Return a day in settlement intervals; their amounts add up to the newest version's.

    Lines and awards that are longer are split over the intervals that they cover, exactly; shorter ones are added up.
    """
    grid = settlement_intervals(book.market.rules, book.day)
    award_wh: list[int] | None = None
    if book.award is not None:
        energy = energy_award(book.award, book.market).intervals
        award_wh = _spread(
            grid, ((Interval(start_ns=one.start_ns, end_ns=one.end_ns), one.energy_wh) for one in energy)
        )
    read = {one.start_ns: one for one in book.delivered}
    newest = book.newest
    if newest is None:
        lines: tuple[SettlementLine, ...] = ()
        amount: list[int] | None = None
    else:
        lines = newest.settlement.lines
        amount = _spread(
            grid, ((Interval(start_ns=one.start_ns, end_ns=one.end_ns), one.amount) for one in lines)
        )
    price_cents_per_mwh = _prices(grid, lines)
    metered = _metered(lines) if book.settled_by == "plant" else {}
    guessed = {one.start_ns for one in lines if one.estimated} if metered else set()
    found = []
    for number, at in enumerate(grid):
        reading = read.get(at.start_ns)
        wh = metered.get(at.start_ns, None if reading is None else reading.delivered_wh)
        found.append(
            DayInterval(
                at=at,
                award_wh=None if award_wh is None else award_wh[number],
                delivered_wh=wh,
                price_cents_per_mwh=price_cents_per_mwh[number],
                amount=None if amount is None else amount[number],
                estimated=at.start_ns in guessed or (reading is not None and reading.estimated),
            )
        )
    return found


def money_waterfall(money: DayMoney) -> Waterfall:
    """Return the way from the first stage to what was settled.

    Plans deduct wear, which nobody bills, and count energy left in store, which nobody has paid for yet: after the stages both
    are taken out again, so that the last level is money.
    """
    whole = money.attribution
    total = [int(amount) for amount in whole.stage_amount]
    levels = list(zip(whole.stages, total, strict=True))
    wear_amount = sum(
        int(amount)
        for (_, product), amount in zip(money.rows, whole.amount[:, -1], strict=True)
        if product == WEAR
    )
    left_amount = int(whole.carried_amount[-1])
    levels.append((WEAR, total[-1] - wear_amount))
    levels.append(("left in store", total[-1] - wear_amount - left_amount))
    return waterfall(levels)


def _statement_lines(statement: Statement, product: str) -> tuple[SettlementLine, ...]:
    """Return the lines of a statement: award, deviation at the same price, and the charge for having deviated."""
    lines = []
    for one in statement.intervals:
        kinds: tuple[tuple[LineKind, int, int], ...] = (
            ("award", one.award_wh, one.award_amount),
            ("imbalance", one.delivered_wh - one.award_wh, one.imbalance_amount),
            ("penalty", one.delivered_wh - one.award_wh, -one.deviation_charge),
        )
        for kind, energy_wh, amount in kinds:
            if kind == "penalty" and not amount:
                continue
            lines.append(
                SettlementLine(
                    product=product,
                    kind=kind,
                    start_ns=one.start_ns,
                    end_ns=one.end_ns,
                    energy_wh=energy_wh,
                    price_cents_per_mwh=one.price_cents_per_mwh,
                    amount=amount,
                    estimated=one.estimated,
                )
            )
    return tuple(lines)


def _metered(lines: Sequence[SettlementLine]) -> dict[int, int]:
    """Return what a statement of the plant settled as delivered, by start: award and deviation together."""
    found: dict[int, int] = {}
    for one in lines:
        if one.kind in ("award", "imbalance"):
            found[one.start_ns] = found.get(one.start_ns, 0) + one.energy_wh
    return found


def _prices(grid: Sequence[Interval], lines: Sequence[SettlementLine]) -> list[int | None]:
    starts = [at.start_ns for at in grid]
    best: list[tuple[int, int] | None] = [None] * len(grid)
    for one in lines:
        if one.kind not in _PRICED_BY:
            continue
        rank = _PRICED_BY.index(one.kind)
        for row in range(bisect_left(starts, one.start_ns), bisect_left(starts, one.end_ns)):
            held = best[row]
            if held is None or rank < held[0]:
                best[row] = (rank, one.price_cents_per_mwh)
    return [None if held is None else held[1] for held in best]


def _spread(grid: Sequence[Interval], parts: Iterable[tuple[Interval, int]]) -> list[int]:
    """Return amounts by interval of a grid; what covers several is split so that its parts add up to it."""
    starts = [at.start_ns for at in grid]
    found = [0] * len(grid)
    for part, amount in parts:
        first = max(bisect_right(starts, part.start_ns) - 1, 0)
        rows = range(first, max(bisect_left(starts, part.end_ns), first + 1))
        bounds = [amount * number // len(rows) for number in range(len(rows) + 1)]
        for row, (before, after) in zip(rows, pairwise(bounds), strict=True):
            found[row] += after - before
    return found
