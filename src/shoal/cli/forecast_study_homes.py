"""The homes of the study: measured ones as panels, and mixtures of them where only cost and memory are asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.interval import NS_PER_HOUR
from shoal.forecast.protocol import Panel

Floats: TypeAlias = NDArray[np.float64]
Quantity: TypeAlias = Literal["load", "solar"]

NS_PER_HALF_HOUR: Final = NS_PER_HOUR // 2
_WEEK_NS: Final = 7 * 24 * NS_PER_HOUR
_LEAST_SUN_KW: Final = 0.05
CITYLEARN: Final = "citylearn2022_17homes_hourly.parquet"
SGSC: Final = "sgsc_10homes_30min_2012_2014.parquet"
AUSGRID: Final = "ausgrid_customer12_30min_2011_2012.parquet"
EMHASS: Final = "emhass_home_30min_2024_2025.parquet"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HomeSet:
    """Some homes that are forecast together.

    Attributes:
        name: For people.
        quantity: What is forecast.
        panel: The homes.
        pool: Other homes that teach the global model, when these are new to it; None: the homes themselves.
        informed: The panel with somebody's forecast as an input; None where there is none.
    """

    name: str
    quantity: Quantity
    panel: Panel
    pool: Panel | None = None
    informed: Panel | None = None


def read_homes(folder: Path) -> list[HomeSet]:
    """Return the sets of homes.

    Raises:
        InvalidInputError: when a file is missing.
    """
    load, solar = _citylearn(folder)
    lit = solar.rows(np.flatnonzero(-np.nanmean(solar.value, axis=1) > _LEAST_SUN_KW))
    houses = _sgsc(folder)
    ausgrid_load, ausgrid_sun = _ausgrid(folder)
    emhass_load, emhass_sun = _emhass(folder)
    return [
        HomeSet(name="17 homes, California, load", quantity="load", panel=load),
        HomeSet(name="10 homes, New South Wales, load", quantity="load", panel=houses),
        HomeSet(name=f"{len(lit.names)} roofs, California, solar", quantity="solar", panel=lit),
        HomeSet(
            name="1 home, Sydney, load",
            quantity="load",
            panel=_dated_after(ausgrid_load, houses),
            pool=houses,
        ),
        HomeSet(name="1 home, France, load", quantity="load", panel=emhass_load, pool=houses),
        HomeSet(
            name="1 roof, Sydney, solar", quantity="solar", panel=_dated_after(ausgrid_sun, lit), pool=lit
        ),
        HomeSet(
            name="1 roof, France, solar",
            quantity="solar",
            panel=replace(emhass_sun, inputs={}),
            pool=lit,
            informed=emhass_sun,
        ),
    ]


def mixed_homes(panel: Panel, sites: int, days: int, *, seed: int) -> Panel:
    """Return as many sites as asked, each day of each a mix of two real homes' days of the same weekday, resized.

    What they cost to forecast is that of real homes; how well they are forecast says nothing.
    """
    draw = np.random.default_rng(seed)
    slots = panel.steps_per_day
    whole = panel.value[:, : panel.steps // slots * slots].reshape(len(panel.names), -1, slots)
    weeks = whole.shape[1] // 7
    homes = draw.integers(0, len(whole), (2, sites))
    share = draw.uniform(0.2, 0.8, sites)
    size = np.exp(draw.normal(0.0, 0.4, sites))
    out = np.empty((sites, days, slots))
    for day in range(days):
        week = draw.integers(0, weeks, (2, sites))
        first, second = (whole[homes[k], week[k] * 7 + day % 7] for k in range(2))
        out[:, day] = share[:, None] * first + (1.0 - share[:, None]) * second
    names = tuple(f"mix{row}" for row in range(sites))
    value = out.reshape(sites, -1) * size[:, None]
    return Panel(names=names, first_ns=panel.first_ns, step_ns=panel.step_ns, value=value, zone=panel.zone)


def _read(folder: Path, name: str) -> dict[str, NDArray[Any]]:
    import pyarrow.parquet as pq

    file = folder / name
    if not file.is_file():
        raise InvalidInputError(field="--data", value=str(folder), fix=f"name the folder that holds {name}")
    table = pq.read_table(file)
    return {column: table[column].to_numpy() for column in table.column_names}


def _instants(stamps: NDArray[Any]) -> NDArray[np.int64]:
    return stamps.astype("datetime64[ns]").astype(np.int64)


def _grid(at_ns: NDArray[np.int64], values: Floats, step_ns: int) -> tuple[int, Floats]:
    """Return the first instant and the values on the whole grid, NaN where nothing is."""
    first_ns = int(at_ns.min())
    place = (at_ns - first_ns) // step_ns
    out = np.full(int(place.max()) + 1, np.nan)
    out[place] = values
    return first_ns, out


def _citylearn(folder: Path) -> tuple[Panel, Panel]:
    table = _read(folder, CITYLEARN)
    homes = np.unique(table["building"])
    count = len(table["building"]) // len(homes)
    shape = (len(homes), count)
    first_ns = int(_instants(table["ts_local"][:1])[0]) - NS_PER_HOUR  # stamped with the end of the hour
    names = tuple(f"citylearn-{home}" for home in homes.tolist())
    load = table["load_kwh"].astype(np.float64).reshape(shape)
    sun = table["pv_kwh"].astype(np.float64).reshape(shape)
    plate = table["pv_kwp"].astype(np.float64).reshape(shape)[:, 0]
    common = {"names": names, "first_ns": first_ns, "step_ns": NS_PER_HOUR}
    return Panel(value=load, **common), Panel(value=0.0 - sun, nameplate_kw=plate, **common)  # type: ignore[arg-type]


def _sgsc(folder: Path) -> Panel:
    table = _read(folder, SGSC)
    who, at_ns = table["customer_id"].astype(str), _instants(table["ts"])
    names = sorted(set(who.tolist()))
    first_ns = int(at_ns.min())
    value = np.full((len(names), int((at_ns.max() - first_ns) // NS_PER_HALF_HOUR) + 1), np.nan)
    for row, name in enumerate(names):
        mine = who == name
        value[row, (at_ns[mine] - first_ns) // NS_PER_HALF_HOUR] = 2.0 * table["load_kwh"][mine]
    return Panel(
        names=tuple(f"sgsc-{name}" for name in names),
        first_ns=first_ns,
        step_ns=NS_PER_HALF_HOUR,
        value=value,
    )


def _ausgrid(folder: Path) -> tuple[Panel, Panel]:
    table = _read(folder, AUSGRID)
    at_ns = _instants(table["ts_local"])
    first_ns, load = _grid(at_ns, table["load_kw"], NS_PER_HALF_HOUR)
    _, sun = _grid(at_ns, table["pv_kw"], NS_PER_HALF_HOUR)
    return _single("ausgrid-12", first_ns, load), _hourly("ausgrid-12", first_ns, 0.0 - sun, "UTC", 1.04)


def _emhass(folder: Path) -> tuple[Panel, Panel]:
    table = _read(folder, EMHASS)
    at_ns = _instants(table["ts_utc"])
    first_ns, load = _grid(at_ns, table["load_w"] / 1_000.0, NS_PER_HALF_HOUR)
    # the inverter says nothing while it sleeps: absent generation is none
    _, sun = _grid(at_ns, np.nan_to_num(table["pv_w"]) / 1_000.0, NS_PER_HALF_HOUR)
    _, told = _grid(at_ns, table["pv_forecast_w"] / 1_000.0, NS_PER_HALF_HOUR)
    zone = "Europe/Paris"
    roof = _hourly("emhass", first_ns, 0.0 - np.maximum(sun, 0.0), zone, float("nan"))
    forecast = _hourly("emhass", first_ns, told, zone, float("nan"))
    return _single("emhass", first_ns, load, zone), replace(
        roof, inputs={"solar_forecast_kw": forecast.value}
    )


def _single(name: str, first_ns: int, value: Floats, zone: str = "UTC") -> Panel:
    return Panel(names=(name,), first_ns=first_ns, step_ns=NS_PER_HALF_HOUR, value=value[None, :], zone=zone)


def _hourly(name: str, first_ns: int, value: Floats, zone: str, plate_kw: float) -> Panel:
    """Return means over whole hours of half-hourly values."""
    skip = (first_ns // NS_PER_HALF_HOUR) % 2
    whole = value[skip:]
    means = whole[: len(whole) // 2 * 2].reshape(-1, 2).mean(axis=1)
    return Panel(
        names=(name,),
        first_ns=first_ns + skip * NS_PER_HALF_HOUR,
        step_ns=NS_PER_HOUR,
        value=means[None, :],
        zone=zone,
        nameplate_kw=np.array([plate_kw]),
    )


def _dated_after(panel: Panel, pool: Panel) -> Panel:
    """Return the panel moved by whole weeks until it begins after the pool ends: it is new to what the pool taught."""
    weeks = max(0, -(-(pool.end_ns - panel.first_ns) // _WEEK_NS))
    return replace(panel, first_ns=panel.first_ns + weeks * _WEEK_NS)
