"""Where the money of a day went, in every market: stages telescope, the last is what was settled, homes sum to it."""

from __future__ import annotations

from datetime import date
from random import Random

import numpy as np
import pytest

from shoal.bidding.cycle.decision import PlannedIntervals
from shoal.bidding.settling_money import stitched
from shoal.bidding.settling_stages import WEAR, DayMoney, DayRecords, attribute_day, home_steps
from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, Interval
from shoal.market.awards import Delivered
from shoal.market.contract import Market
from shoal.market.registry import MODULES, market_module
from shoal.market.settlement import amounts_by_interval, settlement_intervals
from shoal.optimise.storage import Storage
from shoal.settle.attribution import STAGES
from shoal.settle.shares import SharingKey, share_version
from tests.property.market.test_shadow import DAYS, settled_day

each_market = pytest.mark.parametrize("market", MODULES, ids=lambda market: market.rules.market_id)
STORAGE = Storage(
    charge_limit_kw=4_000.0,
    discharge_limit_kw=4_000.0,
    charge_efficiency_frac=0.92,
    discharge_efficiency_frac=0.92,
    energy_capacity_kwh=8_000.0,
    initial_energy_kwh=4_000.0,
    throughput_cost_per_mwh=9.0,
)


def records_of(market: Market, day: date, random: Random, *, storage: Storage | None = STORAGE) -> DayRecords:
    award, delivered, prices, settlement = settled_day(market, day, random)
    lead = market.rules.products[0].product_id
    priced = {} if market.rules.market_id == "peak" else prices
    return DayRecords(
        market=market,
        resource_id="north",
        day=day,
        award=award,
        delivered=tuple(delivered),
        prices=priced,
        settlement=settlement,
        storage=storage,
        plan_kw={at.start_ns: random.uniform(-5_000, 5_000) for at in market.delivery_intervals(lead, day)},
    )


@each_market
@pytest.mark.parametrize("day", DAYS.values(), ids=DAYS)
def test_stages_begin_with_foresight_and_end_with_what_was_settled(market: Market, day: date) -> None:
    records = records_of(market, day, Random(4))
    money = attribute_day(records)
    assert records.settlement is not None
    whole = money.attribution
    expected = STAGES[2:] if market.rules.market_id == "peak" else STAGES
    assert whole.stages == expected
    assert money.settled_amount == records.settlement.amount
    wear = -sum(-one.delivered_wh * 900 for one in records.delivered or () if one.delivered_wh < 0)
    last = {p: int(a[-1]) for p, a in zip(money.products, money.by_product(), strict=True)}
    assert last.pop(WEAR, 0) == wear
    assert sum(last.values()) == money.settled_amount
    for amounts in (money.by_product(), money.by_hour()[1]):
        assert amounts.sum(axis=0).tolist() == whole.amount.sum(axis=0).tolist()
    total = whole.stage_amount
    assert int(total[0]) + int(whole.step_total.sum()) == int(total[-1])
    if "perfect" in whole.stages:
        assert total[0] >= total[1] - 10**8  # rounding to whole watt-hours costs less than a unit of currency


@each_market
def test_what_is_awarded_and_delivered_to_the_watt_hour_loses_nothing_to_execution(market: Market) -> None:
    records = records_of(market, DAYS["autumn"], Random(6))
    money = attribute_day(records)
    assert records.award is not None
    # what the bid's stage delivers is what its award asks for: read that, and the last step is nothing
    read = list(settlement_intervals(market.rules, records.day))
    bid = money.attribution.stages.index("bid")
    exact = _delivering_the_award(records, read)
    settlement = market.settle(
        records.award, exact, records.prices, run=market.rules.runs[0].run, issued_ns=1
    )
    again = attribute_day(
        DayRecords(
            market=market,
            resource_id="north",
            day=records.day,
            award=records.award,
            delivered=exact,
            prices=records.prices,
            settlement=settlement,
            storage=records.storage,
            plan_kw=records.plan_kw,
        )
    )
    assert again.attribution.amount[:, bid].sum() == money.attribution.amount[:, bid].sum()
    assert again.attribution.step_total[-1] == 0 and not again.attribution.step_amount[:, -1].any()


