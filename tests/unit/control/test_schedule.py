"""From orders to documents: who is meant at the moment, and what each reads."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from shoal.control.kill import halted_rows, reasons_for
from shoal.control.schedule import (
    changes,
    check_known,
    entry_of,
    rows_in_scope,
    rows_of_order,
    split_by_rating_w,
)
from shoal.domain.errors import UnknownIdError
from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.orders import Envelope, PriceSeries, ScheduledEvent
from shoal.store.order_records import (
    DroopSpec,
    EnvelopeSpec,
    EventSpec,
    Order,
    OrderSpec,
    PriceSpec,
    Scope,
    SetPointSpec,
    Stop,
)
from tests.integration.store.fleets import make_fleet
from tests.unit.control.plants import START_NS

FLEET = make_fleet(12)
FEEDER = Scope(groups=("feeder-1",))


def order(spec: OrderSpec, scope: Scope = FEEDER, name: str = "o1") -> Order:
    return Order(
        order_id=name,
        program="peak",
        scope=scope,
        start_ns=START_NS,
        end_ns=START_NS + NS_PER_HOUR,
        spec=spec,
        by="ann",
        at_ns=START_NS,
    )


def test_scope_means_groups_sites_and_the_fleet() -> None:
    assert rows_in_scope(FEEDER, FLEET).tolist() == [0, 2, 4, 6, 8, 10]
    both = Scope(groups=("feeder-1", "gone"), sites=("site-00003", "site-00004", "nobody"))
    assert rows_in_scope(both, FLEET).tolist() == [0, 2, 3, 4, 6, 8, 10]
    assert len(rows_in_scope(Scope(fleet=True), FLEET)) == 12
    with pytest.raises(UnknownIdError):
        check_known(both, FLEET)


def test_order_means_those_who_take_part_and_have_a_battery() -> None:
    fleet = make_fleet(12)
    fleet.nameplate["energy_capacity_kwh"][2] = 0.0
    event = order(EventSpec(kind="power", battery_w=-1_000))
    assert rows_of_order(event, fleet).tolist() == [0, 4, 6, 8, 10]
    taking_part = np.array([2, 3, 4, 8], dtype=np.int64)
    assert rows_of_order(event, fleet, lambda program: taking_part).tolist() == [4, 8]
    limits = order(EnvelopeSpec(import_limit_w=1, export_limit_w=0))
    assert 2 in rows_of_order(limits, fleet)


def test_late_joiner_gets_the_event() -> None:
    event = order(EventSpec(kind="power", group_w=-6_000))
    before, after = (
        entry_of(event, FLEET, enrolled=lambda _, rows=rows: np.array(rows, dtype=np.int64))  # type: ignore[misc]
        for rows in ([0, 2], [0, 2, 4])
    )
    assert before is not None
    assert after is not None
    assert after.rows.tolist() == [0, 2, 4]
    assert after.battery_w is not None
    assert after.battery_w.sum() == -6_000
    put, dropped = changes({"o1": after}, {"o1": before, "old": before})
    assert (put, dropped) == ([after], ["old"])
    assert changes({"o1": after}, {"o1": after}) == ([], [])


@pytest.mark.parametrize("total_w", [-20_001, 17, 0, 30_000, -(10**9)])
def test_split_by_rating_adds_up_in_whole_watts(total_w: int) -> None:
    rows = np.arange(12, dtype=np.int64)
    each_w = split_by_rating_w(total_w, rows, FLEET)
    plate = FLEET.nameplate
    rated_w = np.floor(plate["charge_limit_kw" if total_w > 0 else "discharge_limit_kw"] * 1e3)
    assert np.all(np.abs(each_w) <= rated_w)
    assert abs(int(each_w.sum())) == min(abs(total_w), int(rated_w.sum()))
    assert np.all(each_w * (1 if total_w >= 0 else -1) >= 0)


def test_trial_is_told_to_its_sites_alone_with_their_own_power() -> None:
    event = order(EventSpec(kind="power", group_w=-6_000))
    every, few = entry_of(event, FLEET), entry_of(event, FLEET, only=["site-00004"])
    assert every is not None
    assert few is not None
    assert few.rows.tolist() == [4]
    assert few.battery_w is not None
    assert every.battery_w is not None
    assert few.battery_w[0] == every.battery_w[2]
    assert entry_of(event, FLEET, only=()) is not None


def test_each_kind_of_order_says_its_own() -> None:
    series = PriceSeries(start_ns=START_NS, step_s=3_600, import_per_kwh=(0.3,), export_per_kwh=(0.1,))
    said = {
        type(entry.item).__name__: entry.item
        for spec in (
            EventSpec(
                kind="charge", battery_w=900, soc_frac=0.8, solar_only=True, ramp_s=60, may_opt_out=False
            ),
            EnvelopeSpec(import_limit_w=5_000, export_limit_w=0),
            PriceSpec(prices=series),
            DroopSpec(reference_hz=60, deadband_hz=0.02, full_deviation_hz=0.3, up_w=5),
        )
        if (entry := entry_of(order(spec), FLEET)) is not None
    }
    assert set(said) == {"ScheduledEvent", "Envelope", "PriceSeries", "DroopArming"}
    event, limits = said["ScheduledEvent"], said["Envelope"]
    assert isinstance(event, ScheduledEvent)
    assert isinstance(limits, Envelope)
    assert (event.kind, event.soc_frac, event.solar_only, event.may_opt_out) == ("charge", 0.8, True, False)
    assert (limits.import_limit_w, limits.export_limit_w) == (5_000, 0)
    assert said["PriceSeries"] == series
    assert entry_of(order(SetPointSpec(power_w=5)), FLEET) is None


def test_kill_switches_halt_whom_they_name_until_released() -> None:
    stops = [
        Stop(stop_id="a", kind="group", target="feeder-2", since_ns=1, by="ann", reason="smoke"),
        Stop(stop_id="b", kind="site", target="site-00004", since_ns=2, by="ann", reason="noise"),
        Stop(stop_id="c", kind="site", target="gone", since_ns=2, by="ann", reason="noise"),
    ]
    assert np.flatnonzero(halted_rows(stops, FLEET)).tolist() == [1, 3, 4, 5, 7, 9, 11]
    assert [stop.stop_id for stop in reasons_for(4, stops, FLEET)] == ["b"]
    over = [msgspec.structs.replace(stops[0], released_ns=5), *stops[1:]]
    assert np.flatnonzero(halted_rows(over, FLEET)).tolist() == [4]
    fleet_stop = Stop(stop_id="d", kind="fleet", target="", since_ns=9, by="ann", reason="drill")
    assert halted_rows([fleet_stop], FLEET).all()
