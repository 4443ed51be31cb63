"""From messages on the wire to money and to groups' energy: what is implausible does not count, and whoever moves counts once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.bidding.settlement import SettledDay, bounds_of, settle_day
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.domain.telemetry import REGISTERS, SUSPECT, TELEMETRY, Flag
from shoal.domain.wire import encode
from shoal.fabric.batch import JournalBatch
from shoal.market.types import Award, AwardedInterval
from shoal.store.database import migrate, open_database
from shoal.store.group_energy import GroupEnergy, energy_of_groups
from shoal.store.history import History
from shoal.store.registry import Registry
from shoal.telemetry.intake import Intake
from tests.integration.store.fleets import GRID, make_fleet
from tests.unit.bidding.plans import DAY
from tests.unit.store.history_cases import write_history
from tests.unit.telemetry.journals import SetClock

FLEET = make_fleet(6)
RESOURCE = next(r for r in FLEET.resources if r.resource_id == "a-feeder")
BOUNDS_NS = bounds_of("ercot-da", DAY.isoformat())
START_NS = int(BOUNDS_NS[0])
STEP_NS = 10 * NS_PER_MINUTE
FEEDER_1, FEEDER_2 = GroupId("feeder-1"), GroupId("feeder-2")
NUMBER = FLEET.group_number
ROOT = NUMBER[GroupId("vpp")]


class Meters:
    """Takes messages as the historian does, and writes what counts; may be started anew at any time."""

    def __init__(self, root: Path) -> None:
        self.root = root / "history"
        self._intake = self._make()

    def _make(self) -> Intake:
        return Intake(
            fleet=FLEET, rows_of=lambda fleet: np.arange(len(fleet.site_ids)), clock=SetClock(START_NS)
        )

    def restart(self) -> None:
        state = self._intake.state()
        self._intake = self._make()
        self._intake.restore(state)

    def send(self, *messages: tuple[int, int, NDArray[Any]]) -> None:
        """Let messages arrive: instant, site row, records; then write what counts of them."""
        batch = JournalBatch.of(
            [
                (b"tele.0." + FLEET.site_ids[row].encode(), encode(records, oldest_seq=1))
                for _, row, records in messages
            ],
            timestamp_ns=np.array([at_ns for at_ns, _, _ in messages], dtype=np.int64),
        )
        taken = self._intake.take(batch)
        write_history(self.root, taken.records, taken.site_no, taken.arrival_ns)

    def send_all(self, by_row: Mapping[int, NDArray[Any]]) -> None:
        """Let every record of some sites arrive by itself, a second after it was taken."""
        messages = [
            (int(records["ts_ns"][i]) + NS_PER_S, row, records[i : i + 1])
            for row, records in by_row.items()
            for i in range(len(records))
        ]
        self.send(*sorted(messages, key=lambda message: message[0]))


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(tmp_path / "history")
    yield history
    history.close()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    url = f"sqlite:///{tmp_path / 'registry.db'}"
    migrate(url)
    engine = open_database(url)
    registry = Registry(engine)
    registry.load_fleet(FLEET, valid_from_ns=0)
    yield registry
    engine.dispose()


def records_at(ts_ns: NDArray[np.int64], row: int) -> NDArray[Any]:
    """Return samples of a site that charges with a whole number of kilowatts for the whole day."""
    records = TELEMETRY.empty(len(ts_ns))
    records["ts_ns"], records["seq"] = ts_ns, np.arange(1, len(ts_ns) + 1)
    records["battery_w"] = watts(row)
    for k, name in enumerate(REGISTERS):
        records[name] = register_wh(ts_ns, row, k)
    return records


def watts(row: int) -> int:
    return 600 * (1 + row % 4)


def register_wh(ts_ns: Any, row: int, register: int) -> Any:
    """Return what a register says: each runs at a steady pace of its own, full watt-hours every minute."""
    minutes = (ts_ns - START_NS) // NS_PER_MINUTE + 10_000
    return minutes * (watts(row) // 60 if register == 0 else register) + 1_000 * row


def net_wh(*rows: int) -> int:
    """Return what sites take in in an hour: the second register, of what they gave, runs on by 1 Wh a minute."""
    return sum(watts(row) - 60 for row in rows)


def a_day() -> NDArray[np.int64]:
    return np.arange(START_NS - NS_PER_HOUR, BOUNDS_NS[-1] + NS_PER_HOUR + 1, STEP_NS)


def settled(history: History, **more: Any) -> SettledDay:
    award = Award(
        resource_id=RESOURCE.resource_id,
        market_id="ercot-da",
        settlement_point=RESOURCE.settlement_point,
        delivery_date=DAY.isoformat(),
        bid_id="b",
        version=1,
        published_ns=0,
        intervals=tuple(
            AwardedInterval(
                start_ns=int(begin), end_ns=int(end), energy_wh=1_000 * (i % 5), price_per_mwh=20.0 + i
            )
            for i, (begin, end) in enumerate(itertools.pairwise(BOUNDS_NS))
        ),
    )
    return settle_day(
        fleet=FLEET, resource=RESOURCE, award=award, history=history, bounds_ns=BOUNDS_NS, **more
    )


def amounts(day: SettledDay) -> tuple[list[int], list[int], int]:
    delivered = [interval.delivered_wh for interval in day.statement.intervals]
    return delivered, day.owner_amount.tolist(), day.operator_amount


def spoiled(records: NDArray[Any], at_ns: int, **values: int) -> NDArray[Any]:
    records = records.copy()
    for name, value in values.items():
        records[name][records["ts_ns"] == at_ns] = value
    return records


HOUR_NS = START_NS + 12 * NS_PER_HOUR


@pytest.mark.parametrize("at_ns", [HOUR_NS + 3 * STEP_NS, HOUR_NS])
@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"charge_wh": 3}, Flag.REGISTER_BACKWARDS),
        ({"discharge_wh": 3}, Flag.REGISTER_BACKWARDS),
        ({"charge_wh": 9_000_000}, Flag.OVER_NAMEPLATE),
        ({"battery_w": 900_000, "charge_wh": 400_000}, Flag.OVER_NAMEPLATE),
    ],
)
def test_suspect_reading_of_the_delivery_hour_does_not_change_what_is_settled(
    tmp_path: Path, history: History, at_ns: int, values: dict[str, int], flag: Flag
) -> None:
    sound = records_at(a_day(), 1)
    clean = Meters(tmp_path / "clean")
    meters = Meters(tmp_path)
    for one, records in ((clean, sound), (meters, spoiled(sound, at_ns, **values))):
        one.send_all({1: records, 3: records_at(a_day(), 3), 5: records_at(a_day(), 5)})

    marked = history.query(
        f"SELECT ts_ns, flags FROM telemetry WHERE flags & {int(SUSPECT)} <> 0"
    ).to_pylist()
    assert {"ts_ns": at_ns, "flags": marked[0]["flags"]} == marked[0]
    assert marked[0]["flags"] & flag
    wanted = History(clean.root)
    assert amounts(settled(history)) == amounts(settled(wanted))
    assert settled(history).statement.delivered_wh == 24 * net_wh(1, 3, 5)
    wanted.close()


def test_late_reading_that_contradicts_the_rest_does_not_change_what_is_settled(
    tmp_path: Path, history: History
) -> None:
    """Between what has come before, a late sample cannot be judged by its predecessor: settlement sets it aside."""
    meters, late_ns = Meters(tmp_path), HOUR_NS + 8 * NS_PER_HOUR
    records = spoiled(records_at(a_day(), 1), late_ns, charge_wh=7_000_000)
    late = records["ts_ns"] == late_ns
    meters.send_all({1: records[~late], 3: records_at(a_day(), 3), 5: records_at(a_day(), 5)})
    meters.send((int(BOUNDS_NS[-1]) + 2 * NS_PER_HOUR, 1, records[late]))
    day = settled(history)
    assert [i.delivered_wh for i in day.statement.intervals] == [net_wh(1, 3, 5)] * 24
    assert day.estimated_intervals == 2


def test_device_that_sends_its_registers_by_turns_is_settled_by_them(
    tmp_path: Path, history: History
) -> None:
    ts_ns = np.concatenate([a_day(), a_day() + STEP_NS // 2])
    ts_ns.sort()
    records = records_at(ts_ns, 1)
    every = int(records["present"][0])
    records["present"][::2], records["present"][1::2] = every & ~0b10000000, every & ~0b1000000
    records["discharge_wh"][::2] = records["charge_wh"][1::2] = 0
    meters = Meters(tmp_path)
    write_history(meters.root, records, np.full(len(records), 1), records["ts_ns"])
    delivered = [interval.delivered_wh for interval in settled(history).statement.intervals]
    assert delivered == [net_wh(1)] * 24


def test_site_is_settled_while_it_is_in_the_resources_group(
    tmp_path: Path, history: History, registry: Registry
) -> None:
    """Site 1 leaves at 12:20, site 0 comes at 15:30 and leaves at 18:00; they share by what they moved meanwhile."""
    meters = Meters(tmp_path)
    meters.send_all({row: records_at(a_day(), row) for row in range(6)})
    left_ns, came_ns = HOUR_NS + 20 * NS_PER_MINUTE, HOUR_NS + 210 * NS_PER_MINUTE
    registry.move_site(FLEET.site_ids[1], GRID, FEEDER_1, left_ns)
    registry.move_site(FLEET.site_ids[0], GRID, FEEDER_2, came_ns)
    registry.move_site(FLEET.site_ids[0], GRID, FEEDER_1, HOUR_NS + 6 * NS_PER_HOUR)

    day = settled(history, memberships=registry.memberships)

    others, net_1, net_0 = net_wh(3, 5), net_wh(1), net_wh(0)
    delivered = [interval.delivered_wh for interval in day.statement.intervals]
    wanted = [others + net_1] * 12 + [others + net_1 // 3] + [others] * 2
    wanted += [others + net_0 // 2, others + net_0, others + net_0] + [others] * 6
    assert delivered == wanted
    assert day.rows.tolist() == [0, 1, 3, 5]
    assert day.estimated_intervals == 0
    assert int(day.owner_amount.sum()) + day.operator_amount == day.statement.net_amount
    moved = [
        2.5 * (watts(0) + 60),
        (12 + 1 / 3) * (watts(1) + 60),
        24 * (watts(3) + 60),
        24 * (watts(5) + 60),
    ]
    owners = int(day.owner_amount.sum())
    assert day.owner_amount.tolist() == pytest.approx([owners * m / sum(moved) for m in moved], abs=1)


def plain_energy(registry: Registry, minutes: int, absent: set[int]) -> NDArray[np.int64]:
    """Return each group's own energy, one minute and one site at a time; the last line is of no group."""
    own = np.zeros((len(FLEET.groups) + 1, 4), dtype=np.int64)
    for minute in range(minutes):
        at_ns = START_NS + minute * NS_PER_MINUTE
        leaves = registry.fleet_at(at_ns).leaf_group[GRID].tolist()
        for row in set(range(len(leaves))) - absent:
            for k in range(4):
                own[leaves[row], k] += register_wh(at_ns + NS_PER_MINUTE, row, k) - register_wh(at_ns, row, k)
    return own


