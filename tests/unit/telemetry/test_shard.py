"""A shard is a function of its journal: whenever it dies, the next one ends up where it would have been."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.domain.directory import Directory
from shoal.domain.errors import CorruptStateError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S
from shoal.domain.telemetry import TELEMETRY
from shoal.domain.twins import AskTwins, ShardAnswer
from shoal.telemetry import shard as shard_module
from shoal.telemetry.arrival import arrivals
from shoal.telemetry.decode import Decoder
from shoal.telemetry.shard import Shard, Snapshot
from shoal.twin.conditions import Condition
from shoal.twin.layout import Layout
from shoal.twin.losses import QUIET_S
from tests.integration.store.fleets import GRID, make_fleet
from tests.unit.telemetry.shards import (
    RATES,
    START_NS,
    TIMEOUTS,
    Journal,
    StillClock,
    new_shard,
    picture,
)

FLEET = make_fleet(6)
ROWS = np.array([1, 2, 4], dtype=np.int64)
END_NS = START_NS + 91 * NS_PER_MINUTE


@pytest.fixture
def journal() -> Journal:
    """Return 90 minutes of three sites, with repeats, disorder, a hole that is filled late, and rubbish."""
    journal = Journal(FLEET)
    for minute in range(1, 91):
        for row in ROWS.tolist():
            if row == 2 and minute == 20:
                continue
            journal.say(row, minute)
            if minute % 7 == row % 7:
                journal.say(row, minute)
            if minute % 11 == 0 and row == 4:
                journal.say(row, minute - 3, minute - 2)
        if minute == 40:
            journal.say(2, 20)
        if minute == 50:
            journal.say(1, 50, soc_frac=np.nan, version=1)
            journal.append(b"tele.0.nobody", b"x")
    return journal


def replay(shard: Shard, journal: Journal, *, to_seq: int | None = None, size: int = 17) -> Shard:
    """Let the shard take what follows its position, in batches."""
    end = len(journal) if to_seq is None else to_seq
    while shard.position < end:
        last = min(shard.position + size, end)
        shard.take(journal.batch(shard.position + 1, last))
    return shard


def keep(shard: Shard) -> tuple[Snapshot, dict[str, NDArray[Any]]]:
    """Return what is committed, as it travels."""
    mark = msgspec.msgpack.decode(msgspec.msgpack.encode(shard.mark()), type=Snapshot)
    return mark, shard.state()


def test_shard_counts_what_it_took(journal: Journal) -> None:
    shard = replay(new_shard(FLEET, ROWS), journal)
    figures = shard.statistics()
    assert (figures.sites, figures.position, figures.applied) == (3, len(journal), 3 * 90)
    assert (figures.deferred, figures.lost, figures.quarantined, figures.pending) == (0, 0, 2, 0)
    assert shard.accounted() == 3 * 90
    records = sum((len(payload) - 24) // 50 for _, payload in journal.messages if payload[2:3] == b"\x02")
    assert figures.applied + figures.duplicates == records


def test_what_is_set_aside_is_told_with_its_arrival(journal: Journal) -> None:
    shard = new_shard(FLEET, ROWS)
    rejected = [one for seq in range(1, len(journal) + 1) for one in shard.take(journal.batch(seq, seq))]
    assert [(one.reason, one.site_id) for one in rejected] == [
        ("not_a_number", FLEET.site_ids[1]),
        ("unknown_site", "nobody"),
    ]
    assert all(one.arrival_ns in journal.arrivals_ns for one in rejected)


@pytest.mark.parametrize("at", [0, 1, 30, 200])
def test_successor_of_a_killed_shard_ends_up_in_the_same_place(journal: Journal, at: int) -> None:
    """The predecessor dies with 30 positions taken and not yet kept."""
    alone = replay(new_shard(FLEET, ROWS), journal)
    first = replay(new_shard(FLEET, ROWS), journal, to_seq=at)
    mark, state = keep(first)
    replay(first, journal, to_seq=at + 30)
    second = new_shard(FLEET, ROWS)
    second.restore(mark, state)
    assert second.position == at
    assert picture(replay(second, journal, size=5)) == picture(alone)


def test_what_is_kept_does_not_change_when_the_shard_goes_on(journal: Journal) -> None:
    shard = replay(new_shard(FLEET, ROWS), journal, to_seq=40)
    before = picture(shard)
    mark, state = keep(shard)
    replay(shard, journal)
    again = new_shard(FLEET, ROWS)
    again.restore(mark, state)
    assert picture(again) == before


def test_site_registered_since_the_snapshot_begins_anew_and_the_others_go_on(journal: Journal) -> None:
    first = replay(new_shard(FLEET, ROWS), journal, to_seq=60)
    second = new_shard(FLEET, np.array([1, 2, 4, 5]))
    second.restore(*keep(first))
    assert (second.position, second.accounted()) == (60, first.accounted())
    answer = second.answer(AskTwins(), t_ns=START_NS, token=1)
    latest = np.frombuffer(answer.latest, dtype=TELEMETRY.dtype)
    assert latest["ts_ns"][3] == 0
    assert latest["ts_ns"][:3].all()


def test_site_that_left_the_shard_since_the_snapshot_is_left_out(journal: Journal) -> None:
    first = replay(new_shard(FLEET, ROWS), journal)
    for fleet, rows in ((FLEET, np.array([1, 4])), (FLEET.take(np.arange(4)), np.array([1, 3]))):
        second = new_shard(fleet, rows)
        second.restore(*keep(first))
        kept = np.isin(rows, ROWS)
        assert second.accounted() == 90 * kept.sum()


@pytest.mark.parametrize("damage", ["site_no", "twins", "dtype", "length"])
def test_snapshot_that_does_not_fit_is_refused(journal: Journal, damage: str) -> None:
    mark, state = keep(replay(new_shard(FLEET, ROWS), journal, to_seq=20))
    if damage == "dtype":
        state["twins"] = np.zeros(3, dtype=[("watts", "<i4")])
    elif damage == "length":
        state["twins"] = state["twins"][:2]
    else:
        del state[damage]
    with pytest.raises(CorruptStateError, match="shard 0"):
        new_shard(FLEET, ROWS).restore(mark, state)


def test_device_hears_what_is_durable_and_only_news(journal: Journal) -> None:
    shard = new_shard(FLEET, ROWS)
    assert len(shard.newly_durable()[0]) == 0
    replay(shard, journal, to_seq=4)
    rows, _ = shard.newly_durable()
    assert set(rows.tolist()) <= set(ROWS.tolist())
    assert len(shard.newly_durable()[0]) == 0
    replay(shard, journal)
    rows, seq = shard.newly_durable()
    assert dict(zip(rows.tolist(), seq.tolist(), strict=True)) == dict.fromkeys(ROWS.tolist(), 90)


def test_device_hears_nothing_beyond_a_hole() -> None:
    journal = Journal(FLEET)
    journal.say(1, 1, 2)
    journal.say(1, 4, 5)
    journal.say(1, 3)
    shard = replay(new_shard(FLEET, ROWS), journal, to_seq=2)
    assert [list(part) for part in shard.newly_durable()] == [[1], [2]]
    replay(shard, journal)
    assert [list(part) for part in shard.newly_durable()] == [[1], [5]]


def test_only_a_hole_that_lasts_is_asked_for() -> None:
    journal = Journal(FLEET)
    journal.say(1, 1)
    journal.say(1, 3)
    journal.say(4, 5, oldest_seq=1)
    shard = replay(new_shard(FLEET, ROWS), journal)

    def holes() -> dict[int, int]:
        rows, missing = shard.lasting_holes()
        return dict(zip(rows.tolist(), missing.tolist(), strict=True))

    assert holes() == {}, "it may fill by itself"
    assert holes() == {1: 2, 4: 1}
    assert holes() == {1: 2, 4: 1}, "it is asked for until it is filled"
    journal.say(1, 2)
    journal.say(1, 5)
    journal.say(4, 1)
    replay(shard, journal)
    assert holes() == {}, "one hole is filled and there is another; the other moved"
    assert holes() == {1: 4, 4: 2}


def numbers(answer: ShardAnswer) -> list[int]:
    rows: list[int] = np.frombuffer(answer.rows, dtype=np.int64).tolist()
    return rows


def test_answer_is_the_latest_record_of_each_site(journal: Journal) -> None:
    shard = replay(new_shard(FLEET, ROWS, number=3), journal)
    answer = shard.answer(AskTwins(), t_ns=START_NS, token=7)
    assert (answer.t_ns, answer.shard, answer.token, answer.sites) == (START_NS, 3, 7, 3)
    assert numbers(answer) == ROWS.tolist()
    latest = np.frombuffer(answer.latest, dtype=TELEMETRY.dtype)
    assert latest["seq"].tolist() == [90, 90, 90]
    assert latest["battery_w"].tolist() == [200, 300, 500]


def test_answer_about_some_sites_leaves_out_those_of_others(journal: Journal) -> None:
    shard = replay(new_shard(FLEET, ROWS), journal)
    asked = np.array([4, 0, 1, 99, -1, 4], dtype=np.int64)
    answer = shard.answer(AskTwins(rows=asked.tobytes()), t_ns=START_NS, token=1)
    assert numbers(answer) == [4, 1, 4]
    latest = np.frombuffer(answer.latest, dtype=TELEMETRY.dtype)
    assert latest["battery_w"].tolist() == [500, 200, 500]


def test_whole_shard_is_answered_in_parts_that_fit_a_message(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_module, "MOST_RECORDS", 2)
    shard = replay(new_shard(FLEET, ROWS), journal)
    parts = [numbers(shard.answer(AskTwins(first=k), t_ns=0, token=1)) for k in (0, 2, 3, 2**63, -5)]
    assert parts == [[1, 2], [4], [], [], [1, 2]]


def test_largest_part_fits_the_engines_largest_message() -> None:
    assert shard_module.MOST_RECORDS * (8 + TELEMETRY.dtype.itemsize) < 2 << 20


def test_shards_together_sum_to_the_fleet(journal: Journal) -> None:
    both = [
        replay(new_shard(FLEET, ROWS), journal),
        new_shard(FLEET, np.array([0, 3, 5]), number=1),
    ]
    one, other = (shard.sums(now_ns=END_NS, rates=RATES, timeouts=TIMEOUTS) for shard in both)
    total = one.plus(other)
    root = next(n for n, group in enumerate(FLEET.groups) if group.group_id == "vpp")
    found = [int(total.column(name)[root]) for name in ("sites", "fresh", "unknown", "power_w_battery")]
    assert found == [6, 3, 3, 1_000]


def test_conditions_tell_who_is_silent(journal: Journal) -> None:
    shard = replay(new_shard(FLEET, np.array([1, 2, 4, 5])), journal)
    silent = shard.look(now_ns=END_NS, fresh_ns=180 * NS_PER_S).conditions & Condition.SILENT
    assert silent.astype(bool).tolist() == [False, False, False, True]
    late_ns = END_NS + 180 * NS_PER_S
    silent = shard.look(now_ns=late_ns, fresh_ns=180 * NS_PER_S).conditions & Condition.SILENT
    assert silent.all()


def test_sites_that_gave_samples_up_are_named_until_they_are_quiet_across_a_restart() -> None:
    journal = Journal(FLEET)
    for row in (1, 2):
        journal.say(row, 1, 2, 3)
    journal.say(1, 9, oldest_seq=8)  # 4 to 7 will never come
    journal.say(2, 4)
    shard = replay(new_shard(FLEET, ROWS), journal)
    assert shard.statistics().lost == 4
    last_ns = journal.arrivals_ns[2]
    quiet_ns = last_ns + int(QUIET_S * NS_PER_S)

    def losing(shard: Shard, now_ns: int) -> dict[int, int]:
        look = shard.look(now_ns=now_ns, fresh_ns=TIMEOUTS.fresh_ns[0])
        assert np.array_equal((look.conditions & Condition.LOST) != 0, look.lost > 0)
        return {int(look.rows[at]): int(look.lost[at]) for at in np.flatnonzero(look.lost)}

    assert losing(shard, last_ns) == {1: 4}
    again = new_shard(FLEET, ROWS)
    again.restore(shard.mark(), shard.state())
    journal.say(1, 20, oldest_seq=20, arrival_ns=quiet_ns - 1)  # neither will 10 to 19, nor 8
    replay(again, journal)
    assert losing(again, quiet_ns) == {1: 15}
    assert losing(shard, quiet_ns) == {}
    before = {name: array for name, array in shard.state().items() if name != "losses"}
    again.restore(shard.mark(), before)  # a snapshot that was made before there were losses in it
    assert again.statistics().lost == 4


def grown(fleet: Fleet, name: str) -> Fleet:
    """Return the fleet with one more site that is like the first."""
    more = fleet.take(np.array([*range(len(fleet.site_ids)), 0]))
    return replace(more, site_ids=(*fleet.site_ids, SiteId(name)))


def test_fleet_that_changes_keeps_every_twin(journal: Journal) -> None:
    shard = replay(new_shard(FLEET, ROWS), journal, to_seq=100)
    before = shard.answer(AskTwins(), t_ns=0, token=1)
    accounted = shard.accounted()
    leaves = FLEET.leaf_group[GRID].copy()
    leaves[1], leaves[2] = leaves[2], leaves[1]
    fleet = grown(replace(FLEET, leaf_group={**FLEET.leaf_group, GRID: leaves}), "newcomer")
    shard.follow_fleet(fleet, np.array([*ROWS.tolist(), 6]), Layout.of(fleet))
    after = shard.answer(AskTwins(), t_ns=0, token=1)
    assert numbers(after) == [*ROWS.tolist(), 6]
    assert after.latest[: len(before.latest)] == before.latest
    assert (shard.accounted(), shard.position) == (accounted, 100)
    journal.append(b"tele.0.newcomer", journal.messages[0][1])
    replay(shard, journal)
    assert shard.accounted() == 3 * 90 + 1


def test_arrivals_are_as_soon_after_the_newest_record_as_the_clock_allows() -> None:
    clock = StillClock()
    clock.doubt_ns = 90 * NS_PER_S
    journal = Journal(FLEET)
    earliest_ns = START_NS + 10 * NS_PER_MINUTE
    for newest, _ in ((9, "before"), (11, "between"), (20, "after")):
        journal.say(1, newest - 1, newest, arrival_ns=earliest_ns)
    decoded = Decoder(directory=Directory.of_fleet(FLEET, ROWS)).decode(journal.batch(1, 3))
    found = arrivals(decoded, clock)
    assert found.tolist() == [
        *[earliest_ns] * 2,
        *[earliest_ns + 60 * NS_PER_S] * 2,
        *[earliest_ns + 90 * NS_PER_S] * 2,
    ]
