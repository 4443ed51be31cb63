"""The rules of ERCOT, SDAC, Great Britain and the peak programme, each on a day worked out by hand."""

from __future__ import annotations

from datetime import date
from itertools import combinations
from random import Random

import numpy as np
import pytest
from msgspec.structs import replace

from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval
from shoal.domain.outcome import Accepted
from shoal.market.awards import SUBMISSION_STEPS, AwardedQuantity, Delivered, MarketAward
from shoal.market.bids import (
    Block,
    BlockInterval,
    CurvePoint,
    LoadTarget,
    MarketBid,
    Orders,
    TargetInterval,
)
from shoal.market.clearing import cleared_blocks_w, cleared_curve_w
from shoal.market.contract import Market, RejectedBid
from shoal.market.ercot import DAY_AHEAD, ERCOT, REAL_TIME
from shoal.market.gb import GB, IMBALANCE
from shoal.market.peak import PEAK, REDUCTION
from shoal.market.registry import market_module
from shoal.market.sdac import SDAC
from shoal.market.settlement import positions_wh
from shoal.market.standing import in_force
from shoal.market.types import Order, Side
from tests.unit.market.days import DAY, a_bid, utc_ns


def order(interval: Interval, side: Side, mw: float, price: float) -> Order:
    return Order(
        start_ns=interval.start_ns,
        end_ns=interval.end_ns,
        side=side,
        quantity_mw=mw,
        limit_price_per_mwh=price,
    )


def target(market: Market, product: str, *mw: float) -> MarketBid:
    """Return a bid with a target for each of the first intervals."""
    intervals = market.delivery_intervals(product, DAY)
    targets = tuple(
        TargetInterval(start_ns=interval.start_ns, end_ns=interval.end_ns, load_mw=load_mw)
        for interval, load_mw in zip(intervals, mw, strict=False)
    )
    return a_bid(market.rules.market_id, LoadTarget(product=product, intervals=targets))


def test_unknown_names_are_said() -> None:
    with pytest.raises(UnknownIdError, match="market 'nowhere'"):
        market_module("nowhere")
    with pytest.raises(UnknownIdError, match="product 'coal'"):
        SDAC.product("coal")


def test_an_unknown_submission_is_never_sent_again_blindly() -> None:
    assert SUBMISSION_STEPS["submitted"] == ("accepted", "rejected", "unknown")
    assert "submitted" not in SUBMISSION_STEPS["unknown"]


# ── ERCOT ───────────────────────────────────────────────────────────────────────────────────────────────────────


HOUR = ERCOT.delivery_intervals(DAY_AHEAD, DAY)[0]


def test_ercot_caps_and_durations_follow_the_date() -> None:
    limits = [ERCOT.price_limits(DAY_AHEAD, day) for day in (date(2021, 12, 31), date(2022, 1, 1))]
    assert limits == [(-250.0, 9000.0), (-250.0, 5000.0)]
    assert ERCOT.price_limits(REAL_TIME, date(2025, 12, 4)) == (-250.0, 5000.0)
    assert ERCOT.price_limits(REAL_TIME, date(2025, 12, 5)) == (-250.0, 2000.0)
    assert [s.sustain_h for s in ERCOT.product("ecrs").sustain] == [2.0, 1.0]
    assert [s.sustain_h for s in ERCOT.product("nonspin").sustain] == [1.0, 4.0]
    traded = {p.product_id for p in ERCOT.products(date(2023, 6, 9))}
    assert "ecrs" not in traded and {"regup", "regdn", "rrs", "nonspin"} <= traded


def test_ercot_gates_are_the_auction_and_each_quarter() -> None:
    assert [gate.closes_ns for gate in ERCOT.gates(DAY_AHEAD, DAY)] == [utc_ns(2025, 12, 14, 16)]
    assert ERCOT.gates(DAY_AHEAD, DAY)[0].publishes_ns == utc_ns(2025, 12, 14, 19, 30)
    quarter = ERCOT.delivery_intervals(REAL_TIME, DAY)[0]
    assert ERCOT.closes_ns(REAL_TIME, quarter) == quarter.start_ns - 5 * NS_PER_MINUTE
    assert ERCOT.next_gate(DAY_AHEAD, utc_ns(2025, 12, 14, 16)).closes_ns == utc_ns(2025, 12, 15, 16)


