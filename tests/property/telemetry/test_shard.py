"""Shards under random journals: crashes, new fleets and other shards change nothing about what the twins become."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.domain.fleet import Fleet
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S
from shoal.domain.telemetry import ALL_PRESENT, PRESENT_OF, TELEMETRY
from shoal.domain.wire import encode
from shoal.telemetry.contract import shard_rows
from shoal.telemetry.shard import Shard, Snapshot
from shoal.twin.aggregate import COLUMNS, FleetSums
from shoal.twin.layout import Layout
from tests.property.twin.fleets import random_fleet
from tests.unit.telemetry.shards import RATES, START_NS, TIMEOUTS, Journal, new_shard, picture

SITES = 12
SEEDS = st.integers(0, 2**32 - 1)


def speak(journal: Journal, random: np.random.Generator, sites: int, steps: int, first_minute: int) -> None:
    """Let the first `sites` devices of the fleet say what devices say: late, twice, in disorder, wrong, or rubbish."""
    late: list[tuple[bytes, bytes]] = []
    seq = np.array([_said(journal, row) for row in range(sites)])
    for minute in range(first_minute, first_minute + steps):
        arrival_ns = START_NS + minute * NS_PER_MINUTE + int(random.integers(0, 5)) * NS_PER_S
        for row in random.permutation(sites).tolist():
            count = int(random.choice([0, 1, 2, 40], p=[0.2, 0.6, 0.18, 0.02]))
            if not count:
                continue
            records = TELEMETRY.empty(count)
            records["seq"] = np.arange(seq[row] + 1, seq[row] + count + 1)
            seq[row] += count
            records["ts_ns"] = (
                START_NS + minute * NS_PER_MINUTE + (np.arange(count) - count) * NS_PER_S
            ) // 1_000_000 * 1_000_000 + int(random.choice([0, 0, 0, 7_200, -40])) * NS_PER_S
            records["battery_w"] = random.integers(-6_000, 6_000, count)
            records["load_w"] = random.integers(-100, 3_000, count)
            records["soc_frac"] = random.integers(0, 10_000, count) / 10_000
            records["charge_wh"] = 1_000 + records["seq"]
            version = 1 if random.random() < 0.2 else 2
            if version == 1 and random.random() < 0.2:
                records["soc_frac"][0] = np.nan
            present = ALL_PRESENT if version == 1 else int(random.choice(list(PRESENT_OF.values())))
            oldest_seq = max(1, int(seq[row]) - 100) if random.random() < 0.9 else int(records["seq"][0])
            subject = b"tele.0." + journal.fleet.site_ids[row].encode()
            message = (subject, encode(records, oldest_seq=oldest_seq, present=present, version=version))
            fate = random.random()
            if fate < 0.75:
                journal.append(*message, arrival_ns)
            if 0.6 < fate < 0.95:
                late.append(message)
        while late and random.random() < 0.3:
            journal.append(*late.pop(int(random.integers(len(late)))), arrival_ns)
        if random.random() < 0.2:
            journal.append(b"tele.0.nobody", random.bytes(20), arrival_ns)
            known = b"tele.0." + journal.fleet.site_ids[0].encode()
            journal.append(known, b"SH\x02" + random.bytes(30), arrival_ns)


def _said(journal: Journal, row: int) -> int:
    """Return up to which number a device has counted, going by what it said."""
    subject = b"tele.0." + journal.fleet.site_ids[row].encode()
    return 200 * sum(one == subject for one, _ in journal.messages)


def feed(shard: Shard, journal: Journal, random: np.random.Generator, *, to_seq: int) -> Shard:
    """Let the shard take what follows its position, in batches of random sizes."""
    while shard.position < to_seq:
        last = min(shard.position + int(random.integers(1, 30)), to_seq)
        shard.take(journal.batch(shard.position + 1, last))
    return shard


def root_is_the_sum_of_leaves(sums: FleetSums, layout: Layout) -> None:
    """Assert it of every tree, for counts, powers and energies alike."""
    summed = np.zeros_like(sums.groups)
    children = np.flatnonzero(layout.parent_of >= 0)
    np.add.at(summed, layout.parent_of[children], sums.groups[children])
    direct = sums.groups - summed
    sites = direct[:, COLUMNS.index("sites")]
    assert (sites >= 0).all(), "a group holds at least what is below it"
    hung = np.bincount(layout.leaf_of[layout.leaf_of >= 0], minlength=layout.groups)
    assert (sites[hung == 0] == 0).all()
    assert (direct[hung == 0] == 0).all(), "an inner group is the sum of those below it"


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 3), st.integers(0, 100), st.integers(0, 100))
def test_snapshot_and_replay_equal_a_run_without_interruption(
    seed: int, trees: int, kept_percent: int, died_percent: int
) -> None:
    random = np.random.default_rng(seed)
    fleet = random_fleet(SITES, trees, seed)
    rows = np.flatnonzero(random.random(SITES) < 0.7)
    journal = Journal(fleet)
    speak(journal, random, SITES, 25, 1)
    end = len(journal)
    alone = feed(new_shard(fleet, rows), journal, random, to_seq=end)
    first = feed(new_shard(fleet, rows), journal, random, to_seq=end * kept_percent // 100)
    mark = msgspec.msgpack.decode(msgspec.msgpack.encode(first.mark()), type=Snapshot)
    state = first.state()
    feed(first, journal, random, to_seq=max(first.position, end * died_percent // 100))
    second = new_shard(fleet, rows)
    second.restore(mark, state)
    feed(second, journal, random, to_seq=end)
    assert picture(second) == picture(alone)
    assert second.lasting_holes()[0].tolist() == alone.lasting_holes()[0].tolist()
    told, expected = second.newly_durable(), alone.newly_durable()
    assert [part.tolist() for part in told] == [part.tolist() for part in expected]


def moved(fleet: Fleet, random: np.random.Generator) -> Fleet:
    """Return the fleet with its sites hung elsewhere, in groups of the same trees."""
    return replace(
        fleet, leaf_group={name: random.permutation(leaves) for name, leaves in fleet.leaf_group.items()}
    )


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 3))
def test_fleet_that_grows_and_moves_ends_up_as_if_it_had_always_been_so(seed: int, trees: int) -> None:
    random = np.random.default_rng(seed)
    last = random_fleet(SITES, trees, seed)
    sizes = sorted({int(random.integers(1, SITES + 1)), SITES})
    journal = Journal(last)
    shards = int(random.integers(1, 4))
    fleet = last.take(np.arange(sizes[0]))
    going = [new_shard(fleet, shard_rows(fleet, n, shards), number=n) for n in range(shards)]
    for step, size in enumerate(sizes):
        if step or random.random() < 0.5:
            fleet = moved(last.take(np.arange(size)), random) if size < SITES else last
            layout = Layout.of(fleet)
            for number, shard in enumerate(going):
                before = shard.accounted()
                shard.follow_fleet(fleet, shard_rows(fleet, number, shards), layout)
                assert shard.accounted() == before
        speak(journal, random, size, 12, 1 + 12 * step)
        for number, shard in enumerate(going):
            feed_own(shard, journal, random, fleet=last, number=number, shards=shards)
    layout = Layout.of(last)
    for number, shard in enumerate(going):
        shard.follow_fleet(last, shard_rows(last, number, shards), layout)
    parts = [shard.sums(now_ns=LATE_NS, rates=RATES, timeouts=TIMEOUTS) for shard in going]
    total = reduce(FleetSums.plus, parts)
    root_is_the_sum_of_leaves(total, layout)
    whole = new_shard(last, np.arange(SITES))
    feed(whole, journal, random, to_seq=len(journal))
    alone = whole.sums(now_ns=LATE_NS, rates=RATES, timeouts=TIMEOUTS)
    assert total.groups.tolist() == alone.groups.tolist(), (
        "nor does it matter how sites are spread over shards"
    )
    assert total.oldest_ns.tolist() == alone.oldest_ns.tolist()
    assert total.squares.tolist() == alone.squares.tolist()
    assert sum(shard.accounted() for shard in going) == whole.accounted()


LATE_NS = START_NS + 26 * NS_PER_MINUTE


def feed_own(
    shard: Shard, journal: Journal, random: np.random.Generator, *, fleet: Fleet, number: int, shards: int
) -> None:
    """Feed a shard its own stream: the messages of its sites, at the positions that they have in the whole journal."""
    names = {fleet.site_ids[row] for row in shard_rows(fleet, number, shards).tolist()}
    for seq in range(shard.position + 1, len(journal) + 1):
        site = SiteId(journal.messages[seq - 1][0].rpartition(b".")[2].decode())
        if site in names:
            shard.take(journal.batch(seq, seq))
    shard.position = len(journal)


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.integers(1, 64))
def test_every_site_is_in_one_shard(seed: int, shards: int) -> None:
    fleet = random_fleet(50, 1, seed)
    every: list[NDArray[np.int64]] = [shard_rows(fleet, number, shards) for number in range(shards)]
    assert sorted(np.concatenate(every).tolist()) == list(range(50))
