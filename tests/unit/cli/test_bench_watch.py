"""What the benchmarks take for visible: the numbers that probes show in the aggregates, and how late they are."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from shoal.cli.benches._watch import Watch
from shoal.domain.errors import UnavailableError
from shoal.domain.fleet import Fleet
from shoal.simulate.load_fleet import POWER_STEPS, LoadPlan, plan_load_fleet

PLAN = LoadPlan(sites=40, gateways=4, probes=3)
STEP_NS = 1_000_000


def meant_ns(message: int) -> int:
    return 1 + message * STEP_NS


def aggregates(fleet: Fleet, seq: list[int]) -> bytes:
    """Aggregates in which the probes show these numbers; 0 for one of which nothing is known."""
    battery_kw: list[float | None] = [7.0] * len(fleet.groups)
    fresh = [3] * len(fleet.groups)
    probes = [n for n, group in enumerate(fleet.groups) if group.group_id.startswith("load-probe-")]
    for group, number in zip(probes, seq, strict=True):
        battery_kw[group] = number % POWER_STEPS / 1_000 if number else None
        fresh[group] = 1 if number else 0
    return msgspec.json.encode({"t_ns": 5, "fresh": fresh, "battery_kw": battery_kw, "another": [1.0]})


def test_watch_reads_samples_off_the_sums() -> None:
    fleet = plan_load_fleet(PLAN)
    watch = Watch(plan=PLAN, fleet=fleet, meant_ns=meant_ns)
    assert watch.oldest_visible_ns() == 0
    watch.take(aggregates(fleet, [1, 0, 2]), 50 * STEP_NS)
    assert watch.visible_seq().tolist() == [1, 0, 2]
    assert watch.oldest_visible_ns() == 0
    watch.take(aggregates(fleet, [1, 3, 2]), 60 * STEP_NS)
    assert watch.visible_seq().tolist() == [1, 3, 2]
    rows = PLAN.probe_rows.tolist()
    last = [meant_ns(PLAN.message_of(row, seq)) for row, seq in zip(rows, [1, 3, 2], strict=True)]
    assert watch.oldest_visible_ns() == min(last)
    late = [50 * STEP_NS - meant_ns(PLAN.message_of(rows[0], 1))]
    late += [50 * STEP_NS - meant_ns(PLAN.message_of(rows[2], seq)) for seq in (1, 2)]
    late += [60 * STEP_NS - meant_ns(PLAN.message_of(rows[1], seq)) for seq in (1, 2, 3)]
    seen = watch.latency(from_ns=0, until_ns=2**62)
    assert seen.samples == 6
    assert seen.max_ms == pytest.approx(max(late) / 1e6)
    assert seen.p50_ms == pytest.approx(float(np.median(late)) / 1e6)


def test_watch_follows_numbers_beyond_what_a_sum_can_show() -> None:
    fleet = plan_load_fleet(PLAN)
    watch = Watch(plan=PLAN, fleet=fleet, meant_ns=lambda _: 0)
    for seq in range(0, 3 * POWER_STEPS, 1_000):
        watch.take(aggregates(fleet, [seq + 1] * 3), 1)
    assert watch.visible_seq().tolist() == [12_001] * 3
    with pytest.raises(UnavailableError):  # nothing had an instant at which it was meant to be sent
        watch.latency(from_ns=0, until_ns=2**62)
