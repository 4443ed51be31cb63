"""What `shoal bench twins` feeds to twins and to their peers: fleets, streams of samples, and the answer to expect.

Everything is random with a fixed seed. Sites are in no order: neither within a round of samples nor within the trees.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoal.domain.fleet import NAMEPLATE, Fleet, Group
from shoal.domain.ids import GroupId, HierarchyId, SiteId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_S
from shoal.domain.telemetry import PRESENT_OF, TELEMETRY, DeviceType, mask_of

START_NS: Final = 1_700_000_000 * NS_PER_S
STEP_NS: Final = 10 * NS_PER_S
DELAY_NS: Final = NS_PER_S // 2
GRID: Final = HierarchyId("grid")
TARIFF: Final = HierarchyId("tariff")
UPDATE: Final = np.dtype(
    [("device", "<u4"), ("power_w", "<i4"), ("soc_ppm", "<u4"), ("ts_ns", "<i8"), ("seq", "<u4")]
)
"""An update as all peers take it; packed."""
BRANCHES: Final = (1, 8, 8, 8, 8)
"""Children of each group of the level above: 5 levels, 4,681 groups."""
_PLATES: Final = 12
_KINDS: Final = (
    (DeviceType.HOME, 0.70),
    (DeviceType.EV_CHARGER, 0.10),
    (DeviceType.METER, 0.15),
    (DeviceType.BATTERY, 0.05),
)
_POWER_UPDATE: Final = mask_of("load_w", "soc_frac")


class Arguments(NamedTuple):
    """The arguments of `Twins.apply`."""

    rows: NDArray[np.int64]
    records: NDArray[Any]
    oldest_seq: NDArray[np.int64]
    arrival_ns: NDArray[np.int64]

    def part(self, start: int, end: int) -> Arguments:
        """Return some of them; the records are not copied."""
        return Arguments(*(column[start:end] for column in self))


def make_fleet(
    sites: int, *, branches: tuple[int, ...] = BRANCHES, tariffs: int = 0, gateways: int = 0
) -> Fleet:
    """Return a fleet of homes, chargers, meters and batteries of some dozens of makes.

    Args:
        sites: How many.
        branches: Children of each group of the level above, from the root of the grid on.
        tariffs: Leaves of a second tree, which cuts across the grid; 0 for none.
        gateways: Connections that speak for all sites; 0 gives each site one of its own.
    """
    random = np.random.default_rng(7)
    groups, leaves = _grid(branches)
    leaf_group = {GRID: random.choice(np.array(leaves, dtype=np.int32), sites)}
    if tariffs:
        first = len(groups) + 1
        groups.append(_group("tariff", TARIFF, None, 0))
        groups += [_group(f"tariff-{number}", TARIFF, groups[first - 1], 1) for number in range(tariffs)]
        leaf_group[TARIFF] = random.integers(first, len(groups), sites, dtype=np.int32)
    number = np.arange(sites, dtype=np.int32)
    each = -(-sites // gateways) if gateways else 1
    kinds = random.choice([int(kind) for kind, _ in _KINDS], sites, p=[frac for _, frac in _KINDS])
    return Fleet(
        site_ids=tuple(SiteId(f"site-{n:08d}") for n in range(1, sites + 1)),
        nameplate=_nameplates(random.integers(0, _PLATES, sites), kinds),
        latitude_deg=np.zeros(sites),
        longitude_deg=np.zeros(sites),
        groups=tuple(groups),
        leaf_group=leaf_group,
        resources=(),
        gateway_ids=tuple(f"gateway-{n:05d}" for n in range(gateways)),
        gateway_of=number // each if gateways else np.full(sites, -1, dtype=np.int32),
        gateway_unit=number % each + 1 if gateways else np.zeros(sites, dtype=np.int32),
        device_type=kinds.astype(np.uint8),
    )


def _grid(branches: tuple[int, ...]) -> tuple[list[Group], list[int]]:
    """Return a tree and the positions of its leaves."""
    groups: list[Group] = []
    above: list[int] = [-1]
    for level, branch in enumerate(branches):
        first = len(groups)
        for parent in above:
            groups += [
                _group(f"grid-{len(groups) + n}", GRID, groups[parent] if parent >= 0 else None, level)
                for n in range(branch)
            ]
        above = list(range(first, len(groups)))
    return groups, above


def _group(name: str, hierarchy: HierarchyId, parent: Group | None, level: int) -> Group:
    return Group(
        group_id=GroupId(name),
        hierarchy_id=hierarchy,
        parent_id=None if parent is None else parent.group_id,
        name=name,
        level=level,
    )


def _nameplates(make: NDArray[np.int64], kinds: NDArray[np.int64]) -> NDArray[np.void]:
    plate = NAMEPLATE.empty(len(make))
    has_battery = (kinds == DeviceType.HOME) | (kinds == DeviceType.BATTERY)
    for name in ("charge_limit_kw", "discharge_limit_kw"):
        plate[name] = np.where(has_battery, 5.0 + make % 3, 0.0)
    plate["energy_capacity_kwh"] = np.where(has_battery, 10.0 + make, 0.0)
    plate["solar_limit_kw"] = np.where(kinds == DeviceType.HOME, 4.0 + make, 0.0)
    plate["ev_limit_kw"] = np.where(kinds == DeviceType.EV_CHARGER, 11.0, 0.0)
    return plate


def make_samples(fleet: Fleet, rounds: int, *, seed: int = 1) -> Arguments:
    """Return one sample of every site in each round, in a new order every round, with registers that fit the powers."""
    random = np.random.default_rng(seed)
    sites = len(fleet.site_ids)
    present_of = np.array([PRESENT_OF[kind] for kind in sorted(PRESENT_OF)])
    present = present_of[fleet.device_type]
    records = TELEMETRY.empty(rounds * sites).reshape(rounds, sites)
    registers = {name: np.zeros(sites) for name in ("charge_wh", "discharge_wh", "import_wh", "export_wh")}
    hours = STEP_NS / NS_PER_HOUR
    order = np.empty((rounds, sites), dtype=np.int64)
    for step in range(rounds):
        now = records[step]
        values = {
            "battery_w": random.integers(-5_000, 5_001, sites),
            "solar_w": -random.integers(0, 4_001, sites),
            "load_w": random.integers(100, 6_001, sites),
            "ev_w": random.integers(1_400, 11_001, sites),
        }
        battery_w = values["battery_w"]
        grid_w = values["load_w"] + np.where(present & mask_of("ev_w"), values["ev_w"], 0)
        registers["charge_wh"] += np.maximum(battery_w, 0) * hours
        registers["discharge_wh"] += np.maximum(-battery_w, 0) * hours
        registers["import_wh"] += grid_w * hours
        registers["export_wh"] += -values["solar_w"] * hours
        values |= {name: counted.astype(np.int64) for name, counted in registers.items()}
        for name, value in values.items():
            now[name] = np.where(present & mask_of(name), value, 0)
        now["soc_frac"] = np.where(present & mask_of("soc_frac"), random.integers(0, 10_001, sites) / 1e4, 0)
        now["ts_ns"] = START_NS + step * STEP_NS
        now["seq"] = step + 1
        now["present"] = present
        order[step] = random.permutation(sites)
    rows = order.ravel()
    flat = records[np.repeat(np.arange(rounds), sites), rows]
    return _arguments(rows, flat)


def disturb(samples: Arguments, sites: int, *, seed: int = 2) -> Arguments:
    """Return the samples of whole rounds with 1 % missing, 1 % sent again later and 1 % swapped with their successors."""
    random = np.random.default_rng(seed)
    count = len(samples.rows)
    at = _disordered(samples.rows, sites, random)
    again = np.sort(random.choice(count - sites, count // 100, replace=False))
    at = np.insert(at, again + random.integers(1, sites, len(again)), at[again])
    at = at[random.random(len(at)) >= 0.01]
    return _arguments(samples.rows[at], samples.records[at])


def _disordered(
    device: NDArray[np.int64], devices: int, random: np.random.Generator, frac: float = 0.01
) -> NDArray[np.int64]:
    """Return an order of the updates of whole rounds in which some change places with the next one of their device."""
    rounds = len(device) // devices
    at = np.arange(len(device))
    place = np.argsort(device.reshape(rounds, devices), axis=1) + np.arange(rounds)[:, None] * devices
    swapped = random.random((rounds // 2, devices)) < frac
    first, second = place[: rounds // 2 * 2 : 2][swapped], place[1::2][: rounds // 2][swapped]
    at[first], at[second] = second, first
    return at


def _arguments(rows: NDArray[np.int64], records: NDArray[Any]) -> Arguments:
    # what is late arrives when its place in the stream says
    arrival_ns = np.maximum.accumulate(records["ts_ns"] + DELAY_NS)
    return Arguments(rows, records, np.zeros(len(rows), dtype=np.int64), arrival_ns)


def make_updates(devices: int, rounds: int, *, seed: int = 3) -> NDArray[Any]:
    """Return updates of `UPDATE` for the peers: 1 % come before their predecessors, 1 % come a second time."""
    random = np.random.default_rng(seed)
    count = devices * rounds
    updates = np.zeros(count, dtype=UPDATE)
    updates["device"] = np.concatenate([random.permutation(devices) for _ in range(rounds)])
    updates["seq"] = np.repeat(np.arange(1, rounds + 1), devices)
    updates["ts_ns"] = START_NS + updates["seq"].astype(np.int64) * STEP_NS
    updates["power_w"] = random.integers(100, 6_001, count)
    updates["soc_ppm"] = random.integers(0, 10_001, count) * 100
    updates = updates[_disordered(updates["device"].astype(np.int64), devices, random)]
    again = np.sort(random.integers(0, count, count // 100))
    return np.insert(
        updates, np.minimum(again + random.integers(1, devices + 1, len(again)), count), updates[again]
    )


def samples_of(updates: NDArray[Any]) -> Arguments:
    """Return the same updates as the twins take them."""
    records = TELEMETRY.empty(len(updates))
    records["ts_ns"], records["seq"] = updates["ts_ns"], updates["seq"]
    records["load_w"] = updates["power_w"]
    records["soc_frac"] = updates["soc_ppm"] / 1e6
    records["present"] = _POWER_UPDATE
    return _arguments(updates["device"].astype(np.int64), records)


def group_sums_w(updates: NDArray[Any], groups: int) -> NDArray[np.int64]:
    """Return what the sums must be at the end: of each device the update with the largest number; group = device mod G."""
    order = np.lexsort((updates["seq"], updates["device"]))
    device = updates["device"][order]
    newest = order[np.append(device[1:] != device[:-1], np.ones(min(len(order), 1), dtype=np.bool_))]
    sums_w = np.zeros(groups, dtype=np.int64)
    np.add.at(sums_w, updates["device"][newest] % groups, updates["power_w"][newest])
    return sums_w
