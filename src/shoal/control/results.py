"""What came of an event or a set-point, by the meters of its sites: asked, delivered, and who fell short.

It is counted from each site's first sample within it to its last, so what was asked and what was delivered are of the same
time; a site that was silent throughout counts in neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.control.arbiter import EventNow
from shoal.domain.interval import NS_PER_HOUR

DELIVERS_FRAC: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class EventResult:
    """What came of one event.

    Attributes:
        event_id: Which.
        sites: Who was asked.
        metered_sites: Of whom at least two samples came meanwhile.
        short_sites: Of these, who delivered less than half of what was asked.
        asked_wh: What was asked of the metered ones, charging positive.
        delivered_wh: What their registers say.
    """

    event_id: str
    sites: int
    metered_sites: int
    short_sites: int
    asked_wh: int
    delivered_wh: int

    @property
    def told(self) -> str:
        """The same in words."""
        way = "charged" if self.asked_wh > 0 else "discharged"
        missing = abs(self.asked_wh) - (self.delivered_wh if self.asked_wh > 0 else -self.delivered_wh)
        return (
            f"{way} {abs(self.delivered_wh) / 1e3:.1f} of {abs(self.asked_wh) / 1e3:.1f} kWh asked, "
            f"{max(missing, 0) / 1e3:.1f} kWh short; {self.short_sites} of {self.metered_sites} metered sites "
            f"gave less than half; {self.sites - self.metered_sites} not metered"
        )


class _Meters:
    """The meters of one event; columns are of its sites."""

    def __init__(self, rows: NDArray[np.int64]) -> None:
        self.rows = rows
        self.first_ns = np.zeros(len(rows), dtype=np.int64)
        self.last_ns = np.zeros(len(rows), dtype=np.int64)
        self.first_wh = np.zeros(len(rows), dtype=np.int64)
        self.last_wh = np.zeros(len(rows), dtype=np.int64)
        self.asked_wh = np.zeros(len(rows), dtype=np.float64)


class EventMeters:
    """The meters of the events under way that ask for a power."""

    def __init__(self) -> None:
        self._running: dict[str, _Meters] = {}

    def observe(self, t_ns: int, events: Sequence[EventNow], latest: NDArray[Any]) -> list[EventResult]:
        """Take in the latest samples; return what came of the events that are over.

        Args:
            t_ns: The instant.
            events: Events under way or ahead.
            latest: Latest records of the fleet.
        """
        now = {event.event_id: event for event in events if event.start_ns <= t_ns and event.kind == "power"}
        for name, event in now.items():
            meters = self._running.get(name)
            if meters is None or not np.array_equal(meters.rows, event.rows):
                meters = self._running[name] = _moved(meters, event.rows)
            _read(meters, event, latest)
        over = [name for name in self._running if name not in now]
        return [_result(name, self._running.pop(name)) for name in over]


def _read(meters: _Meters, event: EventNow, latest: NDArray[Any]) -> None:
    mine = latest[meters.rows]
    net_wh = mine["charge_wh"] - mine["discharge_wh"]
    new = (mine["ts_ns"] > meters.last_ns) & (mine["ts_ns"] >= event.start_ns)
    first = new & (meters.first_ns == 0)
    later = new & ~first
    meters.asked_wh[later] += (event.each_w * (mine["ts_ns"] - meters.last_ns) / NS_PER_HOUR)[later]
    meters.first_ns[first] = mine["ts_ns"][first]
    meters.first_wh[first] = net_wh[first]
    meters.last_ns[new] = mine["ts_ns"][new]
    meters.last_wh[new] = net_wh[new]


def _moved(former: _Meters | None, rows: NDArray[np.int64]) -> _Meters:
    """Return meters of other sites of the same event: those of both go on."""
    made = _Meters(rows)
    if former is not None:
        _, here, there = np.intersect1d(rows, former.rows, assume_unique=True, return_indices=True)
        for name in ("first_ns", "last_ns", "first_wh", "last_wh", "asked_wh"):
            getattr(made, name)[here] = getattr(former, name)[there]
    return made


def _result(name: str, meters: _Meters) -> EventResult:
    metered = meters.last_ns > meters.first_ns
    asked_wh, delivered_wh = meters.asked_wh[metered], (meters.last_wh - meters.first_wh)[metered]
    short = delivered_wh * np.sign(asked_wh) < DELIVERS_FRAC * np.abs(asked_wh)
    return EventResult(
        event_id=name,
        sites=len(meters.rows),
        metered_sites=int(metered.sum()),
        short_sites=int(short.sum()),
        asked_wh=round(float(asked_wh.sum())),
        delivered_wh=int(delivered_wh.sum()),
    )
