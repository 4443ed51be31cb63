"""A cluster of three: its leader dies again and again, and nothing that was acknowledged is lost or there twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
import structlog

from shoal.fabric.journal import JournalReader
from shoal.fabric.keys import Role
from shoal.fabric.snapshots import Snapshots
from shoal.fabric.subjects import (
    LIVE_GROUP,
    OWNERS_STREAM,
    SNAPSHOTS_STREAM,
    TELEMETRY_STREAM,
    journal_filter,
)
from tests.integration.fabric.cluster import TIMEOUT_S, Cluster, Counter
from tests.integration.fabric.owners import Owners, assert_never_valid_beside_another, check_story

ROUNDS = 3
LONGEST_GAP_S = 15.0
UNITS = [f"telemetry.{number}" for number in range(4)]

# nats-py forgets to close a connection that it gives up for another server
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <StreamWriter:ResourceWarning")


def test_cluster_loses_nothing_when_its_leader_is_killed(tmp_path: Path) -> None:
    async def body() -> None:
        async with (
            Cluster.running(tmp_path) as cluster,
            cluster.client(Role.FABRIC) as fabric,
            reader(cluster) as journal,
            Counter.counting(cluster, "s1", every_s=0.002) as counter,
        ):
            following = Follower(journal)
            task = asyncio.create_task(following.follow())
            for _ in range(ROUNDS):
                await counter.wait_more(300)
                leader = (await cluster.info(fabric, TELEMETRY_STREAM))["cluster"]["leader"]
                cluster.kill(leader)
                await counter.wait_more(300)
                await cluster.restart(leader)
                await cluster.wait_whole(fabric, TELEMETRY_STREAM)
            await counter.wait_more(100)
            acknowledged = dict(counter.acknowledged)  # it goes on counting
            await following.wait_for(max(acknowledged.values()))
            task.cancel()
            await asyncio.wait([task])
            structlog.get_logger().info("longest gap between acknowledgements", gap_s=counter.longest_gap_s)
            assert following.seq == list(range(1, len(following.seq) + 1))
            at = {int(payload): seq for seq, payload in zip(following.seq, following.payloads, strict=True)}
            assert len(at) == len(following.payloads), "a message is there twice"
            missing = acknowledged.keys() - at.keys()
            assert not missing, "an acknowledged message is lost"
            assert all(at[number] == seq for number, seq in acknowledged.items())
            assert counter.longest_gap_s < LONGEST_GAP_S

    asyncio.run(body())


def test_ownership_and_snapshots_survive_the_loss_of_a_server(tmp_path: Path) -> None:
    arrays = {"rows": np.arange(3_000_000, dtype=np.int64)}

    async def body() -> None:
        async with (
            Cluster.running(tmp_path) as cluster,
            cluster.client(Role.FABRIC) as fabric,
            cluster.client(Role.TELEMETRY) as telemetry,
        ):
            snapshots = Snapshots(telemetry, group=LIVE_GROUP)
            with Owners.at(cluster.url, cluster.key_dir, tmp_path / "log", UNITS) as owners:
                owners.start(), owners.start()
                await owners.wait_owned(balanced=True)
                reference = await snapshots.save("u", 1, arrays)
                for stream in (OWNERS_STREAM, SNAPSHOTS_STREAM):
                    leader = (await cluster.info(fabric, stream))["cluster"]["leader"]
                    cluster.kill(leader)
                    await committed_more(owners, 20)
                    loaded = await snapshots.load(reference)
                    assert np.array_equal(loaded["rows"], arrays["rows"])
                    await cluster.restart(leader)
                    await cluster.wait_whole(fabric, stream)
                owners.kill(owners.alive()[0])
                await owners.wait_owned()
                await committed_more(owners, 20)
                check_story(owners.lines(), UNITS)
                assert_never_valid_beside_another(owners.lines(), UNITS)

    asyncio.run(body())


async def committed_more(owners: Owners, count: int) -> None:
    """Wait until each unit has so many more commits."""
    before = commits(owners)
    async with asyncio.timeout(TIMEOUT_S):
        while any(now - then < count for now, then in zip(commits(owners), before, strict=True)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def commits(owners: Owners) -> list[int]:
    made = [line["unit"] for line in owners.lines() if line["what"] == "committed"]
    return [made.count(unit) for unit in UNITS]


def reader(cluster: Cluster) -> JournalReader:
    return JournalReader(
        cluster.url,
        seed=cluster.keys.seed(Role.JOURNAL),
        stream=TELEMETRY_STREAM,
        filters=journal_filter(),
        start_seq=1,
    )


class Follower:
    """Keeps everything that a reader gives."""

    def __init__(self, journal: JournalReader) -> None:
        self.journal = journal
        self.seq: list[int] = []
        self.payloads: list[bytes] = []

    async def follow(self) -> None:
        while True:
            batch = await self.journal.read(0.2)
            if batch is not None:
                self.seq += batch.seq.tolist()
                self.payloads += batch.payloads

    async def wait_for(self, seq: int) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not self.seq or self.seq[-1] < seq:  # noqa: ASYNC110 - the reader decides
                await asyncio.sleep(0.05)
