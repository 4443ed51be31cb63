"""Store and forward: numbering, forgetting, growing, overflow, messages, checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.errors import CorruptStateError, InvalidInputError
from shoal.domain.telemetry import ALL_PRESENT, PRESENT_OF, TELEMETRY, DeviceType, mask_of
from shoal.domain.wire import MAX_MESSAGE_BYTES, decode, encode
from shoal.edge.outbox import MAX_RECORDS_PER_BATCH, MAX_RECORDS_PER_MESSAGE, Outbox


def samples(sites: int, tick: int) -> NDArray[Any]:
    records = TELEMETRY.empty(sites)
    records["ts_ns"] = tick * 1_000_000
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
    assert [set(oldest.tolist()) for _, oldest, _ in decoded] == [{21}] * 3
    assert [len(records) for records, _, _ in decoded] == [MAX_RECORDS_PER_MESSAGE] * 3
    assert np.concatenate([records["seq"] for records, _, _ in decoded]).tolist() == list(range(21, 201))
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


@pytest.mark.parametrize("version", [1, 2])
def test_sites_send_what_their_devices_measure_in_the_version_agreed(version: int) -> None:
    kinds = [DeviceType.HOME, DeviceType.METER, DeviceType.HOME, DeviceType.EV_CHARGER]
    present = np.array([PRESENT_OF[kind] for kind in kinds], dtype=np.uint16)
    outbox = Outbox(4, present=present, version=version)
    for tick in range(1, 4):
        outbox.add(samples(4, tick))
    assert outbox.unsent(1)["present"].tolist() == [present[1]] * 3
    rows = np.array([3, 1, 0, 2, 1])
    latest = outbox.encode_latest(rows, count=2)
    assert latest == [outbox.messages_since(row, 1)[0] for row in rows.tolist()]
    for row, message in zip(rows.tolist(), latest, strict=True):
        records, oldest_seq, _ = decode(message)
        assert records["seq"].tolist() == [2, 3]
        assert oldest_seq.tolist() == [1, 1]
        measured = int(present[row]) if version == 2 else ALL_PRESENT
        assert records["present"].tolist() == [measured, measured]
        assert records["battery_w"].any() == bool(measured & mask_of("battery_w"))


def test_device_that_was_off_for_weeks_sends_two_messages() -> None:
    outbox = Outbox(1)
    for day in (0, 1, 40, 41):
        records = samples(1, 1)
        records["ts_ns"] = 10**18 + day * 86_400 * 10**9
        outbox.add(records)
    decoded = [decode(message)[0]["seq"].tolist() for message in outbox.messages_since(0, 0)]
    assert decoded == [[1, 2], [3, 4]]


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
    with pytest.raises(InvalidInputError):
        Outbox(3, present=np.zeros(2, dtype=np.uint16))


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


def test_site_can_be_spoken_for_in_another_version() -> None:
    outbox = filled(3, 2)
    assert outbox.speak(1, 1)
    assert not outbox.speak(1, 1)
    latest = outbox.encode_latest(None, 2)
    assert [message[2] for message in latest] == [2, 1, 2]
    assert latest[1] == outbox.messages_since(1, 0)[0]
    for row, message in enumerate(latest):
        assert decode(message)[0]["battery_w"].tolist() == [row * 1_000 + 1, row * 1_000 + 2]
    assert outbox.speak(1, 2)
    assert {message[2] for message in outbox.encode_latest()} == {2}
    with pytest.raises(InvalidInputError):
        outbox.speak(0, 3)


def test_gateway_says_for_each_site_what_it_has_not_said() -> None:
    present = np.array(
        [PRESENT_OF[kind] for kind in (DeviceType.HOME, DeviceType.METER, DeviceType.HOME, DeviceType.METER)],
        dtype=np.uint16,
    )
    outbox = Outbox(4, present=present)
    for tick in range(1, 6):
        outbox.add(samples(4, tick))
    outbox.durable(3, 2)
    rows, units = np.array([3, 0, 1]), np.array([40, 10, 20])
    messages = outbox.encode_units(rows, units, np.array([0, 3, 5]))
    said: dict[tuple[int, int], list[int]] = {}
    for message in messages:
        records, oldest, from_units = decode(message)
        assert len(set(records["present"].tolist())) == 1
        for record, first, unit in zip(records, oldest.tolist(), from_units.tolist(), strict=True):
            said.setdefault((unit, first), []).append(int(record["seq"]))
    assert said == {(40, 3): [3, 4, 5], (10, 1): [4, 5]}
    assert len(messages) == 2, "one for each set of columns"
    assert outbox.encode_units(rows[:0], units[:0], rows[:0]) == []


def test_gateways_messages_are_parted_by_size_and_by_time() -> None:
    outbox = filled(30, 50)
    outbox.add(samples(30, 3_000_000_000))
    rows = np.arange(30)
    messages = outbox.encode_units(rows, rows + 1, np.zeros(30, dtype=np.int64))
    assert all(len(message) <= MAX_MESSAGE_BYTES for message in messages)
    said: dict[int, list[int]] = {}
    for message in messages:
        records, _, units = decode(message)
        for seq, unit in zip(records["seq"].tolist(), units.tolist(), strict=True):
            said.setdefault(unit, []).append(seq)
    assert said == {unit: list(range(1, 52)) for unit in range(1, 31)}
    assert len(messages) == -(-30 * 50 // MAX_RECORDS_PER_BATCH) + 1
