"""Whose energy it was: groups and no group together have what the sites have, however often they move."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.settle.energy import registers_at
from shoal.twin.layout import Layout
from shoal.twin.membership import (
    NO_GROUP,
    SpanRegisters,
    Spans,
    attribute,
    groups_below,
    roll_up,
    sites_by_group,
    split,
)
from tests.property.twin.fleets import random_fleet

START_NS, END_NS = 1_000, 2_000
FOREVER_NS = 2**63 - 1
GROUPS = 5


def random_memberships(sites: int, seed: int) -> dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Return memberships with gaps, some before, across and after the interval, in no order."""
    random = np.random.default_rng(seed)
    rows: list[tuple[int, int, int, int]] = []
    for site in range(sites):
        cuts = np.unique(random.integers(500, 2_500, int(random.integers(0, 8)))).tolist()
        for begin, end in itertools.pairwise([*cuts, FOREVER_NS]):
            if random.random() < 0.8:
                rows.append((site, int(random.integers(GROUPS)), begin, end))
    columns = np.array(rows, dtype=np.int64).reshape(-1, 4)[random.permutation(len(rows))]
    return dict(zip(("site_row", "group", "from_ns", "until_ns"), columns.T, strict=True))


def spans_of(sites: int, seed: int) -> Spans:
    return split(**random_memberships(sites, seed), sites=sites, start_ns=START_NS, end_ns=END_NS)  # type: ignore[arg-type]


def read_ends(spans: Spans, *, sites: int, **samples: NDArray[np.int64]) -> SpanRegisters:
    """Return the register at both ends of every span."""
    ends_ns = np.stack([spans.start_ns, spans.end_ns], axis=1)
    read = registers_at(**samples, line_row=spans.site_row, at_ns=ends_ns, site_count=sites)
    return SpanRegisters(start_wh=read.register_wh[:, 0], end_wh=read.register_wh[:, 1], known=read.known)


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_spans_cover_every_site_once(sites: int, seed: int) -> None:
    memberships = random_memberships(sites, seed)
    spans = spans_of(sites, seed)
    assert (spans.start_ns < spans.end_ns).all()
    for site in range(sites):
        mine = spans.site_row == site
        starts, ends = spans.start_ns[mine].tolist(), spans.end_ns[mine].tolist()
        assert starts == [START_NS, *ends[:-1]]
        assert ends[-1] == END_NS
    # At any instant: the group that the memberships say, or none.
    for t_ns in np.random.default_rng(seed).integers(START_NS, END_NS, 20).tolist():
        held = dict.fromkeys(range(sites), NO_GROUP)
        valid = (memberships["from_ns"] <= t_ns) & (t_ns < memberships["until_ns"])
        held |= dict(
            zip(memberships["site_row"][valid].tolist(), memberships["group"][valid].tolist(), strict=True)
        )
        now = (spans.start_ns <= t_ns) & (t_ns < spans.end_ns)
        assert dict(zip(spans.site_row[now].tolist(), spans.group[now].tolist(), strict=True)) == held


