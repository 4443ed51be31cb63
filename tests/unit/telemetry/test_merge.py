"""The fleet's sums from those of shards: the newest owner's word counts, and silence is no zero."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from shoal.domain.errors import CorruptStateError, InvalidInputError
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S
from shoal.telemetry.contract import shard_rows
from shoal.telemetry.merge import Merged, Merger, Said, ShardSums
from shoal.telemetry.shard import Shard
from shoal.twin.aggregate import FleetSums
from shoal.twin.layout import Layout
from tests.integration.store.fleets import GRID, make_fleet
from tests.unit.telemetry.shards import RATES, START_NS, TIMEOUTS, Journal, new_shard

FLEET = make_fleet(40)
LAYOUT = Layout.of(FLEET)
SHARDS = 3
NOW_NS = START_NS + 2 * NS_PER_MINUTE


def sums_of(number: int, *, heard: bool = True, fleet: Fleet = FLEET, **values: float) -> FleetSums:
    """Return a shard's sums: every site has said a sample, or none has."""
    journal = Journal(fleet)
    rows = shard_rows(fleet, number, SHARDS)
    shard = new_shard(fleet, rows, number=number)
    for row in rows.tolist() if heard else []:
        journal.say(row, 1, **{"battery_w": 50 * row, **values})
    _take(shard, journal)
    return shard.sums(now_ns=NOW_NS, rates=RATES, timeouts=TIMEOUTS)


def _take(shard: Shard, journal: Journal) -> None:
    if len(journal):
        shard.take(journal.batch(1, len(journal)))


def said(number: int, *, token: int = 1, t_ns: int = NOW_NS, applied: int = 1, **values: float) -> Said:
    sums = sums_of(number, heard=True, fleet=FLEET, **values)
    return Said(shard=number, token=token, t_ns=t_ns, applied=applied, lag=number, sums=sums)


def merged(merger: Merger, *, t_ns: int = NOW_NS, layout_version: int = LAYOUT.version) -> Merged:
    def unheard(number: int) -> FleetSums:
        return replace(sums_of(number, heard=False), layout_version=layout_version)

    return merger.merged(
        t_ns=t_ns,
        layout_version=layout_version,
        unheard=unheard,
    )


def total(found: Merged, column: str) -> int:
    """Return a column at the root of the grid."""
    root = next(n for n, group in enumerate(FLEET.groups) if group.group_id == "vpp")
    return int(found.sums.column(column)[root])


def full() -> Merger:
    merger = Merger(shards=SHARDS, patience_ns=10 * NS_PER_S)
    assert all(merger.put(said(number)) for number in range(SHARDS))
    return merger


def test_sums_of_all_shards_are_those_of_the_fleet() -> None:
    found = merged(full())
    alone = new_shard(FLEET, np.arange(40))
    journal = Journal(FLEET)
    for row in range(40):
        journal.say(row, 1, battery_w=50 * row)
    _take(alone, journal)
    expected = alone.sums(now_ns=NOW_NS, rates=RATES, timeouts=TIMEOUTS)
    assert found.sums.groups.tolist() == expected.groups.tolist()
    assert found.sums.squares.tolist() == expected.squares.tolist()
    assert (found.live, found.applied, found.lag, found.silent_shards) == (3, 3, 0 + 1 + 2, [])


def test_sums_survive_the_wire() -> None:
    sums = sums_of(1)
    message = ShardSums.of(said(1))
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=ShardSums)
    assert again == message
    for name in ("groups", "oldest_ns", "whole", "squares"):
        assert getattr(again.said().sums, name).tolist() == getattr(sums, name).tolist()


def test_former_owner_is_refused_however_new_its_sums_are() -> None:
    merger = full()
    assert merger.put(said(1, token=5, battery_w=7))
    before = merged(merger)
    assert not merger.put(said(1, token=4, t_ns=NOW_NS + NS_PER_S, battery_w=1_000_000))
    assert merger.stale_owners == 1
    after = merged(merger)
    assert after.sums.groups.tolist() == before.sums.groups.tolist()


def test_new_owner_counts_even_when_its_clock_is_behind() -> None:
    merger = full()
    before = total(merged(merger), "power_w_battery")
    assert merger.put(said(1, token=2, t_ns=NOW_NS - NS_PER_S, battery_w=0))
    assert total(merged(merger), "power_w_battery") < before


def test_older_sums_of_the_same_owner_do_not_replace_newer_ones() -> None:
    merger = full()
    assert not merger.put(said(0, t_ns=NOW_NS - 1, battery_w=9))
    assert merger.put(said(0, t_ns=NOW_NS, battery_w=9)), "one instant twice is the same or newer"
    assert merger.stale_owners == 0


def test_silent_shard_counts_as_sites_of_which_nothing_is_known() -> None:
    merger = full()
    late_ns = NOW_NS + 10 * NS_PER_S
    for number in (0, 2):
        merger.put(said(number, t_ns=late_ns + 1))
    found = merged(merger, t_ns=late_ns + 1)
    missing = len(shard_rows(FLEET, 1, SHARDS))
    assert missing
    assert (found.live, found.silent_shards, found.applied) == (2, [1], 2)
    assert total(found, "sites") == 40
    assert (total(found, "fresh"), total(found, "unknown")) == (40 - missing, missing)
    assert total(found, "capacity_w") == total(merged(full()), "capacity_w"), "its capacity is known"
    assert total(found, "silent_scale_battery") > 0, "its doubt is counted"
    assert total(found, "v_battery") > total(merged(full()), "v_battery")


def test_shard_that_was_never_heard_is_silent_too() -> None:
    merger = Merger(shards=SHARDS, patience_ns=NS_PER_S)
    found = merged(merger)
    assert (found.live, found.silent_shards) == (0, [0, 1, 2])
    assert (total(found, "sites"), total(found, "unknown")) == (40, 40)


def test_sums_of_another_layout_do_not_count_until_they_are_of_the_new_one() -> None:
    merger = full()
    leaves = np.full(40, FLEET.leaf_group[GRID][0], dtype=np.int32)
    moved = replace(FLEET, leaf_group={**FLEET.leaf_group, GRID: leaves})
    version = Layout.of(moved).version
    assert version != LAYOUT.version
    found = merged(merger, layout_version=version)
    assert (found.live, found.silent_shards, total(found, "sites")) == (0, [0, 1, 2], 40)
    merger.put(
        Said(shard=1, token=1, t_ns=NOW_NS, applied=1, lag=0, sums=sums_of(1, fleet=moved)),
    )
    found = merged(merger, layout_version=version)
    assert (found.live, found.silent_shards, total(found, "sites")) == (1, [0, 2], 40)


@pytest.mark.parametrize("number", [-1, SHARDS])
def test_shard_that_does_not_exist_is_refused(number: int) -> None:
    with pytest.raises(CorruptStateError, match="no shard"):
        full().put(replace(said(0), shard=number))


@pytest.mark.parametrize("part", ["groups", "whole", "squares"])
def test_sums_of_another_shape_are_refused_and_nothing_changes(part: str) -> None:
    merger = full()
    cut = msgspec.structs.replace(ShardSums.of(said(0, token=9)), **{part: b"\0" * 8})
    with pytest.raises(CorruptStateError, match="shape"):
        merger.put(cut.said())
    assert merger.put(said(0)), "the owner that is known goes on"


def test_plant_without_shards_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        Merger(shards=0, patience_ns=1).merged(t_ns=0, layout_version=0, unheard=lambda _: sums_of(0))
