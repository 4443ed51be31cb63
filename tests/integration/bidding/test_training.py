"""The training job as a durable workflow: killed anywhere, it is gone on with and trains one model once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shoal.bidding.training_store import ModelStore
from shoal.store.database import open_database
from tests.integration.bidding.trainer import DIED, SERIES, TO_NS

ROOT = Path(__file__).parents[3]


def train(folder: Path, where: str) -> int:
    """Run a trainer until it ends or dies; return its code."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.bidding.trainer", str(folder), where],
        cwd=ROOT,
        timeout=120,
        capture_output=True,
        check=False,
    )
    assert done.returncode in (0, DIED), done.stderr.decode()
    return done.returncode


@pytest.mark.parametrize("where", ["fit", "keep", "enter"])
def test_trainer_that_dies_is_gone_on_with(tmp_path: Path, where: str) -> None:
    assert train(tmp_path, where) == DIED
    assert not (tmp_path / "said.txt").exists()
    assert train(tmp_path, "nowhere") == 0
    assert (tmp_path / "said.txt").read_text(encoding="utf-8") == "champion"
    engine = open_database(f"sqlite:///{tmp_path / 'models.db'}")
    store = ModelStore(tmp_path / "models", engine)
    (kept,) = store.models(SERIES)
    assert kept.asked_ns == TO_NS
    assert [p.version for p in store.promotions(SERIES)] == [kept.version]
    assert store.load(kept.version).version == kept.version
    assert len(list((tmp_path / "models").rglob("*.model"))) == 1
    engine.dispose()
    reads = (tmp_path / "read.txt").read_text(encoding="utf-8").split()
    assert len(reads) == (2 if where == "fit" else 1)  # what was kept is not trained again
