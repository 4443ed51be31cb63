"""The site's planner: its tariff, what it learns, what it plans, and the same plan as the plant's own optimum."""

from __future__ import annotations

import math
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest

from shoal.domain.errors import CorruptStateError, InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.domain.orders import PriceSeries
from shoal.edge.planner import REPLAN_NS, PlantBattery, SitePlanner
from shoal.edge.planner_exact import HomeBattery, HomeSteps, plan_home_light
from shoal.edge.planner_forecast import SLOT_NS, SiteForecast, forecast_state
from shoal.edge.planner_tariff import Tariff, TariffWeek, TariffWindow, local_minute
from shoal.optimise.home import Home, plan_home
from shoal.optimise.storage import Storage

BERLIN = ZoneInfo("Europe/Berlin")
UTC = ZoneInfo("UTC")
START_NS = 1_700_006_400_000_000_000  # Wednesday 2023-11-15T00:00:00Z
DAY_NS = 24 * NS_PER_HOUR


def load_w(hour: float) -> float:
    return 400.0 + 1_200.0 * math.exp(-((hour - 19.0) ** 2) / 4.0)


def sun_w(hour: float) -> float:
    return 5_000.0 * max(math.sin((hour - 6.0) / 12.0 * math.pi), 0.0)


def taught(days: int, *, cloud: float = 1.0) -> tuple[SiteForecast, int]:
    forecast = SiteForecast(UTC)
    now_ns = START_NS
    for minute in range(0, days * 24 * 60 + 1, 5):
        now_ns = START_NS + minute * NS_PER_MINUTE
        hour = minute / 60 % 24
        forecast.observe(now_ns, load_w=load_w(hour), solar_w=-sun_w(hour) * cloud)
    return forecast, now_ns


def planner(forecast: SiteForecast, tariff: Tariff | None = None) -> SitePlanner:
    return SitePlanner(
        battery=PlantBattery(
            charge_limit_kw=5.0,
            discharge_limit_kw=5.0,
            charge_efficiency_frac=0.95,
            discharge_efficiency_frac=0.95,
            capacity_kwh=13.5,
            wear_per_kwh=0.0,
        ),
        tariff=tariff or Tariff(),
        zone=UTC,
        forecast=forecast,
    )


@pytest.mark.parametrize("seed", range(12))
def test_plan_costs_what_the_optimiser_of_the_plant_finds(seed: int) -> None:
    random = np.random.default_rng(seed)
    count, interval_h, usable = 96, 0.25, float(random.uniform(1.0, 14.0))
    load, solar = random.uniform(0.0, 4.0, count), np.maximum(random.uniform(-5.0, 6.0, count), 0.0)
    buy = random.uniform(0.05, 0.5, count)
    sell = buy * random.uniform(-0.2, 1.0, count)
    initial = usable * float(random.random())
    limits = (4.5, 2.0) if seed % 2 else (math.inf, math.inf)
    theirs = plan_home(
        Home(
            load_kw=load,
            solar_potential_kw=solar,
            storage=Storage(
                charge_limit_kw=5.0,
                discharge_limit_kw=4.0,
                charge_efficiency_frac=0.95,
                discharge_efficiency_frac=0.92,
                energy_capacity_kwh=usable,
                initial_energy_kwh=initial,
                throughput_cost_per_mwh=20.0,
                terminal_value_per_mwh=100.0,
            ),
            import_limit_kw=limits[0],
            export_limit_kw=limits[1],
        ),
        import_per_kwh=buy,
        export_per_kwh=sell,
        interval_h=interval_h,
    )
    ours = plan_home_light(
        HomeBattery(
            charge_limit_kw=5.0,
            discharge_limit_kw=4.0,
            charge_efficiency_frac=0.95,
            discharge_efficiency_frac=0.92,
            usable_kwh=usable,
            initial_kwh=initial,
            wear_per_kwh=0.02,
            terminal_per_kwh=0.1,
        ),
        HomeSteps(
            duration_h=[interval_h] * count,
            load_kw=load.tolist(),
            solar_kw=solar.tolist(),
            import_per_kwh=buy.tolist(),
            export_per_kwh=sell.tolist(),
        ),
        import_limit_kw=limits[0],
        export_limit_kw=limits[1],
    )
    assert ours.cost == pytest.approx(theirs.cost, abs=1e-6)


