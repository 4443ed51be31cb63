"""July 2019: an update changes the droop of a big battery from 1.7 % to 3.7 %. The service leaves the next bid; energy stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

import shoal.bidding.cycle.reserves  # noqa: F401 - registers its strategy
from shoal.bidding.backed import BackedServices
from shoal.bidding.cycle.decision import Decision, decide
from shoal.bidding.cycle.known import Known, Offered, Situation, canonical, gate_ref
from shoal.bidding.measure import TwinMeasuring
from shoal.domain.alarms import AlarmKind, Severity
from shoal.domain.errors import UnavailableError
from shoal.domain.fleet import NAMEPLATE, Fleet
from shoal.domain.ids import ResourceId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.domain.telemetry import TELEMETRY
from shoal.domain.twins import FleetView
from shoal.market.bids import BandOffer, MarketBid
from shoal.market.registry import market_module
from shoal.market.series import price_series
from shoal.services.drift import AssumedParameters, DeviceParameters
from shoal.store.database import migrate, open_database
from shoal.store.device_parameters import LOOK_AGAIN_NS, DeviceParameterStore, ServiceBacking
from shoal.store.registry import Registry
from shoal.twin.alarm_lives import Lives
from shoal.twin.alarm_measures import PartAlarms
from shoal.twin.alarm_rules import MEASURE_RULES
from tests.integration.store.fleets import make_fleet
from tests.unit.bidding.gate_known import assert_valid, daily, known_at

NEM: Final = market_module("nem")
DAY: Final = date(2019, 7, 10)
POINT: Final = "SA1"
GATES: Final = NEM.gates("energy", DAY)
CONTINGENCY: Final = ("raise6sec", "raise60sec", "raise5min")
GOOD, BAD = 0.017, 0.037
CAPACITY_W: Final = 100_000_000


def big_battery() -> Fleet:
    """Return a fleet of one battery of 100 MW in South Australia."""
    fleet = make_fleet(1)
    plate = NAMEPLATE.empty(1)
    plate["charge_limit_kw"] = plate["discharge_limit_kw"] = 100_000.0
    plate["energy_capacity_kwh"], plate["reserve_frac"] = 129_000.0, 0.0
    plate["charge_efficiency_frac"] = plate["discharge_efficiency_frac"] = 0.93
    resource = replace(
        fleet.resources[0], market_id="nem", settlement_point=POINT, throughput_cost_per_mwh=5.0
    )
    return replace(fleet, nameplate=plate, resources=(resource,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """A battery, what is assumed of it and what it says."""

    fleet: Fleet
    parameters: DeviceParameterStore

    @property
    def resource_id(self) -> ResourceId:
        return self.fleet.resources[0].resource_id

    def assume(self, services: tuple[str, ...]) -> None:
        for service in services:
            one = AssumedParameters(service=service, capacity_w=CAPACITY_W, droop_frac=GOOD)
            self.parameters.assume(
                self.resource_id, service, {self.fleet.site_ids[0]: one}, by="ada", at_ns=0
            )

    def say(self, droop_frac: float, t_ns: int) -> None:
        self.parameters.report(
            [DeviceParameters(site_id=self.fleet.site_ids[0], t_ns=t_ns, droop_frac=droop_frac)]
        )

    def known(self, number: int, standing: MarketBid | None = None) -> Known:
        """Return what is known before a gate: measured, with prices that make services worth having."""
        gate = GATES[number]

        def view() -> FleetView:
            latest = TELEMETRY.empty(1)
            latest["ts_ns"], latest["soc_frac"] = gate.closes_ns, 0.5
            return FleetView(t_ns=gate.closes_ns, latest=latest)

        measure = TwinMeasuring(
            fleet=self.fleet,
            view=view,
            availability_frac=0.95,
            fresh_timeout_s=300.0,
            backed=BackedServices(self.parameters),
        )
        measured = measure(self.resource_id, gate_ref("nem", DAY.isoformat(), gate), gate.closes_ns)
        until_ns = gate.covers.start_ns
        facts = {
            price_series("nem", POINT, one.product_id): daily(
                until_ns,
                days=14,
                step_ns=5 * NS_PER_MINUTE,
                seed=n,
                level=50.0 if one.kind == "energy" else 90.0,
                swing=40.0 if one.kind == "energy" else 5.0,
                noise=3.0,
            )
            for n, one in enumerate(NEM.products(DAY))
        }
        more: dict[str, Any] = {} if measured.offered is None else {"offered": measured.offered}
        return known_at(
            "nem", POINT, DAY, gate, "reserves", facts, storage=measured.storage, standing=standing, **more
        )


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    url = f"sqlite:///{tmp_path / 'plant.db'}"
    migrate(url)
    engine = open_database(url)
    fleet = big_battery()
    Registry(engine).load_fleet(fleet, valid_from_ns=0)
    yield Plant(fleet=fleet, parameters=DeviceParameterStore(engine))
    engine.dispose()


def offered_mw(decision: Decision) -> dict[str, float]:
    """Return the most of each product that a decision offers in its first interval, both sides together."""
    found: dict[str, float] = {}
    for offer in decision.offers:
        assert isinstance(offer, BandOffer)
        found[offer.product] = found.get(offer.product, 0.0) + min(
            offer.intervals[0].max_avail_mw, sum(offer.intervals[0].band_avail_mw)
        )
    return found


def test_droop_that_drifted_takes_the_service_out_of_the_next_bid(plant: Plant) -> None:
    plant.assume(CONTINGENCY)
    plant.say(GOOD, GATES[0].closes_ns - NS_PER_HOUR)
    daily_known = plant.known(0)
    standing = assert_valid(daily_known, decide(daily_known, "co_optimised"))
    plant.say(GOOD, GATES[100].closes_ns - NS_PER_MINUTE)
    before = plant.known(100, standing)
    sold = decide(before, "co_optimised")
    assert_valid(before, sold)
    assert all(offered_mw(sold)[name] > 0.0 for name in CONTINGENCY)
    assert "withheld" not in str(sold.reasons)

    plant.say(BAD, GATES[101].closes_ns - NS_PER_MINUTE)
    after = plant.known(101, standing)
    kept = decide(after, "co_optimised")
    assert_valid(after, kept)
    offers = offered_mw(kept)
    assert [offers[name] for name in CONTINGENCY] == [0.0, 0.0, 0.0], "taken back, as they stand in the bid"
    assert offers["energy"] > 0.0 and offers["raisereg"] > 0.0, "energy and the other services go on"
    assert kept.reasons[-3].startswith("no more than 0 kW of raise5min is offered")
    assert "droop of 1.70% is assumed, droop of 3.70% is reported" in kept.reasons[-1]
    for rung in ("energy_only", "simple"):
        assert not any(offered_mw(decide(after, rung))[name] for name in CONTINGENCY)

    plant.say(GOOD, GATES[102].closes_ns - NS_PER_MINUTE)
    again = decide(plant.known(102, standing), "co_optimised")
    assert all(offered_mw(again)[name] > 0.0 for name in CONTINGENCY)


def test_service_that_is_backed_in_part_is_offered_in_part(plant: Plant) -> None:
    plant.assume(("raise6sec",))
    at_ns = GATES[100].closes_ns - NS_PER_MINUTE
    site = plant.fleet.site_ids[0]
    one = AssumedParameters(service="raise60sec", capacity_w=7_400_000, droop_frac=GOOD)
    plant.parameters.assume(plant.resource_id, "raise60sec", {site: one}, by="ada", at_ns=0)
    plant.say(GOOD, at_ns)
    first = plant.known(0)
    standing = assert_valid(first, decide(first, "co_optimised"))
    known = plant.known(100, standing)
    decision = decide(known, "co_optimised")
    assert_valid(known, decision)
    offers = offered_mw(decision)
    assert offers["raise60sec"] == 7.0, "whole megawatts of what is backed"
    assert offers["raise5min"] == offers["raise6sec"] > 7.0


def test_drift_raises_an_alarm_that_says_how_many_watts(plant: Plant) -> None:
    plant.assume(("raise6sec",))
    alarms = PartAlarms(MEASURE_RULES, Lives(reopen_s=1_800.0, next_number=1), ())
    t_ns = GATES[0].closes_ns

    def look(droop_frac: float) -> list[tuple[str, float | None]]:
        nonlocal t_ns
        t_ns += LOOK_AGAIN_NS
        plant.say(droop_frac, t_ns)
        measures = [one.measure for one in plant.parameters.backing(t_ns)]
        return [(one.action, one.alarm.value) for one in alarms.step(measures, t_ns)]

    assert look(GOOD) == []
    assert look(BAD) == [("raised", float(CAPACITY_W))]
    (alarm,) = alarms.active()
    assert (alarm.kind, alarm.severity, alarm.detail) == (AlarmKind.PARAMETER_DRIFT, Severity.MAJOR, "W")
    assert alarm.subject == f"{plant.resource_id}/raise6sec"
    assert look(BAD) == []
    assert look(GOOD) + look(GOOD) == [("cleared", 0.0)]


def test_battery_without_assumptions_leaves_no_trace_in_what_is_kept(plant: Plant) -> None:
    situation = plant.known(0).situation
    assert situation.less == Offered()
    assert b"offered" not in canonical(situation), (
        "digests of decisions that were made before stay what they are"
    )
    plant.assume(("raise6sec",))
    limited = plant.known(0).situation
    assert msgspec.json.decode(canonical(limited), type=Situation) == limited
    assert limited.less.service_limit_kw == {"raise6sec": 0.0}, "nothing is known of the device"


def test_last_word_on_parameters_counts_while_they_cannot_be_read(plant: Plant) -> None:
    class Away:
        away = False

        def backing(self, now_ns: int) -> tuple[ServiceBacking, ...]:
            if self.away:
                raise UnavailableError("the registry", "it is away")
            return plant.parameters.backing(now_ns)

    plant.assume(("raise6sec",))
    plant.say(BAD, GATES[0].closes_ns)
    source = Away()
    backed = BackedServices(source)
    source.away = True
    with pytest.raises(UnavailableError):
        backed(plant.resource_id, GATES[0].closes_ns)
    source.away = False
    assert backed(plant.resource_id, GATES[0].closes_ns).service_limit_kw == {"raise6sec": 0.0}
    source.away = True
    assert backed(plant.resource_id, GATES[0].closes_ns).service_limit_kw == {"raise6sec": 0.0}
    assert backed("another", GATES[0].closes_ns) == Offered()
