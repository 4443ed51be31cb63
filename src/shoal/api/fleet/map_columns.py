"""What the map shows of every site, with the number of the change that each row has seen last: once for all who ask.

A caller names the last change that it has seen and gets the rows that changed after it. The names of changes begin with
a word that no other run of the server uses: what was seen before a restart counts for nothing, and everything is sent.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.api.fleet.packed import pack, pack_steps
from shoal.api.fleet.sites_look import Look

ALARM_TIMES: Final = 16
"""`state` is the grade, plus so many times one more than the position of the severity, 0 without an alarm."""
_ALL_ABOVE_FRAC: Final = 0.6
"""With more changed rows than this share it is shorter to send all, for which no row has to be named."""
_HW_PER_KW: Final = 10.0
_PERCENT: Final = 100.0
_MOST_HW: Final = 2.0**28


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """Rows as text, see `packed`; `row` is null where they are all rows in order."""

    sent: int
    row: str | None
    state: str
    battery_hw: str
    soc_percent: str


class MapColumns:
    """The columns of the last look.

    There is no row before the first look.
    """

    def __init__(self) -> None:
        self._epoch = secrets.token_hex(4)
        self._number = 0
        self._changed_number = np.zeros(0, dtype=np.int64)
        self._look: Look | None = None
        self._columns = np.zeros((3, 0), dtype=np.int64)
        self._known = np.zeros((3, 0), dtype=np.bool_)
        self.alarm = np.zeros(0, dtype=np.int64)
        """Positions in `SEVERITIES`, -1 for none, as they were at the last look."""

    @property
    def mark(self) -> str:
        """The name of the last change."""
        return f"{self._epoch}-{self._number}"

    def shows(self, look: Look) -> bool:
        """Return whether a look is in the columns already."""
        return self._look is look

    def take(self, look: Look, alarm: NDArray[np.int64]) -> None:
        """Put a look into the columns, and count the rows that are not as they were."""
        battery_hw, soc_percent = look.battery_kw * _HW_PER_KW, look.soc_frac * _PERCENT
        known = np.stack(
            (np.ones_like(alarm, dtype=np.bool_), np.isfinite(battery_hw), np.isfinite(soc_percent))
        )
        wide = np.stack((look.grade + ALARM_TIMES * (alarm + 1.0), battery_hw, soc_percent))
        columns = np.rint(np.clip(np.where(known, wide, 0.0), -_MOST_HW, _MOST_HW)).astype(np.int64)
        if self._look is None:
            self._changed_number = np.zeros(len(alarm), dtype=np.int64)
            self._columns, self._known = np.zeros_like(columns), np.zeros_like(known)
        differs = ((columns != self._columns) | (known != self._known)).any(axis=0)
        if differs.any():
            self._number += 1
            self._changed_number[differs] = self._number
        self._columns, self._known, self._look, self.alarm = columns, known, look, alarm

    def since(self, mark: str) -> Changed:
        """Return the rows that changed after `mark`; all of them when it is not a mark of this run."""
        epoch, _, text = mark.partition("-")
        number = int(text) if epoch == self._epoch and text.isascii() and text.isdigit() else self._number + 1
        rows = np.flatnonzero(self._changed_number > number) if number <= self._number else None
        if rows is None or len(rows) > _ALL_ABOVE_FRAC * len(self._changed_number):
            return self._said(None, slice(None))
        return self._said(pack_steps(rows.astype(np.int64)), rows)

    def _said(self, row: str | None, rows: slice | NDArray[np.intp]) -> Changed:
        state, battery_hw, soc_percent = (
            pack(column[rows], known[rows]) for column, known in zip(self._columns, self._known, strict=True)
        )
        sent = len(self._changed_number[rows])
        return Changed(sent=sent, row=row, state=state, battery_hw=battery_hw, soc_percent=soc_percent)
