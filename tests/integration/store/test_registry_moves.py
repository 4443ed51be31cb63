"""The registry while it changes: its version, moves and their spans, gateways, and databases of the first revision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from alembic import command
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId, HierarchyId, SiteId
from shoal.store.database import alembic_config, migrate, open_database, reading, writing
from shoal.store.registry import Registry
from tests.integration.store.fleets import GRID, ZONE, assert_same_fleet, make_fleet

FIRST, SECOND = SiteId("site-00000"), SiteId("site-00001")
FEEDER_2, COAST, WEST = GroupId("feeder-2"), GroupId("coast"), GroupId("west")


@pytest.fixture
def registry(engine: Engine) -> Registry:
    registry = Registry(engine)
    registry.load_fleet(make_fleet(), valid_from_ns=1000)
    return registry


def with_gateways(fleet: Fleet) -> Fleet:
    """Return the fleet with four sites behind two gateways, of several types."""
    gateway_of = np.full(len(fleet.site_ids), -1, dtype=np.int32)
    unit = np.zeros(len(fleet.site_ids), dtype=np.int32)
    gateway_of[[1, 2, 3, 7]], unit[[1, 2, 3, 7]] = [0, 0, 1, 0], [1, 2, 1, 65_535]
    return replace(
        fleet,
        gateway_ids=("gw-a", "gw-b"),
        gateway_of=gateway_of,
        gateway_unit=unit,
        device_type=(np.arange(len(fleet.site_ids)) % 4).astype(np.uint8),
    )


def assert_same_gateways(one: Fleet, other: Fleet) -> None:
    assert one.gateway_ids == other.gateway_ids
    for name in ("gateway_of", "gateway_unit", "device_type", "partition"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist(), name


def test_version_grows_with_changes_and_with_nothing_else(registry: Registry) -> None:
    versions = [registry.version()]

    def grew() -> bool:
        versions.append(registry.version())
        return versions[-1] > versions[-2]

    assert registry.load_fleet(make_fleet(), valid_from_ns=1000) == 0
    assert not grew()
    registry.move_site(FIRST, GRID, FEEDER_2, 5000)
    assert grew()
    registry.move_site(FIRST, GRID, FEEDER_2, 6000)
    assert not grew(), "it hangs from there already"
    registry.issue_credential(FIRST, at_ns=1)
    assert not grew()
    fleet = make_fleet()
    fleet.nameplate["ev_limit_kw"][3] = 22.0
    assert registry.load_fleet(fleet, valid_from_ns=1000) == 1
    assert grew()
    with pytest.raises(UnknownIdError):
        registry.move_site(FIRST, GRID, COAST, 7000)
    assert not grew()


def test_next_change_is_the_next_instant_at_which_somebody_moves(registry: Registry) -> None:
    registry.move_site(FIRST, GRID, FEEDER_2, 5000)
    registry.move_site(SECOND, ZONE, WEST, 3000)
    fleet = make_fleet()
    fleet.leaf_group[ZONE][5] = -1
    registry.load_fleet(fleet, valid_from_ns=9000)  # and somebody leaves

    changes: list[int | None] = [0]
    while changes[-1] is not None:
        changes.append(registry.next_change_ns(changes[-1]))
    assert changes[1:] == [1000, 3000, 5000, 9000, None]
    assert registry.next_change_ns(4999) == 5000


def test_sites_exchange_groups_in_one_load(registry: Registry) -> None:
    fleet = make_fleet()
    fleet.leaf_group[GRID][:] = np.where(fleet.leaf_group[GRID] == 0, 2, 0)
    registry.load_fleet(fleet, valid_from_ns=2000)
    assert_same_fleet(registry.fleet_at(2000), fleet)
    assert_same_fleet(registry.fleet_at(1999), make_fleet())
    spans = registry.memberships(GRID, 1500, 2500)
    assert spans.site_row.tolist() == np.repeat(np.arange(12), 2).tolist()
    assert set(spans.end_ns[::2].tolist()) == set(spans.start_ns[1::2].tolist()) == {2000}


def test_memberships_are_those_of_every_instant(registry: Registry) -> None:
    random = np.random.default_rng(4)
    sites = make_fleet().site_ids
    for at_ns in random.integers(900, 3_000, 30).tolist():
        group = (COAST, WEST)[int(random.integers(2))]
        registry.move_site(sites[int(random.integers(12))], ZONE, group, at_ns)

    spans = registry.memberships(ZONE, 950, 2_800)

    for t_ns in random.integers(950, 2_800, 25).tolist():
        now = (spans.start_ns <= t_ns) & (t_ns < spans.end_ns)
        assert spans.site_row[now].tolist() == list(range(12)), "each site once"
        assert spans.group[now].tolist() == registry.fleet_at(t_ns).leaf_group[ZONE].tolist()


def test_memberships_of_nothing_are_refused(registry: Registry) -> None:
    with pytest.raises(UnknownIdError, match="hierarchy"):
        registry.memberships(HierarchyId("nothing"), 0, 1)
    with pytest.raises(InvalidInputError, match="end_ns"):
        registry.memberships(GRID, 5, 5)


def test_gateways_and_types_come_back(engine: Engine) -> None:
    registry, fleet = Registry(engine), with_gateways(make_fleet())
    registry.load_fleet(fleet, valid_from_ns=0)
    assert_same_fleet(registry.fleet_at(0), fleet)
    assert_same_gateways(registry.fleet_at(0), fleet)
    assert registry.load_fleet(fleet, valid_from_ns=0) == 0


def test_sites_exchange_places_behind_a_gateway(engine: Engine) -> None:
    registry, fleet = Registry(engine), with_gateways(make_fleet())
    registry.load_fleet(fleet, valid_from_ns=0)
    fleet.gateway_unit[[1, 2]] = fleet.gateway_unit[[2, 1]]
    fleet.gateway_of[3], fleet.gateway_unit[3] = -1, 0
    assert registry.load_fleet(fleet, valid_from_ns=0) == 3
    assert_same_gateways(registry.fleet_at(0), fleet)


def test_gateway_signs_in_with_a_secret_of_its_own(engine: Engine) -> None:
    registry = Registry(engine)
    registry.load_fleet(with_gateways(make_fleet()), valid_from_ns=0)
    issued = registry.issue_credentials([SiteId("gw-b"), FIRST], at_ns=1)
    assert registry.verify(SiteId("gw-b"), issued[SiteId("gw-b")])
    assert not registry.verify(FIRST, issued[SiteId("gw-b")])
    with pytest.raises(UnknownIdError):
        registry.issue_credential(SiteId("gw-c"), at_ns=1)


@pytest.mark.parametrize(
    ("column", "row", "value", "told"),
    [
        ("gateway_unit", 1, 0, "gateway_unit of site site-00001"),
        ("gateway_unit", 0, 4, "gateway_unit of site site-00000"),
        ("gateway_unit", 2, 1, "another site of gateway gw-a"),
        ("gateway_unit", 7, 65_536, "gateway_unit of site site-00007"),
        ("gateway_of", 7, 2, "gateway_unit of site site-00007"),
    ],
)
def test_load_fleet_refuses_wrong_places_behind_gateways(
    engine: Engine, column: str, row: int, value: int, told: str
) -> None:
    fleet = with_gateways(make_fleet())
    getattr(fleet, column)[row] = value
    with pytest.raises(InvalidInputError, match=told):
        Registry(engine).load_fleet(fleet, valid_from_ns=0)


def test_load_fleet_refuses_a_gateway_called_like_a_site(engine: Engine) -> None:
    fleet = replace(with_gateways(make_fleet()), gateway_ids=("gw-a", FIRST))
    with pytest.raises(InvalidInputError, match="another name than any site's"):
        Registry(engine).load_fleet(fleet, valid_from_ns=0)


def test_database_of_the_first_revision_is_brought_up_and_back(empty_url: str) -> None:
    engine = open_database(empty_url)
    with writing(engine) as connection:
        command.upgrade(alembic_config(connection), "0001")
        site = "('home-1', 0, 30, -97, 5, 4, 13.5, 0.95, 0.95, 0.2, 6, 0)"
        for statement in (
            f"INSERT INTO site VALUES {site}",
            "INSERT INTO asset VALUES ('home-1-load', 'home-1', 'load', NULL, NULL)",
            "INSERT INTO hierarchy VALUES ('grid')",
            "INSERT INTO group_node VALUES ('vpp', 0, 'grid', NULL, 'Homes', 0)",
            "INSERT INTO membership VALUES ('home-1', 'grid', 'vpp', 7, NULL)",
            "INSERT INTO device_credential (site_id, salt, digest, created_ns) SELECT 'home-1', "
            + ("x'00', x'01', 1" if engine.dialect.name == "sqlite" else "'\\x00', '\\x01', 1"),
        ):
            connection.execute(text(statement))

    migrate(empty_url)

    registry = Registry(engine)
    fleet = registry.fleet_at(7)
    assert (fleet.site_ids, fleet.gateway_ids, fleet.gateway_of.tolist()) == (("home-1",), (), [-1])
    assert fleet.leaf_group[GRID].tolist() == [0]
    assert [asset.kind for asset in registry.assets(SiteId("home-1"))] == ["battery", "load", "solar"]
    assert registry.credentials().keys() == {"home-1"}
    assert registry.version() == 1
    registry.load_fleet(with_gateways(make_fleet()), valid_from_ns=9)
    registry.issue_credential(SiteId("gw-a"), at_ns=1)
    with writing(engine) as connection:
        command.downgrade(alembic_config(connection), "0001")
    with reading(engine) as connection:
        assert connection.execute(text("SELECT site_id FROM device_credential")).all() == [("home-1",)]
        kinds = connection.execute(text("SELECT kind FROM asset WHERE site_id = 'home-1' ORDER BY kind"))
        assert kinds.scalars().all() == ["battery", "load", "solar"]
    engine.dispose()


@settings(max_examples=15, deadline=None)
@given(moves=st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 60)), max_size=25))
def test_random_moves_leave_every_site_in_one_place(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[int, bool, int]]
) -> None:
    url = f"sqlite:///{tmp_path_factory.mktemp('moves') / 'plant.db'}"
    migrate(url)
    engine = open_database(url)
    registry, fleet = Registry(engine), make_fleet(6)
    registry.load_fleet(fleet, valid_from_ns=0)
    for row, west, at_ns in moves:
        registry.move_site(fleet.site_ids[row], ZONE, WEST if west else COAST, at_ns)
    spans = registry.memberships(ZONE, 0, 70)
    change: int | None = -1
    while (change := registry.next_change_ns(-1 if change is None else change)) is not None:
        now = (spans.start_ns <= change) & (change < spans.end_ns)
        assert spans.site_row[now].tolist() == list(range(6))
        assert spans.group[now].tolist() == registry.fleet_at(change).leaf_group[ZONE].tolist()
    engine.dispose()
