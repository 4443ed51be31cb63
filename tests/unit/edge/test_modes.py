"""The modes of a site agent: every combination of facts, from every mode."""

from __future__ import annotations

from itertools import product

import pytest

from shoal.edge.modes import REASONS, RULES, WORDS, Facts, Mode, next_mode

NAMES = (
    "switched_off",
    "measured",
    "readable",
    "halted",
    "independent",
    "lease",
    "event",
    "opted_out",
    "prices",
)


def every() -> list[Facts]:
    return [Facts(**dict(zip(NAMES, values, strict=True))) for values in product((False, True), repeat=9)]


def expected(facts: Facts) -> Mode:
    """The precedence once more, written as people say it."""
    if facts.switched_off or not facts.measured or not facts.readable:
        return Mode.OFF
    if facts.halted or facts.independent:
        return Mode.LOCAL
    if facts.lease:
        return Mode.DIRECT
    if facts.event:
        return Mode.SCHEDULE
    return Mode.PRICE if facts.prices else Mode.LOCAL


def test_every_combination_of_facts_leads_to_the_mode_of_precedence_from_everywhere() -> None:
    seen = set()
    for facts in every():
        for before in Mode:
            transition = next_mode(before, facts)
            assert transition.mode is expected(facts), facts
            assert transition.before is before
            assert transition.changed == (transition.mode is not before)
            assert transition.reason in WORDS, facts
            seen.add((before, transition.mode))
    assert seen == set(product(Mode, Mode)), "every mode follows on every other one"


def test_standing_still_keeps_mode_and_reason() -> None:
    for facts in every():
        for before in Mode:
            first = next_mode(before, facts)
            again = next_mode(first.mode, facts, reason_before=first.reason)
            assert (again.mode, again.reason, again.changed) == (first.mode, first.reason, False)


@pytest.mark.parametrize(
    ("before", "facts", "reason"),
    [
        (Mode.PRICE, Facts(), "prices_ended"),
        (Mode.DIRECT, Facts(), "lease_ended"),
        (Mode.DIRECT, Facts(prices=True), "lease_ended"),
        (Mode.SCHEDULE, Facts(opted_out=True), "opted_out"),
        (Mode.SCHEDULE, Facts(halted=True, opted_out=True), "halted"),
        (Mode.SCHEDULE, Facts(prices=True), "event_ended"),
        (Mode.LOCAL, Facts(prices=True), "prices_in_force"),
        (Mode.DIRECT, Facts(measured=False, lease=True), "no_fresh_measurement"),
        (Mode.OFF, Facts(), "no_orders"),
        (Mode.LOCAL, Facts(switched_off=True, halted=True), "switched_off"),
    ],
)
def test_reason_says_why(before: Mode, facts: Facts, reason: str) -> None:
    assert next_mode(before, facts).reason == reason


def test_reason_of_a_change_gives_way_to_a_new_cause() -> None:
    ended = next_mode(Mode.PRICE, Facts())
    halted = next_mode(ended.mode, Facts(halted=True), reason_before=ended.reason)
    assert (halted.mode, halted.reason) == (Mode.LOCAL, "halted")
    lifted = next_mode(halted.mode, Facts(), reason_before=halted.reason)
    assert lifted.reason == "no_orders"


def test_tables_are_whole() -> None:
    assert {reason for _, _, reason in RULES} | set(REASONS.values()) | {"opted_out"} == set(WORDS)
    assert all(a is not b for a, b in REASONS)
