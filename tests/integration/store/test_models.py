"""Trained models on both databases: one row a model, one champion at a time, and tables of before the migrations."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Engine, inspect

from shoal.bidding.training_store import ModelStore
from shoal.domain.errors import UnavailableError, UnknownIdError
from shoal.forecast.champion import Contest
from shoal.forecast.protocol import Model, sealed
from shoal.store.database import alembic_config, migrate, open_database, reading, writing
from shoal.store.model_schema import CONTEST, MODEL, PROMOTION

SERIES = "load/homes/test"
AT_ONCE = 6


@pytest.fixture
def store(tables: Engine, tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models", tables)


def model(number: int, *, to_ns: int = 50) -> Model:
    return sealed(
        Model(
            kind="test/1",
            names=("h0",),
            from_ns=0,
            to_ns=to_ns,
            step_ns=10,
            lead_steps=0,
            horizon_steps=1,
            quantile_level=(0.5,),
            features=(),
            seed=number,
            settings={},
            scores={"mae": 1.0},
            arrays={},
        )
    )


def keep(store: ModelStore, number: int, **more: int) -> str:
    return store.keep(SERIES, model(number, **more), asked_ns=50, kept_ns=number)


def test_model_kept_by_many_at_once_is_one(store: ModelStore, tmp_path: Path) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        versions = set(pool.map(lambda _: keep(store, 1), range(AT_ONCE)))
    (version,) = versions
    (row,) = store.models(SERIES)
    assert row.version == version and store.load(version) == model(1)
    assert len(list((tmp_path / "models").rglob("*.model"))) == 1
    assert not list((tmp_path / "models").rglob(".writing-*"))


def test_states_of_a_model_are_found_by_its_root(store: ModelStore) -> None:
    root = keep(store, 1)
    later = store.keep(SERIES, model(2, to_ns=60), asked_ns=50, kept_ns=2, root_version=root)
    assert store.newest(root).version == later
    assert store.newest(root, until_ns=55).version == root
    trained = store.trained(SERIES, 50)
    assert trained is not None and trained.version == root
    with pytest.raises(UnknownIdError):
        store.newest("nobody")


def test_one_of_many_promotions_in_place_of_the_same_champion_holds(store: ModelStore) -> None:
    versions = [keep(store, number) for number in range(AT_ONCE + 1)]
    assert store.promote(SERIES, versions[0], instead_of=None, since_ns=1, reason="the first")
    champion = store.champion(SERIES)
    store.put_contest(SERIES, Contest(champion=versions[0], challenger=versions[1]), 7)
    assert store.contest(SERIES) == (Contest(champion=versions[0], challenger=versions[1]), 7)
    barrier = threading.Barrier(AT_ONCE)

    def promote(version: str) -> bool:
        barrier.wait(30.0)
        return store.promote(SERIES, version, instead_of=champion, since_ns=2, reason="better")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        won = list(pool.map(promote, versions[1:]))
    assert sum(won) == 1
    now = store.champion(SERIES)
    assert now is not None and (now.version, now.number) == (versions[1:][won.index(True)], 2)
    assert store.contest(SERIES) is None


def test_contest_is_replaced_and_ended(store: ModelStore) -> None:
    store.put_contest(SERIES, Contest(champion="a", challenger="b"), 1)
    store.put_contest(SERIES, Contest(champion="a", challenger="c", gain_total=0.1), 2)
    assert store.contest(SERIES) == (Contest(champion="a", challenger="c", gain_total=0.1), 2)
    store.put_contest(SERIES, None)
    assert store.contest(SERIES) is None


def test_folder_that_takes_nothing_is_said_and_no_row_is_left(store: ModelStore, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.rmdir()
    folder.write_text("a file where the folder should be")
    with pytest.raises(UnavailableError, match="models"):
        keep(store, 1)
    assert store.models(SERIES) == []


def test_tables_of_before_the_migrations_are_taken_as_they_are(empty_url: str, tmp_path: Path) -> None:
    engine = open_database(empty_url)
    with writing(engine, lock="migrate") as connection:
        command.upgrade(alembic_config(connection), "0008")
    with writing(engine) as connection:
        for table in (MODEL, PROMOTION, CONTEST):
            table.create(connection)
        connection.exec_driver_sql("DROP INDEX ix_model_root_version")
    version = keep(ModelStore(tmp_path / "models", engine), 1)
    engine.dispose()
    migrate(empty_url)
    engine = open_database(empty_url)
    store = ModelStore(tmp_path / "models", engine)
    assert [kept.version for kept in store.models(SERIES)] == [version]
    with reading(engine) as connection:
        names = {index["name"] for index in inspect(connection).get_indexes("model")}
    assert names == {"ix_model_series_id", "ix_model_root_version"}
    engine.dispose()
