"""Store and forward on a disk: over restarts, torn writes, a full disk and too long an outage."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.telemetry import TELEMETRY, mask_of
from shoal.domain.wire import decode
from shoal.edge.store_forward import StoreForward

MINUTE_NS = 60_000_000_000


def sample(number: int, present: int | None = None) -> NDArray[Any]:
    record: NDArray[Any] = TELEMETRY.empty(1)
    record["ts_ns"] = 1_700_000_000_000_000_000 + number * MINUTE_NS
    record["battery_w"] = number
    if present is not None:
        record["present"] = present
    first: NDArray[Any] = record[0]
    return first


def store(tmp_path: Path, capacity: int = 10, **options: Any) -> StoreForward:
    return StoreForward(tmp_path / "samples.ring", capacity=capacity, **options)


def powers(messages: list[bytes]) -> list[int]:
    return [int(power) for message in messages for power in decode(message)[0]["battery_w"]]


def test_store_survives_a_restart_with_what_is_not_durable(tmp_path: Path) -> None:
    first = store(tmp_path)
    for number in range(1, 6):
        assert first.add(sample(number)) == number
    assert first.durable(2) == 2
    del first  # nothing is closed, as after a power cut
    again = store(tmp_path)
    assert (again.oldest_seq, again.last_seq, len(again)) == (3, 5, 3)
    assert powers(again.messages_since(0)) == [3, 4, 5]
    records, oldest, _ = decode(again.messages_since(0)[0])
    assert records["seq"].tolist() == [3, 4, 5]
    assert oldest.tolist() == [3, 3, 3]
    assert again.add(sample(6)) == 6


def test_store_drops_the_oldest_when_too_many_wait_and_says_so(tmp_path: Path) -> None:
    ring = store(tmp_path, capacity=4)
    for number in range(1, 8):
        ring.add(sample(number))
    assert powers(ring.messages_since(0)) == [4, 5, 6, 7]
    assert ring.statistics().lost_by_overflow == 3
    again = store(tmp_path, capacity=4)
    assert powers(again.messages_since(0)) == [4, 5, 6, 7]
    smaller = store(tmp_path, capacity=2)
    assert powers(smaller.messages_since(0)) == [6, 7]
    larger = store(tmp_path, capacity=50)
    assert larger.add(sample(8)) == 8
    assert powers(larger.messages_since(0)) == [6, 7, 8]


@pytest.mark.parametrize("cut", [1, 40, 79])
def test_sample_that_a_power_cut_tore_is_left_out(tmp_path: Path, cut: int) -> None:
    ring = store(tmp_path)
    for number in range(1, 5):
        ring.add(sample(number))
    ring.close()
    path = tmp_path / "samples.ring"
    content = bytearray(path.read_bytes())
    slot_bytes = (len(content) - 1_024) // 10
    content[1_024 + 3 * slot_bytes + cut] ^= 0xFF
    path.write_bytes(content)
    again = store(tmp_path)
    assert powers(again.messages_since(0)) == [1, 2, 3]
    assert again.statistics().torn == 1
    assert again.add(sample(44)) == 4


def test_torn_header_leaves_the_other_one(tmp_path: Path) -> None:
    ring = store(tmp_path)
    for number in range(1, 5):
        ring.add(sample(number))
    ring.durable(1)
    ring.durable(2)
    ring.close()
    path = tmp_path / "samples.ring"
    for at in (0, 512):
        content = bytearray(path.read_bytes())
        content[at + 5] ^= 0xFF
        path.write_bytes(content)
        waiting = powers(store(tmp_path).messages_since(0))
        assert waiting[-2:] == [3, 4]
        content[at + 5] ^= 0xFF
        path.write_bytes(content)
    path.write_bytes(b"rubbish")
    assert store(tmp_path, first_seq=77).add(sample(1)) == 77


def test_full_disk_is_survived_and_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = store(tmp_path)
    ring.add(sample(1))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        ring.add(sample(2))
        ring.add(sample(3))
        assert "No space left" in ring.statistics().disk_fault
        assert ring.statistics().on_disk_seq == 1
        assert powers(ring.messages_since(0)) == [1, 2, 3]
    ring.add(sample(4))
    assert ring.statistics().disk_fault == ""
    assert powers(store(tmp_path).messages_since(0)) == [1, 2, 3, 4]


def test_disk_that_was_never_there_is_taken_when_it_comes(tmp_path: Path) -> None:
    (tmp_path / "in-the-way").write_text("a file where a folder should be")
    path = tmp_path / "in-the-way" / "samples.ring"
    ring = StoreForward(path, capacity=5)
    ring.add(sample(1))
    assert ring.statistics().disk_fault
    (tmp_path / "in-the-way").unlink()
    ring.add(sample(2))
    assert ring.statistics().disk_fault == ""
    assert powers(StoreForward(path, capacity=5).messages_since(0)) == [1, 2]


def test_messages_are_parted_by_what_was_measured_and_by_time(tmp_path: Path) -> None:
    ring = store(tmp_path, capacity=200)
    blind = mask_of("load_w")
    for number, present in enumerate([None, None, blind, blind, None], start=1):
        ring.add(sample(number, present))
    far = sample(6)
    far["ts_ns"] += 40 * 86_400 * 1_000_000_000
    ring.add(far)
    assert [len(decode(message)[0]) for message in ring.messages_since(0)] == [2, 2, 1, 1]
    assert [len(decode(message)[0]) for message in ring.messages_since(4)] == [1, 1]
    assert ring.messages_since(6) == []
    for number in range(7, 140):
        ring.add(sample(number))
    assert max(len(decode(message)[0]) for message in ring.messages_since(6, 200)) == 60
    assert ring.speak(1)
    assert not ring.speak(9)
    assert len(decode(ring.messages_since(100)[0])[0]) == 39


def test_durable_is_told_once_and_never_of_the_future(tmp_path: Path) -> None:
    ring = store(tmp_path)
    ring.add(sample(1))
    assert ring.durable(5) == 1
    assert ring.durable(1) == 0
    assert ring.add(sample(2)) == 2
    assert np.array_equal(ring.records_since(0, 9)["seq"], [2])
    with pytest.raises(InvalidInputError):
        store(tmp_path, capacity=0)
