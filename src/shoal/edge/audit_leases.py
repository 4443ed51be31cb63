"""Which set-points were the plant's right to ask, from when to when, as the referee sees it: a short timeline for each site.

It shares no code with the agent. On a ramp everything between what was before and what is asked is right.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shoal.domain.desired import DesiredState
from shoal.domain.interval import NS_PER_S

_FOREVER_NS: Final = 2**63 - 1
_ENTITLEMENT: Final = np.dtype(
    [
        ("setpoint_w", "<i8"),
        ("begin_ns", "<i8"),
        ("end_ns", "<i8"),
        ("superseded_ns", "<i8"),
        ("ramp_ns", "<i8"),
        ("low_w", "<i8"),  # of this set-point and those that its ramp may begin from
        ("high_w", "<i8"),
        ("bare", "<i8"),  # whether the ramp may begin from what is beneath
    ]
)

Floats = NDArray[np.float64]


class Leases:
    """The entitlements of N sites: two each, of which one may wait.

    Attributes:
        timeline: The records (N x 2).
    """

    def __init__(self, charge_limit_w: Floats, discharge_limit_w: Floats) -> None:
        self._charge_limit_w = charge_limit_w
        self._discharge_limit_w = discharge_limit_w
        self.timeline = np.zeros((len(charge_limit_w), 2), dtype=_ENTITLEMENT)

    def void(self, row: int, now_ns: int) -> None:
        """Let nothing of a site be right any more."""
        entries = self.timeline[row]
        entries["superseded_ns"] = np.minimum(entries["superseded_ns"], now_ns)

    def grant(self, row: int, asked: DesiredState, received_ns: int) -> None:
        """Write an entitlement: what has not begun is void, what has goes on, or fades, until the new one begins."""
        begin_ns = max(received_ns, asked.start_ns)
        entries = self.timeline[row]
        until_ns = np.minimum(_faded_ns(entries), entries["superseded_ns"])
        running = (entries["begin_ns"] <= received_ns) & (received_ns < until_ns)
        spare = 1 if running[0] else 0
        other = entries[1 - spare]
        reach_w = int(max(self._charge_limit_w[row], self._discharge_limit_w[row])) + 1
        setpoint_w = min(max(asked.battery_w, -reach_w), reach_w)
        low_w = high_w = setpoint_w
        bare = True
        if running[1 - spare] and begin_ns < _faded_ns(other):
            # One that ended on its way up still carries what it had begun from.
            until_there_ns = int(other["begin_ns"]) + int(other["ramp_ns"])
            rising = min(begin_ns, int(other["end_ns"])) < until_there_ns
            before = other["setpoint_w"]
            low_w = min(low_w, int(other["low_w"] if rising else before))
            high_w = max(high_w, int(other["high_w"] if rising else before))
            bare = bool(other["end_ns"] <= begin_ns or (rising and other["bare"]))
        # A running one ends when the new one begins; one that waited never begins at all.
        other["superseded_ns"] = begin_ns if running[1 - spare] else min(received_ns, until_ns[1 - spare])
        ramp_ns = round(asked.ramp_s * NS_PER_S)
        entries[spare] = (setpoint_w, begin_ns, asked.end_ns, _FOREVER_NS, ramp_ns, low_w, high_w, bare)

    def widen(
        self, low_w: Floats, high_w: Floats, *, start_ns: int, end_ns: int, obeys: NDArray[np.bool_]
    ) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Return the bounds with set-points laid over them, and where one covers the whole interval.

        One that was replaced in the middle still explains the power: the site had decided before.
        """
        leased = np.zeros(len(low_w), dtype=np.bool_)
        beneath_low_w, beneath_high_w = low_w, high_w
        for entry in self.timeline.T:
            valid = (entry["begin_ns"] <= start_ns) & (entry["superseded_ns"] > start_ns) & obeys
            covers = valid & (end_ns <= entry["end_ns"])
            rising = covers & (start_ns < entry["begin_ns"] + entry["ramp_ns"])
            bare = entry["bare"] > 0
            from_low_w = np.where(bare, np.minimum(beneath_low_w, entry["low_w"]), entry["low_w"])
            from_high_w = np.where(bare, np.maximum(beneath_high_w, entry["high_w"]), entry["high_w"])
            fading = valid & (entry["end_ns"] <= start_ns) & (start_ns < _faded_ns(entry))
            share = np.clip((_faded_ns(entry) - start_ns) / (end_ns - start_ns), 0.0, 1.0)
            back_low_w = beneath_low_w + share * (np.minimum(from_low_w, beneath_low_w) - beneath_low_w)
            back_high_w = beneath_high_w + share * (np.maximum(from_high_w, beneath_high_w) - beneath_high_w)
            low_w = np.where(fading, back_low_w, np.where(covers, entry["setpoint_w"], low_w))
            high_w = np.where(fading, back_high_w, np.where(covers, entry["setpoint_w"], high_w))
            low_w, high_w = np.where(rising, from_low_w, low_w), np.where(rising, from_high_w, high_w)
            leased |= covers
        return low_w, high_w, leased


def _faded_ns(entries: NDArray[Any]) -> NDArray[np.int64]:
    """Return when nothing of an entitlement is left: a ramp after its end."""
    faded_ns: NDArray[np.int64] = (
        np.minimum(entries["end_ns"], _FOREVER_NS - entries["ramp_ns"]) + entries["ramp_ns"]
    )
    return faded_ns
