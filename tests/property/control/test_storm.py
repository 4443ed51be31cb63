"""Storms in any order: every site gets back exactly what it had, nobody outside is touched, the highest level holds."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.control.storm import (
    OwnerChanged,
    Prior,
    Restored,
    StandingAlert,
    StormPolicy,
    StormSites,
    StormState,
    Touched,
    step_storm,
)
from shoal.domain.interval import Interval

COUNT = 6
POLICY = StormPolicy()

alerts = st.dictionaries(
    st.sampled_from("abcd"),
    st.tuples(
        st.integers(0, 30),
        st.integers(1, 15),
        st.sampled_from([0.5, 0.8, 1.0]),
        st.frozensets(st.integers(0, COUNT - 1)),
    ),
    max_size=4,
)


@settings(max_examples=120, deadline=None)
@given(
    script=st.lists(
        st.tuples(alerts, st.dictionaries(st.integers(0, COUNT - 1), st.floats(0, 1))), max_size=25
    )
)
def test_priors_come_back_exactly_and_nobody_outside_is_touched(
    script: list[tuple[dict[str, tuple[int, int, float, frozenset[int]]], dict[int, float]]],
) -> None:
    owned = {f"site-{row}": 0.1 + row / 20 for row in range(COUNT)}
    mode = {f"site-{row}": ("price", "local")[row % 2] for row in range(COUNT)}
    state = StormState()
    taken: set[str] = set()
    for t_ns, (standing, chosen) in enumerate([*script, ({}, {})]):
        changes = []
        for row, reserve in chosen.items():
            owned[f"site-{row}"] = reserve
            changes.append(OwnerChanged(site_id=f"site-{row}", reserve_frac=reserve))
        sites = StormSites(
            site_ids=list(owned),
            # a device that knows a reserve only shows the storm's level while it has it
            reserve_frac=np.array([1.0 if site in taken else owned[site] for site in owned]),
            mode=["schedule" if site in taken else mode[site] for site in owned],
            charge_w=np.array([0] + [5_000] * (COUNT - 1)),
            capacity_wh=np.full(COUNT, 10_000.0),
            energy_wh=np.full(COUNT, 5_000.0),
        )
        seen = [
            StandingAlert(
                key=key,
                hold=Interval(start_ns=start, end_ns=start + length),
                soc_frac=level,
                rows=np.array(sorted(rows), dtype=np.int64),
            )
            for key, (start, length, level, rows) in standing.items()
        ]
        state = StormState.restored(state.kept())
        state, step = step_storm(state, changes, t_ns=t_ns, standing=seen, sites=sites, policy=POLICY)
        inside = {
            f"site-{row}"
            for start, length, _, rows in standing.values()
            for row in rows
            if start <= t_ns < start + length and row != 0
        }
        for change in step.changes:
            assert change.prior == Prior(reserve_frac=owned[change.site_id], mode=mode[change.site_id]), (
                "what comes back is what the owner wants"
            )
            if isinstance(change, Touched):
                assert change.site_id not in taken
                taken.add(change.site_id)
            else:
                assert isinstance(change, Restored)
                taken.remove(change.site_id)
        assert taken == inside == set(state.prior_of)
        assert {f"site-{row}" for row in np.flatnonzero(step.held).tolist()} == inside
        for entry in step.entries:
            _, _, _, rows = standing[entry.key.removeprefix("storm-")]
            assert set(entry.rows.tolist()) == set(rows) - {0}
    assert not taken
