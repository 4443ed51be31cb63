"""The NEM's own rules: market time, caps, rebids, the two sides of a unit, services within trapezia, settlement."""

from __future__ import annotations

from datetime import date, timedelta
from random import Random

import pytest
from msgspec.structs import replace

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_MINUTE, Interval
from shoal.domain.outcome import Accepted
from shoal.market.awards import Delivered, MarketAward
from shoal.market.bids import BandInterval, BandOffer, MarketBid, RebidReason, Trapezium
from shoal.market.contract import RejectedBid
from shoal.market.nem import ENERGY, NEM, SERVICES
from shoal.market.nem_services import room_w
from shoal.market.standing import in_force
from tests.unit.market.days import DAY, LADDER, a_bid, bands, utc_ns

FIRST, SECOND = NEM.delivery_intervals(ENERGY, DAY)[:2]
BEFORE_NS = utc_ns(2025, 12, 14, 2, 29)  # a minute before 12:30 market time on the day before
GEN = bands(ENERGY, [FIRST, SECOND], mw={5: 60.0, 7: 40.0})
LOAD = bands(ENERGY, [FIRST, SECOND], side="load", mw={2: 80.0, 1: 20.0})
BID = a_bid("nem", LOAD, GEN)


def refused(bid: MarketBid, received_ns: int = BEFORE_NS, standing: MarketBid | None = None) -> RejectedBid:
    outcome = NEM.validate(bid, received_ns=received_ns, standing=standing)
    assert isinstance(outcome, RejectedBid)
    return outcome


def power(award: MarketAward, product: str = ENERGY, interval: Interval = FIRST) -> int:
    return next(
        q.power_w for q in award.quantities if (q.product, q.start_ns) == (product, interval.start_ns)
    )


def cleared(bid: MarketBid, **price: float) -> MarketAward:
    prices = {product: {FIRST.start_ns: value} for product, value in price.items()}
    return NEM.clear(bid, prices, bid_id="b", published_ns=1)


def test_the_trading_day_begins_at_four_in_market_time_all_year() -> None:
    assert FIRST.start_ns == utc_ns(2025, 12, 14, 18)
    assert NEM.delivery_intervals(ENERGY, date(2025, 6, 15))[0].start_ns == utc_ns(2025, 6, 14, 18)
    assert NEM.delivery_date(utc_ns(2025, 12, 14, 17, 59)) == DAY - timedelta(days=1)


def test_files_name_an_interval_by_its_end() -> None:
    assert NEM.label_ns(FIRST) == utc_ns(2025, 12, 14, 18, 5)
    assert NEM.labelled(ENERGY, utc_ns(2025, 12, 14, 18, 5)) == FIRST


def test_prices_close_the_day_before_and_quantities_with_each_interval() -> None:
    gates = NEM.gates(ENERGY, DAY)
    assert (gates[0].kind, gates[0].closes_ns) == ("bands", utc_ns(2025, 12, 14, 2, 30))
    assert len(gates) == 289
    assert gates[1].closes_ns == FIRST.start_ns - 20_000_000_000
    assert NEM.closes_ns(ENERGY, SECOND) == SECOND.start_ns - 20_000_000_000


@pytest.mark.parametrize(
    ("day", "cap"),
    [
        (date(2020, 6, 30), 14_700.0),
        (date(2020, 7, 1), 15_000.0),
        (date(2022, 1, 1), 15_100.0),
        (date(2023, 6, 30), 15_500.0),
        (date(2024, 6, 30), 16_600.0),
        (date(2025, 6, 30), 17_500.0),
        (date(2025, 7, 1), 20_300.0),
    ],
)
def test_the_cap_follows_the_financial_year(day: date, cap: float) -> None:
    assert NEM.price_limits(ENERGY, day) == (-1000.0, cap)
    assert NEM.price_limits("raisereg", day) == (0.0, cap)


def test_very_fast_services_begin_in_october_2023() -> None:
    assert {p.product_id for p in NEM.products(date(2023, 10, 9))} == {ENERGY, *SERVICES}
    gone = {p.product_id for p in NEM.products(date(2023, 10, 8))}
    assert {ENERGY, *SERVICES} - gone == {"raise1sec", "lower1sec"}


# ── rebids ──────────────────────────────────────────────────────────────────────────────────────────────────────


def rebid(at_ns: int, **changes: object) -> MarketBid:
    less = bands(ENERGY, [SECOND], mw={5: 10.0})
    why = RebidReason(
        category="physical",
        reason="fewer homes report",
        event_ns=at_ns - 3,
        aware_ns=at_ns - 2,
        decision_ns=at_ns - 1,
    )
    facts = {"idempotency_key": "k2", "revision": 2, "rebid": why, "interval_start_ns": SECOND.start_ns}
    return replace(a_bid("nem", less), **(facts | changes))


