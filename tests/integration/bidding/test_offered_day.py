"""Bids of a day offer what programs, owners, storms and kill switches leave, as control has it; and say what they do not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import Engine

from shoal.bidding.cycle.decision import Decision
from shoal.bidding.cycle.known import Situation, gate_ref
from shoal.bidding.cycle.ports import Measured
from shoal.bidding.cycle.replay import replay
from shoal.bidding.measure import TwinMeasuring
from shoal.bidding.offered import Offering
from shoal.cli.roles.held_sites import HeldSites
from shoal.control.arbiter import Arbiter, Running
from shoal.control.desired_book import DesiredBook
from shoal.control.dispatch import AwardNow, Dispatcher, DispatchOptions
from shoal.control.leases import LeaseBook
from shoal.control.order_desk import OrderDesk
from shoal.control.taking_part import TakingPart
from shoal.domain.ids import GroupId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval
from shoal.domain.telemetry import TELEMETRY
from shoal.market.bids import Orders as MarketOrders
from shoal.programs.arbitration import arbitrate
from shoal.programs.claims import PowerClaim
from shoal.programs.program import Program, ProgramBook, default_book
from shoal.store.cycles import MarketBidRecord
from shoal.store.database import migrate, open_database
from shoal.store.order_records import (
    EnvelopeSpec,
    EventSpec,
    Order,
    OrderSpec,
    Scope,
    SetPointSpec,
    Stop,
)
from shoal.store.orders import Orders
from shoal.store.programs import ProgramStore
from shoal.store.registry import Registry
from shoal.store.terms_over import SpanTerms
from shoal.store.weather_alerts import WeatherAlertLog
from tests.integration.bidding.test_day_of_auction import (
    DAY,
    FLEET,
    GATE,
    LAST_CALL_NS,
    LEAD_NS,
    RESOURCES,
    STEP_NS,
    Twins,
    World,
    world,
)
from tests.integration.simulate.clocks import HandClock

GATE_REF: Final = gate_ref("ercot-da", DAY.isoformat(), GATE)
NOW_NS: Final = GATE.closes_ns - LEAD_NS
MINE: Final = FLEET.battery_rows_in(GroupId(str(FLEET.resources[0].group_id)))
NAMES: Final = [FLEET.site_ids[row] for row in MINE.tolist()]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path / 'registry.db'}"
    migrate(url)
    engine = open_database(url)
    Registry(engine).load_fleet(FLEET, valid_from_ns=0)
    yield engine
    engine.dispose()


def measuring(registry: Engine, twins: Twins) -> TwinMeasuring:
    held = HeldSites(FLEET, Orders(registry), WeatherAlertLog(registry))
    return TwinMeasuring(
        fleet=FLEET,
        view=twins.view,
        availability_frac=0.95,
        fresh_timeout_s=180.0,
        offering=Offering(SpanTerms(registry), held),
    )


def measured(registry: Engine) -> Measured:
    """Return the first resource before the gate."""
    return measuring(registry, Twins(HandClock(NOW_NS)))(RESOURCES[0], GATE_REF, NOW_NS)


@contextmanager
def plant_of(tmp_path: Path, registry: Engine) -> Iterator[World]:
    with world(tmp_path) as plant:
        measure = measuring(registry, plant.twins)
        # the world measures by itself; this one asks the registry too
        object.__setattr__(plant.desk.plant, "measure", measure)
        yield plant


def sold_mwh(record: MarketBidRecord) -> float:
    return sum(
        order.quantity_mw
        for offer in record.bid.offers
        if isinstance(offer, MarketOrders)
        for order in offer.orders
        if abs(order.limit_price_per_mwh) < 4_000.0
    )


def test_plant_in_which_nobody_said_anything_is_measured_as_ever(registry: Engine) -> None:
    twins = Twins(HandClock(NOW_NS))
    plain = TwinMeasuring(fleet=FLEET, view=twins.view, availability_frac=0.95, fresh_timeout_s=180.0)
    assert measured(registry) == plain(RESOURCES[0], GATE_REF, NOW_NS)


def test_owner_that_leaves_takes_power_and_energy_along(registry: Engine) -> None:
    programs = ProgramStore(registry)
    whole = measured(registry)
    programs.enrol("market", NAMES, at_ns=0)
    assert measured(registry) == whole, "all of them take part"
    half = NAMES[: len(NAMES) // 2]
    programs.opt_out(
        "market",
        half,
        at_ns=GATE.covers.end_ns - NS_PER_HOUR,
        until_ns=GATE.covers.end_ns,
        by="ada",
        said_ns=0,
    )
    less = measured(registry)
    assert less.offered is not None
    (one,) = less.offered.withheld
    assert (one.reason, one.sites) == ("opted_out", len(half))
    capacity = FLEET.nameplate["energy_capacity_kwh"]
    share = 1.0 - capacity[MINE[: len(half)]].sum() / capacity[MINE].sum()
    # what of the sum can always be split depends on who is left, a little
    capacity_kwh = share * whole.storage.energy_capacity_kwh
    assert less.storage.energy_capacity_kwh == pytest.approx(capacity_kwh, rel=0.05)
    assert less.offered.withheld_frac == pytest.approx(1.0 - share)
    assert less.storage.discharge_limit_kw < 0.8 * whole.storage.discharge_limit_kw


def test_promised_reserve_is_energy_that_is_not_offered(registry: Engine) -> None:
    whole = measured(registry)
    ProgramStore(registry).promise("reserve_frac", NAMES, 0.6, at_ns=0, by="ada", said_ns=0)
    less = measured(registry)
    assert 0.4 < less.storage.energy_capacity_kwh / whole.storage.energy_capacity_kwh < 0.52
    assert less.storage.initial_energy_kwh < 0.5 * whole.storage.initial_energy_kwh
    ProgramStore(registry).promise("cycle_wh_per_day", NAMES, 13_500.0, at_ns=0, by="ada", said_ns=0)
    worn = measured(registry)
    assert worn.offered is not None
    assert [one.reason for one in worn.offered.withheld] == ["reserve", "cycle_budget"]
    assert 0.0 < worn.storage.discharge_limit_kw < 0.6 * less.storage.discharge_limit_kw
    day_kwh = 24.0 * worn.storage.discharge_limit_kw
    assert day_kwh > 13.5 * len(NAMES), "without a budget's share it could be broken"


def test_cycle_budgets_limit_what_a_day_sells_and_not_the_power(tmp_path: Path, registry: Engine) -> None:
    """A plan that counts cycles sells a day's budget at once; one that does not has a fifth of the fleet. It replays."""
    plate, name = FLEET.nameplate[MINE], RESOURCES[0]
    cycle_wh = plate["energy_capacity_kwh"] * (1.0 - plate["reserve_frac"]) * 950.0
    for site, wh in zip(NAMES, cycle_wh.tolist(), strict=True):
        ProgramStore(registry).promise("cycle_wh_per_day", [site], wh, at_ns=0, by="ada", said_ns=0)
    found = measured(registry)
    assert found.counted is not None
    assert found.counted.storage.discharge_limit_kw > 3.0 * found.storage.discharge_limit_kw
    budgets = found.counted.budgets
    assert all(one.discharge_kwh * 1e3 <= cycle_wh.sum() for one in budgets)
    with plant_of(tmp_path, registry) as plant:
        plant.live(NOW_NS - STEP_NS, LAST_CALL_NS)
        record = plant.desk.cycles.bids(resource_id=name)[-1]
        kept = plant.desk.cycles.decision(record.decision_id)
        about = msgspec.json.decode(kept.situation, type=Situation)
        assert about.day_budgets and about.storage.discharge_limit_kw > 3.0 * found.storage.discharge_limit_kw
        sold_kwh = dict.fromkeys((one.start_ns for one in about.day_budgets), 0.0)
        for offer in record.bid.offers:
            assert isinstance(offer, MarketOrders)
            for order in offer.orders:
                day_ns = order.start_ns // (24 * NS_PER_HOUR) * 24 * NS_PER_HOUR
                hours = (order.end_ns - order.start_ns) / NS_PER_HOUR
                sold_kwh[day_ns] += order.quantity_mw * 1e3 * hours if order.side == "sell" else 0.0
        may_kwh = {one.start_ns: one.discharge_kwh for one in about.day_budgets}
        assert all(kwh <= may_kwh[day_ns] + 1e-6 for day_ns, kwh in sold_kwh.items())
        assert max(sold_kwh.values()) > 0.8 * min(may_kwh.values())
        assert replay(plant.desk.cycles, plant.desk.facts, record.decision_id).verdict == "same"


