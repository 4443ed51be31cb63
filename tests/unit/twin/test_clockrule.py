"""Device clocks: what is believed, what is set right, and what is called doubtful."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shoal.domain.interval import NS_PER_S, to_ns
from shoal.domain.telemetry import Flag
from shoal.twin.clockrule import FLOOR_NS, ClockRule
from tests.unit.twin.readings import NOON_NS, Home, seconds

YEARS_S = 10 * 366 * 86_400.0


def test_floor_is_the_first_of_2015() -> None:
    assert to_ns(datetime(2015, 1, 1, tzinfo=UTC)) == FLOOR_NS
    rule = ClockRule()
    assert rule.is_plausible(FLOOR_NS, NOON_NS)
    assert not rule.is_plausible(FLOOR_NS - 1, NOON_NS)
    assert rule.is_plausible(NOON_NS + rule.max_ahead_ns, NOON_NS)
    assert not rule.is_plausible(NOON_NS + rule.max_ahead_ns + 1, NOON_NS)


def test_small_skew_is_accepted() -> None:
    home = Home()
    records = home.hear(55.0, arrival_s=0.0, load_w=400)
    assert (records["flags"][0], seconds(records[0])) == (0, 55.0)


@pytest.mark.parametrize("off_s", [3_600.0, YEARS_S, -(NOON_NS / NS_PER_S)])
def test_impossible_clock_of_a_live_message_is_set_right_and_its_spacing_kept(off_s: float) -> None:
    home = Home()
    records = home.hear(off_s + 10, off_s + 20, off_s + 30, arrival_s=31.0)
    assert [seconds(record) for record in records] == [11.0, 21.0, 31.0]
    assert records["flags"].tolist() == [Flag.CLOCK_CORRECTED] * 3
    assert seconds(home.latest) == 31.0


def test_device_that_gets_its_clock_right_is_followed_at_once() -> None:
    home = Home()
    home.hear(7_200.0, arrival_s=10.0, load_w=1)
    assert home.flags(20.0, load_w=2) == 0
    assert (home.latest["load_w"], seconds(home.latest)) == (2, 20.0)


def test_older_samples_with_an_impossible_clock_are_doubtful_and_leave_the_live_view_alone() -> None:
    home = Home()
    home.hear(10.0, load_w=1)
    home.hear(1_000.0, first_seq=6, load_w=2)
    records = home.hear(9_000.0, 9_010.0, arrival_s=1_001.0, first_seq=2, load_w=3)
    assert records["flags"].tolist() == [Flag.CLOCK_DOUBTFUL] * 2
    assert [seconds(record) for record in records] == [991.0, 1_001.0]
    assert (home.latest["load_w"], home.latest["seq"]) == (2, 6)


def test_one_impossible_time_among_right_ones_is_put_at_the_arrival() -> None:
    home = Home()
    records = home.hear(10.0, 90_000.0, 30.0, arrival_s=31.0, load_w=[1, 2, 3])
    assert [seconds(record) for record in records] == [10.0, 31.0, 30.0]
    assert records["flags"].tolist() == [0, Flag.CLOCK_DOUBTFUL, 0]
    assert home.latest["load_w"] == 3


def test_clock_that_steps_back_is_remarked_once_and_never_blocks_the_live_view() -> None:
    home = Home()
    home.hear(7_200.0, load_w=1)
    first = home.flags(3_600.0, arrival_s=7_201.0, load_w=2)
    assert first == Flag.CLOCK_DOUBTFUL | Flag.BACKFILL
    assert home.latest["load_w"] == 2
    assert home.flags(3_610.0, arrival_s=7_211.0, load_w=3) == Flag.BACKFILL
    assert (home.latest["load_w"], seconds(home.latest)) == (3, 3_610.0)


def test_small_step_back_passes_without_remark() -> None:
    home = Home()
    home.hear(100.0, load_w=1)
    assert home.flags(97.0, load_w=2) == 0
    assert home.latest["load_w"] == 2


def test_late_sample_is_marked_and_does_not_disturb_the_live_view() -> None:
    home = Home()
    home.hear(0.0, load_w=1)
    home.hear(1_000.0, first_seq=3, load_w=2)
    assert home.flags(500.0, arrival_s=1_001.0, first_seq=2, load_w=3) == Flag.BACKFILL
    assert (home.latest["load_w"], home.latest["seq"]) == (2, 3)


def test_late_sample_whose_time_contradicts_its_number_is_doubtful() -> None:
    home = Home()
    home.hear(0.0)
    home.hear(10.0, first_seq=3)
    assert home.flags(40.0, first_seq=2) == Flag.CLOCK_DOUBTFUL


def test_what_a_device_says_of_quality_is_cut_to_what_it_may_say() -> None:
    home = Home()
    assert home.hear(10.0, flags=0xFFFF)["flags"].tolist() == [Flag.ESTIMATED]
