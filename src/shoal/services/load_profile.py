"""What a feeder usually draws at each quarter of an hour of a day, learned as it goes: enough to keep energy for its peak.

Business days and the others are learned apart, each newer day counting for a fifth. A forecast is what is usual, moved by how
far the load is off now, which fades over two hours; its upper edge is as far above as the load has usually been off. What was
never seen is said to be unknown rather than guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import CorruptStateError
from shoal.domain.interval import NS_PER_HOUR, NS_PER_MINUTE

Floats: TypeAlias = NDArray[np.float64]
Place: TypeAlias = tuple[int, int]
"""The kind of the day, 0 for business days and 1 for others, and the quarter of an hour, 0 to 95, by the clock on the wall."""
PlaceOf: TypeAlias = Callable[[int], Place]

SLOT_NS: Final = 15 * NS_PER_MINUTE
SLOTS: Final = 96
_KINDS: Final = 2
_NEWEST_FRAC: Final = 0.2
_FIRST_SPREAD_FRAC: Final = 0.15
"""How far off a load may be of which one day is known."""
_EDGE: Final = 1.6
"""Mean absolute deviations from the middle to an upper edge that nine days of ten stay below."""
_FADES_NS: Final = 2 * NS_PER_HOUR
_MOST_PLACES: Final = 10 * SLOTS
_LEAST_FRAC: Final = 2.0 / 3.0
"""Of a quarter of an hour must have been measured for it to count."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadForecast:
    """What is expected of the following steps (T each).

    Attributes:
        likely_kw: The middle.
        high_kw: An upper edge.
        known: Where it was learned; elsewhere the highest that is known stands in.
    """

    likely_kw: Floats
    high_kw: Floats
    known: NDArray[np.bool_]


class LoadProfile:
    """What was learned of one feeder.

    Args:
        place_of: Returns the place of an instant.
    """

    def __init__(self, place_of: PlaceOf) -> None:
        self._place_of = place_of
        self._mean_kw = np.zeros((_KINDS, SLOTS))
        self._spread_kw = np.zeros((_KINDS, SLOTS))
        self._count = np.zeros((_KINDS, SLOTS), dtype=np.int64)
        self._slot = -1
        self._sum_kws = 0.0
        self._length_s = 0.0
        self._places: dict[int, Place] = {}

    def observe(self, start_ns: int, end_ns: int, load_kw: float) -> None:
        """Take what was drawn over a span; one that crosses quarters of an hour counts in each."""
        while start_ns < end_ns:
            slot = start_ns // SLOT_NS
            if slot != self._slot:
                self._learn()
                self._slot = slot
            until_ns = min(end_ns, (slot + 1) * SLOT_NS)
            length_s = (until_ns - start_ns) / 1e9
            self._sum_kws += load_kw * length_s
            self._length_s += length_s
            start_ns = until_ns

    def expect(self, t_ns: int, *, step_ns: int, steps: int, load_kw: float) -> LoadForecast:
        """Return what is expected of the steps after one that begins at an instant.

        Args:
            t_ns: The instant.
            step_ns: Length of a step.
            steps: How many.
            load_kw: What is drawn now.
        """
        begins_ns = t_ns + step_ns * np.arange(1, steps + 1, dtype=np.int64)
        mean, spread, known = self._at(begins_ns)
        here, _, here_known = self._at(np.array([t_ns], dtype=np.int64))
        off_kw = load_kw - float(here[0]) if here_known[0] else 0.0
        fade = np.exp(-(begins_ns - t_ns) / _FADES_NS)
        highest_kw = max(load_kw, float(mean[known].max(initial=load_kw)))
        likely = np.where(known, mean + off_kw * fade, highest_kw)
        # what the load is off now says less and less of how far it may be off
        high = likely + np.where(known, _EDGE * spread * np.sqrt(1.0 - fade**2), 0.0)
        return LoadForecast(likely_kw=likely, high_kw=high, known=known)

    @property
    def known_frac(self) -> float:
        """Share of a business day's or another day's quarters of an hour of which something is known."""
        return float((self._count.sum(axis=0) > 0).mean())

    def state(self) -> dict[str, Any]:
        """Return what a successor needs."""
        return {
            "mean_kw": np.round(self._mean_kw, 3).tolist(),
            "spread_kw": np.round(self._spread_kw, 3).tolist(),
            "count": self._count.tolist(),
            "slot": self._slot,
            "sum_kws": self._sum_kws,
            "length_s": self._length_s,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned; nothing changes when it is not that.

        Raises:
            CorruptStateError: when it does not fit.
        """
        try:
            mean, spread = (np.array(state[name], dtype=np.float64) for name in ("mean_kw", "spread_kw"))
            count = np.array(state["count"], dtype=np.int64)
            slot, sum_kws, length_s = int(state["slot"]), float(state["sum_kws"]), float(state["length_s"])
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptStateError("load profile", str(error)) from error
        fits = mean.shape == spread.shape == count.shape == (_KINDS, SLOTS)
        if not (fits and np.isfinite(mean).all() and np.isfinite(spread).all()):
            raise CorruptStateError("load profile", f"it is not {_KINDS} x {SLOTS} numbers")
        self._mean_kw, self._spread_kw, self._count = mean, spread, count
        self._slot, self._sum_kws, self._length_s = slot, sum_kws, length_s

    def _at(self, t_ns: NDArray[np.int64]) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Return the mean, the spread and what is known at some instants; the other kind of day stands in for one unknown."""
        slots = (t_ns // SLOT_NS).tolist()
        if len(self._places) > _MOST_PLACES:
            self._places.clear()
        for slot in slots:
            if slot not in self._places:
                self._places[slot] = self._place_of(slot * SLOT_NS)
        places = np.array([self._places[slot] for slot in slots], dtype=np.int64)
        kind, slot = places[:, 0], places[:, 1]
        kind = np.where(self._count[kind, slot] > 0, kind, 1 - kind)
        known = self._count[kind, slot] > 0
        return self._mean_kw[kind, slot], self._spread_kw[kind, slot], known

    def _learn(self) -> None:
        """Let the quarter of an hour that is over count."""
        length_s, sum_kws = self._length_s, self._sum_kws
        self._sum_kws = self._length_s = 0.0
        if self._slot < 0 or length_s < _LEAST_FRAC * SLOT_NS / 1e9:
            return
        drawn_kw = sum_kws / length_s
        kind, slot = self._place_of(self._slot * SLOT_NS)
        count = int(self._count[kind, slot])
        if count == 0:
            self._mean_kw[kind, slot] = drawn_kw
            self._spread_kw[kind, slot] = _FIRST_SPREAD_FRAC * abs(drawn_kw)
        else:
            newest_frac = max(_NEWEST_FRAC, 1.0 / (count + 1))
            off_kw = drawn_kw - self._mean_kw[kind, slot]
            self._mean_kw[kind, slot] += newest_frac * off_kw
            self._spread_kw[kind, slot] += newest_frac * (abs(off_kw) - self._spread_kw[kind, slot])
        self._count[kind, slot] = count + 1
