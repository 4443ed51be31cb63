"""Sums of silent sites over shards are the sums over the fleet, whoever owns which site."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.domain.interval import NS_PER_MINUTE
from shoal.twin.silence import SilenceSums, estimate, nameplate_limits, silent_part, sum_silence
from shoal.twin.silence_default import built_in_table

PARENT = np.array([-1, 0, 0, 1, 1, 2])
LEVEL = np.array([0, 1, 1, 2, 2, 2])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), sites=st.integers(1, 80), shards=st.integers(1, 5))
def test_sums_of_shards_are_the_sums_of_the_fleet(seed: int, sites: int, shards: int) -> None:
    draw = np.random.default_rng(seed)
    table = built_in_table()
    rates = table.effective()
    scale = draw.choice([0.0, 1.0, 3_000.0, 8_000.0], (4, sites))
    value_w = np.rint(draw.normal(0.0, 2_000.0, (4, sites)))
    age_ns = draw.integers(-1, 2_000, (4, sites)) * NS_PER_MINUTE
    age_ns[age_ns < 0] = -1
    fresh = draw.random(sites) < 0.7
    leaf_group = draw.integers(3, 6, sites)
    shard = draw.integers(0, shards, sites)

    def sums_of(at: np.ndarray) -> SilenceSums:
        return sum_silence(
            rates,
            value_w=value_w[:, at],
            age_ns=age_ns[:, at],
            fresh=fresh[at],
            scale=scale[:, at],
            leaf_group=leaf_group[at],
            parent_number=PARENT,
            level=LEVEL,
        )

    whole = sums_of(np.ones(sites, dtype=bool))
    parts = [sums_of(shard == number) for number in range(shards)]
    for field in fields(SilenceSums):
        added = np.sum([getattr(part, field.name) for part in parts], axis=0)
        np.testing.assert_allclose(added, getattr(whole, field.name), rtol=1e-9, atol=1e-6)
        total = getattr(whole, field.name)
        np.testing.assert_allclose(total[0], total[3:].sum(axis=0), rtol=1e-9, atol=1e-6)
    told = estimate(table, whole, PARENT, LEVEL)
    for side_w in (told.expected_w, told.low_w, told.high_w, told.firm_w):
        assert np.isfinite(side_w).all()
    assert (told.low_w <= told.firm_w + 1e-6).all()
    assert (told.firm_w <= told.high_w + 1e-6).all()
    # the compiled pass against its plain form
    silent_w, sd_w = silent_part(table, whole, PARENT, LEVEL)
    floor_w, ceiling_w = nameplate_limits(whole)
    fresh_w = np.column_stack([whole.fresh_w, whole.fresh_w.sum(axis=1)])
    np.testing.assert_allclose(told.expected_w, fresh_w + silent_w, rtol=1e-9, atol=1e-6)
    sides_w = (told.low_w, told.high_w, told.firm_w)
    quantiles = table.quantiles(whole.silent_sites, whole.sites)
    for side_w, z in zip(sides_w, quantiles, strict=True):
        plain_w = fresh_w + np.clip(silent_w + z * sd_w, floor_w, ceiling_w)
        np.testing.assert_allclose(side_w, plain_w, rtol=1e-9, atol=1e-6)
