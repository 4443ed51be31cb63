"""Who goes first: one dispatch a site at a time, in the order of the programs, and its meters count for it alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoal.control.arbiter import Arbiter, EventNow, Running
from shoal.control.dispatch import Dispatcher
from shoal.control.leases import LeaseBook
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.domain.telemetry import TELEMETRY
from shoal.programs.program import default_book
from tests.unit.control.plants import OPTIONS, START_NS, award
from tests.unit.edge.sites import nameplates

PLATE = nameplates(6)
EVERY = np.arange(6, dtype=np.int64)
FRESH_NS = 180 * NS_PER_S


def latest(t_ns: int = START_NS, discharged_wh: list[int] | None = None) -> NDArray[Any]:
    records = TELEMETRY.empty(6)
    records["ts_ns"] = t_ns
    records["soc_frac"] = 0.6
    if discharged_wh is not None:
        records["discharge_wh"] = discharged_wh
    return records


class Plant:
    def __init__(self) -> None:
        self.leases = LeaseBook(6)
        self.arbiter = Arbiter(default_book(), PLATE)
        self.number = 0

    def dispatcher(self, name: str, rows: NDArray[np.int64], program: str) -> Dispatcher:
        self.number += 1
        return Dispatcher(
            resource_id=name,
            rows=rows,
            nameplate=PLATE[rows],
            options=OPTIONS,
            leases=self.leases,
            number=self.number,
            program=program,
        )

    def share(self, running: list[Running], events: list[EventNow] | None = None, **more: Any) -> Any:
        values: dict[str, Any] = {
            "t_ns": START_NS,
            "step_ns": NS_PER_MINUTE,
            "latest": latest(),
            "halted": np.zeros(6, dtype=np.bool_),
            **more,
        }
        return self.arbiter.share(running=running, events=events or [], fresh_ns=FRESH_NS, **values)


def event(program: str = "emergency", *, start: int = 0, rows: NDArray[np.int64] = EVERY[:2]) -> EventNow:
    start_ns = START_NS + start * NS_PER_MINUTE
    return EventNow(
        event_id="e1",
        program=program,
        kind="power",
        start_ns=start_ns,
        end_ns=start_ns + NS_PER_HOUR,
        rows=rows,
        each_w=np.full(len(rows), -2_000, dtype=np.int64),
    )


def test_market_alone_gets_what_it_needs_exactly() -> None:
    plant = Plant()
    market = plant.dispatcher("vpp", EVERY, "market")
    (share,), done = plant.share([Running(dispatcher=market, award=award(-6_001))])
    assert int(share.power_w.sum()) == -6_001
    assert not share.held.any()
    assert [grant.claim.program for grant in done.grants] == ["market"]


def test_event_that_goes_first_has_its_sites_and_the_market_the_others() -> None:
    plant = Plant()
    market = plant.dispatcher("vpp", EVERY, "market")
    (share,), done = plant.share([Running(dispatcher=market, award=award(-6_000))], [event()])
    assert share.held.tolist() == [True, True, False, False, False, False]
    assert share.power_w[:2].tolist() == [0, 0]
    assert int(share.power_w.sum()) == -6_000
    assert done.grant("event:e1").power_w.tolist() == [-2_000, -2_000, 0, 0, 0, 0]


def test_event_that_goes_last_yields_to_the_market_but_not_to_its_rest() -> None:
    plant = Plant()
    market = plant.dispatcher("vpp", EVERY, "market")
    (share,), _ = plant.share([Running(dispatcher=market, award=award(-6_000))], [event("peak")])
    assert not share.held.any()
    (share,), _ = plant.share([Running(dispatcher=market, award=award(0), rests=True)], [event("peak")])
    assert share.held.tolist() == [True, True, False, False, False, False]


def test_lease_of_who_yields_ends_where_the_event_begins() -> None:
    plant = Plant()
    market = plant.dispatcher("vpp", EVERY, "market")
    ahead = event(start=7)
    (share,), _ = plant.share([Running(dispatcher=market, award=award(-6_000))], [ahead])
    decision = market.command(
        share.target,
        share.power_w,
        t_ns=START_NS,
        step_ns=NS_PER_MINUTE,
        latest=latest(),
        held=share.held,
        until_ns=share.until_ns,
    )
    ends = {row: desired.end_ns for row, desired in decision.commands}
    assert ends[0] == ends[1] == ahead.start_ns
    assert all(end > ahead.start_ns for row, end in ends.items() if row > 1)


def test_of_two_dispatches_the_higher_program_has_the_site() -> None:
    plant = Plant()
    market = plant.dispatcher("vpp", EVERY, "market")
    grid = plant.dispatcher("grid", EVERY[:3], "emergency")
    shares, _ = plant.share(
        [Running(dispatcher=market, award=award(-6_000)), Running(dispatcher=grid, award=award(3_000))]
    )
    assert shares[0].held.tolist() == [True] * 3 + [False] * 3
    assert int(shares[1].power_w.sum()) == 3_000
    assert int(shares[0].power_w.sum()) == -6_000


def test_halted_site_serves_nobody() -> None:
    plant = Plant()
    market = plant.dispatcher("vpp", EVERY, "market")
    halted = EVERY == 5
    (share,), _ = plant.share([Running(dispatcher=market, award=award(-6_000))], halted=halted)
    assert share.held.tolist() == halted.tolist()
    assert share.power_w[5] == 0


def test_what_a_site_does_for_somebody_else_does_not_count_for_the_market() -> None:
    plant = Plant()
    market = plant.dispatcher("vpp", EVERY, "market")
    now = Running(dispatcher=market, award=award(-6_000))
    plant.share([now], latest=latest(discharged_wh=[10] * 6))
    meters = [10] * 6
    for minute in range(1, 11):
        t_ns = START_NS + minute * NS_PER_MINUTE
        meters = [wh + 33 for wh in meters[:2]] + meters[2:]
        (share,), _ = plant.share([now], [event()], t_ns=t_ns, latest=latest(t_ns, meters))
    assert share.target.delivered_wh == 0
    t_ns = START_NS + 80 * NS_PER_MINUTE
    later = award(-6_000)
    (share,), _ = plant.share(
        [Running(dispatcher=market, award=later)], t_ns=t_ns, latest=latest(t_ns, [wh + 5 for wh in meters])
    )
    assert share.target.delivered_wh == -30, "once it is back, it counts again"
