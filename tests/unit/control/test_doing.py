"""What a cycle came to: who serves what, how sure its power is, and what the groups are told."""

from __future__ import annotations

import numpy as np

from shoal.control.arbiter import EventNow
from shoal.control.doing import ControlNow, control_now
from shoal.control.leases import LeaseBook
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.domain.orders import EventKind
from shoal.domain.telemetry import TELEMETRY
from tests.integration.store.fleets import make_fleet
from tests.unit.control.plants import START_NS

FLEET = make_fleet(6)
ROWS = np.arange(3)


def came_to(kind: EventKind, *, silent: int = 0) -> ControlNow:
    """Let three sites follow an event, of which some were not heard for an hour; each was seen to give 1 kW."""
    latest = TELEMETRY.empty(6)
    latest["ts_ns"] = START_NS
    latest["ts_ns"][:silent] = START_NS - NS_PER_HOUR
    latest["battery_w"] = -1_000
    event = EventNow(
        event_id="e1",
        program="storm",
        kind=kind,
        start_ns=START_NS,
        end_ns=START_NS + NS_PER_HOUR,
        rows=ROWS,
        each_w=np.full(3, -2_000),
    )
    return control_now(
        FLEET,
        t_ns=START_NS,
        holds_ns=180 * NS_PER_S,
        latest=latest,
        fresh_s=180.0,
        shares=[],
        resources=frozenset(),
        serving=[(event, ROWS)],
        leases=LeaseBook(6),
    )


def test_power_of_silent_sites_is_bounded_by_their_ratings() -> None:
    (sure,) = came_to("power").parts
    assert (sure.power_w, sure.low_w, sure.high_w, sure.silent_sites) == (-3_000, -3_000, -3_000, 0)
    (part,) = came_to("power", silent=1).parts
    plate = FLEET.nameplate[0]
    assert part.low_w == round(-2_000 - 1_000 * float(plate["discharge_limit_kw"]))
    assert part.high_w == round(-2_000 + 1_000 * float(plate["charge_limit_kw"]))
    assert part.low_w <= part.power_w <= part.high_w
    assert (part.commanded_w, part.silent_sites) == (-6_000, 1)


def test_what_devices_choose_is_no_command() -> None:
    now = came_to("charge")
    assert (now.parts[0].commanded_w, now.groups, now.serving) == (None, [], 3)


def test_groups_are_told_the_sum_of_their_sites_and_what_the_others_do() -> None:
    now = came_to("power")
    for number, sites, told_w, free_w in zip(now.groups, now.sites, now.commanded_w, now.free_w, strict=True):
        inside = FLEET.rows_in(FLEET.groups[number].group_id)
        mine = np.isin(inside, ROWS)
        assert (sites, told_w) == (int(mine.sum()), -2_000 * int(mine.sum()))
        assert free_w == -1_000 * int((~mine).sum())
    assert now.groups
