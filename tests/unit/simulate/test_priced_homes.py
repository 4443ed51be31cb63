"""Prices at simulated homes: answers that hold, and plans that are followed and end."""

from __future__ import annotations

import numpy as np

from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.domain.orders import PriceSeries
from shoal.edge import price_round
from shoal.edge.agent_columns import AgentColumns
from shoal.edge.price_round import PriceAnswer, PriceAsk, column, numbers, series_of
from shoal.simulate.fleet import plan_fleet
from shoal.simulate.priced_homes import PricedHomes
from shoal.simulate.profiles import Profiles

HOMES, STEPS, STEP_S = 6, 24, 900
START_NS = 1_612_915_200 * NS_PER_S
FLEET = plan_fleet(HOMES, 1, ev_sites_frac=0.0, meter_sites_frac=0.0)
ROWS = np.flatnonzero(FLEET.nameplate["energy_capacity_kwh"] < 500).tolist()


def priced() -> PricedHomes:
    agents = AgentColumns(FLEET.nameplate, site_ids=FLEET.site_ids)
    return PricedHomes(agents, FLEET.nameplate, Profiles(FLEET, 1))


def stored() -> np.ndarray:
    return np.asarray(FLEET.nameplate["energy_capacity_kwh"] * 0.5)


def asked(number: int, rows: list[list[float]], shares: tuple[float, ...] = ()) -> bytes:
    return price_round.encode(
        PriceAsk(
            search="s",
            number=number,
            start_ns=START_NS,
            step_s=STEP_S,
            steps=STEPS,
            until_ns=START_NS + NS_PER_S,
            prices=column([price for row in rows for price in row]),
            shares=shares,
        )
    )


def said(homes: PricedHomes, payload: bytes) -> dict[int, PriceAnswer]:
    for row in ROWS:
        homes.hear(row, payload, START_NS)
    return {row: price_round.decode_answer(told, STEPS) for row, told in homes.answers(stored())}


def test_homes_answer_with_bounds_that_hold_against_their_other_answers() -> None:
    homes = priced()
    roll = said(homes, asked(price_round.ROLL, []))
    here, there = (np.random.default_rng(seed).uniform(-0.1, 0.3, STEPS).tolist() for seed in (1, 2))
    one, other = said(homes, asked(0, [here])), said(homes, asked(1, [there]))
    mean = said(homes, asked(2, [here, there], (0.5, 0.5)))
    assert one.keys() == set(ROWS)
    for row in ROWS:
        for found in (one[row], other[row], mean[row]):
            energy = np.array(numbers(found.energy, STEPS))
            assert one[row].lower_bound <= found.cost + energy @ here + 1e-6
            assert (np.array(numbers(roll[row].least, STEPS)) - 1e-6 <= energy).all()
            assert (energy <= np.array(numbers(roll[row].most, STEPS)) + 1e-6).all()
        assert mean[row].cost <= (one[row].cost + other[row].cost) / 2 + 1e-6


def test_halted_homes_and_late_questions_are_not_answered() -> None:
    homes = priced()
    homes._agents.halted[ROWS[0]] = True
    homes.hear(ROWS[0], asked(0, [[0.0] * STEPS]), START_NS)
    homes.hear(ROWS[1], asked(0, [[0.0] * STEPS]), START_NS + NS_PER_HOUR)
    homes.hear(ROWS[2], b"nonsense", START_NS)
    assert not list(homes.answers(stored()))


def test_homes_follow_their_own_optimum_until_the_prices_end() -> None:
    homes = priced()
    cheap = tuple(-0.2 if at < 4 else 0.3 for at in range(STEPS))
    late = tuple(0.3 if at < 20 else -0.2 for at in range(STEPS))
    homes.take(ROWS[0], series_of([cheap], [], start_ns=START_NS, step_s=STEP_S))
    homes.take(ROWS[1], series_of([cheap, late], [0.5, 0.5], start_ns=START_NS, step_s=STEP_S))
    absolute = PriceSeries(
        start_ns=START_NS,
        step_s=STEP_S,
        import_per_kwh=(0.05,) * 4 + (0.9,) * 20,
        export_per_kwh=(0.01,) * 4 + (0.8,) * 20,
    )
    homes.take(ROWS[2], absolute)
    first = homes.plan_w(START_NS, stored())
    assert first is not None
    assert (first[ROWS[:3]] > 500.0).all(), "they charge while it is cheap"
    assert np.isnan(first[ROWS[3]]), "one that was sent no prices has no plan against them"
    later = homes.plan_w(START_NS + 8 * STEP_S * NS_PER_S, stored())
    assert later is not None
    assert later[ROWS[2]] < 0.0, "and give when it is dear"
    over = homes.plan_w(START_NS + STEPS * STEP_S * NS_PER_S, stored())
    assert over is not None and np.isnan(over).all()
    for row in ROWS[:3]:
        homes.take(row, None)
    assert homes.plan_w(START_NS, stored()) is None
