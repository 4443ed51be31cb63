"""Baselines by rule: numbers worked by hand, excluded days with their reasons, clock changes, and what cannot be said."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, Interval, local_midnight_ns, to_ns
from shoal.settle.baseline import ExcludedDays, compute_baseline
from shoal.settle.baseline_calendar import MeterCalendar, MeterData, is_business_day, nerc_holidays
from shoal.settle.baseline_rules import (
    CAISO_10_IN_10,
    ERCOT_METER_BEFORE,
    ERCOT_MIDDLE_8_OF_10,
    PJM_HOUR_BEFORE,
    PJM_SAME_DAY_3_2,
    RULES,
    baseline_rule,
)
from shoal.settle.baseline_score import score_baseline, trial_events

TEXAS = ZoneInfo("America/Chicago")
FIRST = date(2021, 6, 1)
"""A Tuesday."""


def meter(
    energy_wh: NDArray[np.int64],
    *,
    first: date = FIRST,
    step_s: int = 3600,
    known: NDArray[np.bool_] | None = None,
) -> MeterData:
    energy_wh = np.atleast_2d(energy_wh)
    calendar = MeterCalendar.of(
        start_ns=local_midnight_ns(first, TEXAS), step_s=step_s, count=energy_wh.shape[1], zone=TEXAS
    )
    marks = np.ones(energy_wh.shape, dtype=np.bool_) if known is None else known
    return MeterData(energy_wh=energy_wh, known=marks, calendar=calendar)


def event_on(day: date, from_h: int, to_h: int) -> Interval:
    midnight_ns = local_midnight_ns(day, TEXAS)
    return Interval(start_ns=midnight_ns + from_h * NS_PER_HOUR, end_ns=midnight_ns + to_h * NS_PER_HOUR)


def daily(values_by_day: list[int]) -> NDArray[np.int64]:
    """Hourly energies that are one number all day."""
    return np.repeat(np.array(values_by_day, dtype=np.int64), 24)


def test_caiso_averages_the_ten_business_days_before() -> None:
    days = 30
    energy = daily([100 + day for day in range(days)])
    event_day = 20  # Monday 21 June
    found = compute_baseline(CAISO_10_IN_10, meter(energy), event_on(date(2021, 6, 21), 16, 18))
    business = [day for day in range(event_day) if date.fromordinal(FIRST.toordinal() + day).weekday() < 5][
        -10:
    ]
    plain = float(np.mean([100 + day for day in business]))
    factor = min(float((100 + event_day) / plain), 1.2)
    assert found.baseline_wh.tolist() == [[round(plain * factor)] * 2]
    assert found.factor_frac[0] == pytest.approx(factor)
    assert found.days is not None
    assert sorted(number for number, why in found.days.of(0).items() if why == "used") == [
        FIRST.toordinal() + day for day in business
    ]


def test_caiso_adjusts_by_the_second_to_fourth_hour_before_and_at_most_by_a_fifth() -> None:
    energy = daily([100] * 20)
    event = event_on(date(2021, 6, 17), 16, 17)
    at = 16 * 24 + 12
    energy[at : at + 3] = 110  # 12 to 15 o'clock
    energy[at + 3] = 9_999  # the hour before the event says nothing
    assert compute_baseline(CAISO_10_IN_10, meter(energy), event).baseline_wh.tolist() == [[110]]
    energy[at : at + 3] = 300
    assert compute_baseline(CAISO_10_IN_10, meter(energy), event).baseline_wh.tolist() == [[120]]
    energy[at : at + 3] = 10
    assert compute_baseline(CAISO_10_IN_10, meter(energy), event).baseline_wh.tolist() == [[80]]


def test_adjustment_leaves_out_what_the_plant_did_itself() -> None:
    energy = daily([100] * 20)
    event = event_on(date(2021, 6, 17), 16, 17)
    at = 16 * 24 + 12
    energy[at : at + 3] = [500, 100, 100]
    charged = event_on(date(2021, 6, 17), 12, 13)
    found = compute_baseline(CAISO_10_IN_10, meter(energy), event, disturbed=charged)
    assert found.baseline_wh.tolist() == [[100]]
    whole = event_on(date(2021, 6, 17), 10, 15)
    found = compute_baseline(CAISO_10_IN_10, meter(energy), event, disturbed=whole)
    assert found.note == ("adjustment_disturbed",)
    assert found.baseline_wh.tolist() == [[100]]


def test_a_site_that_exports_before_the_event_is_not_adjusted_and_it_is_said() -> None:
    energy = daily([-50] * 20)
    found = compute_baseline(CAISO_10_IN_10, meter(energy), event_on(date(2021, 6, 17), 16, 17))
    assert found.note == ("not_positive",)
    assert found.baseline_wh.tolist() == [[-50]]


def test_excluded_days_are_replaced_by_older_ones_and_named() -> None:
    energy = daily([100] * 30)
    holiday = date(2021, 6, 18).toordinal()
    dispatched = date(2021, 6, 16).toordinal()
    energy[(dispatched - FIRST.toordinal()) * 24 :][:24] = 100_000
    found = compute_baseline(
        CAISO_10_IN_10,
        meter(energy),
        event_on(date(2021, 6, 22), 16, 17),
        holidays=frozenset({holiday}),
        excluded=ExcludedDays(all_sites={dispatched: "regulation"}),
    )
    assert found.days is not None
    why = found.days.of(0)
    assert why[holiday] == "other_day_type"
    assert why[dispatched] == "regulation"
    assert found.days.used.sum() == 10
    assert found.baseline_wh.tolist() == [[100]]


def test_caiso_takes_event_days_of_most_energy_when_there_are_too_few_others() -> None:
    energy = daily([100, 100, 100, 300, 200, 100, 100, 100])  # from Tuesday 1 June to Tuesday 8 June
    event = event_on(date(2021, 6, 8), 16, 17)
    with_event = {date(2021, 6, day).toordinal(): "event" for day in (2, 3, 4)}
    found = compute_baseline(
        CAISO_10_IN_10, meter(energy), event, excluded=ExcludedDays(all_sites=with_event)
    )
    assert found.days is not None
    why = found.days.of(0)
    # Tuesday and Monday are ordinary; three are missing and all three events are taken
    assert [why[date(2021, 6, day).toordinal()] for day in (2, 3, 4)] == ["used_though_event"] * 3
    assert found.why_none == ("",)
    nothing = compute_baseline(
        CAISO_10_IN_10,
        meter(energy),
        event,
        excluded=ExcludedDays(all_sites=dict.fromkeys(with_event, "outage")),
    )
    assert nothing.why_none == ("too_few_days",)
    assert not nothing.known.any()
    assert not nothing.reduced_wh.any()


def test_ercot_leaves_out_the_days_of_most_and_least_energy() -> None:
    rng = np.random.default_rng(1)
    by_day = rng.integers(50, 500, 30).tolist()
    energy = daily(by_day)
    event = event_on(date(2021, 6, 24), 16, 17)
    event_day = 23
    at = event_day * 24
    business = [day for day in range(event_day) if date.fromordinal(FIRST.toordinal() + day).weekday() < 5][
        -10:
    ]
    kept = sorted(by_day[day] for day in business)[1:-1]
    energy[at + 13 : at + 15] = 77  # three hours before to one hour before
    expected = np.mean(kept) * (77 / np.mean(kept))
    found = compute_baseline(ERCOT_MIDDLE_8_OF_10, meter(energy), event)
    assert found.baseline_wh.tolist() == [[round(float(expected))]]
    assert found.days is not None
    assert sorted(found.days.of(0).values()).count("highest") == 1
    assert found.days.used.sum() == 8


def test_ercot_has_no_baseline_from_nine_days() -> None:
    energy = daily([100] * 14)
    found = compute_baseline(ERCOT_MIDDLE_8_OF_10, meter(energy), event_on(date(2021, 6, 14), 16, 17))
    assert found.days is not None
    assert found.days.used.sum() == 9
    assert found.why_none == ("too_few_days",)


def test_pjm_same_day_averages_three_hours_before_and_two_after_skipping_one() -> None:
    energy = np.arange(24, dtype=np.int64) * 10
    found = compute_baseline(PJM_SAME_DAY_3_2, meter(energy), event_on(FIRST, 12, 17))
    # as in the manual's example: event in hours ending 13 to 17, hours ending 9 to 11 and 19 to 20
    assert found.baseline_wh.tolist() == [[round((80 + 90 + 100 + 180 + 190) / 5)] * 5]


def test_pjm_same_day_says_when_its_hours_are_not_there() -> None:
    energy = np.full(48, 100, dtype=np.int64)
    late = compute_baseline(PJM_SAME_DAY_3_2, meter(energy), event_on(FIRST, 20, 23))
    assert late.why_none == ("window_leaves_day",)
    not_yet = compute_baseline(PJM_SAME_DAY_3_2, meter(energy[:20]), event_on(FIRST, 12, 18))
    assert not_yet.why_none == ("window_beyond_data",)
    known = np.ones((1, 48), dtype=np.bool_)
    known[0, 9] = False
    gap = compute_baseline(PJM_SAME_DAY_3_2, meter(energy, known=known), event_on(FIRST, 12, 18))
    assert gap.why_none == ("window_unknown",)


def test_a_level_that_the_plant_made_itself_is_none() -> None:
    energy = np.full(48, 100, dtype=np.int64)
    charged = event_on(FIRST, 8, 11)
    for rule in (PJM_SAME_DAY_3_2, PJM_HOUR_BEFORE):
        found = compute_baseline(rule, meter(energy), event_on(FIRST, 11, 13), disturbed=charged)
        assert found.why_none == ("window_disturbed",)


def test_meter_before_is_the_level_just_before() -> None:
    energy = np.arange(96, dtype=np.int64)
    quarter = meter(energy, step_s=900)
    event = event_on(FIRST, 12, 13)
    assert compute_baseline(ERCOT_METER_BEFORE, quarter, event).baseline_wh.tolist() == [[47] * 4]
    assert compute_baseline(PJM_HOUR_BEFORE, quarter, event).baseline_wh.tolist() == [[46] * 4]


def test_places_of_the_day_stay_where_they_are_when_clocks_change() -> None:
    first = date(2021, 10, 25)  # clocks go back on 7 November
    zone_days = 21
    hours = [
        datetime.fromtimestamp(local_midnight_ns(first, TEXAS) // 10**9 + 3600 * hour, TEXAS).hour
        for hour in range(24 * zone_days + 1)
    ]
    energy = np.array(hours, dtype=np.int64) * 100
    for day in (date(2021, 11, 8), date(2021, 11, 12)):
        found = compute_baseline(CAISO_10_IN_10, meter(energy, first=first), event_on(day, 16, 18))
        assert found.baseline_wh.tolist() == [[1600, 1700]]


def test_the_hour_that_is_there_twice_is_averaged_and_the_missing_one_left_out() -> None:
    back = MeterCalendar.of(
        start_ns=local_midnight_ns(date(2021, 11, 7), TEXAS), step_s=3600, count=25, zone=TEXAS
    )
    assert back.day_table(date(2021, 11, 7).toordinal())[:3].tolist() == [[0, -1], [1, 2], [3, -1]]
    ahead = MeterCalendar.of(
        start_ns=local_midnight_ns(date(2021, 3, 14), TEXAS), step_s=3600, count=23, zone=TEXAS
    )
    assert ahead.day_table(date(2021, 3, 14).toordinal())[1:4].tolist() == [[1, -1], [-1, -1], [2, -1]]


def test_a_day_with_a_gap_in_the_hours_asked_for_is_not_used() -> None:
    energy = daily([100] * 20)
    known = np.ones((2, 480), dtype=np.bool_)
    known[1, 15 * 24 + 16] = False
    both = meter(np.stack([energy, energy]), known=known)
    found = compute_baseline(CAISO_10_IN_10, both, event_on(date(2021, 6, 17), 16, 17))
    assert found.days is not None
    assert found.days.of(0)[date(2021, 6, 16).toordinal()] == "used"
    assert found.days.of(1)[date(2021, 6, 16).toordinal()] == "too_little_data"


def test_many_sites_are_computed_as_each_alone() -> None:
    rng = np.random.default_rng(7)
    energy = rng.integers(-500, 3_000, (12, 40 * 24))
    known = rng.random(energy.shape) > 0.01
    event = event_on(date(2021, 7, 7), 15, 19)
    by_row = {row: {date(2021, 7, 1 + row % 5).toordinal(): "event"} for row in range(12)}
    for rule in RULES.values():
        together = compute_baseline(
            rule, meter(energy, known=known), event, excluded=ExcludedDays(by_row=by_row)
        )
        for row in range(12):
            alone = compute_baseline(
                rule,
                meter(energy[row : row + 1], known=known[row : row + 1]),
                event,
                excluded=ExcludedDays(by_row={0: by_row[row]}),
            )
            assert together.baseline_wh[row].tolist() == alone.baseline_wh[0].tolist()
            assert together.why_none[row] == alone.why_none[0]
            assert together.note[row] == alone.note[0]


def test_an_event_between_intervals_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="intervals of 3600 s"):
        odd = Interval(
            start_ns=local_midnight_ns(FIRST, TEXAS) + 1, end_ns=local_midnight_ns(FIRST, TEXAS) + 2
        )
        compute_baseline(PJM_HOUR_BEFORE, meter(daily([1] * 5)), odd)
    with pytest.raises(InvalidInputError, match="one of"):
        baseline_rule("no-such")


def test_holidays_of_a_year() -> None:
    days = {date.fromordinal(number) for number in nerc_holidays([2021])}
    assert days == {
        *(date(2021, 1, 1), date(2021, 5, 31), date(2021, 7, 5), date(2021, 9, 6)),
        *(date(2021, 11, 25), date(2021, 12, 25)),
    }
    assert not is_business_day(date(2021, 7, 5).toordinal(), nerc_holidays([2021]))


def test_a_perfect_repetition_scores_without_error_and_a_step_shows_its_bias() -> None:
    steady = meter(np.tile(np.arange(24, dtype=np.int64) * 10 + 50, 60))
    first_day = date(2021, 7, 1).toordinal()
    events = trial_events(
        steady, from_h=16, to_h=18, first_day_number=first_day, every_days=3, holidays=frozenset()
    )
    assert len(events) > 5
    assert events[0].start_ns == to_ns(datetime(2021, 7, 1, 21, tzinfo=UTC))
    score = score_baseline(CAISO_10_IN_10, steady, events)
    assert (score.bias_wh, score.rmse_wh) == (0.0, 0.0)
    higher = steady.energy_wh.copy()
    for event in events:
        higher[:, steady.calendar.positions_in(event)] += 20
    lifted = MeterData(energy_wh=higher, known=steady.known, calendar=steady.calendar)
    excluded = {
        int(lifted.calendar.day_number[lifted.calendar.positions_in(one)[0]]): "event" for one in events
    }
    score = score_baseline(CAISO_10_IN_10, lifted, events, excluded=ExcludedDays(all_sites=excluded))
    assert score.bias_wh == -20.0
