"""A flip price is where the decision of the plan, solved again, changes: not just before it, and at once beyond it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.optimise.reasons import Decision, decision_of, explain_plan
from shoal.optimise.relax import agree, cap_discharge
from shoal.optimise.relax_limits import Limits, physical_limits, plan_within
from shoal.optimise.storage import Storage, plan_storage
from tests.property.optimise.test_relax_properties import PHASES, floats, storages, wishes_of

Floats = NDArray[np.float64]
PROFILE = settings(deadline=None, max_examples=60, phases=PHASES)


def check_flips(storage: Storage, price: Floats, interval_h: float, limits: Limits | None) -> None:
    def solve(prices: Floats, row: int) -> Decision:
        if limits is None:
            return decision_of(storage, plan_storage(storage, prices, interval_h), row)
        return decision_of(storage, plan_within(storage, prices, interval_h, limits), row)

    plan = (
        plan_storage(storage, price, interval_h)
        if limits is None
        else plan_within(storage, price, interval_h, limits)
    )
    for reason in explain_plan(storage, price, interval_h, plan, limits=limits):
        below, above = reason.charge_below_per_mwh, reason.discharge_above_per_mwh
        own, row = reason.price_per_mwh, reason.row
        step = 1e-5 * (1.0 + abs(own))
        assert below <= above + step, reason
        for threshold, under, over in (
            (below, ("charge",), ("idle", "discharge")),
            (above, ("charge", "idle"), ("discharge",)),
        ):
            tried = price.copy()
            if np.isfinite(threshold):
                hair = 1e-5 * (1.0 + abs(threshold))
                tried[row] = threshold - hair
                assert solve(tried, row) in under, reason
                tried[row] = threshold + hair
                assert solve(tried, row) in over, reason
            else:
                for far in (-5_000.0, 5_000.0):
                    tried[row] = far
                    assert solve(tried, row) in (over if threshold < 0.0 else under), reason
        if reason.flip_per_mwh is None:
            continue
        if abs(reason.flip_per_mwh - own) > 2.0 * step:
            tried = price.copy()
            beyond = 1e-5 * (1.0 + abs(reason.flip_per_mwh)) * np.sign(reason.flip_per_mwh - own)
            tried[row] = reason.flip_per_mwh - beyond
            assert solve(tried, row) == reason.decision, reason
            tried[row] = reason.flip_per_mwh + beyond
            assert solve(tried, row) != reason.decision, reason


prices = st.lists(floats(-60.0, 300.0) | st.sampled_from([0.0, 50.0, 100.0]), min_size=1, max_size=10).map(
    np.array
)


@PROFILE
@given(storage=storages(), price=prices, interval_h=st.sampled_from([1.0, 0.25]))
def test_flip_price_flips_the_decision_of_a_storage_plan(
    storage: Storage, price: Floats, interval_h: float
) -> None:
    check_flips(storage, price, interval_h, None)


@PROFILE
@given(data=st.data(), storage=storages(), price=prices)
def test_flip_price_flips_the_decision_within_limits(
    data: st.DataObject, storage: Storage, price: Floats
) -> None:
    wishes = [w for w in data.draw(wishes_of(storage, price.size)) if w.kind != "discharge_budget"]
    limits = agree(storage, 1.0, wishes, physical=physical_limits(storage, price.size)).limits
    check_flips(storage, price, 1.0, limits)


@settings(deadline=None, max_examples=10, phases=PHASES)
@given(storage=storages(), price=prices, share=st.floats(0.2, 0.8))
def test_flip_price_flips_the_decision_under_a_budget(storage: Storage, price: Floats, share: float) -> None:
    physical = physical_limits(storage, price.size)
    free = plan_within(storage, price, 1.0, physical)
    if (price < 0.0).any() or free.discharge_kw.sum() < 0.1:
        return
    wish = cap_discharge("cycles", share * float(free.discharge_kw.sum()))
    limits = agree(storage, 1.0, [wish], physical=physical).limits
    check_flips(storage, price, 1.0, limits)
