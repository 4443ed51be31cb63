"""The registry on both databases: what was loaded is read back, moves leave no gap, secrets leave no trace."""

from __future__ import annotations

import dataclasses
import secrets
import threading

import numpy as np
import pytest
from sqlalchemy import Engine, insert, select, update

from shoal.domain.errors import InvalidInputError, UnknownIdError
from shoal.domain.fleet import Fleet
from shoal.domain.ids import GroupId, HierarchyId, ProgramId, SiteId
from shoal.store.credentials import seal
from shoal.store.database import reading, writing
from shoal.store.programs import ProgramStore
from shoal.store.records import Program
from shoal.store.registry import Registry
from shoal.store.schema import ENROLMENT, MEMBERSHIP, METADATA, SITE
from tests.integration.store.fleets import GRID, ZONE, assert_same_fleet, make_fleet

MARKET = Program(program_id=ProgramId("market"), name="Day-ahead market", priority=10)
STORM = Program(program_id=ProgramId("storm"), name="Storm watch", priority=90)
FIRST = SiteId("site-00000")
FEEDER_1 = GroupId("feeder-1")
FEEDER_2 = GroupId("feeder-2")


def _everything(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    with reading(engine) as connection:
        return {
            table.name: sorted(
                (tuple(row) for row in connection.execute(select(table))),
                key=lambda row: tuple(map(repr, row)),
            )
            for table in METADATA.sorted_tables
        }


def _group_of(fleet: Fleet, site: SiteId, hierarchy: HierarchyId = GRID) -> str | None:
    number = fleet.leaf_group[hierarchy][fleet.row_of[site]]
    return None if number < 0 else fleet.groups[number].group_id


@pytest.fixture
def registry(engine: Engine) -> Registry:
    registry = Registry(engine)
    registry.load_fleet(make_fleet(), valid_from_ns=1000, programs=[MARKET, STORM])
    return registry


def test_load_fleet_reads_back_the_same(registry: Registry) -> None:
    assert_same_fleet(registry.fleet_at(1000), make_fleet())


def test_load_fleet_twice_changes_nothing(registry: Registry, engine: Engine) -> None:
    before = _everything(engine)

    registry.load_fleet(make_fleet(), valid_from_ns=1000, programs=[MARKET, STORM])

    assert _everything(engine) == before
    assert len(before["site"]) == 12


def test_load_fleet_in_small_batches_is_the_same(engine: Engine) -> None:
    registry = Registry(engine)
    registry.load_fleet(make_fleet(40), valid_from_ns=2000, batch=7)

    assert_same_fleet(registry.fleet_at(2000), make_fleet(40))


def test_load_fleet_keeps_numbers_and_adds_new_sites_behind(registry: Registry) -> None:
    whole = make_fleet()
    order = np.array([11, 3])
    other = dataclasses.replace(whole.take(order), site_ids=(SiteId("new-1"), whole.site_ids[3]))

    registry.load_fleet(other, valid_from_ns=1000)

    assert registry.fleet_at(1000).site_ids == (*whole.site_ids, SiteId("new-1"))


def test_load_fleet_updates_a_changed_nameplate_and_its_assets(registry: Registry) -> None:
    fleet = make_fleet()
    fleet.nameplate["ev_limit_kw"][1] = 7.4
    fleet.nameplate["solar_limit_kw"][0] = 0.0

    registry.load_fleet(fleet, valid_from_ns=1000)

    assert_same_fleet(registry.fleet_at(1000), fleet)
    assert [(a.kind, a.rated_kw) for a in registry.assets(fleet.site_ids[1])][1:] == [
        ("ev", 7.4),
        ("load", None),
    ]
    assert [a.kind for a in registry.assets(fleet.site_ids[0])] == ["battery", "ev", "load"]


def test_assets_are_made_from_the_nameplate(registry: Registry) -> None:
    fleet = make_fleet()
    battery, ev, load, solar = registry.assets(FIRST)

    assert (battery.kind, battery.rated_kw, battery.energy_kwh) == (
        "battery",
        fleet.nameplate["discharge_limit_kw"][0],
        13.5,
    )
    assert (ev.kind, ev.rated_kw, ev.energy_kwh) == ("ev", 11.0, None)
    assert (load.kind, load.rated_kw) == ("load", None)
    assert (solar.kind, solar.rated_kw) == ("solar", 6.0)
    with pytest.raises(UnknownIdError):
        registry.assets(SiteId("nobody"))


@pytest.mark.parametrize(
    ("column", "value"), [("reserve_frac", 1.5), ("charge_limit_kw", -1.0), ("energy_capacity_kwh", np.nan)]
)
def test_load_fleet_refuses_a_bad_nameplate(engine: Engine, column: str, value: float) -> None:
    fleet = make_fleet()
    fleet.nameplate[column][4] = value
    with pytest.raises(InvalidInputError, match=f"{column} of site site-00004"):
        Registry(engine).load_fleet(fleet, valid_from_ns=0)
    assert _everything(engine)["site"] == []


def test_load_fleet_refuses_bad_ids(engine: Engine) -> None:
    fleet = make_fleet(2)
    for ids in ((FIRST, FIRST), (FIRST, SiteId("a.b"))):
        with pytest.raises(InvalidInputError):
            Registry(engine).load_fleet(dataclasses.replace(fleet, site_ids=ids), valid_from_ns=0)


def test_fleet_before_it_was_loaded_has_no_memberships(registry: Registry) -> None:
    before = registry.fleet_at(999)
    assert len(before.site_ids) == 12
    assert (before.leaf_group[GRID] == -1).all()


def test_fleet_of_an_empty_registry_is_empty(engine: Engine) -> None:
    fleet = Registry(engine).fleet_at(0)
    assert (fleet.site_ids, fleet.groups, fleet.leaf_group, len(fleet.nameplate)) == ((), (), {}, 0)


def test_move_site_takes_effect_at_its_instant(registry: Registry) -> None:
    registry.move_site(FIRST, GRID, FEEDER_2, 5000)

    assert _group_of(registry.fleet_at(4999), FIRST) == FEEDER_1
    assert _group_of(registry.fleet_at(5000), FIRST) == FEEDER_2
    unmoved = make_fleet().leaf_group[ZONE]
    np.testing.assert_array_equal(registry.fleet_at(5000).leaf_group[ZONE], unmoved)


def test_moves_in_any_order_leave_nobody_in_two_groups_or_none(registry: Registry, engine: Engine) -> None:
    random = np.random.default_rng(7)
    changes: dict[int, str] = {1000: FEEDER_1}

    def expected(t_ns: int) -> str:
        return changes[max(at_ns for at_ns in changes if at_ns <= t_ns)]

    for at_ns in random.integers(1000, 1030, size=40).tolist():
        group = (FEEDER_1, FEEDER_2)[int(random.integers(2))]
        registry.move_site(FIRST, GRID, group, at_ns)
        # To say again what holds anyway is no change.
        if expected(at_ns) != group:
            changes[at_ns] = group

    with reading(engine) as connection:
        table = MEMBERSHIP
        mine = (table.c.site_id == FIRST) & (table.c.hierarchy_id == GRID)
        rows = connection.execute(select(table).where(mine).order_by(table.c.valid_from_ns)).all()
    assert rows[0].valid_from_ns == 1000
    assert rows[-1].valid_until_ns is None
    assert [row.valid_until_ns for row in rows[:-1]] == [row.valid_from_ns for row in rows[1:]]
    assert len({row.group_id for row in rows}) == 2
    instants = range(1000, 1031)
    assert [_group_of(registry.fleet_at(t_ns), FIRST) for t_ns in instants] == [expected(t) for t in instants]


def test_loading_again_does_not_undo_a_later_move(registry: Registry, engine: Engine) -> None:
    registry.move_site(FIRST, GRID, FEEDER_2, 5000)
    before = _everything(engine)

    registry.load_fleet(make_fleet(), valid_from_ns=1000)

    assert _everything(engine) == before


def test_loading_with_another_group_moves_and_with_none_ends(registry: Registry) -> None:
    fleet = make_fleet()
    fleet.leaf_group[GRID][0] = 2
    fleet.leaf_group[ZONE][1] = -1

    registry.load_fleet(fleet, valid_from_ns=3000)

    assert_same_fleet(registry.fleet_at(3000), fleet)
    assert_same_fleet(registry.fleet_at(2999), make_fleet())


def test_move_site_refuses_unknown_ids(registry: Registry) -> None:
    for site, hierarchy, group in (
        (SiteId("nobody"), GRID, FEEDER_2),
        (FIRST, GRID, GroupId("nowhere")),
        (FIRST, ZONE, FEEDER_2),
    ):
        with pytest.raises(UnknownIdError):
            registry.move_site(site, hierarchy, group, 5000)


@pytest.mark.parametrize(("from_ns", "until_ns"), [(0, 1001), (500, None), (3000, None), (2000, 2001)])
def test_database_itself_refuses_two_memberships_at_once(
    registry: Registry, engine: Engine, from_ns: int, until_ns: int | None
) -> None:
    row = {"site_id": FIRST, "hierarchy_id": GRID, "group_id": FEEDER_2}
    with pytest.raises(InvalidInputError, match="two rows of membership"), writing(engine) as connection:
        connection.execute(insert(MEMBERSHIP).values(**row, valid_from_ns=from_ns, valid_until_ns=until_ns))


def test_database_itself_refuses_to_lengthen_into_the_next_membership(
    registry: Registry, engine: Engine
) -> None:
    registry.move_site(FIRST, GRID, FEEDER_2, 5000)
    with pytest.raises(InvalidInputError, match="two rows of membership"), writing(engine) as connection:
        connection.execute(
            update(MEMBERSHIP)
            .where(MEMBERSHIP.c.site_id == FIRST, MEMBERSHIP.c.group_id == FEEDER_1)
            .values(valid_until_ns=5001)
        )


def test_database_itself_refuses_two_writers_that_do_not_see_each_other(
    registry: Registry, engine: Engine
) -> None:
    """Neither takes the registry's lock; the second must not miss what the first has not committed yet."""
    last = make_fleet().site_ids[-1]
    row = {"site_id": last, "hierarchy_id": ZONE}
    refused: list[InvalidInputError] = []

    def second() -> None:
        try:
            with writing(engine) as connection:
                connection.execute(insert(MEMBERSHIP).values(**row, group_id="west", valid_from_ns=2000))
        except InvalidInputError as error:
            refused.append(error)

    thread = threading.Thread(target=second)
    with writing(engine) as connection:
        connection.execute(insert(MEMBERSHIP).values(**row, group_id="coast", valid_from_ns=1000))
        thread.start()
        # Long enough for the second to run into the first; were it to come later, it is refused all the same.
        thread.join(timeout=0.2)
    thread.join(timeout=30)

    assert len(refused) == 1
    assert _group_of(registry.fleet_at(2000), last, ZONE) == "coast"


def test_database_itself_takes_memberships_that_touch(registry: Registry, engine: Engine) -> None:
    row = {"site_id": FIRST, "hierarchy_id": GRID, "group_id": FEEDER_2}
    with writing(engine) as connection:
        connection.execute(insert(MEMBERSHIP).values(**row, valid_from_ns=0, valid_until_ns=1000))
    assert _group_of(registry.fleet_at(999), FIRST) == FEEDER_2
    assert _group_of(registry.fleet_at(1000), FIRST) == FEEDER_1


def test_several_loaders_at_once_load_once(engine: Engine) -> None:
    errors: list[BaseException] = []

    def load() -> None:
        try:
            Registry(engine).load_fleet(make_fleet(200), valid_from_ns=0, programs=[MARKET])
        except BaseException as error:  # noqa: BLE001 -- carried to the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)

    assert errors == []
    assert_same_fleet(Registry(engine).fleet_at(0), make_fleet(200))
    with reading(engine) as connection:
        assert len(connection.execute(select(ENROLMENT)).all()) == 200


def test_programs_come_by_priority_with_every_site_enrolled(registry: Registry, engine: Engine) -> None:
    assert registry.programs() == (STORM, MARKET)
    store = ProgramStore(engine)
    np.testing.assert_array_equal(store.enrolled_at(MARKET.program_id, 1000), np.arange(12))
    assert store.enrolled_at(MARKET.program_id, 999).tolist() == []


def test_credential_is_good_until_replaced_or_revoked(registry: Registry) -> None:
    first = registry.issue_credential(FIRST, at_ns=10)
    assert registry.verify(FIRST, first)
    assert not registry.verify(FIRST, first + "x")
    assert not registry.verify(FIRST, "")
    assert not registry.verify(SiteId("site-00001"), first)

    second = registry.issue_credential(FIRST, at_ns=20)
    assert not registry.verify(FIRST, first)
    assert registry.verify(FIRST, second)

    registry.revoke(FIRST, 30)
    registry.revoke(FIRST, 40)
    assert not registry.verify(FIRST, second)
    assert registry.credentials()[FIRST].revoked_ns == 30


def test_credential_is_never_stored_in_clear(registry: Registry, engine: Engine) -> None:
    secret = registry.issue_credential(FIRST, at_ns=10)
    stored = repr(_everything(engine)).encode()
    assert len(secret) == 43
    assert secret.encode() not in stored
    assert registry.credentials()[FIRST].digest.hex() not in secret

    if engine.dialect.name == "sqlite":
        path = str(engine.url.database)
        engine.dispose()
        for suffix in ("", "-wal"):
            try:
                with open(path + suffix, "rb") as file:  # noqa: PTH123 -- the suffix is part of the name
                    assert secret.encode() not in file.read()
            except FileNotFoundError:
                assert suffix == "-wal"


def test_set_credential_takes_many_and_replaces(registry: Registry) -> None:
    sites = make_fleet().site_ids
    for at_ns in (1, 2):
        sealed = [
            seal(f"secret-{at_ns}-{site}", created_ns=at_ns, random_bytes=secrets.token_bytes)
            for site in sites
        ]
        registry.set_credential(sites, sealed)

    assert registry.credentials() == dict(zip(sites, sealed, strict=True))
    assert registry.credentials(sites[:1]) == {sites[0]: sealed[0]}
    assert registry.credentials([]) == {}
    assert all(registry.verify(site, f"secret-2-{site}") for site in sites)
    assert not registry.verify(sites[5], f"secret-1-{sites[5]}")
    with pytest.raises(UnknownIdError):
        registry.set_credential([SiteId("nobody")], sealed[:1])
    with pytest.raises(InvalidInputError):
        registry.set_credential(sites, sealed[:1])
    with pytest.raises(UnknownIdError):
        registry.revoke(SiteId("nobody"), 1)


def test_large_fleet_comes_back_equal(engine: Engine) -> None:
    fleet = make_fleet(5_000)
    registry = Registry(engine)
    registry.load_fleet(fleet, valid_from_ns=0, programs=[MARKET])

    assert_same_fleet(registry.fleet_at(0), fleet)
    with reading(engine) as connection:
        numbers = connection.execute(select(SITE.c.site_no).order_by(SITE.c.site_no)).scalars().all()
    assert numbers == list(range(5_000))
