"""A fleet of homes re-sampled from measured ones, with batteries, and the ways in which sites fall silent.

Each home takes the load of a measured home, week by week, with a shift and a scale of its own; the solar of an area
comes from one week of measured weather. The first half of every measured record makes one fleet, the second half
another: no day of a home is in both. Records of an hour to a quarter are joined by straight lines between the centres
of their intervals, so what happens within an interval is missing.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_MINUTE
from shoal.twin.silence_history import SilenceHistory

STEP_MIN: Final = 5
STEPS_PER_DAY: Final = 1_440 // STEP_MIN
STEPS_PER_WEEK: Final = 7 * STEPS_PER_DAY
Half = Literal["first", "second"]

_MEASURED: Final = {
    "citylearn": "citylearn2022_17homes_hourly.parquet",
    "sgsc": "sgsc_10homes_30min_2012_2014.parquet",
    "ausgrid": "ausgrid_customer12_30min_2011_2012.parquet",
    "emhass": "emhass_home_30min_2024_2025.parquet",
    "pvdaq": "pvdaq_system50_15min_with_nsrdb_2011_2013.parquet",
}
_LOAD_CLASSES: Final = ("H0-A", "H0-B", "H0-C", "H0-G", "H0-L")
_SOLAR_CLASSES: Final = tuple(f"PV{number}" for number in range(1, 9))
_EV_CLASSES: Final = ("HLS_A_3.7", "HLS_B_3.7", "HLS_C_3.7", "HLS_A_11.0", "HLS_B_11.0")
_EV_RATED_W: Final = (3_700.0, 3_700.0, 3_700.0, 11_000.0, 11_000.0)
_CLASS_MEAN_W: Final = 900.0


class Library(NamedTuple):
    """Weeks of measured homes: each record is weeks x `STEPS_PER_WEEK`, from a Monday, local time.

    Loads are in watts; solar and EVs are shares of their rating. `about` says what they are, for people.
    """

    load: tuple[NDArray[np.float32], ...]
    solar: tuple[tuple[NDArray[np.float32], ...], ...]
    ev: tuple[NDArray[np.float32], ...]
    about: str


def library(directory: Path | None) -> Library:
    """Return the measured homes in `directory`, or those that come with the package when it has none."""
    ours = _packaged()
    if directory is None or not all((directory / name).is_file() for name in _MEASURED.values()):
        return ours
    tables = {name: pq.read_table(directory / file) for name, file in _MEASURED.items()}
    homes = _citylearn(tables["citylearn"])
    loads = [load for load, _ in homes]
    loads += _sgsc(tables["sgsc"])
    ausgrid, emhass, pvdaq = tables["ausgrid"], tables["emhass"], tables["pvdaq"]
    loads.append(_weeks(_minutes(ausgrid, "ts_local"), _values(ausgrid, "load_kw") * 1e3, 30))
    loads.append(_weeks(_minutes(emhass, "ts_utc") + 60, _values(emhass, "load_w"), 30))
    power = np.nan_to_num(_values(pvdaq, "ac_power"))
    roof = _weeks(_minutes(pvdaq, "ts_utc") - 420, power / np.quantile(power, 0.9995), 15)
    roofs = tuple(solar for _, solar in homes if solar.mean() > 0.05)
    # both stand in the south-west of the United States: from the same week of the year on, the same season
    return Library(
        load=(*loads, *ours.load),
        solar=(roofs, (roof[16:68],)),
        ev=ours.ev,
        about=f"{len(loads)} measured homes (17 CityLearn, 10 SGSC, Ausgrid, EMHASS) and 5 SimBench classes, "
        "CityLearn and PVDAQ roofs, SimBench EVs",
    )


def _minutes(table: Any, name: str) -> NDArray[np.int64]:
    minute: NDArray[np.int64] = table.column(name).to_numpy().astype("datetime64[m]").astype(np.int64)
    return minute


def _values(table: Any, name: str) -> NDArray[np.float64]:
    values: NDArray[np.float64] = table.column(name).to_numpy().astype(np.float64)
    return values


def _citylearn(table: Any) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    building = table.column("building").to_numpy()
    minute = _minutes(table, "ts_local") - 60  # stamped at the end of the hour
    load, solar, rated = (_values(table, name) for name in ("load_kwh", "pv_kwh", "pv_kwp"))
    return [
        (_weeks(minute[at], load[at] * 1e3, 60), _weeks(minute[at], solar[at] / rated[at], 60))
        for at in (building == number for number in np.unique(building))
    ]


def _sgsc(table: Any) -> list[NDArray[np.float32]]:
    home = np.asarray(table.column("customer_id").to_pylist())
    minute, load = _minutes(table, "ts"), _values(table, "load_kwh") * 2e3
    return [_weeks(minute[home == name], load[home == name], 30) for name in np.unique(home)]


@cache
def _packaged() -> Library:
    with as_file(files("shoal.simulate") / "data" / "profiles_15min.parquet") as path:
        table = pq.read_table(path)
    minute = int(datetime(2016, 1, 1, tzinfo=UTC).timestamp()) // 60 + 15 * np.arange(table.num_rows)

    def shape(name: str) -> NDArray[np.float64]:
        return _values(table, name) / 32_000.0

    def weeks(values: NDArray[np.float64]) -> NDArray[np.float32]:
        return _weeks(minute, values, 15)

    return Library(
        load=tuple(weeks(shape(n) / shape(n).mean() * _CLASS_MEAN_W) for n in _LOAD_CLASSES),
        solar=tuple((weeks(shape(n)),) for n in _SOLAR_CLASSES),
        ev=tuple(weeks(shape(n)) for n in _EV_CLASSES),
        about="SimBench 2016: 5 household classes, 8 roofs, 5 EVs",
    )


def _weeks(minute: NDArray[np.int64], values: NDArray[np.float64], span_min: int) -> NDArray[np.float32]:
    """Return whole weeks from the first Monday, each step on the line between the centres of measured intervals.

    A gap of more than three hours takes the values of the week before it.
    """
    known = np.isfinite(values)
    order = np.argsort(minute[known], kind="stable")
    centre = minute[known][order] + span_min / 2
    begin = date(1970, 1, 1) + timedelta(minutes=int(centre[0]))
    monday = begin + timedelta(days=(7 - begin.weekday()) % 7 or 7)
    start = (monday - date(1970, 1, 1)).days * 1_440
    weeks = int((centre[-1] - start) // (7 * 1_440))
    grid = start + STEP_MIN * (np.arange(weeks * STEPS_PER_WEEK) + 0.5)
    filled = np.interp(grid, centre, values[known][order])
    right = np.clip(np.searchsorted(centre, grid), 1, len(centre) - 1)
    hole = (centre[right] - centre[right - 1]) > 180
    for at in np.nonzero(hole)[0]:
        if at >= STEPS_PER_WEEK:
            filled[at] = filled[at - STEPS_PER_WEEK]
    by_week: NDArray[np.float32] = filled.reshape(weeks, STEPS_PER_WEEK).astype(np.float32)
    return by_week


class ReplayedFleet(NamedTuple):
    """What N sites do at T instants of five minutes, and which of them are silent.

    Groups are the root, regions (level 1), areas (2) and feeders (3). `level_frac` says which share of the sites was
    to be silent, T; `stormy` in which areas outages came more often, T x areas.
    """

    history: SilenceHistory
    level_frac: NDArray[np.float64]
    stormy: NDArray[np.bool_]


_REGIONS: Final = 2
_AREAS: Final = 8
_FEEDERS_PER_AREA: Final = 5
LEVELS: Final = (0.01, 0.05, 0.10, 0.20, 0.30)


def replay_fleet(source: Library, *, half: Half, sites: int, weeks: int, seed: int) -> ReplayedFleet:
    """Return a fleet that lives in one half of the measured time.

    Args:
        source: Measured homes.
        half: Which half of every record.
        sites: How many homes: whole feeders in 8 areas, so a multiple of 40.
        weeks: How many weeks, spread over the half.
        seed: Of every draw.

    Raises:
        InvalidInputError: when the sites do not fill the feeders.
    """
    feeders = _AREAS * _FEEDERS_PER_AREA
    if sites % feeders:
        raise InvalidInputError(field="sites", value=sites, fix=f"give a multiple of {feeders}")
    draw = np.random.default_rng(seed)
    feeder = np.arange(sites) // (sites // feeders)
    area = feeder // _FEEDERS_PER_AREA
    parent_number = np.concatenate(
        [[-1], [0] * _REGIONS, 1 + np.arange(_AREAS) * _REGIONS // _AREAS, 3 + np.arange(feeders) // 5]
    ).astype(np.int64)
    level = np.repeat(np.arange(4), [1, _REGIONS, _AREAS, feeders])
    load = _loads(source, half, sites, weeks, draw)
    solar, solar_w = _solars(source, half, area, weeks, draw)
    ev, ev_w = _evs(source, half, sites, weeks, draw)
    level_frac = np.repeat(np.array([LEVELS[day % len(LEVELS)] for day in range(7 * weeks)]), STEPS_PER_DAY)
    storm = _storms(solar, area)
    silent = _silence(level_frac, load, storm, area, feeder, draw)
    battery, battery_w, dispatched = _batteries(load + ev, solar, silent, draw)
    history = SilenceHistory(
        step_ns=STEP_MIN * NS_PER_MINUTE,
        value_w=np.stack([battery, solar, load, ev]),
        silent=silent,
        ordered=dispatched,
        scale=np.stack([battery_w, solar_w, np.ones(sites), ev_w]),
        leaf_group=feeder + 1 + _REGIONS + _AREAS,
        parent_number=parent_number,
        level=level,
    )
    return ReplayedFleet(history, level_frac, np.repeat(storm, STEPS_PER_DAY, axis=0))


def _take(
    record: NDArray[np.float32], half: Half, weeks: int, week_shift: int, steps: int
) -> NDArray[np.float32]:
    """Return `weeks` weeks spread over a half of a record, moved by whole weeks and by steps within the week."""
    middle = len(record) // 2
    part = record[:middle] if half == "first" else record[middle:]
    at = np.rint(np.linspace(1, len(part) - 2, weeks)).astype(np.int64) + week_shift
    taken = part[np.clip(at, 0, len(part) - 1)]
    return np.roll(taken, steps, axis=1).reshape(-1)


def _loads(
    source: Library, half: Half, sites: int, weeks: int, draw: np.random.Generator
) -> NDArray[np.float32]:
    load = np.empty((weeks * STEPS_PER_WEEK, sites), dtype=np.float32)
    for site in range(sites):
        record = source.load[draw.integers(len(source.load))]
        scale = draw.lognormal(0.0, 0.35)
        moved = _take(record, half, weeks, int(draw.integers(-1, 2)), int(draw.integers(-9, 10)))
        load[:, site] = np.maximum(moved, 0.0) * scale
    return load


def _solars(
    source: Library, half: Half, area: NDArray[np.int64], weeks: int, draw: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return solar power, T x N, and ratings: an area has one week of weather, most homes have a roof."""
    solar = np.zeros((weeks * STEPS_PER_WEEK, len(area)), dtype=np.float32)
    rated_w = np.zeros(len(area))
    weather = draw.integers(-1, 2, _AREAS)
    family = np.arange(_AREAS) % len(source.solar)
    for site, at in enumerate(area):
        if draw.random() < 0.3:
            continue
        roofs = source.solar[family[at]]
        rated_w[site] = draw.choice([3_000.0, 5_000.0, 8_000.0])
        shape = _take(
            roofs[draw.integers(len(roofs))], half, weeks, int(weather[at]), int(draw.integers(-6, 7))
        )
        solar[:, site] = -np.clip(shape * draw.uniform(0.75, 1.0), 0.0, 1.0) * rated_w[site]
    return solar, rated_w


