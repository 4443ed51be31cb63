"""Owners first: hours that they keep, budgets that are spent, and homes that follow a signal; what each gave of late."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from shoal.control.arbiter import Arbiter, EventNow, Running, Share
from shoal.control.burden import SAVE_EVERY_NS, Burden
from shoal.control.day_meters import DayMeters, local_day_ns
from shoal.control.desired_book import Entry
from shoal.control.dispatch import Dispatcher
from shoal.control.kept_hours import leave_out_kept
from shoal.control.leases import LeaseBook
from shoal.control.regulation_sites import regulation_event
from shoal.control.taking_part import TakingPart
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S, to_ns
from shoal.domain.orders import ScheduledEvent
from shoal.domain.telemetry import TELEMETRY
from shoal.programs.ability import SiteTerms
from shoal.programs.arbitration import Arbitration
from shoal.programs.claims import UNLIMITED_WH
from shoal.programs.hours import SiteHours, parse_hours
from shoal.programs.program import default_book
from shoal.programs.promises import OwnerPromises
from tests.integration.store.fleets import make_fleet
from tests.unit.control.plants import OPTIONS, START_NS, award
from tests.unit.edge.sites import nameplates

PLATE = nameplates(4)
EVERY = np.arange(4, dtype=np.int64)
BOOK = default_book()
UTC = ZoneInfo("UTC")


class Memory:
    """States as the ledger keeps them: JSON."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}

    def save_state(self, key: str, state: dict[str, Any]) -> None:
        self.states[key] = json.dumps(state)

    def load_state(self, key: str) -> dict[str, Any] | None:
        return json.loads(self.states[key]) if key in self.states else None


class Terms:
    """What is on record, the same at any instant."""

    def __init__(self, hours: SiteHours | None = None, budget_wh: list[int] | None = None) -> None:
        promises = OwnerPromises.none(4)
        if budget_wh is not None:
            promises.cycle_budget_wh[:] = budget_wh
        self.terms = SiteTerms(
            book=BOOK,
            enrolled_bits=np.zeros(4, dtype=np.uint64),
            opted_out_bits=np.zeros(4, dtype=np.uint64),
            promises=promises,
            hours=hours,
        )

    def version(self) -> int:
        return 1

    def next_change_ns(self, after_ns: int) -> int | None:
        return None

    def terms_at(self, t_ns: int) -> SiteTerms:
        return self.terms


def latest(t_ns: int, discharge_wh: Any = 0) -> NDArray[Any]:
    records = TELEMETRY.empty(4)
    records["ts_ns"] = t_ns
    records["soc_frac"] = 0.6
    records["discharge_wh"] = discharge_wh
    return records


class Plant:
    def __init__(self, taking: TakingPart, fairness: Any = None) -> None:
        self.leases = LeaseBook(4)
        self.arbiter = Arbiter(
            taking.book, PLATE, taking.ability, fairness=fairness, free_until_ns=taking.free_until_ns
        )
        self.market = Dispatcher(
            resource_id="vpp",
            rows=EVERY,
            nameplate=PLATE,
            options=OPTIONS,
            leases=self.leases,
            number=0,
            program="market",
        )

    def share(
        self, t_ns: int, energy_wh: int, records: NDArray[Any], events: list[EventNow] | None = None
    ) -> tuple[Share, Arbitration]:
        hour_ns = t_ns // NS_PER_HOUR * NS_PER_HOUR
        interval = award(1).interval.__class__(start_ns=hour_ns, end_ns=hour_ns + NS_PER_HOUR)
        (share,), done = self.arbiter.share(
            t_ns=t_ns,
            step_ns=NS_PER_MINUTE,
            latest=records,
            running=[Running(dispatcher=self.market, award=award(energy_wh, interval), rests=energy_wh == 0)],
            events=events or [],
            halted=np.zeros(4, dtype=np.bool_),
            fresh_ns=180 * NS_PER_S,
        )
        return share, done


def noon(hour: int, minute: int = 0) -> int:
    return to_ns(datetime(2026, 11, 27, hour, minute, tzinfo=UTC))


def kept_17_to_20() -> SiteHours:
    return SiteHours.of([parse_hours("mon-fri 17:00-20:00", zone="UTC"), None, None, None])


def test_kept_site_is_given_up_and_its_lease_ends_before_the_hour() -> None:
    taking = TakingPart(Terms(kept_17_to_20()), PLATE, t_ns=noon(16))
    plant = Plant(taking)
    t_ns = noon(16, 56)
    share, _ = plant.share(t_ns, -4_000, latest(t_ns))
    decision = plant.market.command(
        share.target,
        share.power_w,
        t_ns=t_ns,
        step_ns=NS_PER_MINUTE,
        latest=latest(t_ns),
        held=share.held,
        until_ns=share.until_ns,
    )
    ends = {row: desired.end_ns for row, desired in decision.commands}
    assert ends[0] == noon(17)
    assert ends[1] > noon(17)
    t_ns = noon(17)
    share, done = plant.share(t_ns, -9_000, latest(t_ns))
    assert share.held.tolist() == [True, False, False, False]
    assert int(share.power_w.sum()) == -9_000
    share, done = plant.share(t_ns, -30_000, latest(t_ns))
    assert [loss.reason for loss in done.losses if loss.reason == "hours"] == ["hours"]
    share, _ = plant.share(noon(20), -9_000, latest(noon(20)))
    assert not share.held.any()


