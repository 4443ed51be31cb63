"""What an islanded site expects of the next days, from its own past alone: nothing is known that was not measured before."""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

SLOTS_PER_DAY: Final = 96
USUAL_RATIOS: Final = (0.35, 0.75, 1.0, 1.2, 1.5)
"""How days come out against what was said of them, before there is a record."""

_STEP_H: Final = 0.25
_DAYS_REMEMBERED: Final = 60
_APART_H: Final = 6.0


class _Series:
    """One power: what is usual at a place of the day, times how present days and hours compare with that.

    Args:
        kinds: Kinds of days, each with places of its own.
        learning_frac: By so much a day's value moves what is usual, by kind.
        fast_h: Memory, and reach, of the comparison with the last hours.
        slow_h: Memory of the comparison with the last days.
        slow_reach_h: How long the last days speak for those ahead.
    """

    def __init__(
        self, learning_frac: tuple[float, ...], *, fast_h: float, slow_h: float, slow_reach_h: float
    ) -> None:
        self._learning = learning_frac
        self._usual_kw = np.zeros((len(learning_frac), SLOTS_PER_DAY))
        self._seen = np.zeros(self._usual_kw.shape, dtype=np.bool_)
        self._keep = np.exp(-_STEP_H / np.array([fast_h, slow_h]))
        self._reach_h = np.array([fast_h, slow_reach_h])
        self._found_kw = np.zeros(2)
        self._meant_kw = np.zeros(2)

    def learn(self, slot: int, kind: int, power_kw: float) -> None:
        """Take in one interval."""
        seen = bool(self._seen[kind, slot])
        before_kw = float(self._usual_kw[kind, slot]) if seen else power_kw
        share = self._learning[kind] if seen else 1.0
        self._usual_kw[kind, slot] = before_kw + share * (power_kw - before_kw)
        self._seen[kind, slot] = True
        # Sums fade only while there is something to compare: a night says nothing of the sun.
        if before_kw > 0.0 or power_kw > 0.0:
            self._found_kw = self._keep * self._found_kw + power_kw
            self._meant_kw = self._keep * self._meant_kw + before_kw

    def expect(
        self, slot: NDArray[np.int64], kind: NDArray[np.int64], ahead_h: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return what is expected at some places of days ahead."""
        other = (kind + 1) % len(self._learning)
        usual_kw = np.where(self._seen[kind, slot], self._usual_kw[kind, slot], self._usual_kw[other, slot])
        fast, slow = np.divide(
            self._found_kw, self._meant_kw, out=np.ones(2), where=self._meant_kw > 1e-6
        ).clip(0.2, 3.0)
        for_now, for_days = np.exp(-ahead_h[None, :] / self._reach_h[:, None])
        ratio = 1.0 + (slow - 1.0) * for_days + (fast - slow) * for_now
        expected_kw: NDArray[np.float64] = np.maximum(usual_kw * ratio, 0.0)
        return expected_kw


class Outlook:
    """Load and solar power of one site, quarter of an hour by quarter of an hour, and how far off such words were."""

    def __init__(self) -> None:
        self._load = _Series((0.15, 0.3), fast_h=2.0, slow_h=36.0, slow_reach_h=48.0)
        self._sun = _Series((0.1,), fast_h=2.0, slow_h=10.0, slow_reach_h=48.0)
        self._ratios: deque[float] = deque(USUAL_RATIOS * 2, maxlen=_DAYS_REMEMBERED)
        self._meant_kw = 0.0
        self._came_kw = 0.0

    def learn(self, number: int, *, load_kw: float, solar_kw: float, weekend: bool) -> None:
        """Take in what an interval was: `number` counts intervals from any midnight, solar power is positive."""
        slot = number % SLOTS_PER_DAY
        self._load.learn(slot, int(weekend), load_kw)
        self._sun.learn(slot, 0, solar_kw)
        self._came_kw += solar_kw
        if slot == SLOTS_PER_DAY - 1:
            if self._meant_kw > 0.0:
                self._ratios.append(min(self._came_kw / self._meant_kw, 3.0))
            ahead = np.zeros(SLOTS_PER_DAY, dtype=np.bool_)
            self._meant_kw = float(self.expect(number + 1, SLOTS_PER_DAY, ahead)[1].sum())
            self._came_kw = 0.0

    def expect(
        self, number: int, steps: int, weekend: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the loads and solar powers expected of so many intervals from one on, kW, both positive."""
        slot = np.arange(number, number + steps) % SLOTS_PER_DAY
        ahead_h = _hours_ahead(steps)
        kind = weekend.astype(np.int64)
        return self._load.expect(slot, kind, ahead_h), self._sun.expect(slot, np.zeros_like(kind), ahead_h)

    def paths_kw(
        self, number: int, steps: int, weekend: NDArray[np.bool_], *, count: int
    ) -> NDArray[np.float64]:
        """Return `count` equally likely courses of load less sun, kW, by how days came out against what was said of them.

        The further ahead, the further apart they are: of the next hour all say nearly the same.
        """
        load_kw, sun_kw = self.expect(number, steps, weekend)
        ahead_h = _hours_ahead(steps)
        apart = 1.0 - np.exp(-ahead_h / _APART_H)
        ratio = np.quantile(np.array(self._ratios), (np.arange(count) + 0.5) / count)
        shares: NDArray[np.float64] = 1.0 + (ratio[:, None] - 1.0) * apart[None, :]
        return load_kw[None, :] - sun_kw[None, :] * shares


def _hours_ahead(steps: int) -> NDArray[np.float64]:
    return _STEP_H * (np.arange(steps, dtype=np.float64) + 0.5)
