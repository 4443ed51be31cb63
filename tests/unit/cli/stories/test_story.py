"""What a story is judged by, and that each one can be told, found and set up."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from shoal.cli.main import app
from shoal.cli.stories.catalogue import STORIES, story
from shoal.cli.stories.story import Ending, Scene, Story, Verdict, at_least, common_verdicts, judged
from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import Interval
from shoal.runtime.settings import load_settings
from shoal.simulate.fleet import plan_fleet

GOOD: dict[str, Any] = {
    "samples_lost": 0,
    "samples_twice_in_history": 0,
    "gates_missed": 0,
    "bids_duplicate": 0,
    "lease_violations": 0,
    "reserve_violations": 0,
    "limit_violations": 0,
    "money_balance_error": 0.0,
    "energy_moved_kwh": 1e6,
    "energy_balance_error_kwh": 0.5,
    "award_mwh": 3.0,
    "delivered_share": 0.99,
    "revenue": 5.0,
    "revenue_perfect_foresight": 6.0,
    "currency": "USD",
}


def ending(**changes: Any) -> Ending:
    scene = Scene(
        settings=load_settings(file=None, env={}, flags={}),
        fleet=plan_fleet(3, 1),
        span=Interval(start_ns=0, end_ns=10),
    )
    return Ending(scene=scene, report={**GOOD, **changes}, accounts={})


def failed(report: dict[str, Any]) -> list[str]:
    return [verdict.name for verdict in common_verdicts(report) if not verdict.passed]


def test_good_run_passes_what_must_be_true_of_every_run() -> None:
    assert failed(GOOD) == []


@pytest.mark.parametrize("name", [name for name, value in GOOD.items() if value == 0])
def test_each_zero_that_is_none_fails_the_run(name: str) -> None:
    assert failed({**GOOD, name: 1}) == [name]


def test_energy_that_is_missing_fails_the_run() -> None:
    assert failed({**GOOD, "energy_balance_error_kwh": 1.1}) == ["energy_balance"]


def test_story_fails_when_one_verdict_of_its_own_does() -> None:
    own = Story(
        name="x",
        title="X",
        tells="",
        settings={},
        verdicts=lambda _: [Verdict(name="own", passed=False, found="1", wanted="2")],
    )
    told = judged(own, ending())
    assert not told["passed"]
    assert told["checks"][-1] == {"name": "own", "passed": False, "found": "1", "wanted": "2"}


@pytest.mark.parametrize("name", ["battery", "market"])
@pytest.mark.parametrize(
    "changes",
    [
        {"delivered_share": 0.97},
        {"delivered_share": None},
        {"award_mwh": 0.0},
        {"revenue": 7.0},
        {"revenue": -1.0},
    ],
)
def test_plant_that_does_not_deliver_or_earn_fails_its_story(name: str, changes: dict[str, Any]) -> None:
    assert judged(story(name), ending())["passed"]
    assert not judged(story(name), ending(**changes))["passed"]


def test_nothing_is_not_enough() -> None:
    assert not at_least("share", None, 0.0).passed


@pytest.mark.parametrize("one", STORIES, ids=lambda one: one.name)
def test_settings_of_every_story_are_settings(one: Story) -> None:
    settings = load_settings(file=None, env={}, flags=dict(one.settings))
    assert all(settings.value(name) == value for name, value in one.settings.items())


def test_unknown_story_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InvalidInputError, match="battery, peak, market"):
        story("comedy")


def test_stories_are_told_without_starting_anything() -> None:
    told = CliRunner().invoke(app, ["demo", "--scenario", "list"])
    assert told.exit_code == 0
    assert [line.split()[0] for line in told.output.splitlines()] == [one.name for one in STORIES]