def test_kept_site_takes_part_in_nothing_while_the_store_is_silent_too() -> None:
    taking = TakingPart(Terms(kept_17_to_20()), PLATE, t_ns=noon(16))
    assert taking.enrolled("emergency").tolist() == [0, 1, 2, 3]  # type: ignore[union-attr]
    assert taking.refresh(noon(17)), "an hour that has come is a change"
    assert taking.enrolled("emergency").tolist() == [1, 2, 3]  # type: ignore[union-attr]
    assert taking.enrolled("storm").tolist() == [0, 1, 2, 3]  # type: ignore[union-attr]
    assert not taking.refresh(noon(18))
    assert taking.refresh(noon(20))


def test_event_that_reaches_into_kept_hours_is_not_told_to_the_site() -> None:
    taking = TakingPart(Terms(kept_17_to_20()), PLATE, t_ns=noon(9))

    def entry(start_ns: int, end_ns: int, program: str = "peak") -> Entry:
        event = ScheduledEvent(
            event_id="e", program=program, kind="power", start_ns=start_ns, end_ns=end_ns, battery_w=-1
        )
        return Entry(key="e", item=event, end_ns=end_ns, rows=EVERY, battery_w=-EVERY)

    def told(one: Entry) -> list[int]:
        rows: list[int] = leave_out_kept({"e": one}, BOOK, taking.away_in, t_ns=noon(9))["e"].rows.tolist()
        return rows

    assert told(entry(noon(12), noon(17))) == [0, 1, 2, 3]
    assert told(entry(noon(12), noon(17) + 1)) == [1, 2, 3]
    assert told(entry(noon(19, 59), noon(22))) == [1, 2, 3]
    assert told(entry(noon(12), noon(19), "storm")) == [0, 1, 2, 3]
    left = leave_out_kept({"e": entry(noon(18), noon(19))}, BOOK, taking.away_in, t_ns=noon(9))["e"]
    assert left.battery_w is not None
    assert left.battery_w.tolist() == [-1, -2, -3]


def test_spent_budget_stops_discharge_for_the_plant_and_leaves_the_site_to_itself() -> None:
    taking = TakingPart(
        Terms(budget_wh=[1_000, UNLIMITED_WH, UNLIMITED_WH, UNLIMITED_WH]), PLATE, t_ns=noon(9)
    )
    plant = Plant(taking)
    share, _ = plant.share(noon(9), -4_000, latest(noon(9), 50_000))
    assert not share.held.any()
    spent = latest(noon(10), [51_000, 50_000, 50_000, 50_000])
    share, done = plant.share(noon(10), -4_000, spent)
    assert share.held.tolist() == [True, False, False, False], (
        "it is given up, and does what it does by itself"
    )
    assert share.power_w[0] == 0
    share, _ = plant.share(noon(10), 0, spent)
    assert share.held[0], "an award of nothing does not keep it at rest either"
    share, _ = plant.share(noon(10), 4_000, spent)
    assert not share.held.any()
    assert share.power_w[0] > 0, "charging is no discharge"
    share, done = plant.share(noon(10), -60_000, spent)
    assert "cycle_budget" in {loss.reason for loss in done.losses}
    # what it does by itself counts, and the next day begins anew
    own = latest(noon(23), [53_000, 50_000, 50_000, 50_000])
    assert plant.share(noon(23), -4_000, own)[0].held[0]
    morning_ns = noon(9) + 24 * NS_PER_HOUR
    own["ts_ns"] = morning_ns
    assert not plant.share(morning_ns, -4_000, own)[0].held.any()


def test_budget_of_the_day_survives_the_controller() -> None:
    memory = Memory()
    chicago = local_day_ns(ZoneInfo("America/Chicago"))
    first = DayMeters(2, day_starts_ns=chicago, memory=memory)
    records = TELEMETRY.empty(2)
    records["discharge_wh"] = [5_000, 0]
    assert first.discharged_wh(noon(8), records).tolist() == [0, 0]
    first.save(noon(8))
    records["discharge_wh"] = [7_000, 4_000]
    assert first.discharged_wh(noon(9), records).tolist() == [2_000, 0]
    first.save(noon(9))
    successor = DayMeters(3, day_starts_ns=chicago, memory=memory)
    more = TELEMETRY.empty(3)
    more["discharge_wh"] = [7_500, 4_100, 9_000]
    # the day of UTC is over, that of Chicago is not
    assert successor.discharged_wh(noon(9) + 18 * NS_PER_HOUR, more).tolist() == [2_500, 100, 0]
    assert successor.discharged_wh(noon(9) + 23 * NS_PER_HOUR, more).tolist() == [0, 0, 0]