def test_a_storage_curve_is_read_like_a_line() -> None:
    random = Random(8)
    for _ in range(500):
        count = random.randint(2, 10)
        output = sorted(random.sample(range(-100, 101), count))
        price = sorted(random.sample(range(-2500, 5000), count))
        points = [
            CurvePoint(output_mw=mw, price_per_mwh=p / 100) for mw, p in zip(output, price, strict=True)
        ]
        at = random.randint(-3000, 6000)
        expected = np.interp(at, price, [mw * 1e6 for mw in output])
        found = -cleared_curve_w(points, at / 100, 0.01)
        assert expected - 1 <= found <= expected + 1e-6


def test_a_storage_curve_takes_the_greatest_output_where_it_is_flat() -> None:
    points = [
        CurvePoint(output_mw=mw, price_per_mwh=price)
        for mw, price in ((-10.0, 20.0), (0.0, 20.0), (0.0, 60.0), (10.0, 60.0))
    ]
    power = [cleared_curve_w(points, price, 0.01) for price in (19.99, 20.0, 40.0, 59.99, 60.0, 99.0)]
    assert power == [10_000_000, 0, 0, 0, -10_000_000, -10_000_000]


@pytest.mark.parametrize(
    ("price", "power_w"),
    [(19.99, 7_000_000), (20.0, 7_000_000), (20.01, 2_000_000), (25.0, 2_000_000), (25.01, 0), (44.99, 0),
     (45.0, -8_000_000), (45.004, -8_000_000), (44.996, -8_000_000)],
)  # fmt: skip
def test_stepped_curves_are_taken_at_their_limits_in_whole_cents(price: float, power_w: int) -> None:
    steps = (order(HOUR, "buy", 2.0, 25.0), order(HOUR, "buy", 5.0, 20.0), order(HOUR, "sell", 8.0, 45.0))
    bid = a_bid("ercot", Orders(product=DAY_AHEAD, orders=steps))
    award = ERCOT.clear(bid, {DAY_AHEAD: {HOUR.start_ns: price}}, bid_id="b", published_ns=1)
    assert [q.power_w for q in award.quantities] == [power_w]


def test_ercot_settles_day_ahead_then_the_deviation_by_the_quarter() -> None:
    """Sold 8 MW at 50; charged 2 MWh of the last quarter instead, at 30; 3 MW of reserve at 7."""
    bid = a_bid(
        "ercot",
        Orders(product=DAY_AHEAD, orders=(order(HOUR, "sell", 8.0, 45.0), order(HOUR, "buy", 5.0, 20.0))),
        Orders(product="rrs", orders=(order(HOUR, "sell", 3.0, 7.0), order(HOUR, "sell", 3.0, 7.01))),
    )
    assert ERCOT.validate(bid, received_ns=utc_ns(2025, 12, 14, 15, 59)) == Accepted()
    prices = {
        DAY_AHEAD: {HOUR.start_ns: 50.0},
        "rrs": {HOUR.start_ns: 7.0},
        REAL_TIME: {q.start_ns: 30.0 for q in HOUR.split(15 * NS_PER_MINUTE)},
    }
    award = ERCOT.clear(bid, prices, bid_id="b", published_ns=1)
    assert {q.product: q.power_w for q in award.quantities} == {DAY_AHEAD: -8_000_000, "rrs": 3_000_000}
    delivered = [
        Delivered(start_ns=q.start_ns, end_ns=q.end_ns, delivered_wh=wh)
        for q, wh in zip(
            HOUR.split(15 * NS_PER_MINUTE), (-2_000_000, -2_000_000, -2_000_000, 2_000_000), strict=True
        )
    ]
    settled = ERCOT.settle(award, delivered, prices, run="initial", issued_ns=1)
    assert {(line.kind, line.amount) for line in settled.lines} == {
        ("award", 400_00000000),
        ("capacity", 21_00000000),
        ("imbalance", 0),
        ("imbalance", -120_00000000),
    }
    assert settled.amount == 301_00000000


