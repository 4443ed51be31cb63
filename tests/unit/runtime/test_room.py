"""Room on a disk: full in time, said once, gone on by itself; a write that was refused is tried again ever more rarely."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from shoal.domain.errors import UnavailableError
from shoal.flow.retry import Backoff
from shoal.runtime.room import DiskRoom, free_bytes

LEAST = 1_000


class _Disk:
    def __init__(self, free: int) -> None:
        self.free = free
        self.now_s = 0.0
        self.room = DiskRoom(
            "tests", Path("/data"), LEAST, free=lambda _: self.free, now_s=lambda: self.now_s
        )

    def looks(self, seconds: int) -> list[bool]:
        found = []
        for _ in range(seconds):
            self.now_s += 1.0
            found.append(self.room.enough())
        return found


def test_disk_is_full_below_the_least_and_has_room_a_quarter_above_it() -> None:
    disk = _Disk(LEAST)
    with capture_logs() as logs:
        assert all(disk.looks(3))
        disk.free = LEAST - 1
        assert not any(disk.looks(60))
        assert disk.room.word() == "disk full: 999 bytes free below 1000"
        disk.free = LEAST + LEAST // 4 - 1
        assert not any(disk.looks(60))
        disk.free += 1
        assert disk.looks(16)[-1]
    assert [entry["event"] for entry in logs] == [disk_full_of(LEAST - 1), "disk has room again"]
    assert disk.room.word() == ""
    seen = disk.room.statistics()
    assert (seen.full, seen.full_total, seen.refused_total, seen.least_bytes) == (0, 1, 0, LEAST)


def disk_full_of(free: int) -> str:
    return f"disk full: {free} bytes free below {LEAST}"


def test_disk_is_looked_at_once_a_second_and_more_rarely_while_it_is_full() -> None:
    looks = []

    def free(_: Path) -> int:
        looks.append(now_s[0])
        return 0 if now_s[0] > 10 else 2 * LEAST

    now_s = [0.0]
    room = DiskRoom("tests", Path("/data"), LEAST, free=free, now_s=lambda: now_s[0])
    for tenth in range(1_000):
        now_s[0] = tenth / 10
        room.enough()
    assert len([at for at in looks if at < 10]) in (10, 11)
    assert 7 <= len([at for at in looks if at > 10]) <= 20


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_refused_write_is_tried_again_now_and_then_and_said_once(number: int) -> None:
    disk = _Disk(100 * LEAST)
    tries = 0
    with capture_logs() as logs:
        for _ in range(120):
            disk.now_s += 1.0
            if disk.room.enough():
                tries += 1
                assert disk.room.refused(OSError(number, "no room"))
            assert disk.room.full
        assert 5 <= tries <= 25
        while not disk.room.enough():
            disk.now_s += 1.0
        disk.room.wrote()
        assert disk.room.enough()
    assert [entry["log_level"] for entry in logs] == ["error", "info"]
    assert disk.room.statistics().refused_total == tries


def test_other_errors_and_stores_without_a_disk_are_never_full() -> None:
    disk = _Disk(0)
    assert not disk.room.refused(OSError(errno.EIO, "broken"))
    assert not disk.room.refused(UnavailableError("it", "gone"))
    assert disk.room.statistics().full == 0
    elsewhere = DiskRoom("tests", None, LEAST)
    assert elsewhere.enough()
    assert elsewhere.statistics().free_bytes == -1
    assert elsewhere.refused(OSError(errno.ENOSPC, "no room"))
    assert not elsewhere.enough()


def test_waiting_ends_when_there_is_room() -> None:
    async def body() -> None:
        free = [0]
        again = Backoff(first_s=0.01, cap_s=0.02)
        room = DiskRoom("tests", Path("/data"), LEAST, free=lambda _: free[0], again=again)
        waiting = asyncio.ensure_future(room.wait())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        free[0] = 2 * LEAST
        await asyncio.wait_for(waiting, 5)

    asyncio.run(body())


def test_free_space_of_a_folder_that_is_not_there_yet_is_that_of_its_disk(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "a" / "b") > 0
