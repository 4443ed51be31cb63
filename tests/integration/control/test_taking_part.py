"""Who takes part in what, from the registry: consent counts, and a program without any asks for none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine

from shoal.control.taking_part import TakingPart
from shoal.domain.errors import UnavailableError
from shoal.domain.interval import NS_PER_HOUR
from shoal.domain.telemetry import TELEMETRY
from shoal.store.database import migrate, open_database
from shoal.store.programs import ProgramStore
from shoal.store.registry import Registry
from tests.integration.store.fleets import make_fleet
from tests.unit.control.plants import START_NS

FLEET = make_fleet(6)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path_factory.mktemp('registry') / 'registry.db'}"
    migrate(url)
    made = open_database(url)
    Registry(made).load_fleet(FLEET, valid_from_ns=0)
    yield made
    made.dispose()


def test_consent_counts_from_when_it_begins(engine: Engine) -> None:
    store = ProgramStore(engine)
    taking = TakingPart(store, FLEET.nameplate, t_ns=START_NS)
    every = taking.enrolled("peak")
    assert every is not None
    assert every.tolist() == list(range(6)), "nobody was ever enrolled"
    assert not taking.refresh(START_NS)
    later_ns = START_NS + NS_PER_HOUR
    store.enrol("peak", FLEET.site_ids[1:3], at_ns=START_NS, by="owner", said_ns=START_NS)
    store.enrol("peak", FLEET.site_ids[3:4], at_ns=later_ns, by="owner", said_ns=START_NS)
    assert taking.refresh(START_NS)
    assert taking.enrolled("peak").tolist() == [1, 2]  # type: ignore[union-attr]
    assert not taking.refresh(later_ns - 1)
    assert taking.refresh(later_ns), "what begins later is taken up when it does"
    assert taking.enrolled("peak").tolist() == [1, 2, 3]  # type: ignore[union-attr]
    store.opt_out("peak", FLEET.site_ids[2:3], at_ns=later_ns, until_ns=None, by="owner", said_ns=later_ns)
    taking.refresh(later_ns)
    assert taking.enrolled("peak").tolist() == [1, 3]  # type: ignore[union-attr]
    assert taking.enrolled("nonsense") is None


def test_what_an_owner_keeps_is_nobodys(engine: Engine) -> None:
    store = ProgramStore(engine)
    store.promise("reserve_frac", FLEET.site_ids[:1], 0.6, at_ns=START_NS, by="owner", said_ns=START_NS)
    taking = TakingPart(store, FLEET.nameplate, t_ns=START_NS)
    latest = TELEMETRY.empty(6)
    latest["soc_frac"] = 0.6
    known = np.array([True] * 5 + [False])
    able = taking.ability(START_NS, latest, known)
    assert able.discharge_wh[0] == 0
    assert able.discharge_wh[1] > 0
    assert not able.known[5]


def test_store_that_cannot_be_read_leaves_the_last_word(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = ProgramStore(engine)
    taking = TakingPart(store, FLEET.nameplate, t_ns=START_NS)
    before = taking.enrolled("market")

    def gone() -> int:
        raise UnavailableError("the database", "away")

    monkeypatch.setattr(store, "version", gone)
    assert not taking.refresh(START_NS)
    assert np.array_equal(taking.enrolled("market"), before)  # type: ignore[arg-type]