def test_fleet_that_is_stopped_offers_nothing(registry: Engine) -> None:
    Orders(registry).stop(
        Stop(stop_id="s", kind="fleet", target="", since_ns=NOW_NS, by="ann", reason="smoke")
    )
    none = measured(registry)
    assert none.storage.energy_capacity_kwh == none.storage.discharge_limit_kw == 0.0
    assert none.silent_frac == 0.0
    assert none.offered is not None and none.offered.withheld_frac == pytest.approx(1.0)


def test_bid_is_made_again_smaller_when_owners_leave_and_says_so(tmp_path: Path, registry: Engine) -> None:
    programs, name = ProgramStore(registry), RESOURCES[0]
    programs.enrol("market", list(FLEET.site_ids), at_ns=0)
    with plant_of(tmp_path, registry) as plant:
        plant.live(NOW_NS - STEP_NS, NOW_NS + STEP_NS)
        programs.opt_out("market", NAMES[10:], at_ns=0, by="ada", said_ns=0)
        plant.live(NOW_NS + STEP_NS, LAST_CALL_NS)
        records = plant.desk.cycles.bids(resource_id=name)
        assert [one.state for one in records] == ["superseded", "accepted"]
        first, second = (sold_mwh(one) for one in records)
        assert 0.0 < second < 0.2 * first
        kept = plant.desk.cycles.decision(records[1].decision_id)
        assert kept.trigger == "coverage"
        reasons = msgspec.json.decode(kept.decision, type=Decision).reasons
        assert reasons[-1].endswith(
            f"kWh of {len(NAMES) - 10} of {len(NAMES)} sites are not offered: "
            "their owners leave at some time in these hours"
        )
        about = msgspec.json.decode(kept.situation, type=Situation)
        assert about.less.withheld[0].sites == len(NAMES) - 10
        before = plant.desk.cycles.decision(records[0].decision_id)
        assert "offered" not in before.situation


