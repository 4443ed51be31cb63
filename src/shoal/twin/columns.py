"""Twins as columns: the row of a site holds its newest values, their age, and which of its samples have been taken.

`Twins.apply` is a function of the records, their arrival and the state, nothing else: whoever reads the same journal
comes to the same verdicts, the same corrected times and the same flags. The newest sample of a site is the one that its
device counted last; as long as its clock runs forwards that is the one with the latest time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.kernel import kernel
from shoal.domain.telemetry import TELEMETRY, Flag
from shoal.twin import _apply_kernel
from shoal.twin.clockrule import ClockRule
from shoal.twin.layout import Layout
from shoal.twin.plausible import Plausibility, no_limits
from shoal.twin.row import TO_TELL, TWIN, new_rows
from shoal.twin.window import DEFERRED, DUPLICATE, NEW, REFUSED, WINDOW, accounted, missing

__all__ = [
    "DEFERRED",
    "DUPLICATE",
    "NEW",
    "REFUSED",
    "WINDOW",
    "Applied",
    "Twins",
]

_FLAGS: Final = tuple(Flag)

Int: TypeAlias = int | np.integer[Any]
"""A whole number within a kernel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of a batch.

    Attributes:
        verdict: For each record `NEW`, `DUPLICATE`, `DEFERRED` or `REFUSED`, see `shoal.twin.window`.
        losing_position: Positions of the records at which samples turned out to be lost: their device no longer holds them.
        each_lost: How many samples are lost at each of these.
        flag_counts: How many of the new records have each flag, in the order of `Flag`.
    """

    verdict: NDArray[np.int8]
    losing_position: NDArray[np.int64]
    each_lost: NDArray[np.int64]
    flag_counts: NDArray[np.int64]

    @property
    def lost(self) -> int:
        """How many samples devices no longer hold that never came."""
        return int(self.each_lost.sum())

    @property
    def new(self) -> int:
        """How many were taken."""
        return int(np.count_nonzero(self.verdict == NEW))

    @property
    def duplicates(self) -> int:
        """How many had been taken before."""
        return int(np.count_nonzero(self.verdict == DUPLICATE))

    @property
    def deferred(self) -> int:
        """How many are to come again."""
        return int(np.count_nonzero(self.verdict == DEFERRED))

    def flagged(self) -> dict[Flag, int]:
        """Return how many of the new records have each flag."""
        return {flag: int(count) for flag, count in zip(_FLAGS, self.flag_counts, strict=True)}


class Twins:
    """The twins of some sites.

    Args:
        sites: How many.
        layout: Layout of these sites, for their nameplates; without one no power is too large.
        clock: How far devices' clocks are believed.
        plausibility: What a sound device cannot do.

    Attributes:
        rows: The packed rows, of dtype `TWIN`: all the state there is.

    Raises:
        InvalidInputError: when the layout is of other sites.
    """

    def __init__(
        self,
        sites: int,
        *,
        layout: Layout | None = None,
        clock: ClockRule | None = None,
        plausibility: Plausibility | None = None,
    ) -> None:
        self.rows = new_rows(sites)
        self._clock = clock or ClockRule()
        self._plausibility = plausibility or Plausibility()
        self._plate_of: NDArray[np.integer[Any]]
        self._limits: NDArray[Any]
        if layout is None:
            self._plate_of, self._limits = np.zeros(sites, dtype=np.uint16), no_limits()
        else:
            self.set_layout(layout)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Memory of the rows in bytes; cells and nameplates are the layout's."""
        return int(self.rows.nbytes)

    def set_layout(self, layout: Layout) -> None:
        """Take the nameplates of another layout of the same sites.

        Raises:
            InvalidInputError: when it has another number of sites.
        """
        if len(layout.plate_of) != len(self.rows):
            raise InvalidInputError(
                field="layout",
                value=f"{len(layout.plate_of)} sites",
                fix=f"give that of the {len(self.rows)} sites of these twins",
            )
        self._plate_of = layout.plate_of
        self._limits = self._plausibility.limits(layout.plates)

    def apply(
        self,
        rows: NDArray[np.int64],
        records: NDArray[Any],
        oldest_seq: NDArray[np.int64],
        arrival_ns: NDArray[np.int64],
        usable: NDArray[np.bool_] | None = None,
    ) -> Applied:
        """Take a batch of records, each for the row beside it; times and flags in `records` are set right in place.

        Records of one site in one message stand together and have the same arrival.

        Args:
            rows: Row of each record.
            records: Records of `TELEMETRY`, already validated; `ts_ns` and `flags` are written.
            oldest_seq: For each record, the oldest sample that its device still holds; 0 claims nothing.
            arrival_ns: For each record, when its message reached the journal.
            usable: Which records may be taken, all when None. Of the others only the number counts, so that a sample
                that was set aside leaves no hole that its device would try to fill for ever.

        Raises:
            InvalidInputError: when a row is not one of these twins', or `records` cannot be written to.
        """
        count = len(records)
        if count and not 0 <= int(rows.min()) <= int(rows.max()) < len(self.rows):
            raise InvalidInputError(
                field="rows", value=int(rows.max()), fix=f"give rows from 0 to {len(self.rows) - 1}"
            )
        if not records.flags.writeable:
            raise InvalidInputError(field="records", value="read-only", fix="give a copy")
        verdict = np.empty(count, dtype=np.int8)
        flag_counts = np.zeros(len(_FLAGS), dtype=np.int64)
        losses = np.empty((count, 2), dtype=np.int64)
        losing, _ = _apply_kernel.apply(
            rows,
            records,
            oldest_seq,
            arrival_ns,
            np.ones(count, dtype=np.bool_) if usable is None else usable,
            self.rows,
            self._plate_of,
            self._limits,
            self._clock,
            self._plausibility,
            verdict,
            flag_counts,
            losses,
        )
        losses = losses[:losing].copy()  # nearly always none
        return Applied(
            verdict=verdict,
            losing_position=losses[:, 0],
            each_lost=losses[:, 1],
            flag_counts=flag_counts,
        )

    def latest(self, rows: NDArray[np.int64] | None = None) -> NDArray[Any]:
        """Return the newest values of these rows (all when None) as records of `TELEMETRY`.

        `ts_ns` is 0 where nothing was heard. `present` has what the device has measured so far; values that came in
        different records may differ in age.
        """
        chosen = np.arange(len(self.rows)) if rows is None else rows
        records: NDArray[Any] = np.empty(len(chosen), dtype=TELEMETRY.dtype)
        _unpack(self.rows, chosen, records)
        return records

    def accounted(self) -> int:
        """Return how many distinct samples are accounted for: taken, set aside, or given up by their device."""
        return accounted(self.rows)

    def missing(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows whose samples have a hole, and for each the number to ask its device to send again from."""
        return missing(self.rows)

    def newly_durable(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows whose devices are to be told, and for each the number up to which its samples are complete.

        These are the rows of which that number grew since last asked, and those whose device repeated a sample.
        """
        grown = np.flatnonzero(self.rows["present"] & TO_TELL)
        self.rows["present"][grown] &= ~np.uint16(TO_TELL)
        return grown, self.rows["base"][grown].astype(np.int64)

    def state(self) -> NDArray[Any]:
        """Return a copy of the rows: all that a snapshot needs."""
        return self.rows.copy()

    def restore(self, state: NDArray[Any], rows: NDArray[np.int64] | None = None) -> None:
        """Take the rows of a snapshot, position by position into `rows` (all when None); the others stay as they are.

        Raises:
            InvalidInputError: when it has another shape: it was made by another version.
        """
        if state.dtype != TWIN:
            raise InvalidInputError(
                field="state", value=str(state.dtype), fix="replay the journal; it is of another version"
            )
        if rows is None:
            self.rows[:] = state
        else:
            self.rows[rows] = state


@kernel
def _unpack(twins: NDArray[Any], rows: NDArray[np.int64], records: NDArray[Any]) -> None:
    for i in range(rows.shape[0]):
        twin = twins[rows[i]]
        record = records[i]
        present = np.int64(twin.present)
        record.ts_ns = (np.int64(twin.ms_high) << 32 | np.int64(twin.ms_low)) * 1_000_000
        record.seq = np.int64(twin.base) + np.int64(twin.ahead) if record.ts_ns else 0
        record.battery_w = twin.battery_w
        record.solar_w = twin.solar_w
        record.load_w = twin.load_w
        record.ev_w = twin.ev_w
        record.soc_frac = (np.int64(twin.soc) - 100) / 60_000.0 if present & 16 else 0.0
        record.command_version = twin.command_version
        high = np.int64(twin.high)
        record.charge_wh = _register_wh(twin.charge_low, high, present >> 10)
        record.discharge_wh = _register_wh(twin.discharge_low, high >> 4, present >> 11)
        record.import_wh = _register_wh(twin.import_low, high >> 8, present >> 12)
        record.export_wh = _register_wh(twin.export_low, high >> 12, present >> 13)
        record.flags = twin.flags & 0xFF
        record.present = present & 0x3FF


@kernel
def _register_wh(low: Int, high: Int, is_wide: Int) -> Int:
    value = (high & 15) << 32 | np.int64(low)
    return value * 1_000 if is_wide & 1 else value
