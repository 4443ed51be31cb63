"""Whatever is awarded of what one battery offered for a fleet, the fleet delivers minute by minute to the watt-hour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.optimise.allocation import battery_limits, split_setpoint_w
from shoal.optimise.fleet_battery import fleet_battery
from shoal.optimise.splittable import most_energy_shares, splittable_kw
from shoal.optimise.storage import Storage

Floats = NDArray[np.float64]
PROFILE = settings(deadline=None, max_examples=12)
MINUTES = 60


@dataclass(slots=True)
class Homes:
    """Batteries of all kinds, unequally full."""

    energy: Floats
    capacity: Floats
    reserve: Floats
    charge: Floats
    discharge: Floats
    charge_frac: Floats
    discharge_frac: Floats

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int, *, alike: bool) -> Homes:
        capacity = rng.choice([5.0, 6.4, 9.6, 13.5, 27.0], count) * rng.uniform(0.9, 1.1, count)
        level = rng.choice([0.0, 1.0, -1.0], count, p=[0.15, 0.15, 0.7])
        reserve = rng.choice([0.0, 0.1, 0.2, 0.3], count)
        inside = np.where(level < 0.0, rng.uniform(0.0, 1.0, count), level)
        return cls(
            energy=(reserve + (1.0 - reserve) * inside) * capacity,
            capacity=capacity,
            reserve=reserve,
            charge=rng.uniform(1.0, 11.5, count),
            discharge=rng.uniform(1.0, 11.5, count),
            charge_frac=np.full(count, 0.95) if alike else rng.uniform(0.9, 1.0, count),
            discharge_frac=np.full(count, 0.93) if alike else rng.uniform(0.9, 1.0, count),
        )

    def as_one(self) -> Storage:
        return fleet_battery(
            energy_kwh=self.energy,
            energy_capacity_kwh=self.capacity,
            reserve_frac=self.reserve,
            charge_limit_kw=self.charge,
            discharge_limit_kw=self.discharge,
            charge_efficiency_frac=self.charge_frac,
            discharge_efficiency_frac=self.discharge_frac,
        ).storage

    def minute(
        self, target_w: int, most_in_w: int, most_out_w: int, still_kwh: float, fairness: Floats | None
    ) -> int:
        """Split one minute's target as control does, and return what was delivered, in W."""
        lower, upper = battery_limits(
            self.energy,
            self.capacity,
            self.reserve * self.capacity,
            self.charge,
            self.discharge,
            self.charge_frac,
            self.discharge_frac,
            1.0 / MINUTES,
        )
        preferred = splittable_kw(
            target_w / 1e3,
            most_charge_kw=most_in_w / 1e3,
            most_discharge_kw=most_out_w / 1e3,
            energy_kwh=self.energy,
            energy_capacity_kwh=self.capacity,
            reserve_kwh=self.reserve * self.capacity,
            charge_limit_kw=self.charge,
            discharge_limit_kw=self.discharge,
            charge_efficiency_frac=self.charge_frac,
            discharge_efficiency_frac=self.discharge_frac,
            fairness=fairness,
            still_kwh=still_kwh,
        )
        # whole watts within what a minute leaves, to the direction asked
        lower_w, upper_w = np.ceil(lower * 1e3).astype(np.int64), np.floor(upper * 1e3).astype(np.int64)
        lower_w, upper_w = (
            (lower_w, np.minimum(upper_w, 0)) if target_w < 0 else (np.maximum(lower_w, 0), upper_w)
        )
        split = split_setpoint_w(
            target_w, np.minimum(lower_w, upper_w), upper_w, np.maximum(self.capacity, 1e-9), preferred * 1e3
        )
        kw = split.power_w / 1e3
        self.energy = (
            self.energy + np.where(kw > 0.0, kw * self.charge_frac, kw / self.discharge_frac) / MINUTES
        )
        return int(split.power_w.sum())


def awarded_w(rng: np.random.Generator, one: Storage, hours: int) -> list[int]:
    """Return an award for each hour that the one battery could follow: mostly at its limits."""
    energy_kwh, found = one.initial_energy_kwh, []
    for _ in range(hours):
        low_kw = -min(one.discharge_limit_kw, energy_kwh * one.discharge_efficiency_frac)
        high_kw = min(
            one.charge_limit_kw, (one.energy_capacity_kwh - energy_kwh) / one.charge_efficiency_frac
        )
        kw = float(rng.choice([low_kw, high_kw, 0.0, rng.uniform(low_kw, max(high_kw, low_kw))]))
        watts = int(kw * 1e3)
        found.append(watts)
        kw = watts / 1e3
        energy_kwh += kw * one.charge_efficiency_frac if kw > 0.0 else kw / one.discharge_efficiency_frac
        energy_kwh = min(max(energy_kwh, 0.0), one.energy_capacity_kwh)
    return found


def deliver(homes: Homes, award_w: list[int], fairness: Floats | None = None) -> list[float]:
    """Return what each hour lacks, in Wh, when every minute is asked for what is missing of its hour."""
    lacks = []
    for hour, wanted_w in enumerate(award_w):
        ahead = award_w[hour:]
        most_in_w, most_out_w = max(0, *ahead), max(0, *(-one for one in ahead))
        done_w = 0
        for minute in range(MINUTES):
            target_w = round((wanted_w * MINUTES - done_w) / (MINUTES - minute))
            if wanted_w and (target_w > 0) == (wanted_w > 0):
                still_w = sum(abs(one) for one in ahead if (one > 0) == (wanted_w > 0))
                still_kwh = still_w / 1e3 if fairness is not None else np.inf
                done_w += homes.minute(target_w, most_in_w, most_out_w, still_kwh, fairness)
        lacks.append(abs(wanted_w * MINUTES - done_w) / MINUTES)
    return lacks


