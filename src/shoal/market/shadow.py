"""The shadow of a settlement: the same day settled from one's own award, meters and prices, and line by line what differs.

A part of the day of which something is not known to the participant (a price, a reading) is left out and said so; the rest
is checked all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import msgspec

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import Interval
from shoal.market.awards import Delivered, LineKind, MarketAward, Settlement, SettlementLine
from shoal.market.calendar import inside
from shoal.market.contract import Market, Prices

DisputeReason: TypeAlias = Literal["price", "energy", "price and energy", "only theirs", "only ours"]


class Dispute(msgspec.Struct, frozen=True, kw_only=True):
    """One line in which the market's settlement and one's own differ; the fields of a line that one side lacks are 0.

    Attributes:
        product: The product.
        kind: Of the line.
        start_ns: When it begins.
        end_ns: When it ends, exclusive.
        reason: What differs.
        amount: The market's less one's own: negative when the market pays too little; 1e-8 currency units.
        market_wh: What the market prices.
        own_wh: What it should price.
        market_cents_per_mwh: At which price.
        own_cents_per_mwh: At which price it should.
    """

    product: str
    kind: LineKind
    start_ns: int
    end_ns: int
    reason: DisputeReason
    amount: int
    market_wh: int
    own_wh: int
    market_cents_per_mwh: int
    own_cents_per_mwh: int


class Unchecked(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a day that could not be settled by oneself, and why."""

    start_ns: int
    end_ns: int
    why: str


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a settlement beside its shadow.

    Attributes:
        version: Which version.
        award_version: From which version of the award the shadow was made; 0 without one.
        market_amount: What the market gives for what could be checked, 1e-8 currency units.
        own_amount: What the shadow gives.
        disputes: Where they differ, by start, product and kind; their amounts sum to the difference.
        unchecked: What could not be checked.
    """

    version: int
    award_version: int
    market_amount: int
    own_amount: int
    disputes: tuple[Dispute, ...] = ()
    unchecked: tuple[Unchecked, ...] = ()

    @property
    def agreed(self) -> bool:
        """Whether all of it was checked and nothing differs."""
        return not self.disputes and not self.unchecked


def check_settlement(
    market: Market,
    settlement: Settlement,
    *,
    award: MarketAward | None,
    delivered: Sequence[Delivered],
    prices: Prices,
) -> Checked:
    """Return a version of a settlement beside its shadow.

    Args:
        market: The market.
        settlement: What it issued.
        award: One's own newest award; None when nothing was awarded.
        delivered: One's own readings.
        prices: Prices as published.
    """
    own = award or _nothing_awarded(settlement)
    unchecked: list[Unchecked] = []
    try:
        lines = list(_shadow(market, settlement, own, delivered, prices).lines)
    except InvalidInputError:
        lines, unchecked = _by_part(market, settlement, own, delivered, prices)
    left_out = [Interval(start_ns=one.start_ns, end_ns=one.end_ns) for one in unchecked]
    theirs = [
        line
        for line in settlement.lines
        if not any(inside(Interval(start_ns=line.start_ns, end_ns=line.end_ns), whole) for whole in left_out)
    ]
    return Checked(
        version=settlement.version,
        award_version=0 if award is None else award.version,
        market_amount=sum(line.amount for line in theirs),
        own_amount=sum(line.amount for line in lines),
        disputes=tuple(_disputes(theirs, lines)),
        unchecked=tuple(unchecked),
    )


def _nothing_awarded(settlement: Settlement) -> MarketAward:
    return MarketAward(
        resource_id=settlement.resource_id,
        market_id=settlement.market_id,
        settlement_point="",
        delivery_date=settlement.delivery_date,
        bid_id="",
        version=0,
        published_ns=0,
        quantities=(),
    )


def _shadow(
    market: Market, settlement: Settlement, award: MarketAward, delivered: Sequence[Delivered], prices: Prices
) -> Settlement:
    return market.settle(award, delivered, prices, run=settlement.run, issued_ns=settlement.issued_ns)


def _by_part(
    market: Market, settlement: Settlement, award: MarketAward, delivered: Sequence[Delivered], prices: Prices
) -> tuple[list[SettlementLine], list[Unchecked]]:
    """Return the lines of the parts of the day that can be settled, and the parts that cannot."""
    lines: list[SettlementLine] = []
    unchecked: list[Unchecked] = []
    for whole in _parts([*settlement.lines, *award.quantities, *delivered]):
        part = msgspec.structs.replace(
            award, quantities=tuple(one for one in award.quantities if _within(one, whole))
        )
        read = [one for one in delivered if _within(one, whole)]
        try:
            lines += _shadow(market, settlement, part, read, prices).lines
        except InvalidInputError as error:
            unchecked.append(Unchecked(start_ns=whole.start_ns, end_ns=whole.end_ns, why=str(error)))
    return lines, unchecked


def _parts(rows: Iterable[object]) -> list[Interval]:
    """Return the smallest spans, in order, that overlap nothing outside themselves."""
    spans = sorted({(row.start_ns, row.end_ns) for row in rows})  # type: ignore[attr-defined]
    found: list[tuple[int, int]] = []
    for start_ns, end_ns in spans:
        if found and start_ns < found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end_ns))
        else:
            found.append((start_ns, end_ns))
    return [Interval(start_ns=start_ns, end_ns=end_ns) for start_ns, end_ns in found]


def _within(row: object, whole: Interval) -> bool:
    return whole.contains(row.start_ns)  # type: ignore[attr-defined]


def _disputes(theirs: Iterable[SettlementLine], ours: Iterable[SettlementLine]) -> list[Dispute]:
    """Return where lines differ in energy, price or amount."""
    market, own = ({_key(line): line for line in lines} for lines in (theirs, ours))
    found = []
    for key in sorted(market.keys() | own.keys()):
        a, b = market.get(key), own.get(key)
        said, meant = _figures(a), _figures(b)
        if said != meant or (a is None) != (b is None):
            found.append(_dispute(a, b))
    return found


def _key(line: SettlementLine) -> tuple[int, int, str, str]:
    return line.start_ns, line.end_ns, line.product, line.kind


def _figures(line: SettlementLine | None) -> tuple[int, int, int]:
    return (0, 0, 0) if line is None else (line.energy_wh, line.price_cents_per_mwh, line.amount)


def _dispute(theirs: SettlementLine | None, ours: SettlementLine | None) -> Dispute:
    (market_wh, market_cents, market_amount), (own_wh, own_cents, own_amount) = (
        _figures(theirs),
        _figures(ours),
    )
    line = theirs or ours
    assert line is not None
    reason: DisputeReason = "price and energy"
    if theirs is None or ours is None:
        reason = "only ours" if theirs is None else "only theirs"
    elif market_wh == own_wh:
        reason = "price"
    elif market_cents == own_cents:
        reason = "energy"
    return Dispute(
        product=line.product,
        kind=line.kind,
        start_ns=line.start_ns,
        end_ns=line.end_ns,
        reason=reason,
        amount=market_amount - own_amount,
        market_wh=market_wh,
        own_wh=own_wh,
        market_cents_per_mwh=market_cents,
        own_cents_per_mwh=own_cents,
    )
