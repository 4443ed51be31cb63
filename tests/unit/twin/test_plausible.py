"""What cannot be true is marked, and ordinary devices are not accused."""

from __future__ import annotations

import pytest

from shoal.domain.telemetry import DeviceType, Flag, mask_of
from shoal.twin.plausible import LIMITS, UNLIMITED_W, Plausibility, no_limits
from shoal.twin.row import NEVER
from tests.unit.twin.readings import Home, one_site

MINUTE = 60.0
HOURS = 3_600.0


def test_limits_come_from_the_nameplate_with_a_tenth_on_top() -> None:
    (limit,) = Plausibility().limits(one_site().plates).tolist()
    assert dict(zip(LIMITS.names or (), limit, strict=True)) == {
        "most_charge_w": 5_550,
        "most_discharge_w": 5_550,
        "most_solar_w": 6_650,
        "most_ev_w": 12_150,
        "clipping_w": 5_400,
        "charge_w": 5_000,
        "discharge_w": 5_000,
    }
    assert set(no_limits()[0].tolist()) == {UNLIMITED_W}


@pytest.mark.parametrize(
    ("signal", "value_w", "flag"),
    [
        ("battery_w", 5_550, None),
        ("battery_w", 5_551, Flag.OVER_NAMEPLATE),
        ("battery_w", -5_551, Flag.OVER_NAMEPLATE),
        ("solar_w", -6_650, None),
        ("solar_w", -6_651, Flag.OVER_NAMEPLATE),
        ("solar_w", 100, None),
        ("solar_w", 101, Flag.SIGN),
        ("load_w", -100, None),
        ("load_w", -101, Flag.SIGN),
        ("ev_w", 12_151, Flag.OVER_NAMEPLATE),
        ("ev_w", -11_000, None),
    ],
)
def test_power_is_held_against_sign_and_nameplate(signal: str, value_w: int, flag: Flag | None) -> None:
    home = Home()
    values = {"load_w": 300, signal: value_w}
    assert home.flags(10.0, **values) == (flag or Flag(0))
    assert home.suspects == ({signal} if flag else set())
    # the short way of an ordinary record comes to the same
    home.flags(20.0, load_w=301)
    values["load_w"] = values["load_w"] + 2
    later = home.flags(30.0, **values)
    assert bool(later) == (flag is not None and value_w != -101)


def test_meter_is_not_held_against_a_nameplate() -> None:
    meter = Home(DeviceType.METER)
    assert meter.flags(10.0, load_w=90_000, solar_w=-50_000) == 0


def test_register_that_runs_backwards_is_suspect_once() -> None:
    home = Home()
    home.hear(0.0, charge_wh=1_000, import_wh=2_000, load_w=1)
    assert home.flags(10.0, charge_wh=999, import_wh=2_000, load_w=2) == Flag.REGISTER_BACKWARDS
    assert home.suspects == {"battery_w"}
    assert home.flags(20.0, charge_wh=999, import_wh=1_000, load_w=3) == Flag.REGISTER_BACKWARDS
    assert home.suspects == {"load_w"}
    assert home.flags(30.0, charge_wh=1_000, import_wh=1_001, load_w=4) == 0
    assert home.suspects == set()


def test_negative_register_is_suspect() -> None:
    assert Home().flags(0.0, charge_wh=-1) == Flag.SIGN


def test_register_may_not_outrun_the_nameplate() -> None:
    home = Home()
    home.hear(0.0, charge_wh=0, discharge_wh=0, load_w=1)
    assert home.flags(1 * HOURS, charge_wh=5_500, discharge_wh=0, load_w=2) == 0
    assert home.flags(1 * HOURS + 10, charge_wh=5_500 + 1_000, discharge_wh=0, load_w=3) == 0
    assert home.flags(1 * HOURS + 20, charge_wh=8_000, discharge_wh=0, load_w=4) == Flag.OVER_NAMEPLATE
    assert home.suspects == {"battery_w"}
    assert home.flags(1 * HOURS + 30, charge_wh=8_000, discharge_wh=2_000, load_w=5) == Flag.OVER_NAMEPLATE


