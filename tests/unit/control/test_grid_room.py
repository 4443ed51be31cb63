"""Limits of groups and connections in a cycle: envelopes end, silence narrows, relief counts when it is there, all is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.control.arbiter import Arbiter, EventNow, Running, Share
from shoal.control.dispatch import Dispatcher
from shoal.control.grid_limits import GridLimits
from shoal.control.grid_room import GroupNow, group_sentence, tightest
from shoal.control.leases import LeaseBook
from shoal.domain.errors import UnavailableError
from shoal.domain.fleet import Fleet, Group
from shoal.domain.ids import GroupId, HierarchyId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.domain.orders import Envelope
from shoal.domain.telemetry import ALL_PRESENT, TELEMETRY, mask_of
from shoal.programs.arbitration import Arbitration
from shoal.programs.explain import grant_sentence
from shoal.programs.program import default_book
from tests.unit.control.grids import Source, envelope, limit, tree_fleet
from tests.unit.control.plants import OPTIONS, START_NS, award

FRESH_NS = 180 * NS_PER_S
LEASE_NS = 600 * NS_PER_S
# a substation with two feeders of two homes each
FLEET = tree_fleet([-1, 0, 0], [1, 1, 2, 2])


class Cycle:
    """Homes of 5 kW that draw 1 kW each, and what one cycle has them do."""

    def __init__(self, source: Source, fleet: Fleet = FLEET, **options: Any) -> None:
        self.fleet = fleet
        sites = len(fleet.site_ids)
        self.grid = GridLimits(fleet, source, **options)
        self.grid.refresh(START_NS)
        self.arbiter = Arbiter(default_book(), fleet.nameplate, grid=self.grid)
        self.leases = LeaseBook(sites)
        self.latest = TELEMETRY.empty(sites)
        self.latest["ts_ns"] = START_NS
        self.latest["soc_frac"] = 0.6
        self.latest["load_w"] = 1_000
        self.number = 0

    def dispatch(self, energy_wh: int, name: str = "vpp", program: str = "market") -> Running:
        rows = np.arange(len(self.fleet.site_ids), dtype=np.int64)
        self.number += 1
        made = Dispatcher(
            resource_id=name,
            rows=rows,
            nameplate=self.fleet.nameplate,
            options=OPTIONS,
            leases=self.leases,
            number=self.number,
            program=program,
        )
        return Running(dispatcher=made, award=award(energy_wh))

    def share(self, *running: Running, t_ns: int = START_NS, **more: Any) -> tuple[list[Share], Arbitration]:
        self.latest["ts_ns"][self.latest["ts_ns"] > START_NS - FRESH_NS] = t_ns
        return self.arbiter.share(
            t_ns=t_ns,
            step_ns=NS_PER_MINUTE,
            latest=self.latest,
            running=running,
            events=more.get("events", []),
            halted=np.zeros(len(self.fleet.site_ids), dtype=np.bool_),
            fresh_ns=FRESH_NS,
            lease_ns=LEASE_NS,
        )

    def group(self, name: str) -> GroupNow:
        assert self.arbiter.room is not None
        return next(one for one in self.arbiter.room.groups() if one.group_id == name)


def sums(power_w: NDArray[np.int64]) -> tuple[int, int]:
    return int(power_w[:2].sum()), int(power_w[2:].sum())


def test_feeder_limit_moves_power_to_the_other_feeder_and_tells_its_price() -> None:
    cycle = Cycle(Source(limit("g1", 4_000, 4_000)))
    (share,), done = cycle.share(cycle.dispatch(10_000))
    assert sums(share.power_w) == (2_000, 8_000), "load of 2 kW and 2 kW of charging are 4 kW"
    assert not done.losses
    (bound,) = cycle.group("g1").bound
    assert bound.held_w == 0
    assert bound.shadow_price_per_w > 0
    assert cycle.group("g1").flow_w == 4_000
    assert "moves power to other sites" in group_sentence(cycle.group("g1"))


def test_what_a_feeder_keeps_back_is_put_down_to_it() -> None:
    cycle = Cycle(Source(limit("g1", 4_000, 4_000), limit("g0", 9_000, None)))
    (share,), done = cycle.share(cycle.dispatch(16_000))
    assert sums(share.power_w) == (2_000, 3_000)
    losses = {loss.taken_by: loss.power_w for loss in done.losses}
    assert sum(losses.values()) == 16_000 - 5_000
    assert set(losses) <= {"g0", "g1", ""}
    assert all(loss.reason == "limit" for loss in done.losses)
    told = grant_sentence(done.grants[0])
    assert "g0 can carry no more" in told


def test_margin_stays_free_and_never_widens_a_limit() -> None:
    cycle = Cycle(Source(limit("g1", 4_000, 0)), margin_frac=0.1)
    (share,), _ = cycle.share(cycle.dispatch(16_000))
    assert sums(share.power_w)[0] == 1_600
    assert cycle.group("g1").export_limit_w == 0


def test_envelope_counts_until_it_ends_and_what_follows_counts_before() -> None:
    """A lease of ten minutes reaches beyond an envelope that ends in five: the static limit counts already."""
    ends_ns = START_NS + 20 * NS_PER_MINUTE
    source = Source(
        limit("g1", 4_000, 4_000), envelopes=(envelope("g1", (START_NS - 1, ends_ns), 8_000, 8_000),)
    )
    got = {}
    for minute in (0, 9, 11, 21):
        cycle = Cycle(source)
        (share,), _ = cycle.share(cycle.dispatch(16_000), t_ns=START_NS + minute * NS_PER_MINUTE)
        got[minute] = (sums(share.power_w)[0], cycle.group("g1").source)
    assert got == {
        0: (6_000, "envelope"),
        9: (6_000, "envelope"),
        11: (2_000, "limit"),
        21: (2_000, "limit"),
    }


def test_envelope_ahead_narrows_as_soon_as_a_lease_reaches_it() -> None:
    source = Source(
        limit("g1", 8_000, 8_000),
        envelopes=(envelope("g1", (START_NS + 8 * NS_PER_MINUTE, START_NS + NS_PER_HOUR), 3_000, 0),),
    )
    cycle = Cycle(source)
    (share,), _ = cycle.share(cycle.dispatch(16_000))
    assert sums(share.power_w)[0] == 1_000


def test_stale_envelope_is_not_believed() -> None:
    source = Source(
        limit("g1", 4_000, 4_000),
        envelopes=(envelope("g1", (0, START_NS + NS_PER_HOUR), 9_000, 9_000, issued_ns=0),),
    )
    cycle = Cycle(source, stale_after_ns=NS_PER_HOUR)
    (share,), _ = cycle.share(cycle.dispatch(16_000))
    assert sums(share.power_w)[0] == 2_000


def test_store_that_cannot_be_read_leaves_limits_and_lets_envelopes_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends_ns = START_NS + 20 * NS_PER_MINUTE
    source = Source(limit("g1", 4_000, 4_000), envelopes=(envelope("g1", (0, ends_ns), 8_000, 8_000),))
    cycle = Cycle(source)

    def gone() -> int:
        raise UnavailableError("the database", "away")

    monkeypatch.setattr(source, "version", gone)
    assert not cycle.grid.refresh(ends_ns)
    (share,), _ = cycle.share(cycle.dispatch(16_000), t_ns=ends_ns)
    assert sums(share.power_w)[0] == 2_000
    with pytest.raises(UnavailableError):
        GridLimits(FLEET, source).refresh(START_NS)


def test_silent_site_is_taken_from_the_safe_side_and_said_so() -> None:
    cycle = Cycle(Source(limit("g1", 9_000, 9_000)))
    cycle.latest["ts_ns"][1] = 1
    (share,), _ = cycle.share(cycle.dispatch(16_000))
    plate = FLEET.nameplate[1]
    worst_w = 1_000 + round((plate["charge_limit_kw"] + plate["ev_limit_kw"]) * 1e3)
    assert share.power_w[0] == 9_000 - 1_000 - worst_w
    assert share.power_w[1] == 0
    group = cycle.group("g1")
    assert group.silent_sites == 1
    assert "1 of 2 sites are silent" in group_sentence(group)


def test_silence_alone_never_asks_anybody_to_move() -> None:
    cycle = Cycle(Source(limit("g1", 3_000, 100)))
    cycle.latest["ts_ns"][1] = 1
    (share,), done = cycle.share(cycle.dispatch(2_000))
    assert share.power_w[0] == 0, "no room for what is not known"
    assert sums(share.power_w) == (0, 2_000)
    assert not done.losses


def test_own_connection_of_a_silent_site_bounds_what_it_may_do() -> None:
    cycle = Cycle(Source(limit("g1", 9_000, 9_000), limit("s1", 2_000, 0, "site")))
    cycle.latest["ts_ns"][1] = 1
    (share,), _ = cycle.share(cycle.dispatch(16_000))
    assert share.power_w[0] == 5_000
    assert cycle.group("g1").high_w == 5_000 + 1_000 + 2_000


def test_connection_keeps_its_battery_with_the_present_load() -> None:
    cycle = Cycle(Source(limit("s0", 3_000, 500, "site")))
    cycle.latest["solar_w"][0] = -1_200
    (share,), _ = cycle.share(cycle.dispatch(20_000))
    assert share.power_w[0] == 3_000 + 200
    (share,), _ = cycle.share(cycle.dispatch(-20_000))
    assert share.power_w[0] == -300
    assert cycle.arbiter.limited_sites == 1


def test_power_that_is_not_measured_is_taken_at_its_rating() -> None:
    plate = FLEET.nameplate.copy()
    plate["solar_limit_kw"] = 4.0
    cycle = Cycle(Source(limit("g1", None, 3_000)), replace(FLEET, nameplate=plate))
    cycle.latest["present"] = ALL_PRESENT & ~mask_of("solar_w")
    (share,), _ = cycle.share(cycle.dispatch(-6_000))
    assert sums(share.power_w)[0] == 0, "8 kW of sun may be there, less 2 kW of load"


def test_of_two_dispatches_the_higher_takes_the_room_first() -> None:
    cycle = Cycle(Source(limit("g1", 4_000, 4_000), limit("g2", 4_000, 4_000)))
    halves = [np.array([0, 2]), np.array([1, 3])]
    running = []
    for rows, name, program in zip(halves, ("vpp", "grid"), ("market", "emergency"), strict=True):
        one = cycle.dispatch(3_000, name, program)
        made = Dispatcher(
            resource_id=name,
            rows=rows,
            nameplate=FLEET.nameplate[rows],
            options=OPTIONS,
            leases=cycle.leases,
            number=one.dispatcher.number,
            program=program,
        )
        running.append(Running(dispatcher=made, award=award(3_000)))
    shares, done = cycle.share(*running)
    assert int(shares[1].power_w.sum()) == 3_000
    assert int(shares[0].power_w.sum()) == 1_000
    assert {loss.claim for loss in done.losses} == {"dispatch:vpp"}


def test_relief_by_a_discharge_counts_once_its_meter_shows_it() -> None:
    got = []
    for measured_w in (0, -2_000):
        cycle = Cycle(Source(limit("g1", 2_000, None)))
        cycle.latest["battery_w"][0] = measured_w
        first, second = np.array([0]), np.array([1])
        running = [
            Running(
                dispatcher=Dispatcher(
                    resource_id=name,
                    rows=rows,
                    nameplate=FLEET.nameplate[rows],
                    options=OPTIONS,
                    leases=cycle.leases,
                    number=number,
                    program=program,
                ),
                award=award(energy_wh),
            )
            for number, (rows, name, program, energy_wh) in enumerate(
                ((first, "grid", "emergency", -2_000), (second, "vpp", "market", 2_000))
            )
        ]
        shares, _ = cycle.share(*running)
        got.append(int(shares[1].power_w.sum()))
    assert got == [0, 2_000]


def test_event_that_devices_run_is_counted_before_anything_is_asked() -> None:
    cycle = Cycle(Source(limit("g1", None, 1_000)))
    event = EventNow(
        event_id="e1",
        program="emergency",
        kind="power",
        start_ns=START_NS,
        end_ns=START_NS + NS_PER_HOUR,
        rows=np.array([0]),
        each_w=np.array([-2_500]),
    )
    (share,), _ = cycle.share(cycle.dispatch(-8_000), events=[event])
    assert share.power_w[:2].tolist() == [0, -500]
    assert cycle.arbiter.told_w.tolist() == [-2_500, 0, 0, 0]


def test_split_that_was_told_stays_while_it_serves() -> None:
    cycle = Cycle(Source(limit("g1", 4_000, 4_000), limit("g0", 9_000, None)))
    running = cycle.dispatch(16_000)
    (share,), _ = cycle.share(running)
    dispatcher = running.dispatcher
    dispatcher.command(share.target, share.power_w, t_ns=START_NS, step_ns=NS_PER_MINUTE, latest=cycle.latest)
    cycle.latest["load_w"] -= 10
    (again,), _ = cycle.share(running, t_ns=START_NS + NS_PER_MINUTE)
    assert np.array_equal(again.power_w, share.power_w)
    cycle.latest["load_w"] += 500
    (less,), _ = cycle.share(running, t_ns=START_NS + 2 * NS_PER_MINUTE)
    assert int(less.power_w.sum()) < int(share.power_w.sum())


def test_two_hierarchies_hold_both() -> None:
    zones = HierarchyId("zones")
    zone = Group(group_id=GroupId("z"), hierarchy_id=zones, parent_id=None, name="z", level=0)
    fleet = replace(
        FLEET,
        groups=(*FLEET.groups, zone),
        leaf_group={**FLEET.leaf_group, zones: np.array([3, -1, 3, -1], dtype=np.int32)},
    )
    cycle = Cycle(Source(limit("g1", 4_000, None), limit("g2", 5_000, None), limit("z", 3_500, None)), fleet)
    (share,), done = cycle.share(cycle.dispatch(16_000))
    assert sums(share.power_w)[0] <= 2_000
    assert sums(share.power_w)[1] <= 3_000
    assert int(share.power_w[[0, 2]].sum()) + 2_000 <= 3_500
    missing_w = 16_000 - int(share.power_w.sum())
    assert sum(loss.power_w for loss in done.losses) == missing_w


def test_limits_of_whom_nobody_knows_are_told_and_hold_nobody() -> None:
    cycle = Cycle(Source(limit("gone", 0, 0), limit("nobody", 0, 0, "site")))
    (share,), _ = cycle.share(cycle.dispatch(16_000))
    assert int(share.power_w.sum()) == 16_000
    assert cycle.grid.unknown == ("gone", "nobody")


def test_groups_that_hold_something_back_come_first() -> None:
    cycle = Cycle(Source(limit("g0", 90_000, None), limit("g1", 4_000, None), limit("g2", 50_000, None)))
    cycle.share(cycle.dispatch(16_000))
    assert cycle.arbiter.room is not None
    assert [one.group_id for one in tightest(cycle.arbiter.room.groups(), 2)] == ["g1", "g2"]


def test_envelope_of_a_site_is_told_to_its_device_and_a_newer_issue_replaces_it() -> None:
    def of(site: str, span: tuple[int, int], export_w: int, issued: int) -> Any:
        one = envelope(
            site, (START_NS + span[0] * NS_PER_HOUR, START_NS + span[1] * NS_PER_HOUR), 9_000, export_w
        )
        return msgspec.structs.replace(one, kind="site", issued_ns=START_NS + issued)

    source = Source(
        limit("s0", None, 5_000, "site"),
        limit("s2", None, 5_000, "site"),
        envelopes=(
            of("s0", (0, 3), 1_000, 0),
            of("s2", (0, 3), 1_000, 0),
            of("s0", (1, 2), 2_000, 1),
            of("s0", (40, 41), 0, 1),
        ),
    )
    grid = GridLimits(FLEET, source, stale_after_ns=10 * NS_PER_HOUR)
    grid.refresh(START_NS)

    def told(hour: int) -> dict[tuple[int, int, int], list[int]]:
        return {
            (
                (one.item.start_ns - START_NS) // NS_PER_HOUR,
                (one.item.end_ns - START_NS) // NS_PER_HOUR,
                one.item.export_limit_w,
            ): one.rows.tolist()
            for one in grid.entries(START_NS + hour * NS_PER_HOUR)
            if isinstance(one.item, Envelope)
        }

    assert told(0) == {(0, 3, 1_000): [2], (0, 1, 1_000): [0], (2, 3, 1_000): [0], (1, 2, 2_000): [0]}
    assert told(2) == {(0, 3, 1_000): [2], (2, 3, 1_000): [0]}
    assert (40, 41, 0) in told(6)
    assert not told(39), "what is too old is not believed"
