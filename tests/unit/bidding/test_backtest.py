"""The engine of back-tests: nothing from the future, energy and money that add up, offers that a market takes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.bidding.backtest import (
    AMOUNTS_PER_UNIT,
    Series,
    clear,
    make_series,
    perfect_foresight,
    run_backtest,
)
from shoal.bidding.backtest_days import by_day, score
from shoal.bidding.backtest_markets import NEM, band_market, day_limits
from shoal.bidding.strategy import BandOffer, Bands, Known, Strategy
from shoal.bidding.strategy_registry import BASELINES, STRATEGIES, make_strategy
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.market.registry import market_module
from tests.unit.bidding.market_prices import FIRST_NS, HALF_HOURS, SETTING, prices, series


@dataclass
class Recorder:
    """A strategy that keeps everything that another one answers."""

    inner: Strategy[Any]
    said: list[Any] = field(default_factory=list)

    @property
    def plans_a_day(self) -> int:
        return self.inner.plans_a_day

    def bands(self, known: Known) -> Bands:
        self.said.append(bands := self.inner.bands(known))
        return bands

    def plan(self, known: Known, bands: Bands, energy_kwh: float) -> Any:
        return self.inner.plan(known, bands, energy_kwh)

    def offer(self, plan: Any, known: Known, energy_kwh: float) -> BandOffer:
        offer = self.inner.offer(plan, known, energy_kwh)
        self.said.append((known.now_ns, energy_kwh, offer))
        return offer


def said_until(name: str, given: Series, until: int) -> list[Any]:
    """Return every band, stored energy and offer up to the offer of interval `until`, which sees no price of it."""
    recorder = Recorder(make_strategy(name, SETTING))
    run_backtest(recorder, SETTING, given, end_index=until + 1)
    return recorder.said


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@pytest.mark.parametrize("change", ["shifted", "raised", "spiked"])
def test_no_decision_changes_when_every_later_fact_does(name: str, change: str) -> None:
    days, until = 9, 7 * 48 + 31
    price = prices(days)
    later = price.copy()
    tail = price[until:]
    later[until:] = {
        "shifted": np.roll(tail, 11),
        "raised": tail + 123.45,
        "spiked": np.full(len(tail), 17_000.0),
    }[change]
    start_ns = FIRST_NS + np.arange(len(price)) * HALF_HOURS.interval_ns
    before = said_until(name, make_series(HALF_HOURS, start_ns, price), until)
    after = said_until(name, make_series(HALF_HOURS, start_ns, later), until)
    assert before == after
    assert sum(isinstance(one, tuple) for one in before) == until + 1


def test_the_leak_test_finds_a_leak() -> None:
    """A strategy that looks at its own interval's price is caught."""

    @dataclass
    class Cheat:
        price: NDArray[np.float64]

        @property
        def plans_a_day(self) -> int:
            return 1

        def bands(self, known: Known) -> Bands:
            return Bands(sell_per_mwh=(-1_000.0,), buy_per_mwh=(17_500.0,))

        def plan(self, known: Known, bands: Bands, energy_kwh: float) -> None:
            return None

        def offer(self, plan: None, known: Known, energy_kwh: float) -> BandOffer:
            high = self.price[len(known.price_per_mwh)] > 60.0
            return BandOffer(sell_kw=(1_000.0 * high,), buy_kw=(1_000.0 * (not high),))

    price = prices(2)
    later = price.copy()
    later[60:] = 130.0 - later[60:]
    start_ns = FIRST_NS + np.arange(len(price)) * HALF_HOURS.interval_ns
    said = []
    for one in (price, later):
        recorder = Recorder(Cheat(one))
        run_backtest(recorder, SETTING, make_series(HALF_HOURS, start_ns, one), end_index=61)
        said.append(recorder.said)
    assert said[0] != said[1]


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_energy_and_money_add_up_to_the_last_unit(name: str) -> None:
    given = series(8)
    outcome = run_backtest(make_strategy(name, SETTING), SETTING, given)
    storage = SETTING.storage
    stored = np.cumsum(outcome.bought_wh) * storage.charge_efficiency_frac
    stored -= np.cumsum(outcome.sold_wh) / storage.discharge_efficiency_frac
    np.testing.assert_allclose(outcome.energy_kwh[1:], stored / 1_000.0, rtol=0, atol=1e-6)
    assert np.all((outcome.energy_kwh >= 0.0) & (outcome.energy_kwh <= storage.energy_capacity_kwh))
    assert not np.any((outcome.bought_wh > 0) & (outcome.sold_wh > 0))
    assert max(outcome.bought_wh.max(), outcome.sold_wh.max()) <= 500_000
    cents = given.price_cents_per_mwh.tolist()
    sold, bought = outcome.sold_wh.tolist(), outcome.bought_wh.tolist()
    amount = sum(c * (s - b) - 1_000 * s for c, s, b in zip(cents, sold, bought, strict=True))
    assert int(outcome.amount.sum()) == amount
    perfect = perfect_foresight(SETTING, given)
    days = by_day(given, outcome, perfect)
    assert int(days.amount.sum()) == amount
    assert len(days.day) == 8
    assert outcome.decisions_count == 8 * 48