def test_homes_that_follow_a_signal_are_left_alone_and_a_storm_still_goes_first() -> None:
    fleet = make_fleet(6)
    vpp = str(fleet.resources[0].resource_id)
    rows = fleet.battery_rows_in(fleet.resources[0].group_id)
    two = rows[:2]
    event = regulation_event(
        fleet, vpp, enrolled=lambda program: two if program == "regulation" else None, t_ns=START_NS
    )
    arbiter = Arbiter(BOOK, fleet.nameplate)
    leases = LeaseBook(6)
    shares = {}
    for number, program in enumerate(("market", "emergency")):
        made = Dispatcher(
            resource_id="x",
            rows=rows,
            nameplate=fleet.nameplate[rows],
            options=OPTIONS,
            leases=leases,
            number=number,
            program=program,
        )
        records = TELEMETRY.empty(6)
        records["ts_ns"], records["soc_frac"] = START_NS, 0.6
        (share,), _ = arbiter.share(
            t_ns=START_NS,
            step_ns=NS_PER_MINUTE,
            latest=records,
            running=[Running(dispatcher=made, award=award(-2_000))],
            events=[event],
            halted=np.zeros(6, dtype=np.bool_),
            fresh_ns=180 * NS_PER_S,
        )
        shares[program] = share
    assert rows[shares["market"].held].tolist() == two.tolist()
    assert int(shares["market"].power_w.sum()) == -2_000
    assert not shares["market"].power_w[:2].any()
    assert not shares["emergency"].held.any()


def test_who_gave_most_lately_gives_less_and_the_sum_is_exact() -> None:
    memory = Memory()
    burden = Burden(PLATE, memory, days=7.0, share_frac=1.0)
    assert burden.fairness() is None
    every = np.ones(4, dtype=np.bool_)
    burden.note(noon(8), latest(noon(8)), np.array([True, True, False, False]))
    burden.note(noon(9), latest(noon(9), [3_000, 1_000, 3_000, 0]), every)
    assert burden.used_wh.tolist() == [3_000, 1_000, 0, 0], "what a site did for itself is no burden"
    taking = TakingPart(Terms(), PLATE, t_ns=noon(9))
    plant = Plant(taking, burden.fairness)
    share, _ = plant.share(noon(9), -8_001, latest(noon(9)))
    assert int(share.power_w.sum()) == -8_001
    gives = (-share.power_w).tolist()
    assert gives[0] < gives[1] < gives[2]
    assert abs(gives[2] - gives[3]) <= 1
    share, _ = plant.share(noon(11), 8_000, latest(noon(11)))
    assert np.ptp(share.power_w) <= 1, "charging is shared out alike"


def test_what_an_owner_keeps_is_no_part_of_what_promises_are_split_by() -> None:
    """All hold the same; who keeps more of it gives less of what is to last, by what is left to give."""
    terms = Terms()
    terms.terms.promises.reserve_frac[0] = 0.5
    plant = Plant(TakingPart(terms, PLATE, t_ns=noon(9)))
    records = latest(noon(9))
    share, _ = plant.share(noon(9), -4_000, records)
    above = records["soc_frac"] - np.maximum(PLATE["reserve_frac"], [0.5, 0.0, 0.0, 0.0])
    assert np.allclose(share.power_w, -4_000 * above / above.sum(), atol=2.0)


def test_burden_fades_and_survives_the_controller() -> None:
    memory = Memory()
    burden = Burden(PLATE, memory, days=2.0)
    burden.note(noon(8), latest(noon(8)), np.ones(4, dtype=np.bool_))
    burden.note(noon(8) + SAVE_EVERY_NS, latest(noon(8) + SAVE_EVERY_NS, 900), np.zeros(4, dtype=np.bool_))
    successor = Burden(PLATE, memory, days=2.0)
    assert np.allclose(successor.used_wh, 900.0)
    later_ns = noon(8) + SAVE_EVERY_NS + 48 * NS_PER_HOUR
    successor.note(later_ns, latest(later_ns, 5_000), np.zeros(4, dtype=np.bool_))
    assert np.allclose(successor.used_wh, 900.0 / np.e)


def test_register_that_leaps_gives_no_more_than_a_battery_could() -> None:
    burden = Burden(PLATE, Memory())
    burden.note(noon(8), latest(noon(8), 100), np.ones(4, dtype=np.bool_))
    t_ns = noon(8) + NS_PER_MINUTE
    burden.note(t_ns, latest(t_ns, [10**9, 0, 150, 100]), np.ones(4, dtype=np.bool_))
    most_wh = float(PLATE["discharge_limit_kw"][0]) * 1e3 / 60 + 1.0
    assert np.allclose(burden.used_wh, [most_wh, 0.0, 50.0, 0.0])
