"""The steps between stages telescope whatever is summed, and no unit is lost in the shares of sites."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shoal.domain.errors import InvalidInputError
from shoal.settle.attribution import STAGES, Attribution, Stage, attribute, share_steps, together

ENERGY = st.integers(-(10**9), 10**9)
PRICE = st.integers(-100_000, 2_000_000)


@st.composite
def attributions(draw: st.DrawFn, stages: int = 4) -> tuple[Attribution, list[Stage], np.ndarray, int, int]:
    count = draw(st.integers(0, 12))
    price = draw(arrays.arrays(np.int64, count, elements=PRICE))
    made = [
        Stage(
            name=STAGES[k],
            energy_wh=draw(arrays.arrays(np.int64, count, elements=ENERGY)),
            charge_amount=draw(st.none() | arrays.arrays(np.int64, count, elements=st.integers(0, 10**12))),
            carried_wh=draw(st.integers(0, 10**8)),
        )
        for k in range(stages)
    ]
    wear = draw(st.integers(0, 5_000))
    carry = draw(st.integers(-1_000, 20_000))
    done = attribute(
        made, price_cents_per_mwh=price, wear_cents_per_mwh=wear, carry_price_cents_per_mwh=carry
    )
    return done, made, price, wear, carry


@given(attributions())
def test_amounts_equal_those_of_plain_integers(
    case: tuple[Attribution, list[Stage], np.ndarray, int, int],
) -> None:
    done, stages, price, wear, carry = case
    for column, stage in enumerate(stages):
        charges = [0] * len(price) if stage.charge_amount is None else stage.charge_amount.tolist()
        expected = [
            -e * p - max(-e, 0) * wear - c
            for e, p, c in zip(stage.energy_wh.tolist(), price.tolist(), charges, strict=True)
        ]
        assert done.amount[:, column].tolist() == expected
        assert int(done.stage_amount[column]) == sum(expected) + stage.carried_wh * carry


@given(attributions(), st.data())
def test_steps_bring_the_first_stage_to_the_last_in_every_group(
    case: tuple[Attribution, list[Stage], np.ndarray, int, int], data: st.DataObject
) -> None:
    done = case[0]
    assert int(done.stage_amount[0] + done.step_total.sum()) == int(done.stage_amount[-1])
    group_of = data.draw(arrays.arrays(np.int64, len(done.amount), elements=st.integers(0, 2)))
    days = done.by(group_of, 3)
    assert (days.sum(axis=0) + done.carried_amount).tolist() == done.stage_amount.tolist()
    assert (done.amount[:, 0] + done.step_amount.sum(axis=1)).tolist() == done.amount[:, -1].tolist()


@given(attributions(), attributions())
def test_products_and_resources_add_up(
    one: tuple[Attribution, list[Stage], np.ndarray, int, int],
    two: tuple[Attribution, list[Stage], np.ndarray, int, int],
) -> None:
    both = together([one[0], two[0]])
    assert both.stage_amount.tolist() == (one[0].stage_amount + two[0].stage_amount).tolist()


@given(attributions(), st.lists(st.integers(0, 10**6), min_size=1, max_size=8), st.integers())
def test_sites_lose_no_unit(
    case: tuple[Attribution, list[Stage], np.ndarray, int, int], weights: list[int], seed: int
) -> None:
    done = case[0]
    weight = np.array(weights, dtype=np.int64)
    rng = np.random.default_rng(abs(seed))
    site = rng.integers(-(10**12), 10**12, size=len(weight))
    site[-1] += int(done.stage_amount[-1]) - int(site.sum())
    shares = share_steps(done, weight_wh=weight, site_amount=site)
    assert shares.sum(axis=1).tolist() == site.tolist()
    assert shares.sum(axis=0).tolist() == [int(done.stage_amount[0]), *done.step_total.tolist()]


def test_sites_that_do_not_sum_to_the_delivered_amount_are_refused() -> None:
    price = np.array([5_000], dtype=np.int64)
    stages = [
        Stage(name=name, energy_wh=np.array([-1_000], dtype=np.int64)) for name in ("perfect", "delivered")
    ]
    done = attribute(stages, price_cents_per_mwh=price)
    with pytest.raises(InvalidInputError, match="site_amount"):
        share_steps(
            done, weight_wh=np.array([1], dtype=np.int64), site_amount=np.array([4_999_999], dtype=np.int64)
        )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"energy_wh": np.array([1, 2], dtype=np.int64)}, "perfect.energy_wh"),
        ({"energy_wh": np.array([1.0])}, "perfect.energy_wh"),
        ({"charge_amount": np.array([-1], dtype=np.int64)}, "perfect.charge_amount"),
        ({"energy_wh": np.array([2**61], dtype=np.int64)}, "perfect.energy_wh"),
    ],
)
def test_malformed_stages_are_refused_by_name(change: dict[str, Any], field: str) -> None:
    usual = Stage(name="perfect", energy_wh=np.array([1], dtype=np.int64))
    other = Stage(name="delivered", energy_wh=np.array([1], dtype=np.int64))
    with pytest.raises(InvalidInputError, match=field):
        attribute([replace(usual, **change), other], price_cents_per_mwh=np.array([100], dtype=np.int64))
