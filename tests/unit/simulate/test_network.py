"""The fault model: shares in the long run, and no memory."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S, Interval
from shoal.simulate.network import FaultModel

SITES = tuple(SiteId(f"home-{number:05d}") for number in range(1, 401))
START_NS = 1_625_097_600 * NS_PER_S


@pytest.mark.parametrize("frac", [0.015, 0.1, 0.4])
def test_network_share_of_time_offline_meets_the_setting(frac: float) -> None:
    model = FaultModel(SITES, seed=3, drop_out_frac=frac)
    times_ns = [START_NS + k * 7 * NS_PER_MINUTE for k in range(3_000)]
    offline = np.mean([1.0 - model.online(t_ns).mean() for t_ns in times_ns])
    assert offline == pytest.approx(frac, rel=0.05)


def test_network_drop_outs_have_the_mean_length() -> None:
    sites = [SiteId(f"home-{number:05d}") for number in range(1, 1_001)]
    model = FaultModel(sites, seed=3, drop_out_frac=0.015, drop_out_mean_s=1_200)
    step_s = 60
    states = np.stack([model.online(START_NS + k * step_s * NS_PER_S) for k in range(4_000)])
    began = (states[:-1] & ~states[1:]).sum()
    # Seen once a minute, the shortest are missed, which lengthens the mean by 1 in 40.
    assert (~states).sum() * step_s / began == pytest.approx(1_200 * 1.025, rel=0.06)
    assert began > 2_000


def test_network_is_a_pure_function_of_time() -> None:
    one, two = FaultModel(SITES, seed=3), FaultModel(SITES, seed=3)
    times_ns = [START_NS + k * NS_PER_MINUTE for k in range(500)]
    forward = [(one.online(t), one.late_by_ns(t), one.duplicated(t), one.send_offset_s(t)) for t in times_ns]
    backward = [
        (two.online(t), two.late_by_ns(t), two.duplicated(t), two.send_offset_s(t)) for t in times_ns[::-1]
    ]
    for a, b in zip(forward, backward[::-1], strict=True):
        for x, y in zip(a, b, strict=True):
            assert np.array_equal(x, y)
    other = FaultModel(SITES, seed=4)
    assert any(not np.array_equal(one.online(t), other.online(t)) for t in times_ns)


def test_network_late_and_repeated_messages_meet_their_shares() -> None:
    model = FaultModel(SITES, seed=3, late_frac=0.02, late_max_s=300, duplicate_frac=0.05)
    times_ns = [START_NS + k * NS_PER_MINUTE for k in range(500)]
    delay_ns = np.stack([model.late_by_ns(t) for t in times_ns])
    late = delay_ns[delay_ns > 0]
    assert (delay_ns > 0).mean() == pytest.approx(0.02, rel=0.05)
    assert late.max() <= 300 * NS_PER_S
    assert late.mean() == pytest.approx(150 * NS_PER_S, rel=0.05)
    assert np.mean([model.duplicated(t).mean() for t in times_ns]) == pytest.approx(0.05, rel=0.05)


def test_network_offsets_lie_within_the_interval_and_stay_near_their_place() -> None:
    model = FaultModel(SITES, seed=3, report_interval_s=60)
    offsets_s = np.stack([model.send_offset_s(START_NS + k * NS_PER_MINUTE) for k in range(200)])
    assert offsets_s.min() >= 0.0
    assert offsets_s.max() < 60.0
    assert np.ptp(offsets_s, axis=0).max() <= 6.0
    assert np.ptp(offsets_s.mean(axis=0)) > 45.0


def test_network_exempt_site_never_drops_out() -> None:
    model = FaultModel(SITES, seed=3, drop_out_frac=0.5, never_offline=[SITES[7]])
    states = np.stack([model.online(START_NS + k * NS_PER_MINUTE) for k in range(2_000)])
    assert states[:, 7].all()
    assert states.mean(axis=0)[:7].max() < 0.8


def test_network_clear_ends_every_fault() -> None:
    model = FaultModel(SITES, seed=3, drop_out_frac=0.5, late_frac=0.5, duplicate_frac=0.5)
    assert not model.online(START_NS).all()
    model.clear()
    for k in range(50):
        t_ns = START_NS + k * NS_PER_MINUTE
        assert model.online(t_ns).all()
        assert not model.late_by_ns(t_ns).any()
        assert not model.duplicated(t_ns).any()


def test_network_without_faults_has_none() -> None:
    model = FaultModel(SITES, seed=3, drop_out_frac=0, late_frac=0, duplicate_frac=0)
    assert model.online(START_NS).all()
    assert not model.late_by_ns(START_NS).any()
    assert not model.duplicated(START_NS).any()


@pytest.mark.parametrize("wrong", [{"drop_out_frac": 1.0}, {"late_frac": -0.1}, {"drop_out_mean_s": 0.0}])
def test_network_refuses_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        FaultModel(SITES, 3, **wrong)  # type: ignore[arg-type]


def test_network_cut_spares_nobody_and_ends() -> None:
    cut = Interval(start_ns=START_NS, end_ns=START_NS + NS_PER_MINUTE)
    model = FaultModel(SITES, seed=3, drop_out_frac=0.0, never_offline=SITES[:2], cuts=[cut])
    assert model.online(START_NS - 1).all()
    assert not model.online(START_NS).any()
    assert model.online(cut.end_ns).all()
    model.clear()
    assert model.online(START_NS).all()