def _evs(
    source: Library, half: Half, sites: int, weeks: int, draw: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    ev = np.zeros((weeks * STEPS_PER_WEEK, sites), dtype=np.float32)
    rated_w = np.zeros(sites)
    for site in np.nonzero(draw.random(sites) < 0.25)[0]:
        which = int(draw.integers(len(source.ev)))
        rated_w[site] = _EV_RATED_W[which % len(_EV_RATED_W)]
        moved = _take(source.ev[which], half, weeks, int(draw.integers(-8, 9)), int(draw.integers(-12, 13)))
        ev[:, site] = np.clip(moved, 0.0, 1.0) * rated_w[site]
    return ev, rated_w


_SHARES: Final = (0.35, 0.35, 0.15, 0.15)
"""Of the silent time: whole areas, whole feeders, single sites, sites that are silent because they draw much."""


_STORM_FACTOR: Final = 4.0
_MOST_EVENTS: Final = 4_000


def _storms(solar: NDArray[np.float32], area: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return on which days each area has storms, taken to be the darker half of its days, days x areas."""
    daily = solar.reshape(-1, STEPS_PER_DAY, len(area)).sum(axis=1)
    sunny = np.stack([-daily[:, area == number].sum(axis=1) for number in range(_AREAS)], axis=1)
    dark: NDArray[np.bool_] = sunny < np.median(sunny, axis=0)
    return dark


def _silence(
    level_frac: NDArray[np.float64],
    load: NDArray[np.float32],
    storm: NDArray[np.bool_],
    area: NDArray[np.int64],
    feeder: NDArray[np.int64],
    draw: np.random.Generator,
) -> NDArray[np.bool_]:
    """Return who is silent, T x N: each day up to its share, in outages of five minutes to twelve hours."""
    times, sites = load.shape
    silent = np.zeros((times, sites), dtype=np.bool_)
    days = times // STEPS_PER_DAY
    large = np.quantile(load, 0.9, axis=0)
    for day in range(days):
        first = day * STEPS_PER_DAY
        weight = np.where(storm[day], _STORM_FACTOR, 1.0)
        weight /= weight.sum()
        for kind, share in enumerate(_SHARES):
            goal = (
                silent[first : first + STEPS_PER_DAY].sum()
                + share * level_frac[first] * STEPS_PER_DAY * sites
            )
            for _ in range(_MOST_EVENTS):
                if silent[first : first + STEPS_PER_DAY].sum() >= goal:
                    break
                steps = int(np.clip(draw.lognormal(np.log(8.0), 1.2), 1, 144))
                at = first + int(draw.integers(STEPS_PER_DAY))
                where = draw.choice(_AREAS, p=weight)
                if kind == 0:
                    hit = area == where
                elif kind == 1:
                    hit = feeder == where * _FEEDERS_PER_AREA + draw.integers(_FEEDERS_PER_AREA)
                elif kind == 2:
                    hit = draw.random(sites) < 0.01
                else:
                    hit = (load[at] >= large) & (draw.random(sites) < 0.1)
                silent[at : at + steps, hit & (draw.random(sites) < 0.95)] = True
    return silent


_BATTERIES: Final = ((5_000.0, 6_400.0), (5_000.0, 13_500.0), (3_300.0, 9_800.0), (8_000.0, 16_000.0))
_BATTERY_FRAC: Final = 0.6
_ENROLLED_FRAC: Final = 0.8
_EFFICIENCY: Final = 0.95
_LEASE_STEPS: Final = 2


def _orders(days: int, draw: np.random.Generator) -> NDArray[np.float64]:
    """Return the plant's order as a share of rated power, T; NaN where sites follow their own rule."""
    order = np.full(days * STEPS_PER_DAY, np.nan)
    for day in range(days):
        if draw.random() < 0.6:  # evening peak: out, and filled up in the night before
            at = day * STEPS_PER_DAY + int(draw.uniform(0.5, 3.0) * 12)
            order[at : at + int(draw.uniform(18, 36))] = draw.uniform(0.3, 0.6)
            at = day * STEPS_PER_DAY + int(draw.uniform(16.5, 20.0) * 12)
            order[at : at + int(draw.uniform(12, 36))] = -draw.uniform(0.4, 1.0)
        if draw.random() < 0.25:  # cheap noon: in
            at = day * STEPS_PER_DAY + int(draw.uniform(10.0, 13.0) * 12)
            order[at : at + int(draw.uniform(12, 30))] = draw.uniform(0.3, 0.8)
    return order


def _batteries(
    use_w: NDArray[np.float32],
    solar_w: NDArray[np.float32],
    silent: NDArray[np.bool_],
    draw: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_]]:
    """Return battery power, T x N, ratings and whether a dispatch runs.

    A battery serves its own home, unless an order holds; a silent one keeps its order for a lease of ten minutes,
    gets no new one and then serves its home again.
    """
    times, sites = use_w.shape
    kind = draw.integers(len(_BATTERIES), size=sites)
    has = draw.random(sites) < _BATTERY_FRAC
    rated_w, energy_wh = np.array(_BATTERIES)[kind].T * has
    enrolled = draw.random(sites) < _ENROLLED_FRAC
    order = _orders(times // STEPS_PER_DAY, draw)
    stored_wh = energy_wh * draw.uniform(0.2, 0.8, sites)
    reserve_wh = energy_wh * draw.choice([0.05, 0.1, 0.2], sites)
    power = np.zeros((times, sites), dtype=np.float32)
    held = np.full(sites, np.nan)
    quiet_steps = np.zeros(sites, dtype=np.int64)
    hours = STEP_MIN / 60.0
    for t in range(times):
        quiet_steps = np.where(silent[t], quiet_steps + 1, 0)
        held = np.where(silent[t], np.where(quiet_steps > _LEASE_STEPS, np.nan, held), order[t])
        own_w = -(use_w[t] + solar_w[t])
        wanted_w = np.where(enrolled & np.isfinite(held), np.nan_to_num(held) * rated_w, own_w)
        room_w = np.maximum(energy_wh - stored_wh, 0.0) / (hours * _EFFICIENCY)
        usable_w = np.maximum(stored_wh - reserve_wh, 0.0) * _EFFICIENCY / hours
        taken_w = np.clip(wanted_w, -np.minimum(rated_w, usable_w), np.minimum(rated_w, room_w))
        stored_wh += np.where(taken_w > 0.0, taken_w * _EFFICIENCY, taken_w / _EFFICIENCY) * hours
        power[t] = taken_w
    return power, rated_w, np.isfinite(order)