def test_forecast_learns_the_day_and_says_nothing_of_what_it_has_not_seen() -> None:
    fresh = SiteForecast(UTC)
    fresh.prepare(START_NS)
    assert fresh.expect(START_NS, now_ns=START_NS) == (500.0, 0.0)
    forecast, now_ns = taught(10)
    forecast.prepare(now_ns)
    for hour in (3.0, 12.0, 19.0):
        t_ns = START_NS + 10 * DAY_NS + int(hour * NS_PER_HOUR)
        load, sun = forecast.expect(t_ns, now_ns=now_ns)
        assert load == pytest.approx(load_w(hour + 0.1), rel=0.15), hour
        assert sun == pytest.approx(sun_w(hour + 0.1), rel=0.45, abs=10.0), hour


def test_forecast_follows_a_dull_hour_and_forgets_it() -> None:
    forecast, now_ns = taught(9)
    begin = START_NS + 9 * DAY_NS
    for minute in range(5, 12 * 60 + 5, 5):
        now_ns = begin + minute * NS_PER_MINUTE
        hour = minute / 60
        forecast.observe(now_ns, load_w=load_w(hour) + 800.0, solar_w=-0.2 * sun_w(hour))
    forecast.prepare(now_ns)
    soon = forecast.expect(now_ns + SLOT_NS, now_ns=now_ns)
    assert soon[0] > load_w(12.25) + 500.0
    assert soon[1] < 0.4 * sun_w(12.25)
    later = forecast.expect(now_ns + DAY_NS, now_ns=now_ns)
    assert later[1] > 1.5 * soon[1]
    assert later[0] < soon[0] - 300.0
    forecast.prepare(now_ns + 6 * NS_PER_HOUR)
    old = forecast.expect(now_ns + 6 * NS_PER_HOUR, now_ns=now_ns + 6 * NS_PER_HOUR)
    assert old[0] < load_w(18.1) + 200.0, "what was measured six hours ago says nothing of the next hour"


def test_forecast_survives_a_restart_and_refuses_rubbish() -> None:
    forecast, now_ns = taught(3)
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(msgspec.to_builtins(forecast.state)))
    again = SiteForecast(UTC, forecast_state(kept))
    for one in (forecast, again):
        one.prepare(now_ns)
    t_ns = now_ns + 5 * NS_PER_HOUR
    assert again.expect(t_ns, now_ns=now_ns) == forecast.expect(t_ns, now_ns=now_ns)
    for rubbish in ({"week_w": [1.0]}, {"clear_w": "x"}):
        with pytest.raises(CorruptStateError):
            forecast_state({**kept, **rubbish})


def test_clock_set_back_teaches_nothing_wrong() -> None:
    forecast, now_ns = taught(2)
    kept = msgspec.to_builtins(forecast.state)
    for minute in range(600):
        forecast.observe(now_ns - DAY_NS + minute * NS_PER_MINUTE, load_w=9e6, solar_w=-9e6)
    assert msgspec.to_builtins(forecast.state) == kept


def test_tariff_holds_on_local_days_and_over_midnight() -> None:
    tariff = Tariff(
        import_per_kwh=0.3,
        export_per_kwh=0.08,
        windows=(
            TariffWindow(begin="17:00", end="21:00", import_per_kwh=0.5, days=("mon", "tue", "wed")),
            TariffWindow(begin="22:00", end="06:00", import_per_kwh=0.2, export_per_kwh=0.04),
        ),
    )
    week = TariffWeek(tariff, BERLIN)
    wednesday = START_NS - NS_PER_HOUR  # midnight in Berlin
    for hour, prices in (
        (3, (0.2, 0.04)),
        (6, (0.3, 0.08)),
        (17, (0.5, 0.08)),
        (20.99, (0.5, 0.08)),
        (21, (0.3, 0.08)),
        (23, (0.2, 0.04)),
        (24 + 18, (0.3, 0.08)),
        (24 + 29, (0.2, 0.04)),
    ):
        assert week.at(wednesday + int(hour * NS_PER_HOUR)) == prices, hour
    for text in ("25:00", "7", "07:03", "a:b", "12:60"):
        with pytest.raises(InvalidInputError):
            TariffWeek(Tariff(windows=(TariffWindow(begin=text, end="08:00", import_per_kwh=1.0),)), UTC)
    with pytest.raises(InvalidInputError):
        bad = TariffWindow(begin="07:00", end="08:00", import_per_kwh=1.0, days=("someday",))
        TariffWeek(Tariff(windows=(bad,)), UTC)


