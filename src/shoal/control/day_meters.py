"""What each battery has discharged since its day began, by its meter: what an owner's cycle budget is counted against.

The registers at the beginning of the day survive the controller, so a restart in the afternoon gives nobody a second budget.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE, local_midnight_ns, to_datetime

STATE: Final = "@day"
SAVE_EVERY_NS: Final = 5 * NS_PER_MINUTE
DAY_NS: Final = 24 * NS_PER_HOUR


class Memory(Protocol):
    """What survives the controller; see `shoal.control.service.Memory`."""

    def save_state(self, key: str, state: dict[str, Any]) -> None: ...
    def load_state(self, key: str) -> dict[str, Any] | None: ...


def utc_day_ns(t_ns: int) -> int:
    """Return when the day of UTC began."""
    return t_ns // DAY_NS * DAY_NS


def local_day_ns(zone: ZoneInfo) -> Callable[[int], int]:
    """Return what tells when the day of an instant began, by the clock of a zone."""

    def began(t_ns: int) -> int:
        return local_midnight_ns(to_datetime(t_ns, zone).date(), zone)

    return began


class DayMeters:
    """The registers of N batteries when the day began.

    Args:
        sites: How many.
        day_starts_ns: Returns when the day of an instant began.
        memory: What survives the controller; nothing does when None.
    """

    def __init__(
        self, sites: int, *, day_starts_ns: Callable[[int], int] = utc_day_ns, memory: Memory | None = None
    ) -> None:
        self._day_starts_ns = day_starts_ns
        self._memory = memory
        self._day_ns = -1
        self._began_wh = np.zeros(sites, dtype=np.int64)
        self._unsaved = False
        self._saved_ns = 0
        kept = None if memory is None else memory.load_state(STATE)
        if kept is not None:
            began_wh = np.frombuffer(zlib.decompress(base64.b64decode(kept["began_wh"])), dtype=np.int64)
            known = min(sites, len(began_wh))
            self._began_wh[:known] = began_wh[:known]
            self._day_ns = int(kept["day_ns"])

    def discharged_wh(self, t_ns: int, latest: NDArray[Any]) -> NDArray[np.int64]:
        """Return what each has discharged since its day began, as of its latest record (N).

        Who had not been heard from when the day began counts from its first word on.
        """
        meter_wh = latest["discharge_wh"].astype(np.int64)
        start_ns = self._day_starts_ns(t_ns)
        if start_ns != self._day_ns:
            self._day_ns, self._unsaved, self._saved_ns = start_ns, True, 0
            self._began_wh = meter_wh.copy()
        unseen = (self._began_wh == 0) & (meter_wh > 0)
        if unseen.any():
            self._began_wh[unseen] = meter_wh[unseen]
            self._unsaved = True
        used_wh: NDArray[np.int64] = np.maximum(meter_wh - self._began_wh, 0)
        return used_wh

    def save(self, t_ns: int) -> None:
        """Keep the registers for a successor when there is news of them, now and then.

        Raises:
            FencedOutError: when another controller has taken over.
        """
        if self._memory is None or not self._unsaved or 0 <= t_ns - self._saved_ns < SAVE_EVERY_NS:
            return
        packed = base64.b64encode(zlib.compress(self._began_wh.tobytes(), 1)).decode()
        self._memory.save_state(STATE, {"day_ns": self._day_ns, "began_wh": packed})
        self._unsaved, self._saved_ns = False, t_ns
