"""The fleet plan: sizes, groups that overlap, and device secrets."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.domain.fleet import NAMEPLATE, check_groups
from shoal.domain.ids import GroupId, checked_id
from shoal.domain.telemetry import ALL_PRESENT, PRESENT_OF, DeviceType, mask_of
from shoal.simulate.fleet import (
    BESS,
    GRID,
    VPP,
    WEATHER,
    devices_of,
    only_plants,
    plan_fleet,
    present_of,
    site_secret,
)
from shoal.simulate.prices import settlement_points


@pytest.mark.parametrize("homes", [1, 3, 50, 51, 500, 2_000])
def test_fleet_is_whole_at_every_size(homes: int) -> None:
    fleet = plan_fleet(homes, seed=1)
    assert len(fleet.site_ids) == homes + 1 == len(set(fleet.site_ids))
    assert (NAMEPLATE.violations(fleet.nameplate) == -1).all()
    assert len(fleet.group_number) == len(fleet.groups)
    for group in fleet.groups:
        checked_id("group_id", group.group_id)
        if group.parent_id is not None:
            parent = fleet.groups[fleet.group_number[group.parent_id]]
            assert parent.level == group.level - 1
            assert parent.hierarchy_id == group.hierarchy_id
    for hierarchy in (GRID, WEATHER):
        assert all(fleet.groups[leaf].hierarchy_id == hierarchy for leaf in fleet.leaf_group[hierarchy])
    assert fleet.rows_in(GroupId(VPP)).tolist() == list(range(homes))
    assert fleet.rows_in(GroupId(BESS)).tolist() == [homes]
    assert len(fleet.rows_in(GroupId("texas"))) == homes + 1


def test_fleet_feeders_and_substations_have_their_sizes() -> None:
    fleet = plan_fleet(1_000, seed=1)
    feeders = [group for group in fleet.groups if group.level == 3]
    sizes = [len(fleet.rows_in(group.group_id)) for group in feeders]
    assert len(feeders) == 20
    assert set(sizes) == {50}
    substations = [group for group in fleet.groups if group.level == 2]
    below = [sum(feeder.parent_id == group.group_id for feeder in feeders) for group in substations]
    assert sum(below) == 20
    assert 1 <= min(below) <= max(below) <= 5


def test_fleet_hierarchies_cut_across_each_other() -> None:
    fleet = plan_fleet(500, seed=1)
    zones: dict[int, set[int]] = {}
    regions: dict[int, set[int]] = {}
    for grid, zone in zip(fleet.leaf_group[GRID][:-1], fleet.leaf_group[WEATHER][:-1], strict=True):
        region = fleet.parent_number[fleet.parent_number[grid]]
        zones.setdefault(int(zone), set()).add(int(region))
        regions.setdefault(int(region), set()).add(int(zone))
    assert max(len(found) for found in zones.values()) > 1, "a zone in several regions"
    assert max(len(found) for found in regions.values()) > 1, "a region in several zones"


def test_fleet_has_a_realistic_mix() -> None:
    nameplate = plan_fleet(2_000, seed=1).nameplate[:-1]
    assert (nameplate["solar_limit_kw"] > 0).mean() == pytest.approx(0.85, abs=0.03)
    assert (nameplate["ev_limit_kw"] > 0).mean() == pytest.approx(0.2, abs=0.03)
    assert nameplate["reserve_frac"].min() == pytest.approx(0.1)
    assert nameplate["reserve_frac"].max() == pytest.approx(0.3)
    roofs_kw = nameplate["solar_limit_kw"][nameplate["solar_limit_kw"] > 0]
    assert 4.0 <= roofs_kw.min() < 5.0 < 9.0 < roofs_kw.max() <= 10.0
    assert len(np.unique(nameplate["energy_capacity_kwh"])) == 5


def test_fleet_lies_in_texas_and_is_the_same_for_the_same_seed() -> None:
    fleet, again, other = plan_fleet(300, seed=1), plan_fleet(300, seed=1), plan_fleet(300, seed=2)
    assert ((fleet.latitude_deg > 25.8) & (fleet.latitude_deg < 36.5)).all()
    assert ((fleet.longitude_deg > -106.6) & (fleet.longitude_deg < -93.5)).all()
    assert np.array_equal(fleet.nameplate, again.nameplate)
    assert np.array_equal(fleet.latitude_deg, again.latitude_deg)
    assert not np.array_equal(fleet.nameplate, other.nameplate)


def test_fleet_resources_bid_where_there_are_prices() -> None:
    resources = plan_fleet(10, seed=1).resources
    assert {resource.resource_id: resource.settlement_point for resource in resources} == {
        VPP: "LZ_NORTH",
        BESS: "HB_NORTH",
    }
    assert {resource.settlement_point for resource in resources} <= set(settlement_points())


@pytest.mark.parametrize("homes", [0, 100_000])
def test_fleet_refuses_a_size_out_of_range(homes: int) -> None:
    with pytest.raises(InvalidInputError):
        plan_fleet(homes, seed=1)


def test_site_secret_is_stable_and_its_own_for_each_site_and_master() -> None:
    master = bytes(range(32))
    secret = site_secret(master, "home-00001")
    assert secret == "x7ZTncWjIpwLZvU04BxGcO7HVy3oiKN-HKz5lljpDK4"
    assert secret != site_secret(master, "home-00002")
    assert secret != site_secret(master[::-1], "home-00001")
    with pytest.raises(InvalidInputError):
        site_secret(b"short", "home-00001")


def test_fleet_of_several_types_has_what_each_of_them_has() -> None:
    fleet = plan_fleet(2_000, seed=3, ev_sites_frac=0.1, meter_sites_frac=0.2)
    kind, plate = fleet.device_type, fleet.nameplate
    shares = np.bincount(kind, minlength=4) / 2_000
    assert shares == pytest.approx([0.7, 0.1, 0.2, 0.0005], abs=0.03)
    assert (NAMEPLATE.violations(plate) == -1).all()
    bare = (kind == DeviceType.EV_CHARGER) | (kind == DeviceType.METER)
    for name in (
        "charge_limit_kw",
        "discharge_limit_kw",
        "energy_capacity_kwh",
        "solar_limit_kw",
        "reserve_frac",
    ):
        assert not plate[name][bare].any(), name
    assert (plate["ev_limit_kw"][kind == DeviceType.EV_CHARGER] > 0).all()
    assert not plate["ev_limit_kw"][kind == DeviceType.METER].any()
    prefixes = {site.split("-")[0] for site in fleet.site_ids}
    assert prefixes == {"home", "charger", "meter", "bess"}
    assert fleet.battery_rows_in(GroupId(VPP)).tolist() == np.flatnonzero(kind == DeviceType.HOME).tolist()


def test_fleet_without_other_types_is_the_same_as_with_none() -> None:
    plain, mixed = plan_fleet(400, seed=3), plan_fleet(400, seed=3, ev_sites_frac=0.1, gateway_frac=0.5)
    homes = mixed.device_type == DeviceType.HOME
    assert np.array_equal(plain.nameplate[homes], mixed.nameplate[homes])
    assert [s for s in mixed.site_ids if s.startswith("home-")] == [
        site for site, home in zip(plain.site_ids, homes.tolist(), strict=True) if home
    ]
    assert not plain.gateway_ids and (plain.gateway_of == -1).all()


def test_fleet_measures_what_is_there() -> None:
    fleet = plan_fleet(500, seed=3, ev_sites_frac=0.1, meter_sites_frac=0.1)
    masks = present_of(fleet)
    chargers = fleet.nameplate["ev_limit_kw"] > 0
    homes = fleet.device_type == DeviceType.HOME
    assert set(masks[homes & chargers].tolist()) == {ALL_PRESENT}
    assert set(masks[homes & ~chargers].tolist()) == {ALL_PRESENT & ~mask_of("ev_w")}
    for kind in (DeviceType.EV_CHARGER, DeviceType.METER, DeviceType.BATTERY):
        assert set(masks[fleet.device_type == kind].tolist()) == {PRESENT_OF[kind]}


def test_gateways_speak_for_whole_feeders() -> None:
    fleet = plan_fleet(1_000, seed=3, gateway_frac=0.4)
    assert 3 <= len(fleet.gateway_ids) <= 13
    for number, gateway in enumerate(fleet.gateway_ids):
        checked_id("site_id", gateway)
        rows = np.flatnonzero(fleet.gateway_of == number)
        feeder = fleet.groups[int(fleet.leaf_group[GRID][rows[0]])].group_id
        assert rows.tolist() == fleet.rows_in(feeder).tolist()
        assert gateway == f"gateway-{feeder}"
        assert fleet.gateway_unit[rows].tolist() == list(range(1, len(rows) + 1))
        assert set(fleet.partition[rows].tolist()) == {int(fleet.partition[rows[0]])}
    own = fleet.gateway_of < 0
    assert not fleet.gateway_unit[own].any()
    devices = devices_of(fleet)
    assert len(devices.names) == own.sum() + len(fleet.gateway_ids)
    for row, device in enumerate(devices.device_of.tolist()):
        expected = fleet.site_ids[row] if own[row] else fleet.gateway_ids[fleet.gateway_of[row]]
        assert devices.names[device] == expected
        assert (device in devices.gateways) == (not own[row])


@pytest.mark.parametrize("shares", [{"ev_sites_frac": -0.1}, {"ev_sites_frac": 0.6, "meter_sites_frac": 0.6}])
def test_fleet_refuses_shares_that_are_none(shares: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        plan_fleet(10, seed=1, **shares)


@pytest.mark.parametrize(("plants", "sites", "resource"), [("homes", 60, "vpp-1"), ("battery", 1, "bess-1")])
def test_part_of_a_fleet_stands_by_itself(plants: str, sites: int, resource: str) -> None:
    whole = plan_fleet(60, 3, gateway_frac=0.5)
    part = only_plants(whole, plants)
    check_groups(part.groups)
    assert [r.resource_id for r in part.resources] == [resource]
    rows = part.rows_in(part.resources[0].group_id)
    assert len(rows) == len(part.site_ids) == sites
    assert [part.site_ids[row] for row in rows] == [
        whole.site_ids[row] for row in whole.rows_in(part.resources[0].group_id)
    ]
    zone = {
        site: whole.groups[leaf].name
        for site, leaf in zip(whole.site_ids, whole.leaf_group[WEATHER], strict=True)
    }
    assert all(
        part.groups[leaf].name == zone[site]
        for site, leaf in zip(part.site_ids, part.leaf_group[WEATHER], strict=True)
    )


def test_all_plants_are_the_fleet_itself_and_others_are_refused() -> None:
    whole = plan_fleet(2, 3)
    assert only_plants(whole, "all") is whole
    with pytest.raises(InvalidInputError, match="homes or battery"):
        only_plants(whole, "boats")
