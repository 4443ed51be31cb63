"""The plain kernel of a home beside the general one, which merges lists and goes forward: same cost, same energy of the car."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.cli.benches import _fleet_instances as instances
from shoal.optimise import _home_kernel as general
from shoal.optimise import _home_plain as plain
from shoal.optimise import _home_room as rooms
from shoal.optimise import _home_stage as stage
from shoal.optimise.home_batch import HomeBatch

COUNT, STEPS = 20, instances.STEPS


@pytest.mark.parametrize(("kept_frac", "peak_kwh"), [(1.0, np.inf), (0.998, np.inf), (1.0, 0.4)])
def test_plain_kernel_finds_what_the_general_one_finds(kept_frac: float, peak_kwh: float) -> None:
    batch, draw = HomeBatch(instances.homes(COUNT)), np.random.default_rng(7)
    columns = instances.homes(COUNT)
    room = rooms.room_for(STEPS, 0)
    none, free = np.empty(0), np.empty(0, np.int8)
    tried = 0
    for row in range(COUNT):
        home = batch._homes[row].copy()
        home[stage.KEPT_FRAC] = kept_frac
        load = columns.load_kw[columns.load_row[row]] * columns.load_scale[row] * instances.INTERVAL_H
        solar = columns.solar_kw[0] * columns.solar_scale[row] * instances.INTERVAL_H
        added = draw.normal(0.0, 0.06, STEPS)
        buying = columns.import_per_kwh[columns.tariff_row[row]] + added
        selling = columns.export_per_kwh[columns.tariff_row[row]] + added
        assert plain.is_plain(load, buying, selling)
        for worth in (0.0, 0.17, 0.4):
            if not plain.stages(home, load, solar, buying, selling, peak_kwh, worth, 0, STEPS, room):
                continue
            tried += 1
            cost, car = plain.relax(home, load, solar, buying, selling, peak_kwh, worth, room, room.paths[0])
            other, other_car, state = general.relax(
                home,
                load,
                solar,
                buying,
                selling,
                none,
                none,
                free,
                free,
                peak_kwh,
                worth,
                room,
                room.paths[1],
            )
            assert state == general.CONVEX
            assert cost == pytest.approx(other, rel=1e-9, abs=1e-7)
            assert car == pytest.approx(other_car, abs=1e-7)
            stored = home[stage.INITIAL_KWH]
            for released in room.paths[0, rooms.RELEASED_KWH]:
                stored = kept_frac * stored - released
                assert -1e-9 <= stored <= home[stage.CAPACITY_KWH] + 1e-9
    assert tried > COUNT


def test_plain_kernel_says_where_wasting_energy_would_pay() -> None:
    batch = HomeBatch(instances.homes(1))
    room, load, solar = rooms.room_for(STEPS, 0), np.full(STEPS, 0.1), np.zeros(STEPS)
    deep = np.full(STEPS, -1.0)
    assert not plain.stages(batch._homes[0], load, solar, deep, deep, np.inf, 0.0, 0, STEPS, room)
    assert not plain.is_plain(load, deep, deep + 0.1)
    assert not plain.is_plain(-load, deep, deep)
