"""Regulation signals, made up and recorded."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shoal.domain.errors import InvalidInputError
from shoal.simulate.signal import recorded_signal, synthetic_signal


def test_made_up_signal_stays_within_its_bounds_and_is_the_same_for_a_seed() -> None:
    values = list(islice(synthetic_signal(3), 5_000))
    assert values == list(islice(synthetic_signal(3), 5_000))
    assert values != list(islice(synthetic_signal(4), 5_000))
    assert max(map(abs, values)) <= 1.0
    assert abs(float(np.mean(values))) < 0.15
    assert 0.2 < float(np.std(values)) < 0.7


def test_recorded_signal_begins_again_when_it_ends(tmp_path: Path) -> None:
    file = tmp_path / "signal.parquet"
    pq.write_table(pa.table({"reg_d": [0.5, -1.0], "name": ["a", "b"], "mw": [30.0, 2.0]}), file)
    assert list(islice(recorded_signal(file, "reg_d"), 5)) == [0.5, -1.0, 0.5, -1.0, 0.5]
    for column in ("mw", "name", "other"):
        with pytest.raises(InvalidInputError):
            recorded_signal(file, column)
    with pytest.raises(InvalidInputError):
        recorded_signal(tmp_path / "none.parquet", "reg_d")
