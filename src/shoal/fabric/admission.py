"""Who is let through to be signed in: so many a second, and nobody who was cut off a moment ago.

A fleet that comes back at once is larger than what can be signed in at once. Who does not fit is refused in the same
moment, so that the device waits a while by its own back-off, instead of being kept waiting until the server gives up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from shoal.domain.errors import InvalidInputError

_SWEEP_ABOVE = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionStatistics:
    """What was decided so far.

    Attributes:
        admitted_total: Let through.
        busy_total: Refused because too many came at once.
        cut_off_total: Refused because they had been cut off.
        cut_off: Devices that are refused now.
    """

    admitted_total: int
    busy_total: int
    cut_off_total: int
    cut_off: int


class Admission:
    """The gate before the sign-in.

    Args:
        rate_per_s: Most sign-ins a second in the long run; infinite for no limit. A second's worth may come at once.
        monotonic_s: The machine's clock, in seconds.

    Raises:
        InvalidInputError: when the rate is not positive.
    """

    def __init__(
        self, *, rate_per_s: float = math.inf, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        if not rate_per_s > 0:
            raise InvalidInputError(field="rate_per_s", value=rate_per_s, fix="give a positive rate")
        self._rate_per_s = rate_per_s
        self._most = max(1.0, rate_per_s)
        self._tokens = self._most
        self._monotonic_s = monotonic_s
        self._at_s = monotonic_s()
        self._until_s: dict[str, float] = {}
        self._sweep_above = _SWEEP_ABOVE
        self._admitted = self._busy = self._cut_off = 0

    def cut_off(self, device: str, for_s: float) -> None:
        """Refuse a device for so many seconds from now on."""
        now_s = self._monotonic_s()
        if len(self._until_s) >= self._sweep_above:
            self._until_s = {name: until_s for name, until_s in self._until_s.items() if until_s > now_s}
            # many at once: not all of them again for each
            self._sweep_above = max(_SWEEP_ABOVE, 2 * len(self._until_s))
        self._until_s[device] = max(self._until_s.get(device, 0.0), now_s + for_s)

    def is_cut_off(self, device: str) -> bool:
        """Whether a device is refused now because it was cut off; nothing is counted."""
        return self._monotonic_s() < self._until_s.get(device, 0.0)

    def reason_to_refuse(self, device: str) -> str:
        """Return ``cut_off`` or ``busy``, or nothing for a device that may sign in; that one is counted."""
        now_s = self._monotonic_s()
        if self._until_s and now_s < self._until_s.get(device, 0.0):
            self._cut_off += 1
            return "cut_off"
        if self._rate_per_s < math.inf:
            self._tokens = min(self._tokens + (now_s - self._at_s) * self._rate_per_s, self._most)
            self._at_s = now_s
            if self._tokens < 1.0:
                self._busy += 1
                return "busy"
            self._tokens -= 1.0
        self._admitted += 1
        return ""

    def statistics(self) -> AdmissionStatistics:
        """Return what was decided so far."""
        now_s = self._monotonic_s()
        return AdmissionStatistics(
            admitted_total=self._admitted,
            busy_total=self._busy,
            cut_off_total=self._cut_off,
            cut_off=sum(until_s > now_s for until_s in self._until_s.values()),
        )
