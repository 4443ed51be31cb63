"""The network between a site and the fabric, with its faults: a pure function of seed, site and time.

Drop-outs: a site's time is cut into cycles of equal length and random phase; in each cycle it is offline
once, for an exponential time at a random place. The cycle is as long as gives the wanted share of time
offline. No state is kept, so a process that restarts finds the same network.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.errors import InvalidInputError
from shoal.domain.ids import SiteId
from shoal.domain.interval import NS_PER_S, Interval
from shoal.simulate import draws

_JITTER_SHARE: Final = 0.1


class FaultModel:
    """Drop-outs, late and repeated messages of N sites.

    Args:
        sites: The sites, in the order of every result.
        seed: The same seed gives the same faults.
        drop_out_frac: Share of time that a site is offline in the long run, 0 to below 1.
        drop_out_mean_s: Mean length of a drop-out.
        late_frac: Share of messages that arrive late.
        late_max_s: The longest delay.
        duplicate_frac: Share of messages that arrive twice.
        report_interval_s: How often a site reports; `send_offset_s` lies within it.
        loss_frac: Share of the messages without any memory (regulation's) that are lost, each way, each by itself.
        latency_s: Mean time that such a message takes on its way down, exponentially distributed.
        never_offline: Sites without drop-outs, e.g. a plant with two lines.
        cuts: Spans in which no site reaches the fabric, with or without two lines.
    """

    def __init__(
        self,
        sites: Sequence[SiteId],
        seed: int,
        *,
        drop_out_frac: float = 0.015,
        drop_out_mean_s: float = 1_200.0,
        late_frac: float = 0.01,
        late_max_s: float = 300.0,
        duplicate_frac: float = 0.01,
        report_interval_s: float = 60.0,
        loss_frac: float = 0.0,
        latency_s: float = 0.0,
        never_offline: Collection[SiteId] = (),
        cuts: Collection[Interval] = (),
    ) -> None:
        for field, value in (
            ("drop_out_frac", drop_out_frac),
            ("late_frac", late_frac),
            ("duplicate_frac", duplicate_frac),
            ("loss_frac", loss_frac),
        ):
            if not 0.0 <= value < 1.0:
                raise InvalidInputError(field=field, value=value, fix="give a share from 0 to below 1")
        for field, value in (
            ("drop_out_mean_s", drop_out_mean_s),
            ("late_max_s", late_max_s),
            ("report_interval_s", report_interval_s),
        ):
            if not value > 0.0:
                raise InvalidInputError(field=field, value=value, fix="give a time above 0")
        self._outage = draws.keys(sites, seed, "drop-out")
        self._delay = draws.keys(sites, seed, "late")
        self._repeat = draws.keys(sites, seed, "duplicate")
        self._phase = draws.keys(sites, seed, "send-offset")
        self._loss = [draws.keys(sites, seed, f"lost-{way}") for way in ("down", "up")]
        self._latency = draws.keys(sites, seed, "latency")
        self._loss_frac, self._latency_s = loss_frac, latency_s
        self._may_drop = np.array([site not in never_offline for site in sites], dtype=np.bool_)
        self._cuts = tuple(cuts)
        self._mean_ns = drop_out_mean_s * NS_PER_S
        self._cycle_ns = round(_cycle_per_mean(drop_out_frac) * self._mean_ns) if drop_out_frac else 0
        self._cycle_phase_ns = (draws.uniform(self._outage, 0) * self._cycle_ns).astype(np.int64)
        self._late_frac = late_frac
        self._late_max_ns = late_max_s * NS_PER_S
        self._duplicate_frac = duplicate_frac
        self._report_interval_s = report_interval_s

    def online(self, t_ns: int) -> NDArray[np.bool_]:
        """Return which sites reach the fabric at the instant, N."""
        if any(cut.contains(t_ns) for cut in self._cuts):
            return np.zeros(len(self._may_drop), dtype=np.bool_)
        if not self._cycle_ns:
            return np.ones(len(self._may_drop), dtype=np.bool_)
        cycle, within_ns = np.divmod(t_ns + self._cycle_phase_ns, self._cycle_ns)
        length_ns = np.minimum(draws.exponential(self._outage, 2 * cycle + 1) * self._mean_ns, self._cycle_ns)
        begin_ns = draws.uniform(self._outage, 2 * cycle + 2) * (self._cycle_ns - length_ns)
        offline = (within_ns >= begin_ns) & (within_ns < begin_ns + length_ns)
        online: NDArray[np.bool_] = ~(offline & self._may_drop)
        return online

    def late_by_ns(self, t_ns: int) -> NDArray[np.int64]:
        """Return by how much a message sent at the instant is held up, N; 0 when it is on time."""
        late = draws.uniform(self._delay, 2 * t_ns) < self._late_frac
        delay_ns = 1 + (draws.uniform(self._delay, 2 * t_ns + 1) * self._late_max_ns).astype(np.int64)
        return np.where(late, delay_ns, 0)

    def duplicated(self, t_ns: int) -> NDArray[np.bool_]:
        """Return whose message sent at the instant arrives twice, N."""
        repeated: NDArray[np.bool_] = draws.uniform(self._repeat, t_ns) < self._duplicate_frac
        return repeated

    def lost(self, t_ns: int, *, up: bool = False) -> NDArray[np.bool_]:
        """Return whose message without memory, sent at the instant, is lost on its way down or up, N."""
        if not self._loss_frac:
            return np.zeros(len(self._may_drop), dtype=np.bool_)
        lost: NDArray[np.bool_] = draws.uniform(self._loss[up], t_ns) < self._loss_frac
        return lost

    def latency_ns(self, t_ns: int) -> NDArray[np.int64]:
        """Return how long a message without memory, sent at the instant, is on its way down, N."""
        if not self._latency_s:
            return np.zeros(len(self._may_drop), dtype=np.int64)
        latency: NDArray[np.int64] = (
            draws.exponential(self._latency, t_ns) * self._latency_s * NS_PER_S
        ).astype(np.int64)
        return latency

    def send_offset_s(self, t_ns: int) -> NDArray[np.float64]:
        """Return when, after the instant, each site reports, N, 0 to below the report interval.

        Every site has its own place within the interval and wanders a little around it.
        """
        place = draws.uniform(self._phase, 0)
        jitter = draws.uniform(self._phase, t_ns)
        return self._report_interval_s * ((1.0 - _JITTER_SHARE) * place + _JITTER_SHARE * jitter)

    def clear(self) -> None:
        """Switch all faults off from now on, so that everything held back can drain."""
        self._cuts = ()
        self._cycle_ns = 0
        self._late_frac = 0.0
        self._duplicate_frac = 0.0
        self._loss_frac = self._latency_s = 0.0


def _cycle_per_mean(drop_out_frac: float) -> float:
    """Return x with (1 - exp(-x)) / x = `drop_out_frac`.

    x is the length of a cycle in mean drop-outs; the left side is the share of a cycle that a drop-out, cut
    at the length of the cycle, takes on average.
    """
    low, high = 0.0, 1.0 / drop_out_frac
    for _ in range(60):
        middle = 0.5 * (low + high)
        if middle == 0.0 or -math.expm1(-middle) / middle > drop_out_frac:
            low = middle
        else:
            high = middle
    return high
