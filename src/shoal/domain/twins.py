"""What a twin shard answers when it is asked: the latest records of its sites, as columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.telemetry import TELEMETRY


class ShardAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The reply of one shard; arrays as raw little-endian bytes.

    Attributes:
        t_ns: The instant that the shard had caught up with.
        shard: Its number.
        rows: Fleet rows of its sites (int64).
        latest: Latest records of these sites (dtype of `TELEMETRY`).
    """

    t_ns: int
    shard: int
    rows: bytes
    latest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetView:
    """The latest record of every site of the fleet, in the order of its rows."""

    t_ns: int
    latest: NDArray[Any]


def merge_answers(answers: list[ShardAnswer], sites: int) -> FleetView:
    """Return one view over all shards; sites that no shard owns have empty records (`ts_ns` 0)."""
    latest = TELEMETRY.empty(sites)
    for answer in answers:
        latest[np.frombuffer(answer.rows, dtype=np.int64)] = np.frombuffer(
            answer.latest, dtype=TELEMETRY.dtype
        )
    return FleetView(t_ns=min((answer.t_ns for answer in answers), default=0), latest=latest)