@PROFILE
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 40))
def test_any_award_of_what_was_offered_is_delivered_to_the_watt_hour(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    homes = Homes.draw(rng, count, alike=True)
    award_w = awarded_w(rng, homes.as_one(), 10)
    # a watt a home is lost to rounding each minute that it stands at a limit
    assert max(deliver(homes, award_w)) <= 1.0


@PROFILE
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, 40))
def test_fairness_has_its_way_and_no_promise_is_lost(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    homes = Homes.draw(rng, count, alike=True)
    one = homes.as_one()
    left_w = one.initial_energy_kwh * one.discharge_efficiency_frac * 1e3 * rng.choice([0.4, 0.8, 1.0])
    award_w = []
    for _ in range(5):
        award_w.append(-int(min(one.discharge_limit_kw * 1e3 * rng.uniform(0.2, 1.0), left_w)))
        left_w += award_w[-1]
    assert max(deliver(homes, award_w, rng.choice([0.2, 1.0, 3.0], count))) <= 1.0


def test_fairness_moves_shares_only_where_energy_is_left() -> None:
    columns = {
        "energy_capacity_kwh": [10.0, 10.0],
        "reserve_kwh": [0.0, 0.0],
        "charge_limit_kw": [5.0, 5.0],
        "discharge_limit_kw": [5.0, 5.0],
        "charge_efficiency_frac": [1.0, 1.0],
        "discharge_efficiency_frac": [1.0, 1.0],
        "energy_kwh": [5.0, 5.0],
        "fairness": [3.0, 1.0],
    }

    def asked(still_kwh: float) -> list[float]:
        kw = splittable_kw(
            -4.0, most_charge_kw=0.0, most_discharge_kw=4.0, still_kwh=still_kwh, **columns
        ).tolist()
        return [round(one, 6) for one in kw]

    assert asked(4.0) == [-3.0, -1.0]
    assert asked(8.0) == [-2.5, -1.5], "5 of 8 kWh are all that one has"
    assert asked(10.0) == asked(np.inf) == [-2.0, -2.0]


@PROFILE
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 40))
def test_what_is_to_be_given_is_there_whatever_the_efficiencies(seed: int, count: int) -> None:
    """Where efficiencies differ energy is never missing; room may be, by what less was lost than planned."""
    rng = np.random.default_rng(seed)
    homes = Homes.draw(rng, count, alike=False)
    award_w = awarded_w(rng, homes.as_one(), 10)
    spread = (homes.charge_frac.max() / homes.charge_frac.min()) * (
        homes.discharge_frac.max() / homes.discharge_frac.min()
    ) - 1.0
    moved_wh = float(np.abs(award_w).sum())
    for wanted_w, lacks_wh in zip(award_w, deliver(homes, award_w), strict=True):
        assert lacks_wh <= (1.0 if wanted_w < 0 else 1.0 + spread * moved_wh)


def test_by_states_of_charge_alone_a_promise_is_lost() -> None:
    """Who gives in proportion to what he holds is right only as far as power goes."""
    power = np.array([np.inf, 0.3, 0.6])
    assert most_energy_shares(power, np.array([1.0, 8.0, 3.0])).tolist() == pytest.approx([0.175, 0.3, 0.525])
    assert most_energy_shares(power, np.array([0.0, 8.0, 3.0])).tolist() == pytest.approx([0.0, 1 / 3, 2 / 3])
    assert most_energy_shares(power, np.zeros(3)).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("target_kw", [-3.0, 0.0, 3.0])
def test_shares_add_up_and_keep_one_direction(target_kw: float) -> None:
    rng = np.random.default_rng(2)
    homes = Homes.draw(rng, 30, alike=False)
    homes.energy[:3] = 0.5 * homes.reserve[:3] * homes.capacity[:3]
    kw = splittable_kw(
        target_kw,
        most_charge_kw=0.0,
        most_discharge_kw=0.0,
        energy_kwh=homes.energy,
        energy_capacity_kwh=homes.capacity,
        reserve_kwh=homes.reserve * homes.capacity,
        charge_limit_kw=homes.charge,
        discharge_limit_kw=homes.discharge,
        charge_efficiency_frac=homes.charge_frac,
        discharge_efficiency_frac=homes.discharge_frac,
    )
    assert float(kw.sum()) == pytest.approx(target_kw)
    assert np.all(kw * target_kw >= 0.0)
    if target_kw < 0.0:
        assert not kw[:3].any(), "below its reserve nobody gives"


def test_nobody_is_asked_when_nobody_can() -> None:
    none = np.zeros(2)
    kw = splittable_kw(
        -5.0,
        most_charge_kw=0.0,
        most_discharge_kw=9.0,
        energy_kwh=none,
        energy_capacity_kwh=np.full(2, 10.0),
        reserve_kwh=none,
        charge_limit_kw=np.full(2, 5.0),
        discharge_limit_kw=np.full(2, 5.0),
        charge_efficiency_frac=np.ones(2),
        discharge_efficiency_frac=np.ones(2),
    )
    assert kw.tolist() == [0.0, 0.0]


def test_malformed_input_is_named() -> None:
    with pytest.raises(InvalidInputError) as caught:
        splittable_kw(
            1.0,
            most_charge_kw=-1.0,
            most_discharge_kw=0.0,
            energy_kwh=[1.0],
            energy_capacity_kwh=[2.0],
            reserve_kwh=[0.0],
            charge_limit_kw=[1.0],
            discharge_limit_kw=[1.0],
            charge_efficiency_frac=[1.0],
            discharge_efficiency_frac=[1.0],
        )
    assert caught.value.field == "most_charge_kw"
