"""The regulation bench on small made-up input: the world's physics, what a follower may see, the rows that are printed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoal.cli.benches import _regulation_frequency as frequency
from shoal.cli.benches import _regulation_pjm as pjm
from shoal.cli.benches import regulation
from shoal.cli.benches._regulation_world import TICK_NS, Network, World, make_homes
from shoal.domain.errors import InvalidInputError
from shoal.services.regulation import RegulationSignal
from shoal.services.regulation_shares import share_out


def signal(seq: int, value_frac: float) -> RegulationSignal:
    t_ns = seq * TICK_NS
    return RegulationSignal(seq=seq, t_ns=t_ns, end_ns=t_ns + 5 * TICK_NS, value_frac=value_frac, version=1)


def make_world(sites: int = 200, network: Network | None = None, *, seed: int = 1) -> World:
    homes = make_homes(sites, seed)
    world = World(homes, network or Network(), hold_ticks=5, seed=seed)
    shares = share_out(
        homes.ability, offer_w=int(0.4 * homes.ability.discharge_limit_w.sum()), margin_frac=0.3
    )
    for _ in range(5):
        world.send_arming(shares, 1)
    world.begin_arming(first=True)
    return world


def test_world_keeps_energy_and_every_limit() -> None:
    world = make_world()
    ability = make_homes(200, 1).ability
    before_kwh = world.stored_kwh.copy()
    taken_kwh, given_kwh = np.zeros(200), np.zeros(200)
    random = np.random.default_rng(5)
    for seq in range(1_000):
        world.step(signal(seq, 1.0 if seq > 500 else float(random.uniform(-1, 1))))
        taken_kwh += np.maximum(world.mean_w, 0.0) * 2.0 / 3.6e6
        given_kwh += np.maximum(-world.mean_w, 0.0) * 2.0 / 3.6e6
    assert world.limit_violations == 0
    assert (world.stored_kwh >= ability.floor_kwh - 1e-9).all()
    # a tick may hold both directions, so its mean alone bounds what went in and out
    gained_kwh = world.stored_kwh - before_kwh
    most_kwh = taken_kwh - given_kwh + 1e-9
    assert (gained_kwh <= most_kwh).all()
    assert gained_kwh.sum() == pytest.approx((taken_kwh * 0.955 - given_kwh / 0.955).sum(), rel=0.05)


def test_home_that_hears_nothing_goes_back_to_its_base() -> None:
    world = make_world(network=Network(lost_frac=0.0, latency_s=0.1, out_frac=0.0))
    for seq in range(3):
        world.step(signal(seq, 0.8))
    assert world.end_w.sum() < -1e4
    dead = make_world(network=Network(lost_frac=1.0, latency_s=0.1, out_frac=0.0))
    dead._armed, dead._seq, dead._power = world._armed, world._seq, world._power
    dead._tick = 3
    for seq in range(3, 12):
        dead.step(signal(seq, 0.8))
    assert np.abs(dead.end_w).max() < 1.0


def test_network_loses_and_delays_as_stated() -> None:
    world = make_world(2_000)
    reports = 0
    for seq in range(100):
        world.step(signal(seq, 0.0))
        batches = world.hear(0)
        for batch in batches:
            assert (batch.end_ns <= (seq + 1) * TICK_NS).all()
            assert not world.out[batch.rows].all()
        reports += sum(len(batch.rows) for batch in batches)
    assert world.delivered / (100 * 2_000) == pytest.approx(0.95 * 0.98, abs=0.01)
    assert reports / (99 * 1_000) == pytest.approx(0.95 * 0.98, abs=0.01)
    assert world.out.mean() == pytest.approx(0.02, abs=0.01)


def test_follower_scores_above_the_rule_on_the_same_input() -> None:
    wave = pjm.made_up_signal(1, seed=3)
    own = pjm.follow_signal(wave, sites=300, seed=7)
    rule = pjm.follow_signal(wave, sites=300, seed=7, follows=False)
    assert own.mean.worst_frac >= 0.95
    assert own.mean.worst_frac > rule.mean.worst_frac
    assert own.missed_frac < rule.missed_frac
    assert own.limit_violations == rule.limit_violations == 0
    assert own.gain_frac == pytest.approx(0.98, abs=0.01)
    rows = regulation.pjm_rows("made_up", 300, own, rule)
    assert {row.unit for row in rows} >= {"performance_score", "violations"}


class _EnoughSeenError(Exception):
    """Ends a run early."""


def test_follower_sees_nothing_ahead() -> None:
    """Two signals that are alike up to a moment are followed alike up to it."""
    wave = pjm.made_up_signal(1, seed=4)
    other = wave.copy()
    other[500:] = -other[500:]
    seen: list[list[float]] = []
    step = World.step
    for one in (wave, other):
        values: list[float] = []

        def spy(self: World, sent: RegulationSignal, values: list[float] = values) -> None:
            values.append(sent.value_frac)
            if len(values) > 510:
                raise _EnoughSeenError
            step(self, sent)

        with pytest.MonkeyPatch.context() as patch, pytest.raises(_EnoughSeenError):
            patch.setattr(World, "step", spy)
            pjm.follow_signal(one, sites=50, seed=7)
        seen.append(values)
    assert seen[0][:500] == seen[1][:500]
    assert seen[0][500] != seen[1][500]


def test_signals_are_read_by_name(tmp_path: Path) -> None:
    table = pa.table(
        {
            "signal": pa.array(["a", "a", "b", "b"]).dictionary_encode(),
            "t_s": pa.array([0, 2, 0, 2], pa.int32()),
            "value": [0.1, 0.2, 0.3, 0.4],
        }
    )
    pq.write_table(table, tmp_path / "signals.parquet")
    found = pjm.read_signals(tmp_path / "signals.parquet")
    assert {name: values.tolist() for name, values in found.items()} == {"a": [0.1, 0.2], "b": [0.3, 0.4]}


def test_missing_data_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SHOAL_DATA", str(tmp_path))
    for case in regulation.BENCHMARK.cases:
        with pytest.raises(InvalidInputError, match="SHOAL_DATA"):
            regulation.run(case, True)


def test_trip_falls_to_the_stated_frequency_and_comes_back() -> None:
    day = frequency.spliced(50.0 + 0.01 * np.sin(np.arange(86_400) / 300.0))
    assert day.min() == frequency.LOWEST_HZ
    assert day[frequency.TRIP_S + frequency.NADIR_S] == frequency.LOWEST_HZ
    assert day[frequency.TRIP_S + 700] == pytest.approx(50.0, abs=0.011)
    assert day[frequency.AFTER_S + frequency.NADIR_S] == frequency.LOWEST_HZ


def test_agents_answer_the_trip_at_once_while_the_cloud_is_dead() -> None:
    day = frequency.spliced(50.0 + 0.012 * np.sin(np.arange(86_400) / 300.0))
    done = frequency.respond(day, sites=20, seed=7, whole_day=False)
    assert done.lowest_hz == frequency.LOWEST_HZ
    assert done.delay_ticks == 0
    assert done.error_frac <= 0.02
    assert done.violations == 0
    assert done.energy_kwh > 0.0
    rows = regulation.frequency_rows(done)
    assert {row.case for row in rows} == {"frequency"}
