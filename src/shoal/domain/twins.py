"""What a twin shard is asked and answers: the latest records of its sites, as columns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.telemetry import TELEMETRY


class AskTwins(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A question to one shard.

    Attributes:
        rows: Fleet rows of the sites that are asked for (int64, raw); None asks for all.
        first: With `rows` None: the first of the shard's sites that the answer is to begin with.
    """

    rows: bytes | None = None
    first: int = 0

    def __post_init__(self) -> None:
        if self.rows is not None and len(self.rows) % 8:
            raise ValueError("rows are whole int64 numbers")


class ShardAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The reply of one shard, or the part of it that fits a message; arrays as raw little-endian bytes.

    Attributes:
        t_ns: The instant that the shard had caught up with.
        shard: Its number.
        token: Under which token its owner answers.
        sites: How many sites the shard has in all.
        rows: Fleet rows of the sites in this answer (int64).
        latest: Latest records of these sites (dtype of `TELEMETRY`).
        behind: For each of them and each of battery, solar, load and EV, by how many steps of 4 s the signal is older
            than the newest sample (uint8); 255 for one that never came.
    """

    t_ns: int
    shard: int
    token: int
    sites: int
    rows: bytes
    latest: bytes
    behind: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetView:
    """The latest record of every site of the fleet, in the order of its rows."""

    t_ns: int
    latest: NDArray[Any]


def merge_answers(answers: Iterable[ShardAnswer], sites: int) -> FleetView:
    """Return one view over all shards; sites that no shard owns have empty records (`ts_ns` 0)."""
    latest = TELEMETRY.empty(sites)
    instants = []
    for answer in answers:
        rows = np.frombuffer(answer.rows, dtype=np.int64)
        records = np.frombuffer(answer.latest, dtype=TELEMETRY.dtype)
        known = rows < sites
        latest[rows[known]] = records[known]
        instants.append(answer.t_ns)
    return FleetView(t_ns=min(instants, default=0), latest=latest)
