"""Shares sum to the revenue to the last unit, and a correction moves those of what it names alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR, Interval
from shoal.settle.shares import Shares, SharingKey, interval_shares, share_version
from shoal.settle.statement import share_among_sites

AMOUNT = st.integers(-(10**15), 10**15)
HOURS = [Interval(start_ns=hour * NS_PER_HOUR, end_ns=(hour + 1) * NS_PER_HOUR) for hour in range(6)]


@st.composite
def keys(draw: st.DrawFn) -> SharingKey:
    sites = draw(st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8))
    weights = draw(st.lists(st.integers(0, 10**9), min_size=len(sites), max_size=len(sites)))
    return SharingKey(
        site_ids=tuple(sites),
        weight_wh=np.array(weights, dtype=np.int64),
        owner_share_permille=draw(st.integers(0, 1_000)),
    )


@st.composite
def versions(draw: st.DrawFn) -> list[tuple[dict[Interval, int], set[Interval], SharingKey]]:
    """Amounts, what each version changes, and its key; an interval may go and another come."""
    amounts = {at: draw(AMOUNT) for at in draw(st.sets(st.sampled_from(HOURS), min_size=1))}
    found = [(dict(amounts), set(amounts), draw(keys()))]
    for _ in range(draw(st.integers(0, 3))):
        changed = draw(st.sets(st.sampled_from(HOURS)))
        for at in changed:
            if at in amounts and draw(st.booleans()):
                del amounts[at]
            else:
                amounts[at] = draw(AMOUNT)
        found.append((dict(amounts), changed, draw(keys())))
    return found


@settings(max_examples=60, deadline=None)
@given(versions())
def test_shares_sum_to_the_revenue_and_move_with_what_is_named(
    case: list[tuple[dict[Interval, int], set[Interval], SharingKey]],
) -> None:
    before: Shares | None = None
    before_amounts: dict[Interval, int] = {}
    for number, (amounts, changed, key) in enumerate(case, start=1):
        shares = share_version(amounts, changed, version=number, key=key, previous=before)
        assert shares.amount == sum(amounts.values())
        totals = dict.fromkeys(shares.site_ids, 0)
        kept_amount = 0
        for at, amount in amounts.items():
            owners, operator_amount = interval_shares(shares, at, amount)
            assert sum(owners.values()) + operator_amount == amount
            for site, part in owners.items():
                totals[site] += part
            kept_amount += operator_amount
            if before is not None and at not in changed:
                assert interval_shares(before, at, before_amounts[at]) == (owners, operator_amount)
        assert list(totals.values()) == shares.owner_amount.tolist()
        assert kept_amount == shares.operator_amount
        before, before_amounts = shares, amounts


def test_a_home_is_named_once_and_has_a_weight() -> None:
    for sites, weights in ((("a", "a"), [1, 2]), (("a",), [1, 2])):
        with pytest.raises(InvalidInputError, match="give each home once"):
            SharingKey(site_ids=sites, weight_wh=np.array(weights), owner_share_permille=1_000)


def test_an_interval_that_is_not_settled_has_no_shares() -> None:
    key = SharingKey(site_ids=("a",), weight_wh=np.array([1]), owner_share_permille=1_000)
    shares = share_version({HOURS[0]: 5}, HOURS[:1], version=1, key=key)
    with pytest.raises(InvalidInputError, match="give one that is settled"):
        interval_shares(shares, HOURS[1], 5)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.lists(st.integers(0, 10**6) | st.integers(0, 2**62), min_size=1, max_size=40),
)
def test_the_fast_split_is_that_of_plain_integers(amount: int, weights: list[int]) -> None:
    fast = share_among_sites(amount, np.array(weights, dtype=np.int64))
    total = sum(weights)
    held, whole = (weights, total) if total else ([1] * len(weights), len(weights))
    size = abs(amount)
    shares = [size * weight // whole for weight in held]
    rest = [size * weight % whole for weight in held]
    for row in sorted(range(len(held)), key=lambda row: (-rest[row], row))[: size - sum(shares)]:
        shares[row] += 1
    assert [abs(part) for part in fast.tolist()] == shares
    assert sum(fast.tolist()) == amount
