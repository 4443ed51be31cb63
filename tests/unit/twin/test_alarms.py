"""The book of alarms: storms, their splits and merges, people's notes, delays, dead bands and restarts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from shoal.domain.alarms import Alarm, AlarmEvent, AlarmKind, Severity
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId
from shoal.domain.interval import NS_PER_S
from shoal.domain.outcome import Rejected
from shoal.domain.telemetry import Flag
from shoal.twin.alarm_measures import Measure
from shoal.twin.alarms import AlarmBook, Observation
from shoal.twin.conditions import Condition, site_conditions
from tests.unit.twin.forests import make_forest_fleet

SILENT = int(Condition.SILENT)


class Plant:
    """A book with a clock and the conditions of its sites."""

    def __init__(self, fleet: Fleet | None = None, **options: Any) -> None:
        self.fleet = fleet or make_forest_fleet()
        self.book = AlarmBook(self.fleet, **options)
        self.conditions = np.zeros(len(self.fleet.site_ids), dtype=np.uint16)
        self.lost = np.zeros(len(self.fleet.site_ids), dtype=np.uint32)
        self.t_s = 0

    def rows(self, *groups: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.concatenate([self.fleet.rows_in(GroupId(group)) for group in groups])

    def set(self, rows: Iterable[int], bit: int = SILENT, *, on: bool = True) -> None:
        chosen = np.array(list(rows), dtype=np.int64)
        if on:
            self.conditions[chosen] |= np.uint16(bit)
        else:
            self.conditions[chosen] &= np.uint16(~bit & 0xFFFF)

    def wait(
        self, wait_s: int = 60, measures: Sequence[Measure] = (), *, blind: bool = False
    ) -> list[AlarmEvent]:
        self.t_s += wait_s
        seen = None if blind else self.conditions.copy()
        return self.book.step(
            Observation(
                t_ns=self.t_s * NS_PER_S, condition_flags=seen, lost=self.lost.copy(), measures=measures
            )
        )

    def lose(self, rows: Iterable[int], samples: int) -> None:
        """Let sites have lost so many samples of late; none at all when they are quiet again."""
        chosen = np.array(list(rows), dtype=np.int64)
        self.lost[chosen] = samples
        self.set(chosen, int(Condition.LOST), on=samples > 0)

    def settle(self) -> list[AlarmEvent]:
        """Let everything that is the case now count."""
        return [event for _ in range(14) for event in self.wait(60)]

    def only(self) -> Alarm:
        (alarm,) = self.book.active()
        return alarm


def said(events: Iterable[AlarmEvent]) -> list[tuple[str, str]]:
    return [(event.action, event.alarm.subject) for event in events]


def test_storm_is_one_incident_of_the_lowest_group_behind_it() -> None:
    plant = Plant(make_forest_fleet(sites=100))
    plant.set(plant.rows("r1s2"))
    assert not plant.wait()
    assert said(plant.wait()) == [("raised", "r1s2")]
    alarm = plant.only()
    assert (alarm.kind, alarm.scope, alarm.hierarchy_id) == (AlarmKind.COMMUNICATION_LOSS, "group", "grid")
    assert (alarm.name, alarm.sites, alarm.of_sites) == ("group r1s2", 400, 400)
    assert alarm.severity is Severity.CRITICAL  # a sixth of the fleet
    assert len(alarm.examples) == 5
    assert not plant.wait(), "nothing new, nothing said"


def test_ten_thousand_losses_at_once_are_one_incident() -> None:
    """Among a hundred thousand sites, some of which are always out."""
    plant = Plant(make_forest_fleet(regions=2, substations=5, feeders=10, sites=1_000))
    plant.set(range(0, 100_000, 997))
    plant.settle()
    assert (plant.only().subject, plant.only().detail) == ("grid", "scattered")
    plant.set(plant.rows("r1s3"))
    events = plant.settle()
    assert said(events)[0] == ("raised", "r1s3")
    assert [e.action for e in events].count("raised") == 1
    storm = max(plant.book.active(), key=lambda one: one.sites)
    assert (storm.sites, storm.of_sites, storm.severity) == (10_000, 10_000, Severity.CRITICAL)
    plant.set(plant.rows("r1s3"), on=False)
    assert ("cleared", "r1s3") in said(plant.settle())


def test_storm_may_follow_another_tree() -> None:
    plant = Plant()
    plant.set(plant.rows("zone3"))
    plant.settle()
    assert (plant.only().subject, plant.only().hierarchy_id) == ("zone3", "weather")


def test_storm_with_a_few_exceptions_and_a_few_strangers() -> None:
    plant = Plant(make_forest_fleet(sites=100))
    plant.set(plant.rows("r0s1")[7:])
    plant.set([0, 2_300])
    plant.settle()
    assert [(one.scope, one.subject, one.sites) for one in plant.book.active()] == [
        ("group", "r0s1", 393),
        ("site", "site-2300", 1),
        ("site", "site-0", 1),
    ]


def test_growing_storm_keeps_its_number_and_names_the_ancestor() -> None:
    plant = Plant()
    events: list[AlarmEvent] = []
    for feeders in (["r0s0f0"], ["r0s0f1", "r0s0f2"], ["r0s0f3"]):
        plant.set(plant.rows(*feeders))
        events += plant.settle()
    assert [e.alarm.subject for e in events if e.action == "raised"] == ["r0s0f0"]
    assert {e.alarm.number for e in events} == {1}
    assert (plant.only().subject, plant.only().sites) == ("r0s0", 40)
    for feeder in range(4):
        plant.set(plant.rows(f"r0s0f{feeder}"), on=False)
        events += plant.settle()
    assert not plant.book.active()
    assert said(events)[-1] == ("cleared", "r0s0f3"), "in the end only its last feeder was out"
    assert events[-1].alarm.peak_sites == 40
    assert {e.alarm.number for e in events} == {1}


def test_two_incidents_merge_under_their_ancestor() -> None:
    plant = Plant()
    plant.set(plant.rows("r0s0f0", "r0s0f2"))
    plant.settle()
    assert {one.subject for one in plant.book.active()} == {"r0s0f0", "r0s0f2"}
    plant.set(plant.rows("r0s0f1", "r0s0f3"))
    events = plant.settle()
    assert plant.only().subject == "r0s0"
    (cleared,) = [e.alarm for e in events if e.action == "cleared"]
    assert cleared.merged_into_number == plant.only().number


def test_incident_splits_and_the_larger_part_goes_on() -> None:
    plant = Plant()
    plant.set(plant.rows("r0"))
    plant.settle()
    assert plant.only().subject == "r0"
    plant.set(plant.rows("r0"), on=False)
    plant.set([*plant.rows("r0s0f0", "r0s0f1", "r0s0f2", "r0s0f3")[:38], *plant.rows("r0s2f1")])
    plant.settle()
    larger, smaller = sorted(plant.book.active(), key=lambda one: -one.sites)
    assert (larger.subject, larger.number) == ("r0s0", 1)
    assert (smaller.subject, smaller.number, smaller.split_from_number) == ("r0s2f1", 2, 1)


def test_incident_stays_while_most_of_its_sites_return() -> None:
    """Its group stays the explanation down to a quarter of its sites; then it is what is left that is named."""
    plant = Plant(make_forest_fleet(sites=50))
    rows = plant.rows("r0s0")
    plant.set(rows)
    plant.settle()
    for left in (150, 100, 60):
        plant.set(rows, on=False)
        plant.set(rows[:: len(rows) // left][:left])
        plant.settle()
        assert (plant.only().subject, plant.only().number, plant.only().sites) == ("r0s0", 1, left)
    plant.set(rows, on=False)
    assert said(plant.settle()) == [("cleared", "r0s0")]


def test_scattered_sites_are_gathered_under_their_common_group() -> None:
    plant = Plant(make_forest_fleet(sites=100))
    plant.set(plant.rows("r1")[::7])
    plant.settle()
    alarm = plant.only()
    assert (alarm.subject, alarm.sites, alarm.of_sites, alarm.detail) == ("r1", 172, 1_200, "scattered")


def test_site_that_returns_within_the_delay_is_never_heard_of() -> None:
    plant = Plant()
    for _ in range(10):
        plant.set([5])
        assert not plant.wait(50)
        plant.set([5], on=False)
        assert not plant.wait(50)


def test_flapping_site_keeps_its_alarm_and_counts() -> None:
    plant = Plant()
    for times in range(1, 4):
        plant.set([5])
        plant.settle()
        assert (plant.only().number, plant.only().count) == (1, times)
        plant.set([5], on=False)
        plant.settle()
        assert not plant.book.active()
    plant.wait(3_600)
    plant.set([5])
    plant.settle()
    assert (plant.only().number, plant.only().count) == (2, 1)


def test_acknowledgement_survives_updates_but_not_a_worse_severity() -> None:
    plant = Plant(make_forest_fleet(sites=100))
    rows = plant.rows("r0s0f0")
    plant.set(rows[:70])
    plant.settle()
    first = plant.only()
    answer, (event,) = plant.book.acknowledge(first.number, by="ada", t_ns=7, note="crew sent")
    assert (event.action, event.by) == ("acknowledged", "ada")
    assert isinstance(answer, Alarm) and answer.acknowledged_ns == 7
    plant.set(rows)
    plant.settle()
    assert plant.only().severity is first.severity
    assert (plant.only().acknowledged_by, plant.only().note) == ("ada", "crew sent")
    plant.set(plant.rows("r0s0"))
    plant.settle()
    assert plant.only().number == first.number
    assert plant.only().severity is Severity.CRITICAL
    assert plant.only().acknowledged_ns is None


def test_acknowledging_twice_is_once_and_for_others_refused() -> None:
    plant = Plant()
    plant.set([5])
    plant.settle()
    plant.book.acknowledge(1, by="ada", t_ns=7)
    answer, events = plant.book.acknowledge(1, by="ada", t_ns=8)
    assert isinstance(answer, Alarm) and answer.acknowledged_ns == 7 and not events
    answer, events = plant.book.acknowledge(1, by="bob", t_ns=9)
    assert isinstance(answer, Rejected) and "ada" in answer.detail and not events
    answer, events = plant.book.acknowledge(99, by="bob", t_ns=9)
    assert isinstance(answer, Rejected) and answer.reason == "not_active"


@pytest.mark.parametrize("acknowledge_first", [True, False])
def test_latching_alarm_stays_until_somebody_takes_note(acknowledge_first: bool) -> None:
    plant = Plant()
    plant.set([5], Condition.REGISTER)
    assert said(plant.wait()) == [("raised", "site-5")]
    if acknowledge_first:
        plant.book.acknowledge(1, by="ada", t_ns=1)
    plant.set([5], Condition.REGISTER, on=False)
    events = plant.settle()
    if acknowledge_first:
        assert said(events) == [("cleared", "site-5")]
        return
    assert said(events) == [("updated", "site-5")]
    assert plant.only().returned_ns is not None
    plant.set([5], Condition.REGISTER)
    assert said(plant.settle()) == [("raised", "site-5")]
    assert (plant.only().count, plant.only().returned_ns) == (2, None)
    plant.set([5], Condition.REGISTER, on=False)
    plant.settle()
    _, events = plant.book.acknowledge(1, by="ada", t_ns=plant.t_s * NS_PER_S)
    assert said(events) == [("acknowledged", "site-5"), ("cleared", "site-5")]
    assert not plant.book.active()


def test_any_number_of_alarms_may_wait_for_somebody_to_take_note() -> None:
    waiting = [
        Alarm(
            number=number,
            kind=AlarmKind.SUSPECT_REGISTER,
            severity=Severity.NOTICE,
            scope="site",
            subject=f"gone-{number}",
            name=f"gone-{number}",
            raised_ns=1,
            updated_ns=1,
            returned_ns=2,
        )
        for number in range(1, 33_001)
    ]
    plant = Plant(active=waiting)
    plant.set([5], Condition.REGISTER)
    assert said(plant.wait()) == [("raised", "site-5")]
    assert len(plant.book.active()) == 33_001


def lag(value: float, subject: str = "journal") -> Measure:
    return Measure(kind=AlarmKind.JOURNAL_LAG, subject=subject, value=value, name="the journal of shard 3")


def test_measure_has_a_dead_band_and_delays() -> None:
    plant = Plant()
    assert not plant.wait(10, [lag(31)])
    assert not plant.wait(10, [lag(29)])
    assert not plant.wait(10, [lag(31)]), "the delay begins anew"
    events = plant.wait(10, [lag(45)])
    assert said(events) == [("raised", "journal")]
    assert (plant.only().name, plant.only().value, plant.only().detail) == ("the journal of shard 3", 45, "s")
    for value in (29, 11, 29, 11):
        assert not plant.wait(60, [lag(value)]), "between the bounds nothing changes"
    assert plant.only().value == 11
    assert not plant.wait(10, [lag(9)])
    assert said(plant.wait(30, [lag(9)])) == [("cleared", "journal")]


def test_part_that_is_not_named_any_more_is_well() -> None:
    plant = Plant()
    gone = Measure(kind=AlarmKind.SHARD_WITHOUT_OWNER, subject="shard-3", value=11.0)
    assert said(plant.wait(1, [gone])) == [("raised", "shard-3")]
    assert plant.only().severity is Severity.CRITICAL
    plant.wait(1)
    assert said(plant.wait(300)) == [("cleared", "shard-3")]


def test_low_values_may_be_the_bad_ones() -> None:
    plant = Plant()

    def coverage(value: float) -> list[Measure]:
        return [Measure(kind=AlarmKind.COVERAGE_LOW, subject="r0", value=value)]

    plant.wait(60, coverage(0.79))
    assert said(plant.wait(60, coverage(0.79))) == [("raised", "r0")]
    plant.wait(60, coverage(0.82))
    assert not plant.wait(600, coverage(0.82))
    plant.wait(60, coverage(0.9))
    assert said(plant.wait(120, coverage(0.9))) == [("cleared", "r0")]


def test_lost_samples_are_raised_with_their_count_updated_and_cleared() -> None:
    plant = Plant()
    plant.lose([7], 12)
    (raised,) = plant.wait()
    assert (raised.action, raised.alarm.kind, raised.alarm.subject) == (
        "raised",
        AlarmKind.SAMPLES_LOST,
        "site-7",
    )
    assert raised.alarm.value == 12
    plant.lose([7], 14)
    assert said(plant.wait()) == [("updated", "site-7")]
    plant.lose([7], 100)
    assert [one.alarm.value for one in plant.wait()] == [100]
    plant.lose([7], 105)
    assert not plant.wait(), "less than a tenth is no event"
    assert plant.only().value == 105, "but the alarm says it"
    plant.lose([7], 0)
    (cleared,) = plant.wait()
    assert (cleared.action, cleared.alarm.value) == ("cleared", 105)
    assert not plant.book.active(), "it waits for nobody"


def test_lost_samples_of_a_whole_group_are_one_alarm_with_their_sum() -> None:
    plant = Plant()
    plant.set([3])
    plant.lose(plant.rows("r1s2"), 4)
    plant.settle()
    of_sites = {one.kind: one for one in plant.book.active()}
    assert of_sites[AlarmKind.COMMUNICATION_LOSS].value is None
    lost = of_sites[AlarmKind.SAMPLES_LOST]
    assert (lost.subject, lost.sites, lost.value) == ("r1s2", 40, 160)


def test_book_goes_on_with_the_count_of_a_former_one() -> None:
    former = Plant()
    former.lose([5], 50)
    former.wait()
    plant = Plant(active=former.book.active())
    plant.lose([5], 51)
    assert not plant.wait()
    assert (plant.only().number, plant.only().value) == (1, 51)


def test_sites_that_cannot_be_looked_at_change_nothing() -> None:
    plant = Plant()
    plant.set([5])
    plant.settle()
    plant.set([5], on=False)
    for _ in range(20):
        assert not plant.wait(60, blind=True)


def test_book_goes_on_where_a_former_one_ended() -> None:
    former = Plant(make_forest_fleet(sites=100))
    former.set(former.rows("r1s2")[3:])
    former.set([0])
    former.wait(60, [lag(60)])
    former.wait(60, [lag(60)])
    former.book.acknowledge(1, by="ada", t_ns=7)
    held = former.book.active()

    plant = Plant(make_forest_fleet(sites=100), active=held, next_number=4)
    assert plant.book.active() == held
    plant.set(plant.rows("r1s2")[3:])
    assert said(plant.wait(60, [lag(60)])) == [("cleared", "site-0")], "it came back meanwhile"
    by_subject = {one.subject: one for one in plant.book.active()}
    assert by_subject.keys() == {"r1s2", "journal"}
    assert (by_subject["r1s2"].number, by_subject["r1s2"].acknowledged_by) == (1, "ada")
    plant.set([1])
    plant.settle()
    assert max(one.number for one in plant.book.active()) == 4


def test_sites_moved_to_another_group_are_explained_anew() -> None:
    plant = Plant()
    rows = plant.rows("r0s0f0")
    plant.set(rows)
    plant.settle()
    other = make_forest_fleet()
    leaves = other.leaf_group[next(iter(other.leaf_group))]
    leaves[rows], leaves[rows + 10] = leaves[rows + 10].copy(), leaves[rows].copy()
    plant.book.regroup(other)
    assert said(plant.wait()) == [("updated", "r0s0f1")]
    assert plant.only().number == 1


def test_conditions_come_from_silence_flags_and_losses() -> None:
    flags = [0, Flag.SIGN, Flag.STUCK | Flag.CLOCK_DOUBTFUL, Flag.ESTIMATED, Flag.REGISTER_BACKWARDS]
    found = site_conditions(
        silent=np.array([True, False, False, False, True]),
        flags=np.array(flags, dtype=np.uint16),
        lost=np.array([False, True, False, False, False]),
    )
    assert [Condition(int(bits)) for bits in found] == [
        Condition.SILENT,
        Condition.SIGN | Condition.LOST,
        Condition.STUCK | Condition.CLOCK,
        Condition(0),
        Condition.SILENT | Condition.REGISTER,
    ]
