"""A writer to be killed: `python fact_writer.py URL SERIES SEED` records facts and says after each that it is done.

What it says is a line `start revision known value`, flushed after `record` has returned. Now and then it compacts.
"""

from __future__ import annotations

import random
import sys

import numpy as np

from shoal.domain.facts import Facts, SeriesId
from shoal.store.database import open_database
from shoal.store.facts import FactStore

STEP_NS = 300_000_000_000


def main(url: str, series_id: str, seed: str) -> None:
    """Record until killed."""
    draw = random.Random(int(seed))
    store = FactStore(open_database(url))
    known_ns = store.freshness(0)[0].latest_known_ns if store.freshness(0) else None
    known = 0 if known_ns is None else known_ns
    while True:
        known += 1
        start, revision = draw.randrange(50), draw.randrange(3)
        count = draw.choice([1, 1, 1, 40])
        start_ns = STEP_NS * np.arange(start, start + count)
        store.record(
            Facts(
                series_id=SeriesId(series_id),
                source="writer",
                known_ns=known,
                revision=revision,
                start_ns=start_ns,
                end_ns=start_ns + STEP_NS,
                value=np.full((count, 1), float(known)),
            )
        )
        sys.stdout.write(f"{start} {count} {revision} {known}\n")
        sys.stdout.flush()
        if known % 20 == 0:
            store.compact()


if __name__ == "__main__":
    main(*sys.argv[1:])