def test_load_that_never_changes_is_a_stuck_sensor_until_it_moves() -> None:
    home = Home()
    found = [home.flags(k * MINUTE, load_w=512, battery_w=k, solar_w=-k) for k in range(130)]
    first = next(k for k, flag in enumerate(found) if flag)
    assert found[first] == Flag.STUCK
    assert 110 <= first <= 121, "after about two hours"
    assert home.suspects == {"load_w"}
    assert home.flags(131 * MINUTE, load_w=513) == 0
    assert home.flags(132 * MINUTE, load_w=513) == 0


def test_many_equal_samples_within_a_short_time_are_no_stuck_sensor() -> None:
    home = Home()
    assert not any(home.flags(k * 0.5, load_w=512) for k in range(2_000))


def test_few_equal_samples_over_a_long_time_are_no_stuck_sensor() -> None:
    home = Home()
    assert not any(home.flags(k * HOURS, load_w=512) for k in range(14))
    assert home.flags(14 * HOURS, load_w=512) == Flag.STUCK


def test_rest_set_points_and_limits_are_no_stuck_sensors() -> None:
    """Six hours: battery at rest or at its set-point, charger at its rating, inverter clipping, nobody at home."""
    resting, charging, empty = Home(), Home(), Home(DeviceType.BATTERY)
    ev = Home(DeviceType.EV_CHARGER)
    for k in range(360):
        moving = 300 + k % 7
        assert not resting.flags(k * MINUTE, battery_w=0, solar_w=-5_900, load_w=moving)
        assert not charging.flags(k * MINUTE, battery_w=3_000, charge_wh=k * 50, load_w=moving)
        assert not empty.flags(k * MINUTE, battery_w=12, present=mask_of("battery_w", "charge_wh"))
        assert not ev.flags(k * MINUTE, ev_w=11_000, import_wh=k * 183, present=mask_of("ev_w", "import_wh"))
    silent = Home()
    assert not any(silent.flags(k * MINUTE) for k in range(360)), "zero is not stuck"


def test_register_that_stands_still_while_power_flows_is_stuck() -> None:
    home = Home()
    found = [home.flags(k * MINUTE, battery_w=3_000 + k, charge_wh=77, load_w=k) for k in range(130)]
    assert found[-1] == Flag.STUCK
    assert home.suspects == {"battery_w"}
    charger = Home(DeviceType.EV_CHARGER)
    mask = mask_of("ev_w", "import_wh")
    assert [charger.flags(k * MINUTE, ev_w=7_000, import_wh=5, present=mask) for k in range(130)][
        -1
    ] == Flag.STUCK
    assert charger.suspects == {"ev_w"}


def test_solar_below_its_limit_that_never_changes_is_stuck_where_no_load_is_measured() -> None:
    roof = Home()
    mask = mask_of("solar_w")
    assert [roof.flags(k * MINUTE, solar_w=-2_000, present=mask) for k in range(130)][-1] == Flag.STUCK
    assert roof.suspects == {"solar_w"}


def test_partial_record_changes_only_its_signals_and_the_others_grow_older() -> None:
    home = Home()
    home.hear(0.0, load_w=400, battery_w=1_000, soc_frac=0.5, charge_wh=70)
    home.hear(40.0, load_w=500, present=mask_of("load_w"))
    latest, row = home.latest, home.twins.rows[0]
    assert (latest["load_w"], latest["battery_w"], latest["charge_wh"]) == (500, 1_000, 70)
    assert latest["soc_frac"] == 0.5
    assert (row["battery_behind"], row["load_behind"]) == (10, 0)
    home.hear(4_000.0, load_w=501, present=mask_of("load_w"))
    assert home.twins.rows["battery_behind"][0] == NEVER
    home.hear(4_010.0, battery_w=900, present=mask_of("battery_w"))
    assert home.twins.rows["battery_behind"][0] == 0


def test_many_small_steps_of_partial_records_age_the_others_exactly() -> None:
    home = Home()
    home.hear(0.0, load_w=1)
    for k in range(1, 101):
        home.hear(float(k), load_w=k + 1, present=mask_of("load_w"))
    assert home.twins.rows["battery_behind"][0] == 25


def test_suspicion_lasts_until_the_signal_is_heard_again() -> None:
    home = Home()
    home.hear(0.0, solar_w=500, load_w=1)
    home.hear(10.0, load_w=2, present=mask_of("load_w"))
    assert home.suspects == {"solar_w"}
    home.hear(20.0, solar_w=-500, present=mask_of("solar_w"))
    assert home.suspects == set()
