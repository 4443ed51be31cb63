"""Statistics become metrics, whatever frozen record they come in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from shoal.domain.errors import InvalidInputError
from shoal.runtime.metrics import StatisticsCollector


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    depth: int
    applied: int
    open: bool
    name: str = "q"
    oldest_age_s: float | None = None


class Journal(msgspec.Struct, frozen=True):
    lag: float
    samples_total: int


class Pair(NamedTuple):
    left: int
    right: float


def exported(collector: StatisticsCollector) -> str:
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry).decode()


def test_numeric_fields_become_gauges_and_counters() -> None:
    collector = StatisticsCollector("shard-3")
    collector.register("queue", lambda: Queue(depth=4, applied=9, open=True), counters=["applied"])
    collector.register("journal", lambda: Journal(lag=0.5, samples_total=7))
    collector.register("pair", lambda: Pair(left=1, right=2.5))
    text = exported(collector)
    assert "shoal_shard_3_queue_depth 4.0" in text
    assert "# TYPE shoal_shard_3_queue_applied_total counter" in text
    assert "shoal_shard_3_queue_applied_total 9.0" in text
    assert "shoal_shard_3_queue_open 1.0" in text
    assert "shoal_shard_3_journal_lag 0.5" in text
    assert "shoal_shard_3_journal_samples_total 7.0" in text
    assert "shoal_shard_3_pair_right 2.5" in text
    assert "queue_name" not in text
    assert "oldest_age_s" not in text


def test_mapping_of_numbers_is_labelled() -> None:
    collector = StatisticsCollector("telemetry")
    collector.register("quarantine", lambda: {"by_reason": {"magic": 2, "length": 1}, "total": 3})
    text = exported(collector)
    assert 'shoal_telemetry_quarantine_by_reason{key="magic"} 2.0' in text
    assert "shoal_telemetry_quarantine_total 3.0" in text


def test_statistics_are_read_at_each_scrape() -> None:
    collector = StatisticsCollector("api")
    depth = [1]
    collector.register("queue", lambda: {"depth": depth[0]})
    assert "depth 1.0" in exported(collector)
    depth[0] = 2
    assert "depth 2.0" in exported(collector)


def test_registering_a_name_twice_is_refused() -> None:
    collector = StatisticsCollector("api")
    collector.register("queue", dict)
    with pytest.raises(InvalidInputError):
        collector.register("queue", dict)