def test_quantities_may_be_rebid_until_the_interval_with_a_reason() -> None:
    at_ns = SECOND.start_ns - 21_000_000_000
    assert NEM.validate(rebid(at_ns), received_ns=at_ns, standing=BID) == Accepted()
    assert refused(rebid(at_ns, rebid=None), at_ns, BID).detail == (
        "rebid: None cannot be used; say why, with the times of event, awareness and decision"
    )
    late = refused(rebid(at_ns), at_ns + 1_000_000_000, BID)
    assert (late.reason, late.field) == ("gate_closed", "offers[0]")
    assert late.fix == (
        "bid for 2025-12-14T18:05:00.000Z before its gate at 2025-12-14T18:04:40.000Z, or leave it out"
    )


def test_before_the_daily_gate_a_revision_needs_no_reason_and_may_change_prices() -> None:
    dearer = bands(ENERGY, [FIRST], mw={5: 10.0}, prices=(*(price + 0.01 for price in LADDER[:-1]), 20300.0))
    bid = a_bid("nem", dearer, revision=2)
    assert NEM.validate(bid, received_ns=BEFORE_NS, standing=BID) == Accepted()
    assert refused(bid, BEFORE_NS + NS_PER_MINUTE, BID).reason == "band_prices_fixed"


def test_a_revision_replaces_the_intervals_that_it_lists() -> None:
    whole = in_force(BID, rebid(FIRST.start_ns))
    gen = next(o for o in whole.offers if isinstance(o, BandOffer) and o.side == "gen")
    assert [band.band_avail_mw[5] for band in gen.intervals] == [60.0, 10.0]
    assert (whole.revision, whole.interval_start_ns) == (2, None)
    assert power(cleared(whole, energy=95.0)) == -60_000_000


def test_the_two_sides_of_a_unit_must_not_meet() -> None:
    crossing = bands(ENERGY, [FIRST], side="load", mw={5: 1.0})
    outcome = refused(a_bid("nem", crossing, GEN))
    assert outcome.detail == (
        "offers: '2025-12-14T18:00:00.000Z: load at 90.0, gen at 90.0' cannot be used; "
        "keep every load band with MW below every gen band with MW, or set one max_avail_mw to 0"
    )
    idle = bands(ENERGY, [FIRST], side="load", mw={5: 1.0}, most_mw=0.0)
    assert NEM.validate(a_bid("nem", idle, GEN), received_ns=BEFORE_NS) == Accepted()


# ── clearing ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("price", "power_w"),
    [(-60.0, 100_000_000), (-50.0, 100_000_000), (-49.99, 80_000_000), (0.0, 80_000_000), (0.01, 0),
     (89.99, 0), (90.0, -60_000_000), (299.99, -60_000_000), (300.0, -100_000_000)],
)  # fmt: skip
def test_energy_is_taken_by_its_bands(price: float, power_w: int) -> None:
    assert power(cleared(BID, energy=price)) == power_w


def test_availability_holds_the_bands_down() -> None:
    assert power(
        cleared(a_bid("nem", bands(ENERGY, [FIRST], mw={0: 9.0, 1: 9.0}, most_mw=12.0)), energy=0.0)
    ) == (-12_000_000)


def test_only_intervals_with_a_price_are_awarded() -> None:
    assert {q.start_ns for q in cleared(BID, energy=0.0).quantities} == {FIRST.start_ns}


RAISE = Trapezium(
    enablement_min_mw=-100.0, low_breakpoint_mw=-100.0, high_breakpoint_mw=60.0, enablement_max_mw=100.0
)
LOWER = Trapezium(
    enablement_min_mw=-100.0, low_breakpoint_mw=-60.0, high_breakpoint_mw=100.0, enablement_max_mw=100.0
)
GEN_SIDE = Trapezium(
    enablement_min_mw=0.0, low_breakpoint_mw=0.0, high_breakpoint_mw=70.0, enablement_max_mw=100.0
)