def test_ercot_corrections_keep_to_their_quarter() -> None:
    quarters = list(HOUR.split(15 * NS_PER_MINUTE))
    bid = a_bid("ercot", Orders(product=DAY_AHEAD, orders=(order(HOUR, "sell", 8.0, 45.0),)))
    prices = {DAY_AHEAD: {HOUR.start_ns: 50.0}, REAL_TIME: {q.start_ns: 30.0 for q in quarters}}
    award = ERCOT.clear(bid, prices, bid_id="b", published_ns=1)
    delivered = [Delivered(start_ns=q.start_ns, end_ns=q.end_ns, delivered_wh=0) for q in quarters]
    first = ERCOT.settle(award, delivered, prices, run="initial", issued_ns=1)
    prices[REAL_TIME][quarters[2].start_ns] = 31.0
    second = ERCOT.settle(
        award, delivered, prices, run="final", issued_ns=2, previous=first, named=[quarters[2]]
    )
    assert second.changed == (quarters[2],)
    assert second.amount - first.amount == -2 * 100_000_000  # 2 MWh bought back, 1 USD dearer


def test_positions_of_the_quarters_add_up_to_the_hour() -> None:
    quantity = AwardedQuantity(
        product=DAY_AHEAD, start_ns=HOUR.start_ns, end_ns=HOUR.end_ns, power_w=-1_234_567, price_per_mwh=0.0
    )
    award = MarketAward(
        resource_id="north",
        market_id="ercot",
        settlement_point="HB_NORTH",
        delivery_date=DAY.isoformat(),
        bid_id="b",
        version=1,
        published_ns=1,
        quantities=(quantity,),
    )
    held = positions_wh(ERCOT.rules, award)
    twice = positions_wh(ERCOT.rules, replace(award, quantities=(quantity, quantity)))
    assert twice == {start_ns: 2 * wh for start_ns, wh in held.items()}
    assert list(held) == [quarter.start_ns for quarter in HOUR.split(15 * NS_PER_MINUTE)]
    assert sum(held.values()) == -1_234_567
    assert max(held.values()) - min(held.values()) <= 1


# ── SDAC ────────────────────────────────────────────────────────────────────────────────────────────────────────


QUARTERS = SDAC.delivery_intervals("day-ahead", DAY)


def block(
    number: int, price: float, mw: dict[int, float], parent_id: str = "", exclusive_group: str = ""
) -> Block:
    return Block(
        block_id=f"b{number}",
        side="sell",
        limit_price_per_mwh=price,
        intervals=tuple(
            BlockInterval(start_ns=QUARTERS[at].start_ns, end_ns=QUARTERS[at].end_ns, quantity_mw=quantity_mw)
            for at, quantity_mw in mw.items()
        ),
        parent_id=parent_id,
        exclusive_group=exclusive_group,
    )


def taken(*blocks: Block, price: dict[int, float]) -> dict[int, int]:
    prices = {QUARTERS[at].start_ns: value for at, value in price.items()}
    found = cleared_blocks_w(blocks, prices, 0.01)
    return {at: found[QUARTERS[at].start_ns] for at in price if QUARTERS[at].start_ns in found}


def test_sdac_turned_to_quarter_hours_in_october_2025() -> None:
    days = (date(2025, 9, 30), date(2025, 10, 1))
    assert [len(SDAC.delivery_intervals("day-ahead", day)) for day in days] == [24, 96]
    assert SDAC.gates("day-ahead", date(2025, 7, 1))[0].closes_ns == utc_ns(2025, 6, 30, 10)
    assert SDAC.price_limits("day-ahead", date(2022, 5, 10)) == (-500.0, 3000.0)
    assert SDAC.price_limits("day-ahead", date(2022, 5, 11)) == (-500.0, 4000.0)