def test_hindsight_earns_at_least_what_any_strategy_does() -> None:
    given = series(12)
    perfect = perfect_foresight(SETTING, given)
    shares = {}
    for name in STRATEGIES:
        outcome = run_backtest(make_strategy(name, SETTING), SETTING, given)
        figures = score(SETTING.storage, by_day(given, outcome, perfect), outcome)
        assert figures.share_of_perfect_foresight is not None
        shares[name] = figures.share_of_perfect_foresight
    assert max(shares.values()) < 1.0
    assert min(shares[name] for name in ("shape", "backcast")) > 0.2


def test_days_without_the_richest_are_told_apart() -> None:
    given = series(12)
    perfect = perfect_foresight(SETTING, given)
    days = by_day(given, perfect, perfect)
    figures = score(SETTING.storage, days, perfect)
    assert figures.share_of_perfect_foresight == figures.share_without_richest_days == 1.0
    rich = days.richest()
    assert (
        figures.perfect_share_in_richest_days == days.perfect_amount[rich].sum() / days.perfect_amount.sum()
    )
    assert days.perfect_amount[rich].min() >= np.delete(days.perfect_amount, rich).max()
    assert figures.revenue == days.amount.sum() / AMOUNTS_PER_UNIT


def test_bands_clear_at_their_own_price_and_beyond() -> None:
    bands = Bands(sell_per_mwh=(100.0, 300.0), buy_per_mwh=(-10.0, 20.0))
    offer = BandOffer(sell_kw=(400.0, 600.0), buy_kw=(500.0, 250.0))
    cleared = {
        price: clear(bands, offer, price) for price in (-10.0, -9.99, 20.0, 20.01, 100.0, 299.0, 300.0)
    }
    assert cleared == {
        -10.0: (750.0, 0),
        -9.99: (250.0, 0),
        20.0: (250.0, 0),
        20.01: (0, 0),
        100.0: (0, 400.0),
        299.0: (0, 400.0),
        300.0: (0, 1_000.0),
    }


@dataclass
class Fixed:
    """Gives the same bands and offer whatever is known."""

    given: Bands
    quantities: BandOffer
    plans_a_day: int = 1

    def bands(self, known: Known) -> Bands:
        return self.given

    def plan(self, known: Known, bands: Bands, energy_kwh: float) -> None:
        return None

    def offer(self, plan: None, known: Known, energy_kwh: float) -> BandOffer:
        return self.quantities


@pytest.mark.parametrize(
    ("bands", "offer", "field_name"),
    [
        (Bands(sell_per_mwh=tuple(range(11)), buy_per_mwh=()), None, "sell_per_mwh"),
        (Bands(sell_per_mwh=(5.0, 5.0), buy_per_mwh=()), None, "sell_per_mwh"),
        (Bands(sell_per_mwh=(), buy_per_mwh=(-2_000.0,)), None, "buy_per_mwh"),
        (Bands(sell_per_mwh=(5.0,), buy_per_mwh=()), BandOffer(sell_kw=(-1.0,), buy_kw=()), "sell_kw"),
        (Bands(sell_per_mwh=(), buy_per_mwh=(5.0,)), BandOffer(sell_kw=(), buy_kw=(-1.0,)), "buy_kw"),
        (
            Bands(sell_per_mwh=(-1_000.0,), buy_per_mwh=(17_500.0,)),
            BandOffer(sell_kw=(1.0,), buy_kw=(1.0,)),
            "offer",
        ),
    ],
)
def test_an_offer_that_no_market_takes_is_refused(
    bands: Bands, offer: BandOffer | None, field_name: str
) -> None:
    offer = offer or BandOffer(
        sell_kw=(0.0,) * len(bands.sell_per_mwh), buy_kw=(0.0,) * len(bands.buy_per_mwh)
    )
    with pytest.raises(InvalidInputError) as refused:
        run_backtest(Fixed(bands, offer), SETTING, series(1))
    assert refused.value.field == field_name


def test_a_dispatch_beyond_what_is_stored_is_cut_off() -> None:
    bands = Bands(sell_per_mwh=(-1_000.0,), buy_per_mwh=())
    outcome = run_backtest(Fixed(bands, BandOffer(sell_kw=(1_000.0,), buy_kw=())), SETTING, series(1))
    assert outcome.sold_wh.sum() == 0
    bands = Bands(sell_per_mwh=(), buy_per_mwh=(17_500.0,))
    outcome = run_backtest(Fixed(bands, BandOffer(sell_kw=(), buy_kw=(9_999.0,))), SETTING, series(1))
    assert outcome.bought_wh.max() == 500_000
    assert outcome.energy_kwh[-1] == pytest.approx(2_000.0, abs=1e-3)