def test_services_fit_beside_energy_and_regulation() -> None:
    """A worked example of the joint capacity constraints, by hand."""
    bid = a_bid(
        "nem",
        LOAD,
        GEN,
        bands("raisereg", [FIRST], mw={2: 30.0}, most_mw=30.0, trapezium=GEN_SIDE),
        bands("raise6sec", [FIRST], mw={2: 40.0}, most_mw=40.0, trapezium=RAISE),
        bands("lower6sec", [FIRST], mw={2: 40.0}, most_mw=40.0, trapezium=LOWER),
    )
    award = cleared(bid, energy=100.0, raisereg=5.0, raise6sec=5.0, lower6sec=5.0)
    assert power(award) == -60_000_000
    assert power(award, "raisereg") == 30_000_000  # 60 + (100 - 70) / 30 x 30 <= 100
    assert power(award, "raise6sec") == 10_000_000  # 60 + (100 - 60) / 40 x 10 + 30 <= 100
    assert power(award, "lower6sec") == 40_000_000  # 60 - (100 - 60) / 40 x 40 >= -100
    cheap = cleared(bid, energy=100.0, raisereg=-0.5, raise6sec=5.0)
    assert (power(cheap, "raisereg"), power(cheap, "raise6sec")) == (0, 40_000_000)


def test_a_unit_outside_the_enablement_range_gives_nothing() -> None:
    narrow = Trapezium(
        enablement_min_mw=0.0, low_breakpoint_mw=0.0, high_breakpoint_mw=10.0, enablement_max_mw=20.0
    )
    service = bands("raise5min", [FIRST], mw={2: 5.0}, trapezium=narrow)
    assert power(cleared(a_bid("nem", GEN, service), energy=100.0, raise5min=9.0), "raise5min") == 0


def test_room_is_the_most_that_the_constraints_allow() -> None:
    """Against the inequalities themselves, in exact fractions of a watt."""
    random = Random(4)
    for _ in range(3000):
        corners = sorted(random.randint(-50, 50) for _ in range(4))
        most, energy, up, down = (random.randint(low, 60) for low in (1, -60, 0, 0))
        band = BandInterval(
            start_ns=0,
            end_ns=1,
            max_avail_mw=float(most),
            band_avail_mw=(float(most),) + (0.0,) * 9,
            trapezium=Trapezium(
                enablement_min_mw=float(corners[0]),
                low_breakpoint_mw=float(corners[1]),
                high_breakpoint_mw=float(corners[2]),
                enablement_max_mw=float(corners[3]),
            ),
        )

        def holds(
            service_w: int,
            corners: list[int] = corners,
            most: int = most,
            energy: int = energy,
            up: int = up,
            down: int = down,
        ) -> bool:
            upper, lower = corners[3] - corners[2], corners[1] - corners[0]
            above = (corners[3] - energy - up) * most * 1_000_000 >= upper * service_w
            below = (energy - down - corners[0]) * most * 1_000_000 >= lower * service_w
            return above and below and service_w <= most * 1_000_000

        room = room_w(band, energy * 1_000_000, up * 1_000_000, down * 1_000_000)
        if room or holds(0):
            assert holds(room) and not holds(room + 1)


# ── settlement ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_metered_energy_and_enablement_are_settled_to_the_unit() -> None:
    service = bands("raise6sec", [FIRST], mw={2: 12.0}, trapezium=RAISE)
    award = cleared(a_bid("nem", GEN, service), energy=100.0, raise6sec=3.0)
    delivered = [Delivered(start_ns=FIRST.start_ns, end_ns=FIRST.end_ns, delivered_wh=-4_900_000)]
    prices = {ENERGY: {FIRST.start_ns: 101.25}, "raise6sec": {FIRST.start_ns: 3.0}}
    settled = NEM.settle(award, delivered, prices, run="preliminary", issued_ns=1)
    amounts = {line.kind: line.amount for line in settled.lines}
    # 4.9 MWh at 101.25 AUD; 12 MW for five minutes at 3 AUD/MW/h
    assert amounts == {"energy": 49_612_500_000, "capacity": 300_000_000}
    assert settled.amount == 49_912_500_000


def test_until_october_2021_energy_was_settled_at_half_hour_means() -> None:
    day = date(2021, 9, 30)
    first = NEM.delivery_intervals(ENERGY, day)[:7]
    award = NEM.clear(a_bid("nem", day=day), {}, bid_id="b", published_ns=1)
    prices = {ENERGY: {interval.start_ns: 100.0 * number for number, interval in enumerate(first)}}
    delivered = [Delivered(start_ns=first[0].start_ns, end_ns=first[0].end_ns, delivered_wh=-1_000_000)]
    settled = NEM.settle(award, delivered, prices, run="final", issued_ns=1)
    assert settled.amount == 250_00000000  # the mean of 0 to 500
    lonely = [Delivered(start_ns=first[6].start_ns, end_ns=first[6].end_ns, delivered_wh=0)]
    with pytest.raises(InvalidInputError, match="give the published price"):
        NEM.settle(award, lonely, prices, run="final", issued_ns=1)
