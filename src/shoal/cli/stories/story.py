"""What a story is: a plant, what happens to it and when, and what must be true at its end.

A story changes settings of the demonstration and acts upon the plant only through doors that people and markets have.
Its verdicts are drawn from the run's report, whose counts come from those who are not judged by them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from shoal.domain.fleet import Fleet
from shoal.domain.interval import Interval
from shoal.runtime.settings import Settings

ENERGY_ERROR_FRAC: Final = 1e-6
"""How much of the energy moved the books may be apart: rounding of whole watt-hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether one thing came out as it must.

    Attributes:
        name: A stable code.
        passed: Whether it did.
        found: What was found, for people.
        wanted: What was wanted, for people.
    """

    name: str
    passed: bool
    found: str
    wanted: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A plant as a story finds it.

    Attributes:
        settings: Settings of its processes.
        fleet: Its sites.
        span: The run, without its lead-in.
    """

    settings: Settings
    fleet: Fleet
    span: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something that happens in a story.

    Attributes:
        at_ns: When, in plant time; before the plant takes that step.
        what: For people: told while the story runs.
        do: Does it; what it returns is kept under the act's words for the verdicts.
    """

    at_ns: int
    what: str
    do: Callable[[], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What a story can be judged by.

    Attributes:
        scene: Where it played.
        report: The run's report.
        accounts: What each part counted at the end.
        acts: What the acts returned, by their words.
    """

    scene: Scene
    report: Mapping[str, Any]
    accounts: Mapping[str, Mapping[str, Any]]
    acts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One story.

    Attributes:
        name: As it is called on the command line.
        title: In a few words.
        tells: What happens and what to look at, in two or three sentences.
        settings: Settings of the demonstration that it needs; what a person sets goes first.
        acts: What happens, made when the plant is known.
        verdicts: What must be true at the end, beside what must be true of every run.
        fits: Settings that follow from the fleet, such as what it can offer.
        figures: What else is told of it in the report.
    """

    name: str
    title: str
    tells: str
    settings: Mapping[str, object]
    acts: Callable[[Scene], Sequence[Act]] = lambda scene: ()
    verdicts: Callable[[Ending], Sequence[Verdict]] = lambda ending: ()
    fits: Callable[[Fleet], Mapping[str, object]] = lambda fleet: {}
    figures: Callable[[Ending], Mapping[str, Any]] = lambda ending: {}


def judged(story: Story, ending: Ending) -> dict[str, Any]:
    """Return the part of a report that tells of the story: what it was, and its verdicts."""
    verdicts = [*common_verdicts(ending.report), *story.verdicts(ending)]
    return {
        "name": story.name,
        "title": story.title,
        "passed": all(verdict.passed for verdict in verdicts),
        "checks": [
            {"name": v.name, "passed": v.passed, "found": v.found, "wanted": v.wanted} for v in verdicts
        ],
        "figures": dict(story.figures(ending)),
    }


def common_verdicts(report: Mapping[str, Any]) -> list[Verdict]:
    """Return what must be true of any run, whatever happened in it."""
    zeros = (
        "samples_lost",
        "samples_twice_in_history",
        "gates_missed",
        "bids_duplicate",
        "lease_violations",
        "reserve_violations",
        "limit_violations",
        "money_balance_error",
    )
    verdicts = [
        Verdict(name=name, passed=report[name] == 0, found=f"{report[name]:g}", wanted="0") for name in zeros
    ]
    most_kwh = ENERGY_ERROR_FRAC * float(report["energy_moved_kwh"])
    error_kwh = float(report["energy_balance_error_kwh"])
    verdicts.append(
        Verdict(
            name="energy_balance",
            passed=error_kwh <= most_kwh,
            found=f"{error_kwh:g} kWh",
            wanted=f"at most {most_kwh:g} kWh",
        )
    )
    return verdicts


def at_least(name: str, found: float | None, wanted: float, unit: str = "") -> Verdict:
    """Return whether a number is at least what is wanted; None is not."""
    told = "none" if found is None else f"{found:,.5g} {unit}".strip()
    passed = found is not None and found >= wanted
    return Verdict(name=name, passed=passed, found=told, wanted=f"at least {wanted:,g} {unit}".strip())
