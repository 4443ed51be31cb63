"""A process that trains, as a program: it says what became of it, and can be told where to die.

Run as ``python -m tests.integration.bidding.trainer FOLDER WHERE``, WHERE one of ``nowhere``, ``fit``, ``keep``, ``enter``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from dbos import DBOS, DBOSConfig

from shoal.bidding.training import TrainingJob, TrainingWorkflow
from shoal.bidding.training_store import ModelStore, Promotion
from shoal.forecast.protocol import Model, Panel
from shoal.runtime.clock import SystemClock
from shoal.store.database import migrate, open_database
from tests.unit.forecast.homes import DAY, forecaster, loads, panel

SERIES = "load/homes/test"
WHOLE = panel(loads(3, 60))
TO_NS = WHOLE.first_ns + 50 * DAY * WHOLE.step_ns
DIED = 9


class MortalStore(ModelStore):
    """A store that ends the process at a place."""

    where = "nowhere"

    def keep(self, series_id: str, model: Model, **more: Any) -> str:
        if self.where == "fit":
            os._exit(DIED)
        version = super().keep(series_id, model, **more)
        if self.where == "keep":
            os._exit(DIED)
        return version

    def promote(self, series_id: str, version: str, *, instead_of: Promotion | None, **more: Any) -> bool:
        done = super().promote(series_id, version, instead_of=instead_of, **more)
        if self.where == "enter":
            os._exit(DIED)
        return done


def main(folder: Path, where: str) -> None:
    """Train once and say what became of it; count how often history was read."""

    def history(to_ns: int) -> Panel:
        with (folder / "read.txt").open("a", encoding="utf-8") as out:
            out.write(f"{to_ns}\n")
        return WHOLE.until((to_ns - WHOLE.first_ns) // WHOLE.step_ns)

    url = f"sqlite:///{folder / 'models.db'}"
    migrate(url)
    store = MortalStore(folder / "models", open_database(url))
    store.where = where
    job = TrainingJob(series_id=SERIES, forecaster=forecaster("local"), history=history)
    config: DBOSConfig = {
        "name": "shoal-training",
        "system_database_url": f"sqlite:///{folder / 'workflows.db'}",
        "executor_id": "training",
        "application_version": "test",
        "log_level": "ERROR",
    }
    DBOS(config=config)
    workflow = TrainingWorkflow(jobs={SERIES: job}, store=store, clock=SystemClock())
    DBOS.launch()
    said = workflow.bring(SERIES, TO_NS)
    (folder / "said.txt").write_text(said, encoding="utf-8")
    os._exit(0)  # without a goodbye: whatever matters is on the disk


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
