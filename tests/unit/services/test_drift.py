"""Drift of parameters: capacity that devices no longer back is found and withheld."""

from __future__ import annotations

import math

import msgspec
import pytest

from shoal.domain.alarms import Severity
from shoal.domain.interval import NS_PER_HOUR
from shoal.services.drift import (
    AssumedParameters,
    DeviceParameters,
    alarm_of,
    backed_w,
    compare,
    drifts_of,
    withheld_w,
)

NOW_NS = 100 * NS_PER_HOUR
ASSUMED = AssumedParameters(
    service="contingency",
    capacity_w=100_000_000,
    droop_frac=0.017,
    deadband_hz=0.015,
    ramp_w_per_s=50_000_000.0,
    response_s=0.5,
    firmware=frozenset({"4.1", "4.2"}),
)
REPORTED = DeviceParameters(
    site_id="big",
    t_ns=NOW_NS - NS_PER_HOUR,
    droop_frac=0.017,
    deadband_hz=0.015,
    ramp_w_per_s=60_000_000.0,
    response_s=0.2,
    firmware="4.2",
)


def reasons(reported: DeviceParameters | None) -> list[str]:
    return [drift.reason for drift in drifts_of(ASSUMED, reported, site_id="big", now_ns=NOW_NS)]


def test_device_that_is_as_assumed_has_not_drifted() -> None:
    assert reasons(REPORTED) == []


def test_update_that_changed_the_droop_withdraws_the_offer() -> None:
    """What happened to a battery of 100 MW in July 2019: 1.7 % became 3.7 % with an update of the firmware."""
    updated = msgspec.structs.replace(REPORTED, droop_frac=0.037, firmware="5.0")
    drifts = compare({"big": ASSUMED}, {"big": updated}, now_ns=NOW_NS)
    assert [drift.reason for drift in drifts] == ["droop", "firmware"]
    assert withheld_w(drifts) == {"contingency": 100_000_000}  # once, not for each reason
    assert backed_w({"big": ASSUMED}, drifts, service="contingency") == 0
    alarm = alarm_of("bess-1", "contingency", {"big": ASSUMED}, drifts)
    assert alarm is not None
    assert alarm.severity is Severity.CRITICAL
    assert "1.70%" in alarm.detail and "3.70%" in alarm.detail


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"droop_frac": 0.010}, "droop"),
        ({"deadband_hz": 0.036}, "deadband"),
        ({"ramp_w_per_s": 10_000_000.0}, "ramp"),
        ({"response_s": 2.0}, "response"),
        ({"limit_w": 90_000_000}, "power"),
        ({"firmware": ""}, "firmware"),
        ({"droop_frac": None}, "not_reported"),
        ({"deadband_hz": None}, "not_reported"),
        ({"droop_frac": math.nan}, "not_a_number"),
        ({"deadband_hz": math.nan}, "deadband"),
        ({"t_ns": NOW_NS - 25 * NS_PER_HOUR}, "not_reported"),
    ],
)
def test_each_parameter_is_compared(change: dict[str, float | str | None], reason: str) -> None:
    assert reasons(msgspec.structs.replace(REPORTED, **change)) == [reason]


def test_faster_device_and_small_differences_are_no_drift() -> None:
    near = msgspec.structs.replace(
        REPORTED, droop_frac=0.0175, deadband_hz=0.016, ramp_w_per_s=9e9, response_s=0.01, limit_w=200_000_000
    )
    assert reasons(near) == []


def test_device_that_says_nothing_backs_nothing() -> None:
    assert reasons(None) == ["not_reported"]


def test_only_what_drifted_is_withheld() -> None:
    assumed = {
        name: AssumedParameters(service="contingency", capacity_w=5_000, droop_frac=0.05) for name in "abcde"
    }
    assumed["x"] = AssumedParameters(service="regulation", capacity_w=7_000)
    reported = {
        name: DeviceParameters(site_id=name, t_ns=NOW_NS, droop_frac=0.05 if name != "c" else 0.2)
        for name in [*"abcde", "x"]
    }
    drifts = compare(assumed, reported, now_ns=NOW_NS)
    assert backed_w(assumed, drifts, service="contingency") == 20_000
    assert backed_w(assumed, drifts, service="regulation") == 7_000
    assert alarm_of("vpp-1", "regulation", assumed, drifts) is None
    alarm = alarm_of("vpp-1", "contingency", assumed, drifts)
    assert alarm is not None
    assert (alarm.sites, alarm.of_sites, alarm.examples, alarm.value) == (1, 5, ["c"], 5_000.0)


def test_parameters_travel_as_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(REPORTED), type=DeviceParameters) == REPORTED