def test_band_prices_are_given_on_the_day_before() -> None:
    """Bands of a trading day see nothing after noon of the day before; offers see all but their interval."""
    seen: list[tuple[str, int, int]] = []

    @dataclass
    class Watching(Fixed):
        def bands(self, known: Known) -> Bands:
            seen.append(("bands", known.now_ns, len(known.start_ns)))
            return self.given

        def offer(self, plan: None, known: Known, energy_kwh: float) -> BandOffer:
            seen.append(("offer", known.now_ns, len(known.start_ns)))
            return self.quantities

    given = series(3)
    run_backtest(
        Watching(Bands(sell_per_mwh=(), buy_per_mwh=()), BandOffer(sell_kw=(), buy_kw=())), SETTING, given
    )
    lodged = [count for kind, _, count in seen if kind == "bands"]
    assert lodged == [0, 17, 17 + 48]  # 04:00 to 12:30 are 17 half-hours
    offers = [(now_ns, count) for kind, now_ns, count in seen if kind == "offer"]
    assert offers == [(int(t), i) for i, t in enumerate(given.start_ns)]


def test_history_before_the_first_interval_is_known() -> None:
    given = series(10)
    first = 6 * 48
    outcome = run_backtest(make_strategy("shape", SETTING), SETTING, given, first_index=first)
    assert outcome.sold_wh[:48].sum() > 0
    assert len(outcome.amount) == 4 * 48
    cold = run_backtest(make_strategy("shape", SETTING), SETTING, given)
    assert cold.sold_wh[:48].sum() == 0


def test_a_gap_in_the_prices_stops_nobody() -> None:
    price = prices(12)
    start_ns = FIRST_NS + np.arange(len(price)) * HALF_HOURS.interval_ns
    keep = np.ones(len(price), np.bool_)
    keep[200:320] = False
    given = make_series(HALF_HOURS, start_ns[keep], price[keep])
    for name in STRATEGIES:
        outcome = run_backtest(make_strategy(name, SETTING), SETTING, given)
        assert outcome.decisions_count == keep.sum()
        assert outcome.sold_wh.sum() > 0


def test_trading_days_begin_at_four_and_clock_changes_are_kept() -> None:
    day, span = NEM.trading_day(FIRST_NS - 1)
    assert (day, span.end_ns) == (date(2024, 12, 31), FIRST_NS)
    assert NEM.trading_day(FIRST_NS)[0] == date(2025, 1, 1)
    hourly = band_market("ercot-rt")
    spring = make_series(
        replace(hourly, interval_ns=3_600 * 10**9),
        np.arange(72) * 3_600 * 10**9 + 1_741_327_200_000_000_000,  # from 2025-03-07 00:00 in Texas
        np.full(72, 20.0),
    )
    days, counts = np.unique(spring.day_number, return_counts=True)
    assert counts.tolist() == [24, 24, 23, 1]
    assert 2 not in spring.slot_number[spring.day_number == days[2]]


@pytest.mark.parametrize(
    ("start", "price", "field_name"),
    [
        ([0, 1, 1], [1.0, 1.0, 1.0], "start_ns[2]"),
        ([0, 1, 2], [1.0, float("nan"), 1.0], "price_per_mwh[1]"),
        ([0, 1, 2], [1.0, 1.0, 20_000.0], "price_per_mwh[2]"),
        ([], [], "series"),
    ],
)
def test_a_series_that_cannot_be_used_is_refused(
    start: list[int], price: list[float], field_name: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        make_series(HALF_HOURS, np.array(start, np.int64) * HALF_HOURS.interval_ns, np.array(price))
    assert refused.value.field == field_name


def test_names_that_nobody_knows_are_refused() -> None:
    with pytest.raises(UnknownIdError):
        make_strategy("oracle", SETTING)
    with pytest.raises(UnknownIdError):
        band_market("mars")
    assert set(BASELINES) <= set(STRATEGIES)


def test_the_bands_of_the_nem_are_those_of_its_rules_and_its_limits_have_dates() -> None:
    module = market_module("nem")
    rules = module.rules
    assert (str(NEM.zone), NEM.currency, NEM.day_start) == (rules.zone, rules.currency, rules.day_start)
    assert (NEM.lodgement, NEM.bands_count, NEM.tick_per_mwh) == (time(12, 30), 10, 0.01)
    over_june = band_market("nem", first=date(2025, 6, 1), last=date(2025, 7, 31))
    assert (over_june.floor_per_mwh, over_june.cap_per_mwh) == (-1_000.0, 17_500.0)
    assert band_market("nem", first=date(2025, 7, 1)).cap_per_mwh == 20_300.0
    assert band_market("nem", first=date(2018, 4, 1)).cap_per_mwh == 14_200.0
    limits = day_limits("nem")
    assert limits is not None
    day_ns = 24 * 3_600 * 10**9
    last_of_june = 1_751_220_000_000_000_000  # 2025-06-30 04:00 at the market's clock
    start_ns = last_of_june + np.array([0, day_ns])
    dear = make_series(over_june, start_ns, np.array([17_500.0, 20_300.0]), limits=limits)
    assert dear.price_cents_per_mwh.tolist() == [1_750_000, 2_030_000]
    with pytest.raises(InvalidInputError, match="17500"):
        make_series(over_june, start_ns, np.array([20_300.0, 20_300.0]), limits=limits)
    with pytest.raises(InvalidInputError, match="20300"):
        make_series(over_june, start_ns, np.array([17_500.0, 20_300.01]), limits=limits)
