"""Who may follow a regulation signal, and what is known of what each can do."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.control.regulation_sites import (
    may_follow,
    regulation_ability,
    regulation_event,
    rows_of_resource,
)
from shoal.domain.errors import SettingsError
from shoal.domain.interval import NS_PER_MINUTE, NS_PER_S
from shoal.domain.telemetry import TELEMETRY
from shoal.simulate.fleet import plan_fleet
from shoal.store.order_records import Stop

FLEET = plan_fleet(8, 1, meter_sites_frac=0.25)
ROWS = rows_of_resource(FLEET, "vpp-1")
NOW_NS = 1_700_000_000 * NS_PER_S


def stop(kind: str, target: str, released_ns: int | None = None) -> Stop:
    return Stop(
        stop_id=f"s-{target}",
        kind=kind,  # type: ignore[arg-type]
        target=target,
        by="ada",
        since_ns=NOW_NS,
        reason="smoke",
        released_ns=released_ns,
    )


def test_resource_is_its_sites_with_a_battery() -> None:
    assert 0 < len(ROWS) < 8
    assert (FLEET.nameplate["energy_capacity_kwh"][ROWS] > 0).all()
    with pytest.raises(SettingsError, match="vpp-1"):
        rows_of_resource(FLEET, "vpp-9")


def test_only_the_enrolled_that_no_switch_halts_may_follow() -> None:
    site, other = str(FLEET.site_ids[ROWS[0]]), str(FLEET.site_ids[ROWS[1]])
    stops = [stop("site", site), stop("site", other, released_ns=NOW_NS)]

    def enrolled(program: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        assert program == "regulation"
        return ROWS[:3]

    may = may_follow(FLEET, ROWS, enrolled=enrolled, stops=stops)
    assert np.flatnonzero(may).tolist() == [1, 2]
    assert not may_follow(FLEET, ROWS, enrolled=lambda _: None, stops=[stop("fleet", "")]).any()
    assert may_follow(FLEET, ROWS, enrolled=lambda _: None, stops=[]).all()
    event = regulation_event(FLEET, "vpp-1", enrolled=enrolled, t_ns=NOW_NS)
    assert event.rows.tolist() == ROWS[:3].tolist()
    assert event.start_ns <= NOW_NS < event.end_ns


def test_what_is_old_is_unknown_and_the_larger_reserve_is_the_floor() -> None:
    latest = TELEMETRY.empty(len(ROWS))
    latest["ts_ns"], latest["soc_frac"] = NOW_NS, 0.5
    latest["ts_ns"][0] = NOW_NS - 10 * NS_PER_MINUTE
    ability = regulation_ability(
        FLEET.nameplate[ROWS],
        latest,
        t_ns=NOW_NS,
        fresh_ns=3 * NS_PER_MINUTE,
        reserve_frac=np.full(len(ROWS), 0.3),
    )
    capacity_kwh = FLEET.nameplate["energy_capacity_kwh"][ROWS]
    assert np.isnan(ability.stored_kwh[0])
    assert ability.stored_kwh[1:] == pytest.approx(0.5 * capacity_kwh[1:])
    assert ability.floor_kwh == pytest.approx(0.3 * capacity_kwh)
    assert ability.ceiling_kwh == pytest.approx(capacity_kwh)
