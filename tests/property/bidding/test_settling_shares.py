"""Runs, corrections and shares in every market: what is not named keeps its lines and the shares of every home."""

from __future__ import annotations

from random import Random

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shoal.domain.interval import Interval
from shoal.market.contract import Market
from shoal.market.registry import MODULES
from shoal.market.settlement import amounts_by_interval
from shoal.settle.shares import Shares, SharingKey, interval_shares, share_version
from tests.integration.simulate.settling_days import CLOCK_DAYS
from tests.property.market.test_shadow import settled_day


def key_of(random: Random) -> SharingKey:
    count = random.randint(1, 6)
    return SharingKey(
        site_ids=tuple(random.sample("abcdefgh", count)),
        weight_wh=np.array([random.randint(0, 5_000) for _ in range(count)], dtype=np.int64),
        owner_share_permille=random.randint(0, 1_000),
    )


@pytest.mark.parametrize("market", MODULES, ids=lambda market: market.rules.market_id)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), autumn=st.booleans())
def test_a_correction_moves_the_shares_of_what_it_names_alone(
    market: Market, seed: int, autumn: bool
) -> None:
    random = Random(seed)
    day = CLOCK_DAYS[market.rules.market_id][autumn]
    award, delivered, prices, version = settled_day(market, day, random)
    shares: Shares = share_version(
        amounts_by_interval(version.lines), version.changed, version=1, key=key_of(random)
    )
    assert shares.amount == version.amount
    for rule in market.rules.runs[1:4]:
        picked = random.sample(list(version.lines), min(2, len(version.lines)))
        named = sorted({Interval(start_ns=one.start_ns, end_ns=one.end_ns) for one in picked})
        delivered = [
            msgspec.structs.replace(one, delivered_wh=one.delivered_wh - random.randint(0, 2_000))
            for one in delivered
        ]
        prices = {
            k: {t: round(p + random.uniform(-9, 9), 2) for t, p in held.items()} for k, held in prices.items()
        }
        after = market.settle(
            award,
            delivered,
            prices,
            run=rule.run,
            issued_ns=version.issued_ns + 1,
            previous=version,
            named=named,
        )
        newer = share_version(
            amounts_by_interval(after.lines),
            after.changed,
            version=after.version,
            key=key_of(random),
            previous=shares,
        )
        before_amounts, after_amounts = amounts_by_interval(version.lines), amounts_by_interval(after.lines)
        assert newer.amount == after.amount == sum(after_amounts.values())
        assert before_amounts.keys() == after_amounts.keys()
        for at, amount in after_amounts.items():
            inside = any(whole.start_ns <= at.start_ns and at.end_ns <= whole.end_ns for whole in named)
            if at not in after.changed:
                assert interval_shares(newer, at, amount) == interval_shares(shares, at, before_amounts[at])
            else:
                assert inside
        version, shares = after, newer
