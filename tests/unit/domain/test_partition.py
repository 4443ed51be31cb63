"""The partition of a name: the same one at a time, in bulk, and in the server."""

from __future__ import annotations

from shoal.domain.partition import PARTITIONS, partition_of, partitions_of


def test_partition_is_fnv_1a() -> None:
    # Published test vectors of FNV-1a, 32 bits: "a" e40c292c, "foobar" bf9cf968.
    assert partition_of("a") == 0xE40C292C % PARTITIONS
    assert partition_of("foobar") == 0xBF9CF968 % PARTITIONS


def test_partitions_in_bulk_are_those_of_each_name() -> None:
    names = [f"home-{number:05d}" for number in range(2_000)] + ["", "a", "Z_-9", "x" * 64]
    assert partitions_of(names).tolist() == [partition_of(name) for name in names]
    assert partitions_of([]).tolist() == []
