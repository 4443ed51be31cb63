"""A site's answer to prices: what it says is what it would do, and its bound holds against anything that it could do."""

from __future__ import annotations

import math
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.domain.errors import WireFormatError
from shoal.domain.interval import NS_PER_S
from shoal.domain.orders import PriceSeries
from shoal.edge import price_round
from shoal.edge.planner import PlantBattery, SitePlanner
from shoal.edge.planner_answer import SiteNow, answer
from shoal.edge.planner_forecast import SiteForecast
from shoal.edge.planner_tariff import Tariff, TariffWindow
from shoal.edge.price_round import PriceAnswer, PriceAsk, column, numbers
from tests.unit.edge.site_setup import START_NS

STEPS, STEP_S = 96, 900
NOW_NS = START_NS + 130 * NS_PER_S
UTC = ZoneInfo("UTC")


def planner(import_limit_kw: float = math.inf, export_limit_kw: float = math.inf) -> SitePlanner:
    return SitePlanner(
        battery=PlantBattery(
            charge_limit_kw=5.0,
            discharge_limit_kw=4.0,
            charge_efficiency_frac=0.95,
            discharge_efficiency_frac=0.93,
            capacity_kwh=13.5,
            wear_per_kwh=0.02,
        ),
        tariff=Tariff(
            import_per_kwh=0.28,
            export_per_kwh=0.06,
            windows=(TariffWindow(begin="17:00", end="21:00", import_per_kwh=0.45),),
        ),
        zone=UTC,
        forecast=SiteForecast(UTC),
        import_limit_kw=import_limit_kw,
        export_limit_kw=export_limit_kw,
    )


def asked(prices: list[float], number: int = 3) -> PriceAsk:
    return PriceAsk(
        search="s",
        number=number,
        start_ns=START_NS,
        step_s=STEP_S,
        steps=STEPS,
        until_ns=NOW_NS + 10 * NS_PER_S,
        prices=column(prices),
    )


def said(prices: list[float], made: SitePlanner, soc_frac: float = 0.6) -> PriceAnswer:
    found = answer(
        made, asked(prices), SiteNow(soc_frac=soc_frac, reserve_frac=0.2), now_ns=NOW_NS, alone=False
    )
    assert found is not None
    return found


def test_answer_is_the_plan_that_the_site_follows_when_the_prices_become_its_orders() -> None:
    prices = np.random.default_rng(1).uniform(-0.1, 0.3, STEPS).tolist()
    made = planner()
    found = said(prices, made)
    series = PriceSeries(
        start_ns=START_NS, step_s=STEP_S, import_per_kwh=tuple(prices), export_per_kwh=tuple(prices), added=True
    )  # fmt: skip
    plan = made.plan(NOW_NS, soc_frac=0.6, reserve_frac=0.2, prices=series)
    taken = np.zeros(STEPS)
    for begin, end, power in zip(plan.start_ns, plan.start_ns[1:], plan.home.grid_kw, strict=False):
        place = (begin - START_NS) // (STEP_S * NS_PER_S)
        if place < STEPS:
            taken[place] += power * (end - begin) / 3.6e12
    energy = np.array(numbers(found.energy, STEPS))
    assert energy == pytest.approx(taken)
    stored = plan.battery.terminal_per_kwh * plan.battery.initial_kwh
    assert found.cost + energy @ prices == pytest.approx(plan.home.cost + stored)
    assert found.lower_bound == pytest.approx(plan.home.cost + stored)


@settings(max_examples=40, deadline=None)
@given(
    seeds=st.tuples(st.integers(0, 2**32), st.integers(0, 2**32)),
    low=st.sampled_from([-0.05, -0.5]),
    soc_frac=st.sampled_from([0.1, 0.2, 0.6, 1.0]),
    limit_kw=st.sampled_from([math.inf, 3.0, 0.3]),
)
def test_bound_holds_against_what_the_site_does_at_other_prices(
    seeds: tuple[int, int], low: float, soc_frac: float, limit_kw: float
) -> None:
    made = planner(import_limit_kw=limit_kw, export_limit_kw=limit_kw)
    here, there = (np.random.default_rng(seed).uniform(low, 0.4, STEPS).tolist() for seed in seeds)
    one, other = said(here, made, soc_frac), said(there, made, soc_frac)
    for found in (one, other):
        at_these = found.cost + np.array(numbers(found.energy, STEPS)) @ here
        assert one.lower_bound <= at_these + 1e-7


def test_roll_tells_how_far_the_site_reaches() -> None:
    made = planner()
    roll = PriceAsk(
        search="s", number=price_round.ROLL, start_ns=START_NS, step_s=STEP_S, steps=STEPS, until_ns=NOW_NS
    )
    found = answer(made, roll, SiteNow(soc_frac=0.5, reserve_frac=0.2), now_ns=NOW_NS, alone=True)
    assert found is not None and found.alone
    least, most = np.array(numbers(found.least, STEPS)), np.array(numbers(found.most, STEPS))
    for seed in range(5):
        prices = np.random.default_rng(seed).uniform(-0.4, 0.6, STEPS).tolist()
        energy = np.array(numbers(said(prices, made).energy, STEPS))
        assert (least - 1e-9 <= energy).all() and (energy <= most + 1e-9).all()


def test_question_beyond_the_outlook_is_not_answered() -> None:
    far = PriceAsk(
        search="s", number=0, start_ns=START_NS, step_s=3_600, steps=60, until_ns=NOW_NS, prices=column([0.0] * 60)
    )  # fmt: skip
    now = SiteNow(soc_frac=0.5, reserve_frac=0.2)
    assert answer(planner(), far, now, now_ns=NOW_NS, alone=False) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"step_s": 1},
        {"prices": b""},
        {"prices": b"123"},
        {"prices": column([math.nan] * STEPS)},
        {"prices": column([1e3] * STEPS)},
        {"number": price_round.ROLL},
        {"search": "x" * 65},
    ],
)
def test_questions_that_are_none_are_refused(wrong: dict[str, object]) -> None:
    content = {name: getattr(asked([0.0] * STEPS), name) for name in PriceAsk.__struct_fields__}
    payload = price_round.encode(PriceAsk(**{**content, **wrong}))
    with pytest.raises(WireFormatError):
        price_round.decode_ask(payload)
    with pytest.raises(WireFormatError):
        price_round.decode_ask(b"{nonsense")


@pytest.mark.parametrize(
    "wrong",
    [{"energy": b""}, {"cost": math.inf}, {"penalty": -1.0}, {"energy": column([math.inf] * 2)},
     {"energy": column([1e300, 1.0])}, {"lower_bound": -1e300},
     {"number": price_round.ROLL, "least": column([-1e300, 0.0]), "most": column([1e300, 2.0])},
     {"number": price_round.ROLL, "least": column([1.0, 1.0]), "most": column([0.0, 2.0])}],
)  # fmt: skip
def test_answers_that_are_none_are_refused(wrong: dict[str, object]) -> None:
    sound = {"search": "s", "number": 0, "energy": column([1.0, 2.0])}
    price_round.decode_answer(price_round.encode(PriceAnswer(**sound)), 2)  # type: ignore[arg-type]
    with pytest.raises(WireFormatError):
        price_round.decode_answer(price_round.encode(PriceAnswer(**{**sound, **wrong})), 2)  # type: ignore[arg-type]
