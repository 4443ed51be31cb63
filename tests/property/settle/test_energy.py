"""Registers telescope: whatever the gaps, the intervals of a site add up to its register difference."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.settle.energy import boundary_registers, interval_energy, registers_at

Sample = tuple[int, int, int]

sites_samples = st.lists(
    st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, 10**5), st.integers(0, 10**5)),
        max_size=12,
        unique_by=lambda sample: sample[0],
    ),
    min_size=1,
    max_size=5,
)
boundaries = st.lists(st.integers(-(10**5), 11 * 10**5), min_size=2, max_size=10, unique=True).map(sorted)


def cumulated(samples: list[Sample]) -> list[Sample]:
    """Return the samples in order of time, their increments turned into registers."""
    charge_wh = discharge_wh = 0
    out: list[Sample] = []
    for ts_ns, charged_wh, discharged_wh in sorted(samples):
        charge_wh, discharge_wh = charge_wh + charged_wh, discharge_wh + discharged_wh
        out.append((ts_ns, charge_wh, discharge_wh))
    return out


def plain_register(samples: list[Sample], which: int, at_ns: int) -> int:
    """Return a register at an instant, one sample at a time."""
    if not samples:
        return 0
    after = bisect_right([sample[0] for sample in samples], at_ns)
    if after == 0 or after == len(samples):
        return samples[max(after - 1, 0)][which]
    (t0, r0), (t1, r1) = ((s[0], s[which]) for s in samples[after - 1 : after + 1])
    return r0 + (r1 - r0) * (at_ns - t0) // (t1 - t0)


@given(sites_samples, boundaries)
def test_intervals_telescope_and_equal_a_plain_reading(
    per_site: list[list[Sample]], boundary_ns: list[int]
) -> None:
    sites = [cumulated(samples) for samples in per_site]
    flat = np.array([(row, *s) for row, site in enumerate(sites) for s in site], dtype=np.int64).reshape(
        -1, 4
    )
    registers = boundary_registers(
        site_row=flat[:, 0],
        ts_ns=flat[:, 1],
        charge_wh=flat[:, 2],
        discharge_wh=flat[:, 3],
        boundary_ns=np.array(boundary_ns, dtype=np.int64),
        site_count=len(sites),
    )
    energy = interval_energy(registers)
    for row, site in enumerate(sites):
        charge_wh = [plain_register(site, 1, at_ns) for at_ns in boundary_ns]
        discharge_wh = [plain_register(site, 2, at_ns) for at_ns in boundary_ns]
        assert registers.charge_wh[row].tolist() == charge_wh
        assert registers.discharge_wh[row].tolist() == discharge_wh
        net_wh = charge_wh[-1] - charge_wh[0] - discharge_wh[-1] + discharge_wh[0]
        assert int(energy.delivered_wh[row].sum()) == net_wh
        exact = {sample[0] for sample in site}
        assert registers.estimated[row].tolist() == [at_ns not in exact for at_ns in boundary_ns]
        assert registers.sample_count[row] == len(site)
    assert (energy.throughput_wh >= np.abs(energy.delivered_wh)).all()


@settings(deadline=None)  # the kernel is compiled at first
@given(st.lists(st.integers(0, 30), min_size=1, max_size=12))
def test_as_few_readings_as_possible_are_set_aside(readings: list[int]) -> None:
    register_wh = np.array(readings, dtype=np.int64)
    ts_ns = np.arange(len(readings), dtype=np.int64)
    read = registers_at(
        site_row=np.zeros(len(readings), dtype=np.int64),
        ts_ns=ts_ns,
        register_wh=register_wh,
        line_row=np.zeros(1, dtype=np.int64),
        at_ns=ts_ns[None],
        site_count=1,
    )
    assert (np.diff(read.register_wh[0]) >= 0).all()
    # the longest series without a fall, one reading at a time
    longest: list[int] = []
    for at, value in enumerate(readings):
        longest.append(1 + max((longest[i] for i in range(at) if readings[i] <= value), default=0))
    assert int((~read.estimated[0]).sum()) == max(longest)
    believed = ~read.estimated[0]
    assert read.register_wh[0][believed].tolist() == register_wh[believed].tolist()