def test_local_minute_follows_summer_time() -> None:
    for t_ns, minute in (
        (1_711_846_800_000_000_000, 6 * 1_440 + 3 * 60),  # 2024-03-31T01:00Z: 02:00 does not exist in Berlin
        (1_711_846_740_000_000_000, 6 * 1_440 + 60 + 59),
        (START_NS, 2 * 1_440 + 60),
    ):
        assert local_minute(t_ns, BERLIN) == minute


def test_plan_keeps_for_the_evening_what_the_roof_gives() -> None:
    forecast, now_ns = taught(7)
    made = planner(forecast, Tariff(import_per_kwh=0.3, export_per_kwh=0.08))
    plan = made.plan(now_ns + 9 * NS_PER_HOUR, soc_frac=0.3, reserve_frac=0.2)
    assert plan.start_ns[1] - plan.start_ns[0] == REPLAN_NS
    assert len(plan.start_ns) == len(plan.load_kw) + 1
    assert plan.start_ns[-1] - plan.start_ns[0] >= 35 * NS_PER_HOUR
    assert (np.diff(plan.start_ns) > 0).all()
    surplus = plan.power_w(net_w=-3_000, usable_kwh=1.35, now_ns=plan.made_ns)
    assert 0 <= surplus <= 3_000
    assert plan.power_w(net_w=1_500, usable_kwh=1.35, now_ns=plan.made_ns) == -1_500
    assert plan.power_w(net_w=1_500, usable_kwh=0.0, now_ns=plan.made_ns) == 0
    assert plan.power_w(net_w=-3_000, usable_kwh=-2.0, now_ns=plan.made_ns) == 3_000, (
        "the reserve comes first"
    )
    assert plan.from_plant_until_ns == 0


@pytest.mark.parametrize("offset_s", [0, 37, 299])
def test_plan_takes_the_prices_of_the_plant_where_they_hold(offset_s: int) -> None:
    forecast, now_ns = taught(2)
    now_ns += offset_s * 1_000_000_000
    series = PriceSeries(
        start_ns=START_NS + 2 * DAY_NS - NS_PER_HOUR + 60_000_000_000,
        step_s=900,
        import_per_kwh=tuple(float(price) for price in range(1, 21)),
        export_per_kwh=(0.01,) * 20,
    )
    plan = planner(forecast).plan(now_ns, soc_frac=0.5, reserve_frac=0.2, prices=series)
    end_ns = series.start_ns + 20 * 900 * 1_000_000_000
    assert plan.from_plant_until_ns == end_ns
    for begin_ns, price in zip(plan.start_ns, plan.import_per_kwh, strict=False):
        inside = begin_ns < end_ns
        assert price == (1 + (begin_ns - series.start_ns) // (900 * 1_000_000_000) if inside else 0.3)
    changes = [series.start_ns + step * 900 * 1_000_000_000 for step in range(20)]
    near = [t_ns for t_ns in changes if now_ns < t_ns < now_ns + 2 * NS_PER_HOUR]
    assert set(near) <= set(plan.start_ns)


def test_plan_of_a_full_or_empty_or_missing_battery_is_one() -> None:
    forecast, now_ns = taught(1)
    for soc_frac, reserve_frac in ((0.0, 0.2), (1.0, 0.2), (0.5, 1.0), (1.001, 0.0)):
        plan = planner(forecast).plan(now_ns, soc_frac=soc_frac, reserve_frac=reserve_frac)
        assert min(plan.home.energy_kwh) >= 0.0
        assert max(plan.home.energy_kwh) <= 13.5 * (1.0 - reserve_frac) + 1e-9
