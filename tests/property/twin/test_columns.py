"""The twins against the plainest model, record by record: verdicts, times, flags, values and what is complete."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_S
from shoal.domain.telemetry import TELEMETRY, DeviceType, Flag
from shoal.twin.clockrule import ClockRule
from shoal.twin.columns import Applied, Twins
from shoal.twin.layout import PLATE, Layout
from shoal.twin.plausible import Plausibility
from shoal.twin.row import NEVER, TWIN
from shoal.twin.window import DEFERRED, DUPLICATE, NEW, REFUSED, WINDOW
from tests.property.twin.plain import REGISTERS, SIGNALS, PlainTwin, apply_plainly
from tests.property.twin.streams import START_NS, Batch, joined, make_stream

DEVICES = 4
CLOCK = ClockRule()
RULE = Plausibility(still_ns=14 * 2 * NS_PER_S)
"""Stuck sensors show within minutes, so that the streams have some."""


def make_plates() -> NDArray[np.void]:
    plates = np.zeros(2, dtype=PLATE)
    for name, value in (("charge_w", 5_000), ("discharge_w", 5_000), ("solar_w", 6_000), ("ev_w", 11_000)):
        plates[name] = value
    plates["capacity_wh"], plates["reserve_wh"] = 13_500, 2_700
    plates["device_type"] = [DeviceType.HOME, DeviceType.METER]
    return plates


def make_layout(sites: int = DEVICES) -> Layout:
    none = np.empty(0, dtype=np.int32)
    return Layout(
        cell_of=np.zeros(sites, dtype=np.int32),
        cells=1,
        plate_of=(np.arange(sites) % 4 == 3).astype(np.int32),
        plates=make_plates(),
        groups=0,
        hierarchies=(),
        leaf_of=np.empty((0, 1), dtype=np.int32),
        parent_of=none,
        bottom_up=none,
        version=1,
    )


def make_twins(sites: int = DEVICES) -> Twins:
    return Twins(sites, layout=make_layout(sites), clock=CLOCK, plausibility=RULE)


def plain_twins(sites: int = DEVICES) -> list[PlainTwin]:
    layout = make_layout(sites)
    limits = RULE.limits(layout.plates)
    return [PlainTwin(limits[layout.plate_of[row]], CLOCK, RULE) for row in range(sites)]


def assert_same_state(twins: Twins, plain: list[PlainTwin]) -> None:
    latest = twins.latest()
    for row, site in enumerate(plain):
        packed = twins.rows[row]
        assert packed["base"] == site.base()
        assert {site.base() + 1 + k for k in range(WINDOW) if int(packed["mask"]) >> k & 1} == site.early()
        assert latest["ts_ns"][row] == site.ts_ns
        if site.ts_ns:
            assert latest["seq"][row] == site.top()
        for name, value in site.values.items():
            if name == "soc_frac":
                assert latest[name][row] == pytest.approx(value, abs=1e-4)
            else:
                assert latest[name][row] == value, name
        assert latest["flags"][row] == site.flags
        assert int(packed["flags"]) >> 12 == site.still
        suspects = {name for k, name in enumerate(SIGNALS) if int(packed["flags"]) >> 8 & 1 << k}
        assert suspects == site.suspects
        for name in SIGNALS:
            assert packed[name.replace("_w", "_behind")] == site.behind.get(name, NEVER), name
    tell, seqs = twins.newly_durable()
    assert dict(zip(tell.tolist(), seqs.tolist(), strict=True)) == {
        row: site.base() for row, site in enumerate(plain) if site.to_tell
    }
    for site in plain:
        site.to_tell = False


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_kernel_equals_the_plain_twin_on_random_streams(seed: int, honest: bool) -> None:
    twins, plain = make_twins(), plain_twins()
    for batch in make_stream(seed, devices=DEVICES, honest=honest):
        lost_before = sum(site.lost for site in plain)
        expected = apply_plainly(plain, *batch.copy())
        applied = twins.apply(*batch)
        assert applied.verdict.tolist() == [judged.verdict for judged in expected]
        assert batch.records["ts_ns"].tolist() == [judged.ts_ns for judged in expected]
        assert batch.records["flags"].tolist() == [judged.flags for judged in expected]
        assert applied.lost == sum(site.lost for site in plain) - lost_before
        losing = {n: judged.lost for n, judged in enumerate(expected) if judged.lost}
        assert dict(zip(applied.losing_position.tolist(), applied.each_lost.tolist(), strict=True)) == losing
        new = [judged for judged in expected if judged.verdict == NEW]
        assert applied.flagged() == {flag: sum(bool(j.flags & flag) for j in new) for flag in Flag}
        assert_same_state(twins, plain)
    assert twins.accounted() == sum(site.base() + len(site.early()) for site in plain)
    rows, first = twins.missing()
    holes = {
        row: site.base() + 1 for row, site in enumerate(plain) if site.early() or site.top() > site.base()
    }
    assert dict(zip(rows.tolist(), first.tolist(), strict=True)) == holes


def test_streams_reach_every_flag_and_verdict() -> None:
    """The property above is worth nothing if its streams are tame."""
    flags: set[Flag] = set()
    verdicts: set[int] = set()
    lost = 0
    for seed in range(12):
        twins = make_twins()
        for batch in make_stream(seed, devices=DEVICES):
            applied = twins.apply(*batch)
            flags |= {flag for flag, count in applied.flagged().items() if count}
            verdicts |= set(applied.verdict.tolist())
            lost += applied.lost
    assert flags == set(Flag)
    assert verdicts == {NEW, DUPLICATE, DEFERRED, REFUSED}
    assert lost > 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_replay_in_other_batches_and_after_a_restart_gives_the_same(seed: int, cuts: int) -> None:
    """The state is a function of the journal: messages stay whole, batches and restarts do not matter."""
    batches = list(make_stream(seed, devices=DEVICES, steps=20))
    once = make_twins()
    verdicts = [once.apply(*batch.copy()).verdict for batch in batches]
    random = np.random.default_rng(cuts)
    whole = joined(batches)
    starts = [
        0,
        *(np.flatnonzero(np.diff(whole.arrival_ns) | np.diff(whole.rows)) + 1).tolist(),
        len(whole.rows),
    ]
    chosen = sorted({0, len(whole.rows), *(starts[i] for i in random.integers(0, len(starts), 12))})
    twins, again = make_twins(), []
    for start, end in pairwise(chosen):
        again.append(twins.apply(*whole.part(start, end)).verdict)
        if random.random() < 0.5:
            state = twins.state()
            twins = make_twins()
            order = random.permutation(DEVICES)
            twins.restore(state[order], order)
    assert np.concatenate(again).tolist() == np.concatenate(verdicts).tolist()
    assert twins.rows.tobytes() == once.rows.tobytes()


def plain_batch(*seqs: int, oldest: int = 1, at_s: int | None = None) -> Batch:
    """Return samples of site 0, one message each, ten seconds apart."""
    records = TELEMETRY.empty(len(seqs))
    records["seq"] = seqs
    records["ts_ns"] = START_NS + records["seq"] * 10 * NS_PER_S
    records["load_w"] = 100 + records["seq"] % 1_000
    arrival = records["ts_ns"] + 1 if at_s is None else np.full(len(seqs), START_NS + at_s * NS_PER_S)
    return Batch(
        rows=np.zeros(len(seqs), dtype=np.int64),
        records=records,
        oldest_seq=np.minimum(oldest, records["seq"]),
        arrival_ns=arrival,
        usable=np.ones(len(seqs), dtype=np.bool_),
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 150), st.integers(0, 2**32 - 1), st.integers(1, WINDOW - 4))
@example(1, 0, 1)
def test_each_sample_is_taken_once_however_disordered(count: int, seed: int, reach: int) -> None:
    random = np.random.default_rng(seed)
    numbers = np.repeat(np.arange(1, count + 1), random.integers(1, 4, count))
    order = np.argsort(numbers + random.uniform(0, reach, len(numbers)), kind="stable")
    twins = make_twins()
    batch = plain_batch(*numbers[order].tolist())
    applied = twins.apply(*batch)
    taken = [int(n) for n, verdict in zip(numbers[order], applied.verdict, strict=True) if verdict == NEW]
    assert sorted(taken) == list(range(1, count + 1))
    assert (applied.lost, applied.deferred, applied.new) == (0, 0, count)
    assert twins.accounted() == count
    assert twins.latest()["seq"][0] == count
    assert twins.latest()["load_w"][0] == 100 + count


def test_backfill_of_an_outage_lands_once_and_never_disturbs_the_live_view() -> None:
    """After an hour of silence the device sends its newest first, then what it kept, oldest first, twice."""
    twins = make_twins()
    assert twins.apply(*plain_batch(1, 2, 3)).new == 3
    now_s = 4_000
    live = twins.apply(*plain_batch(400, at_s=now_s))
    assert live.verdict.tolist() == [DEFERRED]
    assert twins.latest()["load_w"][0] == 500, "the live view does not wait for the hole"
    assert [part.tolist() for part in twins.missing()] == [[0], [4]]
    taken: list[int] = []
    for first in (*range(4, 401, 25), *range(4, 401, 25)):
        numbers = range(first, min(first + 25, 401))
        batch = plain_batch(*numbers, at_s=now_s + 10)
        applied = twins.apply(*batch)
        for n, verdict, flags in zip(numbers, applied.verdict, batch.records["flags"], strict=True):
            if verdict == NEW:
                taken.append(n)
                assert bool(flags & Flag.BACKFILL) == (n * 10 < now_s + 10 - 180)
        assert twins.latest()["seq"][0] == 400
        assert twins.latest()["load_w"][0] == 500
    assert taken == list(range(4, 401))
    assert twins.rows["base"][0] == 400
    assert len(twins.missing()[0]) == 0


def test_set_aside_sample_leaves_no_hole() -> None:
    twins = make_twins()
    batch = plain_batch(*range(1, 200))._replace(usable=np.arange(1, 200) != 3)
    applied = twins.apply(*batch)
    assert np.flatnonzero(applied.verdict != NEW).tolist() == [2]
    assert applied.verdict[2] == REFUSED
    assert twins.rows["base"][0] == 199


def test_numbers_beyond_the_range_are_refused_and_change_nothing() -> None:
    twins = make_twins()
    before = twins.state()
    batch = plain_batch(1, 2)
    batch.records["seq"] = [0, 2**32 - 1]
    assert twins.apply(*batch).verdict.tolist() == [REFUSED, REFUSED]
    assert twins.rows.tobytes() == before.tobytes()


def test_largest_number_is_the_last_one() -> None:
    twins = make_twins()
    last = 2**32 - 2
    batch = plain_batch(last - 1, last, last, oldest=last - 1)
    batch.records["ts_ns"] = START_NS + np.arange(3) * NS_PER_S
    assert twins.apply(*batch._replace(arrival_ns=batch.records["ts_ns"] + 1)).verdict.tolist() == [
        NEW,
        NEW,
        DUPLICATE,
    ]
    assert twins.rows["base"][0] == last


def test_huge_registers_are_kept_to_the_kilowatt_hour() -> None:
    twins = make_twins()
    batch = plain_batch(1, 2, 3)
    registers = np.array([2**36 - 1, 2**36 + 1_999, 5 * 10**13 + 7], dtype=np.int64)
    for name in REGISTERS:
        batch.records[name] = registers
    for k, expected in enumerate((2**36 - 1, (2**36 + 1_999) // 1_000 * 1_000, 5 * 10**13)):
        applied: Applied = twins.apply(*batch.part(k, k + 1))
        assert applied.flagged()[Flag.REGISTER_BACKWARDS] == 0
        assert [int(twins.latest()[name][0]) for name in REGISTERS] == [expected] * 4
    back = plain_batch(4)
    for name in REGISTERS:
        back.records[name] = 5 * 10**13 - 1
    assert twins.apply(*back).flagged()[Flag.REGISTER_BACKWARDS] == 1


def test_every_charge_of_the_wire_comes_back_as_it_was() -> None:
    tenthousandths = np.arange(-10, 10_011)
    twins = Twins(len(tenthousandths))
    records = TELEMETRY.empty(len(tenthousandths))
    records["soc_frac"] = tenthousandths / 10_000
    records["seq"], records["ts_ns"] = 1, START_NS
    ones = np.ones(len(records), dtype=np.int64)
    twins.apply(np.arange(len(records)), records, ones, records["ts_ns"] + ones)
    assert twins.latest()["soc_frac"].tolist() == records["soc_frac"].tolist()


def test_twins_refuse_what_would_corrupt_them() -> None:
    twins = make_twins()
    batch = plain_batch(1)
    for row in (-1, DEVICES):
        with pytest.raises(InvalidInputError, match="rows"):
            twins.apply(*batch._replace(rows=np.array([row])))
    sealed: NDArray[Any] = np.frombuffer(batch.records.tobytes(), dtype=TELEMETRY.dtype)
    with pytest.raises(InvalidInputError, match="read-only"):
        twins.apply(*batch._replace(records=sealed))
    with pytest.raises(InvalidInputError, match="another version"):
        twins.restore(np.zeros(DEVICES, dtype=TELEMETRY.dtype))
    with pytest.raises(InvalidInputError, match="layout"):
        Twins(DEVICES + 1, layout=make_layout())


def test_twin_fills_one_line_of_memory() -> None:
    twins = Twins(1_000)
    assert TWIN.itemsize == 64
    assert twins.nbytes == 64_000
    assert twins.rows.ctypes.data % 64 == 0
    assert len(twins) == 1_000
    assert twins.apply(*plain_batch()).verdict.tolist() == []
