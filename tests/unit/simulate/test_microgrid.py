"""A week of an island: the lights stay on, the plan takes no more fuel than the usual rules, and nothing is known ahead."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from typer.testing import CliRunner

from shoal.cli.main import app
from shoal.simulate.microgrid import Planner, compare, run_year, village
from shoal.simulate.microgrid_outlook import Outlook
from shoal.simulate.microgrid_world import Year, make_year


@pytest.fixture(scope="module")
def week() -> Year:
    return make_year(date(2021, 5, 3), 7, seed=4)


def test_the_lights_stay_on_and_the_plan_beats_the_usual_rules(week: Year) -> None:
    found = compare(week)
    assert found.days == 7
    assert found.plan.unserved_kwh == 0.0
    assert found.fuel_saved_usual_frac > 0.0
    assert found.plan.load_kwh == pytest.approx(found.best_rule.load_kwh)
    assert found.plan.lowest_kwh >= village().empty_kwh


def test_nothing_that_comes_later_changes_what_was_decided(week: Year) -> None:
    site = village()
    half = week.warm_up_steps + 3 * 96
    chosen: list[list[float]] = []
    for change in (False, True):
        year = week
        if change:
            load_kw, solar_kw = week.load_kw.copy(), week.solar_kw.copy()
            load_kw[half:], solar_kw[half:] = 7.0, 0.0
            year = replace(week, load_kw=load_kw, solar_kw=solar_kw)
        planner = Planner(site, year)
        seen: list[float] = []

        def decide(
            step: int, energy: float, net: float, ran: int, to: Planner = planner, of: list[float] = seen
        ) -> float:
            of.append(to.power_kw(step, energy, net, ran))
            return of[-1]

        run_year(site, year, "", decide)
        chosen.append(seen)
    assert chosen[0][: 3 * 96 + 1] == chosen[1][: 3 * 96 + 1]
    assert chosen[0] != chosen[1]


def test_it_is_dark_only_when_nothing_could_help_and_that_is_said(week: Year) -> None:
    never = np.ones(len(week.load_kw), dtype=np.bool_)
    broken = replace(week, refuses=never, stuck=never, solar_kw=np.zeros_like(week.solar_kw))
    found = run_year(village(), broken, "", lambda *_: 80.0)
    assert found.unserved_kwh > 0.0
    assert set(found.dark_because) == {"no_generator"}
    assert found.lowest_kwh == pytest.approx(village().empty_kwh)
    huge = replace(week, load_kw=week.load_kw + 300.0)
    found = run_year(village(), huge, "", lambda *_: 80.0)
    assert found.dark_because["too_much_load"] > 0


def test_an_outlook_learns_what_is_usual_and_how_far_off_it_was() -> None:
    outlook = Outlook()
    slots = np.arange(96)
    sun = np.maximum(np.sin((slots - 24) / 48 * np.pi), 0) * 10
    for number in range(20 * 96):
        outlook.learn(number, load_kw=5.0, solar_kw=float(sun[number % 96]), weekend=False)
    load_kw, solar_kw = outlook.expect(20 * 96, 96, np.zeros(96, dtype=np.bool_))
    assert load_kw == pytest.approx(np.full(96, 5.0))
    assert solar_kw == pytest.approx(sun, abs=1e-6)
    paths = outlook.paths_kw(20 * 96, 96, np.zeros(96, dtype=np.bool_), count=5)
    assert paths.shape == (5, 96)
    assert np.ptp(paths[:, 24]) <= np.ptp(paths[:, 48])


def test_the_command_says_what_it_took() -> None:
    done = CliRunner().invoke(
        app, ["sim", "microgrid", "--days", "1", "--from", "2021-06-01", "--json"], catch_exceptions=False
    )
    assert done.exit_code == 0
    found = json.loads(done.output)
    assert found["days"] == 1
    assert found["plan"]["unserved_kwh"] == 0.0
