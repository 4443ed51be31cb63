"""A village without a grid for a year: real shapes of load and sun, cloudy weeks, pumps, and a generator that may not start.

Everything is drawn from the seed; the same year meets every way of running the site.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.fleet import NAMEPLATE, Fleet
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_MINUTE, local_midnight_ns, to_datetime
from shoal.simulate import draws
from shoal.simulate.profiles import ZONE, Profiles

HOMES: Final = 24
STEP_NS: Final = 15 * NS_PER_MINUTE
SOLAR_KW_PER_HOME: Final = 7.0
FAILS_FRAC: Final = 0.02
"""How often the generator does not start at once."""
STUCK_FRAC: Final = 0.1
"""How many of these times it takes two hours."""
_STUCK_STEPS: Final = 8
_SLOTS_PER_DAY: Final = 96
_SPELLS: Final = 6
_PUMPS: Final = 70


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Year:
    """T quarters of an hour.

    Attributes:
        first: First day, at whose local midnight it begins.
        load_kw: T.
        solar_kw: T potential solar powers, positive.
        weekend: T.
        refuses: T, whether the generator would not start if it were started then.
        stuck: T, whether it stays so for two hours.
        warm_up_steps: So many of T come before the year, to learn from.
    """

    first: date
    load_kw: NDArray[np.float64]
    solar_kw: NDArray[np.float64]
    weekend: NDArray[np.bool_]
    refuses: NDArray[np.bool_]
    stuck: NDArray[np.bool_]
    warm_up_steps: int


def make_year(first: date, days: int, *, seed: int, warm_up_days: int = 14) -> Year:
    """Return a year, or any number of days, of the village."""
    fleet = _village()
    profiles = Profiles(fleet, seed)
    start_ns = local_midnight_ns(first, ZONE) - warm_up_days * _SLOTS_PER_DAY * STEP_NS
    steps = (days + warm_up_days) * _SLOTS_PER_DAY
    load_kw, solar_kw = np.empty(steps), np.empty(steps)
    weekend = np.empty(steps, dtype=np.bool_)
    for step in range(steps):
        # The middle minute of a quarter has the quarter's own value.
        middle_ns = start_ns + step * STEP_NS + 7 * NS_PER_MINUTE
        load_w, solar_w, _ = profiles.power_w(middle_ns, middle_ns + NS_PER_MINUTE)
        load_kw[step], solar_kw[step] = load_w.sum() / 1e3, -solar_w.sum() / 1e3
        weekend[step] = to_datetime(middle_ns, ZONE).weekday() >= 5
    solar_kw *= _clouds(steps, days, seed)
    load_kw += _pumps(steps, days, seed)
    key = draws.keys(["generator"], seed, "refuses")
    drawn = draws.uniform(np.repeat(key, steps), np.arange(steps, dtype=np.int64))
    refuses = drawn < FAILS_FRAC
    return Year(
        first=first,
        load_kw=load_kw,
        solar_kw=solar_kw,
        weekend=weekend,
        refuses=refuses,
        stuck=drawn < FAILS_FRAC * STUCK_FRAC,
        warm_up_steps=warm_up_days * _SLOTS_PER_DAY,
    )


def stuck_steps() -> int:
    """Return for how many intervals a generator that is stuck does not start."""
    return _STUCK_STEPS


def _village() -> Fleet:
    plate = np.zeros(HOMES, dtype=NAMEPLATE.dtype)
    plate["solar_limit_kw"] = SOLAR_KW_PER_HOME
    plate["charge_efficiency_frac"] = plate["discharge_efficiency_frac"] = 0.95
    return Fleet(
        site_ids=tuple(SiteId(f"village-{number:02d}") for number in range(1, HOMES + 1)),
        nameplate=plate,
        latitude_deg=np.full(HOMES, 30.0),
        longitude_deg=np.full(HOMES, -104.0),
        groups=(),
        leaf_group={},
        resources=(),
    )


def _clouds(steps: int, days: int, seed: int) -> NDArray[np.float64]:
    """Return by how much each interval's sun is left: spells of four to ten dark days, about six a year."""
    key = draws.keys(["weather"], seed, "spells")
    left = np.ones(steps)
    for spell in range(max(round(_SPELLS * days / 365), 1)):
        begin, length, depth = (float(draws.uniform(key, 3 * spell + part)[0]) for part in range(3))
        first = int(begin * steps)
        last = first + int((4 + 6 * length) * _SLOTS_PER_DAY)
        left[first:last] = np.minimum(left[first:last], 0.12 + 0.3 * depth)
    return left


def _pumps(steps: int, days: int, seed: int) -> NDArray[np.float64]:
    """Return a load that steps up by 5 to 20 kW for one to five hours, about seventy times a year."""
    key = draws.keys(["pump"], seed, "steps")
    load_kw = np.zeros(steps)
    for run in range(max(round(_PUMPS * days / 365), 1)):
        begin, length, size = (float(draws.uniform(key, 3 * run + part)[0]) for part in range(3))
        first = int(begin * steps)
        load_kw[first : first + int(4 + 16 * length)] += 5.0 + 15.0 * size
    return load_kw
