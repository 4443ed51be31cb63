"""Money of a day, by hand-computed examples."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.settle.statement import (
    AMOUNT_PER_CURRENCY,
    SettledInterval,
    balance_error,
    day_statement,
    format_amount,
    price_cents_per_mwh,
    settle_interval,
    share_among_sites,
    split_revenue,
)


def settled(award_wh: int, delivered_wh: int, price_cents: int, *, start_ns: int = 0) -> SettledInterval:
    return settle_interval(
        start_ns=start_ns,
        end_ns=start_ns + 10,
        award_wh=award_wh,
        delivered_wh=delivered_wh,
        price_cents_per_mwh=price_cents,
        deviation_charge_permille=100,
    )


def test_sale_delivered_as_awarded_is_income() -> None:
    interval = settled(-2_000_000, -2_000_000, 5_000)  # 2 MWh sold at 50.00
    assert interval.award_amount == 100 * AMOUNT_PER_CURRENCY
    assert interval.imbalance_amount == 0
    assert interval.deviation_charge == 0
    assert format_amount(interval.net_amount) == "100.00"


def test_purchase_is_a_payment_and_income_at_a_negative_price() -> None:
    assert format_amount(settled(1_000_000, 1_000_000, 2_000).net_amount) == "-20.00"
    assert format_amount(settled(1_000_000, 1_000_000, -2_000).net_amount) == "20.00"


def test_short_delivery_buys_back_and_pays_the_charge() -> None:
    interval = settled(-2_000_000, -1_500_000, 5_000)  # 0.5 MWh short at 50.00
    assert format_amount(interval.imbalance_amount) == "-25.00"
    assert format_amount(interval.deviation_charge) == "2.50"
    assert format_amount(interval.net_amount) == "72.50"


def test_deviation_at_a_negative_price_still_pays_the_charge() -> None:
    interval = settled(-1_000_000, 0, -4_000)  # sold 1 MWh at -40.00, delivered nothing
    assert format_amount(interval.award_amount) == "-40.00"
    assert format_amount(interval.imbalance_amount) == "40.00"
    assert format_amount(interval.deviation_charge) == "4.00"


def test_deviation_charge_is_rounded_against_the_participant() -> None:
    assert settled(0, 1, 1).deviation_charge == 1
    assert settled(0, -11, 1).deviation_charge == 2
    assert settled(0, 10, 1).deviation_charge == 1


def test_settle_interval_rejects_a_charge_out_of_range() -> None:
    with pytest.raises(InvalidInputError, match="permille"):
        settle_interval(
            start_ns=0,
            end_ns=1,
            award_wh=0,
            delivered_wh=0,
            price_cents_per_mwh=1,
            deviation_charge_permille=1_001,
        )


def test_day_statement_sums_and_refuses_overlap() -> None:
    intervals = [settled(-100, -90, 500), settled(200, 200, -300, start_ns=10)]
    statement = day_statement(
        resource_id="north", delivery_date="2021-06-15", currency="USD", intervals=intervals
    )
    assert statement.award_wh == 100
    assert statement.delivered_wh == 110
    assert statement.award_amount == 100 * 500 + 200 * 300
    assert statement.imbalance_amount == -10 * 500
    assert statement.deviation_charge == 500
    assert statement.net_amount == 50_000 + 60_000 - 5_000 - 500
    with pytest.raises(InvalidInputError, match="intervals"):
        day_statement(
            resource_id="north", delivery_date="2021-06-15", currency="USD", intervals=intervals[::-1]
        )


def test_statement_survives_json() -> None:
    statement = day_statement(
        resource_id="north", delivery_date="2021-06-15", currency="USD", intervals=[settled(-100, -90, 500)]
    )
    assert msgspec.json.decode(msgspec.json.encode(statement), type=type(statement)) == statement


def test_share_gives_ties_to_the_lower_row() -> None:
    assert share_among_sites(10, np.array([1, 1, 1])).tolist() == [4, 3, 3]
    assert share_among_sites(-10, np.array([1, 1, 1])).tolist() == [-4, -3, -3]
    assert share_among_sites(11, np.array([1, 1, 1])).tolist() == [4, 4, 3]


def test_share_gives_leftovers_to_the_largest_remainder() -> None:
    assert share_among_sites(10, np.array([5, 3, 1])).tolist() == [6, 3, 1]  # 5.56, 3.33, 1.11


def test_share_of_all_zero_weights_is_equal() -> None:
    assert share_among_sites(7, np.array([0, 0, 0])).tolist() == [3, 2, 2]


def test_share_gives_nothing_to_a_site_without_weight() -> None:
    assert share_among_sites(8, np.array([0, 3, 0, 3, 3])).tolist() == [0, 3, 0, 3, 2]


@pytest.mark.parametrize(
    ("amount", "weights"), [(1, []), (1, [1, -1]), (2**63, [1])], ids=["no site", "negative", "too large"]
)
def test_share_rejects_what_it_cannot_split(amount: int, weights: list[int]) -> None:
    with pytest.raises(InvalidInputError):
        share_among_sites(amount, np.array(weights, dtype=np.int64))


def test_split_revenue_leaves_the_rounding_to_the_operator() -> None:
    owners, operator = split_revenue(1_001, owner_share_permille=700, weight_wh=np.array([3, 1]))
    assert owners.tolist() == [525, 175]
    assert operator == 301


def test_split_revenue_of_a_loss_is_a_loss_for_both() -> None:
    owners, operator = split_revenue(-1_001, owner_share_permille=700, weight_wh=np.array([3, 1]))
    assert owners.tolist() == [-525, -175]
    assert operator == -301


def test_balance_error_sees_a_lost_unit_and_a_wrong_total() -> None:
    statement = day_statement(
        resource_id="north", delivery_date="2021-06-15", currency="USD", intervals=[settled(-100, -90, 500)]
    )
    owners, operator = split_revenue(
        statement.net_amount, owner_share_permille=700, weight_wh=np.array([1, 2])
    )
    assert balance_error(statement, owners, operator) == 0
    assert balance_error(statement, owners, operator - 1) == 1
    forged = msgspec.structs.replace(statement, net_amount=statement.net_amount + 3)
    assert balance_error(forged, owners, operator + 3) == 3


@pytest.mark.parametrize(
    ("amount", "digits", "text"),
    [
        (0, 2, "0.00"),
        (123_456_789_012, 2, "1234.57"),
        (123_456_789_012, 8, "1234.56789012"),
        (-123_456_789_012, 0, "-1235"),
        (-499_999, 2, "0.00"),
        (-500_000, 2, "0.00"),
        (1_500_000, 2, "0.02"),
        (2_500_000, 2, "0.02"),
        (-2_500_001, 2, "-0.03"),
        (5, 8, "0.00000005"),
    ],
)
def test_format_amount_rounds_halves_to_even(amount: int, digits: int, text: str) -> None:
    assert format_amount(amount, digits=digits) == text


def test_price_cents_are_whole() -> None:
    assert price_cents_per_mwh(23.450000762939453) == 2345
    assert price_cents_per_mwh(-0.29) == -29
    with pytest.raises(InvalidInputError):
        price_cents_per_mwh(float("nan"))
