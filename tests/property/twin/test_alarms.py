"""Whatever happens to the sites: every troubled site in exactly one incident, few incidents, no alarm twice."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.domain.alarms import Alarm, AlarmEvent
from shoal.domain.interval import NS_PER_S
from shoal.twin.alarms import AlarmBook, Observation
from shoal.twin.conditions import Condition
from shoal.twin.incidents import NO_GROUP, Forest, StormRule, explain
from tests.unit.twin.forests import make_forest_fleet

FLEET = make_forest_fleet(regions=3, substations=3, feeders=3, sites=7)
FOREST = Forest(FLEET)
SITES = len(FLEET.site_ids)
RULE = StormRule()
GROUPS = st.integers(0, len(FLEET.groups) - 1)

# What may happen between two looks: a whole group goes or returns, or a few sites do.
CHANGES = st.lists(
    st.tuples(
        st.booleans(),
        st.one_of(GROUPS.map(lambda n: ("group", n)), st.integers(0, SITES - 1).map(lambda n: ("site", n))),
    ),
    max_size=4,
)
STORIES = st.lists(st.tuples(st.sampled_from([30, 60, 200, 700]), CHANGES), min_size=1, max_size=12)
BITS = int(Condition.SILENT | Condition.REGISTER)


def _rows(change: tuple[str, int]) -> NDArray[np.int64]:
    kind, number = change
    return FLEET.rows_in(FLEET.groups[number].group_id) if kind == "group" else np.array([number])


@settings(deadline=None)
@given(
    st.sets(st.integers(0, SITES - 1)),
    st.sets(GROUPS, max_size=5),
    st.sets(GROUPS, max_size=3),
    st.booleans(),
)
def test_every_troubled_site_is_explained_exactly_once_by_few_incidents(
    sites: set[int], groups: set[int], named: set[int], gathered: bool
) -> None:
    rows = set(sites)
    for group in groups:
        rows |= set(_rows(("group", group)).tolist())
    ordered = np.array(sorted(rows), dtype=np.int64)
    incidents = explain(FOREST, ordered, rule=RULE, named=named, gathered=gathered)
    assert sorted(row for one in incidents for row in one.rows.tolist()) == ordered.tolist()
    assert len(incidents) <= RULE.most_incidents
    for one in incidents:
        assert len(one.rows)
        if one.group != NO_GROUP and not one.gathered:
            inside = set(_rows(("group", one.group)).tolist())
            assert set(one.rows.tolist()) <= inside
            assert one.group in named or len(rows & inside) >= RULE.raise_frac * len(inside)


@settings(deadline=None)
@given(GROUPS)
def test_group_that_is_out_as_a_whole_is_named_itself(group: int) -> None:
    """Or one below it that holds the same sites."""
    rows = _rows(("group", group))
    (one,) = explain(FOREST, rows, rule=RULE)
    assert _rows(("group", one.group)).tolist() == rows.tolist()


@settings(deadline=None, max_examples=60)
@given(STORIES, st.lists(st.integers(0, 20), max_size=12))
def test_book_holds_its_promises_through_any_story(
    story: list[tuple[int, list[tuple[bool, tuple[str, int]]]]], notes: list[int]
) -> None:
    book = AlarmBook(FLEET)
    conditions = np.zeros(SITES, dtype=np.uint16)
    told: dict[int, Alarm] = {}
    t_s = 0

    def look(wait_s: int) -> None:
        nonlocal t_s
        t_s += wait_s
        before = {one.number: one for one in book.active()}
        events = book.step(Observation(t_ns=t_s * NS_PER_S, condition_flags=conditions.copy()))
        _follow(told, events)
        _check(book, told, before)

    for position, (wait_s, changes) in enumerate(story):
        for on, change in changes:
            rows = _rows(change)
            conditions[rows] = BITS if on else 0
        look(wait_s)
        if position < len(notes) and (active := book.active()):
            one = active[notes[position] % len(active)]
            _, events = book.acknowledge(one.number, by="ada", t_ns=t_s * NS_PER_S)
            _follow(told, events)
    for _ in range(3):
        look(1_000)
    for kind in {one.kind for one in book.active()}:
        held = [book.rows(one.number) for one in book.active() if one.kind == kind]
        assert sorted(np.concatenate(held).tolist()) == np.flatnonzero(conditions).tolist()

    conditions[:] = 0
    for _ in range(3):
        look(1_000)
    for one in book.active():
        assert one.returned_ns is not None, "only what waits for a person is left"
        _, events = book.acknowledge(one.number, by="ada", t_ns=t_s * NS_PER_S)
        _follow(told, events)
    assert not book.active() and not told


def _follow(told: dict[int, Alarm], events: list[AlarmEvent]) -> None:
    """Keep what the events alone say; they must be a story that makes sense."""
    for event in events:
        alarm = event.alarm
        assert alarm.updated_ns == event.t_ns
        if event.action == "raised":
            held = told.get(alarm.number)
            assert held is None or held.returned_ns is not None, "raised while it stood"
            told[alarm.number] = alarm
        elif event.action == "cleared":
            del told[alarm.number]
        else:
            assert alarm.number in told
            told[alarm.number] = alarm


def _check(book: AlarmBook, told: dict[int, Alarm], before: dict[int, Alarm]) -> None:
    active = book.active()
    assert {one.number for one in active} == told.keys(), "the events say what stands"
    subjects = [(one.kind, one.scope, one.subject) for one in active]
    assert len(set(subjects)) == len(subjects), "an alarm stands twice"
    for kind in {one.kind for one in active}:
        of_kind = [one for one in active if one.kind == kind]
        assert sum(one.returned_ns is None for one in of_kind) <= RULE.most_incidents
        rows: list[Any] = [row for one in of_kind for row in book.rows(one.number).tolist()]
        assert len(set(rows)) == len(rows), "a site is in two incidents"
    for one in active:
        assert one.cleared_ns is None and one.sites == len(book.rows(one.number))
        former = before.get(one.number)
        if former is not None and former.acknowledged_ns is not None and one.count == former.count:
            assert one.severity.order >= former.severity.order
            kept = one.acknowledged_by == former.acknowledged_by
            assert kept or one.severity.order > former.severity.order, "a person's note was lost"


@settings(deadline=None, max_examples=20)
@given(STORIES)
def test_same_story_gives_the_same_events(
    story: list[tuple[int, list[tuple[bool, tuple[str, int]]]]],
) -> None:
    def tell() -> list[AlarmEvent]:
        book = AlarmBook(FLEET)
        conditions = np.zeros(SITES, dtype=np.uint16)
        events: list[AlarmEvent] = []
        t_s = 0
        for wait_s, changes in story:
            t_s += wait_s
            for on, change in changes:
                conditions[_rows(change)] = BITS if on else 0
            events += book.step(Observation(t_ns=t_s * NS_PER_S, condition_flags=conditions.copy()))
        return events

    assert tell() == tell()
