"""The stories of storms and called events: what they do to a plant, and that each of their verdicts can fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shoal.cli.stories import _events, emergency, peak, storm
from shoal.cli.stories._events import delivered_verdict, no_step_verdict, sun_only_verdict
from shoal.cli.stories.doors import orders, programs, weather_alerts
from shoal.cli.stories.seen import Seen, reserve_kept, seen
from shoal.cli.stories.story import Scene
from shoal.control.event_calls import check_call
from shoal.domain.fleet import Fleet
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, Interval
from shoal.domain.telemetry import TELEMETRY
from shoal.runtime.settings import load_settings
from shoal.settle.event import EventLine, EventSettlement
from shoal.simulate.fleet import only_plants, plan_fleet
from shoal.store.database import migrate, open_database
from shoal.store.order_records import CallSpec
from shoal.store.registry import Registry
from shoal.twin.zones import ZoneIndex
from tests.unit.store.history_cases import write_history

START_NS = 1_612_936_800_000_000_000
SPAN = Interval(start_ns=START_NS, end_ns=START_NS + 24 * NS_PER_HOUR)
FLEET = only_plants(plan_fleet(30, 1, ev_sites_frac=0.1), "homes")
QUARTER = Interval(start_ns=START_NS, end_ns=START_NS + 15 * NS_PER_MINUTE)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    url = f"sqlite:///{tmp_path / 'registry.db'}"
    migrate(url)
    engine = open_database(url)
    Registry(engine).load_fleet(FLEET, valid_from_ns=0)
    engine.dispose()
    settings = load_settings(file=None, env={}, flags={"data_dir": str(tmp_path)})
    return Scene(settings=settings, fleet=FLEET, span=SPAN)


def made_of(
    minutes: int = 31, sites: int = 2, **columns: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
) -> Seen:
    """Return sites that do nothing but what is said."""
    names = (
        "battery_w",
        "solar_w",
        "load_w",
        "ev_w",
        "command_version",
        "charge_wh",
        "discharge_wh",
        "surplus_w",
        "own_load_w",
    )
    made = {name: np.zeros((sites, minutes), dtype=np.int64) for name in names} | columns
    return Seen(
        t_ns=START_NS + np.arange(minutes) * NS_PER_MINUTE,
        there=np.ones((sites, minutes), dtype=np.bool_),
        columns={"soc_frac": np.full((sites, minutes), 0.5), **made},
    )


def test_storm_is_over_just_the_homes_west_of_its_edge(scene: Scene) -> None:
    (act,) = storm.STORM.acts(scene)
    inside = storm._in_its_way(scene)
    assert act.do() == int(inside.sum()) > 3
    (kept,) = weather_alerts(scene).standing(act.at_ns)
    found = ZoneIndex(FLEET.latitude_deg, FLEET.longitude_deg).inside(kept.alert.area)
    batteries = np.flatnonzero(FLEET.nameplate["energy_capacity_kwh"] > 0)
    assert np.intersect1d(found, batteries).tolist() == np.flatnonzero(inside).tolist()
    issued_ns, force = storm.storm_times(SPAN)
    assert (kept.taken_ns, kept.alert.effective) == (issued_ns, force)


def test_emergency_is_called_and_two_owners_have_their_say(scene: Scene) -> None:
    call, leave, keep = sorted(emergency.EMERGENCY.acts(scene), key=lambda act: act.at_ns)
    assert call.do() == emergency.EVENT
    order = orders(scene).order(emergency.EVENT)
    check_call(order, FLEET, programs(scene).book(), now_ns=call.at_ns)
    assert isinstance(order.spec, CallSpec)
    assert order.start_ns - order.spec.called_ns == 9 * NS_PER_HOUR, "notice is hours ahead"
    assert (leave.do(), keep.do()) == (1, 1)
    leaver, keeper = emergency._two_homes(scene)
    terms = programs(scene).terms_at(keep.at_ns)
    assert np.flatnonzero(terms.opted_out_bits).tolist() == [leaver]
    assert np.flatnonzero(terms.promises.reserve_frac == emergency.KEEPS_FRAC).tolist() == [keeper]


def test_peak_goes_before_the_market_and_may_be_called(scene: Scene) -> None:
    first, call = sorted(peak.PEAK.acts(scene), key=lambda act: act.at_ns)
    first.do()
    book = programs(scene).book()
    assert book.position("storm") < book.position("peak") < book.position("market")
    call.do()
    check_call(orders(scene).order(peak.EVENT), FLEET, book, now_ns=call.at_ns)


def test_what_was_seen_is_what_history_holds(scene: Scene) -> None:
    records = TELEMETRY.empty(4)
    records["ts_ns"] = START_NS + np.array([0, 1, 0, 2]) * NS_PER_MINUTE
    records["seq"] = [1, 2, 1, 2]
    records["battery_w"] = [100, 200, -300, 400]
    records["solar_w"] = [-1_000, -100, 0, 0]
    records["load_w"] = [400, 500, 600, 700]
    records["discharge_wh"] = 5
    write_history(scene.settings.data_dir / "history", records, np.array([0, 0, 1, 1]), records["ts_ns"])
    shown = seen(scene, Interval(start_ns=START_NS, end_ns=START_NS + 3 * NS_PER_MINUTE))
    assert shown["battery_w"][:2].tolist() == [[100, 200, 0], [-300, 0, 400]]
    assert shown.there[:2].tolist() == [[True, True, False], [True, False, True]]
    assert shown["surplus_w"][0].tolist() == [600, 600, 0], "of a minute and the one before"
    assert shown["own_load_w"][0].tolist() == [0, 400, 400]
    assert shown.net_wh[0].tolist() == [-5, -5, 0]
    part = shown.within(Interval(start_ns=START_NS + NS_PER_MINUTE, end_ns=SPAN.end_ns))
    assert part["battery_w"][0].tolist() == [200, 0]


@pytest.mark.parametrize(("each_wh", "passed"), [(500, True), (470, False), (560, False)])
def test_delivery_is_judged_by_the_meters(each_wh: int, passed: bool) -> None:
    discharged = np.zeros((2, 31), dtype=np.int64)
    discharged[:, 15:] = each_wh
    shown = made_of(discharge_wh=discharged)
    verdict = delivered_verdict(shown, np.array([0, 1]), QUARTER, 4.0, {})
    assert verdict.passed == passed
    left = {1: START_NS + NS_PER_MINUTE}
    assert not delivered_verdict(shown, np.array([0, 1]), QUARTER, 4.0, left).passed, (
        "what came later is not its"
    )


def test_charging_from_the_grid_is_found() -> None:
    power = np.zeros((2, 31), dtype=np.int64)
    power[1, 20] = 2_000
    sun = np.zeros((2, 31), dtype=np.int64)
    span = Interval(start_ns=START_NS, end_ns=SPAN.end_ns)
    assert not sun_only_verdict(made_of(battery_w=power), np.array([0, 1]), "x", span).passed
    assert sun_only_verdict(made_of(battery_w=power), np.array([0]), "x", span).passed
    sun[1, 20] = 2_000
    assert sun_only_verdict(made_of(battery_w=power, surplus_w=sun), np.array([0, 1]), "x", span).passed


def test_step_of_all_together_is_found(scene: Scene) -> None:
    rows = _events.battery_rows(scene)
    power = np.zeros((len(FLEET.site_ids), 31), dtype=np.int64)
    power[:, 10:] = 4_000
    span = Interval(start_ns=START_NS, end_ns=SPAN.end_ns)
    assert not no_step_verdict(scene, made_of(sites=len(power), battery_w=power), rows, span).passed
    power[:] = np.linspace(0, 4_000, 31).astype(np.int64)
    assert no_step_verdict(scene, made_of(sites=len(power), battery_w=power), rows, span).passed


def test_discharge_below_the_reserve_is_found(scene: Scene) -> None:
    sites = len(FLEET.site_ids)
    power = np.zeros((sites, 31), dtype=np.int64)
    row = int(_events.battery_rows(scene)[0])
    power[row, 5] = -1
    low = np.full((sites, 31), float(_reserve(FLEET, row)) - 0.01)
    assert not reserve_kept(scene, made_of(sites=sites, battery_w=power, soc_frac=low)).passed
    assert reserve_kept(scene, made_of(sites=sites, soc_frac=low)).passed


def _reserve(fleet: Fleet, row: int) -> float:
    return float(fleet.nameplate["reserve_frac"][row])


@pytest.mark.parametrize(
    ("row", "version", "load_w", "found"), [(0, 0, 0, 1), (0, 7, 0, 0), (0, 0, 3_000, 0), (1, 0, 0, 0)]
)
def test_giving_more_than_the_home_uses_is_found(row: int, version: int, load_w: int, found: int) -> None:
    power = np.zeros((2, 31), dtype=np.int64)
    power[0, 5] = -3_000
    shown = made_of(
        battery_w=power,
        command_version=np.full((2, 31), version),
        own_load_w=np.full((2, 31), load_w),
    )
    assert _events.beyond_own_use(shown, row, Interval(start_ns=START_NS, end_ns=SPAN.end_ns)) == found


@pytest.mark.parametrize(
    ("amount", "metered_wh", "passed"), [(80, 100.0, True), (81, 100.0, False), (80, 103.0, False)]
)
def test_payment_adds_up_on_what_the_meters_say(amount: int, metered_wh: float, passed: bool) -> None:
    line = EventLine(
        site_id="a",
        baseline_wh=0,
        metered_wh=-100,
        delivered_wh=100,
        counted_wh=100,
        interval_count=1,
        amount=amount,
        reason="delivered",
    )
    found = EventSettlement(
        event_id="e",
        program="emergency",
        start_ns=0,
        end_ns=1,
        rule_name="battery",
        currency="USD",
        price_cents_per_mwh=1,
        target_wh=100,
        delivered_wh=100,
        paid_wh=100,
        amount=100,
        operator_amount=20,
        lines=(line,),
    )
    assert _events.payment_verdict(found, metered_wh).passed == passed
