"""What goes into the fact store and what comes out of it: one frozen record a kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoal.domain.contracts import Breach, Quarantined
from shoal.domain.errors import InvalidInputError
from shoal.domain.facts import Facts, SeriesId


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FactBatch:
    """What one source said of one series at many times: N facts, each known at an instant of its own, in any order.

    Attributes:
        series_id: The series.
        source: Who said it.
        known_ns: N instants.
        revision: N counts of corrections, from 0.
        start_ns: N starts.
        end_ns: N ends, each after its start.
        value: N x V numbers; NaN withdraws.

    Raises:
        InvalidInputError: A name is empty, a shape does not fit, an interval is empty, a revision is out of range.
    """

    series_id: SeriesId
    source: str
    known_ns: NDArray[np.int64]
    revision: NDArray[np.int64]
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    value: NDArray[np.float64]

    def __post_init__(self) -> None:
        for field in ("series_id", "source"):
            if not getattr(self, field):
                raise InvalidInputError(field=field, value="", fix="give it a name")
        count = len(self.start_ns)
        for field in ("known_ns", "revision", "start_ns", "end_ns"):
            shape = getattr(self, field).shape
            if shape != (count,):
                raise InvalidInputError(field=field, value=shape, fix=f"give {count} numbers")
        if self.value.ndim != 2 or self.value.shape[0] != count or self.value.shape[1] < 1:
            fix = f"give {count} rows of at least one value"
            raise InvalidInputError(field="value", value=self.value.shape, fix=fix)
        wrong = (
            ("end_ns", self.end_ns <= self.start_ns, "end it after its start"),
            ("revision", (self.revision < 0) | (self.revision >= 1 << 31), "count from 0"),
        )
        for field, bad, fix in wrong:
            if bad.any():
                row = int(np.argmax(bad))
                raise InvalidInputError(
                    field=f"{field}[{row}]", value=int(getattr(self, field)[row]), fix=fix
                )

    def __len__(self) -> int:
        return len(self.start_ns)

    @classmethod
    def of(cls, facts: Facts) -> FactBatch:
        """Return one publication as a batch."""
        count = len(facts.start_ns)
        return cls(
            series_id=facts.series_id,
            source=facts.source,
            known_ns=np.full(count, facts.known_ns, dtype=np.int64),
            revision=np.full(count, facts.revision, dtype=np.int64),
            start_ns=facts.start_ns,
            end_ns=facts.end_ns,
            value=facts.value,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What became of the facts of one `record`; each is counted once.

    Attributes:
        new: The first word about their interval.
        repeated: Said what was known already; they are not kept.
        corrected: Replace, from their instant on, what was known of their interval.
        late: Kept for the past alone: a higher revision or a later word was there before.
        quarantined: Those that break the contract or contradict a fact with the same revision and instant.
        up_to_record: What `FactStore.as_of` takes to see the store as it stands after this, whatever comes later.
    """

    new: int
    repeated: int
    corrected: int
    late: int
    quarantined: tuple[Quarantined, ...]
    up_to_record: int

    @property
    def kept(self) -> int:
        """How many facts were kept."""
        return self.new + self.corrected + self.late


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slice:
    """What was known of one series at an instant: N intervals, the earliest first, each with the fact that counted.

    Attributes:
        start_ns: N starts, strictly ascending. An interval of which nothing was known is absent.
        end_ns: N ends.
        value: N x V values; NaN where the source had withdrawn them.
        known_ns: N instants at which they became known.
        revision: N counts of corrections.
    """

    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    known_ns: NDArray[np.int64]
    revision: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class History:
    """All that was ever said of one interval: N facts, in the order in which they became known.

    Attributes:
        known_ns: N instants.
        revision: N counts of corrections.
        end_ns: N ends of the interval.
        value: N x V values.
        source: Who said each.
        record: N numbers of the records that brought them.
    """

    known_ns: NDArray[np.int64]
    revision: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    source: tuple[str, ...]
    record: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """A fact in quarantine, as it was said first."""

    series_id: SeriesId
    source: str
    start_ns: int
    end_ns: int
    known_ns: int
    revision: int
    value: tuple[float, ...]
    reason: Breach
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How far the knowledge of one series reaches.

    Attributes:
        series_id: The series.
        facts: How many are kept.
        latest_start_ns: Start of the last interval that anything is known of; None without facts.
        latest_end_ns: Its end.
        latest_known_ns: When the newest fact became known; a repetition of what is known does not count.
        stale: Whether that is longer ago than the contract allows; never without a contract that says so.
    """

    series_id: SeriesId
    facts: int
    latest_start_ns: int | None
    latest_end_ns: int | None
    latest_known_ns: int | None
    stale: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted:
    """What a compaction did: how many blocks it took and how many they became."""

    parts: int
    blocks_before: int
    blocks_after: int
