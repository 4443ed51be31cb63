"""Money is conserved exactly: every split sums to what was split, and everything balances."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shoal.settle.statement import (
    balance_error,
    day_statement,
    format_amount,
    settle_interval,
    share_among_sites,
    split_revenue,
)

amounts = st.integers(-(2**62), 2**62)
weights = st.lists(st.integers(0, 2**40), min_size=1, max_size=60)
energies_wh = st.integers(-(10**9), 10**9)
prices_cents = st.integers(-25_000, 900_000)


@given(amounts, weights)
def test_shares_sum_exactly_and_lie_within_a_unit_of_the_proportion(amount: int, weight: list[int]) -> None:
    shares: list[int] = share_among_sites(amount, np.array(weight, dtype=np.int64)).tolist()
    assert sum(shares) == amount
    total = sum(weight)
    for share, part in zip(shares, weight, strict=True):
        exact = Fraction(amount * part, total) if total else Fraction(amount, len(weight))
        assert abs(share - exact) < 1
        assert share * amount >= 0
        assert share == 0 or part > 0 or total == 0


@given(amounts, weights)
def test_shares_of_a_loss_mirror_those_of_a_gain(amount: int, weight: list[int]) -> None:
    of_gain = share_among_sites(amount, np.array(weight, dtype=np.int64))
    of_loss = share_among_sites(-amount, np.array(weight, dtype=np.int64))
    assert (of_gain == -of_loss).all()


@given(energies_wh, energies_wh, prices_cents, st.integers(0, 1_000))
def test_interval_settles_delivered_energy_less_the_charge(
    award_wh: int, delivered_wh: int, cents: int, permille: int
) -> None:
    interval = settle_interval(
        start_ns=0,
        end_ns=1,
        award_wh=award_wh,
        delivered_wh=delivered_wh,
        price_cents_per_mwh=cents,
        deviation_charge_permille=permille,
    )
    assert interval.award_amount + interval.imbalance_amount == -delivered_wh * cents
    exact = Fraction(abs(delivered_wh - award_wh) * abs(cents) * permille, 1_000)
    assert exact <= interval.deviation_charge < exact + 1
    assert interval.net_amount <= -delivered_wh * cents


@given(
    st.lists(st.tuples(energies_wh, energies_wh, prices_cents), max_size=25),
    st.integers(0, 1_000),
    st.integers(0, 1_000),
    weights,
)
def test_a_day_balances_to_the_last_unit(
    rows: list[tuple[int, int, int]], charge_permille: int, owner_permille: int, weight: list[int]
) -> None:
    statement = day_statement(
        resource_id="r",
        delivery_date="2021-06-15",
        currency="USD",
        intervals=[
            settle_interval(
                start_ns=number,
                end_ns=number + 1,
                award_wh=award_wh,
                delivered_wh=delivered_wh,
                price_cents_per_mwh=cents,
                deviation_charge_permille=charge_permille,
            )
            for number, (award_wh, delivered_wh, cents) in enumerate(rows)
        ],
    )
    parts = statement.award_amount + statement.imbalance_amount - statement.deviation_charge
    assert statement.net_amount == parts
    owners, operator = split_revenue(
        statement.net_amount, owner_share_permille=owner_permille, weight_wh=np.array(weight, dtype=np.int64)
    )
    assert int(sum(owners.tolist())) + operator == statement.net_amount
    assert operator * statement.net_amount >= 0
    assert balance_error(statement, owners, operator) == 0


@given(amounts, st.integers(0, 8))
def test_format_amount_equals_decimal_rounding(amount: int, digits: int) -> None:
    exact = Decimal(amount).scaleb(-8)
    rounded = exact.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_EVEN)
    assert Decimal(format_amount(amount, digits=digits)) == rounded