def without(fleet: Fleet, row: int) -> Fleet:
    fleet.leaf_group[GRID][row] = -1
    return fleet


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_groups_have_what_their_sites_have_however_they_move(
    tmp_path: Path, history: History, registry: Registry, seed: int
) -> None:
    """Moves at any minute, messages late and in disorder, a restart among them, a suspect reading at a cut, a silent site."""
    minutes, silent = 150, 4
    rng = np.random.default_rng(seed)
    end_ns = START_NS + minutes * NS_PER_MINUTE
    for _ in range(14):
        row, at_ns = int(rng.integers(6)), START_NS + int(rng.integers(-20, minutes + 20)) * NS_PER_MINUTE
        registry.move_site(FLEET.site_ids[row], GRID, (FEEDER_1, FEEDER_2)[int(rng.integers(2))], at_ns)
    registry.load_fleet(without(registry.fleet_at(end_ns), 2), valid_from_ns=START_NS + 97 * NS_PER_MINUTE)
    spans = registry.memberships(GRID, START_NS, end_ns)
    cut_ns = int(spans.start_ns[np.flatnonzero(spans.start_ns > START_NS)[0]])
    cut_row = int(spans.site_row[np.flatnonzero(spans.start_ns > START_NS)[0]])

    messages: list[tuple[int, int, NDArray[Any]]] = []
    for row in set(range(6)) - {silent}:
        records = records_at(np.arange(START_NS - NS_PER_HOUR, end_ns + NS_PER_HOUR, NS_PER_MINUTE), row)
        if row == cut_row:
            records = spoiled(records, cut_ns, charge_wh=1)
        for part in np.array_split(records, 30):
            late_ns = int(rng.choice([0, 0, 40, 90])) * NS_PER_MINUTE
            messages.append((int(part["ts_ns"][-1]) + NS_PER_S + late_ns, row, part))
    messages.sort(key=lambda message: message[0])
    meters = Meters(tmp_path)
    for part in np.array_split(np.arange(len(messages)), 4):
        meters.send(*[messages[i] for i in part])
        meters.restart()
    # What had no place in the window of what may come out of turn, a device sends again, with what it has no word of.
    end_of_all_ns = max(at_ns for at_ns, _, _ in messages)
    again = sorted(messages, key=lambda message: int(message[2]["seq"][0]))
    meters.send(*[(end_of_all_ns + i, row, part) for i, (_, row, part) in enumerate(again)])

    found = energy_of_groups(history, spans, FLEET)

    own = plain_energy(registry, minutes, {silent})
    for leaf in (FEEDER_1, FEEDER_2):
        assert found.energy_wh[NUMBER[leaf]].tolist() == own[NUMBER[leaf]].tolist()
    assert found.energy_wh[ROOT].tolist() == own[[NUMBER[FEEDER_1], NUMBER[FEEDER_2]]].sum(axis=0).tolist()
    assert found.energy_wh[-1].tolist() == own[-1].tolist()
    assert own[-1].any()
    assert_adds_up(found)
    assert found.total_wh[0] == sum(minutes * watts(row) // 60 for row in range(6) if row != silent)
    assert (found.total_sites, found.total_without_reading) == (6, 1)
    assert found.sites[ROOT] == 6
    assert found.total_coverage_frac == pytest.approx(5 / 6)


def assert_adds_up(found: GroupEnergy) -> None:
    """Fail unless the leaves add up to the root, and the root and no group to all sites, to the watt-hour."""
    leaves = found.energy_wh[[NUMBER[FEEDER_1], NUMBER[FEEDER_2]]].sum(axis=0)
    assert leaves.tolist() == found.energy_wh[ROOT].tolist()
    assert (found.energy_wh[ROOT] + found.energy_wh[-1]).tolist() == found.total_wh.tolist()


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_or_counted_twice_between_rare_readings(
    tmp_path: Path, history: History, registry: Registry, seed: int
) -> None:
    """Sites that report at random, hours apart, and move at any nanosecond."""
    rng = np.random.default_rng(seed)
    end_ns = START_NS + 30 * NS_PER_HOUR
    total = np.zeros(4, dtype=np.int64)
    for row in range(6):
        ts_ns = np.sort(rng.integers(START_NS, end_ns, int(rng.integers(1, 9))))
        ts_ns = ts_ns // 1_000_000 * 1_000_000
        records = records_at(ts_ns, row)
        write_history(tmp_path / "history", records, np.full(len(ts_ns), row), ts_ns)
        total += [int(records[name][-1] - records[name][0]) for name in REGISTERS]
        for _ in range(3):
            group = (FEEDER_1, FEEDER_2)[int(rng.integers(2))]
            registry.move_site(FLEET.site_ids[row], GRID, group, int(rng.integers(START_NS, end_ns)))
    found = energy_of_groups(history, registry.memberships(GRID, START_NS, end_ns), FLEET)
    assert_adds_up(found)
    assert found.total_wh.tolist() == total.tolist()
    assert found.total_without_reading == 0
    assert 0 < found.total_coverage_frac < 1


def test_without_history_everything_is_unknown(history: History, registry: Registry) -> None:
    found = energy_of_groups(history, registry.memberships(GRID, START_NS, START_NS + NS_PER_HOUR), FLEET)
    assert not found.energy_wh.any()
    assert found.sites_without_reading.tolist() == found.sites.tolist()
    assert found.total_coverage_frac == 0
    assert np.isnan(found.coverage_frac[NUMBER[GroupId("west")]])
