"""The droop curve: what it gives, where it gives nothing, and how steep it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.domain.errors import InvalidInputError
from shoal.domain.orders import DroopArming
from shoal.services.droop import (
    DroopSlope,
    check_arming,
    droop_error_frac,
    droop_of,
    droop_w,
    full_deviation_hz,
    slope_of,
)

ARMING = DroopArming(
    start_ns=0, end_ns=100, reference_hz=50.0, deadband_hz=0.02, full_deviation_hz=0.2, up_w=900, down_w=500
)


def given_w(*frequency_hz: float, arming: DroopArming = ARMING) -> list[int]:
    return [int(power_w) for power_w in droop_of(arming, np.array(frequency_hz), now_ns=0)]


def test_curve_is_a_straight_line_from_the_deadband_to_the_whole_power() -> None:
    assert given_w(50.0, 49.98, 50.02) == [0, 0, 0]
    assert given_w(49.89, 49.8, 49.61) == [-450, -900, -900]
    assert given_w(50.11, 50.2, 51.0) == [250, 500, 500]


def test_frequency_that_is_no_number_gives_nothing() -> None:
    assert given_w(math.nan, math.inf, -math.inf) == [0, 0, 0]


def test_arming_counts_only_while_it_is_in_force() -> None:
    for now_ns, power_w in ((-1, 0), (0, -900), (99, -900), (100, 0)):
        assert droop_of(ARMING, np.array([49.0]), now_ns=now_ns).tolist() == [power_w]


def test_arming_that_is_no_curve_gives_nothing() -> None:
    for full in (0.02, 0.01, math.nan, math.inf):
        assert given_w(49.0, arming=msgspec.structs.replace(ARMING, full_deviation_hz=full)) == [0]
    assert given_w(49.0, 51.0, arming=msgspec.structs.replace(ARMING, up_w=-5, down_w=-5)) == [0, 0]


def test_each_row_has_its_own_curve() -> None:
    power_w = droop_w(
        np.array([49.9, 49.9, 60.1]),
        reference_hz=np.array([50.0, 50.0, 60.0]),
        deadband_hz=0.0,
        full_deviation_hz=np.array([0.1, 0.2, 0.2]),
        up_w=np.array([1000, 1000, 1000]),
        down_w=np.array([0, 0, 400]),
    )
    assert power_w.tolist() == [-1000, -500, 200]
    assert power_w.dtype == np.int64


@given(
    frequency_hz=st.floats(40, 70),
    deadband_hz=st.floats(0, 0.5),
    span_hz=st.floats(0.01, 2),
    up_w=st.integers(0, 20_000),
    down_w=st.integers(0, 20_000),
)
def test_power_is_nearest_to_the_line_and_within_the_limits(
    frequency_hz: float, deadband_hz: float, span_hz: float, up_w: int, down_w: int
) -> None:
    power_w = int(
        droop_w(
            np.array([frequency_hz]),
            reference_hz=50.0,
            deadband_hz=deadband_hz,
            full_deviation_hz=deadband_hz + span_hz,
            up_w=up_w,
            down_w=down_w,
        )[0]
    )
    assert -up_w <= power_w <= down_w
    off_hz = frequency_hz - 50.0
    share = min(max((abs(off_hz) - deadband_hz) / ((deadband_hz + span_hz) - deadband_hz), 0.0), 1.0)
    line_w = -share * up_w if off_hz < 0 else share * down_w
    assert abs(power_w - line_w) <= 0.5 + 1e-6


def test_slope_is_told_as_on_nameplates_and_back() -> None:
    slope = slope_of(ARMING, rated_w=1800)
    # 900 of 1800 W over 0.18 Hz: the whole rating would take 0.36 Hz, 0.72 % of 50 Hz.
    assert slope.droop_frac == pytest.approx(0.0072)
    assert slope.deadband_hz == 0.02
    assert full_deviation_hz(
        DroopSlope(droop_frac=0.0036, deadband_hz=0.02), reference_hz=50.0
    ) == pytest.approx(0.2)


@dataclass(frozen=True)
class Bad:
    field: str
    value: float


@pytest.mark.parametrize(
    "bad",
    [
        Bad("reference_hz", math.nan),
        Bad("deadband_hz", -0.1),
        Bad("full_deviation_hz", 0.02),
        Bad("up_w", -1),
        Bad("end_ns", 0),
    ],
)
def test_arming_that_no_device_can_follow_is_refused(bad: Bad) -> None:
    with pytest.raises(InvalidInputError):
        check_arming(msgspec.structs.replace(ARMING, **{bad.field: bad.value}))


def test_error_is_a_share_of_what_was_armed() -> None:
    error = droop_error_frac(np.array([-900, 0, 0]), np.array([-882, 0, 5]), limit_w=np.array([900, 0, 0]))
    assert error.tolist() == [0.02, 0.0, math.inf]
