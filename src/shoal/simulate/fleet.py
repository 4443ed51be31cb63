"""The plan of a simulated fleet: homes around cities of Texas, their feeders, and one big battery.

Feeders are local, so a home's region and its weather zone both follow from its city; the two divisions cut
across each other. Everything is drawn from the seed and the name of the site or feeder.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import NAMEPLATE, Fleet, Group, Resource
from shoal.domain.ids import GroupId, HierarchyId, ResourceId, SiteId
from shoal.simulate import draws

GRID: Final = HierarchyId("grid")
WEATHER: Final = HierarchyId("weather")
VPP: Final = ResourceId("vpp-1")
BESS: Final = ResourceId("bess-1")
BESS_SITE: Final = SiteId("bess-1")
HOMES_PER_FEEDER: Final = 50
FEEDERS_PER_SUBSTATION: Final = 5
MAX_HOMES: Final = 99_999


class _City(NamedTuple):
    name: str
    latitude_deg: float
    longitude_deg: float
    weight: float
    region: str
    zone: str


class _Battery(NamedTuple):
    weight: float
    power_kw: float
    energy_kwh: float
    one_way_efficiency_frac: float


# In the order in which a growing fleet reaches them: the first four lie in four regions and three zones.
_CITIES: Final = (
    _City("Dallas", 32.78, -96.80, 7.0, "north", "north-central"),
    _City("Houston", 29.76, -95.37, 7.0, "gulf", "coast"),
    _City("Waco", 31.55, -97.15, 1.5, "central", "north-central"),
    _City("Abilene", 32.45, -99.73, 1.0, "west", "west"),
    _City("San Antonio", 29.42, -98.49, 4.0, "central", "south-central"),
    _City("Corpus Christi", 27.80, -97.40, 1.5, "gulf", "south"),
    _City("Tyler", 32.35, -95.30, 1.0, "north", "east"),
    _City("Austin", 30.27, -97.74, 3.5, "central", "south-central"),
    _City("Wichita Falls", 33.91, -98.49, 0.7, "west", "north"),
    _City("Fort Worth", 32.76, -97.33, 4.0, "north", "north-central"),
    _City("McAllen", 26.20, -98.23, 1.5, "south", "south"),
    _City("Midland", 32.00, -102.08, 1.0, "west", "far-west"),
    _City("Victoria", 28.81, -97.00, 0.6, "south", "coast"),
)
_BATTERIES: Final = (
    _Battery(0.45, 5.0, 13.5, 0.95),
    _Battery(0.20, 3.8, 9.6, 0.955),
    _Battery(0.20, 7.6, 16.0, 0.96),
    _Battery(0.10, 11.5, 27.0, 0.95),
    _Battery(0.05, 3.3, 6.4, 0.94),
)
_EV_CHARGERS_KW: Final = (7.2, 9.6, 11.5)
_SOLAR_SHARE: Final = 0.85
_EV_SHARE: Final = 0.2
_ZONE_NAMES: Final = tuple(dict.fromkeys(city.zone for city in _CITIES))


def plan_fleet(sites: int, seed: int) -> Fleet:
    """Return a fleet of `sites` homes (resource ``vpp-1``) and the battery ``bess-1`` in the last row.

    Raises:
        InvalidInputError: when `sites` is not 1 to `MAX_HOMES`.
    """
    if not 1 <= sites <= MAX_HOMES:
        raise InvalidInputError(field="sites", value=sites, fix=f"give 1 to {MAX_HOMES} homes")
    homes = [SiteId(f"home-{number:05d}") for number in range(1, sites + 1)]
    key = draws.keys(homes, seed, "fleet-plan")
    feeder_city = _feeder_cities(-(-sites // HOMES_PER_FEEDER))
    feeder_of = np.arange(sites) * len(feeder_city) // sites
    grid, feeder_groups = _grid(feeder_city)
    zones = _weather()
    groups = (*grid, *zones)
    number = {group.group_id: position for position, group in enumerate(groups)}

    grid_leaf = np.array([*(number[feeder_groups[feeder]] for feeder in feeder_of), number[GroupId(BESS)]])
    zone_leaf = np.array(
        [*(number[_zone_id(feeder_city[f].zone)] for f in feeder_of), number[_zone_id("north")]]
    )
    latitude, longitude = _places(key, seed, feeder_city, feeder_of)
    return Fleet(
        site_ids=(*homes, BESS_SITE),
        nameplate=np.concatenate([_home_nameplates(key), _bess_nameplate()]),
        latitude_deg=np.append(latitude, 33.60),
        longitude_deg=np.append(longitude, -99.10),
        groups=groups,
        leaf_group={GRID: grid_leaf.astype(np.int32), WEATHER: zone_leaf.astype(np.int32)},
        resources=_resources(),
    )


def site_secret(master_secret: bytes, site_id: str) -> str:
    """Return the secret of one device, 43 characters, derived from the master secret by HMAC-SHA256.

    Raises:
        InvalidInputError: when the master secret is shorter than 16 bytes.
    """
    if len(master_secret) < 16:
        raise InvalidInputError(
            field="master_secret", value=f"{len(master_secret)} bytes", fix="give at least 16"
        )
    digest = hmac.new(master_secret, b"shoal/site-secret/" + site_id.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _feeder_cities(feeders: int) -> list[_City]:
    """Return the city of each feeder, shared out by weight; each city in use has at least one."""
    used = _CITIES[: max(1, min(len(_CITIES), feeders // 2))]
    quota = np.array([city.weight for city in used])
    quota = 1 + quota / quota.sum() * (feeders - len(used))
    share = np.floor(quota).astype(np.int64)
    largest_rest_first = np.argsort(share - quota, kind="stable")
    share[largest_rest_first[: feeders - int(share.sum())]] += 1
    return [city for city, count in zip(used, share, strict=True) for _ in range(count)]


def _grid(feeder_city: list[_City]) -> tuple[list[Group], list[GroupId]]:
    """Return the groups of the grid, parents first, and the group of each feeder."""
    vpp = GroupId(VPP)
    storage = GroupId("storage")
    groups = [_group(vpp, GRID, None, "Homes", 0)]
    regions: dict[str, GroupId] = {}
    for city in feeder_city:
        if city.region not in regions:
            regions[city.region] = GroupId(f"region-{city.region}")
            groups.append(_group(regions[city.region], GRID, vpp, f"{city.region.capitalize()} region", 1))
    substations: list[Group] = []
    feeders: list[Group] = []
    in_city: dict[str, int] = {}
    for city in feeder_city:
        position = in_city.get(city.name, 0)
        in_city[city.name] = position + 1
        slug = city.name.lower().replace(" ", "-")
        station, feeder = divmod(position, FEEDERS_PER_SUBSTATION)
        station_id = GroupId(f"sub-{slug}-{station + 1}")
        if feeder == 0:
            label = f"{city.name} substation {station + 1}"
            substations.append(_group(station_id, GRID, regions[city.region], label, 2))
        label = f"{city.name} feeder {station + 1}.{feeder + 1}"
        feeders.append(
            _group(GroupId(f"feeder-{slug}-{station + 1}-{feeder + 1}"), GRID, station_id, label, 3)
        )
    groups += substations
    groups += feeders
    groups.append(_group(storage, GRID, None, "Storage plants", 0))
    groups.append(_group(GroupId(BESS), GRID, storage, "Battery 1", 1))
    return groups, [feeder.group_id for feeder in feeders]


def _weather() -> list[Group]:
    root = GroupId("texas")
    zones = [_group(_zone_id(zone), WEATHER, root, zone.replace("-", " ").title(), 1) for zone in _ZONE_NAMES]
    return [_group(root, WEATHER, None, "Texas", 0), *zones]


def _zone_id(zone: str) -> GroupId:
    return GroupId(f"zone-{zone}")


def _group(
    group_id: GroupId, hierarchy_id: HierarchyId, parent_id: GroupId | None, name: str, level: int
) -> Group:
    return Group(group_id=group_id, hierarchy_id=hierarchy_id, parent_id=parent_id, name=name, level=level)


def _places(
    key: NDArray[np.uint64], seed: int, feeder_city: list[_City], feeder_of: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return latitude and longitude of the homes: feeders around their city, homes around their feeder."""
    feeder_key = draws.keys([f"feeder-{number}" for number in range(len(feeder_city))], seed, "fleet-plan")
    around_deg = 0.16 * np.sqrt(draws.uniform(feeder_key, 0))
    angle_rad = 2.0 * np.pi * draws.uniform(feeder_key, 1)
    latitude = np.array([city.latitude_deg for city in feeder_city]) + around_deg * np.sin(angle_rad)
    longitude = np.array([city.longitude_deg for city in feeder_city]) + around_deg * np.cos(angle_rad)
    spread_deg = 0.02
    return (
        latitude[feeder_of] + spread_deg * (2.0 * draws.uniform(key, 10) - 1.0),
        longitude[feeder_of] + spread_deg * (2.0 * draws.uniform(key, 11) - 1.0),
    )


