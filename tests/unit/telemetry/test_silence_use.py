"""A running process takes another table of silent sites between two refreshes."""

from __future__ import annotations

from dataclasses import replace

from shoal.domain.interval import NS_PER_HOUR
from shoal.twin.silence_default import built_in_table
from tests.unit.telemetry.roles import EVERYTHING, ROOT, SITES, Process, play, running_plant
from tests.unit.telemetry.shards import START_NS, until


def test_bands_are_those_of_the_new_table_from_the_next_refresh_on() -> None:
    async def scene() -> None:
        plant = running_plant()
        plant.minute(1)
        async with Process(plant, conducted=False) as process:
            await process.gain(*EVERYTHING)
            await until(lambda: bool(plant.aggregates()) and plant.aggregates()[-1].applied == SITES)
            plant.clock.now = START_NS + NS_PER_HOUR
            await until(lambda: plant.aggregates()[-1].fresh[ROOT] == 0)
            before = plant.aggregates()[-1]
            assert before.silence == built_in_table().provenance
            own = replace(built_in_table(), provenance="own")
            sure = replace(own, spread=own.spread * 0, common=own.common * 0, shift=own.shift * 0)
            process.service.summing.use_table(sure)
            await until(lambda: plant.aggregates()[-1].silence == "own")
            after = plant.aggregates()[-1]
            assert before.high_kw[ROOT] - before.low_kw[ROOT] > 0.1
            assert after.high_kw[ROOT] - after.low_kw[ROOT] < 1e-3
            assert process.crew.failures == 0

    play(scene)
