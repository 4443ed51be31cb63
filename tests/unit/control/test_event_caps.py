"""Events that devices run, within what groups can carry: in the order of programs, ahead and under way, without flutter."""

from __future__ import annotations

from typing import Any

import numpy as np

from shoal.control.arbiter import Arbiter, EventNow, Running
from shoal.control.desired_book import Entry
from shoal.control.dispatch import Dispatcher
from shoal.control.event_caps import EventCaps
from shoal.control.grid_limits import GridLimits
from shoal.control.leases import LeaseBook
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.domain.orders import ScheduledEvent
from shoal.domain.telemetry import TELEMETRY
from shoal.programs.program import default_book
from tests.unit.control.grids import Source, envelope, limit, tree_fleet
from tests.unit.control.plants import OPTIONS, START_NS, award

BOOK = default_book()
FLEET = tree_fleet([-1, 0, 0], [1, 1, 2, 2])
EVERY = np.arange(4, dtype=np.int64)


class Desk:
    """Four homes of 5 kW, 1 kW of load each, below two feeders."""

    def __init__(self, source: Source) -> None:
        self.grid = GridLimits(FLEET, source)
        self.grid.refresh(START_NS)
        self.leases = LeaseBook(4)
        self.arbiter = Arbiter(BOOK, FLEET.nameplate, grid=self.grid)
        self.caps = EventCaps(FLEET, self.grid, self.leases, rank=BOOK.position)
        self.latest = TELEMETRY.empty(4)
        self.latest["ts_ns"] = START_NS
        self.latest["soc_frac"] = 0.6
        self.latest["load_w"] = 1_000
        self.ranks: dict[str, int] = {}

    def told(self, *entries: Entry, t_ns: int = START_NS) -> dict[str, list[int]]:
        groups = [] if self.arbiter.room is None else self.arbiter.room.groups()
        self.caps.note(self.latest, np.ones(4, dtype=np.bool_), groups, self.ranks)
        found = self.caps.within(t_ns, {entry.key: entry for entry in entries})
        return {
            key: [] if entry.battery_w is None else entry.battery_w.tolist() for key, entry in found.items()
        }


def event(
    key: str,
    each_w: int,
    *,
    rows: Any = EVERY,
    program: str = "emergency",
    start: int = 0,
    minutes: int = 60,
    own: bool = True,
) -> Entry:
    start_ns = START_NS + start * NS_PER_MINUTE
    item = ScheduledEvent(
        event_id=key,
        program=program,
        kind="power",
        start_ns=start_ns,
        end_ns=start_ns + minutes * NS_PER_MINUTE,
        battery_w=each_w,
    )
    own_w = np.full(len(rows), each_w, dtype=np.int64) if own else None
    return Entry(key=key, item=item, end_ns=item.end_ns, rows=np.asarray(rows), battery_w=own_w)


def test_event_within_limits_stays_as_it_is() -> None:
    desk = Desk(Source(limit("g1", 20_000, 20_000)))
    entry = event("e", -3_000)
    assert desk.caps.within(START_NS, {"e": entry})["e"] is entry
    assert desk.told(entry) == {"e": [-3_000] * 4}
    assert not desk.caps.told


def test_event_gives_what_its_feeder_can_carry_and_says_so() -> None:
    desk = Desk(Source(limit("g1", None, 1_000)))
    got = desk.told(event("e", -3_000, own=False))["e"]
    assert sum(got[:2]) == -3_000, "2 kW of load and 1 kW of export"
    assert got[2:] == [-3_000, -3_000]
    (told,) = desk.caps.told
    assert "3.0 kW are kept back: g1" in told


def test_what_was_told_stays_while_it_serves_and_falls_when_it_does_not() -> None:
    desk = Desk(Source(limit("g1", None, 1_000)))
    first = desk.told(event("e", -3_000))["e"]
    desk.latest["load_w"] = 1_050
    assert desk.told(event("e", -3_000))["e"] == first, "a hundred watts more are no reason to tell all anew"
    desk.latest["load_w"] = 800
    assert sum(desk.told(event("e", -3_000))["e"][:2]) == -2_600
    desk.latest["load_w"] = 2_000
    assert sum(desk.told(event("e", -3_000))["e"][:2]) == -5_000


def test_event_ahead_goes_by_its_own_hours_limits_until_it_is_near() -> None:
    span = (START_NS + 5 * NS_PER_HOUR, START_NS + 6 * NS_PER_HOUR)
    desk = Desk(Source(limit("g1", None, 9_000), envelopes=(envelope("g1", span, 50_000, 4_000),)))
    ahead = event("e", -3_000, start=330)
    assert sum(desk.told(ahead)["e"][:2]) == -4_000, "the load of this hour is not that of another"
    near_ns = START_NS + 320 * NS_PER_MINUTE
    assert sum(desk.told(ahead, t_ns=near_ns)["e"][:2]) == -6_000
    between = event("e", -3_000, start=200)
    assert desk.told(between)["e"] == [-3_000] * 4


def test_of_two_events_the_higher_program_is_served_first() -> None:
    desk = Desk(Source(limit("g1", None, 1_000)))
    got = desk.told(
        event("low", -2_000, rows=[0], program="peak"), event("high", -2_500, rows=[1], program="emergency")
    )
    assert got == {"low": [-500], "high": [-2_500]}
    later = Desk(Source(limit("g1", None, 1_000))).told(
        event("low", -2_000, rows=[0], program="peak", start=90),
        event("high", -2_500, rows=[1], program="emergency"),
    )
    assert later["low"] == [-1_000], "they do not overlap: it has all of the limit for itself"


def test_room_that_a_higher_dispatch_lacks_is_left_to_it() -> None:
    """A peak event holds what an award needs; in the next cycle its document gives it back."""
    desk = Desk(Source(limit("g1", None, 1_000)))
    peak = event("low", -2_500, rows=[0], program="peak")
    market = Dispatcher(
        resource_id="vpp",
        rows=np.array([1]),
        nameplate=FLEET.nameplate[1:2],
        options=OPTIONS,
        leases=desk.leases,
        number=0,
        program="market",
    )
    desk.ranks = {market.claim_id: BOOK.position("market")}
    powers = []
    for minute in range(4):
        t_ns = START_NS + minute * NS_PER_MINUTE
        desk.latest["ts_ns"] = t_ns
        own_w = desk.told(peak, t_ns=t_ns)["low"]
        now = EventNow(
            event_id="low",
            program="peak",
            kind="power",
            start_ns=START_NS,
            end_ns=START_NS + NS_PER_HOUR,
            rows=np.array([0]),
            each_w=np.array(own_w),
        )
        (share,), _ = desk.arbiter.share(
            t_ns=t_ns,
            step_ns=NS_PER_MINUTE,
            latest=desk.latest,
            running=[Running(dispatcher=market, award=award(-2_000))],
            events=[now],
            halted=np.zeros(4, dtype=np.bool_),
            fresh_ns=180 * NS_PER_S,
            lease_ns=600 * NS_PER_S,
        )
        powers.append((own_w[0], int(share.power_w.sum())))
        desk.latest["battery_w"][:2] = powers[-1]
        assert sum(powers[-1]) >= -3_000, "the limit holds all along"
    assert powers[0] == (-2_500, -500)
    assert powers[-1][1] <= -2_000 + 500
    assert powers[-1][0] >= -1_100
