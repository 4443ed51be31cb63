"""What each site gave of late: discharged while the plant had it discharge, by its meter, fading over days.

It feeds the split: who gave most lately gives less. Kept in the plant's memory four times an hour, so a controller that
dies forgets a quarter of an hour of it at most.
"""

from __future__ import annotations

import base64
import zlib
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE
from shoal.programs.promises import fair_weight

STATE: Final = "@burden"
SAVE_EVERY_NS: Final = 15 * NS_PER_MINUTE
_DAY_NS: Final = 24 * NS_PER_HOUR


class Memory(Protocol):
    """What survives the controller; see `shoal.control.service.Memory`."""

    def save_state(self, key: str, state: dict[str, Any]) -> None: ...
    def load_state(self, key: str) -> dict[str, Any] | None: ...


class Burden:
    """What N sites gave.

    Args:
        nameplate: Of every site, by the registry's numbers.
        memory: Where it is kept.
        days: What was given so long ago counts for a third.
        share_frac: How far the burden decides who gives how much: 0 for not at all.

    Attributes:
        used_wh: What each gave of late (N).
    """

    def __init__(
        self, nameplate: NDArray[Any], memory: Memory, *, days: float = 7.0, share_frac: float = 0.5
    ) -> None:
        sites = len(nameplate)
        self._capacity_wh = np.maximum(nameplate["energy_capacity_kwh"] * 1e3, 0.0)
        self._rated_w = nameplate["discharge_limit_kw"] * 1e3
        self._memory = memory
        self._days = days
        self._share_frac = share_frac
        self.used_wh = np.zeros(sites)
        self._faded_ns = self._saved_ns = 0
        self._meter_wh = np.zeros(sites, dtype=np.int64)
        self._metered_ns = np.zeros(sites, dtype=np.int64)
        self._giving = np.zeros(sites, dtype=np.bool_)
        kept = memory.load_state(STATE)
        if kept is not None:
            used_wh = np.frombuffer(zlib.decompress(base64.b64decode(kept["used_wh"])), dtype=np.float32)
            known = min(sites, len(used_wh))
            self.used_wh[:known] = used_wh[:known]
            self._faded_ns = self._saved_ns = int(kept["t_ns"])

    def note(self, t_ns: int, latest: NDArray[Any], giving: NDArray[np.bool_]) -> None:
        """Count what was given since the last call, and who is to give from now on.

        Args:
            t_ns: The instant.
            latest: Latest records (N).
            giving: Whom the plant has discharge from now on (N).

        Raises:
            FencedOutError: when another controller has taken over.
        """
        if self._faded_ns:
            fade = max(t_ns - self._faded_ns, 0) / (self._days * _DAY_NS)
            self.used_wh *= np.exp(-fade)
        self._faded_ns = t_ns
        meter_wh, ts_ns = latest["discharge_wh"].astype(np.int64), latest["ts_ns"].astype(np.int64)
        counts = self._giving & (self._metered_ns > 0) & (ts_ns > self._metered_ns)
        # a register that leaps gives no more than the battery could
        most_wh = self._rated_w * (ts_ns - self._metered_ns) / NS_PER_HOUR
        given_wh = np.clip(meter_wh - self._meter_wh, 0, np.maximum(most_wh, 0.0) + 1.0)
        self.used_wh[counts] += given_wh[counts]
        self._meter_wh, self._metered_ns = meter_wh, ts_ns
        self._giving = giving.copy()
        if not 0 <= t_ns - self._saved_ns < SAVE_EVERY_NS:
            self.save(t_ns)

    def save(self, t_ns: int) -> None:
        """Keep it for a successor."""
        packed = base64.b64encode(zlib.compress(self.used_wh.astype(np.float32).tobytes(), 1)).decode()
        self._memory.save_state(STATE, {"t_ns": t_ns, "used_wh": packed})
        self._saved_ns = t_ns

    def fairness(self) -> NDArray[np.float64] | None:
        """Return how much of a discharge each site carries for each kWh it holds, relative to others; None for alike."""
        if self._share_frac <= 0.0 or not self.used_wh.any():
            return None
        fair = fair_weight(self.used_wh, self._capacity_wh)
        each = np.divide(fair, self._capacity_wh, out=np.ones(len(fair)), where=self._capacity_wh > 0.0)
        weight: NDArray[np.float64] = 1.0 - self._share_frac + self._share_frac * each
        return weight
