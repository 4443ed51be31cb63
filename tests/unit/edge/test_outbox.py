"""Store and forward: numbering, forgetting, growing, overflow, messages, checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.errors import CorruptStateError, InvalidInputError
from shoal.domain.telemetry import TELEMETRY, decode, encode
from shoal.edge.outbox import MAX_RECORDS_PER_MESSAGE, Outbox


def samples(sites: int, tick: int) -> NDArray[Any]:
    records = TELEMETRY.empty(sites)
    records["ts_ns"] = tick * 1_000
    records["battery_w"] = np.arange(sites) * 1_000 + tick
    return records


def filled(sites: int, ticks: int, capacity: int = 1_440) -> Outbox:
    outbox = Outbox(sites, capacity)
    for tick in range(1, ticks + 1):
        outbox.add(samples(sites, tick))
    return outbox


def test_samples_are_numbered_from_one_without_holes() -> None:
    outbox = Outbox(3)
    assert outbox.add(samples(3, 1)).tolist() == [1, 1, 1]
    assert outbox.add(samples(2, 2), rows=np.array([2, 0])).tolist() == [2, 2]
    assert outbox.last_seq.tolist() == [2, 1, 2]
    assert outbox.unsent(0)["battery_w"].tolist() == [1, 1_002], "rows are matched with records in order"
    assert outbox.unsent(2)["battery_w"].tolist() == [2_001, 2]


def test_record_given_is_not_changed() -> None:
    records = samples(2, 1)
    before = records.copy()
    Outbox(2).add(records)
    assert np.array_equal(records, before)


def test_durable_forgets_up_to_the_number_and_never_more() -> None:
    outbox = filled(2, 10)
    assert outbox.durable(0, 4) == 4
    assert outbox.durable(0, 3) == 0
    assert outbox.durable(0, -5) == 0
    assert outbox.unsent(0)["seq"].tolist() == [5, 6, 7, 8, 9, 10]
    assert outbox.durable(0, 10**30) == 6, "a number that was never made forgets what there is"
    assert (outbox.oldest_seq[0], outbox.last_seq[0], len(outbox.unsent(0))) == (11, 10, 0)
    assert len(outbox) == 10
    outbox.add(samples(2, 11))
    assert outbox.unsent(0)["seq"].tolist() == [11]


def test_rings_grow_only_when_a_site_falls_behind() -> None:
    outbox = Outbox(4, 1_440)
    small = outbox.allocated_bytes
    for tick in range(1, 1_001):
        outbox.add(samples(4, tick))
        for row in range(4):
            outbox.durable(row, tick - 5)
    assert outbox.allocated_bytes == small
    for tick in range(1_001, 2_001):
        outbox.add(samples(4, tick))
        for row in range(3):
            outbox.durable(row, tick)
    assert outbox.allocated_bytes > small
    assert outbox.unsent(3)["seq"].tolist() == list(range(996, 2_001))
    assert outbox.unsent(3)["battery_w"].tolist() == [3_000 + tick for tick in range(996, 2_001)]
    assert not outbox.lost_by_overflow.any()


def test_overflow_drops_the_oldest_and_counts_it() -> None:
    outbox = filled(2, 100, capacity=70)
    outbox.durable(1, 100)
    outbox.add(samples(2, 101))
    assert outbox.lost_by_overflow.tolist() == [31, 30]
    assert outbox.unsent(0)["seq"].tolist() == list(range(32, 102))
    assert outbox.oldest_seq.tolist() == [32, 101]


def test_memory_of_500_sites_stays_under_60_megabytes() -> None:
    outbox = filled(500, 70)
    assert outbox.allocated_bytes < 10e6
    assert 500 * 1_440 * TELEMETRY.dtype.itemsize < 60e6


def test_messages_since_hold_what_comes_after_a_number() -> None:
    outbox = filled(1, 200)
    outbox.durable(0, 20)
    decoded = [decode(message) for message in outbox.messages_since(0, 0)]
    assert [oldest for _, oldest in decoded] == [21] * 3
    assert [len(records) for records, _ in decoded] == [MAX_RECORDS_PER_MESSAGE] * 3
    assert np.concatenate([records["seq"] for records, _ in decoded]).tolist() == list(range(21, 201))
    first = decode(outbox.messages_since(0, 150, max_records=10)[0])[0]
    assert first["seq"].tolist() == list(range(151, 161))
    assert outbox.messages_since(0, 200) == []
    assert outbox.messages_since(0, 0, max_records=0) == []


def test_latest_messages_are_those_of_the_plain_encoder() -> None:
    outbox = filled(5, 77)
    outbox.durable(3, 40)
    rows = np.array([4, 3, 0])
    plain = [encode(outbox.unsent(row)[-1:], oldest_seq=int(outbox.oldest_seq[row])) for row in rows.tolist()]
    assert outbox.encode_latest(rows) == plain
    assert len(outbox.encode_latest()) == 5


def test_latest_of_a_site_without_samples_is_refused() -> None:
    outbox = Outbox(2)
    outbox.add(samples(1, 1), rows=np.array([0]))
    with pytest.raises(InvalidInputError):
        outbox.encode_latest()


def test_wrong_sizes_are_refused() -> None:
    for sites, capacity in ((0, 5), (5, 0)):
        with pytest.raises(InvalidInputError):
            Outbox(sites, capacity)
    with pytest.raises(InvalidInputError):
        Outbox(3).add(samples(2, 1))


def test_state_survives_a_restart() -> None:
    outbox = filled(3, 300, capacity=200)
    outbox.durable(1, 299)
    outbox.durable(2, 300)
    state = outbox.state()
    assert len(state["records"]) == 201, "only what is held is kept"
    again = Outbox(3, 200)
    again.restore(state)
    for row in range(3):
        assert np.array_equal(again.unsent(row), outbox.unsent(row))
    assert again.lost_by_overflow.tolist() == [100, 100, 100]
    assert again.add(samples(3, 301)).tolist() == [301] * 3


def test_state_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    outbox = filled(2, 5)
    good = outbox.state()
    renumbered = good["records"].copy()
    renumbered["seq"] += 1
    for bad in (
        {},
        filled(3, 5).state(),
        filled(2, 2_000, capacity=2_000).state(),
        {**good, "records": good["records"][:-1]},
        {**good, "records": renumbered},
        {**good, "oldest_seq": good["oldest_seq"] + 9},
    ):
        with pytest.raises(CorruptStateError):
            outbox.restore(bad)
    assert outbox.unsent(1)["seq"].tolist() == [1, 2, 3, 4, 5]
