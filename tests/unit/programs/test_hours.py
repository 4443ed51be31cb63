"""Hours that owners keep: by the clock of their zone, on the days on which clocks change too, and never rounded away."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval, to_datetime, to_ns
from shoal.programs.ability import ability_of
from shoal.programs.arbitration import arbitrate
from shoal.programs.claims import HoldClaim, PowerClaim
from shoal.programs.explain import loss_sentence
from shoal.programs.hours import (
    DAYS,
    HoursAhead,
    OwnerHours,
    SiteHours,
    Window,
    parse_hours,
    read_said,
    said,
)
from tests.unit.programs.sites import ALL_BITS, BOOK, HOUR
from tests.unit.programs.test_promises import plates

CHICAGO = ZoneInfo("America/Chicago")
EVENING = parse_hours("mon-fri 17:00-20:00", zone="America/Chicago")


def at(text: str) -> int:
    return to_ns(datetime.fromisoformat(text).replace(tzinfo=CHICAGO))


def test_weekday_evening_is_kept_and_nothing_else() -> None:
    # 2026-11-27 is a Friday
    assert not EVENING.away_at(at("2026-11-27T16:59:59"))
    assert EVENING.away_at(at("2026-11-27T17:00:00"))
    assert EVENING.away_at(at("2026-11-27T19:59:59"))
    assert not EVENING.away_at(at("2026-11-27T20:00:00"))
    assert not EVENING.away_at(at("2026-11-28T18:00:00"))
    assert EVENING.next_ns(at("2026-11-27T18:00:00")) == at("2026-11-27T20:00:00")
    assert EVENING.next_ns(at("2026-11-27T20:00:00")) == at("2026-11-30T17:00:00")


def test_night_goes_over_midnight() -> None:
    night = parse_hours("fri 22-6", zone="America/Chicago")
    assert night.away_at(at("2026-11-27T23:00:00"))
    assert night.away_at(at("2026-11-28T05:59:00"))
    assert not night.away_at(at("2026-11-28T06:00:00"))
    assert not night.away_at(at("2026-11-27T05:00:00"))


def test_clock_that_changes_is_the_clock_that_counts() -> None:
    early = parse_hours("01:30-04:00", zone="America/Chicago")
    # in spring the hour from 2 to 3 is left out
    (spring,) = early.spans(at("2026-03-08T00:00:00"), at("2026-03-08T12:00:00"))
    assert (spring.end_ns - spring.start_ns) == 90 * NS_PER_MINUTE
    assert to_datetime(spring.end_ns, CHICAGO).hour == 4
    # in autumn the hour from 1 to 2 comes twice
    (autumn,) = early.spans(at("2026-11-01T00:00:00"), at("2026-11-01T12:00:00"))
    assert to_datetime(autumn.end_ns, CHICAGO).hour == 4


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("", "UTC"),
        ("mon", "UTC"),
        ("mon-fri 25:00-26:00", "UTC"),
        ("mon 10:00-10:00", "UTC"),
        ("moon 10:00-11:00", "UTC"),
        ("10:70-11:00", "UTC"),
        ("10:00-11:00", "Mars/Olympus"),
        ("10:00-11:00", "../../etc/passwd"),
        ("; ".join(["10:00-11:00"] * 30), "UTC"),
    ],
)
def test_hours_that_cannot_be_read_are_named(text: str, zone: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_hours(text, zone=zone)


windows = st.builds(
    lambda days, start, length: Window(
        days=tuple(sorted(days)), start_min=start, end_min=(start + length - 1) % 1440 + 1
    ),
    st.sets(st.integers(0, 6), min_size=1),
    st.integers(0, 1439),
    st.integers(1, 1439),
)
owners = st.builds(
    lambda found, zone: OwnerHours(zone=zone, windows=tuple(found)),
    st.lists(windows, min_size=1, max_size=4),
    st.sampled_from(["UTC", "America/Chicago", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)


@given(hours=owners)
def test_hours_survive_being_written_down(hours: OwnerHours) -> None:
    assert read_said(said(hours)) == hours


@given(hours=owners, minute=st.integers(0, 14 * 1440), length=st.integers(1, 48 * 60))
@settings(max_examples=80, deadline=None)
def test_spans_agree_with_looking_minute_by_minute(hours: OwnerHours, minute: int, length: int) -> None:
    start_ns = to_ns(datetime(2026, 10, 20, tzinfo=ZoneInfo("UTC"))) + minute * NS_PER_MINUTE
    end_ns = start_ns + length * NS_PER_MINUTE
    spans = hours.spans(start_ns, end_ns)
    assert all(one.end_ns < other.start_ns for one, other in pairwise(spans))
    zone = ZoneInfo(hours.zone)
    for t_ns in range(start_ns, end_ns, 97 * NS_PER_MINUTE):
        shown = to_datetime(t_ns, zone)
        now_min = shown.hour * 60 + shown.minute
        yesterday = (shown - timedelta(days=1)).weekday()
        expected = any(
            (shown.weekday() in one.days and one.start_min <= now_min < one.end_min)
            if one.end_min > one.start_min
            else (shown.weekday() in one.days and now_min >= one.start_min)
            or (yesterday in one.days and now_min < one.end_min)
            for one in hours.windows
        )
        assert any(one.contains(t_ns) for one in spans) == expected == hours.away_at(t_ns), shown


def test_fleet_says_who_is_free_throughout_each_span() -> None:
    fleet = SiteHours.of([EVENING, None, parse_hours("sat,sun 00:00-24:00", zone="UTC"), EVENING])
    assert len(fleet.patterns) == 2
    spans = list(
        Interval(start_ns=at("2026-11-27T15:30:00"), end_ns=at("2026-11-27T20:30:00")).split(NS_PER_HOUR)
    )
    free = fleet.available(spans)
    assert free[0].tolist() == [True, False, False, False, False]
    assert free[1].all()
    # Saturday of UTC begins at 18:00 in Chicago
    assert free[2].tolist() == [True, True, False, False, False]
    assert np.array_equal(free[0], free[3])
    until_ns = fleet.free_until_ns(at("2026-11-27T16:00:00"))
    assert until_ns[0] == at("2026-11-27T17:00:00")
    assert until_ns[1] > at("2026-11-30T00:00:00")
    assert DAYS[0] == "mon"


def test_kept_site_gives_nothing_to_programs_and_still_fills_its_own_reserve() -> None:
    away = np.array([True, False])
    sites = ability_of(
        book=BOOK,
        nameplate=plates(2),
        soc_frac=np.array([0.6, 0.6]),
        known=np.ones(2, dtype=np.bool_),
        enrolled_bits=np.full(2, ALL_BITS, dtype=np.uint64),
        away=away,
    )
    hold = HoldClaim(
        claim_id="alert",
        program="storm",
        rows=np.array([0]),
        hold_wh=np.array([100]),
        charge_w=np.array([1_000]),
    )
    sell = PowerClaim(claim_id="vpp", program="market", power_w=-9_000, rows=np.array([0, 1]))
    grid = PowerClaim(claim_id="grid", program="emergency", power_w=-1_000, rows=np.array([0]))
    own = PowerClaim(claim_id="own", program="self-consumption", power_w=-500, rows=np.array([0]))
    done = arbitrate(BOOK.ordered([sell, grid]), sites, interval=HOUR)
    assert done.grant("vpp").power_w[0] == 0
    assert done.grant("vpp").power_w[1] < 0
    assert done.grant("grid").power_w[0] == 0, "no priority reaches beyond it"
    (loss,) = done.grant("grid").losses
    assert loss.reason == "hours"
    assert "keeps the site at this hour" in loss_sentence(loss)
    assert arbitrate([hold], sites, interval=HOUR).grant("alert").charge_w[0] == 1_000
    assert arbitrate([own], sites, interval=HOUR).grant("own").power_w[0] == -500


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(DAYS), st.integers(0, 23), st.integers(1, 24)).filter(
            lambda one: one[1] != one[2]
        ),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.integers(0, 20 * 24 * 60), min_size=1, max_size=6),
)
def test_hours_ahead_are_those_of_the_patterns_as_the_clock_goes_on_and_back(
    drawn: list[tuple[str, int, int]], minutes: list[int]
) -> None:
    zones = ("America/Chicago", "UTC")
    patterns = [
        parse_hours(f"{day} {start}-{end}", zone=zones[number % 2])
        for number, (day, start, end) in enumerate(drawn)
    ]
    hours = SiteHours.of([None, *patterns, None])
    ahead = HoursAhead(hours)
    for minute in minutes:
        t_ns = at("2026-10-27T00:00:00") + minute * NS_PER_MINUTE
        assert np.array_equal(ahead.away_at(t_ns), hours.away_at(t_ns))
        assert np.array_equal(ahead.free_until_ns(t_ns), hours.free_until_ns(t_ns))
        for length in (NS_PER_MINUTE, 12 * 24 * NS_PER_HOUR):
            span = Interval(start_ns=t_ns + NS_PER_HOUR, end_ns=t_ns + NS_PER_HOUR + length)
            assert np.array_equal(ahead.away_in(span), hours.away_in(span))
