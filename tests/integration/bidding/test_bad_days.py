"""Days on which the disk is full or the market hangs: what stands stays, it is said once, and the bidder goes on by itself."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from shoal.bidding.cycle.known import gate_ref
from shoal.domain.interval import NS_PER_S
from tests.integration.bidding.bad_days import GATES, LEAD_S, BadDay, bad_day, bidders_threads
from tests.integration.bidding.cycle_world import DAY, RESOURCE
from tests.integration.telemetry.test_full_disk import _fill

DISK_BYTES = 48 << 20
HANG_S = 40.0
FULL_GATES = 3
AFTER_GATES = 3
SEVERAL = 12
"""Threads that may come and go with what is under way."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a small disk of its own; it takes the right to mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(place)]
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small disk can be mounted by root on Linux only")
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def said(logs: list[Any], event: str) -> Counter[str]:
    """Return how often each turn said something."""
    return Counter(str(entry.get("turn")) for entry in logs if entry["event"] == event)


def bids_for(day: BadDay, number: int) -> int:
    """Return how many bids for a gate the market has taken."""
    key = gate_ref("nem", DAY.isoformat(), GATES[number]).key
    return sum(one.gate_key == key for one in day.cycles.bids(states=("accepted", "superseded")))


async def goes_on(day: BadDay) -> None:
    """See new bids taken for gates to come, as before, and every gate that closed met."""
    gate = day.next_gate()
    await day.closed(gate + AFTER_GATES)
    taken = {number: bids_for(day, number) for number in range(gate + 1, gate + AFTER_GATES + 1)}
    assert all(taken.values()), taken
    account = day.book.summary(now_ns=day.clock.now_ns())
    assert account.gates_missed == 0
    assert (
        account.bids_duplicate == account.bids_conflicting == account.bids_rejected == account.bids_late == 0
    )


def test_full_disk_leaves_what_stands_is_said_once_and_ends_by_itself(tmp_path: Path, disk: Path) -> None:
    async def scene() -> None:
        async with bad_day(tmp_path, disk) as day:
            threads = bidders_threads().total()
            with capture_logs() as logs:
                ballast = _fill(disk, leave=0)
                standing = day.book.standing(RESOURCE, DAY.isoformat())
                gate = day.next_gate()
                await day.closed(gate + FULL_GATES)
                assert day.book.standing(RESOURCE, DAY.isoformat()) is not None and standing is not None
                assert bidders_threads().total() < threads + SEVERAL
                failed = said(logs, "turn_failed")
                assert failed and max(failed.values()) == 1, failed
                # the gate after the next one came near while nothing could be written: it is bid for all the same
                soon = day.next_gate() + 1
                assert GATES[soon].closes_ns - day.clock.now_ns() < LEAD_S * NS_PER_S
                ballast.unlink()
                await goes_on(day)
                assert bids_for(day, soon), "the gate was given up while the disk was full"
            assert said(logs, "turn_goes_on").keys() == failed.keys()
            assert day.opened.autobidder.statistics().slots_held == 1

    asyncio.run(scene())


@pytest.mark.slow
def test_market_that_accepts_and_never_answers_costs_nothing_but_its_gates(tmp_path: Path) -> None:
    async def scene() -> None:
        async with bad_day(tmp_path, tmp_path) as day:
            threads, most = bidders_threads(), bidders_threads()
            day.wire.hang()
            until_s = time.monotonic() + HANG_S
            standing = day.book.standing(RESOURCE, DAY.isoformat())
            beats = set()
            while time.monotonic() < until_s:
                most |= bidders_threads()
                beats.add(day.opened.autobidder.statistics().slots_held)
                await asyncio.sleep(0.1)
                assert not day.task.done()
            assert day.book.standing(RESOURCE, DAY.isoformat()) == standing
            assert beats == {1}
            assert most.total() < threads.total() + SEVERAL, most
            day.wire.go_on()
            await goes_on(day)
            # whatever was not known has been read back
            await day.until(lambda: not day.cycles.bids(states=("unknown", "submitted")), "not read back")

    asyncio.run(scene())
