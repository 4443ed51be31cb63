"""Shares of a regulation offer: they add up, keep every limit, and follow the energy that is left."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.domain.errors import InvalidInputError
from shoal.services.regulation_shares import (
    RegulationAbility,
    answer_of_one_w,
    answer_w,
    recentring_w,
    share_out,
)


def make(sites: int = 4, *, soc_frac: float = 0.5) -> RegulationAbility:
    return RegulationAbility(
        charge_limit_w=np.full(sites, 5_000),
        discharge_limit_w=np.full(sites, 5_000),
        stored_kwh=np.full(sites, 2.0 + soc_frac * 8.0),
        floor_kwh=np.full(sites, 2.0),
        ceiling_kwh=np.full(sites, 10.0),
        charge_efficiency_frac=np.ones(sites),
        discharge_efficiency_frac=np.ones(sites),
    )


def test_equal_homes_get_equal_shares_with_the_margin() -> None:
    shares = share_out(make(), offer_w=8_000, margin_frac=0.25)
    assert shares.up_w.tolist() == shares.down_w.tolist() == [2_500] * 4
    assert shares.base_w.tolist() == [0] * 4
    assert (shares.short_up_w, shares.short_down_w) == (0, 0)


def test_fuller_home_gives_more_and_takes_less() -> None:
    ability = replace(make(2), stored_kwh=np.array([8.0, 4.0]))
    shares = share_out(ability, offer_w=4_000, margin_frac=0.0)
    assert shares.up_w.tolist() == [3_000, 1_000]
    assert shares.down_w.tolist() == [1_000, 3_000]


def test_power_caps_a_share_and_the_others_take_the_rest() -> None:
    ability = replace(make(2), stored_kwh=np.array([10.0, 2.5]))
    shares = share_out(ability, offer_w=5_400, margin_frac=0.0)
    assert shares.up_w.tolist() == [5_000, 400]


def test_offer_beyond_the_fleet_says_what_is_missing() -> None:
    shares = share_out(make(), offer_w=20_000, margin_frac=0.5)
    assert shares.short_up_w == shares.short_down_w == 10_000
    empty = share_out(make(soc_frac=0.0), offer_w=1_000, margin_frac=0.0)
    assert empty.up_w.sum() == 0
    assert empty.short_up_w == 1_000


def test_home_of_unknown_energy_is_asked_nothing() -> None:
    ability = replace(make(2), stored_kwh=np.array([np.nan, 6.0]))
    shares = share_out(ability, offer_w=2_000, margin_frac=0.0, base_total_w=500)
    assert (shares.base_w[0], shares.up_w[0], shares.down_w[0]) == (0, 0, 0)


def test_base_brings_the_fleet_back() -> None:
    assert recentring_w(make(soc_frac=0.25), target_frac=0.5, duration_h=1.0, limit_w=100_000) == 8_000
    assert recentring_w(make(soc_frac=0.75), target_frac=0.5, duration_h=2.0, limit_w=100_000) == -4_000
    assert recentring_w(make(soc_frac=0.25), target_frac=0.5, duration_h=1.0, limit_w=3_000) == 3_000
    with pytest.raises(InvalidInputError):
        recentring_w(make(), target_frac=1.5, duration_h=1.0, limit_w=0)


def test_answer_is_the_base_less_the_share_upward() -> None:
    base, up, down = (np.array([value]) for value in (300, 2_000, 1_000))
    for value, power in ((0.0, 300), (1.0, -1_700), (-1.0, 1_300), (0.5, -700), (5.0, -1_700), (np.nan, 300)):
        assert answer_w(value, base_w=base, up_w=up, down_w=down).tolist() == [power]
        assert answer_of_one_w(value, base_w=int(base[0]), up_w=int(up[0]), down_w=int(down[0])) == power


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 10**6), offer_w=st.integers(0, 60_000), base_w=st.integers(-30_000, 30_000))
def test_no_signal_takes_a_home_beyond_its_power(seed: int, offer_w: int, base_w: int) -> None:
    random = np.random.default_rng(seed)
    sites = int(random.integers(1, 12))
    limit_w = random.integers(0, 8_000, sites)
    ceiling = random.uniform(0, 20, sites)
    floor = ceiling * random.uniform(0, 1, sites)
    stored = np.where(random.random(sites) < 0.1, np.nan, random.uniform(0, 1.1, sites) * ceiling)
    ability = RegulationAbility(
        charge_limit_w=limit_w,
        discharge_limit_w=random.integers(0, 8_000, sites),
        stored_kwh=stored,
        floor_kwh=floor,
        ceiling_kwh=ceiling,
        charge_efficiency_frac=random.uniform(0.8, 1.0, sites),
        discharge_efficiency_frac=random.uniform(0.8, 1.0, sites),
    )
    shares = share_out(ability, offer_w=offer_w, margin_frac=0.3, base_total_w=base_w)
    assert (shares.up_w >= 0).all() and (shares.down_w >= 0).all()
    lowest, highest = shares.base_w - shares.up_w, shares.base_w + shares.down_w
    assert (lowest >= -ability.discharge_limit_w).all()
    assert (highest <= ability.charge_limit_w).all()
    wanted = int(np.ceil(offer_w * 1.3))
    assert shares.up_w.sum() + shares.short_up_w >= wanted
    assert shares.up_w.sum() <= wanted + sites
    # who has nothing above the reserve is asked for nothing that discharges
    nothing = ~(stored > floor)
    assert (lowest[nothing] >= np.minimum(shares.base_w[nothing], 0)).all()
    assert abs(int(shares.base_w.sum())) <= abs(base_w)
