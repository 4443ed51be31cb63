"""A peer of ingest against a real engine under the load generator: its sum is right, and one that fails says why."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from shoal.cli.benches import _journal_peers
from shoal.cli.benches._journal_peers import Followed, follow_load, journal_peers
from shoal.cli.benches._peers import Absent
from shoal.cli.benches._plant import measured_plant
from shoal.simulate.load_fleet import LoadPlan


@pytest.fixture(autouse=True)
def _small_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_journal_peers, "_WINDOW", 500)


def test_peers_follow_the_load_one_after_the_other(tmp_path: Path) -> None:
    async def body() -> None:
        plan = LoadPlan(sites=40, gateways=2, samples_per_message=5, probes=0)
        peer = journal_peers()[0].peer
        python = Path(sys.executable)  # it has all that this peer needs
        async with measured_plant(tmp_path / "plant", plan, roles=("fabric",)) as plant:
            with await asyncio.to_thread(plant.open_load) as load:

                async def follow(module: str) -> Followed | Absent:
                    chosen = replace(peer, module=module)
                    return await asyncio.to_thread(follow_load, chosen, python, plant, load, 0.3, tmp_path)

                for _ in range(2):
                    outcome = await follow(peer.module)
                    assert isinstance(outcome, Followed), outcome
                    assert outcome.rate_per_s > 0
                    assert outcome.slowest_refresh_ms > 0
                failed = await follow("journal_of_nobody")
                assert isinstance(failed, Absent)
                assert "No module named 'journal_of_nobody'" in failed.reason

    asyncio.run(body())


def test_peer_with_a_wrong_sum_is_absent(tmp_path: Path) -> None:
    async def body() -> None:
        plan = LoadPlan(sites=8, gateways=1, probes=0)
        peer = journal_peers()[0].peer
        async with measured_plant(tmp_path / "plant", plan, roles=("fabric",)) as plant:
            with await asyncio.to_thread(plant.open_load) as load:
                original = load.last_seq
                load.last_seq = lambda: original() + 1  # type: ignore[method-assign]
                outcome = await asyncio.to_thread(
                    follow_load, peer, Path(sys.executable), plant, load, 0.2, tmp_path
                )
        assert outcome == Absent("its sum is wrong")

    asyncio.run(body())
