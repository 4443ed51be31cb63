"""What each home uses and generates at any instant, as a pure function of the seed and the time.

A home is a household class, a yearly energy, a solar shape, perhaps an EV, shifts in time and noise, all
drawn from its name. Values are given for quarters of an hour from profiles of 2016 (same month, day and
weekday, local time of Texas), joined by straight lines between their centres, and held constant over each
minute: the integral over minutes is exact.
"""

from __future__ import annotations

from datetime import date
from functools import cache
from importlib.resources import as_file, files
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import HierarchyId
from shoal.domain.interval import NS_PER_MINUTE, to_datetime
from shoal.domain.telemetry import DeviceType
from shoal.simulate import draws

ZONE: Final = ZoneInfo("America/Chicago")
SLOTS_PER_DAY: Final = 96
SLOTS_PER_YEAR: Final = 366 * SLOTS_PER_DAY
HOME_LIMIT_KWH: Final = 500.0
"""A site with a larger battery is a plant of its own: it has no household behind its meter."""
SOLAR_YIELD_KWH_PER_KW: Final = 1_450.0
"""Yearly yield of a roof in Texas per rated kW; the shapes, from a cloudier country, are scaled to it."""

_FILE: Final = "profiles_15min.parquet"
_MINUTES_PER_SLOT: Final = 15
_SLOT_NS: Final = _MINUTES_PER_SLOT * NS_PER_MINUTE
_LOAD_WEIGHTS: Final = {"H0-A": 5.0, "H0-B": 5.0, "H0-C": 4.0, "H0-G": 3.0, "H0-L": 3.0, "H0-H": 0.5}
_SOLAR_CLASSES: Final = tuple(f"PV{number}" for number in range(1, 9))
_EV_SMALL: Final = ("HLS_A_3.7", "HLS_B_3.7", "HLS_C_3.7")
_EV_LARGE: Final = ("HLS_A_11.0", "HLS_B_11.0")
_EV_LARGE_FROM_KW: Final = 9.0
_SLOW_NOISE_SLOTS: Final = 8
_SLOW_NOISE_FRAC: Final = 0.25
_FAST_NOISE_FRAC: Final = 0.15
_CLOUD_NOISE_FRAC: Final = 0.08
_CACHED_SLOTS: Final = 8


class Households(NamedTuple):
    """What was drawn for each site: N names of classes, yearly energies and shifts in quarters of an hour."""

    load_class: NDArray[np.str_]
    annual_kwh: NDArray[np.float64]
    shift_slots: NDArray[np.int64]
    solar_class: NDArray[np.str_]
    ev_class: NDArray[np.str_]


class _SlotPower(NamedTuple):
    """Mean powers of one quarter of an hour, N each, in watts, all positive."""

    load_w: NDArray[np.float64]
    solar_w: NDArray[np.float64]
    ev_w: NDArray[np.float64]


