"""The pace on the wire: what a plant would mean is taken, nothing else."""

from __future__ import annotations

import pytest

from shoal.domain.errors import WireFormatError
from shoal.domain.interval import NS_PER_S
from shoal.domain.pace import (
    MOST_EVERY_S,
    MOST_SPREAD_S,
    Pace,
    decode_pace,
    encode_pace,
    pace_for_lag,
    spread_for,
)


def test_pace_travels_as_json() -> None:
    pace = Pace(every_s=120.0, until_ns=300 * NS_PER_S, issued_ns=0)
    assert encode_pace(pace) == b'{"every_s":120.0,"until_ns":300000000000,"issued_ns":0}'
    assert decode_pace(encode_pace(pace)) == pace
    assert decode_pace(b'{"every_s": 0, "until_ns": 5, "issued_ns": 5, "spread_s": 30, "later": 1}') == Pace(
        every_s=0.0, until_ns=5, issued_ns=5, spread_s=30.0
    )


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"every_s": 60}',
        b'{"every_s": -1, "until_ns": 2, "issued_ns": 1}',
        b'{"every_s": 1e9, "until_ns": 2, "issued_ns": 1}',
        b'{"every_s": 60, "until_ns": 1, "issued_ns": 2}',
        b'{"every_s": 60, "until_ns": 1, "issued_ns": -2}',
        b'{"every_s": 60, "until_ns": 99999999999999999, "issued_ns": 1}',
        b'{"every_s": 60, "until_ns": 2, "issued_ns": 1, "spread_s": -1}',
    ],
)
def test_pace_that_no_plant_would_mean_is_refused(payload: bytes) -> None:
    with pytest.raises(WireFormatError):
        decode_pace(payload)


def test_spread_grows_with_the_fleet_up_to_a_bound() -> None:
    assert spread_for(15_000, 1_000.0) == 15.0
    assert spread_for(100_000_000, 1_000.0) == MOST_SPREAD_S


@pytest.mark.parametrize(
    ("lag_s", "every_s"), [(10.5, 120.0), (20.0, 120.0), (21.0, 240.0), (75.0, 480.0), (1e9, MOST_EVERY_S)]
)
def test_plant_that_falls_behind_asks_for_less_the_further_it_is(lag_s: float, every_s: float) -> None:
    pace = pace_for_lag(lag_s, now_ns=7 * NS_PER_S)
    assert pace is not None
    assert (pace.every_s, pace.issued_ns) == (every_s, 7 * NS_PER_S)
    assert pace.until_ns == (7 + max(120, int(every_s))) * NS_PER_S
    assert decode_pace(encode_pace(pace)) == pace


@pytest.mark.parametrize("lag_s", [0.0, 10.0, float("nan")])
def test_plant_that_keeps_up_asks_for_nothing(lag_s: float) -> None:
    assert pace_for_lag(lag_s, now_ns=0) is None