def test_a_block_is_taken_by_its_mean_price() -> None:
    one = block(0, 50.0, {0: 1.0, 1: 3.0})
    assert taken(one, price={0: 20.0, 1: 60.0}) == {0: -1_000_000, 1: -3_000_000}  # mean 50.00
    assert taken(one, price={0: 20.0, 1: 59.99}) == {}


def test_a_child_may_rescue_its_parent_but_not_the_other_way() -> None:
    parent, child = block(0, 60.0, {0: 1.0}), block(1, 10.0, {0: 1.0}, parent_id="b0")
    assert taken(parent, child, price={0: 35.0}) == {0: -2_000_000}
    assert taken(parent, child, price={0: 34.99}) == {}
    dear = replace(child, limit_price_per_mwh=99.0)
    assert taken(replace(parent, limit_price_per_mwh=1.0), dear, price={0: 35.0}) == {0: -1_000_000}


def test_of_an_exclusive_group_the_best_is_taken() -> None:
    small = block(0, 10.0, {0: 1.0}, exclusive_group="g")
    large = block(1, 20.0, {0: 5.0}, exclusive_group="g")
    assert taken(small, large, price={0: 21.0}) == {0: -1_000_000}  # 11 against 5
    assert taken(small, large, price={0: 30.0}) == {0: -5_000_000}  # 20 against 50


def test_blocks_earn_the_most_that_their_links_allow() -> None:
    """Against every subset of blocks that respects parents and groups."""
    random = Random(3)
    for _ in range(200):
        blocks: list[Block] = []
        for number in range(6):
            group = random.choice(("", "", "g"))
            parents = [b.block_id for b in blocks if not b.exclusive_group]
            blocks.append(
                block(
                    number,
                    float(random.randint(0, 80)),
                    {at: float(random.randint(1, 9)) for at in random.sample(range(4), random.randint(1, 4))},
                    exclusive_group=group,
                    parent_id="" if group or not parents else random.choice((*parents, "")),
                )
            )
        price = {at: float(random.randint(0, 80)) for at in range(4)}

        def gain(chosen: tuple[Block, ...], price: dict[int, float] = price) -> float:
            by_start = {QUARTERS[at].start_ns: value for at, value in price.items()}
            return sum(
                part.quantity_mw * (by_start[part.start_ns] - each.limit_price_per_mwh)
                for each in chosen
                for part in each.intervals
            )

        allowed = [
            chosen
            for size in range(7)
            for chosen in combinations(blocks, size)
            if all(not b.parent_id or b.parent_id in {c.block_id for c in chosen} for b in chosen)
            and sum(bool(b.exclusive_group) for b in chosen) <= 1
        ]
        best = max(gain(chosen) for chosen in allowed)
        most = taken(*blocks, price=price)
        same = [
            chosen
            for chosen in allowed
            if abs(gain(chosen) - best) < 1e-9
            and {
                at: -sum(
                    round(part.quantity_mw * 1e6)
                    for b in chosen
                    for part in b.intervals
                    if part.start_ns == QUARTERS[at].start_ns
                )
                for at in most
            }
            == most
        ]
        assert same


def test_a_block_needs_the_price_of_all_its_intervals() -> None:
    with pytest.raises(InvalidInputError, match="every interval of a block"):
        taken(block(0, 1.0, {0: 1.0, 1: 1.0}), price={0: 5.0})


# ── Great Britain ───────────────────────────────────────────────────────────────────────────────────────────────


