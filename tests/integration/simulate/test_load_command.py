"""`shoal sim load` against a plant: two runs bring each sample once, numbered on from one run to the next."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np

from shoal.cli.benches._plant import measured_plant
from shoal.cli.load import run_load
from shoal.domain.wire import decode
from shoal.fabric.journal import JournalReader
from shoal.fabric.keys import Keys, Role
from shoal.fabric.subjects import TELEMETRY_STREAM, journal_filter
from shoal.simulate.load_fleet import LoadPlan
from tests.integration.fabric.plant import read_some

SHAPE = {"sites": 20, "gateways": 2, "samples_per_message": 2, "probes": 0}


def test_load_command_goes_on_where_it_ended(tmp_path: Path) -> None:
    async def body() -> None:
        plan = LoadPlan(sites=1, gateways=0, probes=0)
        async with measured_plant(tmp_path / "plant", plan, roles=("fabric",)) as plant:
            seq: list[int] = []
            for _ in range(2):
                sent = await asyncio.to_thread(
                    run_load, plant.settings, SHAPE, rate_per_s=2_000.0, duration_s=0.3
                )
                assert sent.samples == 600  # 30 turns of 20 sites
                keys = Keys.create_or_load(plant.settings.data_dir / "keys")
                async with JournalReader(
                    plant.fabric_url,
                    seed=keys.seed(Role.JOURNAL),
                    stream=TELEMETRY_STREAM,
                    filters=journal_filter(),
                    start_seq=1,
                ) as reader:
                    messages = await read_some(reader, sent.messages + len(seq) // 2)
                seq = [number for _, _, payload in messages for number in decode(payload)[0]["seq"].tolist()]
            assert len(seq) == 1_200
            assert np.bincount(seq)[1:].tolist() == [20] * 60

    asyncio.run(body())
