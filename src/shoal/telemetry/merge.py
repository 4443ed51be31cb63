"""The sums of the whole fleet, put together from those of the shards, wherever these run.

Each shard's newest sums count, and of two owners those of the larger token. A shard that is silent for long is not left
out: its sites are counted as sites of which nothing is known, so the coverage says so and the interval covers it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import CorruptStateError, InvalidInputError
from shoal.telemetry.shard import SiteLook
from shoal.twin.aggregate import COLUMNS, FleetSums

_PACKING: Final = 1
_PARTS: Final = ("groups", "oldest_ns", "whole", "squares")


class ShardSums(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of one shard on their way; arrays as raw little-endian int64.

    Attributes:
        shard: Its number.
        token: Under which token its owner speaks.
        t_ns: The instant that they are of.
        layout_version: Of the groups.
        applied: Samples that the shard has taken since its state began.
        lag: Messages that it has not read yet.
        groups: G x `COLUMNS`.
        oldest_ns: G.
        whole: `COLUMNS`.
        squares: 8.
    """

    shard: int
    token: int
    t_ns: int
    layout_version: int
    applied: int
    lag: int
    groups: bytes
    oldest_ns: bytes
    whole: bytes
    squares: bytes

    @classmethod
    def of(cls, said: Said) -> ShardSums:
        """Return sums as they travel."""
        return cls(
            shard=said.shard,
            token=said.token,
            t_ns=said.t_ns,
            layout_version=said.sums.layout_version,
            applied=said.applied,
            lag=said.lag,
            **{name: np.ascontiguousarray(getattr(said.sums, name)).tobytes() for name in _PARTS},
        )

    def said(self) -> Said:
        """Return the sums as they were before they travelled.

        Raises:
            CorruptStateError: when the arrays are not of one number of groups.
        """
        arrays: dict[str, NDArray[np.int64]] = {
            name: np.frombuffer(getattr(self, name), dtype=np.int64) for name in _PARTS
        }
        groups = len(arrays["oldest_ns"])
        sizes = {"groups": groups * len(COLUMNS), "whole": len(COLUMNS), "squares": 8}
        if any(len(arrays[name]) != size for name, size in sizes.items()):
            raise CorruptStateError(f"sums of shard {self.shard}", "arrays of another shape")
        arrays["groups"] = arrays["groups"].reshape(groups, len(COLUMNS))
        return Said(
            shard=self.shard,
            token=self.token,
            t_ns=self.t_ns,
            applied=self.applied,
            lag=self.lag,
            sums=FleetSums(layout_version=self.layout_version, **arrays),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The sums of one shard, and who says them when; see `ShardSums`."""

    shard: int
    token: int
    t_ns: int
    applied: int
    lag: int
    sums: FleetSums


class ShardConditions(msgspec.Struct, frozen=True, kw_only=True):
    """What is the matter with the sites of a shard, on its way.

    Site by site and packed: it is small while little is the matter, and when everything is, and never large.

    Attributes:
        shard: Its number.
        token: Under which token its owner speaks.
        lag_s: How old the newest message is that the shard has read, in seconds; 0 when nothing waits.
        rows_crc: Of the fleet rows that it speaks of, so that nobody takes them for those of another fleet.
        conditions: Bits of `shoal.twin.conditions.Condition` (uint16) of each row, packed.
        lost: Samples lost of late (uint32) of each row, packed; empty when there are none.
    """

    shard: int
    token: int
    lag_s: float
    rows_crc: int
    conditions: bytes
    lost: bytes = b""

    @classmethod
    def of(cls, look: SiteLook, *, shard: int, token: int, lag_s: float) -> ShardConditions:
        """Return a look as it travels."""
        return cls(
            shard=shard,
            token=token,
            lag_s=lag_s,
            rows_crc=zlib.crc32(look.rows.tobytes()),
            conditions=zlib.compress(look.conditions.tobytes(), _PACKING),
            lost=zlib.compress(look.lost.tobytes(), _PACKING) if look.lost.any() else b"",
        )

    def look(self, rows: NDArray[np.int64]) -> SiteLook | None:
        """Return the look as it was, at the sites that the shard should have; None when it knows of others.

        Raises:
            CorruptStateError: when it is not what it should be.
        """
        if zlib.crc32(rows.tobytes()) != self.rows_crc:
            return None
        lost = np.zeros(len(rows), dtype=np.uint32)
        return SiteLook(
            rows=rows,
            conditions=self._unpacked(self.conditions, np.uint16, len(rows)),
            lost=self._unpacked(self.lost, np.uint32, len(rows)) if self.lost else lost,
        )

    def _unpacked(self, packed: bytes, dtype: type[np.unsignedinteger[Any]], sites: int) -> NDArray[Any]:
        expected = sites * np.dtype(dtype).itemsize
        try:
            values = zlib.decompressobj().decompress(packed, expected + 1)
        except zlib.error as error:
            raise CorruptStateError(f"conditions of shard {self.shard}", str(error)) from error
        if len(values) != expected:
            raise CorruptStateError(f"conditions of shard {self.shard}", "of another number of sites")
        return np.frombuffer(values, dtype=dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The whole fleet's sums.

    Attributes:
        sums: The sums.
        live: How many shards they were heard from.
        applied: Samples taken by these.
        lag: Messages not read by these.
        silent_shards: The shards that were not heard from.
    """

    sums: FleetSums
    live: int
    applied: int
    lag: int
    silent_shards: list[int]


class Merger:
    """Keeps the newest sums of every shard.

    Args:
        shards: How many shards there are.
        patience_ns: How old sums may be before their shard counts as silent.
    """

    def __init__(self, *, shards: int, patience_ns: int) -> None:
        self._shards = shards
        self._patience_ns = patience_ns
        self._newest: dict[int, Said] = {}
        self.stale_owners = 0

    def put(self, said: Said) -> bool:
        """Take the sums of a shard; return False when a newer owner has spoken, or they are older than what is here.

        Raises:
            CorruptStateError: when there is no such shard.
        """
        if not 0 <= said.shard < self._shards:
            raise CorruptStateError("sums of a shard", f"there is no shard {said.shard}")
        known = self._newest.get(said.shard)
        if known is not None:
            if said.token < known.token:
                self.stale_owners += 1
                return False
            if said.token == known.token and said.t_ns < known.t_ns:
                return False
        self._newest[said.shard] = said
        return True

    def merged(self, *, t_ns: int, layout_version: int, unheard: Callable[[int], FleetSums]) -> Merged:
        """Return the sums over all shards.

        Args:
            t_ns: The instant.
            layout_version: Of the fleet as it is now; sums of an older one do not count.
            unheard: Returns the sums of a shard as if no site of it had ever been heard.
        """
        total: FleetSums | None = None
        live = applied = lag = 0
        silent: list[int] = []
        for shard in range(self._shards):
            said = self._newest.get(shard)
            if (
                said is not None
                and t_ns - said.t_ns <= self._patience_ns
                and said.sums.layout_version == layout_version
            ):
                sums = said.sums
                live, applied, lag = live + 1, applied + said.applied, lag + said.lag
            else:
                sums = unheard(shard)
                silent.append(shard)
            total = sums if total is None else total.plus(sums)
        if total is None:
            raise InvalidInputError(field="shards", value=0, fix="give at least one")
        return Merged(sums=total, live=live, applied=applied, lag=lag, silent_shards=silent)
