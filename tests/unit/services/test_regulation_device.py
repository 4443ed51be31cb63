"""The device's side of regulation: which armings and broadcasts count, and the short lease that they become."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import pytest

from shoal.services.regulation import RegulationSignal
from shoal.services.regulation_device import RegulatedSite, RegulationArming, lease_of

ARMING = RegulationArming(
    resource_id="vpp-1", version=4, start_ns=100, end_ns=200, base_w=300, up_w=2_000, down_w=1_000
)
SIGNAL = RegulationSignal(seq=7, t_ns=120, end_ns=130, value_frac=0.5, version=4)


def test_arming_counts_from_its_start_to_its_end() -> None:
    site = RegulatedSite()
    assert site.take_arming(ARMING, now_ns=50)
    assert [site.in_force(now_ns) is not None for now_ns in (99, 100, 199, 200)] == [False, True, True, False]


def test_next_arming_waits_and_then_takes_over() -> None:
    site = RegulatedSite()
    coming = msgspec.structs.replace(ARMING, version=5, start_ns=180, end_ns=300, base_w=0)
    assert site.take_arming(ARMING, now_ns=110)
    assert site.take_arming(coming, now_ns=120)
    assert [one.version for now_ns in (150, 180, 250) if (one := site.in_force(now_ns))] == [4, 5, 5]


@pytest.mark.parametrize(
    "change", [{"version": 4}, {"version": 3}, {"version": 5, "up_w": -1}, {"version": 5, "end_ns": 100}]
)
def test_older_or_impossible_arming_is_refused(change: dict[str, int]) -> None:
    site = RegulatedSite()
    site.take_arming(ARMING, now_ns=50)
    assert not site.take_arming(msgspec.structs.replace(ARMING, **change), now_ns=60)
    assert site.armings == [ARMING]
    assert not RegulatedSite().take_arming(ARMING, now_ns=200)


def test_broadcast_is_taken_at_most_once_in_order_and_in_time() -> None:
    site = RegulatedSite()
    assert site.take_signal(SIGNAL, now_ns=121) == 0.5
    assert site.take_signal(SIGNAL, now_ns=122) is None
    assert site.take_signal(replace(SIGNAL, seq=6), now_ns=122) is None
    assert site.take_signal(replace(SIGNAL, seq=8), now_ns=130) is None
    assert site.take_signal(replace(SIGNAL, seq=8, value_frac=math.nan), now_ns=122) is None
    assert site.take_signal(replace(SIGNAL, seq=8, value_frac=-1.0), now_ns=122) == -1.0


def test_lease_ends_with_the_broadcast_or_the_arming() -> None:
    lease = lease_of(ARMING, 0.5, start_ns=121, end_ns=130, version=9, issuer="plant", fence=2)
    assert (lease.battery_w, lease.start_ns, lease.end_ns, lease.version) == (-700, 121, 130, 9)
    assert lease_of(ARMING, -1.0, start_ns=121, end_ns=999, version=9, issuer="plant", fence=2).end_ns == 200