@settings(max_examples=120, deadline=None)
@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_groups_have_what_the_sites_have(sites: int, seed: int) -> None:
    spans = spans_of(sites, seed)
    random = np.random.default_rng(seed)
    row = random.integers(0, sites, 60)
    ts_ns = random.integers(800, 2_200, 60)
    # A register only grows, whatever the order in which its readings come.
    register_wh = row * 1_000_000 + ts_ns * 37
    registers = read_ends(spans, site_row=row, ts_ns=ts_ns, register_wh=register_wh, sites=sites)
    energy = attribute(spans, registers, groups=GROUPS)

    first, last = spans.start_ns == START_NS, spans.end_ns == END_NS
    total = int(registers.end_wh[last].sum() - registers.start_wh[first].sum())
    assert int(energy.group_wh.sum()) + energy.no_group_wh == total
    assert (energy.group_wh >= 0).all()
    for at in np.flatnonzero(registers.known)[:5].tolist():
        mine = row == spans.site_row[at]
        if spans.start_ns[at] in ts_ns[mine]:
            assert registers.start_wh[at] == spans.site_row[at] * 1_000_000 + spans.start_ns[at] * 37
    assert registers.known.tolist() == np.isin(spans.site_row, row).tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_root_has_what_its_leaves_have_under_moves(sites: int, seed: int) -> None:
    fleet = random_fleet(sites, 1, seed)
    layout = Layout.of(fleet)
    random = np.random.default_rng(seed)
    groups = len(fleet.groups)
    # Everybody moves once, at an instant of his own.
    move_ns = random.integers(START_NS + 1, END_NS, sites)
    sites_rows = np.arange(sites)
    spans = split(
        site_row=np.concatenate([sites_rows, sites_rows]),
        group=random.integers(0, groups, 2 * sites).astype(np.int32),
        from_ns=np.concatenate([np.zeros(sites, dtype=np.int64), move_ns]),
        until_ns=np.concatenate([move_ns, np.full(sites, FOREVER_NS)]),
        sites=sites,
        start_ns=START_NS,
        end_ns=END_NS,
    )
    energy_wh = random.integers(0, 10_000, sites)
    registers = read_ends(
        spans,
        site_row=np.concatenate([sites_rows, sites_rows]),
        ts_ns=np.repeat([START_NS, END_NS], sites),
        register_wh=np.concatenate([np.zeros(sites, dtype=np.int64), energy_wh]),
        sites=sites,
    )
    energy = attribute(spans, registers, groups=groups)
    rolled = layout.roll_groups(energy.group_wh)
    assert roll_up(energy.group_wh, layout.parent_of).tolist() == rolled.tolist()
    roots = layout.parent_of < 0
    assert int(rolled[roots].sum()) == int(energy_wh.sum())
    seen = sites_by_group(spans, layout.parent_of)
    for number in range(groups):
        inside = groups_below(layout.parent_of, number)
        assert seen[number] == len(set(spans.site_row[inside[spans.group]].tolist()))
    for number in range(groups):
        below = rolled[layout.parent_of == number].sum()
        assert rolled[number] == energy.group_wh[number] + below


def test_two_memberships_at_once_are_refused() -> None:
    columns = {
        "site_row": np.array([0, 0]),
        "from_ns": np.array([0, 1_500]),
        "until_ns": np.array([1_501, FOREVER_NS]),
    }
    with pytest.raises(InvalidInputError, match="memberships of site row 0"):
        split(**columns, group=np.array([1, 2], dtype=np.int32), sites=1, start_ns=START_NS, end_ns=END_NS)


def test_readings_that_leave_a_hole_at_a_move_are_refused() -> None:
    spans = Spans(
        site_row=np.array([0, 0]),
        group=np.array([0, 1], dtype=np.int32),
        start_ns=np.array([0, 5]),
        end_ns=np.array([5, 9]),
    )
    registers = SpanRegisters(
        start_wh=np.array([0, 11]), end_wh=np.array([10, 20]), known=np.array([True, True])
    )
    with pytest.raises(InvalidInputError, match="one reading for the instant of a move"):
        attribute(spans, registers, groups=2)


def test_a_register_is_read_between_its_samples() -> None:
    spans = split(
        site_row=np.array([0]),
        group=np.array([3], dtype=np.int32),
        from_ns=np.array([1_250]),
        until_ns=np.array([FOREVER_NS]),
        sites=2,
        start_ns=START_NS,
        end_ns=END_NS,
    )
    registers = read_ends(
        spans,
        site_row=np.array([0, 0, 0]),
        ts_ns=np.array([2_000, 1_000, 1_500]),
        register_wh=np.array([300, 100, 201]),
        sites=2,
    )
    assert registers.start_wh.tolist() == [100, 150, 0]
    assert registers.end_wh.tolist() == [150, 300, 0]
    assert registers.known.tolist() == [True, True, False]
    energy = attribute(spans, registers, groups=GROUPS)
    assert (energy.group_wh.tolist(), energy.no_group_wh) == ([0, 0, 0, 150, 0], 50)