def _home_nameplates(key: NDArray[np.uint64]) -> NDArray[np.void]:
    records = NAMEPLATE.empty(len(key))
    battery = draws.choice(key, 0, [kind.weight for kind in _BATTERIES])
    records["charge_limit_kw"] = np.array([kind.power_kw for kind in _BATTERIES])[battery]
    records["discharge_limit_kw"] = records["charge_limit_kw"]
    records["energy_capacity_kwh"] = np.array([kind.energy_kwh for kind in _BATTERIES])[battery]
    efficiency = np.array([kind.one_way_efficiency_frac for kind in _BATTERIES])[battery]
    records["charge_efficiency_frac"] = efficiency
    records["discharge_efficiency_frac"] = efficiency
    records["reserve_frac"] = 0.1 + 0.05 * draws.choice(key, 1, [2.0, 1.0, 4.0, 1.0, 2.0])
    solar_kw = 4.0 + 0.1 * np.floor(61.0 * draws.uniform(key, 2))
    records["solar_limit_kw"] = np.where(draws.uniform(key, 3) < _SOLAR_SHARE, solar_kw, 0.0)
    charger_kw = np.array(_EV_CHARGERS_KW)[draws.choice(key, 4, [3.0, 1.0, 2.0])]
    records["ev_limit_kw"] = np.where(draws.uniform(key, 5) < _EV_SHARE, charger_kw, 0.0)
    return records


def _bess_nameplate() -> NDArray[np.void]:
    record = NAMEPLATE.empty(1)
    record["charge_limit_kw"] = 10_000.0
    record["discharge_limit_kw"] = 10_000.0
    record["energy_capacity_kwh"] = 20_000.0
    record["charge_efficiency_frac"] = 0.95
    record["discharge_efficiency_frac"] = 0.95
    record["reserve_frac"] = 0.05
    return record


def _resources() -> tuple[Resource, ...]:
    return (
        Resource(
            resource_id=VPP,
            market_id="ercot-da",
            settlement_point="LZ_NORTH",
            group_id=GroupId(VPP),
            throughput_cost_per_mwh=10.0,
            owner_share_frac=0.8,
        ),
        Resource(
            resource_id=BESS,
            market_id="ercot-da",
            settlement_point="HB_NORTH",
            group_id=GroupId(BESS),
            throughput_cost_per_mwh=5.0,
            owner_share_frac=1.0,
        ),
    )