class Profiles:
    """Load, solar and EV power of a fleet's sites at any time."""

    def __init__(self, fleet: Fleet, seed: int, *, annual_kwh: NDArray[np.float64] | None = None) -> None:
        """Draw the sites' households.

        Args:
            fleet: Whose.
            seed: Everything is drawn from it.
            annual_kwh: What sites of several households use in a year (N), as all classes together do; not a number for a
                site of one, of which it is drawn.
        """
        names = fleet.site_ids
        nameplate = fleet.nameplate
        self._drawing = draws.keys(names, seed, "household")
        self._slow = draws.keys(names, seed, "slow-noise")
        self._fast = draws.keys(names, seed, "fast-noise")
        self._cloud = draws.keys(names, seed, "cloud-noise")
        household = np.isin(fleet.device_type, [DeviceType.HOME, DeviceType.METER])
        self._is_home = household & (nameplate["energy_capacity_kwh"] <= HOME_LIMIT_KWH)
        self.households: Final = self._draw_households(fleet)

        library = _library()
        position = {name: row for row, name in enumerate(library.names)}
        self._shape = library.per_unit
        self._load_row = np.array([position[name] for name in self.households.load_class], dtype=np.int64)
        self._solar_row = np.array([position[name] for name in self.households.solar_class], dtype=np.int64)
        self._ev_row = np.array([position[name] for name in self.households.ev_class], dtype=np.int64)
        self._ev_shift = SLOTS_PER_DAY * 7 * (1 + (52 * draws.uniform(self._drawing, 6)).astype(np.int64))
        if annual_kwh is not None:
            classes = np.array([position[name] for name in _LOAD_WEIGHTS])
            weight = np.array(list(_LOAD_WEIGHTS.values()))
            each = self._shape[classes] / self._shape[classes].mean(axis=1, keepdims=True)
            mixed = (weight / weight.sum()) @ each
            self._shape = np.vstack([self._shape, mixed / mixed.max()])
            self._load_row = np.where(np.isnan(annual_kwh), self._load_row, len(self._shape) - 1)
        year_h = SLOTS_PER_YEAR / 4
        mean_per_unit = self._shape.mean(axis=1)[self._load_row]
        used_kwh = self.households.annual_kwh
        if annual_kwh is not None:
            used_kwh = np.where(np.isnan(annual_kwh), used_kwh, annual_kwh)
        self._load_scale_w = used_kwh * 1_000.0 / (year_h * mean_per_unit)
        self._solar_scale_w = nameplate["solar_limit_kw"] * 1_000.0
        self._ev_scale_w = nameplate["ev_limit_kw"] * 1_000.0
        self._cache: dict[int, _SlotPower] = {}

    def power_w(
        self, t0_ns: int, t1_ns: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return mean load (>= 0), solar (<= 0) and EV (>= 0) power over the span, N each, in watts.

        Raises:
            InvalidInputError: when the span is empty.
        """
        if t1_ns <= t0_ns:
            raise InvalidInputError(field="span", value=(t0_ns, t1_ns), fix="give an end after the start")
        if t0_ns // NS_PER_MINUTE == (t1_ns - 1) // NS_PER_MINUTE:
            total = self._minute(t0_ns // NS_PER_MINUTE)
        else:
            total = np.zeros((3, len(self._is_home)))
            for minute in range(t0_ns // NS_PER_MINUTE, (t1_ns - 1) // NS_PER_MINUTE + 1):
                inside_ns = min(t1_ns, (minute + 1) * NS_PER_MINUTE) - max(t0_ns, minute * NS_PER_MINUTE)
                total += self._minute(minute) * inside_ns
            total /= t1_ns - t0_ns
        load_w, solar_w, ev_w = np.rint(total).astype(np.int64)
        return load_w, -solar_w, ev_w

    def _minute(self, minute: int) -> NDArray[np.float64]:
        """Return load, solar and EV power in one minute since 1970, 3 x N, in watts, all positive."""
        slot, within = divmod(minute, _MINUTES_PER_SLOT)
        from_centre = (within + 0.5) / _MINUTES_PER_SLOT - 0.5
        near, far = self._slot(slot), self._slot(slot + 1 if from_centre >= 0.0 else slot - 1)
        weight = abs(from_centre)
        power_w = np.stack([(1.0 - weight) * a + weight * b for a, b in zip(near, far, strict=True)])
        power_w[0] *= 1.0 + _FAST_NOISE_FRAC * (2.0 * draws.uniform(self._fast, minute) - 1.0)
        return power_w

    def _slot(self, slot: int) -> _SlotPower:
        """Return the powers of one quarter since 1970; the latest few are kept, which changes no value."""
        found = self._cache.get(slot)
        if found is None:
            found = self._make_slot(slot)
            while len(self._cache) >= _CACHED_SLOTS:
                del self._cache[next(iter(self._cache))]
            self._cache[slot] = found
        return found

    def _make_slot(self, slot: int) -> _SlotPower:
        source = source_slot(slot * _SLOT_NS)
        shifted = (source + self.households.shift_slots) % SLOTS_PER_YEAR
        load = self._shape[self._load_row, shifted] * self._load_scale_w * (1.0 + self._slow_noise(slot))
        cloud = 1.0 + _CLOUD_NOISE_FRAC * (2.0 * draws.uniform(self._cloud, slot) - 1.0)
        solar = np.minimum(self._shape[self._solar_row, source] * cloud, 1.0) * self._solar_scale_w
        # One car of the source drives half of what is usual in Texas: each charger serves two weeks at once.
        other = (shifted + self._ev_shift) % SLOTS_PER_YEAR
        ev = np.minimum(self._shape[self._ev_row, shifted] + self._shape[self._ev_row, other], 1.0)
        return _SlotPower(load_w=load * self._is_home, solar_w=solar, ev_w=ev * self._ev_scale_w)

    def _slow_noise(self, slot: int) -> NDArray[np.float64]:
        """Return a factor around 0 that drifts over hours, N."""
        knot, within = divmod(slot, _SLOW_NOISE_SLOTS)
        weight = within / _SLOW_NOISE_SLOTS
        drawn = (1.0 - weight) * draws.uniform(self._slow, knot) + weight * draws.uniform(
            self._slow, knot + 1
        )
        return _SLOW_NOISE_FRAC * (2.0 * drawn - 1.0)

    def _draw_households(self, fleet: Fleet) -> Households:
        key = self._drawing
        classes = np.array(list(_LOAD_WEIGHTS))
        # Most homes lie between 8 and 16 MWh a year; the product of two draws gives the long tail to 20.
        annual_kwh = 5_000.0 + 15_000.0 * (0.25 + 0.75 * draws.uniform(key, 1)) * (
            0.3 + 0.7 * draws.uniform(key, 2)
        )
        weeks = np.floor(5.0 * draws.uniform(key, 3)).astype(np.int64) - 2
        quarters = np.floor(7.0 * draws.uniform(key, 4)).astype(np.int64) - 3
        zone = fleet.leaf_group.get(HierarchyId("weather"))
        solar_number = (
            draws.choice(key, 5, [1.0] * 8) if zone is None else np.maximum(zone, 0).astype(np.int64) % 8
        )
        drawn = draws.uniform(key, 7)
        small = np.array(_EV_SMALL)[(drawn * len(_EV_SMALL)).astype(np.int64)]
        large = np.array(_EV_LARGE)[(drawn * len(_EV_LARGE)).astype(np.int64)]
        return Households(
            load_class=classes[draws.choice(key, 0, list(_LOAD_WEIGHTS.values()))],
            annual_kwh=np.where(self._is_home, annual_kwh, 0.0),
            shift_slots=weeks * 7 * SLOTS_PER_DAY + quarters,
            solar_class=np.array(_SOLAR_CLASSES)[solar_number],
            ev_class=np.where(fleet.nameplate["ev_limit_kw"] > _EV_LARGE_FROM_KW, large, small),
        )


def source_slot(t_ns: int) -> int:
    """Return the quarter of 2016, 0 to 366 x 96 - 1, whose local day and time fit the instant.

    The day is the one of the same weekday that is nearest to the same month and day.
    """
    local = to_datetime(t_ns, ZONE)
    return _source_day(local.date()) * SLOTS_PER_DAY + (local.hour * 60 + local.minute) // _MINUTES_PER_SLOT


@cache
def _source_day(day: date) -> int:
    same = date(2016, day.month, day.day)
    ahead = (day.weekday() - same.weekday() + 3) % 7 - 3
    number = (same - date(2016, 1, 1)).days + ahead
    if number < 0:
        return number + 7
    return number - 7 if number > 365 else number


class _Library(NamedTuple):
    names: tuple[str, ...]
    per_unit: NDArray[np.float64]


@cache
def _library() -> _Library:
    """Return the profiles, classes x quarters, as shares of rated power."""
    with as_file(files("shoal.simulate") / "data" / _FILE) as path:
        table = pq.read_table(path)
    per_unit = np.stack([table.column(name).to_numpy() / 32_000.0 for name in table.column_names])
    for row, name in enumerate(table.column_names):
        if name in _SOLAR_CLASSES:
            per_unit[row] = _scaled_to_yield(per_unit[row])
    per_unit.setflags(write=False)
    return _Library(tuple(table.column_names), per_unit)


def _scaled_to_yield(shape: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shape times the factor that gives the yearly yield, cut at the rating of the inverter."""
    low, high = 1.0, 8.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        if np.minimum(shape * middle, 1.0).sum() / 4 < SOLAR_YIELD_KWH_PER_KW:
            low = middle
        else:
            high = middle
    return np.minimum(shape * low, 1.0)
