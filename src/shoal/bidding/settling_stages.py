"""Where the money of a delivered day went: the same day settled by its market's own rules at every stage of the cycle.

Each stage says what would have been bought, sold and delivered: by perfect foresight, by the plan on the forecast, by the
award, and as it was. The market's own settlement turns each into lines; a step is the difference of two stages, so whatever
is summed, the first stage and the steps come to the last to the unit. Wear, which no market pays, has rows of its own, so that
the other rows of the last stage are what the market settled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.bidding.cycle.paper import CENTS, WH_PER_KWH, follow
from shoal.bidding.offer import plan_in_budgets
from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, Interval, iso
from shoal.market.awards import AwardedQuantity, Delivered, MarketAward, Settlement, SettlementLine
from shoal.market.contract import Market
from shoal.market.metering import complete
from shoal.market.settlement import energy_wh, settlement_intervals
from shoal.optimise.storage import Storage
from shoal.optimise.storage_limits import ThroughputBudget
from shoal.settle.attribution import STAGES, Attribution
from shoal.settle.shares import Shares

WEAR: Final = "wear"
"""The product of the rows in which wear is deducted."""
NODE_LIMIT: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DayRecords:
    """What the cycle kept of a delivered day.

    Attributes:
        market: The market.
        resource_id: Whose day.
        day: The delivery day.
        award: The newest award; None when nothing was awarded.
        delivered: What its own meters say; None when they say nothing.
        prices: Real prices by product.
        settlement: The market's newest settlement; None before the first: then the day is settled from the meters.
        storage: As the day began; None when no decision was made: then there is no plan and no foresight.
        budgets: How much it may discharge, by stretches of the lead product's intervals.
        plan_kw: The planned power of each interval of the lead product by its start, charging positive.
        shares: What each home receives of the settlement.
    """

    market: Market
    resource_id: str
    day: date
    award: MarketAward | None
    delivered: tuple[Delivered, ...] | None
    prices: Mapping[str, Mapping[int, float]]
    settlement: Settlement | None = None
    storage: Storage | None = None
    budgets: tuple[ThroughputBudget, ...] = ()
    plan_kw: Mapping[int, float] | None = None
    shares: Shares | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DayMoney:
    """A delivered day, stage by stage; amounts in 1e-8 currency units.

    Attributes:
        resource_id: Whose.
        market_id: Where.
        delivery_date: When.
        currency: ISO 4217.
        settled_as: The market's run and version, or ``metered`` before the first.
        rows: N intervals and products, in order.
        attribution: The N rows at every stage.
    """

    resource_id: str
    market_id: str
    delivery_date: str
    currency: str
    settled_as: str
    rows: tuple[tuple[Interval, str], ...]
    attribution: Attribution

    @property
    def products(self) -> tuple[str, ...]:
        """Return the products of the rows, in order."""
        return tuple(sorted({product for _, product in self.rows}))

    @property
    def settled_amount(self) -> int:
        """What was settled: the last stage without wear and what is left in store."""
        return sum(
            int(amount)
            for (_, product), amount in zip(self.rows, self.attribution.amount[:, -1], strict=True)
            if product != WEAR
        )

    def by_product(self) -> NDArray[np.int64]:
        """Return the amounts of each product at every stage, in the order of `products`."""
        names = self.products
        group_of = np.array([names.index(product) for _, product in self.rows], dtype=np.int64)
        return self.attribution.by(group_of, len(names))

    def by_hour(self) -> tuple[tuple[int, ...], NDArray[np.int64]]:
        """Return the starts of the hours, UTC ns, and the amounts of each at every stage."""
        starts = sorted({at.start_ns // NS_PER_HOUR * NS_PER_HOUR for at, _ in self.rows})
        place = {start_ns: row for row, start_ns in enumerate(starts)}
        group_of = np.array(
            [place[at.start_ns // NS_PER_HOUR * NS_PER_HOUR] for at, _ in self.rows], dtype=np.int64
        )
        return tuple(starts), self.attribution.by(group_of, len(starts))

    def settled(self) -> Attribution:
        """Return the attribution of what the market pays alone: no wear, nothing left in store."""
        there = np.array([product != WEAR for _, product in self.rows], dtype=np.bool_)
        return Attribution(
            stages=self.attribution.stages,
            amount=self.attribution.amount[there],
            carried_amount=np.zeros_like(self.attribution.carried_amount),
        )


def lead_product(market: Market, day: date, award: MarketAward | None) -> str:
    """Return the product of energy that plans are made for: that which was awarded, else the market's first.

    Raises:
        InvalidInputError: when the market has no product of energy that day.
    """
    energy = [one.product_id for one in market.products(day) if one.kind == "energy"]
    if not energy:
        raise InvalidInputError(
            field="day", value=day.isoformat(), fix="choose one on which energy is traded"
        )
    awarded = {one.product for one in award.quantities} if award is not None else set()
    return next((one for one in energy if one in awarded), energy[0])


def attribute_day(records: DayRecords) -> DayMoney:
    """Return where the money of a day went.

    Without prices of the lead product (a programme that pays by performance) or without a decision there is neither
    foresight nor plan, and the stages begin with the award.

    Raises:
        InvalidInputError: when neither settlement nor meters are there, or a price that is needed is missing.
    """
    market, rules = records.market, records.market.rules
    intervals = settlement_intervals(rules, records.day)
    if records.delivered is None and records.settlement is None:
        fix = "wait for its meters, or for the market's settlement"
        raise InvalidInputError(field="day", value=records.day.isoformat(), fix=fix)
    award = records.award or _no_award(records)
    metered = complete(intervals, records.delivered or ())
    lead = lead_product(market, records.day, records.award)
    schedules = _schedules(records, award, lead)
    stages: list[tuple[str, list[SettlementLine], Sequence[Delivered]]] = []
    for name, quantities in schedules.items():
        stage_award = award if name == "bid" else _with_positions(market, award, lead, quantities)
        read = _readings(rules.settlement_ns, intervals, quantities)
        stages.append((name, _lines(records, stage_award, read), read))
    settled = records.settlement
    lines = list(settled.lines) if settled is not None else _lines(records, award, metered)
    stages.append((STAGES[-1], lines, metered))
    rows, amount = _amounts(stages, records.storage)
    return DayMoney(
        resource_id=records.resource_id,
        market_id=rules.market_id,
        delivery_date=records.day.isoformat(),
        currency=rules.currency,
        settled_as="metered" if settled is None else f"{settled.run}, version {settled.version}",
        rows=rows,
        attribution=Attribution(
            stages=tuple(name for name, _, _ in stages),
            amount=amount,
            carried_amount=_carried(records, lead, [read for _, _, read in stages]),
        ),
    )


def home_steps(money: DayMoney, shares: Shares) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return N homes and the operator (an empty name), and what the first stage and each step came to for each, (N + 1) x S.

    All but the last column are split by the newest key; the last is what brings each to what it receives. So each row sums to
    what the home receives, and each column to the resource's.

    Raises:
        InvalidInputError: when the shares are of another settlement than the money.
    """
    whole = money.settled()
    total = whole.stage_amount
    if shares.amount != int(total[-1]):
        raise InvalidInputError(
            field="shares", value=shares.amount, fix=f"share what was settled, {int(total[-1])}"
        )
    key = shares.keys[max(shares.keys)]
    row_of = {site: row for row, site in enumerate(shares.site_ids)}
    rows = np.array([row_of[site] for site in key.site_ids], dtype=np.int64)
    found = np.zeros((len(shares.site_ids) + 1, len(total)), dtype=np.int64)
    parts = np.concatenate([total[:1], np.diff(total)])
    for column, part in enumerate(parts[:-1].tolist()):
        owners, operator_amount = key.split(part)
        found[rows, column] = owners
        found[-1, column] = operator_amount
    received = np.append(shares.owner_amount, shares.operator_amount)
    found[:, -1] = received - found[:, :-1].sum(axis=1)
    return (*shares.site_ids, ""), found


