"""The plan of a simulated fleet: homes around cities of Texas, their feeders, and one big battery.

Feeders are local, so a home's region and its weather zone both follow from its city; the two divisions cut
across each other. Some sites have nothing but an EV charger or a meter, and the sites of some feeders speak through a
gateway. Everything is drawn from the seed and the name of the site or feeder.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import NAMEPLATE, Fleet, Group, Resource
from shoal.domain.ids import GroupId, HierarchyId, ResourceId, SiteId
from shoal.domain.telemetry import PRESENT_OF, DeviceType, mask_of
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
_PREFIXES: Final = {DeviceType.HOME: "home", DeviceType.EV_CHARGER: "charger", DeviceType.METER: "meter"}
_ZONE_NAMES: Final = tuple(dict.fromkeys(city.zone for city in _CITIES))


class Devices(NamedTuple):
    """Who signs in.

    Attributes:
        names: D devices: the sites with a connection of their own by row, then the gateways.
        device_of: N, the position in `names` of the device that speaks for each site.
        gateways: Positions of the gateways.
    """

    names: tuple[SiteId, ...]
    device_of: NDArray[np.int64]
    gateways: range


def devices_of(fleet: Fleet) -> Devices:
    """Return the devices of a fleet; without gateways they are its sites, row by row."""
    own = np.flatnonzero(fleet.gateway_of < 0)
    device_of = fleet.gateway_of.astype(np.int64) + len(own)
    device_of[own] = np.arange(len(own))
    names = (*(fleet.site_ids[row] for row in own.tolist()), *map(SiteId, fleet.gateway_ids))
    return Devices(names=names, device_of=device_of, gateways=range(len(own), len(names)))


def present_of(fleet: Fleet) -> NDArray[np.uint16]:
    """Return for each site the mask of what it measures: by its type, and its EV charger where a home has one."""
    masks = np.array([PRESENT_OF[kind] for kind in DeviceType], dtype=np.uint16)[fleet.device_type]
    masks[fleet.nameplate["ev_limit_kw"] > 0] |= np.uint16(mask_of("ev_w"))
    return masks


def plan_fleet(
    sites: int,
    seed: int,
    *,
    ev_sites_frac: float = 0.0,
    meter_sites_frac: float = 0.0,
    gateway_frac: float = 0.0,
) -> Fleet:
    """Return a fleet of `sites` homes (resource ``vpp-1``) and the battery ``bess-1`` in the last row.

    Args:
        sites: How many, the battery not counted.
        seed: Everything is drawn from it.
        ev_sites_frac: Share of them that have nothing but an EV charger.
        meter_sites_frac: Share of them that have nothing but a meter.
        gateway_frac: Share of the feeders whose sites speak through a gateway.

    Raises:
        InvalidInputError: when `sites` is not 1 to `MAX_HOMES`, or a share is none.
    """
    if not 1 <= sites <= MAX_HOMES:
        raise InvalidInputError(field="sites", value=sites, fix=f"give 1 to {MAX_HOMES} homes")
    shares = (ev_sites_frac, meter_sites_frac, gateway_frac)
    if not (min(shares) >= 0 and max(shares) <= 1 and ev_sites_frac + meter_sites_frac <= 1):
        raise InvalidInputError(field="shares", value=shares, fix="give shares from 0 to 1")
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
    kind = _kinds(key, ev_sites_frac, meter_sites_frac)
    gateway_ids, gateway_of, gateway_unit = _gateways(seed, feeder_groups, feeder_of, gateway_frac)
    return Fleet(
        site_ids=(*_site_ids(kind), BESS_SITE),
        nameplate=np.concatenate([_nameplates(key, kind), _bess_nameplate()]),
        latitude_deg=np.append(latitude, 33.60),
        longitude_deg=np.append(longitude, -99.10),
        groups=groups,
        leaf_group={GRID: grid_leaf.astype(np.int32), WEATHER: zone_leaf.astype(np.int32)},
        resources=_resources(),
        gateway_ids=gateway_ids,
        gateway_of=np.append(gateway_of, -1).astype(np.int32),
        gateway_unit=np.append(gateway_unit, 0).astype(np.int32),
        device_type=np.append(kind, DeviceType.BATTERY).astype(np.uint8),
    )


def only_plants(fleet: Fleet, plants: str) -> Fleet:
    """Return the part of a planned fleet that takes part: ``all``, its ``homes``, or its big ``battery``.

    Raises:
        InvalidInputError: when `plants` is something else.
    """
    if plants == "all":
        return fleet
    if plants not in ("homes", "battery"):
        raise InvalidInputError(field="plants", value=plants, fix="give all, homes or battery")
    resource_id = BESS if plants == "battery" else VPP
    big = np.array([site == BESS_SITE for site in fleet.site_ids])
    part = fleet.take(np.flatnonzero(big if plants == "battery" else ~big))
    root = {BESS: GroupId("storage"), VPP: GroupId(VPP)}[resource_id]
    kept = _below(part.groups, root) | {g.group_id for g in part.groups if g.hierarchy_id == WEATHER}
    groups = tuple(group for group in part.groups if group.group_id in kept)
    number = {group.group_id: at for at, group in enumerate(groups)}
    moved = np.array([number.get(group.group_id, -1) for group in part.groups], dtype=np.int32)
    return replace(
        part,
        groups=groups,
        leaf_group={name: moved[leaves] for name, leaves in part.leaf_group.items()},
        resources=tuple(r for r in part.resources if r.resource_id == resource_id),
        gateway_ids=part.gateway_ids if plants == "homes" else (),
    )


def _below(groups: Sequence[Group], root: GroupId) -> set[GroupId]:
    """Return a group and all below it; parents come before their children."""
    found = {root}
    for group in sorted(groups, key=lambda one: one.level):
        if group.parent_id in found:
            found.add(group.group_id)
    return found


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


def _kinds(key: NDArray[np.uint64], ev_sites_frac: float, meter_sites_frac: float) -> NDArray[np.uint8]:
    """Return the type of device of each site."""
    drawn = draws.uniform(key, 6)
    kind = np.full(len(key), DeviceType.HOME, dtype=np.uint8)
    kind[drawn < ev_sites_frac + meter_sites_frac] = DeviceType.METER
    kind[drawn < ev_sites_frac] = DeviceType.EV_CHARGER
    return kind


def _site_ids(kind: NDArray[np.uint8]) -> list[SiteId]:
    """Return the names of the sites: what stands there, and its number."""
    return [
        SiteId(f"{_PREFIXES[DeviceType(one)]}-{number:05d}") for number, one in enumerate(kind.tolist(), 1)
    ]


def _gateways(
    seed: int, feeders: list[GroupId], feeder_of: NDArray[np.int64], gateway_frac: float
) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int64]]:
    """Return the gateways' names, and for each home its gateway and its number behind it."""
    drawn = draws.uniform(draws.keys(feeders, seed, "gateway"), 0) < gateway_frac
    numbers = np.where(drawn, np.cumsum(drawn) - 1, -1)
    first = np.searchsorted(feeder_of, np.arange(len(feeders)))
    gateway_of = numbers[feeder_of]
    unit = np.where(gateway_of >= 0, np.arange(len(feeder_of)) - first[feeder_of] + 1, 0)
    names = tuple(f"gateway-{feeder}" for feeder, has in zip(feeders, drawn.tolist(), strict=True) if has)
    return names, gateway_of, unit


def _nameplates(key: NDArray[np.uint64], kind: NDArray[np.uint8]) -> NDArray[np.void]:
    """Return what is installed: a home's as drawn, and elsewhere only what the site has."""
    records = _home_nameplates(key)
    bare = NAMEPLATE.empty(1)[0]
    bare["reserve_frac"] = 0.0
    records[kind != DeviceType.HOME] = bare
    chargers = kind == DeviceType.EV_CHARGER
    records["ev_limit_kw"][chargers] = _chargers_kw(key)[chargers]
    return records


def _chargers_kw(key: NDArray[np.uint64]) -> NDArray[np.float64]:
    return np.array(_EV_CHARGERS_KW)[draws.choice(key, 4, [3.0, 1.0, 2.0])]


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
    records["ev_limit_kw"] = np.where(draws.uniform(key, 5) < _EV_SHARE, _chargers_kw(key), 0.0)
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
