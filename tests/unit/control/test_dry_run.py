"""The dry run: what an order would come to, how sure that is, who would lose, and which limits bind."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.control.arbiter import EventNow
from shoal.control.dry_run import Experience, Preview, each_of, preview, silent_of
from shoal.control.grid_limits import GridLimits
from shoal.control.schedule import rows_of_order
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.domain.live import Aggregates
from shoal.domain.telemetry import TELEMETRY
from shoal.programs.program import default_book
from shoal.store.order_records import EventSpec, Order, Scope, SetPointSpec
from tests.integration.store.fleets import make_fleet
from tests.unit.control.grids import Source, envelope, limit
from tests.unit.control.plants import START_NS

FLEET = make_fleet(12)
GROUP = Scope(groups=("feeder-1",))


def order(power_w: int, *, scope: Scope = GROUP, hours: float = 1.0, program: str = "market") -> Order:
    return Order(
        order_id="o1",
        program=program,
        scope=scope,
        start_ns=START_NS,
        end_ns=START_NS + round(hours * NS_PER_HOUR),
        spec=SetPointSpec(power_w=power_w),
        by="ann",
        at_ns=START_NS,
    )


def records(soc_frac: float = 0.6, silent: tuple[int, ...] = ()) -> NDArray[Any]:
    latest = TELEMETRY.empty(12)
    latest["ts_ns"] = START_NS
    latest["soc_frac"] = soc_frac
    latest["ts_ns"][list(silent)] = START_NS - 3_600 * NS_PER_S
    return latest


def look(asked: Order, latest: NDArray[Any], halted: tuple[int, ...] = (), **more: Any) -> Preview:
    rows = rows_of_order(asked, FLEET)
    stopped = np.zeros(12, dtype=np.bool_)
    stopped[list(halted)] = True
    return preview(
        asked,
        t_ns=START_NS,
        fleet=FLEET,
        rows=rows,
        each_w=each_of(asked, rows, FLEET),
        latest=latest,
        halted=stopped,
        book=default_book(),
        fresh_timeout_s=180.0,
        **more,
    )


def test_what_fresh_sites_can_do_is_expected_within_a_narrow_interval() -> None:
    seen = look(order(-12_000), records())
    assert (seen.sites, seen.fresh_sites, seen.silent_sites, seen.halted_sites) == (6, 6, 0, 0)
    assert seen.asked_kw == seen.expected_kw == seen.sustained_kw == -12.0
    assert -13.5 < seen.low_kw < -12.0 < seen.high_kw < -10.5
    assert seen.energy_kwh == -12.0
    assert (seen.losses, seen.binding) == ([], [])


def test_past_delivery_moves_what_is_expected() -> None:
    seen = look(order(-12_000), records(), experience=Experience(share_frac=0.9, deviation_frac=0.0))
    assert seen.expected_kw == seen.low_kw == pytest.approx(-10.8)


def test_silent_sites_widen_the_interval_as_the_plant_knows_them() -> None:
    latest = records(silent=(0, 2))
    wide = look(order(-12_000), latest)
    known = look(order(-12_000), latest, silent_kw=(-1.0, -2.0, 0.5))
    assert wide.silent_sites == known.silent_sites == 2
    assert -12.0 < wide.expected_kw < 0
    assert wide.low_kw < known.low_kw < known.expected_kw < known.high_kw < wide.high_kw
    assert known.expected_kw == pytest.approx(wide.expected_kw - 1.0)
    assert any(one.limit == "silent" and one.sites == 2 for one in wide.binding)


def test_what_lasts_too_long_is_less_to_the_end() -> None:
    seen = look(order(-30_000, hours=4), records(soc_frac=0.4))
    assert seen.expected_kw == -30.0
    assert -30.0 < seen.sustained_kw < -3.0
    assert {one.limit for one in seen.binding} == {"energy or what the owner keeps"}
    assert {loss.reason for loss in seen.losses} <= {"reserve", "no_energy"}
    assert seen.losses[0].told


def test_stopped_sites_do_nothing() -> None:
    seen = look(order(-12_000), records(), halted=(0, 2, 4))
    assert seen.halted_sites == 3
    assert -9.0 < seen.expected_kw < -3.0


def test_who_goes_first_keeps_what_it_has() -> None:
    rows = np.array([0, 2, 4], dtype=np.int64)
    running = EventNow(
        event_id="grid",
        program="emergency",
        kind="power",
        start_ns=START_NS - 1,
        end_ns=START_NS + NS_PER_HOUR,
        rows=rows,
        each_w=np.full(3, 3_000, dtype=np.int64),
    )
    seen = look(order(-12_000), records(), running=[running])
    assert any(loss.reason == "taken" and loss.sites == 3 for loss in seen.losses)
    assert seen.sustained_kw > -12.0


def test_each_of_says_what_every_site_is_asked() -> None:
    rows = np.array([0, 2], dtype=np.int64)
    event = msgspec.structs.replace(order(0), spec=EventSpec(kind="charge", battery_w=700))
    assert each_of(event, rows, FLEET).tolist() == [700, 700]
    local = msgspec.structs.replace(order(0), spec=EventSpec(kind="local"))
    assert each_of(local, rows, FLEET).tolist() == [0, 0]
    assert int(each_of(order(-5_001), rows, FLEET).sum()) == -5_001


def test_silent_part_of_a_group_is_the_plants_own_figure() -> None:
    groups = len(FLEET.groups)
    whole = {
        name: [0] * groups if kind == "list[int]" else [0.0] * groups
        for name, kind in Aggregates.__annotations__.items()
        if kind.startswith("list")
    }
    whole |= {"battery_kw": [-5.0] * groups, "expected_kw": [-6.0] * groups}
    whole |= {"low_kw": [-8.0] * groups, "high_kw": [-4.5] * groups}
    aggregates = msgspec.convert({"t_ns": 1, **whole}, Aggregates)
    assert silent_of(aggregates, FLEET, GROUP) == (-1.0, -3.0, 0.5)
    assert silent_of(aggregates, FLEET, Scope(sites=("site-00001",))) is None
    assert silent_of(aggregates, FLEET, Scope(groups=("gone",))) is None
    assert silent_of(aggregates, FLEET, Scope(fleet=True)) is None, "two hierarchies have two roots"


def test_limit_of_a_feeder_is_told_with_what_it_keeps_back() -> None:
    grid = GridLimits(FLEET, Source(limit("feeder-1", None, 4_000)))
    grid.refresh(START_NS)
    seen = look(order(-12_000), records(), grid=grid)
    assert seen.asked_kw == -12.0
    assert seen.expected_kw == seen.sustained_kw == -4.0
    assert [(one.limit, one.sites, one.power_w) for one in seen.binding if "carry" in one.limit] == [
        ("what feeder-1 can carry", 6, 8_000)
    ]
    assert any(one.reason == "limit" and "feeder-1 can carry no more" in one.told for one in seen.losses)
    wide = GridLimits(FLEET, Source(limit("feeder-1", None, 40_000)))
    wide.refresh(START_NS)
    assert look(order(-12_000), records(), grid=wide) == look(order(-12_000), records())


def test_envelope_that_ends_within_the_order_counts_with_what_follows() -> None:
    span = (START_NS - 1, START_NS + NS_PER_HOUR // 2)
    source = Source(limit("feeder-1", None, 4_000), envelopes=(envelope("feeder-1", span, 0, 90_000),))
    grid = GridLimits(FLEET, source)
    grid.refresh(START_NS)
    assert look(order(-12_000), records(), grid=grid).expected_kw == -4.0
    assert look(order(-12_000, hours=0.4), records(), grid=grid).expected_kw == -12.0
