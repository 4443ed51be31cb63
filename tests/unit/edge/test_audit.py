"""The referee fires on every kind of breach, and only then."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.domain.errors import CorruptStateError, InvalidInputError
from shoal.edge.audit import Breach, Referee
from tests.unit.edge.sites import T0, S, desired, kwh, nameplates, watts, wire


def judged(
    referee: Referee,
    start_s: float,
    end_s: float,
    battery_w: int,
    *,
    load_w: int = 500,
    solar_w: int = 0,
    stored_kwh: float = 8.0,
    end_kwh: float | None = None,
    horizon_s: float | None = None,
) -> Breach:
    codes = referee.observe(
        start_ns=T0 + round(start_s * S),
        end_ns=T0 + round(end_s * S),
        battery_w=watts(battery_w),
        load_w=watts(load_w),
        solar_w=watts(solar_w),
        ev_w=watts(0),
        stored_start_kwh=kwh(stored_kwh),
        stored_end_kwh=kwh(stored_kwh if end_kwh is None else end_kwh),
        horizon_s=horizon_s,
    )
    return Breach(int(codes[0]))


def referee_with(*commands: tuple[int, int, float, float, float]) -> Referee:
    """Return a referee that heard (version, watts, start, end, receipt) in order."""
    referee = Referee(nameplates())
    for version, battery_w, start_s, end_s, received_s in commands:
        message = wire(desired(version, battery_w, start_s, end_s))
        referee.heard(0, message, received_ns=T0 + round(received_s * S))
    return referee


def test_power_of_the_lease_is_right_only_while_it_lasts() -> None:
    referee = referee_with((1, 3_000, 10, 20, 0))
    assert judged(referee, 0, 10, -500) == Breach(0)
    assert judged(referee, 10, 20, 3_000) == Breach(0)
    assert judged(referee, 10, 20, -500) == Breach.LEASE
    assert judged(referee, 9, 10, 3_000) == Breach.LEASE, "before its start"
    assert judged(referee, 20, 21, 3_000) == Breach.LEASE, "after its end"
    assert judged(referee, 15, 20.000_000_001, 3_000) == Breach.LEASE, "a nanosecond beyond its end"
    assert referee.statistics().lease_violations == 4
    assert referee.examples[-1].allowed_low_w == referee.examples[-1].allowed_high_w == -500


def test_idling_on_an_ended_command_is_a_breach_too() -> None:
    referee = referee_with((1, 0, 0, 10, 0))
    assert judged(referee, 0, 10, 0) == Breach(0)
    assert judged(referee, 10, 20, 0) == Breach.LEASE


def test_local_mode_is_judged_in_both_directions() -> None:
    referee = Referee(nameplates())
    assert judged(referee, 0, 60, 2_500, solar_w=-3_000) == Breach(0)
    assert judged(referee, 0, 60, 2_600, solar_w=-3_000) == Breach.LEASE, "charging from the grid"
    assert judged(referee, 0, 60, -600) == Breach.LEASE, "feeding the grid from the battery"
    assert judged(referee, 0, 60, 0, load_w=-200) == Breach(0)
    assert judged(referee, 0, 60, 200, load_w=-200) == Breach.LEASE, "a negative load is no surplus"


def test_more_than_the_lease_is_a_breach_and_less_is_counted() -> None:
    referee = referee_with((1, -3_000, 0, 100, 0))
    assert judged(referee, 0, 10, -3_004) == Breach(0)
    assert judged(referee, 0, 10, -3_010) == Breach.LEASE
    assert judged(referee, 0, 10, 100) == Breach.LEASE
    assert judged(referee, 0, 10, -2_000) == Breach(0)
    assert referee.statistics().unfollowed == 1


def test_less_is_explained_by_the_reserve_within_the_horizon() -> None:
    referee = referee_with((1, -5_000, 0, 100, 0))
    half_w = -2_375  # 0.0833 kWh x 0.95 in two minutes
    assert judged(referee, 0, 60, half_w, stored_kwh=2.7 + 1 / 12, horizon_s=120) == Breach(0)
    assert referee.statistics().unfollowed == 0
    assert judged(referee, 0, 60, half_w, stored_kwh=2.7 + 1 / 12) == Breach(0)
    assert referee.statistics().unfollowed == 1


def test_care_about_a_hair_of_energy_in_a_very_short_interval_is_no_breach() -> None:
    assert judged(Referee(nameplates()), 0, 0.000_3, -400, stored_kwh=2.7 + 5e-8) == Breach(0)


def test_reserve_crossed_by_discharging_is_a_breach() -> None:
    referee = referee_with((1, -5_000, 0, 1_000, 0))
    assert judged(referee, 0, 60, -5_000, stored_kwh=2.75, end_kwh=2.66) == Breach.RESERVE
    assert judged(referee, 0, 60, 0, stored_kwh=2.5, end_kwh=2.5) == Breach(0), "below it, but idle"
    assert judged(referee, 0, 60, -1_000, stored_kwh=2.75, end_kwh=2.7) == Breach(0)
    assert referee.statistics().reserve_violations == 1


def test_standby_consumption_is_nobodys_breach() -> None:
    referee = Referee(nameplates(), standby_w=30.0)
    assert judged(referee, 0, 60, -500, stored_kwh=2.708_8, end_kwh=2.699_6) == Breach(0)
    assert judged(referee, 0, 60, -500, stored_kwh=2.708_8, end_kwh=2.699_4) == Breach.RESERVE


def test_limits_of_power_and_energy_are_judged() -> None:
    referee = referee_with((1, 10_000, 0, 1_000, 0))
    assert judged(referee, 0, 60, 5_000) == Breach(0)
    assert judged(referee, 0, 60, 6_000) == Breach.LIMIT | Breach.LEASE
    assert judged(referee, 0, 60, 5_000, stored_kwh=13.49, end_kwh=13.57) == Breach.LIMIT
    assert judged(referee, 0, 60, 0, stored_kwh=0.0, end_kwh=-0.1) == Breach.LIMIT
    assert judged(referee, 0, 60, 0, stored_kwh=float("nan")) == Breach.LIMIT
    assert referee.statistics().limit_violations == 4


@pytest.mark.parametrize(
    ("message", "received_s"),
    [
        (b"nonsense", 0),
        (wire(desired(5, 3_000, 0, 100, fence=6)), 0),  # fenced out
        (wire(desired(4, 3_000, 0, 100, fence=7)), 0),  # heard before
        (wire(desired(5, 3_000, 0, 100, fence=7)), 100),  # expired
        (wire(desired(5, 3_000, 100, 50, fence=7)), 0),
        (wire(desired(2**32, 3_000, 0, 100, fence=7)), 0),
        (wire(desired(5, 3_000, 0, 100, fence=-1)), 0),
    ],
)
def test_messages_that_entitle_to_nothing(message: bytes, received_s: int) -> None:
    referee = Referee(nameplates())
    assert referee.heard(0, wire(desired(4, 1_000, 0, 1, fence=7)), received_ns=T0)
    assert not referee.heard(0, message, received_ns=T0 + received_s * S)
    assert judged(referee, received_s + 1, received_s + 2, 3_000) == Breach.LEASE
    assert referee.statistics().granted == 1


def test_older_command_is_right_until_a_newer_one_begins_and_never_again() -> None:
    referee = referee_with((1, 1_000, 0, 100, 0), (2, 2_000, 80, 90, 1), (3, 3_000, 50, 60, 2))
    assert judged(referee, 40, 50, 1_000) == Breach(0)
    assert judged(referee, 50, 60, 3_000) == Breach(0)
    assert judged(referee, 50, 60, 1_000) == Breach(0), "less than asked is only counted"
    assert judged(referee, 60, 70, 1_000) == Breach.LEASE, "the replaced one does not come back"
    assert judged(referee, 80, 90, 2_000) == Breach.LEASE, "one that was replaced while it waited"


def test_interval_begun_before_a_newer_command_came_is_judged_by_the_older() -> None:
    referee = referee_with((1, 3_000, 0, 100, 0), (2, -1_000, 0, 100, 5))
    assert judged(referee, 0, 10, 3_000) == Breach(0)
    assert judged(referee, 10, 20, 3_000) == Breach.LEASE
    assert judged(referee, 10, 20, -1_000) == Breach(0)


def test_rows_are_judged_apart() -> None:
    referee = Referee(nameplates(3))
    referee.heard(1, wire(desired(1, 3_000, 0, 100)), received_ns=T0)
    codes = referee.observe(
        start_ns=T0,
        end_ns=T0 + S,
        battery_w=watts(3_000, 3_000, -500),
        load_w=watts(500, 500, 500),
        solar_w=watts(0, 0, 0),
        ev_w=watts(0, 0, 0),
        stored_start_kwh=kwh(8.0, 8.0, 8.0),
        stored_end_kwh=kwh(8.0, 8.0, 8.0),
    )
    assert codes.tolist() == [Breach.LEASE, 0, 0]
    statistics = referee.statistics()
    assert (statistics.judged, statistics.leased) == (3, 1)


def test_interval_must_run_forwards() -> None:
    with pytest.raises(InvalidInputError):
        judged(Referee(nameplates()), 5, 5, 0)


def test_state_survives_a_restart() -> None:
    referee = referee_with((3, 3_000, 0, 100, 0))
    again = Referee(nameplates())
    again.restore(referee.state())
    assert judged(again, 0, 10, 3_000) == Breach(0)
    assert not again.heard(0, wire(desired(3, 1_000, 0, 100)), received_ns=T0)
    with pytest.raises(CorruptStateError):
        again.restore({**referee.state(), "fence": np.zeros(2, dtype=np.int64)})