def test_bid_that_stands_is_taken_back_when_an_emergency_is_called(tmp_path: Path, registry: Engine) -> None:
    name = RESOURCES[0]
    with plant_of(tmp_path, registry) as plant:
        plant.live(NOW_NS - STEP_NS, NOW_NS + STEP_NS)
        Orders(registry).put(
            Order(
                order_id="e1",
                program="emergency",
                scope=Scope(fleet=True),
                start_ns=GATE.covers.end_ns - NS_PER_HOUR,
                end_ns=GATE.covers.end_ns + NS_PER_HOUR,
                spec=EventSpec(kind="power", battery_w=-1_000),
                by="ann",
                at_ns=NOW_NS,
            )
        )
        plant.live(NOW_NS + STEP_NS, NOW_NS + 3 * STEP_NS)
        records = plant.desk.cycles.bids(resource_id=name)
        assert [one.state for one in records] == ["superseded", "accepted"]
        assert sold_mwh(records[0]) > 0.0
        (offer,) = records[1].bid.offers
        assert isinstance(offer, MarketOrders)
        least_mw = min(order.quantity_mw for order in offer.orders)
        assert {order.quantity_mw for order in offer.orders} == {least_mw}, (
            "what cannot be withdrawn is made nothing of"
        )


def test_whom_control_keeps_from_the_market_is_never_offered(registry: Engine) -> None:
    """Whatever is on record: who may be offered for a span is open to the market at every instant of it, and no one else."""
    rng = np.random.default_rng(5)
    programs = ProgramStore(registry)
    own = Program(id="own", name="Its own", kind="power", exclusive=True)
    programs.save_book(ProgramBook(programs=(*default_book().programs, own)))
    hours = np.arange(48)
    for _ in range(40):
        some = [FLEET.site_ids[row] for row in rng.choice(len(FLEET.site_ids), 40, replace=False)]
        at_ns, until_ns = (NOW_NS + int(hour) * NS_PER_HOUR for hour in sorted(rng.choice(hours, 2, False)))
        what = rng.integers(5)
        if what == 0:
            programs.enrol("market", some, at_ns=at_ns - 24 * NS_PER_HOUR)
        elif what == 1:
            programs.withdraw("market", some[:5], at_ns=at_ns)
        elif what == 2:
            programs.opt_out("market", some[:15], at_ns=at_ns, until_ns=until_ns, by="a", said_ns=0)
        elif what == 3:
            programs.enrol("own", some[:5], at_ns=at_ns, until_ns=until_ns)
        else:
            programs.promise("reserve_frac", some, 0.5, at_ns=at_ns, until_ns=until_ns, by="a", said_ns=0)
    offering = Offering(SpanTerms(registry), lambda _as_of_ns: ())
    rows = np.arange(len(FLEET.site_ids))
    latest = TELEMETRY.empty(len(rows))
    latest["soc_frac"] = 1.0
    everybody = np.ones(len(rows), dtype=np.bool_)
    seen = 0
    for start in range(0, 40, 4):
        span = Interval(start_ns=NOW_NS + start * NS_PER_HOUR, end_ns=NOW_NS + (start + 4) * NS_PER_HOUR)
        left = offering.left(rows, FLEET.nameplate, span, NOW_NS)
        open_always, reserve_frac = everybody.copy(), np.zeros(len(rows))
        for t_ns in range(span.start_ns, span.end_ns, 30 * NS_PER_MINUTE):
            taking = TakingPart(programs, FLEET.nameplate, t_ns=t_ns)
            claim = PowerClaim(
                claim_id="m", program="market", each_w=np.full(len(rows), -1, dtype=np.int64), sustain_s=1.0
            )
            now = Interval(start_ns=t_ns, end_ns=t_ns + 1_000_000_000)
            done = arbitrate([claim], taking.ability(t_ns, latest, everybody), interval=now)
            open_always &= done.grants[0].discharge_w > 0
            reserve_frac = np.maximum(reserve_frac, taking.reserve_frac())
        assert np.array_equal(left.sites, open_always)
        assert np.array_equal(left.reserve_frac, reserve_frac)
        seen += int(left.sites.sum())
    assert 0 < seen < 10 * len(rows)


