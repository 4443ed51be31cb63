"""Storm watch: from an alert on the map to documents and claims, and what a market may still have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shoal.control.storm import (
    OwnerChanged,
    Prior,
    StormPolicy,
    StormSites,
    StormState,
    standing_alert,
    step_storm,
    storm_claims,
)
from shoal.domain.alert import Area, WeatherAlert
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S, Interval
from shoal.domain.orders import ScheduledEvent
from shoal.programs.arbitration import arbitrate
from shoal.programs.claims import PowerClaim, SiteAbility
from shoal.programs.program import default_book
from shoal.twin.zones import ZoneIndex

HOUR = NS_PER_HOUR
BOX = Area(polygons=((((-98.0, 30.0), (-97.0, 30.0), (-97.0, 31.0), (-98.0, 31.0), (-98.0, 30.0)),),))
ALERT = WeatherAlert(
    alert_id="nws-1",
    event="Winter Storm Warning",
    severity="severe",
    area=BOX,
    effective=Interval(start_ns=20 * HOUR, end_ns=30 * HOUR),
)
INDEX = ZoneIndex(np.array([30.5, 30.5, 29.0]), np.array([-97.5, -97.6, -97.5]))
POLICY = StormPolicy()
SPREAD_NS = int(POLICY.spread_s * NS_PER_S)
SITES = StormSites(
    site_ids=["in-1", "in-2", "out"],
    reserve_frac=np.array([0.2, 0.3, 0.2]),
    mode=["local", "price", "local"],
    charge_w=np.array([5_000, 3_000, 5_000]),
    capacity_wh=np.full(3, 10_000.0),
    energy_wh=np.array([9_000.0, 9_900.0, 9_000.0]),
)


def standing(alert: WeatherAlert = ALERT, taken_ns: int = 0, until_ns: int = 30 * HOUR) -> list:  # type: ignore[type-arg]
    found = standing_alert(
        key="k", alert=alert, taken_ns=taken_ns, until_ns=until_ns, index=INDEX, policy=POLICY
    )
    return [] if found is None else [found]


def test_sites_inside_are_filled_hours_ahead_and_held_to_the_end() -> None:
    state, step = step_storm(StormState(), [], t_ns=HOUR, standing=standing(), sites=SITES, policy=POLICY)
    (entry,) = step.entries
    assert isinstance(entry.item, ScheduledEvent)
    assert entry.rows.tolist() == [0, 1]
    assert entry.battery_w is not None
    assert entry.battery_w.tolist() == [5_000, 3_000]
    assert (entry.item.kind, entry.item.soc_frac, entry.item.program) == ("charge", 1.0, "storm")
    assert (entry.item.start_ns, entry.item.end_ns) == (8 * HOUR, 30 * HOUR + SPREAD_NS)
    assert not step.held.any(), "before the hold begins nobody has been touched"
    state, step = step_storm(state, [], t_ns=8 * HOUR, standing=standing(), sites=SITES, policy=POLICY)
    assert step.held.tolist() == [True, True, False]
    assert [change.site_id for change in step.changes] == ["in-1", "in-2"]
    longer = standing(until_ns=40 * HOUR)
    state, step = step_storm(state, [], t_ns=9 * HOUR, standing=longer, sites=SITES, policy=POLICY)
    assert step.changes == ()
    assert step.entries[0].key == entry.key
    assert step.entries[0].end_ns == 40 * HOUR + SPREAD_NS
    state, step = step_storm(
        state,
        [OwnerChanged(site_id="in-1", reserve_frac=0.5)],
        t_ns=10 * HOUR,
        standing=[],
        sites=SITES,
        policy=POLICY,
    )
    assert step.entries == ()
    assert {change.site_id: change.prior for change in step.changes} == {
        "in-1": Prior(reserve_frac=0.5, mode="local"),
        "in-2": Prior(reserve_frac=0.3, mode="price"),
    }
    assert state.prior_of == {}


def test_an_alert_that_is_not_bad_enough_or_over_moves_nobody() -> None:
    assert standing(replace(ALERT, severity="minor")) == []
    assert standing(until_ns=7 * HOUR) == []


def test_an_alert_that_comes_late_begins_at_once() -> None:
    (late,) = standing(taken_ns=25 * HOUR)
    assert late.hold.start_ns == 20 * HOUR
    (nothing_said,) = standing(replace(ALERT, effective=None), taken_ns=25 * HOUR)
    assert nothing_said.hold.contains(25 * HOUR)


def test_a_site_that_left_the_fleet_or_moved_away_is_given_back() -> None:
    state, _ = step_storm(StormState(), [], t_ns=9 * HOUR, standing=standing(), sites=SITES, policy=POLICY)
    moved = [replace(standing()[0], rows=np.array([1]))]
    state, step = step_storm(state, [], t_ns=10 * HOUR, standing=moved, sites=SITES, policy=POLICY)
    assert [change.site_id for change in step.changes] == ["in-1"]
    others = replace(SITES, site_ids=["in-1", "new", "out"])
    _, step = step_storm(state, [], t_ns=11 * HOUR, standing=[], sites=others, policy=POLICY)
    assert [change.site_id for change in step.changes] == ["in-2"]


def test_the_market_gets_nothing_of_what_a_storm_holds() -> None:
    interval = Interval(start_ns=10 * HOUR, end_ns=11 * HOUR)
    (claim,) = storm_claims(standing(), SITES, interval)
    assert claim.hold_wh.tolist() == [8_000, 7_000]
    assert claim.charge_w.tolist() == [1_000, 100]
    book = default_book()
    everything = (1 << len(book.ids)) - 1
    ability = SiteAbility(
        programs=book.ids,
        charge_w=SITES.charge_w,
        discharge_w=SITES.charge_w,
        charge_wh=np.array([1_000, 100, 1_000]),
        discharge_wh=np.array([7_000, 6_900, 7_000]),
        cycle_left_wh=np.full(3, 100_000),
        kept_wh=np.array([2_000, 3_000, 2_000]),
        enrolled_bits=np.full(3, everything, dtype=np.uint64),
        opted_out_bits=np.zeros(3, dtype=np.uint64),
        exclusive_index=np.full(3, -1),
        known=np.ones(3, dtype=np.bool_),
    )
    market = PowerClaim(claim_id="award", program="market", power_w=-12_000)
    done = arbitrate(book.ordered([market, claim]), ability, interval=interval)
    assert done.grant("award").discharge_w.tolist() == [0, 0, 5_000]
    assert storm_claims(standing(), SITES, Interval(start_ns=40 * HOUR, end_ns=41 * HOUR)) == ()


def test_no_alert_is_followed_for_ever() -> None:
    (one,) = standing(
        replace(ALERT, effective=Interval(start_ns=20 * HOUR, end_ns=9_000 * HOUR)), until_ns=9_000 * HOUR
    )
    assert one.hold == Interval(start_ns=8 * HOUR, end_ns=(20 + 5 * 24) * HOUR)


def test_homes_end_one_after_another_and_not_with_the_alert() -> None:
    state, step = step_storm(
        StormState(), [], t_ns=29 * HOUR, standing=standing(), sites=SITES, policy=POLICY
    )
    told = step.entries
    state, step = step_storm(state, [], t_ns=30 * HOUR, standing=standing(), sites=SITES, policy=POLICY)
    assert [entry.item for entry in step.entries] == [entry.item for entry in told], (
        "documents stay as they are: each home ends at its own place"
    )
    assert not step.held.any()
    assert len(step.changes) == 2
    _, step = step_storm(
        state, [], t_ns=30 * HOUR + SPREAD_NS, standing=standing(), sites=SITES, policy=POLICY
    )
    assert step.entries == ()


def test_the_worst_of_many_alerts_is_not_the_one_too_many() -> None:
    many = [replace(standing()[0], key=f"k{number}", soc_frac=0.8) for number in range(12)]
    later = Interval(start_ns=9 * HOUR, end_ns=40 * HOUR)
    worst = replace(standing()[0], key="z", soc_frac=1.0, hold=later, rows=np.array([1]))
    _, step = step_storm(
        StormState(), [], t_ns=10 * HOUR, standing=[*many, worst], sites=SITES, policy=POLICY
    )
    told = {entry.key: entry.rows.tolist() for entry in step.entries}
    at_one = [key for key, rows in told.items() if 1 in rows]
    assert "storm-z" in at_one
    assert len(at_one) == 2, "of equal ones a single one, beside the worst, which begins later"
    assert step.held.tolist() == [True, True, False]
