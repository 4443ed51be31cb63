"""Parameters of devices, on both databases: what offers assume, what devices say, and what is no longer backed."""

from __future__ import annotations

import math

import pytest
from sqlalchemy import Engine

from shoal.domain.alarms import AlarmKind
from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.interval import NS_PER_HOUR
from shoal.services.drift import AssumedParameters, DeviceParameters
from shoal.store.device_parameters import LOOK_AGAIN_NS, DeviceParameterStore
from shoal.store.registry import Registry
from tests.integration.store.fleets import make_fleet

FLEET = make_fleet(4)
FIRST, SECOND = (str(site) for site in FLEET.site_ids[:2])
RESOURCE = str(FLEET.resources[0].resource_id)
NOW_NS = 1_000 * NS_PER_HOUR
ASSUMED = AssumedParameters(
    service="raise6sec",
    capacity_w=3_000,
    droop_frac=0.017,
    deadband_hz=0.15,
    firmware=frozenset({"2.1", "2.2"}),
)


def said(
    site: str, t_ns: int = NOW_NS, *, droop_frac: float | None = 0.017, firmware: str = "2.1"
) -> DeviceParameters:
    return DeviceParameters(
        site_id=site, t_ns=t_ns, droop_frac=droop_frac, deadband_hz=0.15, firmware=firmware
    )


@pytest.fixture
def store(tables: Engine) -> DeviceParameterStore:
    Registry(tables).load_fleet(FLEET, valid_from_ns=0)
    return DeviceParameterStore(tables)


def test_nothing_assumed_limits_nothing(store: DeviceParameterStore) -> None:
    assert store.report([said(FIRST)]) == 1
    assert store.backing(NOW_NS) == ()


def test_capacity_is_backed_by_what_is_reported_and_as_assumed(store: DeviceParameterStore) -> None:
    store.assume(RESOURCE, "raise6sec", {FIRST: ASSUMED, SECOND: ASSUMED}, by="ada", at_ns=0)
    assert store.assumed() == {(RESOURCE, "raise6sec"): {FIRST: ASSUMED, SECOND: ASSUMED}}
    (none,) = store.backing(NOW_NS)
    assert (none.assumed_w, none.backed_w) == (6_000, 0), "what is not known backs nothing"
    store.report([said(FIRST), said(SECOND)])
    (whole,) = store.backing(NOW_NS)
    assert (whole.backed_w, whole.withheld_w, whole.alarm) == (6_000, 0, None)
    assert (whole.measure.kind, whole.measure.value) == (AlarmKind.PARAMETER_DRIFT, 0.0)
    assert store.report([said(SECOND, NOW_NS + 1, droop_frac=0.037)]) == 1
    (half,) = store.backing(NOW_NS)
    assert (half.backed_w, half.measure.value) == (3_000, 3_000.0)
    assert half.measure.subject == f"{RESOURCE}/raise6sec"
    assert half.alarm is not None and "droop of 3.70%" in half.alarm.detail
    store.assume(RESOURCE, "raise6sec", {}, by="ada", at_ns=1)
    assert store.backing(NOW_NS) == ()


def test_newest_report_counts_in_whatever_order_they_come(store: DeviceParameterStore) -> None:
    assert store.report([said(FIRST, 5, firmware="b"), said(FIRST, 4, firmware="a")]) == 1
    assert store.report([said(FIRST, 5, firmware="c")]) == 0
    assert store.report([said(FIRST, 3, firmware="d")]) == 0
    assert store.reported()[FIRST].firmware == "b"
    assert store.report([]) == 0


def test_report_that_grows_old_takes_the_capacity_with_it(store: DeviceParameterStore) -> None:
    store.assume(RESOURCE, "raise6sec", {FIRST: ASSUMED}, by="ada", at_ns=0)
    store.report([said(FIRST)])
    assert store.backing(NOW_NS)[0].withheld_w == 0
    limit_ns = NOW_NS + ASSUMED.longest_ns
    assert store.backing(limit_ns)[0].withheld_w == 0
    assert store.backing(limit_ns + LOOK_AGAIN_NS)[0].withheld_w == 3_000


def test_what_cannot_be_is_refused(store: DeviceParameterStore) -> None:
    with pytest.raises(UnknownIdError):
        store.assume("nobody", "raise6sec", {FIRST: ASSUMED}, by="ada", at_ns=0)
    with pytest.raises(UnknownIdError):
        store.assume(RESOURCE, "raise6sec", {"nobody": ASSUMED}, by="ada", at_ns=0)
    with pytest.raises(UnknownIdError):
        store.report([said("nobody")])
    with pytest.raises(InvalidInputError):
        store.assume(RESOURCE, "lower6sec", {FIRST: ASSUMED}, by="ada", at_ns=0)
    for droop_frac in (-0.1, math.inf):
        with pytest.raises(InvalidInputError):
            store.report([said(FIRST, droop_frac=droop_frac)])
    store.assume(RESOURCE, "raise6sec", {FIRST: ASSUMED}, by="ada", at_ns=0)
    store.report([said(FIRST, droop_frac=math.nan)])
    assert store.backing(NOW_NS)[0].withheld_w == 3_000, "a device that says no number backs nothing"