def _no_award(records: DayRecords) -> MarketAward:
    return MarketAward(
        resource_id=records.resource_id,
        market_id=records.market.rules.market_id,
        settlement_point="",
        delivery_date=records.day.isoformat(),
        bid_id="",
        version=0,
        published_ns=0,
        quantities=(),
    )


def _schedules(records: DayRecords, award: MarketAward, lead: str) -> dict[str, tuple[AwardedQuantity, ...]]:
    """Return the energy of every stage but the last, by name, as powers of the lead product or of what instructs beside it."""
    market = records.market
    price = records.prices.get(lead, {})
    grid = market.delivery_intervals(lead, records.day)
    bid = {"bid": _instructed(market, award, lead)}
    if records.storage is None or not price:
        return bid
    missing = [at for at in grid if at.start_ns not in price]
    if missing:
        fix = "wait until the prices of the whole day are out"
        raise InvalidInputError(field=f"prices[{lead}][{iso(missing[0].start_ns)}]", value=None, fix=fix)
    storage = replace(records.storage, terminal_value_per_mwh=_stored_per_mwh(records.storage, price))
    empty = tuple(
        AwardedQuantity(
            product=lead,
            start_ns=at.start_ns,
            end_ns=at.end_ns,
            power_w=0,
            price_per_mwh=price[at.start_ns],
        )
        for at in grid
    )
    hours = {at.duration_h for at in grid}
    if len(hours) > 1:
        raise InvalidInputError(
            field="day", value=sorted(hours), fix="choose one with intervals of one length"
        )
    prices = np.array([one.price_per_mwh for one in empty])
    best = plan_in_budgets(storage, prices, hours.pop(), records.budgets, node_limit=NODE_LIMIT)
    planned = records.plan_kw or {}
    wanted_kw = {
        "perfect": dict(
            zip([one.start_ns for one in empty], (best.charge_kw - best.discharge_kw).tolist(), strict=True)
        ),
        "forecast": {one.start_ns: planned.get(one.start_ns, 0.0) for one in empty},
    }
    return {name: _followed(storage, empty, kw) for name, kw in wanted_kw.items()} | bid


