"""What the knowledge benchmark stores and asks: five-minute series as they are published, with forecasts and corrections.

Each interval is spoken of a day before, an hour before and half a minute after its start, and one in twenty is corrected
a day later. The same numbers come from the same seed, so that each contender gets the same facts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from shoal.domain.contracts import SeriesContract, ValueColumn
from shoal.domain.facts import SeriesId
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, NS_PER_S
from shoal.store.facts_records import FactBatch

STEP_NS: Final = 5 * NS_PER_MINUTE
DAY_NS: Final = 24 * NS_PER_HOUR
FIRST_NS: Final = 19_723 * DAY_NS  # 2024-01-01
_STEPS_A_DAY: Final = 288
_SAID_AFTER_NS: Final = (-24 * NS_PER_HOUR, -NS_PER_HOUR, 30 * NS_PER_S)
_CORRECTED_FRAC: Final = 0.05
_JITTER_NS: Final = 5 * NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is stored: `series` five-minute series over `days` days."""

    series: int
    days: int

    def series_ids(self) -> list[SeriesId]:
        """Return the names of the series."""
        return [SeriesId(f"price/bench/P{number:03d}/dispatch") for number in range(self.series)]

    def batches(self) -> Iterator[FactBatch]:
        """Yield the facts of each series."""
        for number, series_id in enumerate(self.series_ids()):
            yield _facts(number, series_id, self.days)


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A question: a day of all series, as of its noon."""

    from_ns: int
    to_ns: int
    as_of_ns: int


def reads(size: Size, count: int) -> list[Read]:
    """Return questions about days that are drawn from all of them."""
    days = np.random.default_rng(1).integers(0, size.days, count).tolist()
    begins = [FIRST_NS + day * DAY_NS for day in days]
    return [Read(from_ns=t, to_ns=t + DAY_NS, as_of_ns=t + DAY_NS // 2) for t in begins]


def contract_of(series_id: SeriesId) -> SeriesContract:
    """Return the contract of a series."""
    column = ValueColumn(name="price_per_mwh", low=-1_000.0, high=20_000.0)
    return SeriesContract(series_id=series_id, unit="AUD/MWh", columns=(column,), step_ns=STEP_NS)


def _facts(number: int, series_id: SeriesId, days: int) -> FactBatch:
    rng = np.random.default_rng([2, number])
    count = days * _STEPS_A_DAY
    start_ns = FIRST_NS + STEP_NS * np.arange(count)
    corrected = np.flatnonzero(rng.random(count) < _CORRECTED_FRAC)
    price = 60.0 + np.cumsum(rng.normal(0.0, 2.0, count))
    said = [start_ns] * len(_SAID_AFTER_NS) + [start_ns[corrected]]
    known = [start_ns + after_ns for after_ns in _SAID_AFTER_NS] + [start_ns[corrected] + DAY_NS]
    value = [*(price + rng.normal(0.0, 5.0, count) for _ in _SAID_AFTER_NS), price[corrected]]
    # Each word has cents of its own, so that none repeats another: Shoal would not keep that, rows would.
    cents = [4 * np.round(25.0 * some) + number for number, some in enumerate(value)]
    starts = np.concatenate(said)
    return FactBatch(
        series_id=series_id,
        source="bench",
        known_ns=np.concatenate(known) + rng.integers(0, _JITTER_NS, len(starts)),
        revision=np.repeat(np.array([0, 1]), [len(starts) - len(corrected), len(corrected)]),
        start_ns=starts,
        end_ns=starts + STEP_NS,
        value=np.concatenate(cents)[:, None] / 100.0,
    )
