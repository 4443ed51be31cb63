"""Settlement in whole numbers: lines from award, meters and prices, and runs that correct exactly what they name.

Energy in Wh times a price in whole cents per MWh is the amount in 1e-8 currency units, so nothing is rounded (decision
0006). A line belongs to its interval: a correction makes the lines inside the intervals that it names anew and keeps every
other line as it was.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, time, timedelta
from typing import Final

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval, iso
from shoal.market.awards import Delivered, LineKind, MarketAward, Settlement, SettlementLine
from shoal.market.calendar import day_bounds_ns, inside, local_ns
from shoal.market.clearing import checked_price
from shoal.market.contract import MarketRules, Prices, SettlementRunRule

_CENTS: Final = 100
_ISSUED_AT: Final = time(18)
"""Markets say on which day a run is issued, not when: taken to be the early evening, market time."""
_SATURDAY: Final = 5


def settlement_intervals(rules: MarketRules, day: date) -> tuple[Interval, ...]:
    """Return the settlement intervals of a delivery day: those of which meters are read."""
    bounds_ns = day_bounds_ns(rules.zone, rules.day_start, day, rules.settlement_ns).tolist()
    return tuple(
        Interval(start_ns=start_ns, end_ns=end_ns) for start_ns, end_ns in itertools.pairwise(bounds_ns)
    )


def run_due_ns(rules: MarketRules, run: SettlementRunRule, day: date) -> int:
    """Return the instant at which a run of a delivery day is issued, never before the day is over.

    Working days are Monday to Friday: public holidays are left to who knows them.
    """
    issued = day + timedelta(days=0 if run.working else run.after_days)
    left_count = run.after_days if run.working else 0
    while left_count > 0:
        issued += timedelta(days=1)
        left_count -= issued.weekday() < _SATURDAY
    end_ns = int(day_bounds_ns(rules.zone, rules.day_start, day, rules.settlement_ns)[-1])
    return max(local_ns(rules.zone, issued, _ISSUED_AT), end_ns)


def price_cents_per_mwh(prices: Prices, product: str, start_ns: int) -> int:
    """Return a published price in whole cents.

    Raises:
        InvalidInputError: when it is missing or not finite.
    """
    price_per_mwh = prices.get(product, {}).get(start_ns)
    if price_per_mwh is None:
        raise InvalidInputError(
            field=f"prices[{product}][{iso(start_ns)}]", value=None, fix="give the published price"
        )
    return round(checked_price(price_per_mwh, product, start_ns) * _CENTS)


def energy_wh(power_w: int, start_ns: int, end_ns: int) -> int:
    """Return the energy of a power over an interval in whole Wh, rounded towards 0."""
    size_wh = abs(power_w) * (end_ns - start_ns) // NS_PER_HOUR
    return size_wh if power_w >= 0 else -size_wh


def line(
    product: str,
    kind: LineKind,
    interval: Interval,
    wh: int,
    cents_per_mwh: int,
    *,
    estimated: bool = False,
) -> SettlementLine:
    """Return a line: load is paid for, so what goes out is received; capacity (never negative) is received too."""
    amount = wh * cents_per_mwh if kind == "capacity" else -wh * cents_per_mwh
    return SettlementLine(
        product=product,
        kind=kind,
        start_ns=interval.start_ns,
        end_ns=interval.end_ns,
        energy_wh=wh,
        price_cents_per_mwh=cents_per_mwh,
        amount=amount,
        estimated=estimated,
    )


def award_lines(
    rules: MarketRules, award: MarketAward, prices: Prices, wanted: Callable[[Interval], bool]
) -> list[SettlementLine]:
    """Return the lines of positions and capacity."""
    settled_by = {product.product_id: product.settled_by for product in rules.products}
    lines = []
    for quantity in award.quantities:
        how = settled_by[quantity.product]
        interval = Interval(start_ns=quantity.start_ns, end_ns=quantity.end_ns)
        if how in ("position", "capacity") and wanted(interval):
            cents = price_cents_per_mwh(prices, quantity.product, quantity.start_ns)
            wh = energy_wh(quantity.power_w, quantity.start_ns, quantity.end_ns)
            kind: LineKind = "award" if how == "position" else "capacity"
            lines.append(line(quantity.product, kind, interval, wh, cents))
    return lines


def metered_lines(
    rules: MarketRules,
    award: MarketAward,
    delivered: Sequence[Delivered],
    prices: Prices,
    wanted: Callable[[Interval], bool],
) -> list[SettlementLine]:
    """Return the lines of metered energy, and of its deviation from the positions where the market has such a price.

    Raises:
        InvalidInputError: when a reading is missing for a wanted part of a position.
    """
    lines = []
    metered = [product.product_id for product in rules.products if product.settled_by == "metered"]
    for reading in delivered:
        interval = Interval(start_ns=reading.start_ns, end_ns=reading.end_ns)
        for product in metered if wanted(interval) else ():
            cents = price_cents_per_mwh(prices, product, reading.start_ns)
            lines.append(
                line(
                    product,
                    "energy",
                    interval,
                    reading.delivered_wh,
                    cents,
                    estimated=reading.estimated,
                )
            )
    if rules.imbalance_price:
        position_wh = positions_wh(rules, award)
        readings = {reading.start_ns: reading for reading in delivered}
        for start_ns, position in position_wh.items():
            interval = Interval(start_ns=start_ns, end_ns=start_ns + rules.settlement_ns)
            if wanted(interval) and start_ns not in readings:
                raise InvalidInputError(
                    field=f"delivered[{iso(start_ns)}]",
                    value=None,
                    fix=f"give a reading for the position of {position} Wh",
                )
        for reading in delivered:
            interval = Interval(start_ns=reading.start_ns, end_ns=reading.end_ns)
            if wanted(interval):
                cents = price_cents_per_mwh(prices, rules.imbalance_price, reading.start_ns)
                deviation_wh = reading.delivered_wh - position_wh.get(reading.start_ns, 0)
                lines.append(
                    line(
                        rules.imbalance_price,
                        "imbalance",
                        interval,
                        deviation_wh,
                        cents,
                        estimated=reading.estimated,
                    )
                )
    return lines


def positions_wh(rules: MarketRules, award: MarketAward) -> dict[int, int]:
    """Return the position of each settlement interval by its start, in Wh, load-positive."""
    counts = {p.product_id for p in rules.products if p.settled_by in ("position", "notified")}
    held: dict[int, int] = {}
    for quantity in award.quantities:
        if quantity.product in counts:
            before_wh = 0
            for start_ns in range(quantity.start_ns, quantity.end_ns, rules.settlement_ns):
                # By differences of what has run up, so that the parts add up to the whole.
                until_wh = energy_wh(quantity.power_w, quantity.start_ns, start_ns + rules.settlement_ns)
                held[start_ns] = held.get(start_ns, 0) + until_wh - before_wh
                before_wh = until_wh
    return held


def checked_readings(rules: MarketRules, delivered: Sequence[Delivered]) -> None:
    """Check that readings are of whole settlement intervals, each once.

    Raises:
        InvalidInputError: when one is not.
    """
    seen: set[int] = set()
    for position, reading in enumerate(delivered):
        field = f"delivered[{position}].start_ns"
        if reading.end_ns - reading.start_ns != rules.settlement_ns:
            fix = f"read meters every {rules.settlement_ns // NS_PER_MINUTE} minutes"
            raise InvalidInputError(field=field, value=iso(reading.start_ns), fix=fix)
        if reading.start_ns in seen:
            raise InvalidInputError(
                field=field, value=iso(reading.start_ns), fix="give one reading for an interval"
            )
        seen.add(reading.start_ns)


def settled(
    rules: MarketRules,
    award: MarketAward,
    *,
    lines_of: Callable[[Callable[[Interval], bool]], Iterable[SettlementLine]],
    run: str,
    issued_ns: int,
    previous: Settlement | None,
    named: Sequence[Interval] | None,
) -> Settlement:
    """Return a run of the settlement: everything anew, or only what is named.

    Args:
        rules: Of the market.
        award: Whose day it is.
        lines_of: Gives the lines of the intervals that are wanted.
        run: One of the market's runs.
        issued_ns: When it is issued.
        previous: The version before.
        named: What is corrected; None for everything.

    Raises:
        InvalidInputError: when the run is unknown, a named interval has nothing to settle, or `named` comes without
            `previous`.
    """
    known = [rule.run for rule in rules.runs]
    if run not in known:
        raise InvalidInputError(field="run", value=run, fix=f"use one of {', '.join(known)}")
    kept: list[SettlementLine] = []
    if named is None:
        lines = list(lines_of(lambda _: True))
    else:
        if previous is None:
            raise InvalidInputError(
                field="named", value=len(named), fix="give the settlement that is corrected"
            )
        corrected = tuple(named)

        def wanted(interval: Interval) -> bool:
            return any(inside(interval, whole) for whole in corrected)

        lines = list(lines_of(wanted))
        for whole in corrected:
            if not any(inside(_interval(each), whole) for each in lines):
                raise InvalidInputError(
                    field="named", value=iso(whole.start_ns), fix="name intervals that are settled"
                )
        kept = [each for each in previous.lines if not wanted(_interval(each))]
    ordered = tuple(sorted([*kept, *lines], key=lambda each: (each.start_ns, each.product, each.kind)))
    return Settlement(
        resource_id=award.resource_id,
        market_id=award.market_id,
        delivery_date=award.delivery_date,
        run=run,
        version=1 if previous is None else previous.version + 1,
        issued_ns=issued_ns,
        currency=rules.currency,
        lines=ordered,
        changed=changed_intervals(() if previous is None else previous.lines, ordered),
        amount=sum(each.amount for each in ordered),
    )


def _interval(each: SettlementLine) -> Interval:
    return Interval(start_ns=each.start_ns, end_ns=each.end_ns)


def changed_intervals(old: Iterable[SettlementLine], new: Iterable[SettlementLine]) -> tuple[Interval, ...]:
    """Return the intervals of which a line differs, in order."""
    before, after = _by_interval(old), _by_interval(new)
    return tuple(sorted(each for each in before.keys() | after.keys() if before.get(each) != after.get(each)))


def amounts_by_interval(lines: Iterable[SettlementLine]) -> dict[Interval, int]:
    """Return what each interval comes to, 1e-8 currency units, in order."""
    found = {at: sum(each.amount for each in here) for at, here in _by_interval(lines).items()}
    return dict(sorted(found.items()))


def _by_interval(lines: Iterable[SettlementLine]) -> Mapping[Interval, list[SettlementLine]]:
    found: dict[Interval, list[SettlementLine]] = {}
    for each in lines:
        found.setdefault(_interval(each), []).append(each)
    return found