def test_whom_control_has_follow_an_order_is_not_offered_while_it_runs(registry: Engine) -> None:
    """Orders of every kind and rank: the sites that the arbiter keeps from the market are those that are left out."""
    rng = np.random.default_rng(11)
    programs, orders = ProgramStore(registry), Orders(registry)
    programs.enrol("emergency", list(FLEET.site_ids[:200]), at_ns=0)
    programs.opt_out("emergency", list(FLEET.site_ids[:20]), at_ns=0, by="ada", said_ns=0)
    specs: list[OrderSpec] = [
        EventSpec(kind="power", battery_w=-1_000),
        EventSpec(kind="hold"),
        SetPointSpec(power_w=-20_000),
        EnvelopeSpec(import_limit_w=5_000, export_limit_w=5_000),
    ]
    for number, program in enumerate(["storm", "emergency", "regulation", "peak", "tariff"] * 2):
        some = rng.choice(len(FLEET.site_ids), 30, replace=False)
        orders.put(
            Order(
                order_id=f"o{number}",
                program=program,
                scope=Scope(sites=tuple(str(FLEET.site_ids[row]) for row in some)),
                start_ns=NOW_NS - NS_PER_HOUR,
                end_ns=NOW_NS + NS_PER_HOUR,
                spec=specs[number % len(specs)],
                by="ann",
                at_ns=NOW_NS,
            )
        )
    orders.stop(Stop(stop_id="s", kind="site", target="site-00000", since_ns=NOW_NS, by="a", reason="smoke"))
    taking = TakingPart(programs, FLEET.nameplate, t_ns=NOW_NS)
    leases = LeaseBook(len(FLEET.site_ids))
    desk = OrderDesk(
        FLEET, orders, book=DesiredBook(len(FLEET.site_ids)), leases=leases, enrolled=taking.enrolled
    )
    asyncio.run(desk.refresh(NOW_NS))
    latest = Twins(HandClock(NOW_NS)).view().latest
    options = DispatchOptions(lease_s=300.0, fresh_timeout_s=180.0, issuer="control", fence=1)

    def running(name: str, rows: NDArray[np.int64], program: str, number: int) -> Running:
        dispatcher = Dispatcher(
            resource_id=name,
            rows=rows,
            nameplate=FLEET.nameplate[rows],
            options=options,
            leases=leases,
            number=number,
            program=program,
        )
        hour = Interval(start_ns=NOW_NS, end_ns=NOW_NS + NS_PER_HOUR)
        return Running(dispatcher=dispatcher, award=AwardNow(interval=hour, energy_wh=-10_000))

    shares, _ = Arbiter(taking.book, FLEET.nameplate, taking.ability).share(
        t_ns=NOW_NS,
        step_ns=NS_PER_MINUTE,
        latest=latest,
        running=[
            running("market-resource", MINE, "market", 0),
            *(
                running(one.order.order_id, one.rows, one.order.program, 1 + number)
                for number, one in enumerate(desk.setpoints(NOW_NS))
            ),
        ],
        events=desk.events(NOW_NS),
        halted=desk.book.halted,
        fresh_ns=180 * 1_000_000_000,
    )
    held = HeldSites(FLEET, orders, WeatherAlertLog(registry))
    span = Interval(start_ns=NOW_NS, end_ns=NOW_NS + NS_PER_MINUTE)
    left = Offering(SpanTerms(registry), held).left(MINE, FLEET.nameplate[MINE], span, NOW_NS)
    assert 5 < np.count_nonzero(~left.sites) < len(MINE) - 5
    assert np.array_equal(~left.sites, shares[0].held)