def _followed(
    storage: Storage, grid: Sequence[AwardedQuantity], power_kw: Mapping[int, float]
) -> tuple[AwardedQuantity, ...]:
    """Return what a storage makes of a schedule, in powers that are whole watt-hours of each interval."""
    asked = [msgspec.structs.replace(one, power_w=round(power_kw[one.start_ns] * WH_PER_KWH)) for one in grid]
    done = follow(storage, asked).delivered_wh.tolist()
    return tuple(
        msgspec.structs.replace(one, power_w=_power_w(wh, one.start_ns, one.end_ns))
        for one, wh in zip(grid, done, strict=True)
    )


def _power_w(wh: int, start_ns: int, end_ns: int) -> int:
    """Return the power whose energy over an interval is so many watt-hours, rounded away from 0 so that none is lost."""
    size_w = -(-abs(wh) * NS_PER_HOUR // (end_ns - start_ns))
    return size_w if wh >= 0 else -size_w


def _instructed(market: Market, award: MarketAward, lead: str) -> tuple[AwardedQuantity, ...]:
    """Return the powers that an award asks for: instructions where there are any, else positions."""
    kinds = {one.product_id: one.settled_by for one in market.products() if one.kind == "energy"}
    orders = [one for one in award.quantities if kinds.get(one.product) == "instruction"]
    taken = [Interval(start_ns=one.start_ns, end_ns=one.end_ns) for one in orders]
    found = list(orders)
    for one in award.quantities:
        if one.product in kinds and kinds[one.product] != "instruction":
            found += _outside(one, taken, market.rules.settlement_ns)
    return tuple(sorted(found, key=lambda one: one.start_ns))


def _outside(one: AwardedQuantity, taken: Sequence[Interval], step_ns: int) -> Iterable[AwardedQuantity]:
    """Yield a quantity, in settlement intervals where some of them are taken by instructions."""
    own = Interval(start_ns=one.start_ns, end_ns=one.end_ns)
    if not any(own.overlaps(other) for other in taken):
        yield one
        return
    for part in own.split(step_ns):
        if not any(part.overlaps(other) for other in taken):
            yield msgspec.structs.replace(one, start_ns=part.start_ns, end_ns=part.end_ns)


def _with_positions(
    market: Market, award: MarketAward, lead: str, quantities: Sequence[AwardedQuantity]
) -> MarketAward:
    """Return an award with a stage's schedule as its position, where positions are what is paid."""
    if market.product(lead).settled_by != "position":
        return award
    others = [one for one in award.quantities if one.product != lead]
    kinds = {one.product_id: one.kind for one in market.products()}
    kept = [one for one in others if kinds[one.product] == "capacity"]
    return msgspec.structs.replace(award, quantities=(*quantities, *kept))


def _readings(
    step_ns: int, intervals: Sequence[Interval], quantities: Iterable[AwardedQuantity]
) -> list[Delivered]:
    """Return what meters read when every power is delivered as it is; parts of an interval add up to the whole."""
    read_wh = dict.fromkeys((at.start_ns for at in intervals), 0)
    for one in quantities:
        before_wh = 0
        for start_ns in range(one.start_ns, one.end_ns, step_ns):
            until_wh = energy_wh(one.power_w, one.start_ns, start_ns + step_ns)
            read_wh[start_ns] = read_wh.get(start_ns, 0) + until_wh - before_wh
            before_wh = until_wh
    return [
        Delivered(start_ns=at.start_ns, end_ns=at.end_ns, delivered_wh=read_wh[at.start_ns])
        for at in intervals
    ]


def _lines(records: DayRecords, award: MarketAward, read: Sequence[Delivered]) -> list[SettlementLine]:
    run = records.market.rules.runs[0].run
    return list(records.market.settle(award, read, records.prices, run=run, issued_ns=0).lines)


def _amounts(
    stages: Sequence[tuple[str, list[SettlementLine], Sequence[Delivered]]], storage: Storage | None
) -> tuple[tuple[tuple[Interval, str], ...], NDArray[np.int64]]:
    """Return N rows and their N x S amounts."""
    wear_cents = 0 if storage is None else round(storage.throughput_cost_per_mwh * CENTS)
    found: dict[tuple[Interval, str], list[int]] = {}
    for column, (_, lines, read) in enumerate(stages):
        said = [
            (Interval(start_ns=line.start_ns, end_ns=line.end_ns), line.product, line.amount)
            for line in lines
        ]
        if wear_cents:
            said += [
                (Interval(start_ns=one.start_ns, end_ns=one.end_ns), WEAR, one.delivered_wh * wear_cents)
                for one in read
                if one.delivered_wh < 0
            ]
        for at, product, amount in said:
            found.setdefault((at, product), [0] * len(stages))[column] += amount
    rows = tuple(sorted(found))
    amounts = np.array([found[row] for row in rows], dtype=np.int64).reshape(-1, len(stages))
    return rows, amounts


def _carried(records: DayRecords, lead: str, read: Sequence[Sequence[Delivered]]) -> NDArray[np.int64]:
    """Return what each stage's energy left at the end is worth more than that at the start."""
    storage, price = records.storage, records.prices.get(lead, {})
    if storage is None or not price:
        return np.zeros(len(read), dtype=np.int64)
    per_mwh = max(float(np.median(list(price.values()))) - storage.throughput_cost_per_mwh, 0.0)
    found = []
    for stage in read:
        moved = [
            AwardedQuantity(
                product=lead,
                start_ns=one.start_ns,
                end_ns=one.end_ns,
                power_w=_power_w(one.delivered_wh, one.start_ns, one.end_ns),
                price_per_mwh=0.0,
            )
            for one in stage
        ]
        energy = follow(storage, moved).energy_kwh
        left_wh = round(float(energy[-1] - energy[0]) * storage.discharge_efficiency_frac * WH_PER_KWH)
        found.append(left_wh * round(per_mwh * CENTS))
    return np.array(found, dtype=np.int64)


def _stored_per_mwh(storage: Storage, price: Mapping[int, float]) -> float:
    """Return what a MWh in store is taken to be worth: what it brings at the median price, less its wear."""
    usual = float(np.median(list(price.values()))) - storage.throughput_cost_per_mwh
    return max(usual * storage.discharge_efficiency_frac, 0.0)