def _delivering_the_award(records: DayRecords, intervals: list[Interval]) -> tuple[Delivered, ...]:
    """Return readings of an award that is carried out: instructions first, positions where there are none."""
    assert records.award is not None
    settled_by = {p.product_id: (p.kind, p.settled_by) for p in records.market.products()}
    found = []
    for at in intervals:
        power_w: dict[str, int] = {}
        for one in records.award.quantities:
            kind, how = settled_by[one.product]
            if kind == "energy" and one.start_ns <= at.start_ns < one.end_ns:
                power_w["instruction" if how == "instruction" else "position"] = one.power_w
        watts = power_w.get("instruction", power_w.get("position", 0))
        size_wh = abs(watts) * (at.end_ns - at.start_ns) // NS_PER_HOUR
        wh = size_wh if watts >= 0 else -size_wh
        found.append(Delivered(start_ns=at.start_ns, end_ns=at.end_ns, delivered_wh=wh))
    return tuple(found)


@each_market
def test_a_day_that_the_market_has_not_settled_is_settled_from_the_meters(market: Market) -> None:
    records = records_of(market, DAYS["spring"], Random(8))
    with_theirs = attribute_day(records)
    without = attribute_day(
        DayRecords(
            market=market,
            resource_id="north",
            day=records.day,
            award=records.award,
            delivered=records.delivered,
            prices=records.prices,
            storage=records.storage,
            plan_kw=records.plan_kw,
        )
    )
    assert without.settled_as == "metered" and "version 1" in with_theirs.settled_as
    assert np.array_equal(without.attribution.amount, with_theirs.attribution.amount)
    with pytest.raises(InvalidInputError, match="wait for its meters"):
        attribute_day(
            DayRecords(
                market=market, resource_id="north", day=records.day, award=None, delivered=None, prices={}
            )
        )


@each_market
def test_home_steps_sum_to_the_resource_and_to_each_home(market: Market) -> None:
    random = Random(11)
    records = records_of(market, DAYS["autumn"], random)
    assert records.settlement is not None
    key = SharingKey(
        site_ids=tuple(f"site-{number}" for number in range(7)),
        weight_wh=np.array([random.randint(0, 9_000) for _ in range(7)], dtype=np.int64),
        owner_share_permille=813,
    )
    shares = share_version(
        amounts_by_interval(records.settlement.lines), records.settlement.changed, version=1, key=key
    )
    money: DayMoney = attribute_day(records)
    names, steps = home_steps(money, shares)
    assert names == (*shares.site_ids, "")
    whole = money.settled().stage_amount
    assert steps.sum(axis=0).tolist() == [int(whole[0]), *np.diff(whole).tolist()]
    assert steps.sum(axis=1).tolist() == [*shares.owner_amount.tolist(), shares.operator_amount]
    with pytest.raises(InvalidInputError, match="share what was settled"):
        home_steps(money, share_version({}, (), version=2, key=key))


def test_the_newest_plan_counts_from_where_its_gate_begins() -> None:
    def plan(first_h: int, powers: tuple[float, ...], step_ns: int) -> PlannedIntervals:
        starts = [first_h * NS_PER_HOUR + row * step_ns for row in range(len(powers))]
        return PlannedIntervals(
            start_ns=tuple(starts),
            end_ns=tuple(start + step_ns for start in starts),
            power_kw=powers,
            energy_kwh=(0.0,) * (len(powers) + 1),
            price_per_mwh=(0.0,) * len(powers),
            value_per_mwh=(0.0,) * (len(powers) + 1),
        )

    grid = [Interval(start_ns=h * NS_PER_HOUR, end_ns=(h + 1) * NS_PER_HOUR) for h in range(4)]
    day = plan(0, (1.0, 2.0, 3.0), NS_PER_HOUR)
    late = plan(1, (10.0, 20.0, 30.0, 50.0), NS_PER_HOUR // 2)
    found = stitched([(0, day), (2 * NS_PER_HOUR, late)], grid)
    assert found == {0: 1.0, NS_PER_HOUR: 2.0, 2 * NS_PER_HOUR: 40.0}


def test_a_day_whose_prices_are_not_all_out_is_not_told() -> None:
    records = records_of(market_module("sdac"), DAYS["autumn"], Random(4))
    prices = {name: dict(held) for name, held in records.prices.items()}
    prices["day-ahead"].popitem()
    broken = DayRecords(
        **{name: getattr(records, name) for name in DayRecords.__dataclass_fields__} | {"prices": prices}
    )
    with pytest.raises(InvalidInputError, match="wait until the prices"):
        attribute_day(broken)