def test_gb_positions_close_an_hour_ahead_and_deviations_pay_one_price() -> None:
    """Notified 10 MW out and 4 MW in; 6 MWh out and 1 MWh in came, at 80 and at -20."""
    bid = target(GB, IMBALANCE, -10.0, 4.0)
    first, second = GB.delivery_intervals(IMBALANCE, DAY)[:2]
    assert GB.validate(bid, received_ns=first.start_ns - NS_PER_HOUR - 1) == Accepted()
    late = GB.validate(bid, received_ns=first.start_ns - NS_PER_HOUR)
    assert isinstance(late, RejectedBid) and late.reason == "gate_closed"
    award = GB.clear(bid, {}, bid_id="b", published_ns=1)
    assert [q.power_w for q in award.quantities] == [-10_000_000, 4_000_000]
    delivered = [
        Delivered(start_ns=first.start_ns, end_ns=first.end_ns, delivered_wh=-6_000_000),
        Delivered(start_ns=second.start_ns, end_ns=second.end_ns, delivered_wh=1_000_000),
    ]
    prices = {IMBALANCE: {first.start_ns: 80.0, second.start_ns: -20.0}}
    settled = GB.settle(award, delivered, prices, run="SF", issued_ns=1)
    # 1 MWh more out than notified earns 80; 1 MWh less in than notified, at -20, costs 20.
    assert [line.amount for line in settled.lines] == [80_00000000, -20_00000000]
    assert [rule.run for rule in GB.rules.runs] == ["II", "SF", "R1", "R2", "R3", "RF", "DF"]


def test_gb_revisions_move_only_open_periods() -> None:
    bid = target(GB, IMBALANCE, -10.0, 4.0)
    first, second = GB.delivery_intervals(IMBALANCE, DAY)[:2]
    change = TargetInterval(start_ns=second.start_ns, end_ns=second.end_ns, load_mw=0.0)
    more = a_bid("gb", LoadTarget(product=IMBALANCE, intervals=(change,)), revision=2)
    assert GB.validate(more, received_ns=first.start_ns - NS_PER_HOUR + 1, standing=bid) == Accepted()
    award = GB.clear(in_force(bid, more), {}, bid_id="b", published_ns=1)
    assert [q.power_w for q in award.quantities] == [-10_000_000, 0]


# ── peak programme ──────────────────────────────────────────────────────────────────────────────────────────────


def test_peak_pays_what_was_delivered_and_charges_what_is_missing() -> None:
    """0.5 MW committed for three hours; 0.6, 0.46 and 0.1 MW came; 10 % may be missing."""
    bid = target(PEAK, REDUCTION, -0.5, -0.5, -0.5)
    assert PEAK.validate(bid, received_ns=utc_ns(2025, 12, 14, 23, 59)) == Accepted()
    award = PEAK.clear(bid, {}, bid_id="b", published_ns=1)
    hours = PEAK.delivery_intervals(REDUCTION, DAY)
    delivered = [
        Delivered(start_ns=hour.start_ns, end_ns=hour.end_ns, delivered_wh=wh)
        for hour, wh in zip(hours, (-600_000, -460_000, -100_000), strict=False)
    ]
    settled = PEAK.settle(award, delivered, {}, run="initial", issued_ns=1)
    paid = [line.amount for line in settled.lines if line.kind == "performance"]
    charged = [line.amount for line in settled.lines if line.kind == "penalty"]
    assert paid == [1000_00000000, 920_00000000, 200_00000000]  # 0.5, 0.46 and 0.1 MWh at 2,000
    assert charged == [0, 0, -175_00000000]  # 0.4 MWh missing, 0.05 of it allowed, at 500


def test_peak_commitments_are_held_to_the_target() -> None:
    award = PEAK.clear(target(PEAK, REDUCTION, -0.5, -0.5), {}, bid_id="b", published_ns=1)
    first = award.quantities[0]
    called = PEAK.clear_to_target(award, {first.start_ns: 0.3})
    assert [q.power_w for q in called.quantities] == [-300_000, 0]
    assert called.version == 2


def test_peak_takes_reductions_only() -> None:
    outcome = PEAK.validate(target(PEAK, REDUCTION, -0.5, 0.25), received_ns=0)
    assert isinstance(outcome, RejectedBid)
    assert (
        outcome.detail == "offers[0].intervals[1].load_mw: 0.25 cannot be used; give a reduction: 0 or less"
    )
