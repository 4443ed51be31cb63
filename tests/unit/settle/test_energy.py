"""Interval energy from registers: exact readings, gaps, ends, silence and size."""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR
from shoal.settle.energy import BoundaryRegisters, boundary_registers, interval_energy


def column(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def registers(
    samples: list[tuple[int, int, int, int]], boundary_ns: list[int], *, site_count: int = 1
) -> BoundaryRegisters:
    """Read `(site_row, ts_ns, charge_wh, discharge_wh)` samples at the boundaries."""
    table = np.array(samples, dtype=np.int64).reshape(-1, 4)
    return boundary_registers(
        site_row=table[:, 0],
        ts_ns=table[:, 1],
        charge_wh=table[:, 2],
        discharge_wh=table[:, 3],
        boundary_ns=column(*boundary_ns),
        site_count=site_count,
    )


def test_energy_is_charge_minus_discharge_at_exact_samples() -> None:
    read = registers([(0, 0, 100, 40), (0, 10, 130, 45), (0, 20, 130, 95)], [0, 10, 20])
    energy = interval_energy(read)
    assert energy.delivered_wh.tolist() == [[25, -50]]
    assert energy.throughput_wh.tolist() == [[35, 50]]
    assert energy.estimated.tolist() == [[False, False]]


def test_boundary_between_samples_is_interpolated_down_and_flagged() -> None:
    read = registers([(0, 0, 0, 0), (0, 3, 10, 7)], [0, 1, 2, 3])
    assert read.charge_wh.tolist() == [[0, 3, 6, 10]]
    assert read.discharge_wh.tolist() == [[0, 2, 4, 7]]
    assert read.estimated.tolist() == [[False, True, True, False]]
    assert interval_energy(read).estimated.tolist() == [[True, True, True]]


def test_boundary_beyond_the_samples_is_held_flat() -> None:
    read = registers([(0, 10, 5, 1), (0, 20, 9, 1)], [0, 10, 20, 30])
    assert read.charge_wh.tolist() == [[5, 5, 9, 9]]
    assert read.estimated.tolist() == [[True, False, False, True]]


def test_silent_site_is_estimated_and_counted_as_silent() -> None:
    read = registers([(1, 0, 7, 0), (1, 10, 9, 0)], [0, 10], site_count=3)
    assert read.sample_count.tolist() == [0, 2, 0]
    assert interval_energy(read).delivered_wh.tolist() == [[0], [2], [0]]
    assert interval_energy(read).estimated.tolist() == [[True], [False], [True]]


def test_no_samples_at_all_is_estimated() -> None:
    read = registers([], [0, 10], site_count=2)
    assert interval_energy(read).estimated.all()
    assert not interval_energy(read).delivered_wh.any()


def test_unsorted_samples_give_the_same_as_sorted() -> None:
    samples = [(0, 0, 0, 0), (0, 7, 11, 3), (0, 20, 30, 9), (1, 0, 5, 5), (1, 13, 6, 25)]
    expected = registers(samples, [0, 5, 15], site_count=2)
    shuffled = registers(samples[::-1], [0, 5, 15], site_count=2)
    assert shuffled.charge_wh.tolist() == expected.charge_wh.tolist()
    assert shuffled.discharge_wh.tolist() == expected.discharge_wh.tolist()


def test_last_of_two_samples_at_one_instant_counts() -> None:
    read = registers([(0, 0, 0, 0), (0, 10, 5, 0), (0, 10, 6, 0)], [0, 10])
    assert read.charge_wh.tolist() == [[0, 6]]
    assert not read.estimated.any()


def test_interpolation_stays_exact_where_int64_would_overflow() -> None:
    end_ns, rise_wh = 90 * 24 * NS_PER_HOUR, 5_000_000_000
    boundary_ns = 61 * 24 * NS_PER_HOUR + 1
    read = registers([(0, 0, 0, 0), (0, end_ns, rise_wh, 1)], [0, boundary_ns, end_ns])
    assert int(read.charge_wh[0, 1]) == rise_wh * boundary_ns // end_ns


@pytest.mark.parametrize(
    "changes",
    [
        {"site_row": column(0, 2)},
        {"site_row": column(-1, 0)},
        {"ts_ns": column(0)},
        {"boundary_ns": column(0)},
        {"boundary_ns": column(5, 5)},
    ],
)
def test_boundary_registers_rejects_what_does_not_fit(changes: dict[str, NDArray[np.int64]]) -> None:
    samples = {
        "site_row": column(0, 1),
        "ts_ns": column(0, 0),
        "charge_wh": column(1, 1),
        "discharge_wh": column(1, 1),
        "boundary_ns": column(0, 10),
    }
    with pytest.raises(InvalidInputError):
        boundary_registers(**(samples | changes), site_count=2)


def test_a_thousand_sites_of_five_thousand_samples_are_quick() -> None:
    sites, samples = 1_000, 5_000
    step_ns = 24 * NS_PER_HOUR // samples
    site_row = np.repeat(np.arange(sites, dtype=np.int64), samples)
    ts_ns = np.tile(np.arange(samples, dtype=np.int64) * step_ns, sites)
    charge_wh = np.tile(np.arange(samples, dtype=np.int64) * 3, sites)
    discharge_wh = charge_wh // 2
    boundary_ns = np.arange(25, dtype=np.int64) * NS_PER_HOUR
    began_s = time.process_time()
    energy = interval_energy(
        boundary_registers(
            site_row=site_row,
            ts_ns=ts_ns,
            charge_wh=charge_wh,
            discharge_wh=discharge_wh,
            boundary_ns=boundary_ns,
            site_count=sites,
        )
    )
    spent_s = time.process_time() - began_s
    assert int(energy.delivered_wh[0].sum()) == int(charge_wh[samples - 1] - discharge_wh[samples - 1])
    assert spent_s < 1.0  # 0.3 s is the aim; the bound leaves room for a busy machine


def test_a_reading_that_runs_backwards_is_set_aside() -> None:
    """A dip and a leap: neither is believed, whatever stands around them is."""
    samples = [(0, 0, 100, 0), (0, 10, 110, 0), (0, 20, 3, 0), (0, 30, 130, 0), (0, 40, 9_999, 0)]
    samples += [(0, 50, 150, 0), (0, 60, 160, 0)]
    sound = [sample for sample in samples if sample[2] not in (3, 9_999)]
    boundaries = [0, 20, 40, 60]
    read, wanted = registers(samples, boundaries), registers(sound, boundaries)
    assert read.charge_wh.tolist() == wanted.charge_wh.tolist() == [[100, 120, 140, 160]]
    assert read.estimated.tolist() == [[False, True, True, False]]


def test_after_a_change_of_meters_the_longer_series_counts() -> None:
    read = registers(
        [(0, t, 500 + t, 0) for t in range(10)] + [(0, t, t, 0) for t in range(10, 40)], [0, 10, 39]
    )
    assert read.charge_wh.tolist() == [[10, 10, 39]]


def test_registers_that_come_by_turns_are_each_read_from_their_own_samples() -> None:
    read = registers([(0, 0, 100, -1), (0, 5, -1, 40), (0, 10, 120, -1), (0, 15, -1, 60)], [0, 5, 10])
    assert read.charge_wh.tolist() == [[100, 110, 120]]
    assert read.discharge_wh.tolist() == [[40, 40, 50]]


def test_a_register_that_a_site_does_not_have_counts_as_nothing() -> None:
    read = registers([(0, 0, 100, -1), (0, 10, 120, -1)], [0, 10])
    assert read.discharge_wh.tolist() == [[0, 0]]
    assert not read.estimated.any()


def test_lines_have_boundaries_of_their_own() -> None:
    """A site that leaves at 4 and comes again at 8: each of its lines rests where it is not there."""
    read = boundary_registers(
        site_row=column(0, 0),
        ts_ns=column(0, 10),
        charge_wh=column(0, 100),
        discharge_wh=column(0, 0),
        boundary_ns=np.array([[0, 4, 4], [8, 8, 10]]),
        line_row=column(0, 0),
        site_count=1,
    )
    assert interval_energy(read).delivered_wh.tolist() == [[40, 0], [0, 20]]
